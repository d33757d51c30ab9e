//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

mod check;
mod preset;

use std::sync::Arc;

use edgeward_bearer::config::{self as checks, Forward};

use crate::{
    algorithm::Algorithm,
    claim_path::ClaimPath,
    claims::{Rule, Scopes, TimeRules},
    config::{Config, Encoding, IssuerRule, Preset},
    jwk::KeySet,
    locate::Location,
    manner,
    refusal::Challenge,
    settings::check::Check,
};

/// Tolerated clock difference where none is configured.
const LEEWAY_SECONDS: u32 = 30;

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose rules hold.
    pub preset: Preset,
    /// What holds for each issuer; empty: the same for all.
    pub issuer_rules: Vec<IssuerRule>,
    /// What `aud` must look like.
    pub audience_matches: Option<String>,
    /// Accepted issuers; empty for any.
    pub issuers: Vec<String>,
    /// Accepted audiences; empty for any.
    pub audiences: Vec<String>,
    /// Accepted algorithms; none: what the keys allow, without the MACs.
    pub algorithms: Option<Vec<Algorithm>>,
    /// Key sources, cheap ones first.
    pub sources: Vec<Source>,
    /// Where a token may be.
    pub locations: Vec<Location>,
    /// Accepted `typ`, lower case, without `application/`; empty for any.
    pub types: Vec<String>,
    /// Required scopes.
    pub scopes: Vec<String>,
    /// How many of them.
    pub scope_match: Scopes,
    /// Conditions on claims.
    pub rules: Vec<Rule>,
    /// Conditions on times.
    pub times: TimeRules,
    /// Largest token in bytes.
    pub max_token_bytes: usize,
    /// Claim that names the caller.
    pub principal: ClaimPath,
    /// Claims that name the caller where a preset lets that one be missing.
    pub other_principals: Vec<ClaimPath>,
    /// Claim that usage is counted by.
    pub usage_key: Option<ClaimPath>,
    /// Time a decision may be reused, in seconds.
    pub decision_ttl: u32,
    /// Time a refusal may be reused, in seconds.
    pub refusal_ttl: u32,
    /// The token is removed from the request.
    pub strip: bool,
    /// What challenges carry.
    pub challenge: Challenge,
}

/// A key source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Issuers it serves; empty for every accepted one.
    pub issuers: Vec<String>,
    /// Its keys.
    pub keys: Keys,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Part of the configuration.
    Fixed(Arc<KeySet>),
    /// A secret for MACs.
    Hmac {
        /// Name of the secret.
        secret: String,
        /// Name of the key.
        kid: Option<String>,
        /// How the secret is written.
        encoding: Encoding,
    },
    /// A secret that holds a key set.
    SecretSet(String),
    /// A key set fetched and cached.
    Url(UrlSource),
}

/// A key set behind a URL. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct UrlSource {
    /// Address of the key set, or of what the issuer says of itself.
    pub url: String,
    /// There is what this issuer says of itself.
    pub discovery: Option<Discovery>,
    /// Largest key set in bytes.
    pub limit: usize,
    /// Name of the `kv` store.
    pub store: String,
    /// Age at which to fetch again.
    pub refresh_ms: u64,
    /// Age up to which old keys serve.
    pub max_stale_ms: u64,
    /// Least time between two fetches.
    pub cooldown_ms: u64,
    /// Time limit of a fetch.
    pub timeout_ms: u32,
}

/// Where what an issuer says of itself leads to.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The issuer that it must name.
    pub issuer: String,
    /// The key set may be at an `http://` address.
    pub plain: bool,
}

impl Source {
    /// True when tokens of that issuer may be checked with these keys.
    #[must_use]
    pub fn serves(&self, issuer: Option<&str>) -> bool {
        self.issuers.is_empty() || issuer.is_some_and(|issuer| self.issuers.iter().any(|one| one == issuer))
    }
}

