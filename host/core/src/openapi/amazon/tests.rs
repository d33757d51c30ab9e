//! What AWS's extensions become: each alone, and every one in the corpus.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::openapi::{AMAZON, Extensions, Imported, Options, Version, export, import, tests::corpus};

/// Extensions that are taken or left whole.
const WHOLE: [&str; 2] = ["x-amazon-apigateway-policy", "x-amazon-apigateway-documentation"];

/// Places of extensions, each with all that is in it.
fn places(value: &Value, place: &str, inside: Option<&str>, found: &mut Vec<(String, String)>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let place = format!("{place}/{}", escaped(key));
                let is_operation = key == "x-amazon-apigateway-any-method";
                let root = match inside {
                    Some(root) => Some(root.to_owned()),
                    None => (key.starts_with(AMAZON) && !is_operation).then(|| place.clone()),
                };
                if let Some(root) = &root {
                    found.push((place.clone(), root.clone()));
                }
                if !WHOLE.contains(&key.as_str()) {
                    places(value, &place, root.as_deref(), found);
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(value, &format!("{place}/{index}"), inside, found);
            }
        }
        _ => {}
    }
}

/// The document without a member, or with something else in its place.
fn changed(document: &Value, place: &str, with: Option<Value>) -> Value {
    let mut document = document.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match with {
        Some(value) => drop(parent.insert(key, value)),
        None => drop(parent.remove(&key)),
    }
    document
}

/// A plugin stands behind every scheme: what is told does not hang on one that is missing.
fn all_bound(document: &Value) -> Options {
    let places = ["/securityDefinitions", "/components/securitySchemes"];
    let schemes = places.iter().filter_map(|place| document.pointer(place));
    let names = schemes
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys);
    let keys = ["api_key".to_owned()];
    let bound = names.filter(|name| !keys.contains(name));
    Options {
        authorizers: bound.map(|name| (name.clone(), "login".to_owned())).collect(),
        ..Options::default()
    }
}

/// Everything that comes of a document.
fn outcome(document: &Value, options: &Options) -> String {
    match import(document, options) {
        Ok(imported) => format!(
            "{:#}\n{:?}\n{:?}",
            json!(imported.definition),
            imported.warnings,
            imported.notes
        ),
        Err(problems) => problems.to_string(),
    }
}

