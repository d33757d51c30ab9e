//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use edgeward_bearer::{
    claim_path::ClaimPath,
    claims::{Rule, Scopes, TimeRules},
    config::{self as checks, Forward},
    locate::Location,
    refusal::Challenge,
};
use edgeward_sdk::config::Problems;

use crate::config::{Authentication, Config};

/// Longest address in bytes.
const URL_LIMIT: usize = 2048;

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the endpoint.
    pub endpoint: String,
    /// How the gateway says who it is; secrets by name.
    pub authentication: Authentication,
    /// What kind of token the question is about.
    pub hint: Option<String>,
    /// Time limit of a question.
    pub timeout_ms: u32,
    /// Where a token may be.
    pub locations: Vec<Location>,
    /// Largest token in bytes.
    pub max_token_bytes: usize,
    /// Accepted issuers; empty for any.
    pub issuers: Vec<String>,
    /// Accepted audiences; empty for any.
    pub audiences: Vec<String>,
    /// Required scopes.
    pub scopes: Vec<String>,
    /// How many of them.
    pub scope_match: Scopes,
    /// Accepted types, lower case.
    pub token_types: Vec<String>,
    /// Bound tokens pass unchecked.
    pub ignore_confirmation: bool,
    /// Conditions on members.
    pub rules: Vec<Rule>,
    /// Conditions on times.
    pub times: TimeRules,
    /// Members that may name the caller.
    pub principals: Vec<ClaimPath>,
    /// Member that usage is counted by.
    pub usage_key: Option<ClaimPath>,
    /// Members that become facts.
    pub facts: Vec<ClaimPath>,
    /// Time a decision may be reused, in seconds.
    pub cache: u32,
    /// The same for tokens that are not active.
    pub inactive_cache: u32,
    /// The token is removed from the request.
    pub strip: bool,
    /// What challenges carry.
    pub challenge: Challenge,
}

fn paths(problems: &mut Problems, key: &str, texts: &[String]) -> Vec<ClaimPath> {
    let texts = texts.iter().enumerate();
    texts
        .filter_map(|(index, text)| checks::claim_path(problems, &format!("{key}[{index}]"), text))
        .collect()
}

fn endpoint(problems: &mut Problems, config: &Config) {
    let url = &config.endpoint;
    problems.https(
        "endpoint",
        url,
        "/?:",
        config.allow_plain_http,
        "allow-plain-http",
    );
    let wrong = |byte: u8| !byte.is_ascii_graphic() || byte == b'#' || byte == b'@';
    if url.len() > URL_LIMIT || url.bytes().any(wrong) {
        problems.push(format!(
            "endpoint: longer than {URL_LIMIT} bytes, or with a user, a fragment or characters that no URL has"
        ));
    }
}

