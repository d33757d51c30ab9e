//! The canonical request and the string to sign.

use crate::{Algorithm, Mac, Request, Timestamp, encode::encode, to_hex};

/// How the path of a request is written into the canonical request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStyle {
    /// Dot segments and empty segments are removed. All services but S3 do.
    pub normalize: bool,
    /// The path as it is sent is percent-encoded once more. All services but S3 do.
    pub encode_again: bool,
}

impl Default for PathStyle {
    /// That of every service but S3.
    fn default() -> Self {
        Self {
            normalize: true,
            encode_again: true,
        }
    }
}

/// The path of the canonical request.
#[must_use]
pub fn canonical_path(path: &str, style: PathStyle) -> String {
    let mut kept: Vec<&str> = Vec::new();
    if style.normalize {
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(kept.pop()),
                segment => kept.push(segment),
            }
        }
        // a slash at the end stays; what aws-c-auth and botocore do after `/..` and `/.` too
        if path.ends_with('/') && !kept.is_empty() {
            kept.push("");
        }
    } else {
        kept.extend(path.strip_prefix('/').unwrap_or(path).split('/'));
    }
    let mut canonical = String::with_capacity(path.len() + 8);
    for segment in &kept {
        canonical.push('/');
        if style.encode_again {
            canonical += &encode(segment);
        } else {
            canonical += segment;
        }
    }
    if canonical.is_empty() {
        canonical.push('/');
    }
    canonical
}

/// The canonical request. `query` is [`crate::Query::canonical`], `signed` are the names of the signed header fields in lower case and in
/// order. A field that is signed but not there counts as empty. The bytes of field values stay as they are.
#[must_use]
pub fn canonical_request(
    request: &Request<'_>,
    query: &str,
    signed: &[String],
    payload_hash: &str,
    style: PathStyle,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    for line in [request.method, &canonical_path(request.path, style), query] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    for name in signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        if name == "host" {
            push_value(&mut text, request.host.as_bytes());
        } else {
            for (index, value) in request.values(name).enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                push_value(&mut text, value);
            }
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// Writes a field value without white space around it and with single spaces for white space within it.
fn push_value(text: &mut Vec<u8>, value: &[u8]) {
    let words = value
        .split(|byte| matches!(byte, b' ' | 9..=13))
        .filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

/// The string to sign.
#[must_use]
pub fn string_to_sign(
    algorithm: Algorithm,
    time: Timestamp,
    scope: &str,
    canonical_request: &[u8],
    crypto: &impl Mac,
) -> String {
    let hash = to_hex(&crypto.sha256(canonical_request));
    [algorithm.name(), &time.basic(), scope, &hash].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_encoded_again() {
        let normal = PathStyle::default();
        for (path, wanted) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a//b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a"),
            ("/a%2Fb", "/a%252Fb"),
            ("/%2e%2e/a", "/%252e%252e/a"),
            ("/a%20b/ü~:@", "/a%2520b/%C3%BC~%3A%40"),
        ] {
            assert_eq!(canonical_path(path, normal), wanted, "{path}");
        }
    }

    #[test]
    fn paths_can_be_left_as_they_are() {
        let raw = PathStyle {
            normalize: false,
            encode_again: true,
        };
        for path in ["/", "//", "/a//b/", "/a/./b/../c", "/a/.."] {
            assert_eq!(canonical_path(path, raw), path);
        }
        let once = PathStyle {
            normalize: true,
            encode_again: false,
        };
        assert_eq!(canonical_path("/a%20b/../c%2F", once), "/c%2F");
    }

    #[test]
    fn header_values_are_trimmed_collapsed_and_joined_in_order_of_arrival() {
        let headers: [(&str, &[u8]); 4] = [
            ("x-b", b"  2 \t 2 "),
            ("x-a", b"\"a   b\""),
            ("x-b", b"1\xff"),
            ("host", b"not-this"),
        ];
        let request = Request {
            method: "GET",
            path: "/",
            query: "",
            host: "api.test:8080",
            headers: &headers,
        };
        let signed = ["host", "x-a", "x-b", "x-gone"].map(str::to_owned);
        let text = canonical_request(&request, "a=1", &signed, "HASH", PathStyle::default());
        let wanted = b"GET\n/\na=1\nhost:api.test:8080\nx-a:\"a b\"\nx-b:2 2,1\xff\nx-gone:\n\nhost;x-a;x-b;x-gone\nHASH";
        assert_eq!(text, wanted);
    }
}
