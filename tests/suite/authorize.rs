//! Who may pass: the jwt-authorizer with real tokens, and every verdict an authorizer can give.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use edgeward_tests::{Gateway, Origin, Raw, eventually, json_upstream};
use parking_lot::Mutex;
use serde_json::{Value, json};

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

pub(crate) fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": "https://id.example", "aud": "pets", "sub": "alice", "exp": now() + 600});
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    claims
}

pub(crate) struct Keys {
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        Self {
            ed: Ed25519KeyPair::generate().unwrap(),
            rsa,
        }
    }

    pub(crate) fn jwks(&self) -> Value {
        // RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits: heads of 9 bytes before the modulus, 2 before the exponent
        let der = self.rsa.public_key().as_ref();
        let (modulus, exponent) = (&der[9..9 + 256], &der[9 + 256 + 2..]);
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key().as_ref())},
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": encode(modulus), "e": encode(exponent)},
        ]})
    }

    fn ed(&self, claims: &Value) -> String {
        token(&json!({"alg": "EdDSA", "kid": "ed"}), claims, |input| {
            self.ed.sign(input).as_ref().to_vec()
        })
    }

    pub(crate) fn rsa(&self, claims: &Value) -> String {
        token(&json!({"alg": "RS256", "kid": "rsa"}), claims, |input| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)
                .unwrap();
            signature
        })
    }
}

async fn gateway(origin: &Origin, jwt: Value) -> Gateway {
    Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {
            "login": jwt,
            "identity": {"module": "headers", "config": {"claims-from": "login", "request": [
                {"set": "x-user", "value": "${principal}"},
                {"set": "x-team", "value": "${claims.team}"},
            ]}},
        },
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["login", "identity"]}],
    }))
    .await
}

async fn bearer(gateway: &Gateway, token: &str) -> edgeward_tests::Reply {
    gateway
        .call("GET", "/echo", &[("authorization", &format!("Bearer {token}"))])
        .await
}

#[tokio::test]
async fn valid_tokens_pass_and_their_claims_reach_the_origin() {
    let (origin, keys) = (Origin::start(), Keys::new());
    let config = json!({"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"inline": keys.jwks()}}]});
    let gateway = gateway(&origin, json!({"module": "jwt-authorizer", "config": config})).await;
    for token in [
        keys.ed(&claims(json!({"team": "red"}))),
        keys.rsa(&claims(json!({"team": "red"}))),
    ] {
        let reply = bearer(&gateway, &token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            (reply.echoed("x-user").as_str(), reply.echoed("x-team").as_str()),
            ("alice", "red")
        );
    }
}

#[tokio::test]
async fn everything_else_is_refused_with_its_reason() {
    let (origin, keys, others) = (Origin::start(), Keys::new(), Keys::new());
    let config = json!({"issuer": "https://id.example", "audience": "pets", "scopes": ["read"],
        "keys": [{"jwks": {"inline": keys.jwks()}}]});
    let gateway = gateway(&origin, json!({"module": "jwt-authorizer", "config": config})).await;
    let good = json!({"scope": "read write"});
    let mut tampered = keys.ed(&claims(good.clone()));
    let at = tampered.find('.').unwrap() + 5;
    tampered.replace_range(at..=at, if &tampered[at..=at] == "A" { "B" } else { "A" });
    // a public key as the secret of an HMAC: the classic confusion
    let confused = token(
        &json!({"alg": "HS256", "kid": "ed"}),
        &claims(good.clone()),
        |input| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, keys.ed.public_key().as_ref());
            hmac::sign(&key, input).as_ref().to_vec()
        },
    );
    let unsigned = token(&json!({"alg": "none"}), &claims(good.clone()), |_| Vec::new());
    for (name, token, status) in [
        (
            "expired",
            keys.ed(&claims(json!({"scope": "read", "exp": now() - 600}))),
            401,
        ),
        (
            "issuer",
            keys.ed(&claims(json!({"scope": "read", "iss": "https://evil.example"}))),
            401,
        ),
        (
            "audience",
            keys.ed(&claims(json!({"scope": "read", "aud": "toys"}))),
            401,
        ),
        ("scope", keys.ed(&claims(json!({"scope": "write"}))), 403),
        ("foreign key", others.ed(&claims(good.clone())), 401),
        ("tampered", tampered, 401),
        ("confused", confused, 401),
        ("none", unsigned, 401),
        ("no token", "not.a.token".to_owned(), 401),
    ] {
        let reply = bearer(&gateway, &token).await;
        let expected = if status == 401 {
            "UNAUTHORIZED"
        } else {
            "ACCESS_DENIED"
        };
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (status, expected),
            "{name}"
        );
        assert!(
            reply.header("www-authenticate").starts_with("Bearer "),
            "{name}: {reply:?}"
        );
    }
    let reply = gateway.get("/echo").await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, "Bearer realm=\"edgeward\"")
    );
    assert_eq!(bearer(&gateway, &keys.ed(&claims(good))).await.status, 200);
    assert_eq!(origin.seen().len(), 1, "refused requests never reach the origin");
}

