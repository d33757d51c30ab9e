//! What plugins may use, and what they may not.

use std::collections::HashSet;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use edgeward_tests::{
    Connection, Gateway, Origin, Raw, Reply, eventually, record_logs, wait_for_log, within,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn gateway(origin: &Origin, more: Value) -> Gateway {
    let mut plugin = json!({"module": "kitchen-sink"});
    plugin
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gateway::start(json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0", "trusted-hops": ["127.0.0.1"]}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": plugin},
        "routes": [{"name": "pets", "path": "/pets/{id}/{rest+}", "upstream": "origin", "pipeline": ["sink"]}],
    }))
    .await
}

async fn ask(gateway: &Gateway, operation: &str) -> Reply {
    gateway
        .call("GET", "/pets/a%20b/c/d?x=1+2&y=%26&x=3", &[("x-sink", operation)])
        .await
}

async fn ok(gateway: &Gateway, operation: &str) -> Value {
    let reply = ask(gateway, operation).await;
    assert_eq!(reply.status, 200, "{operation}: {}", reply.text());
    reply.json()["ok"].clone()
}

async fn error(gateway: &Gateway, operation: &str) -> String {
    let reply = ask(gateway, operation).await;
    reply.json()["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{operation}: {}", reply.text()))
        .to_owned()
}

#[tokio::test]
async fn heads_and_exchange_tell_everything() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let fields = [
        ("x-sink", "head"),
        ("host", "api.example:8080"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let report = gateway
        .call("POST", "/pets/a%20b/c/d?x=1+2&y=%26&x=3", &fields)
        .await
        .json();
    let request = &report["ok"]["request"];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["scheme"], "http");
    assert_eq!(request["authority"], "api.example:8080");
    assert_eq!(request["version"], "HTTP/1.1");
    assert_eq!(request["path"], "/pets/a%20b/c/d");
    assert_eq!(request["query"], "x=1+2&y=%26&x=3");
    assert_eq!(
        request["query-params"],
        json!([["x", "1 2"], ["y", "&"], ["x", "3"]])
    );
    assert_eq!(request["path-params"], json!([["id", "a b"], ["rest", "c/d"]]));
    assert_eq!(
        request["path-params-raw"],
        json!([["id", "a%20b"], ["rest", "c/d"]])
    );
    let headers = request["headers"].as_array().unwrap();
    assert!(
        headers.contains(&json!(["x-many", "1"])) && headers.contains(&json!(["x-many", "2"])),
        "{headers:?}"
    );
    let exchange = &report["ok"]["exchange"];
    assert_eq!(
        (exchange["route"].as_str(), exchange["route-pattern"].as_str()),
        (Some("pets"), Some("/pets/{id}/{rest+}"))
    );
    assert_eq!(exchange["principal"], "sink");
    assert_eq!(exchange["peer"]["address"], "127.0.0.1");
    assert_eq!(exchange["peer"]["client-address"], "203.0.113.9");
    assert_eq!(exchange["peer"]["tls-version"], Value::Null);
    assert!(
        exchange["entries"]
            .as_array()
            .unwrap()
            .contains(&json!(["sink", "phase", ["text", "authorize"]])),
        "{exchange}"
    );
    assert!(exchange["request-id"].as_str().unwrap().len() >= 16);
    assert_eq!(ok(&gateway, "query-param x").await, "1 2");
    assert_eq!(ok(&gateway, "query-param none").await, Value::Null);
    assert_eq!(ok(&gateway, "path-param id").await, "a b");
    let many = gateway
        .call(
            "GET",
            "/pets/1/x",
            &[("x-sink", "headers X-Many"), ("x-many", "1"), ("x-many", "2")],
        )
        .await;
    assert_eq!(many.json()["ok"], json!({"first": "1", "all": ["1", "2"]}));
}

