//! Request bodies against models: schemas are compiled when an API is deployed. References from one model to another are followed; nothing is fetched.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::Model;

/// What references to other models begin with, before `{api}/models/{name}`.
const REFERENCE: &str = "https://apigateway.amazonaws.com/restapis/";

/// A compiled model.
#[derive(Debug)]
pub struct BodySchema(Validator);

impl BodySchema {
    /// Compiles a model.
    ///
    /// # Errors
    /// What is wrong with the schema, for the publisher.
    pub fn compile(name: &str, models: &BTreeMap<String, Model>) -> Result<Self, String> {
        let root = models
            .get(name)
            .ok_or_else(|| format!("no model is called `{name}`"))?;
        let mut wanted = vec![name.to_owned()];
        let (mut seen, mut definitions) = (BTreeSet::new(), Map::new());
        while let Some(next) = wanted.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let model = models
                .get(&next)
                .ok_or_else(|| format!("refers to model `{next}`, which is not there"))?;
            let mut schema = model.schema.clone();
            rewrite(&mut schema, &next, &mut wanted)?;
            if let Some(object) = schema.as_object_mut() {
                // they are parts of one document now
                for key in ["$schema", "id", "$id"] {
                    if object.get(key).is_some_and(Value::is_string) {
                        object.remove(key);
                    }
                }
            }
            definitions.insert(next, schema);
        }
        let written = root.schema.get("$schema").and_then(Value::as_str);
        let draft = match written {
            None => Draft::Draft4,
            Some(uri) => draft(uri)
                .ok_or_else(|| format!("`$schema` is `{uri}`, which is no draft from 4 to 2020-12"))?,
        };
        let document = json!({"$ref": format!("#/definitions/{name}"), "definitions": definitions});
        // linear time, whatever a publisher writes and a client sends
        let patterns = PatternOptions::regex().size_limit(1 << 20);
        let built = jsonschema::options()
            .with_draft(draft)
            .with_pattern_options(patterns)
            .offline()
            .build(&document);
        built.map(Self).map_err(|error| error.to_string())
    }

    /// The first thing that is wrong with a body; `None` if it is valid. No body counts as `{}`, as with AWS.
    #[must_use]
    pub fn problem(&self, body: &[u8]) -> Option<String> {
        let value = if body.is_empty() {
            json!({})
        } else {
            match serde_json::from_slice(body) {
                Ok(value) => value,
                Err(error) => return Some(format!("not JSON: {error}")),
            }
        };
        // the first only: an array of a million wrong elements has as many problems
        let error = self.0.validate(&value).err()?;
        let path = error.instance_path().to_string();
        let message = error.masked_with("this value").to_string();
        Some(if path.is_empty() {
            message
        } else {
            format!("{path}: {message}")
        })
    }
}

fn draft(uri: &str) -> Option<Draft> {
    Some(match uri.trim_end_matches('#') {
        "http://json-schema.org/draft-04/schema" => Draft::Draft4,
        "http://json-schema.org/draft-06/schema" => Draft::Draft6,
        "http://json-schema.org/draft-07/schema" => Draft::Draft7,
        "https://json-schema.org/draft/2019-09/schema" => Draft::Draft201909,
        "https://json-schema.org/draft/2020-12/schema" => Draft::Draft202012,
        _ => return None,
    })
}

/// Makes references of a model lead into the document that all are part of; adds the models that it refers to. The depth is bounded by that of a parsed
/// document.
fn rewrite(value: &mut Value, model: &str, wanted: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                if let Some(local) = reference.strip_prefix('#') {
                    *reference = format!("#/definitions/{model}{local}");
                } else if let Some(rest) = reference.strip_prefix(REFERENCE)
                    && let Some((_, name)) = rest.split_once("/models/")
                {
                    // a part of it may be meant: `{name}#/properties/a`
                    let (name, part) = name.split_once('#').unwrap_or((name, ""));
                    wanted.push(name.to_owned());
                    *reference = format!("#/definitions/{name}{part}");
                } else {
                    return Err(format!(
                        "refers to `{reference}`, which is neither in the model nor another model"
                    ));
                }
            }
            object
                .values_mut()
                .try_for_each(|value| rewrite(value, model, wanted))
        }
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| rewrite(value, model, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(value: Value) -> BTreeMap<String, Model> {
        value
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, schema)| {
                let model = Model {
                    content_type: "application/json".to_owned(),
                    description: None,
                    schema: schema.clone(),
                };
                (name.clone(), model)
            })
            .collect()
    }

    #[test]
    fn bodies_are_held_against_models_and_those_they_refer_to() {
        let models = models(json!({
            "pet": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"$ref": "#/definitions/short"}, "owner": {"$ref": "https://apigateway.amazonaws.com/restapis/abc/models/person"}},
                "definitions": {"short": {"type": "string", "maxLength": 5}},
            },
            "person": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "exclusiveMinimum": true}, "pets": {"type": "array", "items": {"$ref": "https://apigateway.amazonaws.com/restapis/abc/models/pet"}}}},
        }));
        let pet = BodySchema::compile("pet", &models).unwrap();
        for (body, good) in [
            (r#"{"name": "rex"}"#, true),
            (
                r#"{"name": "rex", "owner": {"age": 1, "pets": [{"name": "a"}]}}"#,
                true,
            ),
            (r#"{"name": "too long"}"#, false),
            (r#"{"name": "rex", "owner": {"age": 0}}"#, false),
            (r#"{"name": "rex", "owner": {"pets": [{}]}}"#, false),
            ("", false),
            ("{", false),
            ("[]", false),
        ] {
            assert_eq!(
                pet.problem(body.as_bytes()).is_none(),
                good,
                "{body}: {:?}",
                pet.problem(body.as_bytes())
            );
        }
        // the body's own values are not told: they end up in logs
        let told = pet.problem(br#"{"name": "secret-value"}"#).unwrap();
        assert!(told.starts_with("/name: ") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn drafts_differ_and_what_cannot_be_is_refused() {
        let all = models(json!({
            "four": {"properties": {"a": {"minimum": 1, "exclusiveMinimum": true}}},
            "new": {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"a": {"prefixItems": [{"type": "string"}]}}},
            "other": {"$schema": "http://json-schema.org/draft-03/schema#"},
            "far": {"$ref": "https://example.com/schema.json"},
            "gone": {"$ref": "https://apigateway.amazonaws.com/restapis/x/models/nothing"},
            "broken": {"type": "thing"},
            "regex": {"pattern": "(?=a)"},
        }));
        let new = BodySchema::compile("new", &all).unwrap();
        assert!(new.problem(br#"{"a": [1]}"#).is_some() && new.problem(br#"{"a": ["x"]}"#).is_none());
        let four = BodySchema::compile("four", &all).unwrap();
        assert!(four.problem(br#"{"a": 1}"#).is_some() && four.problem(b"").is_none());
        for (bad, part) in [
            ("other", "draft-03"),
            ("far", "example.com"),
            ("gone", "`nothing`"),
            ("broken", ""),
            ("regex", ""),
            ("none", "no model"),
        ] {
            let error = BodySchema::compile(bad, &all).unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
