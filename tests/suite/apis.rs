//! The API model: APIs that are made, deployed, changed and called through the real process.

use std::path::Path;

use bytes::Bytes;
use edgeward_tests::{Origin, Process, Reply, ask, bytes, cli, empty, eventually, guest, guest_bytes};
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::write;

/// A gateway with an origin behind it and an admin API.
pub(crate) struct Site {
    pub(crate) origin: Origin,
    pub(crate) folder: TempDir,
    pub(crate) process: Process,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with_config(|_config, _folder| {})
    }

    /// A gateway whose configuration has more; what it needs can be put into its folder.
    pub(crate) fn with_config(more: impl FnOnce(&mut Value, &Path)) -> Self {
        let origin = Origin::start();
        let folder = tempfile::tempdir().unwrap();
        let mut config = crate::process::config(&origin);
        more(&mut config, folder.path());
        write(folder.path(), &config);
        let process = Process::start(folder.path());
        Self {
            origin,
            folder,
            process,
        }
    }

    /// Stops the gateway as a loss of power would, and starts it again.
    pub(crate) fn again(self) -> Self {
        self.after(|_folder| {})
    }

    /// The same with something done to its folder in between.
    pub(crate) fn after(self, change: impl FnOnce(&Path)) -> Self {
        let Self {
            origin,
            folder,
            process,
        } = self;
        process.kill();
        change(folder.path());
        let process = Process::start(folder.path());
        Self {
            origin,
            folder,
            process,
        }
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            empty()
        } else {
            bytes(body.to_string())
        };
        self.process.admin(method, path, body).await
    }

    /// Uploads a guest: its digest.
    pub(crate) async fn module(&self, name: &str) -> Value {
        let uploading = self
            .process
            .admin("POST", "/v1/modules", bytes(guest_bytes(name)));
        uploading.await.json()["digest"].clone()
    }

    /// A call that has to work.
    pub(crate) async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.admin(method, path, body).await;
        assert!(
            reply.status < 300,
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        if reply.body.is_empty() {
            Value::Null
        } else {
            reply.json()
        }
    }

    /// A call with header fields of its own.
    pub(crate) async fn with(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Value) -> Reply {
        let token = format!("Bearer {}", self.process.token());
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", token);
        let builder = fields
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let body = if body.is_null() {
            empty()
        } else {
            bytes(body.to_string())
        };
        ask(self.process.admin, builder, body).await
    }

    pub(crate) async fn call(
        &self,
        host: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let builder = Request::builder().method(method).uri(path).header("host", host);
        let builder = fields
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let body = if body.is_empty() {
            empty()
        } else {
            bytes(Bytes::from(body.to_owned()))
        };
        ask(self.process.address(), builder, body).await
    }

    pub(crate) async fn get(&self, host: &str, path: &str) -> Reply {
        self.call(host, "GET", path, &[], "").await
    }

    /// States the whole model.
    pub(crate) async fn apply(&self, bundle: Value) -> Value {
        self.done("PUT", "/v1/bundle", bundle).await
    }

    pub(crate) fn web(&self, path: &str) -> String {
        format!("http://{}{path}", self.origin.endpoint())
    }
}

/// A folder with all that is in it; the gateway that it is of does not run.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let into = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&into).unwrap();
            copy_folder(&entry.path(), &into);
        } else {
            std::fs::copy(entry.path(), into).unwrap();
        }
    }
}

fn message(reply: &Reply) -> String {
    reply.json()["message"].as_str().unwrap_or_default().to_owned()
}

/// What the origin was asked for.
fn target(reply: &Reply) -> String {
    let echo = reply.json();
    let path = echo["path"]
        .as_str()
        .unwrap_or_else(|| panic!("no echo: {reply:?}"));
    match echo["query"].as_str() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Two texts of each item of a list.
pub(crate) fn pairs<'l>(list: &'l Value, one: &str, other: &str) -> Vec<(&'l str, &'l str)> {
    let text = |item: &'l Value, name: &str| item[name].as_str().unwrap();
    let items = list.as_array().unwrap().iter();
    items.map(|item| (text(item, one), text(item, other))).collect()
}

pub(crate) fn mock(text: &str) -> Value {
    json!({
        "type": "MOCK",
        "request-templates": {"application/json": "{\"statusCode\": 200}"},
        "responses": [{"status": 200, "templates": {"text/plain": text}}],
    })
}

pub(crate) const PETS: &str = "pets.execute-api.localhost";

#[tokio::test]
async fn an_api_is_made_deployed_called_changed_and_rolled_back() {
    let site = Site::start();
    site.done("POST", "/v1/apis", json!({"id": "pets", "protocol": "REST"}))
        .await;
    site.done("PUT", "/v1/apis/pets/integrations/list", mock("one"))
        .await;
    let route = site
        .admin(
            "POST",
            "/v1/apis/pets/routes",
            json!({"id": "GET /pets", "integration": "list"}),
        )
        .await;
    assert_eq!(
        (route.status, route.header("location")),
        (201, "/v1/apis/pets/routes/GET%20%2Fpets")
    );
    // what is edited is not what is served
    assert_eq!(site.get(PETS, "/prod/pets").await.status, 404);
    let first = site
        .done(
            "POST",
            "/v1/apis/pets/deployments",
            json!({"stage": "prod", "description": "first"}),
        )
        .await;
    assert_eq!(site.get(PETS, "/prod/pets").await.text(), "one");
    assert_eq!(site.get(PETS, "/prod/cats").await.status, 404);
    assert_eq!(site.call(PETS, "PUT", "/prod/pets", &[], "").await.status, 405);
    assert_eq!(
        site.get("cats.execute-api.localhost", "/prod/pets").await.status,
        404
    );
    assert_eq!(
        site.get("gateway.test", "/prod/pets").await.header("x-stamp"),
        "file"
    );
    site.done("PUT", "/v1/apis/pets/integrations/list", mock("two"))
        .await;
    assert_eq!(site.get(PETS, "/prod/pets").await.text(), "one");
    let drift = site.done("GET", "/v1/apis/pets/drift", Value::Null).await;
    assert_eq!(drift["prod"]["drifted"], true, "{drift}");
    assert_eq!(drift["prod"]["patch"][0]["op"], "replace");
    // the same API is the same deployment
    let second = site
        .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    let again = site.done("POST", "/v1/apis/pets/deployments", json!({})).await;
    assert_eq!(second["id"], again["id"]);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(site.get(PETS, "/prod/pets").await.text(), "two");
    let site = site.again();
    assert_eq!(
        site.get(PETS, "/prod/pets").await.text(),
        "two",
        "over a loss of power"
    );
    site.done("POST", "/v1/apis/pets/stages/prod/rollback", Value::Null)
        .await;
    assert_eq!(site.get(PETS, "/prod/pets").await.text(), "one");
    let used = site
        .admin(
            "DELETE",
            &format!("/v1/apis/pets/deployments/{}", first["id"].as_str().unwrap()),
            Value::Null,
        )
        .await;
    assert_eq!(used.status, 409, "{}", used.text());
    site.done("DELETE", "/v1/apis/pets", Value::Null).await;
    assert_eq!(
        site.admin("GET", "/v1/apis/pets/routes", Value::Null)
            .await
            .status,
        404
    );
    // nobody's host any more
    assert_eq!(site.get(PETS, "/prod/pets").await.header("x-stamp"), "file");
}

