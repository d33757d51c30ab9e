//! Integers with a prefix (RFC 7541 section 5.1), which HPACK and QPACK are made of.

use bytes::{Buf, BufMut};

/// Reads an integer whose first byte has `bits` (1 to 8) of it, as far as 62 bits. `None` when it is cut off, or larger.
pub(crate) fn read(input: &mut impl Buf, bits: u8) -> Option<u64> {
    let most = u8::MAX >> (8 - bits);
    let first = u64::from(next(input)? & most);
    if first < u64::from(most) {
        return Some(first);
    }
    let mut value = first;
    for shift in (0..56).step_by(7) {
        let byte = next(input)?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn next(input: &mut impl Buf) -> Option<u8> {
    input.has_remaining().then(|| input.get_u8())
}

/// Writes an integer, with `flags` in front of its first `bits`.
pub(crate) fn write(out: &mut impl BufMut, flags: u8, bits: u8, value: usize) {
    let most = usize::from(u8::MAX >> (8 - bits));
    if value < most {
        out.put_u8(flags | (value & 0xff) as u8);
        return;
    }
    out.put_u8(flags | (most & 0xff) as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8((rest & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        // RFC 7541 appendix C.1
        for (bits, value, bytes) in [
            (5, 10, &[10][..]),
            (5, 1337, &[31, 154, 10]),
            (8, 42, &[42]),
            (8, 255, &[255, 0]),
        ] {
            let mut out = Vec::new();
            write(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &bytes[..], bits), Some(value as u64));
        }
    }

    #[test]
    fn what_is_cut_off_or_beyond_all_bounds_is_none() {
        for bytes in [
            &[][..],
            &[31],
            &[31, 0x80],
            &[31, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        ] {
            assert_eq!(read(&mut &bytes[..], 5), None, "{bytes:?}");
        }
    }
}
