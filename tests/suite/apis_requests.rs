//! What becomes of requests to APIs and of what servers say, where Amazon API Gateway has ways of its own.

use edgeward_tests::guest;
use serde_json::{Map, Value, json};

use crate::apis::{PETS, Site, mock};

/// An API of AWS's kind with these integrations, each on a route of its name.
fn api(integrations: Value) -> Value {
    let names = integrations.as_object().unwrap().keys();
    let routes: Map<String, Value> = names
        .map(|name| (format!("ANY /{name}"), json!({"integration": name})))
        .collect();
    json!({
        "protocol": "REST",
        "profile": "apigw",
        "integrations": integrations,
        "routes": routes,
        "stages": {"prod": {"auto-deploy": true}},
    })
}

async fn apply(site: &Site, api: &Value) {
    site.apply(json!({"apis": {"pets": api}})).await;
}

#[tokio::test]
async fn a_method_of_its_own_beats_any_on_the_same_resource() {
    let site = Site::start();
    let to = |name: &str| json!({"type": "HTTP_PROXY", "uri": site.web(&format!("/text/{name}"))});
    for protocol in ["REST", "HTTP"] {
        let api = json!({
            "protocol": protocol,
            "profile": "apigw",
            "integrations": {"any": to("any"), "get": to("get"), "post": to("post")},
            "routes": {
                "ANY /a": {"integration": "any"},
                "GET /a": {"integration": "get"},
                "ANY /b/{id}": {"integration": "any"},
                "GET /b/{name}": {"integration": "get"},
                "GET /c/{proxy+}": {"integration": "get"},
                "POST /c/{proxy+}": {"integration": "post"},
                "ANY /c/{rest+}": {"integration": "any"},
            },
            "stages": {"prod": {"auto-deploy": true}},
        });
        apply(&site, &api).await;
        for (method, path, target) in [
            ("GET", "/prod/a", "/text/get"),
            ("PUT", "/prod/a", "/text/any"),
            ("GET", "/prod/b/1", "/text/get"),
            ("DELETE", "/prod/b/1", "/text/any"),
            ("GET", "/prod/c/1/2", "/text/get"),
            ("POST", "/prod/c/1/2", "/text/post"),
            ("PATCH", "/prod/c/1/2", "/text/any"),
        ] {
            let before = site.origin.hits(target);
            let reply = site.call(PETS, method, path, &[], "").await;
            assert_eq!(reply.status, 200, "{protocol} {method} {path}: {}", reply.text());
            assert_eq!(site.origin.hits(target), before + 1, "{protocol} {method} {path}");
        }
        let unknown = site.call(PETS, "PURGE", "/prod/a", &[], "").await;
        assert_eq!(unknown.status, if protocol == "REST" { 403 } else { 404 });
        // two for any method are one too many
        let mut twice = api.clone();
        twice["routes"]["ANY /b/{other}"] = json!({"integration": "any"});
        let refused = site
            .admin("PUT", "/v1/bundle", json!({"apis": {"pets": twice}}))
            .await;
        assert_eq!(refused.status, 422);
        assert!(
            refused
                .text()
                .contains("`ANY /b/{id}` and `ANY /b/{other}` take the same requests"),
            "{}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn an_imported_document_may_have_a_method_beside_any() {
    let site = Site::start();
    let operation = |name: &str| {
        json!({
            "x-amazon-apigateway-integration": {"type": "http_proxy", "httpMethod": "ANY", "uri": site.web(&format!("/text/{name}"))},
            "responses": {},
        })
    };
    let document = json!({
        "openapi": "3.0.1",
        "info": {"title": "pets", "version": "1"},
        "paths": {"/a": {"x-amazon-apigateway-any-method": operation("any"), "get": operation("get")}},
    });
    let imported = site.admin("POST", "/v1/imports?id=pets", document).await;
    assert!(imported.status < 300, "{}", imported.text());
    for profile in ["apigw", "native"] {
        site.done("PATCH", "/v1/apis/pets", json!({"profile": profile}))
            .await;
        let stage = json!({"stage": "prod"});
        let deployed = site.admin("POST", "/v1/apis/pets/deployments", stage).await;
        assert!(deployed.status < 300, "{}", deployed.text());
        for (method, name) in [("GET", "/text/get"), ("POST", "/text/any")] {
            let before = site.origin.hits(name);
            assert_eq!(site.call(PETS, method, "/prod/a", &[], "").await.status, 200);
            assert_eq!(site.origin.hits(name), before + 1, "{profile} {method}");
        }
    }
}

#[tokio::test]
async fn fields_that_mappings_give_a_response_get_the_names_that_aws_gives_them() {
    let site = Site::start();
    let names = ["date", "server", "www-authenticate", "content-md5", "user-agent"];
    let fields = "/fields?date=yesterday&server=theirs&www-authenticate=Basic&content-md5=x&user-agent=u&connection=keep-alive";
    let mapped: Map<String, Value> = names
        .iter()
        .map(|name| {
            (
                format!("method.response.header.{name}"),
                format!("integration.response.header.{name}").into(),
            )
        })
        .chain([(
            "method.response.header.authorization".to_owned(),
            "'secret'".into(),
        )])
        .collect();
    let said: Map<String, Value> = names
        .iter()
        .chain(&["authorization"])
        .map(|name| (format!("method.response.header.{name}"), "'said'".into()))
        .collect();
    let mut own = mock("one");
    own["responses"][0]["parameters"] = said.into();
    apply(
        &site,
        &api(json!({
            "proxy": {"type": "HTTP_PROXY", "uri": site.web(fields)},
            "http": {"type": "HTTP", "uri": site.web(fields), "responses": [{"status": 200, "parameters": mapped}]},
            "mock": own,
        })),
    )
    .await;
    let reply = site.get(PETS, "/prod/http").await;
    for (name, value) in [
        ("date", "yesterday"),
        ("server", "theirs"),
        ("www-authenticate", "Basic"),
        ("content-md5", "x"),
        ("user-agent", "u"),
        ("authorization", "secret"),
    ] {
        assert_eq!(
            reply.header(&format!("x-amzn-remapped-{name}")),
            value,
            "{reply:?}"
        );
        assert_ne!(reply.header(name), value, "{reply:?}");
    }
    let reply = site.get(PETS, "/prod/mock").await;
    for name in names.iter().chain(&["authorization"]) {
        assert_eq!(
            reply.header(&format!("x-amzn-remapped-{name}")),
            "said",
            "{reply:?}"
        );
        assert_ne!(reply.header(name), "said", "{reply:?}");
    }
    // what passes keeps what is the client's to know
    let reply = site.get(PETS, "/prod/proxy").await;
    for (name, value) in [
        ("x-amzn-remapped-date", "yesterday"),
        ("x-amzn-remapped-server", "theirs"),
        ("x-amzn-remapped-connection", "keep-alive"),
        ("www-authenticate", "Basic"),
        ("content-md5", "x"),
        ("x-amzn-remapped-www-authenticate", ""),
    ] {
        assert_eq!(reply.header(name), value, "{name}: {reply:?}");
    }
}

#[tokio::test]
async fn what_aws_keeps_to_itself_is_no_source_of_mappings() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["velocity"] =
            json!({"module": guest("vtl-transform"), "limits": {"cpu-time": "200ms"}});
    });
    let names = [
        "max-forwards",
        "content-md5",
        "content-length",
        "www-authenticate",
        "authorization",
        "x-own",
    ];
    let mapped: Map<String, Value> = names
        .iter()
        .map(|name| {
            (
                format!("integration.request.header.x-of-{name}"),
                format!("method.request.header.{name}").into(),
            )
        })
        .collect();
    let script: String = names
        .iter()
        .map(|name| {
            format!("#set($context.requestOverride.header.x-script-{name} = \"<$!input.params('{name}')>\")")
        })
        .collect();
    let mut pets = api(json!({
        "proxy": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": mapped},
        "http": {"type": "HTTP", "uri": site.web("/echo"), "request-parameters": mapped, "request-templates": {"application/json": script}, "responses": [{"status": 200}]},
    }));
    pets["template-engine"] = "velocity".into();
    apply(&site, &pets).await;
    let signature = "AWS4-HMAC-SHA256 Credential=a/20261130/eu-west-1/execute-api/aws4_request, SignedHeaders=host, Signature=00";
    let sent = [
        ("max-forwards", "3"),
        ("content-md5", "x"),
        ("www-authenticate", "Basic"),
        ("authorization", signature),
        ("x-own", "kept"),
    ];
    for path in ["/prod/proxy", "/prod/http"] {
        let reply = site.call(PETS, "POST", path, &sent, "{}").await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        for name in names {
            let value = if name == "x-own" { "kept" } else { "" };
            assert_eq!(
                reply.echoed(&format!("x-of-{name}")),
                value,
                "{path} {name}: {}",
                reply.text()
            );
            if path == "/prod/http" {
                assert_eq!(
                    reply.echoed(&format!("x-script-{name}")),
                    format!("<{value}>"),
                    "{name}"
                );
            }
        }
        assert_eq!(reply.echoed("authorization"), "", "{path}");
    }
    // credentials that are no signature go on, and so does the body with its length
    let sent = [
        ("authorization", "Bearer x"),
        ("content-type", "application/json"),
    ];
    let reply = site.call(PETS, "POST", "/prod/proxy", &sent, "{}").await;
    assert_eq!(reply.echoed("authorization"), "Bearer x");
    assert_eq!(reply.echoed("x-of-authorization"), "Bearer x");
    assert_eq!(reply.echoed("content-length"), "2");
}

