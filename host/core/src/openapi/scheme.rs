//! How callers say who they are: the security scheme of an authorizer, kept as OpenAPI 3 has it where `identity-sources` do not say the same.

use serde_json::{Map, Value, json};

use super::Version;
use crate::api::{Authorizer, IdentitySource};

/// Members of a scheme beside its type: those that it has to have, and others.
const MEMBERS: [(&str, &[&str], &[&str]); 5] = [
    ("apiKey", &["name", "in"], &[]),
    ("http", &["scheme"], &["bearerFormat"]),
    ("oauth2", &["flows"], &[]),
    ("openIdConnect", &["openIdConnectUrl"], &[]),
    ("mutualTLS", &[], &[]),
];

/// Names of OAuth's flows in 2.0 and since.
const FLOWS: [(&str, &str); 4] = [
    ("implicit", "implicit"),
    ("password", "password"),
    ("application", "clientCredentials"),
    ("accessCode", "authorizationCode"),
];
/// Members of a flow.
const OF_FLOW: [&str; 3] = ["authorizationUrl", "tokenUrl", "scopes"];

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn api_key(name: &str, place: &str) -> Map<String, Value> {
    object(json!({"type": "apiKey", "name": name, "in": place}))
}

/// What `identity-sources` say: the first field or parameter.
fn derived(sources: &[String]) -> Map<String, Value> {
    let parsed = sources.iter().map(|source| IdentitySource::parse(source));
    for source in parsed.flatten() {
        match source {
            IdentitySource::Header(name) => return api_key(&name, "header"),
            IdentitySource::Query(name) => return api_key(&name, "query"),
            IdentitySource::Context(_) | IdentitySource::StageVariable(_) => {}
        }
    }
    api_key("Authorization", "header")
}

/// A scheme of a document, if it says something that `identity-sources` do not.
pub(super) fn kept(
    scheme: &Map<String, Value>,
    version: Version,
    sources: &[String],
) -> Option<Map<String, Value>> {
    let kind = scheme.get("type").and_then(Value::as_str)?;
    if version == Version::V2 {
        match kind {
            "basic" => return Some(object(json!({"type": "http", "scheme": "basic"}))),
            "oauth2" => {
                let flow = scheme.get("flow").and_then(Value::as_str)?;
                let (_old, name) = FLOWS.iter().find(|(old, _name)| *old == flow)?;
                let known = scheme.iter().filter(|(key, _)| OF_FLOW.contains(&key.as_str()));
                let members: Map<String, Value> =
                    known.map(|(key, value)| (key.clone(), value.clone())).collect();
                return Some(object(json!({"type": "oauth2", "flows": {*name: members}})));
            }
            _ => {}
        }
    }
    let (_, needed, more) = MEMBERS.iter().find(|(name, ..)| *name == kind)?;
    // AWS has them without, where its own extensions say the rest
    if !needed.iter().all(|key| scheme.contains_key(*key)) {
        return None;
    }
    let known = |key: &str| key == "type" || needed.contains(&key) || more.contains(&key);
    let known = scheme.iter().filter(|(key, _)| known(key));
    let kept: Map<String, Value> = known.map(|(key, value)| (key.clone(), value.clone())).collect();
    (kept != derived(sources)).then_some(kept)
}

/// The scheme of an authorizer in a document. False if it is not all that is kept.
pub(super) fn written(authorizer: &Authorizer, version: Version) -> (Map<String, Value>, bool) {
    let sources = &authorizer.identity_sources;
    let Some(scheme) = &authorizer.scheme else {
        return (derived(sources), true);
    };
    let text = |key: &str| scheme.get(key).and_then(Value::as_str).unwrap_or_default();
    let written = match (version, text("type")) {
        (Version::V2, "apiKey") if text("in") != "cookie" => scheme.clone(),
        (Version::V2, "oauth2") => older(scheme).unwrap_or_else(|| derived(sources)),
        (Version::V2, "http") if text("scheme").eq_ignore_ascii_case("basic") => {
            object(json!({"type": "basic"}))
        }
        (Version::V2, "http") => api_key("Authorization", "header"),
        (Version::V2, _) | (Version::V3, "mutualTLS") => derived(sources),
        (Version::V3 | Version::V31, _) => scheme.clone(),
    };
    let same = kept(&written, version, sources).as_ref() == Some(scheme);
    (written, same)
}

/// OAuth in 2.0, which has one flow.
fn older(scheme: &Map<String, Value>) -> Option<Map<String, Value>> {
    let flows = scheme.get("flows")?.as_object()?;
    let (name, flow) = flows.iter().next().filter(|_| flows.len() == 1)?;
    let (old, _name) = FLOWS.iter().find(|(_old, new)| new == name)?;
    let mut written = object(json!({"type": "oauth2", "flow": old}));
    let members = flow.as_object()?.iter();
    let known = members.filter(|(key, _)| OF_FLOW.contains(&key.as_str()));
    written.extend(known.map(|(key, value)| (key.clone(), value.clone())));
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::typed;

    #[test]
    fn schemes_are_written_in_every_version_as_far_as_it_can_say_them() {
        let bearer = json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"});
        let fallback = json!({"type": "apiKey", "name": "Authorization", "in": "header"});
        let code = json!({"type": "oauth2", "flows": {"authorizationCode": {"authorizationUrl": "https://a", "tokenUrl": "https://b", "scopes": {"x": "y"}}}});
        let old = json!({"type": "oauth2", "flow": "accessCode", "authorizationUrl": "https://a", "tokenUrl": "https://b", "scopes": {"x": "y"}});
        let query = json!({"type": "apiKey", "name": "tok", "in": "query"});
        for (scheme, sources, version, expected, exact) in [
            (Some(&bearer), json!([]), Version::V3, &bearer, true),
            (
                Some(&bearer),
                json!(["$request.header.X"]),
                Version::V2,
                &fallback,
                false,
            ),
            (Some(&code), json!([]), Version::V2, &old, true),
            (Some(&code), json!([]), Version::V31, &code, true),
            (Some(&query), json!([]), Version::V2, &query, true),
            (
                None,
                json!(["$context.routeKey", "method.request.querystring.tok"]),
                Version::V3,
                &query,
                true,
            ),
            (None, json!([]), Version::V3, &fallback, true),
            // says what would be said anyway
            (Some(&fallback), json!([]), Version::V3, &fallback, false),
        ] {
            let authorizer: Authorizer =
                typed(json!({"plugin": "p", "scheme": scheme, "identity-sources": sources})).unwrap();
            let (written, same) = written(&authorizer, version);
            assert_eq!(
                (&Value::Object(written), same),
                (expected, exact),
                "{scheme:?} {version:?}"
            );
        }
    }
}
