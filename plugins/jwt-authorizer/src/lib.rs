//! Authorizes requests by JSON Web Tokens. This file is the glue to the gateway; the logic knows nothing of it and reads in this order:
//! [`config`] -> [`settings`], [`locate`] -> [`token`] -> [`authorizer`] -> ([`key_cache`], [`jwk`], [`claims`]) -> [`refusal`].
//! What it has in common with other plugins is in the crate `edgeward-bearer`.

pub mod algorithm;
pub mod authorizer;
pub mod config;
#[cfg(test)]
mod fake;
mod host;
pub mod jwk;
pub mod key_cache;
pub mod outside;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod token;

use edgeward_bearer::{claim_path, claims, locate, refusal, strict_json};
use edgeward_sdk::{
    Answer, Authorize, Decision, Denied, Exchange, HeadAction, Interest, Plugin, RequestHead, Transform,
    log_debug, log_error, log_info, log_warn,
};

use crate::{
    authorizer::Authorizer,
    host::{Gateway, Incoming},
    refusal::{Kind, Refusal},
    settings::Settings,
};

/// The plugin.
pub struct JwtAuthorizer(Authorizer);

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
        Ok((Self(Authorizer::new(settings)), interest))
    }
}

impl Authorize for JwtAuthorizer {
    fn authorize(&mut self, request: &RequestHead, _exchange: &Exchange) -> Decision {
        let found = locate::find(&self.0.settings().locations, &Incoming(request));
        match found.and_then(|token| self.0.check(&token, &Gateway)) {
            Ok(accepted) => host::allowed(accepted).into(),
            Err(refusal) => self.denied(&refusal).into(),
        }
    }
}

impl Transform for JwtAuthorizer {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        if let Err(error) = Incoming(request).strip(&self.0.settings().locations) {
            log_error!("the token cannot be taken out of the request, which is refused: {error}");
            return Answer::new(400).into();
        }
        HeadAction::Proceed
    }
}

impl JwtAuthorizer {
    fn denied(&self, refusal: &Refusal) -> Denied {
        match refusal.kind {
            Kind::NoCredentials => log_debug!("refused: {}", refusal.detail),
            Kind::Unavailable => log_error!("refused: {}", refusal.detail),
            _ => log_info!("refused: {}", refusal.detail),
        }
        let (name, value) = refusal.header(&self.0.settings().challenge);
        Denied::new(refusal.status(), refusal.public).header(name, value)
    }
}

edgeward_sdk::export!(JwtAuthorizer: authorize, transform);
