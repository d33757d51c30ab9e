//! Request bodies against models: schemas are compiled when an API is deployed. Each model is a document of its own, with its address, draft and anchors;
//! references lead from one to another. Nothing is fetched.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use jsonschema::{
    Draft, PatternOptions, ReferencingError, Registry, ValidationError, Validator, error::ValidationErrorKind,
};
use serde_json::{Map, Value, json};

use super::{Definition, Model, Protocol};

/// What references to other models begin with, before `{api}/models/{name}`.
const REFERENCE: &str = "https://apigateway.amazonaws.com/restapis/";
/// Keywords whose values are no schemas.
const VALUES: [&str; 5] = ["const", "default", "enum", "example", "examples"];
/// Keywords whose values have schemas by names that somebody chose.
const NAMED: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

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
        let root = definition
            .model(name)
            .ok_or_else(|| format!("no model is called `{name}`"))?;
        let own: BTreeMap<String, &str> = definition
            .models
            .iter()
            .map(|(name, model)| (address(name, &model.schema), name.as_str()))
            .collect();
        let mut registry = Registry::new().retrieve_known_draft_meta_schemas(false);
        let mut wanted = vec![name.to_owned()];
        let (mut seen, mut ids) = (BTreeSet::new(), BTreeMap::new());
        while let Some(next) = wanted.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let model = definition
                .model(&next)
                .ok_or_else(|| format!("refers to model `{next}`, which is not there"))?;
            let of = |message: String| {
                if next == name {
                    message
                } else {
                    format!("model `{next}`, which it refers to: {message}")
                }
            };
            let draft = draft_of(&model.schema).map_err(of)?;
            check(draft, &model.schema).map_err(|error| of(told(&error)))?;
            let address = address(&next, &model.schema);
            // which of two would be meant is not said
            let mut called = BTreeSet::from([address.clone()]);
            let mut schema = model.schema.clone();
            each_schema(&mut schema, &mut |schema| {
                called.extend(absolute_id(schema, draft));
                redirect(schema, definition, &own, &mut wanted);
            });
            for id in called {
                if let Some(other) = ids.insert(id.clone(), next.clone()) {
                    return Err(format!(
                        "the models `{other}` and `{next}` both are or have `{id}`"
                    ));
                }
            }
            registry = registry
                .add(&address, draft.create_resource(schema))
                .map_err(|error| of(unresolved(&error)))?;
        }
        let root = address(name, &root.schema);
        // the library takes for granted that no two parts of a document call themselves the same
        let built = catch_unwind(AssertUnwindSafe(|| {
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
            built.map_err(|error| told(&error))
        }));
        let built = built.unwrap_or_else(|_panic| {
            Err("cannot be compiled: are there ids or anchors that are the same?".to_owned())
        });
        built.map(Self)
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

/// The address of a model: what it calls itself, beside the models of its API where that is relative; else what AWS calls it.
fn address(name: &str, schema: &Value) -> String {
    let keyword = draft_of(schema).unwrap_or(Draft::Draft4).id_keyword();
    let id = schema.get(keyword).and_then(Value::as_str).unwrap_or_default();
    let id = id.split('#').next().unwrap_or_default();
    if is_absolute(id) {
        return id.to_owned();
    }
    let is_plain = !id.is_empty() && !id.contains(['/', '?', ':']) && !id.starts_with('.');
    format!("{REFERENCE}-/models/{}", if is_plain { id } else { name })
}

fn is_absolute(uri: &str) -> bool {
    let of_scheme = |letter: u8| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter);
    uri.split_once(':')
        .is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(of_scheme))
}

/// The name and the part in a reference to a model of AWS's form, whatever API it names.
pub(crate) fn model_named(reference: &str) -> Option<(&str, Option<&str>)> {
    let (to, part) = match reference.split_once('#') {
        Some((to, part)) => (to, Some(part)),
        None => (reference, None),
    };
    let (_api, name) = to.strip_prefix(REFERENCE)?.split_once("/models/")?;
    Some((name, part))
}

