//! Claims as text for a header field.

use serde_json::{Map, Value};

/// The claim at a path as text: texts, numbers and truth values as they are, lists of them joined by `,`, everything else as JSON.
/// None when there is no such claim, it is null, or the elements of a list have a comma themselves and could pass for two.
#[must_use]
pub fn text(claims: &Map<String, Value>, path: &[String]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = rest
        .iter()
        .try_fold(claims.get(first)?, |value, segment| match value {
            Value::Object(map) => map.get(segment),
            Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        })?;
    match value {
        Value::Null => None,
        Value::Array(items) => {
            let Some(texts) = items.iter().map(scalar).collect::<Option<Vec<String>>>() else {
                return Some(value.to_string());
            };
            (!texts.iter().any(|text| text.contains(','))).then(|| texts.join(","))
        }
        other => Some(scalar(other).unwrap_or_else(|| other.to_string())),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_become_texts_without_two_readings() {
        let claims = serde_json::json!({
            "sub": "ada", "n": 7, "ok": true, "roles": ["a", "b", 3], "sly": ["a,admin"], "none": null,
            "org": {"id": "x"}, "mixed": ["a", {"b": 1}], "empty": [],
        });
        let find = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            text(claims.as_object().unwrap(), &path)
        };
        for (path, wanted) in [
            ("sub", Some("ada")),
            ("n", Some("7")),
            ("ok", Some("true")),
            ("roles", Some("a,b,3")),
            ("roles.1", Some("b")),
            ("sly", None),
            ("none", None),
            ("absent", None),
            ("sub.x", None),
            ("org", Some(r#"{"id":"x"}"#)),
            ("org.id", Some("x")),
            ("mixed", Some(r#"["a",{"b":1}]"#)),
            ("empty", Some("")),
        ] {
            assert_eq!(find(path).as_deref(), wanted, "{path}");
        }
    }
}
