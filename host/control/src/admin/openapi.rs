//! The OpenAPI document, made from the handlers.

use axum::Json;
use serde_json::{Map, Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    apis, certificates, decisions, documents, model, modules, plugins, policy, principals,
    schemas::{self, to},
    status,
};
use crate::model::Kind;

#[derive(OpenApi)]
#[openapi(
    info(title = "Edgeward admin API", description = "Control of one gateway. Errors are problem documents (RFC 9457). A call that changes something may have an `Idempotency-Key`: when it comes again within an hour, it gets the same answer and nothing is done twice; while the first one is under way it is refused with 409, and with another request under the same key with 422."),
    paths(
        status::status, status::config, status::reload, status::health, status::ready, status::metrics,
        modules::upload, modules::list, modules::read, modules::remove,
        plugins::list, plugins::read, plugins::versions, plugins::version, plugins::remove, plugins::create,
        plugins::put_module, plugins::publish, plugins::rollback,
        apis::deploy, apis::rollback, apis::promote, apis::abort, apis::arms, apis::drifted, apis::route_pipeline, apis::shadow, apis::bundle, apis::apply, apis::audit, apis::verify,
        decisions::of_stage, decisions::of_api, decisions::of_plugin,
        documents::create, documents::change, documents::write,
        certificates::list, certificates::read, certificates::put, certificates::remove, certificates::renew,
        certificates::list_of_domain, certificates::read_of_domain, certificates::put_of_domain, certificates::remove_of_domain,
        principals::whoami, principals::create, principals::rotate,
        policy::explain,
    ),
    components(schemas(crate::model::Difference)),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub(super) async fn document() -> Json<Value> {
    Json(whole())
}

/// With the resources of the API model, which have one set of handlers.
pub(super) fn whole() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for kind in Kind::ALL {
        // a deployment has the same things without what stands beside them
        let name = pascal(kind) + "Resource";
        let mut schema = kind.schema();
        // what stands beside the document
        for member in model::META {
            schema["properties"][member] = json!({"type": "string", "readOnly": member != "id"});
        }
        if kind == Kind::Token {
            schema["properties"]["last-used-at"] = json!({"type": ["string", "null"]});
            schema["properties"]["expired"] = json!({"type": "boolean"});
        }
        let mut listed = name.clone();
        if kind == Kind::Deployment {
            listed = pascal(kind) + "Summary";
            let mut summary = schema.clone();
            if let Some(members) = summary["properties"].as_object_mut() {
                members.remove("definition");
            }
            if let Some(required) = summary["required"].as_array_mut() {
                required.retain(|member| member != "definition");
            }
            schemas::add(&mut document, &listed, summary);
        }
        schemas::add(&mut document, &name, schema);
        let (collection, item) = operations(kind, &name, &listed);
        merge(&mut document["paths"][model::collection_path(kind)], collection);
        merge(&mut document["paths"][model::item_path(kind)], item);
    }
    schemas::fill(&mut document);
    complete(&mut document);
    document
}

/// What holds for every call that somebody makes: the refusals that are not its own, and that errors are problem documents.
fn complete(document: &mut Value) {
    let error = "#/components/schemas/ApiError";
    let problem = |text: &str| json!({"description": text, "content": {"application/problem+json": {"schema": {"$ref": error}}}});
    let paths = document["paths"].as_object_mut();
    let operations = paths
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut);
    for operation in operations.filter_map(Value::as_object_mut) {
        let (closed, sends) = (
            operation.contains_key("security"),
            operation.contains_key("requestBody"),
        );
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
            continue;
        };
        for response in responses.values_mut() {
            let content = response.get_mut("content").and_then(Value::as_object_mut);
            if let Some(content) = content
                && content
                    .get("application/json")
                    .is_some_and(|json| json["schema"]["$ref"] == error)
                && let Some(schema) = content.remove("application/json")
            {
                content.insert("application/problem+json".to_owned(), schema);
            }
        }
        let mut add = |status: &str, text: &str| {
            responses.entry(status).or_insert_with(|| problem(text));
        };
        add("400", "not possible: a parameter or the body cannot be read");
        if closed {
            add("401", "nobody is known by what was sent");
            add("403", "not allowed");
            add("404", "not there");
            add("429", "too many failures from this address");
        }
        if sends {
            add("413", "larger than is taken");
            add("415", "of another media type than is taken");
            add("422", "not valid: every reason");
        }
    }
}

fn merge(path: &mut Value, operations: Value) {
    if !path.is_object() {
        *path = json!({});
    }
    if let (Some(path), Value::Object(operations)) = (path.as_object_mut(), operations) {
        for (method, operation) in operations {
            path.entry(method).or_insert(operation);
        }
    }
}

/// References of a schema by itself lead into the document's components.
pub(super) fn into_components(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{name}");
            }
            object.values_mut().for_each(into_components);
        }
        Value::Array(values) => values.iter_mut().for_each(into_components),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(super) fn pascal(kind: Kind) -> String {
    let words = kind.noun().split(' ');
    words
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + &rest.to_lowercase()
        })
        .collect()
}

