//! Documents of all versions, and what they become: a corpus of real ones, arbitrary definitions, and broken documents.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::Definition;

fn collect(folder: &Path, found: &mut Vec<(String, Value)>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let kind = path.extension().and_then(|kind| kind.to_str());
        if path.is_dir() {
            collect(&path, found);
        } else if matches!(kind, Some("yaml" | "json")) && !path.ends_with("said-twice.yaml") {
            let document = read(&fs::read_to_string(&path).unwrap());
            found.push((path.display().to_string(), document.unwrap()));
        }
    }
}

fn folder() -> std::path::PathBuf {
    // of the checkout that runs, which need not be the one that was built in where several share a target folder
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).join("../../tests/real/openapi")
}

pub(super) fn corpus() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect(&folder(), &mut found);
    assert!(found.len() > 50);
    found
}

fn own(name: &str) -> Value {
    read(&fs::read_to_string(folder().join("own").join(name)).unwrap()).unwrap()
}

fn back(document: &Value) -> Definition {
    let imported = import(document, &Options::default());
    imported
        .unwrap_or_else(|problems| panic!("{problems}\n{document:#}"))
        .definition
}

/// What is imported, exported and imported again is the same, in every version of the format. Which of them needed help.
fn round(id: &str, definition: &Definition) -> Vec<Version> {
    let mut helped = Vec::new();
    for version in Version::ALL {
        let exported = export(id, definition, version, Extensions::ALL, Some("/prod"));
        assert_eq!(exported.left_out, Vec::<String>::new());
        let again = back(&exported.document);
        assert!(
            again == *definition,
            "{version:?}\n{:#}\nis not\n{:#}\nby\n{:#}",
            json!(again),
            json!(definition),
            exported.document
        );
        if exported.document.get("x-edgeward-definition").is_some() {
            helped.push(version);
        }
        // and as text, in both forms
        let yaml = serde_yaml_ng::to_string(&exported.document).unwrap();
        assert_eq!(read(&yaml).unwrap(), exported.document);
        assert_eq!(read(&exported.document.to_string()).unwrap(), exported.document);
        let plain = export(id, definition, version, Extensions::NONE, None).document;
        // without what the extensions say it may refer to what is not there, and is read all the same
        drop(import(&plain, &Options::default()));
    }
    helped
}

