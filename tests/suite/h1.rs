//! HTTP/1.1 as clients speak it. What is refused is in `conformance/`.

use bytes::Bytes;
use edgeward_tests::{
    Connection, Gateway, Origin, Raw, bytes, chunked, empty, raw, scripted_upstream, with_trailers, within,
};
use http::Request;
use serde_json::{Value, json};

async fn gateway(endpoint: &str, more: Value) -> Gateway {
    let mut config = json!({
        "upstreams": {"origin": {"endpoints": [endpoint]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::start(config).await
}

async fn plain(origin: &Origin) -> Gateway {
    gateway(&origin.endpoint(), json!({})).await
}

#[tokio::test]
async fn one_connection_serves_many_requests_on_both_sides() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({"workers": 1})).await;
    let mut connection = Connection::h1(gateway.address()).await;
    for index in 0..20 {
        let reply = connection.get(&format!("/echo/{index}")).await;
        assert_eq!((reply.status, reply.header("x-origin")), (200, "echo"));
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 20);
    assert!(
        seen.iter()
            .all(|request| request.connection == seen[0].connection),
        "the upstream connection is kept"
    );
    assert_eq!(gateway.proxy.status().connections, 1);
}

#[tokio::test]
async fn bodies_of_known_and_unknown_length_arrive_whole() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    let reply = gateway.send("POST", "/echo", &[], bytes("hello")).await;
    assert_eq!(
        (
            reply.json()["body"].as_str(),
            reply.echoed("content-length").as_str()
        ),
        (Some("hello"), "5")
    );
    let chunks = vec![Bytes::from("one "), Bytes::from("two "), Bytes::from("three")];
    let reply = gateway.send("PUT", "/echo", &[], chunked(chunks)).await;
    assert_eq!(reply.json()["body"], "one two three");
    assert_eq!(
        (reply.echoed("content-length"), reply.echoed("transfer-encoding")),
        (String::new(), "chunked".to_owned())
    );
    let reply = gateway.get("/bytes/5000000").await;
    assert_eq!(reply.body.len(), 5_000_000);
    let reply = gateway
        .send("POST", "/echo", &[], bytes(vec![b'y'; 3 << 20]))
        .await;
    assert_eq!(reply.json()["body-bytes"], 3 << 20);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    let reply = gateway
        .call("GET", "/trailers", &[("te", "trailers"), ("connection", "te")])
        .await;
    assert_eq!(
        (
            reply.text().as_str(),
            reply.trailers.get("x-checksum").unwrap().to_str().unwrap()
        ),
        ("body", "abc")
    );
    let body = with_trailers("hello", "x-digest", "123");
    let reply = gateway
        .send("POST", "/echo", &[("trailer", "x-digest")], body)
        .await;
    assert_eq!(reply.json()["body"], "hello");
    assert_eq!(reply.json()["trailers"], json!([["x-digest", "123"]]));
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted_and_not_when_the_head_is_refused() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({"limits": {"body": "1KiB"}})).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await;
    let interim = connection.until("\r\n\r\n").await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    connection.send("hello").await;
    let head = connection.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut connection = Raw::connect(gateway.address()).await;
    connection
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n")
        .await;
    let head = connection.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    // a plugin that refuses does so before the body is asked for
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    for phase in ["authorize", "inspect"] {
        let mut connection = Raw::connect(gateway.address()).await;
        connection
            .send(format!(
                "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\
                x-sink-phase: {phase}\r\nx-sink: deny 403 no\r\n\r\n"
            ))
            .await;
        let head = connection.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{phase}: {head}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_keep_the_connection() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    let mut connection = Connection::h1(gateway.address()).await;
    for status in [204, 304] {
        let reply = connection.get(&format!("/status/{status}")).await;
        assert_eq!((reply.status, reply.body.len()), (status, 0));
        assert_eq!(reply.header("transfer-encoding"), "");
    }
    let reply = connection.send(Request::head("/echo"), empty()).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    let reply = connection.get("/status/500").await;
    assert_eq!((reply.status, reply.text().as_str()), (500, "status 500"));
}

#[tokio::test]
async fn an_upstream_of_raw_bytes_is_understood() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-raw: yes\r\n\r\nok";
    let gateway_interim = gateway(&scripted_upstream(interim).await.to_string(), json!({})).await;
    let reply = gateway_interim.get("/x").await;
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.header("x-raw")),
        (200, "ok", "yes")
    );
    let to_the_end = scripted_upstream(b"HTTP/1.0 200 OK\r\n\r\nuntil the connection closes").await;
    let gateway_close = gateway(&to_the_end.to_string(), json!({})).await;
    assert_eq!(
        gateway_close.get("/x").await.text(),
        "until the connection closes"
    );
    let trailers =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    let gateway_trailers = gateway(&scripted_upstream(trailers).await.to_string(), json!({})).await;
    let reply = gateway_trailers.call("GET", "/x", &[("te", "trailers")]).await;
    assert_eq!(
        (
            reply.text().as_str(),
            reply.trailers.get("x-sum").unwrap().to_str().unwrap()
        ),
        ("ok", "7")
    );
}

