//! Authorizers of APIs at the edges: who is not asked, what comes of one that fails or is too slow, and where what it says has a name.

use edgeward_tests::{Origin, eventually, guest, scripted_upstream};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::{
    apis::{PETS, Site},
    apis_stages::{lines, set},
    authorize::{Keys, claims},
    authorizers::{ANY, allow, api, ask, asked, echoing, policy, start, statement, verdicts, with_principal},
};

/// A policy that says nothing of what is called here.
fn silent() -> Value {
    policy(&[statement("Allow", &format!("{ANY}/nowhere"))])
}

#[tokio::test]
async fn one_that_fails_open_leaves_the_call_to_the_policy_of_the_api() {
    let site = start();
    let says = |effect: &str, resource: &str| policy(&[with_principal(statement(effect, resource), "*")]);
    for (own, wanted) in [
        (Some(says("Allow", ANY)), 200),
        (Some(says("Allow", &format!("{ANY}/nowhere"))), 403),
        (Some(says("Deny", ANY)), 403),
        (None, 200),
    ] {
        for kind in ["custom", "cognito", "iam"] {
            let routes = json!({"GET /a": {"integration": "echo", "authorizer": "who"}});
            let authorizer = json!({"plugin": "open", "type": kind});
            let mut pets = echoing(&site, "apigw", "REST", &authorizer, &routes);
            if let Some(own) = &own {
                pets["policy"] = own.clone();
            }
            site.apply(json!({"apis": {"pets": pets}})).await;
            // a caller without an account may do nothing by IAM
            let wanted = if kind == "iam" { 403 } else { wanted };
            let reply = ask(&site, "/a", None, &json!("trap")).await;
            assert_eq!(reply.status, wanted, "{kind} {own:?}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn outcomes_in_http_apis_of_the_apigw_profile_are_those_of_aws() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.Authorization"], "identity-validation": "Bearer [a-z]+", "result-ttl": "0s"});
    api(&site, "apigw", "HTTP", sources, None).await;
    let good = Some("Bearer x");
    let unauthorized = (401, r#"{"message":"Unauthorized"}"#);
    let forbidden = (403, r#"{"message":"Forbidden"}"#);
    let failed = (500, r#"{"message":"Internal Server Error"}"#);
    for (token, verdict, wanted) in [
        (None, json!("trap"), unauthorized),
        (Some(""), json!("trap"), unauthorized),
        (Some("Basic x"), json!("trap"), unauthorized),
        (good, json!({"deny": {"status": 401}}), unauthorized),
        (good, json!({"deny": {"status": 403}}), forbidden),
        (good, allow(Some(policy(&[statement("Deny", ANY)]))), forbidden),
        (good, allow(Some(silent())), forbidden),
        (good, json!("trap"), failed),
        (good, json!("loop"), failed),
        (good, json!({"deny": {"status": 200}}), failed),
        (good, allow(Some(json!({"Statement": "all"}))), failed),
    ] {
        let reply = ask(&site, "/a", token, &verdict).await;
        assert_eq!((reply.status, &*reply.text()), wanted, "{token:?} {verdict}");
        assert_eq!(reply.header("content-type"), "application/json");
        assert!(!reply.header("apigw-requestid").is_empty());
    }
    let fine = ask(
        &site,
        "/a",
        good,
        &allow(Some(policy(&[statement("Allow", ANY)]))),
    )
    .await;
    assert_eq!(fine.status, 200, "{}", fine.text());
}

#[tokio::test]
async fn outcomes_in_the_native_profile_are_problems_with_a_type() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.Authorization"], "identity-validation": "Bearer [a-z]+", "result-ttl": "0s"});
    let good = Some("Bearer x");
    for protocol in ["REST", "HTTP"] {
        api(&site, "native", protocol, sources.clone(), None).await;
        for (token, verdict, status, kind) in [
            (None, json!("trap"), 401, "UNAUTHORIZED"),
            (Some(""), json!("trap"), 401, "UNAUTHORIZED"),
            (Some("Basic x"), json!("trap"), 401, "UNAUTHORIZED"),
            (good, json!({"deny": {"status": 401}}), 401, "UNAUTHORIZED"),
            (good, json!({"deny": {"status": 403}}), 403, "ACCESS_DENIED"),
            (
                good,
                allow(Some(policy(&[statement("Deny", ANY)]))),
                403,
                "POLICY_DENIED",
            ),
            (good, allow(Some(silent())), 403, "POLICY_DENIED"),
            (good, json!("trap"), 500, "AUTHORIZER_FAILURE"),
            (good, json!("loop"), 500, "AUTHORIZER_FAILURE"),
            (
                good,
                json!({"deny": {"status": 200}}),
                500,
                "AUTHORIZER_CONFIGURATION",
            ),
            (
                good,
                allow(Some(json!({"Statement": "all"}))),
                500,
                "AUTHORIZER_CONFIGURATION",
            ),
        ] {
            let reply = ask(&site, "/a", token, &verdict).await;
            assert_eq!(
                (reply.status, &*reply.response_type()),
                (status, kind),
                "{protocol} {token:?} {verdict}"
            );
        }
    }
}

#[tokio::test]
async fn one_that_waits_for_too_long_fails_by_the_time_that_its_binding_has() {
    // connections are taken, and nobody answers
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = listener.local_addr().unwrap().to_string();
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["slow"] = json!({
            "module": guest("forward-auth"),
            "grants": {"http": {"hosts": [service], "private-addresses": true}},
            "limits": {"wall-time": "200ms"},
            "config": {"url": format!("http://{service}/"), "allow-plain-http": true, "timeout-ms": 60_000},
        });
    });
    let routes = json!({"GET /a": {"integration": "echo", "authorizer": "who"}});
    for (profile, protocol, says) in [
        ("native", "HTTP", "AUTHORIZER_FAILURE"),
        ("apigw", "REST", r#"{"message":null}"#),
        ("apigw", "HTTP", r#"{"message":"Internal Server Error"}"#),
    ] {
        let pets = echoing(&site, profile, protocol, &json!({"plugin": "slow"}), &routes);
        site.apply(json!({"apis": {"pets": pets}})).await;
        let reply = site.get(PETS, "/prod/a").await;
        assert_eq!(reply.status, 500, "{}", reply.text());
        if profile == "native" {
            assert_eq!(reply.response_type(), says);
        } else {
            assert_eq!(reply.text(), says);
        }
        if protocol == "REST" {
            assert_eq!(reply.header("x-amzn-errortype"), "AuthorizerFailureException");
        }
    }
    let plugin = site.done("GET", "/v1/plugins/slow", Value::Null).await;
    assert_eq!(plugin["stats"]["failures"], json!({"wall-time": 3}), "{plugin}");
    assert_eq!(site.origin.hits("/echo"), 0);
}

#[tokio::test]
async fn who_says_nothing_is_told_how_to_say_who_it_is() {
    let site = start();
    let basic = r#"Basic realm="who", charset="UTF-8""#;
    for (profile, protocol, more, challenge) in [
        ("native", "HTTP", json!({}), "Bearer"),
        ("native", "REST", json!({}), "Bearer"),
        (
            "native",
            "HTTP",
            json!({"scheme": {"type": "http", "scheme": "basic"}}),
            basic,
        ),
        (
            "native",
            "REST",
            json!({"scheme": {"type": "http", "scheme": "bearer"}}),
            "Bearer",
        ),
        (
            "native",
            "HTTP",
            json!({"scheme": {"type": "openIdConnect"}}),
            "Bearer",
        ),
        ("native", "HTTP", json!({"scheme": {"type": "apiKey"}}), ""),
        (
            "native",
            "HTTP",
            json!({"identity-sources": ["$request.querystring.key", "$request.header.Authorization"]}),
            "",
        ),
        ("apigw", "HTTP", json!({}), ""),
        ("apigw", "HTTP", json!({"scheme": {"type": "oauth2"}}), "Bearer"),
        (
            "apigw",
            "HTTP",
            json!({"scheme": {"type": "http", "scheme": "basic"}}),
            basic,
        ),
        ("apigw", "REST", json!({}), ""),
        ("apigw", "REST", json!({"scheme": {"type": "oauth2"}}), ""),
    ] {
        let mut authorizer = json!({"identity-sources": ["$request.header.Authorization"], "identity-validation": "Bearer .+"});
        let members = authorizer.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        api(&site, profile, protocol, authorizer, None).await;
        for token in [None, Some("x")] {
            let reply = ask(&site, "/a", token, &allow(None)).await;
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (401, challenge),
                "{profile} {protocol} {more} {token:?}"
            );
        }
    }
    assert_eq!(asked(&site).await, 0);
}

#[tokio::test]
async fn who_says_something_empty_says_nothing() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.Authorization", "$request.querystring.lane"], "result-ttl": "5m"});
    api(&site, "native", "HTTP", sources, None).await;
    for (path, token, status) in [
        ("/a?lane=1", Some(""), 401),
        ("/a?lane=1", None, 401),
        ("/a?lane=", Some("x"), 401),
        ("/a?lane", Some("x"), 401),
        ("/a?lane=&lane=", Some("x"), 401),
        ("/a?Lane=1", Some("x"), 401),
    ] {
        let reply = ask(&site, path, token, &allow(None)).await;
        assert_eq!(reply.status, status, "{path} {token:?}");
    }
    assert_eq!(asked(&site).await, 0);
    assert_eq!(
        ask(&site, "/a?lane=&lane=1", Some("x"), &allow(None))
            .await
            .status,
        200
    );
    assert_eq!(asked(&site).await, 1);
}

