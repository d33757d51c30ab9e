//! The plugin against the fake host: what the gateway gets to see.

use edgeward_sdk::{
    Allowed, Authorize as _, ContextValue, Decision, HeadAction, Header, Interest, Transform as _,
    http_client,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::Introspection;

const NOW: u64 = 1_700_000_000;

fn host(status: u16, body: Value) -> Host {
    Host::new()
        .at_time(NOW * 1000)
        .with_secret("s", "geheim\n")
        .with_http(move |_| {
            Ok(http_client::Response {
                status,
                headers: vec![Header {
                    name: "content-type".into(),
                    value: b"application/json".to_vec(),
                }],
                body: body.to_string().into_bytes(),
            })
        })
        .install()
}

fn init(extra: Value) -> (Introspection, Interest) {
    let mut config = json!({"endpoint": "https://id.test/introspect",
        "authentication": {"basic": {"client-id": "gw", "secret": "s"}}});
    let members = config.as_object_mut().unwrap();
    members.extend(extra.as_object().unwrap().clone());
    testing::init(&config.to_string()).unwrap()
}

fn ask(extra: Value, authorization: Option<&str>) -> Decision {
    let request = testing::request("GET", "https://api.test/pets");
    let request = match authorization {
        Some(value) => request.with_header("authorization", value),
        None => request,
    };
    init(extra).0.authorize(&request, &testing::exchange())
}

#[test]
fn a_caller_with_an_active_token_goes_on_with_principal_and_facts() {
    let body = json!({"active": true, "sub": "ada", "tenant": 7, "exp": NOW + 100});
    let host = host(200, body.clone());
    let wanted = Allowed::new("ada")
        .fact("tenant", ContextValue::Integer(7))
        .fact("claims", ContextValue::Json(body.to_string()))
        .ttl_seconds(100);
    let extra = json!({"facts": ["tenant"], "cache-seconds": 3600});
    assert_eq!(ask(extra, Some("bearer abc")), wanted.into());
    let asked = host.http_requests();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].timeout_ms),
        ("POST", Some(2000))
    );
    assert_eq!(asked[0].body, b"token=abc");
    let header = |name: &str| {
        let field = asked[0].headers.iter().find(|field| field.name == name).unwrap();
        field.value_str().unwrap().to_owned()
    };
    assert_eq!(header("authorization"), "Basic Z3c6Z2VoZWlt");
    assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(header("accept"), "application/json");
}

#[test]
fn refusals_carry_the_challenge_and_the_log_the_reason() {
    let denied = |decision: Decision| {
        let Decision::Deny(denied) = decision else {
            panic!("{decision:?}")
        };
        let field = &denied.headers[0];
        (
            denied.status,
            format!("{}: {}", field.name, field.value),
            denied.ttl_seconds,
        )
    };
    let _host = host(200, json!({"active": true, "sub": "ada", "scope": "read"}));
    assert_eq!(
        denied(ask(json!({"realm": "pets"}), None)),
        (401, "www-authenticate: Bearer realm=\"pets\"".into(), None)
    );
    let (status, field, _) = denied(ask(json!({"scopes": ["write"]}), Some("Bearer abc")));
    assert_eq!(status, 403);
    assert!(field.contains("error=\"insufficient_scope\"") && field.contains("scope=\"write\""));
    let log = host(200, json!({"active": false}));
    let (status, field, ttl) = denied(ask(json!({"inactive-cache-seconds": 5}), Some("Bearer abc")));
    assert_eq!((status, ttl), (401, Some(5)));
    assert!(field.contains("error=\"invalid_token\", error_description=\"the token is not active\""));
    assert_eq!(log.log_lines()[0].1, "refused: the token is not active");
    let log = host(500, json!({}));
    let (status, field, ttl) = denied(ask(json!({}), Some("Bearer abc")));
    assert_eq!((status, field.as_str(), ttl), (503, "retry-after: 1", None));
    assert_eq!(
        log.log_lines()[0].1,
        "refused: https://id.test/introspect: status 500 instead of 200"
    );
}

#[test]
fn a_stripped_token_does_not_reach_the_upstream() {
    let places = json!([{"header": "authorization"}, {"query": "access_token"}]);
    let (mut plugin, interest) = init(json!({"forward": "strip", "token-from": places}));
    let wanted = Interest::none().authorize().request_head();
    assert_eq!(interest, wanted.needs("http").needs("secret"));
    let request = testing::request("GET", "https://api.test/?a=1&access_token=abc")
        .with_header("authorization", "Bearer abc");
    assert_eq!(
        plugin.on_request_head(&request, &testing::exchange()),
        HeadAction::Proceed
    );
    assert_eq!(
        (request.header("authorization"), request.query().as_str()),
        (None, "a=1")
    );
    let stuck = testing::request("GET", "https://api.test/?access_token=abc").read_only();
    assert!(
        matches!(plugin.on_request_head(&stuck, &testing::exchange()), HeadAction::Respond(answer) if answer.status == 400)
    );
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = |config: Value| testing::init::<Introspection>(&config.to_string()).err().unwrap();
    assert!(error(json!({"endpoint": "https://a/"})).contains("authentication"));
    let client = json!({"basic": {"client-id": "a", "secret": "s"}});
    assert!(error(json!({"endpoint": "a", "authentication": client})).starts_with("config.endpoint:"));
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<Introspection>(include_str!("../../README.md"), parse);
    assert_eq!(configs, 1);
}
