//! The gateway's own answers to the callers of APIs: whose words they are in, which type each is of, and what an API makes of them.

use edgeward_core::api::GatewayResponseType;
use edgeward_tests::{Reply, guest, json_upstream, workspace};
use serde_json::{Value, json};

use crate::apis::{PETS, Site, mock, saying};

#[tokio::test]
async fn a_domain_answers_in_the_words_of_its_apis_where_a_path_leads_nowhere() {
    let site = Site::start();
    let api = |protocol: &str, profile: &str| {
        json!({
            "protocol": protocol,
            "profile": profile,
            "integrations": {"web": {"type": "HTTP_PROXY", "uri": site.web("/text/a")}},
            "routes": {"GET /a": {"integration": "web"}},
            "stages": {"prod": {"auto-deploy": true}},
        })
    };
    let to = |api: &str| json!({"api": api, "stage": "prod"});
    site.apply(json!({
        "apis": {"rest": api("REST", "apigw"), "http": api("HTTP", "apigw"), "native": api("REST", "native")},
        "domains": {
            "rest.example.com": {"mappings": {"v1": to("rest")}},
            "http.example.com": {"mappings": {"v1": to("http")}},
            "native.example.com": {"mappings": {"v1": to("native")}},
            "both.example.com": {"mappings": {"v1": to("rest"), "v2": to("http")}},
            "mixed.example.com": {"mappings": {"v1": to("rest"), "v2": to("native")}},
            "rules.example.com": {
                "routing-mode": "rules-only",
                "rules": {"one": {"priority": 1, "base-paths": ["v1"], "api": "rest", "stage": "prod"}},
            },
        },
    }))
    .await;
    let forbidden = |reply: &Reply| {
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            (403, r#"{"message":"Forbidden"}"#, "ForbiddenException")
        );
        assert_eq!(reply.header("x-amzn-requestid").len(), 36);
    };
    let not_found = |reply: &Reply| {
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            (404, r#"{"message":"Not Found"}"#, "")
        );
        assert_eq!(reply.header("apigw-requestid").len(), 36);
    };
    let problem = |reply: &Reply| {
        assert_eq!(reply.status, 404, "{}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
    };
    assert_eq!(site.get("rest.example.com", "/v1/a").await.status, 200);
    forbidden(&site.get("rest.example.com", "/v2/a").await);
    forbidden(&site.get("rules.example.com", "/v2/a").await);
    forbidden(&site.get("both.example.com", "/v3/a").await);
    not_found(&site.get("http.example.com", "/v2/a").await);
    problem(&site.get("native.example.com", "/v2/a").await);
    problem(&site.get("mixed.example.com", "/v3/a").await);
    // and the own name of an API that does not answer under it
    for api in ["rest", "http", "native"] {
        let patch = json!({"disable-default-endpoint": true});
        site.done("PATCH", &format!("/v1/apis/{api}"), patch).await;
    }
    forbidden(&site.get("rest.execute-api.localhost", "/prod/a").await);
    not_found(&site.get("http.execute-api.localhost", "/prod/a").await);
    problem(&site.get("native.execute-api.localhost", "/prod/a").await);
    assert_eq!(site.get("rest.example.com", "/v1/a").await.status, 200);
}

/// Deploys an API of its own that speaks as AWS's REST APIs do.
async fn rest(site: &Site, more: Value) {
    let mut api = json!({
        "protocol": "REST",
        "profile": "apigw",
        "integrations": {
            "web": {"type": "HTTP_PROXY", "uri": site.web("")},
            "abort": {"type": "HTTP_PROXY", "uri": site.web("/abort")},
            "never": {
                "type": "HTTP",
                "uri": site.web("/echo"),
                "passthrough-behavior": "NEVER",
                "request-templates": {"application/json": "{}"},
                "responses": [{"status": 200}],
            },
            "unforeseen": {
                "type": "HTTP",
                "uri": site.web("/status/404"),
                "responses": [{"status": 200, "selection": "2\\d\\d"}],
            },
        },
        "models": {"pet": {"schema": {"type": "object", "required": ["name"]}}},
        "validators": {"all": {"parameters": true, "body": true}},
        "routes": {
            "GET /waf": {"integration": "web", "pipeline": ["waf"]},
            "GET /abort": {"integration": "abort"},
            "POST /never": {"integration": "never"},
            "GET /unforeseen": {"integration": "unforeseen"},
            "POST /valid": {
                "integration": "web",
                "validator": "all",
                "request-parameters": {"method.request.querystring.q": true},
                "request-models": {"application/json": "pet"},
            },
        },
        "stages": {"prod": {"auto-deploy": true}},
    });
    json_patch::merge(&mut api, &more);
    site.apply(json!({"apis": {"pets": api}})).await;
}

fn with_waf() -> Site {
    Site::with_config(|config, _folder| {
        config["plugins"]["waf"] = json!({"module": guest("waf-rules")});
    })
}

/// Method and target, body, and what comes of it: status, body, type, of each cause that an API has by itself.
const CAUSES: [(&str, &str, &str, u16, &str, &str); 7] = [
    (
        "GET",
        "/waf?q=1%27%20UNION%20SELECT%20password%20FROM%20users--",
        "",
        403,
        r#"{"message":"Forbidden"}"#,
        "ForbiddenException",
    ),
    (
        "GET",
        "/abort",
        "",
        504,
        r#"{"message":"Network error communicating with endpoint"}"#,
        "InternalServerErrorException",
    ),
    (
        "POST",
        "/never",
        "text",
        415,
        r#"{"message":"Unsupported Media Type"}"#,
        "BadRequestException",
    ),
    (
        "GET",
        "/unforeseen",
        "",
        500,
        r#"{"message":"Internal server error"}"#,
        "InternalServerErrorException",
    ),
    (
        "POST",
        "/valid",
        "{}",
        400,
        r#"{"message":"Missing required request parameters: [q]"}"#,
        "BadRequestException",
    ),
    (
        "POST",
        "/valid?q=1",
        "{}",
        400,
        r#"{"message":"Invalid request body"}"#,
        "BadRequestException",
    ),
    (
        "GET",
        "/nowhere",
        "",
        403,
        r#"{"message":"Missing Authentication Token"}"#,
        "MissingAuthenticationTokenException",
    ),
];

async fn caused(site: &Site, method: &str, target: &str, body: &str) -> Reply {
    let kind = if body == "text" {
        "text/plain"
    } else {
        "application/json"
    };
    let fields: &[_] = if body.is_empty() {
        &[]
    } else {
        &[("content-type", kind)]
    };
    site.call(PETS, method, &format!("/prod{target}"), fields, body)
        .await
}

#[tokio::test]
async fn each_cause_is_answered_with_the_bytes_of_aws() {
    let site = with_waf();
    rest(&site, json!({})).await;
    for (method, target, body, status, text, kind) in CAUSES {
        let reply = caused(&site, method, target, body).await;
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            (status, text, kind),
            "{method} {target}"
        );
        assert_eq!(reply.header("content-type"), "application/json", "{target}");
        assert_eq!(reply.header("x-amzn-trace-id"), "", "{target}");
    }
}

