//! WebSocket through the gateway: handshakes that are agreed and refused, messages, limits, swaps and drains (RFC 6455, RFC 8441).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use edgeward_tests::{
    Ca, Connection, Gateway, Origin, Over, Process, Raw, Socket, WebSocketOrigin, accept_key, connect,
    eventually,
    frames::{End, Frames, flag, kind, literals},
    hear, hear_close, record_logs, scripted_upstream, tell, wait_for_log, within,
};
use futures_util::SinkExt as _;
use http::{HeaderMap, HeaderValue};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::process;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// `/plain/{path+}` without leave for WebSocket, everything else with it.
fn config(endpoint: &str, more: Value) -> Value {
    let mut config = json!({
        "upstreams": {"origin": {"endpoints": [endpoint]}},
        "routes": [
            {"name": "ws", "path": "/{path+}", "upstream": "origin", "websocket": true},
            {"name": "plain", "path": "/plain/{path+}", "upstream": "origin"},
        ],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    config
}

async fn gateway(endpoint: &str, more: Value) -> Gateway {
    Gateway::start(config(endpoint, more)).await
}

/// A gateway with a cleartext listener and one with TLS, and every way to reach it.
async fn every_way(endpoint: &str, more: Value) -> (Gateway, Vec<(usize, Over)>) {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["localhost"]).write(folder.path(), "server");
    let certificate = json!({"cert": "server.crt", "key": "server.key"});
    let mut config = config(endpoint, more);
    config["listeners"] = json!([
        {"name": "clear", "address": "127.0.0.1:0"},
        {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": [certificate]}},
    ]);
    let gateway = Gateway::start_in(folder, config).await;
    let ways = vec![
        (0, Over::Http1),
        (1, Over::Http1Tls(ca.client(&["http/1.1"], None))),
        (0, Over::Http2),
        (1, Over::Http2Tls(ca.client(&["h2"], None))),
    ];
    (gateway, ways)
}

async fn open(gateway: &Gateway, (listener, over): &(usize, Over), path: &str) -> Socket {
    let address = gateway.proxy.addresses()[*listener].1;
    over.open(address, path, &[]).await.ok().unwrap().socket
}

async fn echoes(socket: &mut Socket, text: &str) {
    tell(socket, Message::text(text)).await;
    assert_eq!(hear(socket).await, Message::text(text));
}

fn handshake(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

/// An upstream for one connection.
async fn upstream<F>(serve: impl FnOnce(Raw) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(Raw::from(stream)).await;
    });
    address.to_string()
}

#[tokio::test]
async fn messages_of_every_kind_pass_over_every_protocol() {
    let origin = WebSocketOrigin::start().await;
    let (gateway, ways) = every_way(&origin.endpoint(), json!({})).await;
    for (index, way) in ways.iter().enumerate() {
        let mut socket = open(&gateway, way, "/talk?x=1").await;
        echoes(&mut socket, "text").await;
        let binary = Message::binary((0..=255).collect::<Vec<u8>>());
        tell(&mut socket, binary.clone()).await;
        assert_eq!(hear(&mut socket).await, binary);
        let large = Message::binary(vec![7; 1 << 20]);
        tell(&mut socket, large.clone()).await;
        assert!(hear(&mut socket).await == large);
        for (part, opcode, last) in [
            ("in ", Data::Text, false),
            ("three ", Data::Continue, false),
            ("parts", Data::Continue, true),
        ] {
            let frame = Frame::message(part, OpCode::Data(opcode), last);
            tell(&mut socket, Message::Frame(frame)).await;
        }
        assert_eq!(hear(&mut socket).await, Message::text("in three parts"));
        tell(&mut socket, Message::Ping("are you there".into())).await;
        assert_eq!(hear(&mut socket).await, Message::Pong("are you there".into()));
        let close = CloseFrame {
            code: 4000.into(),
            reason: "that was it".into(),
        };
        within("closing", socket.close(Some(close))).await.unwrap();
        hear_close(&mut socket).await;
        assert_eq!(origin.ends(2 * index + 1).await[2 * index], Some(4000));
        // and the other way round
        let mut socket = open(&gateway, way, "/talk").await;
        tell(&mut socket, Message::text("close 4001")).await;
        assert_eq!(hear_close(&mut socket).await, Some(4001));
        assert_eq!(origin.ends(2 * index + 2).await[2 * index + 1], Some(4001));
    }
    let handshakes = origin.handshakes();
    assert_eq!(handshakes[0].0, "/talk?x=1");
    for (_, headers) in handshakes {
        assert_eq!(headers["host"], "localhost");
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["connection"], "upgrade");
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    }
}

