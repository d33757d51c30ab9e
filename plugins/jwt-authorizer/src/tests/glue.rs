//! The plugin against the fake host: what the gateway gets to see.

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeward_sdk::{
    Authorize as _, ContextValue, Decision, HeadAction, Interest, Transform as _, http_client,
    testing::{self, Host},
};

use serde_json::{Value, json};

use crate::JwtAuthorizer;

const NOW: u64 = 1_700_000_000;
const URL: &str = "https://id.test/jwks";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({"iss": "https://id.test", "aud": "pets", "sub": "ada", "exp": NOW + 60, "scope": "read"})
}

fn token(pair: &Ed25519KeyPair, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"EdDSA","kid":"k"}"#),
        encode(claims.to_string())
    );
    let signature = encode(pair.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn host(pair: &Ed25519KeyPair) -> Host {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encode(pair.public_key())});
    let body = json!({"keys": [jwk]}).to_string().into_bytes();
    Host::new()
        .at_time(NOW * 1000)
        .with_kv("jwks")
        .with_http(move |_| {
            Ok(http_client::Response {
                status: 200,
                headers: Vec::new(),
                body: body.clone(),
            })
        })
        .install()
}

fn init(extra: Value) -> (JwtAuthorizer, Interest) {
    let mut config =
        json!({"issuer": "https://id.test", "audience": "pets", "keys": [{"jwks": {"url": URL}}]});
    config
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    testing::init(&config.to_string()).unwrap()
}

fn denied(decision: Decision) -> (u16, String, String) {
    let Decision::Deny(denied) = decision else {
        panic!("{decision:?}")
    };
    let header = format!("{}: {}", denied.headers[0].name, denied.headers[0].value);
    (denied.status, denied.reason, header)
}

#[test]
fn a_caller_with_a_good_token_goes_on_with_principal_and_claims() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let host = host(&pair);
    let (mut plugin, interest) = init(json!({"decision-ttl-seconds": 600, "usage-key-claim": "aud"}));
    assert_eq!(interest, Interest::none().authorize().needs("http").needs("kv"));
    let request = testing::request("GET", "https://api.test/pets")
        .with_header("authorization", format!("Bearer {}", token(&pair, &claims())));
    for _ in 0..3 {
        let Decision::Allow(allowed) = plugin.authorize(&request, &testing::exchange()) else {
            panic!("refused")
        };
        assert_eq!(
            (
                allowed.principal.as_str(),
                allowed.usage_key.as_deref(),
                allowed.ttl_seconds
            ),
            ("ada", Some("pets"), Some(60))
        );
        let ContextValue::Json(text) = &allowed.context[0].value else {
            panic!("no json")
        };
        assert_eq!(
            (
                allowed.context[0].key.as_str(),
                serde_json::from_str::<Value>(text).unwrap()
            ),
            ("claims", claims())
        );
    }
    assert_eq!(host.http_requests().len(), 1, "the keys are cached");
    assert_eq!(host.http_requests()[0].timeout_ms, Some(2000));
}

#[test]
fn refusals_carry_the_challenge_and_the_log_the_reason() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let host = host(&pair);
    let (mut plugin, _) =
        init(json!({"scopes": ["write"], "realm": "pets", "resource-metadata": "https://api.test/meta"}));
    let mut ask = |authorization: Option<String>| {
        let request = testing::request("GET", "https://api.test/pets");
        let request = match authorization {
            Some(value) => request.with_header("authorization", value),
            None => request,
        };
        denied(plugin.authorize(&request, &testing::exchange()))
    };
    let rest = ", resource_metadata=\"https://api.test/meta\"";
    let (status, reason, header) = ask(None);
    assert_eq!((status, reason.as_str()), (401, "a token is required"));
    assert_eq!(header, format!("www-authenticate: Bearer realm=\"pets\"{rest}"));
    let mut old = claims();
    old["exp"] = json!(NOW - 1000);
    let (status, reason, header) = ask(Some(format!("Bearer {}", token(&pair, &old))));
    assert_eq!((status, reason.as_str()), (401, "the token has expired"));
    assert!(
        header.contains("error=\"invalid_token\", error_description=\"the token has expired\""),
        "{header}"
    );
    let (status, _, header) = ask(Some(format!("Bearer {}", token(&pair, &claims()))));
    assert_eq!(status, 403);
    assert!(
        header.contains("error=\"insufficient_scope\"") && header.contains("scope=\"write\""),
        "{header}"
    );
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    assert!(
        lines
            .iter()
            .any(|line| line == "refused: expired 1000 s ago, leeway 30 s"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line == "refused: scope \"write\" is missing"),
        "{lines:?}"
    );
}

