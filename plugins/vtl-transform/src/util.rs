//! The functions of `$util` on texts.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// Takes padding or none.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// As `StringEscapeUtils.escapeJavaScript` of Apache Commons: also `'` and `/` get a backslash, and what is not ASCII is `\uXXXX`.
#[must_use]
pub fn escape_java_script(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' | '/' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' | '\u{7f}' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    out
}

/// As `java.net.URLEncoder` (the form of `application/x-www-form-urlencoded`).
#[must_use]
pub fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The way back; what is no escape stays.
#[must_use]
pub fn url_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    rest = behind;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

/// Base64 with padding (RFC 4648 section 4).
#[must_use]
pub fn base64_encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The way back; white space is skipped, and none comes of what is no base64.
#[must_use]
pub fn base64_decode(text: &str) -> Option<String> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = LENIENT.decode(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_apache_commons_does() {
        for (text, escaped) in [
            ("it's", r"it\'s"),
            (r#"{"a": "b\c"}"#, r#"{\"a\": \"b\\c\"}"#),
            ("a/b", r"a\/b"),
            ("\u{1}\n\t\r\u{8}\u{c}", r"\u0001\n\t\r\b\f"),
            ("é😀", r"\u00E9\uD83D\uDE00"),
            ("", ""),
        ] {
            assert_eq!(escape_java_script(text), escaped);
        }
    }

    #[test]
    fn url_encoding_is_that_of_forms() {
        assert_eq!(url_encode("x=a+b c/é*~"), "x%3Da%2Bb+c%2F%C3%A9*%7E");
        assert_eq!(url_decode("x=a+b%2fc%C3%A9"), "x=a b/cé");
        assert_eq!(url_decode("%%41%4%zz%"), "%A%4%zz%");
    }

    #[test]
    fn base64_comes_with_padding_and_is_read_without() {
        assert_eq!(base64_encode("hello"), "aGVsbG8=");
        for text in ["aGVsbG8=", "aGVsbG8", "aGVs\r\nbG8="] {
            assert_eq!(base64_decode(text).as_deref(), Some("hello"));
        }
        assert_eq!(base64_decode("?"), None);
    }
}
