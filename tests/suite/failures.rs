//! Plugins that misbehave: each costs its own request, has its own name in counters and log, and nobody else notices.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use edgeward_tests::{Gateway, Origin, Reply, bytes, empty, eventually, logs, record_logs, wait_for_log};
use http::Request;
use serde_json::{Value, json};

/// A gateway whose route `/{path+}` runs `misbehave`; the way comes with the request as `x-mode`.
async fn gateway(origin: &Origin, more: Value) -> Gateway {
    let mut plugin = json!({"module": "misbehave", "breaker": {"failures": 0}, "grants": {"metrics": true,
        "http": {"hosts": [origin.endpoint()], "private-addresses": true}}});
    plugin
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::with_plugin(&origin.endpoint(), plugin).await
}

async fn misbehave(gateway: &Gateway, mode: &str) -> Reply {
    gateway.call("GET", "/echo", &[("x-mode", mode)]).await
}

/// The rest still works: the other route, and the same one for requests that do not provoke it.
async fn others_are_served(gateway: &Gateway) {
    assert_eq!(gateway.get("/plain/echo").await.status, 200);
    assert_eq!(misbehave(gateway, "none").await.status, 200);
}

/// Waits for something while other requests go on from its beginning to its end, none of which may fail.
async fn while_others_are_served<T>(gateway: &Gateway, work: impl Future<Output = T>) -> T {
    let done = Cell::new(false);
    let work = async {
        let result = work.await;
        done.set(true);
        result
    };
    let others = async {
        let mut served = 0;
        while served < 10 || !done.get() {
            assert_eq!(gateway.get("/plain/echo").await.status, 200);
            served += 1;
        }
    };
    tokio::join!(work, others).0
}

#[tokio::test]
async fn others_are_served_while_guests_misbehave() {
    let origin = Origin::start();
    let limits = json!({"memory": "8MiB", "cpu-time": "5s", "log-lines": 7});
    for (mode, status, reason, kind) in [
        ("trap", 500, "PLUGIN_FAILURE", "trap"),
        ("recurse", 500, "PLUGIN_FAILURE", "trap"),
        ("eat-memory", 500, "PLUGIN_FAILURE", "memory"),
        ("garbage-answer", 500, "PLUGIN_INVALID_ANSWER", "invalid-answer"),
        ("flood-log", 200, "", ""),
        ("flood-http", 200, "", ""),
    ] {
        let more = json!({"config": {"times": 1000, "url": "http://not.granted.test/"}, "limits": limits});
        let gateway = gateway(&origin, more).await;
        let some = async || {
            for _ in 0..4 {
                let reply = misbehave(&gateway, mode).await;
                assert_eq!(reply.status, status, "{mode}: {}", reply.text());
                if status != 200 {
                    assert_eq!(reply.response_type(), reason, "{mode}");
                }
            }
        };
        while_others_are_served(&gateway, futures_util::future::join_all([some(), some(), some()])).await;
        let stats = gateway.stats();
        match mode {
            "flood-log" => assert_eq!(stats.log_lines_dropped, 12 * 993, "{stats:?}"),
            "flood-http" => assert_eq!(stats.denied_calls, 12 * 1000, "{stats:?}"),
            _ => assert_eq!(gateway.failures(kind), 12, "{mode}: {stats:?}"),
        }
        let failed: u64 = stats.failures.values().sum();
        assert!(
            stats.live_instances + failed <= stats.instances,
            "what failed is gone: {mode}: {stats:?}"
        );
        others_are_served(&gateway).await;
    }
}