#[tokio::test]
async fn the_context_is_typed_shared_and_namespaced() {
    let origin = Origin::start();
    let sink = |phases: &[&str]| json!({"module": "kitchen-sink", "config": {"phases": phases}});
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"first": sink(&["authorize"]), "second": sink(&["request-head"])},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["first", "second"]}],
    }))
    .await;
    let reply = gateway
        .call("GET", "/echo", &[("x-sink", "context-get first phase")])
        .await;
    assert_eq!(reply.json()["ok"], json!(["text", "authorize"]));
    for (kind, value, expected) in [
        ("text", "a b", json!(["text", "a b"])),
        ("integer", "-7", json!(["integer", -7])),
        ("number", "1.5", json!(["number", 1.5])),
        ("boolean", "true", json!(["boolean", true])),
        ("json", "{\"a\":[1]}", json!(["json", "{\"a\":[1]}"])),
        ("bytes", "AB", json!(["bytes", [65, 66]])),
    ] {
        let reply = gateway
            .call(
                "GET",
                "/echo",
                &[("x-sink", &format!("context-set key {kind} {value}"))],
            )
            .await;
        let entries = reply.json()["ok"].clone();
        assert!(
            entries
                .as_array()
                .unwrap()
                .contains(&json!(["second", "key", expected])),
            "{kind}: {entries}"
        );
    }
    let reply = gateway
        .call("GET", "/echo", &[("x-sink", "context-set key json {broken")])
        .await;
    assert!(reply.json()["error"].is_string(), "{}", reply.text());
}

#[tokio::test]
async fn stores_are_shared_bounded_and_expire() {
    let origin = Origin::start();
    let gateway = gateway(
        &origin,
        json!({"grants": {"metrics": true, "kv": {"shop": {"max-bytes": "64KiB"}}}}),
    )
    .await;
    assert_eq!(ok(&gateway, "kv-get shop a").await, Value::Null);
    let version = ok(&gateway, "kv-set shop a hello").await;
    assert_eq!(
        ok(&gateway, "kv-get shop a").await,
        json!({"value": "hello", "version": version})
    );
    let next = ok(&gateway, &format!("kv-cas shop a {version} world")).await;
    assert_ne!(next, version);
    let failed = ask(&gateway, &format!("kv-cas shop a {version} late")).await;
    assert!(failed.json()["ok"].is_null(), "{}", failed.text());
    assert_eq!(ok(&gateway, "kv-increment shop n 5").await, 5);
    assert_eq!(ok(&gateway, "kv-increment shop n -2").await, 3);
    assert_eq!(ok(&gateway, "kv-delete shop a").await, true);
    assert_eq!(ok(&gateway, "kv-delete shop a").await, false);
    ok(&gateway, "kv-set shop short lived 1").await;
    eventually("the entry to expire", async || {
        ok(&gateway, "kv-get shop short").await.is_null().then_some(())
    })
    .await;
    assert!(
        error(&gateway, "kv-zeros shop big 100000")
            .await
            .contains("65536")
    );
    assert!(error(&gateway, "kv-get other a").await.contains("not granted"));
    assert_eq!(gateway.plugin("sink").stats().denied_calls, 1);
}

