//! Settings of stages: what holds for routes without a deployment, and access logs.

use std::path::PathBuf;

use edgeward_tests::{eventually, get, guest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::apis::{PETS, Site};

fn bundle(site: &Site, stage: Value) -> Value {
    json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "integrations": {
            "echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")},
            "slow": {"type": "HTTP_PROXY", "uri": site.web("/hold/never")},
            "gone": {"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"},
        },
        "routes": {
            "POST /echo": {"integration": "echo"},
            "GET /pets/{id}": {"integration": "echo"},
            "GET /slow": {"integration": "slow"},
            "GET /gone": {"integration": "gone"},
        },
        "stages": {"prod": stage},
    }}})
}

async fn metrics(site: &Site) -> String {
    let reply = site.admin("GET", "/metrics", Value::Null).await;
    assert_eq!(reply.status, 200);
    reply.text()
}

/// Changes a stage; what it serves stays.
pub(crate) async fn set(site: &Site, patch: Value) {
    let fields = [("content-type", "application/merge-patch+json")];
    let reply = site
        .with("PATCH", "/v1/apis/pets/stages/prod", &fields, patch)
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn settings_take_effect_without_a_deployment() {
    let site = Site::start();
    site.apply(bundle(&site, json!({"auto-deploy": true}))).await;
    let deployment = async || {
        let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
        stage["deployment"].as_str().unwrap().to_owned()
    };
    let before = deployment().await;
    let body = "x".repeat(2000);
    assert_eq!(
        site.call(PETS, "POST", "/prod/echo", &[], &body).await.status,
        200
    );
    set(
        &site,
        json!({"settings": {
            "*": {"timeout": "200ms", "body-limit": "1KiB"},
            "POST /echo": {"body-limit": "3KiB", "metrics": false},
            "GET /gone": {"metrics": false},
        }}),
    )
    .await;
    assert_eq!(deployment().await, before);
    assert_eq!(
        site.call(PETS, "POST", "/prod/echo", &[], &body).await.status,
        200
    );
    assert_eq!(
        site.call(PETS, "POST", "/prod/echo", &[], &body.repeat(2))
            .await
            .status,
        413
    );
    let reply = site.get(PETS, "/prod/slow").await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(site.get(PETS, "/prod/gone").await.status, 500);
    let text = metrics(&site).await;
    let counted = |route: &str, status: &str| {
        let line = format!("arm=\"control\",route=\"{route}\",status=\"{status}\"}} ");
        text.lines()
            .find(|found| found.starts_with("edgeward_requests_total") && found.contains(&line))
            .map(|found| found.split(' ').next_back().unwrap().to_owned())
    };
    assert_eq!(counted("*", "2xx").as_deref(), Some("1"), "{text}");
    assert_eq!(counted("*", "4xx").as_deref(), Some("1"));
    assert_eq!(counted("*", "5xx").as_deref(), Some("1"));
    assert_eq!(counted("POST /echo", "2xx"), None);
    assert_eq!(counted("GET /slow", "5xx").as_deref(), Some("1"));
    // and back
    set(&site, json!({"settings": null})).await;
    assert_eq!(
        site.call(PETS, "POST", "/prod/echo", &[], &body.repeat(2))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_gateways_log_has_what_the_level_says() {
    let site = Site::start();
    let settings = json!({"*": {"logging": "error"}, "GET /pets/{id}": {"logging": "off"}});
    site.apply(bundle(&site, json!({"auto-deploy": true, "settings": settings})))
        .await;
    for path in ["/prod/pets/1", "/prod/pets/2", "/prod/gone"] {
        site.get(PETS, path).await;
    }
    assert_eq!(
        site.call(PETS, "POST", "/prod/echo?unseen", &[], "x")
            .await
            .status,
        200
    );
    assert_eq!(get(site.process.address(), "/stamp").await.status, 200);
    let log = eventually("the last request in the log", || async {
        let log = site.process.log();
        log.contains("/stamp").then_some(log)
    })
    .await;
    assert!(log.contains("/prod/gone"), "{log}");
    assert!(
        !log.contains("/prod/pets") && !log.contains("/prod/echo"),
        "{log}"
    );
}

#[tokio::test]
async fn what_is_not_enforced_is_refused() {
    let site = Site::start();
    site.apply(bundle(&site, json!({"auto-deploy": true}))).await;
    let fields = [("content-type", "application/merge-patch+json")];
    for (patch, expected) in [
        (
            json!({"settings": {"*": {"throttle": {"rate": 1.0, "burst": 1}}}}),
            "settings.*.throttle",
        ),
        (
            json!({"settings": {"*": {"cache": {"ttl": "1m"}}}}),
            "settings.*.cache",
        ),
        (
            json!({"settings": {"*": {"data-trace": true}}}),
            "settings.*.data-trace",
        ),
        (json!({"settings": {"pets": {}}}), "settings.pets"),
        (
            json!({"access-log": {"format": "$context.status", "destination": "stdout"}}),
            "access-log.format",
        ),
        (
            json!({"access-log": {"format": "$context.requestId", "destination": "../x"}}),
            "access-log.destination",
        ),
    ] {
        let reply = site
            .with("PATCH", "/v1/apis/pets/stages/prod", &fields, patch)
            .await;
        assert_eq!(reply.status, 422, "{expected}: {}", reply.text());
        assert!(reply.text().contains(expected), "{expected}: {}", reply.text());
    }
}

fn log_file(site: &Site, name: &str) -> PathBuf {
    site.folder.path().join("data/access-logs/pets").join(name)
}

/// The lines of a log, once there are so many.
pub(crate) async fn lines(site: &Site, name: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {name}"), || async {
        let text = std::fs::read_to_string(log_file(site, name)).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn each_request_has_a_line_in_the_form_of_the_stage() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["guard"] =
            json!({"module": guest("kitchen-sink"), "config": {"phases": ["authorize"]}});
    });
    let json_format = r#"{"requestId":"$context.requestId","ip":"$context.identity.sourceIp","agent":"$context.identity.userAgent","method":"$context.httpMethod","path":"$context.resourcePath","status":$context.status,"length":$context.responseLength,"latency":$context.integrationLatency,"error":$context.error.messageString,"type":"$context.error.responseType","who":"$context.authorizer.principalId","user":"$context.identity.user","upstream":"$context.integrationStatus"}"#;
    let mut api = bundle(
        &site,
        json!({
            "auto-deploy": true,
            "access-log": {"format": json_format, "destination": "pets/prod.log"},
        }),
    );
    api["apis"]["pets"]["authorizers"] = json!({"guard": {"plugin": "guard"}});
    api["apis"]["pets"]["routes"]["GET /pets/{id}"]["authorizer"] = json!("guard");
    site.apply(api.clone()).await;
    let agent = [("user-agent", "a \"quoted\" \\ one")];
    let first = site.call(PETS, "GET", "/prod/pets/7", &agent, "").await;
    let gone = site.get(PETS, "/prod/gone").await;
    site.get(PETS, "/prod/unknown").await;
    let all: Vec<Value> = lines(&site, "pets/prod.log", 3)
        .await
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(all[0]["requestId"], first.header("x-amzn-requestid"));
    assert_eq!(all[0]["length"], first.body.len());
    for (key, expected) in [
        ("ip", json!("127.0.0.1")),
        ("agent", json!("a \"quoted\" \\ one")),
        ("method", json!("GET")),
        ("path", json!("/pets/{id}")),
        ("status", json!(200)),
        ("error", json!(null)),
        ("type", json!("-")),
        ("who", json!("sink")),
        ("user", json!("-")),
        ("upstream", json!("200")),
    ] {
        assert_eq!(all[0][key], expected, "{key}");
    }
    assert!(all[0]["latency"].is_u64());
    assert_eq!(
        (&all[1]["requestId"], &all[1]["status"]),
        (&json!(gone.header("x-amzn-requestid")), &json!(500))
    );
    assert_eq!(
        (&all[2]["type"], &all[2]["error"]),
        (
            &json!("MISSING_AUTHENTICATION_TOKEN"),
            &json!("Missing Authentication Token")
        )
    );
    // another form, without a deployment; and a file that was moved away
    let clf = "$context.identity.sourceIp $context.identity.caller $context.identity.user [$context.requestTime]\"$context.httpMethod $context.resourcePath $context.protocol\" $context.status $context.responseLength $context.requestId $context.extendedRequestId";
    std::fs::rename(
        log_file(&site, "pets/prod.log"),
        log_file(&site, "pets/prod.log.1"),
    )
    .unwrap();
    set(
        &site,
        json!({"access-log": {"format": clf, "destination": "pets/prod.log"}}),
    )
    .await;
    let reply = site.get(PETS, "/prod/pets/8").await;
    let line = lines(&site, "pets/prod.log", 1).await.remove(0);
    let id = reply.header("x-amzn-requestid");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let end = format!(
        " +0000]\"GET /pets/{{id}} HTTP/1.1\" 200 {} {id} {id}",
        reply.body.len()
    );
    assert!(line.ends_with(&end), "{line} / {end}");
    assert_eq!(lines(&site, "pets/prod.log.1", 3).await.len(), 3);
    let text = metrics(&site).await;
    let of = "{api=\"pets\",stage=\"prod\"}";
    assert!(
        text.contains(&format!("edgeward_access_log_lines_total{of} 4\n")),
        "{text}"
    );
    assert!(
        text.contains(&format!("edgeward_access_log_dropped_total{of} 0\n")),
        "{text}"
    );
}

#[tokio::test]
async fn a_gateway_that_ends_writes_what_is_left() {
    let mut site = Site::start();
    let log = json!({"format": "$context.requestId,$context.status", "destination": "all.csv"});
    site.apply(bundle(&site, json!({"auto-deploy": true, "access-log": log})))
        .await;
    for _ in 0..50 {
        assert_eq!(site.get(PETS, "/prod/pets/1").await.status, 200);
    }
    site.process.signal(Signal::TERM);
    assert!(site.process.ended().await.success());
    let text = std::fs::read_to_string(log_file(&site, "all.csv")).unwrap();
    assert_eq!(text.lines().count(), 50, "{text}");
}

#[tokio::test]
async fn requests_of_one_cookie_address_or_key_stay_with_an_arm_and_metrics_tell_the_arms_apart() {
    let site = Site::start();
    let says = |text: &str| {
        json!({"apis": {"pets": {
            "protocol": "REST",
            "integrations": {"ok": {"type": "MOCK", "request-templates": {"application/json": "{\"statusCode\": 200}"}, "responses": [{"status": 200, "parameters": {"method.response.header.x-arm": format!("'{text}'")}}]}},
            "routes": {"GET /a": {"integration": "ok"}},
            "stages": {"prod": {}},
        }}})
    };
    site.apply(says("old")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(says("new")).await;
    let canary = json!({"percent": 50, "sticky": {"cookie": "session"}});
    site.done(
        "POST",
        "/v1/apis/pets/deployments",
        json!({"stage": "prod", "canary": canary}),
    )
    .await;
    // by arm, how many of ten users were served by it three times
    let served = async |field: &str, value: &dyn Fn(u32) -> String| {
        let mut arms = std::collections::BTreeMap::<String, u32>::new();
        for user in 0..16 {
            let value = value(user);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..3 {
                let reply = site.call(PETS, "GET", "/prod/a", &[(field, &value)], "").await;
                seen.insert(reply.header("x-arm").to_owned());
            }
            assert_eq!(seen.len(), 1, "{field}: {value} was moved: {seen:?}");
            *arms.entry(seen.pop_first().unwrap()).or_default() += 1;
        }
        arms
    };
    let cookie = |user: u32| format!("theme=dark; session=s{user}");
    assert_eq!(served("cookie", &cookie).await.len(), 2);
    set(
        &site,
        json!({"canary": {"sticky": {"cookie": null, "key": true}}}),
    )
    .await;
    assert_eq!(served("x-api-key", &|user| format!("k{user}")).await.len(), 2);
    set(
        &site,
        json!({"canary": {"sticky": {"key": null, "address": true}}}),
    )
    .await;
    assert_eq!(
        served("x-other", &cookie).await.len(),
        1,
        "all come from one address"
    );
    let arms = site
        .done("GET", "/v1/apis/pets/stages/prod/arms", Value::Null)
        .await;
    let metrics = metrics(&site).await;
    let told = |arm: &str| -> u64 {
        let line = metrics.lines().find(|line| {
            line.starts_with("edgeward_requests_total{")
                && line.contains(&format!("arm=\"{arm}\""))
                && line.contains("stage=\"prod\"")
        });
        let line = line.unwrap_or_else(|| panic!("no {arm}: {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for arm in ["control", "canary"] {
        assert_eq!(arms[arm]["served"]["requests"], told(arm), "{arms}");
        assert!(told(arm) > 0, "{arm}");
    }
}
