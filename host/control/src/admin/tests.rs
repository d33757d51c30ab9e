//! The API's edges that need no plugin: authentication, error bodies, uploads that are refused. What publishing does to
//! traffic is shown by the integration suite.

use std::path::Path;

use edgeward_core::config::Bytes;
use edgeward_proxy::Proxy;
use edgeward_runtime::{Runtime, RuntimeOptions};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{ConfigFile, Store};

const TOKEN: &str = "a-token-for-tests-only";

struct Server {
    admin: AdminServer,
    deployer: Deployer,
    _dir: tempfile::TempDir,
}

async fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.yaml");
    std::fs::write(
        &path,
        "{listeners: [{name: main, address: '127.0.0.1:0'}], workers: 1, routes: [{path: /, respond: {status: 200}}]}",
    )
    .unwrap();
    let store = Arc::new(Store::open(&dir.path().join("data")).unwrap());
    let options = RuntimeOptions {
        cache_dir: None,
        cache_key: [1; 32],
        instances: 4,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::new(options).unwrap();
    let file = ConfigFile::read(Path::new(&path)).unwrap();
    let (deployer, snapshot) = Deployer::boot(runtime.clone(), store, file).await.unwrap();
    deployer.attach(Arc::new(Proxy::start(runtime, snapshot).unwrap()));
    let settings = Admin {
        address: ([127, 0, 0, 1], 0).into(),
        upload_limit: Bytes(1000),
        ..Admin::default()
    };
    let token = dir.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let admin = AdminServer::start(deployer.clone(), &settings, dir.path(), token)
        .await
        .unwrap();
    Server {
        admin,
        deployer,
        _dir: dir,
    }
}

/// Sends a request by hand and returns status, head and body.
async fn send(server: &Server, head: &str, body: &[u8]) -> (u16, String, String) {
    let mut socket = tokio::net::TcpStream::connect(server.admin.address())
        .await
        .unwrap();
    let head = format!(
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // the answer may come before the body was read
    let _early = socket.write_all(body).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(read.is_ok() || !answer.is_empty());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn authorized(server: &Server, line: &str, body: &[u8]) -> (u16, Value) {
    let head = format!("{line} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json");
    let (status, _, body) = send(server, &head, body).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_health_metrics_and_the_description_needs_the_token() {
    let server = server().await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(
            send(&server, &format!("GET {path} HTTP/1.1"), b"").await.0,
            200,
            "{path}"
        );
    }
    for line in [
        "GET /v1/status",
        "GET /v1/config",
        "POST /v1/modules",
        "POST /v1/plugins/a/publish",
    ] {
        for token in [
            "",
            "\r\nauthorization: Bearer wrong",
            "\r\nauthorization: Basic YTpi",
        ] {
            let (status, head, body) = send(&server, &format!("{line} HTTP/1.1{token}"), b"").await;
            assert_eq!(status, 401, "{line}{token}");
            assert!(
                head.contains("www-authenticate: bearer") && head.contains("application/problem+json"),
                "{head}"
            );
            assert!(body.contains("token"), "{body}");
        }
    }
    assert_eq!(authorized(&server, "GET /v1/status", b"").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_framework_are_problem_documents_too() {
    let server = server().await;
    for (line, body, status) in [
        ("GET /nowhere", &b""[..], 404),
        ("DELETE /v1/status", b"", 405),
        ("POST /v1/plugins/a/publish", b"{", 400),
        (
            "POST /v1/plugins/a/publish",
            b"{\"version\": 1, \"more\": 2}",
            422,
        ),
        ("GET /v1/modules/sha256:12", b"", 400),
    ] {
        let (found, body) = authorized(&server, line, body).await;
        assert_eq!(found, status, "{line}: {body}");
        assert_eq!(body["status"], status, "{line}: {body}");
        assert!(!body["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_no_plugin_or_too_large_is_refused_and_leaves_nothing() {
    let server = server().await;
    let (status, body) = authorized(&server, "POST /v1/modules", b"#!/bin/sh").await;
    assert_eq!(status, 422, "{body}");
    let (status, body) = authorized(&server, "POST /v1/modules", &[0; 1001]).await;
    assert_eq!(status, 413, "{body}");
    assert!(body["detail"].as_str().unwrap().contains("1000 bytes"), "{body}");
    let modules = server.deployer.store().root().join("modules");
    assert_eq!(std::fs::read_dir(modules).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_the_configuration_lacks_are_not_found() {
    let server = server().await;
    for (line, body) in [
        ("GET /v1/plugins/ghost", &b""[..]),
        ("POST /v1/plugins/ghost/publish", b"{\"version\": 1}"),
        ("POST /v1/plugins/ghost/rollback", b"{}"),
        ("PUT /v1/plugins/ghost/module", b"\0asm"),
    ] {
        let (status, body) = authorized(&server, line, body).await;
        assert_eq!(status, 404, "{line}: {body}");
        assert!(body["detail"].as_str().unwrap().contains("`ghost`"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_with_all_its_problems_and_shown_in_status_and_metrics() {
    let server = server().await;
    let before = authorized(&server, "GET /v1/status", b"").await.1["snapshot"].clone();
    let path = server.deployer.path().to_owned();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        "{listeners: [{address: '127.0.0.1:0'}], routes: [{path: /, upstream: a}, {path: /b, upstream: b}]}",
    )
    .unwrap();
    let (status, body) = authorized(&server, "POST /v1/reload", b"").await;
    assert_eq!(status, 422);
    assert_eq!(body["problems"].as_array().unwrap().len(), 2, "{body}");
    let now = authorized(&server, "GET /v1/status", b"").await.1;
    assert_eq!(now["snapshot"], before);
    assert_eq!(now["config"]["last-reload"]["ok"], false);
    assert_eq!(
        now["config"]["last-reload"]["error"]["problems"]
            .as_array()
            .unwrap()
            .len(),
        2,
        "{now}"
    );
    let metrics = send(&server, "GET /metrics HTTP/1.1", b"").await.2;
    assert!(
        metrics.contains("edgeward_config_last_reload_success 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("edgeward_config_reload_failures_total 1\n"),
        "{metrics}"
    );
    std::fs::write(&path, good).unwrap();
    assert_eq!(authorized(&server, "POST /v1/reload", b"").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_is_not_ready_and_takes_no_changes() {
    let server = server().await;
    server.deployer.stop();
    assert_eq!(send(&server, "GET /readyz HTTP/1.1", b"").await.0, 503);
    assert_eq!(send(&server, "GET /healthz HTTP/1.1", b"").await.0, 200);
    assert_eq!(authorized(&server, "POST /v1/reload", b"").await.0, 503);
    let address = server.admin.address();
    server.admin.stop().await;
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "the listener is closed"
    );
}

#[test]
fn the_end_of_a_body_goes_by_what_it_is_for_and_not_by_what_that_is_called() {
    for (path, most) in [
        ("/v1/bundle", BUNDLE_MAX),
        ("/v1/imports", DOCUMENT_MAX),
        ("/v1/apis/pets/openapi", DOCUMENT_MAX),
        ("/v1/apis/openapi", JSON_MAX),
        ("/v1/apis/pets/models/openapi", JSON_MAX),
        ("/v1/apis", JSON_MAX),
    ] {
        assert_eq!(body_max(path), most, "{path}");
    }
}
