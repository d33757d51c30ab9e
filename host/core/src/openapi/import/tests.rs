//! Documents beside what is there already: names that are made up.

use serde_json::{Value, json};

use crate::{
    api::Definition,
    openapi::{Backend, Options, import},
};

/// The document beside what is there.
fn beside(known: Option<&Definition>, paths: &Value, backend: &str) -> Definition {
    let document = json!({
        "openapi": "3.0.1", "info": {"title": "x"}, "paths": paths,
        "components": {"schemas": {"Named": {"type": "object"}}},
    });
    let options = Options {
        known: known.cloned(),
        beside: true,
        backend: Some(Backend::Url(backend.to_owned())),
        ..Options::default()
    };
    import(&document, &options).unwrap().definition
}

/// What merging leaves.
fn merged(mut old: Definition, new: Definition) -> Definition {
    old.routes.extend(new.routes);
    old.integrations.extend(new.integrations);
    old.models.extend(new.models);
    old
}

fn body(schema: &Value) -> Value {
    json!({"requestBody": {"content": {"application/json": {"schema": schema}}}})
}

#[test]
fn made_up_names_are_none_that_other_routes_use() {
    let one = beside(None, &json!({"/one": {"get": {}}}), "http://127.0.0.1:7001");
    let second = json!({"/two": {"get": {}}});
    let two = beside(Some(&one), &second, "http://127.0.0.1:7002");
    assert_eq!(two.routes["GET /two"].integration.as_deref(), Some("backend-2"));
    let both = merged(one.clone(), two);
    assert_eq!(both.integrations["backend"], one.integrations["backend"]);
    // again: nothing is other than it is
    let again = beside(Some(&both), &second, "http://127.0.0.1:7002");
    assert_eq!(merged(both.clone(), again), both);
    // where it leads to the same there is one
    let three = beside(
        Some(&both),
        &json!({"/three": {"get": {}}}),
        "http://127.0.0.1:7002",
    );
    assert_eq!(
        three.routes["GET /three"].integration.as_deref(),
        Some("backend-2")
    );
    let four = beside(
        Some(&both),
        &json!({"/four": {"get": {}}}),
        "http://127.0.0.1:7001",
    );
    assert_eq!(four.routes["GET /four"].integration.as_deref(), Some("backend"));
    // a route that the document names itself may get another one under the same name
    let anew = beside(Some(&one), &json!({"/one": {"get": {}}}), "http://127.0.0.1:7003");
    assert_eq!(anew.routes["GET /one"].integration.as_deref(), Some("backend"));
}

#[test]
fn made_up_models_are_none_that_other_routes_use() {
    let url = "http://127.0.0.1:7001";
    let one = beside(
        None,
        &json!({"/a-b": {"post": body(&json!({"type": "object"}))}}),
        url,
    );
    assert_eq!(
        one.routes["POST /a-b"].request_models["application/json"],
        "post-a-b-body"
    );
    let second = json!({"/a/b": {"post": body(&json!({"type": "array"}))}});
    let two = beside(Some(&one), &second, url);
    assert_eq!(
        two.routes["POST /a/b"].request_models["application/json"],
        "post-a-b-body-2"
    );
    let both = merged(one.clone(), two);
    assert_eq!(both.models["post-a-b-body"], one.models["post-a-b-body"]);
    let again = beside(Some(&both), &second, url);
    assert_eq!(merged(both.clone(), again), both);
    // the same schema is the same model
    let same = beside(
        Some(&one),
        &json!({"/a/b": {"post": body(&json!({"type": "object"}))}}),
        url,
    );
    assert_eq!(
        same.routes["POST /a/b"].request_models["application/json"],
        "post-a-b-body"
    );
    // one that has a name in the document is what the document says
    assert!(same.models.contains_key("Named"));
}

#[test]
fn a_made_up_model_that_leads_to_another_one_is_not_the_same() {
    let url = "http://127.0.0.1:7001";
    let schema = |leaf: &str| {
        json!({"/a": {"post": {
            "requestBody": {"content": {"application/json": {"schema": {"properties": {"leaf": {"$ref": "#/paths/~1a/post/x-leaf"}}}}}},
            "x-leaf": {"type": leaf},
        }}})
    };
    let one = beside(None, &schema("string"), url);
    assert_eq!(one.models.len(), 3, "{:?}", one.models.keys());
    // the same operation elsewhere, with another leaf
    let text = schema("integer")
        .to_string()
        .replace("/a\"", "/b\"")
        .replace("~1a", "~1b");
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["/b"]["post"]["operationId"] = "post-a".into();
    let two = beside(Some(&one), &other, url);
    let both = merged(one.clone(), two);
    for name in crate::openapi::models_of(&one.routes["POST /a"], &one.models) {
        assert_eq!(both.models[&name], one.models[&name], "{name}");
    }
    let two = &both.routes["POST /b"];
    assert_eq!(crate::openapi::models_of(two, &both.models).len(), 2);
}

#[test]
fn no_made_up_model_is_one_that_others_use_when_names_shift() {
    let url = "http://127.0.0.1:7001";
    let one = beside(
        None,
        &json!({
            "/a-b": {"post": body(&json!({"type": "object"}))},
            "/a/b": {"post": body(&json!({"type": "array"}))},
        }),
        url,
    );
    let second = json!({
        "/a+b": {"post": body(&json!({"type": "string"}))},
        "/a~b": {"post": body(&json!({"type": "array"}))},
    });
    let both = merged(one.clone(), beside(Some(&one), &second, url));
    let of = |definition: &Definition, key: &str| {
        let name = &definition.routes[key].request_models["application/json"];
        definition.models[name].schema["type"].clone()
    };
    for (key, kind) in [
        ("POST /a-b", "object"),
        ("POST /a/b", "array"),
        ("POST /a+b", "string"),
        ("POST /a~b", "array"),
    ] {
        assert_eq!(of(&both, key), kind, "{key}");
    }
    let again = beside(Some(&both), &second, url);
    assert_eq!(merged(both.clone(), again), both);
}

#[test]
fn an_integration_that_the_document_names_takes_the_place_of_the_one_that_is_there() {
    let document = |path: &str, port: u16| {
        json!({
            "openapi": "3.0.1", "info": {"title": "x"},
            "paths": {(path): {"get": {"x-amazon-apigateway-integration": {"$ref": "#/components/x-amazon-apigateway-integrations/web"}}}},
            "components": {"x-amazon-apigateway-integrations": {"web": {"type": "http_proxy", "httpMethod": "GET", "uri": format!("http://127.0.0.1:{port}/")}}},
        })
    };
    let one = import(&document("/one", 7001), &Options::default())
        .unwrap()
        .definition;
    let options = Options {
        known: Some(one.clone()),
        beside: true,
        ..Options::default()
    };
    let two = import(&document("/two", 7002), &options).unwrap().definition;
    assert_eq!(two.routes["GET /two"].integration.as_deref(), Some("web"));
    let names: Vec<&String> = two.integrations.keys().collect();
    assert_eq!(names, ["web"]);
    assert_ne!(two.integrations["web"], one.integrations["web"]);
}
