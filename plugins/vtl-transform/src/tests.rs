//! The plugin against the fake host.

use crate::VtlTransform;
use edgeward_sdk::prelude::*;
use edgeward_sdk::testing::{self, Host};
use serde_json::{Value, json};

fn init(config: &Value) -> (VtlTransform, Interest) {
    testing::init::<VtlTransform>(&config.to_string()).unwrap()
}

fn post(content_type: &str) -> RequestHead {
    testing::request("POST", "https://api.example:8443/pets/7?tag=a&tag=b&x=1")
        .with_path_param("id", "7")
        .with_header("content-type", content_type)
        .with_header("content-length", "10")
        .with_header("user-agent", "curl")
}

fn exchange() -> Exchange {
    testing::exchange()
        .with_request_id("req-1")
        .with_route("POST /pets", "/pets/{id}")
        .with_client_address("192.0.2.9")
}

/// Head and body hooks of a request; what becomes of the body.
fn send(plugin: &mut VtlTransform, request: &RequestHead, exchange: &Exchange, body: &str) -> BodyAction {
    match plugin.on_request_head(request, exchange) {
        HeadAction::Respond(answer) => BodyAction::Respond(answer),
        _ => plugin.on_request_body(request, exchange, body.into(), BodyState::Last),
    }
}

/// The same of a response.
fn receive(
    plugin: &mut VtlTransform,
    request: &RequestHead,
    response: &ResponseHead,
    exchange: &Exchange,
    body: &str,
) -> BodyAction {
    match response_head(plugin, request, response, exchange) {
        HeadAction::Respond(answer) => BodyAction::Respond(answer),
        _ => plugin.on_response_body(request, response, exchange, body.into(), BodyState::Last),
    }
}

/// The response head, in an exchange whose request came by.
fn response_head(
    plugin: &mut VtlTransform,
    request: &RequestHead,
    response: &ResponseHead,
    exchange: &Exchange,
) -> HeadAction {
    if plugin.state.request_id != exchange.request_id() {
        plugin.on_request_head(request, exchange);
    }
    plugin.on_response_head(request, response, exchange)
}

#[track_caller]
fn replaced(action: BodyAction) -> String {
    match action {
        BodyAction::Replace(body) => String::from_utf8(body).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn answered(action: BodyAction) -> (u16, String) {
    match action {
        BodyAction::Respond(answer) => {
            assert_eq!(answer.headers[0].value, b"application/json");
            (answer.status, String::from_utf8(answer.body).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_body_is_rendered_with_what_the_gateway_knows() {
    let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"application/json":
        "$input.path('$.n') $input.params('id') $input.params('tag') $input.params('User-Agent') $context.stage \
         $context.requestId $context.httpMethod $context.path $context.resourcePath $context.identity.sourceIp \
         $context.identity.userAgent $context.identity.caller $context.domainName $context.authorizer.principalId \
         $context.authorizer.claims.sub $stageVariables.table $stageVariables.none|"}}}}));
    let request = post("application/json; charset=utf-8").with_header("digest", "x");
    let exchange = exchange()
        .with_principal("ada")
        .with_entry("jwt", "claims", json!({"sub": "a-1"}))
        .with_entry(
            "gateway",
            "context",
            json!({"stage": "prod", "identity": {"caller": "c"}}),
        )
        .with_entry("gateway", "stage-variables", json!({"table": "pets"}));
    assert_eq!(
        replaced(send(&mut plugin, &request, &exchange, r#"{"n":5}"#)),
        "5 7 b curl prod req-1 POST /pets/7 /pets/{id} 192.0.2.9 curl c api.example ada a-1 pets |"
    );
    assert_eq!(
        request.header_str("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(request.header("digest"), None, "a digest of the old body is gone");
}

#[test]
fn the_gateway_knows_better_than_the_plugin() {
    let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"$default":
        "$context.requestId $context.authorizer.principalId $context.authorizer.claims $context.identity"}}}}));
    let exchange = exchange()
        .with_principal("ada")
        .with_entry("jwt", "claims", json!({"sub": "a-1"}))
        .with_entry(
            "gateway",
            "context",
            json!({"requestId": "other", "authorizer": {"principalId": "p", "claims": "c"}, "identity": 1}),
        );
    assert_eq!(
        replaced(send(&mut plugin, &post("text/plain"), &exchange, "x")),
        "other p c 1"
    );
}

