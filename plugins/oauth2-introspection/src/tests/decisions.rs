//! Whole decisions: what is asked, what may be answered, and what comes of it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeward_bearer::refusal::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    authorizer::{Accepted, Refused, check},
    fake::Fake,
    outside::Reply,
    settings::Settings,
};

const NOW: u64 = 1_700_000_000;
const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

fn settings(extra: Value) -> Settings {
    let mut config = json!({"endpoint": "https://id.test/introspect",
        "authentication": {"basic": {"client-id": "gw", "secret": "s"}}});
    let members = config.as_object_mut().unwrap();
    members.extend(extra.as_object().unwrap().clone());
    Settings::new(serde_json::from_value(config).unwrap()).unwrap()
}

/// The answer of RFC 7662 section 2.2, with other times.
fn answer() -> Value {
    json!({
        "active": true, "client_id": "l238j323ds-23ij4", "username": "jdoe", "scope": "read write dolphin",
        "sub": "Z5O3upPC88QrAjx00dis", "aud": "https://protected.example.net/resource", "iss": "https://server.example.com/",
        "exp": NOW + 100, "iat": NOW - 100, "extension_field": "twenty-seven",
    })
}

/// The answer with other members; null takes one away.
fn with(change: Value) -> Value {
    let mut answer = answer();
    let members = answer.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    answer
}

fn none() -> Option<Vec<u8>> {
    None
}

fn ask(extra: Value, answer: &Value) -> Result<Accepted, Refused> {
    check(&settings(extra), TOKEN, &[], &none, &Fake::answering(NOW, answer))
}

#[test]
fn an_active_token_names_its_caller() {
    let accepted = ask(
        json!({"facts": ["client_id", "extension_field", "none"]}),
        &answer(),
    )
    .unwrap();
    assert_eq!(accepted.principal, "Z5O3upPC88QrAjx00dis");
    assert_eq!(accepted.claims, *answer().as_object().unwrap());
    let facts = [
        ("client_id".to_owned(), json!("l238j323ds-23ij4")),
        ("extension_field".to_owned(), json!("twenty-seven")),
    ];
    assert_eq!(accepted.facts, facts);
    assert_eq!((accepted.usage_key, accepted.ttl_seconds), (None, None));
    for (change, principal) in [
        (json!({"sub": null}), "jdoe"),
        (json!({"sub": null, "username": null}), "l238j323ds-23ij4"),
    ] {
        assert_eq!(ask(json!({}), &with(change)).unwrap().principal, principal);
    }
    let chosen = json!({"principal-claims": ["client_id"], "usage-key-claim": "username"});
    let accepted = ask(chosen, &answer()).unwrap();
    assert_eq!(accepted.principal, "l238j323ds-23ij4");
    assert_eq!(accepted.usage_key.as_deref(), Some("jdoe"));
}

#[test]
fn the_question_says_who_asks() {
    let asked = |authentication: Value, hint: Value| {
        let fake = Fake::answering(NOW, &answer());
        let settings = settings(json!({"authentication": authentication, "token-type-hint": hint}));
        assert!(check(&settings, "a+b/c=", &[], &none, &fake).is_ok());
        let post = fake.posts.borrow()[0].clone();
        (post.authorization, post.form)
    };
    let client = json!({"client-id": "gw:1", "secret": "s"});
    // gw%3A1:p%26ss%20w
    assert_eq!(
        asked(json!({"basic": client}), Value::Null),
        (
            Some("Basic Z3clM0ExOnAlMjZzcyUyMHc=".into()),
            "token=a%2Bb%2Fc%3D".into()
        )
    );
    assert_eq!(
        asked(json!({"post": client}), json!("access_token")),
        (
            None,
            "token=a%2Bb%2Fc%3D&token_type_hint=access_token&client_id=gw%3A1&client_secret=p%26ss%20w"
                .into()
        )
    );
    assert_eq!(
        asked(json!({"bearer": {"secret": "s"}}), Value::Null).0,
        Some("Bearer p&ss w".into())
    );
}

#[test]
fn a_token_that_is_not_active_is_invalid_and_that_may_be_kept() {
    for (extra, ttl) in [
        (json!({}), None),
        (json!({"inactive-cache-seconds": 20}), Some(20)),
    ] {
        // what else an answer says of such a token does not count
        for answer in [json!({"active": false}), with(json!({"active": false}))] {
            let refused = ask(extra.clone(), &answer).unwrap_err();
            assert_eq!(
                (refused.refusal.kind, refused.ttl_seconds),
                (Kind::InvalidToken, ttl)
            );
            assert_eq!(refused.refusal.status(), 401);
        }
    }
}

