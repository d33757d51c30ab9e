//! Signatures, MACs and hashes at native speed. Always granted, also during `init`.

pub use crate::bindings::imports::edgeward::plugin::crypto::{
    HashAlgorithm, PublicKey, RsaKey, SignatureAlgorithm,
};
use crate::host::crypto as host;

/// Verifies a signature; a wrong one is `Ok(false)`. ECDSA signatures are `r || s` as in JOSE.
///
/// # Errors
/// The key does not fit the algorithm or is malformed.
pub fn verify(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, String> {
    host::verify(algorithm, key, message, signature)
}

/// Message authentication code (RFC 2104).
pub fn hmac(algorithm: HashAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    host::hmac(algorithm, key, message)
}

/// Computes and compares a MAC in constant time.
pub fn hmac_verify(algorithm: HashAlgorithm, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
    host::hmac_verify(algorithm, key, message, mac)
}

/// Digest of a message.
pub fn hash(algorithm: HashAlgorithm, message: &[u8]) -> Vec<u8> {
    host::hash(algorithm, message)
}

/// Compares in time that depends on the lengths only.
pub fn constant_time_equal(a: &[u8], b: &[u8]) -> bool {
    host::constant_time_equal(a, b)
}
