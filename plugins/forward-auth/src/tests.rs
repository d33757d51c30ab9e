//! The plugin against the fake host: what the gateway, the service and the upstream get to see.

use std::{cell::RefCell, rc::Rc};

use edgeward_sdk::{
    Allowed, Answer, Authorize as _, Decision, Denied, Exchange, HeadAction, Header, Interest, Plugin as _,
    RequestHead, Transform as _,
    http_client::{Error, Response},
    testing::{self, Host},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    ForwardAuth,
    ask::{self, Reply, Verdict},
    settings::Settings,
};

fn config(extra: Value) -> Value {
    let mut config = json!({"url": "https://auth.test/verify"});
    config
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    config
}

fn init(extra: Value) -> (ForwardAuth, Interest) {
    testing::init(&config(extra).to_string()).unwrap()
}

fn header(name: &str, value: &[u8]) -> Header {
    Header {
        name: name.into(),
        value: value.into(),
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = headers.iter().map(|(name, value)| header(name, value.as_bytes()));
    Response {
        status,
        headers: headers.collect(),
        body: body.into(),
    }
}

/// A host on which the service answers with what is put there.
fn service(answer: Result<Response, Error>) -> (Host, Rc<RefCell<Result<Response, Error>>>) {
    let answer = Rc::new(RefCell::new(answer));
    let says = Rc::clone(&answer);
    let host = Host::new().with_http(move |_| says.borrow().clone()).install();
    (host, answer)
}

fn request() -> RequestHead {
    testing::request("POST", "https://api.test/pets/7?tag=a%20b")
        .with_header("authorization", "Bearer t0ken")
        .with_header("cookie", "a=1")
        .with_header("cookie", "b=2")
        .with_header("x-forwarded-for", "1.2.3.4")
        .with_header("x-forwarded-user", "root")
        .with_header("x-private", "p")
}

fn ask(extra: Value, exchange: &Exchange) -> Decision {
    init(extra).0.authorize(&request(), exchange)
}

fn unavailable() -> Decision {
    Denied::new(503, "the request cannot be authorized at the moment")
        .header("retry-after", "1")
        .into()
}

#[test]
fn the_question_describes_the_request_without_its_body() {
    let (host, _) = service(Ok(response(204, &[], "")));
    let exchange = testing::exchange().with_client_address("192.0.2.7");
    assert!(matches!(ask(json!({}), &exchange), Decision::Allow(_)));
    let question = host.http_requests().remove(0);
    assert_eq!(
        (
            question.method.as_str(),
            question.url.as_str(),
            question.timeout_ms
        ),
        ("GET", "https://auth.test/verify", Some(2000))
    );
    assert!(question.body.is_empty());
    let fields: Vec<(&str, &str)> = question
        .headers
        .iter()
        .map(|field| (field.name.as_str(), field.value_str().unwrap()))
        .collect();
    assert_eq!(
        fields,
        [
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "api.test"),
            ("x-forwarded-uri", "/pets/7?tag=a%20b"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-original-method", "POST"),
            ("x-original-url", "https://api.test/pets/7?tag=a%20b"),
            ("x-original-uri", "/pets/7?tag=a%20b"),
            ("x-request-id", "test-request"),
            ("authorization", "Bearer t0ken"),
            ("cookie", "a=1; b=2"),
        ]
    );
}

/// `tests/vectors/services.json`: what services in use are asked and answer, and what comes of it.
#[test]
fn services_decide_as_the_vectors_say() {
    let timeout = || Err(Error::Timeout("no answer within 2000 ms".into()));
    let (host, answer) = service(timeout());
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/services.json")).unwrap();
    for vector in vectors {
        let (name, reply) = (&vector["name"], &vector["reply"]);
        *answer.borrow_mut() = if reply.is_null() {
            timeout()
        } else {
            let headers: Vec<(&str, &str)> = pairs(&reply["headers"]);
            let status = u16::try_from(reply["status"].as_u64().unwrap()).unwrap();
            Ok(response(status, &headers, reply["body"].as_str().unwrap()))
        };
        let asked = &vector["request"];
        let method = asked["method"].as_str().unwrap_or("GET");
        let fields = asked["headers"].as_object().into_iter().flatten();
        let request = fields.fold(
            testing::request(method, asked["url"].as_str().unwrap()),
            |request, (name, value)| request.with_header(name, value.as_str().unwrap()),
        );
        let (mut plugin, _) = init(vector["config"].clone());
        let exchange = testing::exchange().with_client_address("192.0.2.7");
        let decision = plugin.authorize(&request, &exchange);
        let question = host.http_requests().pop().unwrap();
        let wanted = &vector["question"];
        for (field, value) in wanted["headers"].as_object().into_iter().flatten() {
            let sent: Vec<&str> = of(&question.headers, field);
            assert_eq!(sent, [value.as_str().unwrap()], "{name}: {field}");
        }
        for field in wanted["without"].as_array().into_iter().flatten() {
            assert!(
                of(&question.headers, field.as_str().unwrap()).is_empty(),
                "{name}: {field}"
            );
        }
        for (sent, wanted) in [
            (&question.method, &wanted["method"]),
            (&question.url, &wanted["url"]),
        ] {
            assert!(wanted.is_null() || wanted == sent, "{name}: {sent}");
        }
        let outcome = match decision {
            Decision::Allow(allowed) => {
                let facts = allowed.context.iter();
                let facts: serde_json::Map<String, Value> = facts
                    .map(|fact| (fact.key.clone(), fact.value.to_json().unwrap()))
                    .collect();
                json!({"allow": {"principal": allowed.principal, "facts": facts, "ttl": allowed.ttl_seconds}})
            }
            Decision::Respond(answer) => {
                let headers = answer.headers.iter();
                let headers: Vec<[&str; 2]> = headers
                    .map(|field| [field.name.as_str(), field.value_str().unwrap()])
                    .collect();
                let body = std::str::from_utf8(&answer.body).unwrap();
                json!({"respond": {"status": answer.status, "headers": headers, "body": body}})
            }
            Decision::Deny(denied) => {
                assert_eq!(Decision::from(denied.clone()), unavailable(), "{name}");
                json!({"deny": denied.status})
            }
        };
        for kind in ["allow", "respond", "deny"] {
            assert_eq!(outcome[kind], vector[kind], "{name}");
        }
    }
}

fn pairs(list: &Value) -> Vec<(&str, &str)> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect()
}