fn names(imported: &Imported, place: &str, root: &str) -> bool {
    let told = imported.warnings.iter().chain(&imported.notes);
    let mut told = told.map(|problem| problem.path.as_str());
    told.any(|told| {
        let below = |place: &str, of: &str| {
            place
                .strip_prefix(of)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        below(told, root) && below(place, told)
    })
}

#[test]
fn every_member_of_an_extension_of_aws_in_the_corpus_has_an_effect_or_is_told() {
    let mut silent = Vec::new();
    let mut kinds = BTreeSet::new();
    let mut documents = 0;
    for (name, document) in corpus() {
        let mut found = Vec::new();
        places(&document, "", None, &mut found);
        let options = all_bound(&document);
        let Ok(imported) = import(&document, &options) else {
            continue;
        };
        documents += usize::from(!found.is_empty());
        let usual = outcome(&document, &options);
        for (place, root) in found {
            kinds.insert(root.rsplit('/').next().unwrap_or_default().to_owned());
            let differs = |with: Option<Value>| outcome(&changed(&document, &place, with), &options) != usual;
            // what says the same as would hold anyway is read, too: something else makes a difference
            if !names(&imported, &place, &root) && !differs(None) && !differs(Some(json!("-"))) {
                silent.push(format!("{name} {place}"));
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new());
    assert!(documents >= 15, "{documents}");
    // all that there are, with `any-method`, which is an operation
    assert_eq!(kinds.len(), 17, "{kinds:?}");
}

#[test]
fn an_extension_where_nothing_reads_it_is_told() {
    let extension = "x-amazon-apigateway-authorizer";
    let document = json!({
        "openapi": "3.1.0", "info": {"title": "x", extension: {}},
        "paths": {"/a": {"get": {"parameters": [{"name": "q", "in": "query", extension: {}}], "responses": {"200": {extension: {}}}}, "$ref": "#/components/pathItems/a"}},
        "components": {
            extension: {}, "pathItems": {"a": {"put": {extension: {}}}, "b": {"get": {"x-amazon-apigateway-integration": {}}}},
            "schemas": {"s": {"enum": [{extension: {}}]}}, "securitySchemes": {"unused": {"type": "http", "scheme": "basic", extension: {}}},
        },
    });
    let imported = import(&document, &Options::default()).unwrap();
    let told: Vec<&str> = imported.warnings.iter().map(|told| told.path.as_str()).collect();
    for place in [
        "/info/",
        "/paths/~1a/get/parameters/0/",
        "/paths/~1a/get/responses/200/",
        "/components/",
        "/components/pathItems/a/put/",
    ] {
        assert!(
            told.contains(&&*format!("{place}{extension}")),
            "{place} {told:?}"
        );
    }
    assert!(told.contains(&"/components/pathItems/b/get/x-amazon-apigateway-integration"));
    assert!(!told.iter().any(|place| place.contains("enum")), "{told:?}");
    let unused = "/components/securitySchemes/unused";
    assert!(imported.notes.iter().any(|note| note.path == unused));
}

fn secured(scheme: &Value) -> Value {
    json!({
        "openapi": "3.0.1", "info": {"title": "x"}, "paths": {"/a": {"get": {"security": [{"lam": []}]}}},
        "components": {"securitySchemes": {"lam": scheme}},
    })
}

/// With a plugin that stands behind it.
fn bound(document: &Value) -> Imported {
    let mut options = Options::default();
    options.authorizers.insert("lam".to_owned(), "login".to_owned());
    import(document, &options).unwrap()
}

#[test]
fn an_authorizer_of_aws_becomes_what_it_says() {
    let token = |amazon: Value| json!({"type": "apiKey", "in": "header", "name": "X-Tok", "x-amazon-apigateway-authorizer": amazon});
    let source = json!(["method.request.header.X-Tok"]);
    for (scheme, expected, told) in [
        (
            token(
                json!({"type": "TOKEN", "identityValidationExpression": "^ab", "authorizerResultTtlInSeconds": "77"}),
            ),
            json!({"type": "custom", "identity-sources": source, "identity-validation": "^ab", "result-ttl": "77s"}),
            vec![],
        ),
        (
            token(
                json!({"type": "request", "identitySource": "method.request.header.A, context.routeKey,$request.querystring.q", "identityValidationExpression": "^ab", "authorizerResultTtlInSeconds": 0, "authorizerUri": "arn:x", "authorizerPayloadFormatVersion": "1.0"}),
            ),
            json!({"type": "custom", "identity-sources": ["method.request.header.A", "context.routeKey", "$request.querystring.q"], "result-ttl": "0s"}),
            vec![
                "authorizerUri: is for the configuration of the plugin `login`, a `lambda-authorizer`: `function`",
                "identityValidationExpression: counts for authorizers of the type `token` only",
            ],
        ),
        (
            token(
                json!({"type": "cognito_user_pools", "providerARNs": ["arn:p"], "identityValidationExpression": "c"}),
            ),
            json!({"type": "cognito", "identity-sources": source}),
            vec![
                "identityValidationExpression: is for the audience of tokens: `audience-matches`",
                "providerARNs: is for the configuration of the plugin `login`, a `jwt-authorizer`: `preset: cognito`, `user-pools: [\"arn:p\"]`",
            ],
        ),
        (
            json!({"type": "oauth2", "description": "tokens", "x-amazon-apigateway-authorizer": {"type": "jwt", "identitySource": ["$request.querystring.t"], "jwtConfiguration": {"issuers": []}, "enableSimpleResponses": true, "new": 1}}),
            json!({"type": "custom", "identity-sources": ["$request.querystring.t"], "description": "tokens"}),
            vec![
                "enableSimpleResponses: is for",
                "jwtConfiguration: is for the configuration of the plugin `login`, a `jwt-authorizer`: `preset: rest-jwt`",
                "new: is not understood",
            ],
        ),
        (
            json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"}),
            json!({"type": "iam"}),
            vec![],
        ),
        (
            json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "mine", "x-amazon-apigateway-authorizer": {"type": "magic", "identitySource": "method.request.path.id"}}),
            json!({"type": "custom", "identity-sources": ["method.request.path.id"]}),
            vec![
                "x-amazon-apigateway-authorizer/identitySource: `method.request.path.id` is no identity source",
                "x-amazon-apigateway-authorizer/type: `magic` is not understood",
                "x-amazon-apigateway-authtype: `mine` is not understood",
            ],
        ),
        (
            // ours says otherwise
            json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "cognito_user_pools", "x-edgeward-authorizer": {"plugin": "other", "type": "custom", "result-ttl": "5s"}}),
            json!({"type": "custom", "identity-sources": ["method.request.header.Authorization"], "result-ttl": "5s"}),
            vec![],
        ),
    ] {
        let imported = bound(&secured(&scheme));
        let mut expected = expected;
        expected["plugin"] = "login".into();
        let mut made = json!(imported.definition.authorizers["lam"]);
        // the text of a time may be another one
        let time = |value: &Value| {
            value["result-ttl"]
                .as_str()
                .and_then(|text| text.parse::<crate::config::Time>().ok())
        };
        assert_eq!(time(&made), time(&expected), "{scheme}");
        for value in [&mut made, &mut expected] {
            value.as_object_mut().unwrap().remove("result-ttl");
        }
        assert_eq!(made, expected, "{scheme}");
        let mut lines: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
        lines.retain(|line| !line.starts_with("/paths:"));
        assert_eq!(lines.len(), told.len(), "{lines:#?}");
        for told in told {
            assert!(
                lines.iter().any(|line| line.contains(told)),
                "{told} not in {lines:#?}"
            );
        }
    }
}

