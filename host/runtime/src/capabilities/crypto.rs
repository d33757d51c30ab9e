//! Capability `crypto`: aws-lc behind JOSE names.

use aws_lc_rs::{
    constant_time, digest, hmac,
    signature::{self, ParsedPublicKey, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm},
};
use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::crypto::{HashAlgorithm, Host, PublicKey, SignatureAlgorithm},
    state::HostState,
};

/// Bits of the RSA moduli that are taken (RFC 7518 section 3.3 asks for 2048 at least).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl Host for HostState {
    fn verify(
        &mut self,
        algorithm: SignatureAlgorithm,
        key: PublicKey,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<std::result::Result<bool, String>> {
        self.enter()?;
        Ok(verify(algorithm, &key, &message, &signature))
    }

    fn hmac(&mut self, algorithm: HashAlgorithm, key: Vec<u8>, message: Vec<u8>) -> Result<Vec<u8>> {
        self.enter()?;
        Ok(hmac::sign(&mac_key(algorithm, &key), &message).as_ref().to_vec())
    }

    fn hmac_verify(
        &mut self,
        algorithm: HashAlgorithm,
        key: Vec<u8>,
        message: Vec<u8>,
        mac: Vec<u8>,
    ) -> Result<bool> {
        self.enter()?;
        Ok(hmac::verify(&mac_key(algorithm, &key), &message, &mac).is_ok())
    }

    fn hash(&mut self, algorithm: HashAlgorithm, message: Vec<u8>) -> Result<Vec<u8>> {
        self.enter()?;
        let algorithm = match algorithm {
            HashAlgorithm::Sha256 => &digest::SHA256,
            HashAlgorithm::Sha384 => &digest::SHA384,
            HashAlgorithm::Sha512 => &digest::SHA512,
        };
        Ok(digest::digest(algorithm, &message).as_ref().to_vec())
    }

    fn constant_time_equal(&mut self, a: Vec<u8>, b: Vec<u8>) -> Result<bool> {
        self.enter()?;
        Ok(constant_time::verify_slices_are_equal(&a, &b).is_ok())
    }
}

fn mac_key(algorithm: HashAlgorithm, key: &[u8]) -> hmac::Key {
    let algorithm = match algorithm {
        HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
        HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::Key::new(algorithm, key)
}

fn verify(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    message: &[u8],
    signed: &[u8],
) -> std::result::Result<bool, String> {
    use SignatureAlgorithm as A;
    let rsa: Option<&signature::RsaParameters> = match algorithm {
        A::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        A::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        A::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        A::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        A::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        A::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        A::Es256 | A::Es384 | A::Es512 | A::Ed25519 => None,
    };
    let other: &'static dyn VerificationAlgorithm = match algorithm {
        A::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        A::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        A::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        _ => &signature::ED25519,
    };
    let by_bytes = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
        let key = ParsedPublicKey::new(algorithm, bytes)
            .map_err(|error| format!("malformed public key: {error}"))?;
        Ok(key.verify_sig(message, signed).is_ok())
    };
    match (rsa, key) {
        (Some(parameters), PublicKey::Rsa(key)) => {
            let bits = key.n.len() * 8;
            if !RSA_BITS.contains(&bits) {
                return Err(format!(
                    "RSA modulus of {bits} bits is not between {} and {}",
                    RSA_BITS.start(),
                    RSA_BITS.end()
                ));
            }
            let key = RsaPublicKeyComponents { n: &key.n, e: &key.e };
            Ok(key.verify(parameters, message, signed).is_ok())
        }
        (None, PublicKey::Ec(point)) if !matches!(algorithm, A::Ed25519) => by_bytes(other, point),
        (None, PublicKey::Ed25519(bytes)) if matches!(algorithm, A::Ed25519) => by_bytes(other, bytes),
        (Some(parameters), PublicKey::Spki(der)) => Ok(UnparsedPublicKey::new(parameters, der)
            .verify(message, signed)
            .is_ok()),
        (None, PublicKey::Spki(der)) => by_bytes(other, der),
        _ => Err(format!("a key of this type does not go with {algorithm:?}")),
    }
}
