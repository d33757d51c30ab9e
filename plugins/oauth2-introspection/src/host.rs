//! The seams of the logic, answered by the gateway.

use edgeward_bearer::{refusal::Challenge, request};
use edgeward_sdk::{
    Allowed, ContextValue, Denied, clock,
    crypto::{self, HashAlgorithm},
    http_client, secret,
};
use serde_json::Value;

use crate::{
    authorizer::{Accepted, Refused},
    outside::{Outside, Post, Reply},
};

/// The gateway.
pub(crate) struct Gateway;

impl Outside for Gateway {
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        secret::get(name).map_err(|error| format!("secret {name:?}: {}", error.reason()))
    }

    fn post(&self, post: &Post) -> Result<Reply, String> {
        let request = http_client::Request::new("POST", &post.url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(post.form.clone())
            .timeout_ms(post.timeout_ms);
        let request = match &post.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        let response = http_client::send(&request).map_err(|error| error.reason().to_owned())?;
        let kind = response.header("content-type").unwrap_or_default();
        Ok(Reply {
            status: response.status,
            content_type: String::from_utf8_lossy(kind).into_owned(),
            body: response.body,
        })
    }

    fn sha256(&self, bytes: &[u8]) -> Vec<u8> {
        crypto::hash(HashAlgorithm::Sha256, bytes)
    }
}

/// The decision for a token that holds.
pub(crate) fn allowed(accepted: Accepted) -> Allowed {
    let allowed = Allowed {
        usage_key: accepted.usage_key,
        ttl_seconds: accepted.ttl_seconds,
        ..Allowed::new(accepted.principal)
    };
    let facts = accepted.facts.into_iter();
    let allowed = facts.fold(allowed, |allowed, (name, value)| {
        let value = match value {
            Value::String(text) => ContextValue::Text(text),
            Value::Bool(truth) => ContextValue::Boolean(truth),
            Value::Number(number) => number
                .as_i64()
                .map_or_else(|| ContextValue::Text(number.to_string()), ContextValue::Integer),
            other => ContextValue::Json(other.to_string()),
        };
        allowed.fact(name, value)
    });
    // an object with text keys cannot fail
    let claims = serde_json::to_string(&accepted.claims).unwrap_or_default();
    allowed.fact("claims", ContextValue::Json(claims))
}

/// The decision for a token that is refused, on a route that wants one of some scopes.
pub(crate) fn denied(refused: &Refused, challenge: &Challenge, route: &[String]) -> Denied {
    let refusal = &refused.refusal;
    request::log(refusal);
    let (name, value) = refusal.header(challenge, route);
    Denied {
        ttl_seconds: refused.ttl_seconds,
        ..Denied::new(refusal.status(), refusal.public).header(name, value)
    }
}
