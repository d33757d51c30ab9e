//! What it costs a request to be let in: CPU time of the gateway's worker with an authorizer less that without one, for the same request. *Cold* asks the
//! plugin each time, *kept* has the decision from the worker's memory. What a service or a function answers comes over loopback at once. Processors differ, and
//! one processor from minute to minute: each round also says what the verification of a signature takes, and figures are told in these, too.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    agreement::{self, ECDH_P256},
    digest, hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
        EcdsaKeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_SHA256, RsaKeyPair, Signature,
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use edgeward_runtime::{Runtime, RuntimeOptions};
use edgeward_sigv4::{
    Algorithm, HostCrypto, PathStyle, Request, Signer, Timestamp, canonical_request, private_key,
    string_to_sign, to_hex,
};
use http::{HeaderMap, HeaderValue, Method};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Map, Value, json};

use crate::{
    end_to_end::{Call, Gateway, HOST, load_runtime, server},
    hooks::load,
    measure::{Report, thread_cpu, threads_cpu},
};

const CLIENTS: usize = 8;
/// Many and short ones: a slow moment of the machine is in few of them.
const ROUNDS: usize = 61;
const ISSUER: &str = "https://id.example.com";
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Most that a token signed with ES256 may cost where the plugin is asked, in microseconds.
const ES256_COLD_US_MAX: f64 = 60.0;
/// The same where the decision was kept.
const ES256_KEPT_US_MAX: f64 = 3.0;
/// The same for a body of 1 KiB signed with Signature Version 4.
const SIGV4_US_MAX: f64 = 25.0;

/// A signature of ES256 that is verified alone.
struct Yardstick {
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: Signature,
}

impl Yardstick {
    /// Verifications per round.
    const COUNT: u32 = 50;

    fn new() -> Result<Self> {
        let (random, message) = (SystemRandom::new(), vec![b'x'; 400]);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(Self {
            key: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())?,
            signature: pair.sign(&random, &message)?,
            message,
        })
    }

    /// CPU time of a verification, in microseconds.
    fn measure(&self) -> Result<f64> {
        let start = thread_cpu();
        for _ in 0..Self::COUNT {
            self.key.verify_sig(&self.message, self.signature.as_ref())?;
        }
        Ok((thread_cpu() - start) as f64 / f64::from(Self::COUNT) / 1000.0)
    }
}

