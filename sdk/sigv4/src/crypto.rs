//! The cryptography that callers bring along, and the two derivations of keys.

use crate::{Algorithm, TERMINATOR};

/// Hashes and MACs: what signing needs.
pub trait Mac {
    /// SHA-256, 32 bytes.
    fn sha256(&self, message: &[u8]) -> Vec<u8>;
    /// HMAC with SHA-256 (RFC 2104), 32 bytes.
    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8>;
}

/// What verifying needs besides.
pub trait Verify: Mac {
    /// Computes and compares an HMAC with SHA-256 in constant time.
    fn hmac_sha256_is(&self, key: &[u8], message: &[u8], mac: &[u8]) -> bool;
    /// Verifies an ECDSA signature (P-256, SHA-256) of the form `r || s`. The key is an uncompressed point, 65 bytes from 0x04 on.
    ///
    /// # Errors
    /// The key is no point of the curve.
    fn ecdsa_p256_is(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, String>;
}

/// The key of Signature Version 4 for one day, region and service.
#[must_use]
pub fn signing_key(secret: &str, date: &str, region: &str, service: &str, crypto: &impl Mac) -> Vec<u8> {
    let first = ["AWS4", secret].concat().into_bytes();
    [date, region, service, TERMINATOR]
        .iter()
        .fold(first, |key, part| crypto.hmac_sha256(&key, part.as_bytes()))
}

/// Order of the curve P-256 minus 2 (FIPS 186-5 appendix A.2.2 with NIST SP 800-186 section 3.2.1.3).
const ORDER_MINUS_2: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];

/// The private key of Signature Version 4a, 32 bytes: made of id and secret by a key derivation function in counter mode (NIST SP
/// 800-108) whose outputs that are too large are thrown away. None after 254 of those, which does not happen.
#[must_use]
pub fn private_key(access_key_id: &str, secret: &str, crypto: &impl Mac) -> Option<Vec<u8>> {
    let key = format!("AWS4A{secret}").into_bytes();
    let output_bits = 256_u32.to_be_bytes();
    (1..=254_u8).find_map(|counter| {
        let label = Algorithm::EcdsaP256Sha256.name().as_bytes();
        let mut input = 1_u32.to_be_bytes().to_vec();
        for part in [label, &[0], access_key_id.as_bytes(), &[counter], &output_bits] {
            input.extend_from_slice(part);
        }
        let candidate = crypto.hmac_sha256(&key, &input);
        (candidate.len() == 32 && candidate.as_slice() <= &ORDER_MINUS_2[..]).then(|| plus_one(candidate))
    })
}

/// Adds one to a big-endian number that is not the largest of its length.
fn plus_one(mut number: Vec<u8>) -> Vec<u8> {
    for byte in number.iter_mut().rev() {
        let (sum, over) = byte.overflowing_add(1);
        *byte = sum;
        if !over {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one answer after another, whatever is asked.
    struct Scripted(std::cell::RefCell<Vec<Vec<u8>>>);

    impl Mac for Scripted {
        fn sha256(&self, _message: &[u8]) -> Vec<u8> {
            Vec::new()
        }

        fn hmac_sha256(&self, _key: &[u8], _message: &[u8]) -> Vec<u8> {
            self.0.borrow_mut().remove(0)
        }
    }

    #[test]
    fn candidates_above_the_order_are_thrown_away() {
        let mut too_large = ORDER_MINUS_2.to_vec();
        too_large[31] += 1;
        let answers = Scripted(vec![vec![0xff; 32], too_large, ORDER_MINUS_2.to_vec()].into());
        let mut wanted = ORDER_MINUS_2.to_vec();
        wanted[31] += 1;
        assert_eq!(private_key("AKID", "secret", &answers), Some(wanted));
    }

    #[test]
    fn one_is_added_with_carry() {
        assert_eq!(plus_one(vec![0, 0xff, 0xff]), [1, 0, 0]);
        assert_eq!(plus_one(vec![1, 2]), [1, 3]);
    }
}