/// The values of a field.
fn of<'h>(headers: &'h [Header], name: &str) -> Vec<&'h str> {
    let lines = headers.iter().filter(|field| field.name == name);
    lines.map(|field| field.value_str().unwrap()).collect()
}

#[test]
fn method_and_path_can_be_those_of_the_request() {
    let (host, _) = service(Ok(response(200, &[], "")));
    let extra = json!({"url": "https://auth.test/check/", "method": "original", "append-path": true, "request-headers": ["X-Private"]});
    ask(extra, &testing::exchange());
    let question = host.http_requests().remove(0);
    assert_eq!(
        (question.method.as_str(), question.url.as_str()),
        ("POST", "https://auth.test/check/pets/7?tag=a%20b")
    );
    assert_eq!(question.headers.last(), Some(&header("x-private", b"p")));
    let (mut plugin, _) = init(json!({"method": "original"}));
    plugin.authorize(
        &testing::request("CONNECT", "https://api.test/"),
        &testing::exchange(),
    );
    assert_eq!(host.http_requests().remove(1).method, "GET");
}

#[test]
fn every_2xx_allows() {
    let (_host, answer) = service(Ok(response(200, &[], "")));
    for status in [200, 202, 204, 299] {
        *answer.borrow_mut() = Ok(response(status, &[("x-user", "ada")], "ignored"));
        let wanted: Decision = Allowed::new("forward-auth").ttl_seconds(0).into();
        assert_eq!(ask(json!({}), &testing::exchange()), wanted);
    }
    let before = testing::exchange().with_principal("ip:192.0.2.1");
    assert!(
        matches!(ask(json!({}), &before), Decision::Allow(allowed) if allowed.principal == "ip:192.0.2.1")
    );
}