#[tokio::test]
async fn keys_come_from_a_url_and_secrets_from_a_file() {
    let (origin, keys) = (Origin::start(), Keys::new());
    let issuer = json_upstream(&keys.jwks()).await;
    let jwt = json!({
        "module": "jwt-authorizer",
        "grants": {"kv": {"jwks": {}}, "http": {"hosts": [issuer.to_string()], "private-addresses": true}},
        "limits": {"cpu-time": "100ms"},
        "config": {"issuer": "https://id.example", "audience": "pets",
            "keys": [{"jwks": {"url": format!("http://{issuer}/jwks.json"), "allow-plain-http": true}}]},
    });
    let by_url = gateway(&origin, jwt).await;
    assert_eq!(bearer(&by_url, &keys.rsa(&claims(json!({})))).await.status, 200);
    let folder = tempfile::tempdir().unwrap();
    let secret = "a secret of thirty-two bytes and more";
    std::fs::write(folder.path().join("secret"), secret).unwrap();
    let jwt = json!({
        "module": "jwt-authorizer",
        "grants": {"secrets": {"shared": {"file": folder.path().join("secret")}}},
        "config": {"issuer": "https://id.example", "audience": "pets", "algorithms": ["HS256"],
            "keys": [{"hmac": {"secret": "shared"}}]},
    });
    let by_secret = gateway(&origin, jwt).await;
    let sign = |secret: &str| {
        token(&json!({"alg": "HS256"}), &claims(json!({})), |input| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input)
                .as_ref()
                .to_vec()
        })
    };
    assert_eq!(bearer(&by_secret, &sign(secret)).await.status, 200);
    assert_eq!(
        bearer(&by_secret, &sign("another secret of thirty-two bytes"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_key_set_can_come_from_a_file() {
    let (origin, keys, others) = (Origin::start(), Keys::new(), Keys::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, keys.jwks().to_string()).unwrap();
    let jwt = json!({
        "module": "jwt-authorizer",
        "grants": {"secrets": {"issuer-keys": {"file": file}}},
        "config": {"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"secret": "issuer-keys"}}]},
    });
    let gateway = gateway(&origin, jwt).await;
    for token in [keys.ed(&claims(json!({}))), keys.rsa(&claims(json!({})))] {
        let reply = bearer(&gateway, &token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.echoed("x-user"), "alice");
    }
    assert_eq!(bearer(&gateway, &others.ed(&claims(json!({})))).await.status, 401);
}

/// An issuer whose key set can be changed, and which counts how often it was asked.
struct Issuer {
    address: SocketAddr,
    jwks: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(jwks: Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            jwks: Arc::new(Mutex::new(jwks)),
            asked: Arc::default(),
        };
        let (jwks, asked) = (Arc::clone(&issuer.jwks), Arc::clone(&issuer.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut connection = Raw::from(stream);
                connection.until("\r\n\r\n").await;
                asked.fetch_add(1, SeqCst);
                let body = jwks.lock().to_string();
                connection.answer_json("200 OK", &body).await;
            }
        });
        issuer
    }
}

#[tokio::test]
async fn a_key_that_is_not_known_is_asked_for_and_a_flood_of_them_is_not() {
    let (origin, keys) = (Origin::start(), Keys::new());
    let whole = keys.jwks();
    let only = |kid: &str| {
        let keys = whole["keys"].as_array().unwrap();
        json!({"keys": keys.iter().filter(|key| key["kid"] == kid).collect::<Vec<_>>()})
    };
    let issuer = Issuer::start(only("ed")).await;
    let jwt = json!({
        "module": "jwt-authorizer",
        "grants": {"kv": {"jwks": {}}, "http": {"hosts": [issuer.address.to_string()], "private-addresses": true}},
        "limits": {"cpu-time": "500ms"},
        "config": {"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {
            "url": format!("http://{}/jwks.json", issuer.address), "allow-plain-http": true, "cooldown-seconds": 1}}]},
    });
    let gateway = gateway(&origin, jwt).await;
    // each request has an instance of its own: the keys are in the store
    for _ in 0..3 {
        assert_eq!(bearer(&gateway, &keys.ed(&claims(json!({})))).await.status, 200);
    }
    assert_eq!(issuer.asked.load(SeqCst), 1);
    // the issuer changes its keys: found as soon as a token names the new one and the cooldown is over
    *issuer.jwks.lock() = only("rsa");
    let rsa = keys.rsa(&claims(json!({})));
    eventually("the new key to be found", async || {
        (bearer(&gateway, &rsa).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(issuer.asked.load(SeqCst), 2, "once per cooldown");
    assert_eq!(
        bearer(&gateway, &keys.ed(&claims(json!({})))).await.status,
        401,
        "the old key is no key any more"
    );
    let began = Instant::now();
    let before = issuer.asked.load(SeqCst);
    for _ in 0..20 {
        let unknown = token(
            &json!({"alg": "EdDSA", "kid": "none"}),
            &claims(json!({})),
            |input| keys.ed.sign(input).as_ref().to_vec(),
        );
        assert_eq!(bearer(&gateway, &unknown).await.status, 401);
    }
    let asked = issuer.asked.load(SeqCst) - before;
    let cooldowns = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(asked <= cooldowns, "{asked} times in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_when_it_is_deployed() {
    let problem = Gateway::try_start(
        tempfile::tempdir().unwrap(),
        json!({
            "plugins": {"login": {"module": "jwt-authorizer", "config": {"issuer": "x", "audiense": "y"}}},
            "routes": [{"path": "/", "respond": {"status": 200}, "pipeline": ["login"]}],
        }),
    )
    .await
    .err()
    .unwrap();
    assert!(
        problem.contains("login") && problem.contains("audiense"),
        "{problem}"
    );
}

#[tokio::test]
async fn an_authorizer_can_allow_deny_and_answer() {
    let origin = Origin::start();
    let gateway = Gateway::with_plugin(&origin.endpoint(), json!({"module": "kitchen-sink"})).await;
    let ask = async |operation: &str| {
        gateway
            .call(
                "GET",
                "/echo",
                &[("x-sink-phase", "authorize"), ("x-sink", operation)],
            )
            .await
    };
    assert_eq!(ask("allow bob 60").await.status, 200);
    let reply = ask("deny 403 not you").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (403, "ACCESS_DENIED")
    );
    assert_eq!(reply.json()["detail"], "not you");
    assert_eq!(reply.header("www-authenticate"), "Sink realm=\"test\"");
    assert_eq!(ask("deny 401 who").await.response_type(), "UNAUTHORIZED");
    let reply = ask("deny 503 keys are away").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (503, "AUTHORIZER_FAILURE")
    );
    let reply = ask("answer 302 go and log in").await;
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.header("x-sink-answer")),
        (302, "go and log in", "yes")
    );
    let reply = ask("deny 200 is no refusal").await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (500, "AUTHORIZER_CONFIGURATION")
    );
    assert_eq!(gateway.failures("invalid-answer"), 1);
}

