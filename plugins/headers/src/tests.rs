//! The plugin against the fake host. Inside the crate because a plugin is a `cdylib` only, which nothing can link to.

use edgeward_sdk::{
    ContextValue, Exchange, GatewayError, HeadAction, Interest, RequestHead, ResponseHead, Transform as _,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::Headers;

fn init(config: Value) -> (Headers, Interest) {
    testing::init(&config.to_string()).unwrap()
}

fn request() -> RequestHead {
    testing::request("POST", "https://api.test:8443/pets/7?tag=a%20b&x=1").with_path_param("id", "7%2F8")
}

fn exchange() -> Exchange {
    let claims =
        ContextValue::Json(json!({"sub": "ada", "roles": ["r", "w"], "evil": "a\r\nx-admin: 1"}).to_string());
    testing::exchange()
        .with_request_id("req-1")
        .with_route("pets", "/pets/{id}")
        .with_client_address("192.0.2.9")
        .with_principal("ada")
        .with_entry("jwt", "claims", claims)
        .with_entry("quota", "left", 3)
}

/// Applies request operations; the request afterwards.
fn changed(operations: Value, request: RequestHead) -> RequestHead {
    let (mut plugin, _) = init(json!({"request": operations}));
    assert_eq!(plugin.on_request_head(&request, &exchange()), HeadAction::Proceed);
    request
}

fn responded(operations: Value, request: &RequestHead, response: ResponseHead) -> ResponseHead {
    let (mut plugin, _) = init(json!({"response": operations}));
    assert_eq!(
        plugin.on_response_head(request, &response, &exchange()),
        HeadAction::Proceed
    );
    response
}

fn lines(values: Vec<Vec<u8>>) -> Vec<String> {
    values
        .into_iter()
        .map(|value| String::from_utf8(value).unwrap())
        .collect()
}

#[test]
fn templates_see_the_request_the_route_the_caller_and_the_context() {
    for (template, wanted) in [
        (
            "${request.method} ${request.scheme}://${request.host}${request.path}?${request.query}",
            "POST https://api.test:8443/pets/7?tag=a%20b&x=1",
        ),
        ("${request.query.tag}", "a b"),
        ("${request.header.Accept}", "text/html, */*"),
        ("${path.id}", "7/8"),
        (
            "${request.id} ${route} ${route.pattern} ${client.address}",
            "req-1 pets /pets/{id} 192.0.2.9",
        ),
        (
            "${principal}/${claims.sub}/${claims.roles}/${claims.roles.0}",
            "ada/ada/r,w/r",
        ),
        ("${context.quota.left}", "3"),
        (
            "[${request.query.none}${path.none}${claims.none}${context.a.b}${request.header.none}]",
            "[]",
        ),
        ("$${principal}", "${principal}"),
    ] {
        let request = request()
            .with_header("accept", "text/html")
            .with_header("accept", "*/*");
        let request = changed(json!([{"set": "x-out", "value": template}]), request);
        assert_eq!(request.header_str("x-out").as_deref(), Some(wanted), "{template}");
    }
}

/// A case of `tests/vectors/operations.json`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Vector {
    name: String,
    operations: Value,
    /// Status, for operations on a response.
    response: Option<u16>,
    /// Fields of the request of that response.
    #[serde(default)]
    request_headers: Vec<(String, String)>,
    /// Fields of the message before the operations.
    headers: Vec<(String, String)>,
    /// Values of fields afterwards.
    expect: std::collections::BTreeMap<String, Vec<String>>,
}

#[test]
fn operations_do_what_the_vectors_say() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../tests/vectors/operations.json")).unwrap();
    for vector in vectors {
        let with_fields = |request: RequestHead, fields: &[(String, String)]| {
            fields
                .iter()
                .fold(request, |request, (name, value)| request.with_header(name, value))
        };
        let check = |values: &dyn Fn(&str) -> Vec<Vec<u8>>| {
            for (name, expected) in &vector.expect {
                assert_eq!(&lines(values(name)), expected, "{}: {name}", vector.name);
            }
        };
        match vector.response {
            None => {
                let request = changed(vector.operations.clone(), with_fields(request(), &vector.headers));
                check(&|name| request.header_values(name));
            }
            Some(status) => {
                let request = with_fields(request(), &vector.request_headers);
                let response = vector
                    .headers
                    .iter()
                    .fold(testing::response(status), |response, (name, value)| {
                        response.with_header(name, value)
                    });
                let response = responded(vector.operations.clone(), &request, response);
                check(&|name| response.header_values(name));
            }
        }
    }
}

#[test]
fn operations_happen_in_order_and_see_each_other() {
    let request = request()
        .with_header("old", "1")
        .with_header("old", "2")
        .with_header("new", "0")
        .with_header("gone", "x");
    let request = changed(
        json!([
            {"rename": "Old", "to": "New"},
            {"append": "new", "value": "3"},
            {"remove": "gone"},
            {"set": "copy", "value": "${request.header.new}"},
            {"rename": "absent", "to": "copy"},
        ]),
        request,
    );
    assert_eq!(lines(request.header_values("new")), ["1", "2", "3"]);
    assert_eq!((request.header("old"), request.header("gone")), (None, None));
    assert_eq!(request.header_str("copy").as_deref(), Some("1, 2, 3"));
}

