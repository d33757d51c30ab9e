//! Versions of plugins that run beside the live ones: on copies, without effect, compared and counted.

use edgeward_tests::{eventually, guest};
use serde_json::{Value, json};

use crate::apis::Site;

impl Site {
    /// A version of `stamp` that is kept and not live.
    async fn version(&self, config: Value) -> u64 {
        let module = self.module("stamp").await;
        let version = json!({"module": module, "config": config});
        self.done("POST", "/v1/plugins/stamp/versions", version).await["version"]
            .as_u64()
            .unwrap()
    }

    async fn counts(&self) -> Value {
        self.done("GET", "/v1/shadows/stamp/counts", Value::Null).await["counts"].clone()
    }
}

#[tokio::test]
async fn a_shadow_is_compared_with_the_live_version_and_changes_nothing() {
    let site = Site::start();
    let same = site.version(json!({"version": "file"})).await;
    let other = site.version(json!({"version": "other"})).await;
    site.done("PUT", "/v1/shadows/stamp", json!({"version": same}))
        .await;
    assert_eq!(site.get("gateway.test", "/a").await.header("x-stamp"), "file");
    eventually("the shadow to follow", async || {
        (site.counts().await["equal"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    let counts = site.counts().await;
    assert_eq!(
        (&counts["different"], &counts["failed"]),
        (&json!(0), &json!(0)),
        "{counts}"
    );

    // another version says something else, which nobody sees
    site.done("PUT", "/v1/shadows/stamp", json!({"version": other}))
        .await;
    for _ in 0..5 {
        let reply = site.get("gateway.test", "/b").await;
        assert_eq!(reply.header("x-stamp"), "file");
    }
    eventually("differences", async || {
        (site.counts().await["different"].as_u64().unwrap() >= 5).then_some(())
    })
    .await;
    let counts = site.counts().await;
    let latest = &counts["latest"][0];
    assert_eq!(latest["route"], "all", "{counts}");
    let fields = latest["fields"].to_string();
    assert!(fields.contains("header.x-stamp"), "{counts}");
    assert!(!counts.to_string().contains("other"), "values are told: {counts}");
    let metrics = site.admin("GET", "/metrics", Value::Null).await.text();
    assert!(
        metrics.contains(&format!(
            "edgeward_plugin_shadow_calls_total{{plugin=\"stamp\",version=\"{other}\",result=\"different\"}}"
        )),
        "{metrics}"
    );

    // it is there after a restart, and its beginning and end are in the log
    let site = site.again();
    assert_eq!(site.get("gateway.test", "/c").await.header("x-stamp"), "file");
    eventually("the shadow to follow again", async || {
        (site.counts().await["different"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    site.done("DELETE", "/v1/shadows/stamp", Value::Null).await;
    let gone = site.admin("GET", "/v1/shadows/stamp/counts", Value::Null).await;
    assert_eq!(gone.status, 404, "{}", gone.text());
    let log = site.done("GET", "/v1/audit", Value::Null).await.to_string();
    assert!(
        log.contains("\"shadows/stamp\"") && log.contains("\"delete\""),
        "{log}"
    );
}

#[tokio::test]
async fn a_shadow_of_a_deployed_plugin_is_compared_too() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "routes": {"GET /a": {"integration": "echo", "pipeline": ["stamp"]}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let other = site.version(json!({"version": "other"})).await;
    site.done(
        "PUT",
        "/v1/shadows/stamp",
        json!({"version": other, "percent": 100}),
    )
    .await;
    let reply = site.get("pets.execute-api.localhost", "/prod/a").await;
    assert_eq!(reply.header("x-stamp"), "file");
    eventually("a difference", async || {
        (site.counts().await["different"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    assert_eq!(site.counts().await["latest"][0]["route"], "GET /a");
}

#[tokio::test]
async fn what_cannot_be_a_shadow_is_refused() {
    let site = Site::start();
    let other = site.version(json!({"version": "other"})).await;
    for (path, body, status, says) in [
        (
            "/v1/shadows/stamp",
            json!({"version": other + 1}),
            404,
            "has no version",
        ),
        (
            "/v1/shadows/nobody",
            json!({"version": 0}),
            404,
            "no plugin is called `nobody`",
        ),
        (
            "/v1/shadows/stamp",
            json!({"version": other, "percent": 0}),
            422,
            "above 0 to 100",
        ),
        ("/v1/shadows/stamp", json!({}), 422, "is missing"),
    ] {
        let refused = site.admin("PUT", path, body).await;
        assert_eq!(refused.status, status, "{}", refused.text());
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    // a version that nothing else needs stays while it is a shadow
    site.done("PUT", "/v1/shadows/stamp", json!({"version": other}))
        .await;
    let refused = site
        .admin(
            "DELETE",
            &format!("/v1/plugins/stamp/versions/{other}"),
            Value::Null,
        )
        .await;
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[tokio::test]
async fn a_shadow_whose_plugin_has_gone_can_be_removed() {
    let site = Site::start();
    let mut config = crate::process::config(&site.origin);
    config["plugins"]["second"] = config["plugins"]["stamp"].clone();
    crate::process::write(site.folder.path(), &config);
    for plugin in ["stamp", "second"] {
        eventually("the plugin", async || {
            let put = site
                .admin("PUT", &format!("/v1/shadows/{plugin}"), json!({"version": 0}))
                .await;
            (put.status < 300).then_some(())
        })
        .await;
    }
    config["plugins"] = json!({});
    config["routes"] = json!([]);
    crate::process::write(site.folder.path(), &config);
    eventually("the plugins to go", async || {
        let plugins = site.done("GET", "/v1/plugins", Value::Null).await;
        plugins.as_array().unwrap().is_empty().then_some(())
    })
    .await;
    for plugin in ["stamp", "second"] {
        site.done("DELETE", &format!("/v1/shadows/{plugin}"), Value::Null)
            .await;
    }
}

#[tokio::test]
async fn a_shadow_that_fails_is_counted_and_nobody_notices() {
    let site = Site::start();
    let module = site.module("misbehave").await;
    let version = json!({
        "module": module,
        "config": {"mode": "trap", "phase": "request-head"},
        "grants": {"http": {}},
    });
    let version = site.done("POST", "/v1/plugins/stamp/versions", version).await;
    site.done("PUT", "/v1/shadows/stamp", json!({"version": version["version"]}))
        .await;
    for _ in 0..3 {
        let reply = site.get("gateway.test", "/a").await;
        assert_eq!((reply.status, reply.header("x-stamp")), (200, "file"));
    }
    eventually("failures", async || {
        (site.counts().await["failed"].as_u64().unwrap() >= 3).then_some(())
    })
    .await;
    let latest = site.counts().await["latest"].to_string();
    assert!(latest.contains("failed: "), "{latest}");
}

#[tokio::test]
async fn a_shadow_writes_to_no_store_of_the_live_version_and_sends_nothing_that_changes_anything() {
    let site = Site::with_config(|config, _folder| {
        let origin = config["upstreams"]["origin"]["endpoints"][0].clone();
        config["plugins"]["sink"] = json!({
            "module": guest("kitchen-sink"),
            "grants": {"metrics": true, "kv": {"shop": {}}, "http": {"hosts": [origin], "private-addresses": true}},
        });
        config["routes"][0]["pipeline"] = json!(["sink"]);
    });
    let module = site.module("kitchen-sink").await;
    let version = json!({"module": module, "config": {"literals": ["another"]}});
    let version = site.done("POST", "/v1/plugins/sink/versions", version).await["version"].clone();
    site.done("PUT", "/v1/shadows/sink", json!({"version": version}))
        .await;
    let counts = async || {
        let counts = site.done("GET", "/v1/shadows/sink/counts", Value::Null).await["counts"].clone();
        let of = |name: &str| counts[name].as_u64().unwrap();
        (of("equal") + of("different") + of("failed"), counts)
    };
    let run = async |operation: &str| {
        let (before, _) = counts().await;
        let reply = site
            .call("gateway.test", "GET", "/x", &[("x-sink", operation)], "")
            .await;
        eventually("the shadow to follow", async || {
            (counts().await.0 > before).then_some(())
        })
        .await;
        assert_eq!(reply.status, 200, "{operation}: {}", reply.text());
        reply.json()["ok"].clone()
    };
    for number in 1..=5 {
        assert_eq!(run("kv-increment shop n 1").await, number);
    }
    run("kv-set shop a live").await;
    run("kv-delete shop a").await;
    assert_eq!(
        run("kv-increment shop n 0").await,
        5,
        "both would have counted to ten"
    );
    let before = counts().await.1["different"].clone();
    let (post, get) = (site.web("/posted"), site.web("/asked"));
    for _ in 0..3 {
        run(&format!("http {post} POST")).await;
        run(&format!("http {get} GET")).await;
    }
    let hits = |method: &str, target: &str| {
        let seen = site.origin.seen();
        seen.iter()
            .filter(|seen| seen.method == method && seen.target == target)
            .count()
    };
    // a call is counted for each of its phases, and the last ones may be on their way
    eventually("both to ask", async || (hits("GET", "/asked") == 6).then_some(())).await;
    assert_eq!(hits("POST", "/posted"), 3, "of the live version alone");
    assert_ne!(
        counts().await.1["different"],
        before,
        "what was refused is a difference"
    );
    // one of the live version itself has no part in its counters
    site.done("PUT", "/v1/shadows/sink", json!({"version": 0})).await;
    for _ in 0..3 {
        run("metrics sold 7").await;
    }
    let metrics = site.admin("GET", "/metrics", Value::Null).await.text();
    let sold: Vec<_> = metrics.lines().filter(|line| line.contains("\"sold\"")).collect();
    assert!(matches!(*sold, [line] if line.ends_with(" 21")), "{sold:?}");
}