#[tokio::test]
async fn variables_of_the_stage_tell_callers_apart_too() {
    let site = start();
    let routes = json!({"GET /a": {"integration": "echo", "authorizer": "who"}});
    let authorizer =
        json!({"plugin": "verdict", "identity-sources": ["$stageVariables.lane"], "result-ttl": "5m"});
    let mut pets = echoing(&site, "native", "HTTP", &authorizer, &routes);
    pets["stages"]["prod"]["variables"] = json!({"lane": "blue"});
    site.apply(json!({"apis": {"pets": pets}})).await;
    let call = async || ask(&site, "/a", None, &allow(None)).await.status;
    for _ in 0..2 {
        assert_eq!(call().await, 200);
    }
    assert_eq!(asked(&site).await, 1);
    set(&site, json!({"variables": {"lane": "green"}})).await;
    assert_eq!(call().await, 200);
    assert_eq!(asked(&site).await, 2);
    for lane in [json!(""), Value::Null] {
        set(&site, json!({"variables": {"lane": lane}})).await;
        assert_eq!(call().await, 401, "{lane}");
    }
    assert_eq!(asked(&site).await, 2);
}

#[tokio::test]
async fn a_simple_answer_that_is_kept_goes_for_all_routes() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.Authorization"], "result-ttl": "5m"});
    for (profile, protocol) in [("apigw", "REST"), ("apigw", "HTTP"), ("native", "HTTP")] {
        let before = asked(&site).await;
        api(&site, profile, protocol, sources.clone(), None).await;
        for path in ["/a", "/b/1", "/b/2", "/a"] {
            // what the plugin would say now does not count
            let verdict = if path == "/a" { allow(None) } else { json!("trap") };
            let token = format!("{profile} {protocol}");
            let reply = ask(&site, path, Some(&token), &verdict).await;
            assert_eq!(reply.status, 200, "{token} {path}: {}", reply.text());
        }
        assert_eq!(asked(&site).await, before + 1, "{profile} {protocol}");
    }
}

