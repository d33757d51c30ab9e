//! What is beside APIs in the model: API keys, usage plans, web ACLs, alone and as parts of a bundle.

use edgeward_tests::{Reply, cli, guest};
use serde_json::{Value, json};

use crate::apis::{Site, pairs, saying};

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const STEPS: (&str, &str) = ("content-type", "application/json-patch+json");

/// A gateway with an API and two API keys.
async fn site() -> Site {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["mark"] = json!({"module": guest("mark")});
    });
    let mut bundle = saying("one");
    bundle["api-keys"] = json!({"ada": {}, "bob": {"enabled": false}});
    site.apply(bundle).await;
    site
}

/// Places of all that is wrong, in their order.
pub(crate) fn places(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problems = reply.json()["problems"].as_array().cloned().unwrap_or_default();
    let mut places: Vec<_> = problems
        .iter()
        .map(|problem| problem["path"].as_str().unwrap_or_default().to_owned())
        .collect();
    places.sort();
    places
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["id"].as_str()).collect()
}

#[tokio::test]
async fn keys_plans_and_firewalls_are_ordinary_rest() {
    let site = site().await;
    for (collection, body, patch, path) in [
        (
            "api-keys",
            json!({"customer-id": "7", "tags": {"team": "pets"}}),
            json!({"description": "of the shop", "tags": null}),
            "/enabled",
        ),
        (
            "usage-plans",
            json!({
                "stages": [{"api": "pets", "stage": "prod", "throttle": {"GET /a": {"rate": 1.5, "burst": 3}}}],
                "keys": ["ada"],
                "throttle": {"rate": 10.0, "burst": 20},
                "quota": {"limit": 1000, "period": "WEEK", "offset": 6},
                "tags": {"team": "pets"},
            }),
            json!({"description": "of the shop", "tags": null}),
            "/quota/limit",
        ),
        (
            "waf",
            json!({"plugins": ["mark"], "tags": {"team": "pets"}}),
            json!({"description": "of the shop", "tags": null}),
            "/plugins",
        ),
    ] {
        let all = format!("/v1/{collection}");
        let one = format!("{all}/x1");
        let mut wanted = body.clone();
        wanted["id"] = json!("x1");
        let told = site
            .with("POST", &format!("{all}?dry-run=true"), &[], wanted.clone())
            .await;
        assert_eq!(
            told.json()["changes"][0]["path"],
            format!("{collection}/x1"),
            "{}",
            told.text()
        );
        assert_eq!(site.admin("GET", &one, Value::Null).await.status, 404, "{one}");
        let made = site.admin("POST", &all, wanted.clone()).await;
        assert_eq!(
            (made.status, made.header("location")),
            (201, &*one),
            "{}",
            made.text()
        );
        assert_eq!(
            site.admin("POST", &all, wanted).await.status,
            409,
            "{one} is there"
        );

        let read = site.admin("GET", &one, Value::Null).await;
        let (seen, tag) = (read.json(), read.header("etag").to_owned());
        for (member, value) in body.as_object().unwrap() {
            assert_eq!(&seen[member], value, "{one}: {member}");
        }
        let known = site
            .with("GET", &one, &[("if-none-match", &tag)], Value::Null)
            .await;
        assert_eq!((known.status, known.body.len()), (304, 0));
        // what was read can be written
        let same = site.with("PUT", &one, &[("if-match", &tag)], seen.clone()).await;
        assert_eq!(
            (same.status, same.header("etag")),
            (200, &*tag),
            "{}",
            same.text()
        );

        let merged = site
            .with("PATCH", &one, &[("if-match", &tag), MERGE], patch.clone())
            .await;
        assert_eq!(merged.status, 200, "{}", merged.text());
        assert_eq!(
            (&merged.json()["description"], merged.json().get("tags")),
            (&json!("of the shop"), None)
        );
        for (method, fields, body) in [
            ("PATCH", vec![("if-match", &*tag), MERGE], patch),
            ("PUT", vec![("if-match", &*tag)], seen.clone()),
            ("PUT", vec![("if-none-match", "*")], seen.clone()),
            ("DELETE", vec![("if-match", &*tag)], Value::Null),
        ] {
            let late = site.with(method, &one, &fields, body).await;
            assert_eq!(late.status, 412, "{method} {one}: {}", late.text());
        }
        let value = seen.pointer(path).unwrap();
        let steps = |expected: &str| {
            json!([
                {"op": "test", "path": "/description", "value": expected},
                {"op": "replace", "path": path, "value": value},
                {"op": "remove", "path": "/description"},
            ])
        };
        let stepped = site.with("PATCH", &one, &[STEPS], steps("of the shop")).await;
        assert_eq!(
            (stepped.status, stepped.json().get("description")),
            (200, None),
            "{}",
            stepped.text()
        );
        let failed = site.with("PATCH", &one, &[STEPS], steps("something else")).await;
        assert_eq!(failed.status, 409, "{}", failed.text());

        // page by page, by name
        for name in ["x2", "x3"] {
            let body = if collection == "waf" {
                json!({"plugins": []})
            } else {
                json!({})
            };
            site.done("PUT", &format!("{all}/{name}"), body).await;
        }
        let (mut cursor, mut names) = (String::new(), Vec::new());
        loop {
            let page = site
                .done("GET", &format!("{all}?limit=2{cursor}"), Value::Null)
                .await;
            assert!(ids(&page).len() <= 2, "{page}");
            names.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let kept: &[&str] = if collection == "api-keys" {
            &["ada", "bob"]
        } else {
            &[]
        };
        assert_eq!(names, [kept, &["x1", "x2", "x3"]].concat());
        for name in ["x1", "x2", "x3"] {
            let gone = site.admin("DELETE", &format!("{all}/{name}"), Value::Null).await;
            assert_eq!(gone.status, 204, "{}", gone.text());
        }
        assert_eq!(site.admin("DELETE", &one, Value::Null).await.status, 404);
        let log = site
            .done("GET", &format!("/v1/audit?target={collection}/x1"), Value::Null)
            .await;
        let actions: Vec<_> = pairs(&log, "action", "outcome")
            .into_iter()
            .filter(|(_, outcome)| *outcome == "done")
            .map(|(action, _)| action)
            .collect();
        assert_eq!(actions, ["create", "update", "update", "delete"]);
    }
}

#[tokio::test]
async fn every_fault_of_a_key_a_plan_or_a_firewall_is_told_and_nothing_is_kept() {
    let site = site().await;
    let bucket = |rate: f64| json!({"rate": rate, "burst": 1});
    let free = json!({"stages": [{"api": "pets", "stage": "prod"}], "keys": ["ada"]});
    site.done("PUT", "/v1/usage-plans/free", free).await;
    for (path, body, expected) in [
        (
            "api-keys/x",
            json!({"enabled": "yes", "value": "secret"}),
            vec!["value"],
        ),
        ("api-keys/a%20b", json!({}), vec!["id"]),
        (
            "usage-plans/x",
            json!({"quota": {"limit": 1, "period": "YEAR"}}),
            vec!["quota.period"],
        ),
        (
            "usage-plans/x",
            json!({
                "throttle": bucket(-1.0),
                "quota": {"limit": 1, "period": "MONTH", "offset": 28},
                "stages": [
                    {"api": "pets", "stage": "dev", "throttle": {"GET a": bucket(1.0), "GET /a": bucket(-1.0)}},
                    {"api": "pets", "stage": "dev"},
                ],
                "keys": ["ada", "ada"],
            }),
            vec![
                "keys[1]",
                "quota.offset",
                "stages[0].throttle.GET /a.rate",
                "stages[0].throttle.GET a",
                "stages[1]",
                "throttle.rate",
            ],
        ),
        // what is wrong with it beside others: there is no such thing, or another plan is for it
        (
            "usage-plans/x",
            json!({
                "stages": [{"api": "cats", "stage": "prod"}, {"api": "pets", "stage": "prod"}, {"api": "pets", "stage": "beta"}],
                "keys": ["bob", "ada", "eve"],
            }),
            vec![
                "usage-plans/x.keys[1]",
                "usage-plans/x.keys[2]",
                "usage-plans/x.stages[0]",
                "usage-plans/x.stages[2]",
            ],
        ),
        ("waf/x", json!({"plugins": ["mark", "mark"]}), vec!["plugins[1]"]),
    ] {
        let path = format!("/v1/{path}");
        let refused = site.admin("PUT", &path, body).await;
        let found = places(&refused);
        for place in expected {
            assert!(
                found.iter().any(|found| found == place),
                "{path}: {place} in {}",
                refused.text()
            );
        }
        assert_eq!(site.admin("GET", &path, Value::Null).await.status, 404, "{path}");
    }
    // what a plan leads to does not go before the plan
    for (path, place) in [
        ("/v1/api-keys/ada", "usage-plans/free.keys[0]"),
        ("/v1/apis/pets/stages/prod", "usage-plans/free.stages[0]"),
        ("/v1/apis/pets", "usage-plans/free.stages[0]"),
    ] {
        let refused = site.admin("DELETE", path, Value::Null).await;
        assert_eq!(places(&refused), [place], "{path}");
    }
    site.done("DELETE", "/v1/usage-plans/free", Value::Null).await;
    site.done("DELETE", "/v1/api-keys/ada", Value::Null).await;
    site.done("DELETE", "/v1/apis/pets", Value::Null).await;
}

#[tokio::test]
async fn keys_plans_firewalls_and_shadows_are_part_of_the_whole_model_and_its_transaction() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["mark"] = json!({"module": guest("mark")});
    });
    let file = site.folder.path().join("all.json");
    let mut wanted = saying("one");
    for (list, items) in [
        ("api-keys", json!({"ada": {"customer-id": "7"}})),
        (
            "usage-plans",
            json!({"free": {"keys": ["ada"], "stages": [{"api": "pets", "stage": "prod"}]}}),
        ),
        ("waf", json!({"front": {"plugins": ["mark"]}})),
        ("shadows", json!({"mark": {"version": 0, "percent": 50.0}})),
    ] {
        wanted[list] = items;
    }
    std::fs::write(&file, wanted.to_string()).unwrap();
    let admin = format!("http://{}", site.process.admin);
    let token = site.process.token_file.display().to_string();
    let run = async |what: &str| {
        let arguments = [what, "-f", "all.json", "--admin", &admin, "--token-file", &token];
        cli(site.folder.path(), &arguments).await
    };
    let beside = ["api-keys/ada", "shadows/mark", "usage-plans/free", "waf/front"];
    let told = run("diff").await;
    for path in beside {
        assert!(told.out.contains(&format!("create {path}\n")), "{told:?}");
        assert_eq!(
            site.admin("GET", &format!("/v1/{path}"), Value::Null)
                .await
                .status,
            404
        );
    }
    let done = run("apply").await;
    assert_eq!(done.code, 0, "{done:?}");
    for path in beside {
        let read = site.admin("GET", &format!("/v1/{path}"), Value::Null).await;
        assert_eq!(read.status, 200, "{path}");
        let log = site
            .done("GET", &format!("/v1/audit?target={path}"), Value::Null)
            .await;
        assert_eq!(log[0]["action"], "apply", "{log}");
    }
    assert!(run("diff").await.out.contains("nothing to change"));
    // a change is told as one
    wanted["api-keys"]["ada"]["enabled"] = json!(false);
    std::fs::write(&file, wanted.to_string()).unwrap();
    let told = run("diff").await;
    assert!(
        told.out
            .contains("update api-keys/ada\n    replace /enabled = false\n"),
        "{told:?}"
    );
    // one fault anywhere, and nothing of the rest has changed
    let before = site.done("GET", "/v1/bundle", Value::Null).await;
    for (pointer, value, place) in [
        (
            "/usage-plans/free/keys",
            json!(["eve"]),
            "usage-plans/free.keys[0]",
        ),
        (
            "/usage-plans/free/throttle",
            json!({"rate": -1, "burst": 1}),
            "usage-plans.free.throttle.rate",
        ),
        ("/api-keys/ada/value", json!("secret"), "api-keys.ada.value"),
        (
            "/waf/front/plugins",
            json!(["mark", "mark"]),
            "waf.front.plugins[1]",
        ),
        ("/shadows/mark/percent", json!(0), "shadows.mark.percent"),
    ] {
        let mut wrong = wanted.clone();
        wrong["apis"]["pets"]["description"] = json!("changed");
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[member] = value;
        let refused = site.admin("PUT", "/v1/bundle", wrong).await;
        assert_eq!(places(&refused), [place], "{}", refused.text());
        assert_eq!(
            site.done("GET", "/v1/bundle", Value::Null).await,
            before,
            "{pointer}"
        );
    }
    // a version that is not there cannot run beside the live one
    let mut wrong = wanted.clone();
    wrong["shadows"]["mark"]["version"] = json!(7);
    let refused = site.admin("PUT", "/v1/bundle", wrong).await;
    assert_eq!(refused.status, 404, "{}", refused.text());
    assert_eq!(site.done("GET", "/v1/bundle", Value::Null).await, before);
    // what is read can be written; what is not named goes
    let same = site.admin("PUT", "/v1/bundle", before.clone()).await;
    assert_eq!(same.json()["changes"], json!([]), "{}", same.text());
    let less = site.apply(saying("one")).await;
    let mut found = pairs(&less["changes"], "action", "path");
    found.sort_unstable();
    let mut expected = beside.map(|path| ("delete", path));
    expected.sort_unstable();
    assert_eq!(found, expected);
}
