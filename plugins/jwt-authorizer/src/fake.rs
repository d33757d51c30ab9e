//! The world outside, for tests: a clock that is moved by hand, a `kv` store with times to live, a scripted issuer, and real cryptography.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use aws_lc_rs::{hmac, signature};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeward_sdk::log::Level;
use serde_json::{Value, json};

use crate::{algorithm::Algorithm, jwk::Material, outside::Outside};

/// A value and the time at which it ends.
type Stored = (Vec<u8>, u64);

#[derive(Default)]
pub(crate) struct Fake {
    now_ms: Cell<u64>,
    secrets: RefCell<HashMap<String, Vec<u8>>>,
    pages: RefCell<HashMap<String, (u16, String)>>,
    fetches: Cell<usize>,
    store: RefCell<HashMap<(String, String), Stored>>,
    store_is_full: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl Fake {
    pub(crate) fn at(now_ms: u64) -> Self {
        Self {
            now_ms: Cell::new(now_ms),
            ..Self::default()
        }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    pub(crate) fn serve(&self, url: &str, status: u16, body: String) {
        self.pages.borrow_mut().insert(url.into(), (status, body));
    }

    pub(crate) fn hide(&self, name: &str, secret: &[u8]) {
        self.secrets.borrow_mut().insert(name.into(), secret.into());
    }

    pub(crate) fn put(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) {
        self.write(store, key, value, ttl_ms).unwrap();
    }

    pub(crate) fn fill_store(&self) {
        self.store_is_full.set(true);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.get()
    }

    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log.borrow().iter().any(|line| line.contains(text))
    }
}

impl Outside for Fake {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        self.secrets
            .borrow()
            .get(name)
            .cloned()
            .ok_or_else(|| format!("secret {name:?} is not granted"))
    }

    fn fetch(&self, url: &str, _timeout_ms: u32) -> Result<(u16, Vec<u8>), String> {
        self.fetches.set(self.fetches.get() + 1);
        let pages = self.pages.borrow();
        let (status, body) = pages.get(url).ok_or("connection refused")?;
        Ok((*status, body.clone().into_bytes()))
    }

    fn read(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let entries = self.store.borrow();
        let entry = entries
            .get(&(store.into(), key.into()))
            .filter(|(_, ends)| *ends > self.now_ms());
        Ok(entry.map(|(value, _)| value.clone()))
    }

    fn write(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        if self.store_is_full.get() {
            return Err("store is full".into());
        }
        self.store
            .borrow_mut()
            .insert((store.into(), key.into()), (value.into(), self.now_ms() + ttl_ms));
        Ok(())
    }

    fn write_if_absent(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<bool, String> {
        if self.read(store, key)?.is_some() {
            return Ok(false);
        }
        self.write(store, key, value, ttl_ms).map(|()| true)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        key: &Material,
        message: &[u8],
        given: &[u8],
    ) -> Result<bool, String> {
        verify(algorithm, key, message, given)
    }

    fn audience_matches(&self, audience: &str) -> bool {
        audience.starts_with("app-")
    }

    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push(format!("{level:?}: {message}"));
    }
}

fn verify(algorithm: Algorithm, key: &Material, message: &[u8], given: &[u8]) -> Result<bool, String> {
    let ec: &signature::EcdsaVerificationAlgorithm = match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        _ => &signature::ECDSA_P521_SHA512_FIXED,
    };
    let rsa: &signature::RsaParameters = match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        _ => &signature::RSA_PSS_2048_8192_SHA512,
    };
    let mac = match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    Ok(match key {
        Material::Secret(secret) if algorithm.is_hmac() => {
            hmac::verify(&hmac::Key::new(mac, secret), message, given).is_ok()
        }
        Material::Rsa { n, e } if Algorithm::RSA.contains(&algorithm) => {
            signature::RsaPublicKeyComponents { n, e }
                .verify(rsa, message, given)
                .is_ok()
        }
        Material::Ec(point)
            if matches!(algorithm, Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512) =>
        {
            signature::UnparsedPublicKey::new(ec, point)
                .verify(message, given)
                .is_ok()
        }
        Material::Ed25519(bytes) if algorithm == Algorithm::EdDsa => {
            signature::UnparsedPublicKey::new(&signature::ED25519, bytes)
                .verify(message, given)
                .is_ok()
        }
        _ => return Err("the key does not fit the algorithm".into()),
    })
}

/// The public key of RFC 7515 appendix A.3 under a name.
pub(crate) fn p256_jwk(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