#[test]
fn conditions_look_at_either_message() {
    let operations = json!([
        {"set": "a", "value": "1", "when": {"header": "server", "present": true}},
        {"set": "b", "value": "1", "when": {"header": "server", "present": false}},
        {"set": "c", "value": "1", "when": {"header": "origin", "of": "request", "equals": "https://a.test"}},
        {"set": "d", "value": "1", "when": {"header": "origin", "of": "request", "equals": "https://A.test"}},
        {"set": "status", "value": "${response.status} ${response.header.server}"},
    ]);
    let request = request().with_header("origin", "https://a.test");
    let response = responded(
        operations,
        &request,
        testing::response(201).with_header("server", "x"),
    );
    let there = |name: &str| response.header(name).is_some();
    assert_eq!(
        (there("a"), there("b"), there("c"), there("d")),
        (true, false, true, false)
    );
    assert_eq!(response.header_str("status").as_deref(), Some("201 x"));
}

#[test]
fn a_missing_value_is_empty_or_skips_the_operation() {
    let operations = json!([
        {"set": "x-user", "value": "${claims.none}"},
        {"set": "x-kept", "value": "${claims.none}", "skip-if-missing": true},
        {"append": "x-new", "value": "a${claims.none}", "skip-if-missing": true},
    ]);
    let request = changed(
        operations,
        request()
            .with_header("x-user", "spoofed")
            .with_header("x-kept", "mine"),
    );
    assert_eq!(request.header_str("x-user").as_deref(), Some(""));
    assert_eq!(request.header_str("x-kept").as_deref(), Some("mine"));
    assert_eq!(request.header("x-new"), None);
}

#[test]
fn a_value_that_would_split_the_header_removes_the_field_and_is_logged() {
    let host = Host::new().install();
    let operations = json!([
        {"set": "x-user", "value": "${claims.evil}"},
        {"append": "x-list", "value": "${request.query.evil}"},
        {"set": "x-last", "value": "1"},
    ]);
    let evil = testing::request("GET", "https://api.test/?evil=a%0d%0ax-admin:%201")
        .with_header("x-user", "spoofed");
    let request = changed(operations, evil);
    for name in ["x-user", "x-list", "x-admin"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header_str("x-last").as_deref(), Some("1"));
    let log: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    assert!(
        log[0].starts_with("request[0]: x-user is removed instead of set: the value is no field value"),
        "{log:?}"
    );
    assert!(
        log[1].starts_with("request[1]: nothing is appended to x-list"),
        "{log:?}"
    );
}

#[test]
fn claims_come_from_the_named_binding_only() {
    let entry = |sub: &str| ContextValue::Json(json!({ "sub": sub }).to_string());
    let two = || {
        testing::exchange()
            .with_entry("one", "claims", entry("1"))
            .with_entry("two", "claims", entry("2"))
    };
    for (from, wanted) in [(json!("two"), "2"), (json!("three"), ""), (Value::Null, "1")] {
        let (mut plugin, _) =
            init(json!({"claims-from": from, "request": [{"set": "x", "value": "${claims.sub}"}]}));
        let request = request();
        plugin.on_request_head(&request, &two());
        assert_eq!(request.header_str("x").as_deref(), Some(wanted), "{from}");
    }
}

#[test]
fn only_the_phases_that_are_needed_are_asked_for() {
    let operation = json!([{"remove": "x"}]);
    assert_eq!(
        init(json!({"request": operation})).1,
        Interest::none().request_head()
    );
    assert_eq!(
        init(json!({"response": operation})).1,
        Interest::none().response_head()
    );
    let (mut plugin, interest) =
        init(json!({"response": [{"set": "hsts", "value": "1"}], "gateway-errors": true}));
    assert_eq!(interest, Interest::none().response_head().gateway_error());
    let response = testing::response(504);
    let error = GatewayError {
        response_type: "UPSTREAM_TIMEOUT".into(),
        status: 504,
        detail: String::new(),
    };
    assert_eq!(
        plugin.on_gateway_error(&request(), &response, &exchange(), error),
        None
    );
    assert_eq!(response.header_str("hsts").as_deref(), Some("1"));
}

#[test]
fn a_message_that_cannot_be_changed_does_not_go_on() {
    let host = Host::new().install();
    let (mut plugin, _) = init(json!({"request": [{"set": "x-user", "value": "${principal}"}]}));
    let action = plugin.on_request_head(&request().read_only(), &exchange());
    assert!(matches!(action, HeadAction::Respond(answer) if answer.status == 500));
    assert!(
        host.log_lines()
            .iter()
            .any(|(_, line)| line.contains("request[0]: x-user cannot be removed"))
    );
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = |config: Value| testing::init::<Headers>(&config.to_string()).err().unwrap();
    assert!(error(json!({"request": [{"st": "x"}]})).contains("config.request[0]"));
    assert!(
        error(json!({"request": [{"set": "x", "value": "${nope}"}]}))
            .starts_with("config.request[0].value: unknown variable ${nope}")
    );
    assert!(
        testing::init::<Headers>("null")
            .err()
            .unwrap()
            .contains("no operations")
    );
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<Headers>(include_str!("../README.md"), parse);
    assert_eq!(configs, 1);
}
