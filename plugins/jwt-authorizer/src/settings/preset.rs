//! The rules of Amazon API Gateway's authorizers: a preset fills in what the configuration leaves out, and takes nothing that contradicts it.

use super::check::Check;
use crate::{
    algorithm::Algorithm,
    claims::Scopes,
    config::{Config, DiscoverySource, IssuerRule, KeySource, Preset},
    jwk::DOCUMENT_LIMIT,
};

/// How keys are fetched where nothing else is configured.
pub(super) struct KeyTimes {
    /// Age up to which old keys serve, in seconds.
    pub(super) max_stale_seconds: u64,
    /// Time limit of a fetch.
    pub(super) timeout_ms: u32,
    /// Largest key set in bytes.
    pub(super) limit: usize,
}

impl Preset {
    /// True for this plugin's own rules.
    #[must_use]
    pub fn is_native(self) -> bool {
        self == Self::Native
    }

    pub(super) fn key_times(self) -> KeyTimes {
        let max_stale_seconds = match self {
            Self::Native => {
                return KeyTimes {
                    max_stale_seconds: 21_600,
                    timeout_ms: 2000,
                    limit: DOCUMENT_LIMIT,
                };
            }
            Self::HttpApi => 7200,
            Self::RestJwt | Self::Cognito => 3600,
        };
        KeyTimes {
            max_stale_seconds,
            timeout_ms: 1500,
            limit: 150_000,
        }
    }

    /// Algorithms that may be accepted.
    fn algorithms(self) -> Vec<Algorithm> {
        const RS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512];
        const ES: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512];
        match self {
            Self::Native | Self::RestJwt => [RS, ES].concat(),
            Self::HttpApi | Self::Cognito => RS.to_vec(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::HttpApi => "http-api",
            Self::RestJwt => "rest-jwt",
            Self::Cognito => "cognito",
        }
    }
}

impl Check {
    /// The configuration with what its preset says.
    pub(super) fn preset(&mut self, mut config: Config) -> Config {
        self.issuers(&mut config);
        let preset = config.preset;
        if preset != Preset::Cognito {
            for (key, set) in [
                ("user-pools", !config.user_pools.is_empty()),
                ("audience-matches", config.audience_matches.is_some()),
            ] {
                if set {
                    self.problem(format!("{key}: makes sense with preset cognito only"));
                }
            }
        }
        if preset.is_native() {
            return config;
        }
        let name = preset.name();
        let allowed = preset.algorithms();
        if let Some(other) = config
            .algorithms
            .iter()
            .flatten()
            .find(|one| !allowed.contains(one))
        {
            self.problem(format!("algorithms: {other} does not exist with preset {name}"));
        }
        config.algorithms.get_or_insert(allowed);
        config.leeway_seconds.get_or_insert(0);
        for (key, wrong) in [
            ("allow-any-issuer", config.allow_any_issuer),
            ("require-exp", !config.require_exp),
            ("scope-match", config.scope_match == Some(Scopes::All)),
            // a decision holds for one request
            (
                "decision-ttl-seconds",
                preset == Preset::RestJwt && config.decision_ttl_seconds > 0,
            ),
        ] {
            if wrong {
                self.problem(format!("{key}: contradicts preset {name}"));
            }
        }
        config.scope_match = Some(Scopes::Any);
        match preset {
            Preset::Cognito if config.audience.is_empty() && config.issuers.is_empty() => {
                config.allow_any_audience = true;
            }
            _ if config.allow_any_audience && config.issuers.is_empty() => {
                self.problem(format!("allow-any-audience: contradicts preset {name}"));
            }
            _ => {}
        }
        if preset == Preset::HttpApi && config.issuer.len() > 1 {
            self.problem("issuer: preset http-api has one issuer");
        }
        if preset == Preset::RestJwt {
            for issuer in &config.issuer {
                if !issuer.starts_with("https://") || issuer.contains(['?', '#']) {
                    self.problem(format!(
                        "issuer: {issuer:?} is not https:// without query and fragment, as preset rest-jwt wants it"
                    ));
                }
            }
        }
        if config.keys.is_empty() {
            let issuers = config.issuer.iter();
            config.keys = issuers
                .map(|issuer| {
                    KeySource::Discovery(DiscoverySource {
                        issuer: Some(issuer.clone()),
                        ..DiscoverySource::default()
                    })
                })
                .collect();
        }
        config
    }

    /// Issuers that are given in another way than by `issuer`.
    fn issuers(&mut self, config: &mut Config) {
        for index in 0..config.user_pools.len() {
            let Some(arn) = config.user_pools.get(index) else {
                continue;
            };
            match pool_issuer(arn) {
                Some(issuer) => config.issuer.push(issuer),
                None => self.problem(format!(
                    "user-pools[{index}]: {arn:?} is no ARN of a user pool, such as arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_a"
                )),
            }
        }
        if config.issuers.is_empty() {
            return;
        }
        if !config.issuer.is_empty() || !config.audience.is_empty() || config.allow_any_audience {
            self.problem("issuers: in the place of issuer, audience and user-pools, not beside them");
        }
        for (index, rule) in config.issuers.iter().enumerate() {
            if rule.audience.is_empty() {
                self.problem(format!(
                    "issuers[{index}].audience: an empty list accepts nothing"
                ));
            }
            let before = config.issuers.iter().take(index);
            if before.map(|one| &one.issuer).any(|issuer| *issuer == rule.issuer) {
                self.problem(format!(
                    "issuers[{index}].issuer: {:?} is there twice",
                    rule.issuer
                ));
            }
        }
        config.issuer = config.issuers.iter().map(|rule| rule.issuer.clone()).collect();
        // each issuer has its own
        config.allow_any_audience = true;
        config.audience.clear();
    }
}

/// `arn:aws:cognito-idp:REGION:ACCOUNT:userpool/ID` issues as `https://cognito-idp.REGION.amazonaws.com/ID`.
fn pool_issuer(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "cognito-idp", region, _account, pool] = parts.as_slice() else {
        return None;
    };
    let id = pool.strip_prefix("userpool/")?;
    let plain = |text: &str, more: &[u8]| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        !text.is_empty() && text.bytes().all(allowed)
    };
    let suffix = match *partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    (plain(region, b"-") && plain(id, b"-_")).then(|| format!("https://cognito-idp.{region}.{suffix}/{id}"))
}

impl IssuerRule {
    /// The rules of an issuer.
    #[must_use]
    pub fn of<'a>(rules: &'a [Self], issuer: Option<&str>) -> Option<&'a Self> {
        rules.iter().find(|rule| Some(rule.issuer.as_str()) == issuer)
    }
}
