//! Asks a function whether a request may pass, as Lambda (custom) authorizers of Amazon API Gateway do. This file is the glue to the gateway; the
//! logic knows nothing of it and reads in this order: [`config`] -> [`settings`], [`seen`] -> [`authorizer`] -> ([`source`], [`event`],
//! [`function`], [`output`]) -> [`refusal`].

pub mod authorizer;
pub mod certificate;
pub mod config;
pub mod event;
#[cfg(test)]
mod fake;
pub mod function;
mod host;
pub mod output;
pub mod outside;
pub mod refusal;
pub mod seen;
pub mod settings;
pub mod source;
#[cfg(test)]
mod tests;

use edgeward_sdk::{Authorize, Decision, Exchange, Interest, Plugin, RequestHead, matcher::RegexSet};

use crate::{host::Gateway, settings::Settings};

/// The plugin.
pub struct LambdaAuthorizer {
    settings: Settings,
    /// What a token must look like.
    validation: Option<RegexSet>,
}

impl Plugin for LambdaAuthorizer {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        let validation = settings
            .validation
            .as_deref()
            .map(|pattern| RegexSet::new([&*format!("^(?:{pattern})$")], false))
            .transpose()
            .map_err(|error| format!("config.token.validation: {error}"))?;
        let interest = settings
            .capabilities()
            .into_iter()
            .fold(Interest::none().authorize(), Interest::needs);
        let plugin = Self { settings, validation };
        Ok((plugin, interest))
    }
}

impl Authorize for LambdaAuthorizer {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let gateway = Gateway {
            validation: self.validation,
        };
        let seen = host::seen(request, exchange, &self.settings);
        match authorizer::check(&self.settings, &seen, &gateway) {
            Ok(accepted) => host::allowed(accepted).into(),
            Err(refusal) => host::denied(&refusal).into(),
        }
    }
}

edgeward_sdk::export!(LambdaAuthorizer: authorize);
