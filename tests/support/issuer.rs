//! An identity provider: a key, and tokens that it signs.

use std::time::SystemTime;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signs tokens, as an identity provider does.
pub struct Issuer(Ed25519KeyPair);

impl Issuer {
    /// One with a new key.
    #[must_use]
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    /// Its public key, as `keys[].jwks.inline` of the jwt-authorizer takes it.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let key = BASE64_URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "demo", "x": key}]})
    }

    /// A token of `https://id.demo` for `alice` with the plan `gold`, good for an hour with the audience `pets`.
    #[must_use]
    pub fn token(&self) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let header = json!({"alg": "EdDSA", "kid": "demo"});
        let claims = json!({"iss": "https://id.demo", "aud": "pets", "sub": "alice", "plan": "gold", "exp": now + 3600});
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes()).as_ref());
        format!("{input}.{signature}")
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}