#[tokio::test]
async fn an_upstream_over_tls_is_tunnelled_to_as_well() {
    let ca = Ca::new();
    let origin = WebSocketOrigin::tls(ca.issue(&["127.0.0.1"]).server(&["http/1.1"])).await;
    let folder = tempfile::tempdir().unwrap();
    let upstream = json!({"endpoints": [origin.endpoint()], "tls": {"ca": ca.write(folder.path())}});
    let gateway = Gateway::start_in(
        folder,
        config("127.0.0.1:1", json!({"upstreams": {"origin": upstream}})),
    )
    .await;
    for over in [Over::Http1, Over::Http2] {
        let mut socket = open(&gateway, &(0, over), "/talk").await;
        let large = Message::binary(vec![7; 1 << 20]);
        tell(&mut socket, large.clone()).await;
        assert!(hear(&mut socket).await == large);
        tell(&mut socket, Message::text("close 1000")).await;
        assert_eq!(hear_close(&mut socket).await, Some(1000));
    }
}

#[tokio::test]
async fn subprotocols_are_agreed_end_to_end() {
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    for (over, status) in [(Over::Http1, 101), (Over::Http2, 200)] {
        let fields = [("sec-websocket-protocol", "chat, superchat")];
        let opened = over.open(gateway.address(), "/talk", &fields).await.ok().unwrap();
        assert_eq!(opened.status, status);
        assert_eq!(opened.headers["sec-websocket-protocol"], "chat");
        let h1 = status == 101;
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert_eq!(opened.headers.contains_key(name), h1, "{name}");
        }
    }
}

#[tokio::test]
async fn extensions_and_their_frames_pass_as_they_are() {
    let endpoint = upstream(async |mut stream| {
        let head = stream.until("\r\n\r\n").await;
        assert!(head.contains("sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n"));
        assert!(head.contains(&format!("sec-websocket-key: {KEY}\r\n")));
        let answer = AGREED.replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        );
        // what comes right behind the answer belongs to the tunnel
        stream.send(answer + "\u{41}\u{5}early").await;
        // compressed: RSV1
        stream.until("\u{1}\u{2}\u{3}\u{4}abc").await;
        stream.send(b"\xc1\x05later").await;
        stream.to_end().await;
    })
    .await;
    let gateway = gateway(&endpoint, json!({})).await;
    let mut client = Raw::connect(gateway.address()).await;
    client
        .send(handshake(
            "/x",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        ))
        .await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for field in [
        "sec-websocket-extensions: permessage-deflate\r\n",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
    client.until("A\u{5}early").await;
    client.send(b"\xc1\x83\x01\x02\x03\x04abc").await;
    client.until("later").await;
}

