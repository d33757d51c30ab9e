//! Authorizes requests by JSON Web Tokens. This file is the glue to the gateway; the logic knows nothing of it and reads in this order:
//! [`config`] -> [`settings`], [`locate`] -> [`token`] -> [`authorizer`] -> ([`key_cache`], [`jwk`], [`claims`]) -> [`refusal`]; [`manner`] has the ways of
//! Amazon API Gateway.
//! What it has in common with other plugins is in the crate `edgeward-bearer`.

pub mod algorithm;
pub mod authorizer;
pub mod config;
#[cfg(test)]
mod fake;
mod host;
pub mod jwk;
pub mod key_cache;
pub mod manner;
pub mod outside;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod token;

use edgeward_bearer::{claim_path, claims, locate, refusal, request, strict_json};
use edgeward_sdk::{
    Authorize, Decision, Denied, Exchange, HeadAction, Interest, Plugin, RequestHead, Transform, log_warn,
    matcher::RegexSet,
};

use crate::{authorizer::Authorizer, host::Gateway, refusal::Refusal, settings::Settings};

/// The plugin.
pub struct JwtAuthorizer {
    authorizer: Authorizer,
    /// What `aud` must look like.
    audience: Option<RegexSet>,
}

impl Plugin for JwtAuthorizer {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let (settings, notes) = Settings::new(edgeward_sdk::config::parse(config)?)?;
        for note in notes {
            log_warn!("{note}");
        }
        // The decision may be reused without calling `authorize`, so the token is taken out where every request passes.
        let interest = Interest::none().authorize();
        let interest = if settings.strip {
            interest.request_head()
        } else {
            interest
        };
        let interest = settings
            .capabilities()
            .into_iter()
            .fold(interest, Interest::needs);
        let audience = settings
            .audience_matches
            .as_deref()
            .map(|pattern| RegexSet::new([pattern], false))
            .transpose()
            .map_err(|error| format!("config.audience-matches: {error}"))?;
        let authorizer = Authorizer::new(settings);
        Ok((Self { authorizer, audience }, interest))
    }
}

impl Authorize for JwtAuthorizer {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let route = match request::route_scopes(exchange) {
            Ok(route) => route,
            Err(refusal) => return self.denied(&[], &refusal).into(),
        };
        let found = locate::find(&self.authorizer.settings().locations, request);
        let gateway = Gateway {
            audience: self.audience,
        };
        let decision = match found.and_then(|token| self.authorizer.check(&token, &route, &gateway)) {
            Ok(accepted) => host::allowed(accepted).into(),
            Err(refusal) => self.denied(&route, &refusal).into(),
        };
        request::kept_by(&self.authorizer.settings().locations, exchange, decision)
    }
}

impl Transform for JwtAuthorizer {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        request::strip(request, &self.authorizer.settings().locations)
    }
}

impl JwtAuthorizer {
    fn denied(&self, route: &[String], refusal: &Refusal) -> Denied {
        request::log(refusal);
        let answered = manner::answer(self.authorizer.settings(), route, refusal);
        let (name, value) = answered.header;
        Denied {
            ttl_seconds: answered.ttl_seconds,
            ..Denied::new(answered.status, answered.reason).header(name, value)
        }
    }
}

edgeward_sdk::export!(JwtAuthorizer: authorize, transform);
