//! Which route takes a request.

use edgeward_tests::{Gateway, Origin};
use serde_json::json;

async fn gateway(origin: &Origin) -> Gateway {
    let fixed = |body: &str| json!({"status": 200, "body": body});
    Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [
            {"path": "/pets", "methods": ["GET", "POST"], "respond": fixed("list")},
            {"path": "/pets/{id}", "respond": fixed("parameter")},
            {"path": "/pets/mine", "respond": fixed("literal")},
            {"path": "/pets/{path+}", "respond": fixed("greedy")},
            {"path": "/pets/{id}/toys", "respond": fixed("toys")},
            {"path": "/", "hosts": ["a.example"], "respond": fixed("a")},
            {"path": "/", "hosts": ["*.wild.example"], "respond": fixed("wild")},
            {"path": "/header", "headers": {"x-version": {"exact": "2"}}, "respond": fixed("two")},
            {"path": "/header", "headers": {"x-version": {"prefix": "3."}}, "respond": fixed("three")},
            {"path": "/header", "respond": fixed("any")},
            {"path": "/echo/{path+}", "upstream": "origin"},
        ],
    }))
    .await
}

#[tokio::test]
async fn literal_beats_parameter_beats_greedy() {
    let origin = Origin::start();
    let gateway = gateway(&origin).await;
    for (path, expected) in [
        ("/pets", "list"),
        ("/pets/mine", "literal"),
        ("/pets/7", "parameter"),
        ("/pets/7/toys", "toys"),
        ("/pets/7/else", "greedy"),
        ("/pets/mine/else", "greedy"),
        ("/pets/%6dine", "literal"),
        ("/x/../pets/mine", "literal"),
    ] {
        let reply = gateway.get(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{path}");
    }
}

#[tokio::test]
async fn hosts_and_header_conditions_choose_the_route() {
    let origin = Origin::start();
    let gateway = gateway(&origin).await;
    for (host, expected) in [
        ("a.example", "a"),
        ("A.Example:8080", "a"),
        ("x.wild.example", "wild"),
    ] {
        let reply = gateway.call("GET", "/", &[("host", host)]).await;
        assert_eq!(reply.text(), expected, "{host}");
    }
    for host in ["b.example", "wild.example"] {
        let reply = gateway.call("GET", "/", &[("host", host)]).await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (404, "ROUTE_NOT_FOUND"),
            "{host}"
        );
    }
    for (version, expected) in [("2", "two"), ("3.1", "three"), ("4", "any")] {
        assert_eq!(
            gateway
                .call("GET", "/header", &[("x-version", version)])
                .await
                .text(),
            expected
        );
    }
    assert_eq!(gateway.get("/header").await.text(), "any");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let origin = Origin::start();
    let gateway = gateway(&origin).await;
    let reply = gateway.get("/nowhere").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (404, "ROUTE_NOT_FOUND")
    );
    let reply = gateway.call("DELETE", "/pets", &[]).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (405, "METHOD_NOT_ALLOWED")
    );
    let allowed = reply.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let metrics = gateway.metrics();
    assert!(
        metrics.contains("ROUTE_NOT_FOUND") && metrics.contains("METHOD_NOT_ALLOWED"),
        "{metrics}"
    );
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let origin = Origin::start();
    let gateway = gateway(&origin).await;
    let reply = gateway.call("HEAD", "/pets/7", &[]).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    let reply = gateway.call("HEAD", "/echo/x", &[]).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_ne!(
        reply.header("content-length"),
        "",
        "the length that GET would have"
    );
    assert_eq!(origin.seen()[0].method, "HEAD");
}

#[tokio::test]
async fn the_target_reaches_the_origin_normalised_with_its_query() {
    let origin = Origin::start();
    let gateway = gateway(&origin).await;
    let reply = gateway.get("/echo/a/./b/../c%7Ed?x=1&y=%20").await.json();
    assert_eq!(reply["path"], "/echo/a/c~d");
    assert_eq!(reply["query"], "x=1&y=%20");
}
