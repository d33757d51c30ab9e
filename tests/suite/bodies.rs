//! Bodies on their way through plugins: streamed, collected, held.

use bytes::Bytes;
use edgeward_tests::{Connection, Gateway, Origin, Raw, bytes, chunked, empty, with_trailers};
use http::Request;
use serde_json::{Value, json};

async fn gateway(origin: &Origin, config: Value) -> Gateway {
    Gateway::with_plugin(&origin.endpoint(), json!({"module": "body", "config": config})).await
}

fn parts(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|index| Bytes::from(format!("part {index};")))
        .collect()
}

#[tokio::test]
async fn a_streamed_body_is_changed_chunk_by_chunk() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"mode": "upper-stream", "side": "request"})).await;
    let reply = gateway.send("POST", "/echo", &[], bytes("hello")).await;
    assert_eq!(reply.json()["body"], "HELLO");
    assert_eq!(
        reply.echoed("content-length"),
        "",
        "a length that may not hold is not passed on"
    );
    let reply = gateway.send("POST", "/echo", &[], chunked(parts(100))).await;
    assert!(reply.json()["body"].as_str().unwrap().ends_with("PART 99;"));
    assert_eq!(
        gateway.get("/echo").await.json()["body"],
        "",
        "a request without a body has none to show"
    );
    let big = Bytes::from(vec![b'a'; 4 << 20]);
    let reply = gateway
        .send("POST", "/echo", &[], chunked(vec![big.clone(), big]))
        .await;
    assert_eq!(
        reply.json()["body-bytes"],
        8 << 20,
        "no limit holds for what only passes through"
    );
}

#[tokio::test]
async fn long_bodies_are_changed_on_their_way_over_both_protocols() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"mode": "upper-stream", "side": "response"})).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection
        .send("GET /bytes/1000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    connection.until("XXXX").await;
    let mut h2 = Connection::h2(gateway.address()).await;
    let reply = h2.get("/bytes/300000").await;
    assert!(reply.body.len() == 300_000 && reply.body.iter().all(|byte| *byte == b'X'));
}

#[tokio::test]
async fn something_can_be_added_at_the_end_and_trailers_stay() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"mode": "count"})).await;
    let reply = gateway.call("GET", "/trailers", &[("te", "trailers")]).await;
    assert_eq!(reply.text(), "body[4 bytes]");
    assert_eq!(reply.trailers.get("x-checksum").unwrap(), "abc");
    let reply = gateway
        .send(
            "POST",
            "/plain/echo",
            &[("trailer", "x-d")],
            with_trailers("hi", "x-d", "1"),
        )
        .await;
    assert_eq!(reply.json()["body"], "hi");
}

#[tokio::test]
async fn chunks_can_be_kept_back_until_the_end() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"mode": "keep-back"})).await;
    let reply = gateway.send("POST", "/echo", &[], chunked(parts(10))).await;
    assert!(
        reply.json()["body"]
            .as_str()
            .unwrap()
            .starts_with("part 0;part 1;")
    );
}

#[tokio::test]
async fn a_collected_body_is_replaced_whole_with_the_right_length() {
    let origin = Origin::start();
    let config = json!({"mode": "reverse-buffer", "side": "request", "limit": 1000});
    let gateway = gateway(&origin, config).await;
    for body in [bytes("abc"), chunked(vec![Bytes::from("a"), Bytes::from("bc")])] {
        let reply = gateway.send("POST", "/echo", &[], body).await;
        assert_eq!(
            (
                reply.json()["body"].as_str(),
                reply.echoed("content-length").as_str()
            ),
            (Some("cba"), "3")
        );
    }
    let reply = gateway.send("POST", "/echo", &[], bytes(vec![b'x'; 1000])).await;
    assert_eq!(reply.json()["body-bytes"], 1000);
    for body in [
        bytes(vec![b'x'; 1001]),
        chunked(vec![Bytes::from(vec![b'x'; 600]); 2]),
    ] {
        let reply = gateway.send("POST", "/echo", &[], body).await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (413, "REQUEST_TOO_LARGE")
        );
    }
}

