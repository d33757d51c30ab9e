//! What comes of a request: the table of outcomes of Amazon API Gateway, row by row, and what functions may answer.

use edgeward_sigv4::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    authorizer::{Accepted, check},
    fake::Fake,
    function::call,
    output::{self, CONTEXT_LIMIT, Fact},
    outside::Reply,
    refusal::{Kind, Refusal},
    seen::Seen,
    settings::Settings,
    source::Source,
};

fn settings(extra: Value) -> Settings {
    let mut config = json!({"function": {"url": {"address": "https://f.test/auth"}}});
    let members = config.as_object_mut().unwrap();
    members.extend(extra.as_object().unwrap().clone());
    Settings::new(serde_json::from_value(config).unwrap()).unwrap()
}

fn simple() -> Value {
    json!({"payload-format": "2.0", "simple-responses": true})
}

fn seen() -> Seen {
    Seen {
        method: "GET".into(),
        path: "/pets".into(),
        headers: vec![("authorization".into(), b"token-1".to_vec())],
        is_api: true,
        ..Seen::default()
    }
}

fn policy() -> Value {
    json!({
        "principalId": "ada",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "*"}]
        },
    })
}

/// The policy with another member.
fn with(name: &str, value: Value) -> Value {
    let mut policy = policy();
    policy[name] = value;
    policy
}

/// The policy with another member in its statement.
fn stating(name: &str, value: Value) -> Value {
    let mut policy = policy();
    policy["policyDocument"]["Statement"][0][name] = value;
    policy
}

fn without(pointer: &str, name: &str) -> Value {
    let mut policy = policy();
    let members = policy.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    members.remove(name).unwrap();
    policy
}

fn failed(message: Value) -> Reply {
    Reply {
        status: 200,
        function_error: Some("Unhandled".into()),
        error_type: None,
        body: json!({"errorMessage": message, "errorType": "Error"})
            .to_string()
            .into_bytes(),
    }
}

fn ask(extra: Value, answer: &Value) -> Result<Accepted, Refusal> {
    check(&settings(extra), &seen(), &Fake::answering(answer))
}

#[test]
fn a_function_that_fails_with_exactly_unauthorized_means_401() {
    let outcome = |message: Value| {
        let fake = Fake::replying(Ok(failed(message)));
        check(&settings(json!({})), &seen(), &fake).unwrap_err()
    };
    let refusal = outcome(json!("Unauthorized"));
    assert_eq!((refusal.kind, refusal.kind.status()), (Kind::Unauthorized, 401));
    assert_eq!(refusal.kind.public(), "Unauthorized");
    assert_eq!(refusal.ttl_seconds, None);
    for other in [
        json!("unauthorized"),
        json!("Unauthorized."),
        json!(" Unauthorized"),
        json!("Error: Unauthorized"),
        json!("boom"),
        json!(7),
        json!(null),
    ] {
        let refusal = outcome(other.clone());
        assert_eq!(
            (refusal.kind, refusal.kind.status()),
            (Kind::Failure, 500),
            "{other}"
        );
        assert_eq!(refusal.ttl_seconds, None);
    }
}

#[test]
fn a_failure_that_is_told_in_the_body_alone_counts_too() {
    let refusal = ask(json!({}), &json!({"errorMessage": "Unauthorized"})).unwrap_err();
    assert_eq!(refusal.kind, Kind::Unauthorized);
    let refusal = ask(json!({}), &json!({"errorMessage": "boom", "errorType": "E"})).unwrap_err();
    assert_eq!(refusal.kind, Kind::Failure);
    assert!(refusal.detail.contains("failed: \"boom\""), "{}", refusal.detail);
}

#[test]
fn without_identity_the_function_is_not_called() {
    let token = json!({"type": "token", "token": {"header": "Authorization", "validation": "token-.*"}});
    let missing = Seen {
        headers: Vec::new(),
        ..seen()
    };
    let headers = |values: &[&[u8]]| Seen {
        headers: values
            .iter()
            .map(|value| ("authorization".to_owned(), value.to_vec()))
            .collect(),
        ..seen()
    };
    let sources = json!({"identity-sources": ["$request.header.Authorization"]});
    for (config, seen, valid) in [
        (&token, missing.clone(), true),
        (&token, headers(&[b""]), true),
        (&token, headers(&[b"\xff"]), true),
        (&token, headers(&[b"token-1", b"token-2"]), true),
        (&token, headers(&[b"other"]), false),
        (&sources, missing, true),
        (&sources, headers(&[b""]), true),
    ] {
        let fake = Fake::answering(&policy());
        fake.valid.set(valid);
        let refusal = check(&settings(config.clone()), &seen, &fake).unwrap_err();
        assert_eq!((refusal.kind, refusal.kind.status()), (Kind::NoIdentity, 401));
        assert_eq!(refusal.kind.public(), "Unauthorized");
        assert!(fake.calls.borrow().is_empty(), "{}", refusal.detail);
        assert!(!refusal.detail.contains("other"), "{}", refusal.detail);
    }
    let fake = Fake::answering(&policy());
    assert!(check(&settings(token), &seen(), &fake).is_ok());
    assert_eq!(fake.event()["authorizationToken"], "token-1");
}