#[tokio::test]
async fn default_responses_stand_for_all_types_of_their_class_that_are_not_set() {
    let site = with_waf();
    let texts = json!({"application/json": "$context.error.responseType $context.error.messageString"});
    rest(
        &site,
        json!({"gateway-responses": {
            "DEFAULT_4XX": {"status": 418, "templates": texts},
            "DEFAULT_5XX": {"templates": texts, "parameters": {"gatewayresponse.header.x-class": "'5'"}},
            "UNSUPPORTED_MEDIA_TYPE": {"status": 422},
        }}),
    )
    .await;
    for ((method, target, body, ..), (status, text, class)) in CAUSES.into_iter().zip([
        (418, "WAF_FILTERED \"Forbidden\"", ""),
        (
            504,
            "INTEGRATION_FAILURE \"Network error communicating with endpoint\"",
            "5",
        ),
        // what is set takes nothing of the default
        (422, "{\"message\":\"Unsupported Media Type\"}", ""),
        (500, "API_CONFIGURATION_ERROR \"Internal server error\"", "5"),
        (
            418,
            "BAD_REQUEST_PARAMETERS \"Missing required request parameters: [q]\"",
            "",
        ),
        (418, "BAD_REQUEST_BODY \"Invalid request body\"", ""),
        (
            418,
            "MISSING_AUTHENTICATION_TOKEN \"Missing Authentication Token\"",
            "",
        ),
    ]) {
        let reply = caused(&site, method, target, body).await;
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-class")),
            (status, text, class),
            "{method} {target}"
        );
    }
    // and without them all is as it was
    site.done(
        "DELETE",
        "/v1/apis/pets/gateway-responses/DEFAULT_4XX",
        Value::Null,
    )
    .await;
    let (method, target, body, status, text, _) = CAUSES[0];
    let reply = caused(&site, method, target, body).await;
    assert_eq!((reply.status, &*reply.text()), (status, text));
}