#[tokio::test]
async fn a_selection_takes_statuses_from_their_start() {
    let site = Site::start();
    let answer = |selection: &str, status: u16| {
        json!({"type": "HTTP", "uri": site.web("/status/404"), "responses": [
            {"selection": selection, "status": status},
            {"status": 299},
        ]})
    };
    apply(
        &site,
        &api(json!({
            "class": answer("4", 210),
            "exact": answer("404", 211),
            "choice": answer("5|40", 212),
            "inside": answer("04", 213),
            "empty": {"type": "HTTP", "uri": site.web("/status/404"), "responses": [{"selection": "", "status": 214}]},
        })),
    )
    .await;
    for (name, status) in [
        ("class", 210),
        ("exact", 211),
        ("choice", 212),
        ("inside", 299),
        ("empty", 214),
    ] {
        let reply = site.get(PETS, &format!("/prod/{name}")).await;
        assert_eq!(reply.status, status, "{name}");
    }
}

#[tokio::test]
async fn the_status_of_a_mock_is_read_from_valid_and_from_lenient_json() {
    let site = Site::start();
    let texts = [
        r#"{"statusCode":200,"x":"\ud83d\ude00"}"#,
        "\t{\"statusCode\":200}",
        r#"{"statusCode":404,"a":1,"a":2,"statusCode":200}"#,
        "{statusCode:200}",
    ];
    let integrations: Map<String, Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let mut one = mock("one");
            one["request-templates"]["application/json"] = (*text).into();
            (index.to_string(), one)
        })
        .collect();
    apply(&site, &api(integrations.into())).await;
    for (index, text) in texts.iter().enumerate() {
        let reply = site.get(PETS, &format!("/prod/{index}")).await;
        assert_eq!((reply.status, &*reply.text()), (200, "one"), "{text}");
    }
}

