//! OpenAPI documents: from the command line into the running gateway, through its listeners, and back.

use std::fs;

use bytes::Bytes;
use edgeward_tests::{Cli, Origin, Process, Reply, ask, bytes, cli, empty, guest, workspace};
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A gateway with an origin behind it, an authorizer, and a folder for documents.
struct Site {
    origin: Origin,
    folder: TempDir,
    process: Process,
}

impl Site {
    fn start() -> Self {
        let crate::apis::Site {
            origin,
            folder,
            process,
        } = crate::apis::Site::with_config(|config, _folder| {
            // the public key of RFC 8037 appendix A.2
            let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
            config["plugins"]["login"] = json!({
                "module": guest("jwt-authorizer"),
                "config": {"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": {"keys": [key]}}}]},
            });
        });
        Self {
            origin,
            folder,
            process,
        }
    }

    fn file(&self, name: &str, document: &Value) {
        fs::write(self.folder.path().join(name), document.to_string()).unwrap();
    }

    async fn run(&self, words: &[&str]) -> Cli {
        let admin = format!("http://{}", self.process.admin);
        let token = self.process.token_file.display().to_string();
        cli(
            self.folder.path(),
            &[words, &["--admin", &admin, "--token-file", &token]].concat(),
        )
        .await
    }

    /// A command that has to work.
    async fn told(&self, words: &[&str]) -> String {
        let outcome = self.run(words).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.out
    }

    async fn admin(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Reply {
        self.process.admin(method, path, bytes(body.into())).await
    }

    async fn bundle(&self) -> Value {
        self.process.admin("GET", "/v1/bundle", empty()).await.json()
    }

    async fn deploy(&self, api: &str) -> Reply {
        let path = format!("/v1/apis/{api}/deployments");
        self.admin("POST", &path, json!({"stage": "prod"}).to_string())
            .await
    }

    async fn call(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        let builder = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "pets.execute-api.localhost");
        let builder = fields
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(*name, *value));
        ask(self.process.address(), builder, empty()).await
    }
}

fn pets() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Pets", "version": "1"},
        "servers": [{"url": "https://pets.example/v1"}],
        "x-amazon-apigateway-request-validators": {"all": {"validateRequestBody": true, "validateRequestParameters": true}},
        "x-amazon-apigateway-request-validator": "all",
        "paths": {
            "/pets": {
                "get": {"operationId": "list", "parameters": [{"name": "page", "in": "query", "required": true}]},
                "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
            },
            "/health": {"get": {"parameters": [{"name": "who", "in": "cookie", "required": true}], "x-amazon-apigateway-integration": {
                "type": "mock", "requestTemplates": {"application/json": "{\"statusCode\": 200}"},
                "responses": {"default": {"statusCode": "200", "responseTemplates": {"text/plain": "fine"}}},
            }}},
        },
        "components": {"schemas": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "nullable": true}}}}},
    })
}

