//! How many connections a listener serves at once.

use std::net::SocketAddr;

use edgeward_tests::{Connection, Gateway, empty, eventually, raw, within};
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

fn config(connections: u32) -> Value {
    json!({
        "workers": 3,
        "limits": {"connections": connections},
        "routes": [{"path": "/", "respond": {"status": 204}}],
    })
}

async fn ask(connection: &mut Connection) -> u16 {
    connection.send(Request::get("/"), empty()).await.status
}

/// A connection that asks as soon as it is served; it stays open.
fn another(address: SocketAddr) -> JoinHandle<Connection> {
    tokio::spawn(async move {
        let mut connection = Connection::h1(address).await;
        assert_eq!(ask(&mut connection).await, 204);
        connection
    })
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_place_or_a_higher_limit() {
    let mut setup = config(2);
    let gateway = Gateway::start(setup.clone()).await;
    let address = gateway.address();
    let first = within("the first", another(address)).await.unwrap();
    let mut second = within("the second", another(address)).await.unwrap();

    let third = another(address);
    assert_eq!(ask(&mut second).await, 204);
    assert!(gateway.metrics().contains("\nedgeward_connections 2\n"));
    assert!(!third.is_finished(), "above the limit");
    setup["limits"]["connections"] = json!(3);
    let next = gateway.snapshot(setup).await.unwrap();
    gateway.proxy.publish(next).unwrap();
    let third = within("the third, after the limit was raised", third)
        .await
        .unwrap();

    let fourth = another(address);
    assert_eq!(ask(&mut second).await, 204);
    assert!(!fourth.is_finished(), "above the new limit");
    drop(first);
    let fourth = within("the fourth, after the first went", fourth).await.unwrap();
    drop((third, fourth));
}

#[tokio::test]
async fn a_limit_below_the_number_of_workers_starves_nobody() {
    let gateway = Gateway::start(config(1)).await;
    for _ in 0..24 {
        let connection = within("a connection", another(gateway.address())).await.unwrap();
        drop(connection);
    }
}

#[tokio::test]
async fn a_client_has_so_many_connections_at_once() {
    let mut setup = config(100);
    setup["limits"]["connections-per-address"] = json!(2);
    setup["listeners"] =
        json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.2:0", "trusted-hops": ["127.0.0.1"]}]);
    let gateway = Gateway::start(setup).await;
    let addresses = gateway.proxy.addresses();
    let address = |ip: &str| {
        addresses
            .iter()
            .find(|(_, bound)| bound.ip().to_string() == ip)
            .unwrap()
            .1
    };
    let open = address("127.0.0.1");
    let first = another(open).await.unwrap();
    let mut second = another(open).await.unwrap();
    assert_eq!(raw(open, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
    eventually("the refusal is counted", async || {
        let counted = "\nedgeward_connections_refused_total 1\n";
        gateway.metrics().contains(counted).then_some(())
    })
    .await;
    // from a trusted hop come the connections of many
    let hops = [
        another(address("127.0.0.2")).await.unwrap(),
        another(address("127.0.0.2")).await.unwrap(),
    ];
    drop((first, hops));
    eventually("a place", async || {
        raw(open, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 204")
            .then_some(())
    })
    .await;
    assert_eq!(ask(&mut second).await, 204, "what was open is not disturbed");
}
