//! Heads (RFC 9112 sections 2 to 6): what is read, what is refused, and how the body behind is framed. Requests are read without any leniency,
//! responses with that of their RFC.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use edgeward_core::{
    config::Limits,
    forwarded::is_token_byte,
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request, response};
use smallvec::SmallVec;

use super::decode::Decoder;
use crate::upgrade::Wish;

/// Fields that are tokenised on the stack; more take an allocation.
const FIELDS: usize = 128;

/// A request head, and what it says about the connection.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: request::Parts,
    pub(super) body: Decoder,
    /// The connection may be used again.
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The client reads trailers.
    pub(super) trailers: bool,
    /// The client asks for another protocol (RFC 9110 section 7.8). For WebSocket the extensions of `parts` have a [`Wish`].
    pub(super) upgrade: bool,
}

/// Most empty lines before a request line.
const EMPTY_LINES_MAX: u8 = 4;

/// How far a head was looked at that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes that were searched for its end.
    seen: usize,
    /// Empty lines before it.
    empty: u8,
}

/// Takes a request head from the front of `buffer`; `None` when it is not whole yet.
///
/// # Errors
/// The answer to what is no request, or is one that proxies and servers are known to read differently, or exceeds the limits. The connection cannot be
/// used any further.
pub(super) fn parse(buffer: &mut BytesMut, scan: &mut Scan, limits: &Limits) -> Result<Option<Head>, Reject> {
    // RFC 9112 section 2.2: an empty line before the request line, left by some clients behind a body, is skipped
    while scan.seen <= 1 && buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        scan.seen = 0;
        scan.empty += 1;
        if scan.empty > EMPTY_LINES_MAX {
            return Err(bad(format!(
                "more than {EMPTY_LINES_MAX} empty lines before the request line"
            )));
        }
    }
    let from = scan.seen.saturating_sub(3);
    let Some(end) = head_end(buffer, from)? else {
        let seen = std::mem::replace(&mut scan.seen, buffer.len());
        return incomplete(buffer, seen, limits);
    };
    *scan = Scan::default();
    let text = buffer.split_to(end);
    if text.len() > raw_max(limits) {
        return Err(too_large(&text, limits));
    }
    read(text, limits).map(Some)
}

