//! What may be a secret is told by its fingerprint in the audit log.

use serde_json::Value;

/// Members whose values may be secrets: texts of mappings, stage variables, settings of plugins, what is kept of tokens.
const SECRETIVE: [&str; 8] = [
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
                hide_query(value);
            }
        }
    }
    patch
}

/// A document with a fingerprint in place of each text that may be a secret.
pub(super) fn told(mut document: Value) -> Value {
    hide(&mut document, Within::Open);
    document
}

/// The query of an address may have a key.
fn hide_query(value: &mut Value) {
    if let Value::String(text) = value
        && let Some((address, query)) = text.split_once('?')
    {
        let digest = edgeward_runtime::digest(query.as_bytes());
        *text = format!("{address}?sha256:{}...", digest.short());
    }
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
                    hide_query(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, within)),
        Value::String(text) if within != Within::Open => {
            *text = format!("sha256:{}...", edgeward_runtime::digest(text.as_bytes()).short());
        }
        Value::Number(number) if within == Within::Config => {
            let digest = edgeward_runtime::digest(number.to_string().as_bytes());
            *value = format!("sha256:{}...", digest.short()).into();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_told_by_its_fingerprint() {
        let patch = json!([
            {"op": "add", "path": "/description", "value": "plain"},
            {"op": "add", "path": "/request-parameters", "value": {"integration.request.header.authorization": "'Bearer secret'"}},
            {"op": "replace", "path": "/variables/key", "value": "secret"},
            {"op": "replace", "path": "/uri", "value": "http://plain.example/?key=secret"},
            {"op": "add", "path": "", "value": {"uri": "http://a/?secret", "request-templates": {"a/b": "secret"}}},
            {"op": "add", "path": "/plugins", "value": {"a": {"version": 1, "settings": {"config": {"password": "secret", "pin": 48151}, "limits": {"log-lines": 20}}}}},
        ]);
        let text = without_secrets(&patch).to_string();
        assert!(
            text.contains("plain") && text.contains("sha256:") && text.contains("\"version\":1"),
            "{text}"
        );
        assert!(!text.contains("secret") && !text.contains("48151"), "{text}");
        assert!(text.contains("\"log-lines\":20"), "{text}");
    }
}