#[test]
fn every_document_is_read_and_written_back_the_same() {
    let (mut refused, mut helped) = (Vec::new(), Vec::new());
    for (name, document) in corpus() {
        let own = [("swagger", Version::V2), ("openapi", Version::V3)];
        let version = own.iter().find(|(key, _)| document.get(key).is_some()).unwrap().1;
        let version = match document["openapi"].as_str() {
            Some(text) if text.starts_with("3.1") => Version::V31,
            _ => version,
        };
        for protocol in [None, Some(Protocol::Rest), Some(Protocol::Http)] {
            for (base_path, backend) in [
                (BasePath::Ignore, None),
                (
                    BasePath::Prepend,
                    Some(Backend::Url("https://b.example/v1".to_owned())),
                ),
                (BasePath::Split, Some(Backend::Upstream("b".to_owned()))),
            ] {
                let options = Options {
                    protocol,
                    base_path,
                    backend,
                    ..Options::default()
                };
                let imported = match import(&document, &options) {
                    Ok(imported) => imported,
                    Err(problems) => {
                        refused.push(format!("{name}: {problems}"));
                        continue;
                    }
                };
                let needed = round("some-id", &imported.definition);
                if needed.contains(&version) {
                    helped.push(format!("{name} {version:?}"));
                }
            }
        }
    }
    refused.dedup();
    helped.dedup();
    // a document in its own version has a place for everything
    assert_eq!(helped, Vec::<String>::new());
    // a parameter twice, a scheme that is not there, paths with a fragment
    let names = [
        "3.0/parameters-common.yaml",
        "3.0/response-http-behavior.yaml",
        "3.1/parameters-style.yaml",
    ];
    assert_eq!(refused.len(), names.len(), "{refused:#?}");
    for (told, name) in refused.iter().zip(names) {
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn what_is_said_twice_is_refused() {
    let text = fs::read_to_string(folder().join("aws/said-twice.yaml")).unwrap();
    assert!(read(&text).unwrap_err().message.contains("`post` is there twice"));
}

#[test]
fn a_rest_api_of_aws_becomes_what_it_says() {
    let imported = import(&own("rest.yaml"), &Options::default()).unwrap();
    let definition = json!(imported.definition);
    let api = &definition["api"];
    for (key, value) in [
        ("name", json!("Pets of the REST kind")),
        ("version", json!("2024-01-02")),
        ("protocol", json!("REST")),
        ("profile", json!("native")),
        ("disable-default-endpoint", json!(true)),
        ("tags", json!({"team": "animals"})),
        (
            "binary-media-types",
            json!(["image/png", "application/octet-stream"]),
        ),
    ] {
        assert_eq!(api[key], value, "{key}");
    }
    assert_eq!(api["cors"]["allow-origins"], json!(["https://app.example.com"]));
    assert_eq!(definition["gateway-responses"]["UNAUTHORIZED"]["status"], 403);
    let route = |key: &str| definition["routes"][key].clone();
    assert_eq!(
        route("GET /pets"),
        json!({
            "operation-name": "ListPets", "integration": "ListPets", "authorizer": "lambda", "authorization-scopes": ["read"],
            "api-key-required": true, "validator": "Validate-query-string-parameters-and-headers",
            "request-parameters": {"method.request.header.x-trace": false, "method.request.querystring.page": true},
        })
    );
    let post = route("POST /pets");
    assert_eq!(
        post["authorizer"], "AWS_IAM",
        "AWS's signature is not just left out"
    );
    assert_eq!(
        post["request-models"],
        json!({"application/json": "New-Pet", "application/vnd.pet+json": "post-pets-body"})
    );
    let any = route("ANY /pets/{id}");
    assert_eq!(
        any["authorizer"], "cognito",
        "the one that a plugin stands behind"
    );
    assert_eq!(any["api-key-required"], false);
    assert_eq!(definition["authorizers"]["cognito"]["plugin"], "jwt");
    assert_eq!(definition["authorizers"]["lambda"]["plugin"], "lambda");
    assert_eq!(definition["authorizers"]["lambda"]["result-ttl"], "1m");
    assert_eq!(definition["authorizers"]["cognito"]["type"], "cognito");
    assert_eq!(definition["authorizers"]["AWS_IAM"]["type"], "iam");
    assert_eq!(route("GET /files/{proxy+}").get("authorizer"), None);
    let list = &definition["integrations"]["ListPets"];
    for (key, value) in [
        ("type", json!("HTTP")),
        ("method", json!("POST")),
        ("timeout", json!("5s")),
        ("passthrough-behavior", json!("WHEN_NO_TEMPLATES")),
        ("content-handling", json!("CONVERT_TO_TEXT")),
    ] {
        assert_eq!(list[key], value, "{key}");
    }
    assert_eq!(list["responses"][0]["selection"], "4\\d{2}");
    assert_eq!(
        list["responses"][1]["parameters"]["method.response.header.x-a"],
        "integration.response.header.x-b"
    );
    let told: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    for place in [
        "/x-amazon-apigateway-documentation: ",
        "/x-amazon-apigateway-gateway-responses/NEW_TYPE: ",
        "/servers/0/x-amazon-apigateway-endpoint-configuration/vpcEndpointIds: ",
        "/components/securitySchemes/lambda: no plugin stands behind `lambda`",
        "/components/securitySchemes/lambda/x-amazon-apigateway-authorizer/authorizerUri: is for the configuration of the plugin `lambda`",
        "/paths/~1pets/get/x-amazon-apigateway-integration/cacheKeyParameters: ",
        "/paths/~1pets/get/x-amazon-apigateway-integration/connectionType: ",
        "/paths/~1pets/get/x-amazon-apigateway-integration/credentials: ",
        "/paths/~1pets/get/x-amazon-apigateway-integration/tlsConfig: ",
        "/paths/~1pets/post/x-amazon-apigateway-integration/payloadFormatVersion: ",
        "/paths/~1pets~1{id}/x-amazon-apigateway-any-method/security: a route has one authorizer",
        "/paths/~1files~1{proxy+}/get/x-amazon-apigateway-integration/unheard: ",
    ] {
        assert!(
            told.iter().any(|line| line.starts_with(place)),
            "{place} not in {told:#?}"
        );
    }
    let told = imported
        .became
        .iter()
        .find(|one| one.place == "/paths/~1pets/get")
        .unwrap();
    assert_eq!(
        told.became,
        "route `GET /pets`, integration `ListPets`, authorizer `lambda`"
    );
}

#[test]
fn an_http_api_of_aws_becomes_what_it_says() {
    let imported = import(&own("http.json"), &Options::default()).unwrap();
    let definition = json!(imported.definition);
    assert_eq!(
        (&definition["api"]["protocol"], &definition["api"]["profile"]),
        (&json!("HTTP"), &json!("apigw"))
    );
    assert_eq!(definition["routes"]["$default"]["integration"], "web");
    assert_eq!(
        definition["routes"]["GET /pets"]["pipeline"],
        json!(["waf", "stamp"])
    );
    assert_eq!(definition["routes"]["POST /pets"]["body-limit"], "1KiB");
    let post = definition["routes"]["POST /pets"]["integration"]
        .as_str()
        .unwrap();
    assert_eq!(definition["integrations"][post]["upstream"], "pets");
    assert_eq!(definition["integrations"].as_object().unwrap().len(), 3);
    let told: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|line| line.contains(
            "x-amazon-apigateway-authorizer/jwtConfiguration: is for the configuration of the plugin"
        ) && line
            .contains("a `jwt-authorizer`: `preset: http-api` with {\"audience\":[\"pets\"]")),
        "{told:#?}"
    );
}