/// Does something with a schema and all that are in it, each before those in it. The depth is bounded by that of a parsed document.
fn each_schema(value: &mut Value, each: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            each(object);
            for (key, value) in object {
                match value {
                    _ if VALUES.contains(&key.as_str()) => {}
                    Value::Object(named) if NAMED.contains(&key.as_str()) => {
                        named.values_mut().for_each(|value| each_schema(value, each));
                    }
                    value => each_schema(value, each),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_schema(value, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a schema calls itself, whatever document it is in.
fn absolute_id(schema: &Map<String, Value>, draft: Draft) -> Option<String> {
    let id = schema.get(draft.id_keyword())?.as_str()?;
    let id = id.split('#').next().filter(|id| is_absolute(id))?;
    Some(id.to_owned())
}

/// Makes the reference of a schema to a model of AWS's form lead to where that is, whatever API it names, and adds the model that it refers to. `own` has the addresses of
/// models.
fn redirect(
    schema: &mut Map<String, Value>,
    definition: &Definition,
    own: &BTreeMap<String, &str>,
    wanted: &mut Vec<String>,
) {
    let Some(Value::String(reference)) = schema.get_mut("$ref") else {
        return;
    };
    if let Some((name, part)) = model_named(reference) {
        let there = definition.model(name);
        let mut redirected = address(name, there.map_or(&Value::Null, |model| &model.schema));
        if let Some(part) = part {
            redirected = format!("{redirected}#{part}");
        }
        wanted.push(name.to_owned());
        *reference = redirected;
    } else if let Some(name) = own.get(reference.split('#').next().unwrap_or_default()) {
        wanted.push((*name).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(value: Value) -> Definition {
        let models = value.as_object().unwrap().iter();
        let models: Map<_, _> = models
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
            "one": {"id": "https://example.com/one"},
            "other-one": {"definitions": {"a": {"id": "https://example.com/one"}}, "properties": {"a": {"$ref": "https://apigateway.amazonaws.com/restapis/x/models/one"}}},
            "around": {"$ref": "https://apigateway.amazonaws.com/restapis/x/models/broken"},
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
            ("other-one", "`https://example.com/one`"),
            ("around", "model `broken`"),
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
            "sibling": {"$schema": newest, "$id": "sib.json", "properties": {"a": {"$ref": "sib.json#/$defs/x"}, "b": {"$ref": "#x"}}, "$defs": {"x": {"$anchor": "x", "type": "string"}}},
            "pet": {"id": "other", "properties": {"a": {"$ref": "#/definitions/x"}, "b": {"$ref": "#x"}}, "definitions": {"x": {"id": "#x", "type": "string"}}},
            "pets": {"items": {"$ref": "https://apigateway.amazonaws.com/restapis/x/models/pet"}},
            "both": {"$schema": newest, "$id": "https://example.com/both", "$ref": "#s", "$defs": {"a": {"$anchor": "s", "$ref": "https://apigateway.amazonaws.com/restapis/x/models/anchor"}}},
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
            ("sibling", r#"{"a": "x", "b": "y"}"#, r#"{"a": 1}"#),
            ("sibling", "{}", r#"{"b": 1}"#),
            ("pet", r#"{"a": "x", "b": "y"}"#, r#"{"b": 1}"#),
            ("pets", r#"[{"a": "x"}]"#, r#"[{"a": 1}]"#),
            ("both", r#""x""#, "1"),
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
            // the order in which documents are looked at changes
            for _ in 0..20 {
                assert!(takes(name, &all, good) && !takes(name, &all, bad), "{name}");
            }
        }
        let http = Definition {
            api: serde_json::from_value(json!({"protocol": "HTTP"})).unwrap(),
            ..models(json!({}))
        };
        assert!(BodySchema::compile("Empty", &http, false).is_err());
    }

    #[test]
    fn ids_and_anchors_that_are_the_same_end_nothing() {
        let newest = "https://json-schema.org/draft/2020-12/schema";
        let part =
            |id: &str| json!({"$id": id, "$defs": {"x": {"$anchor": "s", "type": "string"}}, "$ref": "#s"});
        let all = models(json!({
            "twice": {"$schema": newest, "$ref": "x#s", "$defs": {"a": part("x"), "b": part("x")}},
            "itself": {"$schema": newest, "$id": "https://example.com/i", "$ref": "#s", "$defs": {"a": part("https://example.com/i")}},
            "anchors": {"$schema": newest, "$ref": "#s", "$defs": {"a": {"$anchor": "s"}, "b": {"$anchor": "s"}}},
        }));
        for name in ["twice", "itself", "anchors"] {
            for _ in 0..20 {
                if let Ok(schema) = BodySchema::compile(name, &all, false) {
                    assert!(schema.problem(br#""x""#).is_none(), "{name}");
                }
            }
        }
    }

    #[test]
    fn values_stay_as_they_are_and_names_are_no_keywords() {
        let reference = "https://apigateway.amazonaws.com/restapis/x/models/pet";
        let models = models(json!({
            "a": {"enum": [{"$ref": reference}]},
            "b": {"properties": {
                "default": {"$ref": reference},
                "const": {"id": "https://example.org/inside", "type": "integer"},
                "enum": {"$ref": "https://example.org/inside"},
                "$ref": {"type": "string"},
                "id": {"type": "string"},
            }},
            "pet": {"type": "string"},
        }));
        assert!(takes("a", &models, &json!({"$ref": reference}).to_string()));
        for (body, good) in [
            (
                json!({"default": "rex", "const": 1, "enum": 2, "$ref": "x", "id": "y"}),
                true,
            ),
            (json!({"default": 5}), false),
            (json!({"enum": "two"}), false),
            (json!({"$ref": 1}), false),
        ] {
            assert_eq!(takes("b", &models, &body.to_string()), good, "{body}");
        }
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
