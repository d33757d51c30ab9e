//! The seams of the logic, answered by the gateway.

use edgeward_sdk::{
    Allowed, Answer, ContextValue, Decision, Denied, HeaderBlock, RequestHead, clock, crypto, http_client,
    kv, log, secret,
};
use edgeward_sigv4::Timestamp;
use serde_json::{Value, json};

use crate::{
    authorizer::Accepted,
    config::Errors,
    identity::Attributes,
    outside::{Incoming, Outside},
    refusal::{Kind, Refusal},
    settings::Settings,
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

    fn fetch(&self, url: &str, timeout_ms: u32) -> Result<(u16, Vec<u8>), String> {
        let request = http_client::Request::get(url)
            .header("accept", "application/json")
            .timeout_ms(timeout_ms);
        let response = http_client::send(&request).map_err(|error| error.reason().to_owned())?;
        Ok((response.status, response.body))
    }

    fn read(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let entry = kv::get(store, key).map_err(|error| store_failed(store, &error))?;
        Ok(entry.map(|entry| entry.value))
    }

    fn write(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        kv::set(store, key, value, Some(ttl_ms))
            .map(|_version| ())
            .map_err(|error| store_failed(store, &error))
    }

    fn write_if_absent(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<bool, String> {
        let version = kv::compare_and_set(store, key, 0, value, Some(ttl_ms));
        version
            .map(|version| version.is_some())
            .map_err(|error| store_failed(store, &error))
    }

    fn count(&self, store: &str, key: &str, ttl_ms: u64) -> Result<u64, String> {
        let sum = kv::increment(store, key, 1, Some(ttl_ms)).map_err(|error| store_failed(store, &error))?;
        // a counter that somebody else made negative stops nobody's bound from holding
        Ok(u64::try_from(sum).unwrap_or(u64::MAX))
    }

    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        crypto::constant_time_equal(one, other)
    }

    fn log(&self, level: log::Level, message: &str) {
        log::log(level, message);
    }
}

fn store_failed(store: &str, error: &kv::Error) -> String {
    format!("kv store {store:?}: {}", error.reason())
}

/// The request of a hook.
pub(crate) struct Original<'a>(pub(crate) &'a RequestHead);

impl Incoming for Original<'_> {
    fn method(&self) -> String {
        self.0.method()
    }

    fn headers(&self) -> HeaderBlock {
        self.0.raw_headers()
    }

    fn raw_target(&self) -> String {
        self.0.raw_target()
    }

    fn raw_authority(&self) -> String {
        self.0.raw_authority()
    }

    fn body_sha256(&self) -> Option<Vec<u8>> {
        self.0.body_digest()
    }
}

/// The decision for a caller whose signature holds.
pub(crate) fn allowed(accepted: Accepted) -> Allowed {
    let Accepted {
        access_key_id,
        identity,
    } = accepted;
    let principal = identity.arn.clone().unwrap_or_else(|| access_key_id.clone());
    let user_id = identity.user_id.unwrap_or_else(|| access_key_id.clone());
    let Attributes {
        tags,
        org_id,
        org_paths,
        issued,
        mfa,
        mfa_at,
    } = identity.attributes;
    let text = |text: Option<String>| text.map(ContextValue::from);
    let some = |is_empty: bool, value: Value| (!is_empty).then(|| ContextValue::from(value));
    let seconds = |time: Option<Timestamp>| {
        time.map(|time| ContextValue::Integer(i64::try_from(time.0).unwrap_or(i64::MAX)))
    };
    let facts = [
        ("accountId", text(identity.account)),
        ("userArn", text(identity.arn)),
        ("userId", text(Some(user_id))),
        ("accessKey", text(Some(access_key_id))),
        ("principalOrgId", text(org_id)),
        ("principalOrgPaths", some(org_paths.is_empty(), json!(org_paths))),
        ("principalTags", some(tags.is_empty(), json!(tags))),
        ("tokenIssueTime", seconds(issued)),
        ("multiFactorAuthPresent", mfa.map(ContextValue::from)),
        ("multiFactorAuthTime", seconds(mfa_at)),
    ];
    let allowed = facts
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .fold(Allowed::new(principal), |allowed, (key, value)| {
            allowed.fact(key, value)
        });
    match identity.policy {
        Some(policy) => allowed.policy(policy),
        None => allowed,
    }
}

/// The decision for a caller who is refused.
pub(crate) fn refused(refusal: &Refusal, settings: &Settings) -> Decision {
    let level = match refusal.kind {
        Kind::NoCredentials => log::Level::Debug,
        Kind::Unavailable => log::Level::Error,
        _ => log::Level::Info,
    };
    log::log(level, &format!("refused: {}", refusal.detail));
    match settings.errors {
        Errors::Aws => aws(refusal).into(),
        Errors::Plain => plain(refusal, settings).into(),
    }
}

fn aws(refusal: &Refusal) -> Answer {
    let body = json!({ "message": refusal.aws }).to_string();
    Answer::new(refusal.kind.aws_status())
        .header("content-type", "application/json")
        .header("x-amzn-errortype", refusal.kind.aws_type())
        .body(body)
}

fn plain(refusal: &Refusal, settings: &Settings) -> Denied {
    let denied = Denied::new(refusal.kind.plain_status(), refusal.public);
    match refusal.kind.plain_status() {
        401 => {
            let schemes: Vec<&str> = settings.algorithms.iter().map(|one| one.name()).collect();
            denied.header("www-authenticate", schemes.join(", "))
        }
        503 => denied.header("retry-after", "1"),
        _ => denied,
    }
}