/// An authorizer and a request that it lets in.
#[derive(Default)]
struct Case {
    name: &'static str,
    guest: &'static str,
    /// Grants, limits and configuration.
    binding: Value,
    /// Its `decision-cache`, if its decisions may be kept.
    kept: Option<Value>,
    /// Binding of the `jwt-authorizer` called `tokens` before it, which the request without it passes, too.
    before: Option<Value>,
    /// Clients come over TLS, with a certificate.
    tls: bool,
    /// Field that says who is calling.
    credentials: Option<(&'static str, String)>,
    /// What the request is signed with; it has a body of 1 KiB then.
    signature: Option<Algorithm>,
    /// Requests of each client per round.
    requests: usize,
    /// What it may cost cold and kept, in microseconds.
    limits: [Option<f64>; 2],
}

fn bearer(token: &str) -> Option<(&'static str, String)> {
    Some(("authorization", format!("Bearer {token}")))
}

fn by_authorization() -> Option<Value> {
    Some(json!({"headers": ["authorization"]}))
}

/// For an hour.
fn claims() -> Result<Value> {
    let now = UNIX_EPOCH.elapsed()?.as_secs();
    Ok(
        json!({"iss": ISSUER, "aud": "pets", "sub": "ada", "iat": now, "exp": now + 3600, "scope": "pets.read pets.write"}),
    )
}

/// A token of these claims, with what signs it.
fn token(algorithm: &str, claims: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<String> {
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

fn jwt(name: &'static str, algorithm: &str, keys: Value, grants: Value, token: &str) -> Case {
    let config = json!({
        "issuer": ISSUER, "audience": "pets", "algorithms": [algorithm], "keys": [keys], "scopes": ["pets.read"],
        "decision-ttl-seconds": 3600,
    });
    Case {
        name,
        guest: "jwt-authorizer",
        binding: json!({"grants": grants, "config": config}),
        kept: by_authorization(),
        credentials: bearer(token),
        requests: 130,
        ..Case::default()
    }
}

/// The key set of a public key, as RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits: heads of 9 bytes before the modulus, of 2 before the exponent.
fn rsa_keys(key: &RsaKeyPair) -> Result<Value> {
    let (_, rest) = key.public_key().as_ref().split_at_checked(9).context("no key")?;
    let (modulus, rest) = rest.split_at_checked(256).context("no modulus")?;
    let exponent = rest.get(2..).context("no exponent")?;
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Ok(
        json!({"keys": [{"kty": "RSA", "alg": "RS256", "kid": "1", "n": encode(modulus), "e": encode(exponent)}]}),
    )
}

/// Users of `basic-auth`, of whom `user` has this password and hash.
fn basic(name: &'static str, user: &str, password: &str, hash: &str) -> Case {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    Case {
        name,
        guest: "basic-auth",
        binding: json!({"config": {"realm": "staff", "users": [{"name": user, "hash": hash}], "cost": {"argon2-passes": 3}}}),
        kept: by_authorization(),
        credentials: Some(("authorization", format!("Basic {credentials}"))),
        requests: 35,
        ..Case::default()
    }
}

/// `file` has the secret of the access key, of which `member` of its configuration is `key`.
fn sigv4(name: &'static str, signature: Algorithm, file: &str, (member, key): (&str, &str)) -> Case {
    let credentials = json!({"access-key-id": ACCESS_KEY_ID, member: key});
    Case {
        name,
        guest: "sigv4-authorizer",
        binding: json!({"grants": {"secrets": {"key": {"file": file}}}, "config": {
            "regions": ["eu-west-1"], "clock-skew-seconds": 900, "credentials": [credentials],
        }}),
        signature: Some(signature),
        requests: 130,
        ..Case::default()
    }
}

/// Twenty policies about a caller whose token says a group; the token is known already.
fn cedar(before: &Case, token: &str) -> Case {
    let mut policies: Vec<String> = (0..18)
        .map(|team| {
            format!(
                r#"permit(principal in Group::"team{team}", action == Action::"GET", resource) when {{ context.ip.isInRange(ip("10.{team}.0.0/16")) }};"#
            )
        })
        .collect();
    policies.push(r#"permit(principal in Group::"staff", action == Action::"GET", resource) when { context.ip.isLoopback() };"#.to_owned());
    policies.push(
        "forbid(principal, action, resource) when { principal has suspended && principal.suspended };"
            .to_owned(),
    );
    let mut tokens = before.binding.clone();
    tokens["decision-cache"] = before.kept.clone().unwrap_or_default();
    Case {
        name: "cedar-authorizer, 20 policies",
        guest: "cedar-authorizer",
        binding: json!({"config": {
            "policies": policies,
            "principal": {"claims": {"namespace": "tokens"}, "attributes": ["suspended"], "groups": "groups"},
        }}),
        before: Some(tokens),
        credentials: bearer(token),
        requests: 35,
        ..Case::default()
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
    let ec_keys = json!({"keys": [jwk]});
    let claims = claims()?;
    let es256 = token("ES256", &claims, |input| {
        Ok(key.sign(&random, input)?.as_ref().to_vec())
    })?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let rs256 = token("RS256", &claims, |input| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)?;
        Ok(signature)
    })?;
    let by_secret = |input: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        Ok(hmac::sign(&key, input).as_ref().to_vec())
    };
    let hs256 = token("HS256", &claims, by_secret)?;
    let mut of_staff = claims.clone();
    of_staff["groups"] = json!(["staff"]);
    let of_staff = token("HS256", &of_staff, by_secret)?;
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
    let issuer = answering(ec_keys.clone()).await?;
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
    let by_hmac = jwt(
        "jwt-authorizer, HS256",
        "HS256",
        json!({"hmac": {"secret": "key"}}),
        json!({"secrets": {"key": {"file": secret}}}),
        &hs256,
    );
    let by_policies = cedar(&by_hmac, &of_staff);
    Ok(vec![
        Case {
            limits: [Some(ES256_COLD_US_MAX), Some(ES256_KEPT_US_MAX)],
            ..jwt(
                "jwt-authorizer, ES256",
                "ES256",
                json!({"jwks": {"inline": ec_keys}}),
                json!({}),
                &es256,
            )
        },
        jwt(
            "jwt-authorizer, ES256, keys from a URL",
            "ES256",
            json!({"jwks": {"url": format!("http://{issuer}/jwks.json"), "allow-plain-http": true}}),
            json!({"http": network(issuer), "kv": {"jwks": {}}}),
            &es256,
        ),
        jwt(
            "jwt-authorizer, RS256",
            "RS256",
            json!({"jwks": {"inline": rsa_keys(&rsa)?}}),
            json!({}),
            &rs256,
        ),
        by_hmac,
        Case {
            limits: [Some(SIGV4_US_MAX), None],
            ..sigv4(
                "sigv4-authorizer, 1 KiB body",
                Algorithm::HmacSha256,
                secret,
                ("secret", "key"),
            )
        },
        sigv4(
            "sigv4-authorizer, 4a, 1 KiB body",
            Algorithm::EcdsaP256Sha256,
            secret,
            ("public-key", to_hex(&key_4a()?.1).as_str()),
        ),
        sigv4(
            "sigv4-authorizer, 4a, key made of the secret, 1 KiB body",
            Algorithm::EcdsaP256Sha256,
            secret,
            ("secret", "key"),
        ),
        // what is recommended takes 300 times the memory, which is the point of it
        basic(
            "basic-auth, argon2id of 64 KiB",
            "bob",
            "a",
            "$argon2id$v=19$m=64,t=3,p=1$d9rThHEJ1Y05dBQTX0xFzg$0/bpCouvkaQjHsOS/ROF8HUWUpajTHoShEe3IMHNoZo",
        ),
        // the least that bcrypt knows; each more is twice as much
        basic(
            "basic-auth, bcrypt of cost 4",
            "ada",
            "open sesame",
            "$2b$04$ypQZWws/nAFoYniyIC2Pi.KFFoFj1iDdsAYQZBwx2WP0.KfV8LYwy",
        ),
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
            requests: 70,
            ..Case::default()
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
            requests: 70,
            ..Case::default()
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
            requests: 70,
            ..Case::default()
        },
        Case {
            name: "ip-policy",
            guest: "ip-policy",
            binding: json!({"config": {"rules": [{"deny": ["10.0.0.0/8", "2001:db8::/32"]}, {"allow": ["127.0.0.0/8"]}]}}),
            requests: 130,
            ..Case::default()
        },
        Case {
            name: "mtls-authorizer",
            guest: "mtls-authorizer",
            binding: json!({"config": {"rules": [{"dns": "*.clients.example.com", "principal": "client:${san.dns}"}]}}),
            tls: true,
            requests: 130,
            ..Case::default()
        },
        by_policies,
    ])
}

