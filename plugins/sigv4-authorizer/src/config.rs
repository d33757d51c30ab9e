//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Configuration of the `sigv4-authorizer` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "sigv4-authorizer"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Regions that requests may be signed for, e.g. `[us-east-1]`.
    pub regions: Vec<String>,
    /// Service that requests must be signed for. Default `execute-api`.
    #[serde(default = "default_service")]
    pub service: String,
    /// Who may call: access keys and their secrets.
    #[serde(default)]
    pub credentials: Vec<AccessKey>,
    /// A service of your own that knows access keys; it is asked for those that `credentials` does not have.
    #[serde(default)]
    pub source: Option<Source>,
    /// Accepted algorithms. Default: both.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<AcceptedAlgorithm>,
    /// Where a signature may be. Default: both.
    #[serde(default = "default_forms")]
    pub forms: Vec<AcceptedForm>,
    /// Tolerated difference between the clocks of client and gateway in seconds, 0 to 900. Default 300.
    #[serde(default = "default_clock_skew_seconds")]
    pub clock_skew_seconds: u32,
    /// Longest life of a presigned request in seconds, 1 to 604800. Default 604800, a week.
    #[serde(default = "default_max_expires_seconds")]
    pub max_expires_seconds: u32,
    /// Accepts requests that say `UNSIGNED-PAYLOAD`: their bodies may be changed on the way. Default false.
    #[serde(default)]
    pub unsigned_payload: bool,
    /// Header fields that begin with `x-amz-` and may be there without being signed, because a proxy adds them. Default `[x-amz-cf-id]`.
    #[serde(default = "default_unsigned_headers")]
    pub unsigned_headers: Vec<String>,
    /// Dot segments and empty segments of the path are removed before it is compared, as clients of every service but S3 do. Default true.
    #[serde(default = "default_true")]
    pub normalize_path: bool,
    /// Refuses a request whose signature was seen before. Default: requests may be repeated until they expire.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// What a refused caller is told. Default `aws`.
    #[serde(default)]
    pub errors: Errors,
}

/// An access key.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AccessKey {
    /// Access key id: 1 to 128 letters, digits, `.`, `_` and `-`.
    pub access_key_id: String,
    /// Name of the granted secret that holds the secret access key.
    #[serde(default)]
    pub secret: Option<String>,
    /// Public key for Signature Version 4a: an uncompressed point of P-256, 130 hexadecimal digits from `04` on. Default: made of the secret, with
    /// each request. With a public key and no secret the gateway cannot sign in the caller's name; Signature Version 4 is then refused.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Name of the granted secret that holds the session token, which must then come with every request. Default: a session token is refused.
    #[serde(default)]
    pub session_token: Option<String>,
    /// Who the caller is: the principal. Default: the access key id.
    #[serde(default)]
    pub principal_arn: Option<String>,
    /// Account of the caller. Default: that of the ARN.
    #[serde(default)]
    pub account_id: Option<String>,
    /// Unique id of the user. Default: the access key id.
    #[serde(default)]
    pub user_id: Option<String>,
    /// What the caller may do, as a policy in the language of IAM, for authorizers of the type `iam` of APIs. Default: what the API's policy says.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// Tags of the caller by name, for policies of APIs: `aws:PrincipalTag/{name}`. Names have no case.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Organization of the caller's account, likewise: `aws:PrincipalOrgID`.
    #[serde(default)]
    pub org_id: Option<String>,
    /// Where in the organization the account is, e.g. `o-a1b2c3/r-d4e5/ou-d4e5-f6g7/`: `aws:PrincipalOrgPaths`.
    #[serde(default)]
    pub org_paths: Vec<String>,
    /// When temporary credentials were issued, e.g. `2030-01-31T12:00:00Z`: `aws:TokenIssueTime`.
    #[serde(default)]
    pub issued_at: Option<String>,
    /// Whether they were issued to somebody who had shown more than one factor: `aws:MultiFactorAuthPresent`. Default: true with `mfa-at`, else the key is absent.
    #[serde(default)]
    pub mfa: Option<bool>,
    /// When that was: `aws:MultiFactorAuthAge` is the time since then.
    #[serde(default)]
    pub mfa_at: Option<String>,
}

