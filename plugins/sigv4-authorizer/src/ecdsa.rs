//! Public keys of P-256, made of private ones.

use p256::{SecretKey, elliptic_curve::sec1::ToSec1Point};

/// The public key of a private key of 32 bytes, as an uncompressed point of 65 bytes; none when it is no private key.
#[must_use]
pub fn public_key(private_key: &[u8]) -> Option<Vec<u8>> {
    let private = SecretKey::from_slice(private_key).ok()?;
    let point = private.public_key().to_sec1_point(false);
    Some(point.as_bytes().to_vec())
}

/// Makes the table that makes [`public_key`] fast. Called in `init`, so that it is part of the snapshot which requests start from.
pub fn warm_up() {
    std::hint::black_box(public_key(&[1; 32]));
}

/// Reads a public key as it is configured.
///
/// # Errors
/// It is no uncompressed point of the curve in hexadecimal digits.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let wrong = "is no uncompressed point of P-256: 130 hexadecimal digits from 04 on";
    let bytes = edgeward_sigv4::from_hex(&text.to_ascii_lowercase()).ok_or(wrong)?;
    let [4, ..] = bytes.as_slice() else {
        return Err(wrong.to_owned());
    };
    p256::PublicKey::from_sec1_bytes(&bytes).map_err(|_opaque| wrong)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};

    use super::*;

    #[test]
    fn public_keys_are_those_of_another_implementation() {
        warm_up();
        for byte in 1..=64 {
            let private = [byte; 32];
            let other = PrivateKey::from_private_key(&ECDH_P256, &private).unwrap();
            let other = other.compute_public_key().unwrap();
            assert_eq!(public_key(&private).unwrap(), other.as_ref());
        }
        assert_eq!(public_key(&[0; 32]), None);
        assert_eq!(public_key(&[0xff; 32]), None);
        assert_eq!(public_key(&[1; 5]), None);
    }

    #[test]
    fn configured_keys_are_points_of_the_curve() {
        let good = edgeward_sigv4::to_hex(&public_key(&[7; 32]).unwrap());
        assert_eq!(parse(&good), Ok(public_key(&[7; 32]).unwrap()));
        assert!(parse(&good.to_uppercase()).is_ok());
        let mut off_the_curve = good.clone();
        off_the_curve.replace_range(128.., if good.ends_with("00") { "01" } else { "00" });
        for bad in [
            "",
            "04",
            "zz",
            &good[2..],
            &off_the_curve,
            &good.replacen("04", "02", 1),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