#[test]
fn claims_come_from_the_binding_that_is_named() {
    let (mut plugin, _) = init(&json!({"claims-from": "b",
        "any": {"request": {"templates": {"$default": "$context.authorizer.claims.sub"}}}}));
    let exchange = exchange()
        .with_entry("a", "claims", json!({"sub": "1"}))
        .with_entry("b", "claims", json!({"sub": "2"}));
    assert_eq!(replaced(send(&mut plugin, &post("a/b"), &exchange, "x")), "2");
}

#[test]
fn the_media_type_of_the_template_is_that_of_the_new_body() {
    let config = json!({"any": {"request": {"templates": {
        "$default": "d", "text/xml": "x",
        "a/b": "#set($context.requestOverride.header.Content-Type = 'c/d')o"}}}});
    let (mut plugin, _) = init(&config);
    for (number, (content_type, body, new_type)) in [
        ("text/plain", "d", "application/json"),
        ("Text/XML; q=1", "x", "text/xml"),
        ("a/b", "o", "c/d"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = post(content_type);
        let exchange = exchange().with_request_id(&number.to_string());
        assert_eq!(replaced(send(&mut plugin, &request, &exchange, "{}")), body);
        assert_eq!(request.header_str("content-type").as_deref(), Some(new_type));
    }
}

#[test]
fn requests_without_a_template_pass_or_are_refused() {
    let config = |passthrough: &str| {
        json!({"routes": {"POST /pets": {"request": {"templates": {"text/xml": "x"}, "passthrough": passthrough},
            "responses": [{"templates": {"a/b": "changed"}}]}}})
    };
    let (mut plugin, _) = init(&config("when-no-match"));
    assert_eq!(
        send(&mut plugin, &post("text/plain"), &exchange(), "x"),
        BodyAction::Proceed
    );
    for passthrough in ["never", "when-no-templates"] {
        let (mut plugin, _) = init(&config(passthrough));
        let (exchange, request) = (exchange(), post("text/plain"));
        let answer = answered(send(&mut plugin, &request, &exchange, "x"));
        assert_eq!(
            answer,
            (415, r#"{"message":"Unsupported Media Type"}"#.to_owned())
        );
        let response = testing::response(415);
        assert_eq!(
            receive(&mut plugin, &request, &response, &exchange, "refused"),
            BodyAction::Proceed,
            "the plugin does not transform its own refusal"
        );
    }
    let other = exchange().with_route("GET /pets", "/pets");
    assert_eq!(
        send(&mut plugin, &post("text/xml"), &other, "x"),
        BodyAction::Proceed,
        "a route that is not named"
    );
}

#[test]
fn overrides_of_the_request_are_applied_and_told() {
    let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"$default":
        "#set($context.requestOverride.header.x-a = ['1', '2'])\
         #set($context.requestOverride.header.User-Agent = $input.params('id'))\
         #set($context.requestOverride.querystring.tag = 'c d')\
         #set($context.requestOverride.path.id = '8')\
         $input.params('User-Agent')"}}}}));
    let (request, exchange) = (post("a/b").with_header("x-a", "0"), exchange());
    assert_eq!(replaced(send(&mut plugin, &request, &exchange, "x")), "curl");
    assert_eq!(request.header_values("x-a"), [b"1", b"2"]);
    assert_eq!(request.header_str("user-agent").as_deref(), Some("7"));
    assert_eq!(request.query(), "x=1&tag=c+d");
    let told = exchange.get("plugin", "request-override").unwrap().to_json();
    let expected = json!({"header": {"x-a": ["1", "2"], "User-Agent": "7"}, "path": {"id": "8"}, "querystring": {"tag": "c d"}});
    assert_eq!(told, Some(expected));
}

#[test]
fn a_request_that_cannot_be_as_the_template_wants_fails() {
    let host = Host::new().install();
    for template in [
        "#set($context.requestOverride.header.content-length = '1')",
        "#set($context.requestOverride.header.x = $util.urlDecode('a%0d%0ab'))",
        "#set($context.requestOverride.header['no name'] = 'x')",
        "$util.parseJson('{')",
    ] {
        let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"$default": template}}}}));
        let answer = answered(send(&mut plugin, &post("a/b"), &exchange(), "x"));
        assert_eq!(answer, (500, r#"{"message":"Internal server error"}"#.to_owned()));
    }
    let lines = host.log_lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[3].1,
        "request template `$default`: line 1: `$util.parseJson`: `{` is no JSON"
    );
}

