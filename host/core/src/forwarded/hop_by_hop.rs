//! Removal of the headers that are meant for one connection only (RFC 9110 section 7.6.1).

use http::header::{
    ACCEPT_ENCODING, AGE, ALLOW, ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES,
    HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, MAX_FORWARDS,
    ORIGIN, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY, VIA, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::CLAIMS;

/// Those of RFC 9110 section 7.6.1, the two of authentication at a proxy (section 11.7), for which the gateway is the end, and what once came along
/// with `Upgrade: h2c`. `Trailer` is not among them, trailers are passed on.
static STANDARD: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// For all recipients, so `Connection` must not name them (RFC 9110 section 7.6.1). A sender that does it anyway tries to make the gateway drop framing,
/// routing, what trusted proxies have said about it, or what plugins and upstreams go by. [`CLAIMS`] are as safe.
static END_TO_END: [HeaderName; 19] = [
    HOST,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CACHE_CONTROL,
    VIA,
    AUTHORIZATION,
    WWW_AUTHENTICATE,
    COOKIE,
    SET_COOKIE,
    ORIGIN,
    CONTENT_SECURITY_POLICY,
    STRICT_TRANSPORT_SECURITY,
    LOCATION,
    VARY,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// What means nothing in trailers, or the wrong thing to recipients that merge them with the head: framing, routing, request modifiers, authentication,
/// control data, and how content is to be read (RFC 9110 section 6.5.1).
static NO_TRAILERS: [HeaderName; 31] = [
    CONTENT_LENGTH,
    HOST,
    TRAILER,
    AUTHORIZATION,
    WWW_AUTHENTICATE,
    COOKIE,
    SET_COOKIE,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    ACCEPT_ENCODING,
    CACHE_CONTROL,
    EXPECT,
    MAX_FORWARDS,
    PRAGMA,
    RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    AGE,
    ALLOW,
    ALT_SVC,
    DATE,
    EXPIRES,
    LOCATION,
    RETRY_AFTER,
    VARY,
    VIA,
    WARNING,
];

/// Removes the hop-by-hop headers of a request or response, and those its `Connection` names unless they are end-to-end for certain: `Host`,
/// `Content-*`, `Cache-Control`, `Via`, fields of authentication and cookies, forwarding fields, `X-Request-Id` and the like. Those stay, as if they had
/// not been named. A `TE` that has `trailers` is replaced by `TE: trailers`, since the gateway passes trailers on; whoever writes it to HTTP/1.1 adds the
/// `Connection: TE` of RFC 9110 section 10.1.4.
///
/// The other names are the sender's own business: RFC 9110 section 7.6.1 wants them removed, and it is done before plugins look at the message and
/// before anything is added. So plugins and upstream see the same fields, and what the gateway or a plugin adds cannot be removed by naming it.
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

/// Whether a name is what RFC 9110 section 5.1 says: of names in HTTP/2 and HTTP/3 the library takes those with a quote for one, too.
#[must_use]
pub fn is_token(name: &HeaderName) -> bool {
    !name.as_str().contains('"')
}

/// Removes from trailers what does not belong there: hop-by-hop fields, forwarding fields, and those of RFC 9110 section 6.5.1. They are dropped rather
/// than refused, as the RFC wants of recipients.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let odd: SmallVec<[HeaderName; 1]> = trailers.keys().filter(|name| !is_token(name)).cloned().collect();
    for name in odd {
        trailers.remove(name);
    }
    for names in [&STANDARD[..], &NO_TRAILERS, &CLAIMS] {
        for name in names {
            trailers.remove(name);
        }
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
        .filter(|name| *name != TE && !END_TO_END.contains(name) && !CLAIMS.contains(name))
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
        let kept = END_TO_END.iter().chain(&CLAIMS);
        let mut headers: HeaderMap = kept
            .map(|name| (name.clone(), HeaderValue::from_static("x")))
            .collect();
        let names = headers
            .keys()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let expected = headers.clone();
        headers.insert(CONNECTION, format!("close, X-Own, {names}").parse().unwrap());
        headers.insert("x-own", HeaderValue::from_static("x"));
        strip(&mut headers);
        assert_eq!(headers, expected);
    }

    #[test]
    fn trailers_keep_what_is_about_the_content_only() {
        let mut trailers = HeaderMap::new();
        let refused = STANDARD.iter().chain(&NO_TRAILERS).chain(&CLAIMS);
        for name in refused {
            trailers.append(name, HeaderValue::from_static("x"));
        }
        for name in ["grpc-status", "server-timing", "x-checksum"] {
            trailers.append(name, HeaderValue::from_static("0"));
        }
        strip_trailers(&mut trailers);
        assert_eq!(trailers.len(), 3, "{trailers:?}");
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
