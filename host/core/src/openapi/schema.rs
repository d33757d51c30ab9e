//! Schemas of documents as models, and back. A model is draft 4 where it does not say, as with AWS; what is of OpenAPI's dialects only is written in JSON
//! Schema (`nullable` is a type), and what leads from one schema to another leads from model to model.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    MODELS, OWN, Version,
    report::{Names, Report, at, pointer, unescaped},
};
use crate::{
    api::{Model, Route, model_named},
    config::typed,
};

/// The draft of a model that does not say.
const DRAFT_4: &str = "http://json-schema.org/draft-04/schema#";
/// The draft of OpenAPI 3.1.
const DRAFT_2020: &str = "https://json-schema.org/draft/2020-12/schema";
/// The dialect of OpenAPI 3.1, which adds nothing that is validated.
const DIALECT_31: &str = "https://spec.openapis.org/oas/3.1/dialect/base";

/// The models that a document becomes.
pub(super) struct Models<'d> {
    document: &'d Value,
    version: Version,
    /// Names by pointer.
    names: BTreeMap<String, String>,
    given: Names,
    /// Names that are not given to what has none in the document: others use them.
    used: &'d BTreeSet<String>,
    /// What is not made yet: pointer, name.
    wanted: Vec<(String, String)>,
    pub(super) made: BTreeMap<String, Model>,
}

/// The model that is being made.
#[derive(Clone, Copy)]
struct Of<'a> {
    name: &'a str,
    pointer: &'a str,
}

impl<'d> Models<'d> {
    /// Those that have a name in the document.
    pub(super) fn new(
        document: &'d Value,
        version: Version,
        used: &'d BTreeSet<String>,
        report: &mut Report,
    ) -> Self {
        let mut models = Self {
            document,
            version,
            names: BTreeMap::new(),
            given: Names::default(),
            used,
            wanted: Vec::new(),
            made: BTreeMap::new(),
        };
        let place = version.schemas().trim_end_matches('/');
        let schemas = report.object(document.pointer(place), place);
        for name in schemas.into_iter().flat_map(|schemas| schemas.keys()) {
            let place = at(place, name);
            let given = models.given.give(name, "model");
            if given != *name {
                report.note(&place, format!("is the model `{given}`"));
            }
            models.names.insert(place.clone(), given.clone());
            models.wanted.push((place, given));
        }
        models
    }

    /// The name of the model of a schema that an operation uses.
    pub(super) fn of(
        &mut self,
        schema: &Value,
        place: &str,
        wanted: &str,
        report: &mut Report,
    ) -> Option<String> {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = match reference {
            None => place.to_owned(),
            Some(reference) => {
                let Some(pointer) = pointer(reference) else {
                    report.warn(
                        place,
                        format!("refers to `{reference}`: other documents are not fetched, bodies are not validated"),
                    );
                    return None;
                };
                if self.document.pointer(&pointer).is_none() {
                    report.problem(place, format!("refers to `{reference}`, which is not there"));
                    return None;
                }
                pointer
            }
        };
        Some(self.name(&target, wanted))
    }

    fn name(&mut self, pointer: &str, wanted: &str) -> String {
        if let Some(name) = self.names.get(pointer) {
            return name.clone();
        }
        let used = self.used;
        let name = self.given.give_but(wanted, "model", |name| used.contains(name));
        self.names.insert(pointer.to_owned(), name.clone());
        self.wanted.push((pointer.to_owned(), name.clone()));
        name
    }

    /// Makes all that are wanted, and those that they refer to.
    pub(super) fn finish(&mut self, report: &mut Report) {
        while let Some((place, name)) = self.wanted.pop() {
            let Some(schema) = self.document.pointer(&place) else {
                report.problem(&place, "is not there");
                continue;
            };
            if !report.spend(schema.to_string().len()) {
                return;
            }
            let of = Of {
                name: &name,
                pointer: &place,
            };
            if let Some(model) = self.model(schema, of, report) {
                report.became(&place, format!("model `{name}`"));
                self.made.insert(name, model);
            }
        }
    }

