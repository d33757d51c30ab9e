//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use edgeward_bearer::{
    claims::Scopes,
    config::{ClaimRule, Forward, TokenFrom},
};
use serde::Deserialize;

/// Configuration of the `oauth2-introspection` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "oauth2-introspection"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address of the introspection endpoint, `https://`.
    pub endpoint: String,
    /// Accepts `http://`. Only for networks nobody else can write to. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// How the gateway says who it is.
    pub authentication: Authentication,
    /// `token_type_hint` of the question (RFC 7662 section 2.1), e.g. `access_token`. Default: none.
    #[serde(default)]
    pub token_type_hint: Option<String>,
    /// Time limit of a question in milliseconds, 100 to 60000; keep it below the binding's `limits.wall-time`. Default 2000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u32,
    /// Where a token may be. Default: `Authorization: Bearer <token>`.
    #[serde(default)]
    pub token_from: Option<Vec<TokenFrom>>,
    /// Largest token in bytes, 16 to 65536. Default 8192.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// Accepted values of `iss`. Default: any, or none.
    #[serde(default)]
    pub issuer: Vec<String>,
    /// Accepted values of `aud`; the token must name at least one of them. Default: any, or none.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Scopes that the token must have. Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How many of the scopes the token must have. Default `all`.
    #[serde(default)]
    pub scope_match: Scopes,
    /// Accepted values of `token_type`, compared without case, where the answer has one. Default `[Bearer]`.
    #[serde(default = "default_token_types")]
    pub token_types: Vec<String>,
    /// Accepts tokens that are bound to a key (`cnf`) other than that of the client certificate, without checking that the caller has it. Default false.
    #[serde(default)]
    pub ignore_confirmation: bool,
    /// Further conditions on members of the answer; all must hold.
    #[serde(default)]
    pub claims: Vec<ClaimRule>,
    /// Refuses tokens without `exp`. Default false: the authorization server says whether a token is good.
    #[serde(default)]
    pub require_exp: bool,
    /// Clock difference to the authorization server that is tolerated, in seconds, 0 to 600. Default 30.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u32,
    /// Members that may name the caller; the first that is there does. Default `[sub, username, client_id]`.
    #[serde(default = "default_principal_claims")]
    pub principal_claims: Vec<String>,
    /// Member that usage plans and rate limits count by. Default: the principal.
    #[serde(default)]
    pub usage_key_claim: Option<String>,
    /// Members that later plugins find in the context under their own names, beside `claims`, which has all. Default: none.
    #[serde(default)]
    pub facts: Vec<String>,
    /// How long the gateway may reuse the decision for the same token, in seconds, 0 to 3600; never beyond `exp`. Default 0: every request asks.
    #[serde(default)]
    pub cache_seconds: u32,
    /// How long the gateway may refuse the same token that is not active, in seconds, 0 to 3600. Default 0.
    #[serde(default)]
    pub inactive_cache_seconds: u32,
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

/// How the gateway says who it is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// `client_secret_basic`: id and secret in the field `Authorization` (RFC 6749 section 2.3.1).
    Basic(Client),
    /// `client_secret_post`: id and secret in the form.
    Post(Client),
    /// A token of the gateway's own (RFC 7662 section 2.1).
    Bearer(Own),
}

/// A client of the authorization server.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Client {
    /// Its id.
    pub client_id: String,
    /// Name of the granted secret that holds its secret.
    pub secret: String,
}

/// A token of the gateway's own.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Own {
    /// Name of the granted secret that holds the token.
    pub secret: String,
}

fn default_timeout_ms() -> u32 {
    2000
}

fn default_max_token_bytes() -> usize {
    8192
}

fn default_token_types() -> Vec<String> {
    vec!["Bearer".into()]
}

fn default_leeway_seconds() -> u32 {
    30
}

fn default_principal_claims() -> Vec<String> {
    ["sub", "username", "client_id"].map(str::to_owned).into()
}

fn default_realm() -> String {
    "edgeward".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error(r#"{"endpoint":"x","url":"y"}"#).contains("`url`"));
        assert!(error(r#"{"endpoint":"x"}"#).contains("`authentication`"));
        assert!(error(r#"{"endpoint":"x","authentication":{"mtls":{}}}"#).contains("`mtls`"));
        assert!(
            error(r#"{"endpoint":"x","authentication":{"basic":{"client-id":"a","password":"b"}}}"#)
                .contains("`password`")
        );
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
