//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use serde::Deserialize;

/// Configuration of the `lambda-authorizer` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "lambda-authorizer"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What the function is told: `token` a token alone, `request` the request without its body. Default `request`.
    #[serde(default, rename = "type")]
    pub kind: Type,
    /// Form of what the function is told with `request`. Default `1.0`.
    #[serde(default)]
    pub payload_format: PayloadFormat,
    /// Kind of API that the function was written for. Default `http` with payload format `2.0`, else `rest`.
    #[serde(default)]
    pub api: Option<ApiKind>,
    /// The function answers `{"isAuthorized": true}` and no policy; with payload format `2.0`. Default false.
    #[serde(default)]
    pub simple_responses: bool,
    /// The function.
    pub function: Function,
    /// `token`: where the token is.
    #[serde(default)]
    pub token: Option<Token>,
    /// `request`: what names the caller, e.g. `$request.header.Authorization` or `method.request.querystring.key`; all must be there. Default: the
    /// API's `identity-sources`.
    #[serde(default)]
    pub identity_sources: Vec<String>,
    /// How names of header fields are written with payload format `1.0`. Default `title`.
    #[serde(default)]
    pub header_names: HeaderNames,
    /// Partition of the method ARN, unless the gateway says one. Default `aws`.
    #[serde(default = "default_partition")]
    pub partition: String,
    /// Region of the method ARN, unless the gateway says one. Default `local`.
    #[serde(default = "default_region")]
    pub region: String,
    /// Account of the method ARN, unless the gateway says one. Default `000000000000`.
    #[serde(default = "default_account_id")]
    pub account_id: String,
    /// How long the gateway may reuse what the function answered for the same credential, in seconds, 0 to 3600, and no longer than the API
    /// (`result-ttl`) or the binding (`decision-cache`) says. Default 3600.
    #[serde(default = "default_ttl_seconds")]
    pub ttl_seconds: u32,
    /// Time limit of a call of the function in milliseconds, 100 to 29000; keep it below the binding's `limits.wall-time`. Default 4000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u32,
    /// `simple-responses`: member of `context` that names the caller. Default: callers have no name of their own.
    #[serde(default)]
    pub principal_from: Option<String>,
}

/// What the function is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A token alone.
    Token,
    /// The request without its body.
    #[default]
    Request,
}

/// Form of what the function is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum PayloadFormat {
    /// That of REST APIs.
    #[default]
    #[serde(rename = "1.0")]
    V1,
    /// That of HTTP APIs.
    #[serde(rename = "2.0")]
    V2,
}

/// Kind of API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ApiKind {
    /// REST API.
    Rest,
    /// HTTP API.
    Http,
}

/// How names of header fields are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HeaderNames {
    /// `Content-Type`
    #[default]
    Title,
    /// `content-type`
    Lower,
}

/// A function: exactly one of `invoke` and `url`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Function {
    /// A function behind the Invoke API of AWS Lambda, or of something that speaks it.
    #[serde(default)]
    pub invoke: Option<Invoke>,
    /// A function that takes the event as the body of a POST.
    #[serde(default)]
    pub url: Option<Url>,
    /// Accepts `http://`. Only for networks nobody else can write to. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// A function behind the Invoke API.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Invoke {
    /// Address of the API without a path, e.g. `https://lambda.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Name or ARN of the function.
    pub name: String,
    /// Version or alias. Default: the latest version.
    #[serde(default)]
    pub qualifier: Option<String>,
    /// Signs the call. Default: it is not signed.
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// Credentials that sign a call with AWS Signature Version 4.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Credentials {
    /// Region of the function.
    pub region: String,
    /// Access key id.
    pub access_key_id: String,
    /// Name of the granted secret that holds the secret access key.
    pub secret: String,
    /// Name of the granted secret that holds the session token. Default: none.
    #[serde(default)]
    pub session_token: Option<String>,
}

/// A function that takes the event as the body of a POST.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Url {
    /// Address.
    pub address: String,
    /// Name of the granted secret that is sent as `Authorization: Bearer`. Default: none.
    #[serde(default)]
    pub bearer_secret: Option<String>,
}

/// Where a token is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Token {
    /// Name of the header field. Default: the first one of the API's `identity-sources`, else `authorization`.
    #[serde(default)]
    pub header: Option<String>,
    /// Regular expression that must match the whole token; else the caller gets 401 and the function is not called.
    #[serde(default)]
    pub validation: Option<String>,
}

fn default_partition() -> String {
    "aws".into()
}

fn default_region() -> String {
    "local".into()
}

fn default_account_id() -> String {
    "000000000000".into()
}

fn default_ttl_seconds() -> u32 {
    3600
}

fn default_timeout_ms() -> u32 {
    4000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error(r#"{"function":{},"ttl":1}"#).contains("`ttl`"));
        assert!(error(r#"{"function":{"arn":"x"}}"#).contains("`arn`"));
        assert!(error(r#"{"function":{},"payload-format":"3.0"}"#).contains("`3.0`"));
        assert!(error(r#"{"function":{},"type":"jwt"}"#).contains("`jwt`"));
        assert!(error("{}").contains("`function`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
