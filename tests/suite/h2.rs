//! HTTP/2, with prior knowledge and towards the origin. What is refused is in `conformance/`.

use bytes::Bytes;
use edgeward_tests::{Connection, Gateway, Origin, bytes, chunked, empty, with_trailers};
use futures_util::future::join_all;
use http::{Request, Version};
use serde_json::json;

async fn gateway(origin: &Origin, protocol: &str) -> Gateway {
    Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()], "protocol": protocol}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await
}

#[tokio::test]
async fn prior_knowledge_is_spoken_in_cleartext() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http1").await;
    let mut connection = Connection::h2(gateway.address()).await;
    let reply = connection
        .send(Request::get("/echo/a?b=c").header("host", "api.example"), empty())
        .await;
    assert_eq!((reply.status, reply.version), (200, Version::HTTP_2));
    let json = reply.json();
    assert_eq!(
        (json["version"].as_str(), json["path"].as_str()),
        (Some("HTTP/1.1"), Some("/echo/a"))
    );
    assert_eq!(reply.echoed("host"), "api.example");
    let reply = connection.send(Request::post("/echo"), bytes("hello")).await;
    assert_eq!(reply.json()["body"], "hello");
    let reply = connection.get("/nowhere/../../..").await;
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn a_safe_request_whose_end_comes_behind_its_head_has_no_body() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http1").await;
    let mut connection = Connection::h2(gateway.address()).await;
    let reply = connection.send(Request::get("/echo"), chunked(vec![])).await;
    assert_eq!(reply.json()["body"], "");
    for field in ["transfer-encoding", "content-length"] {
        assert_eq!(reply.echoed(field), "", "{field} of a request without a body");
    }
    let reply = connection
        .send(
            Request::get("/echo"),
            chunked(vec![Bytes::from("some"), Bytes::from("thing")]),
        )
        .await;
    assert_eq!(reply.json()["body"], "something");
    assert_eq!(reply.echoed("transfer-encoding"), "chunked");
    // of other methods an empty body may mean something
    let reply = connection.send(Request::post("/echo"), chunked(vec![])).await;
    assert_eq!(reply.echoed("transfer-encoding"), "chunked");
}

#[tokio::test]
async fn streams_of_one_connection_run_side_by_side() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http1").await;
    let connection = Connection::h2(gateway.address()).await;
    let held = tokio::spawn({
        let mut connection = connection.share();
        async move { connection.get("/hold/a").await }
    });
    origin.wait_for("/hold/a", 1).await;
    let replies = join_all((0..50).map(|index| {
        let mut connection = connection.share();
        async move { connection.get(&format!("/echo/{index}")).await }
    }))
    .await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    origin.release("a");
    assert_eq!(held.await.unwrap().text(), "released");
    assert_eq!(gateway.proxy.status().connections, 1);
}

#[tokio::test]
async fn trailers_pass_in_every_combination_of_protocols() {
    let origin = Origin::start();
    for protocol in ["http1", "http2"] {
        let gateway = gateway(&origin, protocol).await;
        let mut connection = Connection::h2(gateway.address()).await;
        let reply = connection
            .send(Request::get("/trailers").header("te", "trailers"), empty())
            .await;
        assert_eq!(
            reply
                .trailers
                .get("x-checksum")
                .map(|value| value.to_str().unwrap()),
            Some("abc"),
            "{protocol}"
        );
        let body = with_trailers("hello", "x-digest", "123");
        let reply = connection
            .send(Request::post("/echo").header("trailer", "x-digest"), body)
            .await;
        assert_eq!(
            reply.json()["trailers"],
            json!([["x-digest", "123"]]),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn an_origin_that_speaks_http_2_shares_one_connection() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http2").await;
    let mut connection = Connection::h1(gateway.address()).await;
    for _ in 0..5 {
        let reply = connection
            .send(Request::get("/echo").header("host", "api.example"), empty())
            .await;
        assert_eq!(reply.json()["version"], "HTTP/2.0");
        assert_eq!(reply.json()["authority"], "api.example");
    }
    let chunks = vec![Bytes::from(vec![b'x'; 100_000]); 20];
    let reply = connection.send(Request::post("/echo"), chunked(chunks)).await;
    assert_eq!(reply.json()["body-bytes"], 2_000_000);
    assert_eq!(connection.get("/bytes/3000000").await.body.len(), 3_000_000);
    let seen = origin.seen();
    assert!(
        seen.iter()
            .all(|request| request.connection == seen[0].connection)
    );
}

#[tokio::test]
async fn errors_and_bodiless_answers_work_on_http_2() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http1").await;
    let mut connection = Connection::h2(gateway.address()).await;
    assert_eq!(connection.get("/status/204").await.status, 204);
    assert_eq!(
        connection.send(Request::head("/echo"), empty()).await.body.len(),
        0
    );
    let reply = connection.send(Request::head("/abort"), empty()).await;
    assert_eq!(
        (reply.status, reply.body.len()),
        (502, 0),
        "an error for HEAD has no body either"
    );
    let reply = connection.get("/abort").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_FAILURE")
    );
    assert!(
        connection.try_send(Request::get("/half"), empty()).await.is_err(),
        "a broken body must not look whole"
    );
    assert_eq!(
        connection.get("/echo").await.status,
        200,
        "one stream broke, not the connection"
    );
}

#[tokio::test]
async fn http_2_can_be_turned_off() {
    let origin = Origin::start();
    let gateway = Gateway::start(json!({
        "listeners": [{"address": "127.0.0.1:0", "http2": false}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await;
    let mut connection = Connection::h2(gateway.address()).await;
    assert!(connection.try_send(Request::get("/echo"), empty()).await.is_err());
    assert_eq!(gateway.get("/echo").await.status, 200);
}