#[tokio::test]
async fn outgoing_requests_go_where_the_grant_says() {
    let origin = Origin::start();
    let other = Origin::start();
    let http =
        json!({"grants": {"http": {"hosts": [origin.endpoint(), "localhost"], "private-addresses": true}}});
    let granted = gateway(&origin, http).await;
    let reply = ok(&granted, &format!("http http://{}/echo/out", origin.endpoint())).await;
    assert_eq!(reply["status"], 200);
    let reply = ok(
        &granted,
        &format!("http http://{}/echo/out POST", origin.endpoint()),
    )
    .await;
    let seen: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (seen["method"].as_str(), seen["body"].as_str()),
        (Some("POST"), Some("hello"))
    );
    assert!(
        error(&granted, &format!("http http://{}/", other.endpoint()))
            .await
            .contains("grants.http.hosts")
    );
    assert!(
        error(&granted, "http ftp://a/")
            .await
            .contains("neither http nor https")
    );
    assert!(
        error(&granted, "http http://127.0.0.1:1/")
            .await
            .contains("grants.http.hosts")
    );
    let large = error(
        &granted,
        &format!("http http://{}/bytes/2000000", origin.endpoint()),
    )
    .await;
    assert!(large.contains("exceeds"), "{large}");
    // a name that is allowed, an address that is not: what a rebound DNS name would try
    let public = json!({"grants": {"http": {"hosts": [format!("localhost:{}", origin.address().port())]}}});
    let public = gateway(&origin, public).await;
    let refused = error(
        &public,
        &format!("http http://localhost:{}/", origin.address().port()),
    )
    .await;
    assert!(refused.contains("private-addresses"), "{refused}");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn bytes_sent_by_a_plugin_are_bounded() {
    let origin = Origin::start();
    let settings = json!({
        "grants": {"http": {"hosts": [origin.endpoint()], "private-addresses": true}},
        "limits": {"egress": "200B"},
    });
    let gateway = gateway(&origin, settings).await;
    let reply = ok(&gateway, &format!("http http://{}/echo/small", origin.endpoint())).await;
    assert_eq!(reply["status"], 200);
    let long = "a".repeat(300);
    let refused = error(
        &gateway,
        &format!("http http://{}/echo/{long}", origin.endpoint()),
    )
    .await;
    assert!(
        refused.contains("egress") && refused.contains("200B"),
        "{refused}"
    );
    assert_eq!(origin.hits(&format!("/echo/{long}")), 0);
}

#[tokio::test]
async fn what_was_not_granted_is_refused_and_counted() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    let report = gateway.plugin("sink").report().ungranted.clone();
    for name in ["kv", "http", "secret"] {
        assert!(report.iter().any(|ungranted| ungranted == name), "{report:?}");
    }
    for operation in ["kv-get shop a", "http http://127.0.0.1:1/", "secret password"] {
        assert!(
            error(&gateway, operation).await.contains("not granted"),
            "{operation}"
        );
    }
    assert_eq!(gateway.plugin("sink").stats().denied_calls, 3);
    let needs =
        json!({"module": "kitchen-sink", "config": {"needs": ["kv", "http"]}, "grants": {"http": {}}});
    let problem = Gateway::try_start(
        tempfile::tempdir().unwrap(),
        json!({
            "plugins": {"sink": needs},
            "routes": [{"path": "/", "respond": {"status": 200}, "pipeline": ["sink"]}],
        }),
    )
    .await
    .err()
    .unwrap();
    assert!(
        problem.contains("sink") && problem.contains("kv") && !problem.contains("http"),
        "{problem}"
    );
}

#[tokio::test]
async fn secrets_come_from_files_and_stay_out_of_the_log() {
    record_logs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "  correct horse\n").unwrap();
    let origin = Origin::start();
    let secrets = json!({"grants": {"secrets": {"password": {"file": file}, "gone": {"env": "EDGEWARD_TEST_NOT_SET"}}}});
    let gateway = gateway(&origin, secrets).await;
    assert_eq!(ok(&gateway, "secret password").await, "correct horse");
    assert!(
        error(&gateway, "secret gone")
            .await
            .contains("EDGEWARD_TEST_NOT_SET")
    );
    assert!(error(&gateway, "secret other").await.contains("not granted"));
    assert!(!edgeward_tests::logs().contains("correct horse"));
}

