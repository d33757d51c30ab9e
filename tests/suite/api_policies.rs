//! What policies of APIs and of authorizers look at, over real sockets: where a call comes from and how, who makes it, and the name of what is called.

use std::net::SocketAddr;

use edgeward_tests::{Ca, Connection, empty, raw};
use http::Request;
use serde_json::{Map, Value, json};

use crate::{
    apis::{PETS, Site},
    authorizers::{ANY, allow, api, ask, echoing, policy, start, statement, verdicts, with_principal},
};

/// A statement that allows `resource` where a condition holds.
fn where_holds(resource: &str, condition: &Value) -> Value {
    let mut allow = statement("Allow", resource);
    allow["Condition"] = condition.clone();
    allow
}

/// A policy of an API that lets pass where a condition holds.
fn only_where(condition: &Value) -> Value {
    policy(&[with_principal(where_holds("execute-api:/*", condition), "*")])
}

/// The status of `GET /open` with some lines of fields, on a connection that begins with `before`.
async fn opened(address: SocketAddr, before: &str, fields: &str) -> u16 {
    let head =
        format!("{before}GET /prod/open HTTP/1.1\r\nhost: {PETS}\r\n{fields}connection: close\r\n\r\n");
    let answer = raw(address, head).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn the_source_of_a_call_is_what_the_listener_believes_and_not_what_clients_say() {
    let site = Site::with_config(|config, _folder| {
        verdicts(config);
        config["listeners"] = json!([
            {"name": "direct", "address": "127.0.0.1:0"},
            {"name": "hop", "address": "127.0.0.1:0", "trusted-hops": ["127.0.0.0/8"]},
            {"name": "balanced", "address": "127.0.0.1:0", "proxy-protocol": ["127.0.0.0/8"]},
        ]);
    });
    let forged = "x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\ntrue-client-ip: 203.0.113.9\r\n";
    // what stands before the address that the hop has added is the client's own word
    let through_hop = "x-forwarded-for: 127.0.0.1, 203.0.113.9\r\n";
    let (v4, v6) = (
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n",
        "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n",
    );
    let says_local = "x-forwarded-for: 127.0.0.1\r\n";
    let calls = [
        ("direct", "", ""),
        ("direct", "", forged),
        ("hop", "", ""),
        ("hop", "", through_hop),
        ("hop", "", "x-forwarded-for: 203.0.113.9, 192.0.2.1\r\n"),
        ("balanced", v4, says_local),
        ("balanced", v6, says_local),
        ("balanced", "PROXY UNKNOWN\r\n", forged),
    ];
    let (yes, no) = (200, 403);
    for (block, wanted) in [
        ("127.0.0.0/8", [yes, yes, yes, no, no, no, no, yes]),
        ("203.0.113.9", [no, no, no, yes, no, yes, no, no]),
        ("192.0.2.0/24", [no, no, no, no, yes, no, no, no]),
        ("2001:db8::/32", [no, no, no, no, no, no, yes, no]),
    ] {
        let condition = json!({"IpAddress": {"aws:SourceIp": block}});
        api(&site, "apigw", "REST", json!({}), Some(only_where(&condition))).await;
        for ((name, before, fields), wanted) in calls.iter().zip(wanted) {
            let status = opened(site.process.listener(name), before, fields).await;
            assert_eq!(status, wanted, "{block}: {name} {before:?} {fields:?}");
        }
    }
}

#[tokio::test]
async fn policies_know_whether_a_call_came_over_tls() {
    let ca = Ca::new();
    let site = Site::with_config(|config, folder| {
        verdicts(config);
        ca.issue(&[PETS]).write(folder, "server");
        let tls = json!({"certificates": [{"cert": "server.crt", "key": "server.key"}]});
        config["listeners"] = json!([
            {"name": "clear", "address": "127.0.0.1:0"},
            {"name": "tls", "address": "127.0.0.1:0", "tls": tls},
        ]);
    });
    for (wanted, over_tls, in_clear) in [("true", 200, 403), ("false", 403, 200)] {
        let condition = json!({"Bool": {"aws:SecureTransport": wanted}});
        api(&site, "apigw", "REST", json!({}), Some(only_where(&condition))).await;
        for says in ["", "x-forwarded-proto: https\r\nforwarded: proto=https\r\n"] {
            let status = opened(site.process.listener("clear"), "", says).await;
            assert_eq!(status, in_clear, "{wanted} {says:?}");
        }
        for protocol in ["http/1.1", "h2"] {
            let client = ca.client(&[protocol], None);
            let connecting = Connection::tls(site.process.listener("tls"), PETS, &client);
            let mut connection = Box::pin(connecting).await.unwrap();
            let request = Request::get("/prod/open")
                .header("host", PETS)
                .header("x-forwarded-proto", "http");
            let reply = connection.send(request, empty()).await;
            assert_eq!(reply.status, over_tls, "{wanted} {protocol}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn policies_know_of_principals_of_iam_and_of_nobody_else() {
    let site = start();
    let principals = [
        ("arn:aws:iam::123456789012:user/team/alice", "AIDAEXAMPLE"),
        ("arn:aws:sts::123456789012:assumed-role/Dev/ci", "AROAEXAMPLE:ci"),
        ("arn:aws:iam::123456789012:root", "123456789012"),
    ];
    let rows = [
        ("aws:PrincipalAccount", "123456789012", [true, true, true]),
        ("aws:PrincipalAccount", "999999999999", [false, false, false]),
        ("aws:PrincipalType", "User", [true, false, false]),
        ("aws:PrincipalType", "AssumedRole", [false, true, false]),
        ("aws:PrincipalType", "Account", [false, false, true]),
        ("aws:userid", "AIDAEXAMPLE", [true, false, false]),
        ("aws:userid", "AROAEXAMPLE:ci", [false, true, false]),
        ("aws:username", "alice", [true, false, false]),
        ("aws:username", "ci", [false, false, false]),
    ];
    // in a policy of the API and in the caller's own; what another authorizer says under these names is nobody's identity
    for (kind, in_api) in [("iam", true), ("iam", false), ("custom", false)] {
        for (key, value, whom) in rows {
            let condition = json!({"StringEquals": {key: value}});
            let resource = in_api.then(|| only_where(&condition));
            let own = (!in_api).then(|| policy(&[where_holds("*", &condition)]));
            api(&site, "apigw", "REST", json!({"type": kind}), resource).await;
            for ((arn, id), passes) in principals.iter().zip(whom) {
                let facts = json!({"accountId": "123456789012", "userArn": arn, "userId": id});
                let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": own}});
                let reply = ask(&site, "/a", None, &verdict).await;
                let wanted = if passes && kind == "iam" { 200 } else { 403 };
                let row = format!("{kind}, of the API: {in_api}, {key} {value}, {arn}");
                assert_eq!(reply.status, wanted, "{row}: {}", reply.text());
            }
        }
    }
}

/// What comes of calls where a policy decides: that of an API that asks nobody, and that of who is asked.
async fn judged(
    site: &Site,
    profile: &str,
    routes: &[&str],
    statements: &[Value],
    rows: &[(&str, &str, u16)],
) {
    let named: Vec<Value> = statements
        .iter()
        .map(|one| with_principal(one.clone(), "*"))
        .collect();
    for of_api in [true, false] {
        let route = if of_api {
            json!({"integration": "echo"})
        } else {
            json!({"integration": "echo", "authorizer": "who"})
        };
        let routes: Map<String, Value> = routes
            .iter()
            .map(|key| ((*key).to_owned(), route.clone()))
            .collect();
        let authorizer = json!({"plugin": "verdict"});
        let mut api = echoing(site, profile, "REST", &authorizer, &Value::Object(routes));
        if of_api {
            api["policy"] = policy(&named);
        }
        site.apply(json!({"apis": {"pets": api}})).await;
        let verdict = allow(Some(policy(statements))).to_string();
        for (method, path, wanted) in rows {
            let path = format!("/prod{path}");
            let fields = [("x-verdict", verdict.as_str())];
            let reply = site.call(PETS, method, &path, &fields, "").await;
            let row = format!("{profile}, of the API: {of_api}, {method} {path}");
            assert_eq!(reply.status, *wanted, "{row}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn policies_name_the_path_that_is_called_and_not_that_of_its_route() {
    let site = start();
    let routes = ["GET /b/{id}"];
    let all = statement("Allow", ANY);
    let one = |effect: &str, path: &str| statement(effect, &format!("{ANY}/GET/b/{path}"));
    for profile in ["apigw", "native"] {
        let rows = [
            ("GET", "/b/7", 200),
            ("GET", "/b/8", 403),
            ("GET", "/b/%37", 200),
            ("GET", "/b/7/../8", 403),
            ("GET", "/b/77", 403),
        ];
        judged(&site, profile, &routes, &[one("Allow", "7")], &rows).await;
        // no way to write a path is a way around
        let rows = [
            ("GET", "/b/7", 200),
            ("GET", "/b/8", 403),
            ("GET", "/b/%38", 403),
            ("GET", "/x/../b/./8", 403),
            ("GET", "/b/8?id=7", 403),
        ];
        judged(&site, profile, &routes, &[all.clone(), one("Deny", "8")], &rows).await;
        let rows = [("GET", "/b/7", 403), ("GET", "/b/%7Bid%7D", 200)];
        judged(&site, profile, &routes, &[one("Allow", "%7Bid%7D")], &rows).await;
    }
}

#[tokio::test]
async fn policies_do_not_look_at_a_slash_at_the_end_where_routes_do_not() {
    let site = start();
    let routes = ["GET /", "GET /a", "GET /b", "GET /files/{proxy+}"];
    let all = statement("Allow", ANY);
    let on = |effect: &str, path: &str| statement(effect, &format!("{ANY}/GET/{path}"));
    for profile in ["apigw", "native"] {
        let rows = [("GET", "/a", 403), ("GET", "/a/", 403), ("GET", "/b/", 200)];
        judged(&site, profile, &routes, &[all.clone(), on("Deny", "a")], &rows).await;
        let rows = [("GET", "/a", 200), ("GET", "/a/", 200), ("GET", "/b/", 403)];
        judged(&site, profile, &routes, &[on("Allow", "a")], &rows).await;
        let rows = [("GET", "/files/x", 403), ("GET", "/files/x/", 403)];
        let deny = [all.clone(), on("Deny", "files/x")];
        judged(&site, profile, &routes, &deny, &rows).await;
        let rows = [("GET", "/", 200), ("GET", "/a", 403)];
        judged(&site, profile, &routes, &[on("Allow", "")], &rows).await;
    }
}

#[tokio::test]
async fn head_is_judged_as_get_where_a_route_for_get_serves_it() {
    let site = start();
    let routes = ["GET /a", "ANY /c"];
    let all = statement("Allow", ANY);
    let on = |effect: &str, method: &str| statement(effect, &format!("{ANY}/{method}/*"));
    let rows = [
        ("GET", "/a", 200),
        ("HEAD", "/a", 200),
        ("GET", "/c", 200),
        ("HEAD", "/c", 403),
        ("POST", "/c", 403),
    ];
    judged(&site, "native", &routes, &[on("Allow", "GET")], &rows).await;
    let rows = [
        ("GET", "/a", 403),
        ("HEAD", "/a", 403),
        ("GET", "/c", 403),
        ("HEAD", "/c", 200),
    ];
    judged(&site, "native", &routes, &[all.clone(), on("Deny", "GET")], &rows).await;
    let rows = [("HEAD", "/a", 200), ("HEAD", "/c", 403)];
    judged(&site, "native", &routes, &[all, on("Deny", "HEAD")], &rows).await;
}

#[tokio::test]
async fn names_of_apis_are_of_the_partition_region_and_account_of_the_gateway() {
    let site = Site::with_config(|config, _folder| {
        verdicts(config);
        config["aws"] = json!({"partition": "aws-cn", "region": "cn-north-1", "account-id": "210987654321"});
    });
    for (resource, wanted) in [
        ("execute-api:/prod/GET/*", 200),
        (
            "arn:aws-cn:execute-api:cn-north-1:210987654321:pets/prod/GET/*",
            200,
        ),
        ("arn:aws:execute-api:cn-north-1:210987654321:pets/*", 403),
        ("arn:aws-cn:execute-api:cn-northwest-1:210987654321:pets/*", 403),
        ("arn:aws-cn:execute-api:cn-north-1:123456789012:pets/*", 403),
        ("arn:aws-cn:execute-api:cn-north-1:210987654321:cats/*", 403),
    ] {
        let resource_policy = policy(&[with_principal(statement("Allow", resource), "*")]);
        api(&site, "apigw", "REST", json!({}), Some(resource_policy)).await;
        let reply = site.get(PETS, "/prod/open").await;
        assert_eq!(reply.status, wanted, "{resource}: {}", reply.text());
        if wanted == 403 {
            let told = "on resource: arn:aws-cn:execute-api:cn-north-1:********4321:pets/prod/GET/open";
            assert!(reply.text().contains(told), "{}", reply.text());
        }
        if resource.starts_with("arn:") {
            api(&site, "apigw", "REST", json!({}), None).await;
            let verdict = allow(Some(policy(&[statement("Allow", resource)])));
            let reply = ask(&site, "/a", None, &verdict).await;
            assert_eq!(reply.status, wanted, "{resource}: {}", reply.text());
        }
    }
    // whose account is the API's needs one policy, and others both
    api(&site, "apigw", "REST", json!({"type": "iam"}), None).await;
    for (account, wanted) in [("210987654321", 200), ("123456789012", 403)] {
        let arn = format!("arn:aws-cn:iam::{account}:user/ann");
        let facts = json!({"accountId": account, "userArn": arn});
        let all = policy(&[statement("Allow", "*")]);
        let verdict = json!({"allow": {"principal": arn, "facts": facts, "policy": all}});
        let reply = ask(&site, "/a", None, &verdict).await;
        assert_eq!(reply.status, wanted, "{account}: {}", reply.text());
    }
}
