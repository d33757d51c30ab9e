//! Canaries through the real process: what becomes of them, and what the audit log says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use edgeward_tests::{Connection, empty, eventually, guest};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::apis::{PETS, Site, saying};

/// The audit log's last entry about the stage with an action.
async fn last(site: &Site, action: &str) -> Value {
    let path = format!("/v1/audit?limit=1000&action={action}&target=apis/pets/stages/prod");
    let log = site.done("GET", &path, Value::Null).await;
    let entry = log.as_array().unwrap().last();
    entry.unwrap_or_else(|| panic!("no `{action}`: {log}")).clone()
}

/// One API whose route passes the plugin `stamp`, with a canary of another text at `percent`; ids of both deployments.
async fn with_canary(site: &Site, percent: f64) -> [String; 2] {
    let bundle = |text: &str| {
        let mut bundle = saying(text);
        bundle["apis"]["pets"]["routes"]["GET /a"]["pipeline"] = json!(["stamp"]);
        bundle
    };
    site.apply(bundle("old")).await;
    let first = site
        .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(bundle("new")).await;
    let body = json!({"stage": "prod", "canary": {"percent": percent}});
    let second = site.done("POST", "/v1/apis/pets/deployments", body).await;
    [first, second].map(|made| made["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_step_of_a_canary_is_in_the_audit_log_with_the_digests_of_its_plugins() {
    let site = Site::start();
    let module = edgeward_runtime::digest(&std::fs::read(guest("stamp")).unwrap()).to_string();
    let [old, new] = with_canary(&site, 10.0).await;
    let begun = last(&site, "deploy").await;
    assert_eq!(begun["patch"][0]["path"], "/canary", "{begun}");
    assert_eq!(begun["patch"][0]["value"]["deployment"], new.as_str(), "{begun}");
    assert_eq!(
        begun["detail"]["canary-modules"]["stamp"],
        module.as_str(),
        "{begun}"
    );
    assert_eq!(begun["detail"]["modules"], Value::Null, "{begun}");
    // another share
    let patch = json!({"canary": {"percent": 25.0}});
    site.done("PATCH", "/v1/apis/pets/stages/prod", patch).await;
    let percent = last(&site, "update").await;
    assert_eq!(
        percent["patch"],
        json!([
            {"op": "test", "path": "/canary/percent", "value": 10.0},
            {"op": "replace", "path": "/canary/percent", "value": 25.0},
        ]),
        "{percent}"
    );
    assert_eq!(
        percent["detail"],
        Value::Null,
        "nothing else is served: {percent}"
    );
    // given up by somebody: nobody gets it any more
    site.done("POST", "/v1/apis/pets/stages/prod/abort", Value::Null)
        .await;
    for _ in 0..50 {
        assert_eq!(site.get(PETS, "/prod/a").await.text(), "old");
    }
    let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
    assert_eq!((&stage["deployment"], stage.get("canary")), (&json!(old), None));
    let abort = last(&site, "abort").await;
    let canary = json!({"deployment": new, "percent": 25.0});
    assert_eq!(
        (&abort["patch"], &abort["principal"]),
        (
            &json!([{"op": "test", "path": "/canary", "value": canary}, {"op": "remove", "path": "/canary"}]),
            &json!("root")
        )
    );
    // begun again by hand, and promoted
    let patch = json!({"canary": {"deployment": new, "percent": 100.0}});
    site.done("PATCH", "/v1/apis/pets/stages/prod", patch).await;
    let begun = last(&site, "update").await;
    assert_eq!(
        begun["detail"]["canary-modules"]["stamp"],
        module.as_str(),
        "{begun}"
    );
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "new");
    site.done("POST", "/v1/apis/pets/stages/prod/promote", Value::Null)
        .await;
    let promoted = last(&site, "promote").await;
    assert_eq!(
        promoted["detail"]["modules"]["stamp"],
        module.as_str(),
        "{promoted}"
    );
    let steps = promoted["patch"].as_array().unwrap().iter();
    let paths: Vec<_> = steps.map(|step| step["path"].as_str().unwrap()).collect();
    assert!(
        paths.contains(&"/canary") && paths.contains(&"/deployment"),
        "{promoted}"
    );
    // and back
    site.done("POST", "/v1/apis/pets/stages/prod/rollback", Value::Null)
        .await;
    let back = last(&site, "rollback").await;
    assert_eq!(back["detail"]["modules"]["stamp"], module.as_str(), "{back}");
    assert!(
        back["patch"]
            .as_array()
            .unwrap()
            .contains(&json!({"op": "replace", "path": "/deployment", "value": old})),
        "{back}"
    );
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "old");
}