    fn model(&mut self, schema: &Value, of: Of<'_>, report: &mut Report) -> Option<Model> {
        let converted = match schema {
            Value::Bool(all) => Value::Object(if *all {
                Map::new()
            } else {
                Map::from_iter([("not".to_owned(), json!({}))])
            }),
            Value::Object(_) => self.convert(schema, of.pointer, of, report),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                report.problem(of.pointer, "is no schema");
                return None;
            }
        };
        let Value::Object(mut converted) = converted else {
            return None;
        };
        self.dialect(&mut converted, of.pointer, report);
        let mut fields = Map::new();
        converted.retain(|key, value| match key.strip_prefix(OWN) {
            None => true,
            Some(field) => {
                fields.insert(field.to_owned(), value.take());
                false
            }
        });
        fields.insert("schema".to_owned(), Value::Object(converted));
        match typed(Value::Object(fields)) {
            Ok(model) => Some(model),
            Err(problems) => {
                for problem in problems.0 {
                    report.problem(of.pointer, format!("{OWN}{}: {}", problem.path, problem.message));
                }
                None
            }
        }
    }

    /// Says which draft it is, where it is not the one that models are of.
    fn dialect(&self, schema: &mut Map<String, Value>, place: &str, report: &mut Report) {
        let said = schema.get("$schema").and_then(Value::as_str);
        let all = self.document.get("jsonSchemaDialect").and_then(Value::as_str);
        let of_document = match self.version {
            Version::V2 | Version::V3 => DRAFT_4,
            Version::V31 => all.unwrap_or(DRAFT_2020),
        };
        let draft = match said.unwrap_or(of_document).trim_end_matches('#') {
            DIALECT_31 => DRAFT_2020,
            draft => draft,
        };
        if draft == DRAFT_4.trim_end_matches('#') {
            schema.remove("$schema");
            return;
        }
        if !(draft.starts_with("http://json-schema.org/") || draft.starts_with("https://json-schema.org/")) {
            report.warn(
                place,
                format!("is of the dialect `{draft}`, which is not known: bodies cannot be validated by it"),
            );
        }
        if said.is_none_or(|said| said.trim_end_matches('#') != draft) {
            schema.insert("$schema".to_owned(), draft.into());
        }
    }

    fn convert(&mut self, value: &Value, place: &str, of: Of<'_>, report: &mut Report) -> Value {
        let Some(object) = value.as_object() else {
            return value.clone();
        };
        let mut out = Map::new();
        for (key, value) in object {
            match value {
                Value::String(reference) if key == "$ref" => {
                    if let Some(reference) = self.reference(reference, place, of, report) {
                        out.insert(key.clone(), reference.into());
                    }
                }
                _ => {
                    let inner = inner(key, value, &at(place, key), &mut |value, place| {
                        self.convert(value, place, of, report)
                    });
                    out.insert(key.clone(), inner);
                }
            }
        }
        newer(&mut out, self.version);
        Value::Object(out)
    }

    /// Where a reference leads among models.
    fn reference(&mut self, reference: &str, place: &str, of: Of<'_>, report: &mut Report) -> Option<String> {
        let prefix = self.version.schemas();
        let reference = match model_named(reference) {
            Some((name, part)) => {
                let part = part.unwrap_or_default();
                if !self.names.contains_key(&format!("{prefix}{name}")) {
                    report.warn(place, format!("refers to the model `{name}`, which is not there"));
                    return Some(reference.to_owned());
                }
                format!("#{prefix}{name}{part}")
            }
            None => reference.to_owned(),
        };
        let Some(pointer) = pointer(&reference) else {
            report.warn(
                place,
                format!("refers to `{reference}`: other documents are not fetched, anything is valid there"),
            );
            return None;
        };
        let known = self.document.pointer(&pointer).is_some();
        if let Some(rest) = pointer.strip_prefix(prefix) {
            let end = rest.find('/').unwrap_or(rest.len());
            let (name, below) = rest.split_at(end);
            if let Some(model) = self.names.get(&format!("{prefix}{name}")).filter(|_| known) {
                return Some(match below {
                    "" => format!("{MODELS}{model}"),
                    below if model == of.name => format!("#{below}"),
                    below => format!("{MODELS}{model}#{below}"),
                });
            }
        }
        if known {
            let wanted = unescaped(pointer.rsplit('/').next().unwrap_or_default());
            return Some(format!("{MODELS}{}", self.name(&pointer, &wanted)));
        }
        // a schema may have parts of its own
        if self
            .document
            .pointer(&format!("{}{pointer}", of.pointer))
            .is_some()
        {
            return Some(format!("#{pointer}"));
        }
        report.problem(place, format!("refers to `{reference}`, which is not there"));
        None
    }
}

