//! Schemas of the OpenAPI document that are made from types of other crates, and what else the handlers' own words leave open.

use edgeward_core::{
    config::{Config, Plugin, Problem},
    openapi::Became,
    policy::explain::{Explanation, Question},
};
use edgeward_proxy::{ArmCounts, ProxyStatus, ShadowCounts};
use edgeward_runtime::{LoadReport, ModuleInfo, StatsView};
use schemars::{Schema, schema_for};
use serde_json::{Map, Value, json};

use super::openapi::into_components;
use crate::{
    bundle,
    deploy::ReloadStatus,
    model::Kind,
    store::{AuditCheck, AuditRow},
};

/// Settings of a plugin that a version may have of its own.
const SETTINGS: [&str; 7] = [
    "config",
    "grants",
    "limits",
    "isolation",
    "on-error",
    "breaker",
    "decision-cache",
];

/// A reference to a schema of the document.
pub(super) fn to(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The same, or nothing.
fn maybe(name: &str) -> Value {
    json!({"anyOf": [to(name), {"type": "null"}]})
}

/// A map of that by name.
fn by_name(of: &Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

/// A list of that.
fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

/// An object that has these members.
fn object(members: &Value) -> Value {
    let names: Vec<&String> = members.as_object().into_iter().flat_map(Map::keys).collect();
    json!({"type": "object", "required": names, "properties": members})
}

/// Puts a schema among those of the document, with what it refers to.
pub(super) fn add(document: &mut Value, name: &str, mut schema: Value) {
    let definitions = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("title");
        schema.remove("$defs")
    });
    let mut all = match definitions {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    all.insert(name.to_owned(), schema);
    for (name, mut schema) in all {
        into_components(&mut schema);
        let there = &mut document["components"]["schemas"][&name];
        debug_assert!(
            there.is_null() || *there == schema,
            "two types are called `{name}`"
        );
        *there = schema;
    }
}

/// Says what the handlers leave open.
pub(super) fn fill(document: &mut Value) {
    let types: [(&str, Schema); 13] = [
        ("Problem", schema_for!(Problem)),
        ("Became", schema_for!(Became)),
        ("Config", schema_for!(Config)),
        ("Plugin", schema_for!(Plugin)),
        ("Question", schema_for!(Question)),
        ("Explanation", schema_for!(Explanation)),
        ("ArmCounts", schema_for!(ArmCounts)),
        ("ShadowCounts", schema_for!(ShadowCounts)),
        ("ProxyStatus", schema_for!(ProxyStatus)),
        ("ModuleInfo", schema_for!(ModuleInfo)),
        ("LoadReport", schema_for!(LoadReport)),
        ("StatsView", schema_for!(StatsView)),
        ("ReloadStatus", schema_for!(ReloadStatus)),
    ];
    for (name, schema) in types {
        add(document, name, schema.to_value());
    }
    add(document, "AuditRow", schema_for!(AuditRow).to_value());
    add(document, "AuditCheck", schema_for!(AuditCheck).to_value());
    for (name, schema) in own() {
        add(document, name, schema);
    }
    of_bundle(document);
    of_versions(document);
    for (place, schema) in places() {
        if let Some(open) = document.pointer_mut(&place) {
            *open = schema;
        }
    }
}

/// Schemas that no type stands behind.
fn own() -> [(&'static str, Value); 3] {
    let step = json!({
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string", "description": "JSON pointer (RFC 6901)"},
            "from": {"type": "string", "description": "of `move` and `copy`"},
            "value": {"description": "of `add`, `replace` and `test`: any JSON"},
        },
    });
    let changes = object(&json!({
        "dry-run": {"type": "boolean"},
        "changes": list(&to("Difference")),
    }));
    let document = json!({
        "type": "object",
        "description": "an OpenAPI document: 2.0, 3.0 or 3.1",
        "required": ["info", "paths"],
        "properties": {
            "openapi": {"type": "string"},
            "swagger": {"type": "string"},
            "info": {"type": "object", "properties": {"title": {"type": "string"}, "version": {"type": "string"}}},
            "paths": {"type": "object", "additionalProperties": {"type": "object"}},
        },
    });
    [
        ("JsonPatch", list(&step)),
        ("Changes", changes),
        ("OpenApiDocument", document),
    ]
}

/// The whole model as one document: documents by name, with those of what belongs to them.
fn of_bundle(document: &mut Value) {
    let mut lists = Map::new();
    for kind in bundle::KINDS {
        let mut whole = kind.schema();
        for child in kind.written_children() {
            let schema = child.schema();
            let name = type_of(child, &schema);
            add(document, &name, schema);
            whole["properties"][child.collection()] = by_name(&to(&name));
        }
        let name = format!("Bundle{}", type_of(kind, &whole));
        add(document, &name, whole);
        lists.insert(kind.collection().to_owned(), by_name(&to(&name)));
    }
    let whole = json!({"type": "object", "additionalProperties": false, "properties": lists});
    add(document, "Bundle", whole);
    let mut applied = object(&json!({
        "dry-run": {"type": "boolean"},
        "changes": list(&to("Difference")),
        "took-ms": {"type": "integer", "minimum": 0},
    }));
    applied["properties"]["snapshot"] = json!({"type": ["integer", "null"], "minimum": 0});
    add(document, "Applied", applied);
}

/// Name of the type that documents of a kind have.
fn type_of(kind: Kind, schema: &Value) -> String {
    let title = schema["title"].as_str();
    title.map_or_else(|| super::openapi::pascal(kind), str::to_owned)
}

/// What a version of a plugin says differently from the configuration file.
fn of_versions(document: &mut Value) {
    let plugin = document.pointer("/components/schemas/Plugin/properties").cloned();
    let mut settings = Map::new();
    for (name, schema) in plugin.as_ref().and_then(Value::as_object).into_iter().flatten() {
        if SETTINGS.contains(&name.as_str()) {
            settings.insert(name.clone(), schema.clone());
        }
    }
    let of_it = json!({"type": "object", "properties": settings, "additionalProperties": false});
    add(document, "PluginSettings", of_it);
    if let Some(new) = document.pointer_mut("/components/schemas/NewVersion") {
        settings.insert("module".to_owned(), new["properties"]["module"].clone());
        new["properties"] = Value::Object(settings);
        new["additionalProperties"] = false.into();
    }
}

/// Where the document says too little, as JSON pointers, and what stands there.
fn places() -> Vec<(String, Value)> {
    let drift = object(&json!({
        "deployment": {"type": "string"},
        "drifted": {"type": "boolean"},
        "patch": to("JsonPatch"),
        "plugins": list(&object(&json!({
            "plugin": {"type": "string"},
            "deployed": {"type": ["integer", "null"]},
            "live": {"type": ["integer", "null"]},
        }))),
    }));
    let listener = object(&json!({"name": {"type": "string"}, "address": {"type": "string"}}));
    let file = object(&json!({"path": {"type": "string"}, "last-reload": to("ReloadStatus")}));
    let within = [
        ("ApiError/properties/problems/items", to("Problem")),
        ("ArmView/properties/served", to("ArmCounts")),
        ("AuditRow/properties/patch", maybe("JsonPatch")),
        ("Created/allOf/1/properties/info", to("ModuleInfo")),
        ("Created/allOf/1/properties/report", to("LoadReport")),
        ("Difference/properties/patch", to("JsonPatch")),
        ("LivePlugin/properties/module", to("ModuleInfo")),
        ("LivePlugin/properties/report", to("LoadReport")),
        ("LivePlugin/properties/stats", to("StatsView")),
        ("ModuleRow/properties/info", maybe("ModuleInfo")),
        ("NewCanary/properties/rollback", maybe("RollbackPolicy")),
        ("NewCanary/properties/sticky", maybe("Sticky")),
        ("PluginDetail/allOf/1/properties/settings", to("Plugin")),
        ("ShadowView/properties/counts", to("ShadowCounts")),
        ("Status/properties/config", file),
        ("Status/properties/listeners/items", listener),
        ("Status/properties/proxy", maybe("ProxyStatus")),
        ("Taken/properties/became/items", to("Became")),
        ("Taken/properties/notes/items", to("Problem")),
        ("Taken/properties/undeployable/items", to("Problem")),
        ("Taken/properties/warnings/items", to("Problem")),
        ("VersionRow/properties/settings", to("PluginSettings")),
    ];
    let answers = [
        ("get", "/v1/apis/{parent}/drift", by_name(&drift)),
        ("get", "/v1/apis/{parent}/openapi", to("OpenApiDocument")),
        ("get", "/v1/audit", list(&to("AuditRow"))),
        ("get", "/v1/audit/verify", to("AuditCheck")),
        ("get", "/v1/bundle", to("Bundle")),
        ("put", "/v1/bundle", to("Applied")),
        ("get", "/v1/config", to("Config")),
        ("post", "/v1/policy/explain", to("Explanation")),
    ];
    let bodies = [
        ("put", "/v1/apis/{parent}/openapi", "OpenApiDocument"),
        ("put", "/v1/bundle", "Bundle"),
        ("post", "/v1/imports", "OpenApiDocument"),
        ("post", "/v1/policy/explain", "Question"),
    ];
    let escaped = |path: &str| path.replace('/', "~1");
    let json = "content/application~1json/schema";
    // bodies that are bytes
    let module = ["post /v1/modules", "put /v1/plugins/{name}/module"].map(|call| {
        let (method, path) = call.split_once(' ').unwrap_or_default();
        let place = "requestBody/content/application~1wasm/schema";
        (
            format!("/paths/{}/{method}/{place}", escaped(path)),
            json!({"type": "string", "format": "binary"}),
        )
    });
    let within = within.map(|(place, said)| (format!("/components/schemas/{place}"), said));
    let answers = answers.map(|(method, path, said)| {
        (
            format!("/paths/{}/{method}/responses/200/{json}", escaped(path)),
            said,
        )
    });
    let bodies = bodies.map(|(method, path, name)| {
        (
            format!("/paths/{}/{method}/requestBody/{json}", escaped(path)),
            to(name),
        )
    });
    within
        .into_iter()
        .chain(answers)
        .chain(bodies)
        .chain(module)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::openapi::whole;

    /// Where any JSON may stand: policies, JSON Schemas and security schemes have languages of their own, plugins take what they like, patches too.
    const ANYTHING: [&str; 11] = [
        ".policy",
        ".config",
        "Model.schema",
        "ModelResource.schema",
        "Pin.settings",
        "AuditRow.detail",
        ".scheme.additionalProperties",
        "JsonPatch.items.value",
        "Question.context.additionalProperties",
        "OpenApiDocument.paths.additionalProperties",
        "application/merge-patch+json",
    ];

    fn says_nothing(schema: &Value) -> bool {
        let Some(members) = schema.as_object() else {
            return schema == &Value::Bool(true);
        };
        let mut said = members
            .keys()
            .filter(|key| !["description", "title", "default", "readOnly"].contains(&key.as_str()));
        match (said.next().map(String::as_str), said.next()) {
            (None, _) => true,
            (Some("type"), None) => schema["type"] == "object" || schema["type"] == "array",
            _ => false,
        }
    }

    fn look(schema: &Value, place: &str, found: &mut Vec<String>) {
        if says_nothing(schema) {
            found.push(place.to_owned());
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            look(inner, &format!("{place}.{name}"), found);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                look(inner, &format!("{place}.{key}"), found);
            }
        }
        for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
            for inner in schema[key].as_array().into_iter().flatten() {
                look(inner, &format!("{place}.{key}"), found);
            }
        }
    }

    #[test]
    fn every_schema_says_what_may_stand_there() {
        let document = whole();
        let mut found = Vec::new();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            look(schema, name, &mut found);
        }
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, call) in methods.as_object().unwrap() {
                let bodies = call["responses"].as_object().unwrap().iter();
                let bodies = bodies.map(|(status, answer)| (status.as_str(), answer));
                for (what, body) in bodies.chain([("body", &call["requestBody"])]) {
                    let place = format!("{method} {path} {what}");
                    if what == "200" && body["content"].is_null() {
                        found.push(place.clone());
                    }
                    for (media, content) in body["content"].as_object().into_iter().flatten() {
                        look(&content["schema"], &format!("{place} {media}"), &mut found);
                    }
                }
            }
        }
        found.retain(|place| !ANYTHING.iter().any(|known| place.ends_with(known)));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn what_is_filled_in_is_there_to_be_filled_in() {
        let document = whole();
        for (place, said) in places() {
            assert_eq!(document.pointer(&place), Some(&said), "{place}");
        }
        let text = document.to_string();
        for (at, start) in text.match_indices("\"#/components/schemas/") {
            let name = text[at + start.len()..].split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
