//! The admin API of a running gateway.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use edgeward_tests::{
    Origin, Process, Reply, ask, bytes, chunked, cli, core_module_bytes, empty, eventually, get, guest_bytes,
};
use http::Request;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{config, folder, live, write};

async fn upload(process: &Process, wasm: Vec<u8>) -> Reply {
    process.admin("POST", "/v1/modules", bytes(wasm)).await
}

async fn publish(process: &Process, version: &str) -> Reply {
    let digest = upload(process, guest_bytes("stamp")).await.json()["digest"].clone();
    let body = json!({"module": digest, "config": {"version": version}}).to_string();
    process
        .admin("POST", "/v1/plugins/stamp/versions?publish=true", bytes(body))
        .await
}

#[tokio::test]
async fn nothing_is_told_without_the_token() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let mode = std::fs::metadata(&process.token_file)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for path in [
        "/v1/status",
        "/v1/config",
        "/v1/plugins",
        "/v1/modules",
        "/v1/plugins/stamp",
    ] {
        for request in [
            Request::get(path),
            Request::get(path).header("authorization", "Bearer wrong"),
            Request::get(path).header("authorization", format!("Basic {}", process.token())),
        ] {
            let reply = ask(process.admin, request, empty()).await;
            assert_eq!(reply.status, 401, "{path}: {}", reply.text());
            assert!(
                reply.header("www-authenticate").starts_with("Bearer"),
                "{reply:?}"
            );
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(process.admin, path).await.status, 200, "{path}");
    }
    assert_eq!(process.admin_get("/v1/status").await["ready"], true);
}

#[tokio::test]
async fn every_endpoint_is_in_the_openapi_document() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let document = get(process.admin, "/openapi.json").await.json();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3."),
        "{document}"
    );
    for path in [
        "/v1/status",
        "/v1/config",
        "/v1/reload",
        "/v1/modules",
        "/v1/modules/{digest}",
        "/v1/plugins",
        "/v1/plugins/{name}",
        "/v1/plugins/{name}/versions",
        "/v1/plugins/{name}/publish",
        "/v1/plugins/{name}/rollback",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/status", 405),
        ("GET", "/v1/plugins/ghost", 404),
    ] {
        let reply = process.admin(method, path, empty()).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, "application/problem+json"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_core_module_as_cargo_builds_it_is_wrapped_and_serves() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let module = core_module_bytes("stamp");
    assert_eq!(module[4..8], [1, 0, 0, 0], "a core module, no component");
    let module = upload(&process, module).await;
    assert_eq!(module.status, 201, "{}", module.text());
    let digest = module.json()["digest"].as_str().unwrap().to_owned();
    let info = process.admin_get(&format!("/v1/modules/{digest}")).await["info"].clone();
    assert_eq!(
        (&info["kind"], &info["hooks"]),
        (&json!("core-module"), &json!(["transform"])),
        "{info}"
    );
    let body = json!({"module": digest, "config": {"version": "core"}}).to_string();
    let reply = process
        .admin("POST", "/v1/plugins/stamp/versions?publish=true", bytes(body))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(live(&process).await, "core");
}

#[tokio::test]
async fn the_file_can_name_an_uploaded_module_by_its_digest() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let digest = upload(&process, guest_bytes("stamp")).await.json()["digest"].clone();
    let mut config = config(&origin);
    config["plugins"]["stamp"] = json!({"module": digest, "config": {"version": "by digest"}});
    write(folder.path(), &config);
    let is_live = async || (live(&process).await == "by digest").then_some(());
    eventually("the changed file to be live", is_live).await;
    let plugin = process.admin_get("/v1/plugins/stamp").await;
    assert!(plugin.to_string().contains(digest.as_str().unwrap()), "{plugin}");
    // `check` finds it in the data folder, beside the gateway that runs
    let checked = cli(folder.path(), &["check", "--json"]).await;
    assert_eq!(
        (checked.code, &checked.json()["ok"]),
        (0, &json!(true)),
        "{checked:?}"
    );
    process.kill();
    let process = Process::start(folder.path());
    assert_eq!(live(&process).await, "by digest", "after a restart");
    // one that nobody uploaded is a problem with its place, and changes nothing
    let unknown = format!("sha256:{}", "0".repeat(64));
    config["plugins"]["stamp"]["module"] = json!(unknown);
    write(folder.path(), &config);
    let reply = process.admin("POST", "/v1/reload", empty()).await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    let text = reply.text();
    assert!(
        text.contains("plugins.stamp.module") && text.contains(&unknown),
        "{text}"
    );
    assert_eq!(live(&process).await, "by digest");
}