#[tokio::test]
async fn what_cannot_be_deployed_is_refused_with_every_reason_and_changes_nothing() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "integrations": {"a": {"type": "HTTP_PROXY", "uri": "http://${stageVariables.host}/"}},
        "routes": {"GET /": {"integration": "a"}, "GET /b": {"integration": "none", "pipeline": ["ghost"]}},
        "stages": {"prod": {}},
    }}}))
    .await;
    let refused = site
        .admin("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let problems = refused.json()["problems"].clone();
    let paths: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "apis.pets.routes.GET /b.integration",
            "apis.pets.routes.GET /b.pipeline",
            "apis/pets/stages/prod: integrations.a.uri"
        ]
    );
    site.done("DELETE", "/v1/apis/pets/routes/GET%20%2Fb", Value::Null)
        .await;
    let refused = site
        .admin("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("no variable `host`"),
        "{}",
        refused.text()
    );
    let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
    assert_eq!(stage.get("deployment"), None);
    assert_eq!(
        site.done("GET", "/v1/apis/pets/deployments", Value::Null).await["items"],
        json!([])
    );
    let host = site.origin.endpoint();
    site.done(
        "PATCH",
        "/v1/apis/pets/stages/prod",
        json!({"variables": {"host": host}}),
    )
    .await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(target(&site.get(PETS, "/prod/").await), "/");
}

#[tokio::test]
async fn an_upstream_that_an_api_is_served_by_cannot_be_taken_away() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "integrations": {"a": {"type": "HTTP_PROXY", "upstream": "origin"}},
        "routes": {"GET /a": {"integration": "a"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    assert_eq!(target(&site.get(PETS, "/prod/a").await), "/a");
    let mut config = crate::process::config(&site.origin);
    config["upstreams"] = json!({"other": {"endpoints": [site.origin.endpoint()]}});
    config["routes"] = json!([]);
    write(site.folder.path(), &config);
    let refused = site.admin("POST", "/v1/reload", Value::Null).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("no upstream is called `origin`"),
        "{}",
        refused.text()
    );
    assert_eq!(site.get(PETS, "/prod/a").await.status, 200);
}

#[tokio::test]
async fn answers_of_the_apigw_profile_are_those_of_aws() {
    let site = Site::start();
    let api = |protocol: &str| {
        json!({
            "protocol": protocol,
            "profile": "apigw",
            "integrations": {
                "web": {"type": "HTTP_PROXY", "uri": site.web("")},
                "gone": {"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"},
                "slow": {"type": "HTTP_PROXY", "uri": site.web("/hold/never"), "timeout": "50ms"},
            },
            "routes": {
                "GET /echo": {"integration": "web"},
                "GET /gone": {"integration": "gone"},
                "GET /slow": {"integration": "slow"},
                "POST /small": {"integration": "web", "body-limit": "4B"},
            },
            "stages": {"prod": {"auto-deploy": true}},
        })
    };
    site.apply(json!({"apis": {"rest": api("REST"), "http": api("HTTP")}}))
        .await;
    for (host, method, path, body, status, text, kind) in [
        (
            "rest",
            "GET",
            "/prod/none",
            "",
            403,
            "Missing Authentication Token",
            "MissingAuthenticationTokenException",
        ),
        (
            "rest",
            "PUT",
            "/prod/echo",
            "",
            403,
            "Missing Authentication Token",
            "MissingAuthenticationTokenException",
        ),
        (
            "rest",
            "HEAD",
            "/prod/echo",
            "",
            403,
            "",
            "MissingAuthenticationTokenException",
        ),
        (
            "rest",
            "GET",
            "/beta/echo",
            "",
            403,
            "Forbidden",
            "ForbiddenException",
        ),
        (
            "rest",
            "GET",
            "/prod/gone",
            "",
            500,
            "Internal server error",
            "InternalServerErrorException",
        ),
        (
            "rest",
            "GET",
            "/prod/slow",
            "",
            504,
            "Endpoint request timed out",
            "InternalServerErrorException",
        ),
        (
            "rest",
            "POST",
            "/prod/small",
            "12345",
            413,
            "Request Too Long",
            "BadRequestException",
        ),
        ("http", "GET", "/prod/none", "", 404, "Not Found", ""),
        ("http", "PUT", "/prod/echo", "", 404, "Not Found", ""),
        ("http", "GET", "/beta/echo", "", 404, "Not Found", ""),
        ("http", "GET", "/prod/gone", "", 503, "Service Unavailable", ""),
        ("http", "GET", "/prod/slow", "", 503, "Service Unavailable", ""),
        (
            "http",
            "POST",
            "/prod/small",
            "12345",
            413,
            "Request Entity Too Large",
            "",
        ),
    ] {
        let reply = site
            .call(&format!("{host}.execute-api.localhost"), method, path, &[], body)
            .await;
        assert_eq!(reply.status, status, "{host} {method} {path}: {}", reply.text());
        assert_eq!(reply.header("x-amzn-errortype"), kind, "{host} {method} {path}");
        assert_eq!(
            (reply.header("content-type"), reply.header("allow")),
            ("application/json", "")
        );
        if method != "HEAD" {
            assert_eq!(
                reply.text(),
                format!("{{\"message\":\"{text}\"}}"),
                "{host} {method} {path}"
            );
        }
        let id = if host == "rest" {
            "x-amzn-requestid"
        } else {
            "apigw-requestid"
        };
        assert_eq!(reply.header(id).len(), 36, "{host} {method} {path}");
        assert_eq!(reply.header("x-amz-apigw-id").ends_with('='), host == "rest");
    }
    let echo = site.get("rest.execute-api.localhost", "/prod/echo").await;
    assert_eq!((echo.status, echo.json()["path"].as_str()), (200, Some("/echo")));
}