#[test]
fn base_paths_are_ignored_prepended_or_split() {
    let three = json!({"openapi": "3.0.1", "info": {"title": "x"}, "paths": {"/e": {"get": {}}, "/": {"get": {}}},
        "servers": [{"url": "https://x/{basePath}", "variables": {"basePath": {"default": "/a/b/c"}}}]});
    let mut url = three.clone();
    url["servers"] = json!([{"url": "https://{host}/a/b/{c}?q", "variables": {"c": {"default": "c"}}}]);
    let two =
        json!({"swagger": "2.0", "info": {"title": "x"}, "basePath": "/a/b/c", "paths": three["paths"]});
    for document in [three, url, two] {
        for (base_path, keys) in [
            (BasePath::Ignore, ["GET /", "GET /e"]),
            (BasePath::Prepend, ["GET /a/b/c", "GET /a/b/c/e"]),
            (BasePath::Split, ["GET /b/c", "GET /b/c/e"]),
        ] {
            let options = Options {
                base_path,
                ..Options::default()
            };
            let imported = import(&document, &options).unwrap();
            assert_eq!(
                imported.definition.routes.keys().collect::<Vec<_>>(),
                keys,
                "{document}"
            );
        }
    }
}

#[test]
fn operations_without_an_integration_lead_to_the_backend() {
    let document = json!({"swagger": "2.0", "info": {"title": "x"}, "host": "a.example:81", "schemes": ["http"], "basePath": "/v2/",
        "paths": {"/pets/{id}": {"get": {}, "put": {}}, "/f/{p+}": {"x-amazon-apigateway-any-method": {}}}});
    let uris = |backend: &str| {
        let backend = match backend {
            "servers" => Backend::Servers,
            url => Backend::Url(url.to_owned()),
        };
        let options = Options {
            backend: Some(backend),
            ..Options::default()
        };
        let imported = import(&document, &options)?;
        let mut uris: Vec<_> = imported
            .definition
            .integrations
            .into_values()
            .map(|one| one.uri.unwrap())
            .collect();
        uris.sort();
        Ok::<_, crate::config::Problems>(uris)
    };
    assert_eq!(
        uris("servers").unwrap(),
        ["http://a.example:81/v2/f/{p}", "http://a.example:81/v2/pets/{id}"]
    );
    assert_eq!(
        uris("https://${stageVariables.b}/").unwrap(),
        ["https://${stageVariables.b}"]
    );
    for bad in ["ftp://x", "http://x/?a=b", "/v1", ""] {
        assert!(uris(bad).is_err(), "{bad}");
    }
}