#[tokio::test]
async fn http_apis_know_callers_of_iam_and_have_no_policies() {
    let site = start();
    api(&site, "apigw", "HTTP", json!({"type": "iam"}), None).await;
    let (own, other) = ("123456789012", "999999999999");
    for (account, granted, wanted) in [
        (
            own,
            Some(policy(&[statement("Allow", &format!("{ANY}/GET/a"))])),
            200,
        ),
        (own, Some(silent()), 403),
        (
            own,
            Some(policy(&[statement("Allow", ANY), statement("Deny", "*")])),
            403,
        ),
        (own, None, 403),
        (other, Some(policy(&[statement("Allow", "*")])), 403),
    ] {
        let arn = format!("arn:aws:iam::{account}:user/ann");
        let facts = json!({"accountId": account, "userArn": arn});
        let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": granted}});
        let reply = ask(&site, "/a", None, &verdict).await;
        assert_eq!(reply.status, wanted, "{verdict}: {}", reply.text());
        if wanted == 403 {
            assert_eq!(reply.text(), r#"{"message":"Forbidden"}"#);
        }
    }
    let routes = json!({"GET /a": {"integration": "echo"}});
    for (profile, status) in [("apigw", 422), ("native", 200)] {
        let mut pets = echoing(&site, profile, "HTTP", &json!({"plugin": "verdict"}), &routes);
        pets["policy"] = policy(&[with_principal(statement("Allow", ANY), "*")]);
        let reply = site
            .admin("PUT", "/v1/bundle", json!({"apis": {"pets": pets}}))
            .await;
        assert_eq!(reply.status, status, "{profile}: {}", reply.text());
        if status == 422 {
            for told in ["api.policy", "HTTP APIs of AWS have none"] {
                assert!(reply.text().contains(told), "{}", reply.text());
            }
        }
    }
}

#[tokio::test]
async fn members_of_claims_have_names_in_mappings_answers_and_logs() {
    let keys = Keys::new();
    let site = Site::with_config(|config, _folder| {
        verdicts(config);
        for (name, preset) in [("users", "cognito"), ("clients", "http-api")] {
            config["plugins"][name] = json!({
                "module": guest("jwt-authorizer"),
                "config": {"preset": preset, "issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": keys.jwks()}}]},
            });
        }
    });
    let said = claims(json!({"token_use": "id", "iat": 1, "custom:role": "dev"}));
    let bearer = format!("Bearer {}", keys.rsa(&said));
    let verdict = json!({"allow": {"principal": "alice", "facts": {"claims": said}}}).to_string();
    let fields = [("authorization", &*bearer), ("x-verdict", &*verdict)];
    let line = r#"{"id":"$context.requestId","sub":"$context.authorizer.claims.sub","role":"$context.authorizer.claims['custom:role']","jwt":"$context.authorizer.jwt.claims.sub","none":"$context.authorizer.claims.none"}"#;
    let answer =
        r#"{"sub":"$context.authorizer.claims.sub","role":"$context.authorizer.claims['custom:role']"}"#;
    for (plugin, kind, protocol) in [
        ("verdict", "custom", "REST"),
        ("verdict", "custom", "HTTP"),
        ("users", "cognito", "REST"),
        ("clients", "custom", "HTTP"),
    ] {
        let asks = |integration: &str| json!({"integration": integration, "authorizer": "who"});
        let routes = json!({"GET /a": asks("echo"), "GET /gone": asks("gone")});
        let authorizer = json!({"plugin": plugin, "type": kind});
        let mut pets = echoing(&site, "apigw", protocol, &authorizer, &routes);
        pets["integrations"]["gone"] = json!({"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"});
        let is_rest = protocol == "REST";
        pets["integrations"]["echo"]["request-parameters"] = if is_rest {
            json!({
                "integration.request.header.x-sub": "context.authorizer.claims.sub",
                "integration.request.header.x-role": "context.authorizer.claims['custom:role']",
                "integration.request.header.x-jwt": "context.authorizer.jwt.claims.sub",
                "integration.request.header.x-none": "context.authorizer.claims.none",
            })
        } else {
            json!({
                "overwrite:header.x-sub": "$context.authorizer.claims.sub",
                "overwrite:header.x-role": "${context.authorizer.claims['custom:role']}",
                "overwrite:header.x-jwt": "$context.authorizer.jwt.claims.sub",
                "overwrite:header.x-none": "$context.authorizer.claims.none",
            })
        };
        if is_rest {
            pets["gateway-responses"] = json!({"INTEGRATION_FAILURE": {
                "templates": {"application/json": answer},
                "parameters": {"gatewayresponse.header.x-sub": "context.authorizer.jwt.claims.sub"},
            }});
        }
        let log = format!("{plugin}-{protocol}.log");
        pets["stages"]["prod"]["access-log"] = json!({"format": line, "destination": log});
        site.apply(json!({"apis": {"pets": pets}})).await;
        let reply = site.call(PETS, "GET", "/prod/a", &fields, "").await;
        assert_eq!(reply.status, 200, "{plugin} {protocol}: {}", reply.text());
        let told = ["x-sub", "x-role", "x-jwt"].map(|name| reply.echoed(name));
        assert_eq!(told, ["alice", "dev", "alice"], "{plugin} {protocol}");
        assert!(reply.echoed_all("x-none").is_empty(), "{plugin} {protocol}");
        let gone = site.call(PETS, "GET", "/prod/gone", &fields, "").await;
        if is_rest {
            let wanted = (r#"{"sub":"alice","role":"dev"}"#, "alice");
            assert_eq!((&*gone.text(), gone.header("x-sub")), wanted, "{plugin}");
        }
        for line in lines(&site, &log, 2).await {
            let line: Value = serde_json::from_str(&line).unwrap();
            let told = ["sub", "role", "jwt", "none"].map(|name| line[name].as_str().unwrap());
            assert_eq!(told, ["alice", "dev", "alice", "-"], "{plugin} {protocol}");
        }
    }
}

