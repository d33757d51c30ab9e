//! What plugins that check bearer tokens have in common: where a token is in a request ([`locate`]), what its claims must say ([`claims`],
//! [`claim_path`]), how refusals read ([`refusal`]), and JSON that means one thing only ([`strict_json`]). [`config`] has what an operator writes
//! about them; only [`request`] knows the gateway.

pub mod claim_path;
pub mod claims;
pub mod config;
pub mod locate;
pub mod refusal;
pub mod request;
pub mod strict_json;
