//! RFC 9110, HTTP semantics: what belongs to one connection, what belongs to the message, and what neither an upstream nor a plugin can write into it.

use bytes::Bytes;
use edgeward_tests::{Connection, Gateway, H3, Origin, QuicClient, empty, raw, scripted_upstream};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;

use super::{before, gateway, gateway_of_all_versions};

#[tokio::test]
async fn section_5_1_names_with_underscores_are_refused_unless_their_listener_lets_them_pass() {
    let origin = Origin::start();
    for underscores in [false, true] {
        let (gateway, ca) =
            gateway_of_all_versions(&origin, json!({"underscores": underscores}), json!({})).await;
        let address = gateway.address();
        for (name, value) in [
            ("x_forwarded_for", "203.0.113.9"),
            ("_", "x"),
            ("x_user_", "admin"),
        ] {
            for version in ["http/1.1", "h2", "h3"] {
                let tls = ca.client(&[version], None);
                let client = QuicClient::new(&tls);
                let reply = if version == "h3" {
                    let connection = client.connect(address, "example.test").await.unwrap();
                    let request = Request::get("https://example.test/echo").header(name, value);
                    H3::on(connection).await.send(request, &[]).await
                } else {
                    let mut connection = Connection::tls(address, "example.test", &tls).await.unwrap();
                    let request = Request::get("/echo").header(name, value);
                    connection.send(request, empty()).await
                };
                if underscores {
                    assert_eq!(reply.status, 200, "{version}: {name}");
                    assert_eq!(reply.echoed(name), value, "{version}");
                    assert_eq!(reply.echoed_all("x-forwarded-for"), ["127.0.0.1"], "{version}");
                } else {
                    assert_eq!(
                        (reply.status, reply.response_type().as_str()),
                        (400, "BAD_REQUEST"),
                        "{version}: {name}"
                    );
                    assert!(reply.text().contains(name), "{}", reply.text());
                }
            }
        }
        assert_eq!(origin.seen().len(), if underscores { 9 } else { 0 });
    }
    // as capitals of HTTP/1.1, too
    let strict = gateway(&origin, json!({})).await;
    let request = "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nX_Forwarded_For: 203.0.113.9\r\n\r\n";
    let text = raw(strict.address(), request).await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(origin.hits("/x"), 0);
}

