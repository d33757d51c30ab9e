//! What it costs a request to be let in: CPU time of the gateway's worker with an authorizer less that without one, for the same request. *Cold* asks the
//! plugin each time, *kept* has the decision from the worker's memory. What a service or a function answers comes over loopback at once.

use std::{collections::BTreeMap, sync::Arc, time::UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use edgeward_runtime::{Runtime, RuntimeOptions};
use edgeward_sigv4::{HostCrypto, PathStyle, Request, Signer, Timestamp, to_hex};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use crate::{
    end_to_end::{Call, Gateway, load_runtime, server},
    hooks::load,
    measure::{Report, threads_cpu},
};

const CLIENTS: usize = 8;
const ROUNDS: usize = 21;
const ISSUER: &str = "https://id.example.com";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// An authorizer and a request that it lets in.
struct Case {
    name: &'static str,
    guest: &'static str,
    /// Grants, limits and configuration.
    binding: Value,
    /// Its `decision-cache`, if its decisions may be kept.
    kept: Option<Value>,
    /// Field that says who is calling.
    credentials: Option<(&'static str, String)>,
    /// Requests of each client per round.
    requests: usize,
}

fn bearer(token: &str) -> Option<(&'static str, String)> {
    Some(("authorization", format!("Bearer {token}")))
}

fn by_authorization() -> Option<Value> {
    Some(json!({"headers": ["authorization"]}))
}

/// A token for an hour, with the input that is signed and what signs it.
fn token(algorithm: &str, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<String> {
    let now = UNIX_EPOCH.elapsed()?.as_secs();
    let claims = json!({"iss": ISSUER, "aud": "pets", "sub": "ada", "iat": now, "exp": now + 3600, "scope": "pets.read pets.write"});
    let head = json!({"alg": algorithm, "kid": "1", "typ": "JWT"});
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let input = format!(
        "{}.{}",
        encode(head.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let signature = encode(&sign(input.as_bytes())?);
    Ok(format!("{input}.{signature}"))
}

fn jwt(name: &'static str, algorithm: &str, keys: Value, secrets: Value, token: &str) -> Case {
    let config = json!({
        "issuer": ISSUER, "audience": "pets", "algorithms": [algorithm], "keys": [keys], "scopes": ["pets.read"],
        "decision-ttl-seconds": 3600,
    });
    Case {
        name,
        guest: "jwt-authorizer",
        binding: json!({"grants": {"secrets": secrets}, "config": config}),
        kept: by_authorization(),
        credentials: bearer(token),
        requests: 400,
    }
}

/// `secret` is a file with a secret of 32 bytes and more.
async fn cases(secret: &str) -> Result<Vec<Case>> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())?;
    let point = key.public_key().as_ref();
    let coordinate = |from: usize| BASE64_URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
    let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": coordinate(1), "y": coordinate(33)});
    let es256 = token("ES256", |input| Ok(key.sign(&random, input)?.as_ref().to_vec()))?;
    let hs256 = token("HS256", |input| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        Ok(hmac::sign(&key, input).as_ref().to_vec())
    })?;
    let answering = async |answer: Value| {
        server(
            Bytes::from(answer.to_string()),
            HeaderMap::from_iter([(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )]),
        )
        .await
    };
    let introspection =
        answering(json!({"active": true, "sub": "ada", "scope": "pets.read", "aud": "pets"})).await?;
    let function = answering(json!({"isAuthorized": true, "context": {"plan": "gold"}})).await?;
    let user = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-user"),
        HeaderValue::from_static("ada"),
    )]);
    let service = server(Bytes::new(), user).await?;
    let network =
        |address: std::net::SocketAddr| json!({"hosts": [address.to_string()], "private-addresses": true});
    let secrets = json!({"key": {"file": secret}});
    // of "a"; what is recommended takes 300 times the memory, which is the point of it
    let hash =
        "$argon2id$v=19$m=64,t=3,p=1$d9rThHEJ1Y05dBQTX0xFzg$0/bpCouvkaQjHsOS/ROF8HUWUpajTHoShEe3IMHNoZo";
    let basic = Case {
        name: "basic-auth, argon2id of 64 KiB",
        guest: "basic-auth",
        binding: json!({"config": {"realm": "staff", "users": [{"name": "bob", "hash": hash}], "cost": {"argon2-passes": 3}}}),
        kept: by_authorization(),
        credentials: Some((
            "authorization",
            format!("Basic {}", BASE64_STANDARD.encode("bob:a")),
        )),
        requests: 100,
    };
    Ok(vec![
        jwt(
            "jwt-authorizer, ES256",
            "ES256",
            json!({"jwks": {"inline": {"keys": [jwk]}}}),
            json!({}),
            &es256,
        ),
        jwt(
            "jwt-authorizer, HS256",
            "HS256",
            json!({"hmac": {"secret": "key"}}),
            secrets.clone(),
            &hs256,
        ),
        Case {
            name: "sigv4-authorizer, 1 KiB body",
            guest: "sigv4-authorizer",
            binding: json!({"grants": {"secrets": secrets}, "config": {
                "regions": ["eu-west-1"], "clock-skew-seconds": 900, "credentials": [{"access-key-id": "AKIDEXAMPLE", "secret": "key"}],
            }}),
            kept: None,
            credentials: None,
            requests: 400,
        },
        basic,
        Case {
            name: "oauth2-introspection",
            guest: "oauth2-introspection",
            binding: json!({"grants": {"http": network(introspection), "secrets": {"key": {"file": secret}}}, "config": {
                "endpoint": format!("http://{introspection}/"), "allow-plain-http": true,
                "authentication": {"basic": {"client-id": "gateway", "secret": "key"}},
                "audience": ["pets"], "cache-seconds": 3600,
            }}),
            kept: by_authorization(),
            credentials: bearer("0123456789abcdef0123456789abcdef"),
            requests: 200,
        },
        Case {
            name: "forward-auth",
            guest: "forward-auth",
            binding: json!({"grants": {"http": network(service)}, "config": {
                "url": format!("http://{service}/"), "allow-plain-http": true, "principal-header": "x-user",
                "response-headers": ["x-user"], "decision-ttl-seconds": 3600,
            }}),
            kept: by_authorization(),
            credentials: bearer("any"),
            requests: 200,
        },
        Case {
            name: "lambda-authorizer, REQUEST 2.0",
            guest: "lambda-authorizer",
            binding: json!({"grants": {"http": network(function)}, "config": {
                "type": "request", "payload-format": "2.0", "simple-responses": true,
                "identity-sources": ["$request.header.authorization"],
                "function": {"url": {"address": format!("http://{function}/")}, "allow-plain-http": true},
            }}),
            kept: by_authorization(),
            credentials: Some(("authorization", "any".to_owned())),
            requests: 200,
        },
        Case {
            name: "ip-policy",
            guest: "ip-policy",
            binding: json!({"config": {"rules": [{"deny": ["10.0.0.0/8", "2001:db8::/32"]}, {"allow": ["127.0.0.0/8"]}]}}),
            kept: None,
            credentials: None,
            requests: 400,
        },
    ])
}