#[tokio::test]
async fn the_log_says_which_plugin_version_and_route_went_over_which_budget() {
    record_logs();
    let origin = Origin::start();
    let url = format!("http://{}/hold/slow", origin.endpoint());
    for (mode, kind, tight) in [
        ("spin", "cpu-time", json!({"cpu-time": "50ms"})),
        ("slow-http", "wall-time", json!({"wall-time": "300ms"})),
        ("eat-memory", "memory", json!({"memory": "8MiB"})),
        ("flood-context", "host-buffer", json!({"host-buffers": "256KiB"})),
    ] {
        let mut limits = json!({"cpu-time": "10s", "wall-time": "25s", "host-calls": 1_000_000});
        limits
            .as_object_mut()
            .unwrap()
            .extend(tight.as_object().unwrap().clone());
        let gateway = Gateway::start(json!({
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {"clumsy": {
                "module": "misbehave",
                "config": {"url": url},
                "limits": limits,
                "grants": {"metrics": true, "http": {"hosts": [origin.endpoint()], "private-addresses": true}},
            }},
            "routes": [{"name": "front", "path": "/{path+}", "upstream": "origin", "pipeline": ["clumsy"]}],
        }))
        .await;
        let plugin = gateway.plugin("clumsy");
        let reply = misbehave(&gateway, mode).await;
        assert_eq!(reply.status / 100, 5, "{mode}: {}", reply.text());
        assert_eq!(
            plugin.stats().failures.get(kind),
            Some(&1),
            "{mode}: {:?}",
            plugin.stats()
        );
        let line = wait_for_log(&["plugin failed", reply.header("x-request-id")]).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        for (name, expected) in [
            ("plugin", json!("clumsy")),
            ("plugin_version", json!(plugin.version())),
            ("plugin_digest", json!(plugin.digest().short())),
            ("route", json!("front")),
            ("phase", json!("request-head")),
            ("kind", json!(kind)),
        ] {
            assert_eq!(line["fields"][name], expected, "{mode}, {name}: {line}");
        }
        assert_eq!(line["target"], "plugin", "{line}");
    }
}

#[tokio::test]
async fn traps_are_reported_with_file_and_line() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    for (count, mode) in (1..).zip(["trap", "unreachable", "divide", "out-of-bounds", "recurse"]) {
        let reply = misbehave(&gateway, mode).await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (500, "PLUGIN_FAILURE"),
            "{mode}"
        );
        assert_eq!(
            reply.json()["detail"],
            "a plugin of this route failed",
            "internals stay inside"
        );
        assert_eq!(gateway.failures("trap"), count, "{mode}");
        let id = reply.header("x-request-id").to_owned();
        let line = wait_for_log(&["plugin failed", &id]).await;
        for text in [
            "\"tested\"",
            "request-head",
            "\"trap\"",
            &gateway.plugin("tested").digest().short().to_string(),
        ] {
            assert!(line.contains(text), "{text} in {line}");
        }
        if mode != "recurse" {
            assert!(line.contains("lib.rs:"), "{mode}: {line}");
        }
        others_are_served(&gateway).await;
    }
    assert!(logs().contains("misbehave was told to trap"));
    let stats = gateway.stats();
    assert!(
        stats.live_instances + gateway.failures("trap") <= stats.instances,
        "what failed is gone: {stats:?}"
    );
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_while_others_are_served() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"limits": {"cpu-time": "50ms"}})).await;
    let began = Instant::now();
    let spinning = async {
        for _ in 0..5 {
            let reply = misbehave(&gateway, "spin").await;
            assert_eq!(
                (reply.status, reply.response_type().as_str()),
                (500, "PLUGIN_FAILURE")
            );
        }
    };
    while_others_are_served(&gateway, spinning).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(gateway.failures("cpu-time"), 5);
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn a_guest_that_spins_on_every_worker_leaves_room_for_others() {
    let origin = Origin::start();
    let gateway = gateway(
        &origin,
        json!({"limits": {"cpu-time": "300ms", "wall-time": "25s"}}),
    )
    .await;
    let spinning = futures_util::future::join_all((0..8).map(|_| misbehave(&gateway, "spin")));
    let others = async {
        for _ in 0..20 {
            assert_eq!(gateway.get("/plain/echo").await.status, 200);
        }
    };
    let (replies, ()) = tokio::join!(spinning, others);
    assert!(
        replies
            .iter()
            .all(|reply| reply.response_type() == "PLUGIN_FAILURE")
    );
    assert_eq!(gateway.failures("cpu-time"), 8);
}

#[tokio::test]
async fn memory_is_bounded() {
    let origin = Origin::start();
    let limits = json!({"limits": {"memory": "8MiB", "cpu-time": "5s"}});
    let gateway = gateway(&origin, limits).await;
    for _ in 0..3 {
        let reply = misbehave(&gateway, "eat-memory").await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (500, "PLUGIN_FAILURE")
        );
    }
    assert_eq!(gateway.failures("memory"), 3);
    let stats = gateway.stats();
    assert!(
        stats.memory_peak <= 8 << 20 && stats.memory_peak > 1 << 20,
        "{stats:?}"
    );
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    record_logs();
    let origin = Origin::start();
    let config = json!({"config": {"times": 1000}, "limits": {"log-lines": 7, "cpu-time": "1s"}});
    let gateway = gateway(&origin, config).await;
    let reply = misbehave(&gateway, "flood-log").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(gateway.stats().log_lines_dropped, 993);
    let written = logs()
        .lines()
        .filter(|line| line.contains(&"x".repeat(1000)))
        .count();
    assert_eq!(written, 7);
}