#[test]
fn a_request_without_a_body_runs_its_template_at_the_head() {
    let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"application/json":
        "$input.body#set($context.requestOverride.header.x-a = 'new')\
         #set($context.requestOverride.querystring.n = '1')#set($context.responseOverride.status = 418)"}}}}));
    let request = testing::request("GET", "https://api.example/pets");
    let exchange = exchange();
    assert_eq!(plugin.on_request_head(&request, &exchange), HeadAction::Hold);
    assert_eq!(request.header_str("x-a").as_deref(), Some("new"));
    assert_eq!(request.query(), "n=1");
    assert_eq!(request.header("content-type"), None);
    // what a gateway does that calls the body hook for held heads
    let body = plugin.on_request_body(&request, &exchange, Vec::new(), BodyState::Last);
    assert_eq!(replaced(body), "{}");
    assert_eq!(
        request.header_str("content-type").as_deref(),
        Some("application/json")
    );
    let response = testing::response(200);
    assert_eq!(
        plugin.on_response_head(&request, &response, &exchange),
        HeadAction::Proceed
    );
    assert_eq!(response.status(), 418, "overrides of the request template last");
}

#[test]
fn what_was_done_for_no_body_is_taken_back_when_there_is_one() {
    let (mut plugin, _) = init(&json!({"any": {"request": {"templates": {"application/json":
        "#if($input.body == '{}')#set($context.requestOverride.header.x-a = 'none')\
         #set($context.requestOverride.querystring.n = '0')#set($context.responseOverride.status = 418)#end\
         $input.params('x-a') $input.params('n') $input.body"}}}}));
    let request = testing::request("POST", "https://api.example/pets?n=5").with_header("x-a", "old");
    let exchange = exchange();
    assert_eq!(plugin.on_request_head(&request, &exchange), HeadAction::Hold);
    let body = plugin.on_request_body(&request, &exchange, b"[1]".to_vec(), BodyState::Last);
    assert_eq!(replaced(body), "old 5 [1]");
    assert_eq!(request.header_values("x-a"), [b"old"]);
    assert_eq!(request.query(), "n=5");
    let told = exchange.get("plugin", "request-override").unwrap().to_json();
    assert_eq!(told, Some(json!({"header": {}, "path": {}, "querystring": {}})));
    let response = testing::response(200);
    plugin.on_response_head(&request, &response, &exchange);
    assert_eq!(response.status(), 200);
}

