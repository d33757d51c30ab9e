//! The cryptography of the tests, and keys.

use crate::{HostCrypto, Mac, Verify};
use aws_lc_rs::{agreement, digest, hmac, signature};

pub(super) const ID: &str = "AKIDEXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

pub(super) struct Crypto;

impl Mac for Crypto {
    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA256, message).as_ref().to_vec()
    }

    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, message).as_ref().to_vec()
    }
}

impl Verify for Crypto {
    fn hmac_sha256_is(&self, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, mac).is_ok()
    }

    fn ecdsa_p256_is(&self, public_key: &[u8], message: &[u8], given: &[u8]) -> Result<bool, String> {
        let key = signature::ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public_key)
            .map_err(|error| error.to_string())?;
        Ok(key.verify_sig(message, given).is_ok())
    }
}

/// The public key of a P-256 private key of 32 bytes, as an uncompressed point; none when it is no private key.
pub(super) fn p256_public_key(private_key: &[u8]) -> Option<Vec<u8>> {
    let key = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, private_key).ok()?;
    Some(key.compute_public_key().ok()?.as_ref().to_vec())
}

#[test]
fn the_cryptography_of_the_gateway_does_the_same() {
    for message in ["", "a", "the quick brown fox"].map(str::as_bytes) {
        assert_eq!(HostCrypto.sha256(message), Crypto.sha256(message));
        let mac = HostCrypto.hmac_sha256(SECRET.as_bytes(), message);
        assert_eq!(mac, Crypto.hmac_sha256(SECRET.as_bytes(), message));
        assert!(HostCrypto.hmac_sha256_is(SECRET.as_bytes(), message, &mac));
        assert!(!HostCrypto.hmac_sha256_is(ID.as_bytes(), message, &mac));
    }
}
