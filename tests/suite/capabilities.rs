//! What plugins may use, and what they may not.

use std::collections::HashSet;

use edgeward_tests::{Gateway, Origin, Reply, eventually, record_logs, wait_for_log};
use serde_json::{Value, json};

async fn gateway(origin: &Origin, more: Value) -> Gateway {
    let mut plugin = json!({"module": "kitchen-sink"});
    plugin
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::start(json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0", "trusted-hops": ["127.0.0.1"]}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": plugin},
        "routes": [{"name": "pets", "path": "/pets/{id}/{rest+}", "upstream": "origin", "pipeline": ["sink"]}],
    }))
    .await
}

async fn ask(gateway: &Gateway, operation: &str) -> Reply {
    gateway
        .call("GET", "/pets/a%20b/c/d?x=1+2&y=%26&x=3", &[("x-sink", operation)])
        .await
}

async fn ok(gateway: &Gateway, operation: &str) -> Value {
    let reply = ask(gateway, operation).await;
    assert_eq!(reply.status, 200, "{operation}: {}", reply.text());
    reply.json()["ok"].clone()
}

async fn error(gateway: &Gateway, operation: &str) -> String {
    let reply = ask(gateway, operation).await;
    reply.json()["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{operation}: {}", reply.text()))
        .to_owned()
}

#[tokio::test]
async fn heads_and_exchange_tell_everything() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let fields = [
        ("x-sink", "head"),
        ("host", "api.example:8080"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let report = gateway
        .call("POST", "/pets/a%20b/c/d?x=1+2&y=%26&x=3", &fields)
        .await
        .json();
    let request = &report["ok"]["request"];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["scheme"], "http");
    assert_eq!(request["authority"], "api.example:8080");
    assert_eq!(request["version"], "HTTP/1.1");
    assert_eq!(request["path"], "/pets/a%20b/c/d");
    assert_eq!(request["query"], "x=1+2&y=%26&x=3");
    assert_eq!(
        request["query-params"],
        json!([["x", "1 2"], ["y", "&"], ["x", "3"]])
    );
    assert_eq!(request["path-params"], json!([["id", "a b"], ["rest", "c/d"]]));
    assert_eq!(
        request["path-params-raw"],
        json!([["id", "a%20b"], ["rest", "c/d"]])
    );
    let headers = request["headers"].as_array().unwrap();
    assert!(
        headers.contains(&json!(["x-many", "1"])) && headers.contains(&json!(["x-many", "2"])),
        "{headers:?}"
    );
    let exchange = &report["ok"]["exchange"];
    assert_eq!(
        (exchange["route"].as_str(), exchange["route-pattern"].as_str()),
        (Some("pets"), Some("/pets/{id}/{rest+}"))
    );
    assert_eq!(exchange["principal"], "sink");
    assert_eq!(exchange["peer"]["address"], "127.0.0.1");
    assert_eq!(exchange["peer"]["client-address"], "203.0.113.9");
    assert_eq!(exchange["peer"]["tls-version"], Value::Null);
    assert!(
        exchange["entries"]
            .as_array()
            .unwrap()
            .contains(&json!(["sink", "phase", ["text", "authorize"]])),
        "{exchange}"
    );
    assert!(exchange["request-id"].as_str().unwrap().len() >= 16);
    assert_eq!(ok(&gateway, "query-param x").await, "1 2");
    assert_eq!(ok(&gateway, "query-param none").await, Value::Null);
    assert_eq!(ok(&gateway, "path-param id").await, "a b");
    let many = gateway
        .call(
            "GET",
            "/pets/1/x",
            &[("x-sink", "headers X-Many"), ("x-many", "1"), ("x-many", "2")],
        )
        .await;
    assert_eq!(many.json()["ok"], json!({"first": "1", "all": ["1", "2"]}));
}

