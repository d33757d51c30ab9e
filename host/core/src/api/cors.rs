//! Cross-origin requests of browsers (the Fetch standard, section 3.3): who is told what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Browsers of which origins may call an API, and what they may send and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cors {
    /// Origins: `https://app.example.com`, `https://*.example.com` (one or more labels), `*` for any.
    pub allow_origins: Vec<String>,
    /// Methods; `*` for any.
    pub allow_methods: Vec<String>,
    /// Request header fields; `*` for any.
    pub allow_headers: Vec<String>,
    /// Response header fields that scripts may read; `*` for any.
    pub expose_headers: Vec<String>,
    /// Seconds that browsers may keep the answer to a preflight, up to 86400; -1 forbids it. Default: not said.
    pub max_age: Option<i32>,
    /// Cookies and credentials may be sent. Not with an origin `*`.
    pub allow_credentials: bool,
}

impl Cors {
    /// What cannot be, as (key, message).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.allow_origins.is_empty() {
            problems.push(("allow-origins", "is empty: no browser may call".to_owned()));
        }
        for origin in &self.allow_origins {
            if origin != "*" && !is_origin(origin) {
                problems.push((
                    "allow-origins",
                    format!("`{origin}` is not an origin: write e.g. `https://app.example.com`"),
                ));
            }
        }
        if self.allow_credentials && self.allow_origins.iter().any(|origin| origin == "*") {
            problems.push((
                "allow-credentials",
                "is not possible with the origin `*`".to_owned(),
            ));
        }
        if let Some(age) = self.max_age.filter(|age| !(-1..=86_400).contains(age)) {
            problems.push(("max-age", format!("{age} is not from -1 to 86400")));
        }
        let fields = [
            ("allow-headers", &self.allow_headers),
            ("expose-headers", &self.expose_headers),
        ];
        for (key, names) in fields {
            for name in names {
                if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                    problems.push((key, format!("`{name}` is not a field name")));
                }
            }
        }
        for method in &self.allow_methods {
            if method.parse::<http::Method>().is_err() {
                problems.push(("allow-methods", format!("`{method}` is not a method")));
            }
        }
        problems
    }

    /// What `Access-Control-Allow-Origin` says to this origin, if it may call: `*`, or the origin itself.
    #[must_use]
    pub fn allowed<'a>(&self, origin: &'a str) -> Option<&'a str> {
        if self.allow_origins.iter().any(|allowed| allowed == "*") {
            return Some("*");
        }
        let matches = |allowed: &String| match allowed.split_once("*.") {
            Some((scheme, suffix)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(suffix)?.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty() && !labels.contains(['/', '@', ':'])),
            None => allowed.eq_ignore_ascii_case(origin),
        };
        self.allow_origins.iter().any(matches).then_some(origin)
    }

    /// Whether the answer differs between origins: caches have to know then (RFC 9110 section 12.5.5).
    #[must_use]
    pub fn varies(&self) -> bool {
        !self.allow_origins.iter().any(|allowed| allowed == "*")
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let host = host.strip_prefix("*.").unwrap_or(host);
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        && !host.is_empty()
        && !host.contains(['/', '?', '#', '@', '*', ' ', ','])
        && host.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..Cors::default()
        }
    }

    #[test]
    fn origins_are_compared_whole_and_wildcards_stand_for_labels() {
        let some = cors(&["https://app.example.com", "https://*.example.org"]);
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("https://APP.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.net", false),
            ("https://a.example.org", true),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://.example.org", false),
            ("https://evil.net/.example.org", false),
            ("https://evilexample.org", false),
            ("null", false),
        ] {
            assert_eq!(some.allowed(origin).is_some(), allowed, "{origin}");
        }
        assert_eq!(cors(&["*"]).allowed("https://x.y"), Some("*"));
        assert!(some.varies() && !cors(&["*"]).varies());
    }

    #[test]
    fn what_browsers_would_not_take_is_refused() {
        let bad = Cors {
            allow_origins: vec!["*".into(), "example.com".into(), "https://a.b/".into()],
            allow_credentials: true,
            max_age: Some(86_401),
            allow_headers: vec!["x y".into()],
            ..Cors::default()
        };
        let keys: Vec<_> = bad.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "allow-origins",
                "allow-origins",
                "allow-credentials",
                "max-age",
                "allow-headers"
            ]
        );
        assert_eq!(
            cors(&["https://*.example.org", "capacitor://localhost"]).problems(),
            []
        );
    }
}