#[tokio::test]
async fn section_5_5_values_have_no_control_characters() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    for value in [
        "a\0b",
        "\0",
        "a\u{1}",
        "a\u{7}b",
        "a\u{b}b",
        "a\u{c}b",
        "a\u{1b}[2J",
        "a\u{7f}",
    ] {
        let request = format!("GET /echo HTTP/1.1\r\nhost: a\r\nx: {value}\r\n\r\n");
        let text = raw(gateway.address(), request).await;
        assert!(
            text.starts_with("HTTP/1.1 400 ") && text.contains("control characters"),
            "{value:?}: {text}"
        );
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn section_5_5_an_upstream_cannot_split_a_response() {
    // each is an answer that some clients or caches would read as two, or as another one
    for (name, answer) in [
        (
            "bare CR in a value",
            &b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n"[..],
        ),
        (
            "NUL in a value",
            b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "control character",
            b"HTTP/1.1 200 OK\r\nx: a\x0bb\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "folded field",
            b"HTTP/1.1 200 OK\r\nx: a\r\n set-cookie: b\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "blank before the colon",
            b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        ),
        ("no colon", b"HTTP/1.1 200 OK\r\nx\r\ncontent-length: 0\r\n\r\n"),
        (
            "CR in the reason",
            b"HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "NUL in the reason",
            b"HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "status of two digits",
            b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "status that is none",
            b"HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        ("another protocol", b"ICY 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        ("no number", b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na"),
        (
            "other coding",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "101 without Upgrade",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ),
    ] {
        let gateway = before(&scripted_upstream(answer).await.to_string(), json!({})).await;
        let text = raw(
            gateway.address(),
            "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(text.starts_with("HTTP/1.1 502 "), "{name}: {text:?}");
        assert!(!text.contains("set-cookie"), "{name}: {text:?}");
    }
}

#[tokio::test]
async fn section_5_5_the_reason_phrase_and_bytes_behind_a_response_are_the_upstreams_own() {
    let answer = b"HTTP/1.1 200 <script>\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n";
    let gateway = before(&scripted_upstream(answer).await.to_string(), json!({})).await;
    let request = "GET /x HTTP/1.1\r\nhost: a\r\n\r\nGET /y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = raw(gateway.address(), request).await;
    // the second request gets a connection and an answer of its own
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    assert!(!text.contains("script") && !text.contains("set-cookie"), "{text}");
}

#[tokio::test]
async fn section_6_5_1_trailers_of_an_upstream_do_not_become_what_a_head_says() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nset-cookie: a=b\r\ncontent-length: 9\r\nlocation: /x\r\nx-sum: 7\r\n\r\n";
    let gateway = before(&scripted_upstream(answer).await.to_string(), json!({})).await;
    let request = "GET /x HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let text = raw(gateway.address(), request).await;
    assert!(text.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn section_6_5_1_trailers_of_a_request_do_not_become_what_a_head_says() {
    let mut trailers = HeaderMap::new();
    for name in [
        "content-length",
        "content-type",
        "content-encoding",
        "host",
        "authorization",
        "proxy-authorization",
        "cookie",
        "cache-control",
        "expect",
        "range",
        "if-match",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-real-ip",
        "via",
        "trailer",
        "x-digest",
    ] {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("7"));
    }
    let origin = Origin::start();
    let (gateway, ca) = gateway_of_all_versions(&origin, json!({}), json!({})).await;
    let address = gateway.address();
    let mut over_h2 = Connection::tls(address, "example.test", &ca.client(&["h2"], None))
        .await
        .unwrap();
    let client = QuicClient::new(&ca.client(&["h3"], None));
    let mut over_h3 = H3::on(client.connect(address, "example.test").await.unwrap()).await;
    for path in ["/echo", "/h2/echo"] {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"ok"))),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let request = Request::post(path).header("te", "trailers");
        let reply = over_h2.send(request, body).await.json();
        assert_eq!(reply["trailers"], json!([["x-digest", "7"]]), "HTTP/2, {path}");
        let request = Request::post(format!("https://example.test{path}")).header("te", "trailers");
        let mut stream = over_h3.begin(request.body(()).unwrap()).await.unwrap();
        stream.data(Bytes::from_static(b"ok")).await;
        stream.trailers(trailers.clone()).await;
        stream.finish().await;
        let reply = stream.reply().await.unwrap().json();
        assert_eq!(reply["trailers"], json!([["x-digest", "7"]]), "HTTP/3, {path}");
        assert_eq!(reply["body"], "ok");
    }
    // without any that may stay there are none
    trailers.remove("x-digest");
    let request = Request::post("https://example.test/h2/echo");
    let mut stream = over_h3.begin(request.body(()).unwrap()).await.unwrap();
    stream.trailers(trailers).await;
    stream.finish().await;
    assert_eq!(stream.reply().await.unwrap().json()["trailers"], json!([]));
}

#[tokio::test]
async fn section_7_6_1_hop_by_hop_fields_end_at_the_gateway() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let text = raw(
        gateway.address(),
        "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close, x-secret, host\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-authorization: Basic x\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nproxy-connection: keep-alive\r\nx-kept: yes\r\n\r\n",
    )
    .await;
    assert!(
        text.contains(r#"["x-kept","yes"]"#) && text.contains(r#"["host","a"]"#),
        "{text}"
    );
    for gone in [
        "x-secret",
        "keep-alive",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
        "proxy-connection",
    ] {
        assert!(!text.contains(&format!("[\"{gone}\"")), "{gone} in {text}");
    }
    let reply = gateway
        .get("/fields?connection=x-private&x-private=1&keep-alive=timeout%3D5&x-public=2")
        .await;
    assert_eq!(
        (
            reply.header("x-private"),
            reply.header("keep-alive"),
            reply.header("x-public")
        ),
        ("", "", "2")
    );
    assert!(reply.header("via").contains("edgeward"), "{reply:?}");
}

#[tokio::test]
async fn section_7_6_1_connection_removes_neither_what_the_gateway_adds_nor_what_plugins_go_by() {
    let origin = Origin::start();
    let plugin = json!({"module": "kitchen-sink"});
    let gateway = Gateway::with_plugin(&origin.endpoint(), plugin).await;
    let request = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close, x-request-id, x-forwarded-for, x-forwarded-proto, forwarded, via, x-real-ip, \
        authorization, cookie, origin, content-type, x-added\r\nauthorization: Bearer t\r\ncookie: a=b\r\norigin: http://o\r\ncontent-type: x/y\r\n\
        x-sink: set-header x-added by-plugin\r\n\r\n";
    let text = raw(gateway.address(), request).await;
    for field in [
        r#"["authorization","Bearer t"]"#,
        r#"["cookie","a=b"]"#,
        r#"["origin","http://o"]"#,
        r#"["content-type","x/y"]"#,
        r#"["x-forwarded-for","127.0.0.1"]"#,
        r#"["x-forwarded-proto","http"]"#,
        r#"["x-added","by-plugin"]"#,
        r#"["via","1.1 edgeward"]"#,
        r#"["x-request-id","#,
        r#"["forwarded","for=127.0.0.1"#,
    ] {
        assert!(text.contains(field), "{field} is not in {text}");
    }
    // and of responses: the upstream's `Connection` names what the gateway and a plugin add behind it
    let fields = "connection=via,date,set-cookie,x-sink-status,x-own&set-cookie=a&x-own=1";
    for path in [format!("/fields?{fields}"), format!("/plain/../fields?{fields}")] {
        let reply = gateway.get(&path).await;
        assert_eq!(
            (
                reply.header("x-sink-status"),
                reply.header("set-cookie"),
                reply.header("x-own")
            ),
            ("200", "a", ""),
            "{reply:?}"
        );
        assert!(
            reply.header("via").contains("edgeward") && !reply.header("date").is_empty(),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn section_7_6_1_plugins_write_neither_framing_nor_hop_by_hop_fields() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    for name in [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ] {
        for operation in ["set-header", "append-header"] {
            let sink = format!("{operation} {name} x");
            for field in ["x-sink", "x-sink-response"] {
                for mut connection in [
                    Connection::h1(gateway.address()).await,
                    Connection::h2(gateway.address()).await,
                ] {
                    let request = Request::get("/echo").header(field, &sink);
                    let reply = connection.send(request, empty()).await;
                    assert!(
                        reply.status == 500 && reply.text().contains("belongs to the connection"),
                        "{field}: {sink}: {reply:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn section_7_8_an_upgrade_nobody_asked_the_upstream_for_is_no_upgrade() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    for upgrade in ["h2c", "TLS/1.2", "HTTP/2.0", "foo"] {
        let request = |connection: &str| {
            format!(
                "GET /echo/one HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
            )
        };
        let text = raw(gateway.address(), request("upgrade, http2-settings, close")).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{upgrade}: {text}");
        assert!(!text.contains("[\"upgrade\""), "{upgrade}: {text}");
        assert!(!text.contains("http2-settings"), "{upgrade}: {text}");
        // who reads on in another protocol would not take for a request what stands behind it
        let behind = "GET /echo/two HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let text = raw(gateway.address(), request("upgrade, http2-settings") + behind).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{upgrade}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{upgrade}: {text}");
    }
    assert_eq!(origin.hits("/echo/two"), 0);
}
