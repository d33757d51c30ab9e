//! Any bytes on a connection, read as the requests of a client and as the response of an upstream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use edgeward_core::{
    config::{self, Limits},
    forwarded::hop_by_hop,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request, response};
use http_body::{Frame, SizeHint};

use super::{
    decode::Decoder,
    encode::{self, About},
    head::{self, Scan, parse_response},
};
use crate::fuzz::strict::{self, Fields, Read};

/// What framing and connection decide, and encoding replaces.
const FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All bytes were read, and they end with a message or with nothing.
    Whole,
    /// In the middle of something.
    Cut,
    /// Nothing more is read of the connection.
    Closed,
    /// With bytes that make no sense.
    Refused,
}

/// A body that came, as far as it did.
#[derive(Debug, Default, PartialEq)]
struct Got {
    data: Vec<u8>,
    trailers: HeaderMap,
    whole: bool,
    /// It was not framed as it should; how much was handed out before depends on how it came.
    broken: bool,
}

impl Got {
    /// Takes what there is. True when the body has ended.
    fn take(&mut self, decoder: &mut Decoder, buffer: &mut BytesMut) -> Result<bool, &'static str> {
        while let Some(frame) = decoder.decode(buffer)? {
            match frame.into_data() {
                Ok(data) => {
                    assert!(!data.is_empty(), "a frame without data");
                    self.data.extend_from_slice(&data);
                }
                Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        self.whole = decoder.is_done();
        Ok(self.whole)
    }
}

/// A request that was taken.
#[derive(Debug)]
struct Taken {
    parts: request::Parts,
    /// Chunked or not: how it came.
    chunked: bool,
    keep_alive: bool,
    upgrade: bool,
    body: Got,
}

impl PartialEq for Taken {
    fn eq(&self, other: &Self) -> bool {
        let line = |taken: &Self| {
            let parts = &taken.parts;
            (parts.method.clone(), parts.uri.clone(), parts.version)
        };
        line(self) == line(other)
            && self.parts.headers == other.parts.headers
            && (self.chunked, self.keep_alive, self.upgrade)
                == (other.chunked, other.keep_alive, other.upgrade)
            && self.body == other.body
    }
}

/// The requests of a client's bytes are the same however the bytes are cut, a reader that shares nothing with ours reads the same, and written again for an
/// upstream each is what it was. The first byte says how the bytes are cut, and whether the limits are small ones.
pub fn http1_request(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let limits = if first & 0x80 == 0 {
        Limits::default()
    } else {
        Limits {
            head: config::Bytes(200),
            uri: config::Bytes(60),
            header_count: 6,
            ..Limits::default()
        }
    };
    let (taken, end) = read_requests(stream, usize::MAX, &limits);
    for piece in [1, usize::from(first & 0x7f) + 1] {
        let (other, other_end) = read_requests(stream, piece, &limits);
        assert_eq!((&other, &other_end), (&taken, &end), "in pieces of {piece}");
    }
    let mut rest = stream;
    for request in &taken {
        rest = agrees_with_strict(request, rest, &limits);
        if request.body.whole {
            comes_back(request);
        }
    }
}

fn read_requests(stream: &[u8], piece: usize, limits: &Limits) -> (Vec<Taken>, End) {
    let mut taken: Vec<Taken> = Vec::new();
    let mut buffer = BytesMut::new();
    let mut scan = Scan::default();
    let mut decoder = Decoder::Done;
    let mut begun = false;
    for part in stream.chunks(piece.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            if let Some(last) = taken.last_mut()
                && !last.body.whole
            {
                match last.body.take(&mut decoder, &mut buffer) {
                    Err(_problem) => {
                        last.body = Got {
                            broken: true,
                            ..Got::default()
                        };
                        return (taken, End::Refused);
                    }
                    Ok(false) => break,
                    Ok(true) => {}
                }
            }
            if taken.last().is_some_and(|last| !last.keep_alive || last.upgrade) {
                return (taken, End::Closed);
            }
            match head::parse(&mut buffer, &mut scan, limits) {
                Err(_reject) => return (taken, End::Refused),
                Ok(None) => {
                    begun = !buffer.is_empty();
                    break;
                }
                Ok(Some(head)) => {
                    begun = false;
                    decoder = head.body;
                    taken.push(Taken {
                        parts: head.parts,
                        chunked: matches!(decoder, Decoder::Chunked(..)),
                        keep_alive: head.keep_alive,
                        upgrade: head.upgrade,
                        body: Got::default(),
                    });
                }
            }
        }
    }
    let end = match taken.last() {
        Some(last) if !last.body.whole => End::Cut,
        _ if begun => End::Cut,
        _ => End::Whole,
    };
    (taken, end)
}

