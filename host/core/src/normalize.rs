//! Request-target checks and normalisation (RFC 3986 section 6.2.2, RFC 9112 section 3.2), and
//! query decoding. The routers, the plugins and the upstream all see the path this file produces,
//! so that no two of them can disagree about which resource is meant.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Why a request path is refused. `at` is the byte offset in the path as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither empty nor relative paths, `*` or authorities are paths.
    #[error("path does not start with '/'")]
    NotAbsolute,
    /// A raw byte below 0x20, or 0x7f.
    #[error("path has control character 0x{byte:02x} at byte {at}")]
    Control {
        /// Offset of the byte.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// Some servers take a backslash for a slash, so it is refused raw; `%5C` passes, encoded.
    #[error("path has a backslash at byte {at}")]
    Backslash {
        /// Offset of the backslash.
        at: usize,
    },
    /// A query was not cut off before.
    #[error("path has a '?' at byte {at}")]
    Query {
        /// Offset of the question mark.
        at: usize,
    },
    /// Fragments are never sent (RFC 9112 section 3.2).
    #[error("path has a fragment at byte {at}")]
    Fragment {
        /// Offset of the number sign.
        at: usize,
    },
    /// A `%` that two hexadecimal digits do not follow.
    #[error("path has an invalid percent-encoding at byte {at}")]
    Percent {
        /// Offset of the percent sign.
        at: usize,
    },
    /// `%00`: cuts paths short in C programs behind the gateway.
    #[error("path has an encoded NUL (%00) at byte {at}")]
    Nul {
        /// Offset of the percent sign.
        at: usize,
    },
    /// `%2F` or `%5C`: one segment for some, two for others. The place is that in the normal form, as it is of those below.
    #[error(
        "path has an encoded slash or backslash at byte {at}; the listener's `encoded-slashes` lets them pass"
    )]
    EncodedSlash {
        /// Offset of the percent sign.
        at: usize,
    },
    /// `%252F` and the like: a slash, backslash, dot or NUL for servers that decode twice.
    #[error("path has a double encoding at byte {at}")]
    DoubleEncoding {
        /// Offset of the percent sign.
        at: usize,
    },
    /// `..;x` and the like: servers with path parameters take them off and go up.
    #[error("path has a disguised dot segment at byte {at}")]
    DotSegment {
        /// Offset of the segment, or of its part between encoded slashes.
        at: usize,
    },
}

/// Refuses a path in normal form that servers behind the gateway are known to read in different ways:
///
/// - encoded slashes and backslashes (`%2F`, `%5C`), unless `encoded_slashes`;
/// - dots, slashes, backslashes and NUL that are encoded twice or more often (`%252e`), and hexadecimal digits, of which such an
///   encoding can be made;
/// - dot segments with path parameters (`..;x`, also with the semicolon encoded), and between encoded slashes (`..%2Fx`).
///
/// Everything else means the same to everybody or is the upstream's business: `;v=1` and empty segments stay as they are.
///
/// # Errors
/// See [`PathError`].
pub fn refuse_ambiguous(path: &str, encoded_slashes: bool) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b';')) {
        return Ok(());
    }
    // begin of a part: a segment, or what is between encoded slashes of one
    let mut begin = 0;
    let mut at = 0;
    while at <= bytes.len() {
        let is_slash = |code: &[u8]| matches!(code, b"2F" | b"5C");
        let code = bytes.get(at + 1..at + 3).unwrap_or_default();
        let (ends, next) = match bytes.get(at) {
            Some(b'%') if is_slash(code) && !encoded_slashes => return Err(PathError::EncodedSlash { at }),
            Some(b'%') if code == b"25" && is_double_encoding(&bytes[at + 3..]) => {
                return Err(PathError::DoubleEncoding { at });
            }
            Some(b'%') => (is_slash(code), at + 3),
            Some(b'/') | None => (true, at + 1),
            Some(_) => (false, at + 1),
        };
        if ends {
            let part = &path[begin..at];
            let name = without_parameters(part);
            // without parameters, and between plain slashes, normalising has removed it
            if is_dot_segment(name) {
                return Err(PathError::DotSegment { at: begin });
            }
            begin = next;
        }
        at = next;
    }
    Ok(())
}

