//! Signatures, MACs and hashes of the fake host, by the provider that the gateway uses.

use aws_lc_rs::signature::{self as aws, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, digest, hmac as aws_hmac};

use crate::crypto::{HashAlgorithm, PublicKey, SignatureAlgorithm};

enum Scheme {
    Rsa(&'static aws::RsaParameters),
    Ec(&'static dyn VerificationAlgorithm),
    Ed25519,
}

fn scheme(algorithm: SignatureAlgorithm) -> Scheme {
    match algorithm {
        SignatureAlgorithm::Rs256 => Scheme::Rsa(&aws::RSA_PKCS1_2048_8192_SHA256),
        SignatureAlgorithm::Rs384 => Scheme::Rsa(&aws::RSA_PKCS1_2048_8192_SHA384),
        SignatureAlgorithm::Rs512 => Scheme::Rsa(&aws::RSA_PKCS1_2048_8192_SHA512),
        SignatureAlgorithm::Ps256 => Scheme::Rsa(&aws::RSA_PSS_2048_8192_SHA256),
        SignatureAlgorithm::Ps384 => Scheme::Rsa(&aws::RSA_PSS_2048_8192_SHA384),
        SignatureAlgorithm::Ps512 => Scheme::Rsa(&aws::RSA_PSS_2048_8192_SHA512),
        SignatureAlgorithm::Es256 => Scheme::Ec(&aws::ECDSA_P256_SHA256_FIXED),
        SignatureAlgorithm::Es384 => Scheme::Ec(&aws::ECDSA_P384_SHA384_FIXED),
        SignatureAlgorithm::Es512 => Scheme::Ec(&aws::ECDSA_P521_SHA512_FIXED),
        SignatureAlgorithm::Ed25519 => Scheme::Ed25519,
    }
}

pub fn verify(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, String> {
    let checked = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        aws::ParsedPublicKey::new(algorithm, key)
            .map(|key| key.verify_sig(message, signature).is_ok())
            .map_err(|error| format!("key is malformed: {error}"))
    };
    match (scheme(algorithm), key) {
        (Scheme::Rsa(parameters), PublicKey::Rsa(key)) => {
            if !(2048..=8192).contains(&(key.n.len() * 8)) || key.e.is_empty() {
                return Err(format!(
                    "rsa key of {} bits is not within 2048 to 8192",
                    key.n.len() * 8
                ));
            }
            let key = RsaPublicKeyComponents { n: &key.n, e: &key.e };
            Ok(key.verify(parameters, message, signature).is_ok())
        }
        (Scheme::Rsa(parameters), PublicKey::Spki(key)) => checked(parameters, key),
        (Scheme::Ec(algorithm), PublicKey::Ec(key) | PublicKey::Spki(key)) => checked(algorithm, key),
        (Scheme::Ed25519, PublicKey::Ed25519(key)) if key.len() != 32 => {
            Err(format!("ed25519 key of {} bytes is not 32 bytes", key.len()))
        }
        (Scheme::Ed25519, PublicKey::Ed25519(key)) => Ok(UnparsedPublicKey::new(&aws::ED25519, key)
            .verify(message, signature)
            .is_ok()),
        (Scheme::Ed25519, PublicKey::Spki(key)) => checked(&aws::ED25519, key),
        (_, PublicKey::Rsa(_)) => Err(format!("an rsa key does not fit {algorithm:?}")),
        (_, PublicKey::Ec(_)) => Err(format!("an ec key does not fit {algorithm:?}")),
        (_, PublicKey::Ed25519(_)) => Err(format!("an ed25519 key does not fit {algorithm:?}")),
    }
}

fn hmac_key(algorithm: HashAlgorithm, key: &[u8]) -> aws_hmac::Key {
    let algorithm = match algorithm {
        HashAlgorithm::Sha256 => aws_hmac::HMAC_SHA256,
        HashAlgorithm::Sha384 => aws_hmac::HMAC_SHA384,
        HashAlgorithm::Sha512 => aws_hmac::HMAC_SHA512,
    };
    aws_hmac::Key::new(algorithm, key)
}

pub fn hmac(algorithm: HashAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    aws_hmac::sign(&hmac_key(algorithm, key), message)
        .as_ref()
        .to_vec()
}

pub fn hmac_verify(algorithm: HashAlgorithm, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
    aws_hmac::verify(&hmac_key(algorithm, key), message, mac).is_ok()
}

pub fn hash(algorithm: HashAlgorithm, message: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, message).as_ref().to_vec()
}

pub fn constant_time_equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}