/// A member of a schema, with each schema in it replaced.
fn inner(key: &str, value: &Value, place: &str, each: &mut dyn FnMut(&Value, &str) -> Value) -> Value {
    let (list, map, one) = match key {
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => (true, false, false),
        "properties" | "patternProperties" | "definitions" | "$defs" | "dependentSchemas"
        | "dependencies" => (false, true, false),
        "items" => (true, false, true),
        "additionalProperties"
        | "additionalItems"
        | "not"
        | "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "contentSchema" => (false, false, true),
        _ => return value.clone(),
    };
    match value {
        Value::Array(values) if list => values
            .iter()
            .enumerate()
            .map(|(index, value)| each(value, &format!("{place}/{index}")))
            .collect(),
        Value::Object(values) if map => Value::Object(
            values
                .iter()
                .map(|(name, value)| (name.clone(), each(value, &at(place, name))))
                .collect(),
        ),
        Value::Object(_) if one => each(value, place),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value.clone(),
    }
}

/// Names of the models that bodies of a route are validated by, and of all that those refer to.
#[must_use]
pub fn models_of(route: &Route, models: &BTreeMap<String, Model>) -> BTreeSet<String> {
    let mut wanted: Vec<&str> = route.request_models.values().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if found.insert(name.to_owned()) {
            wanted.extend(models.get(name).map(referred).unwrap_or_default());
        }
    }
    found
}

/// Names of the models that one refers to.
fn referred(model: &Model) -> Vec<&str> {
    let mut found = Vec::new();
    let mut values = vec![&model.schema];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(object) => {
                let reference = object.get("$ref").and_then(Value::as_str);
                found.extend(reference.and_then(model_named).map(|(name, _part)| name));
                values.extend(object.values());
            }
            Value::Array(list) => values.extend(list),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

const fn nullable(version: Version) -> Option<&'static str> {
    match version {
        Version::V2 => Some("x-nullable"),
        Version::V3 => Some("nullable"),
        Version::V31 => None,
    }
}

/// Writes in JSON Schema what OpenAPI has words of its own for.
fn newer(schema: &mut Map<String, Value>, version: Version) {
    if let Some(key) = nullable(version)
        && let Some(flag) = schema.get(key).and_then(Value::as_bool)
    {
        schema.remove(key);
        let kinds = match schema.get("type") {
            Some(Value::String(kind)) if flag && kind != "null" => Some(json!([kind, "null"])),
            Some(Value::Array(kinds)) if flag && !kinds.contains(&json!("null")) => {
                Some(kinds.iter().cloned().chain([json!("null")]).collect())
            }
            _ => None,
        };
        if let Some(kinds) = kinds {
            schema.insert("type".to_owned(), kinds);
        }
    }
    if version == Version::V2
        && let Some(Value::String(name)) = schema.get("discriminator")
    {
        let object = json!({"propertyName": name});
        schema.insert("discriminator".to_owned(), object);
    }
}

/// A model's schema as a document has it, among the others.
pub(super) fn written(model: &str, models: &BTreeMap<String, Model>, version: Version) -> Value {
    let Some(Model { schema, .. }) = models.get(model) else {
        return Value::Null;
    };
    let writer = Writer {
        model,
        models,
        version,
    };
    let Value::Object(object) = writer.converted(schema) else {
        return match (version, schema) {
            (Version::V31, _) => schema.clone(),
            (Version::V2 | Version::V3, Value::Bool(false)) => json!({"not": {}}),
            (Version::V2 | Version::V3, _) => json!({}),
        };
    };
    let mut object = object;
    let said = object.get("$schema").and_then(Value::as_str).map(str::to_owned);
    match (version, said) {
        (Version::V2 | Version::V3, _) => drop(object.remove("$schema")),
        (Version::V31, None) => drop(object.insert("$schema".to_owned(), DRAFT_4.into())),
        (Version::V31, Some(draft)) if draft == DRAFT_2020 => drop(object.remove("$schema")),
        (Version::V31, Some(_)) => {}
    }
    Value::Object(object)
}

