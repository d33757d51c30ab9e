//! The PROXY protocol: whom a connection from a load balancer is from.

use std::net::SocketAddr;

use edgeward_tests::{Ca, Connection, Gateway, Origin, Raw, eventually, raw, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
/// 203.0.113.9:4711 to 192.0.2.1:443, with a field of the balancer's own behind.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xcb\0\x71\x09\xc0\0\x02\x01\x12\x67\x01\xbb\x04\0\x01\0";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const GET: &[u8] = b"GET /echo HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\r\n";

async fn gateway(folder: TempDir, listener: Value, origin: &Origin) -> Gateway {
    limited(folder, listener, json!({"handshake-timeout": "300ms"}), origin).await
}

async fn limited(folder: TempDir, listener: Value, limits: Value, origin: &Origin) -> Gateway {
    let mut settings = json!({"address": "127.0.0.1:0"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(listener.as_object().unwrap().clone());
    Gateway::start_in(
        folder,
        json!({
            "listeners": [settings],
            "limits": limits,
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "routes": [{"path": "/{path+}", "upstream": "origin"}],
        }),
    )
    .await
}

async fn trusting(block: &str, origin: &Origin) -> Gateway {
    let listener = json!({"proxy-protocol": [block]});
    gateway(tempfile::tempdir().unwrap(), listener, origin).await
}

/// What the origin is told of the client.
async fn client_seen(address: SocketAddr, header: &[u8]) -> String {
    let answer = raw(address, [header, GET].concat()).await;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let echo: Value = serde_json::from_str(body).unwrap();
    let fields = echo["headers"].as_array().unwrap();
    let field = fields.iter().find(|field| field[0] == "x-forwarded-for").unwrap();
    field[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client() {
    let origin = Origin::start();
    let gateway = trusting("127.0.0.0/8", &origin).await;
    for (header, client) in [
        (V1, "203.0.113.9"),
        (V2, "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7"),
        // a health check of the balancer itself
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (V2_LOCAL, "127.0.0.1"),
    ] {
        assert_eq!(client_seen(gateway.address(), header).await, client);
    }
    // a header may come in pieces
    let mut connection = Raw::connect(gateway.address()).await;
    for piece in [V2, GET].concat().chunks(7) {
        connection.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert!(connection.to_end().await.contains("203.0.113.9"));
}

#[tokio::test]
async fn without_a_header_a_balancer_is_not_served() {
    let origin = Origin::start();
    let gateway = trusting("127.0.0.1", &origin).await;
    let address = gateway.address();
    assert_eq!(raw(address, GET).await, "");
    assert_eq!(raw(address, b"PROXY TCP4 203.0.113.9\r\n").await, "");
    // longer than any header is
    let endless = [&V2[..14], &[0xff; 5000]].concat();
    assert_eq!(raw(address, endless).await, "");
    // and one that says nothing
    let mut silent = Raw::connect(address).await;
    assert_eq!(silent.to_end().await, "");
    eventually("four failures", async || {
        let counted = "\nedgeward_proxy_header_failures_total 4\n";
        gateway.metrics().contains(counted).then_some(())
    })
    .await;
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let origin = Origin::start();
    let gateway = trusting("198.51.100.0/24", &origin).await;
    for header in [V1, V2] {
        let answer = raw(gateway.address(), [header, GET].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(client_seen(gateway.address(), b"").await, "127.0.0.1");
}

#[tokio::test]
async fn the_header_is_before_tls() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["a.example"]).write(folder.path(), "a");
    let listener = json!({
        "proxy-protocol": ["127.0.0.1"],
        "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
    });
    let gateway = gateway(folder, listener, &origin).await;
    for protocol in ["http/1.1", "h2"] {
        let mut stream = within("connecting", TcpStream::connect(gateway.address()))
            .await
            .unwrap();
        stream.write_all(V2).await.unwrap();
        let client = ca.client(&[protocol], None);
        let mut connection = Connection::tls_over(stream, "a.example", &client).await.unwrap();
        let reply = connection.get("/echo").await;
        assert_eq!(reply.echoed("x-forwarded-for"), "203.0.113.9");
    }
}

#[tokio::test]
async fn a_client_of_a_socket_for_both_families_counts_as_what_it_is() {
    let origin = Origin::start();
    let listener = json!({"address": "[::]:0", "trusted-hops": ["127.0.0.0/8"]});
    let gateway = gateway(tempfile::tempdir().unwrap(), listener, &origin).await;
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address().port()));
    let mut connection = Connection::h1(address).await;
    let request = http::Request::get("/echo").header("x-forwarded-for", "203.0.113.9");
    let reply = connection.send(request, edgeward_tests::empty()).await;
    assert_eq!(reply.echoed("x-forwarded-for"), "203.0.113.9, 127.0.0.1");
}

#[tokio::test]
async fn it_is_the_named_client_whose_connections_are_counted() {
    let origin = Origin::start();
    let gateway = limited(
        tempfile::tempdir().unwrap(),
        json!({"proxy-protocol": ["127.0.0.1"]}),
        json!({"connections-per-address": 2}),
        &origin,
    )
    .await;
    let address = gateway.address();
    let refused = async |count: u32| {
        let line = format!("\nedgeward_connections_refused_total {count}\n");
        eventually(&line, async || gateway.metrics().contains(&line).then_some(())).await;
    };
    // one that asks, and stays
    let open = async |header: &[u8]| {
        let mut connection = Raw::connect(address).await;
        connection
            .send([header, b"GET /text/x HTTP/1.1\r\nhost: a\r\n\r\n"].concat())
            .await;
        connection.until("some plain text").await;
        connection
    };
    let first = open(V1).await;
    let _second = open(V2).await;
    for (count, header) in [(1, V1), (2, V2)] {
        assert_eq!(raw(address, [header, GET].concat()).await, "", "a third");
        refused(count).await;
    }
    // others come by the same balancer, and it has connections of its own
    for other in [
        &b"PROXY TCP4 203.0.113.10 192.0.2.1 4711 443\r\n"[..],
        b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n",
        V2_LOCAL,
    ] {
        let _both = (open(other).await, open(other).await);
        assert_eq!(raw(address, [other, GET].concat()).await, "");
    }
    refused(5).await;
    drop(first);
    eventually("a place", async || {
        let answer = raw(address, [V1, GET].concat()).await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}