/// Where the empty line behind a head ends, if it is there. `from` is not above where it can begin.
///
/// # Errors
/// A line before ends without CR.
fn head_end(buffer: &[u8], from: usize) -> Result<Option<usize>, Reject> {
    for at in memchr::memchr_iter(b'\n', &buffer[from..]).map(|at| from + at) {
        let line = &buffer[..at];
        if !line.ends_with(b"\r") {
            return Err(bare_line_end());
        }
        if line.ends_with(b"\r\n\r") {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

fn bare_line_end() -> Reject {
    bad("request head has a bare CR or LF")
}

/// Looks at what there is of a head: whether it can still become one. `seen` bytes were looked at before, and are not again: a head may come byte by
/// byte.
fn incomplete(buffer: &[u8], seen: usize, limits: &Limits) -> Result<Option<Head>, Reject> {
    if buffer.len() > raw_max(limits) {
        return Err(too_large(buffer, limits));
    }
    // what never becomes a request is not waited for: TLS on a cleartext port, other protocols
    if seen < METHOD_WITHIN {
        let begin = &buffer[..buffer.len().min(METHOD_WITHIN)];
        let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let method = line.iter().take_while(|byte| is_token_byte(**byte)).count();
        if line.get(method).is_some_and(|byte| *byte != b' ' || method == 0) && line != b"\r" {
            return Err(bad("not an HTTP request"));
        }
    }
    // from the last byte that was looked at: it may be half of a line end
    let new = &buffer[seen.saturating_sub(1)..];
    let new = if seen > 0 {
        new.strip_prefix(b"\n").unwrap_or(new)
    } else {
        new
    };
    if has_bare_line_end(new.strip_suffix(b"\r").unwrap_or(new)) {
        return Err(bare_line_end());
    }
    Ok(None)
}

/// Bytes at the begin of a head in which its method has ended, if it has one.
const METHOD_WITHIN: usize = 64;

/// The wire form has more bytes than `admit` counts: method, version, blanks. It has the exact word below this.
fn raw_max(limits: &Limits) -> usize {
    limits.head.as_usize().saturating_add(1024)
}

fn too_large(text: &[u8], limits: &Limits) -> Reject {
    let line = memchr::memchr(b'\n', text).unwrap_or(text.len());
    if line as u64 > limits.uri.0 + 256 {
        Reject::new(
            RejectCode::UriTooLong,
            format!(
                "request target of more than {} bytes exceeds {}",
                limits.uri.0, limits.uri
            ),
        )
    } else {
        Reject::new(
            RejectCode::HeadTooLarge,
            format!("request head exceeds {}", limits.head),
        )
    }
}

fn bad(detail: impl Into<String>) -> Reject {
    Reject::new(RejectCode::BadRequest, detail)
}

/// CR without LF or LF without CR (RFC 9112 section 2.2 lets recipients take them for line ends; those that do and those that do not disagree on
/// where a message ends).
pub(super) fn has_bare_line_end(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', text).any(|at| {
        if text[at] == b'\r' {
            text.get(at + 1) != Some(&b'\n')
        } else {
            at == 0 || text[at - 1] != b'\r'
        }
    })
}

fn read(text: BytesMut, limits: &Limits) -> Result<Head, Reject> {
    let text = text.freeze();
    let allowed = usize::from(limits.header_count);
    let mut few = [const { MaybeUninit::uninit() }; FIELDS];
    let mut many = Vec::new();
    let fields: &mut [MaybeUninit<httparse::Header<'_>>] = if allowed <= FIELDS {
        &mut few[..allowed]
    } else {
        many.resize_with(allowed, MaybeUninit::uninit);
        &mut many
    };
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&text, fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("request head is malformed")),
        Err(httparse::Error::TooManyHeaders) => {
            let count = memchr::memchr_iter(b'\n', &text).count().saturating_sub(2);
            return Err(Reject::new(
                RejectCode::HeadTooLarge,
                format!("{count} header fields exceed {allowed}"),
            ));
        }
        // LF without CR was looked for before, CR without LF is in no part of a head
        Err(_) if has_bare_line_end(&text) => return Err(bare_line_end()),
        Err(error) => {
            return Err(bad(match error {
                httparse::Error::HeaderName => {
                    "a field name has bytes that no name has, or blanks before its colon"
                }
                httparse::Error::HeaderValue => "a field value has control characters",
                httparse::Error::Token => "method or request target has bytes that neither has",
                httparse::Error::Version => "HTTP version is not 1.0 or 1.1",
                _ => "request head is malformed",
            }));
        }
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(bad("request line is malformed"));
    };
    let slice = |part: &[u8]| text.slice_ref(part);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_ignored| bad("method is no token"))?;
    let version = if version == 1 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    if target.len() as u64 > limits.uri.0 {
        return Err(Reject::new(
            RejectCode::UriTooLong,
            format!("request target of {} bytes exceeds {}", target.len(), limits.uri),
        ));
    }
    // the parser would drop it, and others would not (RFC 9112 section 3.2)
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(bad("request target has a fragment"));
    }
    let uri = Uri::from_maybe_shared(slice(target.as_bytes()))
        .map_err(|error| bad("request target is no URI").because(error))?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 8); // with room for what the gateway adds
    let (mut framed, mut connected, mut te, mut upgrade) = (false, false, false, false);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|error| bad("a field name is no token").because(error))?;
        framed |= name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING;
        connected |= name == header::CONNECTION;
        te |= name == header::TE;
        upgrade |= name == header::UPGRADE;
        let value = HeaderValue::from_maybe_shared(slice(field.value))
            .map_err(|error| bad("a field value has control characters").because(error))?;
        headers
            .try_append(name, value)
            .map_err(|_ignored| Reject::new(RejectCode::HeadTooLarge, "too many header fields"))?;
    }
    let body = if framed {
        framing(&headers, version)?
    } else {
        Decoder::Done
    };
    let mut connection = Tokens::default();
    if connected {
        connection.read(&headers);
    }
    let keep_alive = !connection.close && (version == Version::HTTP_11 || connection.keep_alive);
    // RFC 9110 section 10.1.1
    let expects_continue = version == Version::HTTP_11
        && !body.is_done()
        && headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let trailers = te
        && headers
            .get_all(header::TE)
            .iter()
            .any(|value| has_token(value, b"trailers"));
    // RFC 9110 section 7.8: not in HTTP/1.0, and only where `Connection` names it
    upgrade &= version == Version::HTTP_11 && connection.upgrade;
    let mut request = http::Request::new(());
    if upgrade
        && headers
            .get_all(header::UPGRADE)
            .iter()
            .any(|value| has_token(value, b"websocket"))
    {
        request.extensions_mut().insert(Wish::Upgrade);
    }
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    let (parts, ()) = request.into_parts();
    Ok(Head {
        parts,
        body,
        keep_alive,
        expects_continue,
        trailers,
        upgrade,
    })
}

