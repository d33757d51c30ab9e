//! What `init` may do, what its snapshot keeps, and what must never be in it.

use std::collections::HashSet;

use edgeward_tests::{
    Gateway, Origin, Process, cli, guest, guest_bytes, load, logs, record_logs, runtime, wait_for_log,
};
use serde_json::{Value, json};

async fn init(settings: Value) -> Result<Value, String> {
    let loaded = load(&runtime(), &guest_bytes("bad-init"), settings).await;
    loaded
        .map(|version| serde_json::to_value(version.report()).unwrap())
        .map_err(|error| error.to_string())
}

async fn refused(mode: &str) -> String {
    init(json!({"config": {"mode": mode}})).await.unwrap_err()
}

#[tokio::test]
async fn a_plugin_that_can_be_snapshotted_is() {
    let report = init(json!({"config": {"mode": "ok"}})).await.unwrap();
    assert_eq!(
        (report["snapshot"].as_str(), report["isolation"].as_str()),
        (Some("taken"), Some("request"))
    );
    assert_eq!(report["interest"]["phases"], json!(["request-head"]));
    init(json!({"config": {"mode": "hash-map"}}))
        .await
        .expect("tables of the SDK need no seed in init");
}

#[tokio::test]
async fn the_operator_reads_why_init_failed() {
    for (mode, texts) in [
        ("error", &["bad-init was told to fail"][..]),
        ("panic", &["bad-init was told to panic", "lib.rs"]),
        ("clock", &["clock", "snapshot"]),
        ("entropy", &["init"]),
        ("secret", &["snapshot"]),
        ("pattern", &["(broken"]),
        ("unknown-mode", &["unknown-mode"]),
    ] {
        let text = refused(mode).await;
        assert!(text.starts_with("plugin `tested`"), "{mode}: {text}");
        for part in texts {
            assert!(text.contains(part), "{mode}: {part} in {text}");
        }
    }
}

#[tokio::test]
async fn nothing_that_is_granted_can_be_used_in_init() {
    let (origin, folder) = (Origin::start(), tempfile::tempdir().unwrap());
    let key = folder.path().join("key");
    std::fs::write(&key, "s3cret").unwrap();
    for (mode, name, grants, says) in [
        (
            "secret",
            "key".to_owned(),
            json!({"secrets": {"key": {"file": key}}}),
            "secrets are not available during init",
        ),
        (
            "kv",
            "shop".to_owned(),
            json!({"kv": {"shop": {}}}),
            "kv is not available during init",
        ),
        (
            "http",
            format!("http://{}/", origin.endpoint()),
            json!({"http": {"hosts": [origin.endpoint()], "private-addresses": true}}),
            "http is not available during init",
        ),
    ] {
        let plugin =
            json!({"module": guest("bad-init"), "config": {"mode": mode, "name": name}, "grants": grants});
        let text = init(plugin.clone()).await.unwrap_err();
        assert!(text.contains(says), "{mode}: {text}");
        // what cannot be made is not deployed
        let mut config = crate::process::config(&origin);
        config["plugins"]["bad"] = plugin;
        config["routes"][0]["pipeline"] = json!(["bad"]);
        crate::process::write(folder.path(), &config);
        let checked = cli(folder.path(), &["check"]).await;
        assert_ne!(checked.code, 0, "{mode}: {}", checked.out);
        assert!(
            checked.err.contains("bad") && checked.err.contains(says),
            "{mode}: {}",
            checked.err
        );
        let told = Process::try_start(folder.path()).err().unwrap();
        assert!(told.contains(says), "{mode}: {told}");
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn init_has_budgets_too() {
    let text = init(json!({"config": {"mode": "spin"}, "limits": {"init-time": "100ms"}}))
        .await
        .unwrap_err();
    // on a busy machine the wall time, four times as long, may be over first
    assert!(text.contains("cpu-time") || text.contains("wall-time"), "{text}");
    let text = init(json!({"config": {"mode": "eat-memory"}, "limits": {"memory": "8MiB"}}))
        .await
        .unwrap_err();
    assert!(text.contains("memory") && text.contains("8MiB"), "{text}");
}

#[tokio::test]
async fn a_capability_that_is_declared_needs_its_grant() {
    let text = init(json!({"config": {"mode": "needs", "name": "kv"}}))
        .await
        .unwrap_err();
    assert!(text.contains("kv") && text.contains("grants"), "{text}");
    init(json!({"config": {"mode": "needs", "name": "kv"}, "grants": {"kv": {"shop": {}}}}))
        .await
        .unwrap();
}

async fn wasi_gateway(origin: &Origin, config: Value) -> Gateway {
    let plugin = json!({"module": "wasi-guest", "config": config, "grants": {"wasi": true}, "limits": {"cpu-time": "1s"}});
    Gateway::with_plugin(&origin.endpoint(), plugin).await
}

async fn wasi(gateway: &Gateway, what: &str) -> Value {
    let reply = gateway.call("GET", "/echo", &[("x-wasi", what)]).await;
    assert_eq!(reply.status, 200, "{what}: {}", reply.text());
    reply.json()
}

#[tokio::test]
async fn wasi_runs_without_files_and_sockets() {
    record_logs();
    let origin = Origin::start();
    let gateway = wasi_gateway(&origin, json!({})).await;
    assert_eq!(gateway.get("/echo").await.status, 200);
    let clock = wasi(&gateway, "clock").await;
    assert!(
        clock["now-ms"].as_u64().unwrap() > 1_600_000_000_000 && clock["monotonic"] == true,
        "{clock}"
    );
    for what in ["file", "socket"] {
        assert!(wasi(&gateway, what).await["error"].is_string(), "{what}");
    }
    let env = wasi(&gateway, "env").await;
    assert_eq!(
        env["vars"],
        json!([]),
        "the gateway's environment is not the guest's"
    );
    wasi(&gateway, "print").await;
    wait_for_log(&["a line on stdout", "tested"]).await;
    wait_for_log(&["a line on stderr"]).await;
    assert!(!logs().contains("root:x:0"));
}

#[tokio::test]
async fn hash_tables_of_instances_differ() {
    let origin = Origin::start();
    for config in [json!({}), json!({"in-init": "hash"})] {
        let gateway = wasi_gateway(&origin, config.clone()).await;
        let version = gateway.plugin("tested");
        let report = version.report();
        // either every request has a fresh snapshot, or the report says why not
        assert!(
            report.snapshot == "taken" || report.isolation.starts_with("reuse("),
            "{report:?}"
        );
        if config["in-init"] == "hash" {
            assert!(report.snapshot.contains("seed"), "{report:?}");
        }
        // a new worker or connection may or may not get a reused instance; fresh gateways never do
        let mut hashes = HashSet::new();
        for _ in 0..2 {
            let gateway = wasi_gateway(&origin, config.clone()).await;
            hashes.insert(wasi(&gateway, "hash").await["hash"].to_string());
        }
        assert_eq!(hashes.len(), 2, "{config}");
    }
}

#[tokio::test]
async fn wasi_clocks_are_refused_in_init_and_wasi_needs_its_grant() {
    let wasm = guest_bytes("wasi-guest");
    let granted = json!({"config": {"in-init": "clock"}, "grants": {"wasi": true}});
    let text = load(&runtime(), &wasm, granted).await.unwrap_err().to_string();
    assert!(text.contains("clock") && text.contains("snapshot"), "{text}");
    let text = load(&runtime(), &wasm, json!({"config": {}}))
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("wasi") && text.contains("grants"), "{text}");
}
