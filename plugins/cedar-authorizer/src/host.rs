//! The request as the gateway tells it, and the decision as the gateway takes it.

use edgeward_sdk::{
    Allowed, Decision, Denied, Exchange, RequestHead, clock, log_debug, log_error, log_info, log_warn,
};
use serde_json::Value;

use crate::{
    config::OnPolicyError,
    engine::{NOBODY, Verdict},
    seen::{Seen, Unasked},
    settings::Settings,
};

/// Most policies that failed that are told of in the log, of one request.
const ERRORS_MAX: usize = 10;

/// What policies see of the request.
///
/// # Errors
/// A field or parameter that policies see is there more than once, or is no text.
pub(crate) fn seen(
    settings: &Settings,
    request: &RequestHead,
    exchange: &Exchange,
    principal: Option<String>,
) -> Result<Seen, Unasked> {
    let peer = exchange.peer();
    let claims = settings
        .claims
        .as_ref()
        .and_then(|claims| exchange.get(&claims.namespace, &claims.key));
    Ok(Seen {
        principal,
        claims: claims.and_then(|value| value.to_json()).unwrap_or(Value::Null),
        method: request.method(),
        route: exchange.route(),
        path: request.path(),
        host: host(&request.authority()),
        params: request.path_params(),
        query: query(&settings.query, request)?,
        headers: headers(&settings.headers, request)?,
        address: peer.client_address,
        tls: peer.tls_version.is_some(),
        user_agent: request.header_str("user-agent"),
        now_ms: clock::now_ms(),
    })
}

/// Host in lower case, without port and without the dot at its end.
fn host(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        // not within an IPv6 address
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// One value at most: which of several the upstream takes, nobody knows here.
fn query(names: &[String], request: &RequestHead) -> Result<Vec<(String, String)>, Unasked> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in request.query_params() {
        if !names.contains(&name) {
            continue;
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err(unclear("query parameter", &name, "is there more than once"));
        }
        found.push((name, value));
    }
    Ok(found)
}

fn headers(names: &[String], request: &RequestHead) -> Result<Vec<(String, String)>, Unasked> {
    let mut found = Vec::new();
    for name in names {
        let mut values = request.header_values(name).into_iter();
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(unclear("header field", name, "is there more than once"));
        }
        let Ok(text) = String::from_utf8(value) else {
            return Err(unclear("header field", name, "is no text"));
        };
        found.push((name.clone(), text));
    }
    Ok(found)
}

fn unclear(what: &str, name: &str, why: &str) -> Unasked {
    Unasked::Unclear(format!("{what} {name:?} {why}"), format!("{what} {name} {why}"))
}

/// The decision.
pub(crate) fn decision(
    settings: &Settings,
    principal: Option<String>,
    verdict: Result<Verdict, Unasked>,
) -> Decision {
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(unasked) => return not_asked(unasked),
    };
    for error in verdict.errors.iter().take(ERRORS_MAX) {
        log_warn!("{}: {error}", verdict.question);
    }
    if verdict.allowed {
        log_debug!("{}: permitted by {:?}", verdict.question, verdict.policies);
        let allowed = Allowed::new(principal.unwrap_or_else(|| NOBODY.to_owned()))
            .fact("policies", Value::from(verdict.policies));
        return match settings.ttl_seconds {
            0 => allowed.into(),
            seconds => allowed.ttl_seconds(seconds).into(),
        };
    }
    let failed = !verdict.errors.is_empty() && settings.engine.on_policy_error == OnPolicyError::Deny;
    let why = match (failed, verdict.policies.as_slice()) {
        (true, _) => "a policy cannot be evaluated".to_owned(),
        (false, []) => "no policy permits it".to_owned(),
        (false, policies) => format!("forbidden by {policies:?}"),
    };
    log_info!("refused: {}: {why}", verdict.question);
    let denied = refused();
    match settings.ttl_seconds {
        // an error may be of this request only
        seconds if seconds > 0 && verdict.errors.is_empty() => denied.ttl_seconds(seconds).into(),
        _ => denied.into(),
    }
}

fn not_asked(unasked: Unasked) -> Decision {
    match unasked {
        Unasked::Nobody => log_info!(
            "refused: no authorizer before this one has said who is asking (principal.anonymous: ask lets policies decide)"
        ),
        Unasked::Unclear(detail, public) => {
            log_info!("refused: {detail}");
            return Denied::new(400, public).into();
        }
        Unasked::Unknown(detail) => log_info!("refused: the schema does not have it: {detail}"),
        Unasked::Broken(detail) => log_error!("refused: {detail}"),
    }
    refused().into()
}

fn refused() -> Denied {
    Denied::new(403, "not allowed")
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn hosts_are_in_lower_case_without_port() {
        for (authority, wanted) in [
            ("API.test", "api.test"),
            ("api.test:8443", "api.test"),
            ("api.test.:1", "api.test"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("", ""),
        ] {
            assert_eq!(host(authority), wanted, "{authority}");
        }
    }
}
