//! ECDSA signatures as clients send them (DER, RFC 3279 section 2.2.3) and as the gateway verifies them (`r || s`).

/// Turns a P-256 signature in DER into 64 bytes `r || s`; none when it is no such signature in the one form that DER allows.
#[must_use]
pub fn fixed_signature(der: &[u8]) -> Option<[u8; 64]> {
    let (0x30, body, []) = element(der)? else {
        return None;
    };
    let (0x02, r, rest) = element(body)? else {
        return None;
    };
    let (0x02, s, []) = element(rest)? else {
        return None;
    };
    let mut fixed = [0; 64];
    let (left, right) = fixed.split_at_mut(32);
    fill(left, r)?;
    fill(right, s)?;
    Some(fixed)
}

/// Tag and content of the first element, and what follows. Lengths above 127 do not occur: a P-256 signature has at most 72 bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = bytes else {
        return None;
    };
    let (content, rest) = rest.split_at_checked(usize::from(*length))?;
    (*length < 0x80).then_some((*tag, content, rest))
}

/// Writes a positive integer in the shortest form into 32 bytes.
fn fill(into: &mut [u8], integer: &[u8]) -> Option<()> {
    let digits = match integer {
        [0, rest @ ..] if rest.first().is_some_and(|high| *high >= 0x80) => rest,
        [high, ..] if *high < 0x80 && (*high != 0 || integer.len() == 1) => integer,
        _ => return None,
    };
    let from = into.len().checked_sub(digits.len())?;
    into.get_mut(from..)?.copy_from_slice(digits);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integer(number: &[u8]) -> Vec<u8> {
        let start = number
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(number.len() - 1);
        let mut content = number[start..].to_vec();
        if content[0] >= 0x80 {
            content.insert(0, 0);
        }
        let mut der = vec![2, u8::try_from(content.len()).unwrap()];
        der.extend(content);
        der
    }

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let body = [integer(r), integer(s)].concat();
        [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
    }

    #[test]
    fn forms_that_der_does_not_allow_are_refused() {
        assert!(fixed_signature(&[0x30, 6, 2, 1, 1, 2, 1, 2]).is_some());
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 6, 2, 1, 1, 2, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 2, 0],
            &[0x30, 7, 2, 1, 1, 2, 1, 2, 0],
            &[0x31, 6, 2, 1, 1, 2, 1, 2],
            &[0x30, 6, 3, 1, 1, 2, 1, 2],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 2],
            &[0x30, 6, 2, 1, 0x80, 2, 1, 2],
            &[0x30, 5, 2, 0, 2, 1, 2],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2],
            &[[0x30, 38, 2, 33, 1].as_slice(), &[0; 32], &[2, 1, 2]].concat(),
        ] {
            assert_eq!(fixed_signature(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_pair_of_numbers_comes_through(r in prop::array::uniform32(any::<u8>()), s in prop::array::uniform32(any::<u8>())) {
            let fixed = fixed_signature(&der(&r, &s)).unwrap();
            prop_assert_eq!(&fixed[..32], &r);
            prop_assert_eq!(&fixed[32..], &s);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = fixed_signature(&bytes);
        }
    }
}
