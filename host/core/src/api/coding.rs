//! Content codings (RFC 9110 section 8.4): which one a client accepts, and which responses may get one.

use http::{HeaderMap, HeaderName, StatusCode, header};

/// A content coding that the gateway makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950: with the header of zlib.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// Fields that tell of the bytes of a body, and are not true of it in another coding.
const OF_THE_BYTES: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Coding {
    /// All of them; what costs least for what it saves is first.
    pub const ALL: &'static [Self] = &[Self::Zstd, Self::Brotli, Self::Gzip, Self::Deflate];
    /// Those of Amazon API Gateway.
    pub const AWS: &'static [Self] = &[Self::Gzip, Self::Deflate];

    /// As `Content-Encoding` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn is_named(self, name: &str) -> bool {
        // RFC 9110 section 8.4.1.3
        name.eq_ignore_ascii_case(self.name()) || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }

    /// The coding that a client prefers of those in `known`, the first of them where it prefers none. `None` where it wants the body as it is, or names
    /// none of them itself: `*` is no name, as with AWS.
    #[must_use]
    pub fn accepted(headers: &HeaderMap, known: &[Self]) -> Option<Self> {
        let mut weights = [None; 4];
        let mut identity = 0;
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        for element in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = parts.next().map_or(Some(1000), thousandths) else {
                continue;
            };
            if name.eq_ignore_ascii_case("identity") {
                identity = weight;
            }
            for (at, coding) in known.iter().enumerate() {
                if let Some(kept) = weights.get_mut(at).filter(|_| coding.is_named(name)) {
                    *kept = Some(weight);
                }
            }
        }
        let mut best: Option<(Self, u16)> = None;
        for (coding, weight) in known.iter().zip(weights) {
            let weight = weight.unwrap_or(0);
            if weight > 0 && best.is_none_or(|(_, known)| weight > known) {
                best = Some((*coding, weight));
            }
        }
        best.filter(|(_, weight)| *weight >= identity)
            .map(|(coding, _)| coding)
    }
}

/// A weight in thousandths (RFC 9110 section 12.4.2).
fn thousandths(parameter: &str) -> Option<u16> {
    let value = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="))?
        .trim();
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(rest),
        "1" if rest == 0 => Some(1000),
        _ => None,
    }
}

/// Whether a response may be coded: it is a whole representation without a coding of its own, and nobody has said that it is to stay as it is.
/// Events and calls are messages that must not wait for each other.
#[must_use]
pub fn may_be_coded(status: StatusCode, headers: &HeaderMap) -> bool {
    let has_whole_body = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
    let is_live = || {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default()
            .trim();
        kind.eq_ignore_ascii_case("text/event-stream")
            || kind
                .get(..16)
                .is_some_and(|begin| begin.eq_ignore_ascii_case("application/grpc"))
    };
    let is_fixed = || {
        let mut values = headers.get_all(header::CACHE_CONTROL).iter();
        values.any(|value| {
            let value = value.to_str().unwrap_or_default();
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("no-transform"))
        })
    };
    has_whole_body && !headers.contains_key(header::CONTENT_ENCODING) && !is_live() && !is_fixed()
}

/// Removes what is not true of a body in another coding: its length, digests, ranges. A strong entity tag becomes weak.
pub fn recoded(headers: &mut HeaderMap) {
    for name in &OF_THE_BYTES {
        headers.remove(name);
    }
    if let Some(tag) = headers.get_mut(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = http::HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn a_client_gets_the_coding_that_it_names_with_the_largest_weight() {
        use Coding::{Brotli, Deflate, Gzip, Zstd};
        for (accept, expected, aws) in [
            ("gzip, deflate, br, zstd", Some(Zstd), Some(Gzip)),
            ("gzip, deflate, br", Some(Brotli), Some(Gzip)),
            ("GZIP", Some(Gzip), Some(Gzip)),
            ("x-gzip", Some(Gzip), Some(Gzip)),
            ("deflate;q=0.5, gzip;q=0.4", Some(Deflate), Some(Deflate)),
            ("zstd;q=0, gzip;q=0.001", Some(Gzip), Some(Gzip)),
            ("gzip ; q=1.000 , br;q=0.999", Some(Gzip), Some(Gzip)),
            ("gzip;q=0.5, identity", None, None),
            ("gzip, identity;q=0.5", Some(Gzip), Some(Gzip)),
            ("gzip;q=0.5, identity;q=0.5", Some(Gzip), Some(Gzip)),
            ("gzip;q=2", None, None),
            ("gzip;q=0.1234", None, None),
            ("gzip;level=9", None, None),
            ("br", Some(Brotli), None),
            ("*", None, None),
            ("*;q=1, compress", None, None),
            ("identity", None, None),
            ("gzip;q=0", None, None),
            ("", None, None),
        ] {
            let headers = fields(&[("accept-encoding", accept)]);
            assert_eq!(Coding::accepted(&headers, Coding::ALL), expected, "{accept}");
            assert_eq!(Coding::accepted(&headers, Coding::AWS), aws, "{accept}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new(), Coding::ALL), None);
        let mut both = fields(&[("accept-encoding", "br;q=0.1")]);
        both.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Coding::accepted(&both, Coding::ALL), Some(Gzip));
    }

    #[test]
    fn only_whole_representations_that_nobody_wants_unchanged_are_coded() {
        for (status, pairs, expected) in [
            (200, &[][..], true),
            (404, &[("content-type", "application/json")][..], true),
            (101, &[][..], false),
            (204, &[][..], false),
            (206, &[][..], false),
            (304, &[][..], false),
            (200, &[("content-encoding", "br")][..], false),
            (200, &[("cache-control", "max-age=3, No-Transform")][..], false),
            (200, &[("cache-control", "max-age=3")][..], true),
            (
                200,
                &[("content-type", "text/event-stream; charset=utf-8")][..],
                false,
            ),
            (200, &[("content-type", "application/grpc+proto")][..], false),
            (200, &[("content-type", "application/grpc-web")][..], false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                may_be_coded(status, &fields(pairs)),
                expected,
                "{status} {pairs:?}"
            );
        }
    }

    #[test]
    fn what_is_said_of_the_bytes_goes_and_strong_tags_become_weak() {
        let mut headers = fields(&[
            ("content-length", "5"),
            ("content-digest", "sha-256=:x:"),
            ("accept-ranges", "bytes"),
            ("etag", "\"a\""),
            ("content-type", "text/plain"),
        ]);
        recoded(&mut headers);
        assert_eq!(
            headers,
            fields(&[("etag", "W/\"a\""), ("content-type", "text/plain")])
        );
        recoded(&mut headers);
        assert_eq!(headers[header::ETAG], "W/\"a\"");
    }
}