/// A service that knows access keys: `GET <url>?access-key-id=<id>` answers 200 with JSON, or 404.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// Address, `https://`. Needs the capabilities `http` and `kv`.
    pub url: String,
    /// Name of the `kv` store that caches what came. It holds secrets: give the plugin a store of its own. Default `sigv4`.
    #[serde(default = "default_store")]
    pub store: String,
    /// How long a key is used without asking again, in seconds, 1 to 3600; never beyond its `expiration`. Default 300.
    #[serde(default = "default_ttl_seconds")]
    pub ttl_seconds: u32,
    /// How long a key that the source does not know counts as unknown, in seconds, 1 to 300. Default 30.
    #[serde(default = "default_unknown_ttl_seconds")]
    pub unknown_ttl_seconds: u32,
    /// Most keys that are kept, and most unknown ones, 1 to 100000. Default 10000.
    #[serde(default = "default_max_keys")]
    pub max_keys: u32,
    /// Most requests to the source per minute, 1 to 100000; beyond them callers get 503. Default 600.
    #[serde(default = "default_max_fetches_per_minute")]
    pub max_fetches_per_minute: u32,
    /// Time limit of a request in milliseconds, 100 to 60000; keep it below the binding's `limits.wall-time`. Default 2000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u32,
    /// Accepts `http://`. Only for networks nobody else can read or write. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// Where signatures that were seen are remembered.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Replay {
    /// Name of the `kv` store. Default `sigv4`.
    #[serde(default = "default_store")]
    pub store: String,
}

/// An accepted algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AcceptedAlgorithm {
    /// `AWS4-HMAC-SHA256`.
    Sigv4,
    /// `AWS4-ECDSA-P256-SHA256`.
    Sigv4a,
}

/// A place where a signature may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AcceptedForm {
    /// The `Authorization` header field.
    Header,
    /// The query: presigned URLs.
    Query,
}

/// What a refused caller is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Errors {
    /// What Amazon API Gateway says, with the canonical request and the string to sign when the signature does not match.
    #[default]
    Aws,
    /// A problem document of the gateway that says little: 401, 403 or 503.
    Plain,
}

fn default_true() -> bool {
    true
}

fn default_service() -> String {
    "execute-api".into()
}

fn default_algorithms() -> Vec<AcceptedAlgorithm> {
    vec![AcceptedAlgorithm::Sigv4, AcceptedAlgorithm::Sigv4a]
}

fn default_forms() -> Vec<AcceptedForm> {
    vec![AcceptedForm::Header, AcceptedForm::Query]
}

fn default_clock_skew_seconds() -> u32 {
    300
}

fn default_max_expires_seconds() -> u32 {
    604_800
}

fn default_unsigned_headers() -> Vec<String> {
    vec!["x-amz-cf-id".into()]
}

fn default_store() -> String {
    "sigv4".into()
}

fn default_ttl_seconds() -> u32 {
    300
}

fn default_unknown_ttl_seconds() -> u32 {
    30
}

fn default_max_keys() -> u32 {
    10_000
}

fn default_max_fetches_per_minute() -> u32 {
    600
}

fn default_timeout_ms() -> u32 {
    2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error("{}").contains("`regions`"));
        assert!(error(r#"{"regions":[],"region":"x"}"#).contains("`region`"));
        assert!(
            error(r#"{"regions":[],"credentials":[{"access-key-id":"a","secret-key":"x"}]}"#)
                .contains("`secret-key`")
        );
        assert!(error(r#"{"regions":[],"algorithms":["sigv2"]}"#).contains("`sigv2`"));
        assert!(error(r#"{"regions":[],"errors":"verbose"}"#).contains("`verbose`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
