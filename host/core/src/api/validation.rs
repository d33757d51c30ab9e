//! Request bodies against models: schemas are compiled when an API is deployed. Each model is a document of its own, with its address, draft and anchors;
//! references lead from one to another. Nothing is fetched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jsonschema::{
    Draft, PatternOptions, ReferencingError, Registry, ValidationError, Validator, error::ValidationErrorKind,
};
use serde_json::{Value, json};

use super::{Definition, Model, Protocol};

/// What references to other models begin with, before `{api}/models/{name}`.
const REFERENCE: &str = "https://apigateway.amazonaws.com/restapis/";
/// Most addresses that a model and those that it refers to have together.
const ADDRESSES_MAX: usize = 10_000;

/// Models that REST APIs have without saying so, as AWS's.
static USUAL: LazyLock<BTreeMap<&str, Model>> = LazyLock::new(|| {
    let model = |schema: Value| Model {
        content_type: "application/json".to_owned(),
        description: None,
        schema,
    };
    let draft = "http://json-schema.org/draft-04/schema#";
    BTreeMap::from([
        (
            "Empty",
            model(json!({"$schema": draft, "title": "Empty Schema", "type": "object"})),
        ),
        (
            "Error",
            model(json!({
                "$schema": draft,
                "title": "Error Schema",
                "type": "object",
                "properties": {"message": {"type": "string"}},
            })),
        ),
    ])
});

impl Definition {
    /// A model: the API's own, or one of those that each REST API has (`Empty`, `Error`).
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        let usual = || (self.api.protocol == Protocol::Rest).then(|| USUAL.get(name));
        self.models.get(name).or_else(|| usual().flatten())
    }
}

/// A compiled model.
#[derive(Debug)]
pub struct BodySchema(Validator);

impl BodySchema {
    /// Compiles a model of an API. With `formats` values have to be of the `format` that a schema names.
    ///
    /// # Errors
    /// What is wrong with the schema, for the publisher.
    pub fn compile(name: &str, definition: &Definition, formats: bool) -> Result<Self, String> {
        let root = format!("{REFERENCE}-/models/{name}");
        let mut wanted = vec![(root.clone(), name.to_owned())];
        let mut known = BTreeSet::new();
        let mut registry = Registry::new().retrieve_known_draft_meta_schemas(false);
        while let Some((address, name)) = wanted.pop() {
            if !known.insert(address.clone()) {
                continue;
            }
            if known.len() > ADDRESSES_MAX {
                return Err(format!("refers to more than {ADDRESSES_MAX} addresses of models"));
            }
            let model = definition.model(&name).ok_or_else(|| {
                if address == root {
                    format!("no model is called `{name}`")
                } else {
                    format!("refers to model `{name}`, which is not there")
                }
            })?;
            let draft = draft_of(&model.schema)?;
            check(draft, &model.schema).map_err(|error| format!("`{name}`: {}", told(&error)))?;
            references(&model.schema, definition, &mut wanted);
            registry = registry
                .add(&address, draft.create_resource(model.schema.clone()))
                .map_err(|error| unresolved(&error))?;
        }
        let registry = registry.prepare().map_err(|error| unresolved(&error))?;
        // linear time, whatever a publisher writes and a client sends
        let patterns = PatternOptions::regex().size_limit(1 << 20);
        let built = jsonschema::options()
            .with_draft(Draft::Draft4)
            .with_pattern_options(patterns)
            .should_validate_formats(formats)
            .with_registry(&registry)
            .offline()
            .build(&json!({"$ref": root}));
        built.map(Self).map_err(|error| told(&error))
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

fn draft_of(schema: &Value) -> Result<Draft, String> {
    let Some(uri) = schema.get("$schema").and_then(Value::as_str) else {
        return Ok(Draft::Draft4);
    };
    Ok(match uri.trim_end_matches('#') {
        "http://json-schema.org/draft-04/schema" => Draft::Draft4,
        "http://json-schema.org/draft-06/schema" => Draft::Draft6,
        "http://json-schema.org/draft-07/schema" => Draft::Draft7,
        "https://json-schema.org/draft/2019-09/schema" => Draft::Draft201909,
        "https://json-schema.org/draft/2020-12/schema" => Draft::Draft202012,
        _ => {
            return Err(format!(
                "`$schema` is `{uri}`, which is no draft from 4 to 2020-12"
            ));
        }
    })
}

/// Holds a schema against what its draft says of schemas.
fn check(draft: Draft, schema: &Value) -> Result<(), ValidationError<'_>> {
    match draft {
        Draft::Draft6 => jsonschema::draft6::meta::validate(schema),
        Draft::Draft7 => jsonschema::draft7::meta::validate(schema),
        Draft::Draft201909 => jsonschema::draft201909::meta::validate(schema),
        Draft::Draft202012 => jsonschema::draft202012::meta::validate(schema),
        _ => jsonschema::draft4::meta::validate(schema),
    }
}

/// What is wrong with a schema, and where.
fn told(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let mut what = error.to_string();
    if matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex") {
        what += ": patterns are matched in linear time, without look-around and back-references";
    }
    if place.is_empty() {
        what
    } else {
        format!("{place}: {what}")
    }
}

fn unresolved(error: &ReferencingError) -> String {
    match error {
        ReferencingError::Unretrievable { uri, .. } => {
            format!("refers to `{uri}`, which is neither in the model nor another model")
        }
        other => format!("has a reference that leads nowhere: {other}"),
    }
}

