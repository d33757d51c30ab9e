//! Paths: what normalising makes of them, and what is refused as ambiguous.

use http::uri::PathAndQuery;

use crate::normalize::{PathError, normalize_path, parse_query, refuse_ambiguous};

/// A path in normal form is normal, means what the raw one means to a reader that knows RFC 3986 and nothing else, and if it is not refused as ambiguous,
/// means the same however often it is decoded. What is behind a question mark is read as a query.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (raw, query) = text.split_once('?').unwrap_or((text, ""));
    for (name, value) in parse_query(query) {
        assert!(name.len() + value.len() <= 3 * query.len());
    }
    let path = match (normalize_path(raw), naive(raw.as_bytes())) {
        (Ok(path), Some(naive)) => {
            assert_eq!(path.as_bytes(), naive, "{raw:?}");
            path
        }
        (Err(_), None) => return,
        (read, naive) => {
            assert_eq!(read.is_ok(), naive.is_some(), "{raw:?}: {read:?}, {naive:?}");
            return;
        }
    };
    is_normal(&path);
    assert_eq!(
        normalize_path(&path).as_deref(),
        Ok(&*path),
        "{raw:?} is not normal after once"
    );
    let target: PathAndQuery = path.parse().expect("a normal path is a request target");
    assert_eq!(target.path(), path, "the upstream sees another path");
    let strict = refuse_ambiguous(&path, false);
    let lenient = refuse_ambiguous(&path, true);
    match (strict, lenient) {
        (Ok(()), lenient) => {
            assert_eq!(lenient, Ok(()), "{path}");
            keeps_its_meaning(&path, true);
        }
        (Err(_), Ok(())) => keeps_its_meaning(&path, false),
        (Err(_), Err(error)) => assert!(!matches!(error, PathError::EncodedSlash { .. }), "{path}"),
    }
}

/// Only what RFC 3986 section 3.3 has in paths, encodings with upper-case digits and of nothing that needs none, no dot segments.
fn is_normal(path: &str) {
    assert!(path.starts_with('/'), "{path}");
    for segment in path.split('/') {
        assert!(segment != "." && segment != "..", "{path}");
        let mut rest = segment.bytes();
        while let Some(byte) = rest.next() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
            if !plain {
                assert_eq!(byte, b'%', "{path}");
                let digits = [rest.next(), rest.next()].map(|digit| digit.map_or(' ', char::from));
                assert!(
                    digits.iter().all(|digit| matches!(digit, '0'..='9' | 'A'..='F')),
                    "{path}"
                );
            }
        }
    }
}

/// Bytes of a path in normal form, the long way; `None` for what is no path.
fn naive(raw: &[u8]) -> Option<Vec<u8>> {
    let segments = raw.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut ends_with_slash = false;
    for segment in segments {
        let segment = naive_segment(segment)?;
        ends_with_slash = matches!(&*segment, b"." | b"..");
        match &*segment {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if ends_with_slash {
        kept.push(Vec::new());
    }
    let mut path = Vec::new();
    for segment in kept {
        path.push(b'/');
        path.extend(segment);
    }
    Some(path)
}

fn naive_segment(raw: &[u8]) -> Option<Vec<u8>> {
    let mut normal = Vec::new();
    let mut rest = raw;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let (byte, encoded) = match *first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                rest = rest.get(2..)?;
                (u8::from_str_radix(digits, 16).ok()?, true)
            }
            byte => (byte, false),
        };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match byte {
            0 => return None,
            _ if unreserved => normal.push(byte),
            _ if encoded => normal.extend(format!("%{byte:02X}").bytes()),
            b'\\' | b'#' | b'?' => return None,
            _ if byte.is_ascii_control() => return None,
            _ if b"!$&'()*+,;=:@".contains(&byte) => normal.push(byte),
            _ => normal.extend(format!("%{byte:02X}").bytes()),
        }
    }
    Some(normal)
}

/// Decoded to the end, no part of it goes up, and no slash, backslash or NUL appears; where encoded slashes pass, those are the only ones.
fn keeps_its_meaning(path: &str, strict: bool) {
    let slashes = |path: &[u8]| path.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    let mut decoded = decode(path.as_bytes());
    let most = slashes(if strict { path.as_bytes() } else { &decoded });
    loop {
        assert_eq!(slashes(&decoded), most, "{path}: {}", decoded.escape_ascii());
        assert!(!decoded.contains(&0), "{path}: {}", decoded.escape_ascii());
        for part in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(
                !matches!(name, b"." | b".."),
                "{path}: {}",
                decoded.escape_ascii()
            );
        }
        let again = decode(&decoded);
        if again == decoded {
            return;
        }
        decoded = again;
    }
}

/// Decodes once what is an encoding, and leaves what is none.
fn decode(path: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let code = digit(path.get(at + 1)).zip(digit(path.get(at + 2)));
        match code.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(code) if *byte == b'%' => {
                decoded.push(code);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}