/// The key pair of Signature Version 4a that is made of the access key, and its public key.
fn key_4a() -> Result<(EcdsaKeyPair, Vec<u8>)> {
    let private = private_key(ACCESS_KEY_ID, SECRET, &HostCrypto).context("no private key")?;
    let public = agreement::PrivateKey::from_private_key(&ECDH_P256, &private)?.compute_public_key()?;
    let public = public.as_ref().to_vec();
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, &private, &public)?;
    Ok((pair, public))
}

/// The header fields that sign a request without query with version 4a, for all regions.
fn signed_4a(request: &Request<'_>, hash: &str, now: Timestamp) -> Result<Vec<(String, String)>> {
    let mut fields = vec![
        ("x-amz-content-sha256".to_owned(), hash.to_owned()),
        ("x-amz-date".to_owned(), now.basic()),
        ("x-amz-region-set".to_owned(), "*".to_owned()),
    ];
    let headers: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = Request {
        headers: &headers,
        ..*request
    };
    // in order
    let mut signed = vec!["host".to_owned()];
    signed.extend(fields.iter().map(|(name, _)| name.clone()));
    let canonical = canonical_request(&request, "", &signed, hash, PathStyle::default());
    let algorithm = Algorithm::EcdsaP256Sha256;
    let scope = format!("{}/execute-api/aws4_request", now.date());
    let text = string_to_sign(algorithm, now, &scope, &canonical, &HostCrypto);
    let signature = key_4a()?.0.sign(&SystemRandom::new(), text.as_bytes())?;
    fields.push((
        "authorization".to_owned(),
        format!(
            "{algorithm} Credential={ACCESS_KEY_ID}/{scope}, SignedHeaders={}, Signature={}",
            signed.join(";"),
            to_hex(signature.as_ref())
        ),
    ));
    Ok(fields)
}