#[tokio::test]
async fn the_context_is_typed_shared_and_namespaced() {
    let origin = Origin::start();
    let sink = |phases: &[&str]| json!({"module": "kitchen-sink", "config": {"phases": phases}});
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"first": sink(&["authorize"]), "second": sink(&["request-head"])},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["first", "second"]}],
    }))
    .await;
    let reply = gateway
        .call("GET", "/echo", &[("x-sink", "context-get first phase")])
        .await;
    assert_eq!(reply.json()["ok"], json!(["text", "authorize"]));
    for (kind, value, expected) in [
        ("text", "a b", json!(["text", "a b"])),
        ("integer", "-7", json!(["integer", -7])),
        ("number", "1.5", json!(["number", 1.5])),
        ("boolean", "true", json!(["boolean", true])),
        ("json", "{\"a\":[1]}", json!(["json", "{\"a\":[1]}"])),
        ("bytes", "AB", json!(["bytes", [65, 66]])),
    ] {
        let reply = gateway
            .call(
                "GET",
                "/echo",
                &[("x-sink", &format!("context-set key {kind} {value}"))],
            )
            .await;
        let entries = reply.json()["ok"].clone();
        assert!(
            entries
                .as_array()
                .unwrap()
                .contains(&json!(["second", "key", expected])),
            "{kind}: {entries}"
        );
    }
    let reply = gateway
        .call("GET", "/echo", &[("x-sink", "context-set key json {broken")])
        .await;
    assert!(reply.json()["error"].is_string(), "{}", reply.text());
}

#[tokio::test]
async fn stores_are_shared_bounded_and_expire() {
    let origin = Origin::start();
    let gateway = gateway(
        &origin,
        json!({"grants": {"metrics": true, "kv": {"shop": {"max-bytes": "64KiB"}}}}),
    )
    .await;
    assert_eq!(ok(&gateway, "kv-get shop a").await, Value::Null);
    let version = ok(&gateway, "kv-set shop a hello").await;
    assert_eq!(
        ok(&gateway, "kv-get shop a").await,
        json!({"value": "hello", "version": version})
    );
    let next = ok(&gateway, &format!("kv-cas shop a {version} world")).await;
    assert_ne!(next, version);
    let failed = ask(&gateway, &format!("kv-cas shop a {version} late")).await;
    assert!(failed.json()["ok"].is_null(), "{}", failed.text());
    assert_eq!(ok(&gateway, "kv-increment shop n 5").await, 5);
    assert_eq!(ok(&gateway, "kv-increment shop n -2").await, 3);
    assert_eq!(ok(&gateway, "kv-delete shop a").await, true);
    assert_eq!(ok(&gateway, "kv-delete shop a").await, false);
    ok(&gateway, "kv-set shop short lived 1").await;
    eventually("the entry to expire", async || {
        ok(&gateway, "kv-get shop short").await.is_null().then_some(())
    })
    .await;
    assert!(
        error(&gateway, "kv-zeros shop big 100000")
            .await
            .contains("65536")
    );
    assert!(error(&gateway, "kv-get other a").await.contains("not granted"));
    assert_eq!(gateway.plugin("sink").stats().denied_calls, 1);
}

