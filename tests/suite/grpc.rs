//! Streams that stay open: server-sent events and gRPC calls, message by message, with deadlines and errors as gRPC has them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeward_tests::{
    Body, Ca, Connection, Gateway, H3, Origin, QuicClient, Reply, bytes, empty, eventually, real,
    record_logs, wait_for_log, within,
};
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

/// A body whose frames are sent one by one.
fn frames() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
        Some((Ok(receiver.recv().await?), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

fn data(text: &str) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(text.as_bytes()))
}

fn trailers(name: &'static str, value: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    Frame::trailers(trailers)
}

/// The next data of a body.
async fn next(body: &mut Incoming) -> Bytes {
    let frame = within("a message", body.frame()).await.unwrap().unwrap();
    frame.into_data().unwrap()
}

/// An origin for HTTP/1.1 and HTTP/2.
async fn origin<F>(serve: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> String
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = serve.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = serve(request);
                    async { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                // connections end as the gateway likes
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    address.to_string()
}

async fn gateway(endpoint: &str, protocol: &str, more: Value) -> Gateway {
    let mut config = json!({
        "upstreams": {"origin": {"endpoints": [endpoint], "protocol": protocol}},
        "routes": [{"name": "all", "path": "/calls/{path+}", "upstream": "origin"}],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::start(config).await
}

/// The same with a second listener, for TLS and HTTP/3, and a client of HTTP/3 that is connected to it.
async fn gateway_for_http3(endpoint: &str, protocol: &str) -> (Gateway, H3, QuicClient) {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    ca.issue(&["example.test"]).write(folder.path(), "a");
    let config = json!({
        "listeners": [
            {"address": "127.0.0.1:0"},
            {"address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]}},
        ],
        "upstreams": {"origin": {"endpoints": [endpoint], "protocol": protocol}},
        "routes": [{"name": "all", "path": "/calls/{path+}", "upstream": "origin"}],
    });
    let gateway = Gateway::start_in(folder, config).await;
    let client = QuicClient::new(&ca.client(&["h3"], None));
    let connection = client
        .connect(gateway.proxy.addresses()[1].1, "example.test")
        .await
        .unwrap();
    (gateway, H3::on(connection).await, client)
}

/// Answers with what the test sends into the channel that it is given for each request.
async fn told_by_the_test(
    content_type: &'static str,
) -> (String, mpsc::Receiver<mpsc::Sender<Frame<Bytes>>>) {
    let (given, gives) = mpsc::channel(4);
    let endpoint = origin(move |_request| {
        let (sender, body) = frames();
        let given = given.clone();
        async move {
            given.send(sender).await.unwrap();
            let answer = Response::builder().header("content-type", content_type);
            answer.body(body).unwrap()
        }
    })
    .await;
    (endpoint, gives)
}

fn call(path: &str) -> http::request::Builder {
    Request::post(path)
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    for protocol in ["http1", "http2"] {
        for http2 in [false, true] {
            let (sender, body) = frames();
            let body = std::sync::Arc::new(parking_lot::Mutex::new(Some(body)));
            let endpoint = origin(move |_request| {
                let body = body.lock().take().unwrap();
                async {
                    Response::builder()
                        .header("content-type", "text/event-stream")
                        .body(body)
                        .unwrap()
                }
            })
            .await;
            let gateway = gateway(&endpoint, protocol, json!({})).await;
            let mut connection = if http2 {
                Connection::h2(gateway.address()).await
            } else {
                Connection::h1(gateway.address()).await
            };
            let request = Request::get("/calls/events").header("accept", "text/event-stream");
            let mut body = connection.open(request, empty()).await.unwrap().into_body();
            for event in 0..5 {
                let event = format!("data: {event}\n\n");
                sender.send(data(&event)).await.unwrap();
                assert_eq!(next(&mut body).await, event, "{protocol} {http2}");
            }
            drop(sender);
            let rest = within("the end", body.collect()).await.unwrap().to_bytes();
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
}

#[tokio::test]
async fn each_event_arrives_over_http_3_before_the_next_is_sent() {
    for protocol in ["http1", "http2"] {
        let (endpoint, mut streams) = told_by_the_test("text/event-stream").await;
        let (_gateway, mut h3, _client) = gateway_for_http3(&endpoint, protocol).await;
        let request = Request::get("https://example.test/calls/events").header("accept", "text/event-stream");
        let mut events = h3.begin(request.body(()).unwrap()).await.unwrap();
        events.finish().await;
        let sender = within("the request", streams.recv()).await.unwrap();
        let head = events.head().await.unwrap();
        assert_eq!(head.headers()["content-type"], "text/event-stream");
        for event in 0..5 {
            let event = format!("data: {event}\n\n");
            sender.send(data(&event)).await.unwrap();
            assert_eq!(events.part().await.unwrap().unwrap(), event, "{protocol}");
        }
        drop(sender);
        let (rest, trailers) = events.rest().await.unwrap();
        assert!(rest.is_empty() && trailers.is_empty(), "{rest:?} {trailers:?}");
    }
}

/// Sends every message back, and says in trailers that all went well.
async fn talkative_origin() -> String {
    origin(async |request: Request<Incoming>| {
        assert_eq!(request.headers()["te"], "trailers");
        let (answers, body) = frames();
        tokio::spawn(async move {
            let mut messages = request.into_body();
            while let Some(Ok(frame)) = messages.frame().await {
                answers.send(frame).await.unwrap();
            }
            answers.send(trailers("grpc-status", "0")).await.unwrap();
        });
        Response::builder()
            .header("content-type", "application/grpc+proto")
            .body(body)
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn calls_pass_over_http_3_whole_and_message_by_message() {
    let endpoint = talkative_origin().await;
    let (_gateway, mut h3, _client) = gateway_for_http3(&endpoint, "http2").await;
    let call = |path: &str| call(&format!("https://example.test{path}"));
    let reply = h3.send(call("/calls/one"), &[b"request"]).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "request"));
    assert_eq!(reply.header("content-type"), "application/grpc+proto");
    assert_eq!(reply.trailers["grpc-status"], "0");
    let mut talk = h3.begin(call("/calls/talk").body(()).unwrap()).await.unwrap();
    assert_eq!(talk.head().await.unwrap().status(), 200);
    for message in ["one", "two", "three"] {
        talk.data(Bytes::from(message)).await;
        assert_eq!(talk.part().await.unwrap().unwrap(), message);
    }
    talk.finish().await;
    let (rest, trailers) = talk.rest().await.unwrap();
    assert_eq!((rest.len(), &trailers["grpc-status"]), (0, &"0".parse().unwrap()));
    // and what the gateway says itself
    for (request, expected) in [
        (call("/elsewhere"), "12"),
        (call("/calls/x").header("grpc-timeout", "5 minutes"), "13"),
    ] {
        let reply = h3.send(request, &[b"request"]).await;
        let (code, message) = status(&reply);
        assert_eq!(code, expected, "{reply:?}");
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn a_call_over_http_3_that_streams_ends_at_its_deadline_with_trailers() {
    let (endpoint, mut streams) = told_by_the_test("application/grpc").await;
    let (_gateway, mut h3, _client) = gateway_for_http3(&endpoint, "http2").await;
    let request = call("https://example.test/calls/endless").header("grpc-timeout", "2S");
    let mut endless = h3.begin(request.body(()).unwrap()).await.unwrap();
    let sender = within("the request", streams.recv()).await.unwrap();
    sender.send(data("first")).await.unwrap();
    assert_eq!(endless.head().await.unwrap().status(), 200);
    assert_eq!(endless.part().await.unwrap().unwrap(), "first");
    let (rest, trailers) = endless.rest().await.unwrap();
    assert_eq!((rest.len(), &trailers["grpc-status"]), (0, &"4".parse().unwrap()));
    within("the origin to be told", sender.closed()).await;
}

/// A stream without an end over a way to the gateway, which drains meanwhile: it goes on until the gateway's deadline, and neither side is left to wait
/// for more.
async fn is_cut_off_by_a_drain(way: &str, content_type: &'static str) {
    let (endpoint, mut streams) = told_by_the_test(content_type).await;
    let (gateway, mut h3, _client) = gateway_for_http3(&endpoint, "http2").await;
    let (sent, mut seen) = mpsc::channel(4);
    // what the client sees of the answer, to the end that it sees of it
    let client = if way == "HTTP/3" {
        let request = call("https://example.test/calls/endless");
        let mut stream = h3.begin(request.body(()).unwrap()).await.unwrap();
        stream.finish().await;
        tokio::spawn(async move {
            stream.head().await.unwrap();
            while let Some(part) = stream.part().await.map_err(|error| error.to_string())? {
                sent.send(part).await.unwrap();
            }
            Ok::<_, String>(())
        })
    } else {
        let mut connection = match way {
            "HTTP/2" => Connection::h2(gateway.address()).await,
            _ => Connection::h1(gateway.address()).await,
        };
        tokio::spawn(async move {
            let answer = connection.open(call("/calls/endless"), empty()).await.unwrap();
            let mut body = answer.into_body();
            while let Some(frame) = within("a message or the end", body.frame()).await {
                let part = frame.map_err(|error| error.to_string())?.into_data().unwrap();
                sent.send(part).await.unwrap();
            }
            Ok(())
        })
    };
    let sender = within("the request", streams.recv()).await.unwrap();
    sender.send(data("before")).await.unwrap();
    assert_eq!(within("a message", seen.recv()).await.unwrap(), "before");
    let began = Instant::now();
    let ((), ()) = tokio::join!(
        within("the drain", gateway.proxy.drain(Duration::from_secs(1))),
        async {
            sender.send(data("during")).await.unwrap();
            assert_eq!(within("a message", seen.recv()).await.unwrap(), "during", "{way}");
        }
    );
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(15)).contains(&took),
        "{took:?}"
    );
    within("the origin to be told", sender.closed()).await;
    let what = format!("the end of {content_type} over {way}");
    let end = within(&what, client).await.unwrap();
    assert!(end.is_err(), "{way}: what is cut off must not look whole");
}

#[tokio::test]
async fn streams_without_an_end_go_on_while_the_gateway_drains_and_are_cut_off_at_its_deadline() {
    for content_type in ["text/event-stream", "application/grpc"] {
        for way in ["HTTP/1.1", "HTTP/2"] {
            is_cut_off_by_a_drain(way, content_type).await;
        }
    }
}

#[tokio::test]
async fn streams_over_http_3_without_an_end_are_cut_off_at_the_deadline_of_a_drain_too() {
    for content_type in ["text/event-stream", "application/grpc"] {
        is_cut_off_by_a_drain("HTTP/3", content_type).await;
    }
}

#[tokio::test]
async fn a_call_streams_both_ways_message_by_message() {
    let endpoint = talkative_origin().await;
    let gateway = gateway(&endpoint, "http2", json!({})).await;
    let mut connection = Connection::h2(gateway.address()).await;
    let (messages, body) = frames();
    let response = connection.open(call("/calls/talk"), body).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc+proto");
    let mut answers = response.into_body();
    for message in ["one", "two", "three"] {
        messages.send(data(message)).await.unwrap();
        assert_eq!(next(&mut answers).await, message);
    }
    drop(messages);
    let last = within("the trailers", answers.frame()).await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
}

/// The status of a call that the gateway ended itself: in the head, without a body.
fn status(reply: &Reply) -> (&str, &str) {
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/grpc");
    assert!(reply.trailers.is_empty());
    (reply.header("grpc-status"), reply.header("grpc-message"))
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline() {
    record_logs();
    let (given, mut gives) = mpsc::channel::<String>(1);
    let endpoint = origin(move |request: Request<Incoming>| {
        let timeout = request.headers()["grpc-timeout"].to_str().unwrap().to_owned();
        let given = given.clone();
        async move {
            given.send(timeout).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let gateway = gateway(&endpoint, "http2", json!({})).await;
    let mut connection = Connection::h2(gateway.address()).await;
    let began = Instant::now();
    let reply = connection
        .send(
            call("/calls/slow").header("grpc-timeout", "500m"),
            bytes("request"),
        )
        .await;
    assert_eq!(status(&reply).0, "4", "{reply:?}");
    assert!((Duration::from_millis(500)..Duration::from_secs(10)).contains(&began.elapsed()));
    let given = gives.recv().await.unwrap();
    let micros: u64 = given.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..500_000).contains(&micros), "{given}");
    wait_for_log(&["/calls/slow", "DEADLINE_EXCEEDED"]).await;
    eventually("the stream to the origin to end", async || {
        (gateway.proxy.status().upstreams[0].endpoints[0].in_flight == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_that_streams_ends_at_its_deadline_with_trailers() {
    record_logs();
    let (sender, body) = frames();
    let body = std::sync::Arc::new(parking_lot::Mutex::new(Some(body)));
    let endpoint = origin(move |_request| {
        let body = body.lock().take().unwrap();
        async { Response::new(body) }
    })
    .await;
    let gateway = gateway(&endpoint, "http2", json!({})).await;
    let mut connection = Connection::h2(gateway.address()).await;
    let (_messages, request) = frames();
    let began = Instant::now();
    sender.send(data("first")).await.unwrap();
    let answer = connection
        .open(call("/calls/endless").header("grpc-timeout", "2S"), request)
        .await
        .unwrap();
    let mut answer = answer.into_body();
    assert_eq!(next(&mut answer).await, "first");
    let last = within("the trailers", answer.frame()).await.unwrap().unwrap();
    let last = last.into_trailers().unwrap();
    assert_eq!(last["grpc-status"], "4");
    assert!(
        last["grpc-message"].to_str().unwrap().contains("grpc-timeout"),
        "{last:?}"
    );
    assert!(within("the end", answer.frame()).await.is_none());
    wait_for_log(&["/calls/endless", "DEADLINE_EXCEEDED"]).await;
    // though the client has not ended its request
    within("the origin to be told", sender.closed()).await;
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn errors_of_the_gateway_are_told_to_calls_as_grpc_maps_them() {
    let origin = Origin::start();
    let gateway = gateway(
        &origin.endpoint(),
        "http2",
        json!({
            "upstreams": {
                "origin": {"endpoints": [origin.endpoint()], "protocol": "http2"},
                "nobody": {"endpoints": ["127.0.0.1:1"], "protocol": "http2"},
            },
            "plugins": {"sink": {"module": "kitchen-sink"}},
            "routes": [
                {"path": "/calls/{path+}", "upstream": "origin", "pipeline": ["sink"]},
                {"path": "/nobody", "upstream": "nobody"},
            ],
        }),
    )
    .await;
    let mut connection = Connection::h2(gateway.address()).await;
    let deny = |code: &str| {
        call("/calls/x")
            .header("x-sink-phase", "authorize")
            .header("x-sink", format!("deny {code} no 100%"))
    };
    for (request, expected) in [
        (call("/elsewhere"), "12"),
        (call("/nobody"), "14"),
        (deny("401"), "16"),
        (deny("403"), "7"),
        (call("/calls/x").header("grpc-timeout", "5 minutes"), "13"),
        (call("/calls/x").header("grpc-timeout", "0n"), "4"),
    ] {
        let reply = connection.send(request, bytes("request")).await;
        let (code, message) = status(&reply);
        assert_eq!(code, expected, "{reply:?}");
        assert!(!message.is_empty());
        assert!(!reply.header("x-request-id").is_empty());
    }
    // the connection to the origin is there, so that it would be quick to answer
    let asked = connection.send(call("/calls/x"), bytes("request")).await;
    assert_eq!((asked.status, asked.header("x-origin")), (200, "echo"));
    let seen = origin.seen().len();
    for _ in 0..50 {
        let late = call("/calls/x").header("grpc-timeout", "0n");
        let reply = connection.send(late, bytes("request")).await;
        assert_eq!(status(&reply).0, "4", "{reply:?}");
    }
    assert_eq!(origin.seen().len(), seen, "what is over is not asked for");
    let reply = connection.send(deny("403"), bytes("request")).await;
    assert!(status(&reply).1.ends_with("no 100%25"), "{reply:?}");
    // gRPC-Web is another protocol, and HTTP/1.1 has no calls
    let web = Request::post("/elsewhere").header("content-type", "application/grpc-web");
    let reply = connection.send(web, bytes("request")).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (404, "ROUTE_NOT_FOUND")
    );
    let reply = Connection::h1(gateway.address())
        .await
        .send(call("/elsewhere"), bytes("x"))
        .await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (404, "ROUTE_NOT_FOUND")
    );
}

#[tokio::test]
async fn grpcio_calls_its_own_server_through_the_gateway() {
    if !real::python_has("grpc").await {
        return;
    }
    // the script has a server on the port that it is given, and calls it through the gateway
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = reserved.local_addr().unwrap();
    drop(reserved);
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [server.to_string()], "protocol": "http2"}},
        "routes": [{"path": "/test.Talk/{method}", "upstream": "origin"}],
    }))
    .await;
    let mut script = real::script("grpc_calls.py");
    script.args([server.to_string(), gateway.address().to_string()]);
    real::told(&mut script).await;
}
