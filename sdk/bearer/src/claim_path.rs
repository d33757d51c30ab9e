//! Where a claim is: `sub`, `realm_access.roles`, or a JSON Pointer (RFC 6901) for names with dots: `/https:~1~1example.com~1roles`.

use std::fmt;

use serde_json::{Map, Value};

/// A path into the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    segments: Vec<String>,
}

impl ClaimPath {
    /// Reads a dotted path, or a JSON Pointer when it begins with `/`.
    ///
    /// # Errors
    /// The path is empty or has an empty segment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let segments: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => text.split('.').map(str::to_owned).collect(),
        };
        if segments.iter().any(String::is_empty) {
            return Err(format!("claim path {text:?} has an empty segment"));
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    /// The value at the path; array elements are named by their index.
    #[must_use]
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.segments.split_first()?;
        rest.iter()
            .try_fold(claims.get(first)?, |value, segment| match value {
                Value::Object(map) => map.get(segment),
                Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_paths_and_pointers_find_claims() {
        let claims = serde_json::json!({
            "sub": "ada", "realm_access": {"roles": ["a", "b"]}, "https://example.com/roles": ["x"], "a~b": 1
        });
        let claims = claims.as_object().unwrap();
        let find = |path: &str| ClaimPath::parse(path).unwrap().find(claims).cloned();
        assert_eq!(find("sub"), Some("ada".into()));
        assert_eq!(find("realm_access.roles.1"), Some("b".into()));
        assert_eq!(find("/https:~1~1example.com~1roles/0"), Some("x".into()));
        assert_eq!(find("/a~0b"), Some(1.into()));
        assert_eq!(find("realm_access.roles.2"), None);
        assert_eq!(find("sub.x"), None);
        for bad in ["", ".", "a..b", "/", "/a//b"] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
