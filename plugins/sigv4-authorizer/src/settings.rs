//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_sdk::config::Problems;
use edgeward_sigv4::{Algorithm, Credential, Form, PathStyle};

use crate::{
    config::{AcceptedAlgorithm, AcceptedForm, AccessKey, Config, Errors, Source},
    ecdsa,
    identity::{Attributes, Identity, time},
};

/// Longest address of a source in bytes: with an access key id it is part of the key in the `kv` store, which takes 512.
const URL_LIMIT: usize = 300;

/// Fields that the signature cannot do without.
const ALWAYS_SIGNED: [&str; 4] = [
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-region-set",
    "x-amz-security-token",
];

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Accepted regions, at least one.
    pub regions: Vec<String>,
    /// Accepted service.
    pub service: String,
    /// Configured keys by id.
    pub keys: BTreeMap<String, Key>,
    /// Who knows other keys.
    pub source: Option<Source>,
    /// Accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Accepted forms.
    pub forms: Vec<Form>,
    /// Tolerated clock difference in seconds.
    pub skew: u64,
    /// Longest life of a presigned request in seconds.
    pub max_expires: u64,
    /// `UNSIGNED-PAYLOAD` is accepted.
    pub unsigned_payload: bool,
    /// Fields that begin with `x-amz-` and need no signature.
    pub unsigned_headers: Vec<String>,
    /// How the path is written.
    pub style: PathStyle,
    /// Store of signatures that were seen; none: they may be repeated.
    pub replay_store: Option<String>,
    /// What a refused caller is told.
    pub errors: Errors,
}

/// A configured key. Secrets by name.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name of the secret.
    pub secret: Option<String>,
    /// Public key of Signature Version 4a, an uncompressed point.
    pub public_key: Option<Vec<u8>>,
    /// Name of the secret with the session token.
    pub session_token: Option<String>,
    /// Whose key it is.
    pub identity: Identity,
}

fn lists(problems: &mut Problems, config: &Config) {
    for (key, empty) in [
        ("regions", config.regions.is_empty()),
        ("algorithms", config.algorithms.is_empty()),
        ("forms", config.forms.is_empty()),
    ] {
        if empty {
            problems.push(format!("{key}: an empty list accepts nothing"));
        }
    }
    let names = config.regions.iter().map(|region| ("regions", region));
    for (key, name) in names.chain([("service", &config.service)]) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            problems.push(format!(
                "{key}: {name:?} is no name of letters, digits, '-' and '_'"
            ));
        }
    }
    for name in &config.unsigned_headers {
        if !name.starts_with("x-amz-") || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            problems.push(format!(
                "unsigned-headers: {name:?} does not begin with x-amz- in lower case; other fields need no signature"
            ));
        } else if ALWAYS_SIGNED.contains(&name.as_str()) {
            problems.push(format!("unsigned-headers: {name} is part of the signature"));
        }
    }
}

fn access_keys(problems: &mut Problems, config: &Config) -> BTreeMap<String, Key> {
    if config.credentials.is_empty() && config.source.is_none() {
        problems.push("credentials: no access keys, and no source of them");
    }
    let mut keys = BTreeMap::new();
    for (index, key) in config.credentials.iter().enumerate() {
        let path = format!("credentials[{index}]");
        if !Credential::is_access_key_id(&key.access_key_id) {
            problems.push(format!(
                "{path}.access-key-id: {:?} is not 1 to 128 letters, digits, '.', '_' and '-'",
                key.access_key_id
            ));
        }
        let checked = access_key(problems, &path, key, config);
        if keys.insert(key.access_key_id.clone(), checked).is_some() {
            problems.push(format!(
                "{path}.access-key-id: {:?} is there twice",
                key.access_key_id
            ));
        }
    }
    keys
}

fn access_key(problems: &mut Problems, path: &str, key: &AccessKey, config: &Config) -> Key {
    let public_key = key.public_key.as_deref().and_then(|text| {
        ecdsa::parse(text)
            .map_err(|error| problems.push(format!("{path}.public-key: {error}")))
            .ok()
    });
    if key.secret.is_none() && key.public_key.is_none() {
        problems.push(format!("{path}: secret or public-key is needed"));
    }
    if key.public_key.is_some() && !config.algorithms.contains(&AcceptedAlgorithm::Sigv4a) {
        problems.push(format!("{path}.public-key: `algorithms` does not have sigv4a"));
    }
    if key
        .principal_arn
        .as_ref()
        .is_some_and(|arn| !arn.starts_with("arn:"))
    {
        problems.push(format!("{path}.principal-arn: does not begin with arn:"));
    }
    Key {
        secret: key.secret.clone(),
        public_key,
        session_token: key.session_token.clone(),
        identity: identity(problems, path, key),
    }
}

