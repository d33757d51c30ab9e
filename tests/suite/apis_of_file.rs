//! APIs and domains of the configuration file: the same model, and the file is where they are changed.

use edgeward_tests::{cli, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{apis::Site, process};

const API: &str = "pets.execute-api.localhost";

/// The configuration with an API in it that answers `text` at `/hello`.
fn config(site: &Site, text: &str) -> Value {
    let mut config = process::config(&site.origin);
    config["apis"] = json!({"pets": {
        "protocol": "REST",
        "integrations": {
            "hello": {
                "type": "MOCK",
                "request-templates": {"application/json": "{\"statusCode\": 200}"},
                "responses": [{"status": 200, "templates": {"application/json": text}}],
            },
            "echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")},
        },
        "routes": {
            "GET /hello": {"integration": "hello"},
            "GET /echo": {"integration": "echo", "pipeline": ["stamp"]},
        },
        "stages": {"prod": null},
    }});
    config["domains"] = json!({"api.example.com": {"mappings": {"v1": {"api": "pets", "stage": "prod"}}}});
    config
}

async fn says(site: &Site, text: &str) {
    eventually(text, async || {
        (site.get(API, "/prod/hello").await.text() == text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn apis_of_the_configuration_file_are_served_and_changed_with_it() {
    let site = Site::start();
    let kept = json!({"apis": {"kept": {"routes": {}, "stages": {}}}});
    site.apply(kept.clone()).await;
    process::write(site.folder.path(), &config(&site, "one"));
    says(&site, "one").await;
    assert_eq!(site.get("api.example.com", "/v1/hello").await.text(), "one");
    process::write(site.folder.path(), &config(&site, "two"));
    says(&site, "two").await;

    // what is wrong with a new file is told with its place, and what ran still runs
    let mut wrong = config(&site, "three");
    wrong["apis"]["pets"]["routes"]["GET /other"] = json!({"integration": "none"});
    wrong["domains"]["api.example.com"]["mappings"]["v2"] = json!({"api": "pets", "stage": "test"});
    process::write(site.folder.path(), &wrong);
    let told = cli(site.folder.path(), &["check", "gateway.yaml"]).await;
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(told.err.contains("no stage `test`"), "{}", told.err);
    wrong["domains"] = json!({});
    process::write(site.folder.path(), &wrong);
    let told = cli(site.folder.path(), &["check", "gateway.yaml"]).await;
    assert!(
        told.err.contains("apis.pets.routes.GET /other.integration"),
        "{}",
        told.err
    );
    assert_eq!(site.get(API, "/prod/hello").await.text(), "two");
    process::write(site.folder.path(), &config(&site, "four"));
    let told = cli(site.folder.path(), &["check", "gateway.yaml"]).await;
    assert_eq!(told.code, 0, "{}", told.err);
    says(&site, "four").await;

    // it is in the model as any other, and the file is where it is changed
    let pets = site.done("GET", "/v1/apis/pets", Value::Null).await;
    assert_eq!(pets["protocol"], "REST", "{pets}");
    for (method, path, body) in [
        ("PUT", "/v1/apis/pets", json!({})),
        (
            "PUT",
            "/v1/apis/pets/routes/GET%20%2Fx",
            json!({"integration": "hello"}),
        ),
        ("DELETE", "/v1/apis/pets", Value::Null),
        (
            "POST",
            "/v1/apis/pets/deployments",
            json!({"description": "mine"}),
        ),
        ("DELETE", "/v1/domains/api.example.com/mappings/v1", Value::Null),
    ] {
        let refused = site.admin(method, path, body).await;
        // an API that has not changed is the deployment that it has
        if refused.status == 201 {
            assert_eq!(path, "/v1/apis/pets/deployments");
            continue;
        }
        assert_eq!(refused.status, 409, "{method} {path}: {}", refused.text());
        assert!(
            refused.text().contains("in the configuration file"),
            "{}",
            refused.text()
        );
    }
    let bundle = site.done("GET", "/v1/bundle", Value::Null).await;
    assert_eq!(
        bundle["apis"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["kept"]
    );
    site.apply(json!({"apis": {}})).await;
    says(&site, "four").await;

    // domains of the data folder may lead to it, and it cannot go from under them
    site.apply(
        json!({"domains": {"own.example.com": {"mappings": {"(none)": {"api": "pets", "stage": "prod"}}}}}),
    )
    .await;
    assert_eq!(site.get("own.example.com", "/hello").await.text(), "four");

    // it is there after a loss of power, and nothing of it is kept
    let site = site.again();
    assert_eq!(site.get(API, "/prod/hello").await.text(), "four");
    site.apply(json!({})).await;
    process::write(site.folder.path(), &process::config(&site.origin));
    eventually("the API to go", async || {
        // the file's own routes take its place
        (site.get(API, "/prod/hello").await.header("x-stamp") == "file").then_some(())
    })
    .await;
    let gone = site.admin("GET", "/v1/apis/pets", Value::Null).await;
    assert_eq!(gone.status, 404, "{}", gone.text());
}

#[tokio::test]
async fn a_domain_that_has_lost_its_api_is_in_nobodys_way() {
    let site = Site::start();
    process::write(site.folder.path(), &config(&site, "one"));
    says(&site, "one").await;
    site.apply(json!({
        "apis": {"other": {"stages": {"prod": {}}}},
        "domains": {"own.example.com": {"mappings": {"(none)": {"api": "pets", "stage": "prod"}}}},
    }))
    .await;
    process::write(site.folder.path(), &process::config(&site.origin));
    eventually("the API to go", async || {
        let gone = site.admin("GET", "/v1/apis/pets", Value::Null).await;
        (gone.status == 404).then_some(())
    })
    .await;
    assert_eq!(site.get("own.example.com", "/hello").await.status, 404);
    site.done("DELETE", "/v1/apis/other/stages/prod", Value::Null)
        .await;
    // but nothing is led there anew
    let mapping = json!({"api": "pets", "stage": "prod"});
    let refused = site
        .admin("PUT", "/v1/domains/own.example.com/mappings/v1", mapping)
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
}

#[tokio::test]
async fn a_version_of_a_plugin_holds_for_apis_of_the_configuration_file_at_once() {
    let site = Site::start();
    process::write(site.folder.path(), &config(&site, "one"));
    says(&site, "one").await;
    assert_eq!(site.get(API, "/prod/echo").await.header("x-stamp"), "file");
    let module = site.module("stamp").await;
    let version = json!({"module": module, "config": {"version": "new"}});
    site.done("POST", "/v1/plugins/stamp/versions?publish=true", version)
        .await;
    assert_eq!(site.get(API, "/prod/echo").await.header("x-stamp"), "new");
    let site = site.again();
    assert_eq!(site.get(API, "/prod/echo").await.header("x-stamp"), "new");
    site.done("POST", "/v1/plugins/stamp/rollback", Value::Null).await;
    assert_eq!(site.get(API, "/prod/echo").await.header("x-stamp"), "file");
}

#[tokio::test]
async fn an_api_is_in_the_file_or_in_the_data_folder_not_in_both() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {}}})).await;
    process::write(site.folder.path(), &config(&site, "one"));
    let told = cli(site.folder.path(), &["check", "gateway.yaml"]).await;
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(
        told.err
            .contains("apis.pets: API `pets` is in the data folder, too"),
        "{}",
        told.err
    );
    let mut staged = config(&site, "one");
    staged["apis"]["pets"]["stages"]["prod"] = json!({"deployment": "0123456789abcdef"});
    let pets = staged["apis"].as_object_mut().unwrap().remove("pets").unwrap();
    staged["apis"]["cats"] = pets;
    process::write(site.folder.path(), &staged);
    let told = cli(site.folder.path(), &["check", "gateway.yaml"]).await;
    assert!(
        told.err.contains("apis.cats.stages.prod.deployment"),
        "{}",
        told.err
    );
}