/// RFC 9112 section 6.3, without its leniency: one length or `chunked` alone, or no body.
fn framing(headers: &HeaderMap, version: Version) -> Result<Decoder, Reject> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(bad("more than one Content-Length field"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    match (length, coding) {
        (None, None) => Ok(Decoder::Done),
        (Some(_), Some(_)) => Err(bad("both Content-Length and Transfer-Encoding")),
        (None, Some(_)) if version == Version::HTTP_10 => Err(bad("Transfer-Encoding in HTTP/1.0")),
        (None, Some(coding)) => {
            if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(bad("Transfer-Encoding other than `chunked`"));
            }
            Ok(Decoder::chunked())
        }
        (Some(length), None) => match digits(length.as_bytes()) {
            Some(0) => Ok(Decoder::Done),
            Some(length) => Ok(Decoder::Length(length)),
            None => Err(bad("Content-Length is no number")),
        },
    }
}

/// A response head, and what it says about the connection.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) parts: response::Parts,
    pub(crate) body: Decoder,
    /// The connection may be used again.
    pub(crate) keep_alive: bool,
}

/// Largest response head.
const RESPONSE_MAX: usize = 64 << 10;
/// Most fields of a response.
const RESPONSE_FIELDS: usize = 200;

/// Takes the head of the response to a request with `method` from the front of `buffer`; `None` when it is not whole yet. Interim responses are
/// skipped (RFC 9110 section 15.2), but for 101, behind which HTTP has ended: whether it was asked for is the caller's to know.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_response(
    buffer: &mut BytesMut,
    method: &Method,
) -> Result<Option<ResponseHead>, &'static str> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; RESPONSE_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buffer.len() > RESPONSE_MAX => {
                return Err("response head is larger than 64 KiB");
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err("response has more than 200 header fields"),
            Err(_) => return Err("response head is malformed"),
        };
        let (Some(code), Some(version)) = (parsed.code, parsed.version) else {
            return Err("response head is malformed");
        };
        let status = StatusCode::from_u16(code).map_err(|_ignored| "response with a status that is none")?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            buffer.advance(length);
            continue;
        }
        let version = if version == 1 {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        };
        // where each field lies, since the head is cut off the buffer before it is sliced
        let base = buffer.as_ptr() as usize;
        let mut places = SmallVec::<[_; 24]>::new();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_ignored| "a field name is no token")?;
            let start = field.value.as_ptr() as usize - base;
            places.push((name, start..start + field.value.len()));
        }
        let text = buffer.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(places.len() + 4);
        for (name, place) in places.drain(..) {
            let value = HeaderValue::from_maybe_shared(text.slice(place))
                .map_err(|_ignored| "a field value has control characters")?;
            headers
                .try_append(name, value)
                .map_err(|_ignored| "response has too many header fields")?;
        }
        let mut connection = Tokens::default();
        if headers.contains_key(header::CONNECTION) {
            connection.read(&headers);
        }
        let mut keep_alive = !connection.close && (version == Version::HTTP_11 || connection.keep_alive);
        let body = response_framing(&headers, version, status, method, &mut keep_alive)?;
        // a length beside chunks is not that of the body, and must not be handed on as if it were (RFC 9112 section 6.3)
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        let mut response = http::Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        let (parts, ()) = response.into_parts();
        return Ok(Some(ResponseHead {
            parts,
            body,
            keep_alive,
        }));
    }
}

