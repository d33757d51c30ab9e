//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use serde::Deserialize;

/// Configuration of the `forward-auth` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "forward-auth"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address of the service that is asked, `https://`, up to 2048 bytes. Needs the capability `http`.
    pub url: String,
    /// Method that it is asked with, or `original` for that of the request. Default `GET`.
    #[serde(default = "default_method")]
    pub method: String,
    /// Puts the path and query of the request behind `url`, as Envoy does. Default false.
    #[serde(default)]
    pub append_path: bool,
    /// Header fields of the request that are copied into the question, up to 64. Default `[accept, authorization, cookie]`.
    #[serde(default = "default_request_headers")]
    pub request_headers: Vec<String>,
    /// Header fields of an answer that allows: the upstream gets them in place of those that the client sent, and they become context. Up to 32.
    #[serde(default)]
    pub response_headers: Vec<String>,
    /// Header fields of an answer that refuses which the client gets, up to 32; the content type always comes with the body.
    /// Default `[www-authenticate, location, set-cookie, cache-control]`.
    #[serde(default = "default_refusal_headers")]
    pub refusal_headers: Vec<String>,
    /// Header field of an answer that allows which says who is calling. An answer without it is of no use. Default: the principal is `forward-auth`.
    #[serde(default)]
    pub principal_header: Option<String>,
    /// Statuses besides 401 and 403 that refuse, of 301, 302, 303, 307 and 308. Default `[302, 303, 307]`.
    #[serde(default = "default_redirects")]
    pub redirects: Vec<u16>,
    /// Longest body of a refusal that is passed on in bytes, 0 to 1048576; a longer one is left out. Default 65536.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: u32,
    /// How long the gateway may reuse an answer that allows, in seconds, 0 to 3600; with `cache-control` the longest. Default 0.
    #[serde(default)]
    pub decision_ttl_seconds: u32,
    /// Takes the time from the answer's `Cache-Control: max-age`, up to `decision-ttl-seconds`. Default false.
    #[serde(default)]
    pub cache_control: bool,
    /// Time limit of a question in milliseconds, 50 to 60000; keep it below the binding's `limits.wall-time`. Default 2000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u32,
    /// Accepts `http://`. Only for networks nobody else can read or write. Default false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

fn default_method() -> String {
    "GET".into()
}

fn default_request_headers() -> Vec<String> {
    ["accept", "authorization", "cookie"].map(Into::into).into()
}

fn default_refusal_headers() -> Vec<String> {
    ["www-authenticate", "location", "set-cookie", "cache-control"]
        .map(Into::into)
        .into()
}

fn default_redirects() -> Vec<u16> {
    vec![302, 303, 307]
}

fn default_max_body_bytes() -> u32 {
    65_536
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
        assert!(error("{}").contains("`url`"));
        assert!(error(r#"{"url":"x","address":"y"}"#).contains("`address`"));
        assert!(error(r#"{"url":"x","timeout-ms":-1}"#).contains("u32"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