fn texts(problems: &mut Problems, config: &Config) {
    checks::scopes(problems, &config.scopes);
    if let Authentication::Basic(client) | Authentication::Post(client) = &config.authentication
        && client.client_id.is_empty()
    {
        problems.push("authentication.client-id: is empty");
    }
    for (key, text) in [
        ("realm", Some(&config.realm)),
        ("resource-metadata", config.resource_metadata.as_ref()),
        ("token-type-hint", config.token_type_hint.as_ref()),
    ] {
        checks::printable(problems, key, text);
    }
    if config.token_types.is_empty() {
        problems.push("token-types: an empty list accepts nothing");
    }
    if config.principal_claims.is_empty() {
        problems.push("principal-claims: an empty list names no caller");
    }
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        endpoint(&mut problems, &config);
        texts(&mut problems, &config);
        let locations = checks::locations(&mut problems, config.token_from.as_deref(), Location::header);
        let rules = checks::rules(&mut problems, &config.claims);
        let principals = paths(&mut problems, "principal-claims", &config.principal_claims);
        let facts = paths(&mut problems, "facts", &config.facts);
        let usage = config.usage_key_claim.as_deref();
        let usage_key = usage.and_then(|text| checks::claim_path(&mut problems, "usage-key-claim", text));
        problems.range("timeout-ms", config.timeout_ms, 100, 60_000);
        problems.range("max-token-bytes", config.max_token_bytes as u64, 16, 65_536);
        problems.range("leeway-seconds", config.leeway_seconds, 0, 600);
        problems.range("cache-seconds", config.cache_seconds, 0, 3600);
        problems.range("inactive-cache-seconds", config.inactive_cache_seconds, 0, 3600);
        problems.check()?;
        let types = config.token_types.iter();
        Ok(Self {
            token_types: types.map(|name| name.to_ascii_lowercase()).collect(),
            challenge: Challenge {
                realm: config.realm,
                scopes: config.scopes.clone(),
                resource_metadata: config.resource_metadata,
            },
            endpoint: config.endpoint,
            authentication: config.authentication,
            hint: config.token_type_hint,
            timeout_ms: config.timeout_ms,
            locations,
            max_token_bytes: config.max_token_bytes,
            issuers: config.issuer,
            audiences: config.audience,
            scopes: config.scopes,
            scope_match: config.scope_match,
            ignore_confirmation: config.ignore_confirmation,
            rules,
            times: TimeRules {
                leeway: f64::from(config.leeway_seconds),
                require_exp: config.require_exp,
                max_age: None,
            },
            principals,
            usage_key,
            facts,
            cache: config.cache_seconds,
            inactive_cache: config.inactive_cache_seconds,
            strip: config.forward == Forward::Strip,
        })
    }

    /// Capabilities that this configuration needs.
    #[must_use]
    pub fn capabilities(&self) -> [&'static str; 2] {
        ["http", "secret"]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(extra: Value) -> Result<Settings, String> {
        let mut config = json!({"endpoint": "https://id.test/introspect",
            "authentication": {"basic": {"client-id": "gw", "secret": "s"}}});
        let members = config.as_object_mut().unwrap();
        members.extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = settings(json!({})).unwrap();
        assert_eq!((settings.timeout_ms, settings.max_token_bytes), (2000, 8192));
        assert_eq!((settings.cache, settings.inactive_cache), (0, 0));
        assert_eq!(settings.token_types, ["bearer"]);
        assert_eq!(settings.scope_match, Scopes::All);
        assert!(!settings.times.require_exp && !settings.ignore_confirmation && !settings.strip);
        let principals: Vec<String> = settings.principals.iter().map(ToString::to_string).collect();
        assert_eq!(principals, ["sub", "username", "client_id"]);
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        for (extra, wanted) in [
            (
                json!({"endpoint": "http://a/"}),
                "config.endpoint: \"http://a/\" is not https://",
            ),
            (json!({"endpoint": "https://"}), "has no host"),
            (json!({"endpoint": "a"}), "is no https:// URL"),
            (json!({"endpoint": "https://u:p@a/"}), "with a user"),
            (
                json!({"authentication": {"post": {"client-id": "", "secret": "s"}}}),
                "authentication.client-id: is empty",
            ),
            (json!({"scopes": ["a b"]}), "scopes: \"a b\""),
            (json!({"realm": "a\"b"}), "realm:"),
            (json!({"token-type-hint": "a\nb"}), "token-type-hint:"),
            (json!({"token-types": []}), "token-types: an empty list"),
            (json!({"principal-claims": []}), "principal-claims: an empty list"),
            (json!({"principal-claims": ["sub", ""]}), "principal-claims[1]:"),
            (json!({"facts": ["a..b"]}), "facts[0]:"),
            (json!({"usage-key-claim": "/"}), "usage-key-claim:"),
            (json!({"claims": [{"claim": "a"}]}), "claims[0]: exactly one"),
            (json!({"token-from": []}), "token-from: an empty list"),
            (json!({"token-from": [{}]}), "token-from[0]: exactly one"),
            (
                json!({"token-from": [{"query": "a", "scheme": "b"}]}),
                "token-from[0].scheme",
            ),
            (
                json!({"timeout-ms": 99}),
                "timeout-ms: 99 is outside 100 to 60000",
            ),
            (json!({"cache-seconds": 3601}), "cache-seconds: 3601"),
            (
                json!({"inactive-cache-seconds": 3601}),
                "inactive-cache-seconds: 3601",
            ),
            (json!({"leeway-seconds": 601}), "leeway-seconds: 601"),
            (json!({"max-token-bytes": 1}), "max-token-bytes: 1"),
        ] {
            let error = settings(extra.clone()).unwrap_err();
            assert!(error.contains(wanted), "{extra}: {error}");
        }
    }
}