#[test]
fn importing_again_replaces_the_plugin_and_what_the_document_says() {
    let document = secured(
        &json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "custom", "x-amazon-apigateway-authorizer": {"type": "token", "authorizerResultTtlInSeconds": 60}}),
    );
    let mut known = bound(&document).definition;
    let authorizer = known.authorizers.get_mut("lam").unwrap();
    authorizer.description = Some("of mine".to_owned());
    authorizer.identity_validation = Some("a+".to_owned());
    authorizer.result_ttl = Some("9s".parse().unwrap());
    let mut options = Options {
        known: Some(known.clone()),
        ..Options::default()
    };
    let again = |options: &Options| json!(import(&document, options).unwrap().definition.authorizers["lam"]);
    let mut expected = json!(known.authorizers["lam"]);
    expected["result-ttl"] = json!("60s".parse::<crate::config::Time>().unwrap());
    assert_eq!(again(&options), expected);
    options.authorizers.insert("lam".to_owned(), "other".to_owned());
    expected["plugin"] = "other".into();
    assert_eq!(again(&options), expected);
}

#[test]
fn iam_by_a_scheme_of_its_own_is_what_the_operation_asks_for() {
    let document = |auth: &str, scheme: &str| {
        json!({
            "swagger": "2.0", "info": {"title": "x"},
            "paths": {"/a": {"get": {"security": [{scheme: []}], "x-amazon-apigateway-auth": {"type": auth}}}},
            "securityDefinitions": {
                "sigv4": {"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"},
                "far": {"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "custom"},
            },
        })
    };
    let told = |auth: &str, scheme: &str| {
        let imported = import(&document(auth, scheme), &Options::default()).unwrap();
        let told = imported
            .warnings
            .iter()
            .filter(|told| told.path.contains("-auth/"));
        told.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told("AWS_IAM", "sigv4"), Vec::<String>::new());
    assert_eq!(told("CUSTOM", "far"), Vec::<String>::new());
    for (auth, scheme) in [
        ("AWS_IAM", "far"),
        ("CUSTOM", "sigv4"),
        ("COGNITO_USER_POOLS", "far"),
    ] {
        let told = told(auth, scheme);
        assert!(
            told.len() == 1 && told[0].contains("is not asked for"),
            "{auth} {told:?}"
        );
    }
}

#[test]
fn alternatives_of_aws_are_none() {
    let route = |security: Value, extension: &str| {
        let document = json!({
            "swagger": "2.0", "info": {"title": "x"}, "paths": {"/a": {"get": {"security": security}}},
            "securityDefinitions": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "far": {"type": "apiKey", "in": "header", "name": "Authorization", extension: "custom"},
            },
        });
        let imported = import(&document, &Options::default()).unwrap();
        let route = &imported.definition.routes["GET /a"];
        (route.authorizer.clone(), route.api_key_required)
    };
    let far = Some("far".to_owned());
    let authtype = "x-amazon-apigateway-authtype";
    for security in [
        json!([{"key": []}, {"far": []}]),
        json!([{"far": []}, {"key": []}, {"NONE": []}]),
    ] {
        assert_eq!(route(security, authtype), (far.clone(), true));
    }
    assert_eq!(route(json!([{"NONE": []}]), authtype), (None, false));
    assert_eq!(route(json!([{"NONE": []}, {"key": []}]), authtype), (None, true));
    assert_eq!(route(json!([{"NONE": []}, {"far": []}]), authtype), (far, false));
    // those of OpenAPI are: the one that the gateway knows
    assert_eq!(route(json!([{"far": []}, {"key": []}]), "x-other"), (None, true));
}