#[test]
fn a_response_body_is_rendered_by_its_status() {
    let config = json!({"any": {
        "request": {"templates": {"$default": "#set($context.responseOverride.header.x-early = 'e')$input.body"}},
        "responses": [
            {"templates": {"application/json": "{\"ok\":$input.json('$.v'),\"id\":\"$input.params('id')\"}"}},
            {"selection": "5\\d{2}", "templates": {"text/plain":
                "#set($context.responseOverride.status = 502)#set($context.responseOverride.header.x-a = ['1', '2'])sorry"}}]}});
    let (mut plugin, _) = init(&config);
    let (request, first) = (post("a/b").with_header("accept-encoding", "gzip"), exchange());
    assert_eq!(replaced(send(&mut plugin, &request, &first, "x")), "x");
    assert_eq!(
        request.header("accept-encoding"),
        None,
        "the template has to read the answer"
    );
    let response = testing::response(200)
        .with_header("etag", "x")
        .with_header("content-type", "a/b");
    let body = receive(&mut plugin, &request, &response, &first, r#"{"v":[1]}"#);
    assert_eq!(replaced(body), r#"{"ok":[1],"id":"7"}"#);
    assert_eq!(
        response.header_str("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(response.header_str("x-early").as_deref(), Some("e"));
    assert_eq!(response.header("etag"), None);
    let (second, response) = (exchange().with_request_id("req-2"), testing::response(503));
    send(&mut plugin, &post("a/b"), &second, "x");
    assert_eq!(
        replaced(receive(&mut plugin, &request, &response, &second, "x")),
        "sorry"
    );
    assert_eq!(response.status(), 502);
    assert_eq!(response.header_values("x-a"), [b"1", b"2"]);
    assert_eq!(response.header_str("content-type").as_deref(), Some("text/plain"));
}

#[test]
fn a_status_that_is_none_is_ignored() {
    for (status, expected) in [
        ("404", 404),
        ("'404'", 200),
        ("99", 200),
        ("600", 200),
        ("100", 200),
        ("[]", 200),
    ] {
        let template = format!("#set($context.responseOverride.status = {status})x");
        let (mut plugin, _) = init(&json!({"any": {"responses": [{"templates": {"a/b": template}}]}}));
        let response = testing::response(200);
        let body = receive(&mut plugin, &post("a/b"), &response, &exchange(), "x");
        assert_eq!(
            (replaced(body), response.status()),
            ("x".to_owned(), expected),
            "{status}"
        );
    }
}

#[test]
fn responses_without_a_body_get_one_only_with_a_status_that_has_one() {
    let config = |status: u16| {
        json!({"any": {"responses": [{"templates": {"application/json":
            format!("#set($context.responseOverride.status = {status})#set($context.responseOverride.header.x = '1')b")}}]}})
    };
    let (mut plugin, _) = init(&config(204));
    let response = testing::response(204);
    assert_eq!(
        response_head(&mut plugin, &post("a/b"), &response, &exchange()),
        HeadAction::Proceed
    );
    assert_eq!(response.header_str("x").as_deref(), Some("1"));
    let response = testing::response(200);
    let body = receive(&mut plugin, &post("a/b"), &response, &exchange(), "upstream");
    assert_eq!((replaced(body), response.status()), (String::new(), 204));
    let (mut plugin, _) = init(&config(200));
    let response = testing::response(204).with_header("y", "2");
    let HeadAction::Respond(answer) = response_head(&mut plugin, &post("a/b"), &response, &exchange()) else {
        panic!()
    };
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"b"[..]));
    let names: Vec<&str> = answer.headers.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["y", "content-type", "x"]);
    let head = testing::request("HEAD", "https://api.example/");
    let response = testing::response(404);
    let (mut plugin, _) = init(&config(200));
    assert_eq!(
        response_head(&mut plugin, &head, &response, &exchange()),
        HeadAction::Proceed
    );
    assert_eq!(response.status(), 200);
}

#[test]
fn an_answer_of_a_plugin_before_is_not_transformed() {
    let (mut plugin, _) = init(&json!({"any": {"responses": [{"templates": {"a/b": "x"}}]}}));
    let (request, response, exchange) = (post("a/b"), testing::response(401), exchange());
    assert_eq!(
        plugin.on_response_head(&request, &response, &exchange),
        HeadAction::Proceed
    );
    assert_eq!(
        plugin.on_response_body(&request, &response, &exchange, b"no".to_vec(), BodyState::Last),
        BodyAction::Proceed
    );
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let config = json!({"any": {"request": {"templates": {"$default": "x"}},
        "responses": [{"templates": {"a/b": "x"}}]}});
    let (mut plugin, _) = init(&config);
    let request = post("a/b").with_header("content-encoding", "gzip");
    assert_eq!(answered(send(&mut plugin, &request, &exchange(), "z")).0, 415);
    let (mut plugin, _) = init(&config);
    let response = testing::response(200).with_header("content-encoding", "gzip");
    let answer = answered(receive(&mut plugin, &post("a/b"), &response, &exchange(), "z"));
    assert_eq!(answer, (502, r#"{"message":"Internal server error"}"#.to_owned()));
    let response = testing::response(200).with_header("content-encoding", "identity");
    let (mut plugin, _) = init(&config);
    assert_eq!(
        replaced(receive(&mut plugin, &post("a/b"), &response, &exchange(), "z")),
        "x"
    );
    let (mut plugin, _) =
        init(&json!({"any": {"responses": [{"templates": {"a/b": "$util.parseJson('x')"}}]}}));
    let answer = receive(
        &mut plugin,
        &post("a/b"),
        &testing::response(200),
        &exchange(),
        "z",
    );
    assert_eq!(answered(answer).0, 500);
}

#[test]
fn the_interest_names_only_the_bodies_that_are_needed() {
    let interest = |config: Value| init(&config).1;
    let heads = || Interest::none().request_head().response_head();
    let buffer = |limit| BodyMode::Buffer {
        limit,
        over: OverLimit::Reject,
    };
    assert_eq!(
        interest(json!({"limit": 5, "any": {"request": {"templates": {"$default": ""}}}})),
        heads().request_body(buffer(5))
    );
    assert_eq!(
        interest(json!({"any": {"responses": [{"templates": {"a/b": ""}}]}})),
        heads().response_body(buffer(10 << 20))
    );
    assert_eq!(interest(json!({"any": {"responses": [{}]}})), heads());
}

#[test]
fn the_gateway_names_the_template_and_is_told_of_the_overrides() {
    let (mut plugin, interest) = init(&json!({"templates": {
        "web/request": "#set($context.requestOverride.path.id = $input.params('id'))#set($context.responseOverride.header.x-a = 'a')$input.json('$.name')",
        "web/response": "#set($context.responseOverride.status = 404)$input.body $stageVariables.env $input.params('x')",
        "fails": "$util.parseJson('{')",
    }}));
    let expected = Interest::none()
        .request_body(interest.request_body)
        .response_body(interest.response_body);
    assert_eq!(interest, expected);
    let at = |template: &str| {
        exchange()
            .with_namespace("vtl")
            .with_entry("gateway", "template", template)
            .with_entry("gateway", "stage-variables", json!({"env": "blue"}))
    };
    let request = post("application/json");
    let told = |exchange: &Exchange, key: &str| exchange.get("vtl", key).unwrap().to_json().unwrap();
    let first = at("web/request");
    let body = plugin.on_request_body(&request, &first, br#"{"name": "Bo"}"#.to_vec(), BodyState::Last);
    assert_eq!(replaced(body), r#""Bo""#);
    assert_eq!(told(&first, "request-override")["path"], json!({"id": "7"}));
    assert_eq!(
        request.header_str("content-type").as_deref(),
        Some("application/json")
    );
    let second = at("web/response");
    let response = testing::response(200);
    let body = plugin.on_response_body(&request, &response, &second, b"pets".to_vec(), BodyState::Last);
    assert_eq!(replaced(body), "pets blue 1");
    assert_eq!(
        told(&second, "response-override"),
        json!({"header": {"x-a": "a"}, "status": 404})
    );
    assert_eq!(response.status(), 200);
    for name in ["fails", "unknown"] {
        match plugin.on_request_body(&request, &at(name), Vec::new(), BodyState::Last) {
            BodyAction::Respond(answer) => {
                let reason = String::from_utf8(answer.body).unwrap();
                assert!(answer.status == 500 && reason.contains(name), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_schema_and_the_plugin_agree() {
    let schema: Value = serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (config, good) in [
        (
            json!({"limit": 1, "claims-from": "jwt", "any": {"responses": [{}]}, "routes": {"GET /pets": {
                "request": {"templates": {"application/json": "x", "$default": "y"}, "passthrough": "never"},
                "responses": [{"selection": "5\\d{2}", "templates": {"a/b": "x"}}, {"templates": {}}]}}}),
            true,
        ),
        (
            json!({"any": {"request": {"passthrough": "when-no-templates"}}}),
            true,
        ),
        (
            json!({"any": {"request": {"passthrough": "when-no-match"}}}),
            true,
        ),
        (
            json!({"any": null, "routes": {"x": {"request": null, "responses": [{}]}}}),
            true,
        ),
        // what an API's template engine begins with
        (json!({}), true),
        (
            json!({"routes": {}, "templates": {"web/request/application/json": "$input.body"}}),
            true,
        ),
        (json!({"templates": {"a": 5}}), false),
        (json!({"any": {}}), false),
        (json!({"any": {"request": {}}, "limit": 0}), false),
        (json!({"any": {"request": {"passthrough": "sometimes"}}}), false),
        (json!({"any": {"request": {"template": {}}}}), false),
        (json!({"any": {"request": {"templates": {"json": "x"}}}}), false),
        (
            json!({"any": {"request": {"templates": {"a/b; q=1": "x"}}}}),
            false,
        ),
        (json!({"any": {"responses": [{"selection": 5}]}}), false),
        (json!({"any": {"responses": [{"status": "5"}]}}), false),
        (json!({"any": {"request": {}}, "route": {}}), false),
    ] {
        assert_eq!(schema.is_valid(&config), good, "schema: {config}");
        assert_eq!(
            testing::init::<VtlTransform>(&config.to_string()).is_ok(),
            good,
            "plugin: {config}"
        );
    }
}

#[test]
fn the_example_of_the_readme_works() {
    let readme = include_str!("../README.md");
    let example = readme
        .split("```yaml")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let example: Value = serde_yaml_ng::from_str(example).unwrap();
    let (mut plugin, _) = init(&example["plugins"]["mapping"]["config"]);
    let (request, exchange) = (
        post("application/json"),
        exchange().with_entry("jwt", "claims", json!({"sub": "ada"})),
    );
    let body = send(&mut plugin, &request, &exchange, r#"{"pet":{"name":"Bo"}}"#);
    assert_eq!(
        replaced(body),
        "{\"name\": \"Bo\", \"kind\": \"\", \"id\": \"7\"}\n"
    );
    assert_eq!(request.header_str("x-owner").as_deref(), Some("ada"));
    let response = testing::response(503);
    let body = receive(&mut plugin, &request, &response, &exchange, "");
    assert_eq!(
        replaced(body),
        "{\"message\": \"try again\", \"request\": \"req-1\"}\n"
    );
    assert_eq!(response.status(), 502);
}
