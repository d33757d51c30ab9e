//! Versions that change under load: no request fails, and each is served by exactly one version.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use edgeward_tests::{Connection, Gateway, Origin, Process, bytes, guest_bytes};
use serde_json::{Value, json};

use crate::process::{folder, live};

/// Swaps in the long test.
const SWAPS: u64 = 1000;

fn config(origin: &Origin, version: &str) -> Value {
    json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
        "log": {"access": false},
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"stamp": {"module": "stamp", "config": {"version": version}}},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["stamp"]}],
    })
}

/// Asks until it is told to stop; counts answers by version.
async fn client(
    mut connection: Connection,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> HashMap<String, u64> {
    let mut versions = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let reply = connection.get("/stamp").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // the origin sends back what the request was stamped with
        assert_eq!(
            reply.text(),
            reply.header("x-stamp"),
            "request and response were seen by different versions"
        );
        *versions.entry(reply.text()).or_default() += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_cost_no_request() {
    let origin = Origin::start();
    let gateway = Gateway::start(config(&origin, "a")).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for index in 0..8 {
        let connection = if index % 2 == 0 {
            Connection::h1(gateway.address()).await
        } else {
            Connection::h2(gateway.address()).await
        };
        clients.push(tokio::spawn(client(
            connection,
            Arc::clone(&stop),
            Arc::clone(&done),
        )));
    }
    for swap in 0..SWAPS {
        let next = gateway
            .snapshot(config(&origin, if swap % 2 == 0 { "b" } else { "a" }))
            .await
            .unwrap();
        gateway.proxy.publish(next).unwrap();
        // a swap that no request saw would prove nothing
        let before = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) == before {
            assert!(
                clients.iter().all(|client| !client.is_finished()),
                "a client gave up"
            );
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut versions: HashMap<String, u64> = HashMap::new();
    for client in clients {
        for (version, count) in client.await.unwrap() {
            *versions.entry(version).or_default() += count;
        }
    }
    assert!(
        versions.len() == 2 && versions.values().all(|count| *count > 0),
        "{versions:?}"
    );
    assert!(versions.values().sum::<u64>() >= SWAPS);
    assert!(
        gateway.metrics().contains("ROUTE_NOT_FOUND")
            || !gateway.metrics().contains("edgeward_rejects_total{")
    );
}

#[tokio::test]
async fn the_next_request_is_served_by_the_new_version() {
    let origin = Origin::start();
    let gateway = Gateway::start(config(&origin, "a")).await;
    let mut connection = Connection::h1(gateway.address()).await;
    for version in ["b", "a", "b", "a"] {
        let next = gateway.snapshot(config(&origin, version)).await.unwrap();
        gateway.proxy.publish(next).unwrap();
        assert_eq!(connection.get("/stamp").await.header("x-stamp"), version);
    }
}

#[tokio::test]
async fn a_request_ends_on_the_version_it_began_with() {
    let origin = Origin::start();
    let gateway = Gateway::start(config(&origin, "a")).await;
    let address = gateway.address();
    let old = gateway.plugin("stamp");
    let running = tokio::spawn(async move { Connection::h1(address).await.get("/hold/old").await });
    origin.wait_for("/hold/old", 1).await;
    let next = gateway.snapshot(config(&origin, "b")).await.unwrap();
    gateway.proxy.publish(next).unwrap();
    assert_eq!(gateway.get("/stamp").await.header("x-stamp"), "b");
    origin.release("old");
    assert_eq!(running.await.unwrap().header("x-stamp"), "a");
    // nothing of the old version is left once its last request has ended
    edgeward_tests::eventually("the old version to go", async || {
        (Arc::strong_count(&old) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_built_or_bound_changes_nothing() {
    let origin = Origin::start();
    let gateway = Gateway::start(config(&origin, "a")).await;
    let before = gateway.proxy.current().id();
    let mut broken = config(&origin, "b");
    broken["routes"][0]["upstream"] = json!("missing");
    assert!(gateway.snapshot(broken).await.is_err());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut unbound = config(&origin, "b");
    unbound["listeners"] = json!([
        {"name": "main", "address": "127.0.0.1:0"},
        {"name": "second", "address": taken.local_addr().unwrap().to_string()},
    ]);
    let next = gateway.snapshot(unbound).await.unwrap();
    let error = gateway.proxy.publish(next).unwrap_err().to_string();
    assert!(error.contains("second"), "{error}");
    assert_eq!(gateway.proxy.current().id(), before);
    assert_eq!(gateway.get("/stamp").await.header("x-stamp"), "a");
}

#[tokio::test]
async fn routes_upstreams_and_listeners_change_with_the_snapshot() {
    let (origin, other) = (Origin::start(), Origin::start());
    let gateway = Gateway::start(config(&origin, "a")).await;
    let mut connection = Connection::h1(gateway.address()).await;
    connection.get("/echo").await;
    let mut next = config(&other, "a");
    next["listeners"] =
        json!([{"name": "main", "address": "127.0.0.1:0"}, {"name": "more", "address": "127.0.0.1:0"}]);
    next["routes"] = json!([{"path": "/only", "upstream": "origin"}]);
    gateway
        .proxy
        .publish(gateway.snapshot(next).await.unwrap())
        .unwrap();
    assert_eq!(connection.get("/echo").await.status, 404);
    assert_eq!(connection.get("/only").await.status, 200);
    assert_eq!((origin.seen().len(), other.seen().len()), (1, 1));
    let addresses = gateway.proxy.addresses();
    assert_eq!(addresses.len(), 2);
    let more = addresses.iter().find(|(name, _)| name == "more").unwrap().1;
    assert_eq!(edgeward_tests::get(more, "/only").await.status, 200);
    gateway
        .proxy
        .publish(gateway.snapshot(config(&origin, "a")).await.unwrap())
        .unwrap();
    edgeward_tests::closed(more).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_swapped_over_the_api_under_load_cost_no_request() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let digest = process
        .admin("POST", "/v1/modules", bytes(guest_bytes("stamp")))
        .await
        .json()["digest"]
        .clone();
    for version in ["one", "two"] {
        let body = json!({"module": digest, "config": {"version": version}}).to_string();
        process
            .admin("POST", "/v1/plugins/stamp/versions?publish=true", bytes(body))
            .await;
    }
    let stop = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop) = (process.address(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut connection = Connection::h1(address).await;
                let mut count = 0_u64;
                while stop.load(Ordering::SeqCst) == 0 {
                    let reply = connection.get("/stamp").await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    assert_eq!(reply.text(), reply.header("x-stamp"));
                    count += 1;
                }
                count
            })
        })
        .collect();
    for turn in 0..50_u64 {
        let version = 1 + turn % 2;
        let reply = process
            .admin(
                "POST",
                "/v1/plugins/stamp/publish",
                bytes(json!({"version": version}).to_string()),
            )
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(live(&process).await, if version == 1 { "one" } else { "two" });
    }
    stop.store(1, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    let status: Value = process.admin_get("/v1/status").await;
    assert_eq!(status["plugins"][0]["version"], 2, "{status}");
}