#[test]
fn security_of_the_document_holds_for_all_and_what_nothing_stands_behind_stays_closed() {
    let document = json!({"openapi": "3.0.1", "info": {"title": "x"}, "security": [{"oauth": ["a"], "basic": []}], "paths": {
        "/all": {"get": {}}, "/open": {"get": {"security": []}}, "/either": {"get": {"security": [{"oauth": []}, {"key": []}]}},
        "/optional": {"get": {"security": [{"oauth": []}, {}]}},
    }, "components": {"securitySchemes": {
        "oauth": {"type": "oauth2"}, "basic": {"type": "http", "scheme": "basic"}, "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }}});
    let mut options = Options::default();
    let imported = import(&document, &options).unwrap();
    let routes = &imported.definition.routes;
    let all = &routes["GET /all"];
    assert_eq!(all.authorizer.as_deref(), Some("basic-and-oauth"));
    assert_eq!(all.authorization_scopes, ["a"]);
    assert_eq!(
        imported.definition.authorizers["basic-and-oauth"].plugin,
        "basic-and-oauth"
    );
    assert_eq!(routes["GET /open"].authorizer, None);
    let either = &routes["GET /either"];
    assert!(
        either.authorizer.is_none() && either.api_key_required,
        "the one that the gateway knows"
    );
    assert_eq!(routes["GET /optional"].authorizer, None);
    assert_eq!(
        imported
            .warnings
            .iter()
            .filter(|one| one.path.contains("security"))
            .count(),
        3
    );
    options
        .authorizers
        .insert("basic-and-oauth".to_owned(), "both".to_owned());
    let bound = import(&document, &options).unwrap();
    assert_eq!(bound.definition.authorizers["basic-and-oauth"].plugin, "both");
    // known from before
    let options = Options {
        known: Some(bound.definition),
        ..Options::default()
    };
    assert_eq!(
        import(&document, &options).unwrap().definition.authorizers["basic-and-oauth"].plugin,
        "both"
    );
    let options = Options {
        allow_unsecured: true,
        ..Options::default()
    };
    let open = import(&document, &options).unwrap();
    assert_eq!(open.definition.routes["GET /all"].authorizer, None);
    assert!(
        open.warnings
            .iter()
            .any(|one| one.message.starts_with("is not secured by"))
    );
}

#[test]
fn every_fault_is_told_with_its_place() {
    let document = json!({"openapi": "3.0.1", "info": {"title": 5}, "paths": {
        "pets": {}, "/a{b}": {"get": {}}, "/x": {"get": 7, "put": {"security": [{"none": []}], "operationId": 1},
            "post": {"parameters": [{"name": "a"}, {"$ref": "#/none"}, {"name": "b", "in": "nowhere"}], "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/gone"}}}}},
            "delete": {"x-amazon-apigateway-integration": {"type": "ftp", "timeoutInMillis": "x", "uri": 1}, "x-amazon-apigateway-request-validator": "v"},
            "patch": {"x-edgeward-nonsense": 1}},
        "/x/": {"patch": {}}, "/y": {"$ref": "other.yaml"},
    }, "components": {"schemas": {"A": 1, "B": {"properties": {"c": {"$ref": "#/components/schemas/C"}}}}}, "tags": 1,
        "x-amazon-apigateway-cors": {"allowOrigins": "*"}, "x-amazon-apigateway-request-validators": {"v2": {"validateRequestBody": "yes"}},
        "x-edgeward-definition": {"routes": {"GET": {}}, "nonsense": {"a": {}}}});
    let problems = import(&document, &Options::default()).unwrap_err().0;
    for place in [
        "/info/title",
        "/paths/pets",
        "/paths/~1a{b}/get",
        "/paths/~1x/get",
        "/paths/~1x/put/security/0/none",
        "/paths/~1x/put/operationId",
        "/paths/~1x/post/parameters/0",
        "/paths/~1x/post/parameters/1",
        "/paths/~1x/post/parameters/2",
        "/paths/~1x/post/requestBody/content/application~1json/schema",
        "/paths/~1x/delete/x-amazon-apigateway-integration",
        "/paths/~1x/delete/x-amazon-apigateway-integration/timeoutInMillis",
        "/paths/~1x/delete",
        "/paths/~1x/patch",
        "/paths/~1x~1/patch",
        "/paths/~1y",
        "/components/schemas/A",
        "/components/schemas/B/properties/c",
        "/tags",
        "/x-amazon-apigateway-cors",
        "/x-amazon-apigateway-request-validators/v2",
        "/x-edgeward-definition/routes/GET",
        "/x-edgeward-definition/nonsense/a",
    ] {
        assert!(
            problems.iter().any(|problem| problem.path == place),
            "{place} not in {problems:#?}"
        );
    }
    for (bad, part) in [
        (json!([]), "not an object"),
        (json!({}), "no OpenAPI"),
        (json!({"openapi": "4.0"}), "`4.0` is not known"),
        (json!({"swagger": "1.2"}), "`1.2` is not known"),
        (json!({"openapi": "3.0.0"}), "/info: is missing"),
    ] {
        assert!(
            import(&bad, &Options::default())
                .unwrap_err()
                .to_string()
                .contains(part),
            "{bad}"
        );
    }
}

