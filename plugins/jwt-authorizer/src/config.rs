//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use std::fmt;

use edgeward_bearer::config::{ClaimRule, Forward, TokenFrom};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{algorithm::Algorithm, claims::Scopes};

/// Configuration of the `jwt-authorizer` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "jwt-authorizer"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whose rules hold: those of this plugin, or those of an authorizer of Amazon API Gateway. Default `native`.
    #[serde(default)]
    pub preset: Preset,
    /// `cognito`: ARNs of user pools, in the place of `issuer`.
    #[serde(default)]
    pub user_pools: Vec<String>,
    /// Issuers with audiences and claims of their own, in the place of `issuer` and `audience`.
    #[serde(default)]
    pub issuers: Vec<IssuerRule>,
    /// `cognito`: regular expression that must match somewhere in `aud` (`^...$` for all of it). Default: any.
    #[serde(default)]
    pub audience_matches: Option<String>,
    /// Accepted values of `iss`: one or a list. Required unless `allow-any-issuer` is true.
    #[serde(default, deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "OneOrMany"))]
    pub issuer: Vec<String>,
    /// Accepts tokens of any issuer, or of none. Default false.
    #[serde(default)]
    pub allow_any_issuer: bool,
    /// Accepted values of `aud`, one or a list; the token must name at least one of them. Required unless `allow-any-audience` is true.
    #[serde(default, deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "OneOrMany"))]
    pub audience: Vec<String>,
    /// Accepts tokens for any audience, or for none. Default false.
    #[serde(default)]
    pub allow_any_audience: bool,
    /// Accepted algorithms. Default: what the type and the `alg` of each key allow, HS256 to HS512 excluded; those must be listed here.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Where the keys come from. Default with a preset of Amazon API Gateway: what each issuer says of itself (`discovery`); else required.
    #[serde(default)]
    pub keys: Vec<KeySource>,
    /// Where a token may be. Default: `Authorization: Bearer <token>`.
    #[serde(default)]
    pub token_from: Option<Vec<TokenFrom>>,
    /// Accepted `typ` of the token header, compared without case and without `application/`, e.g. `at+jwt` (RFC 9068). Default: any.
    #[serde(default)]
    pub types: Vec<String>,
    /// Scopes that the token must have, in the claims `scope` (space-separated) or `scp` (list). Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How many of the scopes the token must have. Default `all`, with a preset of Amazon API Gateway always `any`.
    #[serde(default)]
    pub scope_match: Option<Scopes>,
    /// Further conditions on claims; all must hold.
    #[serde(default)]
    pub claims: Vec<ClaimRule>,
    /// Clock difference to the issuer that is tolerated, in seconds, 0 to 600. Default 30, with a preset of Amazon API Gateway 0.
    #[serde(default)]
    pub leeway_seconds: Option<u32>,
    /// Refuses tokens without `exp`. Default true.
    #[serde(default = "default_true")]
    pub require_exp: bool,
    /// Refuses tokens issued longer ago than this (needs `iat`), in seconds. Default: no limit.
    #[serde(default)]
    pub max_age_seconds: Option<u32>,
    /// Largest token in bytes, 256 to 65536. Default 8192.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// Claim that names the caller. Default `sub`.
    #[serde(default = "default_principal_claim")]
    pub principal_claim: String,
    /// Claim that usage plans and rate limits count by. Default: the principal.
    #[serde(default)]
    pub usage_key_claim: Option<String>,
    /// How long the gateway may reuse the decision for the same token, in seconds, 0 to 3600; never beyond `exp`. Default 0: every request is checked.
    #[serde(default)]
    pub decision_ttl_seconds: u32,
    /// How long the gateway may refuse the same token without checking it again, in seconds, 0 to 300. Default 0.
    #[serde(default)]
    pub refusal_ttl_seconds: u32,
    /// What happens to the token when the request goes on. Default `keep`.
    #[serde(default)]
    pub forward: Forward,
    /// `realm` of the challenge. Default `edgeward`.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// URL of the protected resource metadata, told in the challenge (RFC 9728 section 5.1). Default: none.
    #[serde(default)]
    pub resource_metadata: Option<String>,
}

/// Whose rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Those of this plugin.
    #[default]
    Native,
    /// Those of JWT authorizers of HTTP APIs.
    HttpApi,
    /// Those of JWT authorizers of REST APIs.
    RestJwt,
    /// Those of Cognito user pool authorizers of REST APIs.
    Cognito,
}

/// An issuer with rules of its own.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssuerRule {
    /// Value of `iss`, compared exactly.
    pub issuer: String,
    /// Accepted values of `aud`, one or a list; the token must name at least one of them.
    #[serde(deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "OneOrMany"))]
    pub audience: Vec<String>,
    /// Claims that are texts with known values.
    #[serde(default)]
    pub additional_claims: Vec<AdditionalClaim>,
}

/// A claim that is a text with known values.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdditionalClaim {
    /// Name of the claim, at the top of the token.
    pub name: String,
    /// The claim must be there. Default false.
    #[serde(default)]
    pub required: bool,
    /// Values that it may have. Default: any text.
    #[serde(default)]
    pub values: Vec<String>,
}