fn identity(problems: &mut Problems, path: &str, key: &AccessKey) -> Identity {
    let mut at = |name: &str, text: &Option<String>| {
        let read = time(text.as_deref()?);
        read.map_err(|error| problems.push(format!("{path}.{name}: {error}")))
            .ok()
    };
    let attributes = Attributes {
        tags: key.tags.clone(),
        org_id: key.org_id.clone(),
        org_paths: key.org_paths.clone(),
        issued: at("issued-at", &key.issued_at),
        mfa: key.mfa,
        mfa_at: at("mfa-at", &key.mfa_at),
    };
    Identity::new(
        key.principal_arn.clone(),
        key.account_id.clone(),
        key.user_id.clone(),
    )
    .with_policy(key.policy.as_ref())
    .with_attributes(attributes)
    .unwrap_or_else(|error| {
        problems.push(format!("{path}.{error}"));
        Identity::default()
    })
}

fn key_source(problems: &mut Problems, source: &Source) {
    let url = &source.url;
    problems.https(
        "source.url",
        url,
        "/",
        source.allow_plain_http,
        "allow-plain-http",
    );
    if url.len() > URL_LIMIT || url.contains('#') || url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        problems.push(format!(
            "source.url: longer than {URL_LIMIT} bytes, or with a fragment, or with characters that no URL has"
        ));
    }
    problems.range("source.ttl-seconds", source.ttl_seconds, 1, 3600);
    problems.range("source.unknown-ttl-seconds", source.unknown_ttl_seconds, 1, 300);
    problems.range("source.max-keys", source.max_keys, 1, 100_000);
    problems.range(
        "source.max-fetches-per-minute",
        source.max_fetches_per_minute,
        1,
        100_000,
    );
    problems.range("source.timeout-ms", source.timeout_ms, 100, 60_000);
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        lists(&mut problems, &config);
        let keys = access_keys(&mut problems, &config);
        if let Some(source) = &config.source {
            key_source(&mut problems, source);
        }
        problems.range("clock-skew-seconds", config.clock_skew_seconds, 0, 900);
        problems.range("max-expires-seconds", config.max_expires_seconds, 1, 604_800);
        problems.check()?;
        let algorithm = |one: &AcceptedAlgorithm| match one {
            AcceptedAlgorithm::Sigv4 => Algorithm::HmacSha256,
            AcceptedAlgorithm::Sigv4a => Algorithm::EcdsaP256Sha256,
        };
        let form = |one: &AcceptedForm| match one {
            AcceptedForm::Header => Form::Header,
            AcceptedForm::Query => Form::Query,
        };
        Ok(Self {
            regions: config.regions,
            service: config.service,
            keys,
            source: config.source,
            algorithms: config.algorithms.iter().map(algorithm).collect(),
            forms: config.forms.iter().map(form).collect(),
            skew: config.clock_skew_seconds.into(),
            max_expires: config.max_expires_seconds.into(),
            unsigned_payload: config.unsigned_payload,
            unsigned_headers: config.unsigned_headers,
            style: PathStyle {
                normalize: config.normalize_path,
                encode_again: true,
            },
            replay_store: config.replay.map(|replay| replay.store),
            errors: config.errors,
        })
    }

    /// Capabilities that this configuration needs.
    #[must_use]
    pub fn capabilities(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        if self.source.is_some() {
            names.extend(["http", "kv"]);
        }
        if self.replay_store.is_some() {
            names.insert("kv");
        }
        let secret = |key: &Key| key.secret.is_some() || key.session_token.is_some();
        if self.keys.values().any(secret) {
            names.insert("secret");
        }
        names
    }

    /// True when public keys are made of secrets.
    #[must_use]
    pub fn derives_public_keys(&self) -> bool {
        let derived = |key: &Key| key.secret.is_some() && key.public_key.is_none();
        self.algorithms.contains(&Algorithm::EcdsaP256Sha256)
            && (self.source.is_some() || self.keys.values().any(derived))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(extra: Value) -> Result<Settings, String> {
        let mut config =
            json!({"regions": ["us-east-1"], "credentials": [{"access-key-id": "AKID", "secret": "s"}]});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = settings(json!({})).unwrap();
        assert_eq!((settings.skew, settings.max_expires), (300, 604_800));
        assert_eq!(
            (settings.service.as_str(), settings.errors),
            ("execute-api", Errors::Aws)
        );
        assert_eq!((settings.algorithms.len(), settings.forms.len()), (2, 2));
        assert_eq!(settings.style, PathStyle::default());
        assert!(!settings.unsigned_payload && settings.replay_store.is_none());
        assert_eq!(
            settings.capabilities().into_iter().collect::<Vec<_>>(),
            ["secret"]
        );
    }

    #[test]
    fn capabilities_follow_from_the_configuration() {
        let names = |extra| {
            settings(extra)
                .unwrap()
                .capabilities()
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(json!({"replay": {}})), ["kv", "secret"]);
        let source = json!({"credentials": [], "source": {"url": "https://keys.test/"}});
        assert_eq!(names(source), ["http", "kv"]);
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        let key = |extra: Value| {
            let mut key = json!({"access-key-id": "AKID", "secret": "s"});
            key.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"credentials": [key]})
        };
        let source = |extra: Value| {
            let mut source = json!({"url": "https://keys.test/"});
            source
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"source": source})
        };
        let point = edgeward_sigv4::to_hex(&ecdsa::public_key(&[7; 32]).unwrap());
        let mut no_4a = key(json!({"public-key": point}));
        no_4a["algorithms"] = json!(["sigv4"]);
        for (extra, wanted) in [
            (json!({"regions": []}), "config.regions: an empty list"),
            (json!({"regions": ["us east"]}), "config.regions: \"us east\""),
            (json!({"service": ""}), "config.service: \"\""),
            (json!({"algorithms": []}), "config.algorithms: an empty list"),
            (json!({"forms": []}), "config.forms: an empty list"),
            (
                json!({"credentials": []}),
                "config.credentials: no access keys, and no source",
            ),
            (
                key(json!({"access-key-id": "a/b"})),
                "config.credentials[0].access-key-id: \"a/b\"",
            ),
            (
                key(json!({"secret": null})),
                "config.credentials[0]: secret or public-key is needed",
            ),
            (
                key(json!({"public-key": "04aa"})),
                "config.credentials[0].public-key: is no uncompressed point",
            ),
            (
                key(json!({"principal-arn": "alice"})),
                "config.credentials[0].principal-arn: does not begin",
            ),
            (
                no_4a,
                "config.credentials[0].public-key: `algorithms` does not have sigv4a",
            ),
            (
                key(json!({"issued-at": "yesterday"})),
                "config.credentials[0].issued-at: is no time such as",
            ),
            (
                key(json!({"mfa-at": "2030-01-31"})),
                "config.credentials[0].mfa-at: is no time such as",
            ),
            (
                key(json!({"mfa": false, "mfa-at": "2030-01-31T12:00:00Z"})),
                "config.credentials[0].mfa: false, and there is a time of it",
            ),
            (
                key(json!({"tags": {"Team": "a", "team": "b"}})),
                "config.credentials[0].tags: \"team\" is there in another case",
            ),
            (
                json!({"credentials": [{"access-key-id": "A", "secret": "s"}, {"access-key-id": "A", "secret": "t"}]}),
                "config.credentials[1].access-key-id: \"A\" is there twice",
            ),
            (
                json!({"unsigned-headers": ["cookie"]}),
                "config.unsigned-headers: \"cookie\"",
            ),
            (
                json!({"unsigned-headers": ["X-Amz-Cf-Id"]}),
                "config.unsigned-headers: \"X-Amz-Cf-Id\"",
            ),
            (
                json!({"unsigned-headers": ["x-amz-date"]}),
                "x-amz-date is part of the signature",
            ),
            (
                json!({"clock-skew-seconds": 901}),
                "config.clock-skew-seconds: 901 is outside 0 to 900",
            ),
            (
                json!({"max-expires-seconds": 0}),
                "config.max-expires-seconds: 0 is outside",
            ),
            (source(json!({"url": "http://a/"})), "set allow-plain-http"),
            (source(json!({"url": "https:///"})), "has no host"),
            (source(json!({"url": "ftp://a"})), "is no https:// URL"),
            (source(json!({"url": "https://a/#b"})), "with a fragment"),
            (source(json!({"ttl-seconds": 0})), "config.source.ttl-seconds: 0"),
            (
                source(json!({"unknown-ttl-seconds": 301})),
                "config.source.unknown-ttl-seconds: 301",
            ),
            (source(json!({"max-keys": 0})), "config.source.max-keys: 0"),
            (
                source(json!({"max-fetches-per-minute": 0})),
                "config.source.max-fetches-per-minute: 0",
            ),
            (source(json!({"timeout-ms": 1})), "config.source.timeout-ms: 1"),
        ] {
            let error = settings(extra.clone()).unwrap_err();
            assert!(error.contains(wanted), "{extra}: {error}");
        }
        let both = settings(json!({"regions": [], "clock-skew-seconds": 901})).unwrap_err();
        assert!(both.contains("regions") && both.contains("skew"), "{both}");
    }
}
