//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use edgeward_sdk::config::Problems;

use crate::config::Config;

/// Longest address in bytes.
const URL_MAX: usize = 2048;
/// Longest name of a header field in bytes.
const NAME_MAX: usize = 128;

/// Fields that belong to a connection or frame a message (RFC 9110 section 7.6.1): nobody copies those.
const CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-encoding",
];

/// What the gateway says about a request, here and to upstreams. `x-forwarded-user` and the like are not among them.
const OF_THE_GATEWAY: [&str; 13] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-request-id",
];

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the service.
    pub url: String,
    /// Method of the question; none: that of the request.
    pub method: Option<String>,
    /// Path and query of the request go behind the address.
    pub append_path: bool,
    /// Fields of the request that are copied, in lower case.
    pub request_headers: Vec<String>,
    /// Fields of the answer that go upstream, in lower case.
    pub response_headers: Vec<String>,
    /// Fields of a refusal that go to the client, in lower case.
    pub refusal_headers: Vec<String>,
    /// Field with the principal, in lower case.
    pub principal_header: Option<String>,
    /// Redirects that refuse.
    pub redirects: Vec<u16>,
    /// Longest body of a refusal in bytes.
    pub max_body: usize,
    /// Longest time that a decision holds, in seconds; 0: not at all.
    pub ttl_seconds: u32,
    /// The answer says how long.
    pub cache_control: bool,
    /// Time limit in milliseconds.
    pub timeout_ms: u32,
}

fn url(problems: &mut Problems, config: &Config) {
    let url = &config.url;
    problems.https("url", url, "/?", config.allow_plain_http, "allow-plain-http");
    if url.len() > URL_MAX || url.contains('#') || url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        problems.push(format!(
            "url: longer than {URL_MAX} bytes, or with a fragment, or with characters that no URL has"
        ));
    }
    if config.append_path && url.contains('?') {
        problems.push("url: has a query, and append-path puts another path and query behind it");
    }
}

fn method(problems: &mut Problems, method: &str) -> Option<String> {
    if method == "original" {
        return None;
    }
    if method.is_empty() || method.len() > 32 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        problems.push(format!(
            "method: {method:?} is neither `original` nor 1 to 32 upper-case letters"
        ));
    } else if matches!(method, "CONNECT" | "TRACE") {
        problems.push(format!("method: {method} asks nobody anything"));
    }
    Some(method.to_owned())
}

fn field_names(problems: &mut Problems, key: &str, names: &[String], most: usize) -> Vec<String> {
    if names.len() > most {
        problems.push(format!("{key}: {} exceed {most}", names.len()));
    }
    let mut checked: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate().take(most) {
        let lower = field_name(problems, &format!("{key}[{index}]"), name);
        if checked.contains(&lower) {
            problems.push(format!("{key}[{index}]: {name:?} is there twice"));
        }
        checked.push(lower);
    }
    checked
}

fn field_name(problems: &mut Problems, path: &str, name: &str) -> String {
    // RFC 9110 section 5.6.2
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(token) {
        problems.push(format!(
            "{path}: {name:?} is no field name of up to {NAME_MAX} bytes"
        ));
    } else if CONNECTION.contains(&lower.as_str()) {
        problems.push(format!("{path}: {name} belongs to one connection or one message"));
    }
    lower
}