/// TLS of a client that has a certificate. The authority that it is from goes into a folder as `ca.pem`, with `server.pem` and `server.key`.
fn client_tls(folder: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "Bench CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let issue = |name: &str| -> Result<_> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &issuer)?, key))
    };
    let (server, server_key) = issue(HOST)?;
    let (client, client_key) = issue("ada.clients.example.com")?;
    fs::write(folder.join("ca.pem"), authority.pem())?;
    fs::write(folder.join("server.pem"), server.pem())?;
    fs::write(folder.join("server.key"), server_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let key = PrivatePkcs8KeyDer::from(client_key.serialize_der());
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![client.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The case's request for a path, signed for it where that is what says who is calling.
fn call(case: &Case, path: &str) -> Result<Arc<Call>> {
    let mut call = Call::get(path);
    let credentials = case.credentials.iter();
    call.fields
        .extend(credentials.map(|(name, value)| ((*name).to_owned(), value.clone())));
    if let Some(signature) = case.signature {
        (call.method, call.body) = (Method::POST, Bytes::from(vec![b'x'; 1024]));
        let hash = to_hex(digest::digest(&digest::SHA256, &call.body).as_ref());
        let signer = Signer {
            access_key_id: ACCESS_KEY_ID,
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
            host: HOST,
            headers: &[],
        };
        let now = Timestamp(UNIX_EPOCH.elapsed()?.as_secs());
        call.fields.extend(match signature {
            Algorithm::HmacSha256 => signer
                .headers(&request, &hash, now, &HostCrypto)
                .map_err(|_malformed| anyhow::anyhow!("not signed"))?,
            Algorithm::EcdsaP256Sha256 => signed_4a(&request, &hash, now)?,
        });
    }
    Ok(Arc::new(call))
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("key");
    fs::write(&secret, SECRET)?;
    let tls = client_tls(folder.path())?;
    load_runtime(1)?.block_on(async {
        let cases = cases(secret.to_str().context("the temporary folder has a strange name")?).await?;
        let runtime = Runtime::new(RuntimeOptions {
            instances: 1000,
            ..RuntimeOptions::default()
        })?;
        let (mut plugins, mut bindings, mut routes) = (BTreeMap::new(), Map::new(), Vec::new());
        for (index, case) in cases.iter().enumerate() {
            let mut before = Vec::new();
            if let Some(tokens) = &case.before {
                plugins.insert("tokens".to_owned(), load(&runtime, "jwt-authorizer", "tokens", tokens.clone()).await?);
                let mut binding = tokens.clone();
                binding["module"] = "bench.wasm".into();
                bindings.insert("tokens".to_owned(), binding);
                before.push("tokens");
            }
            routes.push(json!({"path": format!("/none/{index}"), "upstream": "origin", "pipeline": before}));
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
                let mut pipeline = before.clone();
                pipeline.push(&name);
                routes.push(json!({"path": format!("/{way}/{index}"), "upstream": "origin", "pipeline": pipeline}));
                bindings.insert(name, binding);
            }
        }
        let site = json!({
            "listeners": [
                {"name": "plain", "address": "127.0.0.1:0"},
                {"name": "tls", "address": "127.0.0.1:0", "http3": false, "tls": {
                    "certificates": [{"cert": "server.pem", "key": "server.key"}], "client-auth": {"ca": "ca.pem"},
                }},
            ],
            "plugins": bindings,
            "routes": routes,
        });
        let gateway = Gateway::of(runtime, folder.path(), site, &plugins).await?;
        let (yardstick, mut verifications) = (Yardstick::new()?, Vec::new());
        for (index, case) in cases.iter().enumerate() {
            let ways: &[&str] = if case.kept.is_some() { &["none", "cold", "kept"] } else { &["none", "cold"] };
            let calls: Vec<_> = ways
                .iter()
                .map(|way| call(case, &format!("/{way}/{index}")))
                .collect::<Result<_>>()?;
            // all ways over the same connections, so that making them counts for none
            let mut clients = gateway.connect(CLIENTS, case.tls.then_some(&tls)).await?;
            let (mut rounds, mut alone) = (vec![Vec::new(); ways.len()], Vec::new());
            for round in 0..=ROUNDS {
                let (verification, mut used) = (yardstick.measure()?, Vec::new());
                for call in &calls {
                    let start = threads_cpu("worker-")?;
                    clients.drive(call, case.requests).await?;
                    used.push((threads_cpu("worker-")? - start) as f64 / (CLIENTS * case.requests) as f64 / 1000.0);
                }
                // the first one fills memory
                if let ([none, others @ ..], true) = (&*used, round > 0) {
                    alone.push(verification);
                    for (rounds, used) in rounds.iter_mut().skip(1).zip(others) {
                        rounds.push(used - none);
                    }
                }
            }
            let added = ways.iter().zip(&rounds).skip(1);
            for ((way, rounds), limit) in added.zip(case.limits) {
                report.case_within(format!("authorizers: {}, {way}, added CPU", case.name), rounds, "us", limit);
                let ratios: Vec<_> = rounds.iter().zip(&alone).map(|(added, alone)| added / alone).collect();
                report.case(format!("authorizers: {}, {way}, verifications", case.name), &ratios, "x");
            }
            verifications.extend(alone);
        }
        report.case("authorizers: verification of an ES256 signature alone".to_owned(), &verifications, "us");
        Ok(())
    })
}
