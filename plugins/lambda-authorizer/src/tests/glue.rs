//! The plugin against the fake host: what the gateway gets to see.

use edgeward_sdk::{
    Allowed, Authorize as _, ContextValue, Decision, Interest, http_client,
    testing::{self, Host},
};
use serde_json::{Value, json};

use super::events::request;
use crate::LambdaAuthorizer;

fn host(status: u16, headers: &'static [(&'static str, &'static str)], body: Value) -> Host {
    Host::new()
        .with_http(move |_| {
            let headers = headers.iter().map(|(name, value)| edgeward_sdk::Header {
                name: (*name).to_owned(),
                value: value.as_bytes().to_vec(),
            });
            Ok(http_client::Response {
                status,
                headers: headers.collect(),
                body: body.to_string().into_bytes(),
            })
        })
        .install()
}

fn init(extra: Value) -> (LambdaAuthorizer, Interest) {
    let mut config = json!({"function": {"url": {"address": "https://f.test/auth"}}});
    let members = config.as_object_mut().unwrap();
    members.extend(extra.as_object().unwrap().clone());
    testing::init(&config.to_string()).unwrap()
}

fn ask(extra: Value) -> Decision {
    let (request, exchange) = request(&json!({
        "method": "GET", "url": "https://api.test/pets", "context": {"stage": "prod"},
        "headers": [["authorization", "Bearer abc"]],
    }));
    init(extra).0.authorize(&request, &exchange)
}

#[test]
fn a_caller_whom_the_function_allows_goes_on_with_everything_it_said() {
    let policy =
        json!({"Version": "2012-10-17", "Statement": [{"Action": "*", "Effect": "Allow", "Resource": "*"}]});
    let answer = json!({
        "principalId": "ada", "policyDocument": policy, "usageIdentifierKey": "key-1", "context": {"plan": "gold", "seats": 3},
    });
    let host = host(200, &[], answer.clone());
    let allowed = Allowed::new("ada")
        .fact("plan", "gold")
        .usage_key("key-1")
        .policy(policy.to_string())
        .ttl_seconds(3600);
    assert_eq!(ask(json!({})), allowed.clone().fact("seats", "3").into());
    let typed = allowed.fact("seats", ContextValue::Integer(3));
    assert_eq!(ask(json!({"payload-format": "2.0"})), typed.into());
    let calls = host.http_requests();
    assert_eq!(
        (calls[0].method.as_str(), calls[0].timeout_ms),
        ("POST", Some(4000))
    );
}

#[test]
fn refusals_say_nothing_and_the_log_says_why() {
    let denied = |decision: Decision| {
        let Decision::Deny(denied) = decision else {
            panic!("{decision:?}")
        };
        (denied.status, denied.reason, denied.ttl_seconds)
    };
    let unauthorized = json!({"errorMessage": "Unauthorized"});
    let log = host(200, &[("X-Amz-Function-Error", "Handled")], unauthorized);
    assert_eq!(denied(ask(json!({}))), (401, "Unauthorized".into(), None));
    assert!(log.log_lines()[0].1.contains("says Unauthorized"));
    let log = host(
        404,
        &[("X-Amzn-ErrorType", "ResourceNotFoundException")],
        json!({}),
    );
    let (status, reason, ttl) = denied(ask(json!({})));
    assert_eq!((status, ttl), (500, None));
    assert!(!reason.contains("404") && !reason.contains("f.test"));
    assert!(
        log.log_lines()[0]
            .1
            .contains("status 404 \"ResourceNotFoundException\"")
    );
    let _host = host(200, &[], json!({"isAuthorized": false}));
    let simple = json!({"payload-format": "2.0", "simple-responses": true, "ttl-seconds": 60});
    assert_eq!(denied(ask(simple)), (403, "Forbidden".into(), Some(60)));
}

#[test]
fn tokens_are_held_against_the_expression_before_the_function_is_called() {
    let host = host(200, &[], json!({}));
    let token = |validation: &str| json!({"type": "token", "token": {"validation": validation}});
    for other in ["Basic .*", "Bearer ", "[a-z]+"] {
        assert!(
            matches!(ask(token(other)), Decision::Deny(denied) if denied.status == 401),
            "{other}"
        );
    }
    assert_eq!(host.http_requests().len(), 0);
    assert!(matches!(ask(token("^Bearer [a-z]+$")), Decision::Deny(denied) if denied.status == 502));
    assert_eq!(host.http_requests().len(), 1);
}

#[test]
fn the_interest_follows_from_the_configuration() {
    assert_eq!(init(json!({})).1, Interest::none().authorize().needs("http"));
    let function = json!({"url": {"address": "https://f.test/", "bearer-secret": "s"}});
    assert_eq!(
        init(json!({"function": function})).1,
        Interest::none().authorize().needs("http").needs("secret")
    );
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = |config: Value| {
        testing::init::<LambdaAuthorizer>(&config.to_string())
            .err()
            .unwrap()
    };
    assert!(error(json!({"function": {"arn": "x"}})).contains("config.function"));
    assert!(error(json!({"function": {}})).starts_with("config.function: exactly one of"));
    let function = json!({"url": {"address": "https://f.test/"}});
    let token = json!({"function": function, "type": "token", "token": {"validation": "("}});
    assert!(error(token).starts_with("config.token.validation: "));
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<LambdaAuthorizer>(include_str!("../../README.md"), parse);
    assert_eq!(configs, 3);
}
