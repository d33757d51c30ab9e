//! Any bytes on the streams of an HTTP/3 connection.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use edgeward_core::{
    config::{self, Limits},
    forwarded::hop_by_hop,
};
use http::{HeaderMap, StatusCode};

use super::{
    code::Fault,
    control::Control,
    frame::{Partial, integer, kind, put_integer},
    head, huffman,
    qpack::{self, Text},
    reader::{Event, Reader, Source},
};
use crate::fuzz::strict::Fields;

/// Longest field section, on the wire.
const SECTION_MAX: u64 = 300;

/// The first byte says what the others are: a request stream, a control stream, a field section, fields to be encoded, a string in the Huffman code, or one
/// to be put into it. What is read does not depend on how the bytes come in, what is written is read back, and what is taken for a request is one.
pub fn http3(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let piece = usize::from(first >> 3) + 1;
    match first & 7 {
        0 | 1 => request_stream(bytes, piece),
        2 => control_stream(bytes, piece),
        3 => section(Bytes::copy_from_slice(bytes)),
        4 => fields_come_back(bytes),
        5 => huffman_code(bytes),
        _ => huffman_text(bytes),
    }
}

/// Chunks, then the end.
struct Chunks(VecDeque<Bytes>);

impl Source for Chunks {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        Poll::Ready(Ok(self.0.pop_front()))
    }
}

/// All events, data joined, and the fault if there is one. Never more is held than a field section may have.
fn events(bytes: &[u8], piece: usize) -> (Vec<Event>, Option<Fault>) {
    let chunks = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
    let mut reader = Reader::new(Chunks(chunks), SECTION_MAX);
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    loop {
        let event = match reader.poll_event(&mut context) {
            Poll::Ready(Ok(event)) => event,
            Poll::Ready(Err(fault)) => return (events, Some(fault)),
            Poll::Pending => unreachable!("chunks are there at once"),
        };
        let last = matches!(event, Event::End | Event::TooLong(_));
        match (events.last_mut(), event) {
            (Some(Event::Data(before)), Event::Data(more)) => {
                *before = [&before[..], &more].concat().into();
            }
            (_, event) => events.push(event),
        }
        if last {
            return (events, None);
        }
    }
}

fn request_stream(bytes: &[u8], piece: usize) {
    let whole = events(bytes, bytes.len().max(1));
    for piece in [1, piece] {
        assert_eq!(events(bytes, piece), whole, "in pieces of {piece}");
    }
    let (events, fault) = whole;
    if fault.is_none() && events.last() == Some(&Event::End) {
        assert_eq!(
            events,
            naive_events(bytes),
            "what a naive reader makes of the frames"
        );
    }
    let mut sections = events.into_iter().filter_map(|event| match event {
        Event::Fields(section) => Some(section),
        Event::TooLong(_) | Event::Data(_) | Event::End => None,
    });
    for section in sections.by_ref() {
        assert!(section.len() as u64 <= SECTION_MAX, "a section beyond the limit");
        self::section(section);
    }
}

/// Of a stream that is in order: the payloads of HEADERS and DATA.
fn naive_events(bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (of, used) = integer(rest).expect("frames are whole");
        let (length, more) = integer(&rest[used..]).expect("frames are whole");
        let begin = used + more;
        let end = begin + usize::try_from(length).expect("frames are whole");
        let payload = &rest[begin..end];
        rest = &rest[end..];
        if of == kind::DATA {
            data.extend_from_slice(payload);
        } else if of == kind::HEADERS {
            if !data.is_empty() {
                events.push(Event::Data(std::mem::take(&mut data).into()));
            }
            events.push(Event::Fields(Bytes::copy_from_slice(payload)));
        }
    }
    if !data.is_empty() {
        events.push(Event::Data(data.into()));
    }
    events.push(Event::End);
    events
}

/// Frame headers come out of the pieces as they are, and what a control stream may have is taken.
fn control_stream(bytes: &[u8], piece: usize) {
    let whole = frame_headers(bytes, bytes.len().max(1));
    assert_eq!(frame_headers(bytes, 1), whole);
    assert_eq!(frame_headers(bytes, piece), whole, "in pieces of {piece}");
    let mut control = Control::default();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut partial = Partial::default();
    let mut first = true;
    while let Some(header) = partial.take(&mut rest) {
        let Ok(of_interest) = control.begins(header) else {
            return;
        };
        assert!(
            !first || header.kind == kind::SETTINGS,
            "something came before SETTINGS"
        );
        first = false;
        let Some(length) = usize::try_from(header.length)
            .ok()
            .filter(|length| *length <= rest.len())
        else {
            return;
        };
        let payload = rest.split_to(length);
        if of_interest && control.frame(header.kind, payload).is_err() {
            return;
        }
    }
}

/// Types and lengths of the frames, and whether the bytes end in the middle of one.
fn frame_headers(bytes: &[u8], piece: usize) -> (Vec<(u64, u64)>, bool) {
    let mut headers = Vec::new();
    let mut partial = Partial::default();
    let mut skip = 0_u64;
    for chunk in bytes.chunks(piece) {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            let part = usize::try_from(skip).unwrap_or(usize::MAX).min(input.len());
            let _skipped = input.split_to(part);
            skip -= part as u64;
            if skip > 0 {
                break;
            }
            let Some(header) = partial.take(&mut input) else {
                break;
            };
            let mut written = BytesMut::new();
            put_integer(&mut written, header.length);
            assert_eq!(integer(&written), Some((header.length, written.len())));
            headers.push((header.kind, header.length));
            skip = header.length;
        }
    }
    (headers, partial.is_cut() || skip > 0)
}

