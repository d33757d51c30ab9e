//! The cryptography of the gateway.

use edgeward_sdk::crypto::{self, HashAlgorithm, PublicKey, SignatureAlgorithm};

use crate::{Mac, Verify};

/// Hashes, MACs and signatures by the gateway's capability `crypto`, which is always granted; in native tests by the engine of the
/// gateway.
#[derive(Clone, Copy, Debug)]
pub struct HostCrypto;

impl Mac for HostCrypto {
    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        crypto::hash(HashAlgorithm::Sha256, message)
    }

    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        crypto::hmac(HashAlgorithm::Sha256, key, message)
    }
}

impl Verify for HostCrypto {
    fn hmac_sha256_is(&self, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
        crypto::hmac_verify(HashAlgorithm::Sha256, key, message, mac)
    }

    fn ecdsa_p256_is(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, String> {
        let key = PublicKey::Ec(public_key.to_vec());
        crypto::verify(SignatureAlgorithm::Es256, &key, message, signature)
    }
}
