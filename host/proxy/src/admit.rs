//! What is refused before any route or plugin is looked at: request targets, hosts and heads that are not what RFC 9110 and 9112 say or exceed the
//! limits. Returns what later steps need in normal form.

use std::borrow::Cow;

use edgeward_core::{
    config::Limits,
    forwarded::hop_by_hop,
    normalize::{PathError, normalize_path, refuse_ambiguous},
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts, uri::Authority};

/// Longest method, in bytes: twice that of the longest one registered.
const METHOD_MAX: usize = 32;

/// What a listener lets pass although servers read it in different ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lenient {
    /// `%2F` and `%5C` in paths.
    pub(crate) encoded_slashes: bool,
    /// Underscores in names of header fields.
    pub(crate) underscores: bool,
}

/// A request target in normal form.
#[derive(Debug)]
pub(crate) struct Admitted<'r> {
    /// Host and optional port.
    pub(crate) authority: Cow<'r, str>,
    /// Normalised path.
    pub(crate) path: Cow<'r, str>,
}

/// Checks a request head.
pub(crate) fn check<'r>(limits: &Limits, lenient: Lenient, head: &'r Parts) -> Result<Admitted<'r>, Reject> {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target as u64 > limits.uri.0 {
        return Err(Reject::new(
            RejectCode::UriTooLong,
            format!("request target of {target} bytes exceeds {}", limits.uri),
        ));
    }
    let fields = head.headers.len();
    if fields > usize::from(limits.header_count) {
        return Err(Reject::new(
            RejectCode::HeadTooLarge,
            format!("{fields} header fields exceed {}", limits.header_count),
        ));
    }
    let mut size = target;
    let mut odd: Option<&HeaderName> = None;
    for (name, value) in &head.headers {
        // `: ` and CRLF of every line count as they do on the wire
        size += name.as_str().len() + value.len() + 4;
        if memchr::memchr2(b'_', b'"', name.as_str().as_bytes()).is_some()
            && odd.is_none_or(hop_by_hop::is_token)
        {
            odd = Some(name);
        }
    }
    if size as u64 > limits.head.0 {
        return Err(Reject::new(
            RejectCode::HeadTooLarge,
            format!("request head of {size} bytes exceeds {}", limits.head),
        ));
    }
    // RFC 9113 section 8.2.1; HTTP/1.1 reads values without the blanks around them, and so would the next recipient
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    if head.headers.values().any(padded) {
        return Err(Reject::new(
            RejectCode::BadRequest,
            "a field value begins or ends with a blank",
        ));
    }
    match odd {
        Some(name) if !hop_by_hop::is_token(name) => {
            return Err(Reject::new(
                RejectCode::BadRequest,
                format!("`{name}` is not a field name"),
            ));
        }
        Some(name) if !lenient.underscores => {
            return Err(Reject::new(
                RejectCode::BadRequest,
                format!("field name `{name}` has an underscore; the listener's `underscores` lets it pass"),
            ));
        }
        _ => {}
    }
    let method = head.method.as_str().len();
    if method > METHOD_MAX {
        return Err(Reject::new(
            RejectCode::BadRequest,
            format!("method of {method} bytes exceeds {METHOD_MAX}"),
        ));
    }
    if head.method == Method::CONNECT {
        return Err(Reject::new(
            RejectCode::BadRequest,
            "method CONNECT is not served",
        ));
    }
    let authority = authority(head)?;
    let refuse = |error: PathError| Reject::new(RejectCode::BadRequest, format!("request target: {error}"));
    let path = normalize_path(head.uri.path()).map_err(refuse)?;
    refuse_ambiguous(&path, lenient.encoded_slashes).map_err(refuse)?;
    Ok(Admitted { authority, path })
}

