//! Plugins that change heads and JSON bodies, alone and in a chain.

use edgeward_tests::{Connection, Gateway, Origin, bytes, empty};
use http::Request;
use serde_json::json;

#[tokio::test]
async fn the_headers_plugin_edits_requests_responses_and_errors() {
    let origin = Origin::start();
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}, "down": {"endpoints": ["127.0.0.1:1"]}},
        "plugins": {"fields": {"module": "headers", "config": {
            "request": [
                {"remove": "x-debug"},
                {"set": "x-pet", "value": "${path.id}"},
                {"set": "x-q", "value": "${request.query.q}"},
                {"append": "x-many", "value": "two"},
                {"rename": "x-old", "to": "x-new"},
            ],
            "response": [{"remove": "x-origin"}, {"set": "strict-transport-security", "value": "max-age=1"}],
            "gateway-errors": true,
        }}},
        "routes": [{"path": "/pets/{id}", "upstream": "origin", "pipeline": ["fields"]},
                   {"path": "/down", "upstream": "down", "pipeline": ["fields"]},
                   {"path": "/abort", "upstream": "origin", "pipeline": ["fields"]}],
    }))
    .await;
    let fields = [("x-debug", "1"), ("x-many", "one"), ("x-old", "kept")];
    let reply = gateway.call("GET", "/pets/a%20b?q=1%2B1", &fields).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        (
            reply.echoed("x-debug"),
            reply.echoed("x-pet"),
            reply.echoed("x-q")
        ),
        (String::new(), "a b".to_owned(), "1+1".to_owned())
    );
    assert_eq!(reply.echoed_all("x-many"), ["one", "two"]);
    assert_eq!(
        (reply.echoed("x-old"), reply.echoed("x-new")),
        (String::new(), "kept".to_owned())
    );
    assert_eq!(
        (
            reply.header("x-origin"),
            reply.header("strict-transport-security")
        ),
        ("", "max-age=1")
    );
    for path in ["/down", "/abort"] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status, reply.header("strict-transport-security")),
            (502, "max-age=1"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn json_bodies_are_mapped_both_ways() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "json-transform", "config": {
        "request": {"rules": [
            {"set": {"path": "$.source", "value": "gateway"}},
            {"rename": {"path": "$.old", "to": "new"}},
            {"remove": {"paths": ["$.secret"]}},
        ]},
        "response": {"only": ["2xx"], "rules": [{"keep": {"paths": ["$.body", "$.method"]}}, {"wrap": {"key": "data"}}]},
    }}))
    .await;
    let json_type = [("content-type", "application/json")];
    let body = json!({"old": 1, "secret": "x", "deep": [1, 2]}).to_string();
    let reply = gateway.send("POST", "/echo", &json_type, bytes(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    let seen: serde_json::Value = serde_json::from_str(answer["data"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen, json!({"new": 1, "deep": [1, 2], "source": "gateway"}));
    assert_eq!(answer["data"]["method"], "POST");
    assert!(answer["data"].get("headers").is_none());
    assert_eq!(
        reply.header("content-length"),
        reply.body.len().to_string(),
        "the length fits what was made"
    );
    let reply = gateway
        .send("POST", "/echo", &json_type, bytes("{not json"))
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(gateway.get("/text/x").await.text(), "some plain text");
    let reply = gateway
        .send("POST", "/plain/echo", &json_type, bytes("{not json"))
        .await;
    assert_eq!(reply.json()["body"], "{not json");
}

#[tokio::test]
async fn a_head_can_be_edited_in_every_part() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    let ask = async |operation: &str| {
        gateway
            .call("GET", "/echo/a?x=1", &[("x-sink", operation), ("x-here", "1")])
            .await
    };
    assert_eq!(ask("set-method PUT").await.json()["method"], "PUT");
    let reply = ask("set-path /other/%C3%A9").await.json();
    assert_eq!(
        (reply["path"].as_str(), reply["query"].as_str()),
        (Some("/other/%C3%A9"), Some("x=1"))
    );
    assert_eq!(ask("set-query y=2").await.json()["query"], "y=2");
    assert_eq!(ask("set-query").await.json()["query"], serde_json::Value::Null);
    assert_eq!(ask("set-header x-here a b").await.echoed_all("x-here"), ["a b"]);
    assert_eq!(
        ask("append-header X-Here two").await.echoed_all("x-here"),
        ["1", "two"]
    );
    assert!(ask("remove-header x-here").await.echoed_all("x-here").is_empty());
    for refused in [
        "set-header content-length 7",
        "set-header transfer-encoding chunked",
        "remove-header connection",
        "set-header bad\u{2f}name x",
        "set-path no-slash",
        "set-path /a?b",
        "set-query a b",
        "set-method CONNECT",
        "append-header upgrade x",
        "set-method a b",
    ] {
        let reply = ask(refused).await;
        assert_eq!(reply.status, 500, "{refused}: {}", reply.text());
        assert!(reply.json()["error"].is_string(), "{refused}");
    }
    let edits = "set-status 418;set-header x-added 1;append-header x-added 2;remove-header x-origin";
    let reply = gateway.call("GET", "/echo", &[("x-sink-response", edits)]).await;
    assert_eq!(
        (
            reply.status,
            reply.header("x-origin"),
            reply.header("x-sink-status")
        ),
        (418, "", "418")
    );
    assert_eq!(reply.headers.get_all("x-added").iter().count(), 2);
    let reply = gateway
        .call("GET", "/echo", &[("x-sink-response", "set-status 99")])
        .await;
    assert!(
        reply.json()["error"].as_str().unwrap().contains("99"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_plugin_can_answer_itself_before_and_after_the_origin() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    let reply = gateway
        .call("GET", "/echo", &[("x-sink", "answer 299 short cut")])
        .await;
    assert_eq!((reply.status, reply.text().as_str()), (299, "short cut"));
    assert_eq!(origin.seen().len(), 0);
    let fields = [
        ("x-sink-phase", "response-head"),
        ("x-sink", "answer 203 replaced"),
    ];
    let reply = gateway.call("GET", "/echo", &fields).await;
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.header("x-origin")),
        (203, "replaced", "")
    );
    assert_eq!(origin.seen().len(), 1);
    let mut connection = Connection::h2(gateway.address()).await;
    let request = Request::head("/echo").header("x-sink", "answer 200 not for HEAD");
    let reply = connection.send(request, empty()).await;
    assert_eq!((reply.body.len(), reply.header("content-length")), (0, "12"));
    let request = Request::get("/echo").header("x-sink", "answer 204 nothing to say");
    let reply = connection.send(request, empty()).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
}

#[tokio::test]
async fn request_phases_run_in_order_and_response_phases_in_reverse() {
    let origin = Origin::start();
    let add = |name: &str| {
        json!({"module": "headers", "config": {
            "request": [{"append": "x-order", "value": name}], "response": [{"append": "x-back", "value": name}]}})
    };
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"a": add("a"), "b": add("b"), "c": add("c")},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["a", "b", "c"]}],
    }))
    .await;
    let reply = gateway.get("/echo").await;
    assert_eq!(reply.echoed_all("x-order"), ["a", "b", "c"]);
    let back: Vec<_> = reply
        .headers
        .get_all("x-back")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(back, ["c", "b", "a"]);
}