#[test]
fn principal_facts_and_time_come_from_the_answer() {
    let fields = [
        ("X-User", "ada"),
        ("x-group", "dev"),
        ("x-group", "ops"),
        ("cache-control", "max-age=90"),
        ("age", "30"),
    ];
    let (_host, _) = service(Ok(response(200, &fields, "")));
    let mut extra = json!({"principal-header": "X-User", "response-headers": ["X-Group", "x-none"], "decision-ttl-seconds": 300});
    let wanted = |ttl| -> Decision {
        Allowed::new("ada")
            .fact("x-group", "dev, ops")
            .ttl_seconds(ttl)
            .into()
    };
    assert_eq!(ask(extra.clone(), &testing::exchange()), wanted(300));
    extra["cache-control"] = json!(true);
    assert_eq!(ask(extra.clone(), &testing::exchange()), wanted(60));
    extra["decision-ttl-seconds"] = json!(10);
    assert_eq!(ask(extra, &testing::exchange()), wanted(10));
}

#[test]
fn a_refusal_is_passed_on_with_chosen_fields_and_body() {
    let fields = [
        ("www-authenticate", "Bearer realm=\"pets\""),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-type", "text/plain"),
        ("server", "auth"),
        ("x-internal", "1"),
    ];
    let (host, answer) = service(Ok(response(401, &fields, "log in")));
    let wanted = Answer::new(401)
        .body("log in")
        .header("www-authenticate", "Bearer realm=\"pets\"")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("content-type", "text/plain");
    assert_eq!(ask(json!({}), &testing::exchange()), wanted.into());
    *answer.borrow_mut() = Ok(response(403, &fields, "no"));
    let wanted = Answer::new(403).header("x-internal", "1");
    let extra = json!({"refusal-headers": ["x-internal"], "max-body-bytes": 1});
    assert_eq!(ask(extra, &testing::exchange()), wanted.into());
    assert!(
        host.log_lines()
            .iter()
            .any(|(_, line)| line.contains("max-body-bytes: 1"))
    );
}

#[test]
fn a_redirect_is_passed_on_where_it_is_configured() {
    let login = [("location", "https://login.test/?back=x")];
    let (_host, answer) = service(Ok(response(302, &login, "")));
    for status in [302, 303, 307] {
        *answer.borrow_mut() = Ok(response(status, &login, ""));
        let wanted = Answer::new(status).header("location", "https://login.test/?back=x");
        assert_eq!(ask(json!({}), &testing::exchange()), wanted.into());
        assert_eq!(ask(json!({"redirects": []}), &testing::exchange()), unavailable());
    }
    *answer.borrow_mut() = Ok(response(302, &[], ""));
    assert_eq!(ask(json!({}), &testing::exchange()), unavailable());
}

#[test]
fn everything_else_fails_closed() {
    let (host, answer) = service(Ok(response(200, &[], "")));
    for status in [
        100, 199, 300, 301, 304, 400, 404, 407, 418, 429, 500, 502, 503, 599, 0, 999,
    ] {
        *answer.borrow_mut() = Ok(response(status, &[("location", "/")], ""));
        assert_eq!(ask(json!({}), &testing::exchange()), unavailable(), "{status}");
    }
    for error in [
        Error::Timeout("no answer within 2000 ms".into()),
        Error::Connect("connection refused".into()),
        Error::Denied("host is not granted".into()),
        Error::TooLarge("response is larger than 1 MiB".into()),
        Error::Failed("reset".into()),
    ] {
        *answer.borrow_mut() = Err(error);
        assert_eq!(ask(json!({}), &testing::exchange()), unavailable());
    }
    let lines = host.log_lines();
    assert!(
        lines
            .iter()
            .any(|(_, line)| line == "refused: https://auth.test/verify: status 404")
    );
    assert!(
        lines
            .iter()
            .any(|(_, line)| line.ends_with("no answer within 2000 ms"))
    );
    assert!(lines.iter().all(|(_, line)| !line.contains("t0ken")));
}

#[test]
fn answers_that_cannot_be_used_fail_closed() {
    let (_host, answer) = service(Ok(response(200, &[], "")));
    let extra = || json!({"principal-header": "x-user", "response-headers": ["x-group"]});
    let long = "x".repeat(40_000);
    for fields in [
        vec![],
        vec![header("x-user", b"")],
        vec![header("x-user", b"\xff")],
        vec![header("x-user", b"a\tb")],
        vec![header("x-user", long.as_bytes())],
        vec![header("x-user", b"ada"), header("x-group", b"\xff")],
        vec![header("x-user", b"ada"), header("x-group", long.as_bytes())],
    ] {
        *answer.borrow_mut() = Ok(Response {
            status: 200,
            headers: fields.clone(),
            body: Vec::new(),
        });
        assert_eq!(ask(extra(), &testing::exchange()), unavailable(), "{fields:?}");
    }
    *answer.borrow_mut() = Ok(response(401, &[("www-authenticate", &long)], ""));
    assert_eq!(ask(extra(), &testing::exchange()), unavailable());
}