#[tokio::test]
async fn outgoing_requests_go_where_the_grant_says() {
    let origin = Origin::start();
    let other = Origin::start();
    let http =
        json!({"grants": {"http": {"hosts": [origin.endpoint(), "localhost"], "private-addresses": true}}});
    let granted = gateway(&origin, http).await;
    let reply = ok(&granted, &format!("http http://{}/echo/out", origin.endpoint())).await;
    assert_eq!(reply["status"], 200);
    let reply = ok(
        &granted,
        &format!("http http://{}/echo/out POST", origin.endpoint()),
    )
    .await;
    let seen: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (seen["method"].as_str(), seen["body"].as_str()),
        (Some("POST"), Some("hello"))
    );
    assert!(
        error(&granted, &format!("http http://{}/", other.endpoint()))
            .await
            .contains("grants.http.hosts")
    );
    assert!(
        error(&granted, "http ftp://a/")
            .await
            .contains("neither http nor https")
    );
    assert!(
        error(&granted, "http http://127.0.0.1:1/")
            .await
            .contains("grants.http.hosts")
    );
    let large = error(
        &granted,
        &format!("http http://{}/bytes/2000000", origin.endpoint()),
    )
    .await;
    assert!(large.contains("exceeds"), "{large}");
    // a name that is allowed, an address that is not: what a rebound DNS name would try
    let public = json!({"grants": {"http": {"hosts": [format!("localhost:{}", origin.address().port())]}}});
    let public = gateway(&origin, public).await;
    let refused = error(
        &public,
        &format!("http http://localhost:{}/", origin.address().port()),
    )
    .await;
    assert!(refused.contains("private-addresses"), "{refused}");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn bytes_sent_by_a_plugin_are_bounded() {
    let origin = Origin::start();
    let settings = json!({
        "grants": {"http": {"hosts": [origin.endpoint()], "private-addresses": true}},
        "limits": {"egress": "200B"},
    });
    let gateway = gateway(&origin, settings).await;
    let reply = ok(&gateway, &format!("http http://{}/echo/small", origin.endpoint())).await;
    assert_eq!(reply["status"], 200);
    let long = "a".repeat(300);
    let refused = error(
        &gateway,
        &format!("http http://{}/echo/{long}", origin.endpoint()),
    )
    .await;
    assert!(
        refused.contains("egress") && refused.contains("200B"),
        "{refused}"
    );
    assert_eq!(origin.hits(&format!("/echo/{long}")), 0);
}

#[tokio::test]
async fn what_was_not_granted_is_refused_and_counted() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    let report = gateway.plugin("sink").report().ungranted.clone();
    for name in ["kv", "http", "secret"] {
        assert!(report.iter().any(|ungranted| ungranted == name), "{report:?}");
    }
    for operation in ["kv-get shop a", "http http://127.0.0.1:1/", "secret password"] {
        assert!(
            error(&gateway, operation).await.contains("not granted"),
            "{operation}"
        );
    }
    assert_eq!(gateway.plugin("sink").stats().denied_calls, 3);
    let needs =
        json!({"module": "kitchen-sink", "config": {"needs": ["kv", "http"]}, "grants": {"http": {}}});
    let problem = Gateway::try_start(
        tempfile::tempdir().unwrap(),
        json!({
            "plugins": {"sink": needs},
            "routes": [{"path": "/", "respond": {"status": 200}, "pipeline": ["sink"]}],
        }),
    )
    .await
    .err()
    .unwrap();
    assert!(
        problem.contains("sink") && problem.contains("kv") && !problem.contains("http"),
        "{problem}"
    );
}

#[tokio::test]
async fn secrets_come_from_files_and_stay_out_of_the_log() {
    record_logs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "  correct horse\n").unwrap();
    let origin = Origin::start();
    let secrets = json!({"grants": {"secrets": {"password": {"file": file}, "gone": {"env": "EDGEWARD_TEST_NOT_SET"}}}});
    let gateway = gateway(&origin, secrets).await;
    assert_eq!(ok(&gateway, "secret password").await, "correct horse");
    assert!(
        error(&gateway, "secret gone")
            .await
            .contains("EDGEWARD_TEST_NOT_SET")
    );
    assert!(error(&gateway, "secret other").await.contains("not granted"));
    assert!(!edgeward_tests::logs().contains("correct horse"));
}

