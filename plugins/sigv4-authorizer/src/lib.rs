//! Authorizes requests signed with AWS Signature Version 4 or 4a. This file is the glue to the gateway; the logic knows nothing of it and reads in
//! this order: [`config`] -> [`settings`], [`authorizer`] -> ([`credentials`] -> [`identity`], [`ecdsa`]) -> [`refusal`]. What a signature is, the crate
//! `edgeward-sigv4` knows.

pub mod authorizer;
pub mod config;
pub mod credentials;
pub mod ecdsa;
#[cfg(test)]
mod fake;
mod host;
pub mod identity;
pub mod outside;
pub mod refusal;
pub mod settings;
#[cfg(test)]
mod tests;

use edgeward_sdk::{Authorize, Decision, Exchange, Interest, Plugin, RequestHead};

use crate::{
    host::{Gateway, Original},
    settings::Settings,
};

/// The plugin.
pub struct Sigv4Authorizer(Settings);

impl Plugin for Sigv4Authorizer {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        if settings.derives_public_keys() {
            ecdsa::warm_up();
        }
        let interest = settings
            .capabilities()
            .into_iter()
            .fold(Interest::none().authorize().request_digest(), Interest::needs);
        Ok((Self(settings), interest))
    }
}

impl Authorize for Sigv4Authorizer {
    fn authorize(&mut self, request: &RequestHead, _exchange: &Exchange) -> Decision {
        match authorizer::check(&self.0, &Original(request), &Gateway) {
            Ok(accepted) => host::allowed(accepted).into(),
            Err(refusal) => host::refused(&refusal, &self.0),
        }
    }
}

edgeward_sdk::export!(Sigv4Authorizer: authorize);
