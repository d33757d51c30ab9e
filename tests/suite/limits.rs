//! What a client may take of time without using it: each limit short here, the others long, so that nothing else can end the connection.

use std::time::{Duration, Instant};

use edgeward_tests::{
    Ca, Gateway, Origin, Raw, eventually,
    frames::{Frames, code, kind},
};
use serde_json::{Value, json};

const SHORT: Duration = Duration::from_millis(300);

async fn gateway(origin: &Origin, limit: &str, value: Value) -> Gateway {
    let mut limits = json!({"head-timeout": "10m", "body-timeout": "10m", "idle-timeout": "10m", "handshake-timeout": "10m"});
    limits[limit] = value;
    let folder = tempfile::tempdir().unwrap();
    Ca::new().issue(&["a.example"]).write(folder.path(), "a");
    Gateway::start_in(
        folder,
        json!({
            "listeners": [
                {"name": "plain", "address": "127.0.0.1:0"},
                {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]}},
            ],
            "limits": limits,
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "routes": [{"path": "/{path+}", "upstream": "origin"}],
        }),
    )
    .await
}

/// Whether the metrics have this line.
fn has_metric(gateway: &Gateway, expected: &str) -> Option<()> {
    gateway
        .metrics()
        .lines()
        .any(|line| line == expected)
        .then_some(())
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "idle-timeout", json!("300ms")).await;
    let mut connection = Raw::connect(gateway.address()).await;
    for _ in 0..2 {
        connection.send("GET /text/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        connection.until("some plain text").await;
    }
    let idle = Instant::now();
    assert_eq!(connection.to_end().await, "");
    assert!(
        idle.elapsed() + Duration::from_millis(50) > SHORT,
        "{:?}",
        idle.elapsed()
    );
}

#[tokio::test]
async fn an_http_2_connection_that_is_idle_is_closed_in_order() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "idle-timeout", json!("300ms")).await;
    let mut connection = Frames::connect(gateway.address()).await;
    // what is under way is not idle
    connection.get(1, "/hold/idle").await;
    origin.wait_for("/hold/idle", 1).await;
    tokio::time::sleep(2 * SHORT).await;
    origin.release("idle");
    connection.until(kind::HEADERS, 1).await;
    let away = connection.until(kind::GOAWAY, 0).await;
    assert_eq!(away.code(), code::NO_ERROR);
    while connection.next().await.is_some() {}
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "handshake-timeout", json!("300ms")).await;
    let address = gateway.proxy.addresses()[1].1;
    for beginning in [&b""[..], b"\x16\x03\x01\x02\0\x01\0"] {
        let mut connection = Raw::connect(address).await;
        connection.send(beginning).await;
        assert_eq!(connection.to_end().await, "");
    }
    // counted when the connection is gone for the client already
    eventually("both to be counted", async || {
        has_metric(&gateway, "edgeward_tls_handshake_failures_total 2")
    })
    .await;
}