#[tokio::test]
async fn host_buffers_and_host_calls_are_bounded() {
    let origin = Origin::start();
    let limits = json!({"limits": {"host-buffers": "256KiB", "host-calls": 500, "cpu-time": "5s"}});
    let gateway = gateway(&origin, limits).await;
    for (mode, kinds) in [
        ("flood-context", &["host-buffer", "host-calls"][..]),
        ("flood-headers", &["host-buffer", "host-calls"]),
        ("flood-host-calls", &["host-calls"]),
        ("flood-metrics", &["host-calls"]),
    ] {
        let before: u64 = kinds.iter().map(|kind| gateway.failures(kind)).sum();
        let reply = misbehave(&gateway, mode).await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (500, "PLUGIN_FAILURE"),
            "{mode}"
        );
        let after: u64 = kinds.iter().map(|kind| gateway.failures(kind)).sum();
        assert_eq!(after, before + 1, "{mode}: {:?}", gateway.stats());
        others_are_served(&gateway).await;
    }
    let metrics = gateway.metrics();
    let custom = metrics
        .lines()
        .filter(|line| line.starts_with("edgeward_plugin_custom_total"))
        .count();
    assert!(custom <= 64, "{custom} metrics");
    assert!(metrics.contains("kind=\"host-calls\""), "{metrics}");
}