#[tokio::test]
async fn a_version_is_uploaded_published_rolled_back_and_survives_a_restart() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let module = upload(&process, guest_bytes("stamp")).await;
    assert_eq!(module.status, 201, "{}", module.text());
    let digest = module.json()["digest"].as_str().unwrap().to_owned();
    assert_eq!(
        process.admin_get(&format!("/v1/modules/{digest}")).await["info"]["hooks"],
        json!(["transform"])
    );
    for (number, version) in [(1, "one"), (2, "two")] {
        let reply = publish(&process, version).await;
        assert_eq!(
            (reply.status, reply.json()["version"].as_u64()),
            (201, Some(number)),
            "{}",
            reply.text()
        );
        assert_eq!(live(&process).await, version, "live for the next request");
    }
    let again = publish(&process, "two").await;
    assert_eq!(
        (again.status, again.json()["created"].as_bool()),
        (200, Some(false))
    );
    let plugin = process.admin_get("/v1/plugins/stamp").await;
    assert_eq!(
        (plugin["version"].as_u64(), plugin["source"].as_str()),
        (Some(2), Some("published")),
        "{plugin}"
    );
    assert!(
        plugin["stats"]["calls"]["request-head"].as_u64() >= Some(1),
        "{plugin}"
    );
    process.kill();
    let process = Process::start(folder.path());
    assert_eq!(live(&process).await, "two");
    let reply = process.admin("POST", "/v1/plugins/stamp/rollback", empty()).await;
    assert_eq!(
        (reply.status, reply.json()["version"].as_u64()),
        (200, Some(1)),
        "{}",
        reply.text()
    );
    assert_eq!(live(&process).await, "one");
    let reply = process
        .admin("POST", "/v1/plugins/stamp/rollback", bytes(r#"{"version": 0}"#))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(live(&process).await, "file");
    let reply = process
        .admin("POST", "/v1/plugins/stamp/publish", bytes(r#"{"version": 2}"#))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(live(&process).await, "two");
    let reply = process
        .admin("DELETE", "/v1/plugins/stamp/versions/2", empty())
        .await;
    assert_eq!(reply.status, 409, "a live version stays: {}", reply.text());
    let reply = process
        .admin("DELETE", &format!("/v1/modules/{digest}"), empty())
        .await;
    assert_eq!(reply.status, 409, "a module in use stays: {}", reply.text());
}

#[tokio::test]
async fn what_does_not_work_is_not_kept() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let digest = upload(&process, guest_bytes("stamp")).await.json()["digest"].clone();
    let wasi = upload(&process, guest_bytes("wasi-guest")).await.json()["digest"].clone();
    for (body, text) in [
        (json!({"module": digest, "config": {"wrong": 1}}), "wrong"),
        (
            json!({"module": digest, "config": {"version": "1"}, "limit": {}}),
            "limit",
        ),
        (json!({"module": wasi, "config": {}}), "wasi"),
        (
            json!({"module": format!("sha256:{}", "0".repeat(64)), "config": {}}),
            "0000",
        ),
        (json!({"module": "nonsense"}), "module"),
    ] {
        let reply = process
            .admin(
                "POST",
                "/v1/plugins/stamp/versions?publish=true",
                bytes(body.to_string()),
            )
            .await;
        assert!(
            (400..500).contains(&reply.status),
            "{body}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(reply.text().contains(text), "{body}: {}", reply.text());
    }
    assert_eq!(process.admin_get("/v1/plugins/stamp/versions").await, json!([]));
    let reply = process
        .admin(
            "POST",
            "/v1/plugins/ghost/versions",
            bytes(json!({"module": digest}).to_string()),
        )
        .await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    for body in ["", "{", "[]", "{\"version\": \"x\"}"] {
        let reply = process
            .admin("POST", "/v1/plugins/stamp/publish", bytes(body))
            .await;
        assert!((400..500).contains(&reply.status), "{body}: {}", reply.text());
    }
    assert_eq!(live(&process).await, "file");
}

#[tokio::test]
async fn bad_and_oversized_modules_are_refused_and_leave_nothing() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let stamp = guest_bytes("stamp");
    for wasm in [
        b"not wasm".to_vec(),
        Vec::new(),
        b"\0asm\x0d\0\x01\0".to_vec(),
        stamp[..stamp.len() / 2].to_vec(),
    ] {
        let reply = upload(&process, wasm).await;
        assert_eq!(reply.status, 422, "{}", reply.text());
    }
    let reply = upload(&process, vec![0; 100 << 20]).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.text().contains("upload-limit"), "{}", reply.text());
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let reply = process
        .admin("POST", "/v1/modules", chunked(vec![chunk; 100]))
        .await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert_eq!(process.admin_get("/v1/modules").await, json!([]));
    let left = std::fs::read_dir(folder.path().join("data/modules"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing is left of refused uploads");
    assert_eq!(live(&process).await, "file");
}

#[tokio::test]
async fn status_and_metrics_tell_what_runs() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    live(&process).await;
    get(process.address(), "/../..").await;
    let status = process.admin_get("/v1/status").await;
    assert_eq!(status["proxy"]["routes"], 1, "{status}");
    assert_eq!(status["plugins"][0]["name"], "stamp");
    assert!(
        status["snapshot"].is_u64() && status["listeners"][0]["address"].is_string(),
        "{status}"
    );
    let effective = process.admin_get("/v1/config").await;
    assert_eq!(effective["routes"][0]["name"], "all");
    assert_ne!(effective["limits"]["head"], Value::Null, "defaults are filled in");
    let metrics = get(process.admin, "/metrics").await.text();
    for name in [
        "edgeward_plugin_calls_total",
        "edgeward_upstream_up",
        "edgeward_modules_compiled_total",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    for line in metrics
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn metrics_have_each_series_once_and_each_family_in_one_piece() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    live(&process).await;
    let calls = async || -> (u64, String) {
        let metrics = get(process.admin, "/metrics").await.text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("edgeward_plugin_calls_total{"));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        (count.unwrap_or(0), metrics)
    };
    let (before, _) = calls().await;
    // the same module with other settings has the same name, number and digest
    let mut changed = config(&origin);
    changed["plugins"]["stamp"]["limits"] = json!({"log-lines": 7});
    write(folder.path(), &changed);
    process.signal(Signal::HUP);
    eventually("the changed settings to be live", async || {
        let plugin = process.admin_get("/v1/plugins/stamp").await;
        (plugin["settings"]["limits"]["log-lines"] == 7).then_some(())
    })
    .await;
    live(&process).await;
    let (after, metrics) = calls().await;
    assert!(after > before, "counters go on: {before} then {after}");
    let mut series = std::collections::HashSet::new();
    let mut families = std::collections::HashSet::new();
    let mut family = "";
    for line in metrics.lines() {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            family = named.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} twice");
        } else if !line.starts_with('#') {
            let (name, _) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} in family {family}");
            assert!(series.insert(name), "{name} twice");
        }
    }
    assert!(families.contains("edgeward_plugin_calls_total"), "{metrics}");
}
