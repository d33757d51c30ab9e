//! Asks an HTTP service whether a caller may go on, as `auth_request` of nginx, `ForwardAuth` of Traefik and `ext_authz` of Envoy do. This file is the
//! glue to the gateway; reads in this order: [`config`] -> [`settings`], [`ask`] -> [`freshness`].

pub mod ask;
pub mod config;
pub mod freshness;
mod host;
pub mod settings;
#[cfg(test)]
mod tests;

use edgeward_sdk::{
    Allowed, Answer, Authorize, Decision, Denied, Exchange, HeadAction, Interest, Plugin, RequestHead,
    Transform, log_debug, log_error, log_info, log_warn,
};

use crate::{ask::Verdict, settings::Settings};

/// The plugin.
pub struct ForwardAuth(Settings);

impl Plugin for ForwardAuth {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        let interest = Interest::none().authorize().needs("http");
        // the decision may be reused without calling `authorize`, so fields are set where every request passes
        let interest = if settings.response_headers.is_empty() {
            interest
        } else {
            interest.request_head()
        };
        Ok((Self(settings), interest))
    }
}

impl Authorize for ForwardAuth {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        let question = match ask::question(&self.0, &host::original(request, exchange)) {
            Ok(question) => question,
            Err(error) => {
                log_info!("refused: {error}");
                return Decision::deny(431, "the header fields are too large to be authorized");
            }
        };
        let reply = host::send(question, self.0.timeout_ms);
        match reply.and_then(|reply| ask::verdict(&self.0, reply)) {
            Ok(Verdict::Allow {
                principal,
                headers,
                ttl_seconds,
            }) => {
                let principal = principal
                    .or_else(|| exchange.principal())
                    .unwrap_or_else(|| ask::UNNAMED.to_owned());
                let allowed = Allowed::new(principal).ttl_seconds(ttl_seconds);
                headers
                    .into_iter()
                    .fold(allowed, |allowed, (name, value)| allowed.fact(name, value))
                    .into()
            }
            Ok(Verdict::Refuse {
                status,
                headers,
                body,
            }) => {
                log_debug!("refused: {} answered {status}", self.0.url);
                if body.is_none() {
                    log_warn!(
                        "the body of a refusal exceeds max-body-bytes: {} and is left out",
                        self.0.max_body
                    );
                }
                let answer = Answer::new(status).body(body.unwrap_or_default());
                headers
                    .into_iter()
                    .fold(answer, |answer, (name, value)| answer.header(name, value))
                    .into()
            }
            Err(error) => {
                log_error!("refused: {}: {error}", self.0.url);
                Denied::new(503, "the request cannot be authorized at the moment")
                    .header("retry-after", "1")
                    .into()
            }
        }
    }
}

impl Transform for ForwardAuth {
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        match host::identify(&self.0, request, exchange) {
            Ok(()) => HeadAction::Proceed,
            Err(error) => {
                log_error!("`response-headers` cannot be set, the request is refused: {error}");
                Answer::new(503).into()
            }
        }
    }
}

edgeward_sdk::export!(ForwardAuth: authorize, transform);