#[test]
fn sources_of_the_api_are_those_of_the_function_and_what_it_says_is_kept_by_them_alone() {
    let source = |text: &str| Source::parse(text).unwrap();
    let [own, other] = ["$request.header.Authorization", "$request.header.X-Tenant"].map(source);
    let told = |sources: &[&Source]| {
        let mut seen = seen();
        seen.headers.push(("x-tenant".to_owned(), b"pets".to_vec()));
        seen.sources = sources.iter().map(|source| (*source).clone()).collect();
        seen
    };
    let http = json!({"payload-format": "2.0"});
    let with_own = json!({"payload-format": "2.0", "identity-sources": ["$request.header.Authorization"]});
    let token = json!({"type": "token"});
    let named = json!({"type": "token", "token": {"header": "Authorization"}});
    for (config, sources, identity, is_kept) in [
        (&http, vec![&own, &other], json!(["token-1", "pets"]), true),
        (&http, vec![&other], json!(["pets"]), true),
        (&http, vec![], json!([]), true),
        (&with_own, vec![&own, &other], json!(["token-1"]), true),
        (&with_own, vec![&other], json!(["token-1"]), false),
        (&token, vec![&own], json!("token-1"), true),
        (&token, vec![&other], json!("pets"), true),
        (&named, vec![&other], json!("token-1"), false),
        (&named, vec![], json!("token-1"), true),
    ] {
        let fake = Fake::answering(&policy());
        let accepted = check(&settings(config.clone()), &told(&sources), &fake).unwrap();
        let event = fake.event();
        let found = if event["type"] == "TOKEN" {
            &event["authorizationToken"]
        } else {
            &event["identitySource"]
        };
        assert_eq!(found, &identity, "{config} {sources:?}");
        assert_eq!(accepted.ttl_seconds.is_some(), is_kept, "{config} {sources:?}");
    }
}

#[test]
fn a_function_that_cannot_be_called_means_500() {
    let status = |status: u16| {
        Ok(Reply {
            status,
            error_type: Some("ResourceNotFoundException:".into()),
            body: policy().to_string().into_bytes(),
            ..Reply::default()
        })
    };
    let large = Reply {
        status: 200,
        body: vec![b' '; 256 * 1024 + 1],
        ..Reply::default()
    };
    for (reply, wanted) in [
        (Err("timed out".to_owned()), "cannot be called: timed out"),
        (status(404), "status 404 \"ResourceNotFoundException:\""),
        (status(202), "status 202"),
        (status(301), "status 301"),
        (status(500), "status 500"),
        (Ok(large), "262145 bytes, the limit is 262144"),
        (
            Ok(Reply {
                function_error: Some("Unhandled".into()),
                ..Reply {
                    status: 200,
                    ..Reply::default()
                }
            }),
            "Unhandled error without a message",
        ),
    ] {
        let refusal = check(&settings(json!({})), &seen(), &Fake::replying(reply)).unwrap_err();
        assert_eq!((refusal.kind, refusal.kind.status()), (Kind::Failure, 500));
        assert!(refusal.detail.contains(wanted), "{}", refusal.detail);
        assert_eq!(refusal.ttl_seconds, None);
    }
}