/// The host asked for (RFC 9112 section 3.2): exactly one `Host` in HTTP/1.1, and none that contradicts `:authority` or an absolute-form target.
fn authority(head: &Parts) -> Result<Cow<'_, str>, Reject> {
    let bad = |detail: &str| Err(Reject::new(RejectCode::BadRequest, detail));
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return bad("more than one Host field");
    }
    let host = match host.map(HeaderValue::to_str) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return bad("Host field with bytes that no host has"),
    };
    if let Some(authority) = head.uri.authority() {
        if authority.as_str().contains('@') {
            return bad("request target with user information");
        }
        if !has_port_or_none(authority) {
            return bad("authority of the request target with a port that is none");
        }
        if head.version == http::Version::HTTP_11 && host.is_none() {
            return bad("no Host field");
        }
        // RFC 9113 section 8.3.1 forbids that they differ; of an absolute-form target RFC 9112 section 3.2.2 says that it wins, but not
        // everybody reads it so
        if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_str())) {
            return bad("Host field differs from the authority of the request target");
        }
        return Ok(Cow::Borrowed(authority.as_str()));
    }
    match host {
        Some("") | None if head.version == http::Version::HTTP_10 => Ok(Cow::Borrowed("")),
        None => bad("no Host field"),
        Some("") => bad("empty Host field"),
        Some(host) => match host.parse::<Authority>() {
            Ok(parsed) if !parsed.as_str().contains('@') && has_port_or_none(&parsed) => {
                Ok(Cow::Borrowed(host))
            }
            _ => bad("Host field is not a host"),
        },
    }
}

/// Whether what stands behind the host is a port, or nothing.
fn has_port_or_none(authority: &Authority) -> bool {
    let behind = authority
        .as_str()
        .get(authority.host().len()..)
        .unwrap_or_default();
    behind.is_empty()
        || behind
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// Makes one `Cookie` of those that HTTP/2 and HTTP/3 split for their compression (RFC 9113 section 8.2.3, RFC 9114 section 4.2.1): plugins and upstream
/// expect one.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    // always one: values that are, and a separator
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check_request(request: http::request::Builder) -> Result<(String, String), String> {
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&Limits::default(), Lenient::default(), &head)
            .map(|admitted| (admitted.authority.into_owned(), admitted.path.into_owned()))
            .map_err(|reject| reject.to_string())
    }

    #[test]
    fn usual_requests_pass_in_normal_form() {
        let request = Request::get("/a/../b/%7euser?q=1").header("host", "example.com:8080");
        assert_eq!(
            check_request(request).unwrap(),
            ("example.com:8080".to_owned(), "/b/~user".to_owned())
        );
    }

    #[test]
    fn an_absolute_target_agrees_with_host() {
        let request = Request::get("http://a.example/x").header("host", "A.example");
        assert_eq!(check_request(request).unwrap().0, "a.example");
    }

    #[test]
    fn requests_without_one_clear_host_are_refused() {
        for (request, part) in [
            (Request::get("/"), "no Host"),
            (
                Request::get("/").header("host", "a").header("host", "b"),
                "more than one",
            ),
            (Request::get("/").header("host", ""), "empty Host"),
            (Request::get("/").header("host", "user@a"), "not a host"),
            (Request::get("/").header("host", "a b"), "not a host"),
            (Request::get("/").header("host", "a:b"), "not a host"),
            (Request::get("/").header("host", "a:+1"), "not a host"),
            (Request::get("/").header("host", "[::1]:65536"), "not a host"),
            (Request::get("http://a:b/"), "port that is none"),
            (
                Request::builder().method("M".repeat(33).as_str()).uri("/"),
                "method of 33 bytes",
            ),
            (Request::get("/%00").header("host", "a"), "request target"),
            (
                Request::get("/")
                    .header("host", "a")
                    .header(HeaderName::from_lowercase(b"x\"y").unwrap(), "b"),
                "is not a field name",
            ),
            (
                Request::get("/").header("host", "a").header("x_user", "b"),
                "`x_user` has an underscore",
            ),
            (Request::get("http://u@a/"), "user information"),
            (
                Request::get("http://a/").header("host", "b"),
                "differs from the authority",
            ),
            (
                Request::get("http://a/").header("host", "a:80"),
                "differs from the authority",
            ),
        ] {
            let error = check_request(request).unwrap_err();
            assert!(error.contains(part), "{error} should contain {part}");
        }
    }

    #[test]
    fn heads_above_the_limits_are_refused_with_the_limit() {
        let long = format!("/{}", "a".repeat(9000));
        assert!(
            check_request(Request::get(long).header("host", "a"))
                .unwrap_err()
                .contains("exceeds 8KiB")
        );
        let mut request = Request::get("/").header("host", "a");
        for index in 0..101 {
            request = request.header(format!("x-{index}"), "v");
        }
        assert!(
            check_request(request)
                .unwrap_err()
                .contains("102 header fields exceed 100")
        );
        let request = Request::get("/")
            .header("host", "a")
            .header("x", "v".repeat(70_000));
        assert!(check_request(request).unwrap_err().contains("exceeds 64KiB"));
    }
}