/// RFC 9112 section 6.3.
fn response_framing(
    headers: &HeaderMap,
    version: Version,
    status: StatusCode,
    method: &Method,
    keep_alive: &mut bool,
) -> Result<Decoder, &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *keep_alive = false;
        return Ok(Decoder::Done);
    }
    if *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Decoder::Done);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // with a length beside it one of the two lies: the chunks count, and nothing behind them is believed
        *keep_alive &= version == Version::HTTP_11 && !headers.contains_key(header::CONTENT_LENGTH);
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("response with a Transfer-Encoding other than `chunked`");
        }
        return Ok(Decoder::chunked());
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        *keep_alive = false;
        return Ok(Decoder::Close);
    };
    if lengths.any(|other| other != first) {
        return Err("response with different Content-Length fields");
    }
    match digits(first.as_bytes()) {
        Some(0) => Ok(Decoder::Done),
        Some(length) => Ok(Decoder::Length(length)),
        None => Err("response with a Content-Length that is no number"),
    }
}

/// Decimal digits and nothing else; not even a sign, blanks or a list.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[derive(Default)]
struct Tokens {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Tokens {
    fn read(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(header::CONNECTION) {
            self.close |= has_token(value, b"close");
            self.keep_alive |= has_token(value, b"keep-alive");
            self.upgrade |= has_token(value, b"upgrade");
        }
    }
}

/// Whether a list has a token, whatever its case.
pub(crate) fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        Limits::default()
    }

    /// Parses `text` as it arrives in pieces of `piece` bytes, and tells what is left behind the head.
    fn parse_in(text: &[u8], piece: usize) -> Result<Option<(Head, Vec<u8>)>, Reject> {
        let mut buffer = BytesMut::new();
        let mut scan = Scan::default();
        let mut read = 0;
        for part in text.chunks(piece) {
            buffer.extend_from_slice(part);
            read += part.len();
            if let Some(head) = parse(&mut buffer, &mut scan, &limits())? {
                buffer.extend_from_slice(&text[read..]);
                return Ok(Some((head, buffer.to_vec())));
            }
        }
        Ok(None)
    }

    fn head(text: &str) -> Head {
        parse_in(text.as_bytes(), usize::MAX).unwrap().unwrap().0
    }

    fn refused(text: &[u8]) -> String {
        match parse_in(text, usize::MAX) {
            Err(reject) => reject.to_string(),
            Ok(head) => panic!("{:?} was taken: {head:?}", text.escape_ascii().to_string()),
        }
    }

    #[test]
    fn a_head_is_read_whatever_the_pieces_it_comes_in() {
        let text = b"\r\nPOST /a%20b?x=1 HTTP/1.1\r\nHost: a\r\nX-Many: 1\r\nx-many:\t2 \r\nX-Obs: \xe9\r\nContent-Length: 3\r\n\r\nabcGET";
        for piece in 1..=text.len() {
            let (head, rest) = parse_in(text, piece).unwrap().unwrap();
            assert_eq!(head.parts.method, Method::POST);
            assert_eq!(head.parts.uri, "/a%20b?x=1");
            assert_eq!(
                head.parts.headers.get_all("x-many").iter().collect::<Vec<_>>(),
                ["1", "2"]
            );
            assert_eq!(head.parts.headers["x-obs"].as_bytes(), b"\xe9");
            assert_eq!(head.body.left(), Some(3));
            assert!(head.keep_alive);
            assert_eq!(rest, b"abcGET");
        }
    }

    #[test]
    fn connections_are_kept_as_version_and_field_say() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ] {
            assert_eq!(head(text).keep_alive, keep, "{text}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_where_connection_names_it() {
        for (text, upgrade, websocket) in [
            (
                "GET / HTTP/1.1\r\nUpgrade: h2c, WebSocket\r\nConnection: x, Upgrade\r\n\r\n",
                true,
                true,
            ),
            (
                "GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
                true,
                false,
            ),
            (
                "GET / HTTP/1.1\r\nUpgrade: websocket/13\r\nConnection: upgrade\r\n\r\n",
                true,
                false,
            ),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", false, false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n", false, false),
            (
                "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                false,
                false,
            ),
        ] {
            let head = head(text);
            assert_eq!(head.upgrade, upgrade, "{text}");
            assert_eq!(head.parts.extensions.get::<Wish>().is_some(), websocket, "{text}");
        }
    }

    #[test]
    fn bodies_are_framed_one_way_or_not_at_all() {
        assert!(head("GET / HTTP/1.1\r\n\r\n").body.is_done());
        assert!(
            head("POST / HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n")
                .body
                .is_done()
        );
        let chunked = head(
            "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\nte: gzip, trailers\r\nexpect: 100-Continue\r\n\r\n",
        );
        assert_eq!(chunked.body.left(), None);
        assert!(chunked.trailers && chunked.expects_continue);
        let old = head("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert!(!old.expects_continue);
    }

    #[test]
    fn what_others_read_differently_is_refused_with_a_reason() {
        for (text, part) in [
            (
                &b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
                "both",
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                "more than one Content-Length",
            ),
            (b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", "no number"),
            (b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", "no number"),
            (b"POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n", "no number"),
            (b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", "no number"),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "no number",
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "other than",
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
                "control",
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "other than",
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
                "other than",
            ),
            (
                b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.0",
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
                "field name",
            ),
            (b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", "field name"),
            (b"GET / HTTP/1.1\r\n X: a\r\n\r\n", "field name"),
            (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", "bare"),
            (b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", "bare"),
            (b"GET / HTTP/1.1\nHost: a\n\n", "bare"),
            (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", "control"),
            (b"GET / HTTP/1.1\r\nX y: a\r\n\r\n", "field name"),
            (b"GET / HTTP/1.1\r\nX\r\n\r\n", "field name"),
            (b"GET  / HTTP/1.1\r\n\r\n", "neither"),
            (b"GET /a b HTTP/1.1\r\n\r\n", "version"),
            (b"GET / HTTP/2.0\r\n\r\n", "version"),
            (b"GET / HTTP/0.9\r\n\r\n", "version"),
            (b"GET /a#b HTTP/1.1\r\n\r\n", "fragment"),
            (b"GET /\r\n\r\n", ""),
            (b"\x16\x03\x01\x02\x00\x01", "not an HTTP request"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ""),
        ] {
            let reason = refused(text);
            assert!(
                reason.contains(part),
                "{:?}: {reason}",
                text.escape_ascii().to_string()
            );
            assert!(reason.starts_with("BAD_REQUEST (400)"), "{reason}");
        }
    }

    #[test]
    fn a_length_beside_chunks_of_a_response_is_forgotten() {
        let mut buffer = BytesMut::from(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        let head = parse_response(&mut buffer, &Method::GET).unwrap().unwrap();
        assert!(matches!(head.body, Decoder::Chunked(..)) && !head.keep_alive);
        assert!(!head.parts.headers.contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn heads_without_end_are_refused_at_the_limit() {
        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(80_000));
        assert!(refused(line.as_bytes()).starts_with("URI_TOO_LONG"));
        let field = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(80_000));
        assert!(refused(field.as_bytes()).starts_with("HEAD_TOO_LARGE"));
        let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
        assert!(refused(fields.as_bytes()).contains("101 header fields exceed 100"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_in_one_piece_and_in_many(
            line in "(GET|POST|X) /[a-z%?]{0,5} HTTP/1\\.[01]",
            fields in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![4 => any::<char>().prop_map(|c| c as u8), 1 => Just(b':'), 1 => Just(b'\r'), 1 => Just(b'\n'), 1 => Just(b' ')],
                    0..12,
                ),
                0..4,
            ),
            piece in 1_usize..9,
        ) {
            let mut text = line.into_bytes();
            for field in fields {
                text.extend_from_slice(b"\r\n");
                text.extend_from_slice(&field);
            }
            text.extend_from_slice(b"\r\n\r\n");
            let whole = parse_in(&text, usize::MAX);
            let pieces = parse_in(&text, piece);
            prop_assert_eq!(whole.is_ok(), pieces.is_ok());
            if let (Ok(Some((a, rest))), Ok(Some((b, other)))) = (whole, pieces) {
                prop_assert_eq!(a.parts.headers, b.parts.headers);
                prop_assert_eq!(rest, other);
            }
        }
    }
}