#[tokio::test]
async fn gateway_responses_are_what_the_api_says() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "cors": {"allow-origins": ["https://app.example.com"]},
        "integrations": {"one": mock("one")},
        "routes": {"GET /a": {"integration": "one"}},
        "gateway-responses": {
            "MISSING_AUTHENTICATION_TOKEN": {
                "status": 404,
                "parameters": {"gatewayresponse.header.x-path": "context.path", "gatewayresponse.header.x-you": "method.request.header.x-me", "x-plain": "'text'"},
                "templates": {"application/json": "{\"error\": $context.error.messageString, \"stage\": \"$stageVariables.name\", \"id\": \"$context.requestId\", \"kept\": \"$unknown\"}"},
            },
            "DEFAULT_4XX": {"templates": {"text/plain": "$context.error.responseType"}},
        },
        "stages": {"prod": {"auto-deploy": true, "variables": {"name": "production"}}},
    }}}))
    .await;
    let reply = site
        .call(
            PETS,
            "GET",
            "/prod/b",
            &[("x-me", "you"), ("origin", "https://app.example.com")],
            "",
        )
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(
        (
            reply.header("x-path"),
            reply.header("x-you"),
            reply.header("x-plain")
        ),
        ("/prod/b", "you", "text")
    );
    let body = reply.json();
    assert_eq!(
        (&body["error"], &body["stage"], &body["kept"]),
        (
            &json!("Missing Authentication Token"),
            &json!("production"),
            &json!("$unknown")
        )
    );
    assert_eq!(body["id"].as_str().unwrap(), reply.header("x-amzn-requestid"));
    // browsers may read errors, too
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://app.example.com"
    );
}

#[tokio::test]
async fn stages_domains_and_rules_lead_to_their_deployment() {
    let site = Site::start();
    let api = |name: &str, stages: Value| {
        json!({
            "protocol": "HTTP",
            "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("")}},
            "routes": {"$default": {"integration": "echo", "pipeline": []}, "GET /which": {"integration": "echo"}},
            "stages": stages,
            "description": name,
        })
    };
    let deployed = json!({"auto-deploy": true});
    site.apply(json!({
        "apis": {
            "one": api("one", json!({"prod": deployed, "$default": deployed})),
            "two": api("two", json!({"prod": deployed})),
        },
        "domains": {
            "api.example.com": {
                "mappings": {"v1": {"api": "one", "stage": "prod"}, "v1/two": {"api": "two", "stage": "prod"}, "(none)": {"api": "two", "stage": "prod"}},
            },
            "*.wild.example.com": {
                "routing-mode": "rules-then-mappings",
                "mappings": {"(none)": {"api": "one", "stage": "prod"}},
                "rules": {
                    "beta": {"priority": 10, "headers": {"x-version": "beta*"}, "api": "two", "stage": "prod"},
                    "path": {"priority": 20, "base-paths": ["old"], "api": "two", "stage": "prod", "strip-base-path": true},
                },
            },
        },
    }))
    .await;
    for (host, path, fields, expected) in [
        ("one.execute-api.localhost", "/prod/a/b", [].as_slice(), "/a/b"),
        ("one.execute-api.localhost:8080", "/prod", &[], "/"),
        ("one.execute-api.localhost", "/other/a", &[], "/other/a"),
        ("api.example.com", "/v1/a?x=1", &[], "/a?x=1"),
        ("API.example.com", "/v1/two/a", &[], "/a"),
        ("api.example.com", "/v1", &[], "/"),
        ("api.example.com", "/v10/a", &[], "/v10/a"),
        ("x.wild.example.com", "/a", &[], "/a"),
        ("x.y.wild.example.com", "/old/a", &[], "/a"),
        ("x.wild.example.com", "/older", &[], "/older"),
        ("x.wild.example.com", "/old", &[("x-version", "beta2")], "/old"),
    ] {
        let reply = site.call(host, "GET", path, fields, "").await;
        assert_eq!(reply.status, 200, "{host}{path}: {}", reply.text());
        assert_eq!(target(&reply), expected, "{host}{path}");
    }
    assert_eq!(
        site.get("two.execute-api.localhost", "/nothing").await.status,
        404
    );
    // a mapping to what is not there is refused, and a stage that is mapped to cannot go alone
    let refused = site
        .admin(
            "PUT",
            "/v1/domains/api.example.com/mappings/v2",
            json!({"api": "one", "stage": "beta"}),
        )
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    for path in ["/v1/apis/two/stages/prod", "/v1/apis/two"] {
        let refused = site.admin("DELETE", path, Value::Null).await;
        assert_eq!(refused.status, 422, "{path}: {}", refused.text());
    }
    // what is mapped to a stage that serves nothing is not the catch-all's
    site.done("PUT", "/v1/apis/one/stages/empty", json!({})).await;
    site.done(
        "PUT",
        "/v1/domains/api.example.com/mappings/closed",
        json!({"api": "one", "stage": "empty"}),
    )
    .await;
    assert_eq!(site.get("api.example.com", "/closed/a").await.status, 404);
    assert_eq!(site.get("api.example.com", "/open/a").await.status, 200);
    site.done("PATCH", "/v1/apis/two", json!({"disable-default-endpoint": true}))
        .await;
    assert_eq!(site.get("two.execute-api.localhost", "/prod/a").await.status, 404);
    assert_eq!(site.get("api.example.com", "/v1/two/a").await.status, 200);
}

#[tokio::test]
async fn parameters_are_mapped_to_the_server_and_back() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "integrations": {
            "proxy": {
                "type": "HTTP_PROXY",
                "uri": site.web("/base/{id}/${stageVariables.kind}?fixed=1"),
                "method": "POST",
                "request-parameters": {
                    "integration.request.path.id": "method.request.header.x-id",
                    "integration.request.querystring.added": "method.request.querystring.q",
                    "integration.request.header.x-stage": "context.stage",
                    "integration.request.header.x-literal": "'a b'",
                    "integration.request.header.x-body": "method.request.body.pet.name",
                },
            },
            "greedy": {"type": "HTTP_PROXY", "uri": site.web("/files/{proxy}"), "request-parameters": {"integration.request.path.proxy": "method.request.path.proxy"}},
            "own": {
                "type": "HTTP",
                "uri": site.web("/fields?x-count=5&x-other=no"),
                "request-parameters": {"integration.request.header.x-only": "'this'"},
                "responses": [
                    {"selection": "2\\d{2}", "status": 201, "parameters": {"method.response.header.x-total": "integration.response.header.x-count"}},
                    {"status": 500},
                ],
            },
            "echo": {"type": "HTTP", "uri": site.web("/echo"), "responses": [{"status": 200}]},
            "unmapped": {"type": "HTTP", "uri": site.web("/status/404"), "responses": [{"selection": "200", "status": 200}]},
        },
        "routes": {
            "POST /proxy": {"integration": "proxy"},
            "GET /files/{proxy+}": {"integration": "greedy"},
            "GET /own": {"integration": "own"},
            "GET /echo": {"integration": "echo"},
            "GET /unmapped": {"integration": "unmapped"},
        },
        "stages": {"prod": {"auto-deploy": true, "variables": {"kind": "cats"}}},
    }}}))
    .await;
    let fields = [("x-id", "7 8"), ("content-type", "application/json")];
    let reply = site
        .call(
            PETS,
            "POST",
            "/prod/proxy?q=1&q=2",
            &fields,
            r#"{"pet": {"name": "rex"}}"#,
        )
        .await;
    let echo = reply.json();
    assert_eq!(target(&reply), "/base/7%208/cats?fixed=1&q=1&q=2&added=2");
    for (name, value) in [
        ("x-stage", "prod"),
        ("x-literal", "a b"),
        ("x-body", "rex"),
        ("host", &*site.origin.endpoint()),
    ] {
        assert_eq!(reply.echoed(name), value, "{name}");
    }
    assert_eq!(echo["body"], r#"{"pet": {"name": "rex"}}"#);
    // a value that leads elsewhere is refused
    for bad in ["..", "a/b", "a\\b"] {
        let reply = site
            .call(PETS, "POST", "/prod/proxy", &[("x-id", bad)], "{}")
            .await;
        assert_eq!(
            (reply.status, reply.json()["responseType"].as_str()),
            (400, Some("BAD_REQUEST_PARAMETERS")),
            "{bad}"
        );
    }
    let reply = site.call(PETS, "POST", "/prod/proxy", &[], "{}").await;
    assert_eq!(reply.status, 400, "no value for `id`: {}", reply.text());
    assert_eq!(
        target(&site.get(PETS, "/prod/files/a/b%20c/d").await),
        "/files/a/b%20c/d"
    );
    let own = site.get(PETS, "/prod/own").await;
    assert_eq!(
        (own.status, own.header("x-total"), own.header("x-other")),
        (201, "5", "")
    );
    // only what is mapped reaches the server of an HTTP integration
    let echo = site
        .call(PETS, "GET", "/prod/echo?q=1", &[("x-secret", "1")], "")
        .await;
    assert_eq!(
        (echo.echoed("x-secret").as_str(), echo.json()["path"].as_str()),
        ("", Some("/echo"))
    );
    assert_eq!(echo.echoed("accept"), "application/json");
    let unmapped = site.get(PETS, "/prod/unmapped").await;
    assert_eq!(
        (unmapped.status, unmapped.json()["responseType"].as_str()),
        (500, Some("API_CONFIGURATION_ERROR"))
    );
}