/// Adds the models that a schema may refer to: by the address that AWS gives them, or by what they call themselves. What only looks like a reference
/// does no harm. The depth is bounded by that of a parsed document.
fn references(value: &Value, definition: &Definition, wanted: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                let address = reference.split('#').next().unwrap_or_default();
                let by_aws = address
                    .strip_prefix(REFERENCE)
                    .and_then(|rest| rest.split_once("/models/"));
                if let Some((_, name)) = by_aws {
                    wanted.push((address.to_owned(), name.to_owned()));
                } else if !address.is_empty() {
                    for (name, model) in &definition.models {
                        let own = model.schema.get("$id").or_else(|| model.schema.get("id"));
                        let own = own.and_then(Value::as_str).unwrap_or_default();
                        if own.trim_end_matches('#') == address {
                            wanted.push((address.to_owned(), name.clone()));
                        }
                    }
                }
            }
            for value in object.values() {
                references(value, definition, wanted);
            }
        }
        Value::Array(values) => {
            for value in values {
                references(value, definition, wanted);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(value: Value) -> Definition {
        let models = value.as_object().unwrap().iter();
        let models: serde_json::Map<_, _> = models
            .map(|(name, schema)| (name.clone(), json!({"schema": schema})))
            .collect();
        serde_json::from_value(json!({"api": {"protocol": "REST"}, "models": models})).unwrap()
    }

    fn takes(name: &str, definition: &Definition, body: &str) -> bool {
        let schema = BodySchema::compile(name, definition, false).unwrap();
        schema.problem(body.as_bytes()).is_none()
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
        let pet = BodySchema::compile("pet", &models, false).unwrap();
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
            "names": {"patternProperties": {"^(?!x)": {}}},
            "lost": {"$ref": "#/definitions/none"},
        }));
        let new = BodySchema::compile("new", &all, false).unwrap();
        assert!(new.problem(br#"{"a": [1]}"#).is_some() && new.problem(br#"{"a": ["x"]}"#).is_none());
        let four = BodySchema::compile("four", &all, false).unwrap();
        assert!(four.problem(br#"{"a": 1}"#).is_some() && four.problem(b"").is_none());
        for (bad, part) in [
            ("other", "draft-03"),
            ("far", "example.com"),
            ("gone", "`nothing`"),
            ("broken", ""),
            ("regex", "linear time"),
            ("names", "linear time"),
            ("lost", "none"),
            ("none", "no model"),
        ] {
            let error = BodySchema::compile(bad, &all, false).unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn references_of_each_draft_lead_where_they_say() {
        let newest = "https://json-schema.org/draft/2020-12/schema";
        let all = models(json!({
            "anchor": {"$schema": newest, "$ref": "#s", "$defs": {"a": {"$anchor": "s", "type": "string"}}},
            "old-anchor": {"properties": {"a": {"$ref": "#s"}}, "definitions": {"a": {"id": "#s", "type": "string"}}},
            "own": {
                "$schema": newest,
                "$id": "https://example.com/own",
                "properties": {"a": {"$ref": "https://example.com/own"}, "b": {"$ref": "own#/$defs/b"}, "c": {"$ref": "part"}},
                "$defs": {"b": {"type": "string"}, "c": {"$id": "part", "type": "integer"}},
                "additionalProperties": false,
            },
            "user": {"$ref": "https://example.com/own#/$defs/b"},
            "part": {"properties": {"a": {"$ref": "https://apigateway.amazonaws.com/restapis/x1/models/own#/$defs/b"}, "b": {"$ref": "https://apigateway.amazonaws.com/restapis/x2/models/four"}}},
            "four": {"properties": {"n": {"minimum": 1, "exclusiveMinimum": true}}},
            "self": {"properties": {"a": {"$ref": "#"}}, "additionalProperties": false},
            // what only looks like a reference
            "constant": {"enum": [{"$ref": "https://example.com/nowhere"}]},
            "named": {"properties": {"$ref": {"type": "string"}, "id": {"type": "integer"}}},
        }));
        for (name, good, bad) in [
            ("anchor", r#""x""#, "1"),
            ("old-anchor", r#"{"a": "x"}"#, r#"{"a": 1}"#),
            ("own", r#"{"a": {"b": "x", "c": 1}}"#, r#"{"a": {"d": 1}}"#),
            ("own", r#"{"c": 1}"#, r#"{"c": "x"}"#),
            ("user", r#""x""#, "1"),
            ("part", r#"{"a": "x", "b": {"n": 2}}"#, r#"{"a": 1}"#),
            // of the draft that this model is of
            ("part", r#"{"b": {"n": 2}}"#, r#"{"b": {"n": 1}}"#),
            ("self", r#"{"a": {"a": {}}}"#, r#"{"a": {"b": 1}}"#),
            ("constant", r#"{"$ref": "https://example.com/nowhere"}"#, "{}"),
            ("named", r#"{"$ref": "x", "id": 1}"#, r#"{"id": "x"}"#),
            ("Empty", "{}", "[]"),
            ("Error", r#"{"message": "x"}"#, r#"{"message": 1}"#),
        ] {
            assert!(takes(name, &all, good) && !takes(name, &all, bad), "{name}");
        }
        let http = Definition {
            api: serde_json::from_value(json!({"protocol": "HTTP"})).unwrap(),
            ..models(json!({}))
        };
        assert!(BodySchema::compile("Empty", &http, false).is_err());
    }

    #[test]
    fn formats_are_told_and_not_asserted_unless_that_is_asked_for() {
        for draft in [
            "http://json-schema.org/draft-04/schema#",
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2020-12/schema",
        ] {
            let all = models(json!({"m": {"$schema": draft, "format": "ipv4"}}));
            let problem = |formats: bool| {
                let schema = BodySchema::compile("m", &all, formats).unwrap();
                schema.problem(br#""x""#)
            };
            assert!(problem(false).is_none() && problem(true).is_some(), "{draft}");
        }
    }
}