/// `listed`: the schema of what stands in lists.
fn operations(kind: Kind, schema: &str, listed: &str) -> (Value, Value) {
    let noun = kind.noun();
    let error = |text: &str| json!({"description": text, "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ApiError"}}}});
    let content = json!({"application/json": {"schema": to(schema)}});
    let one = |text: &str| json!({"description": text, "content": content});
    // of a dry run
    let or_changes = |text: &str| json!({"description": text, "content": {"application/json": {"schema": {"anyOf": [to(schema), to("Changes")]}}}});
    let security = json!([{"token": []}]);
    let parent = kind.parent().map(|parent| {
        json!({"name": "parent", "in": "path", "required": true, "schema": {"type": "string"}, "description": format!("id of the {}", parent.noun())})
    });
    let name = json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}, "description": format!("id of the {noun}")});
    let in_collection: Vec<Value> = parent.into_iter().collect();
    let in_item: Vec<Value> = in_collection.iter().cloned().chain([name]).collect();
    let with = |parameters: &[Value], more: &[&str]| -> Value {
        let query = |name: &&str| {
            let schema = match *name {
                "dry-run" => json!({"type": "boolean"}),
                "limit" => json!({"type": "integer", "minimum": 1, "maximum": 1000}),
                _ => json!({"type": "string"}),
            };
            let mut parameter = json!({"name": name, "in": "query", "required": false, "schema": schema});
            if *name == "dry-run" {
                parameter["description"] =
                    json!("do everything but keep and publish it; `dryRun` is the same");
            }
            parameter
        };
        parameters.iter().cloned().chain(more.iter().map(query)).collect()
    };
    let body = json!({"required": true, "content": content});
    let mut collection = json!({
        "get": {
            "tags": ["model"], "summary": format!("Every {noun}, by name, page by page."), "security": security,
            "parameters": with(&in_collection, &["limit", "cursor"]),
            "responses": {"200": {"description": "a page", "content": {"application/json": {"schema": {"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": to(listed)}, "next": {"type": "string"}}}}}}, "400": error("not possible"), "404": error("no such parent")},
        },
    });
    let mut item = json!({
        "get": {
            "tags": ["model"], "summary": format!("One {noun}."), "security": security, "parameters": in_item,
            "responses": {"200": one("it"), "304": {"description": "as you know it"}, "404": error("not there")},
        },
        "delete": {
            "tags": ["model"], "summary": format!("Removes a {noun}, and what belongs to it."), "security": security, "parameters": with(&in_item, &["dry-run"]),
            "responses": {"200": {"description": "what would change", "content": {"application/json": {"schema": to("Changes")}}}, "204": {"description": "gone"}, "404": error("not there"), "409": error("in use"), "412": error("not as expected"), "422": error("not possible")},
        },
    });
    if !matches!(kind, Kind::Deployment | Kind::Token) {
        let changed = json!({"200": or_changes("changed, or what would change"), "201": one("made"), "400": error("not JSON"), "404": error("no such parent"), "409": error("there already, or not possible now"), "412": error("not as expected"), "415": error("no patch"), "422": error("not valid: every reason")});
        collection["post"] = json!({
            "tags": ["model"], "summary": format!("Makes a {noun}; `id` in the body is its name."), "security": security,
            "parameters": with(&in_collection, &["dry-run"]), "requestBody": body, "responses": changed,
        });
        item["put"] = json!({
            "tags": ["model"], "summary": format!("Makes or replaces a {noun}."), "security": security,
            "parameters": with(&in_item, &["dry-run"]), "requestBody": body, "responses": changed,
        });
        item["patch"] = json!({
            "tags": ["model"], "summary": format!("Changes parts of a {noun}: JSON merge patch or JSON Patch."), "security": security,
            "parameters": with(&in_item, &["dry-run"]),
            "requestBody": {"required": true, "content": {"application/merge-patch+json": {"schema": {"type": "object", "description": "any part of it; `null` removes one"}}, "application/json-patch+json": {"schema": to("JsonPatch")}}},
            "responses": changed,
        });
    }
    (collection, item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rules;

    #[test]
    fn every_call_has_a_rule_for_who_may_make_it() {
        let document = whole();
        let mut calls = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method: http::Method = method.to_uppercase().parse().unwrap();
                let open = ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&path.as_str());
                let rule = rules::rule(&method, path);
                assert_eq!(
                    rule.is_some(),
                    !open,
                    "{method} {path}: add a line to `access/rules.rs`"
                );
                calls += 1;
            }
        }
        assert!(calls > 80, "{calls}");
    }

    #[test]
    fn every_endpoint_is_described() {
        let document = whole();
        let described: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let table = include_str!("mod.rs");
        let routes: Vec<_> = table
            .match_indices(".route(\"")
            .map(|(at, start)| table[at + start.len()..].split('"').next().unwrap())
            .collect();
        assert!(routes.len() > 10);
        for route in routes.into_iter().filter(|route| *route != "/openapi.json") {
            assert!(
                described.iter().any(|path| path == route),
                "{route} is not described"
            );
        }
    }
}
