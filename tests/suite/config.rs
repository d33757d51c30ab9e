//! Configurations: what `check` finds, and what a running gateway makes of a file that changes.

use std::path::Path;

use edgeward_tests::{Origin, Process, cli, eventually, get, guest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{config, folder, live, write};

async fn check(folder: &Path, words: &[&str]) -> (i32, Value) {
    let mut all = vec!["check", "gateway.yaml", "--json"];
    all.extend(words);
    let outcome = cli(folder, &all).await;
    (outcome.code, outcome.json())
}

#[tokio::test]
async fn a_good_file_is_fine() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let (code, report) = check(folder.path(), &[]).await;
    assert_eq!(
        (code, report["ok"].as_bool(), report["routes"].as_u64()),
        (0, Some(true), Some(1))
    );
    assert!(!folder.path().join("data").exists(), "checking changes nothing");
    let text = cli(folder.path(), &["check"]).await;
    assert!(text.code == 0 && text.out.contains("fine"), "{text:?}");
}

#[tokio::test]
async fn every_problem_is_reported_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start();
    for (change, places) in [
        (json!({"listners": []}), &["listners"][..]),
        (
            json!({"routes": [{"path": "/", "upstream": "nowhere"}, {"path": "no-slash", "respond": {"status": 200}}]}),
            &["routes[0].upstream", "routes[1].path"],
        ),
        (
            json!({"routes": [{"path": "/a", "upstream": "origin", "pipeline": ["ghost"]}]}),
            &["routes[0].pipeline[0]"],
        ),
        (
            json!({"routes": [{"path": "/a", "upstream": "origin"}, {"path": "/a", "upstream": "origin"}]}),
            &["routes[1]"],
        ),
        (
            json!({"limits": {"head": "12 potatoes", "body": -1}}),
            &["limits"],
        ),
        (
            json!({"upstreams": {"origin": {"endpoints": []}}}),
            &["upstreams.origin"],
        ),
        (
            json!({"upstreams": {"origin": {"endpoints": ["no port"]}}}),
            &["upstreams.origin"],
        ),
        (
            json!({"listeners": [{"address": "nowhere:80"}]}),
            &["listeners[0].address"],
        ),
        (
            json!({"listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "no.crt", "key": "no.key"}]}}]}),
            &["listeners[0].tls"],
        ),
        (
            json!({"plugins": {"stamp": {"module": "missing.wasm"}}}),
            &["plugins.stamp.module"],
        ),
        (
            json!({"plugins": {"stamp": {"module": guest("stamp"), "config": {"wrong": 1}}}}),
            &["plugins.stamp"],
        ),
    ] {
        let mut wrong = config(&origin);
        wrong
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        write(folder.path(), &wrong);
        let (code, report) = check(folder.path(), &[]).await;
        assert_eq!(code, 2, "{change}: {report}");
        let problems = report["error"]["problems"].as_array().unwrap();
        for place in places {
            let found = problems
                .iter()
                .any(|problem| problem["path"].as_str().unwrap().starts_with(place));
            assert!(found, "{place} in {report}");
        }
    }
    std::fs::write(folder.path().join("gateway.yaml"), "listeners: [").unwrap();
    let (code, report) = check(folder.path(), &["--shallow"]).await;
    assert!(code == 2 && report.to_string().contains("YAML"), "{report}");
}

#[tokio::test]
async fn the_schema_describes_every_section() {
    let folder = tempfile::tempdir().unwrap();
    let schema = cli(folder.path(), &["schema", "--json"]).await.json();
    for section in [
        "listeners",
        "admin",
        "data-dir",
        "limits",
        "upstreams",
        "plugins",
        "routes",
        "log",
    ] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    let plain = cli(folder.path(), &["schema"]).await;
    assert!(plain.code == 0 && plain.out.contains("$schema"), "{plain:?}");
}

#[tokio::test]
async fn a_changed_file_is_live_without_a_restart_and_a_bad_one_is_not() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    assert_eq!(live(&process).await, "file");
    let mut next = config(&origin);
    next["plugins"]["stamp"]["config"]["version"] = json!("next");
    write(folder.path(), &next);
    eventually("the new file to be live", async || {
        (live(&process).await == "next").then_some(())
    })
    .await;
    let mut bad = next.clone();
    bad["routes"][0]["upstream"] = json!("nowhere");
    write(folder.path(), &bad);
    let status = eventually("the bad file to be refused", async || {
        let status = process.admin_get("/v1/status").await;
        (status["config"]["last-reload"]["ok"] == false).then_some(status)
    })
    .await;
    assert!(status.to_string().contains("routes[0].upstream"), "{status}");
    assert!(process.log().contains("nowhere"), "{}", process.log());
    let metrics = get(process.admin, "/metrics").await.text();
    let last = "edgeward_config_last_reload_success 0";
    assert!(metrics.lines().any(|line| line == last), "{metrics}");
    // the watcher may have seen one change of the file as two
    let failures = "edgeward_config_reload_failures_total ";
    let failures = metrics.lines().find_map(|line| line.strip_prefix(failures));
    assert!(failures.is_some_and(|count| count != "0"), "{metrics}");
    assert_eq!(live(&process).await, "next");
    next["plugins"]["stamp"]["config"]["version"] = json!("mended");
    write(folder.path(), &next);
    process.signal(Signal::HUP);
    eventually("the mended file to be live", async || {
        (live(&process).await == "mended").then_some(())
    })
    .await;
    // requests see a snapshot a moment before the attempt that made it is over
    eventually("the attempt to be recorded", async || {
        let status = process.admin_get("/v1/status").await;
        (status["config"]["last-reload"]["ok"] == true).then_some(())
    })
    .await;
}

#[test]
fn the_admin_api_is_on_loopback_unless_the_file_says_otherwise() {
    for admin in [None, Some(json!({})), Some(json!({"upload-limit": "1MiB"}))] {
        let mut config = json!({
            "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
            "routes": [{"path": "/", "respond": {"status": 200}}],
        });
        if let Some(admin) = &admin {
            config["admin"] = admin.clone();
        }
        let config = edgeward_core::config::from_value(config).unwrap();
        assert!(
            config.admin.enabled && config.admin.address.ip().is_loopback(),
            "{admin:?}"
        );
    }
}

#[tokio::test]
async fn a_gateway_does_not_start_on_a_bad_file() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let mut bad = config(&origin);
    bad["plugins"]["stamp"]["config"] = json!({"nonsense": true});
    write(folder.path(), &bad);
    let outcome = cli(folder.path(), &["serve", "-c", "gateway.yaml"]).await;
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(
        outcome.err.contains("stamp") && outcome.err.contains("nonsense"),
        "{outcome:?}"
    );
}