/// A part of a path up to its first semicolon, however often that is encoded.
fn without_parameters(part: &str) -> &str {
    let begins = |at: &usize| {
        let mut rest = &part[*at..];
        if let Some(encoded) = rest.strip_prefix('%') {
            rest = encoded;
            while let Some(deeper) = rest.strip_prefix("25") {
                rest = deeper;
            }
            return rest.get(..2).is_some_and(|code| code.eq_ignore_ascii_case("3B"));
        }
        true
    };
    let mut candidates = part.match_indices([';', '%']).map(|(at, _)| at);
    candidates.find(begins).map_or(part, |at| &part[..at])
}

/// Whether what follows `%25` makes it an encoding of something with a meaning in paths, however often that is encoded.
fn is_double_encoding(mut rest: &[u8]) -> bool {
    while let Some(deeper) = rest.strip_prefix(b"25") {
        rest = deeper;
    }
    let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let byte = digit(0).zip(digit(1)).map(|(high, low)| (high * 16 + low) as u8); // two digits fit
    // of a hexadecimal digit: it completes another encoding later (`%25252%2546` is `%252%46`, `%2F`, a slash)
    byte.is_some_and(|byte| matches!(byte, b'.' | b'/' | b'\\' | 0) || byte.is_ascii_hexdigit())
}

/// Checks `raw`, the path of a request target without its query, and returns its normal form:
///
/// - percent-encoded unreserved characters are decoded (`%7e` is `~`), other encodings keep their
///   encoding with upper-case digits (`%2f` is `%2F`, never a slash);
/// - characters RFC 3986 does not allow in a path (`"`, `<`, `|`, space, non-ASCII ...) are
///   encoded;
/// - dot segments are removed after that (`/a/%2e%2e/b` is `/b`), never climbing above `/`;
/// - empty segments stay (`/a//b`).
///
/// The result is normal itself: the function is idempotent. It borrows unless something changes.
/// The caller limits the length.
///
/// # Errors
/// See [`PathError`].
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let path = canonical_chars(raw)?;
    if has_dot_segment(&path) {
        return Ok(Cow::Owned(remove_dot_segments(&path)));
    }
    Ok(path)
}

/// The character-wise part of [`normalize_path`], for whole paths and for single segments.
pub(crate) fn canonical_chars(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    let mut at = 0;
    // Scan for the first byte that changes; most paths have none.
    while let Some(&byte) = bytes.get(at) {
        if PLAIN[usize::from(byte)] {
            at += 1;
        } else if byte == b'%' {
            let decoded = decode_at(bytes, at)?;
            if is_unreserved(decoded) || has_lower_hex(bytes, at) {
                return rewrite(raw, at);
            }
            at += 3;
        } else {
            refuse(byte, at)?;
            return rewrite(raw, at);
        }
    }
    Ok(Cow::Borrowed(raw))
}

/// Rewrites `raw` from byte `from` on, which is a character boundary before which nothing changes.
fn rewrite(raw: &str, from: usize) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(raw.len() + 8);
    out.push_str(&raw[..from]);
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        if PLAIN[usize::from(byte)] {
            out.push(char::from(byte));
            at += 1;
        } else if byte == b'%' {
            let decoded = decode_at(bytes, at)?;
            if is_unreserved(decoded) {
                out.push(char::from(decoded));
            } else {
                push_encoded(&mut out, decoded);
            }
            at += 3;
        } else {
            refuse(byte, at)?;
            push_encoded(&mut out, byte);
            at += 1;
        }
    }
    Ok(Cow::Owned(out))
}

/// The error for a byte that is not a path character, unless it is one that gets encoded.
fn refuse(byte: u8, at: usize) -> Result<(), PathError> {
    match byte {
        0..=0x1f | 0x7f => Err(PathError::Control { at, byte }),
        b'\\' => Err(PathError::Backslash { at }),
        b'?' => Err(PathError::Query { at }),
        b'#' => Err(PathError::Fragment { at }),
        _ => Ok(()),
    }
}

fn decode_at(bytes: &[u8], at: usize) -> Result<u8, PathError> {
    let digit = |offset: usize| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
    match (digit(1), digit(2)) {
        (Some(0), Some(0)) => Err(PathError::Nul { at }),
        // Two hexadecimal digits fit a byte.
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => Err(PathError::Percent { at }),
    }
}

