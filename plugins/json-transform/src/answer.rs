//! From the outcome of a direction to what the gateway is told: the new body and the edits of the head that go with it, or an error.

use crate::config::Unusable;
use crate::host::Hook;
use crate::json::Json;
use crate::message::{Direction, Head, Outcome};
use edgeward_sdk::prelude::*;

/// Fields that describe the bytes of a body and are wrong once it was changed.
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
/// Further ones of a response.
const STALE: [&str; 2] = ["etag", "accept-ranges"];

impl Direction {
    /// How bodies of this direction are collected.
    pub fn buffer(&self) -> BodyMode {
        let over = match self.over {
            Unusable::Reject => OverLimit::Reject,
            Unusable::Pass => OverLimit::Pass,
        };
        BodyMode::Buffer {
            limit: self.limit,
            over,
        }
    }
}

/// A whole request body.
pub fn request(direction: &Direction, mut hook: Hook<'_>, body: &[u8]) -> BodyAction {
    let (request, exchange) = (hook.request, hook.exchange);
    let content_type = request.header_str("content-type");
    let content_encoding = request.header_str("content-encoding");
    let head = Head {
        content_type: content_type.as_deref(),
        content_encoding: content_encoding.as_deref(),
        status: 0,
    };
    match direction.apply(head, body, &mut hook) {
        Outcome::Change { body: Some(body), .. } => {
            match DIGESTS.iter().try_for_each(|name| request.remove_header(name)) {
                Ok(()) => BodyAction::Replace(body),
                Err(error) => problem(exchange, 500, "Internal Server Error", &error),
            }
        }
        Outcome::Reject { detail, encoded } => {
            let (status, title) = if encoded {
                (415, "Unsupported Media Type")
            } else {
                (400, "Bad Request")
            };
            problem(exchange, status, title, &format!("the request body {detail}"))
        }
        Outcome::Pass | Outcome::Change { body: None, .. } => BodyAction::Proceed,
    }
}

/// A whole response body.
pub fn response(
    direction: &Direction,
    mut hook: Hook<'_>,
    response: &ResponseHead,
    body: &[u8],
) -> BodyAction {
    let exchange = hook.exchange;
    let content_type = response.header_str("content-type");
    let content_encoding = response.header_str("content-encoding");
    let head = Head {
        content_type: content_type.as_deref(),
        content_encoding: content_encoding.as_deref(),
        status: response.status(),
    };
    match direction.apply(head, body, &mut hook) {
        Outcome::Change { body, status } => match edit(response, body.is_some(), status) {
            Ok(()) => body.map_or(BodyAction::Proceed, BodyAction::Replace),
            Err(error) => problem(exchange, 502, "Bad Gateway", &error),
        },
        Outcome::Reject { detail, .. } => problem(
            exchange,
            502,
            "Bad Gateway",
            &format!("the response body of the upstream {detail}"),
        ),
        Outcome::Pass => BodyAction::Proceed,
    }
}

fn edit(response: &ResponseHead, new_body: bool, status: Option<u16>) -> Result<(), String> {
    if new_body {
        DIGESTS
            .iter()
            .chain(&STALE)
            .try_for_each(|name| response.remove_header(name))?;
    }
    status.map_or(Ok(()), |status| response.set_status(status))
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
    let answer = Answer::new(status).header("content-type", "application/problem+json");
    answer.body(document.to_text()).into()
}