#[tokio::test]
async fn mappings_of_http_apis_append_overwrite_and_remove() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "profile": "apigw",
        "integrations": {
            "a": {
                "type": "HTTP_PROXY",
                "uri": site.web(""),
                "request-parameters": {
                    "overwrite:path": "/echo/${request.path.id}",
                    "append:header.x-many": "$request.querystring.q",
                    "remove:header.x-gone": "''",
                    "remove:querystring.q": "''",
                    "overwrite:querystring.to": "${context.stage}-$stageVariables.v",
                },
            },
            "b": {"type": "HTTP_PROXY", "uri": site.web("/status/404"), "response-parameters": {"404": {"overwrite:statuscode": "418", "append:header.x-was": "404"}}},
        },
        "routes": {"GET /pets/{id}": {"integration": "a"}, "GET /b": {"integration": "b"}, "GET /{x}/full": {"integration": "b"}, "ANY /pets/{proxy+}": {"integration": "a"}},
        "stages": {"$default": {"auto-deploy": true, "variables": {"v": "1"}}},
    }}}))
    .await;
    let reply = site
        .call(
            PETS,
            "GET",
            "/pets/7?q=x&keep=1",
            &[("x-many", "0"), ("x-gone", "1")],
            "",
        )
        .await;
    assert_eq!(target(&reply), "/echo/7?keep=1&to=%24default-1");
    assert_eq!(
        (reply.echoed_all("x-many"), reply.echoed("x-gone")),
        (vec!["0".to_owned(), "x".to_owned()], String::new())
    );
    let reply = site.get(PETS, "/b").await;
    assert_eq!((reply.status, reply.header("x-was")), (418, "404"));
    // a full match comes before a greedy one, however many literals that has
    assert_eq!(site.get(PETS, "/pets/full").await.status, 200);
    assert_eq!(site.get(PETS, "/cats/full").await.status, 418);
}