#[tokio::test]
async fn forwarded_fields_are_believed_from_trusted_hops_only() {
    let origin = Origin::start();
    let fields = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.9"),
    ];
    let untrusting = plain(&origin).await;
    let reply = untrusting.call("GET", "/echo", &fields).await;
    assert!(!reply.text().contains("203.0.113.9"), "{}", reply.text());
    assert_eq!(reply.echoed("x-forwarded-for"), "127.0.0.1");
    assert_eq!(reply.echoed("x-forwarded-proto"), "http");
    let listener = json!([{"address": "127.0.0.1:0", "trusted-hops": ["127.0.0.0/8"]}]);
    let trusting = gateway(&origin.endpoint(), json!({"listeners": listener})).await;
    let reply = trusting.call("GET", "/echo", &fields).await;
    let chain = reply.echoed("x-forwarded-for");
    assert!(
        chain.starts_with("203.0.113.9") && chain.ends_with("127.0.0.1"),
        "{chain}"
    );
    assert_eq!(reply.echoed("x-forwarded-proto"), "https");
    assert!(reply.echoed("via").contains("edgeward"), "{}", reply.text());
}

#[tokio::test]
async fn paths_that_servers_read_differently_are_refused() {
    let origin = Origin::start();
    let strict = plain(&origin).await;
    let listener = json!({"listeners": [{"address": "127.0.0.1:0", "encoded-slashes": true}]});
    let lenient = gateway(&origin.endpoint(), listener).await;
    for (path, by_strict, by_lenient) in [
        ("/echo/a;v=1//b%20c", 200, 200),
        ("/echo/a%2Fb", 400, 200),
        ("/echo/a%5cb", 400, 200),
        ("/echo/..%2f..%2fetc", 400, 400),
        ("/echo/..;/admin", 400, 400),
        ("/echo/%252e%252e/admin", 400, 400),
        ("/echo/%25252Fadmin", 400, 400),
    ] {
        assert_eq!(strict.get(path).await.status, by_strict, "{path}");
        assert_eq!(lenient.get(path).await.status, by_lenient, "{path}, lenient");
    }
    let seen: Vec<_> = origin.seen().into_iter().map(|request| request.target).collect();
    let path = "/echo/a;v=1//b%20c";
    assert_eq!(seen, [path, path, "/echo/a%2Fb", "/echo/a%5Cb"]);
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_a_problem_document_and_counted() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello, is it HTTP?\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/3.7\r\nhost: a\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nno preface",
    ] {
        let text = raw(gateway.address(), sent).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(head.contains("content-type: application/problem+json"), "{text}");
        let problem: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(problem["responseType"], "BAD_REQUEST");
        let id = problem["requestId"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}")), "{text}");
    }
    assert_eq!(origin.seen().len(), 0);
    let metrics = gateway.metrics();
    assert!(
        metrics.contains(r#"edgeward_rejects_total{response_type="BAD_REQUEST"} 8"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn connections_without_a_request_do_not_hold_up_draining() {
    let origin = Origin::start();
    let limits = json!({"limits": {"head-timeout": "10m", "idle-timeout": "10m"}});
    let gateway = gateway(&origin.endpoint(), limits).await;
    let mut silent = Raw::connect(gateway.address()).await;
    let mut idle = Raw::connect(gateway.address()).await;
    idle.send("GET /status/200 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.until("\r\n\r\n").await;
    within(
        "draining",
        gateway.proxy.drain(std::time::Duration::from_secs(600)),
    )
    .await;
    assert_eq!(silent.to_end().await, "");
    idle.to_end().await;
}

#[tokio::test]
async fn draining_finishes_what_runs_and_says_that_the_connection_ends() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    let mut running = Raw::connect(gateway.address()).await;
    running.send("GET /hold/drain HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.wait_for("/hold/drain", 1).await;
    let address = gateway.address();
    let draining = gateway.proxy.drain(std::time::Duration::from_secs(20));
    let client = async {
        edgeward_tests::closed(address).await;
        origin.release("drain");
        let head = running.until("\r\n\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close\r\n"),
            "{head}"
        );
        assert!(running.to_end().await.ends_with("released"));
    };
    within("draining", async { tokio::join!(draining, client) }).await;
}

#[tokio::test]
async fn bodies_above_the_limit_are_refused_however_they_are_sent() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({"limits": {"body": "1KiB"}})).await;
    let reply = gateway.send("POST", "/echo", &[], bytes(vec![b'x'; 2000])).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (413, "REQUEST_TOO_LARGE")
    );
    let chunks = vec![Bytes::from(vec![b'x'; 600]), Bytes::from(vec![b'x'; 600])];
    let reply = gateway.send("POST", "/echo", &[], chunked(chunks)).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (413, "REQUEST_TOO_LARGE")
    );
    let reply = gateway.send("POST", "/echo", &[], bytes(vec![b'x'; 1024])).await;
    assert_eq!(reply.json()["body-bytes"], 1024);
}

#[tokio::test]
async fn every_request_has_an_id_that_the_origin_sees() {
    let origin = Origin::start();
    let gateway = plain(&origin).await;
    let ids = [
        gateway.get("/echo").await.echoed("x-request-id"),
        gateway.get("/echo").await.echoed("x-request-id"),
    ];
    assert!(ids[0].len() >= 16 && ids[0] != ids[1], "{ids:?}");
}