/// The case's request for a path. That of `sigv4-authorizer` is signed for it.
fn call(case: &Case, path: &str) -> Result<Arc<Call>> {
    let mut call = Call::get(path);
    let credentials = case.credentials.iter();
    call.fields
        .extend(credentials.map(|(name, value)| ((*name).to_owned(), value.clone())));
    if case.guest == "sigv4-authorizer" {
        (call.method, call.body) = (Method::POST, Bytes::from(vec![b'x'; 1024]));
        let hash = to_hex(digest::digest(&digest::SHA256, &call.body).as_ref());
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret: SECRET,
            session_token: None,
            sign_token: true,
            region: "eu-west-1",
            service: "execute-api",
            style: PathStyle::default(),
            send_payload_hash: true,
        };
        let request = Request {
            method: call.method.as_str(),
            path,
            query: "",
            host: "bench.example.com",
            headers: &[],
        };
        let now = Timestamp(UNIX_EPOCH.elapsed()?.as_secs());
        call.fields.extend(
            signer
                .headers(&request, &hash, now, &HostCrypto)
                .map_err(|_malformed| anyhow::anyhow!("not signed"))?,
        );
    }
    Ok(Arc::new(call))
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("key");
    std::fs::write(&secret, SECRET)?;
    load_runtime(1)?.block_on(async {
        let cases = cases(secret.to_str().context("the temporary folder has a strange name")?).await?;
        let runtime = Runtime::new(RuntimeOptions {
            instances: 1000,
            ..RuntimeOptions::default()
        })?;
        let (mut plugins, mut bindings, mut routes) = (BTreeMap::new(), Map::new(), Vec::new());
        for (index, case) in cases.iter().enumerate() {
            routes.push(json!({"path": format!("/none/{index}"), "upstream": "origin"}));
            for (way, cache) in [("cold", None), ("kept", case.kept.as_ref())] {
                if way == "kept" && cache.is_none() {
                    continue;
                }
                let name = format!("{way}-{index}");
                let mut binding = case.binding.clone();
                binding["module"] = "bench.wasm".into();
                if let Some(cache) = cache {
                    binding["decision-cache"] = cache.clone();
                }
                plugins.insert(name.clone(), load(&runtime, case.guest, &name, binding.clone()).await?);
                routes.push(json!({"path": format!("/{way}/{index}"), "upstream": "origin", "pipeline": [name.clone()]}));
                bindings.insert(name, binding);
            }
        }
        let gateway = Gateway::of(runtime, routes, bindings, &plugins).await?;
        for (index, case) in cases.iter().enumerate() {
            let ways: &[&str] = if case.kept.is_some() { &["none", "cold", "kept"] } else { &["none", "cold"] };
            let calls: Vec<_> = ways
                .iter()
                .map(|way| call(case, &format!("/{way}/{index}")))
                .collect::<Result<_>>()?;
            let mut rounds = vec![Vec::new(); ways.len()];
            for round in 0..=ROUNDS {
                let mut used = Vec::new();
                for call in &calls {
                    let start = threads_cpu("worker-")?;
                    gateway.drive(call, CLIENTS, case.requests).await?;
                    used.push((threads_cpu("worker-")? - start) as f64 / (CLIENTS * case.requests) as f64 / 1000.0);
                }
                // the first one makes connections and fills memory
                if let ([none, others @ ..], true) = (&*used, round > 0) {
                    for (rounds, used) in rounds.iter_mut().skip(1).zip(others) {
                        rounds.push(used - none);
                    }
                }
            }
            for (way, rounds) in ways.iter().zip(&rounds).skip(1) {
                report.case(format!("authorizers: {}, {way}, added CPU", case.name), rounds, "us");
            }
        }
        Ok(())
    })
}