#[tokio::test]
async fn models_keep_their_anchors_and_formats_count_where_that_is_asked_for() {
    let site = Site::start();
    let newest = "https://json-schema.org/draft/2020-12/schema";
    let mut pets = api(json!({"web": {"type": "HTTP_PROXY", "uri": site.web("/echo")}}));
    pets["validators"] = json!({"body": {"body": true}, "formats": {"body": true, "formats": true}});
    pets["models"] = json!({
        "anchored": {"schema": {"$schema": newest, "$id": "https://example.com/a", "properties": {"a": {"$ref": "#s"}, "b": {"$ref": "https://example.com/a"}}, "$defs": {"s": {"$anchor": "s", "type": "string"}}}},
        "address": {"schema": {"properties": {"a": {"format": "ipv4"}}}},
    });
    pets["routes"] = json!({});
    for (path, model, validator) in [
        ("/anchored", "anchored", "body"),
        ("/said", "address", "body"),
        ("/asserted", "address", "formats"),
        ("/empty", "Empty", "body"),
    ] {
        pets["routes"][format!("POST {path}")] = json!({
            "integration": "web",
            "validator": validator,
            "request-models": {"application/json": model},
        });
    }
    apply(&site, &pets).await;
    for (path, body, status) in [
        ("/anchored", r#"{"a": "x", "b": {"a": "y"}}"#, 200),
        ("/anchored", r#"{"b": {"a": 1}}"#, 400),
        ("/said", r#"{"a": "x"}"#, 200),
        ("/asserted", r#"{"a": "x"}"#, 400),
        ("/asserted", r#"{"a": "127.0.0.1"}"#, 200),
        ("/empty", "{}", 200),
        ("/empty", "[]", 400),
    ] {
        let fields = [("content-type", "application/json")];
        let reply = site
            .call(PETS, "POST", &format!("/prod{path}"), &fields, body)
            .await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
    }
    // what cannot be is told when it is deployed
    pets["models"]["address"]["schema"] = json!({"pattern": "^(?!10)"});
    let refused = site
        .admin("PUT", "/v1/bundle", json!({"apis": {"pets": pets}}))
        .await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("linear time"), "{}", refused.text());
}

#[tokio::test]
async fn a_gateway_response_knows_who_called_and_what_status_the_client_gets() {
    let site = Site::with_config(|config, _folder| {
        config["aws"] = json!({"region": "eu-west-1", "account-id": "123456789012"});
        config["plugins"]["verdict"] = json!({"module": guest("verdict")});
    });
    let text = "$context.status $context.error.responseType $context.authorizer.principalId $context.authorizer.team";
    let mut pets = api(json!({
        "refused": {"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"},
        "secure": {"type": "HTTP_PROXY", "uri": site.web("").replace("http:", "https:")},
        "abort": {"type": "HTTP_PROXY", "uri": site.web("/abort")},
        "denied": mock("one"),
    }));
    pets["authorizers"] = json!({"who": {"plugin": "verdict"}});
    pets["routes"]["ANY /denied"]["authorizer"] = "who".into();
    pets["gateway-responses"] = json!({
        "DEFAULT_4XX": {
            "templates": {"text/plain": text},
            "parameters": {
                "gatewayresponse.header.x-who": "context.authorizer.principalId",
                "gatewayresponse.header.x-none": "context.authorizer.none",
                "gatewayresponse.header.x-sent": "method.request.header.x-sent",
            },
        },
        "INTEGRATION_FAILURE": {"templates": {"text/plain": format!("{text} $context.error.message")}},
    });
    apply(&site, &pets).await;
    let denying = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": "*"}]});
    let verdict =
        json!({"allow": {"principal": "alice", "facts": {"team": "cats"}, "policy": denying}}).to_string();
    let reply = site
        .call(PETS, "GET", "/prod/denied", &[("x-verdict", &verdict)], "")
        .await;
    assert_eq!(
        (reply.status, &*reply.text()),
        (403, "403 ACCESS_DENIED alice cats")
    );
    assert_eq!(reply.header("x-who"), "alice");
    assert!(
        !reply.headers.contains_key("x-none") && !reply.headers.contains_key("x-sent"),
        "{reply:?}"
    );
    for (path, status, message) in [
        ("refused", 500, "Internal server error"),
        ("secure", 504, "Network error communicating with endpoint"),
        ("abort", 504, "Network error communicating with endpoint"),
    ] {
        let reply = site.get(PETS, &format!("/prod/{path}")).await;
        assert_eq!(
            (reply.status, reply.text()),
            (status, format!("{status} INTEGRATION_FAILURE   {message}")),
            "{path}"
        );
    }
    // what the API says counts
    pets["gateway-responses"]["INTEGRATION_FAILURE"]["status"] = 503.into();
    apply(&site, &pets).await;
    let reply = site.get(PETS, "/prod/refused").await;
    assert!(
        reply.status == 503 && reply.text().starts_with("503 "),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn variables_that_are_none_are_refused_with_what_is_near() {
    let site = Site::start();
    for (protocol, key, value, status) in [
        ("REST", "integration.request.header.x", "context.requestID", 422),
        (
            "REST",
            "integration.request.header.x",
            "context.identity.userArn",
            200,
        ),
        (
            "REST",
            "integration.request.header.x",
            "context.authorizer.team",
            200,
        ),
        ("HTTP", "append:header.x", "a-$context.requestID", 422),
        ("HTTP", "append:header.x", "a-$context.requestId", 200),
    ] {
        let mut pets = api(
            json!({"web": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {key: value}}}),
        );
        pets["protocol"] = protocol.into();
        let reply = site
            .admin("PUT", "/v1/bundle", json!({"apis": {"pets": pets}}))
            .await;
        assert_eq!(reply.status, status, "{value}: {}", reply.text());
        if status == 422 {
            assert!(
                reply.text().contains("did you mean `requestId`"),
                "{}",
                reply.text()
            );
        }
    }
}

#[tokio::test]
async fn clients_tell_nothing_of_viewers_and_their_fields_have_an_end() {
    let apis = |site: &Site| {
        let mut pets = api(json!({"web": {"type": "HTTP_PROXY", "uri": site.web("/echo")}}));
        pets["gateway-responses"] = json!({"MISSING_AUTHENTICATION_TOKEN": {
            "parameters": {"gatewayresponse.header.x-country": "method.request.header.cloudfront-viewer-country"},
        }});
        let mut native = pets.clone();
        native["profile"] = "native".into();
        // one stage that only viewers from Germany come to
        json!({"apis": {"pets": pets, "native": native}, "domains": {"shop.example.com": {
            "routing-mode": "rules-then-mappings",
            "mappings": {"(none)": {"api": "pets", "stage": "prod"}},
            "rules": {"german": {"priority": 1, "headers": {"CloudFront-Viewer-Country": "DE"}, "api": "native", "stage": "prod"}},
        }}})
    };
    let native = "native.execute-api.localhost";
    let viewer = ("cloudfront-viewer-country", "DE");
    let large = "x".repeat(10_240);
    let large = [("x-large", &*large)];
    let site = Site::start();
    site.apply(apis(&site)).await;
    let sent = [viewer, ("x-own", "kept")];
    let reply = site.call(PETS, "GET", "/prod/web", &sent, "").await;
    assert_eq!([viewer.0, "x-own"].map(|name| reply.echoed(name)), ["", "kept"]);
    let reply = site.call(PETS, "GET", "/prod/nowhere", &sent, "").await;
    assert_eq!((reply.status, reply.header("x-country")), (403, ""));
    let reply = site.call(native, "GET", "/prod/web", &sent, "").await;
    assert_eq!(reply.echoed(viewer.0), "DE");
    let shop = site.call("shop.example.com", "GET", "/web", &sent, "").await;
    assert_eq!((shop.status, &*shop.echoed(viewer.0)), (200, ""));
    let reply = site.call(PETS, "GET", "/prod/web", &large, "").await;
    assert_eq!(
        (reply.status, &*reply.text()),
        (431, r#"{"message":"Request Header Fields Too Large"}"#)
    );
    assert_eq!(reply.header("x-amzn-requestid").len(), 36);
    let reply = site.call(native, "GET", "/prod/web", &large, "").await;
    assert_eq!(reply.status, 200);
    // an edge in front of the gateway is believed
    let site = Site::with_config(|config, _folder| {
        config["listeners"][0]["trusted-hops"] = json!(["127.0.0.0/8"]);
    });
    site.apply(apis(&site)).await;
    let reply = site.call(PETS, "GET", "/prod/web", &sent, "").await;
    assert_eq!(reply.echoed(viewer.0), "DE");
    let reply = site.call(PETS, "GET", "/prod/nowhere", &sent, "").await;
    assert_eq!(reply.header("x-country"), "DE");
    let shop = site.call("shop.example.com", "GET", "/nowhere", &sent, "").await;
    assert_eq!(shop.status, 404);
    let shop = site.call("shop.example.com", "GET", "/nowhere", &[], "").await;
    assert_eq!(shop.status, 403);
}

#[tokio::test]
async fn no_canary_goes_by_what_clients_tell_of_viewers() {
    let says = |text: &str| {
        json!({"apis": {"pets": {
            "protocol": "REST",
            "integrations": {"ok": {"type": "MOCK", "request-templates": {"application/json": "{\"statusCode\": 200}"}, "responses": [{"status": 200, "parameters": {"method.response.header.x-arm": format!("'{text}'")}}]}},
            "routes": {"GET /a": {"integration": "ok"}},
            "stages": {"prod": {}},
        }}})
    };
    for (hops, count) in [(json!([]), 2), (json!(["127.0.0.0/8"]), 1)] {
        let site = Site::with_config(|config, _folder| config["listeners"][0]["trusted-hops"] = hops);
        site.apply(says("old")).await;
        let deploy = json!({"stage": "prod"});
        site.done("POST", "/v1/apis/pets/deployments", deploy).await;
        site.apply(says("new")).await;
        let canary = json!({"percent": 50, "sticky": {"header": "CloudFront-Viewer-City"}});
        let deploy = json!({"stage": "prod", "canary": canary});
        site.done("POST", "/v1/apis/pets/deployments", deploy).await;
        let mut arms = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let city = [("cloudfront-viewer-city", "Berlin")];
            let reply = site.call(PETS, "GET", "/prod/a", &city, "").await;
            arms.insert(reply.header("x-arm").to_owned());
        }
        assert_eq!(arms.len(), count, "{arms:?}");
    }
}