#[test]
fn output_that_is_no_verdict_means_500_and_is_not_kept() {
    let many: Vec<Value> = vec![policy()["policyDocument"]["Statement"][0].clone(); 257];
    let long = "x".repeat(513);
    let members: serde_json::Map<String, Value> = (0..=CONTEXT_LIMIT)
        .map(|number| (number.to_string(), json!(1)))
        .collect();
    for (answer, wanted) in [
        (json!([]), "no JSON object"),
        (json!("Unauthorized"), "no JSON object"),
        (json!(null), "no JSON object"),
        (json!({}), "principalId is missing"),
        (without("", "principalId"), "principalId is missing"),
        (with("principalId", json!(7)), "principalId is no text"),
        (with("principalId", json!("")), "principalId is empty"),
        (with("principalId", json!("a\nb")), "control characters"),
        (without("", "policyDocument"), "policyDocument is missing"),
        (with("policyDocument", json!("{}")), "policyDocument is no object"),
        (with("policyDocument", json!({})), "Statement is missing"),
        (
            with("policyDocument", json!({"Statement": 7})),
            "Statement is no list",
        ),
        (
            with("policyDocument", json!({"Statement": [7]})),
            "Statement[0] is no object",
        ),
        (
            with("policyDocument", json!({"Statement": many})),
            "257 members, the limit is 256",
        ),
        (stating("Effect", json!("allow")), "Effect is neither"),
        (stating("Effect", json!(true)), "Effect is neither"),
        (
            without("/policyDocument/Statement/0", "Action"),
            "needs Action or NotAction",
        ),
        (
            without("/policyDocument/Statement/0", "Resource"),
            "needs Resource or NotResource",
        ),
        (stating("NotAction", json!("x")), "needs Action or NotAction"),
        (stating("Resource", json!([])), "Resource is no text and no list"),
        (
            stating("Resource", json!(["a", 7])),
            "Resource is no text and no list",
        ),
        (stating("Resource", json!(long)), "Resource is longer than 512"),
        (
            stating(
                "Condition",
                json!({"StringEquals": {"aws:UserAgent": "x".repeat(33_000)}}),
            ),
            "the limit is 32768",
        ),
        (with("context", json!([])), "context is no object"),
        (with("context", json!({"a": {"b": 1}})), "an object or an array"),
        (with("context", json!({"a": [1]})), "an object or an array"),
        (with("context", json!(members)), "101 members, the limit is 100"),
        (
            with("context", json!({"a": "x".repeat(32_768)})),
            "more than 32768 bytes",
        ),
        (
            with("usageIdentifierKey", json!(7)),
            "usageIdentifierKey is no text",
        ),
        (
            with("usageIdentifierKey", json!("")),
            "usageIdentifierKey is empty",
        ),
        // a verdict where a policy is wanted
        (json!({"isAuthorized": true}), "principalId is missing"),
    ] {
        let refusal = ask(json!({}), &answer).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.kind.status()),
            (Kind::InvalidOutput, 502),
            "{answer}"
        );
        assert!(refusal.detail.contains(wanted), "{wanted}: {}", refusal.detail);
        assert_eq!(refusal.ttl_seconds, None);
    }
    let fake = Fake::replying(Ok(Reply {
        status: 200,
        body: b"<html>".to_vec(),
        ..Reply::default()
    }));
    let refusal = check(&settings(json!({})), &seen(), &fake).unwrap_err();
    assert_eq!(refusal.kind, Kind::InvalidOutput);
}

#[test]
fn a_policy_is_handed_on_whether_it_allows_or_denies() {
    let accepted = ask(json!({}), &policy()).unwrap();
    assert_eq!(
        (accepted.principal.as_str(), accepted.ttl_seconds),
        ("ada", Some(3600))
    );
    let handed: Value = serde_json::from_str(accepted.policy.as_deref().unwrap()).unwrap();
    assert_eq!(handed, policy()["policyDocument"]);
    // what it says of this request, explicitly or not at all, is for the gateway to judge, each time
    for answer in [
        stating("Effect", json!("Deny")),
        stating("Resource", json!("arn:aws:execute-api:us-east-1:1:other/*")),
        stating("Action", json!(["execute-api:Invoke", "execute-api:*"])),
        with(
            "policyDocument",
            json!({"Statement": policy()["policyDocument"]["Statement"][0]}),
        ),
    ] {
        let accepted = ask(json!({"ttl-seconds": 0}), &answer).unwrap();
        let handed: Value = serde_json::from_str(accepted.policy.as_deref().unwrap()).unwrap();
        assert_eq!(
            (handed, accepted.ttl_seconds),
            (answer["policyDocument"].clone(), None)
        );
    }
}

