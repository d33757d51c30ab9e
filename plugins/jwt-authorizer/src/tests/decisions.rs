//! Whole decisions: vectors of the RFCs, every algorithm with fresh keys, attacks, key rotation.

use aws_lc_rs::{
    hmac, rand, rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::{
    algorithm::Algorithm,
    authorizer::{Accepted, Authorizer},
    fake::{Fake, base64url},
    jwk::KeySet,
    outside::Outside,
    refusal::{Kind, Refusal},
    settings::Settings,
    token,
};

pub(super) const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn authorizer(config: Value) -> Authorizer {
    let (settings, _) = Settings::new(serde_json::from_value(config).unwrap()).unwrap();
    Authorizer::new(settings)
}

/// The configuration of most tests with further members.
fn config(keys: Value, extra: Value) -> Value {
    let mut config = json!({"issuer": "https://id.test", "audience": "pets", "keys": keys});
    config
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    config
}

pub(super) fn inline(keys: Value) -> Value {
    json!([{"jwks": {"inline": {"keys": keys}}}])
}

fn claims() -> Value {
    json!({"iss": "https://id.test", "aud": "pets", "sub": "ada", "exp": NOW + 60, "iat": NOW})
}

/// A key pair of one algorithm.
pub(super) enum Signer {
    Rsa(Box<rsa::KeyPair>, &'static dyn signature::RsaEncoding),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
    Mac(hmac::Algorithm),
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let rsa = |padding| {
            Self::Rsa(
                Box::new(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()),
                padding,
            )
        };
        let ec = |curve, name| Self::Ec(EcdsaKeyPair::generate(curve).unwrap(), name);
        match algorithm {
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            Algorithm::Es384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            Algorithm::Es512 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            Algorithm::EdDsa => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Hs256 => Self::Mac(hmac::HMAC_SHA256),
            Algorithm::Hs384 => Self::Mac(hmac::HMAC_SHA384),
            Algorithm::Hs512 => Self::Mac(hmac::HMAC_SHA512),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Rsa(pair, padding) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, message, &mut signed).unwrap();
                signed
            }
            Self::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Mac(algorithm) => hmac::sign(&hmac::Key::new(*algorithm, SECRET), message)
                .as_ref()
                .to_vec(),
        }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair, _) => {
                // RSAPublicKey of RFC 8017: the modulus of 256 bytes stands after two DER headers and a zero
                let n = &pair.public_key().as_ref()[9..265];
                json!({"kty": "RSA", "kid": kid, "n": base64url(n), "e": "AQAB"})
            }
            Self::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "kid": kid, "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
            Self::Mac(_) => json!({"kty": "oct", "kid": kid, "k": base64url(SECRET)}),
        }
    }

    pub(super) fn token(&self, header: Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims.to_string())
        );
        let signature = base64url(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

pub(super) fn now() -> Fake {
    Fake::at(NOW * 1000)
}

fn detail(outcome: Result<Accepted, Refusal>) -> String {
    outcome.unwrap_err().detail
}

/// One vector of `tests/vectors/rfc.json`.
fn vectors() -> Vec<Value> {
    let text = include_str!("../../tests/vectors/rfc.json");
    serde_json::from_str::<Vec<Value>>(text).unwrap()
}

#[test]
fn signatures_of_the_rfc_vectors_verify_and_break_when_changed() {
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let text = vector["jws"].as_str().unwrap();
        let jwks = json!({"keys": [vector["jwk"]]});
        let set = KeySet::parse(jwks.to_string().as_bytes(), true).unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let header = base64_text(header);
        let algorithm = serde_json::from_str::<Value>(&header).unwrap()["alg"]
            .as_str()
            .unwrap()
            .to_owned();
        let algorithm = Algorithm::from_name(&algorithm).unwrap();
        let key = set.candidates(algorithm, None)[0];
        let mut signature = base64_bytes(signature);
        let verify = |signature: &[u8]| {
            now()
                .verify(algorithm, &key.material, signed.as_bytes(), signature)
                .unwrap()
        };
        assert!(verify(&signature), "{name}");
        signature[10] ^= 1;
        assert!(!verify(&signature), "{name}");
    }
}

