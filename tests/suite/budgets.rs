//! What one call may pass to the host, what WASI may not do in `init`, and what the log says of calls that were refused.

use edgeward_tests::{
    Gateway, Origin, guest_bytes, load, logs_containing, record_logs, runtime, wait_for_log,
};
use serde_json::{Value, json};

async fn misbehaving(origin: &Origin, more: Value) -> Gateway {
    let mut plugin = json!({"module": "misbehave", "breaker": {"failures": 0}, "grants": {"http": {}},
        "limits": {"host-buffers": "64KiB", "body": "64KiB", "egress": "64KiB", "cpu-time": "1s"}});
    plugin
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::with_plugin(&origin.endpoint(), plugin).await
}

#[tokio::test]
async fn what_one_call_passes_to_the_host_is_bounded() {
    let origin = Origin::start();
    for phase in ["authorize", "inspect", "request-head", "response-head"] {
        let gateway = misbehaving(&origin, json!({"config": {"times": 100_000, "phase": phase}})).await;
        for (count, mode) in (1..).zip(["huge-entry", "huge-answer"]) {
            let reply = gateway.call("GET", "/echo", &[("x-mode", mode)]).await;
            assert_eq!(reply.status, 500, "{phase} {mode}: {}", reply.text());
            assert_eq!(
                gateway.failures("host-buffer"),
                count,
                "{phase} {mode}: {:?}",
                gateway.stats()
            );
        }
        let reply = gateway.call("GET", "/echo", &[("x-mode", "none")]).await;
        assert_eq!(reply.status, 200, "{phase}");
    }
}

#[tokio::test]
async fn a_refused_call_is_logged_once_per_request() {
    record_logs();
    let origin = Origin::start();
    let gateway = misbehaving(&origin, json!({})).await;
    let reply = gateway.call("GET", "/echo", &[("x-mode", "not-granted")]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let line = wait_for_log(&["not granted", "ghost"]).await;
    let digest = gateway.plugin("tested").digest().short().to_string();
    for text in ["tested", &digest, "route", "kv store `ghost`"] {
        assert!(line.contains(text), "{text} in {line}");
    }
    assert_eq!(logs_containing(&["not granted", "ghost"]).len(), 1);
    assert_eq!(gateway.stats().denied_calls, 2);
}

#[tokio::test]
async fn random_numbers_of_wasi_are_refused_in_init() {
    let wasm = guest_bytes("wasi-guest");
    for source in ["random", "insecure-random"] {
        let settings = json!({"config": {"in-init": source}, "grants": {"wasi": true}});
        let text = load(&runtime(), &wasm, settings).await.unwrap_err().to_string();
        assert!(
            text.contains("random") && text.contains("snapshot"),
            "{source}: {text}"
        );
    }
}

#[tokio::test]
async fn wasi_output_is_bounded_like_log_lines_and_says_whose_it_is() {
    record_logs();
    let origin = Origin::start();
    let mut seen = 0;
    for isolation in [json!("request"), json!({"reuse": {"requests": 100, "ttl": "1h"}})] {
        let plugin = json!({"module": "wasi-guest", "grants": {"wasi": true}, "isolation": isolation,
            "limits": {"cpu-time": "1s", "log-lines": 5}});
        let gateway = Gateway::with_plugin(&origin.endpoint(), plugin).await;
        for count in 1..=2 {
            let reply = gateway.call("GET", "/echo", &[("x-wasi", "flood")]).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let lines = logs_containing(&["wasi flood", "\"tested\"", "request_id"]);
            seen += 5;
            assert_eq!(lines.len(), seen, "a budget for each request: {lines:#?}");
            assert_eq!(gateway.stats().log_lines_dropped, 995 * count);
        }
        let reply = gateway.call("GET", "/echo", &[("x-wasi", "random")]).await;
        let first = reply.json();
        let second = gateway.call("GET", "/echo", &[("x-wasi", "random")]).await.json();
        assert_ne!(first, second, "random numbers are there when requests are served");
    }
}