#[test]
fn scopes_of_the_route_are_wanted_besides_those_of_the_configuration() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let _host = host(&pair);
    let (mut plugin, _) = init(json!({"scopes": ["read"]}));
    let mut ask = |route: ContextValue| {
        let exchange = testing::exchange().with_entry("gateway", "authorization-scopes", route);
        let request = testing::request("GET", "https://api.test/pets")
            .with_header("authorization", format!("Bearer {}", token(&pair, &claims())));
        plugin.authorize(&request, &exchange)
    };
    let json = |text: &str| ContextValue::Json(text.to_owned());
    assert!(matches!(ask(json(r#"["x", "read"]"#)), Decision::Allow(_)));
    let (status, _, header) = denied(ask(json(r#"["x", "y"]"#)));
    assert_eq!(status, 403);
    assert!(header.ends_with("scope=\"read x y\""), "{header}");
    // what cannot be read could be any scope
    for strange in [json("[1]"), json("{}"), ContextValue::Text("read".to_owned())] {
        let (status, ..) = denied(ask(strange));
        assert_eq!(status, 403);
    }
}

#[test]
fn a_decision_is_kept_by_the_token_and_not_by_what_else_the_api_names() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let _host = host(&pair);
    let (mut plugin, _) = init(json!({"decision-ttl-seconds": 60}));
    for (sources, ttl) in [
        (json!(["$request.header.Authorization"]), Some(60)),
        (json!(["$request.header.x-tenant"]), None),
    ] {
        let exchange = testing::exchange().with_entry("gateway", "identity-sources", sources.clone());
        let request = testing::request("GET", "https://api.test/pets")
            .with_header("authorization", format!("Bearer {}", token(&pair, &claims())));
        let Decision::Allow(allowed) = plugin.authorize(&request, &exchange) else {
            panic!("not allowed")
        };
        assert_eq!(allowed.ttl_seconds, ttl, "{sources}");
    }
}

#[test]
fn an_unreachable_issuer_is_no_fault_of_the_caller() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let unreachable = Host::new().at_time(NOW * 1000).with_kv("jwks");
    let _host = unreachable
        .with_http(|_| Err(http_client::Error::Connect("refused".into())))
        .install();
    let (mut plugin, _) = init(json!({}));
    let request = testing::request("GET", "https://api.test/")
        .with_header("authorization", format!("Bearer {}", token(&pair, &claims())));
    let (status, reason, header) = denied(plugin.authorize(&request, &testing::exchange()));
    assert_eq!((status, header.as_str()), (503, "retry-after: 1"));
    assert!(!reason.contains("id.test"));
}

#[test]
fn a_stripped_token_does_not_reach_the_upstream() {
    let (mut plugin, interest) =
        init(json!({"forward": "strip", "token-from": [{"header": "authorization"}, {"query": "t"}]}));
    assert_eq!(
        interest,
        Interest::none()
            .authorize()
            .request_head()
            .needs("http")
            .needs("kv")
    );
    let request =
        testing::request("GET", "https://api.test/?a=1&t=abc").with_header("authorization", "Bearer abc");
    assert_eq!(
        plugin.on_request_head(&request, &testing::exchange()),
        HeadAction::Proceed
    );
    assert_eq!(
        (request.header("authorization"), request.query().as_str()),
        (None, "a=1")
    );
    let stuck = testing::request("GET", "https://api.test/?t=abc").read_only();
    assert!(
        matches!(plugin.on_request_head(&stuck, &testing::exchange()), HeadAction::Respond(answer) if answer.status == 400)
    );
}

#[test]
fn a_shared_secret_is_read_when_a_request_comes() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let _host = Host::new()
        .at_time(NOW * 1000)
        .with_secret("hs", secret)
        .install();
    let (mut plugin, interest) = init(json!({"keys": [{"hmac": {"secret": "hs"}}], "algorithms": ["HS256"]}));
    assert_eq!(interest.capabilities, ["secret"]);
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"HS256"}"#),
        encode(claims().to_string())
    );
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    let request = testing::request("GET", "https://api.test/")
        .with_header("authorization", format!("Bearer {signed}.{}", encode(mac)));
    assert!(matches!(
        plugin.authorize(&request, &testing::exchange()),
        Decision::Allow(_)
    ));
}

#[test]
fn a_preset_answers_in_the_words_of_amazon_api_gateway() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let _host = host(&pair);
    let config = json!({"preset": "http-api", "issuer": "https://id.test", "audience": "pets", "refusal-ttl-seconds": 9});
    let (mut plugin, interest) = testing::init::<JwtAuthorizer>(&config.to_string()).unwrap();
    assert_eq!(interest, Interest::none().authorize().needs("http").needs("kv"));
    let mut ask = |authorization: &str| {
        let request =
            testing::request("GET", "https://api.test/pets").with_header("authorization", authorization);
        plugin.authorize(&request, &testing::exchange())
    };
    let Decision::Deny(answer) = ask(&token(&pair, &claims())) else {
        panic!("not denied")
    };
    assert_eq!(
        (answer.status, answer.reason.as_str(), answer.ttl_seconds),
        (401, "Unauthorized", Some(9))
    );
    assert_eq!(
        denied(ask(&token(&pair, &claims()))).2,
        "www-authenticate: Bearer scope=\"\" error=\"invalid_token\" error_description=\"the algorithm is not accepted\""
    );
    assert_eq!(denied(ask("")).2, "www-authenticate: Bearer");
}

#[test]
fn expressions_for_audiences_are_built_in_init() {
    let config = |pattern: &str| {
        json!({"preset": "cognito", "issuer": "https://id.test", "audience-matches": pattern}).to_string()
    };
    assert!(testing::init::<JwtAuthorizer>(&config("^app-[0-9]+$")).is_ok());
    let error = testing::init::<JwtAuthorizer>(&config("(")).err().unwrap();
    assert!(error.starts_with("config.audience-matches: "), "{error}");
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = |config: Value| testing::init::<JwtAuthorizer>(&config.to_string()).err().unwrap();
    assert!(error(json!({"keys": [{"jwks": {"uri": URL}}]})).contains("config.keys[0].jwks"));
    assert!(error(json!({"keys": [{"jwks": {"url": URL}}]})).starts_with("config.issuer: missing"));
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<JwtAuthorizer>(include_str!("../../README.md"), parse);
    assert_eq!(configs, 3);
}