#[tokio::test]
async fn answers_that_are_none_are_not_passed_on() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let reply = misbehave(&gateway, "garbage-answer").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (500, "PLUGIN_INVALID_ANSWER")
    );
    assert_eq!(gateway.failures("invalid-answer"), 1);
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn waiting_for_others_ends_with_the_wall_time() {
    let origin = Origin::start();
    let url = format!("http://{}/hold/slow", origin.endpoint());
    let more = json!({"config": {"url": url}, "limits": {"wall-time": "300ms"}});
    let gateway = gateway(&origin, more).await;
    let (slow, ()) = tokio::join!(misbehave(&gateway, "slow-http"), others_are_served(&gateway));
    assert_eq!(
        (slow.status, slow.response_type().as_str()),
        (504, "PLUGIN_TIMEOUT")
    );
    assert_eq!(gateway.failures("wall-time"), 1);
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn every_phase_can_fail_without_harm() {
    let origin = Origin::start();
    for (phase, expected) in [
        ("authorize", Some((500, "AUTHORIZER_FAILURE"))),
        ("inspect", Some((500, "PLUGIN_FAILURE"))),
        ("request-head", Some((500, "PLUGIN_FAILURE"))),
        ("response-head", Some((500, "PLUGIN_FAILURE"))),
        ("observe", None),
    ] {
        let gateway = gateway(&origin, json!({"config": {"phase": phase}})).await;
        let reply = misbehave(&gateway, "trap").await;
        match expected {
            Some(expected) => assert_eq!(
                (reply.status, reply.response_type().as_str()),
                expected,
                "{phase}"
            ),
            None => assert_eq!(reply.status, 200, "{phase}"),
        }
        eventually("the failure to be counted", async || {
            (gateway.failures("trap") == 1).then_some(())
        })
        .await;
        others_are_served(&gateway).await;
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_body_breaks_the_exchange_and_only_that() {
    let origin = Origin::start();
    let response = gateway(&origin, json!({"config": {"phase": "response-body"}})).await;
    let request = Request::get("/echo").header("x-mode", "trap");
    let broken = edgeward_tests::Connection::h1(response.address())
        .await
        .try_send(request, empty())
        .await;
    assert!(broken.is_err(), "{broken:?}");
    others_are_served(&response).await;
    let request = gateway(&origin, json!({"config": {"phase": "request-body"}})).await;
    let reply = request
        .send("POST", "/echo", &[("x-mode", "trap")], bytes("body"))
        .await;
    assert!(reply.status >= 500, "{reply:?}");
    assert_eq!(request.failures("trap"), 1);
    others_are_served(&request).await;
    let error = gateway(&origin, json!({"config": {"phase": "gateway-error"}})).await;
    let reply = error.call("GET", "/abort", &[("x-mode", "trap")]).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (502, "UPSTREAM_FAILURE"),
        "the error stays as it was"
    );
    assert_eq!(error.failures("trap"), 1);
}

#[tokio::test]
async fn a_binding_says_what_a_failure_means_for_the_request() {
    let origin = Origin::start();
    let open = gateway(&origin, json!({"on-error": "open"})).await;
    let reply = misbehave(&open, "trap").await;
    assert_eq!(
        (reply.status, reply.header("x-origin"), open.failures("trap")),
        (200, "echo", 1)
    );
    let answer = json!({"respond": {"status": 503, "headers": {"retry-after": "7"}, "body": "later"}});
    let respond = gateway(&origin, json!({"on-error": answer})).await;
    let reply = misbehave(&respond, "spin").await;
    assert_eq!(
        (reply.status, reply.header("retry-after"), reply.text().as_str()),
        (503, "7", "later")
    );
    assert_eq!(respond.failures("cpu-time"), 1);
    let closed = gateway(
        &origin,
        json!({"on-error": "closed", "config": {"phase": "authorize"}}),
    )
    .await;
    assert_eq!(
        misbehave(&closed, "trap").await.response_type(),
        "AUTHORIZER_FAILURE"
    );
}

#[tokio::test]
async fn edits_of_a_failed_call_are_undone() {
    let origin = Origin::start();
    let more = json!({"on-error": "open", "limits": {"host-buffers": "64KiB", "cpu-time": "1s"}});
    let gateway = gateway(&origin, more).await;
    let reply = misbehave(&gateway, "flood-headers").await;
    assert_eq!(reply.status, 200);
    assert!(!reply.text().contains("x-flood"), "{}", reply.text());
}

#[tokio::test]
async fn a_version_that_keeps_failing_is_left_alone_for_a_while() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"breaker": {"failures": 3, "open-time": "1h"}})).await;
    for _ in 0..3 {
        misbehave(&gateway, "trap").await;
    }
    assert!(gateway.plugin("tested").breaker_open());
    let instances = gateway.stats().instances;
    let reply = misbehave(&gateway, "none").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (500, "PLUGIN_FAILURE")
    );
    assert_eq!(
        (gateway.failures("breaker-open"), gateway.stats().instances),
        (1, instances)
    );
    assert_eq!(gateway.get("/plain/echo").await.status, 200);
    wait_for_log(&["breaker opened"]).await;
    assert!(
        gateway
            .metrics()
            .lines()
            .any(|line| line.starts_with("edgeward_plugin_breaker_open") && line.ends_with(" 1"))
    );
}

#[tokio::test]
async fn a_breaker_tries_again_and_closes() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"breaker": {"failures": 2, "open-time": "100ms"}})).await;
    for _ in 0..2 {
        misbehave(&gateway, "trap").await;
    }
    assert!(gateway.plugin("tested").breaker_open());
    eventually("the breaker to let one through", async || {
        (misbehave(&gateway, "none").await.status == 200).then_some(())
    })
    .await;
    assert!(!gateway.plugin("tested").breaker_open());
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn more_exchanges_than_instances_are_refused_by_name() {
    let origin = Origin::start();
    let url = format!("http://{}/hold/pool", origin.endpoint());
    let more = json!({"config": {"url": url}, "limits": {"wall-time": "25s"}});
    let gateway = gateway(&origin, more).await;
    let waiting = futures_util::future::join_all((0..64).map(|_| misbehave(&gateway, "slow-http")));
    let refused = async {
        origin.wait_for("/hold/pool", 64).await;
        let reply = misbehave(&gateway, "none").await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (503, "OVERLOADED")
        );
        assert_eq!(gateway.get("/plain/echo").await.status, 200);
        origin.release("pool");
    };
    let (replies, ()) = tokio::join!(waiting, refused);
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{:?}",
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    );
    assert_eq!(gateway.failures("capacity"), 1);
    assert!(
        !gateway.plugin("tested").breaker_open(),
        "overload is not the version's fault"
    );
}
