//! Percent-encoding as AWS wants it (RFC 3986 section 2.1, unreserved characters stay), and hexadecimal digits.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::{Malformed, malformed::excerpt};

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes everything but unreserved characters, with upper-case digits; a space becomes `%20`, a slash `%2F`.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    percent_encode(bytes.as_ref(), RESERVED).to_string()
}

/// Decodes a name or value of a query: percent-escapes, and `+` as a space, which is how forms write it and the gateway reads it.
pub(crate) fn decode_query(text: &str) -> Result<Vec<u8>, Malformed> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Malformed::Escape(excerpt(text.get(at..).unwrap_or_default())));
        }
    }
    let spaced: Vec<u8> = text
        .bytes()
        .map(|byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Ok(percent_decode(&spaced).collect())
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Reads lower-case hexadecimal digits; none when there are others or an odd number.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    base16ct::lower::decode_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("azAZ09-._~"), "azAZ09-._~");
        assert_eq!(encode(" /+*%ü"), "%20%2F%2B%2A%25%C3%BC");
    }

    #[test]
    fn a_query_is_decoded_strictly() {
        assert_eq!(decode_query("a+b%2B%2f").unwrap(), b"a b+/");
        assert_eq!(decode_query("%ff").unwrap(), [255]);
        for text in ["%", "a%2", "%zz", "%+1", "%%41", "ü%"] {
            assert!(matches!(decode_query(text), Err(Malformed::Escape(_))), "{text}");
        }
    }

    #[test]
    fn hex_goes_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(
            (from_hex("0"), from_hex("0G"), from_hex("AB"), from_hex("")),
            (None, None, None, Some(vec![]))
        );
    }
}