impl Settings {
    /// Checks a configuration. The second part are remarks for the log.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<(Self, Vec<String>), String> {
        let mut check = Check::default();
        let config = check.preset(config);
        check.identities(&config);
        let sources = check.sources(&config);
        let header = if config.preset.is_native() {
            Location::header
        } else {
            manner::header
        };
        let problems = &mut check.problems;
        let locations = checks::locations(problems, config.token_from.as_deref(), header);
        let rules = checks::rules(problems, &config.claims);
        let principal = checks::claim_path(problems, "principal-claim", &config.principal_claim);
        let usage_key = config
            .usage_key_claim
            .as_deref()
            .map(|text| checks::claim_path(problems, "usage-key-claim", text));
        check.limits(&config);
        check.problems.check()?;
        let (Some(principal), Some(usage_key)) =
            (principal, usage_key.map_or(Some(None), |path| path.map(Some)))
        else {
            return Err("a claim path is wrong".into());
        };
        let bare = |name: &String| {
            let name = name.to_ascii_lowercase();
            name.strip_prefix("application/")
                .map_or(name.clone(), str::to_owned)
        };
        let settings = Self {
            types: config.types.iter().map(bare).collect(),
            challenge: Challenge {
                realm: config.realm,
                scopes: config.scopes.clone(),
                resource_metadata: config.resource_metadata,
            },
            preset: config.preset,
            issuer_rules: config.issuers,
            audience_matches: config.audience_matches,
            issuers: config.issuer,
            audiences: config.audience,
            algorithms: config.algorithms,
            sources,
            locations,
            scopes: config.scopes,
            scope_match: config.scope_match.unwrap_or_default(),
            rules,
            times: TimeRules {
                leeway: f64::from(config.leeway_seconds.unwrap_or(LEEWAY_SECONDS)),
                require_exp: config.require_exp,
                max_age: config.max_age_seconds.map(f64::from),
            },
            max_token_bytes: config.max_token_bytes,
            principal,
            other_principals: ["client_id", "iss"]
                .iter()
                .flat_map(|name| ClaimPath::parse(name))
                .collect(),
            usage_key,
            decision_ttl: config.decision_ttl_seconds,
            refusal_ttl: config.refusal_ttl_seconds,
            strip: config.forward == Forward::Strip,
        };
        Ok((settings, check.notes))
    }

    /// Capabilities that this configuration needs.
    #[must_use]
    pub fn capabilities(&self) -> Vec<&'static str> {
        let any = |test: fn(&Keys) -> bool| self.sources.iter().any(|source| test(&source.keys));
        let mut names = Vec::new();
        if any(|keys| matches!(keys, Keys::Url(_))) {
            names.extend(["http", "kv"]);
        }
        if any(|keys| matches!(keys, Keys::Hmac { .. } | Keys::SecretSet(_))) {
            names.push("secret");
        }
        names
    }

    /// True when MACs are accepted at all.
    #[must_use]
    pub fn accepts_hmac(&self) -> bool {
        self.algorithms
            .iter()
            .flatten()
            .any(|algorithm| algorithm.is_hmac())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(extra: Value) -> Result<(Settings, Vec<String>), String> {
        let mut config = json!({"issuer": "https://id.test", "audience": "pets", "keys": [{"jwks": {"url": "https://id.test/jwks"}}]});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let (settings, notes) = settings(json!({})).unwrap();
        assert_eq!(settings.capabilities(), ["http", "kv"]);
        assert_eq!(
            (settings.decision_ttl, settings.max_token_bytes, settings.strip),
            (0, 8192, false)
        );
        assert!(settings.times.require_exp && notes.is_empty() && !settings.accepts_hmac());
        let Keys::Url(url) = &settings.sources[0].keys else {
            panic!("no url")
        };
        assert_eq!(
            (url.refresh_ms, url.max_stale_ms, url.cooldown_ms, url.timeout_ms),
            (300_000, 21_600_000, 30_000, 2000)
        );
        assert_eq!(url.store, "jwks");
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        let hmac = json!([{"hmac": {"secret": "s"}}]);
        let cases = [
            (
                json!({"issuer": []}),
                "issuer: missing; name what to accept, or set allow-any-issuer: true",
            ),
            (json!({"allow-any-audience": true}), "audience: contradicts"),
            (json!({"algorithms": []}), "algorithms: an empty list"),
            (json!({"keys": []}), "keys: no source"),
            (json!({"keys": hmac}), "keys[0].hmac: list HS256"),
            (
                json!({"algorithms": ["HS256"]}),
                "keys[0].jwks.url: holds public keys",
            ),
            (json!({"keys": [{"jwks": {}}]}), "keys[0].jwks: exactly one of"),
            (
                json!({"keys": [{"jwks": {"url": "https://a/", "secret": "x"}}]}),
                "exactly one of inline",
            ),
            (
                json!({"keys": [{"jwks": {"secret": "x", "store": "y"}}]}),
                "jwks.store: makes sense with `url` only",
            ),
            (
                json!({"keys": [{"jwks": {"url": "http://a/"}}]}),
                "set allow-plain-http",
            ),
            (
                json!({"keys": [{"jwks": {"url": "file:///etc/jwks"}}]}),
                "is no https:// URL",
            ),
            (json!({"keys": [{"jwks": {"url": "https:///x"}}]}), "has no host"),
            (
                json!({"keys": [{"jwks": {"url": "https://a/", "refresh-seconds": 5}}]}),
                "5 is outside 10 to 86400",
            ),
            (
                json!({"keys": [{"jwks": {"url": "https://a/", "max-stale-seconds": 20}}]}),
                "20 is outside 300",
            ),
            (
                json!({"keys": [{"jwks": {"inline": {"keys": [{"kty": "oct", "k": "AA"}]}}}]}),
                "inline: no usable key: key 0",
            ),
            (
                json!({"keys": [{"jwks": {"url": "https://a/", "issuer": "other"}}]}),
                "\"other\" is not in the list",
            ),
            (
                json!({"issuer": ["a", "b"], "keys": [{"jwks": {"url": "https://a/"}}, {"jwks": {"url": "https://b/"}}]}),
                "keys[1].jwks.issuer: missing",
            ),
            (
                json!({"leeway-seconds": 601}),
                "leeway-seconds: 601 is outside 0 to 600",
            ),
            (json!({"max-token-bytes": 10}), "max-token-bytes: 10"),
            (json!({"token-from": []}), "token-from: an empty list"),
            (
                json!({"token-from": [{"query": "a", "cookie": "b"}]}),
                "token-from[0]: exactly one",
            ),
            (
                json!({"token-from": [{"query": "a", "scheme": "b"}]}),
                "token-from[0].scheme",
            ),
            (json!({"claims": [{"claim": "a"}]}), "claims[0]: exactly one"),
            (
                json!({"claims": [{"claim": "a..b", "exists": true}]}),
                "claims[0].claim: claim path \"a..b\"",
            ),
            (json!({"principal-claim": ""}), "principal-claim:"),
            (json!({"usage-key-claim": "/"}), "usage-key-claim:"),
            (json!({"scopes": ["a b"]}), "scopes: \"a b\""),
            (json!({"realm": "a\"b"}), "realm:"),
        ];
        for (extra, wanted) in cases {
            let error = settings(extra.clone()).unwrap_err();
            assert!(error.contains(wanted), "{extra}: {error}");
        }
        let both = settings(json!({"leeway-seconds": 601, "scopes": [""]})).unwrap_err();
        assert!(both.contains("leeway") && both.contains("scopes"), "{both}");
    }

    #[test]
    fn cheap_sources_come_first_and_serve_their_issuers_only() {
        let (settings, _) = settings(json!({
            "issuer": ["a", "b"], "algorithms": ["ES256", "HS256"],
            "keys": [{"jwks": {"url": "https://a/", "issuer": "a"}}, {"hmac": {"secret": "s", "issuer": ["b"]}}],
        }))
        .unwrap();
        assert!(matches!(settings.sources[0].keys, Keys::Hmac { .. }));
        assert!(settings.sources[0].serves(Some("b")) && !settings.sources[0].serves(Some("a")));
        assert!(!settings.sources[1].serves(None));
        assert_eq!(settings.capabilities(), ["http", "kv", "secret"]);
    }
}
