//! Deployments: what they are refused for, what they leave behind, and that they are what their ids say.

use edgeward_tests::{Process, guest};
use serde_json::{Value, json};

use crate::{
    apis::{PETS, Site, mock, pairs, saying},
    apis_beside::places,
};

#[tokio::test]
async fn every_fault_of_every_api_stage_and_domain_is_told_at_once() {
    let site = Site::start();
    let broken = json!({
        "protocol": "REST",
        "integrations": {"a": mock("x")},
        "routes": {"GET /a": {"integration": "none"}},
        "stages": {"prod": {"auto-deploy": true}, "dev": {"auto-deploy": true}},
    });
    let bundle = json!({
        "apis": {"cats": broken, "dogs": broken, "pets": {"stages": {"prod": {}}}},
        "domains": {"a.example": {"mappings": {
            "(none)": {"api": "pets", "stage": "dev"},
            "v1": {"api": "pets", "stage": "prod"},
        }, "rules": {"r": {"priority": 1, "api": "pets", "stage": "prod", "headers": {"x-v": "a*c"}}}},
        "pets.execute-api.localhost": {}},
    });
    let refused = site.admin("PUT", "/v1/bundle", bundle).await;
    assert_eq!(
        places(&refused),
        [
            "apis.cats.routes.GET /a.integration",
            "apis.dogs.routes.GET /a.integration",
            "domains/a.example.mappings.(none)",
            "domains/a.example.rules.r.headers.x-v",
            "domains/pets.execute-api.localhost",
        ]
    );
    // stages that lack variables, beside what is wrong with an API
    let mut lacking = broken.clone();
    lacking["integrations"]["b"] = json!({"type": "HTTP_PROXY", "uri": "http://${stageVariables.b}/"});
    let mut whole = lacking.clone();
    whole["routes"]["GET /a"]["integration"] = "b".into();
    let bundle = json!({"apis": {"cats": lacking, "dogs": whole}});
    let refused = site.admin("PUT", "/v1/bundle?dry-run=true", bundle).await;
    assert_eq!(
        places(&refused),
        [
            "apis.cats.routes.GET /a.integration",
            "apis/cats/stages/dev: integrations.b.uri",
            "apis/cats/stages/prod: integrations.b.uri",
            "apis/dogs/stages/dev: integrations.b.uri",
            "apis/dogs/stages/prod: integrations.b.uri",
        ]
    );
    assert_eq!(
        site.done("GET", "/v1/apis", Value::Null).await["items"],
        json!([]),
        "nothing was kept"
    );
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_at_once() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let deployments = "/v1/apis/pets/deployments";
    for (path, body, wanted) in [
        (
            deployments,
            json!({"stage": 5, "foo": 1, "canary": {"percent": "x", "bar": 2}, "plugins": {"stamp": -1}}),
            vec!["canary.bar", "canary.percent", "foo", "plugins.stamp", "stage"],
        ),
        (
            deployments,
            json!({"stage": "prod", "plugins": {"stamp": 0, "ghost": 0}, "canary": {"percent": 200, "sticky": {"header": "a b"}}}),
            vec![
                "canary",
                "canary.percent",
                "canary.sticky.header",
                "plugins.ghost",
                "plugins.stamp",
            ],
        ),
        (
            deployments,
            json!({"canary": {"percent": 1}, "plugins": {"stamp": 9}}),
            vec!["plugins.stamp", "stage"],
        ),
        (
            "/v1/plugins/stamp/versions",
            json!({"modul": "x", "limitz": 1, "breaker": {"x": 1}}),
            vec![
                "module",
                "plugins.stamp.breaker.x",
                "plugins.stamp.limitz",
                "plugins.stamp.modul",
            ],
        ),
        (
            "/v1/plugins/stamp/publish",
            json!({"version": "x", "foo": 1}),
            vec!["foo", "version"],
        ),
        (
            "/v1/apis/pets/stages/prod/rollback",
            json!({"deployment": 5, "foo": 1}),
            vec!["deployment", "foo"],
        ),
        (
            "/v1/bundle",
            json!({"aps": {}, "domans": {}}),
            vec!["aps", "domans"],
        ),
    ] {
        let method = if path == "/v1/bundle" { "PUT" } else { "POST" };
        let refused = site.admin(method, path, body).await;
        assert_eq!(places(&refused), wanted, "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn what_is_tried_or_refused_leaves_no_module_behind() {
    let site = Site::start();
    let mut bundle = saying("one");
    bundle["apis"]["pets"]["routes"]["GET /a"]["pipeline"] = json!(["stamp"]);
    bundle["apis"]["pets"]["integrations"]["far"] =
        json!({"type": "HTTP_PROXY", "uri": "http://${stageVariables.far}/"});
    bundle["apis"]["pets"]["stages"]["prod"]["variables"] = json!({"far": "a.example"});
    site.apply(bundle).await;
    let deployments = "/v1/apis/pets/deployments";
    let kept = async || {
        let rows = site.done("GET", "/v1/modules", Value::Null).await;
        let files = std::fs::read_dir(site.folder.path().join("data/modules")).unwrap();
        (rows.as_array().unwrap().len(), files.count())
    };
    for (path, stage, status) in [
        ("/v1/apis/pets/deployments?dryRun=true", "prod", 200),
        (deployments, "dev", 422),
    ] {
        let reply = site.admin("POST", path, json!({"stage": stage})).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(kept().await, (0, 0), "{path} {stage}");
    }
    site.done("POST", deployments, json!({"stage": "prod"})).await;
    assert_eq!(kept().await, (1, 1));
    let served = site.get(PETS, "/prod/a").await;
    assert_eq!(
        (served.text(), served.header("x-stamp")),
        ("one".to_owned(), "file")
    );
    // the module is the deployment's own by now
    let mut config = crate::process::config(&site.origin);
    config["plugins"] = json!({});
    config["routes"][0]["pipeline"] = json!([]);
    let site = site.after(|folder| crate::process::write(folder, &config));
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "file");
}

#[tokio::test]
async fn a_deployment_that_was_changed_behind_the_gateways_back_keeps_it_from_starting() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let deploy = async || {
        let made = site
            .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
            .await;
        made["id"].as_str().unwrap().to_owned()
    };
    let first = deploy().await;
    site.done("PUT", "/v1/apis/pets/integrations/mock", mock("two"))
        .await;
    deploy().await;
    let site = site.again();
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "two");
    let Site { process, folder, .. } = site;
    process.kill();
    let database = rusqlite::Connection::open(folder.path().join("data/edgeward.db")).unwrap();
    let changed = database.execute(
        "UPDATE documents SET body = replace(body, 'one', 'six') WHERE kind = 'deployments' AND name = ?1",
        [&first],
    );
    assert_eq!(changed.unwrap(), 1);
    drop(database);
    let told = Process::try_start(folder.path()).err().unwrap();
    assert!(
        told.contains(&first) && told.contains("API `pets`") && told.contains("restore a backup"),
        "{told}"
    );
}