#[tokio::test]
async fn an_answer_other_than_101_is_an_ordinary_response() {
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    assert_eq!(
        Over::Http1.open(gateway.address(), "/refuse", &[]).await.err(),
        Some(403)
    );
    assert_eq!(
        Over::Http2.open(gateway.address(), "/refuse", &[]).await.err(),
        Some(403)
    );
    let mut client = Raw::connect(gateway.address()).await;
    client.send(handshake("/refuse", "")).await;
    let answer = client.until("not you").await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    // what a client sends that thinks that it was let go is no request
    client.send("GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.to_end().await;
    assert_eq!(origin.handshakes().len(), 3);
}

#[tokio::test]
async fn nothing_is_forwarded_before_the_upstream_agreed() {
    let (asked, knows) = oneshot::channel();
    let (go_on, told) = oneshot::channel::<()>();
    let endpoint = upstream(async move |mut stream| {
        stream.until("\r\n\r\n").await;
        asked.send(()).unwrap();
        told.await.unwrap();
        stream.send(AGREED).await;
        let rest = stream.to_end().await;
        assert!(rest.is_empty(), "{rest:?} came before the client had its answer");
    })
    .await;
    let gateway = gateway(&endpoint, json!({})).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(handshake("/x", "")).await;
    within("the upstream to be asked", knows).await.unwrap();
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // the gateway has read it when it looks for a client that has gone; or it is in the socket when the answer comes
    go_on.send(()).unwrap();
    let answer = client.to_end().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("BAD_REQUEST") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

/// What an upstream answers to a handshake that it agrees to.
fn agreement(head: &str) -> String {
    let key = head.split("sec-websocket-key: ").nth(1).unwrap();
    let key = key.split("\r\n").next().unwrap();
    AGREED.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept_key(key.as_bytes()))
}

#[tokio::test]
async fn nothing_of_an_extended_connect_is_forwarded_before_the_upstream_agreed() {
    for agrees in [true, false] {
        let (asked, knows) = oneshot::channel();
        let (go_on, told) = oneshot::channel::<()>();
        let (heard, hears) = oneshot::channel();
        let endpoint = upstream(async move |mut stream| {
            let head = stream.until("\r\n\r\n").await;
            asked.send(()).unwrap();
            told.await.unwrap();
            // by now the gateway has all of it; a little time for it to do what it must not
            let before = tokio::time::timeout(Duration::from_millis(200), stream.bytes(1)).await;
            let behind = if agrees {
                stream.send(agreement(&head)).await;
                stream.until("later").await
            } else {
                stream
                    .send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
                stream.finish().await;
                stream.to_end().await
            };
            heard.send((before.ok(), behind)).unwrap();
            stream.to_end().await;
        })
        .await;
        let gateway = gateway(&endpoint, json!({})).await;
        let mut client = Frames::connect(gateway.address()).await;
        client.until(kind::SETTINGS, 0).await;
        let head = literals([
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/x"),
            (":authority", "a"),
            ("sec-websocket-version", "13"),
        ]);
        client.frame(kind::HEADERS, flag::END_HEADERS, 1, head).await;
        client.frame(kind::DATA, 0, 1, b"\x81\x85\0\0\0\0early").await;
        within("the upstream to be asked", knows).await.unwrap();
        client.frame(kind::DATA, 0, 1, b"\x81\x85\0\0\0\0later").await;
        client.frame(kind::PING, 0, 0, [7; 8]).await;
        client.until(kind::PING, 0).await;
        go_on.send(()).unwrap();
        if !agrees {
            assert_eq!(client.end_of(1).await, End::Answer(403));
        }
        let (before, behind) = within("what the upstream heard", hears).await.unwrap();
        assert_eq!(before, None, "before it agreed");
        let expected = if agrees {
            "\u{fffd}\u{fffd}\0\0\0\0early\u{fffd}\u{fffd}\0\0\0\0later"
        } else {
            ""
        };
        assert_eq!(behind, expected, "agrees: {agrees}");
    }
}

#[tokio::test]
async fn bytes_behind_a_request_with_upgrade_are_refused() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let h2c = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for first in [handshake("/a", ""), handshake("/plain/a", ""), h2c.to_owned()] {
        let answer = edgeward_tests::raw(gateway.address(), first + next).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_properly_has_failed() {
    for answer in [
        &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        b"",
    ] {
        let upstream = scripted_upstream(answer).await;
        let gateway = gateway(&upstream.to_string(), json!({})).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.send(handshake("/x", "")).await;
        let told = client.to_end().await;
        assert!(told.starts_with("HTTP/1.1 502 ") && told.contains("UPSTREAM_FAILURE"), "{told}");
    }
}

#[tokio::test]
async fn a_handshake_that_was_sent_is_never_sent_again() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = Raw::from(stream);
                stream.until("\r\n\r\n").await;
                count.fetch_add(1, SeqCst);
                stream.send(answer).await;
            }
        });
        let retry = json!({"endpoints": [address.to_string()], "retry": {"attempts": 3, "budget": 1.0}});
        let gateway = gateway("127.0.0.1:1", json!({"upstreams": {"origin": retry}})).await;
        assert!(Over::Http1.open(gateway.address(), "/x", &[]).await.is_err());
        assert_eq!(asked.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn without_leave_of_its_route_an_upgrade_is_ignored() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    let websocket = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ];
    let h2c = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
    ];
    let unnamed = [("upgrade", "websocket"), ("sec-websocket-key", KEY)];
    for (path, fields) in [
        ("/plain/a", &websocket[..]),
        ("/a", &h2c),
        ("/plain/a", &h2c),
        ("/a", &unnamed),
    ] {
        let reply = gateway.call("GET", path, fields).await;
        assert_eq!(reply.status, 200, "{path} {fields:?}");
        assert_eq!(reply.json()["path"], path);
        assert!(reply.echoed_all("upgrade").is_empty(), "{path} {fields:?}");
        assert!(reply.echoed_all("connection").is_empty(), "{path} {fields:?}");
    }
    // methods other than GET cannot begin one
    let reply = gateway.call("PUT", "/a", &websocket).await;
    assert_eq!((reply.status, reply.echoed("upgrade").as_str()), (200, ""));
    // nor can HTTP/1.0 (RFC 9110 section 7.8)
    let old = handshake("/a", "").replace("HTTP/1.1", "HTTP/1.0");
    let answer = edgeward_tests::raw(gateway.address(), old).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && !answer.contains("[\"upgrade\""),
        "{answer}"
    );
}

