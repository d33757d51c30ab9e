//! Checks a configuration and collects everything that is wrong with it.

use std::sync::Arc;

use edgeward_bearer::config as checks;
use edgeward_sdk::config::Problems;
use serde_json::Value;

use super::{Discovery, Keys, LEEWAY_SECONDS, Source, UrlSource};
use crate::{
    config::{Config, DiscoverySource, JwksSource, KeySource, Preset},
    jwk::KeySet,
};

/// Longest key set URL in bytes: it is part of the key in the `kv` store, which takes 512.
const URL_LIMIT: usize = 480;

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Check {
    pub(super) problems: Problems,
    pub(super) notes: Vec<String>,
}

impl Check {
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text);
    }

    pub(super) fn identities(&mut self, config: &Config) {
        for (key, list, any) in [
            ("issuer", &config.issuer, config.allow_any_issuer),
            ("audience", &config.audience, config.allow_any_audience),
        ] {
            match (list.is_empty(), any) {
                (true, false) => {
                    self.problem(format!(
                        "{key}: missing; name what to accept, or set allow-any-{key}: true"
                    ));
                }
                (false, true) => self.problem(format!("{key}: contradicts allow-any-{key}: true")),
                _ => {}
            }
        }
        if config.algorithms.as_ref().is_some_and(Vec::is_empty) {
            self.problem(
                "algorithms: an empty list accepts nothing; leave it out to take what the keys allow",
            );
        }
        checks::scopes(&mut self.problems, &config.scopes);
        checks::printable(&mut self.problems, "realm", Some(&config.realm));
        let metadata = config.resource_metadata.as_ref();
        checks::printable(&mut self.problems, "resource-metadata", metadata);
    }

    pub(super) fn limits(&mut self, config: &Config) {
        let leeway = config.leeway_seconds.unwrap_or(LEEWAY_SECONDS);
        self.problems.range("leeway-seconds", leeway, 0, 600);
        self.problems
            .range("refusal-ttl-seconds", config.refusal_ttl_seconds, 0, 300);
        self.problems
            .range("max-token-bytes", config.max_token_bytes as u64, 256, 65_536);
        self.problems
            .range("decision-ttl-seconds", config.decision_ttl_seconds, 0, 3600);
    }

    pub(super) fn sources(&mut self, config: &Config) -> Vec<Source> {
        if config.keys.is_empty() {
            self.problem("keys: no source of keys");
        }
        let hmac_accepted = config
            .algorithms
            .iter()
            .flatten()
            .any(|algorithm| algorithm.is_hmac());
        let signatures_accepted = config
            .algorithms
            .as_ref()
            .is_none_or(|list| list.iter().any(|algorithm| !algorithm.is_hmac()));
        let mut sources = Vec::new();
        for (index, source) in config.keys.iter().enumerate() {
            let (path, issuers, keys) = match source {
                KeySource::Discovery(discovery) => {
                    let path = format!("keys[{index}].discovery");
                    let source = self.discovery(&path, discovery, config);
                    let issuers: Vec<String> = source.iter().map(|(issuer, _)| issuer.clone()).collect();
                    (path, issuers, source.map(|(_, keys)| keys))
                }
                KeySource::Jwks(jwks) => {
                    let path = format!("keys[{index}].jwks");
                    (
                        path.clone(),
                        jwks.issuer.clone(),
                        self.jwks(&path, jwks, signatures_accepted, config.preset),
                    )
                }
                KeySource::Hmac(hmac) => {
                    let path = format!("keys[{index}].hmac");
                    if !hmac_accepted {
                        self.problem(format!(
                            "{path}: list HS256, HS384 or HS512 in `algorithms` to use a shared secret"
                        ));
                    }
                    let keys = Keys::Hmac {
                        secret: hmac.secret.clone(),
                        kid: hmac.kid.clone(),
                        encoding: hmac.encoding,
                    };
                    (path, hmac.issuer.clone(), Some(keys))
                }
            };
            for issuer in &issuers {
                if !config.allow_any_issuer && !config.issuer.contains(issuer) {
                    self.problem(format!("{path}.issuer: {issuer:?} is not in the list `issuer`"));
                }
            }
            // RFC 8725 section 3.8: a key of one issuer must not speak for another.
            if issuers.is_empty() && config.issuer.len() > 1 && config.keys.len() > 1 {
                self.problem(format!("{path}.issuer: missing; with several issuers and key sources each source names its issuer"));
            }
            sources.extend(keys.map(|keys| Source {
                issuers: issuers.clone(),
                keys,
            }));
        }
        sources.sort_by_key(|source| match source.keys {
            Keys::Fixed(_) => 0,
            Keys::Hmac { .. } | Keys::SecretSet(_) => 1,
            Keys::Url(_) => 2,
        });
        sources
    }

    fn jwks(
        &mut self,
        path: &str,
        jwks: &JwksSource,
        signatures_accepted: bool,
        preset: Preset,
    ) -> Option<Keys> {
        let url_only = [
            ("store", jwks.store.is_some()),
            ("refresh-seconds", jwks.refresh_seconds.is_some()),
            ("max-stale-seconds", jwks.max_stale_seconds.is_some()),
            ("cooldown-seconds", jwks.cooldown_seconds.is_some()),
            ("timeout-ms", jwks.timeout_ms.is_some()),
            ("allow-plain-http", jwks.allow_plain_http),
        ];
        if let (None, Some((key, _))) = (&jwks.url, url_only.iter().find(|(_, set)| *set)) {
            self.problem(format!("{path}.{key}: makes sense with `url` only"));
        }
        match (&jwks.inline, &jwks.secret, &jwks.url) {
            (Some(set), None, None) => self.inline(path, set),
            (None, Some(name), None) => Some(Keys::SecretSet(name.clone())),
            (None, None, Some(url)) => {
                if !signatures_accepted {
                    self.problem(format!(
                        "{path}.url: holds public keys, but `algorithms` lists only HS algorithms"
                    ));
                }
                Some(Keys::Url(self.url(path, url, jwks, preset)))
            }
            _ => {
                self.problem(format!("{path}: exactly one of inline, secret and url is needed"));
                None
            }
        }
    }

    fn inline(&mut self, path: &str, set: &serde_json::Map<String, Value>) -> Option<Keys> {
        match KeySet::from_jwks(set, false) {
            Ok(set) if set.keys.is_empty() => {
                self.problem(format!(
                    "{path}.inline: no usable key: {}",
                    set.skipped.join(", ")
                ));
                None
            }
            Ok(set) => {
                self.notes
                    .extend(set.skipped.iter().map(|note| format!("{path}.inline: {note}")));
                Some(Keys::Fixed(Arc::new(set)))
            }
            Err(error) => {
                self.problem(format!("{path}.inline: {error}"));
                None
            }
        }
    }

    /// The keys of an issuer that says where they are.
    fn discovery(&mut self, path: &str, source: &DiscoverySource, config: &Config) -> Option<(String, Keys)> {
        let issuer = match (&source.issuer, config.issuer.as_slice()) {
            (Some(issuer), _) | (None, [issuer]) => issuer.clone(),
            (None, _) => {
                self.problem(format!(
                    "{path}.issuer: missing; it is known only where `issuer` is one"
                ));
                return None;
            }
        };
        if issuer.contains(['?', '#']) {
            self.problem(format!("{path}.issuer: {issuer:?} has a query or a fragment"));
        }
        // OpenID Connect Discovery 1.0 section 4.1
        let base = issuer.strip_suffix('/').unwrap_or(&issuer);
        let url = format!("{base}/.well-known/openid-configuration");
        let times = JwksSource {
            store: source.store.clone(),
            refresh_seconds: source.refresh_seconds,
            max_stale_seconds: source.max_stale_seconds,
            cooldown_seconds: source.cooldown_seconds,
            timeout_ms: source.timeout_ms,
            allow_plain_http: source.allow_plain_http,
            ..JwksSource::default()
        };
        let discovery = Discovery {
            issuer: issuer.clone(),
            plain: source.allow_plain_http,
        };
        let url = UrlSource {
            discovery: Some(discovery),
            ..self.url(path, &url, &times, config.preset)
        };
        Some((issuer, Keys::Url(url)))
    }

    fn url(&mut self, path: &str, url: &str, jwks: &JwksSource, preset: Preset) -> UrlSource {
        self.problems.https(
            &format!("{path}.url"),
            url,
            "/",
            jwks.allow_plain_http,
            "allow-plain-http",
        );
        if url.len() > URL_LIMIT || url.bytes().any(|byte| !byte.is_ascii_graphic()) {
            self.problem(format!(
                "{path}.url: longer than {URL_LIMIT} bytes or with characters that no URL has"
            ));
        }
        let usual = preset.key_times();
        let refresh = u64::from(jwks.refresh_seconds.unwrap_or(300));
        let max_stale = jwks
            .max_stale_seconds
            .map_or_else(|| refresh.max(usual.max_stale_seconds), u64::from);
        let cooldown = u64::from(jwks.cooldown_seconds.unwrap_or(30));
        let timeout_ms = jwks.timeout_ms.unwrap_or(usual.timeout_ms);
        self.problems
            .range(&format!("{path}.refresh-seconds"), refresh, 10, 86_400);
        self.problems
            .range(&format!("{path}.max-stale-seconds"), max_stale, refresh, 604_800);
        self.problems
            .range(&format!("{path}.cooldown-seconds"), cooldown, 1, 3600);
        self.problems
            .range(&format!("{path}.timeout-ms"), timeout_ms, 100, 60_000);
        UrlSource {
            url: url.to_owned(),
            discovery: None,
            limit: usual.limit,
            store: jwks.store.clone().unwrap_or_else(|| "jwks".into()),
            refresh_ms: refresh * 1000,
            max_stale_ms: max_stale * 1000,
            cooldown_ms: cooldown * 1000,
            timeout_ms,
        }
    }
}