#[test]
fn small_documents_do_not_become_large() {
    let long = "x".repeat(200_000);
    let paths: serde_json::Map<String, Value> = (0..400)
        .map(|index| (format!("/{index}"), json!({"$ref": "#/components/pathItems/one"})))
        .collect();
    let document = |item: Value, security: Value| {
        json!({"openapi": "3.1.0", "info": {"title": "x"}, "paths": paths, "security": security, "components": {
            "pathItems": {"one": item}, "securitySchemes": {"a": {"type": "oauth2"}},
        }})
    };
    for (item, security) in [
        (json!({"get": {"operationId": long}}), json!([])),
        (
            json!({"get": {"parameters": [{"in": "query", "name": long}]}}),
            json!([]),
        ),
        (
            json!({"get": {"parameters": [{"in": "cookie", "name": long}]}}),
            json!([]),
        ),
        (json!({"get": {}}), json!([{"a": [long]}])),
        (json!({"get": {"x-edgeward-pipeline": [long]}}), json!([])),
        (
            json!({"get": {"requestBody": {"content": {(long.clone()): {"schema": {}}}}}}),
            json!([]),
        ),
    ] {
        let problems = import(&document(item, security), &Options::default()).unwrap_err();
        assert_eq!(problems.0.len(), 1);
        assert!(
            problems.0[0].message.starts_with("says the same too often"),
            "{problems}"
        );
    }
}

#[test]
fn extensions_at_long_places_end_an_import_before_they_fill_the_memory() {
    let extensions: serde_json::Map<String, Value> = (0..40_000)
        .map(|index| (format!("x-amazon-apigateway-{index}"), json!(0)))
        .collect();
    let long = format!("/{}", "x".repeat(1 << 20));
    let each: Vec<Value> = (0..100_000).map(|_| json!({"x-amazon-apigateway-": 0})).collect();
    for document in [
        json!({"openapi": "3.0.1", "info": {"title": "x"}, "paths": {}, (&*long): each}),
        json!({"openapi": "3.0.1", "info": {"title": "x"}, "paths": {}, (&*long): extensions.clone()}),
        json!({"openapi": "3.0.1", "info": {"title": "x"}, "paths": {(&*long): {"get": extensions.clone()}}}),
        json!({"openapi": "3.0.1", "info": {"title": "x"}, "paths": {(&*long): extensions.clone()}}),
    ] {
        let problems = import(&document, &Options::default()).unwrap_err();
        assert!(problems.0[0].message.starts_with("says the same too often"));
    }
}

#[test]
fn without_extensions_there_is_what_callers_need() {
    let definition: Definition = serde_json::from_value(json!({
        "api": {"protocol": "HTTP"},
        "routes": {
            "GET /a": {"integration": "i", "operation-name": "a", "authorizer": "auth", "api-key-required": true},
            "ANY /a": {"integration": "i"}, "ANY /f/{p+}": {"integration": "i"}, "$default": {"integration": "i"}, "PURGE /a": {},
        },
        "integrations": {"i": {"type": "HTTP_PROXY", "uri": "http://secret.example/"}},
        "authorizers": {"auth": {"plugin": "secret"}, "api_key": {"plugin": "secret"}},
    }))
    .unwrap();
    for version in Version::ALL {
        let exported = export("pets", &definition, version, Extensions::NONE, Some("/prod"));
        assert_eq!(exported.left_out, ["$default", "PURGE /a"]);
        let document = exported.document;
        assert!(!document.to_string().contains("secret"), "{document:#}");
        assert_eq!(document["info"]["title"], "pets");
        assert_eq!(document["paths"]["/a"].as_object().unwrap().len(), 7);
        assert_eq!(document["paths"]["/a"]["get"]["operationId"], "a");
        assert_eq!(
            document["paths"]["/a"]["get"]["security"],
            json!([{"auth": [], "api_key_": []}])
        );
        assert_eq!(document["paths"]["/f/{p}"]["put"]["parameters"][0]["name"], "p");
    }
    assert_eq!(
        Extensions::parse("integrations, authorizers,apigateway"),
        Ok(Extensions::ALL)
    );
    assert_eq!(Extensions::parse("none"), Ok(Extensions::NONE));
    assert!(Extensions::parse("everything").is_err());
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "web", "GetPets", "x.y-z_1", "api_key"]).prop_map(str::to_owned)
}