#[tokio::test]
async fn principals_of_iam_have_names_in_mappings_templates_answers_and_logs() {
    let site = Site::with_config(|config, _folder| {
        verdicts(config);
        config["plugins"]["velocity"] =
            json!({"module": guest("vtl-transform"), "limits": {"cpu-time": "200ms"}});
    });
    let (arn, id) = ("arn:aws:iam::123456789012:user/ann", "AIDAEXAMPLE");
    let names = [
        ("caller", id),
        ("user", id),
        ("userArn", arn),
        ("accountId", "123456789012"),
        ("accessKey", "AKIDEXAMPLE"),
    ];
    let field = |name: &str| format!("x-{}", name.to_lowercase());
    let mapped = |place: &str, from: &str| -> Map<String, Value> {
        let all = names.iter().map(|(name, _)| {
            let source = format!("{from}context.identity.{name}");
            (format!("{place}{}", field(name)), Value::from(source))
        });
        all.collect()
    };
    let written: Vec<String> = names
        .iter()
        .map(|(name, _)| format!("$context.identity.{name}"))
        .collect();
    let written = written.join(" ");
    let facts =
        json!({"accountId": "123456789012", "userArn": arn, "userId": id, "accessKey": "AKIDEXAMPLE"});
    let all = policy(&[statement("Allow", "*")]);
    let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": all}}).to_string();
    let fields = [("x-verdict", &*verdict)];
    for (kind, protocol) in [
        ("iam", "REST"),
        ("iam", "HTTP"),
        ("custom", "REST"),
        ("custom", "HTTP"),
    ] {
        let asks = |integration: &str| json!({"integration": integration, "authorizer": "who"});
        let is_rest = protocol == "REST";
        let authorizer = json!({"plugin": "verdict", "type": kind});
        let routes = json!({"GET /a": asks("echo")});
        let mut pets = echoing(&site, "apigw", protocol, &authorizer, &routes);
        pets["integrations"]["echo"]["request-parameters"] = if is_rest {
            mapped("integration.request.header.", "").into()
        } else {
            mapped("overwrite:header.", "$").into()
        };
        if is_rest {
            pets["template-engine"] = "velocity".into();
            pets["integrations"]["script"] = json!({
                "type": "HTTP",
                "uri": site.web("/echo"),
                "request-templates": {"application/json": written},
                "responses": [{"status": 200}],
            });
            pets["integrations"]["mock"] = json!({
                "type": "MOCK",
                "request-templates": {"application/json": "{\"statusCode\": 200}"},
                "responses": [{"status": 200, "parameters": mapped("method.response.header.", "")}],
            });
            pets["integrations"]["gone"] = json!({"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"});
            for (key, name) in [
                ("POST /script", "script"),
                ("GET /mock", "mock"),
                ("GET /gone", "gone"),
            ] {
                pets["routes"][key] = asks(name);
            }
            pets["gateway-responses"] =
                json!({"INTEGRATION_FAILURE": {"parameters": mapped("gatewayresponse.header.", "")}});
        }
        let log = format!("{kind}-{protocol}.log");
        let format = format!("$context.requestId {written}");
        pets["stages"]["prod"]["access-log"] = json!({"format": format, "destination": log});
        site.apply(json!({"apis": {"pets": pets}})).await;
        let call = async |method: &str, path: &str| site.call(PETS, method, path, &fields, "").await;
        let known = |value| if kind == "iam" { value } else { "" };
        let echo = call("GET", "/prod/a").await;
        assert_eq!(echo.status, 200, "{kind} {protocol}: {}", echo.text());
        for (name, value) in names {
            assert_eq!(
                echo.echoed(&field(name)),
                known(value),
                "{kind} {protocol} {name}"
            );
        }
        let mut count = 1;
        if is_rest {
            let script = call("POST", "/prod/script").await;
            assert_eq!(
                script.json()["body"],
                names.map(|(_, value)| known(value)).join(" "),
                "{kind}"
            );
            for (path, status) in [("/prod/mock", 200), ("/prod/gone", 500)] {
                let reply = call("GET", path).await;
                assert_eq!(reply.status, status, "{kind} {path}: {}", reply.text());
                for (name, value) in names {
                    assert_eq!(reply.header(&field(name)), known(value), "{kind} {path} {name}");
                }
            }
            count = 4;
        }
        let logged = names
            .map(|(_, value)| if kind == "iam" { value } else { "-" })
            .join(" ");
        for line in lines(&site, &log, count).await {
            assert!(line.ends_with(&format!(" {logged}")), "{kind} {protocol}: {line}");
        }
    }
}

