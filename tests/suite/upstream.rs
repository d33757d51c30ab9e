//! Endpoints that come, go, fail and are slow.

use edgeward_tests::{Connection, Gateway, Origin, bytes, empty, eventually, scripted_upstream, within};
use http::Request;
use serde_json::{Value, json};
use std::time::Duration;

async fn gateway(endpoints: Vec<String>, settings: Value) -> Gateway {
    let mut upstream = json!({"endpoints": endpoints});
    upstream
        .as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    Gateway::start(json!({
        "workers": 1,
        "upstreams": {"origin": upstream},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn requests_are_spread_over_the_endpoints() {
    for balance in ["round-robin", "least-request"] {
        let origins = [Origin::start(), Origin::start(), Origin::start()];
        let endpoints = origins.iter().map(Origin::endpoint).collect();
        let gateway = gateway(endpoints, json!({"balance": balance})).await;
        let mut connection = Connection::h1(gateway.address()).await;
        for _ in 0..60 {
            assert_eq!(connection.get("/echo").await.status, 200);
        }
        assert!(
            origins.iter().all(|origin| !origin.seen().is_empty()),
            "{balance}"
        );
        if balance == "round-robin" {
            assert!(origins.iter().all(|origin| origin.seen().len() == 20));
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_costs_no_request_and_is_left_out() {
    let origin = Origin::start();
    let gateway = gateway(
        vec![nobody(), origin.endpoint()],
        json!({"retry": {"budget": 1.0}, "health": {"passive": {"failures": 3, "eject-time": "60s"}}}),
    )
    .await;
    let mut connection = Connection::h1(gateway.address()).await;
    for _ in 0..20 {
        assert_eq!(
            connection
                .send(Request::post("/echo"), bytes("body"))
                .await
                .status,
            200
        );
    }
    let status = serde_json::to_value(gateway.proxy.status()).unwrap();
    let ejected = status["upstreams"][0]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["ejected"] == true)
        .count();
    assert_eq!(ejected, 1, "{status}");
    assert!(gateway.metrics().contains("edgeward_upstream_up"));
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_an_error_of_its_own() {
    // the kernel takes the connection, and nobody answers to the TLS handshake on it
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let settings = json!({"tls": {}, "connect-timeout": "200ms", "retry": {"attempts": 0}});
    let gateway = gateway(vec![endpoint], settings).await;
    let reply = gateway.get("/echo").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (504, "UPSTREAM_CONNECT_TIMEOUT")
    );
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_used_again() {
    let address = nobody();
    let gateway = gateway(
        vec![address.clone()],
        json!({"health": {"passive": {"failures": 1, "eject-time": "50ms"}}}),
    )
    .await;
    let reply = gateway.get("/echo").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_CONNECT")
    );
    let _origin = Origin::listen(&address, None);
    eventually("the endpoint to come back", async || {
        (gateway.get("/echo").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn active_checks_take_an_endpoint_out_and_back_in() {
    let address = nobody();
    let standby = Origin::start();
    let settings = json!({"health": {"active": {"path": "/status/200", "interval": "50ms", "unhealthy-after": 1, "healthy-after": 1}}});
    let gateway = gateway(vec![address.clone(), standby.endpoint()], settings).await;
    let healthy = || {
        let status = serde_json::to_value(gateway.proxy.status()).unwrap();
        let all = status["upstreams"][0]["endpoints"].as_array().unwrap().clone();
        all.iter().find(|e| e["address"] == address.as_str()).unwrap()["healthy"]
            .as_bool()
            .unwrap()
    };
    eventually("the endpoint to be found unhealthy", async || {
        (!healthy()).then_some(())
    })
    .await;
    let _origin = Origin::listen(&address, None);
    eventually("the endpoint to be found healthy", async || {
        healthy().then_some(())
    })
    .await;
    assert!(standby.hits("/status/200") > 0);
}

#[tokio::test]
async fn idempotent_requests_are_tried_again_and_others_are_not() {
    let origin = Origin::start();
    let gateway = gateway(
        vec![origin.endpoint()],
        json!({"retry": {"attempts": 2, "budget": 1.0}}),
    )
    .await;
    let mut connection = Connection::h1(gateway.address()).await;
    assert_eq!(connection.get("/flaky/get/2").await.status, 200);
    assert_eq!(origin.hits("/flaky/get"), 3);
    assert_eq!(connection.get("/flaky/gives-up/9").await.status, 503);
    assert_eq!(origin.hits("/flaky/gives-up"), 3);
    assert_eq!(
        connection
            .send(Request::post("/flaky/post/1"), empty())
            .await
            .status,
        503
    );
    assert_eq!(origin.hits("/flaky/post"), 1);
}

#[tokio::test]
async fn a_retry_budget_keeps_retries_from_piling_up() {
    let origin = Origin::start();
    let gateway = gateway(
        vec![origin.endpoint()],
        json!({"retry": {"attempts": 3, "budget": 0.1}, "health": {"passive": {"failures": 0}}}),
    )
    .await;
    let mut connection = Connection::h1(gateway.address()).await;
    for _ in 0..100 {
        assert_eq!(connection.get("/status/503").await.status, 503);
    }
    let hits = origin.hits("/status/503");
    assert!(hits < 100 + 40, "{hits} requests for 100");
}

#[tokio::test]
async fn every_failure_of_an_upstream_has_its_name() {
    let origin = Origin::start();
    let slow = gateway(
        vec![origin.endpoint()],
        json!({"response-timeout": "200ms", "retry": {"attempts": 0}}),
    )
    .await;
    let reply = slow.get("/hold/never").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (504, "UPSTREAM_TIMEOUT")
    );
    let reply = slow.get("/abort").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_FAILURE")
    );
    let garbage = gateway(
        vec![scripted_upstream(b"this is not http\r\n\r\n").await.to_string()],
        json!({}),
    )
    .await;
    let reply = garbage.get("/x").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_FAILURE")
    );
    let unknown = gateway(vec!["does-not-exist.invalid:80".to_owned()], json!({})).await;
    let reply = unknown.get("/x").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (503, "NO_HEALTHY_UPSTREAM")
    );
    let metrics = slow.metrics();
    assert!(
        metrics.contains("UPSTREAM_TIMEOUT") && metrics.contains("UPSTREAM_FAILURE"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_route_may_be_less_patient_than_its_upstream() {
    let origin = Origin::start();
    let slow = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/hold/{key}", "upstream": "origin", "timeout": "200ms"}],
    }))
    .await;
    assert_eq!(slow.get("/hold/never").await.response_type(), "UPSTREAM_TIMEOUT");
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    let origin = Origin::start();
    let gateway = gateway(vec![origin.endpoint()], json!({})).await;
    let broken = Connection::h1(gateway.address())
        .await
        .try_send(Request::get("/half"), empty())
        .await;
    assert!(broken.is_err(), "{broken:?}");
}

#[tokio::test]
async fn the_host_can_be_set_for_the_upstream() {
    let origin = Origin::start();
    let gateway = gateway(vec![origin.endpoint()], json!({"host": "inner.example"})).await;
    assert_eq!(gateway.get("/echo").await.echoed("host"), "inner.example");
}

#[tokio::test]
async fn names_are_resolved() {
    let origin = Origin::start();
    let endpoint = format!("localhost:{}", origin.address().port());
    let gateway = gateway(vec![endpoint], json!({})).await;
    assert_eq!(gateway.get("/echo").await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_exchange_with_it() {
    let origin = Origin::start();
    let gateway = gateway(vec![origin.endpoint()], json!({})).await;
    let address = gateway.address();
    let request = tokio::spawn(async move { Connection::h1(address).await.get("/hold/gone").await });
    origin.wait_for("/hold/gone", 1).await;
    request.abort();
    eventually("the exchange to end", async || {
        (gateway.proxy.status().exchanges == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let origin = Origin::start();
    let gateway = gateway(vec![origin.endpoint()], json!({})).await;
    let address = gateway.address();
    let running = tokio::spawn(async move { Connection::h1(address).await.get("/hold/drain").await });
    origin.wait_for("/hold/drain", 1).await;
    let ((), reply) = within("draining", async {
        tokio::join!(gateway.proxy.drain(Duration::from_secs(20)), async {
            edgeward_tests::closed(address).await;
            origin.release("drain");
            running.await.unwrap()
        })
    })
    .await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "released"));
}