fn key() -> impl Strategy<Value = String> {
    let all = vec![
        "GET /",
        "GET /pets",
        "GET /pets/",
        "ANY /pets",
        "POST /pets/{id}",
        "PUT /a%20b/{x}",
        "DELETE /f/{p+}",
        "ANY /f/{p+}",
        "$default",
        "PURGE /x",
        "TRACE /x",
        "GET /$default",
        "ANY /$default",
        "OPTIONS /~1/a~b",
    ];
    prop::sample::select(all).prop_map(str::to_owned)
}

fn schema() -> impl Strategy<Value = Value> {
    let all = vec![
        json!({}),
        json!(true),
        json!(false),
        json!({"type": "string"}),
        json!({"type": ["string", "null"]}),
        json!({"type": ["null", "a", "b"]}),
        json!({"$ref": "https://apigateway.amazonaws.com/restapis/other/models/a"}),
        json!({"$ref": format!("{MODELS}b#/x")}),
        json!({"$ref": "#/definitions/x", "definitions": {"x": {}}}),
        json!({"$ref": "#"}),
        json!({"$ref": "http://else.example"}),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "const": null}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
        json!({"minimum": 1, "exclusiveMinimum": 2}),
        json!({"nullable": true, "type": "x"}),
        json!({"x-edgeward-description": "d"}),
        json!({"properties": {"$ref": {"enum": [{"$ref": "x"}]}}, "items": [true, {}], "discriminator": "a"}),
    ];
    prop::sample::select(all)
}

prop_compose! {
    fn route()(
        name in prop::option::of(name()), integration in prop::option::of(name()), pipeline in prop::collection::vec(name(), 0..2),
        authorizer in prop::option::of(name()), scopes in prop::collection::vec(name(), 0..2), key in any::<bool>(), validator in prop::option::of(name()),
        parameters in prop::collection::btree_map(prop::sample::select(vec!["method.request.header.x", "method.request.path.id", "method.request.path.p", "method.request.querystring.a b", "x"]).prop_map(str::to_owned), any::<bool>(), 0..4),
        models in prop::collection::btree_map(prop::sample::select(vec!["application/json", "$default", "*/*", "text/plain", "a/b+json"]).prop_map(str::to_owned), name(), 0..3),
    ) -> Value {
        json!({"operation-name": name, "integration": integration, "pipeline": pipeline, "authorizer": authorizer, "authorization-scopes": scopes,
            "api-key-required": key, "validator": validator, "request-parameters": parameters, "request-models": models})
    }
}

prop_compose! {
    fn integration()(
        kind in prop::sample::select(vec!["HTTP_PROXY", "HTTP", "MOCK", "AWS", "AWS_PROXY"]), uri in prop::option::of("[a-z:/{}]{0,8}"), upstream in prop::option::of(name()),
        method in prop::option::of(prop::sample::select(vec!["GET", "ANY"])), timeout in prop::option::of(1_u64..9_000_000),
        behavior in prop::sample::select(vec!["WHEN_NO_MATCH", "WHEN_NO_TEMPLATES", "NEVER"]), parameters in prop::collection::btree_map("[a-z.]{1,6}", "\\PC{0,6}", 0..2),
        responses in prop::collection::vec((prop::option::of("[0-9d.]{1,3}|default"), 100_u16..700), 0..3),
    ) -> Value {
        let responses: Vec<Value> = responses.into_iter().map(|(selection, status)| json!({"selection": selection, "status": status, "parameters": {"a": "b"}})).collect();
        json!({"type": kind, "uri": uri, "upstream": upstream, "method": method, "timeout": timeout.map(|time| format!("{time}us")), "passthrough-behavior": behavior,
            "request-parameters": parameters, "responses": responses, "response-parameters": {"200": parameters}})
    }
}