/// Entries of the audit log behind a number: that of the last one, and who, what, of what.
async fn noted(site: &Site, after: u64) -> (u64, Vec<String>, Value) {
    let log = site
        .done("GET", &format!("/v1/audit?limit=1000&after={after}"), Value::Null)
        .await;
    let entries = log.as_array().unwrap();
    let last = entries
        .last()
        .map_or(after, |entry| entry["seq"].as_u64().unwrap());
    let told = entries.iter().map(|entry| {
        let word = |key: &str| entry[key].as_str().unwrap().to_owned();
        [word("principal"), word("action"), word("target"), word("outcome")].join(" ")
    });
    (last, told.collect(), log)
}

#[tokio::test]
async fn changes_of_the_file_are_in_the_audit_log_however_they_come() {
    let site = Site::start();
    assert_eq!(noted(&site, 0).await.1, [""; 0]);
    // the file is watched
    let secret = |text: &str, secret: &str| {
        let mut config = config(&site, text);
        config["apis"]["pets"]["stages"]["prod"] = json!({"variables": {"key": secret}});
        config
    };
    let (first, second) = (secret("one", "very-secret"), secret("two", "very-secret"));
    let third = secret("three", "other-secret");
    process::write(site.folder.path(), &first);
    says(&site, "one").await;
    let (last, told, log) = noted(&site, 0).await;
    assert_eq!(
        told,
        [
            "apis/pets",
            "apis/pets/integrations/echo",
            "apis/pets/integrations/hello",
            "apis/pets/routes/GET /echo",
            "apis/pets/routes/GET /hello",
            "apis/pets/stages/prod",
            "domains/api.example.com",
            "domains/api.example.com/mappings/v1",
        ]
        .map(|target| format!("gateway reload {target} done"))
    );
    let steps = log[0]["patch"].as_array().unwrap();
    assert!(
        steps.contains(&json!({"op": "add", "path": "/protocol", "value": "REST"})),
        "{log}"
    );
    assert!(!log.to_string().contains("secret"), "{log}");
    process::write(site.folder.path(), &second);
    says(&site, "two").await;
    let (last, told, log) = noted(&site, last).await;
    assert_eq!(told, ["gateway reload apis/pets/integrations/hello done"]);
    assert_eq!(
        (&log[0]["patch"][1]["op"], &log[0]["patch"][1]["path"]),
        (
            &json!("replace"),
            &json!("/responses/0/templates/application~1json")
        )
    );
    // a call, in which nothing of it has changed
    site.done("POST", "/v1/reload", Value::Null).await;
    let (last, told, _) = noted(&site, last).await;
    assert_eq!(told, ["root post reload begun", "root post reload done"]);
    // a signal, and the watch that sees the same change
    process::write(site.folder.path(), &third);
    site.process.signal(Signal::HUP);
    says(&site, "three").await;
    let (last, told, log) = noted(&site, last).await;
    assert_eq!(
        told,
        [
            "gateway reload apis/pets/integrations/hello done",
            "gateway reload apis/pets/stages/prod done",
        ]
    );
    assert_eq!(log[1]["patch"][0]["path"], "/variables/key");
    assert!(!log.to_string().contains("secret"), "{log}");
    // what has changed while it did not run, and then nothing
    let site = site.after(|folder| process::write(folder, &first));
    assert_eq!(site.get(API, "/prod/hello").await.text(), "one");
    let (last, told, _) = noted(&site, last).await;
    assert_eq!(
        told,
        [
            "gateway start apis/pets/integrations/hello done",
            "gateway start apis/pets/stages/prod done",
        ]
    );
    let site = site.again();
    assert_eq!(noted(&site, last).await.1, [""; 0]);
    // and what goes
    process::write(site.folder.path(), &process::config(&site.origin));
    let (_, told, log) = eventually("the entries", async || {
        let noted = noted(&site, last).await;
        (!noted.1.is_empty()).then_some(noted)
    })
    .await;
    assert_eq!(told.len(), 8, "{told:?}");
    let steps = log[0]["patch"].as_array().unwrap();
    assert!(
        steps.contains(&json!({"op": "remove", "path": "/protocol"})),
        "{log}"
    );
    // plugins, with the digests of their modules
    let digest = |name: &str| edgeward_runtime::digest(&edgeward_tests::guest_bytes(name)).to_string();
    let mut other = process::config(&site.origin);
    other["plugins"]["stamp"]["module"] = json!(edgeward_tests::guest("mark"));
    other["plugins"]["more"] =
        json!({"module": edgeward_tests::guest("mark"), "config": {"key": "very-secret"}});
    let (last, ..) = noted(&site, last).await;
    process::write(site.folder.path(), &other);
    let (_, told, log) = eventually("the entries", async || {
        let noted = noted(&site, last).await;
        (!noted.1.is_empty()).then_some(noted)
    })
    .await;
    assert_eq!(
        told,
        [
            "gateway reload plugins/more done",
            "gateway reload plugins/stamp done"
        ]
    );
    let steps = log[1]["patch"].as_array().unwrap();
    for (op, name) in [("test", "stamp"), ("replace", "mark")] {
        let step = json!({"op": op, "path": "/module", "value": digest(name)});
        assert!(steps.contains(&step), "{log}");
    }
    assert!(!log.to_string().contains("secret"), "{log}");
    let check = site.done("GET", "/v1/audit/verify", Value::Null).await;
    assert_eq!(check["problem"], Value::Null, "{check}");
}
