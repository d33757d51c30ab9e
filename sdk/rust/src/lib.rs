//! Write Edgeward plugins in Rust.
//!
//! A plugin is a type with state: [`Plugin::init`] makes it from the configuration of its binding, a trait per hook
//! ([`Authorize`], [`Transform`], [`Inspect`], [`Observe`]) says what it does with an exchange, and [`export!`] makes a
//! WebAssembly component of it. The same code runs natively under `cargo test` against the fake host of [`testing`].
//!
//! ```
//! use edgeward_sdk::prelude::*;
//!
//! /// Lets requests pass that carry one of the configured keys.
//! struct ApiKeys {
//!     keys: Vec<String>,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     keys: Vec<String>,
//! }
//!
//! impl Plugin for ApiKeys {
//!     fn init(config: &str) -> Result<(Self, Interest), String> {
//!         let config: Config = edgeward_sdk::config::parse(config)?;
//!         Ok((ApiKeys { keys: config.keys }, Interest::none().authorize()))
//!     }
//! }
//!
//! impl Authorize for ApiKeys {
//!     fn authorize(&mut self, request: &RequestHead, _exchange: &Exchange) -> Decision {
//!         match request.header_str("x-api-key") {
//!             Some(key) if self.keys.contains(&key) => Decision::allow("key-holder"),
//!             Some(_) => Decision::deny(403, "unknown key"),
//!             None => Decision::deny(401, "x-api-key is missing"),
//!         }
//!     }
//! }
//!
//! edgeward_sdk::export!(ApiKeys: authorize);
//!
//! // in a test:
//! use edgeward_sdk::testing;
//! let (mut plugin, _) = testing::init::<ApiKeys>(r#"{"keys": ["k1"]}"#)?;
//! let request = testing::request("GET", "https://api.example/pets").with_header("x-api-key", "k1");
//! assert_eq!(plugin.authorize(&request, &testing::exchange()), Decision::allow("key-holder"));
//! # Ok::<(), String>(())
//! ```
//!
//! Where to read on: the traits in [`hooks`], the messages in [`head`], then one module per capability
//! ([`log`], [`metrics`], [`kv`], [`http_client`], [`matcher`], [`crypto`], [`secret`], [`clock`], [`entropy`]).

#[doc(hidden)]
pub mod bindings;
pub mod clock;
pub mod collections;
pub mod config;
pub mod crypto;
pub mod entropy;
#[doc(hidden)]
pub mod export;
pub mod head;
pub mod hooks;
mod host;
pub mod http_client;
pub mod kv;
pub mod log;
pub mod matcher;
pub mod messages;
pub mod metrics;
pub mod secret;
mod stage;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use crate::head::{Exchange, RequestHead, ResponseHead};
pub use crate::hooks::{
    Action, Allowed, Authorize, Blocking, BodyAction, BodyMode, ContextFact, Decision, Denied, GatewayError,
    HeadAction, Inspect, Interest, Observe, Outcome, OverLimit, Plugin, RuleMatch, Transform, Verdict,
};
pub use crate::messages::{Answer, BodyState, ContextEntry, ContextValue, Header, HeaderBlock, Pair, Peer};

/// Everything that the source of a plugin usually names: `use edgeward_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Allowed, Answer, Authorize, BodyAction, BodyMode, BodyState, ContextEntry, ContextValue, Decision,
        Denied, Exchange, GatewayError, HeadAction, Header, Inspect, Interest, Observe, Outcome, OverLimit,
        Pair, Peer, Plugin, RequestHead, ResponseHead, RuleMatch, Transform, Verdict,
    };
}

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