/// Those who receive empty DATA frames that end nothing count them, and a hundred end the connection with all requests that share it.
#[tokio::test]
async fn trailers_behind_a_collected_body_of_nothing_come_without_an_empty_frame() {
    let origin = Origin::start();
    let config = json!({"mode": "reverse-buffer", "side": "request", "limit": 1000});
    let gateway = Gateway::start(json!({
        "workers": 1,
        "upstreams": {"origin": {"endpoints": [origin.endpoint()], "protocol": "http2"}},
        "plugins": {"tested": {"module": "body", "config": config}},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["tested"]}],
    }))
    .await;
    for client in 0..4 {
        let mut connection = Connection::h2(gateway.address()).await;
        for request in 0..40 {
            let body = with_trailers("", "x-sum", "0");
            let reply = connection.send(Request::post("/echo"), body).await;
            assert_eq!(reply.status, 200, "{client} {request}: {}", reply.text());
            assert_eq!(reply.json()["trailers"], json!([["x-sum", "0"]]));
        }
    }
    assert!(origin.seen().iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn a_body_above_the_limit_can_pass_unseen() {
    let origin = Origin::start();
    let config = json!({"mode": "reverse-buffer", "limit": 1000, "over": "pass"});
    let gateway = gateway(&origin, config).await;
    for body in [
        bytes(vec![b'x'; 5000]),
        chunked(vec![Bytes::from(vec![b'x'; 500]); 10]),
    ] {
        let reply = gateway.send("POST", "/echo", &[], body).await;
        // the answer is above the limit too, and passes
        assert_eq!((reply.status, reply.header("x-body")), (200, "too-large"));
        assert_eq!(
            (
                reply.json()["body-bytes"].as_u64(),
                reply.echoed("x-body").as_str()
            ),
            (Some(5000), "too-large")
        );
    }
}

#[tokio::test]
async fn a_response_above_the_limit_is_an_error_of_its_own() {
    let origin = Origin::start();
    let config = json!({"mode": "reverse-buffer", "side": "response", "limit": 1000});
    let gateway = gateway(&origin, config).await;
    let reply = gateway.get("/bytes/1001").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "RESPONSE_TOO_LARGE")
    );
    let reply = gateway.get("/text/x").await;
    assert_eq!(reply.text(), "txet nialp emos");
    assert_eq!(reply.header("content-length"), "15");
    for (method, path) in [
        ("HEAD", "/text/x"),
        ("GET", "/status/204"),
        ("GET", "/status/304"),
    ] {
        let reply = gateway.call(method, path, &[]).await;
        assert_eq!(
            (reply.body.len(), reply.status / 100 == 5),
            (0, false),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_held_head_can_be_edited_or_refused_at_the_end_of_the_body() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"mode": "hold-until-body"})).await;
    let reply = gateway.send("POST", "/echo", &[], chunked(parts(20))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.echoed("x-body-length"),
        reply.json()["body-bytes"].to_string()
    );
    assert_eq!(reply.header("x-body-length"), reply.body.len().to_string());
    let seen = origin.seen().len();
    let chunks = vec![Bytes::from("fine "), Bytes::from("forbidden")];
    let reply = gateway.send("POST", "/echo", &[], chunked(chunks)).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (403, "forbidden word in the body")
    );
    assert_eq!(
        origin.seen().len(),
        seen,
        "a held request does not reach the origin"
    );
}

#[tokio::test]
async fn what_is_held_is_bounded() {
    let origin = Origin::start();
    let plugin = json!({"module": "body", "config": {"mode": "hold-until-body", "side": "request"}, "limits": {"body": "64KiB"}});
    let gateway = Gateway::with_plugin(&origin.endpoint(), plugin).await;
    let reply = gateway
        .send(
            "POST",
            "/echo",
            &[],
            chunked(vec![Bytes::from(vec![b'x'; 10_000]); 10]),
        )
        .await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (413, "REQUEST_TOO_LARGE")
    );
}

#[tokio::test]
async fn an_answer_after_the_head_has_gone_breaks_the_exchange_visibly() {
    let origin = Origin::start();
    let response = gateway(&origin, json!({"mode": "answer-at-end", "side": "response"})).await;
    let broken = Connection::h1(response.address())
        .await
        .try_send(Request::get("/bytes/100000"), empty())
        .await;
    assert!(broken.is_err(), "{broken:?}");
    let request = gateway(&origin, json!({"mode": "answer-at-end", "side": "request"})).await;
    let reply = request.send("POST", "/echo", &[], chunked(parts(3))).await;
    assert!(reply.status >= 500, "{reply:?}");
    assert_eq!(request.get("/echo").await.status, 200);
}

#[tokio::test]
async fn a_plugin_may_not_collect_more_than_its_binding_allows() {
    let problem = Gateway::try_start(tempfile::tempdir().unwrap(), json!({
        "plugins": {"tested": {"module": "body", "config": {"mode": "reverse-buffer", "limit": 100_000}, "limits": {"body": "10KiB"}}},
        "routes": [{"path": "/", "respond": {"status": 200}, "pipeline": ["tested"]}],
    }))
    .await
    .err()
    .unwrap();
    assert!(
        problem.contains("limits.body") && problem.contains("10KiB"),
        "{problem}"
    );
}