fn not_of_the_gateway(problems: &mut Problems, key: &str, names: &[String]) {
    for name in names {
        if OF_THE_GATEWAY.contains(&name.as_str()) {
            problems.push(format!("{key}: {name} is the gateway's to set"));
        }
    }
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        url(&mut problems, &config);
        let method = method(&mut problems, &config.method);
        let request_headers = field_names(&mut problems, "request-headers", &config.request_headers, 64);
        not_of_the_gateway(&mut problems, "request-headers", &request_headers);
        let response_headers = field_names(&mut problems, "response-headers", &config.response_headers, 32);
        not_of_the_gateway(&mut problems, "response-headers", &response_headers);
        let refusal_headers = field_names(&mut problems, "refusal-headers", &config.refusal_headers, 32);
        let principal_header = config
            .principal_header
            .map(|name| field_name(&mut problems, "principal-header", &name));
        for status in &config.redirects {
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                problems.push(format!(
                    "redirects: {status} is none of 301, 302, 303, 307 and 308"
                ));
            }
        }
        problems.range("max-body-bytes", config.max_body_bytes, 0, 1_048_576);
        problems.range("decision-ttl-seconds", config.decision_ttl_seconds, 0, 3600);
        if config.cache_control && config.decision_ttl_seconds == 0 {
            problems.push("cache-control: needs decision-ttl-seconds, the longest time");
        }
        problems.range("timeout-ms", config.timeout_ms, 50, 60_000);
        problems.check()?;
        Ok(Self {
            url: config.url,
            method,
            append_path: config.append_path,
            request_headers,
            response_headers,
            refusal_headers,
            principal_header,
            redirects: config.redirects,
            max_body: usize::try_from(config.max_body_bytes).unwrap_or(usize::MAX),
            ttl_seconds: config.decision_ttl_seconds,
            cache_control: config.cache_control,
            timeout_ms: config.timeout_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(extra: &Value) -> Result<Settings, String> {
        let mut config = json!({"url": "https://auth.test/verify"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = settings(&json!({})).unwrap();
        assert_eq!(settings.method.as_deref(), Some("GET"));
        assert_eq!(settings.request_headers, ["accept", "authorization", "cookie"]);
        assert_eq!(
            settings.refusal_headers,
            ["www-authenticate", "location", "set-cookie", "cache-control"]
        );
        assert!(settings.response_headers.is_empty() && settings.principal_header.is_none());
        assert_eq!(settings.redirects, [302, 303, 307]);
        assert_eq!(
            (settings.max_body, settings.ttl_seconds, settings.timeout_ms),
            (65_536, 0, 2000)
        );
        assert!(!settings.append_path && !settings.cache_control);
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        let many: Vec<String> = (0..33).map(|index| format!("x-{index}")).collect();
        for (extra, wanted) in [
            (
                json!({"url": "http://auth.test/"}),
                "config.url: \"http://auth.test/\" is not https://; set allow-plain-http",
            ),
            (
                json!({"url": "https:///x"}),
                "config.url: \"https:///x\" has no host",
            ),
            (json!({"url": "ftp://a"}), "is no https:// URL"),
            (json!({"url": "https://a/ b"}), "with characters that no URL has"),
            (json!({"url": "https://a/#b"}), "with a fragment"),
            (
                json!({"url": "https://a/?b", "append-path": true}),
                "config.url: has a query",
            ),
            (json!({"method": "get"}), "config.method: \"get\" is neither"),
            (
                json!({"method": "TRACE"}),
                "config.method: TRACE asks nobody anything",
            ),
            (
                json!({"request-headers": ["x y"]}),
                "config.request-headers[0]: \"x y\" is no field name",
            ),
            (
                json!({"request-headers": ["Host"]}),
                "config.request-headers[0]: Host belongs to",
            ),
            (
                json!({"request-headers": ["X-Forwarded-For"]}),
                "config.request-headers: x-forwarded-for is the gateway's to set",
            ),
            (
                json!({"response-headers": ["forwarded"]}),
                "config.response-headers: forwarded is the gateway's",
            ),
            (
                json!({"response-headers": ["x-a", "X-A"]}),
                "config.response-headers[1]: \"X-A\" is there twice",
            ),
            (
                json!({ "refusal-headers": many }),
                "config.refusal-headers: 33 exceed 32",
            ),
            (
                json!({"principal-header": ""}),
                "config.principal-header: \"\" is no",
            ),
            (
                json!({"redirects": [304]}),
                "config.redirects: 304 is none of 301",
            ),
            (
                json!({"max-body-bytes": 1_048_577}),
                "config.max-body-bytes: 1048577 is outside",
            ),
            (
                json!({"decision-ttl-seconds": 3601}),
                "config.decision-ttl-seconds: 3601 is outside 0 to 3600",
            ),
            (
                json!({"cache-control": true}),
                "config.cache-control: needs decision-ttl-seconds",
            ),
            (
                json!({"timeout-ms": 1}),
                "config.timeout-ms: 1 is outside 50 to 60000",
            ),
        ] {
            let error = settings(&extra).unwrap_err();
            assert!(error.contains(wanted), "{extra}: {error}");
        }
        let both = settings(&json!({"method": "", "timeout-ms": 1})).unwrap_err();
        assert!(both.contains("method") && both.contains("timeout"), "{both}");
    }
}