#[test]
fn a_policy_that_nobody_would_judge_is_refused() {
    let elsewhere = Seen {
        is_api: false,
        ..seen()
    };
    let fake = Fake::answering(&policy());
    let refusal = check(&settings(json!({})), &elsewhere, &fake).unwrap_err();
    assert_eq!(refusal.kind, Kind::InvalidOutput);
    assert!(
        refusal.detail.contains("routes of APIs only"),
        "{}",
        refusal.detail
    );
    let fake = Fake::answering(&json!({"isAuthorized": true}));
    assert!(check(&settings(simple()), &elsewhere, &fake).is_ok());
}

#[test]
fn simple_responses_take_real_booleans_only() {
    let accepted = ask(simple(), &json!({"isAuthorized": true})).unwrap();
    assert_eq!((accepted.policy, accepted.ttl_seconds), (None, Some(3600)));
    assert_eq!(accepted.principal, "authorized");
    let refusal = ask(simple(), &json!({"isAuthorized": false, "context": {"a": 1}})).unwrap_err();
    assert_eq!((refusal.kind, refusal.kind.status()), (Kind::Forbidden, 403));
    assert_eq!(
        (refusal.kind.public(), refusal.ttl_seconds),
        ("Forbidden", Some(3600))
    );
    for answer in [
        json!({"isAuthorized": "true"}),
        json!({"isAuthorized": "false"}),
        json!({"isAuthorized": 1}),
        json!({"isAuthorized": null}),
        json!({"is_authorized": true}),
        json!({}),
        policy(),
    ] {
        let refusal = ask(simple(), &answer).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.ttl_seconds),
            (Kind::InvalidOutput, None),
            "{answer}"
        );
    }
}

#[test]
fn simple_responses_may_name_the_caller_in_their_context() {
    let mut config = simple();
    config["principal-from"] = json!("user");
    let accepted = ask(
        config.clone(),
        &json!({"isAuthorized": true, "context": {"user": 42}}),
    )
    .unwrap();
    assert_eq!(accepted.principal, "42");
    for context in [json!({}), json!({"user": ["x"]}), json!({"user": ""})] {
        let answer = json!({"isAuthorized": true, "context": context});
        let refusal = ask(config.clone(), &answer).unwrap_err();
        assert_eq!(refusal.kind, Kind::InvalidOutput, "{answer}");
    }
    let refused = ask(config, &json!({"isAuthorized": false})).unwrap_err();
    assert_eq!(refused.kind, Kind::Forbidden);
}

#[test]
fn members_of_the_context_become_texts_or_keep_their_types() {
    let context = json!({"text": "t", "number": 1, "real": 1.5, "truth": true, "nothing": null});
    let answer = with("context", context);
    let text = |text: &str| Fact::Text(text.into());
    let named = |list: &[(&str, Fact)]| -> Vec<(String, Fact)> {
        list.iter()
            .map(|(name, fact)| ((*name).to_owned(), fact.clone()))
            .collect()
    };
    let wanted = named(&[
        ("number", text("1")),
        ("real", text("1.5")),
        ("text", text("t")),
        ("truth", text("true")),
    ]);
    let rest = ask(json!({}), &answer).unwrap();
    assert_eq!(rest.context, wanted);
    let http = ask(json!({"api": "http"}), &answer).unwrap();
    assert_eq!(http.context, wanted);
    let context = json!({"list": [1, "a"], "map": {"a": 1}, "number": 1, "truth": true});
    let typed = ask(json!({"payload-format": "2.0"}), &with("context", context)).unwrap();
    let wanted = named(&[
        ("list", Fact::Json("[1,\"a\"]".into())),
        ("map", Fact::Json("{\"a\":1}".into())),
        ("number", Fact::Number(1.into())),
        ("truth", Fact::Boolean(true)),
    ]);
    assert_eq!(typed.context, wanted);
}

#[test]
fn claims_is_a_reserved_name_in_http_apis_with_format_1() {
    let answer = with("context", json!({"claims": "x"}));
    let refusal = ask(json!({"api": "http"}), &answer).unwrap_err();
    assert_eq!(refusal.kind, Kind::InvalidOutput);
    assert!(refusal.detail.contains("claims is a reserved name"));
    assert!(ask(json!({}), &answer).is_ok());
    assert!(ask(json!({"payload-format": "2.0"}), &answer).is_ok());
}

#[test]
fn the_usage_identifier_key_is_what_usage_is_counted_by() {
    let accepted = ask(json!({}), &with("usageIdentifierKey", json!("key-1"))).unwrap();
    assert_eq!(accepted.usage_key.as_deref(), Some("key-1"));
    let accepted = ask(json!({}), &with("usageIdentifierKey", json!(null))).unwrap();
    assert_eq!(accepted.usage_key, None);
}