prop_compose! {
    fn definition()(
        title in prop::option::of("\\PC{0,5}"), version in prop::option::of("[0-9.]{0,3}"), protocol in prop::sample::select(vec!["REST", "HTTP"]),
        limit in prop::option::of(0_u64..99), compression in prop::option::of(0_u64..99), source in prop::sample::select(vec!["HEADER", "AUTHORIZER"]),
        routes in prop::collection::btree_map(key(), route(), 0..4), integrations in prop::collection::btree_map(name(), integration(), 0..3),
        authorizers in prop::collection::btree_map(name(), name(), 0..3), models in prop::collection::btree_map(name(), (schema(), prop::option::of(name())), 0..3),
        validators in prop::collection::btree_map(name(), any::<bool>(), 0..2),
    ) -> Definition {
        let authorizers: BTreeMap<String, Value> = authorizers.into_iter().map(|(name, plugin)| (name, json!({"plugin": plugin}))).collect();
        let models: BTreeMap<String, Value> = models.into_iter().map(|(name, (schema, text))| (name, json!({"schema": schema, "description": text}))).collect();
        let validators: BTreeMap<String, Value> = validators.into_iter().map(|(name, body)| (name, json!({"body": body, "formats": body}))).collect();
        serde_json::from_value(json!({
            "api": {"name": title, "version": version, "protocol": protocol, "body-limit": limit, "minimum-compression-size": compression, "api-key-source": source, "cors": {"allow-origins": ["*"]}},
            "routes": routes, "integrations": integrations, "authorizers": authorizers, "models": models, "validators": validators,
            "gateway-responses": {"DEFAULT_5XX": {"status": 500, "templates": {"a": "b"}}},
        })).unwrap()
    }
}

/// Puts something else at a place of a document, or takes it away.
fn mutated(document: &mut Value, path: &[usize], with: Option<Value>) {
    let mut place = document;
    for step in path {
        let count = match &*place {
            Value::Object(object) => object.len(),
            Value::Array(values) => values.len(),
            _ => 0,
        };
        if count == 0 {
            break;
        }
        place = match place {
            Value::Object(object) => object.values_mut().nth(step % count).unwrap(),
            Value::Array(values) => &mut values[step % count],
            _ => unreachable!(),
        };
    }
    *place = with.unwrap_or(Value::Null);
}

fn anything() -> impl Strategy<Value = Value> {
    let words = vec![
        "#/paths",
        "#",
        "#/components/schemas/Pet",
        "other.yaml",
        "/",
        "/a/{b}",
        "ANY",
        "http",
        "x-api-key",
        "$default",
        "https://b.example/{x}",
        "\u{0}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
    ];
    let keys = vec![
        "$ref",
        "get",
        "parameters",
        "in",
        "name",
        "schema",
        "security",
        "content",
        "x-amazon-apigateway-integration",
        "x-edgeward-name",
        "x-edgeward-definition",
        "type",
        "allOf",
        "properties",
        "items",
        "{}",
        "~/",
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(prop::sample::select(keys.clone()), inner, 0..4).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_definition_is_written_and_read_back_the_same(definition in definition()) {
        round("some-id", &definition);
    }

    #[test]
    fn broken_documents_are_refused_or_read_but_never_more(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((prop::collection::vec(any::<usize>(), 0..9), prop::option::of(anything())), 1..4),
    ) {
        let corpus: Vec<Value> = ["rest.yaml", "http.json", "swagger.yaml", "new.yaml"].map(own).into();
        let mut document = which.get(&corpus).clone();
        for (path, with) in changes {
            mutated(&mut document, &path, with);
        }
        for backend in [None, Some(Backend::Servers)] {
            let options = Options { backend, base_path: BasePath::Prepend, ..Options::default() };
            if let Ok(imported) = import(&document, &options) {
                round("some-id", &imported.definition);
            }
        }
    }
}

#[test]
fn variables_of_a_server_do_not_grow_an_address_without_end() {
    let long = "{b}".repeat(2000);
    let document = serde_json::json!({
        "openapi": "3.0.1",
        "info": {"title": "a", "version": "1"},
        "servers": [{"url": "http://a.example/{a}", "variables": {"a": {"default": long}, "b": {"default": "x".repeat(1000)}}}],
        "paths": {},
    });
    let options = Options {
        base_path: BasePath::Prepend,
        ..Options::default()
    };
    let crate::config::Problems(problems) = import(&document, &options).unwrap_err();
    assert!(
        problems
            .iter()
            .any(|problem| problem.path == "/servers/0/url" && problem.message.contains("8192")),
        "{problems:?}"
    );
}