#[tokio::test]
async fn a_plugin_without_interest_is_never_entered() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "no-interest"})).await;
    assert_eq!(gateway.get("/echo").await.status, 200);
    let stats = gateway.stats();
    assert!(stats.calls.is_empty() && stats.instances == 0, "{stats:?}");
}

#[tokio::test]
async fn errors_of_the_gateway_can_be_edited_or_answered() {
    let origin = Origin::start();
    let edits = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    let reply = edits.get("/abort").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_FAILURE")
    );
    assert!(
        reply.header("x-sink-gateway-error").contains("UPSTREAM_FAILURE"),
        "{reply:?}"
    );
    let answers = json!({"module": "kitchen-sink", "config": {"answer-errors": true}});
    let answers = Gateway::with_plugin(&origin.endpoint(), answers).await;
    let reply = answers.get("/abort").await;
    assert_eq!(
        (reply.status, reply.header("x-sink-gateway-error")),
        (502, "answered")
    );
    assert_eq!(reply.json()["response-type"], "UPSTREAM_FAILURE");
}

#[tokio::test]
async fn a_path_that_servers_read_differently_is_refused_to_plugins_too() {
    let origin = Origin::start();
    let gateway = Gateway::start(json!({
        "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "encoded-slashes": true}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": {"module": "kitchen-sink"}},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["sink"]}],
    }))
    .await;
    let addresses = gateway.proxy.addresses();
    let mut strict = Connection::h1(addresses[0].1).await;
    let mut lenient = Connection::h1(addresses[1].1).await;
    for (path, by_strict, by_lenient) in [
        ("/a;v=1//b%20c", Some("/a;v=1//b%20c"), Some("/a;v=1//b%20c")),
        // normalised as those of clients are
        ("/a/../%62", Some("/b"), Some("/b")),
        ("/a/%2e%2e/b", Some("/b"), Some("/b")),
        ("/a%2fb", None, Some("/a%2Fb")),
        ("/a%5Cb", None, Some("/a%5Cb")),
        ("/..;/admin", None, None),
        ("/..%3Bx/admin", None, None),
        ("/..%2F..%2Fetc", None, None),
        ("/%252e%252e/admin", None, None),
        ("/%25252Fadmin", None, None),
        ("/a%00b", None, None),
    ] {
        for (connection, expected) in [(&mut strict, by_strict), (&mut lenient, by_lenient)] {
            let request = Request::get("/x").header("x-sink", format!("set-path {path}"));
            let reply = connection.send(request, empty()).await;
            match expected {
                Some(expected) => assert_eq!(reply.json()["path"], expected, "{path}: {}", reply.text()),
                None => {
                    let error = reply.json()["error"].to_string();
                    assert_eq!(reply.status, 500, "{path}: {}", reply.text());
                    assert!(error.contains("path"), "{path}: {error}");
                }
            }
        }
    }
    assert_eq!(origin.seen().len(), 8, "{:?}", origin.seen());
}