/// A source of keys.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// A JSON Web Key Set (RFC 7517 section 5).
    Jwks(JwksSource),
    /// A secret shared with the issuer, for HS256 to HS512.
    Hmac(HmacSource),
    /// What an issuer says of itself (OpenID Connect Discovery 1.0 section 4): the key set is at its `jwks_uri`.
    Discovery(DiscoverySource),
}

/// What an issuer says of itself, at `{issuer}/.well-known/openid-configuration`. Needs the capabilities `http` and `kv`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiscoverySource {
    /// The issuer, `https://`; what it says must name it exactly so. Default: the accepted issuer, where there is one only.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Name of the `kv` store that caches the keys. Default `jwks`.
    #[serde(default)]
    pub store: Option<String>,
    /// As in `jwks`.
    #[serde(default)]
    pub refresh_seconds: Option<u32>,
    /// As in `jwks`.
    #[serde(default)]
    pub max_stale_seconds: Option<u32>,
    /// As in `jwks`.
    #[serde(default)]
    pub cooldown_seconds: Option<u32>,
    /// Time limit of each of the two fetches; as in `jwks`.
    #[serde(default)]
    pub timeout_ms: Option<u32>,
    /// Accepts `http://`, for the issuer and its key set. Only for networks nobody else can write to. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// A JSON Web Key Set: exactly one of `inline`, `secret` and `url`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JwksSource {
    /// The key set itself.
    #[serde(default)]
    pub inline: Option<Map<String, Value>>,
    /// Name of a granted secret that holds the key set. The way to a key set in a file: grant a secret whose source is that file.
    #[serde(default)]
    pub secret: Option<String>,
    /// Address of the key set, `https://`. Needs the capabilities `http` and `kv`.
    #[serde(default)]
    pub url: Option<String>,
    /// Issuers whose tokens these keys may verify, one or a list. Default: every accepted issuer.
    #[serde(default, deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "OneOrMany"))]
    pub issuer: Vec<String>,
    /// `url`: name of the `kv` store that caches the keys. Default `jwks`.
    #[serde(default)]
    pub store: Option<String>,
    /// `url`: age at which the keys are fetched again, in seconds, 10 to 86400. Default 300.
    #[serde(default)]
    pub refresh_seconds: Option<u32>,
    /// `url`: age up to which old keys serve while they cannot be fetched, in seconds, at most 604800. Default 21600.
    #[serde(default)]
    pub max_stale_seconds: Option<u32>,
    /// `url`: least time between two fetches, in seconds, 1 to 3600; a flood of tokens that no key verifies causes up to three more in this time, for one other `kid`
    /// each. Default 30.
    #[serde(default)]
    pub cooldown_seconds: Option<u32>,
    /// `url`: time limit of a fetch in milliseconds, 100 to 60000; keep it below the binding's `limits.wall-time`. Default 2000.
    #[serde(default)]
    pub timeout_ms: Option<u32>,
    /// `url`: accepts `http://`. Only for networks nobody else can write to. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// A secret shared with the issuer.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HmacSource {
    /// Name of the granted secret.
    pub secret: String,
    /// `kid` of the tokens that this secret verifies. Default: any that no other key has.
    #[serde(default)]
    pub kid: Option<String>,
    /// How the secret is written. Default `text`.
    #[serde(default)]
    pub encoding: Encoding,
    /// Issuers whose tokens this secret may verify, one or a list. Default: every accepted issuer.
    #[serde(default, deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "OneOrMany"))]
    pub issuer: Vec<String>,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The bytes of the text, without a line break at the end.
    #[default]
    Text,
    /// All bytes as they are.
    Bytes,
    /// Base64, standard alphabet, padding optional.
    Base64,
    /// Base64, URL-safe alphabet, padding optional.
    Base64url,
    /// Hexadecimal digits.
    Hex,
}

fn default_true() -> bool {
    true
}

fn default_max_token_bytes() -> usize {
    8192
}

fn default_principal_claim() -> String {
    "sub".into()
}

fn default_realm() -> String {
    "edgeward".into()
}

/// Reads a string or a list of strings; an untagged enum would say `did not match any variant` instead of what is wrong.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrManyVisitor;
    impl<'de> Visitor<'de> for OneOrManyVisitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = items.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(OneOrManyVisitor)
}

/// The schema of what [`one_or_many`] reads.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "stands for its schema only")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error(r#"{"keys":[],"isuer":"x"}"#).contains("`isuer`"));
        assert!(error(r#"{"keys":[{"jwks":{"uri":"x"}}]}"#).contains("`uri`"));
        assert!(error(r#"{"keys":[{"pem":{}}]}"#).contains("`pem`"));
        assert!(error(r#"{"keys":[],"algorithms":["none"]}"#).contains("`none`"));
        assert!(error(r#"{"keys":[],"issuer":7}"#).contains("a string or a list of strings"));
        assert!(error(r#"{"preset":"aws"}"#).contains("`aws`"));
        assert!(error(r#"{"issuers":[{"issuer":"x"}]}"#).contains("`audience`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