/// Requests at once, again and again, until the canary is gone; then the reason that the audit log has.
async fn until_given_up(site: &Site) -> String {
    eventually("the canary to be given up", async || {
        let requests = (0..60).map(|_| site.get(PETS, "/prod/a"));
        futures_util::future::join_all(requests).await;
        let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
        stage.get("canary").is_none().then_some(())
    })
    .await;
    eventually("the reason", async || {
        let entry = last(site, "automatic-rollback").await;
        entry["detail"]["reason"].as_str().map(str::to_owned)
    })
    .await
}

/// Deploys one bundle to all and another one to half of the requests, with a rule for giving it up.
async fn beside(site: &Site, good: Value, bad: Value, rollback: Value) {
    site.apply(good).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(bad).await;
    let body = json!({"stage": "prod", "canary": {"percent": 50, "rollback": rollback}});
    site.done("POST", "/v1/apis/pets/deployments", body).await;
}

#[tokio::test]
async fn a_canary_whose_plugin_fails_is_given_up() {
    for on_error in ["closed", "open"] {
        let site = Site::with_config(|config, _folder| {
            config["plugins"]["bad"] = json!({
                "module": guest("misbehave"),
                "grants": {"http": {}},
                "on-error": on_error,
                "config": {"mode": "trap", "phase": "request-head"},
            });
        });
        let passing = |plugin: &str| {
            let mut bundle = saying("one");
            bundle["apis"]["pets"]["routes"]["GET /a"]["pipeline"] = json!([plugin]);
            bundle
        };
        // by its plugin alone: errors may be as many as they like
        let rollback = json!({"min-requests": 20, "errors": 100});
        beside(&site, passing("stamp"), passing("bad"), rollback).await;
        let reason = until_given_up(&site).await;
        assert!(reason.contains("failed in a plugin"), "{on_error}: {reason}");
        for _ in 0..20 {
            let reply = site.get(PETS, "/prod/a").await;
            assert_eq!((reply.status, reply.header("x-stamp")), (200, "file"));
        }
    }
}

#[tokio::test]
async fn a_canary_that_is_slow_is_given_up() {
    let site = Site::start();
    let asking = |path: &str| {
        json!({"apis": {"pets": {
            "integrations": {"a": {"type": "HTTP_PROXY", "uri": site.web(path)}},
            "routes": {"GET /a": {"integration": "a"}},
            "stages": {"prod": {}},
        }}})
    };
    let (fast, slow) = (asking("/text/a"), asking("/slow/2000"));
    beside(&site, fast, slow, json!({"min-requests": 20})).await;
    let reason = until_given_up(&site).await;
    assert!(reason.starts_with("99 % of its last "), "{reason}");
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "some plain text");
}

#[tokio::test]
async fn a_mapping_knows_which_arm_a_request_is_of() {
    let site = Site::start();
    let told = |number: u32| {
        json!({"apis": {"pets": {
            "description": number.to_string(),
            "integrations": {"a": {
                "type": "HTTP_PROXY",
                "uri": site.web("/status/204"),
                "request-parameters": {"integration.request.querystring.canary": "context.isCanaryRequest"},
            }},
            "routes": {"GET /a": {"integration": "a"}},
            "stages": {"prod": {}},
        }}})
    };
    beside(&site, told(1), told(2), Value::Null).await;
    let arms = "/v1/apis/pets/stages/prod/arms";
    for _ in 0..40 {
        assert_eq!(site.get(PETS, "/prod/a").await.status, 204);
    }
    let arms = site.done("GET", arms, Value::Null).await;
    let seen = site.origin.seen();
    for (arm, target) in [
        ("control", "/status/204?canary=false"),
        ("canary", "/status/204?canary=true"),
    ] {
        let requests = seen.iter().filter(|seen| seen.target == target);
        assert_eq!(arms[arm]["served"]["requests"], requests.count(), "{arms}");
    }
}