#[tokio::test]
async fn matchers_and_crypto_answer_at_once() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let report = ok(&gateway, "matcher 1 UNION  SELECT passwd").await;
    assert_eq!(report["regex"], json!([0]));
    assert_eq!(report["regex-find"], json!([0, 2, 15]));
    assert_eq!(report["literal"], json!([1]));
    assert_eq!(ok(&gateway, "matcher nothing").await["regex-is-match"], false);
    for (address, hit) in [
        ("10.1.2.3", json!(1)),
        ("10.9.9.9", json!(0)),
        ("2001:db8::1", json!(2)),
        ("11.0.0.1", json!(null)),
        ("no", json!(null)),
    ] {
        assert_eq!(
            ok(&gateway, &format!("matcher-ip {address}")).await,
            hit,
            "{address}"
        );
    }
    assert!(
        ok(&gateway, "matcher-late a+")
            .await
            .as_str()
            .unwrap()
            .contains("init")
    );
    let crypto = ok(&gateway, "crypto").await;
    assert_eq!(
        crypto["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        crypto["hmac"],
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        (&crypto["hmac-verify"], &crypto["equal"]),
        (&json!(true), &json!([true, false]))
    );
    assert_eq!(
        (&crypto["ed25519"], &crypto["ed25519-wrong"]),
        (&json!({"Ok": true}), &json!({"Ok": false}))
    );
}

#[tokio::test]
async fn log_lines_and_metrics_carry_the_plugin() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    ok(&gateway, "log warn something odd happened").await;
    let line = wait_for_log(&["something odd happened"]).await;
    for text in ["\"sink\"", "\"pets\"", "WARN"] {
        assert!(line.contains(text), "{text} in {line}");
    }
    ok(&gateway, "metrics widgets 5").await;
    ok(&gateway, "metrics widgets 2").await;
    let metrics = gateway.metrics();
    let counted = metrics.lines().any(|line| {
        line.contains("name=\"widgets\"") && line.contains("plugin=\"sink\"") && line.ends_with(" 7")
    });
    assert!(counted, "{metrics}");
}

#[tokio::test]
async fn observers_hear_of_every_exchange_and_change_none() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    gateway.get("/pets/1/status/503").await;
    let line = wait_for_log(&["observed", "/pets/1/status/503"]).await;
    assert!(line.contains("\\\"upstream\\\":true"), "{line}");
    gateway
        .call(
            "GET",
            "/pets/2/x",
            &[("x-sink-phase", "authorize"), ("x-sink", "deny 403 no")],
        )
        .await;
    wait_for_log(&["observed", "/pets/2/x", "ACCESS_DENIED"]).await;
}

#[tokio::test]
async fn instances_are_fresh_or_reused_as_the_binding_says() {
    let origin = Origin::start();
    let phases = json!({"phases": ["request-head"]});
    let fresh = gateway(&origin, json!({"config": phases})).await;
    for _ in 0..3 {
        assert_eq!(ok(&fresh, "calls").await, 1);
    }
    assert_eq!(
        fresh.plugin("sink").report().instances,
        "rewind",
        "fresh without being made anew"
    );
    assert!(fresh.plugin("sink").stats().instances <= 3);
    let reuse = json!({"config": phases, "isolation": {"reuse": {"requests": 3, "ttl": "1h"}}});
    let reused = gateway(&origin, reuse).await;
    let mut connection = edgeward_tests::Connection::h1(reused.address()).await;
    let mut calls = Vec::new();
    for _ in 0..7 {
        let request = http::Request::get("/pets/1/x").header("x-sink", "calls");
        calls.push(
            connection.send(request, edgeward_tests::empty()).await.json()["ok"]
                .as_u64()
                .unwrap(),
        );
    }
    assert_eq!(calls, [1, 2, 3, 1, 2, 3, 1]);
    let report = reused.plugin("sink");
    assert!(
        report.report().isolation.starts_with("reuse(3"),
        "{:?}",
        report.report()
    );
}

#[tokio::test]
async fn the_clock_runs_and_seeds_differ() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let now = u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let told = ok(&gateway, "clock").await.as_u64().unwrap();
    assert!(told.abs_diff(now) < 60_000);
    let mut seeds = HashSet::new();
    let mut orders = HashSet::new();
    for _ in 0..8 {
        let report = ok(&gateway, "hash-seed").await;
        seeds.insert(report["seed"].to_string());
        orders.insert(report["sdk-order"].to_string());
    }
    assert_eq!(seeds.len(), 8);
    assert!(
        orders.len() > 1,
        "hash tables of all instances have the same order"
    );
}
