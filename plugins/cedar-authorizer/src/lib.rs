//! Authorizes by Cedar policies. This file is the glue to the gateway; the logic knows nothing of it and reads in this order:
//! [`config`] -> [`settings`] -> ([`policies`], [`mistake`], [`entities`]) -> [`engine`] -> ([`seen`], [`value`]).

pub mod config;
pub mod engine;
pub mod entities;
mod host;
pub mod mistake;
pub mod policies;
pub mod seen;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod value;

use edgeward_sdk::{Authorize, Decision, Exchange, Interest, Plugin, RequestHead, log_warn};

use crate::settings::Settings;

/// The plugin.
pub struct CedarAuthorizer(Settings);

impl Plugin for CedarAuthorizer {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        for warning in &settings.warnings {
            log_warn!("{warning}");
        }
        settings.engine.warm_up();
        Ok((Self(settings), Interest::none().authorize()))
    }
}

impl Authorize for CedarAuthorizer {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let principal = exchange.principal();
        let verdict = host::seen(&self.0, request, exchange, principal.clone())
            .and_then(|seen| self.0.engine.decide(&seen));
        host::decision(&self.0, principal, verdict)
    }
}

edgeward_sdk::export!(CedarAuthorizer: authorize);
