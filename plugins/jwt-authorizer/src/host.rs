//! The seams of the logic, answered by the gateway.

use edgeward_sdk::{
    Allowed, ContextValue, clock,
    crypto::{self, HashAlgorithm, PublicKey, RsaKey, SignatureAlgorithm},
    http_client, kv, log,
    matcher::RegexSet,
    secret,
};

use crate::{algorithm::Algorithm, authorizer::Accepted, jwk::Material, outside::Outside};

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) audience: Option<RegexSet>,
}

impl Outside for Gateway {
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        secret::get(name).map_err(|error| format!("secret {name:?}: {}", error.reason()))
    }

    fn fetch(&self, url: &str, timeout_ms: u32) -> Result<(u16, Vec<u8>), String> {
        let request = http_client::Request::get(url)
            .header("accept", "application/jwk-set+json, application/json")
            .timeout_ms(timeout_ms);
        let response = http_client::send(&request).map_err(|error| error.reason().to_owned())?;
        Ok((response.status, response.body))
    }

    fn read(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let entry = kv::get(store, key).map_err(|error| store_failed(store, &error))?;
        Ok(entry.map(|entry| entry.value))
    }

    fn write(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        kv::set(store, key, value, Some(ttl_ms))
            .map(|_version| ())
            .map_err(|error| store_failed(store, &error))
    }

    fn write_if_absent(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<bool, String> {
        let version = kv::compare_and_set(store, key, 0, value, Some(ttl_ms));
        version
            .map(|version| version.is_some())
            .map_err(|error| store_failed(store, &error))
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        key: &Material,
        message: &[u8],
        given: &[u8],
    ) -> Result<bool, String> {
        let key = match key {
            Material::Secret(secret) => {
                return Ok(crypto::hmac_verify(mac(algorithm)?, secret, message, given));
            }
            Material::Rsa { n, e } => PublicKey::Rsa(RsaKey {
                n: n.clone(),
                e: e.clone(),
            }),
            Material::Ec(point) => PublicKey::Ec(point.clone()),
            Material::Ed25519(bytes) => PublicKey::Ed25519(bytes.clone()),
        };
        crypto::verify(signature(algorithm)?, &key, message, given)
    }

    fn audience_matches(&self, audience: &str) -> bool {
        let audience = audience.as_bytes();
        self.audience.is_some_and(|set| set.is_match(audience))
    }

    fn log(&self, level: log::Level, message: &str) {
        log::log(level, message);
    }
}

fn store_failed(store: &str, error: &kv::Error) -> String {
    format!("kv store {store:?}: {}", error.reason())
}

fn mac(algorithm: Algorithm) -> Result<HashAlgorithm, String> {
    Ok(match algorithm {
        Algorithm::Hs256 => HashAlgorithm::Sha256,
        Algorithm::Hs384 => HashAlgorithm::Sha384,
        Algorithm::Hs512 => HashAlgorithm::Sha512,
        other => return Err(format!("{other} is no MAC")),
    })
}

fn signature(algorithm: Algorithm) -> Result<SignatureAlgorithm, String> {
    Ok(match algorithm {
        Algorithm::Rs256 => SignatureAlgorithm::Rs256,
        Algorithm::Rs384 => SignatureAlgorithm::Rs384,
        Algorithm::Rs512 => SignatureAlgorithm::Rs512,
        Algorithm::Ps256 => SignatureAlgorithm::Ps256,
        Algorithm::Ps384 => SignatureAlgorithm::Ps384,
        Algorithm::Ps512 => SignatureAlgorithm::Ps512,
        Algorithm::Es256 => SignatureAlgorithm::Es256,
        Algorithm::Es384 => SignatureAlgorithm::Es384,
        Algorithm::Es512 => SignatureAlgorithm::Es512,
        Algorithm::EdDsa => SignatureAlgorithm::Ed25519,
        other => return Err(format!("{other} is no signature algorithm")),
    })
}

/// The decision for a token that holds.
pub(crate) fn allowed(accepted: Accepted) -> Allowed {
    // not `to_string` of the value, which goes through `fmt` and takes a sixth of the decision; an object with text keys cannot fail
    let claims = ContextValue::Json(serde_json::to_string(&accepted.claims).unwrap_or_default());
    let Accepted {
        usage_key,
        ttl_seconds,
        principal,
        ..
    } = accepted;
    Allowed {
        usage_key,
        ttl_seconds,
        ..Allowed::new(principal)
    }
    .fact("claims", claims)
}