#[tokio::test]
async fn clients_of_one_address_stay_with_an_arm_and_both_arms_have_some() {
    let site = Site::start();
    site.apply(saying("old")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(saying("new")).await;
    let canary = json!({"percent": 50, "sticky": {"address": true}});
    site.done(
        "POST",
        "/v1/apis/pets/deployments",
        json!({"stage": "prod", "canary": canary}),
    )
    .await;
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        let stream = socket.connect(site.process.address()).await.unwrap();
        let request = Request::get("/prod/a").header("host", PETS);
        Connection::over(stream).await.send(request, empty()).await.text()
    };
    let mut arms = BTreeMap::<String, u32>::new();
    for last in 2..34 {
        let first = from(last).await;
        for _ in 0..3 {
            assert_eq!(from(last).await, first, "127.0.0.{last} was moved");
        }
        *arms.entry(first).or_default() += 1;
    }
    assert_eq!(arms.keys().collect::<Vec<_>>(), ["new", "old"], "{arms:?}");
    assert!(arms.values().all(|addresses| *addresses >= 5), "{arms:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_deployments_under_load_cost_no_request() {
    let site = Site::start();
    let text = |turn: u32| format!("{turn:03}");
    site.apply(saying(&text(0))).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = site.process.address();
    let mut clients = Vec::new();
    for index in 0..4 {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut connection = if index % 2 == 0 {
                Connection::h1(address).await
            } else {
                Connection::h2(address).await
            };
            let mut seen = BTreeSet::new();
            while !stop.load(Relaxed) {
                let request = Request::get("/prod/a").header("host", PETS);
                let reply = connection.send(request, empty()).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                let text = reply.text();
                // nobody is served by one that was replaced
                assert!(
                    seen.last().is_none_or(|last| *last <= text),
                    "{text} after {seen:?}"
                );
                seen.insert(text);
                done.fetch_add(1, Relaxed);
            }
            seen
        }));
    }
    for turn in 1..=100 {
        let integration = saying(&text(turn))["apis"]["pets"]["integrations"]["mock"].clone();
        site.done("PUT", "/v1/apis/pets/integrations/mock", integration)
            .await;
        site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
            .await;
        // one that no request saw would prove nothing
        let before = done.load(Relaxed);
        eventually("requests in between", async || {
            (done.load(Relaxed) > before).then_some(())
        })
        .await;
    }
    stop.store(true, Relaxed);
    let mut seen = BTreeSet::new();
    for client in clients {
        seen.extend(client.await.unwrap());
    }
    assert!(seen.len() > 50, "{} deployments were seen", seen.len());
    assert_eq!(site.get(PETS, "/prod/a").await.text(), text(100));
}

