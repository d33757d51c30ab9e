//! What authorizers of APIs say is kept for as long as AWS keeps it, and they are asked where AWS asks them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use edgeward_tests::{Gateway, Origin, Raw, Reply, guest, serve, within};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    apis::{PETS, Site},
    apis_stages::lines,
    authorizers::{ANY, allow, api, ask, asked, policy, statement, with_principal},
};

#[tokio::test]
async fn a_decision_is_kept_for_as_long_as_aws_keeps_it_where_the_api_does_not_say() {
    let site = crate::authorizers::start();
    let sources = json!({"identity-sources": ["$request.header.authorization"]});
    let mut before = 0;
    for (profile, protocol, questions) in [("apigw", "REST", 1), ("apigw", "HTTP", 2), ("native", "REST", 2)]
    {
        api(&site, profile, protocol, sources.clone(), None).await;
        for _ in 0..2 {
            assert_eq!(ask(&site, "/a", Some("one"), &allow(None)).await.status, 200);
        }
        assert_eq!(asked(&site).await - before, questions, "{profile} {protocol}");
        before += questions;
    }
}

/// A gateway whose `forward-auth` asks a service; `more` is what its binding has besides.
async fn asking(service: SocketAddr, more: Value) -> (Gateway, Origin) {
    let origin = Origin::start();
    let mut who = json!({
        "module": "forward-auth",
        "grants": {"http": {"hosts": [service.to_string()], "private-addresses": true}},
        "config": {"url": format!("http://{service}/"), "allow-plain-http": true, "timeout-ms": 20000, "decision-ttl-seconds": 60},
    });
    let Value::Object(more) = more else {
        unreachable!("{more} is no binding")
    };
    who.as_object_mut().unwrap().extend(more);
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"who": who},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["who"]}],
    }))
    .await;
    (gateway, origin)
}

#[tokio::test]
async fn while_an_authorizer_is_asked_anew_others_need_not_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // what it hears is kept for no time, but may be served late
    let binding = json!({
        "limits": {"wall-time": "30s"},
        "decision-cache": {"headers": ["authorization"], "max-ttl": "1us", "stale-while-revalidate": "1h"},
    });
    let (gateway, _origin) = asking(listener.local_addr().unwrap(), binding).await;
    let gateway = Arc::new(gateway);
    let call = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.call("GET", "/a", &[("authorization", "one")]).await })
    };
    let question = async || {
        let (stream, _) = within("a question", listener.accept()).await.unwrap();
        let mut service = Raw::from(stream);
        service.until("\r\n\r\n").await;
        service
    };
    let answer = async |mut service: Raw, status: &str| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        service.send(head).await;
        service.finish().await;
    };
    let status = async |call: JoinHandle<Reply>| within("an answer", call).await.unwrap().status;
    let first = call();
    answer(question().await, "204 No Content").await;
    assert_eq!(status(first).await, 200);
    // the time of that is over: one asks, and the others have what was said
    let asking = call();
    let service = question().await;
    for _ in 0..3 {
        assert_eq!(status(call()).await, 200);
    }
    assert!(!asking.is_finished());
    answer(service, "403 Forbidden").await;
    assert_eq!(status(asking).await, 403);
    // which has ended with the refusal
    let again = call();
    answer(question().await, "403 Forbidden").await;
    assert_eq!(status(again).await, 403);
}

#[tokio::test]
async fn those_who_waited_for_another_in_vain_do_not_open_the_breaker() {
    let (asked, answers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (count, is_there) = (Arc::clone(&asked), Arc::clone(&answers));
    let (service, _serving) = serve(move |mut connection| {
        let (count, is_there) = (Arc::clone(&count), Arc::clone(&is_there));
        async move {
            connection.until("\r\n\r\n").await;
            count.fetch_add(1, SeqCst);
            if is_there.load(SeqCst) {
                connection.answer_json("200 OK", "{}").await;
            } else {
                connection.to_end().await;
            }
        }
    })
    .await;
    let binding = json!({
        "limits": {"wall-time": "2s"},
        "breaker": {"failures": 5, "open-time": "1h"},
        "decision-cache": {"headers": ["authorization"], "max-ttl": "1m"},
    });
    let (gateway, _origin) = asking(service, binding).await;
    let call = || gateway.call("GET", "/a", &[("authorization", "one")]);
    let replies = join_all((0..12).map(|_| call())).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [500; 12]);
    // most waited for one that asked, and their time was up with it
    assert!(asked.load(SeqCst) < 5, "{asked:?}");
    answers.store(true, SeqCst);
    assert_eq!(call().await.status, 200);
}