#[tokio::test]
async fn requests_are_validated_before_they_go_on() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "models": {
            "pet": {"schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "owner": {"$ref": "https://apigateway.amazonaws.com/restapis/x/models/person"}}}},
            "person": {"schema": {"type": "object", "required": ["age"]}},
        },
        "validators": {"all": {"parameters": true, "body": true}, "params": {"parameters": true}},
        "routes": {
            "POST /pets/{issuer}": {
                "integration": "echo",
                "validator": "all",
                "request-parameters": {"method.request.querystring.qs1": true, "method.request.header.x-header-param": true, "method.request.path.issuer": true, "method.request.querystring.free": false},
                "request-models": {"application/json": "pet"},
            },
        },
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let refused = site
        .call(PETS, "POST", "/prod/pets/a", &[("x-header-param", " ")], "{}")
        .await;
    assert_eq!(
        (refused.status, message(&refused)),
        (
            400,
            "Missing required request parameters: [x-header-param, qs1]".to_owned()
        )
    );
    let good = [("x-header-param", "1"), ("content-type", "application/json")];
    let path = "/prod/pets/a?qs1=1";
    for (body, status) in [
        (r#"{"name": "rex"}"#, 200),
        (r#"{"name": "rex", "owner": {"age": 3}}"#, 200),
        (r#"{"name": 5}"#, 400),
        (r#"{"name": "rex", "owner": {}}"#, 400),
        ("{", 400),
        ("", 400),
    ] {
        let reply = site.call(PETS, "POST", path, &good, body).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        if status == 400 {
            assert_eq!(message(&reply), "Invalid request body");
        } else {
            assert_eq!(reply.json()["body"], body);
        }
    }
    let text = [("x-header-param", "1"), ("content-type", "text/plain")];
    assert_eq!(site.call(PETS, "POST", path, &text, "not JSON").await.status, 200);
    // nobody reads by one type what was validated by another
    for types in [
        &[
            ("content-type", "text/plain"),
            ("content-type", "application/json"),
        ][..],
        &[("content-type", "text/plain, application/json")],
    ] {
        let fields = [types, &[("x-header-param", "1")]].concat();
        let reply = site.call(PETS, "POST", path, &fields, r#"{"name": 5}"#).await;
        assert_eq!(reply.status, 400, "{types:?}: {}", reply.text());
    }
    assert_eq!(site.origin.hits("/echo"), 3);
}

#[tokio::test]
async fn browsers_are_told_who_may_call_on_errors_too() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "cors": {"allow-origins": ["https://*.example.com"], "allow-methods": ["GET", "PUT"], "allow-headers": ["x-key"], "expose-headers": ["x-total"], "max-age": 60, "allow-credentials": true},
        "integrations": {"web": {"type": "HTTP_PROXY", "uri": site.web("/fields?access-control-allow-origin=*&access-control-max-age=5&x-total=1")}},
        "routes": {"GET /a": {"integration": "web"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let origin = ("origin", "https://app.example.com");
    let preflight = site
        .call(
            PETS,
            "OPTIONS",
            "/prod/nowhere",
            &[origin, ("access-control-request-method", "PUT")],
            "",
        )
        .await;
    assert_eq!(preflight.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET,PUT"),
        ("access-control-allow-headers", "x-key"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
        ("vary", "Origin"),
    ] {
        assert_eq!(preflight.header(name), value, "{name}");
    }
    let other = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "PUT"),
    ];
    let refused = site.call(PETS, "OPTIONS", "/prod/a", &other, "").await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (204, "")
    );
    // what the server says of origins does not count
    let reply = site.call(PETS, "GET", "/prod/a", &[origin], "").await;
    assert_eq!(
        (
            reply.status,
            reply.header("access-control-allow-origin"),
            reply.header("access-control-expose-headers"),
            reply.header("access-control-max-age")
        ),
        (200, "https://app.example.com", "x-total", "")
    );
    let missing = site.call(PETS, "GET", "/prod/b", &[origin], "").await;
    assert_eq!(
        (missing.status, missing.header("access-control-allow-origin")),
        (404, "https://app.example.com")
    );
    let plain = site.get(PETS, "/prod/a").await;
    assert_eq!(
        (plain.header("access-control-allow-origin"), plain.header("vary")),
        ("", "Origin")
    );
    let refused = site
        .admin(
            "PATCH",
            "/v1/apis/pets",
            json!({"cors": {"allow-origins": ["*"]}}),
        )
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
}

#[tokio::test]
async fn a_canary_gets_its_share_and_is_promoted_or_aborted() {
    let site = Site::start();
    let bundle = |text: &str| {
        json!({"apis": {"pets": {
            "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/text/${stageVariables.v}")}},
            "routes": {"GET /a": {"integration": "echo"}},
            "stages": {"prod": {"variables": {"v": "old"}}},
            "description": text,
        }}})
    };
    site.apply(bundle("one")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(bundle("two")).await;
    let second = site
        .done(
            "POST",
            "/v1/apis/pets/deployments",
            json!({"stage": "prod", "canary": {"percent": 30.0}}),
        )
        .await;
    let refused = site
        .admin("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(refused.status, 409, "while there is a canary: {}", refused.text());
    for _ in 0..200 {
        assert_eq!(site.get(PETS, "/prod/a").await.status, 200);
    }
    let arms = site
        .done("GET", "/v1/apis/pets/stages/prod/arms", Value::Null)
        .await;
    let served = |arm: &str| arms[arm]["served"]["requests"].as_u64().unwrap();
    assert_eq!(served("control") + served("canary"), 200);
    assert!((25..=100).contains(&served("canary")), "{arms}");
    let other = json!({"deployment": second["id"]});
    let refused = site.admin("PATCH", "/v1/apis/pets/stages/prod", other).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let told = site
        .done(
            "POST",
            "/v1/apis/pets/stages/prod/promote?dry-run=true",
            Value::Null,
        )
        .await;
    assert_eq!(told["snapshot"], Value::Null);
    // the same client stays with one arm
    let sticky =
        json!({"canary": {"percent": 50.0, "sticky": {"header": "x-user"}, "variables": {"v": "new"}}});
    site.done("PATCH", "/v1/apis/pets/stages/prod", sticky).await;
    let mut targets = std::collections::BTreeSet::new();
    for user in 0..20 {
        let user = format!("user-{user}");
        let before = site.origin.seen().len();
        for _ in 0..3 {
            site.call(PETS, "GET", "/prod/a", &[("x-user", &user)], "").await;
        }
        let seen: Vec<_> = site.origin.seen()[before..]
            .iter()
            .map(|seen| seen.target.clone())
            .collect();
        assert!(seen.iter().all(|target| *target == seen[0]), "{seen:?}");
        targets.insert(seen[0].clone());
    }
    assert_eq!(targets.len(), 2, "both arms are served: {targets:?}");
    site.done("POST", "/v1/apis/pets/stages/prod/promote", Value::Null)
        .await;
    let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
    assert_eq!(
        (
            &stage["deployment"],
            stage.get("canary"),
            &stage["variables"]["v"]
        ),
        (&second["id"], None, &json!("new"))
    );
    let refused = site
        .admin("POST", "/v1/apis/pets/stages/prod/abort", Value::Null)
        .await;
    assert_eq!(refused.status, 409);
}

#[tokio::test]
async fn a_canary_that_fails_is_given_up_by_itself() {
    let site = Site::start();
    let bundle = |status: u16| {
        json!({"apis": {"pets": {
            "integrations": {"a": {"type": "HTTP_PROXY", "uri": site.web(&format!("/status/{status}"))}},
            "routes": {"GET /a": {"integration": "a"}},
            "stages": {"prod": {}},
        }}})
    };
    site.apply(bundle(200)).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(bundle(500)).await;
    site.done(
        "POST",
        "/v1/apis/pets/deployments",
        json!({"stage": "prod", "canary": {"percent": 50, "rollback": {"min-requests": 20}}}),
    )
    .await;
    let failed = std::cell::Cell::new(0);
    eventually("the canary to be given up", async || {
        for _ in 0..20 {
            let is_failure = site.get(PETS, "/prod/a").await.status == 500;
            failed.set(failed.get() + usize::from(is_failure));
        }
        let stage = site.done("GET", "/v1/apis/pets/stages/prod", Value::Null).await;
        stage.get("canary").is_none().then_some(())
    })
    .await;
    assert!(
        failed.get() >= 20,
        "it was judged by what it has served: {}",
        failed.get()
    );
    for _ in 0..20 {
        assert_eq!(site.get(PETS, "/prod/a").await.status, 200);
    }
    let log = site.done("GET", "/v1/audit?limit=1000", Value::Null).await;
    let entries = log.as_array().unwrap();
    let last = entries
        .iter()
        .rfind(|entry| entry["detail"]["reason"].is_string());
    let last = last.unwrap_or_else(|| panic!("no reason in {log}"));
    assert_eq!(
        (&last["action"], &last["principal"]),
        (&json!("automatic-rollback"), &json!("gateway"))
    );
}

#[tokio::test]
async fn resources_are_ordinary_rest() {
    let site = Site::start();
    let made = site
        .admin("POST", "/v1/apis", json!({"id": "pets", "name": "Pets"}))
        .await;
    assert_eq!((made.status, made.header("location")), (201, "/v1/apis/pets"));
    assert_eq!(
        site.admin("POST", "/v1/apis", json!({"id": "pets"})).await.status,
        409
    );
    let read = site.with("GET", "/v1/apis/pets", &[], Value::Null).await;
    let tag = read.header("etag").to_owned();
    assert_eq!(read.json()["id"], "pets");
    let known = site
        .with("GET", "/v1/apis/pets", &[("if-none-match", &tag)], Value::Null)
        .await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    // what was read can be written
    let same = site
        .with("PUT", "/v1/apis/pets", &[("if-match", &tag)], read.json())
        .await;
    assert_eq!(
        (same.status, same.header("etag")),
        (200, &*tag),
        "{}",
        same.text()
    );
    let merged = site
        .with(
            "PATCH",
            "/v1/apis/pets",
            &[
                ("if-match", &tag),
                ("content-type", "application/merge-patch+json"),
            ],
            json!({"description": "all", "name": null}),
        )
        .await;
    assert_eq!(merged.status, 200, "{}", merged.text());
    assert_eq!(
        (merged.json().get("name"), &merged.json()["description"]),
        (None, &json!("all"))
    );
    let late = site
        .with(
            "PATCH",
            "/v1/apis/pets",
            &[("if-match", &tag)],
            json!({"description": "lost update"}),
        )
        .await;
    assert_eq!(late.status, 412, "{}", late.text());
    let patched = site
        .with("PATCH", "/v1/apis/pets", &[("content-type", "application/json-patch+json")], json!([{"op": "test", "path": "/description", "value": "all"}, {"op": "replace", "path": "/description", "value": "some"}]))
        .await;
    assert_eq!(
        (patched.status, &patched.json()["description"]),
        (200, &json!("some"))
    );
    let failed = site
        .with(
            "PATCH",
            "/v1/apis/pets",
            &[("content-type", "application/json-patch+json")],
            json!([{"op": "test", "path": "/description", "value": "x"}]),
        )
        .await;
    assert_eq!(failed.status, 409, "{}", failed.text());
    assert_eq!(
        site.with(
            "PATCH",
            "/v1/apis/pets",
            &[("content-type", "text/plain")],
            json!({})
        )
        .await
        .status,
        415
    );
    for (method, path, fields, body, status) in [
        ("PUT", "/v1/apis/pets", ("if-none-match", "*"), json!({}), 412),
        ("PUT", "/v1/apis/cats", ("if-match", "*"), json!({}), 412),
        ("PUT", "/v1/apis/pets", ("x", "y"), json!([]), 400),
        (
            "PUT",
            "/v1/apis/pets",
            ("x", "y"),
            json!({"protocl": "REST"}),
            422,
        ),
        ("POST", "/v1/apis", ("x", "y"), json!({"name": "no id"}), 400),
        ("POST", "/v1/apis", ("x", "y"), json!({"id": "Not A Label"}), 422),
        ("GET", "/v1/apis?limit=0", ("x", "y"), Value::Null, 400),
        ("GET", "/v1/apis?limt=1", ("x", "y"), Value::Null, 400),
        ("GET", "/v1/apis/none/routes", ("x", "y"), Value::Null, 404),
        ("DELETE", "/v1/apis/none", ("x", "y"), Value::Null, 404),
    ] {
        let reply = site.with(method, path, &[fields], body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    // a dry run tells and changes nothing
    let told = site
        .with("DELETE", "/v1/apis/pets?dry-run=true", &[], Value::Null)
        .await;
    assert_eq!(
        (told.status, &told.json()["changes"][0]["action"]),
        (200, &json!("delete")),
        "{}",
        told.text()
    );
    assert_eq!(site.admin("GET", "/v1/apis/pets", Value::Null).await.status, 200);
    // a request that comes again does nothing again
    let key = ("idempotency-key", "one");
    let first = site.with("POST", "/v1/apis", &[key], json!({"id": "once"})).await;
    let again = site.with("POST", "/v1/apis", &[key], json!({"id": "once"})).await;
    assert_eq!(
        (first.status, again.status, again.header("idempotent-replayed")),
        (201, 201, "true")
    );
    assert_eq!(
        site.with("POST", "/v1/apis", &[key], json!({"id": "other"}))
            .await
            .status,
        422
    );
    for id in ["a", "b", "c"] {
        site.done("PUT", &format!("/v1/apis/{id}"), json!({})).await;
    }
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = site
            .done("GET", &format!("/v1/apis?limit=2{cursor}"), Value::Null)
            .await;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "once", "pets"]);
}

#[tokio::test]
async fn a_dry_run_may_be_asked_for_in_either_spelling() {
    let site = Site::start();
    for query in ["dry-run=true", "dryRun=true"] {
        for (method, path, body) in [
            ("POST", "/v1/apis", json!({"id": "pets"})),
            ("PUT", "/v1/apis/pets", json!({})),
            ("PUT", "/v1/bundle", json!({"apis": {"pets": {}}})),
        ] {
            let told = site.done(method, &format!("{path}?{query}"), body).await;
            assert_eq!(told["changes"][0]["path"], "apis/pets", "{method} {path}: {told}");
        }
        let document = json!({"openapi": "3.0.1", "info": {"title": "pets", "version": "1"}, "paths": {}});
        let told = site.done("POST", &format!("/v1/imports?{query}"), document).await;
        assert_eq!(told["dry-run"], true, "{told}");
    }
    let none = site.admin("GET", "/v1/apis/pets", Value::Null).await;
    assert_eq!(none.status, 404, "{}", none.text());
    let twice = site
        .admin(
            "POST",
            "/v1/apis?dry-run=true&dryRun=false",
            json!({"id": "pets"}),
        )
        .await;
    assert_eq!(twice.status, 400, "{}", twice.text());
}

#[tokio::test]
async fn plugins_of_a_deployment_stay_the_versions_that_it_was_made_with() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "routes": {"GET /a": {"integration": "echo", "pipeline": ["stamp"]}},
        "stages": {"prod": {}},
    }}}))
    .await;
    let first = site
        .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "file");
    let digest = site.module("stamp").await;
    let version = json!({"module": digest, "config": {"version": "new"}});
    site.done("POST", "/v1/plugins/stamp/versions?publish=true", version)
        .await;
    assert_eq!(
        site.get("gateway.test", "/x").await.header("x-stamp"),
        "new",
        "the file's route"
    );
    assert_eq!(
        site.get(PETS, "/prod/a").await.header("x-stamp"),
        "file",
        "the deployment"
    );
    let second = site
        .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "new");
    let site = site.again();
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "new");
    site.done(
        "POST",
        "/v1/apis/pets/stages/prod/rollback",
        json!({"deployment": first["id"]}),
    )
    .await;
    assert_eq!(site.get(PETS, "/prod/a").await.header("x-stamp"), "file");
    let pins = site
        .done(
            "GET",
            &format!("/v1/apis/pets/deployments/{}", first["id"].as_str().unwrap()),
            Value::Null,
        )
        .await;
    assert_eq!(pins["plugins"]["stamp"]["version"], 0, "{pins}");
    // settings may be secrets: of these there is a digest
    let settings = pins["plugins"]["stamp"]["settings"].as_str().unwrap();
    assert!(settings.starts_with("sha256:"), "{pins}");
    let edit = json!({"description": "another"});
    site.done("PATCH", "/v1/apis/pets/stages/prod", json!({"auto-deploy": true}))
        .await;
    let fields = [("content-type", "application/merge-patch+json")];
    let told = site
        .with("PATCH", "/v1/apis/pets?dry-run=true", &fields, edit)
        .await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(
        told.text().contains("sha256:") && !told.text().contains("\"config\""),
        "{}",
        told.text()
    );
    // the module of a deployment cannot be taken away from under it
    let module = pins["plugins"]["stamp"]["module"].as_str().unwrap();
    let refused = site
        .admin("DELETE", &format!("/v1/modules/{module}"), Value::Null)
        .await;
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_and_tampering_is_found() {
    let site = Site::start();
    site.done("POST", "/v1/apis", json!({"id": "pets"})).await;
    site.done("PATCH", "/v1/apis/pets", json!({"description": "all"}))
        .await;
    site.done("DELETE", "/v1/apis/pets", Value::Null).await;
    let log = site.done("GET", "/v1/audit", Value::Null).await;
    assert_eq!(
        pairs(&log, "action", "target"),
        [
            ("create", "apis/pets"),
            ("update", "apis/pets"),
            ("delete", "apis/pets")
        ]
    );
    assert_eq!(
        log[1]["patch"],
        json!([{"op": "add", "path": "/description", "value": "all"}])
    );
    assert_eq!(
        (&log[1]["source"], &log[1]["outcome"]),
        (&json!("127.0.0.1"), &json!("done"))
    );
    let check = site.done("GET", "/v1/audit/verify", Value::Null).await;
    assert_eq!(check, json!({"entries": 3, "problem": null}));
    let after = site.done("GET", "/v1/audit?after=2", Value::Null).await;
    assert_eq!(after.as_array().unwrap().len(), 1);
    // what is no change of the model, and what was refused or denied
    site.done("POST", "/v1/reload", Value::Null).await;
    assert_eq!(
        site.admin("POST", "/v1/apis", json!({"id": "B A D"}))
            .await
            .status,
        422
    );
    let stranger = Request::delete("/v1/apis/pets").header("authorization", "Bearer wrong");
    assert_eq!(ask(site.process.admin, stranger, empty()).await.status, 401);
    let log = site.done("GET", "/v1/audit?after=3", Value::Null).await;
    let told: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let word = |key: &str| entry[key].as_str().unwrap().to_owned();
            [word("principal"), word("action"), word("target"), word("outcome")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "root post reload begun",
            "root post reload done",
            "root post apis refused",
            "nobody delete apis/pets denied"
        ]
    );
    let Site { folder, process, .. } = site;
    let token = process.token();
    drop(process);
    assert!(!log.to_string().contains(&token), "no secret is in the log");
    for (tampering, problem) in [
        (
            "UPDATE audit SET entry = replace(entry, 'pets', 'cats') WHERE seq = 2",
            "entry 2",
        ),
        ("DELETE FROM audit WHERE seq = 3", "entry 3 is missing"),
        ("DELETE FROM audit WHERE seq > 4", "ends at entry 4, and 7"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let connection = rusqlite::Connection::open(copy.path().join("data/edgeward.db")).unwrap();
        connection.execute(tampering, []).unwrap();
        drop(connection);
        let process = Process::start(copy.path());
        let check = process.admin_get("/v1/audit/verify").await;
        let told = check["problem"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(problem), "{tampering}: {check}");
    }
}