#[tokio::test]
async fn a_stage_that_deploys_by_itself_makes_up_for_what_it_has_missed() {
    let site = Site::start();
    let edit = async |text: &str| {
        site.done("PUT", "/v1/apis/pets/integrations/mock", crate::apis::mock(text))
            .await
    };
    let serves = async |text: &str| {
        assert_eq!(site.get(PETS, "/prod/a").await.text(), text);
        let drift = site.done("GET", "/v1/apis/pets/drift", Value::Null).await;
        drift["prod"]["drifted"].as_bool().unwrap()
    };
    let stage = "/v1/apis/pets/stages/prod";
    let canary = json!({"stage": "prod", "canary": {"percent": 0}});
    site.apply(saying("one")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    // an edit first, and then the wish to deploy edits
    edit("two").await;
    assert!(serves("one").await);
    site.done("PATCH", stage, json!({"auto-deploy": true})).await;
    assert!(!serves("two").await);
    // nothing waits behind a canary of what is served
    for end in ["abort", "promote"] {
        site.done("POST", "/v1/apis/pets/deployments", canary.clone())
            .await;
        site.done("POST", &format!("{stage}/{end}"), Value::Null).await;
        assert!(!serves("two").await);
        site.done("PATCH", stage, json!({"auto-deploy": true})).await;
    }
    // an edit while there is a canary waits for its end
    let deployments = "/v1/apis/pets/deployments";
    for (end, text) in [("promote", "three"), ("patch", "four")] {
        site.done("POST", deployments, canary.clone()).await;
        edit(text).await;
        assert_ne!(site.get(PETS, "/prod/a").await.text(), text);
        if end == "patch" {
            site.done("PATCH", stage, json!({"canary": null})).await;
        } else {
            site.done("POST", &format!("{stage}/{end}"), Value::Null).await;
        }
        assert!(!serves(text).await);
    }
    // what was tried and is taken away does not come to everybody by itself
    site.done("PATCH", stage, json!({"auto-deploy": false})).await;
    edit("five").await;
    site.done("POST", deployments, canary.clone()).await;
    site.done("PATCH", stage, json!({"auto-deploy": true})).await;
    site.done("PATCH", stage, json!({"canary": null})).await;
    assert!(serves("four").await);
    edit("six").await;
    assert!(!serves("six").await);
    // nor does a half-made edit keep a canary from being taken away
    site.done("POST", deployments, canary).await;
    let route = "/v1/apis/pets/routes/GET%20%2Fhalf";
    site.done("PUT", route, json!({"integration": "not-yet"})).await;
    site.done("POST", &format!("{stage}/abort"), Value::Null).await;
    assert!(serves("six").await);
    let after = site.done("GET", stage, Value::Null).await;
    assert_eq!(
        (&after["canary"], &after["auto-deploy"]),
        (&Value::Null, &json!(false))
    );
}

#[tokio::test]
async fn one_version_of_a_plugin_is_tried_on_a_share_of_one_api_and_given_up_by_its_failures() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["guard"] = json!({
            "module": guest("misbehave"),
            "grants": {"http": {}},
            "on-error": "open",
            "config": {"mode": "none", "phase": "request-head"},
        });
        config["routes"][0]["pipeline"] = json!(["stamp", "guard"]);
    });
    let api = |text: &str| {
        let mut api = saying(text)["apis"]["pets"].clone();
        api["routes"]["GET /a"]["pipeline"] = json!(["stamp", "guard"]);
        api["stages"]["prod"]["auto-deploy"] = true.into();
        api
    };
    site.apply(json!({"apis": {"pets": api("pets"), "cats": api("cats")}}))
        .await;
    let version = async |plugin: &str, module: &str, config: Value| {
        let body = json!({"module": site.module(module).await, "config": config});
        let path = format!("/v1/plugins/{plugin}/versions");
        site.done("POST", &path, body).await["version"].as_u64().unwrap()
    };
    let stamp = version("stamp", "stamp", json!({"version": "tried"})).await;
    let guard = version(
        "guard",
        "misbehave",
        json!({"mode": "trap", "phase": "request-head"}),
    )
    .await;
    let deployments = "/v1/apis/pets/deployments";
    let stamped = async |host: &str, path: &str| site.get(host, path).await.header("x-stamp").to_owned();
    // to everybody else everything is as it was
    let elsewhere = async || {
        assert_eq!(stamped("cats.execute-api.localhost", "/prod/a").await, "file");
        assert_eq!(stamped("gateway.test", "/x").await, "file");
    };
    let tried = json!({"stage": "prod", "plugins": {"stamp": stamp}, "canary": {"percent": 50}});
    site.done("POST", deployments, tried).await;
    let mut seen = BTreeMap::<String, u32>::new();
    for _ in 0..100 {
        *seen.entry(stamped(PETS, "/prod/a").await).or_default() += 1;
        elsewhere().await;
    }
    assert!((25..=75).contains(&seen["tried"]), "{seen:?}");
    assert_eq!(seen["tried"] + seen["file"], 100, "{seen:?}");
    // nothing of it is live, and the stage serves another version than a deployment made now would have
    let drift = async || site.done("GET", "/v1/apis/pets/drift", Value::Null).await["prod"].clone();
    assert_eq!(drift().await["drifted"], false);
    site.done("POST", "/v1/apis/pets/stages/prod/promote", Value::Null)
        .await;
    assert_eq!(stamped(PETS, "/prod/a").await, "tried");
    elsewhere().await;
    let promoted = drift().await;
    assert_eq!(
        (&promoted["drifted"], &promoted["patch"]),
        (&json!(true), &json!([]))
    );
    let outdated = json!([{"plugin": "stamp", "deployed": stamp, "live": 0}]);
    assert_eq!(promoted["plugins"], outdated, "{promoted}");
    let site = site.again();
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "tried");
    // the next deployment has the live versions
    site.done(
        "PUT",
        "/v1/apis/pets/integrations/mock",
        crate::apis::mock("edited"),
    )
    .await;
    let served = site.get(PETS, "/prod/a").await;
    assert_eq!(
        (served.text().as_str(), served.header("x-stamp")),
        ("edited", "file")
    );
    let drift = site.done("GET", "/v1/apis/pets/drift", Value::Null).await;
    assert_eq!(drift["prod"]["drifted"], false, "{drift}");
    // one that fails is given up by itself
    let rollback = json!({"min-requests": 20, "errors": 100});
    let tried = json!({"stage": "prod", "plugins": {"guard": guard}, "canary": {"percent": 50, "rollback": rollback}});
    site.done("POST", deployments, tried).await;
    let reason = until_given_up(&site).await;
    assert!(reason.contains("failed in a plugin"), "{reason}");
    let plugins = site.done("GET", "/v1/plugins", Value::Null).await;
    let live = plugins.as_array().unwrap().iter();
    assert!(live.clone().all(|plugin| plugin["version"] == 0), "{plugins}");
}