#[tokio::test]
async fn a_request_is_refused_by_what_comes_first() {
    let site = Site::with_config(|config, _folder| {
        config["aws"] = json!({"region": "eu-west-1", "account-id": "123456789012"});
        config["plugins"]["verdict"] = json!({"module": guest("verdict")});
        config["plugins"]["waf"] = json!({"module": guest("waf-rules")});
    });
    let mut evil = with_principal(statement("Deny", ANY), "*");
    evil["Condition"] = json!({"StringEquals": {"aws:Referer": "https://evil.example/"}});
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "policy": policy(&[with_principal(statement("Allow", ANY), "*"), evil]),
        "authorizers": {"who": {"plugin": "verdict", "identity-sources": ["method.request.header.Authorization"], "result-ttl": "0s"}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "models": {"pet": {"schema": {"type": "object", "required": ["name"]}}},
        "validators": {"all": {"parameters": true, "body": true}},
        "routes": {"POST /pets": {
            "integration": "echo",
            "pipeline": ["waf"],
            "authorizer": "who",
            "validator": "all",
            "body-limit": "64B",
            "request-parameters": {"method.request.querystring.page": true},
            "request-models": {"application/json": "pet"},
        }},
        "stages": {"prod": {"auto-deploy": true, "access-log": {
            "format": "$context.requestId $context.status $context.error.responseType",
            "destination": "order.log",
        }}},
    }}}))
    .await;
    let attack = "q=1%27%20UNION%20SELECT%20password%20FROM%20users--";
    let deny = json!({"deny": {"status": 401}}).to_string();
    let (large, long) = ("x".repeat(10_240), "x".repeat(100));
    // status, type of the error, type of the response, how often the authorizer was asked
    let rows: [(u16, &str, &str, u64); 13] = [
        (404, "", "", 0),
        (403, "ForbiddenException", "", 0),
        (431, "BadRequestException", "DEFAULT_4XX", 0),
        (
            403,
            "MissingAuthenticationTokenException",
            "MISSING_AUTHENTICATION_TOKEN",
            0,
        ),
        (413, "BadRequestException", "REQUEST_TOO_LARGE", 0),
        (415, "BadRequestException", "UNSUPPORTED_MEDIA_TYPE", 0),
        (403, "ForbiddenException", "WAF_FILTERED", 0),
        (403, "AccessDeniedException", "ACCESS_DENIED", 0),
        (401, "UnauthorizedException", "UNAUTHORIZED", 0),
        (401, "UnauthorizedException", "UNAUTHORIZED", 1),
        (400, "BadRequestException", "BAD_REQUEST_PARAMETERS", 2),
        (400, "BadRequestException", "BAD_REQUEST_BODY", 3),
        (200, "", "-", 4),
    ];
    let mut wanted = Vec::new();
    for (row, (status, error, kind, questions)) in rows.into_iter().enumerate() {
        // each has all the faults of those below it
        let fault = |number: usize| row <= number;
        let host = if fault(0) {
            "cats.execute-api.localhost"
        } else {
            PETS
        };
        let stage = if fault(1) { "beta" } else { "prod" };
        let path = if fault(3) { "nowhere" } else { "pets" };
        let mut fields = vec![("content-type", "application/json")];
        let mut query = Vec::new();
        if fault(2) {
            fields.push(("x-large", large.as_str()));
        }
        if fault(5) {
            fields.push(("content-encoding", "zz"));
        }
        if fault(6) {
            query.push(attack);
        }
        if fault(7) {
            fields.push(("referer", "https://evil.example/"));
        }
        if !fault(8) {
            fields.push(("authorization", "one"));
        }
        if fault(9) {
            fields.push(("x-verdict", deny.as_str()));
        }
        if !fault(10) {
            query.push("page=1");
        }
        let body = match row {
            0..=4 => long.as_str(),
            5..=11 => "{}",
            _ => r#"{"name": "rex"}"#,
        };
        let target = format!("/{stage}/{path}?{}", query.join("&"));
        let reply = site.call(host, "POST", &target, &fields, body).await;
        assert_eq!(
            (reply.status, reply.header("x-amzn-errortype")),
            (status, error),
            "row {row}: {}",
            reply.text()
        );
        assert_eq!(asked(&site).await, questions, "row {row}");
        // before there is a stage there is no log of one
        if !kind.is_empty() {
            wanted.push(format!("{} {status} {kind}", reply.header("x-amzn-requestid")));
        }
    }
    assert_eq!(site.origin.hits("/echo"), 1);
    let mut logged = lines(&site, "order.log", wanted.len()).await;
    logged.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(logged, wanted);
}
