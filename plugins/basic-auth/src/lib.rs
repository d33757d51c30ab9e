//! Authorizes by name and password (RFC 7617). This file is the glue to the gateway; the logic knows little of it and reads in this order: [`config`] ->
//! [`settings`], [`authorizer`] -> ([`credentials`], [`hash`], [`htpasswd`]).

pub mod authorizer;
pub mod config;
pub mod credentials;
pub mod hash;
pub mod htpasswd;
pub mod settings;
#[cfg(test)]
mod tests;

use edgeward_sdk::{
    Allowed, Answer, Authorize, Decision, Denied, Exchange, HeadAction, Interest, Plugin, RequestHead,
    Transform,
    crypto::{self, HashAlgorithm},
    log_debug, log_error, log_info, secret,
};

use crate::{
    authorizer::{Accepted, Outside, Refusal},
    settings::Settings,
};

/// The field with name and password.
const FIELD: &str = "authorization";

/// The plugin.
pub struct BasicAuth(Settings);

/// The gateway.
struct Gateway;

impl Outside for Gateway {
    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        secret::get(name).map_err(|error| format!("secret {name:?}: {}", error.reason()))
    }

    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        crypto::hmac(HashAlgorithm::Sha256, key, message)
    }

    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        crypto::constant_time_equal(one, other)
    }
}

impl Plugin for BasicAuth {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        let interest = Interest::none().authorize();
        // the decision may be reused without calling `authorize`, so the password is taken out where every request passes
        let interest = if settings.forward {
            interest
        } else {
            interest.request_head()
        };
        let interest = settings
            .capabilities()
            .into_iter()
            .fold(interest, Interest::needs);
        Ok((Self(settings), interest))
    }
}

impl Authorize for BasicAuth {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let decision = match authorizer::check(&self.0, &request.header_values(FIELD), &Gateway) {
            Ok(Accepted { name, facts }) => {
                let allowed = Allowed::new(name.as_str())
                    .ttl_seconds(self.0.decision_ttl)
                    .fact("user", name);
                facts
                    .into_iter()
                    .fold(allowed, |allowed, (key, value)| allowed.fact(key, value))
                    .into()
            }
            Err(refusal) => self.refused(&refusal).into(),
        };
        exchange.kept_by([format!("$request.header.{FIELD}")], decision)
    }
}

impl Transform for BasicAuth {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        if let Err(error) = request.remove_header(FIELD) {
            log_error!("the password cannot be taken out of the request, which is refused: {error}");
            return Answer::new(503).into();
        }
        HeadAction::Proceed
    }
}

impl BasicAuth {
    fn refused(&self, refusal: &Refusal) -> Denied {
        let (reason, ttl) = match refusal {
            Refusal::Absent => {
                log_debug!("refused: no Authorization field");
                ("user name and password are required", 0)
            }
            Refusal::Malformed(detail) => {
                log_info!("refused: {detail}");
                ("the credentials cannot be read", 0)
            }
            Refusal::Wrong(detail) => {
                log_info!("refused: {detail}");
                ("user name or password is wrong", self.0.refused_ttl)
            }
            Refusal::Unavailable(detail) => {
                log_error!("refused: {detail}");
                return Denied::new(503, "the password cannot be checked at the moment")
                    .header("retry-after", "1");
            }
        };
        Denied::new(401, reason)
            .header("www-authenticate", self.0.challenge.as_str())
            .ttl_seconds(ttl)
    }
}

edgeward_sdk::export!(BasicAuth: authorize, transform);