/// Returns what is behind the request.
fn agrees_with_strict<'s>(taken: &Taken, stream: &'s [u8], limits: &Limits) -> &'s [u8] {
    let mut rest = stream;
    while let Some(behind) = rest.strip_prefix(b"\r\n") {
        rest = behind;
    }
    assert!(
        stream.len() - rest.len() <= 8,
        "more empty lines than are skipped"
    );
    let read = strict::head(rest);
    let Read::Whole(head, used) = read else {
        assert!(
            matches!(read, Read::Whole(..)),
            "{taken:?} was taken, but is {read:?}"
        );
        return &[];
    };
    let line = head.request_line().expect("a request that was taken has one");
    assert_eq!(line.method, taken.parts.method.as_str());
    assert_eq!(line.minor == 1, taken.parts.version == Version::HTTP_11);
    assert!(line.target.len() as u64 <= limits.uri.0);
    assert!(head.fields.len() <= usize::from(limits.header_count));
    let target = line.target.as_slice();
    let uri = &taken.parts.uri;
    if uri.scheme().is_none() && uri.authority().is_none() {
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        assert_eq!(target, path.as_bytes());
    }
    assert_eq!(grouped(head.fields.clone()), plain(&taken.parts.headers));
    let framing = head
        .request_framing()
        .expect("a request that was taken has one framing");
    assert_eq!(framing == strict::Framing::Chunked, taken.chunked);
    if taken.body.broken {
        return &[];
    }
    let read = strict::body(&rest[used..], framing);
    if let Read::Whole(body, more) = read {
        assert!(taken.body.whole, "a body that is whole was not read to its end");
        same_body(&taken.body, &body);
        return &rest[used + more..];
    }
    assert!(!taken.body.whole, "a body was taken that is {read:?}");
    &[]
}

/// Trailers are those of the message, but for those that do not belong there.
fn same_body(got: &Got, strict: &strict::Body) {
    assert_eq!(got.data, strict.data);
    let trailers = plain(&got.trailers);
    let mut all = grouped(strict.trailers.clone());
    all.retain(|(name, _)| got.trailers.contains_key(name));
    assert_eq!(trailers, all);
}

/// In the order that a map has them: those of one name together.
fn grouped(mut fields: Fields) -> Fields {
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn plain(headers: &HeaderMap) -> Fields {
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    grouped(fields.collect())
}

/// A body of which only the framing is asked.
enum Sized {
    Exactly(u64),
    Unknown,
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Exactly(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Exactly(size) => SizeHint::with_exact(*size),
            Self::Unknown => SizeHint::default(),
        }
    }
}

fn put_body(out: &mut BytesMut, chunked: bool, got: &Got) {
    if !chunked {
        out.extend_from_slice(&got.data);
        return;
    }
    for chunk in got.data.chunks(1000) {
        encode::chunk_size(out, chunk.len());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    encode::last_chunk(out, Some(&got.trailers));
}

/// What goes to the upstream is the request, framed once.
fn comes_back(taken: &Taken) {
    let mut request = Request::new(());
    request.method_mut().clone_from(&taken.parts.method);
    request.uri_mut().clone_from(&taken.parts.uri);
    request.headers_mut().clone_from(&taken.parts.headers);
    let body = if taken.chunked {
        Sized::Unknown
    } else {
        Sized::Exactly(taken.body.data.len() as u64)
    };
    let mut wire = BytesMut::new();
    encode::request_head(&mut wire, &request, &body);
    put_body(&mut wire, taken.chunked, &taken.body);
    let limits = Limits {
        head: config::Bytes::mib(1),
        header_count: 1000,
        ..Limits::default()
    };
    let (again, end) = read_requests(&wire, usize::MAX, &limits);
    let [again] = again.as_slice() else {
        assert_eq!(again.len(), 1, "{end:?}: {}", wire.escape_ascii());
        return;
    };
    assert!(matches!(end, End::Whole | End::Closed), "{end:?}");
    assert_eq!(again.parts.method, taken.parts.method);
    let target = |taken: &Taken| {
        let target = taken.parts.uri.path_and_query();
        target.map_or_else(|| "/".to_owned(), ToString::to_string)
    };
    let (sent, original) = (target(again), target(taken));
    assert!(
        sent == original || sent == format!("/{original}"),
        "{sent} of {original}"
    );
    let end_to_end = |headers: &HeaderMap| {
        let mut fields = plain(headers);
        fields.retain(|(name, _)| !FRAMING.contains(&name.as_str()));
        fields
    };
    assert_eq!(end_to_end(&again.parts.headers), end_to_end(&taken.parts.headers));
    assert_eq!(again.body, taken.body);
    agrees_with_strict(again, &wire, &limits);
}

/// A response that was read.
#[derive(Debug)]
struct Answer {
    parts: response::Parts,
    framing: &'static str,
    keep_alive: bool,
    body: Got,
    /// Bytes behind it.
    behind: usize,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.parts.status == other.parts.status
            && self.parts.version == other.parts.version
            && self.parts.headers == other.parts.headers
            && (self.framing, self.keep_alive, self.behind) == (other.framing, other.keep_alive, other.behind)
            && self.body == other.body
    }
}