fn has_lower_hex(bytes: &[u8], at: usize) -> bool {
    bytes[at + 1..at + 3].iter().any(u8::is_ascii_lowercase)
}

fn push_encoded(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

fn has_dot_segment(path: &str) -> bool {
    // Look at segments only where a segment starts with a dot at all.
    path.as_bytes().windows(2).any(|pair| pair == b"/.") && path.split('/').any(is_dot_segment)
}

/// Whether `segment` is `.` or `..`.
pub(crate) fn is_dot_segment(segment: &str) -> bool {
    segment == "." || segment == ".."
}

/// RFC 3986 section 5.2.4 for a path that starts with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if is_dot_segment(segment) {
            if segment == ".." {
                out.truncate(out.rfind('/').unwrap_or(0));
            }
            // A dot segment at the end leaves the slash before it.
            if last {
                out.push('/');
            }
        } else {
            out.push('/');
            out.push_str(segment);
        }
    }
    out
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` without percent-encodings, and the slash (RFC 3986 section 3.3).
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = is_unreserved(byte)
            || matches!(
                byte,
                b'!' | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'@'
                    | b'/'
            );
        byte += 1;
    }
    table
};

/// The name-value pairs of a query, in order and with repetitions, decoded as
/// `application/x-www-form-urlencoded`: `+` is a space, percent-encodings are decoded, those that
/// are invalid stay as they are, and bytes that are not UTF-8 become U+FFFD. Empty pairs are
/// skipped, a pair without `=` has an empty value. `raw` has no leading `?`. Borrows where nothing
/// has to be decoded; the caller limits the length.
pub fn parse_query(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_query(name), decode_query(value))
    })
}

fn decode_query(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(raw);
    }
    let spaced = raw.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_come_out_in_normal_form() {
        for (raw, normal) in [
            ("/", "/"),
            ("/pets/1", "/pets/1"),
            ("/pets/", "/pets/"),
            ("/%7euser/%41", "/~user/A"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb/%e4", "/a%2Fb/%E4"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/.%2E/b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("//", "//"),
            ("/.//a", "//a"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/..%2fb", "/..%2Fb"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/a|b\"{c}", "/a%7Cb%22%7Bc%7D"),
            ("/a;v=1,2:@!$&'()*+", "/a;v=1,2:@!$&'()*+"),
            ("/%5c%0A", "/%5C%0A"),
        ] {
            assert_eq!(normalize_path(raw).unwrap(), normal, "{raw}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for raw in ["/", "/pets/1", "/a%2Fb/.well-known//x/"] {
            assert!(matches!(normalize_path(raw), Ok(Cow::Borrowed(_))), "{raw}");
        }
    }

    #[test]
    fn malformed_paths_are_refused_with_the_place() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("example.com:443", PathError::NotAbsolute),
            ("/a\nb", PathError::Control { at: 2, byte: 10 }),
            ("/a\u{7f}", PathError::Control { at: 2, byte: 0x7f }),
            ("/a\0", PathError::Control { at: 2, byte: 0 }),
            ("/a\\..\\b", PathError::Backslash { at: 2 }),
            ("/a?b", PathError::Query { at: 2 }),
            ("/a#b", PathError::Fragment { at: 2 }),
            ("/%", PathError::Percent { at: 1 }),
            ("/%4", PathError::Percent { at: 1 }),
            ("/%zz", PathError::Percent { at: 1 }),
            ("/%+1", PathError::Percent { at: 1 }),
            ("/%7e/%g0", PathError::Percent { at: 5 }),
            ("/a%00", PathError::Nul { at: 2 }),
            ("/%41%00", PathError::Nul { at: 4 }),
        ] {
            assert_eq!(normalize_path(raw), Err(error), "{raw:?}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (path, strict, lenient) in [
            ("/", Ok(()), Ok(())),
            ("/a/b;v=1/c%20d/%25/100%25/%2525/x%2520y", Ok(()), Ok(())),
            ("/.well-known/..a;b/...;c/..%20%3Bd/a%3Bb", Ok(()), Ok(())),
            ("/a%2Fb", Err(PathError::EncodedSlash { at: 2 }), Ok(())),
            ("/a/b%5Cc", Err(PathError::EncodedSlash { at: 4 }), Ok(())),
            (
                "/a/..%2Fb",
                Err(PathError::EncodedSlash { at: 5 }),
                Err(PathError::DotSegment { at: 3 }),
            ),
            (
                "/a%2F..",
                Err(PathError::EncodedSlash { at: 2 }),
                Err(PathError::DotSegment { at: 5 }),
            ),
        ] {
            assert_eq!(refuse_ambiguous(path, false), strict, "{path}");
            assert_eq!(refuse_ambiguous(path, true), lenient, "{path}");
        }
        for (path, error) in [
            ("/a/..;/b", PathError::DotSegment { at: 3 }),
            ("/a/.;x=1", PathError::DotSegment { at: 3 }),
            ("/..;", PathError::DotSegment { at: 1 }),
            ("/a/..%3Bx/b", PathError::DotSegment { at: 3 }),
            ("/a/..%25253bx", PathError::DotSegment { at: 3 }),
            ("/a/%252e%252e/b", PathError::DoubleEncoding { at: 3 }),
            ("/a%252Fb", PathError::DoubleEncoding { at: 2 }),
            ("/a%255cb", PathError::DoubleEncoding { at: 2 }),
            ("/a%2500", PathError::DoubleEncoding { at: 2 }),
            ("/a%2525252fb", PathError::DoubleEncoding { at: 2 }),
            ("/a%25252%2546b", PathError::DoubleEncoding { at: 8 }),
        ] {
            for encoded_slashes in [false, true] {
                assert_eq!(refuse_ambiguous(path, encoded_slashes), Err(error), "{path}");
            }
        }
    }

    #[test]
    fn queries_decode_pair_by_pair() {
        let pairs: Vec<_> = parse_query("a=1&b=x+y%2Bz&&c&=d&a=%zz%4&e=%ff&f=g=h&%C3%A9=%e2%82%ac").collect();
        let expected = [
            ("a", "1"),
            ("b", "x y+z"),
            ("c", ""),
            ("", "d"),
            ("a", "%zz%4"),
            ("e", "\u{fffd}"),
            ("f", "g=h"),
            ("\u{e9}", "\u{20ac}"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (Cow::from(name), Cow::from(value)))
        );
        assert_eq!(parse_query("").count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn normalising_is_idempotent_and_leaves_no_dot_segments(
            raw in prop_oneof![
                "/(/|\\.|%2e|%2E|%2f|%2F|a|b|%61|%25|;|[^%\\x00]){0,24}",
                "/\\PC{0,24}",
            ],
        ) {
            if let Ok(once) = normalize_path(&raw) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(once.split('/').all(|segment| !is_dot_segment(segment)), "{}", once);
                prop_assert!(once.bytes().all(|b| PLAIN[usize::from(b)] || b == b'%'), "{}", once);
                prop_assert_eq!(normalize_path(&once), Ok(Cow::Borrowed(&*once)));
            }
        }

        /// Decoded as often as one likes, with or without path parameters: no dot segment appears, and no slash that was not there.
        #[test]
        fn what_passes_means_the_same_however_often_it_is_decoded(
            raw in "/(/|\\.|%2e|%2E|%2f|%5C|a|%61|%25|25|2e|2f|5c|00|;|%3B){0,16}",
        ) {
            let Ok(path) = normalize_path(&raw) else { return Ok(()) };
            if refuse_ambiguous(&path, false).is_err() {
                return Ok(());
            }
            let mut decoded = path.clone().into_owned();
            for _ in 0..4 {
                decoded = percent_decode(decoded.as_bytes()).decode_utf8_lossy().into_owned();
                prop_assert_eq!(decoded.matches('/').count(), path.matches('/').count(), "{}", decoded);
                prop_assert!(!decoded.contains(['\\', '\0']), "{}", decoded);
                for segment in decoded.split('/') {
                    prop_assert!(!is_dot_segment(segment), "{}", decoded);
                }
            }
        }

        #[test]
        fn any_query_parses(raw in "\\PC{0,40}") {
            prop_assert!(parse_query(&raw).count() <= raw.len() + 1);
        }
    }
}
