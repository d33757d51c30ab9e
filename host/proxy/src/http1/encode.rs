//! Heads and body framing (RFC 9112 sections 4, 6 and 7).

use std::io::Write as _;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::head::digits;
use crate::date;

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks; trailers only if the client reads them.
    Chunked,
    /// Until the connection closes (HTTP/1.0).
    Close,
}

/// What the response depends on of its request and connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// Writes the head of a response. `keep_alive` is set to false where the framing needs it.
///
/// Framing is the gateway's alone: what the fields of the response say about it is replaced, but for a length that the body does not know itself, and
/// that of answers without a body (HEAD, 304). Behind a 101 the connection is not HTTP's any more.
pub(super) fn response_head<B: Body>(
    output: &mut BytesMut,
    response: &Response<B>,
    about: &mut About<'_>,
) -> Framing {
    let (status, headers, body) = (response.status(), response.headers(), response.body());
    let bodiless =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let declared = || declared(headers);
    let framing = if bodiless || *about.method == Method::HEAD {
        Framing::None
    } else if body.is_end_stream() {
        Framing::Length(0)
    } else if let Some(length) = body.size_hint().exact().or_else(declared) {
        Framing::Length(length)
    } else if about.version == Version::HTTP_11 {
        Framing::Chunked
    } else {
        Framing::Close
    };
    about.keep_alive &= framing != Framing::Close;
    output.reserve(256 + headers.len() * 48);
    status_line(output, status);
    let (dated, upgrade) = fields(output, headers, &header::DATE);
    match framing {
        Framing::Length(length) => length_field(output, length),
        Framing::Chunked => output.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None if status != StatusCode::NO_CONTENT => {
            if let Some(length) = declared() {
                length_field(output, length);
            }
        }
        Framing::None | Framing::Close => {}
    }
    if upgrade {
        // RFC 9110 section 7.8
        output.put_slice(b"connection: upgrade\r\n");
    }
    match (about.keep_alive, about.version) {
        _ if status == StatusCode::SWITCHING_PROTOCOLS => {}
        (false, _) => output.put_slice(b"connection: close\r\n"),
        (true, Version::HTTP_10) => output.put_slice(b"connection: keep-alive\r\n"),
        (true, _) => {}
    }
    if !dated {
        date::with(|date| field(output, b"date", date.as_bytes()));
    }
    output.put_slice(b"\r\n");
    framing
}

/// Writes the head of a request in origin-form. Framing fields are replaced like those of a response.
pub(super) fn request_head(output: &mut BytesMut, request: &Request<()>, body: &impl Body) -> Framing {
    let headers = request.headers();
    let framing = if body.is_end_stream() {
        Framing::None
    } else if let Some(length) = body.size_hint().exact().or_else(|| declared(headers)) {
        Framing::Length(length)
    } else {
        Framing::Chunked
    };
    output.reserve(256 + headers.len() * 48);
    output.put_slice(request.method().as_str().as_bytes());
    output.put_slice(b" ");
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    if target.starts_with('?') {
        output.put_slice(b"/");
    }
    output.put_slice(target.as_bytes());
    output.put_slice(b" HTTP/1.1\r\n");
    let (te, upgrade) = fields(output, headers, &header::TE);
    match framing {
        Framing::Length(length) => length_field(output, length),
        Framing::Chunked => output.put_slice(b"transfer-encoding: chunked\r\n"),
        // RFC 9110 section 8.6: methods that are expected to have a body say that there is none
        _ if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) => {
            length_field(output, 0)
        }
        _ => {}
    }
    // RFC 9110 section 10.1.4
    if te {
        output.put_slice(b"connection: te\r\n");
    }
    if upgrade {
        output.put_slice(b"connection: upgrade\r\n");
    }
    output.put_slice(b"\r\n");
    framing
}

/// All fields but those that the framing and the connection decide. Tells whether `sought` and `Upgrade` are among them.
fn fields(output: &mut BytesMut, headers: &HeaderMap, sought: &HeaderName) -> (bool, bool) {
    let (mut found, mut upgrade) = (false, false);
    for (name, value) in headers {
        if *name == header::CONTENT_LENGTH
            || *name == header::TRANSFER_ENCODING
            || *name == header::CONNECTION
        {
            continue;
        }
        found |= name == sought;
        upgrade |= *name == header::UPGRADE;
        field(output, name.as_str().as_bytes(), value.as_bytes());
    }
    (found, upgrade)
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    digits(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

fn status_line(output: &mut BytesMut, status: StatusCode) {
    if status == StatusCode::OK {
        output.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    output.put_slice(b"HTTP/1.1 ");
    output.put_slice(status.as_str().as_bytes());
    output.put_slice(b" ");
    // the blank stays where there is no reason (RFC 9112 section 4)
    output.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.put_slice(b"\r\n");
}

fn field(output: &mut BytesMut, name: &[u8], value: &[u8]) {
    output.put_slice(name);
    output.put_slice(b": ");
    output.put_slice(value);
    output.put_slice(b"\r\n");
}

fn length_field(output: &mut BytesMut, length: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    field(output, b"content-length", &digits[at..]);
}

/// Line with the size of a chunk.
pub(super) fn chunk_size(output: &mut BytesMut, size: usize) {
    let mut line = [0; 18];
    let mut rest = &mut line[..];
    if write!(rest, "{size:x}\r\n").is_ok() {
        let free = rest.len();
        output.put_slice(&line[..line.len() - free]);
    }
}

/// The last chunk with its trailers.
pub(super) fn last_chunk(output: &mut BytesMut, trailers: Option<&HeaderMap>) {
    output.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(output, name.as_str().as_bytes(), value.as_bytes());
    }
    output.put_slice(b"\r\n");
}