#[tokio::test]
async fn tokens_of_a_user_pool_that_have_ended_are_told_so_and_others_nothing() {
    let keys = Keys::new();
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["users"] = json!({
            "module": guest("jwt-authorizer"),
            "config": {"preset": "cognito", "issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": keys.jwks()}}]},
        });
    });
    let token = |more: Value| format!("Bearer {}", keys.rsa(&claims(more)));
    let good = token(json!({"token_use": "id"}));
    let ended = token(json!({"token_use": "id", "exp": 1}));
    let forged = format!("{good}x");
    for sources in [json!([]), json!(["method.request.header.Authorization"])] {
        for template in [None, Some(r#"{"told":$context.error.messageString}"#)] {
            let routes = json!({"GET /a": {"integration": "echo", "authorizer": "who"}});
            let authorizer = json!({"plugin": "users", "type": "cognito", "identity-sources": sources});
            let mut pets = echoing(&site, "apigw", "REST", &authorizer, &routes);
            if let Some(template) = template {
                pets["gateway-responses"] =
                    json!({"UNAUTHORIZED": {"templates": {"application/json": template}}});
            }
            site.apply(json!({"apis": {"pets": pets}})).await;
            for (token, says) in [
                (None, "Unauthorized"),
                (Some(&forged), "Unauthorized"),
                (Some(&ended), "The incoming token has expired"),
            ] {
                let fields: Vec<_> = token
                    .map(|token| ("authorization", &**token))
                    .into_iter()
                    .collect();
                let reply = site.call(PETS, "GET", "/prod/a", &fields, "").await;
                let member = if template.is_some() { "told" } else { "message" };
                assert_eq!(
                    (reply.status, reply.text(), reply.header("x-amzn-errortype")),
                    (
                        401,
                        format!("{{\"{member}\":\"{says}\"}}"),
                        "UnauthorizedException"
                    ),
                    "{sources} {token:?}"
                );
            }
            let fields = [("authorization", &*good)];
            let reply = site.call(PETS, "GET", "/prod/a", &fields, "").await;
            assert_eq!(reply.status, 200, "{sources}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn refusals_in_a_plugins_own_words_are_counted_and_logged_as_refusals() {
    let service = Origin::start();
    let found = b"HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let login = scripted_upstream(found).await;
    let site = Site::with_config(|config, folder| {
        std::fs::write(folder.join("key"), "s3cret").unwrap();
        for (name, address) in [("service", service.address()), ("login", login)] {
            config["plugins"][name] = json!({
                "module": guest("forward-auth"),
                "grants": {"http": {"hosts": [address.to_string()], "private-addresses": true}},
                "config": {"url": format!("http://{address}/"), "allow-plain-http": true, "append-path": true},
            });
        }
        config["plugins"]["iam"] = json!({
            "module": guest("sigv4-authorizer"),
            "grants": {"secrets": {"key": {"file": "key"}}},
            "config": {"regions": ["eu-west-1"], "credentials": [{"access-key-id": "AKIDEXAMPLE", "secret": "key"}]},
        });
    });
    let format = r#"{"id":"$context.requestId","path":"$context.path","status":$context.status,"type":"$context.error.responseType"}"#;
    let asks = |name: &str| json!({"integration": "echo", "authorizer": name});
    for (profile, failed, unsigned) in [
        ("native", 503, "ACCESS_DENIED"),
        ("apigw", 500, "MISSING_AUTHENTICATION_TOKEN"),
    ] {
        let log = format!("{profile}.log");
        site.apply(json!({"apis": {"pets": {
            "protocol": "REST",
            "profile": profile,
            "authorizers": {"service": {"plugin": "service"}, "login": {"plugin": "login"}, "iam": {"plugin": "iam", "type": "iam"}},
            "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
            "routes": {"GET /status/{code}": asks("service"), "GET /login": asks("login"), "GET /signed": asks("iam")},
            "stages": {"prod": {"auto-deploy": true, "access-log": {"format": format, "destination": log}}},
        }}}))
        .await;
        let calls = [
            ("/prod/status/204", 200, "-"),
            ("/prod/status/401", 401, "UNAUTHORIZED"),
            ("/prod/status/403", 403, "ACCESS_DENIED"),
            ("/prod/status/500", failed, "AUTHORIZER_FAILURE"),
            ("/prod/login", 302, "-"),
            ("/prod/signed", 403, unsigned),
        ];
        for (path, status, _) in calls {
            let reply = site.get(PETS, path).await;
            assert_eq!(reply.status, status, "{profile} {path}: {}", reply.text());
            if let (401 | 403, Some(code)) = (status, path.strip_prefix("/prod/status/")) {
                assert_eq!(reply.text(), format!("status {code}"), "{profile}");
            }
        }
        let logged = lines(&site, &log, calls.len()).await;
        let logged: Vec<Value> = logged
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for (path, status, kind) in calls {
            let line = logged.iter().find(|line| line["path"] == path).unwrap();
            assert_eq!(
                (&line["status"], &line["type"]),
                (&json!(status), &json!(kind)),
                "{line}"
            );
        }
    }
    let metrics = site.admin("GET", "/metrics", Value::Null).await.text();
    for (kind, count) in [
        ("UNAUTHORIZED", 2),
        ("ACCESS_DENIED", 3),
        ("AUTHORIZER_FAILURE", 2),
        ("MISSING_AUTHENTICATION_TOKEN", 1),
    ] {
        let line = format!("edgeward_rejects_total{{response_type=\"{kind}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    for name in ["service", "iam"] {
        let line = format!("answered by plugin `{name}`");
        eventually(&line, async || site.process.log().contains(&line).then_some(())).await;
    }
}