#[test]
fn rfc_7515_tokens_are_accepted_at_their_time_and_expired_today() {
    let at_the_time = Fake::at(1_300_819_000_000);
    for vector in vectors().iter().filter(|vector| vector["claims"] == true) {
        let name = vector["name"].as_str().unwrap();
        let text = vector["jws"].as_str().unwrap();
        let symmetric = vector["jwk"]["kty"] == "oct";
        let keys = if symmetric {
            at_the_time.hide("jwks", json!({"keys": [vector["jwk"]]}).to_string().as_bytes());
            json!([{"jwks": {"secret": "jwks"}}])
        } else {
            inline(json!([vector["jwk"]]))
        };
        let algorithms = if symmetric { json!(["HS256"]) } else { Value::Null };
        let mut authorizer = authorizer(json!({
            "issuer": "joe", "allow-any-audience": true, "principal-claim": "iss", "keys": keys, "algorithms": algorithms,
        }));
        let accepted = authorizer.check(text, &[], &at_the_time).unwrap();
        assert_eq!(
            (
                accepted.principal.as_str(),
                &accepted.claims["http://example.com/is_root"]
            ),
            ("joe", &json!(true)),
            "{name}"
        );
        let today = now();
        today.hide("jwks", json!({"keys": [vector["jwk"]]}).to_string().as_bytes());
        assert!(
            detail(authorizer.check(text, &[], &today)).contains("expired"),
            "{name}"
        );
    }
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

fn base64_text(text: &str) -> String {
    String::from_utf8(base64_bytes(text)).unwrap()
}

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_changed_ones() {
    let all = Algorithm::RSA.into_iter().chain(Algorithm::HMAC);
    for algorithm in all.chain([
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ]) {
        let signer = Signer::new(algorithm);
        let outside = now();
        outside.hide("set", json!({"keys": [signer.jwk("k")]}).to_string().as_bytes());
        let mut authorizer = authorizer(config(
            json!([{"jwks": {"secret": "set"}}]),
            json!({"algorithms": [algorithm.name()]}),
        ));
        let good = signer.token(json!({"alg": algorithm.name(), "kid": "k"}), &claims());
        assert_eq!(
            authorizer.check(&good, &[], &outside).unwrap().principal,
            "ada",
            "{algorithm}"
        );
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let mut other = claims();
        other["sub"] = json!("eve");
        let forged = format!("{header}.{}.{signature}", base64url(other.to_string()));
        assert!(
            detail(authorizer.check(&forged, &[], &outside)).contains("signature does not verify"),
            "{algorithm}"
        );
        let bytes = base64_bytes(signature);
        let cut = format!("{signed}.{}", base64url(&bytes[..bytes.len() - 1]));
        assert!(
            detail(authorizer.check(&cut, &[], &outside)).contains("signature does not verify"),
            "{algorithm}"
        );
        let strange = Signer::new(algorithm).token(json!({"alg": algorithm.name(), "kid": "k"}), &other);
        if !algorithm.is_hmac() {
            assert!(
                detail(authorizer.check(&strange, &[], &outside)).contains("signature does not verify"),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn algorithm_confusion_is_impossible() {
    let rsa = Signer::new(Algorithm::Rs256);
    let jwk = rsa.jwk("k");
    let outside = now();
    let header = |alg: &str| json!({"alg": alg, "kid": "k"});
    // HS256 with every form of the public key that an attacker may try as the secret, also where HS256 is accepted for another key.
    outside.hide("hs", SECRET);
    let mut mixed = authorizer(config(
        json!([{"jwks": {"inline": {"keys": [jwk]}}}, {"hmac": {"secret": "hs", "kid": "other"}}]),
        json!({"algorithms": ["RS256", "HS256"]}),
    ));
    let mut plain = authorizer(config(inline(json!([jwk])), json!({})));
    let n = base64_bytes(jwk["n"].as_str().unwrap());
    for secret in [
        jwk.to_string().into_bytes(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        n,
    ] {
        let signed = format!(
            "{}.{}",
            base64url(header("HS256").to_string()),
            base64url(claims().to_string())
        );
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let token = format!("{signed}.{}", base64url(mac.as_ref()));
        assert!(detail(mixed.check(&token, &[], &outside)).contains("no key fits alg HS256"));
        assert!(detail(plain.check(&token, &[], &outside)).contains("must be listed in `algorithms`"));
    }
    for alg in ["none", "None", "NONE", "", "RS256 ", "rs256", "RS1"] {
        let token = rsa.token(header(alg), &claims());
        assert!(
            detail(plain.check(&token, &[], &outside)).contains("is not supported"),
            "{alg:?}"
        );
        let unsigned = format!(
            "{}.{}.",
            base64url(header(alg).to_string()),
            base64url(claims().to_string())
        );
        assert!(
            detail(plain.check(&unsigned, &[], &outside)).contains("empty signature"),
            "{alg:?}"
        );
    }
    // right key, right kid, but an algorithm of another type, or one that the key or the list excludes
    let token = rsa.token(header("ES256"), &claims());
    assert!(detail(plain.check(&token, &[], &outside)).contains("no key fits alg ES256"));
    let mut pinned = jwk.clone();
    pinned["alg"] = json!("PS256");
    let mut only_pss = authorizer(config(inline(json!([pinned])), json!({})));
    assert!(
        detail(only_pss.check(&rsa.token(header("RS256"), &claims()), &[], &outside)).contains("no key fits")
    );
    let mut listed = authorizer(config(
        inline(json!([jwk])),
        json!({"algorithms": ["ES256", "PS256"]}),
    ));
    assert!(
        detail(listed.check(&rsa.token(header("RS256"), &claims()), &[], &outside))
            .contains("not in `algorithms`")
    );
    // keys that the token brings along do not count
    let own = Signer::new(Algorithm::Es256);
    let brought = own.token(
        json!({"alg": "ES256", "jwk": own.jwk("x"), "jku": "https://evil.test/", "x5u": "https://evil.test/", "x5c": ["MIIB"]}),
        &claims(),
    );
    assert!(detail(plain.check(&brought, &[], &outside)).contains("no key fits"));
}

#[test]
fn claims_are_checked_after_the_signature() {
    let signer = Signer::new(Algorithm::Es256);
    let keys = inline(json!([signer.jwk("k")]));
    let extra = json!({
        "scopes": ["read"], "claims": [{"claim": "org.tenant", "equals": "t1"}], "types": ["at+jwt"],
        "usage-key-claim": "client_id", "decision-ttl-seconds": 300,
    });
    let mut authorizer = authorizer(config(keys, extra));
    let mut full = claims();
    let more = json!({"scope": "read write", "org": {"tenant": "t1"}, "client_id": "app", "nbf": NOW});
    full.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut check = |typ: &str, change: Value| {
        let mut claims = full.clone();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        authorizer.check(
            &signer.token(json!({"alg": "ES256", "kid": "k", "typ": typ}), &claims),
            &[],
            &now(),
        )
    };
    let accepted = check("application/AT+JWT", json!({})).unwrap();
    assert_eq!(
        (accepted.usage_key.as_deref(), accepted.ttl_seconds),
        (Some("app"), Some(60))
    );
    for (change, kind, wanted) in [
        (json!({"exp": NOW - 31}), Kind::InvalidToken, "expired"),
        (json!({"exp": null}), Kind::InvalidToken, "exp is null"),
        (
            json!({"nbf": NOW + 31}),
            Kind::InvalidToken,
            "not valid for another",
        ),
        (json!({"iat": NOW + 100}), Kind::InvalidToken, "in the future"),
        (
            json!({"iss": "https://evil.test"}),
            Kind::InvalidToken,
            "iss \"https://evil.test\"",
        ),
        (json!({"aud": "shop"}), Kind::InvalidToken, "aud"),
        (json!({"sub": ""}), Kind::InvalidToken, "claim sub"),
        (json!({"client_id": 1.5}), Kind::InvalidToken, "claim client_id"),
        (
            json!({"scope": "write"}),
            Kind::InsufficientScope,
            "scope \"read\" is missing",
        ),
        (
            json!({"org": {"tenant": "t2"}}),
            Kind::InsufficientScope,
            "claim org.tenant is",
        ),
    ] {
        let refusal = check("at+jwt", change.clone()).unwrap_err();
        assert!(
            refusal.kind == kind && refusal.detail.contains(wanted),
            "{change}: {refusal:?}"
        );
    }
    assert!(detail(check("JWT", json!({}))).contains("typ \"jwt\" is not in `types`"));
}

#[test]
fn an_issuer_cannot_speak_for_another() {
    let (one, two) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let keys = json!([
        {"jwks": {"inline": {"keys": [one.jwk("1")]}, "issuer": "https://one.test"}},
        {"jwks": {"inline": {"keys": [two.jwk("2")]}, "issuer": "https://two.test"}},
    ]);
    let mut authorizer = authorizer(config(
        keys,
        json!({"issuer": ["https://one.test", "https://two.test"]}),
    ));
    let mut claims = claims();
    claims["iss"] = json!("https://one.test");
    assert!(
        authorizer
            .check(
                &one.token(json!({"alg": "ES256", "kid": "1"}), &claims),
                &[],
                &now()
            )
            .is_ok()
    );
    let borrowed = two.token(json!({"alg": "ES256", "kid": "2"}), &claims);
    assert!(detail(authorizer.check(&borrowed, &[], &now())).contains("no key fits"));
}

#[test]
fn a_new_key_is_found_at_the_issuer_once_a_token_names_it() {
    const URL: &str = "https://id.test/jwks";
    let (old, new) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::EdDsa));
    let settings = config(json!([{"jwks": {"url": URL}}]), json!({}));
    let check = |token: &str, outside: &Fake| authorizer(settings.clone()).check(token, &[], outside);
    let outside = now();
    outside.serve(URL, 200, json!({"keys": [old.jwk("old")]}).to_string());
    let old_token = old.token(json!({"alg": "ES256", "kid": "old"}), &claims());
    let new_token = new.token(json!({"alg": "EdDSA", "kid": "new"}), &claims());
    assert!(check(&old_token, &outside).is_ok());
    let unknown = check(&new_token, &outside).unwrap_err();
    assert!(
        unknown.kind == Kind::InvalidToken
            && unknown
                .detail
                .contains("no key fits alg EdDSA, kid Some(\"new\")")
    );
    outside.serve(
        URL,
        200,
        json!({"keys": [old.jwk("old"), new.jwk("new")]}).to_string(),
    );
    outside.pass(30_000);
    assert!(check(&new_token, &outside).is_ok());
    assert!(check(&old_token, &outside).is_ok());
    assert_eq!(
        outside.fetches(),
        3,
        "the first name that was not there had a fetch, too"
    );
    // Unknown names during an outage say nothing about the token; known ones go on.
    outside.serve(URL, 503, String::new());
    outside.pass(25_000);
    let odd = new.token(json!({"alg": "EdDSA", "kid": "odd"}), &claims());
    outside.pass(5_000);
    assert_eq!(check(&odd, &outside).unwrap_err().kind, Kind::Unavailable);
    assert_eq!(check(&odd, &outside).unwrap_err().kind, Kind::Unavailable);
    assert_eq!(outside.fetches(), 4);
    assert!(check(&new_token, &outside).is_ok());
}

#[test]
fn a_key_that_takes_the_place_of_another_is_found_with_its_name_and_without() {
    const URL: &str = "https://id.test/jwks";
    let (old, new) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    for kid in [json!("k"), Value::Null] {
        let jwk = |signer: &Signer| {
            let mut jwk = signer.jwk("k");
            jwk["kid"] = kid.clone();
            jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            json!({"keys": [jwk]}).to_string()
        };
        let token = |signer: &Signer| {
            let mut head = json!({"alg": "ES256", "kid": kid});
            head.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            signer.token(head, &claims())
        };
        let outside = now();
        outside.serve(URL, 200, jwk(&old));
        let mut authorizer = authorizer(config(json!([{"jwks": {"url": URL}}]), json!({})));
        assert!(authorizer.check(&token(&old), &[], &outside).is_ok());
        outside.serve(URL, 200, jwk(&new));
        assert!(authorizer.check(&token(&new), &[], &outside).is_ok(), "{kid}");
        // what is signed by none of them is refused, whether the issuer can be asked or not
        outside.serve(URL, 503, String::new());
        outside.pass(30_000);
        for _ in 0..3 {
            let refusal = authorizer.check(&token(&old), &[], &outside).unwrap_err();
            assert_eq!(refusal.kind, Kind::InvalidToken, "{}", refusal.detail);
        }
        assert!(authorizer.check(&token(&new), &[], &outside).is_ok());
    }
}

#[test]
fn without_keys_nothing_is_accepted_and_the_caller_is_not_blamed() {
    let signer = Signer::new(Algorithm::Es256);
    let token = signer.token(json!({"alg": "ES256", "kid": "k"}), &claims());
    let outside = now();
    let mut by_url = authorizer(config(
        json!([{"jwks": {"url": "https://id.test/jwks"}}]),
        json!({}),
    ));
    let refusal = by_url.check(&token, &[], &outside).unwrap_err();
    assert!(
        refusal.kind == Kind::Unavailable && refusal.detail.contains("connection refused"),
        "{refusal:?}"
    );
    assert!(!refusal.public.contains("id.test"));
    let mut by_secret = authorizer(config(json!([{"jwks": {"secret": "set"}}]), json!({})));
    assert!(detail(by_secret.check(&token, &[], &outside)).contains("secret \"set\" is not granted"));
    let mut short = authorizer(config(
        json!([{"hmac": {"secret": "short"}}]),
        json!({"algorithms": ["HS256"]}),
    ));
    outside.hide("short", b"hunter2");
    let mac = Signer::new(Algorithm::Hs256).token(json!({"alg": "HS256"}), &claims());
    let text = detail(short.check(&mac, &[], &outside));
    assert!(
        text.contains("secret of 7 bytes is too short") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_token_without_kid_is_tried_with_few_keys_only() {
    let signer = Signer::new(Algorithm::Es256);
    let others: Vec<Value> = (0..20)
        .map(|n| Signer::new(Algorithm::Es256).jwk(&n.to_string()))
        .collect();
    let token = signer.token(json!({"alg": "ES256"}), &claims());
    let outside = now();
    let mut authorizer = authorizer(config(inline(json!(others)), json!({})));
    assert!(detail(authorizer.check(&token, &[], &outside)).contains("8 keys tried"));
    assert!(outside.logged("8 keys tried, the rest is not"));
}

#[test]
fn the_token_parser_agrees_with_the_vectors() {
    for vector in vectors() {
        let parsed = token::parse(vector["jws"].as_str().unwrap(), 8192);
        if vector["claims"] == true {
            assert_eq!(parsed.unwrap().claims["iss"], "joe");
        } else {
            // signed, and no set of claims
            assert!(parsed.is_err(), "{}", vector["name"]);
        }
    }
}
