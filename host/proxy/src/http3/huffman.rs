//! The Huffman code of strings (RFC 7541 appendix B). It is canonical: the lengths of the codes say all.

use bytes::{BufMut as _, BytesMut};

/// Lengths of the codes of all bytes, in bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
/// Longest code.
const MAX: usize = 30;
/// Codes up to this length are looked up at once.
const QUICK: u32 = 8;

struct Tables {
    codes: [u32; 256],
    /// Bytes in the order of their codes.
    symbols: [u8; 256],
    /// By length: first code of the length, moved to the left end of 32 bits, that is too large for it.
    ends: [u32; MAX + 1],
    /// By length: place in `symbols` of the code 0 of this length, if it existed.
    offsets: [i64; MAX + 1],
    /// By the next 8 bits: byte and length, 0 if the code is longer.
    quick: [(u8, u8); 1 << QUICK],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; 256],
        symbols: [0; 256],
        ends: [0; MAX + 1],
        offsets: [0; MAX + 1],
        quick: [(0, 0); 1 << QUICK],
    };
    let mut code: u32 = 0;
    let mut placed = 0;
    let mut length = 1;
    while length <= MAX {
        code <<= 1;
        tables.offsets[length] = placed as i64 - code as i64;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.symbols[placed] = symbol as u8;
                if length <= QUICK as usize {
                    let room = QUICK as usize - length;
                    let mut rest = 0;
                    while rest < 1 << room {
                        tables.quick[((code as usize) << room) + rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.ends[length] = code << (32 - length);
        length += 1;
    }
    tables
}

/// A string that is not in the code, has the end mark in it, or is padded wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Appends the decoded string: at most 8/5 of the bytes of `input`.
pub(crate) fn decode(input: &[u8], output: &mut BytesMut) -> Result<(), Malformed> {
    output.reserve(input.len() * 8 / 5 + 1);
    // the next bits stand at the left end
    let mut window: u64 = 0;
    let mut held: u32 = 0;
    let mut input = input.iter();
    loop {
        while held <= 56 {
            let Some(byte) = input.next() else { break };
            window |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let (symbol, length) = TABLES.quick[(window >> (64 - QUICK)) as usize];
        let (symbol, length) = if length > 0 {
            (symbol, u32::from(length))
        } else {
            match long(window) {
                Some(found) => found,
                None => break,
            }
        };
        if length > held {
            break;
        }
        output.put_u8(symbol);
        window <<= length;
        held -= length;
    }
    // RFC 7541 section 5.2: less than a byte is left, and its bits are the first of the end mark, which are ones
    if held >= 8 || window != !u64::MAX.checked_shr(held).unwrap_or(0) {
        return Err(Malformed);
    }
    Ok(())
}

/// A code longer than [`QUICK`] bits.
fn long(window: u64) -> Option<(u8, u32)> {
    let next = u32::try_from(window >> 32).unwrap_or(u32::MAX);
    let length = (QUICK as usize + 1..=MAX).find(|length| next < TABLES.ends[*length])?;
    let code = next >> (32 - length);
    let place = usize::try_from(i64::from(code) + TABLES.offsets[length]).ok()?;
    Some((*TABLES.symbols.get(place)?, u32::try_from(length).ok()?))
}

/// Bytes that the encoded string takes.
pub(crate) fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = text
        .iter()
        .map(|byte| usize::from(LENGTHS[usize::from(*byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the encoded string.
pub(crate) fn encode(text: &[u8], output: &mut BytesMut) {
    let mut window: u64 = 0;
    let mut held: u32 = 0;
    for byte in text {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        window = window << length | u64::from(TABLES.codes[usize::from(*byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            output.put_u8((window >> held & 0xff) as u8);
        }
    }
    if held > 0 {
        let padding = 8 - held;
        output.put_u8(((window << padding | ((1 << padding) - 1)) & 0xff) as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut output = BytesMut::new();
        decode(input, &mut output).map(|()| output.to_vec())
    }

    #[test]
    fn strings_of_the_standard_are_read() {
        // RFC 7541 appendix C.4 and C.6
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(decoded(&bytes), Ok(text.as_bytes().to_vec()));
            let mut output = BytesMut::new();
            encode(text.as_bytes(), &mut output);
            assert_eq!(output, bytes);
        }
    }

    #[test]
    fn padding_is_short_and_of_ones_and_the_end_mark_is_refused() {
        assert_eq!(decoded(&[0x1f]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0x1e]), Err(Malformed));
        assert_eq!(decoded(&[0x1f, 0xff]), Err(Malformed));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut output = BytesMut::new();
            encode(&text, &mut output);
            prop_assert_eq!(output.len(), encoded_length(&text));
            prop_assert_eq!(decoded(&output), Ok(text));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(text) = decoded(&bytes) {
                let mut output = BytesMut::new();
                encode(&text, &mut output);
                prop_assert_eq!(&output[..], &bytes[..]);
            }
        }
    }
}
