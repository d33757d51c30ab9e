//! HTTP/2, with prior knowledge and towards the origin. What is refused is in `conformance/`.

use std::time::Duration;

use bytes::Bytes;
use edgeward_tests::{
    Connection, Gateway, Origin, bytes, chunked, empty,
    frames::{End, Frames, code, flag, kind},
    with_trailers, within,
};
use futures_util::future::join_all;
use http::{Request, Version};
use serde_json::json;
use tokio::net::TcpStream;

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

#[tokio::test]
async fn paths_that_servers_read_differently_are_refused_as_over_http_1() {
    let origin = Origin::start();
    let gateway = Gateway::start(json!({
        "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "encoded-slashes": true}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await;
    let addresses = gateway.proxy.addresses();
    let mut strict = Frames::connect(addresses[0].1).await;
    let mut lenient = Frames::connect(addresses[1].1).await;
    for (index, (path, by_strict, by_lenient)) in [
        ("/echo/a;v=1//b%20c", 200, 200),
        ("/echo/a%2Fb", 400, 200),
        ("/echo/a%5cb", 400, 200),
        ("/echo/..%2f..%2fetc", 400, 400),
        ("/echo/..;/admin", 400, 400),
        ("/echo/..%3bx/admin", 400, 400),
        ("/echo/%252e%252e/admin", 400, 400),
        ("/echo/%25252Fadmin", 400, 400),
        ("/echo/a%00b", 400, 400),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = 2 * u32::try_from(index).unwrap() + 1;
        for (connection, status) in [(&mut strict, by_strict), (&mut lenient, by_lenient)] {
            connection.get(stream, path).await;
            assert_eq!(connection.end_of(stream).await, End::Answer(status), "{path}");
        }
    }
    let seen: Vec<_> = origin.seen().into_iter().map(|request| request.target).collect();
    let path = "/echo/a;v=1//b%20c";
    assert_eq!(seen, [path, path, "/echo/a%2Fb", "/echo/a%5Cb"]);
}

#[tokio::test]
async fn draining_says_goaway_finishes_what_runs_and_takes_nothing_new() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "http1").await;
    let address = gateway.address();
    let mut connection = Frames::connect(address).await;
    connection.get(1, "/hold/drain").await;
    origin.wait_for("/hold/drain", 1).await;
    let drain = tokio::spawn(async move {
        gateway.proxy.drain(Duration::from_mins(10)).await;
    });
    let (mut away, mut ended) = (Vec::new(), Vec::new());
    while let Some(frame) = connection.next().await {
        match frame.kind {
            kind::GOAWAY => {
                let last = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                away.push((last, frame.code()));
                // RFC 9113 section 6.8: the first only says that the end is near, for what is on its way
                let next = 2 * u32::try_from(away.len()).unwrap() + 1;
                connection.get(next, &format!("/text/{next}")).await;
                if next == 5 {
                    origin.release("drain");
                }
            }
            kind::PING if frame.flags & flag::ACK == 0 => {
                connection.frame(kind::PING, flag::ACK, 0, &frame.payload).await;
            }
            kind::DATA | kind::HEADERS if frame.flags & flag::END_STREAM != 0 => ended.push(frame.stream),
            kind::RST_STREAM => panic!("stream {} was reset: {}", frame.stream, frame.code()),
            _ => {}
        }
    }
    assert_eq!(away[..2], [((1 << 31) - 1, code::NO_ERROR), (3, code::NO_ERROR)]);
    assert!(away.iter().all(|(_, code)| *code == code::NO_ERROR), "{away:?}");
    ended.sort_unstable();
    assert_eq!(ended, [1, 3], "what ran, and what was on its way");
    within("the drain", drain).await.unwrap();
    assert_eq!(origin.hits("/text/3"), 1);
    assert_eq!(origin.hits("/text/"), 1, "{:?}", origin.seen());
    assert!(TcpStream::connect(address).await.is_err());
}