#[test]
fn members_of_the_answer_are_checked() {
    let strict = json!({
        "issuer": ["https://server.example.com/"], "audience": ["https://protected.example.net/resource"],
        "scopes": ["read", "write"], "claims": [{"claim": "extension_field", "equals": "twenty-seven"}],
        "require-exp": true, "leeway-seconds": 0, "inactive-cache-seconds": 60,
    });
    assert!(ask(strict.clone(), &answer()).is_ok());
    assert!(
        ask(
            strict.clone(),
            &with(json!({"token_type": "bearer", "aud": ["x", "https://protected.example.net/resource"]}))
        )
        .is_ok()
    );
    for (change, kind, wanted) in [
        (json!({"exp": NOW}), Kind::InvalidToken, "expired 0 s ago"),
        (json!({"exp": null}), Kind::InvalidToken, "exp is missing"),
        (json!({"exp": "soon"}), Kind::InvalidToken, "exp is a string"),
        (
            json!({"nbf": NOW + 1}),
            Kind::InvalidToken,
            "not valid for another 1 s",
        ),
        (
            json!({"iat": NOW + 1}),
            Kind::InvalidToken,
            "issued 1 s in the future",
        ),
        (
            json!({"iss": "https://server.example.com"}),
            Kind::InvalidToken,
            "iss",
        ),
        (json!({"iss": null}), Kind::InvalidToken, "iss is missing"),
        (json!({"aud": "https://other.test"}), Kind::InvalidToken, "aud"),
        (json!({"aud": null}), Kind::InvalidToken, "aud is missing"),
        (
            json!({"token_type": "DPoP"}),
            Kind::InvalidToken,
            "token_type \"dpop\"",
        ),
        (json!({"token_type": 7}), Kind::InvalidToken, "token_type \"\""),
        (
            json!({"sub": null, "username": null, "client_id": null}),
            Kind::InvalidToken,
            "none of the members sub, username, client_id",
        ),
        (json!({"sub": "a\nb"}), Kind::InvalidToken, "control characters"),
        (
            json!({"scope": "read"}),
            Kind::InsufficientScope,
            "scope \"write\"",
        ),
        (json!({"scope": null}), Kind::InsufficientScope, "scope \"read\""),
        (
            json!({"extension_field": "x"}),
            Kind::InsufficientScope,
            "claim extension_field is",
        ),
    ] {
        let refused = ask(strict.clone(), &with(change.clone())).unwrap_err();
        assert_eq!(
            (refused.refusal.kind, refused.ttl_seconds),
            (kind, None),
            "{change}"
        );
        let detail = refused.refusal.detail;
        assert!(detail.contains(wanted), "{change}: {detail}");
    }
}

#[test]
fn one_scope_may_do_where_that_is_said() {
    let any = json!({"scopes": ["admin", "write"], "scope-match": "any"});
    assert!(ask(any.clone(), &answer()).is_ok());
    let refused = ask(any, &with(json!({"scope": "read"}))).unwrap_err();
    assert_eq!(refused.refusal.kind, Kind::InsufficientScope);
    assert_eq!(refused.refusal.status(), 403);
}

#[test]
fn a_bound_token_needs_its_key() {
    let certificate = b"certificate".to_vec();
    let hash = URL_SAFE_NO_PAD.encode(b"etacifitrec");
    let there = || Some(certificate.clone());
    let ask = |extra: Value, bound: Value, certificate: &dyn Fn() -> Option<Vec<u8>>| {
        let fake = Fake::answering(NOW, &with(json!({"cnf": bound})));
        let outcome = check(&settings(extra), TOKEN, &[], certificate, &fake);
        outcome.map_err(|refused| refused.refusal.detail)
    };
    let cached = json!({"cache-seconds": 60});
    let accepted = ask(cached, json!({"x5t#S256": hash}), &there).unwrap();
    assert_eq!(
        accepted.ttl_seconds, None,
        "the next one may have another certificate"
    );
    for (bound, wanted) in [
        (json!({"x5t#S256": "x"}), "another client certificate"),
        (json!({"x5t#S256": 7}), "another client certificate"),
        (json!({"jkt": "x"}), "is not checked here"),
        (json!({"x5t#S256": hash, "jkt": "x"}), "is not checked here"),
        (json!({}), "is not checked here"),
        (json!("x"), "cnf is no object"),
    ] {
        let error = ask(json!({}), bound.clone(), &there).unwrap_err();
        assert!(error.contains(wanted), "{bound}: {error}");
    }
    let ignored = json!({"ignore-confirmation": true});
    assert!(ask(ignored.clone(), json!({"jkt": "x"}), &none).is_ok());
    assert!(
        ask(ignored, json!({"x5t#S256": hash}), &none)
            .unwrap_err()
            .contains("there is none")
    );
}

#[test]
fn a_decision_is_kept_until_the_expiry_at_most() {
    let ttl = |seconds: u64, change: Value| {
        ask(json!({"cache-seconds": seconds}), &with(change))
            .unwrap()
            .ttl_seconds
    };
    assert_eq!(ttl(0, json!({})), None);
    assert_eq!(ttl(60, json!({})), Some(60));
    assert_eq!(ttl(600, json!({})), Some(100));
    assert_eq!(ttl(600, json!({"exp": null})), Some(600));
    // within the leeway only
    assert_eq!(ttl(600, json!({"exp": NOW - 10})), None);
}