#[tokio::test]
async fn handshakes_that_are_none_are_refused_by_name() {
    let origin = Origin::start();
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    let good = handshake("/x", "");
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (request, status, part) in [
        (good.replace(&key, ""), 400, "Sec-WebSocket-Key"),
        (
            good.replace(&key, &format!("{key}{key}")),
            400,
            "Sec-WebSocket-Key",
        ),
        (good.replace(KEY, "c2hvcnQ="), 400, "Sec-WebSocket-Key"),
        (good.replace(version, ""), 400, "Sec-WebSocket-Version"),
        (
            good.replace(version, &format!("{version}{version}")),
            400,
            "Sec-WebSocket-Version",
        ),
        (
            good.replace(version, "Sec-WebSocket-Version: 12\r\n"),
            426,
            "sec-websocket-version: 13\r\n",
        ),
        (handshake("/x", "Content-Length: 3\r\n") + "abc", 400, "no body"),
        (
            handshake("/x", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            400,
            "no body",
        ),
    ] {
        let answer = edgeward_tests::raw(gateway.address(), &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(answer.contains(part), "{part} in {answer}");
        if status == 426 {
            assert!(
                answer.contains("upgrade: websocket\r\n") && answer.contains("UPGRADE_REQUIRED"),
                "{answer}"
            );
        }
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn an_extended_connect_is_served_for_websocket_and_where_the_route_allows_it() {
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(&origin.endpoint(), json!({})).await;
    let ask = async |protocol: &'static str, path: &str, version: Option<&'static str>| {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert("sec-websocket-version", HeaderValue::from_static(version));
        }
        let (answer, _sending) = connect(Box::new(stream), protocol, path, headers).await;
        answer.status().as_u16()
    };
    assert_eq!(ask("websocket", "/a", Some("13")).await, 200);
    assert_eq!(ask("websocket", "/plain/a", Some("13")).await, 501);
    assert_eq!(ask("connect-udp", "/a", Some("13")).await, 501);
    assert_eq!(ask("websocket", "/a", None).await, 400);
    assert_eq!(ask("websocket", "/a", Some("8")).await, 426);
    assert_eq!(origin.handshakes().len(), 1);
    let mut other = Connection::h2(gateway.address()).await;
    assert_eq!(
        other.get("/%2e%2e/..").await.status,
        404,
        "others are served as ever"
    );
}

#[tokio::test]
async fn plugins_see_the_heads_and_observers_the_end() {
    record_logs();
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(
        &origin.endpoint(),
        json!({
            "plugins": {"sink": {"module": "kitchen-sink", "grants": {"metrics": true}}},
            "routes": [{"path": "/{path+}", "upstream": "origin", "websocket": true, "pipeline": ["sink"]}],
        }),
    )
    .await;
    for (over, status) in [(Over::Http1, 101), (Over::Http2, 200)] {
        let path = format!("/observed-{status}");
        let fields = [
            ("x-sink", "set-header x-plugin was-here"),
            ("x-sink-response", "set-header x-response was-here"),
        ];
        let opened = over.open(gateway.address(), &path, &fields).await.ok().unwrap();
        let mut socket = opened.socket;
        echoes(&mut socket, "hello").await;
        tell(&mut socket, Message::text("close 1000")).await;
        hear_close(&mut socket).await;
        drop(socket);
        let (_, seen) = origin.handshakes().pop().unwrap();
        assert_eq!(seen["x-plugin"], "was-here");
        let line = wait_for_log(&["\"exchange\"", &path]).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let fields = &line["fields"];
        assert_eq!(fields["status"], status, "{line}");
        assert_eq!(fields["tunnel_end"], "closed", "{line}");
        assert_eq!(fields["aborted"], false, "{line}");
        // frames of 11, 16 and 8 bytes with masks; of 7, and a Close with a reason, without
        assert_eq!(
            (&fields["bytes_in"], &fields["bytes_out"]),
            (&json!(11 + 16 + 19), &json!(7 + 15)),
            "{line}"
        );
        wait_for_log(&["observed", &path, &format!("\\\"status\\\":{status}")]).await;
    }
    // an answer of a plugin is no tunnel, neither before nor behind the upstream's
    for phase in ["request-head", "response-head", "authorize"] {
        let fields = [("x-sink-phase", phase), ("x-sink", "answer 403 no")];
        for over in [Over::Http1, Over::Http2] {
            let refused = over.open(gateway.address(), "/no", &fields).await;
            assert_eq!(refused.err(), Some(403), "{phase}");
        }
    }
    eventually("no tunnel", async || {
        gateway.metrics().contains("edgeward_tunnels 0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_counted_and_its_connection_is_its_own() {
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(&origin.endpoint(), json!({"workers": 1})).await;
    let in_flight = || gateway.proxy.status().upstreams[0].endpoints[0].in_flight;
    let mut socket = open(&gateway, &(0, Over::Http1), "/a").await;
    let mut second = open(&gateway, &(0, Over::Http2), "/b").await;
    echoes(&mut socket, "one").await;
    echoes(&mut second, "two").await;
    assert_eq!((in_flight(), gateway.proxy.status().exchanges), (2, 2));
    assert_eq!(gateway.proxy.status().connections, 2);
    let metrics = gateway.metrics();
    for line in [
        "edgeward_tunnels 2",
        "edgeward_tunnels_total 2",
        "edgeward_tunnel_request_bytes_total 18",
        "edgeward_tunnel_response_bytes_total 10",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    drop((socket, second));
    eventually("the end of the tunnels", async || {
        (in_flight() == 0 && gateway.proxy.status().exchanges == 0).then_some(())
    })
    .await;
    assert!(gateway.metrics().contains("edgeward_tunnels 0"));
    assert_eq!(origin.ends(2).await, [None, None]);
    assert!(
        gateway.proxy.status().upstreams[0]
            .endpoints
            .iter()
            .all(|endpoint| endpoint.healthy && !endpoint.ejected)
    );
}

#[tokio::test]
async fn a_tunnel_holds_the_place_of_its_connection() {
    let origin = WebSocketOrigin::start().await;
    let gateway = gateway(
        &origin.endpoint(),
        json!({"workers": 1, "limits": {"connections": 1}}),
    )
    .await;
    let mut socket = open(&gateway, &(0, Over::Http1), "/a").await;
    let waiting = Over::Http1;
    let mut next = Box::pin(waiting.open(gateway.address(), "/b", &[]));
    // it waits for as long as the first one talks
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut next => panic!("a second connection was served"),
            () = echoes(&mut socket, "still there") => {}
        }
    }
    drop(socket);
    assert!(next.await.is_ok());
}

#[tokio::test]
async fn a_side_that_ends_leaves_the_other_time_to_end() {
    let endpoint = upstream(async |mut stream| {
        stream.until("\r\n\r\n").await;
        stream.send(AGREED).await;
        // the client's last word, and that it was the last
        let heard = stream.to_end().await;
        assert!(heard.ends_with("bye"), "{heard:?}");
        stream.send("\u{1}\u{9}after all").await;
    })
    .await;
    let gateway = gateway(&endpoint, json!({})).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(handshake("/x", "")).await;
    client.until("\r\n\r\n").await;
    client.send(b"\x81\x83\x00\x00\x00\x00bye").await;
    client.finish().await;
    let rest = client.to_end().await;
    assert!(rest.ends_with("after all"), "{rest:?}");
    eventually("the end of the tunnel", async || {
        (gateway.proxy.status().exchanges == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    const MUCH: usize = 64 << 20;
    for http2 in [false, true] {
        let (read, reading) = oneshot::channel::<()>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let origin = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = agreement(&String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            reading.await.unwrap();
            let mut sink = tokio::io::sink();
            tokio::io::copy(&mut stream, &mut sink).await.unwrap_or(0)
        });
        let gateway = gateway(&endpoint, json!({})).await;
        let over = if http2 { Over::Http2 } else { Over::Http1 };
        let mut socket = open(&gateway, &(0, over), "/x").await;
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let sending = tokio::spawn(async move {
            let message = Message::binary(vec![0; 1 << 20]);
            for _ in 0..MUCH >> 20 {
                socket.send(message.clone()).await.unwrap();
                count.fetch_add(1 << 20, SeqCst);
            }
            socket
        });
        let mut last = 0;
        let stopped = within("a standstill", async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = sent.load(SeqCst);
                if now == last && now > 0 {
                    return now;
                }
                last = now;
            }
        })
        .await;
        assert!(stopped < MUCH / 2, "http2 {http2}: {stopped} bytes went nowhere");
        read.send(()).unwrap();
        drop(within("the rest", sending).await.unwrap());
        assert!(within("the origin", origin).await.unwrap() > MUCH as u64);
    }
}

#[tokio::test]
async fn a_silent_or_old_tunnel_is_closed_politely_on_both_sides() {
    record_logs();
    let origin = WebSocketOrigin::start().await;
    let mut ends = 0;
    for (limits, path) in [
        (json!({"websocket-idle-timeout": "300ms"}), "/too-silent"),
        (
            json!({"websocket-lifetime": "300ms", "websocket-idle-timeout": 0}),
            "/too-old",
        ),
    ] {
        let (gateway, ways) = every_way(&origin.endpoint(), json!({"limits": limits})).await;
        for way in &ways {
            let began = Instant::now();
            let mut socket = open(&gateway, way, path).await;
            echoes(&mut socket, "hello").await;
            assert_eq!(hear_close(&mut socket).await, Some(1001), "{path}");
            assert!(began.elapsed() >= Duration::from_millis(300));
            ends += 1;
            assert_eq!(origin.ends(ends).await[ends - 1], Some(1001), "{path}");
        }
    }
    wait_for_log(&["/too-silent", "\"tunnel_end\":\"idle\"", "\"aborted\":false"]).await;
    wait_for_log(&["/too-old", "\"tunnel_end\":\"lifetime\"", "\"aborted\":false"]).await;
}

#[tokio::test]
async fn a_tunnel_that_is_used_is_not_idle() {
    let origin = WebSocketOrigin::start().await;
    let limits = json!({"websocket-idle-timeout": "2s"});
    let gateway = gateway(&origin.endpoint(), json!({"limits": limits})).await;
    let mut socket = open(&gateway, &(0, Over::Http1), "/x").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tell(&mut socket, Message::Ping("x".into())).await;
        assert_eq!(hear(&mut socket).await, Message::Pong("x".into()));
    }
}

#[tokio::test]
async fn swaps_do_not_touch_open_tunnels() {
    let origin = WebSocketOrigin::start().await;
    let (gateway, ways) = every_way(&origin.endpoint(), json!({})).await;
    let mut sockets = Vec::new();
    for way in &ways {
        sockets.push(open(&gateway, way, "/a").await);
    }
    for turn in 0..20 {
        // the route does not even allow it any more, and the upstream is another one
        let mut next = config("127.0.0.1:1", json!({}));
        next["routes"][0]["websocket"] = json!(turn % 2 == 1);
        next["listeners"] = json!([
            {"name": "clear", "address": gateway.proxy.addresses()[0].1},
            {"name": "tls", "address": gateway.proxy.addresses()[1].1,
             "tls": {"certificates": [{"cert": "server.crt", "key": "server.key"}]}},
        ]);
        if turn == 0 {
            next["listeners"][0]["address"] = json!("127.0.0.1:0");
            next["listeners"][1]["address"] = json!("127.0.0.1:0");
        }
        let snapshot = gateway.snapshot(next).await.unwrap();
        gateway.proxy.publish(snapshot).unwrap();
        for socket in &mut sockets {
            echoes(socket, "still the same").await;
        }
    }
    let refused = Over::Http1.open(gateway.address(), "/a", &[]).await;
    assert_eq!(refused.err(), Some(502), "new ones see the new configuration");
    drop(sockets);
}

#[tokio::test]
async fn draining_closes_tunnels_politely_on_both_sides() {
    let origin = WebSocketOrigin::start().await;
    let (gateway, ways) = every_way(&origin.endpoint(), json!({})).await;
    let mut sockets = Vec::new();
    for way in &ways {
        let mut socket = open(&gateway, way, "/a").await;
        echoes(&mut socket, "hello").await;
        sockets.push(socket);
    }
    let began = Instant::now();
    let ((), ()) = tokio::join!(gateway.proxy.drain(Duration::from_secs(25)), async {
        for socket in &mut sockets {
            assert_eq!(hear_close(socket).await, Some(1001));
        }
    });
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "nothing was left to be waited for"
    );
    assert_eq!(origin.ends(4).await, [Some(1001); 4]);
}

#[tokio::test]
async fn a_close_of_the_gateway_waits_for_the_end_of_the_frame() {
    let (heard, hears) = oneshot::channel::<Vec<u8>>();
    let endpoint = upstream(async |mut stream| {
        stream.until("\r\n\r\n").await;
        stream.send(AGREED).await;
        let mut all = stream.until("first half").await.into_bytes();
        all.extend(stream.to_end_bytes().await);
        heard.send(all).unwrap();
    })
    .await;
    let gateway = gateway(&endpoint, json!({})).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(handshake("/x", "")).await;
    client.until("\r\n\r\n").await;
    // a frame of 20 bytes, of which ten are on their way
    client.send(b"\x82\x94\x00\x00\x00\x00first half").await;
    eventually("half a frame", async || {
        gateway
            .metrics()
            .contains("edgeward_tunnel_request_bytes_total 16")
            .then_some(())
    })
    .await;
    let ((), ()) = tokio::join!(gateway.proxy.drain(Duration::from_secs(25)), async {
        // between frames in this direction: it comes at once
        let mut close = client.bytes(4).await;
        assert_eq!(close, b"\x88\x02\x03\xe9");
        client.send(b"secondhalf").await;
        // of this nothing may go out any more but the Close is understood
        client
            .send(b"\x82\x83\x00\x00\x00\x00not\x88\x82\x00\x00\x00\x00\x03\xe9")
            .await;
        close = client.to_end_bytes().await;
        assert!(close.is_empty());
    });
    let heard = within("the upstream", hears).await.unwrap();
    let (frame, close) = heard.split_at(heard.len() - 8);
    assert!(
        frame.ends_with(b"\x00\x00\x00\x00first halfsecondhalf"),
        "{heard:?}"
    );
    let (mask, code) = close[2..].split_at(4);
    assert_eq!(close[..2], [0x88, 0x82]);
    assert_eq!([code[0] ^ mask[0], code[1] ^ mask[1]], 1001_u16.to_be_bytes());
}

#[tokio::test]
async fn a_side_that_does_not_answer_a_close_is_not_waited_for_beyond_the_deadline() {
    let endpoint = upstream(async |mut stream| {
        stream.until("\r\n\r\n").await;
        stream.send(AGREED).await;
        stream.to_end().await;
    })
    .await;
    let gateway = gateway(&endpoint, json!({})).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(handshake("/x", "")).await;
    client.until("\r\n\r\n").await;
    let began = Instant::now();
    within("draining", gateway.proxy.drain(Duration::from_secs(1))).await;
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(client.to_end_bytes().await, b"\x88\x02\x03\xe9");
}

#[tokio::test]
async fn sigterm_closes_tunnels_politely_and_ends_in_order() {
    let origin = WebSocketOrigin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = process::config(&Origin::start());
    config["upstreams"]["origin"]["endpoints"] = json!([origin.endpoint()]);
    config["routes"][0]["websocket"] = json!(true);
    process::write(folder.path(), &config);
    let mut process = Process::start(folder.path());
    let mut sockets = Vec::new();
    for over in [Over::Http1, Over::Http2] {
        let opened = over.open(process.address(), "/a", &[]).await.ok().unwrap();
        assert_eq!(opened.headers["x-stamp"], "file");
        let mut socket = opened.socket;
        echoes(&mut socket, "hello").await;
        sockets.push(socket);
    }
    process.signal(Signal::TERM);
    for socket in &mut sockets {
        assert_eq!(hear_close(socket).await, Some(1001));
    }
    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", process.log());
    assert_eq!(origin.ends(2).await, [Some(1001); 2]);
    assert!(
        process.log().contains("\"tunnel_end\":\"drain\""),
        "{}",
        process.log()
    );
}
