//! Templates of integrations, rendered by the plugin `vtl-transform` that the API names.

use edgeward_tests::{eventually, guest};
use serde_json::{Value, json};

use crate::apis::{PETS, Site};

fn site() -> Site {
    Site::with_config(|config, _folder| {
        config["plugins"]["velocity"] =
            json!({"module": guest("vtl-transform"), "limits": {"cpu-time": "200ms"}});
    })
}

/// An API with these integrations, each on a route of its name.
fn api(integrations: &Value) -> Value {
    let names = integrations.as_object().unwrap().keys();
    let routes: serde_json::Map<String, Value> = names
        .flat_map(|name| {
            let integration = json!({"integration": name});
            [
                (format!("ANY /{name}"), integration.clone()),
                (format!("ANY /{name}/{{id}}"), integration),
            ]
        })
        .collect();
    json!({
        "protocol": "REST",
        "profile": "apigw",
        "template-engine": "velocity",
        "integrations": integrations,
        "routes": routes,
        "stages": {"prod": {"auto-deploy": true, "variables": {"env": "blue"}}},
    })
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn templates_make_what_servers_get_and_what_clients_get() {
    let site = site();
    site.apply(json!({"apis": {"pets": api(&json!({
        "echo": {
            "type": "HTTP",
            "uri": site.web("/echo"),
            "request-templates": {"application/json": "{\"name\": $input.json('$.pet.name'), \"id\": \"$input.params('id')\", \"stage\": \"$context.stage\", \"env\": \"$stageVariables.env\"}"},
            "responses": [{"status": 200}],
        },
        "back": {
            "type": "HTTP",
            "uri": site.web("/echo"),
            "responses": [
                {"status": 200, "templates": {
                    "application/json": "{\"method\": $input.json('$.method'), \"tag\": \"$input.params('tag')\"}",
                    "text/plain": "#set($root = $input.path('$'))$root.method",
                }},
            ],
        },
        "wrong": {"type": "HTTP", "uri": site.web("/status/500"), "responses": [
            {"status": 200},
            {"selection": "5..", "status": 502, "templates": {"application/json": "{\"was\": \"$input.body\"}"}},
        ]},
    }))}}))
    .await;
    let reply = site
        .call(PETS, "POST", "/prod/echo/7", JSON, r#"{"pet": {"name": "rex"}}"#)
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let made = r#"{"name": "rex", "id": "7", "stage": "prod", "env": "blue"}"#;
    assert_eq!(reply.json()["body"], made);
    assert_eq!(reply.echoed("content-length"), made.len().to_string());
    // the template of the media type, or none
    let reply = site
        .call(
            PETS,
            "POST",
            "/prod/echo",
            &[("content-type", "text/plain")],
            "as it is",
        )
        .await;
    assert_eq!(reply.json()["body"], "as it is");
    // without a body too
    let reply = site.call(PETS, "POST", "/prod/echo", &[], "").await;
    assert_eq!(
        reply.json()["body"],
        r#"{"name": "", "id": "", "stage": "prod", "env": "blue"}"#
    );
    for (accept, expected) in [
        ("application/json", r#"{"method": "GET", "tag": "x"}"#),
        ("text/plain", "GET"),
        ("*/*", r#"{"method": "GET", "tag": "x"}"#),
    ] {
        let reply = site
            .call(PETS, "GET", "/prod/back?tag=x", &[("accept", accept)], "")
            .await;
        assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{accept}");
        let kind = if accept == "text/plain" {
            accept
        } else {
            "application/json"
        };
        assert_eq!(reply.header("content-type"), kind);
    }
    let reply = site.get(PETS, "/prod/wrong").await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (502, r#"{"was": "status 500"}"#)
    );
}

#[tokio::test]
async fn overrides_come_after_mappings_and_last_into_the_response() {
    let site = site();
    site.apply(json!({"apis": {"pets": api(&json!({
        "echo": {
            "type": "HTTP",
            "uri": site.web("/echo/{id}"),
            "request-parameters": {
                "integration.request.header.x-a": "'mapped'",
                "integration.request.querystring.q": "'mapped'",
                "integration.request.path.id": "method.request.path.id",
            },
            "request-templates": {"application/json": "#set($context.requestOverride.header.x-a = 'over')#set($context.requestOverride.querystring.q = ['a b', 'c'])#set($context.requestOverride.path.id = $input.json('$.id'))#set($context.responseOverride.header.x-b = 'later')body"},
            "responses": [{"status": 200, "templates": {"application/json": "#set($context.responseOverride.status = 201)$input.body"}}],
        },
        "host": {
            "type": "HTTP",
            "uri": site.web("/echo"),
            "request-templates": {"application/json": "#set($context.requestOverride.header.host = 'evil.example')body"},
            "responses": [{"status": 200}],
        },
        "odd": {
            "type": "MOCK",
            "request-templates": {"application/json": "#set($context.responseOverride.status = 'none')#set($context.responseOverride.header.x-c = 'c'){\"statusCode\": 200}"},
            "responses": [{"status": 204}],
        },
    }))}}))
    .await;
    let reply = site
        .call(PETS, "POST", "/prod/echo/1", JSON, r#"{"id": 42}"#)
        .await;
    assert_eq!(
        (reply.status, reply.header("x-b")),
        (201, "later"),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["path"], "/echo/42");
    assert_eq!(reply.json()["query"], "q=a%20b&q=c");
    assert_eq!(reply.echoed_all("x-a"), ["over"]);
    assert_eq!(reply.json()["body"], "body");
    // no value leaves its place in the path, and no request chooses the host
    let reply = site
        .call(PETS, "POST", "/prod/echo/1", JSON, r#"{"id": "../x"}"#)
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = site.call(PETS, "POST", "/prod/host", JSON, "{}").await;
    assert_eq!(reply.status, 500);
    let reply = site.get(PETS, "/prod/odd").await;
    assert_eq!((reply.status, reply.header("x-c")), (204, "c"));
}

#[tokio::test]
async fn a_mock_answers_as_its_template_says() {
    let site = site();
    site.apply(json!({"apis": {"pets": api(&json!({
        "made": {
            "type": "MOCK",
            "request-templates": {"application/json": "#if($input.params('fail') == 'yes'){statusCode: 404}#else{\"statusCode\": 200,}#end"},
            "responses": [
                {"status": 200, "templates": {"application/json": "{\"id\": \"$input.params('id')\", \"at\": $context.requestTimeEpoch}"}},
                {"selection": "404", "status": 404, "templates": {"application/json": "{\"none\": true}"}},
            ],
        },
        "none": {
            "type": "MOCK",
            "request-templates": {"application/json": "$input.params('status')"},
            "responses": [{"status": 200}],
        },
    }))}}))
    .await;
    let reply = site.get(PETS, "/prod/made/7").await;
    assert_eq!(
        (reply.status, reply.json()["id"].as_str()),
        (200, Some("7")),
        "{}",
        reply.text()
    );
    assert!(reply.json()["at"].is_u64());
    let reply = site.get(PETS, "/prod/made?fail=yes").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, r#"{"none": true}"#));
    for status in [
        "",
        "%7B%7D",
        "%7BstatusCode:%20%27x%27%7D",
        "%7Bx:%20%26a%20%5B1%5D,%20statusCode:%20200,%20y:%20*a%7D",
    ] {
        let reply = site.get(PETS, &format!("/prod/none?status={status}")).await;
        assert_eq!(reply.status, 500, "{status}");
    }
    let reply = site.get(PETS, "/prod/none?status=%7BstatusCode:%20200%7D").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_template_that_fails_is_an_error_of_the_api_and_its_budget_is_kept() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["velocity"] =
            json!({"module": guest("vtl-transform"), "limits": {"body": "1KiB", "cpu-time": "200ms"}});
        config["plugins"]["polite"] = json!({
            "module": guest("vtl-transform"),
            "limits": {"cpu-time": "1ms"},
            "on-error": {"respond": {"status": 503, "body": "later"}},
        });
    });
    let turns = "#foreach($a in [1..1000])#foreach($b in [1..1000])#set($x = $b + 1)#end#end";
    let integrations = json!({
        "fails": {
            "type": "HTTP",
            "uri": site.web("/echo"),
            "request-templates": {"application/json": "$util.parseJson('{')"},
            "responses": [{"status": 200}],
        },
        "spins": {
            "type": "MOCK",
            "request-templates": {"application/json": format!("{turns}{{\"statusCode\": 200}}")},
            "responses": [{"status": 200}],
        },
        "large": {
            "type": "HTTP",
            "uri": site.web("/bytes/5000"),
            "request-templates": {"application/json": "$input.body"},
            "responses": [{"status": 200, "templates": {"application/json": "$input.body"}}],
        },
    });
    let mut polite = api(&integrations);
    polite["template-engine"] = json!("polite");
    site.apply(json!({"apis": {"pets": api(&integrations), "polite": polite}}))
        .await;
    let reply = site.call(PETS, "POST", "/prod/fails", JSON, "{}").await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (500, r#"{"message":"Internal server error"}"#)
    );
    assert_eq!(
        site.origin.seen().len(),
        0,
        "a request that was not mapped has gone on"
    );
    eventually("the reason in the log", || async {
        let log = site.process.log();
        let mut lines = log.lines();
        lines.find(|line| {
            line.contains("fails/request-templates/application/json") && line.contains("parseJson")
        })?;
        Some(())
    })
    .await;
    let reply = site.get(PETS, "/prod/spins").await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    let large = "x".repeat(2000);
    let reply = site.call(PETS, "POST", "/prod/large", JSON, &large).await;
    assert_eq!(reply.status, 413);
    let reply = site.call(PETS, "POST", "/prod/large", JSON, "x").await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    let reply = site.get("polite.execute-api.localhost", "/prod/spins").await;
    assert_eq!((reply.status, reply.text().as_str()), (503, "later"));
}

#[tokio::test]
async fn templates_need_a_plugin_that_parses_them_and_keep_its_version() {
    let site = site();
    let with = |engine: Value, template: &str| {
        let mut api = api(&json!({"web": {
            "type": "MOCK",
            "request-templates": {"application/json": template},
            "responses": [{"status": 200, "templates": {"application/json": "plain"}}],
        }}));
        api["template-engine"] = engine;
        json!({"apis": {"pets": api}})
    };
    for (engine, template, expected) in [
        (Value::Null, "$input.body", "template-engine"),
        (json!("none"), "$input.body", "none"),
        (json!("stamp"), "$input.body", "templates"),
        (json!("velocity"), "\n#if($x)", "line 2"),
    ] {
        let reply = site
            .admin("PUT", "/v1/bundle", with(engine.clone(), template))
            .await;
        assert_eq!(reply.status, 422, "{engine}: {}", reply.text());
        assert!(reply.text().contains(expected), "{engine}: {}", reply.text());
    }
    site.apply(with(
        json!("velocity"),
        "{\"statusCode\": $input.params('status')}",
    ))
    .await;
    assert_eq!(site.get(PETS, "/prod/web?status=200").await.text(), "plain");
    let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
    let deployment = stage["deployment"].as_str().unwrap();
    let kept = site
        .done(
            "GET",
            &format!("/v1/apis/pets/deployments/{deployment}"),
            Value::Null,
        )
        .await;
    assert!(kept["plugins"]["velocity"]["module"].is_string(), "{kept}");
    // the same after a start
    let site = site.again();
    assert_eq!(site.get(PETS, "/prod/web?status=200").await.text(), "plain");
    assert_eq!(site.get(PETS, "/prod/web?status=x").await.status, 500);
}

#[tokio::test]
async fn templates_see_what_an_authorizer_said() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["velocity"] =
            json!({"module": guest("vtl-transform"), "limits": {"cpu-time": "200ms"}});
        config["plugins"]["guard"] =
            json!({"module": guest("kitchen-sink"), "config": {"phases": ["authorize"]}});
    });
    let mut api = api(&json!({"who": {
        "type": "MOCK",
        "request-templates": {"application/json": "#set($status = 200){\"statusCode\": $status}"},
        "responses": [{"status": 200, "templates": {"application/json": "$context.authorizer.principalId $context.authorizer.phase"}}],
    }}));
    api["authorizers"] = json!({"guard": {"plugin": "guard"}});
    api["routes"] = json!({"GET /who": {"integration": "who", "authorizer": "guard"}});
    site.apply(json!({"apis": {"pets": api}})).await;
    let reply = site.get(PETS, "/prod/who").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "sink authorize"));
}