struct Writer<'a> {
    model: &'a str,
    models: &'a BTreeMap<String, Model>,
    version: Version,
}

impl Writer<'_> {
    fn converted(&self, value: &Value) -> Value {
        let Some(object) = value.as_object() else {
            return value.clone();
        };
        let mut out = Map::new();
        for (key, value) in object {
            let value = match value {
                Value::String(reference) if key == "$ref" => self.referred(reference).into(),
                _ => inner(key, value, "", &mut |value, _| self.converted(value)),
            };
            out.insert(key.clone(), value);
        }
        if self.version != Version::V31 {
            older(&mut out, self.version);
        }
        Value::Object(out)
    }

    fn referred(&self, reference: &str) -> String {
        let schemas = self.version.schemas();
        if let Some(local) = reference.strip_prefix('#') {
            return format!("#{schemas}{}{local}", self.model);
        }
        if let Some((name, part)) = model_named(reference)
            && self.models.contains_key(name)
        {
            return format!("#{schemas}{name}{}", part.unwrap_or_default());
        }
        reference.to_owned()
    }
}

/// Writes JSON Schema in the words of OpenAPI 2.0 and 3.0.
fn older(schema: &mut Map<String, Value>, version: Version) {
    if let Some(value) = schema.remove("const") {
        schema.entry("enum").or_insert_with(|| json!([value]));
    }
    for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(Value::Number(number)) = schema.get(exclusive).cloned() {
            // with both it is the exclusive one, which usually says more
            schema.insert(limit.to_owned(), Value::Number(number));
            schema.insert(exclusive.to_owned(), Value::Bool(true));
        }
    }
    let kinds = match schema.get("type") {
        Some(Value::Array(kinds)) => Some(kinds.clone()),
        Some(Value::String(kind)) if kind == "null" => Some(vec![json!("null")]),
        _ => None,
    };
    if let Some(kinds) = kinds {
        let null = kinds.iter().any(|kind| kind == "null");
        let others: Vec<Value> = kinds.into_iter().filter(|kind| kind != "null").collect();
        schema.remove("type");
        match &*others {
            [] if null => {
                schema.entry("enum").or_insert_with(|| json!([null]));
            }
            [] => {}
            [one] => drop(schema.insert("type".to_owned(), one.clone())),
            _ => {
                let any = others.iter().map(|kind| json!({"type": kind})).collect();
                schema.entry("anyOf").or_insert(any);
            }
        }
        if let Some(key) = nullable(version).filter(|_| null) {
            schema.insert(key.to_owned(), Value::Bool(true));
        }
    }
    if version == Version::V2
        && let Some(name) = schema
            .get("discriminator")
            .and_then(|one| one.get("propertyName"))
            .cloned()
    {
        schema.insert("discriminator".to_owned(), name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(document: &Value, version: Version) -> (BTreeMap<String, Model>, Report) {
        let mut report = Report::default();
        let none = BTreeSet::new();
        let mut models = Models::new(document, version, &none, &mut report);
        models.finish(&mut report);
        (models.made, report)
    }

    #[test]
    fn references_lead_from_model_to_model() {
        let document = json!({"components": {
            "schemas": {
                "Pet": {"type": "object", "properties": {
                    "owner": {"$ref": "#/components/schemas/Person«x»"}, "self": {"$ref": "#/components/schemas/Pet"},
                    "short": {"$ref": "#/components/schemas/Pet/properties/name"}, "name": {"type": "string", "nullable": true},
                    "age": {"$ref": "#/components/schemas/Person«x»/properties/age"}, "odd": {"$ref": "#/components/parameters/odd/schema"},
                    "far": {"$ref": "other.json"}, "$ref": {"type": "string"},
                }},
                "Person«x»": {"properties": {"age": {"type": "integer", "nullable": false}}},
            },
            "parameters": {"odd": {"schema": {"enum": [{"nullable": true, "type": "x"}]}}},
        }});
        let (models, report) = imported(&document, Version::V3);
        let properties = &models["Pet"].schema["properties"];
        for (name, reference) in [
            ("owner", format!("{MODELS}Person-x")),
            ("self", format!("{MODELS}Pet")),
            ("short", "#/properties/name".to_owned()),
            ("age", format!("{MODELS}Person-x#/properties/age")),
            ("odd", format!("{MODELS}schema")),
        ] {
            assert_eq!(properties[name]["$ref"], *reference, "{name}");
        }
        assert_eq!(properties["name"], json!({"type": ["string", "null"]}));
        assert_eq!(properties["far"], json!({}));
        assert_eq!(properties["$ref"], json!({"type": "string"}));
        assert_eq!(
            models["Person-x"].schema["properties"]["age"],
            json!({"type": "integer"})
        );
        assert_eq!(
            models["schema"].schema,
            json!({"enum": [{"nullable": true, "type": "x"}]})
        );
        assert_eq!(
            (report.problems.len(), report.warnings.len()),
            (0, 1),
            "{report:?}"
        );
        for name in ["Pet", "schema"] {
            let definition = crate::api::Definition {
                models: models.clone(),
                ..Default::default()
            };
            crate::api::BodySchema::compile(name, &definition, false).unwrap();
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let of = |name: &str, schema: &Value, version| {
            let model = |schema: &Value| typed(json!({"schema": schema})).unwrap();
            let models = [
                (name.to_owned(), model(schema)),
                ("other".to_owned(), model(&json!({}))),
            ];
            written(name, &models.into(), version)
        };
        for schema in [
            json!({"type": ["string", "null"], "minimum": 1, "exclusiveMinimum": true}),
            json!({"properties": {"a": {"$ref": "#/definitions/b"}}, "definitions": {"b": {"$ref": format!("{MODELS}other")}}}),
            json!({"allOf": [{"$ref": format!("{MODELS}other#/x")}], "x": 1}),
        ] {
            for version in Version::ALL {
                let written = of("m", &schema, version);
                let all = json!({"m": written, "other": {"x": {}}});
                let document = match version {
                    Version::V2 => json!({"definitions": all}),
                    Version::V3 | Version::V31 => json!({"components": {"schemas": all}}),
                };
                let (models, report) = imported(&document, version);
                assert_eq!(report.problems, []);
                assert_eq!(models["m"].schema, schema, "{version:?}: {document}");
            }
        }
        let new = json!({"$schema": DRAFT_2020, "const": 1});
        assert_eq!(of("m", &new, Version::V31), json!({"const": 1}));
        assert_eq!(of("m", &new, Version::V3), json!({"enum": [1]}));
        assert_eq!(
            of(
                "m",
                &json!({"exclusiveMinimum": 5, "type": ["a", "b", "null"]}),
                Version::V2
            ),
            json!({"minimum": 5, "exclusiveMinimum": true, "anyOf": [{"type": "a"}, {"type": "b"}], "x-nullable": true})
        );
    }

    #[test]
    fn dialects_are_said_where_they_are_not_draft_4() {
        let of = |document: Value| {
            let (models, report) = imported(&document, Version::V31);
            (models["m"].schema["$schema"].clone(), report.warnings.len())
        };
        let schema = |schema: Value| json!({"components": {"schemas": {"m": schema}}});
        assert_eq!(of(schema(json!(true))), (DRAFT_2020.into(), 0));
        assert_eq!(of(schema(json!({"$schema": DRAFT_4}))), (Value::Null, 0));
        assert_eq!(of(schema(json!({"$schema": DIALECT_31}))), (DRAFT_2020.into(), 0));
        let mut other = schema(json!({}));
        other["jsonSchemaDialect"] = "http://json-schema.org/draft-07/schema#".into();
        assert_eq!(of(other), ("http://json-schema.org/draft-07/schema".into(), 0));
        assert_eq!(of(schema(json!({"$schema": "urn:x"}))), ("urn:x".into(), 1));
    }
}