/// An API that answers a text at `/a`, with stages that serve nothing yet.
pub(crate) fn saying(text: &str) -> Value {
    json!({"apis": {"pets": {
        "protocol": "REST",
        "integrations": {"mock": mock(text)},
        "routes": {"GET /a": {"integration": "mock"}},
        "stages": {"prod": {}, "dev": {}},
    }}})
}

#[tokio::test]
async fn going_back_is_to_what_the_stage_served_before() {
    let site = Site::start();
    let deploy = async |text: &str, stage: &str| {
        site.apply(saying(text)).await;
        let made = site
            .done("POST", "/v1/apis/pets/deployments", json!({"stage": stage}))
            .await;
        made["id"].clone()
    };
    let first = deploy("one", "prod").await;
    deploy("two", "dev").await;
    deploy("three", "prod").await;
    let back = site
        .done("POST", "/v1/apis/pets/stages/prod/rollback", Value::Null)
        .await;
    assert_eq!(back["id"], first, "not what another stage serves");
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "one");
    // and again: what was served before is what was just left
    site.done("POST", "/v1/apis/pets/stages/prod/rollback", Value::Null)
        .await;
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "three");
    let never = site
        .admin("POST", "/v1/apis/pets/stages/dev/rollback", Value::Null)
        .await;
    assert_eq!(never.status, 409, "{}", never.text());
}