fn decoded(section: Bytes) -> Result<Vec<(Bytes, Bytes)>, Fault> {
    let mut fields = Vec::new();
    qpack::decode(section, |name: Text, value: Text| {
        fields.push((
            Bytes::copy_from_slice(name.as_bytes()),
            Bytes::copy_from_slice(value.as_bytes()),
        ));
        Ok::<_, Fault>(())
    })?;
    Ok(fields)
}

fn limits() -> Limits {
    Limits {
        head: config::Bytes(1000),
        header_count: 20,
        ..Limits::default()
    }
}

/// A section that is read as a request's head or as trailers is within the limits and has nothing in it that HTTP/1 would read as something else; its fields
/// are those of the section, and written again they are read as the same.
fn section(section: Bytes) {
    let limits = limits();
    let fields = decoded(section.clone());
    if let Ok(trailers) = head::trailers(section.clone(), &limits) {
        let mut fields = fields.clone().expect("trailers that were read are fields");
        // what does not belong there is left out
        fields.retain(|(name, _)| may_trail(name));
        are_in_order(&trailers, &fields, &limits);
    }
    let Ok((parts, length)) = head::request(section, &limits) else {
        return;
    };
    let fields = fields.expect("a head that was read is fields");
    let (pseudo, plain): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .partition(|(name, _)| name.first() == Some(&b':'));
    are_in_order(&parts.headers, &plain, &limits);
    let said = |wanted: &str| {
        let mut values = pseudo.iter().filter(|(name, _)| *name == wanted);
        let value = values.next().map(|(_, value)| value.clone());
        assert!(values.next().is_none(), "{wanted} twice");
        value
    };
    assert_eq!(said(":method").as_deref(), Some(parts.method.as_str().as_bytes()));
    let target = parts
        .uri
        .path_and_query()
        .map(|target| target.as_str().as_bytes());
    assert_eq!(said(":path").as_deref(), target);
    if let Some(authority) = parts.uri.authority() {
        assert_eq!(said(":authority").as_deref(), Some(authority.as_str().as_bytes()));
    }
    let mut lengths = plain.iter().filter(|(name, _)| name == "content-length");
    let said = lengths
        .next()
        .map(|(_, value)| String::from_utf8_lossy(value).parse().ok());
    assert_eq!(said, length.map(Some));
    assert!(lengths.next().is_none(), "two lengths");
    let mut again = BytesMut::new();
    qpack::put_nothing(&mut again);
    for (name, value) in pseudo.iter().chain(&plain) {
        let name = std::str::from_utf8(name).expect("a name is ASCII");
        qpack::put_field(&mut again, name, value);
    }
    let Ok((other, other_length)) = head::request(again.freeze(), &limits) else {
        unreachable!("{parts:?} is not read again");
    };
    assert_eq!((&other.method, &other.uri), (&parts.method, &parts.uri));
    assert_eq!((other.headers, other_length), (parts.headers, length));
}

fn may_trail(name: &[u8]) -> bool {
    let name = http::HeaderName::from_bytes(name).expect("a name that was read");
    let mut alone = HeaderMap::from_iter([(name, http::HeaderValue::from_static(""))]);
    hop_by_hop::strip_trailers(&mut alone);
    !alone.is_empty()
}

fn are_in_order(headers: &HeaderMap, fields: &[(Bytes, Bytes)], limits: &Limits) {
    assert!(fields.len() <= 2 * usize::from(limits.header_count));
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(size as u64 <= 2 * limits.head.0, "{size} bytes of fields");
    let mut ours: Fields = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let mut theirs: Fields = fields
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
        .collect();
    ours.sort_by(|(one, _), (other, _)| one.cmp(other));
    theirs.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(ours, theirs);
    for (name, value) in &ours {
        assert!(!name.is_empty() && !name.contains(|c: char| c.is_ascii_uppercase() || c == ':'));
        assert!(
            ![
                "connection",
                "transfer-encoding",
                "upgrade",
                "keep-alive",
                "proxy-connection"
            ]
            .contains(&name.as_str())
        );
        assert!(
            !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'),
            "{name}: {}",
            value.escape_ascii()
        );
    }
}

/// Lines of `name:value` as the fields of a response, with the first byte as its status.
fn fields_come_back(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let status = StatusCode::from_u16(100 + u16::from(*first) * 3).unwrap_or_default();
    let mut section = BytesMut::new();
    qpack::put_status(&mut section, status);
    let mut expected = vec![(
        Bytes::from_static(b":status"),
        Bytes::copy_from_slice(status.as_str().as_bytes()),
    )];
    for line in rest.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let value = value.get(1..).unwrap_or_default();
        qpack::put_field(&mut section, name, value);
        expected.push((
            Bytes::copy_from_slice(name.as_bytes()),
            Bytes::copy_from_slice(value),
        ));
    }
    assert_eq!(decoded(section.freeze()), Ok(expected));
}

/// Whatever decodes is what would be encoded: there is one code for each string, and it is not much longer than that.
fn huffman_code(bytes: &[u8]) {
    let mut text = BytesMut::new();
    if huffman::decode(bytes, &mut text).is_ok() {
        assert!(text.len() <= bytes.len() * 8 / 5);
        let mut code = BytesMut::new();
        huffman::encode(&text, &mut code);
        assert_eq!(&code[..], bytes);
    }
}

fn huffman_text(bytes: &[u8]) {
    let mut code = BytesMut::new();
    huffman::encode(bytes, &mut code);
    assert_eq!(code.len(), huffman::encoded_length(bytes));
    let mut text = BytesMut::new();
    assert_eq!(huffman::decode(&code, &mut text), Ok(()));
    assert_eq!(&text[..], bytes);
}
