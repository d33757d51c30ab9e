//! Calls of the admin API that come twice, come late or ask for a part: `Idempotency-Key`, `If-Match`, pages.

use serde_json::{Value, json};

use crate::apis::{Site, saying};

const DEPLOYMENTS: &str = "/v1/apis/pets/deployments";
const PROD: &str = "/v1/apis/pets/stages/prod";

async fn tag(site: &Site, path: &str) -> String {
    let reply = site.admin("GET", path, Value::Null).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.header("etag").to_owned()
}

/// A change of what somebody saw, and the same again after somebody else's.
async fn only_once(site: &Site, (method, path): (&str, &str), seen: &str, body: Value, then: Value) {
    let seen = [("if-match", seen)];
    let first = site.with(method, path, &seen, body).await;
    assert!(first.status < 300, "{path}: {} {}", first.status, first.text());
    let second = site.with(method, path, &seen, then).await;
    assert_eq!(second.status, 412, "{method} {path}: {}", second.text());
    assert!(second.text().contains("entity tag"), "{}", second.text());
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_not_changed_by_those_who_do_not_know() {
    let site = Site::start();
    let bundle = "/v1/bundle";
    let empty = tag(&site, bundle).await;
    only_once(&site, ("PUT", bundle), &empty, saying("one"), saying("two")).await;
    site.done("POST", DEPLOYMENTS, json!({"stage": "prod"})).await;
    site.apply(saying("two")).await;

    let canary = |percent: u32| json!({"stage": "prod", "canary": {"percent": percent}});
    let seen = tag(&site, PROD).await;
    only_once(&site, ("POST", DEPLOYMENTS), &seen, canary(10), canary(20)).await;
    let rule = json!({"canary": {"percent": 30}});
    site.with(
        "PATCH",
        PROD,
        &[("content-type", "application/merge-patch+json")],
        rule,
    )
    .await;
    for action in ["abort", "promote", "rollback"] {
        let path = format!("{PROD}/{action}");
        let late = site
            .with("POST", &path, &[("if-match", &seen)], Value::Null)
            .await;
        assert_eq!(late.status, 412, "{action}: {}", late.text());
    }
    let seen = tag(&site, PROD).await;
    let promote = format!("{PROD}/promote");
    only_once(&site, ("POST", &promote), &seen, Value::Null, Value::Null).await;
    let seen = tag(&site, PROD).await;
    let rollback = format!("{PROD}/rollback");
    only_once(&site, ("POST", &rollback), &seen, Value::Null, Value::Null).await;

    let document = "/v1/apis/pets/openapi";
    let seen = tag(&site, document).await;
    let with = |title: &str| {
        json!({"openapi": "3.0.3", "info": {"title": title, "version": "1"}, "paths": {
            "/b": {"get": {"responses": {"200": {"description": "ok"}}, "x-amazon-apigateway-integration": {"type": "mock"}}},
        }})
    };
    only_once(&site, ("PUT", document), &seen, with("a"), with("b")).await;
}

#[tokio::test]
async fn a_condition_that_cannot_be_looked_at_is_refused() {
    let site = Site::start();
    site.apply(saying("one")).await;
    for (method, path, body) in [
        ("POST", "/v1/reload", Value::Null),
        ("POST", "/v1/plugins/x/publish", json!({"version": 1})),
        ("DELETE", "/v1/certificates/x", Value::Null),
        ("POST", "/v1/imports", json!({})),
        ("POST", DEPLOYMENTS, json!({})),
    ] {
        let reply = site.with(method, path, &[("if-match", "\"1\"")], body).await;
        assert_eq!(reply.status, 400, "{method} {path}: {}", reply.text());
        assert!(reply.text().contains("`If-Match`"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_call_that_comes_again_under_its_key_is_answered_and_not_done_again() {
    let site = Site::start();
    site.apply(saying("one")).await;
    site.done("PUT", "/v1/principals/ci", json!({"role": "viewer"}))
        .await;
    let document = json!({"openapi": "3.0.3", "info": {"title": "Cats", "version": "1"}, "paths": {}});
    let tokens = "/v1/principals/ci/tokens";
    for (number, (path, body)) in [
        (DEPLOYMENTS, json!({"stage": "prod"})),
        (tokens, json!({})),
        ("/v1/imports?id=cats", document),
        ("/v1/reload", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("key-{number}");
        let key = [("idempotency-key", &*name)];
        let first = site.with("POST", path, &key, body.clone()).await;
        assert!(first.status < 300, "{path}: {}", first.text());
        assert_eq!(first.header("idempotent-replayed"), "");
        let log = site.done("GET", "/v1/audit?limit=1000", Value::Null).await;
        let noted = log.as_array().unwrap().len();
        // which call it was can be told by whoever knows its key
        let id = first.header("x-request-id");
        let of_it: Vec<_> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["request-id"] == id)
            .collect();
        let told = edgeward_runtime::digest(name.as_bytes()).to_string();
        assert!(
            !of_it.is_empty() && of_it.iter().all(|entry| entry["idempotency-key"] == told),
            "{log}"
        );
        assert!(!log.to_string().contains(&name), "{log}");
        let again = site.with("POST", path, &key, body).await;
        assert_eq!(
            (again.status, again.text(), again.header("idempotent-replayed")),
            (first.status, first.text(), "true"),
            "{path}"
        );
        let after = site.done("GET", "/v1/audit?limit=1000", Value::Null).await;
        assert_eq!(after.as_array().unwrap().len(), noted, "{path}: {after}");
        let other = site.with("POST", path, &key, json!({"description": "x"})).await;
        assert_eq!(other.status, 422, "{path}: {}", other.text());
    }
    let made = site.done("GET", tokens, Value::Null).await;
    assert_eq!(made["items"].as_array().unwrap().len(), 1);
    // what was refused may be tried again
    let key = [("idempotency-key", "later")];
    let path = "/v1/apis/dogs/deployments";
    assert_eq!(site.with("POST", path, &key, json!({})).await.status, 404);
    let log = site
        .done("GET", "/v1/audit?target=apis/dogs/deployments", Value::Null)
        .await;
    assert_eq!(
        (&log[0]["outcome"], &log[0]["idempotency-key"]),
        (
            &json!("refused"),
            &json!(edgeward_runtime::digest(b"later").to_string())
        )
    );
    site.done("POST", "/v1/apis", json!({"id": "dogs"})).await;
    let tried = site.with("POST", path, &key, json!({})).await;
    assert_ne!(tried.status, 404, "{}", tried.text());
    // and what has no key says none
    let log = site.done("GET", "/v1/audit?target=apis/dogs", Value::Null).await;
    assert_eq!(log[0].get("idempotency-key"), None, "{log}");
}

#[tokio::test]
async fn of_two_calls_at_once_under_one_key_one_is_done() {
    let site = Site::start();
    site.done("PUT", "/v1/principals/ci", json!({"role": "viewer"}))
        .await;
    let key = [("idempotency-key", "k")];
    let tokens = "/v1/principals/ci/tokens";
    let calls = (0..8).map(|_| site.with("POST", tokens, &key, json!({})));
    let replies = futures_util::future::join_all(calls).await;
    for reply in &replies {
        assert!([201, 409].contains(&reply.status), "{}", reply.text());
    }
    let made = site.done("GET", tokens, Value::Null).await;
    assert_eq!(made["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_and_versions_come_page_by_page() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["mark"] = json!({"module": edgeward_tests::guest("mark")});
    });
    site.done("PUT", "/v1/principals/ci", json!({"role": "viewer"}))
        .await;
    let tokens = "/v1/principals/ci/tokens";
    for _ in 0..3 {
        site.done("POST", tokens, json!({})).await;
    }
    let first = site.done("GET", &format!("{tokens}?limit=2"), Value::Null).await;
    let next = first["next"].as_str().unwrap();
    let rest = site
        .done("GET", &format!("{tokens}?limit=2&cursor={next}"), Value::Null)
        .await;
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&rest), &rest["next"]), (2, 1, &Value::Null));

    let wasm = edgeward_tests::guest_bytes("mark");
    for number in 0..3 {
        let settings = format!(
            "%7B%22limits%22%3A%7B%22wall-time%22%3A%22{}ms%22%7D%7D",
            100 + number
        );
        let path = format!("/v1/plugins/mark/module?settings={settings}");
        let reply = site
            .process
            .admin("PUT", &path, edgeward_tests::bytes(wasm.clone()))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let versions = "/v1/plugins/mark/versions";
    let numbers = |page: Value| -> Vec<u64> {
        let rows = page.as_array().unwrap().iter();
        rows.map(|row| row["version"].as_u64().unwrap()).collect()
    };
    let newest = numbers(
        site.done("GET", &format!("{versions}?limit=2"), Value::Null)
            .await,
    );
    let rest = numbers(
        site.done(
            "GET",
            &format!("{versions}?limit=2&cursor={}", newest[1]),
            Value::Null,
        )
        .await,
    );
    assert_eq!((newest, rest), (vec![3, 2], vec![1]));
    let reply = site
        .admin("GET", &format!("{versions}?limit=0"), Value::Null)
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());

    site.module("stamp").await;
    for (path, name) in [("/v1/modules", "digest"), ("/v1/plugins", "name")] {
        let all = site.done("GET", path, Value::Null).await;
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), 2, "{path}: {all:?}");
        let first = site.done("GET", &format!("{path}?limit=1"), Value::Null).await;
        let cursor = first[0][name].as_str().unwrap();
        let rest = site
            .done("GET", &format!("{path}?limit=1&cursor={cursor}"), Value::Null)
            .await;
        assert_eq!((&first[0][name], &rest[0][name]), (&all[0][name], &all[1][name]));
        let refused = site.admin("GET", &format!("{path}?limit=0"), Value::Null).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn entity_tags_come_in_lists_and_weak_ones_do_for_reading() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let seen = tag(&site, PROD).await;
    let other = "\"1000000\"";
    for (tags, status) in [
        (format!("{other}, \"x\""), 412),
        (format!("W/{seen}"), 412),
        (format!("{other},{seen}"), 200),
    ] {
        let patch = json!({"description": tags});
        let fields = [
            ("content-type", "application/merge-patch+json"),
            ("if-match", &*tags),
        ];
        let reply = site.with("PATCH", PROD, &fields, patch).await;
        assert_eq!(reply.status, status, "{tags}: {}", reply.text());
    }
    let seen = tag(&site, PROD).await;
    for tags in [format!("W/{seen}"), format!("{other}, W/{seen}")] {
        let reply = site
            .with("GET", PROD, &[("if-none-match", &*tags)], Value::Null)
            .await;
        assert_eq!(reply.status, 304, "{tags}");
    }
    let twice = r#"{"protocol": "REST", "protocol": "HTTP"}"#;
    let reply = site
        .process
        .admin("PUT", "/v1/apis/cats", edgeward_tests::bytes(twice))
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("protocol"), "{}", reply.text());
}

#[tokio::test]
async fn the_log_has_what_was_begun_beside_the_model_and_how_it_ended() {
    let site = Site::start();
    let outcomes = async |target: &str| -> Vec<String> {
        let rows = site
            .done("GET", &format!("/v1/audit?target={target}"), Value::Null)
            .await;
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["outcome"].as_str().unwrap().to_owned())
            .collect()
    };
    site.done("POST", "/v1/reload", Value::Null).await;
    assert_eq!(outcomes("reload").await, ["begun", "done"]);
    let refused = site.admin("DELETE", "/v1/certificates/none", Value::Null).await;
    assert_eq!(refused.status, 404);
    assert_eq!(outcomes("certificates/none").await, ["begun", "refused"]);
}