#[tokio::test]
async fn a_canary_is_not_put_in_the_place_of_another() {
    let site = Site::start();
    site.apply(saying("one")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    site.apply(saying("two")).await;
    let canary = json!({"stage": "prod", "canary": {"percent": 50}});
    site.done("POST", "/v1/apis/pets/deployments", canary.clone())
        .await;
    site.apply(saying("three")).await;
    let refused = site.admin("POST", "/v1/apis/pets/deployments", canary).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[tokio::test]
async fn documents_that_grow_out_of_little_are_refused() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {"description": "x".repeat(1000)}}}))
        .await;
    let copies: Vec<Value> = (0..40)
        .map(|step| json!({"op": "copy", "from": "", "path": format!("/k{step}")}))
        .collect();
    let fields = [("content-type", "application/json-patch+json")];
    let refused = site.with("PATCH", "/v1/apis/pets", &fields, json!(copies)).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("more than 4194304 bytes"),
        "{}",
        refused.text()
    );
    let aliases = "*a, ".repeat(1000);
    let bundle = format!("a: &a \"{}\"\nb: [{aliases}]\n", "x".repeat(100_000));
    let refused = site
        .process
        .admin("PUT", "/v1/bundle", bytes(Bytes::from(bundle)))
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("bytes of text"), "{}", refused.text());
}

