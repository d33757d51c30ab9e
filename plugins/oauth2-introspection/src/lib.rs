//! Authorizes requests by tokens that their authorization server is asked about (OAuth 2.0 Token Introspection, RFC 7662). This file is the glue
//! to the gateway; the logic knows nothing of it and reads in this order: [`config`] -> [`settings`] -> [`authorizer`] -> [`question`].
//! What it has in common with other plugins is in the crate `edgeward-bearer`.

pub mod authorizer;
pub mod config;
#[cfg(test)]
mod fake;
mod host;
pub mod outside;
pub mod question;
pub mod settings;
#[cfg(test)]
mod tests;

use edgeward_bearer::{locate, request};
use edgeward_sdk::{Authorize, Decision, Exchange, HeadAction, Interest, Plugin, RequestHead, Transform};

use crate::{host::Gateway, settings::Settings};

/// The plugin.
pub struct Introspection(Settings);

impl Plugin for Introspection {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        // The decision may be reused without calling `authorize`, so the token is taken out where every request passes.
        let interest = if settings.strip {
            Interest::none().authorize().request_head()
        } else {
            Interest::none().authorize()
        };
        let interest = settings
            .capabilities()
            .into_iter()
            .fold(interest, Interest::needs);
        Ok((Self(settings), interest))
    }
}

impl Authorize for Introspection {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let route = match request::route_scopes(exchange) {
            Ok(route) => route,
            Err(refusal) => return host::denied(&refusal.into(), &self.0.challenge, &[]).into(),
        };
        let found = locate::find(&self.0.locations, request);
        let certificate = || exchange.peer().client_certificate;
        let decision = match found
            .map_err(authorizer::Refused::from)
            .and_then(|token| authorizer::check(&self.0, &token, &route, &certificate, &Gateway))
        {
            Ok(accepted) => host::allowed(accepted).into(),
            Err(refused) => host::denied(&refused, &self.0.challenge, &route).into(),
        };
        request::kept_by(&self.0.locations, exchange, decision)
    }
}

impl Transform for Introspection {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        request::strip(request, &self.0.locations)
    }
}

edgeward_sdk::export!(Introspection: authorize, transform);