#[tokio::test]
async fn a_route_tells_what_it_does_in_order() {
    let site = Site::start();
    let mut bundle = saying("one");
    bundle["apis"]["pets"]["routes"]["GET /a"]["pipeline"] = json!(["stamp"]);
    site.apply(bundle).await;
    let told = site
        .done("GET", "/v1/apis/pets/routes/GET%20%2Fa/pipeline", Value::Null)
        .await;
    assert_eq!(
        pairs(&told, "phase", "element"),
        [
            ("admit", "request-limits"),
            ("find", "domain-and-stage"),
            ("find", "route"),
            ("find", "body-limit"),
            ("request-head", "plugin"),
            ("integrate", "request-templates"),
            ("integrate", "mock"),
            ("integrate", "response-mapping"),
            ("integrate", "response-templates"),
            ("response-head", "plugin"),
            ("gateway-error", "gateway-responses"),
            ("observe", "logs-and-metrics"),
        ]
    );
    let stamp = json!({"phase": "request-head", "element": "plugin", "name": "stamp", "version": 0});
    assert_eq!(told[4], stamp);
    let missing = site
        .admin("GET", "/v1/apis/pets/routes/GET%20%2Fb/pipeline", Value::Null)
        .await;
    assert_eq!(missing.status, 404, "{}", missing.text());
}

#[tokio::test]
async fn the_newest_word_on_what_a_deployment_is_for_counts() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let mut ids = Vec::new();
    for body in [
        json!({"description": "first"}),
        json!({"description": "second"}),
        json!({}),
    ] {
        ids.push(site.done("POST", "/v1/apis/pets/deployments", body).await["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let list = site.done("GET", "/v1/apis/pets/deployments", Value::Null).await;
    let told = pairs(&list["items"], "id", "description");
    assert_eq!(told, [(ids[0].as_str().unwrap(), "second")]);
}

#[tokio::test]
async fn nobody_says_what_a_stage_has_served() {
    let site = Site::start();
    site.apply(saying("one")).await;
    site.done("PUT", "/v1/apis/pets/stages/new", json!({"previous": "foo"}))
        .await;
    let mut bundle = saying("one");
    bundle["apis"]["pets"]["stages"] = json!({"new": {"previous": "bar"}, "other": {"previous": "bar"}});
    site.apply(bundle).await;
    for stage in ["new", "other"] {
        let path = format!("/v1/apis/pets/stages/{stage}");
        let kept = site.done("GET", &path, Value::Null).await;
        assert_eq!(kept.get("previous"), None, "{kept}");
        let back = site.admin("POST", &format!("{path}/rollback"), Value::Null).await;
        assert_eq!(
            back.status,
            409,
            "there is nothing to go back to: {}",
            back.text()
        );
    }
}

#[tokio::test]
async fn names_of_apis_stay_theirs() {
    let site = Site::with_config(|config, _folder| config["api-domain"] = "apis.example".into());
    for (name, status) in [
        ("pets.apis.example", 422),
        ("*.apis.example", 422),
        ("*.example", 422),
        ("pets.example", 201),
        ("*.pets.example", 201),
    ] {
        let reply = site.admin("PUT", &format!("/v1/domains/{name}"), json!({})).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
    }
    // in the configuration file, too
    let mut config = crate::process::config(&site.origin);
    config["plugins"]["stamp"]["module"] = guest("stamp").to_str().into();
    config["domains"] = json!({"pets.execute-api.localhost": {}});
    crate::process::write(site.folder.path(), &config);
    let refused = site.admin("POST", "/v1/reload", Value::Null).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("own names"), "{}", refused.text());
}