#[test]
fn calls_of_lambda_are_signed() {
    let invoke = json!({"endpoint": "https://lambda.eu-central-1.amazonaws.com", "name": "auth", "credentials": {
        "region": "eu-central-1", "access-key-id": "AKID", "secret": "key", "session-token": "token"}});
    let settings = settings(json!({"function": {"invoke": invoke}}));
    let fake = Fake::answering(&policy());
    let refusal = check(&settings, &seen(), &fake).unwrap_err();
    assert_eq!(refusal.kind, Kind::Failure);
    assert!(refusal.detail.contains("secret \"key\" is not granted"));
    fake.secrets
        .borrow_mut()
        .insert("key".into(), b"hunter2\n".to_vec());
    fake.secrets.borrow_mut().insert("token".into(), b" \n".to_vec());
    let refusal = check(&settings, &seen(), &fake).unwrap_err();
    assert!(refusal.detail.contains("secret \"token\" is empty"));
    fake.secrets
        .borrow_mut()
        .insert("token".into(), b"session".to_vec());
    assert!(check(&settings, &seen(), &fake).is_ok());
    let calls = fake.calls.borrow();
    assert_eq!(
        calls[0].url,
        "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions/auth/invocations"
    );
    let header = |name: &str| {
        let field = calls[0].headers.iter().find(|(one, _)| one == name).unwrap();
        String::from_utf8(field.1.clone()).unwrap()
    };
    assert_eq!(header("x-amz-invocation-type"), "RequestResponse");
    assert_eq!(header("x-amz-date"), "20231114T221320Z");
    assert_eq!(header("x-amz-security-token"), "session");
    let authorization = header("authorization");
    assert!(
        authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-central-1/lambda/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-invocation-type;x-amz-security-token, Signature="
        ),
        "{authorization}"
    );
}

#[test]
fn calls_of_lambda_are_those_that_botocore_makes() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/vectors/invoke.json")).unwrap();
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let mut credentials = json!({"region": "eu-central-1", "access-key-id": "AKID", "secret": "key"});
        let mut fake = Fake::answering(&json!({}));
        let secret = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        fake.secrets.borrow_mut().insert("key".into(), secret);
        if let Some(token) = vector["token"].as_str() {
            credentials["session-token"] = json!("token");
            let token = token.as_bytes().to_vec();
            fake.secrets.borrow_mut().insert("token".into(), token);
        }
        fake.now_ms = Timestamp::parse_basic(text("date")).unwrap().0 * 1000;
        let invoke = json!({"endpoint": "https://lambda.eu-central-1.amazonaws.com", "name": vector["name"],
            "qualifier": vector["qualifier"], "credentials": credentials});
        let settings = settings(json!({"function": {"invoke": invoke}}));
        let answered = call(&settings, text("body").as_bytes(), &fake);
        assert!(answered.is_ok());
        let calls = fake.calls.borrow();
        let (name, signed) = calls[0].headers.last().unwrap();
        assert_eq!(
            (calls[0].url.as_str(), name.as_str()),
            (text("url"), "authorization")
        );
        assert_eq!(String::from_utf8_lossy(signed), text("authorization"));
    }
}

#[test]
fn functions_elsewhere_may_ask_for_a_secret() {
    let url = json!({"address": "https://f.test/auth?code=hunter2", "bearer-secret": "key"});
    let settings = settings(json!({"function": {"url": url}}));
    let fake = Fake::answering(&json!({}));
    fake.secrets
        .borrow_mut()
        .insert("key".into(), b"geheim\n".to_vec());
    let refusal = check(&settings, &seen(), &fake).unwrap_err();
    assert!(!refusal.detail.contains("hunter2") && !refusal.detail.contains("geheim"));
    let calls = fake.calls.borrow();
    let field = calls[0].headers.iter().find(|(name, _)| name == "authorization");
    assert_eq!(field.unwrap().1, b"Bearer geheim");
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        for config in [json!({}), simple()] {
            let settings = settings(config);
            let _outcome = (output::read(&settings, &bytes).is_ok(), output::read(&settings, text.as_bytes()).is_ok());
        }
    }

    #[test]
    fn only_true_authorizes(value in "\\PC{0,10}") {
        let answer = json!({"isAuthorized": value});
        prop_assert!(ask(simple(), &answer).is_err());
    }
}
