//! Authorizers of APIs: who is asked, what is kept, and what policies make of the answer. The tables are those of Amazon API Gateway.

use edgeward_tests::{Reply, cli, guest};
use serde_json::{Value, json};

use crate::{
    apis::{PETS, Site},
    authorize::{Keys, claims},
};

const STAGE: &str = "/v1/apis/pets/stages/prod";

pub(crate) fn start() -> Site {
    Site::with_config(|config, _folder| verdicts(config))
}

/// Adds an account, and the guest `verdict` in three bindings.
pub(crate) fn verdicts(config: &mut Value) {
    config["aws"] = json!({"region": "eu-west-1", "account-id": "123456789012"});
    config["plugins"]["verdict"] = json!({
        "module": guest("verdict"),
        "limits": {"cpu-time": "20ms", "wall-time": "2s"},
    });
    config["plugins"]["open"] = json!({"module": guest("verdict"), "on-error": "open"});
    config["plugins"]["keeps"] =
        json!({"module": guest("verdict"), "decision-cache": {"headers": ["authorization"]}});
}

/// An API whose routes lead to a server that echoes, by the integration `echo`. Those that say so ask the authorizer `who`.
pub(crate) fn echoing(
    site: &Site,
    profile: &str,
    protocol: &str,
    authorizer: &Value,
    routes: &Value,
) -> Value {
    json!({
        "protocol": protocol,
        "profile": profile,
        "authorizers": {"who": authorizer},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {}}},
        "routes": routes,
        "stages": {"prod": {"auto-deploy": true}},
    })
}

/// Deploys an API whose routes ask the plugin `verdict`.
pub(crate) async fn api(
    site: &Site,
    profile: &str,
    protocol: &str,
    authorizer: Value,
    policy: Option<Value>,
) {
    let mut authorizer = authorizer;
    authorizer["plugin"] = "verdict".into();
    let asks = json!({"integration": "echo", "authorizer": "who"});
    let routes =
        json!({"GET /a": asks, "POST /a": asks, "GET /b/{id}": asks, "GET /open": {"integration": "echo"}});
    let mut api = echoing(site, profile, protocol, &authorizer, &routes);
    if let Some(policy) = policy {
        api["policy"] = policy;
    }
    site.apply(json!({"apis": {"pets": api}})).await;
}

pub(crate) async fn ask(site: &Site, path: &str, token: Option<&str>, verdict: &Value) -> Reply {
    let verdict = verdict.to_string();
    let mut fields = vec![("x-verdict", verdict.as_str())];
    if let Some(token) = token {
        fields.push(("authorization", token));
    }
    site.call(PETS, "GET", &format!("/prod{path}"), &fields, "").await
}

/// How often the plugin was asked.
pub(crate) async fn asked(site: &Site) -> u64 {
    let plugin = site.done("GET", "/v1/plugins/verdict", Value::Null).await;
    let calls = &plugin["stats"]["calls"];
    assert!(calls.is_object(), "{plugin}");
    calls["authorize"].as_u64().unwrap_or(0)
}

