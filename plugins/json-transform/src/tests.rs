//! The plugin against the fake host.

use crate::JsonTransform;
use edgeward_sdk::prelude::*;
use edgeward_sdk::testing;

const JSON: &str = "application/json";

fn plugin(config: &str) -> JsonTransform {
    testing::init::<JsonTransform>(config).unwrap().0
}

fn request(plugin: &mut JsonTransform, head: &RequestHead, body: &str) -> BodyAction {
    plugin.on_request_body(
        head,
        &testing::exchange(),
        body.as_bytes().to_vec(),
        BodyState::Last,
    )
}

fn response(plugin: &mut JsonTransform, head: &ResponseHead, body: &str) -> BodyAction {
    let request = testing::request("GET", "https://api.example/pets/7").read_only();
    plugin.on_response_body(
        &request,
        head,
        &testing::exchange(),
        body.as_bytes().to_vec(),
        BodyState::Last,
    )
}

fn post(content_type: &str) -> RequestHead {
    testing::request("POST", "https://api.example/pets/7?q=x").with_header("content-type", content_type)
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
        BodyAction::Respond(answer) => (answer.status, String::from_utf8(answer.body).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_body_is_changed_with_values_of_the_exchange() {
    let mut plugin = plugin(
        r#"{"request": {"rules": [
            {"set": {"path": "$.by", "template": "${claims.sub}"}},
            {"set": {"path": "$.level", "template": "${claims.level}"}},
            {"set": {"path": "$.note", "template": "${request.method} ${path.id} ${request.query.q} ${request.header.x-a} ${context.geo.country}"}}
        ]}}"#,
    );
    let head = post("application/vnd.api+json; charset=utf-8")
        .with_path_param("id", "7")
        .with_header("x-a", "h")
        .with_header("digest", "x");
    let exchange = testing::exchange()
        .with_entry(
            "jwt",
            "claims",
            ContextValue::Json(r#"{"sub":"ada","level":12345678901234567890}"#.to_owned()),
        )
        .with_entry("geo", "country", "DE");
    let action = plugin.on_request_body(&head, &exchange, br#"{"n":1.10}"#.to_vec(), BodyState::Last);
    assert_eq!(
        replaced(action),
        r#"{"n":1.10,"by":"ada","level":12345678901234567890,"note":"POST 7 x h DE"}"#
    );
    assert_eq!(head.header("digest"), None, "a digest of the old body is gone");
}

#[test]
fn bodies_that_are_not_concerned_pass() {
    let mut plugin = plugin(r#"{"request": {"rules": [{"remove": {"paths": ["$.a"]}}]}}"#);
    for (head, body) in [
        (post("text/plain"), r#"{"a":1}"#),
        (testing::request("POST", "https://api.example/"), r#"{"a":1}"#),
        (post(JSON), ""),
        (post(JSON), r#"{"b": 1}"#),
        (post(JSON).with_header("content-encoding", "gzip"), "\u{1f}"),
    ] {
        assert!(
            matches!(request(&mut plugin, &head, body), BodyAction::Proceed),
            "{body}"
        );
    }
    assert_eq!(
        replaced(request(
            &mut plugin,
            &post(JSON).with_header("content-encoding", "identity"),
            r#"{"a":1}"#
        )),
        "{}"
    );
    let too_large =
        plugin.on_request_body(&post(JSON), &testing::exchange(), Vec::new(), BodyState::TooLarge);
    assert!(matches!(too_large, BodyAction::Proceed));
}

#[test]
fn what_cannot_be_changed_is_refused_with_the_reason() {
    let mut plugin = plugin(
        r#"{"request": {"encoded": "reject", "rules": [{"wrap": {"key": "d"}}]}, "response": {"rules": [{"wrap": {"key": "d"}}]}}"#,
    );
    let (status, body) = answered(request(&mut plugin, &post(JSON), "{\"a\":"));
    assert_eq!(status, 400);
    assert!(
        body.contains(r#""detail":"the request body is not valid JSON: unexpected end at byte 5""#),
        "{body}"
    );
    let (status, body) = answered(request(
        &mut plugin,
        &post(JSON).with_header("content-encoding", "br"),
        "x",
    ));
    assert_eq!((status, body.contains("`br`")), (415, true));
    let (status, body) = answered(response(
        &mut plugin,
        &testing::response(200).with_header("content-type", JSON),
        "<html>",
    ));
    assert_eq!(
        (status, body.contains("unexpected character at byte 0")),
        (502, true)
    );
    let mut lenient =
        super::tests::plugin(r#"{"response": {"invalid": "pass", "rules": [{"wrap": {"key": "d"}}]}}"#);
    assert!(matches!(
        response(
            &mut lenient,
            &testing::response(200).with_header("content-type", JSON),
            "<html>"
        ),
        BodyAction::Proceed
    ));
}

#[test]
fn a_response_gets_the_status_that_its_body_asks_for() {
    let mut plugin = plugin(
        r#"{"response": {
            "status": [{"path": "$.error.code", "equals": "NOT_FOUND", "status": 404}, {"path": "$.error", "status": 502}],
            "rules": [{"remove": {"paths": ["$.error.stack"]}}]
        }}"#,
    );
    let head = || {
        testing::response(200)
            .with_header("content-type", JSON)
            .with_header("etag", "\"1\"")
    };
    let first = head();
    assert_eq!(
        replaced(response(
            &mut plugin,
            &first,
            r#"{"error":{"code":"NOT_FOUND","stack":"x"}}"#
        )),
        r#"{"error":{"code":"NOT_FOUND"}}"#
    );
    assert_eq!((first.status(), first.header("etag")), (404, None));
    let second = head();
    assert!(matches!(
        response(&mut plugin, &second, r#"{"error":{}}"#),
        BodyAction::Proceed
    ));
    assert_eq!(
        (second.status(), second.header_str("etag").as_deref()),
        (502, Some("\"1\"")),
        "the body is as it was"
    );
    let third = head();
    assert!(matches!(
        response(&mut plugin, &third, r#"{"ok":1}"#),
        BodyAction::Proceed
    ));
    assert_eq!(third.status(), 200);
}

#[test]
fn only_the_wanted_statuses_are_looked_at() {
    let mut plugin = plugin(r#"{"response": {"only": ["2xx", "404"], "rules": [{"wrap": {"key": "d"}}]}}"#);
    for (status, changed) in [(200, true), (404, true), (500, false), (206, false)] {
        let action = response(
            &mut plugin,
            &testing::response(status).with_header("content-type", JSON),
            "1",
        );
        assert_eq!(matches!(action, BodyAction::Replace(_)), changed, "{status}");
    }
}

#[test]
fn the_interest_names_only_the_phases_that_are_needed() {
    let interest = |config: &str| testing::init::<JsonTransform>(config).unwrap().1;
    let one = interest(r#"{"response": {"limit": 5, "over": "pass", "rules": [{"wrap": {"key": "d"}}]}}"#);
    assert_eq!(
        one,
        Interest::none().response_body(BodyMode::Buffer {
            limit: 5,
            over: OverLimit::Pass
        })
    );
    let both = interest(
        r#"{"request": {"rules": [{"wrap": {"key": "d"}}]}, "response": {"status": [{"path": "$.e", "status": 500}]}}"#,
    );
    let buffer = || BodyMode::Buffer {
        limit: 1 << 20,
        over: OverLimit::Reject,
    };
    assert_eq!(
        both,
        Interest::none().request_body(buffer()).response_body(buffer())
    );
}

#[test]
fn configurations_that_make_no_sense_are_refused_with_their_place() {
    for (config, expected) in [
        ("null", "config: neither `request` nor `response` has rules"),
        (r#"{"request": {}}"#, "config.request.rules: there are none"),
        (
            r#"{"request": {"rules": [{"wrap": {"key": "d"}}], "limit": 0}}"#,
            "config.request.limit: 0",
        ),
        (
            r#"{"request": {"rules": [{"set": {"path": "a", "value": 1}}]}}"#,
            "config.request.rules[0].set.path: path `a`",
        ),
        (
            r#"{"request": {"rules": [{"sett": {}}]}}"#,
            "config.request.rules[0]: unknown variant `sett`",
        ),
        (
            r#"{"request": {"rules": [{"set": {"path": "$", "vlue": 1}}]}}"#,
            "config.request.rules[0].set.vlue: unknown field `vlue`",
        ),
        (
            r#"{"response": {"status": [{"path": "$.a", "status": 99}]}}"#,
            "config.response.status[0].status: 99 is not between 200 and 599",
        ),
        (
            r#"{"response": {"only": ["6xx"], "status": [{"path": "$.a", "status": 404}]}}"#,
            "config.response.only[0]: `6xx`",
        ),
    ] {
        let Err(error) = testing::init::<JsonTransform>(config) else {
            panic!("{config}")
        };
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}

#[test]
fn the_schema_and_the_plugin_agree() {
    let schema: serde_json::Value = serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let rules = r#"[{"set": {"path": "$.a", "value": null}}, {"default": {"path": "$.a", "template": "${request.id}"}}, {"copy": {"from": "$.a", "to": "$.b"}},
        {"move": {"from": "$.a", "to": "$.b"}}, {"rename": {"path": "$.a", "to": "b"}}, {"remove": {"paths": ["$..a"]}}, {"keep": {"paths": ["$.a"]}},
        {"wrap": {"key": "a"}}, {"unwrap": {"path": "$.a"}}, {"map": {"$.a": "$.b"}}, {"convert": {"path": "$.a", "to": "number", "on-failure": "null"}}]"#;
    let full = format!(
        r#"{{"claims-from": "jwt", "request": {{"rules": {rules}, "limit": 5, "over": "pass", "invalid": "pass", "encoded": "reject"}},
        "response": {{"rules": {rules}, "only": ["2xx", "404"], "status": [{{"path": "$.e", "equals": null, "status": 500}}]}}}}"#
    );
    for (config, good) in [
        (full.as_str(), true),
        ("{}", false),
        (r#"{"request": {"rules": [{"sett": {}}]}}"#, false),
        (r#"{"request": {"rules": [{"set": {"path": "$.a"}}]}}"#, false),
        (
            r#"{"request": {"rules": [{"set": {"path": "a", "value": 1}}]}}"#,
            false,
        ),
        (
            r#"{"request": {"rules": [{"wrap": {"key": "a"}, "unwrap": {"path": "$.a"}}]}}"#,
            false,
        ),
        (
            r#"{"response": {"only": ["6xx"], "rules": [{"wrap": {"key": "a"}}]}}"#,
            false,
        ),
        (
            r#"{"response": {"status": [{"path": "$.a", "status": 99}]}}"#,
            false,
        ),
    ] {
        assert_eq!(
            schema.is_valid(&serde_json::from_str(config).unwrap()),
            good,
            "schema: {config}"
        );
        assert_eq!(
            testing::init::<JsonTransform>(config).is_ok(),
            good,
            "plugin: {config}"
        );
    }
}