#[tokio::test]
async fn a_document_is_imported_deployed_called_exported_and_imported_again() {
    let site = Site::start();
    site.file("api.json", &pets());
    let backend = format!("http://{}", site.origin.endpoint());
    let dry = site
        .told(&["import", "api.json", "--backend", &backend, "--dry-run"])
        .await;
    assert!(dry.contains("nothing was changed"), "{dry}");
    assert_eq!(site.bundle().await["apis"], json!({}));
    let told = site.told(&["import", "api.json", "--backend", &backend]).await;
    for line in [
        "API `pets`: REST, native",
        "  /paths/~1pets/get: route `GET /pets`, integration `backend`",
        "  /components/schemas/Pet: model `Pet`",
        "  /x-amazon-apigateway-request-validators/all: validator `all`",
        "not understood or not enforced:",
        "  /paths/~1health/get/parameters/0: `who` is not validated: it is in cookie",
    ] {
        assert!(told.lines().any(|one| one == line), "{line} not in {told}");
    }
    let deployed = site.deploy("pets").await;
    assert_eq!(deployed.status, 201, "{}", deployed.text());
    let reply = site.call("GET", "/prod/pets?page=1", &[]).await;
    assert_eq!(
        (reply.status, reply.json()["path"].as_str()),
        (200, Some("/pets"))
    );
    assert_eq!(site.call("GET", "/prod/pets", &[]).await.status, 400);
    assert_eq!(site.call("GET", "/prod/health", &[]).await.text(), "fine");
    for (body, status) in [(r#"{"name": null}"#, 200), (r#"{"name": 1}"#, 400)] {
        let builder = Request::builder()
            .method("POST")
            .uri("/prod/pets")
            .header("host", "pets.execute-api.localhost")
            .header("content-type", "application/json");
        let body = Bytes::from_static(body.as_bytes());
        let reply = ask(site.process.address(), builder, bytes(body.clone())).await;
        assert_eq!(reply.status, status, "{body:?}: {}", reply.text());
    }
    for (version, file) in [("2.0", "two.yaml"), ("3.0", "three.json"), ("3.1", "new.yaml")] {
        site.told(&[
            "export",
            "pets",
            "--stage",
            "prod",
            "--version",
            version,
            "-o",
            file,
        ])
        .await;
        let same = site
            .told(&["import", file, "--id", "pets", "--mode", "overwrite"])
            .await;
        assert!(same.contains("\n0 changes"), "{version}: {same}");
        let id = format!("other-{}", &file[..2]);
        site.told(&["import", file, "--id", &id]).await;
        let apis = site.bundle().await["apis"].clone();
        let without_stages = |id: &str| {
            let mut api = apis[id].clone();
            api.as_object_mut().unwrap().remove("stages");
            api
        };
        assert_eq!(without_stages("pets"), without_stages(&id));
    }
    // for those who call it
    let plain = site.told(&["export", "pets", "--extensions", "none"]).await;
    assert!(
        plain.starts_with("components:") && !plain.contains("x-"),
        "{plain}"
    );
    let log = site.told(&["audit", "export"]).await;
    assert!(log.contains("\"import\""), "{log}");
}

#[tokio::test]
async fn a_document_with_errors_changes_nothing_and_names_every_fault() {
    let site = Site::start();
    let mut document = pets();
    document["paths"]["/pets"]["get"]["security"] = json!([{"nobody": []}]);
    document["paths"]["/pets/{id}.json"] = json!({"get": {}});
    document["paths"]["/health"]["get"]["x-amazon-apigateway-integration"]["type"] = json!("ftp");
    document["paths"]["/pets"]["post"]["requestBody"] = json!({"$ref": "#/nowhere"});
    site.file("api.json", &document);
    let refused = site.run(&["import", "api.json"]).await;
    assert_ne!(refused.code, 0);
    for place in [
        "/paths/~1pets/get/security/0/nobody: ",
        "/paths/~1pets~1{id}.json/get: ",
        "/paths/~1health/get/x-amazon-apigateway-integration: ",
        "/paths/~1pets/post/requestBody: ",
    ] {
        assert!(refused.err.contains(place), "{place} not in {}", refused.err);
    }
    assert_eq!(site.bundle().await["apis"], json!({}));
    for (body, status) in [("[", 422), ("{\"openapi\": \"9\"}", 422), ("a: 1\na: 2", 422)] {
        let reply = site.admin("POST", "/v1/imports?id=pets", body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let large = site
        .admin("POST", "/v1/imports?id=pets", vec![b' '; (6 << 20) + 1])
        .await;
    assert_eq!(large.status, 413, "{}", large.text());
    // larger than other bodies of the admin API may be
    let mut document = pets();
    document["info"]["description"] = "x".repeat(5 << 20).into();
    let reply = site
        .admin("POST", "/v1/imports?id=pets&dry-run=true", document.to_string())
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    for query in [
        "id=Pets",
        "id=pets&mode=all",
        "id=pets&backend=x&upstream=y",
        "id=pets&authorizers=x",
        "id=pets&protocol=WEBSOCKET",
    ] {
        let reply = site
            .admin("POST", &format!("/v1/imports?{query}"), pets().to_string())
            .await;
        assert!(
            reply.status == 400 || reply.status == 422,
            "{query}: {}",
            reply.text()
        );
    }
    assert_eq!(site.bundle().await["apis"], json!({}));
}

#[tokio::test]
async fn documents_are_put_beside_what_is_there_or_in_its_place() {
    let site = Site::start();
    site.file("api.json", &pets());
    let upstream = ["--upstream", "origin"];
    site.told(&[&["import", "api.json"][..], &upstream].concat())
        .await;
    let twice = site.run(&[&["import", "api.json"][..], &upstream].concat()).await;
    assert!(
        twice.code != 0 && twice.err.contains("is there already"),
        "{twice:?}"
    );
    let stage = json!({"id": "prod", "auto-deploy": true}).to_string();
    assert_eq!(
        site.admin("POST", "/v1/apis/pets/stages", stage).await.status,
        201
    );
    assert_eq!(site.call("GET", "/prod/health", &[]).await.text(), "fine");
    let more = json!({"openapi": "3.1.0", "info": {"title": "Cats", "version": "2"}, "paths": {"/cats": {"get": {}}}});
    site.file("more.json", &more);
    let merge = ["import", "more.json", "--id", "pets", "--mode", "merge"];
    site.told(&[&merge[..], &upstream].concat()).await;
    assert_eq!(site.call("GET", "/prod/cats", &[]).await.json()["path"], "/cats");
    assert_eq!(site.call("GET", "/prod/health", &[]).await.text(), "fine");
    let api = site.bundle().await["apis"]["pets"].clone();
    assert_eq!((&api["name"], &api["protocol"]), (&json!("Cats"), &json!("REST")));
    // a document that cannot be deployed does not get half way: the stage deploys by itself
    let refused = site
        .run(&["import", "more.json", "--id", "pets", "--mode", "overwrite"])
        .await;
    assert!(
        refused.code != 0 && refused.err.contains("GET /cats.integration"),
        "{refused:?}"
    );
    assert_eq!(site.call("GET", "/prod/health", &[]).await.text(), "fine");
    let overwrite = ["import", "more.json", "--id", "pets", "--mode", "overwrite"];
    site.told(&[&overwrite[..], &upstream].concat()).await;
    assert_eq!(site.call("GET", "/prod/health", &[]).await.status, 404);
    assert_eq!(site.call("GET", "/prod/cats", &[]).await.status, 200);
    let api = site.bundle().await["apis"]["pets"].clone();
    assert_eq!(api["routes"].as_object().unwrap().len(), 1);
    assert_eq!(api["stages"]["prod"]["auto-deploy"], true);
    let gone = site.admin("PUT", "/v1/apis/none/openapi", more.to_string()).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn merging_does_not_lead_other_routes_elsewhere_or_change_what_they_validate() {
    let site = Site::start();
    let other = Origin::start();
    let file = |name: &str, path: &str, method: &str, kind: &str| {
        let operation = json!({"requestBody": {"content": {"application/json": {"schema": {"type": kind}}}}});
        site.file(
            name,
            &json!({
                "openapi": "3.0.3", "info": {"title": "Pets", "version": "1"}, "paths": {path: {method: operation}},
                "x-amazon-apigateway-request-validators": {"all": {"validateRequestBody": true}}, "x-amazon-apigateway-request-validator": "all",
            }),
        );
    };
    file("one.json", "/a-b", "post", "object");
    file("two.json", "/a/b", "post", "array");
    let (first, second) = (
        format!("http://{}", site.origin.endpoint()),
        format!("http://{}", other.endpoint()),
    );
    site.told(&["import", "one.json", "--backend", &first]).await;
    let merge = [
        "import",
        "two.json",
        "--id",
        "pets",
        "--mode",
        "merge",
        "--backend",
        &second,
    ];
    let told = site.told(&merge).await;
    assert!(!told.contains("becomes that of the document"), "{told}");
    let again = site.told(&merge).await;
    assert!(again.contains("\n0 changes"), "{again}");
    assert_eq!(site.deploy("pets").await.status, 201);
    for (path, body, status) in [
        ("/prod/a-b", "{}", 200),
        ("/prod/a-b", "[]", 400),
        ("/prod/a/b", "{}", 400),
        ("/prod/a/b", "[]", 200),
    ] {
        let builder = Request::builder()
            .method("POST")
            .uri(path)
            .header("host", "pets.execute-api.localhost")
            .header("content-type", "application/json");
        let reply = ask(
            site.process.address(),
            builder,
            bytes(Bytes::from_static(body.as_bytes())),
        )
        .await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
    }
    let integrations = site.bundle().await["apis"]["pets"]["integrations"].clone();
    assert_eq!(
        (&integrations["backend"]["uri"], &integrations["backend-2"]["uri"]),
        (&json!(first), &json!(second))
    );
}

#[tokio::test]
async fn an_authorizer_of_aws_asks_for_its_identity_and_keeps_it_when_the_plugin_changes() {
    let site = Site::start();
    let mut document = pets();
    document["security"] = json!([{"lam": []}]);
    document["paths"]["/health"]["get"]["parameters"] = json!([]);
    document["components"]["securitySchemes"] = json!({"lam": {
        "type": "apiKey", "in": "header", "name": "X-Tok", "x-amazon-apigateway-authtype": "custom",
        "x-amazon-apigateway-authorizer": {"type": "token", "identityValidationExpression": "ab.*", "authorizerResultTtlInSeconds": 77},
    }});
    site.file("api.json", &document);
    let import = [
        "import",
        "api.json",
        "--upstream",
        "origin",
        "--authorizer",
        "lam=login",
        "--fail-on-warnings",
    ];
    site.told(&import).await;
    let expected = json!({
        "plugin": "login", "type": "custom", "identity-sources": ["method.request.header.X-Tok"], "identity-validation": "ab.*", "result-ttl": "77s",
    });
    assert_eq!(
        site.bundle().await["apis"]["pets"]["authorizers"]["lam"],
        expected
    );
    let again = site
        .told(&[&import[..], &["--id", "pets", "--mode", "overwrite"]].concat())
        .await;
    assert!(again.contains("\n0 changes"), "{again}");
    assert_eq!(site.deploy("pets").await.status, 201);
    for fields in [&[][..], &[("x-tok", "b")], &[("x-tok", "abc")]] {
        let reply = site.call("GET", "/prod/health", fields).await;
        assert_eq!(reply.status, 401, "{fields:?}: {}", reply.text());
    }
    let plain = site.told(&["export", "pets", "--extensions", "none"]).await;
    assert!(plain.contains("name: X-Tok"), "{plain}");
    // what is not the gateway's to do is told, also with a plugin behind it
    document["components"]["securitySchemes"]["lam"]["x-amazon-apigateway-authorizer"]["authorizerUri"] =
        json!("arn:x");
    site.file("api.json", &document);
    let refused = site
        .run(&[&import[..], &["--id", "pets", "--mode", "overwrite"]].concat())
        .await;
    assert!(
        refused.code != 0
            && refused
                .err
                .contains("/components/securitySchemes/lam/x-amazon-apigateway-authorizer/authorizerUri: "),
        "{refused:?}"
    );
}

#[tokio::test]
async fn parameters_of_an_import_are_taken_as_aws_writes_them() {
    let site = Site::start();
    let answer = site
        .admin(
            "POST",
            "/v1/imports?id=a&basepath=prepend&failonwarnings=false&upstream=origin",
            pets().to_string(),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(
        site.bundle().await["apis"]["a"]["routes"]
            .get("GET /v1/pets")
            .is_some()
    );
    let answer = site
        .admin(
            "POST",
            "/v1/imports?id=b&failonwarnings=true&upstream=origin",
            pets().to_string(),
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test]
async fn a_resource_policy_of_a_document_is_the_apis_and_is_enforced() {
    let site = Site::start();
    let mut document = pets();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*"},
            {"Effect": "Deny", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*/GET/health", "Condition": {"StringLike": {"aws:UserAgent": "evil*"}}},
        ],
    });
    document["x-amazon-apigateway-policy"] = policy.clone();
    let taken = site
        .admin(
            "POST",
            "/v1/imports?backend=http://127.0.0.1:1",
            document.to_string(),
        )
        .await;
    assert_eq!(taken.status, 201, "{}", taken.text());
    assert!(
        !taken.json()["warnings"].to_string().contains("policy"),
        "{}",
        taken.text()
    );
    assert_eq!(site.bundle().await["apis"]["pets"]["policy"], policy);
    assert_eq!(site.deploy("pets").await.status, 201);
    let good = site.call("GET", "/prod/health", &[("user-agent", "good")]).await;
    assert_eq!((good.status, &*good.text()), (200, "fine"));
    let evil = site
        .call("GET", "/prod/health", &[("user-agent", "evil/1")])
        .await;
    assert_eq!((evil.status, &*evil.response_type()), (403, "POLICY_DENIED"));
}

#[tokio::test]
async fn warnings_are_errors_when_that_is_asked_for() {
    let site = Site::start();
    site.file("api.json", &pets());
    let words = ["import", "api.json", "--upstream", "origin", "--fail-on-warnings"];
    let refused = site.run(&words).await;
    assert!(
        refused.code != 0 && refused.err.contains("it is in cookie"),
        "{refused:?}"
    );
    assert_eq!(site.bundle().await["apis"], json!({}));
    let mut document = pets();
    document["paths"]["/health"]["get"]["parameters"] = json!([]);
    site.file("api.json", &document);
    site.told(&words).await;
}

#[tokio::test]
async fn a_secured_operation_without_an_authorizer_is_not_open() {
    let site = Site::start();
    let mut document = pets();
    document["security"] = json!([{"stamp": []}]);
    document["components"]["securitySchemes"] = json!({"stamp": {"type": "http", "scheme": "bearer"}});
    site.file("api.json", &document);
    let import = ["import", "api.json", "--upstream", "origin"];
    let told = site.told(&import).await;
    assert!(told.contains("no plugin stands behind `stamp`"), "{told}");
    // there is a plugin of that name, by accident
    let refused = site.deploy("pets").await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("does not authorize"),
        "{}",
        refused.text()
    );
    let put = ["--id", "pets", "--mode", "overwrite"];
    let bind = |plugin: &'static str| [&import[..], &put, &["--authorizer", plugin]].concat();
    site.told(&bind("stamp=nobody")).await;
    let refused = site.deploy("pets").await;
    assert!(
        refused.status == 422 && refused.text().contains("nobody"),
        "{}",
        refused.text()
    );
    site.told(&bind("stamp=login")).await;
    assert_eq!(site.deploy("pets").await.status, 201);
    let reply = site.call("GET", "/prod/health", &[]).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    // what stands behind it is known from now on
    let told = site.told(&[&import[..], &put].concat()).await;
    assert!(
        !told.contains("no plugin stands behind") && told.contains("\n0 changes"),
        "{told}"
    );
    site.told(&[
        "import",
        "api.json",
        "--upstream",
        "origin",
        "--id",
        "open",
        "--allow-unsecured",
    ])
    .await;
    let api = site.bundle().await["apis"]["open"].clone();
    assert_eq!(api["routes"]["GET /health"].get("authorizer"), None);
}

#[tokio::test]
async fn real_documents_are_taken_and_given_back() {
    let site = Site::start();
    for (index, name) in [
        "oas-examples/3.0/star-trek.yaml",
        "oas-examples/2.0/petstore.json",
        "own/rest.yaml",
        "aws/cognito.yaml",
        "sam/rest-token.json",
        "sam/http-lambda.json",
        "chalice/authorizers.json",
        "moto/test_api_integration.yaml",
    ]
    .into_iter()
    .enumerate()
    {
        let text = fs::read_to_string(workspace().join("tests/real/openapi").join(name)).unwrap();
        let made = site
            .admin("POST", &format!("/v1/imports?id=a{index}"), text)
            .await;
        assert_eq!(made.status, 201, "{name}: {}", made.text());
        let written = site
            .process
            .admin(
                "GET",
                &format!("/v1/apis/a{index}/openapi?version=3.1&format=yaml"),
                empty(),
            )
            .await;
        assert_eq!(
            (written.status, written.header("content-type")),
            (200, "application/yaml")
        );
        let again = site
            .admin(
                "PUT",
                &format!("/v1/apis/a{index}/openapi?mode=overwrite"),
                written.text(),
            )
            .await;
        assert_eq!(again.json()["changes"], json!([]), "{name}");
    }
    for query in ["version=1.2", "format=xml", "extensions=some", "nonsense=1"] {
        let reply = site
            .process
            .admin("GET", &format!("/v1/apis/a0/openapi?{query}"), empty())
            .await;
        assert_eq!(reply.status, 400, "{query}");
    }
    let nothing = site
        .process
        .admin("GET", "/v1/apis/a0/openapi?stage=prod", empty())
        .await;
    assert_eq!(nothing.status, 404);
}