#[tokio::test]
async fn a_decision_is_used_again_for_the_same_token() {
    let (origin, keys) = (Origin::start(), Keys::new());
    let gateway = gateway(
        &origin,
        json!({
            "module": "jwt-authorizer",
            "decision-cache": {"headers": ["Authorization"]},
            "config": {"issuer": "https://id.example", "audience": "pets", "forward": "strip", "decision-ttl-seconds": 60,
                "keys": [{"jwks": {"inline": keys.jwks()}}]},
        }),
    )
    .await;
    let calls = || {
        let stats = gateway.plugin("login").stats();
        (
            stats.calls.get("authorize").copied().unwrap_or(0),
            stats.decisions_reused,
        )
    };
    let alice = keys.ed(&claims(json!({"team": "red"})));
    for _ in 0..3 {
        let reply = bearer(&gateway, &alice).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // what the plugin said and did is said and done again
        assert_eq!(
            (reply.echoed("x-user").as_str(), reply.echoed("x-team").as_str()),
            ("alice", "red")
        );
        assert_eq!(reply.echoed("authorization"), "");
    }
    assert_eq!(calls(), (1, 2));
    let bob = keys.ed(&claims(json!({"sub": "bob", "team": "blue"})));
    let reply = bearer(&gateway, &bob).await;
    assert_eq!(
        (reply.echoed("x-user").as_str(), reply.echoed("x-team").as_str()),
        ("bob", "blue")
    );
    assert_eq!(calls(), (2, 2));
    // a second value of the field, another method, no credentials: nothing that was decided before
    let authorization = format!("Bearer {alice}");
    let twice = [
        ("authorization", authorization.as_str()),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(gateway.call("GET", "/echo", &twice).await.status, 400);
    assert_eq!(gateway.call("PUT", "/echo", &twice[..1]).await.status, 200);
    for refusals in 1..=2 {
        assert_eq!(gateway.call("GET", "/echo", &[]).await.status, 401);
        assert_eq!(calls(), (4 + refusals, 2));
    }
    assert_eq!(bearer(&gateway, &bob).await.status, 200);
    assert_eq!(calls(), (6, 3));
}

#[tokio::test]
async fn a_decision_is_not_used_for_longer_than_plugin_and_operator_say() {
    let origin = Origin::start();
    let sink = |max_ttl: &str| {
        json!({
            "module": "kitchen-sink",
            "config": {"phases": ["authorize"]},
            "decision-cache": {"headers": ["x-sink"], "max-ttl": max_ttl},
        })
    };
    let ask = async |gateway: &Gateway, operation: &str| {
        let fields = [("x-sink-phase", "authorize"), ("x-sink", operation)];
        let status = gateway.call("GET", "/echo", &fields).await.status;
        (status, gateway.stats().calls["authorize"])
    };
    let gateway = Gateway::with_plugin(&origin.endpoint(), sink("1h")).await;
    assert_eq!(ask(&gateway, "allow bob 60").await, (200, 1));
    assert_eq!(ask(&gateway, "allow bob 60").await, (200, 1));
    // the plugin says: not at all; and refusals are never kept
    for call in [2, 3] {
        assert_eq!(ask(&gateway, "allow bob 0").await, (200, call));
    }
    for call in [4, 5] {
        assert_eq!(ask(&gateway, "deny 403 no").await, (403, call));
    }
    let gateway = Gateway::with_plugin(&origin.endpoint(), sink("1ms")).await;
    assert_eq!(ask(&gateway, "allow bob 60").await, (200, 1));
    eventually("the decision runs out", async || {
        (ask(&gateway, "allow bob 60").await.1 > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_decisions_of_authorizers_can_be_kept() {
    let plugin = json!({"module": "kitchen-sink", "config": {"phases": ["inspect"]}, "decision-cache": {"headers": ["a"]}});
    let config = json!({
        "plugins": {"sink": plugin},
        "routes": [{"path": "/", "respond": {"status": 200}, "pipeline": ["sink"]}],
    });
    let problem = Gateway::try_start(tempfile::tempdir().unwrap(), config)
        .await
        .err()
        .unwrap();
    assert!(
        problem.contains("`decision-cache` is for plugins that ask for the phase `authorize`"),
        "{problem}"
    );
}