#[test]
fn none_opens_nothing_where_it_is_a_scheme_that_cannot_be_understood() {
    for scheme in [
        json!({"$ref": "other.yaml#/x"}),
        json!({"$ref": "#/nowhere"}),
        json!(null),
        json!("x"),
    ] {
        let document = json!({
            "openapi": "3.0.1", "info": {"title": "x"},
            "paths": {"/a": {"get": {"security": [{"NONE": []}]}}},
            "components": {"securitySchemes": {"NONE": scheme}},
        });
        let problems = import(&document, &Options::default()).unwrap_err();
        let place = "/paths/~1a/get/security/0/NONE";
        assert!(
            problems.0.iter().any(|problem| problem.path == place),
            "{problems}"
        );
    }
}

#[test]
fn words_that_hold_values_are_names_where_somebody_chose_them() {
    let extension = "x-amazon-apigateway-authorizer";
    let schema = json!({
        "properties": {"default": {extension: {}}, "properties": {"properties": {"const": {extension: {}}}}, "x-own": {extension: {}}},
        "default": {extension: {}}, "enum": [{extension: {}}],
    });
    let document = json!({
        "openapi": "3.1.0", "info": {"title": "x"},
        "paths": {"/a": {"get": {"responses": {"default": {extension: {}}, "x-own": {extension: {}}}}}},
        "components": {"schemas": {"example": schema}, "examples": {"a": {"value": {extension: {}}}}},
    });
    let imported = import(&document, &Options::default()).unwrap();
    let told: BTreeSet<&str> = imported
        .warnings
        .iter()
        .filter_map(|told| told.path.strip_suffix(&*format!("/{extension}")))
        .collect();
    let expected = [
        "/components/schemas/example/properties/default",
        "/components/schemas/example/properties/properties/properties/const",
        "/components/schemas/example/properties/x-own",
        "/paths/~1a/get/responses/default",
    ];
    assert_eq!(told, expected.into());
}

#[test]
fn an_export_tells_callers_what_they_need() {
    let scheme = |document: &Value, version: Version| {
        let imported = bound(document);
        let written = export("x", &imported.definition, version, Extensions::NONE, None).document;
        let place = match version {
            Version::V2 => "/securityDefinitions/lam",
            Version::V3 | Version::V31 => "/components/securitySchemes/lam",
        };
        written.pointer(place).unwrap().clone()
    };
    let bearer = json!({"type": "http", "scheme": "bearer"});
    assert_eq!(scheme(&secured(&bearer), Version::V3), bearer);
    let header = |name: &str| json!({"type": "apiKey", "in": "header", "name": name});
    assert_eq!(scheme(&secured(&bearer), Version::V2), header("Authorization"));
    let mut token = header("X-Tok");
    assert_eq!(scheme(&secured(&token), Version::V2), token);
    token["x-amazon-apigateway-authorizer"] = json!({"type": "token"});
    assert_eq!(scheme(&secured(&token), Version::V31), header("X-Tok"));
    let mut request = header("Unused");
    request["x-amazon-apigateway-authorizer"] =
        json!({"type": "request", "identitySource": "$context.routeKey, $request.querystring.key"});
    assert_eq!(
        scheme(&secured(&request), Version::V31),
        json!({"type": "apiKey", "in": "query", "name": "key"})
    );
}

#[test]
fn header_parameters_that_openapi_ignores_are_ignored() {
    let document = |key: &str, version: &str| {
        json!({key: version, "info": {"title": "x"}, "paths": {"/a": {"get": {"parameters": [
            {"name": "accept", "in": "header", "required": true}, {"name": "Content-Type", "in": "header"}, {"name": "x", "in": "header"},
        ]}}}})
    };
    let imported = import(&document("openapi", "3.0.1"), &Options::default()).unwrap();
    let route = &imported.definition.routes["GET /a"];
    assert_eq!(
        json!(route.request_parameters),
        json!({"method.request.header.x": false})
    );
    let told: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("`accept` is not validated"), "{told:?}");
    assert_eq!(
        told.iter().filter(|told| told.contains("Content-Type")).count(),
        0
    );
    // 2.0 does not say so; and what an API asks for is kept
    let old = import(&document("swagger", "2.0"), &Options::default()).unwrap();
    assert_eq!(old.definition.routes["GET /a"].request_parameters.len(), 3);
    let written = export("x", &old.definition, Version::V3, Extensions::ALL, None).document;
    assert_eq!(written.get("x-edgeward-definition"), None);
    assert_eq!(
        import(&written, &Options::default()).unwrap().definition,
        old.definition
    );
    let plain = export("x", &old.definition, Version::V3, Extensions::NONE, None).document;
    assert_eq!(
        plain["paths"]["/a"]["get"]["parameters"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