#[test]
fn a_server_that_gives_no_answer_is_no_fault_of_the_caller() {
    let reply = |status: u16, kind: &str, body: &str| {
        Ok(Reply {
            status,
            content_type: kind.into(),
            body: body.as_bytes().to_vec(),
        })
    };
    let large = format!("{{\"active\":true,\"x\":\"{}\"}}", "x".repeat(70_000));
    let json = "application/json";
    for (reply, wanted) in [
        (Err("timed out".to_owned()), "timed out"),
        (reply(401, json, "{}"), "the gateway's own credentials"),
        (reply(403, json, "{}"), "the gateway's own credentials"),
        (reply(404, json, "{}"), "status 404 instead of 200"),
        (
            reply(302, json, r#"{"active":true,"sub":"a"}"#),
            "status 302 instead of 200",
        ),
        (reply(500, json, "{}"), "status 500 instead of 200"),
        (reply(200, json, &large), "the limit is 65536"),
        (
            reply(200, "text/html", "<html>"),
            "no JSON object, its type is \"text/html\"",
        ),
        (reply(200, json, "[]"), "no JSON object"),
        (reply(200, json, "true"), "no JSON object"),
        (
            reply(200, json, r#"{"active":false,"active":true,"sub":"a"}"#),
            "no JSON object",
        ),
        (reply(200, json, "{}"), "active is missing"),
        (
            reply(200, json, r#"{"active":"true","sub":"a"}"#),
            "active is no boolean",
        ),
        (
            reply(200, json, r#"{"active":1,"sub":"a"}"#),
            "active is no boolean",
        ),
        (
            reply(200, "application/token-introspection+jwt; charset=x", "eyJ.eyJ.x"),
            "RFC 9701",
        ),
        (reply(200, "Application/JWT", "{\"active\":true}"), "RFC 9701"),
    ] {
        let fake = Fake::replying(NOW, reply);
        let refused = check(
            &settings(json!({"inactive-cache-seconds": 60})),
            TOKEN,
            &[],
            &none,
            &fake,
        )
        .unwrap_err();
        assert_eq!(
            (refused.refusal.kind, refused.ttl_seconds),
            (Kind::Unavailable, None),
            "{wanted}"
        );
        assert_eq!(refused.refusal.status(), 503);
        let detail = refused.refusal.detail;
        assert!(
            detail.contains(wanted) && detail.contains("https://id.test/introspect"),
            "{detail}"
        );
        assert!(!detail.contains(TOKEN) && !detail.contains("p&ss"), "{detail}");
    }
}

#[test]
fn without_its_secret_the_gateway_does_not_ask() {
    let settings = settings(json!({}));
    for (secret, wanted) in [
        (None, "is not granted"),
        (Some(&b"\n"[..]), "is empty"),
        (Some(b"\xff"), "no text"),
    ] {
        let mut fake = Fake::answering(NOW, &answer());
        fake.secrets.clear();
        if let Some(secret) = secret {
            fake.secrets.insert("s".into(), secret.to_vec());
        }
        let refused = check(&settings, TOKEN, &[], &none, &fake).unwrap_err();
        assert_eq!(refused.refusal.kind, Kind::Unavailable);
        assert!(refused.refusal.detail.contains(wanted));
        assert!(fake.posts.borrow().is_empty());
    }
}

#[test]
fn what_cannot_be_a_token_is_not_asked_about() {
    let long = "x".repeat(8193);
    for token in ["a b", "a\tb", "\u{7f}", "tök", &long] {
        let fake = Fake::answering(NOW, &answer());
        let refused = check(&settings(json!({})), token, &[], &none, &fake).unwrap_err();
        assert_eq!(refused.refusal.kind, Kind::InvalidToken);
        assert!(fake.posts.borrow().is_empty());
    }
}

proptest! {
    #[test]
    fn no_answer_but_true_lets_anybody_pass(body in "\\PC{0,60}", value in "[a-z0-9\"\\[\\]]{0,6}") {
        for body in [body, format!("{{\"active\":{value},\"sub\":\"a\"}}")] {
            let reply = Reply { status: 200, content_type: "application/json".into(), body: body.clone().into_bytes() };
            let outcome = check(&settings(json!({})), TOKEN, &[], &none, &Fake::replying(NOW, Ok(reply)));
            prop_assert!(outcome.is_err() || body.contains("\"active\":true,"), "{}", body);
        }
    }

    #[test]
    fn every_token_arrives_as_it_was_sent(token in "[!-~]{1,40}") {
        let fake = Fake::answering(NOW, &answer());
        let outcome = check(&settings(json!({})), &token, &[], &none, &fake);
        prop_assert!(outcome.is_ok());
        let form = fake.posts.borrow()[0].form.clone();
        let sent = form.strip_prefix("token=").unwrap();
        prop_assert!(!sent.contains(['&', '=', '+', ' ']));
        let decoded = percent_encoding::percent_decode_str(sent).decode_utf8().unwrap();
        prop_assert_eq!(decoded.as_ref(), token.as_str());
    }
}