/// The response in an upstream's bytes is the same however the bytes are cut, and goes on to the client as one that a strict reader reads, whole, and with
/// nothing in it that was not in the original. The first byte says how the bytes are cut, what was asked, and by what a client.
pub fn http1_response(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let method = if first & 1 == 0 { Method::GET } else { Method::HEAD };
    let version = if first & 2 == 0 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let answer = read_response(stream, usize::MAX, &method);
    for piece in [1, usize::from(first >> 2) + 2] {
        let other = read_response(stream, piece, &method);
        assert_eq!(other, answer, "in pieces of {piece}");
    }
    if let Ok(answer) = answer
        && answer.body.whole
    {
        goes_on(answer, &method, version);
    }
}

fn read_response(stream: &[u8], piece: usize, method: &Method) -> Result<Answer, End> {
    let mut buffer = BytesMut::new();
    let mut decoder = Decoder::Done;
    let mut answer: Option<Answer> = None;
    let mut fed = 0;
    for part in stream.chunks(piece.max(1)) {
        buffer.extend_from_slice(part);
        fed += part.len();
        if answer.is_none() {
            let Some(head) = parse_response(&mut buffer, method).map_err(|_problem| End::Refused)? else {
                continue;
            };
            decoder = head.body;
            answer = Some(Answer {
                parts: head.parts,
                framing: match &decoder {
                    Decoder::Done => "none",
                    Decoder::Length(_) => "length",
                    Decoder::Chunked(..) => "chunked",
                    Decoder::Close => "close",
                    Decoder::Broken => "broken",
                },
                keep_alive: head.keep_alive,
                body: Got::default(),
                behind: 0,
            });
        }
        if let Some(answer) = &mut answer
            && answer
                .body
                .take(&mut decoder, &mut buffer)
                .map_err(|_problem| End::Refused)?
        {
            answer.behind = buffer.len() + stream.len() - fed;
            break;
        }
    }
    let mut answer = answer.ok_or(End::Cut)?;
    // the end of the connection is that of such a body
    answer.body.whole |= matches!(decoder, Decoder::Close);
    Ok(answer)
}

fn goes_on(answer: Answer, method: &Method, version: Version) {
    assert!(answer.parts.status.as_u16() >= 200 || answer.parts.status == StatusCode::SWITCHING_PROTOCOLS);
    let mut response = Response::from_parts(
        answer.parts,
        match answer.framing {
            "chunked" | "close" => Sized::Unknown,
            _ => Sized::Exactly(answer.body.data.len() as u64),
        },
    );
    hop_by_hop::strip(response.headers_mut());
    let mut about = About {
        method,
        version,
        keep_alive: true,
    };
    let mut wire = BytesMut::new();
    let framing = encode::response_head(&mut wire, &response, &mut about);
    let chunked = framing == encode::Framing::Chunked;
    if framing != encode::Framing::None {
        put_body(&mut wire, chunked, &answer.body);
    }
    let read = strict::head(&wire);
    let Read::Whole(head, used) = read else {
        assert!(matches!(read, Read::Whole(..)), "{}", wire.escape_ascii());
        return;
    };
    let (_, status) = head.status_line().expect("a response has a status line");
    assert_eq!(status, response.status().as_u16());
    if status == 101 {
        return; // no HTTP any more
    }
    let mut fields = head.fields.clone();
    fields.retain(|(name, _)| !FRAMING.contains(&name.as_str()) && name != "date");
    let mut original = plain(response.headers());
    original.retain(|(name, _)| !FRAMING.contains(&name.as_str()) && name != "date");
    assert_eq!(grouped(fields), original);
    let framing = head.response_framing(status, method.as_str());
    let framing = framing.expect("a response is framed once");
    assert_eq!(framing == strict::Framing::Close, !about.keep_alive);
    let body = strict::body(&wire[used..], framing);
    let Read::Whole(body, more) = body else {
        assert!(matches!(body, Read::Whole(..)), "{}", wire.escape_ascii());
        return;
    };
    assert_eq!(used + more, wire.len(), "bytes behind a response");
    if framing == strict::Framing::Length(0) {
        return;
    }
    assert_eq!(body.data, answer.body.data);
    if chunked {
        assert_eq!(grouped(body.trailers), plain(&answer.body.trailers));
    }
}
