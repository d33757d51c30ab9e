//! Removal of the headers that are meant for one connection only (RFC 9110 section 7.6.1).

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// Those of RFC 9110 section 7.6.1, and the two of authentication at a proxy (section 11.7): the
/// gateway is where they end. `Trailer` is not among them, trailers are passed on.
static STANDARD: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// For all recipients, so `Connection` must not name them. A sender that does it anyway tries to
/// make the gateway drop framing, routing or what trusted proxies have said about it.
const END_TO_END: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    CACHE_CONTROL,
    VIA,
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// Removes the hop-by-hop headers of a request or response, and those its `Connection` names unless
/// they are end-to-end for certain (`Host`, `Content-Length`, `Cache-Control`, `Via`, forwarding
/// headers). A `TE` that has `trailers` is replaced by `TE: trailers`, since the gateway passes
/// trailers on; whoever writes it to HTTP/1.1 adds the `Connection: TE` of RFC 9110 section 10.1.4.
///
/// An upgrade has to be looked for before. Does not allocate without a `Connection` header.
pub fn strip(headers: &mut HeaderMap) {
    // most messages have none or one of them, and comparing is cheaper than looking up in vain
    let present: SmallVec<[&HeaderName; 4]> = STANDARD
        .iter()
        .filter(|name| headers.keys().any(|key| key == *name))
        .collect();
    if present.contains(&&CONNECTION) {
        strip_named(headers);
    }
    let trailers = present.contains(&&TE) && accepts_trailers(headers);
    for name in present {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what `Connection` names.
fn strip_named(headers: &mut HeaderMap) {
    let named: SmallVec<[HeaderName; 4]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        // `TE` is named where it is meant, and dealt with by the caller.
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .filter(|name| *name != TE && !END_TO_END.contains(name))
        .collect();
    for name in &named {
        headers.remove(name);
    }
}

/// Whether a `TE` (RFC 9110 section 10.1.4) asks for trailers.
fn accepts_trailers(headers: &HeaderMap) -> bool {
    let mut options = headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn standard_hop_by_hop_headers_go_with_or_without_connection() {
        let pairs = [
            ("accept", "*/*"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ];
        let left = ["accept: */*", "trailer: x-sum"];
        assert_eq!(stripped(&pairs), left);
        assert_eq!(stripped(&[&pairs[..], &[("connection", "close")]].concat()), left);
    }

    #[test]
    fn what_connection_names_goes_too() {
        let left = stripped(&[
            ("connection", "close, X-One"),
            ("connection", ",, x-two ,not a name, x-absent"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "3"),
            ("x-three", "4"),
        ]);
        assert_eq!(left, ["x-three: 4"]);
    }

    #[test]
    fn connection_cannot_remove_what_is_for_all_recipients() {
        let left = stripped(&[
            (
                "connection",
                "host, content-length, x-forwarded-for, Forwarded, cookie",
            ),
            ("host", "a"),
            ("content-length", "3"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ]);
        assert_eq!(
            left,
            [
                "content-length: 3",
                "forwarded: for=10.0.0.1",
                "host: a",
                "x-forwarded-for: 10.0.0.1"
            ]
        );
    }

    #[test]
    fn a_wish_for_trailers_stays() {
        assert_eq!(
            stripped(&[("connection", "TE"), ("te", "gzip;q=0.5, Trailers")]),
            ["te: trailers"]
        );
        assert_eq!(
            stripped(&[("te", "deflate"), ("te", "trailers")]),
            ["te: trailers"]
        );
        assert!(stripped(&[("te", "trailers;q=0.5x, nottrailers")]).is_empty());
    }
}