#[tokio::test]
async fn refused_signatures_are_gateway_responses_of_their_types() {
    let ended = json!({"secretAccessKey": "wJalrXUtnFEMI/K7MDENG", "expiration": "2020-01-31T12:00:00Z"});
    let keys = json_upstream(&ended).await;
    let site = Site::with_config(|config, folder| {
        std::fs::write(folder.join("key"), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").unwrap();
        config["plugins"]["iam"] = json!({
            "module": guest("sigv4-authorizer"),
            "grants": {
                "secrets": {"key": {"file": folder.join("key")}},
                "http": {"hosts": [keys.to_string()], "private-addresses": true},
                "kv": {"sigv4": {}},
            },
            "config": {
                "regions": ["eu-west-1"],
                "credentials": [{"access-key-id": "AKIDEXAMPLE", "secret": "key"}],
                "source": {"url": format!("http://{keys}/find"), "allow-plain-http": true},
            },
        });
    });
    let route = json!({"routes": {"GET /a": {"integration": "web", "authorizer": "iam"}, "GET /waf": null}, "authorizers": {"iam": {"plugin": "iam", "type": "iam"}}});
    let old = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20200101/eu-west-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=";
    let old = old.to_owned() + &"0".repeat(64);
    let old = [("authorization", &*old), ("x-amz-date", "20200101T000000Z")];
    let unread = [("authorization", "AWS4-HMAC-SHA256 Credential=x")];
    let now = time::OffsetDateTime::now_utc();
    let day = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
    let gone = old[0]
        .1
        .replace("AKIDEXAMPLE/20200101", &format!("ASIAGONE/{day}"));
    let time = format!("{day}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
    let gone = [("authorization", &*gone), ("x-amz-date", &*time)];
    rest(&site, route.clone()).await;
    for (fields, says, kind) in [
        (
            &[][..],
            "Missing Authentication Token",
            "MissingAuthenticationTokenException",
        ),
        (&old, "Signature expired: ", "InvalidSignatureException"),
        (
            &unread,
            "Authorization header requires",
            "IncompleteSignatureException",
        ),
        (
            &gone,
            "The security token included in the request is expired",
            "ExpiredTokenException",
        ),
    ] {
        let reply = site.call(PETS, "GET", "/prod/a", fields, "").await;
        assert_eq!(
            (reply.status, reply.header("x-amzn-errortype")),
            (403, kind),
            "{}",
            reply.text()
        );
        let body = reply.json();
        assert!(body["message"].as_str().unwrap().starts_with(says), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        assert_eq!(reply.headers.get_all("x-amzn-errortype").iter().count(), 1);
    }
    let mut own = route.clone();
    let text = json!({"templates": {"application/json": "$context.error.responseType"}});
    own["gateway-responses"] =
        json!({"MISSING_AUTHENTICATION_TOKEN": text, "INVALID_SIGNATURE": text, "EXPIRED_TOKEN": text});
    own["gateway-responses"]["INVALID_SIGNATURE"]["status"] = json!(401);
    rest(&site, own).await;
    for (fields, status, says) in [
        (&[][..], 403, "MISSING_AUTHENTICATION_TOKEN"),
        (&old, 401, "INVALID_SIGNATURE"),
        (&unread, 401, "INVALID_SIGNATURE"),
        (&gone, 403, "EXPIRED_TOKEN"),
    ] {
        let reply = site.call(PETS, "GET", "/prod/a", fields, "").await;
        assert_eq!((reply.status, &*reply.text()), (status, says));
    }
    // HTTP APIs say no more than that it is forbidden
    let mut http = route;
    http["protocol"] = json!("HTTP");
    for gone in ["never", "unforeseen"] {
        http["integrations"][gone] = Value::Null;
        http["routes"][format!("POST /{gone}")] = Value::Null;
        http["routes"][format!("GET /{gone}")] = Value::Null;
    }
    rest(&site, http.clone()).await;
    let reply = site.call(PETS, "GET", "/prod/a", &old, "").await;
    assert_eq!(
        (reply.status, &*reply.text()),
        (403, r#"{"message":"Forbidden"}"#)
    );
    // and where nothing is as AWS has it, the plugin speaks for itself
    http["profile"] = json!("native");
    rest(&site, http).await;
    let reply = site.call(PETS, "GET", "/prod/a", &old, "").await;
    assert!(
        reply.text().starts_with("{\"message\":\"Signature expired"),
        "{}",
        reply.text()
    );
}

#[test]
fn the_documentation_has_every_type_with_its_status_and_text() {
    let text = std::fs::read_to_string(workspace().join("docs/apis.md")).unwrap();
    for kind in GatewayResponseType::ALL {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", kind.name())));
        let row = row.unwrap_or_else(|| panic!("no row of {}", kind.name()));
        let status = match kind.status() {
            0 => "| |".to_owned(),
            status => format!("| {status} |"),
        };
        assert!(row.contains(&status), "{row}");
        let message = kind.message().split(". ").next().unwrap();
        assert!(kind.status() == 0 || row.contains(message), "{row}");
    }
}

#[tokio::test]
async fn what_passes_a_route_with_templates_is_as_its_behavior_says() {
    let site = Site::start();
    let integration = |behavior: &str, templates: Value| {
        json!({
            "type": "HTTP",
            "uri": site.web("/echo"),
            "passthrough-behavior": behavior,
            "request-templates": templates,
            "responses": [{"status": 200}],
        })
    };
    let some = json!({"application/json": "templated"});
    let behaviors = ["WHEN_NO_MATCH", "WHEN_NO_TEMPLATES", "NEVER"];
    let name = |behavior: &str, which: &str| format!("{behavior}-{which}").to_lowercase().replace('_', "-");
    let (mut integrations, mut routes) = (json!({}), json!({}));
    for behavior in behaviors {
        for (which, templates) in [("some", some.clone()), ("none", json!({}))] {
            let name = name(behavior, which);
            integrations[&name] = integration(behavior, templates);
            routes[format!("POST /{name}")] = json!({"integration": name});
        }
    }
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST", "profile": "apigw", "integrations": integrations, "routes": routes, "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    for (behavior, which, kind, expected) in [
        ("WHEN_NO_MATCH", "some", "application/json", Some("templated")),
        ("WHEN_NO_MATCH", "some", "text/plain", Some("sent")),
        ("WHEN_NO_MATCH", "none", "text/plain", Some("sent")),
        ("WHEN_NO_TEMPLATES", "some", "application/json", Some("templated")),
        ("WHEN_NO_TEMPLATES", "some", "text/plain", None),
        ("WHEN_NO_TEMPLATES", "none", "text/plain", Some("sent")),
        (
            "NEVER",
            "some",
            "application/json; charset=utf-8",
            Some("templated"),
        ),
        ("NEVER", "some", "text/plain", None),
        ("NEVER", "none", "application/json", None),
    ] {
        let path = format!("/prod/{}", name(behavior, which));
        let reply = site
            .call(PETS, "POST", &path, &[("content-type", kind)], "sent")
            .await;
        match expected {
            Some(body) => assert_eq!(reply.json()["body"], body, "{path} {kind}"),
            None => assert_eq!(
                (reply.status, &*reply.text()),
                (415, r#"{"message":"Unsupported Media Type"}"#),
                "{path} {kind}"
            ),
        }
    }
}

#[tokio::test]
async fn fields_are_dropped_renamed_and_made_as_aws_does() {
    let site = Site::start();
    let fields = "/fields?date=yesterday&server=theirs&via=1.1%20x&x-amzn-requestid=mine&x-own=kept";
    let http = json!({"type": "HTTP", "uri": site.web("/echo"), "responses": [{"status": 200}]});
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "integrations": {
            "proxy": {"type": "HTTP_PROXY", "uri": site.web("/echo")},
            "fields": {"type": "HTTP_PROXY", "uri": site.web(fields)},
            "http": http,
            "mock": mock("one"),
        },
        "routes": {
            "GET /proxy": {"integration": "proxy"},
            "GET /fields": {"integration": "fields"},
            "GET /http": {"integration": "http"},
            "GET /mock": {"integration": "mock"},
        },
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let sent = [
        ("content-md5", "x"),
        ("max-forwards", "3"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("www-authenticate", "Basic"),
        ("user-agent", "client"),
        ("x-own", "kept"),
    ];
    let reply = site.call(PETS, "GET", "/prod/proxy", &sent, "").await;
    for (name, value) in sent {
        let passes = ["user-agent", "x-own"].contains(&name);
        assert_eq!(reply.echoed(name), if passes { value } else { "" }, "{name}");
    }
    assert_eq!(reply.echoed("via"), "");
    let reply = site.call(PETS, "GET", "/prod/http", &sent, "").await;
    assert_eq!(
        ["user-agent", "accept", "x-own", "x-amzn-apigateway-api-id"].map(|name| reply.echoed(name)),
        ["AmazonAPIGateway_pets", "application/json", "", "pets"]
    );
    let reply = site.get(PETS, "/prod/fields").await;
    for (name, value) in [
        ("x-amzn-remapped-date", "yesterday"),
        ("x-amzn-remapped-server", "theirs"),
        ("x-amzn-remapped-x-amzn-requestid", "mine"),
        ("server", ""),
        ("via", ""),
        ("x-own", "kept"),
    ] {
        assert_eq!(reply.header(name), value, "{name}: {reply:?}");
    }
    assert_ne!(reply.header("date"), "yesterday");
    assert!(
        !reply.header("x-amzn-remapped-content-length").is_empty(),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_trace_goes_through_to_the_server() {
    let site = Site::start();
    let api = |protocol: &str, profile: &str| {
        json!({
            "protocol": protocol,
            "profile": profile,
            "integrations": {"proxy": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
            "routes": {"GET /proxy": {"integration": "proxy"}},
            "stages": {"prod": {"auto-deploy": true}},
        })
    };
    let mut rest = api("REST", "apigw");
    rest["integrations"]["http"] =
        json!({"type": "HTTP", "uri": site.web("/echo"), "responses": [{"status": 200}]});
    rest["integrations"]["mock"] = mock("one");
    for name in ["http", "mock"] {
        rest["routes"][format!("GET /{name}")] = json!({"integration": name});
    }
    let apis = json!({"rest": rest, "http": api("HTTP", "apigw"), "native": api("REST", "native")});
    site.apply(json!({"apis": apis})).await;
    let host = |api: &str| format!("{api}.execute-api.localhost");
    let (field, root) = ("x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793");
    for (api, path) in [("rest", "proxy"), ("rest", "http"), ("http", "proxy")] {
        let path = format!("/prod/{path}");
        let begun = site.get(&host(api), &path).await.echoed(field);
        let parts: Vec<&str> = begun.split(['-', ';']).collect();
        assert!(
            matches!(&*parts, ["Root=1", time, number, parent, "Sampled=0"]
                if time.len() == 8 && number.len() == 24 && parent.len() == "Parent=".len() + 16),
            "{api}{path}: {begun}"
        );
        let another = site.get(&host(api), &path).await.echoed(field);
        assert_ne!(begun, another);
        let goes_on = site
            .call(&host(api), "GET", &path, &[(field, root)], "")
            .await
            .echoed(field);
        assert!(goes_on.starts_with(&format!("{root};Parent=")), "{goes_on}");
    }
    // the client learns it where the answer is not the server's own
    let reply = site
        .call(&host("rest"), "GET", "/prod/http", &[(field, root)], "")
        .await;
    assert_eq!(reply.header(field), reply.echoed(field));
    for path in ["/prod/proxy", "/prod/mock", "/prod/none"] {
        assert_eq!(site.get(&host("rest"), path).await.header(field), "", "{path}");
    }
    // elsewhere it is a field as any other
    assert_eq!(site.get(&host("native"), "/prod/proxy").await.echoed(field), "");
    let reply = site
        .call(&host("native"), "GET", "/prod/proxy", &[(field, "any")], "")
        .await;
    assert_eq!(reply.echoed(field), "any");
}

#[tokio::test]
async fn any_is_seven_methods() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "routes": {"ANY /a": {"integration": "echo"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] {
        let reply = site.call(PETS, method, "/prod/a", &[], "").await;
        assert_eq!(reply.status, 200, "{method}");
    }
    let before = site.origin.seen().len();
    for method in ["PROPFIND", "PURGE", "QUERY", "get"] {
        let reply = site.call(PETS, method, "/prod/a", &[], "").await;
        assert_eq!(reply.status, 403, "{method}: {}", reply.text());
    }
    assert_eq!(site.origin.seen().len(), before);
}

#[tokio::test]
async fn models_are_of_the_draft_that_they_say() {
    let site = Site::start();
    let json_schema = |draft: &str| format!("http://json-schema.org/{draft}/schema#");
    let newest = "https://json-schema.org/draft/2019-09/schema".to_owned();
    let last = "https://json-schema.org/draft/2020-12/schema".to_owned();
    // each with a body that it takes and one that only this draft and later ones refuse
    let drafts = [
        (
            "four",
            json_schema("draft-04"),
            json!({"properties": {"n": {"minimum": 3, "exclusiveMinimum": true}, "c": {"const": 1}}}),
            json!({"n": 4, "c": 2}),
            json!({"n": 3}),
        ),
        (
            "six",
            json_schema("draft-06"),
            json!({"properties": {"n": {"exclusiveMinimum": 3}, "c": {"const": 1}}, "if": {"required": ["x"]}, "then": false}),
            json!({"n": 4, "c": 1, "x": 1}),
            json!({"c": 2}),
        ),
        (
            "seven",
            json_schema("draft-07"),
            json!({"if": {"required": ["x"]}, "then": {"required": ["y"]}, "dependentRequired": {"a": ["b"]}}),
            json!({"x": 1, "y": 1, "a": 1}),
            json!({"x": 1}),
        ),
        (
            "nineteen",
            newest,
            json!({"dependentRequired": {"a": ["b"]}, "properties": {"a": {}, "b": {}, "t": {"items": [{"type": "string"}]}}, "unevaluatedProperties": false}),
            json!({"a": 1, "b": 1, "t": ["x", 1]}),
            json!({"a": 1}),
        ),
        (
            "twenty",
            last,
            json!({"properties": {"t": {"prefixItems": [{"type": "string"}], "items": false}}}),
            json!({"t": ["x"]}),
            json!({"t": ["x", 1]}),
        ),
    ];
    let (mut models, mut routes) = (json!({}), json!({}));
    for (name, draft, schema, ..) in &drafts {
        let mut schema = schema.clone();
        schema["$schema"] = json!(draft);
        schema["type"] = json!("object");
        models[*name] = json!({"schema": schema});
        routes[format!("POST /{name}")] =
            json!({"integration": "echo", "validator": "body", "request-models": {"application/json": name}});
    }
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "models": models,
        "validators": {"body": {"body": true}},
        "routes": routes,
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let kind = [("content-type", "application/json")];
    for (name, _, _, good, bad) in &drafts {
        let path = format!("/prod/{name}");
        for (body, status) in [(good, 200), (bad, 400), (&json!([]), 400)] {
            let reply = site.call(PETS, "POST", &path, &kind, &body.to_string()).await;
            assert_eq!(reply.status, status, "{name} {body}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_websocket_api_is_kept_and_not_deployed() {
    let site = Site::start();
    let api = json!({"id": "chat", "protocol": "WEBSOCKET", "description": "later"});
    site.done("POST", "/v1/apis", api).await;
    let site = site.again();
    let kept = site.done("GET", "/v1/apis/chat", Value::Null).await;
    assert_eq!(kept["protocol"], "WEBSOCKET", "{kept}");
    let refused = site
        .admin("POST", "/v1/apis/chat/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("WEBSOCKET"), "{}", refused.text());
    let none = site.done("GET", "/v1/apis/chat/deployments", Value::Null).await;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_deployment_cannot_be_put() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let made = site
        .done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    let id = made["id"].as_str().unwrap();
    for method in ["PUT", "PATCH"] {
        let refused = site
            .admin(method, &format!("/v1/apis/pets/deployments/{id}"), json!({}))
            .await;
        assert_eq!(refused.status, 405, "{method}: {}", refused.text());
        assert!(refused.header("allow").contains("GET"), "{refused:?}");
    }
    assert_eq!(site.get(PETS, "/prod/a").await.text(), "one");
}
