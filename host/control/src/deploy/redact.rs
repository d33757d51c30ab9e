//! What may be a secret is told by its fingerprint in the audit log.

use serde_json::{Value, json};

/// Members whose values may be secrets: texts of mappings, what a token has to look like, stage variables, settings of plugins, what is kept of
/// tokens.
const SECRETIVE: [&str; 9] = [
    "identity-validation",
    "mac",
    "parameters",
    "request-templates",
    "templates",
    "request-parameters",
    "response-parameters",
    "variables",
    "settings",
];

/// A patch with a fingerprint in place of each text that may be a secret.
pub(super) fn without_secrets(patch: &Value) -> Value {
    let mut patch = patch.clone();
    for step in patch.as_array_mut().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let within = path
            .split('/')
            .fold(Within::Open, |within, name| within.below(name));
        let is_address = path.ends_with("/uri");
        if let Some(value) = step.get_mut("value") {
            hide(value, within);
            if is_address {
                hide_in_address(value);
            }
        }
    }
    patch
}

/// A JSON Patch that says what was there before, too: in front of each step that replaces or removes something there is a `test` of it (RFC 6902, 4.6).
pub(crate) fn with_tests(before: &Value, patch: &Value) -> Value {
    let mut now = before.clone();
    let mut steps = Vec::new();
    for step in patch.as_array().into_iter().flatten() {
        if matches!(step["op"].as_str(), Some("replace" | "remove"))
            && let Some(path) = step["path"].as_str()
            && let Some(old) = now.pointer(path)
        {
            steps.push(json!({"op": "test", "path": path, "value": old}));
        }
        steps.push(step.clone());
        let step: Result<json_patch::PatchOperation, _> = serde_json::from_value(step.clone());
        // it is a difference from that very document
        let _applied = step.map(|step| json_patch::patch(&mut now, &[step]));
    }
    Value::Array(steps)
}

/// A document with a fingerprint in place of each text that may be a secret.
pub(super) fn told(mut document: Value) -> Value {
    hide(&mut document, Within::Open);
    document
}

/// What stands in the place of a text.
fn fingerprint(text: &str) -> String {
    format!("sha256:{}...", edgeward_runtime::digest(text.as_bytes()).short())
}

/// The query of an address may have a key, and before its host there may be a password.
fn hide_in_address(value: &mut Value) {
    let Value::String(text) = value else { return };
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, format!("?{}", fingerprint(query))),
        None => (&**text, String::new()),
    };
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find('/').map_or(address.len(), |at| start + at);
    let shown = match address[start..end].rfind('@') {
        Some(at) => format!(
            "{}{}{}",
            &address[..start],
            fingerprint(&address[start..start + at]),
            &address[start + at..]
        ),
        None => address.to_owned(),
    };
    *text = shown + &query;
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Where values are told.
    Open,
    /// Where texts may be secrets.
    Texts,
    /// Within what a plugin is configured with: where numbers may be, too.
    Config,
}

impl Within {
    fn below(self, name: &str) -> Self {
        match self {
            Self::Open if SECRETIVE.contains(&name) => Self::Texts,
            Self::Texts if name == "config" => Self::Config,
            same => same,
        }
    }
}

fn hide(value: &mut Value, within: Within) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                hide(value, within.below(name));
                if name == "uri" {
                    hide_in_address(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, within)),
        Value::String(text) if within != Within::Open => {
            *text = fingerprint(text);
        }
        Value::Number(number) if within == Within::Config => {
            *value = fingerprint(&number.to_string()).into();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_told_by_its_fingerprint() {
        let patch = json!([
            {"op": "add", "path": "/description", "value": "plain"},
            {"op": "add", "path": "/request-parameters", "value": {"integration.request.header.authorization": "'Bearer secret'"}},
            {"op": "replace", "path": "/variables/key", "value": "secret"},
            {"op": "replace", "path": "/uri", "value": "http://plain.example/?key=secret"},
            {"op": "test", "path": "/uri", "value": "http://user:secret@plain.example:80/a@b"},
            {"op": "add", "path": "/identity-validation", "value": "^Bearer secret$"},
            {"op": "add", "path": "/authorizers", "value": {"a": {"identity-validation": "secret"}}},
            {"op": "add", "path": "", "value": {"uri": "http://secret@a/?secret", "request-templates": {"a/b": "secret"}}},
            {"op": "add", "path": "/plugins", "value": {"a": {"version": 1, "settings": {"config": {"password": "secret", "pin": 48151}, "limits": {"log-lines": 20}}}}},
        ]);
        let text = without_secrets(&patch).to_string();
        assert!(
            text.contains("plain") && text.contains("sha256:") && text.contains("\"version\":1"),
            "{text}"
        );
        assert!(!text.contains("secret") && !text.contains("48151"), "{text}");
        assert!(text.contains("\"log-lines\":20"), "{text}");
        assert!(text.contains("...@plain.example:80/a@b"), "{text}");
    }

    #[test]
    fn a_patch_says_what_was_there_before() {
        let before = json!({"a": 1, "list": ["x", "y", "z"], "gone": {"b": 2}, "same": true});
        let after = json!({"a": 2, "list": ["z"], "new": 3, "same": true});
        let patch = serde_json::to_value(json_patch::diff(&before, &after)).unwrap();
        let told = with_tests(&before, &patch);
        let has = |path: &str, value: Value| {
            let step = json!({"op": "test", "path": path, "value": value});
            told.as_array().unwrap().contains(&step)
        };
        assert!(has("/a", json!(1)) && has("/gone", json!({"b": 2})), "{told}");
        let mut now = before.clone();
        let steps: json_patch::Patch = serde_json::from_value(told.clone()).unwrap();
        json_patch::patch(&mut now, &steps).unwrap_or_else(|error| panic!("{error}: {told}"));
        assert_eq!(now, after);
        assert_eq!(with_tests(&json!({}), &json!([])), json!([]));
    }
}
