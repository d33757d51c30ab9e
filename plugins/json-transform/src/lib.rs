//! `json-transform`: changes JSON bodies of requests and responses by rules. This file connects the rules to the gateway; the work is
//! in `message` (which bodies), `plan` (the rules) and `edit` (the changes).

pub mod config;
pub mod edit;
pub mod host;
pub mod json;
pub mod message;
pub mod path;
pub mod plan;
pub mod template;
#[cfg(test)]
mod tests;

use crate::config::Unusable;
use crate::host::Hook;
use crate::json::Json;
use crate::message::{Direction, Head, Outcome};
use edgeward_sdk::prelude::*;

/// Fields that describe the bytes of a body and are wrong once it was changed.
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// The plugin.
pub struct JsonTransform {
    request: Option<Direction>,
    response: Option<Direction>,
    claims_from: Option<String>,
}

impl Plugin for JsonTransform {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: config::Config = edgeward_sdk::config::parse(config)?;
        let request = config
            .request
            .as_ref()
            .map(Direction::request)
            .transpose()
            .map_err(|error| format!("config.request.{error}"))?;
        let response = config
            .response
            .as_ref()
            .map(Direction::response)
            .transpose()
            .map_err(|error| format!("config.response.{error}"))?;
        let buffer = |direction: &Direction| BodyMode::Buffer {
            limit: direction.limit,
            over: if direction.over == Unusable::Reject {
                OverLimit::Reject
            } else {
                OverLimit::Pass
            },
        };
        let mut interest = Interest::none();
        match (&request, &response) {
            (None, None) => return Err("config: neither `request` nor `response` has rules".to_owned()),
            (Some(direction), _) => interest = interest.request_body(buffer(direction)),
            _ => {}
        }
        if let Some(direction) = &response {
            interest = interest.response_body(buffer(direction));
        }
        Ok((
            Self {
                request,
                response,
                claims_from: config.claims_from,
            },
            interest,
        ))
    }
}

impl Transform for JsonTransform {
    fn on_request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        let Some(direction) = self.request.as_ref().filter(|_| matches!(state, BodyState::Last)) else {
            return BodyAction::Proceed;
        };
        let (content_type, content_encoding) = (
            request.header_str("content-type"),
            request.header_str("content-encoding"),
        );
        let head = Head {
            content_type: content_type.as_deref(),
            content_encoding: content_encoding.as_deref(),
            status: 0,
        };
        let mut values = Hook {
            request,
            response: None,
            exchange,
            claims_from: self.claims_from.as_deref(),
        };
        match direction.apply(head, &chunk, &mut values) {
            Outcome::Change { body: Some(body), .. } => {
                let removed = DIGESTS.iter().try_for_each(|name| request.remove_header(name));
                removed.map_or_else(
                    |error| problem(exchange, 500, "Internal Server Error", &error),
                    |()| BodyAction::Replace(body),
                )
            }
            Outcome::Reject {
                detail,
                encoded: true,
            } => problem(
                exchange,
                415,
                "Unsupported Media Type",
                &format!("the request body {detail}"),
            ),
            Outcome::Reject { detail, .. } => problem(
                exchange,
                400,
                "Bad Request",
                &format!("the request body {detail}"),
            ),
            Outcome::Pass | Outcome::Change { body: None, .. } => BodyAction::Proceed,
        }
    }

    fn on_response_body(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        let Some(direction) = self
            .response
            .as_ref()
            .filter(|_| matches!(state, BodyState::Last))
        else {
            return BodyAction::Proceed;
        };
        let (content_type, content_encoding) = (
            response.header_str("content-type"),
            response.header_str("content-encoding"),
        );
        let head = Head {
            content_type: content_type.as_deref(),
            content_encoding: content_encoding.as_deref(),
            status: response.status(),
        };
        let mut values = Hook {
            request,
            response: Some(response),
            exchange,
            claims_from: self.claims_from.as_deref(),
        };
        match direction.apply(head, &chunk, &mut values) {
            Outcome::Change { body, status } => {
                let stale: &[&str] = if body.is_some() {
                    &["etag", "accept-ranges"]
                } else {
                    &[]
                };
                let digests: &[&str] = if body.is_some() { &DIGESTS } else { &[] };
                let edited = stale
                    .iter()
                    .chain(digests)
                    .try_for_each(|name| response.remove_header(name));
                match edited.and_then(|()| status.map_or(Ok(()), |status| response.set_status(status))) {
                    Ok(()) => body.map_or(BodyAction::Proceed, BodyAction::Replace),
                    Err(error) => problem(exchange, 502, "Bad Gateway", &error),
                }
            }
            Outcome::Reject { detail, .. } => problem(
                exchange,
                502,
                "Bad Gateway",
                &format!("the response body of the upstream {detail}"),
            ),
            Outcome::Pass => BodyAction::Proceed,
        }
    }
}

/// An error answer (RFC 9457) like those of the gateway.
fn problem(exchange: &Exchange, status: u16, title: &str, detail: &str) -> BodyAction {
    let text = |text: &str| Json::String(text.to_owned());
    let document = Json::Object(vec![
        ("type".to_owned(), text("about:blank")),
        ("title".to_owned(), text(title)),
        ("status".to_owned(), Json::Number(status.to_string())),
        ("detail".to_owned(), text(detail)),
        ("requestId".to_owned(), text(&exchange.request_id())),
    ]);
    Answer::new(status)
        .header("content-type", "application/problem+json")
        .body(document.to_text())
        .into()
}

edgeward_sdk::export!(JsonTransform: transform);