#[test]
fn fields_that_are_too_large_are_not_asked_about() {
    let (host, _) = service(Ok(response(200, &[], "")));
    let (mut plugin, _) = init(json!({}));
    let request = request().with_header("authorization", "x".repeat(40_000));
    let decision = plugin.authorize(&request, &testing::exchange());
    assert_eq!(
        decision,
        Decision::deny(431, "the header fields are too large to be authorized")
    );
    assert!(host.http_requests().is_empty());
}

#[test]
fn what_the_client_sent_under_trusted_names_never_reaches_the_upstream() {
    let _host = Host::new().install();
    let (mut plugin, interest) = init(json!({"response-headers": ["x-private", "x-group"]}));
    assert_eq!(
        interest,
        Interest::none().authorize().needs("http").request_head()
    );
    // the decision is a kept one: `authorize` was not called, its facts are in the context
    let exchange = testing::exchange()
        .with_namespace("auth")
        .with_entry("auth", "x-group", "dev")
        .with_entry("other", "x-private", "root")
        .with_entry("other", ":mark", 0_i64);
    let request = request()
        .with_header("X_Private", "root")
        .with_header("x-group", "admin")
        .with_header("x_group", "admin");
    assert_eq!(plugin.on_request_head(&request, &exchange), HeadAction::Proceed);
    assert_eq!(request.header_values("x-group"), [b"dev".to_vec()]);
    assert!(request.header("x-private").is_none());
    let names: Vec<String> = request.headers().into_iter().map(|field| field.name).collect();
    assert!(names.iter().all(|name| !name.contains('_')), "{names:?}");
    assert!(request.header("authorization").is_some());
    // a second request finds its own namespace, too
    assert_eq!(plugin.on_request_head(&request, &exchange), HeadAction::Proceed);
    assert_eq!(request.header_values("x-group"), [b"dev".to_vec()]);
}

#[test]
fn a_request_that_cannot_be_changed_is_refused() {
    let _host = Host::new().install();
    let (mut plugin, interest) = init(json!({"response-headers": ["x-private"]}));
    assert!(interest.phases.contains(Interest::none().request_head().phases));
    let action = plugin.on_request_head(&request().read_only(), &testing::exchange());
    assert_eq!(action, Answer::new(503).into());
    assert_eq!(init(json!({})).1, Interest::none().authorize().needs("http"));
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = ForwardAuth::init(r#"{"url": "auth.test"}"#).err().unwrap();
    assert!(
        error.starts_with("config.url: \"auth.test\" is no https:// URL"),
        "{error}"
    );
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<ForwardAuth>(include_str!("../README.md"), parse);
    assert_eq!(configs, 3);
}

proptest! {
    #[test]
    fn only_2xx_allows_and_only_known_refusals_are_passed_on(
        status: u16,
        names in proptest::collection::vec("location|x-user|set-cookie|cache-control", 0..4),
        value: Vec<u8>,
    ) {
        let extra = json!({"principal-header": "x-user", "decision-ttl-seconds": 5, "cache-control": true});
        let settings = Settings::new(serde_json::from_value(config(extra)).unwrap()).unwrap();
        let headers = names.into_iter().map(|name| (name, value.clone())).collect();
        match ask::verdict(&settings, Reply { status, headers, body: Vec::new() }) {
            Ok(Verdict::Allow { principal, ttl_seconds, .. }) => {
                prop_assert!((200..300).contains(&status) && ttl_seconds <= 5);
                prop_assert!(principal.is_some_and(|principal| !principal.is_empty()));
            }
            Ok(Verdict::Refuse { status: passed, .. }) => {
                prop_assert!(passed == status && [401, 403, 302, 303, 307].contains(&status));
            }
            Err(error) => prop_assert!(!error.is_empty()),
        }
    }
}