#[tokio::test]
async fn limits_of_the_model_are_those_of_aws() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["verdict"] = json!({"module": guest("verdict")});
    });
    let base = json!({
        "apis": {"pets": {
            "protocol": "REST",
            "integrations": {"echo": {"type": "HTTP", "uri": site.web("/echo"), "responses": [{"status": 200}]}},
            "routes": {"GET /a": {"integration": "echo"}},
            "authorizers": {"who": {"plugin": "verdict"}},
            "stages": {"prod": {"auto-deploy": true}},
        }},
        "domains": {"api.example.com": {"mappings": {"v1": {"api": "pets", "stage": "prod"}}}},
    });
    let text = |length: usize| "x".repeat(length);
    let pets = |more: Value| json!({"apis": {"pets": more}});
    let variables = |count: usize, name: usize, value: usize| {
        let named = |number: usize| (format!("{number:0name$}"), json!(text(value)));
        let variables: serde_json::Map<String, Value> = (0..count).map(named).collect();
        pets(json!({"stages": {"prod": {"variables": variables}}}))
    };
    let sources = |count: usize| {
        let sources: Vec<_> = (0..count)
            .map(|number| format!("$request.header.x-{number}"))
            .collect();
        pets(json!({"authorizers": {"who": {"identity-sources": sources}}}))
    };
    let stage = |name: usize| pets(json!({"stages": {text(name): {}}}));
    let mapping = |path: usize| json!({"domains": {"api.example.com": {"mappings": {text(path): {"api": "pets", "stage": "prod"}}}}});
    let template = |size: usize| {
        pets(json!({"integrations": {"echo": {"request-templates": {"application/json": text(size)}}}}))
    };
    let compression = |size: usize| pets(json!({"minimum-compression-size": size}));
    let ttl = |seconds: usize| pets(json!({"authorizers": {"who": {"result-ttl": format!("{seconds}s")}}}));
    let format = |length: usize| {
        let begin = "$context.requestId ";
        let format = begin.to_owned() + &text(length - begin.len());
        pets(json!({"stages": {"prod": {"access-log": {"format": format, "destination": "stdout"}}}}))
    };
    for (what, most, one_more) in [
        ("name of a stage", stage(128), stage(129)),
        ("base path", mapping(300), mapping(301)),
        ("stage variables", variables(100, 3, 1), variables(101, 3, 1)),
        ("their names", variables(1, 64, 1), variables(1, 65, 1)),
        ("their values", variables(1, 1, 512), variables(1, 1, 513)),
        ("identity sources", sources(10), sources(11)),
        ("template", template(300 << 10), template((300 << 10) + 1)),
        (
            "minimum-compression-size",
            compression(10 << 20),
            compression((10 << 20) + 1),
        ),
        ("result-ttl", ttl(3600), ttl(3601)),
        ("access-log format", format(3 << 10), format((3 << 10) + 1)),
    ] {
        for (patch, status) in [(most, 200), (one_more, 422)] {
            let mut bundle = base.clone();
            json_patch::merge(&mut bundle, &patch);
            let told = site.admin("PUT", "/v1/bundle?dryRun=true", bundle).await;
            assert_eq!(told.status, status, "{what}: {}", told.text());
        }
    }
}

#[tokio::test]
async fn an_entity_tag_is_never_that_of_another_document() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {"description": "one"}}}))
        .await;
    let tag = site
        .admin("GET", "/v1/apis/pets", Value::Null)
        .await
        .header("etag")
        .to_owned();
    site.apply(json!({})).await;
    let site = site.again();
    site.apply(json!({"apis": {"pets": {"description": "another"}}}))
        .await;
    let stale = site
        .with("DELETE", "/v1/apis/pets", &[("if-match", &tag)], Value::Null)
        .await;
    assert_eq!(stale.status, 412, "{}", stale.text());
}

#[tokio::test]
async fn the_whole_model_is_stated_in_one_document() {
    let site = Site::start();
    let text = format!(
        "apis:\n  pets:\n    integrations: {{web: {{type: HTTP_PROXY, uri: '{}'}}}}\n    routes:\n      GET /echo: {{integration: web}}\n    stages: {{prod: {{auto-deploy: true}}}}\n",
        site.web("")
    );
    std::fs::write(site.folder.path().join("pets.yaml"), text).unwrap();
    let admin = format!("http://{}", site.process.admin);
    let token = site.process.token_file.display().to_string();
    let at = ["--admin", &admin, "--token-file", &token];
    let told = cli(
        site.folder.path(),
        &[&["diff", "-f", "pets.yaml"][..], &at].concat(),
    )
    .await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.out.contains("create apis/pets/routes/GET /echo"),
        "{}",
        told.out
    );
    assert_eq!(
        site.admin("GET", "/v1/apis/pets", Value::Null).await.status,
        404,
        "nothing has changed"
    );
    let done = cli(
        site.folder.path(),
        &[&["apply", "-f", "pets.yaml"][..], &at].concat(),
    )
    .await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(site.get(PETS, "/prod/echo").await.status, 200);
    let again = cli(
        site.folder.path(),
        &[&["apply", "-f", "pets.yaml"][..], &at].concat(),
    )
    .await;
    assert!(again.out.contains("nothing to change"), "{}", again.out);
    std::fs::write(
        site.folder.path().join("bad.yaml"),
        "apis: {pets: {routes: {'GET x': {}}, protocl: REST}}",
    )
    .unwrap();
    let refused = cli(
        site.folder.path(),
        &[&["apply", "-f", "bad.yaml"][..], &at].concat(),
    )
    .await;
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("protocl"), "{refused:?}");
    assert_eq!(site.get(PETS, "/prod/echo").await.status, 200);
    let bundle = site.done("GET", "/v1/bundle", Value::Null).await;
    assert_eq!(
        bundle["apis"]["pets"]["routes"]["GET /echo"]["integration"],
        "web"
    );
}

#[tokio::test]
async fn mapping_templates_make_bodies_with_what_the_gateway_knows() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::process::config(&origin);
    config["plugins"]["mapping"] = json!({
        "module": guest("vtl-transform"),
        "config": {
            "limit": 100_000,
            "routes": {
                "POST /pets/{id}": {"request": {"templates": {"application/json": "{\"id\": \"$input.params('id')\", \"name\": $input.json('$.pet.name'), \"stage\": \"$context.stage\", \"env\": \"$stageVariables.env\"}"}}},
                "GET /made": {"request": {"templates": {"application/json": "{\"statusCode\": #if($input.params('fail') == 'yes')404#{else}200#end}"}}},
            },
        },
    });
    write(folder.path(), &config);
    let process = Process::start(folder.path());
    let site = Site {
        origin,
        folder,
        process,
    };
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "integrations": {
            "echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")},
            "mock": {"type": "MOCK", "responses": [{"selection": "404", "status": 404}, {"status": 200}]},
        },
        "routes": {
            "POST /pets/{id}": {"integration": "echo", "pipeline": ["mapping"]},
            "GET /made": {"integration": "mock", "pipeline": ["mapping"]},
        },
        "stages": {"prod": {"auto-deploy": true, "variables": {"env": "blue"}}},
    }}}))
    .await;
    let body = r#"{"pet": {"name": "rex"}}"#;
    let reply = site
        .call(
            PETS,
            "POST",
            "/prod/pets/7",
            &[("content-type", "application/json")],
            body,
        )
        .await;
    assert_eq!(
        reply.json()["body"],
        r#"{"id": "7", "name": "rex", "stage": "prod", "env": "blue"}"#,
        "{}",
        reply.text()
    );
    // a request without a body gets one
    for (query, status) in [("?fail=no", 200), ("?fail=yes", 404)] {
        let reply = site.get(PETS, &format!("/prod/made{query}")).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
    }
}
