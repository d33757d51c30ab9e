//! The decision about one token: what the authorization server says of it, and whether that suffices.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeward_bearer::{
    claim_path::ClaimPath,
    claims::{self, Scopes},
    refusal::{Refusal, excerpt},
};
use serde_json::{Map, Value};

use crate::{outside::Outside, question, settings::Settings};

/// A token that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Who is calling.
    pub principal: String,
    /// What usage is counted by, when it is not the principal.
    pub usage_key: Option<String>,
    /// All members of the answer.
    pub claims: Map<String, Value>,
    /// Chosen members by their paths.
    pub facts: Vec<(String, Value)>,
    /// How long the decision may be reused, in seconds.
    pub ttl_seconds: Option<u32>,
}

/// A refusal, and how long it may be reused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// In seconds.
    pub ttl_seconds: Option<u32>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            ttl_seconds: None,
        }
    }
}

/// Decides about a token. `route`: scopes of which the route wants one; `certificate` is the client's, DER.
///
/// # Errors
/// Why it is refused.
pub fn check(
    settings: &Settings,
    token: &str,
    route: &[String],
    certificate: &dyn Fn() -> Option<Vec<u8>>,
    outside: &impl Outside,
) -> Result<Accepted, Refused> {
    if token.len() > settings.max_token_bytes || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!(
            "the token has {} bytes, max-token-bytes is {}, or has characters that no token has",
            token.len(),
            settings.max_token_bytes
        );
        return Err(Refusal::token("the token is malformed", detail).into());
    }
    let answer = question::ask(settings, token, outside).map_err(Refusal::unavailable)?;
    let Some(members) = answer else {
        return Err(Refused {
            refusal: Refusal::token("the token is not active", "the token is not active"),
            ttl_seconds: Some(settings.inactive_cache).filter(|seconds| *seconds > 0),
        });
    };
    let now_ms = outside.now_ms();
    let expires = claims::check_times(&members, now_ms, settings.times)?;
    claims::check_issuer(&members, &settings.issuers)?;
    claims::check_audience(&members, &settings.audiences)?;
    token_type(&members, settings)?;
    confirmation(&members, settings, certificate, outside)?;
    let principal = principal(&members, &settings.principals)?;
    let usage_key = settings.usage_key.as_ref();
    let usage_key = usage_key.map(|path| claims::name(&members, path)).transpose()?;
    claims::check_scopes(&members, &settings.scopes, settings.scope_match)?;
    claims::check_scopes(&members, route, Scopes::Any)?;
    claims::check_rules(&members, &settings.rules)?;
    let facts = settings.facts.iter();
    let facts = facts.filter_map(|path| Some((path.to_string(), path.find(&members)?.clone())));
    // the same token from another client is another decision
    let is_bound = members.contains_key("cnf");
    let cache = if is_bound { 0 } else { settings.cache };
    Ok(Accepted {
        principal,
        usage_key,
        facts: facts.collect(),
        ttl_seconds: claims::reuse_seconds(cache, expires, now_ms),
        claims: members,
    })
}

/// A token of another type than the one it was presented as needs a proof that nobody checked (RFC 9449 section 7).
fn token_type(members: &Map<String, Value>, settings: &Settings) -> Result<(), Refusal> {
    let Some(value) = members.get("token_type") else {
        return Ok(());
    };
    let name = value.as_str().unwrap_or_default().to_ascii_lowercase();
    if settings.token_types.contains(&name) {
        return Ok(());
    }
    let detail = format!("token_type {:?} is not in token-types", excerpt(&name));
    Err(Refusal::token("the type of the token is not accepted", detail))
}

/// A token may be bound to a key: that of the client certificate is checked (RFC 8705 section 3.2), other proofs are not.
fn confirmation(
    members: &Map<String, Value>,
    settings: &Settings,
    certificate: &dyn Fn() -> Option<Vec<u8>>,
    outside: &impl Outside,
) -> Result<(), Refusal> {
    let refuse = |detail: &str| Err(Refusal::token("the token is bound to a key", detail));
    let Some(bound) = members.get("cnf") else {
        return Ok(());
    };
    let Some(bound) = bound.as_object() else {
        return refuse("member cnf is no object");
    };
    if let Some(wanted) = bound.get("x5t#S256") {
        let hash = certificate().map(|der| URL_SAFE_NO_PAD.encode(outside.sha256(&der)));
        match (hash, wanted.as_str()) {
            (Some(hash), Some(wanted)) if hash == wanted => {}
            (None, _) => return refuse("the token is bound to a client certificate, and there is none"),
            _ => return refuse("the token is bound to another client certificate"),
        }
    }
    let others = bound.keys().any(|name| name != "x5t#S256");
    if (others || bound.is_empty()) && !settings.ignore_confirmation {
        return refuse(
            "the token is bound to a key whose proof is not checked here (cnf); see ignore-confirmation",
        );
    }
    Ok(())
}

/// The first member that is there names the caller.
fn principal(members: &Map<String, Value>, paths: &[ClaimPath]) -> Result<String, Refusal> {
    let found = paths.iter().find(|path| path.find(members).is_some());
    match found {
        Some(path) => claims::name(members, path),
        None => {
            let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
            let detail = format!("none of the members {} is there", names.join(", "));
            Err(Refusal::token("the token names no caller", detail))
        }
    }
}