#[tokio::test]
async fn matchers_and_crypto_answer_at_once() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let report = ok(&gateway, "matcher 1 UNION  SELECT passwd").await;
    assert_eq!(report["regex"], json!([0]));
    assert_eq!(report["regex-find"], json!([0, 2, 15]));
    assert_eq!(report["literal"], json!([1]));
    assert_eq!(ok(&gateway, "matcher nothing").await["regex-is-match"], false);
    for (address, hit) in [
        ("10.1.2.3", json!(1)),
        ("10.9.9.9", json!(0)),
        ("2001:db8::1", json!(2)),
        ("11.0.0.1", json!(null)),
        ("no", json!(null)),
    ] {
        assert_eq!(
            ok(&gateway, &format!("matcher-ip {address}")).await,
            hit,
            "{address}"
        );
    }
    assert!(
        ok(&gateway, "matcher-late a+")
            .await
            .as_str()
            .unwrap()
            .contains("init")
    );
    let crypto = ok(&gateway, "crypto").await;
    assert_eq!(
        crypto["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        crypto["hmac"],
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    // FIPS 180-4 (`abc`) and RFC 4231 case 2
    for (name, expected) in [
        (
            "sha384",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            "sha512",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            "hmac384",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            "hmac512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        assert_eq!(crypto[name], expected, "{name}");
    }
    assert_eq!(
        (&crypto["hmac-verify"], &crypto["equal"]),
        (&json!(true), &json!([true, false]))
    );
    assert_eq!(
        (&crypto["ed25519"], &crypto["ed25519-wrong"]),
        (&json!({"Ok": true}), &json!({"Ok": false}))
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A signature of `message` by every algorithm: its JOSE name, the key as the operation `verify` takes it, the signature.
fn signatures(message: &[u8]) -> Vec<(&'static str, String, Vec<u8>)> {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    // RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits: heads of 9 bytes before the modulus, 2 before the exponent
    let der = rsa.public_key().as_ref();
    let key = format!("rsa {} {}", hex(&der[9..9 + 256]), hex(&der[9 + 256 + 2..]));
    let mut signed = Vec::new();
    let encodings: [(_, &'static dyn RsaEncoding); 6] = [
        ("RS256", &signature::RSA_PKCS1_SHA256),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    for (name, encoding) in encodings {
        let mut bytes = vec![0; rsa.public_modulus_len()];
        rsa.sign(encoding, &random, message, &mut bytes).unwrap();
        signed.push((name, key.clone(), bytes));
    }
    for (name, curve) in [
        ("ES256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let bytes = pair.sign(&random, message).unwrap().as_ref().to_vec();
        signed.push((name, format!("ec {}", hex(pair.public_key().as_ref())), bytes));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let bytes = pair.sign(message).as_ref().to_vec();
    signed.push((
        "EdDSA",
        format!("ed25519 {}", hex(pair.public_key().as_ref())),
        bytes,
    ));
    signed
}

#[tokio::test]
async fn every_signature_algorithm_takes_its_own_signatures_and_no_other() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let message = b"what was signed";
    let verify = async |algorithm: &str, key: &str, signature: &[u8]| {
        let operation = format!("verify {algorithm} {key} {} {}", hex(message), hex(signature));
        ask(&gateway, &operation).await.json()
    };
    let signed = signatures(message);
    for (name, key, signature) in &signed {
        for (algorithm, _, _) in &signed {
            let verdict = verify(algorithm, key, signature).await;
            // a key of another type is an error, a signature of another algorithm is wrong
            assert_eq!(
                verdict["ok"] == true,
                algorithm == name,
                "{name} as {algorithm}: {verdict}"
            );
        }
        let mut tampered = signature.clone();
        *tampered.last_mut().unwrap() ^= 1;
        assert_eq!(verify(name, key, &tampered).await["ok"], false, "{name}");
    }
}

#[tokio::test]
async fn signatures_of_the_standards_are_verified() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let file = edgeward_tests::workspace().join("plugins/jwt-authorizer/tests/vectors/rfc.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let decode = |text: &Value| BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let mut verified = Vec::new();
    for vector in vectors.as_array().unwrap() {
        let (jwk, jws) = (&vector["jwk"], vector["jws"].as_str().unwrap());
        let key = match jwk["kty"].as_str().unwrap() {
            "RSA" => format!("rsa {} {}", hex(&decode(&jwk["n"])), hex(&decode(&jwk["e"]))),
            "EC" => format!("ec 04{}{}", hex(&decode(&jwk["x"])), hex(&decode(&jwk["y"]))),
            "OKP" => format!("ed25519 {}", hex(&decode(&jwk["x"]))),
            _ => continue, // no signature but a MAC
        };
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let header = decode(&json!(jws.split('.').next().unwrap()));
        let header: Value = serde_json::from_slice(&header).unwrap();
        let algorithm = header["alg"].as_str().unwrap().to_owned();
        let (input, signature) = (hex(input.as_bytes()), hex(&decode(&json!(signature))));
        let verdict = ok(&gateway, &format!("verify {algorithm} {key} {input} {signature}")).await;
        assert_eq!(verdict, true, "{vector}");
        verified.push(algorithm);
    }
    assert_eq!(
        verified,
        ["RS256", "ES256", "ES512", "EdDSA", "RS256", "PS384", "ES512"]
    );
}

#[tokio::test]
async fn bindings_that_name_a_store_share_it_also_across_a_swap() {
    let origin = Origin::start();
    let config = |stamp: &str| {
        let sink = |stamp: &str| json!({"module": "kitchen-sink", "config": {"literals": [stamp]}, "grants": {"kv": {"shop": {}, "other": {}}}});
        json!({
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {"one": sink(stamp), "two": sink(stamp)},
            "routes": [
                {"path": "/one/{path+}", "upstream": "origin", "pipeline": ["one"]},
                {"path": "/two/{path+}", "upstream": "origin", "pipeline": ["two"]},
            ],
        })
    };
    let gateway = Gateway::start(config("before")).await;
    let run = async |path: &str, operation: &str| {
        let reply = gateway.call("GET", path, &[("x-sink", operation)]).await;
        assert_eq!(reply.status, 200, "{operation}: {}", reply.text());
        reply.json()["ok"].clone()
    };
    run("/one/x", "kv-set shop a hello").await;
    assert_eq!(run("/two/x", "kv-get shop a").await["value"], "hello");
    assert_eq!(run("/two/x", "kv-get other a").await, Value::Null);
    let before = gateway.plugin("one");
    let snapshot = gateway.snapshot(config("after")).await.unwrap();
    gateway.proxy.publish(snapshot).unwrap();
    assert!(
        !std::sync::Arc::ptr_eq(&before, &gateway.plugin("one")),
        "not swapped"
    );
    drop(before);
    for path in ["/one/x", "/two/x"] {
        assert_eq!(run(path, "kv-get shop a").await["value"], "hello", "{path}");
    }
    assert_eq!(run("/two/x", "kv-increment shop n 1").await, 1);
    assert_eq!(run("/one/x", "kv-increment shop n 1").await, 2);
}

#[tokio::test]
async fn who_waits_for_an_answer_is_not_charged_for_what_others_do_meanwhile() {
    let (origin, listener) = (
        Origin::start(),
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let service = listener.local_addr().unwrap();
    let gateway = Gateway::start(json!({
        "workers": 1,
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": {
            "module": "kitchen-sink",
            "grants": {"http": {"hosts": [service.to_string()], "private-addresses": true}},
            "limits": {"cpu-time": "100ms", "wall-time": "30s", "host-calls": 1000000},
        }},
        "routes": [{"path": "/pets/{id}/{rest+}", "upstream": "origin", "pipeline": ["sink"]}],
    }))
    .await;
    // it is in its second tick when it asks
    let operation = format!("spin 10 http http://{service}/");
    let asking = ask(&gateway, &operation);
    let others = async {
        let (stream, _) = within("a question", listener.accept()).await.unwrap();
        let mut asked = Raw::from(stream);
        asked.until("\r\n\r\n").await;
        for _ in 0..20 {
            assert_eq!(ask(&gateway, "spin 20 answer 200").await.status, 200);
        }
        asked.answer_json("200 OK", "{}").await;
    };
    let (reply, ()) = futures_util::future::join(asking, others).await;
    assert_eq!(reply.json()["ok"]["status"], 200, "{}", reply.text());
}

#[tokio::test]
async fn outgoing_requests_share_a_connection() {
    let (origin, other) = (Origin::start(), Origin::start());
    let http = json!({"grants": {"http": {"hosts": [other.endpoint()], "private-addresses": true}}});
    let gateway = gateway(&origin, http).await;
    // one connection stays on one worker, and each worker has connections of its own
    let mut connection = Connection::h1(gateway.address()).await;
    for _ in 0..4 {
        let operation = format!("http http://{}/echo", other.endpoint());
        let request = http::Request::get("/pets/1/x").header("x-sink", operation);
        let reply = connection.send(request, edgeward_tests::empty()).await;
        assert_eq!(reply.json()["ok"]["status"], 200, "{}", reply.text());
    }
    let used: HashSet<_> = other.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!((other.seen().len(), used.len()), (4, 1), "{used:?}");
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_through_a_plugin_unchanged() {
    let seen = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let head = std::sync::Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while !head.lock().ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            head.lock().push(byte);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-answer: \xfe\xe9\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    });
    let gateway = Gateway::with_plugin(&endpoint, json!({"module": "kitchen-sink"})).await;
    let mut client = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    client
        .write_all(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-sink: copy-header x-in x-out\r\nx-in: a\xff\x80 \xe9b\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within("the answer", client.read_to_end(&mut answer))
        .await
        .unwrap();
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for part in [&b"x-in: a\xff\x80 \xe9b\r\n"[..], b"x-out: a\xff\x80 \xe9b\r\n"] {
        assert!(
            has(&seen.lock(), part),
            "{}",
            String::from_utf8_lossy(&seen.lock())
        );
    }
    assert!(
        has(&answer, b"x-answer: \xfe\xe9\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn log_lines_and_metrics_carry_the_plugin() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    ok(&gateway, "log warn something odd happened").await;
    let line = wait_for_log(&["something odd happened"]).await;
    for text in ["\"sink\"", "\"pets\"", "WARN"] {
        assert!(line.contains(text), "{text} in {line}");
    }
    ok(&gateway, "metrics widgets 5").await;
    ok(&gateway, "metrics widgets 2").await;
    let metrics = gateway.metrics();
    let counted = metrics.lines().any(|line| {
        line.contains("name=\"widgets\"") && line.contains("plugin=\"sink\"") && line.ends_with(" 7")
    });
    assert!(counted, "{metrics}");
    // the sum is a count of binary fractions: exact
    ok(&gateway, "record weight 1.5").await;
    ok(&gateway, "record weight 0.25").await;
    let metrics = gateway.metrics();
    for (name, expected) in [("count", " 2"), ("sum", " 1.75")] {
        let found = metrics.lines().any(|line| {
            line.starts_with(&format!("edgeward_plugin_custom_{name}{{"))
                && line.contains("name=\"weight\"")
                && line.contains("plugin=\"sink\"")
                && line.ends_with(expected)
        });
        assert!(found, "{name}: {metrics}");
    }
}

#[tokio::test]
async fn observers_hear_of_every_exchange_and_change_none() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"grants": {"metrics": true}})).await;
    gateway.get("/pets/1/status/503").await;
    let line = wait_for_log(&["observed", "/pets/1/status/503"]).await;
    assert!(line.contains("\\\"upstream\\\":true"), "{line}");
    gateway
        .call(
            "GET",
            "/pets/2/x",
            &[("x-sink-phase", "authorize"), ("x-sink", "deny 403 no")],
        )
        .await;
    wait_for_log(&["observed", "/pets/2/x", "ACCESS_DENIED"]).await;
}

#[tokio::test]
async fn instances_are_fresh_or_reused_as_the_binding_says() {
    let origin = Origin::start();
    let phases = json!({"phases": ["request-head"]});
    let fresh = gateway(&origin, json!({"config": phases})).await;
    for _ in 0..3 {
        assert_eq!(ok(&fresh, "calls").await, 1);
    }
    assert_eq!(
        fresh.plugin("sink").report().instances,
        "rewind",
        "fresh without being made anew"
    );
    assert!(fresh.plugin("sink").stats().instances <= 3);
    let reuse = json!({"config": phases, "isolation": {"reuse": {"requests": 3, "ttl": "1h"}}});
    let reused = gateway(&origin, reuse).await;
    let mut connection = Connection::h1(reused.address()).await;
    let mut calls = Vec::new();
    for _ in 0..7 {
        let request = http::Request::get("/pets/1/x").header("x-sink", "calls");
        calls.push(
            connection.send(request, edgeward_tests::empty()).await.json()["ok"]
                .as_u64()
                .unwrap(),
        );
    }
    assert_eq!(calls, [1, 2, 3, 1, 2, 3, 1]);
    let report = reused.plugin("sink");
    assert!(
        report.report().isolation.starts_with("reuse(3"),
        "{:?}",
        report.report()
    );
}

#[tokio::test]
async fn exchanges_that_wait_share_an_instance_and_keep_their_state() {
    const EXCHANGES: usize = 12;
    let origin = Origin::start();
    let phases = ["request-head", "response-head"];
    let gateway = Gateway::start(json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": {"module": "kitchen-sink", "config": {"phases": phases}}},
        "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["sink"]}],
    }))
    .await;
    let mut waiting = Vec::new();
    for index in 0..EXCHANGES {
        let mut connection = Connection::h1(gateway.address()).await;
        let request = http::Request::get(format!("/hold/{index}"))
            .header("x-sink", "calls")
            .header("x-sink-phase", "response-head");
        waiting.push(tokio::spawn(async move {
            connection.send(request, edgeward_tests::empty()).await
        }));
        // one call at a time
        origin.wait_for("/hold/", index + 1).await;
    }
    for (index, exchange) in waiting.into_iter().enumerate().rev() {
        origin.release(&index.to_string());
        let reply = exchange.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            reply.header("x-sink-result"),
            json!({"ok": 2}).to_string(),
            "the instance was called twice for this exchange"
        );
    }
    let made = gateway.plugin("sink").stats().instances;
    assert!(
        made <= 2,
        "one for each worker, not one for each exchange: {made}"
    );
}

#[tokio::test]
async fn an_instance_is_reused_until_its_time_is_up() {
    let origin = Origin::start();
    let config = json!({"phases": ["request-head"]});
    let isolation = json!({"reuse": {"requests": 1_000_000, "ttl": "1s"}});
    let gateway = gateway(&origin, json!({"config": config, "isolation": isolation})).await;
    let connection = tokio::sync::Mutex::new(Connection::h1(gateway.address()).await);
    let last = std::sync::atomic::AtomicU64::new(0);
    // the instance counts its calls: up, and from 1 again in a new one
    eventually("a new instance after a reused one", async || {
        let request = http::Request::get("/pets/1/x").header("x-sink", "calls");
        let reply = connection
            .lock()
            .await
            .send(request, edgeward_tests::empty())
            .await;
        let calls = reply.json()["ok"].as_u64().unwrap();
        let before = last.swap(calls, std::sync::atomic::Ordering::SeqCst);
        assert!(calls == before + 1 || calls == 1, "{calls} after {before}");
        (calls == 1 && before > 1).then_some(())
    })
    .await;
    assert_eq!(gateway.plugin("sink").stats().instances, 2);
}

#[tokio::test]
async fn the_clock_runs_and_seeds_differ() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let now = u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let told = ok(&gateway, "clock").await.as_u64().unwrap();
    assert!(told.abs_diff(now) < 60_000);
    let mut seeds = HashSet::new();
    let mut orders = HashSet::new();
    for _ in 0..8 {
        let report = ok(&gateway, "hash-seed").await;
        seeds.insert(report["seed"].to_string());
        orders.insert(report["sdk-order"].to_string());
    }
    assert_eq!(seeds.len(), 8);
    assert!(
        orders.len() > 1,
        "hash tables of all instances have the same order"
    );
}