pub(crate) fn statement(effect: &str, resource: &str) -> Value {
    json!({"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource})
}

pub(crate) fn policy(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

pub(crate) fn with_principal(mut statement: Value, principal: &str) -> Value {
    statement["Principal"] = if principal == "*" {
        "*".into()
    } else {
        json!({"AWS": principal})
    };
    statement
}

pub(crate) fn allow(policy: Option<Value>) -> Value {
    json!({"allow": {"principal": "alice", "policy": policy, "ttl": 300}})
}

pub(crate) const ANY: &str = "arn:aws:execute-api:eu-west-1:123456789012:pets/*";

#[tokio::test]
async fn outcomes_of_authorizers_are_those_of_aws() {
    let site = start();
    let sources = json!({"identity-sources": ["method.request.header.Authorization"], "identity-validation": "Bearer [a-z]+", "result-ttl": "0s"});
    api(&site, "apigw", "REST", sources, None).await;
    let deny_all = policy(&[statement("Deny", ANY)]);
    let silent = policy(&[statement("Allow", &format!("{ANY}/nowhere"))]);
    for (token, verdict, status, body, kind) in [
        (
            Some("Bearer x"),
            json!({"deny": {"status": 401}}),
            401,
            r#"{"message":"Unauthorized"}"#,
            "UnauthorizedException",
        ),
        (
            None,
            json!("trap"),
            401,
            r#"{"message":"Unauthorized"}"#,
            "UnauthorizedException",
        ),
        (
            Some("Basic x"),
            json!("trap"),
            401,
            r#"{"message":"Unauthorized"}"#,
            "UnauthorizedException",
        ),
        (
            Some("Bearer x"),
            json!("trap"),
            500,
            r#"{"message":null}"#,
            "AuthorizerFailureException",
        ),
        (
            Some("Bearer x"),
            json!("loop"),
            500,
            r#"{"message":null}"#,
            "AuthorizerFailureException",
        ),
        (
            Some("Bearer x"),
            json!({"deny": {"status": 200}}),
            500,
            r#"{"message":null}"#,
            "AuthorizerConfigurationException",
        ),
        (
            Some("Bearer x"),
            allow(Some(json!({"Statement": "all"}))),
            500,
            r#"{"message":null}"#,
            "AuthorizerConfigurationException",
        ),
        (
            Some("Bearer x"),
            allow(Some(deny_all.clone())),
            403,
            r#"{"message":"User is not authorized to access this resource with an explicit deny"}"#,
            "AccessDeniedException",
        ),
        (
            Some("Bearer x"),
            allow(Some(silent.clone())),
            403,
            r#"{"message":"User is not authorized to access this resource"}"#,
            "AccessDeniedException",
        ),
    ] {
        let reply = ask(&site, "/a", token, &verdict).await;
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            (status, body, kind),
            "{token:?} {verdict}"
        );
    }
    let fine = ask(
        &site,
        "/a",
        Some("Bearer x"),
        &allow(Some(policy(&[statement("Allow", ANY)]))),
    )
    .await;
    assert_eq!(fine.status, 200, "{}", fine.text());
    // the same through an HTTP API
    api(&site, "apigw", "HTTP", json!({}), None).await;
    for (verdict, status, body) in [
        (
            json!({"deny": {"status": 403}}),
            403,
            r#"{"message":"Forbidden"}"#,
        ),
        (allow(Some(deny_all)), 403, r#"{"message":"Forbidden"}"#),
        (json!("trap"), 500, r#"{"message":"Internal Server Error"}"#),
    ] {
        let reply = ask(&site, "/a", None, &verdict).await;
        assert_eq!((reply.status, &*reply.text()), (status, body), "{verdict}");
    }
    // and as typed problems in the native profile
    api(&site, "native", "REST", json!({}), None).await;
    for (verdict, status, kind) in [
        (allow(Some(silent)), 403, "POLICY_DENIED"),
        (json!({"deny": {"status": 200}}), 500, "AUTHORIZER_CONFIGURATION"),
        (json!("loop"), 500, "AUTHORIZER_FAILURE"),
    ] {
        let reply = ask(&site, "/a", None, &verdict).await;
        assert_eq!(
            (reply.status, &*reply.response_type()),
            (status, kind),
            "{verdict}"
        );
    }
}

#[tokio::test]
async fn what_is_kept_is_the_policy_and_not_what_came_of_it() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.authorization"], "result-ttl": "5m"});
    api(&site, "apigw", "REST", sources, None).await;
    let only_a = allow(Some(policy(&[statement("Allow", &format!("{ANY}/GET/a"))])));
    assert_eq!(ask(&site, "/a", Some("one"), &only_a).await.status, 200);
    assert_eq!(asked(&site).await, 1);
    // the trap: another method of the same caller is held against the policy of the first answer
    let all = allow(None);
    assert_eq!(ask(&site, "/b/1", Some("one"), &all).await.status, 403);
    assert_eq!(ask(&site, "/a", Some("one"), &json!("trap")).await.status, 200);
    assert_eq!(asked(&site).await, 1);
    // others are asked about for themselves
    assert_eq!(ask(&site, "/b/1", Some("two"), &all).await.status, 200);
    assert_eq!(asked(&site).await, 2);
    // refusals are asked about again, unless the plugin says otherwise
    let refuse = json!({"deny": {"status": 401}});
    for _ in 0..2 {
        assert_eq!(ask(&site, "/a", Some("three"), &refuse).await.status, 401);
    }
    assert_eq!(asked(&site).await, 4);
    let refuse_on = json!({"deny": {"status": 401, "ttl": 60}});
    assert_eq!(ask(&site, "/a", Some("four"), &refuse_on).await.status, 401);
    assert_eq!(ask(&site, "/a", Some("four"), &all).await.status, 401);
    assert_eq!(asked(&site).await, 5);
    // failures are not kept
    assert_eq!(ask(&site, "/a", Some("five"), &json!("trap")).await.status, 500);
    assert_eq!(ask(&site, "/a", Some("five"), &all).await.status, 200);
    assert_eq!(asked(&site).await, 7);
    // nor is what the plugin says nothing of: it may have looked at more than the sources
    for _ in 0..2 {
        let once = json!({"allow": {"principal": "alice"}});
        assert_eq!(ask(&site, "/a", Some("six"), &once).await.status, 200);
    }
    assert_eq!(asked(&site).await, 9);
    let metrics = site.admin("GET", "/metrics", Value::Null).await.text();
    let count = |result: &str| {
        let labels = format!("authorizer=\"who\",result=\"{result}\"}} ");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("edgeward_authorizer_decisions_total{") && line.contains(&labels));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(u64::MAX)
    };
    assert_eq!((count("hit"), count("miss")), (3, 9), "{metrics}");
}

#[tokio::test]
async fn what_is_kept_can_be_thrown_away_by_stage_authorizer_and_principal() {
    let site = start();
    let sources = json!({"identity-sources": ["$request.header.authorization"], "result-ttl": "5m"});
    api(&site, "native", "HTTP", sources, None).await;
    let of = |name: &str| json!({"allow": {"principal": name, "ttl": 300}});
    for name in ["alice", "bob"] {
        assert_eq!(ask(&site, "/a", Some(name), &of(name)).await.status, 200);
    }
    let flush = async |query: &str| {
        let path = format!("{STAGE}/cache/authorizers{query}");
        site.admin("DELETE", &path, Value::Null).await
    };
    assert_eq!(flush("?authorizer=nobody").await.status, 404);
    assert_eq!(
        flush("?authorizer=who&principal=alice").await.json()["flushed"],
        1
    );
    for name in ["alice", "bob"] {
        assert_eq!(ask(&site, "/a", Some(name), &of(name)).await.status, 200);
    }
    assert_eq!(asked(&site).await, 3, "bob was known still");
    assert!(flush("").await.json()["flushed"].as_u64().unwrap() >= 2);
    ask(&site, "/a", Some("bob"), &of("bob")).await;
    assert_eq!(asked(&site).await, 4);
    let flush_all = async |path: &str| site.admin("DELETE", path, Value::Null).await;
    let whole = flush_all("/v1/apis/pets/cache/authorizers?authorizer=who&principal=bob").await;
    assert!(whole.json()["flushed"].as_u64().unwrap() >= 1);
    assert_eq!(
        flush_all("/v1/apis/pets/cache/authorizers?authorizer=nobody")
            .await
            .status,
        404
    );
    assert_eq!(flush_all("/v1/apis/cats/cache/authorizers").await.status, 404);
    ask(&site, "/a", Some("bob"), &of("bob")).await;
    assert_eq!(asked(&site).await, 5);
    assert_eq!(flush_all("/v1/plugins/keeps/decisions").await.status, 200);
    let log = site.done("GET", "/v1/audit?action=flush", Value::Null).await;
    assert_eq!(log.as_array().unwrap().len(), 4, "{log}");
}

#[tokio::test]
async fn decisions_are_kept_by_the_sources_that_are_named() {
    let site = start();
    let sources = json!({
        "identity-sources": ["$request.header.authorization", "$context.routeKey", "$request.querystring.lane"],
        "result-ttl": "5m",
    });
    api(&site, "native", "HTTP", sources, None).await;
    let all = allow(None);
    let call = async |path: &str| ask(&site, path, Some("one"), &all).await.status;
    assert_eq!(call("/a").await, 401, "a source is missing");
    assert_eq!(asked(&site).await, 0);
    for path in [
        "/a?lane=1",
        "/a?lane=1",
        "/a?lane=2",
        "/b/1?lane=1",
        "/b/2?lane=1",
    ] {
        assert_eq!(call(path).await, 200, "{path}");
    }
    assert_eq!(asked(&site).await, 3);
    // without sources nothing is kept, whatever the plugin says
    api(&site, "apigw", "REST", json!({}), None).await;
    let keep = json!({"allow": {"principal": "alice", "ttl": 60}});
    for _ in 0..2 {
        assert_eq!(ask(&site, "/a", None, &keep).await.status, 200);
    }
    assert_eq!(asked(&site).await, 5);
}

#[tokio::test]
async fn the_policies_of_caller_and_api_are_judged_as_the_tables_say() {
    let site = start();
    let user = "arn:aws:iam::123456789012:user/alice";
    let says = |effect: Option<&str>, principal: Option<&str>| {
        let one = match effect {
            Some(effect) => statement(effect, ANY),
            None => statement("Allow", &format!("{ANY}/nowhere")),
        };
        policy(&[match principal {
            Some(principal) => with_principal(one, principal),
            None => one,
        }])
    };
    let (yes, no) = (Some("Allow"), Some("Deny"));
    // caller's policy, API's policy, same account, other account
    let rows = [
        (yes, yes, 200, 200),
        (yes, None, 200, 403),
        (yes, no, 403, 403),
        (None, yes, 200, 403),
        (None, None, 403, 403),
        (None, no, 403, 403),
        (no, yes, 403, 403),
        (no, None, 403, 403),
        (no, no, 403, 403),
    ];
    for api_says in [yes, None, no] {
        let other = "arn:aws:iam::999999999999:user/bob";
        let mut resource = says(api_says, Some(user));
        let second = with_principal(resource["Statement"][0].clone(), other);
        resource["Statement"].as_array_mut().unwrap().push(second);
        api(&site, "apigw", "REST", json!({"type": "iam"}), Some(resource)).await;
        for (caller_says, _, same, cross) in rows.iter().filter(|row| row.1 == api_says) {
            for (account, arn, expected) in [("123456789012", user, same), ("999999999999", other, cross)] {
                let verdict = json!({"allow": {"principal": arn, "facts": {"accountId": account, "userArn": arn}, "policy": says(*caller_says, None)}});
                let reply = ask(&site, "/a", None, &verdict).await;
                let row = format!("caller {caller_says:?}, API {api_says:?}, account {account}");
                assert_eq!(reply.status, *expected, "{row}: {}", reply.text());
                if *expected == 403 {
                    let explicit = *caller_says == no || api_says == no;
                    assert_eq!(
                        reply.text().contains("with an explicit deny"),
                        explicit,
                        "{row}: {}",
                        reply.text()
                    );
                    assert!(reply.text().contains(&format!("User: {arn} is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:eu-west-1:********9012:pets/prod/GET/a")), "{}", reply.text());
                }
            }
        }
        // custom authorizers: table A, and an explicit deny ends before the plugin is asked
        let everybody = says(api_says, Some("*"));
        api(&site, "apigw", "REST", json!({}), Some(everybody.clone())).await;
        for (caller_says, _, same, _) in rows.iter().filter(|row| row.1 == api_says) {
            let before = asked(&site).await;
            let reply = ask(&site, "/a", None, &allow(Some(says(*caller_says, None)))).await;
            assert_eq!(
                reply.status,
                *same,
                "custom: {caller_says:?} {api_says:?}: {}",
                reply.text()
            );
            let was_asked = asked(&site).await > before;
            assert_eq!(was_asked, api_says != no, "{api_says:?}");
        }
        // users of a pool: the API's policy alone, and silence is no
        api(
            &site,
            "apigw",
            "REST",
            json!({"type": "cognito"}),
            Some(everybody),
        )
        .await;
        let reply = ask(&site, "/a", None, &allow(None)).await;
        assert_eq!(
            reply.status,
            if api_says == yes { 200 } else { 403 },
            "{api_says:?}"
        );
        // nobody is asked: the API's policy alone
        let reply = ask(&site, "/open", None, &json!("trap")).await;
        assert_eq!(
            reply.status,
            if api_says == yes { 200 } else { 403 },
            "{api_says:?}"
        );
    }
}

#[tokio::test]
async fn a_session_is_known_by_its_role() {
    let site = start();
    api(&site, "apigw", "REST", json!({"type": "iam"}), None).await;
    let deny = |role: &str| {
        let mut deny = statement("Deny", "*");
        deny["Condition"] = json!({"ArnLike": {"aws:PrincipalArn": format!("arn:aws:iam::*:role/{role}")}});
        policy(&[statement("Allow", "*"), deny])
    };
    let session = "arn:aws:sts::123456789012:assumed-role/Blocked/s";
    for (arn, role, status) in [
        (session, "Blocked", 403),
        (session, "Other", 200),
        ("arn:aws:iam::123456789012:user/ann", "Blocked", 200),
    ] {
        let facts = json!({"accountId": "123456789012", "userArn": arn});
        let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": deny(role)}});
        let reply = ask(&site, "/a", None, &verdict).await;
        assert_eq!(reply.status, status, "{arn} {role}: {}", reply.text());
    }
}

#[tokio::test]
async fn policies_know_of_a_caller_what_an_authorizer_for_iam_says_and_no_other() {
    let site = start();
    let arn = "arn:aws:iam::123456789012:user/team/ann";
    let facts = json!({
        "accountId": "123456789012", "userArn": arn, "userId": "AIDA", "principalOrgId": "o-a1", "principalOrgPaths": ["o-a1/r-b2/"],
        "principalTags": {"Team": "pets"}, "tokenIssueTime": 1_700_000_000, "multiFactorAuthPresent": true, "multiFactorAuthTime": 1_700_000_000,
    });
    for (kind, status) in [("iam", 200), ("custom", 403)] {
        api(&site, "apigw", "REST", json!({"type": kind}), None).await;
        for (operator, key, value) in [
            ("StringEquals", "aws:PrincipalAccount", "123456789012"),
            ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/team/*"),
            ("StringEquals", "aws:PrincipalType", "User"),
            ("StringEquals", "aws:username", "ann"),
            ("StringEquals", "aws:userid", "AIDA"),
            ("StringEquals", "aws:PrincipalOrgID", "o-a1"),
            ("ForAnyValue:StringLike", "aws:PrincipalOrgPaths", "o-a1/*"),
            ("StringEquals", "aws:PrincipalTag/team", "pets"),
            ("DateLessThan", "aws:TokenIssueTime", "2023-11-15"),
            ("Bool", "aws:MultiFactorAuthPresent", "true"),
            ("NumericGreaterThan", "aws:MultiFactorAuthAge", "60"),
        ] {
            let mut one = statement("Allow", "*");
            one["Condition"] = json!({operator: {key: value}});
            let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": policy(&[one])}});
            let reply = ask(&site, "/a", None, &verdict).await;
            assert_eq!(reply.status, status, "{kind} {key}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn what_a_binding_keeps_is_not_for_routes_of_apis() {
    let site = start();
    let authorizers = [
        json!({"plugin": "keeps"}),
        json!({"plugin": "keeps", "identity-sources": ["$request.header.Authorization"], "result-ttl": "0s"}),
    ];
    for authorizer in authorizers {
        scoped(&site, "native", "HTTP", authorizer).await;
        for (verdict, status) in [
            (json!({"allow": {"principal": "alice", "ttl": 60}}), 200),
            (json!({"deny": {"status": 403, "ttl": 60}}), 403),
            (json!({"allow": {"principal": "alice", "ttl": 60}}), 200),
        ] {
            let reply = ask(&site, "/any", Some("token"), &verdict).await;
            assert_eq!(reply.status, status, "{verdict}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn an_api_policy_looks_at_addresses_and_fields() {
    let site = start();
    let by = |condition: Value| {
        let mut one = with_principal(statement("Allow", "execute-api:/*"), "*");
        one["Condition"] = condition;
        Some(policy(&[one]))
    };
    for (condition, status) in [
        (json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), 200),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), 403),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), 403),
        (json!({"StringLike": {"aws:UserAgent": "test/*"}}), 200),
        (json!({"StringEquals": {"aws:Referer": "https://a.example"}}), 403),
        (
            json!({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
            200,
        ),
    ] {
        api(&site, "apigw", "REST", json!({}), by(condition.clone())).await;
        let reply = site
            .call(PETS, "GET", "/prod/open", &[("user-agent", "test/1")], "")
            .await;
        assert_eq!(reply.status, status, "{condition}: {}", reply.text());
        if status == 403 {
            assert_eq!(
                reply.text(),
                r#"{"Message":"User: anonymous is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:eu-west-1:********9012:pets/prod/GET/open"}"#
            );
        }
    }
    // what cannot be a policy is refused when it is deployed, with its place
    let bundle = json!({"apis": {"pets": {
        "protocol": "REST",
        "policy": {"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "*"}]},
        "stages": {"prod": {"auto-deploy": true}},
    }}});
    let refused = site.admin("PUT", "/v1/bundle", bundle).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("api.policy/Statement/0/Effect"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn authorizers_see_what_the_client_sent_and_the_digest_of_its_body() {
    let site = start();
    api(&site, "native", "HTTP", json!({}), None).await;
    let bundle = json!({"integrations": {"echo": {"request-parameters": {
        "append:header.x-digest": "$context.authorizer.digest",
        "append:header.x-target": "$context.authorizer.raw-target",
        "append:header.x-host": "$context.authorizer.raw-authority",
        "append:header.x-sent": "$context.authorizer.sent",
    }}}});
    let patch = [("content-type", "application/merge-patch+json")];
    let reply = site
        .with(
            "PATCH",
            "/v1/apis/pets/integrations/echo",
            &patch,
            bundle["integrations"]["echo"].clone(),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = site
        .call(
            "PETS.execute-api.localhost",
            "POST",
            "/prod/x/../%61?b=%7e&a",
            &[
                ("x-request-id", "of-the-client"),
                ("x-forwarded-for", "192.0.2.1"),
                ("via", "1.1 before"),
            ],
            "hello",
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // none of these goes on as it was
    let sent = reply.echoed("x-sent");
    for field in [
        "x-request-id: of-the-client",
        "x-forwarded-for: 192.0.2.1",
        "via: 1.1 before",
    ] {
        assert!(sent.contains(field), "{field}: {sent}");
    }
    for name in ["x-request-id", "x-forwarded-for"] {
        assert!(
            !sent.contains(&format!("{name}: {}", reply.echoed(name))),
            "{name}"
        );
    }
    assert_eq!(
        reply.echoed("x-digest"),
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(reply.echoed("x-target"), "/prod/x/../%61?b=%7e&a");
    assert_eq!(reply.echoed("x-host"), "PETS.execute-api.localhost");
    let empty = site.get(PETS, "/prod/a").await;
    assert_eq!(empty.echoed("x-digest"), "");
}

#[tokio::test]
async fn a_route_of_the_file_fails_closed_where_its_authorizer_answers_with_a_policy() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["verdict"] = json!({"module": guest("verdict")});
        let routes = config["routes"].as_array_mut().unwrap();
        routes.push(json!({"name": "guarded", "path": "/guarded", "pipeline": ["verdict"], "respond": {"status": 204}}));
    });
    let call = async |verdict: Value| {
        let verdict = verdict.to_string();
        site.call("any.example", "GET", "/guarded", &[("x-verdict", &verdict)], "")
            .await
    };
    assert_eq!(call(allow(None)).await.status, 204);
    let reply = call(allow(Some(policy(&[statement("Allow", "*")])))).await;
    assert_eq!(
        (reply.status, &*reply.response_type()),
        (500, "AUTHORIZER_CONFIGURATION"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_client_cannot_say_in_place_of_an_authorizer_who_it_is() {
    let site = start();
    for (profile, protocol, key, from) in [
        (
            "native",
            "HTTP",
            "overwrite:header.x-user",
            "$context.authorizer.principalId",
        ),
        (
            "apigw",
            "HTTP",
            "overwrite:header.x-user",
            "$context.authorizer.principalId",
        ),
        (
            "apigw",
            "REST",
            "integration.request.header.x-user",
            "context.authorizer.principalId",
        ),
    ] {
        let routes = json!({"GET /a": {"integration": "echo", "authorizer": "who"}, "GET /open": {"integration": "echo"}});
        let mut api = echoing(&site, profile, protocol, &json!({"plugin": "verdict"}), &routes);
        api["integrations"]["echo"]["request-parameters"] = json!({key: from});
        site.apply(json!({"apis": {"pets": api}})).await;
        for (path, user) in [("/prod/a", Some("alice")), ("/prod/open", None)] {
            let fields = [("x-user", "mallory"), ("x-user", "bob")];
            let reply = site.call(PETS, "GET", path, &fields, "").await;
            assert_eq!(reply.status, 200, "{profile} {protocol} {path}: {}", reply.text());
            let wanted: Vec<_> = user.into_iter().collect();
            assert_eq!(reply.echoed_all("x-user"), wanted, "{profile} {protocol} {path}");
        }
    }
}

/// An API with routes that want different scopes of callers.
async fn scoped(site: &Site, profile: &str, protocol: &str, authorizer: Value) {
    let route =
        |scopes: Value| json!({"integration": "echo", "authorizer": "who", "authorization-scopes": scopes});
    let routes = json!({
        "GET /any": route(json!([])),
        "GET /a": route(json!(["pets.read", "pets.write"])),
        "GET /b": route(json!(["pets.admin"])),
    });
    let api = echoing(site, profile, protocol, &authorizer, &routes);
    site.apply(json!({"apis": {"pets": api}})).await;
}

#[tokio::test]
async fn a_route_wants_one_of_its_scopes_whatever_its_authorizer_knows_of_them() {
    let site = start();
    for (profile, protocol, kind, status) in [
        ("native", "HTTP", "custom", 403),
        ("apigw", "HTTP", "custom", 403),
        ("apigw", "REST", "custom", 403),
        ("apigw", "REST", "cognito", 401),
    ] {
        let authorizer = json!({"plugin": "verdict", "type": kind, "identity-sources": ["$request.header.Authorization"], "result-ttl": "60s"});
        scoped(&site, profile, protocol, authorizer).await;
        for (number, (facts, any, a, b)) in [
            (json!({}), 200, status, status),
            (json!({"scope": "x pets.write"}), 200, 200, status),
            (json!({"scope": "pets.write2 Pets.read"}), 200, status, status),
            (json!({"scp": "pets.admin"}), 200, status, 200),
            (json!({"other": "pets.admin"}), 200, status, status),
            (json!({"scp": ["x", "pets.read"]}), 200, 200, status),
            (json!({"claims": {"scope": "pets.admin x"}}), 200, status, 200),
            (json!({"claims": {"scp": ["pets.read", 7]}}), 200, 200, status),
            (
                json!({"claims": {"scope": {"pets.read": true}}}),
                200,
                status,
                status,
            ),
            (json!({"claims": ["pets.read"]}), 200, status, status),
        ]
        .into_iter()
        .enumerate()
        {
            let verdict = json!({"allow": {"principal": "alice", "facts": facts, "ttl": 60}});
            // asked, and from what was kept: a token that one route takes does not open another
            for _ in 0..2 {
                for (path, wanted) in [("/any", any), ("/a", a), ("/b", b)] {
                    let token = format!("{profile}{protocol}{kind}{number}");
                    let reply = ask(&site, path, Some(&token), &verdict).await;
                    let row = format!("{profile} {protocol} {kind} {facts} {path}: {}", reply.text());
                    assert_eq!(reply.status, wanted, "{row}");
                    if wanted == status {
                        let challenge = reply.header("www-authenticate");
                        assert!(
                            challenge.contains("error=\"insufficient_scope\""),
                            "{row}: {challenge}"
                        );
                    }
                }
            }
        }
    }
    // one that fails open opens no route that wants a scope
    let authorizer =
        json!({"plugin": "open", "identity-sources": ["$request.header.Authorization"], "result-ttl": "0s"});
    scoped(&site, "native", "HTTP", authorizer).await;
    for (path, status) in [("/any", 200), ("/a", 403)] {
        let reply = ask(&site, path, Some("x"), &json!("trap")).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    let route = json!({"integration": "echo", "authorization-scopes": ["pets.read"]});
    let path = "/v1/apis/pets/routes/GET%20%2Fopen?dry-run=true";
    let refused = site.admin("PUT", path, route).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("need an `authorizer`"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn scopes_of_a_route_are_told_to_the_plugin_which_answers_as_aws_does() {
    let keys = Keys::new();
    let site = Site::with_config(|config, _folder| {
        for preset in ["native", "http-api", "cognito"] {
            let mut settings = json!({"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": keys.jwks()}}]});
            if preset != "native" {
                settings["preset"] = preset.into();
            }
            config["plugins"][preset] = json!({
                "module": guest("jwt-authorizer"),
                "decision-cache": {"headers": ["authorization"]},
                "config": settings,
            });
        }
    });
    let tokens: Vec<String> = [
        json!({"token_use": "id"}),
        json!({"token_use": "access", "scope": "pets.read", "iat": 1}),
        json!({"token_use": "access", "scope": "pets.admin", "iat": 1}),
    ]
    .into_iter()
    .map(|more| format!("Bearer {}", keys.rsa(&claims(more))))
    .collect();
    let http = |scopes: &str| {
        format!(
            "Bearer scope=\"{scopes}\" error=\"insufficient_scope\" error_description=\"a required scope is missing\""
        )
    };
    for (preset, profile, protocol, kind, rows) in [
        (
            "native",
            "native",
            "HTTP",
            "custom",
            [[200, 403, 403], [200, 200, 403], [200, 403, 200]],
        ),
        (
            "http-api",
            "apigw",
            "HTTP",
            "custom",
            [[200, 403, 403], [200, 200, 403], [200, 403, 200]],
        ),
        // an ID token where no scope is wanted, else an access token
        (
            "cognito",
            "apigw",
            "REST",
            "cognito",
            [[200, 401, 401], [401, 200, 401], [401, 401, 200]],
        ),
    ] {
        scoped(&site, profile, protocol, json!({"plugin": preset, "type": kind})).await;
        for (token, row) in tokens.iter().zip(rows) {
            for (path, wanted) in ["/any", "/a", "/b"].into_iter().zip(row) {
                let fields = [("authorization", token.as_str())];
                let reply = site.call(PETS, "GET", &format!("/prod{path}"), &fields, "").await;
                assert_eq!(reply.status, wanted, "{preset} {path} {row:?}: {}", reply.text());
                if preset == "http-api" && wanted == 403 {
                    assert_eq!(reply.text(), r#"{"message":"Forbidden"}"#);
                    let scopes = if path == "/a" {
                        "pets.read pets.write"
                    } else {
                        "pets.admin"
                    };
                    assert_eq!(reply.header("www-authenticate"), http(scopes));
                }
            }
        }
    }
}

#[tokio::test]
async fn the_simulator_names_the_statement_that_decides() {
    let site = start();
    let caller = policy(&[
        statement("Allow", "*"),
        json!({"Sid": "NotSecret", "Effect": "Deny", "Action": "execute-api:Invoke", "Resource": format!("{ANY}/secret")}),
    ]);
    let arn = |path: &str| format!("arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET{path}");
    for (path, decision, index, sid) in [
        ("/a", "allow", 0, Value::Null),
        ("/secret", "explicit-deny", 1, json!("NotSecret")),
    ] {
        let question = json!({"arn": arn(path), "policy": caller});
        let told = site.done("POST", "/v1/policy/explain", question).await;
        std::fs::write(site.folder.path().join("caller.json"), caller.to_string()).unwrap();
        let words = [
            "policy",
            "explain",
            "--json",
            "--policy",
            "caller.json",
            "--arn",
            &arn(path),
        ];
        let printed = cli(site.folder.path(), &words).await;
        let printed: Value =
            serde_json::from_str(&printed.out).unwrap_or_else(|_other| panic!("{}", printed.err));
        for answer in [&told, &printed] {
            assert_eq!(answer["decision"], decision, "{answer}");
            let by = &answer["decided-by"];
            assert_eq!((&by["statement"], &by["sid"]), (&json!(index), &sid), "{answer}");
        }
        // what a gateway does with the same policy
        site_says(&site, path, &caller, decision == "allow").await;
    }
}

async fn site_says(site: &Site, path: &str, policy: &Value, passes: bool) {
    let routes = json!({format!("GET {path}"): {"integration": "echo", "authorizer": "who"}});
    let api = echoing(site, "native", "REST", &json!({"plugin": "verdict"}), &routes);
    site.apply(json!({"apis": {"pets": api}})).await;
    let reply = ask(site, path, None, &allow(Some(policy.clone()))).await;
    assert_eq!(reply.status == 200, passes, "{path}: {}", reply.text());
}
