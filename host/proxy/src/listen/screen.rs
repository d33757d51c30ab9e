//! HTTP/2 requests with fields that can be none (RFC 9113 section 8.2.1): control characters, upper case in names, unknown pseudo fields. Such a request
//! is malformed, and its stream is to be reset. h2 takes its header block for a broken one and ends the connection, with all the other streams.
//!
//! So header blocks are read here before h2 sees them. A field that can be none is replaced by one that takes the same room in the dynamic table (RFC
//! 7541), which all streams share, and a field is added that h2 resets the stream for. A WINDOW_UPDATE by 0 (section 6.9) is replaced likewise. All
//! else passes as it came, h2 reads it, too, and what is changed never becomes a request: the gateway gets nothing to see because of what is done here.
//!
//! Where a block is none by RFC 7541, or too large, h2 will end the connection, and the rest passes unread.

use std::{borrow::Cow, collections::VecDeque};

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, Method, StatusCode};
use tokio::io::ReadBuf;

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEAD, HEADERS, Head, PREFACE, WINDOW_UPDATE};
use crate::{http3::huffman, prefix};

const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// Largest payload of a frame that h2 takes as we set it up (`SETTINGS_MAX_FRAME_SIZE`).
const FRAME_MAX: usize = 16 << 10;
/// Most frames of a block.
const FRAMES_MAX: usize = 64;
/// Size of the dynamic table that h2 allows clients (`SETTINGS_HEADER_TABLE_SIZE`).
const TABLE_MAX: usize = 4096;
/// `transfer-encoding: 0`, which makes a block malformed (RFC 9113 section 8.2.2) and is put in no table: a literal with the name's static index.
const MALFORMED: [u8; 4] = [0x0f, 57 - 15, 1, b'0'];

/// What stands between the client and h2.
pub(super) struct Screen {
    /// Bytes that pass, of the preface or of a payload.
    left: usize,
    /// What has to be whole before it passes.
    held: BytesMut,
    /// Bytes of that without which there is nothing to look at.
    need: usize,
    /// Passes before all that comes.
    ready: BytesMut,
    table: Table,
    /// Highest stream of the client.
    stream: u32,
    /// Largest header block.
    largest: usize,
    /// Nothing is looked at any more.
    blind: bool,
}

/// What the bytes begin with.
enum Unit {
    /// So many bytes that pass.
    Whole(usize),
    /// So many bytes, in the place of which others were put into `ready`.
    Changed(usize),
    /// Something of which at least so many bytes are needed.
    Partial(usize),
}

/// The block is none, or h2 will not get through it.
#[derive(Debug)]
struct Lost;

impl Screen {
    /// `largest` is the largest header block, in bytes, that is looked at.
    pub(super) fn new(largest: usize) -> Self {
        Self {
            left: PREFACE as usize,
            held: BytesMut::new(),
            need: 0,
            ready: BytesMut::new(),
            table: Table::default(),
            stream: 0,
            largest,
            blind: false,
        }
    }

    /// Takes what is to be read before all that comes. False if there is nothing.
    pub(super) fn take(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let count = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready.split_to(count));
        true
    }

    /// Looks at what came, when all that was ready is taken. Returns how many bytes, from the first, pass as they are; the others are ready or held.
    pub(super) fn read(&mut self, data: &[u8]) -> usize {
        if self.held.is_empty() {
            return self.walk(data, true);
        }
        self.held.extend_from_slice(data);
        if self.held.len() >= self.need {
            let held = std::mem::take(&mut self.held);
            self.walk(&held, false);
        }
        0
    }

    /// What becomes of a client's bytes that come in such pieces, and whether it is blind by then: for tests and fuzzing.
    pub(super) fn all(bytes: &[u8], piece: usize, largest: usize) -> (Vec<u8>, bool) {
        let mut screen = Self::new(largest);
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            out.extend(screen.pass(piece));
            assert!(
                screen.held.len() <= largest.max(HEAD + 4),
                "more is held than may be"
            );
        }
        (out, screen.blind)
    }

    /// All that can be read when `data` has come.
    fn pass(&mut self, data: &[u8]) -> Vec<u8> {
        let passed = self.read(data);
        [&data[..passed], &self.ready.split()].concat()
    }

    /// What cannot pass `as_is` is put into `ready`.
    fn walk(&mut self, data: &[u8], mut as_is: bool) -> usize {
        let mut passed = 0;
        let mut rest = data;
        while !rest.is_empty() {
            let count = match self.unit(rest) {
                Unit::Whole(count) => {
                    if as_is {
                        passed += count;
                    } else {
                        self.ready.extend_from_slice(&rest[..count]);
                    }
                    count
                }
                Unit::Changed(count) => {
                    as_is = false;
                    count
                }
                Unit::Partial(need) => {
                    self.held.extend_from_slice(rest);
                    self.need = need;
                    break;
                }
            };
            rest = &rest[count..];
        }
        passed
    }

    fn unit(&mut self, data: &[u8]) -> Unit {
        if self.blind {
            return Unit::Whole(data.len());
        }
        if self.left > 0 {
            let count = self.left.min(data.len());
            self.left -= count;
            return Unit::Whole(count);
        }
        let Some(head) = data.first_chunk().copied().map(Head::read) else {
            return Unit::Partial(HEAD);
        };
        match head.kind {
            HEADERS => self.block(data).unwrap_or_else(|Lost| {
                self.blind = true;
                Unit::Whole(data.len())
            }),
            WINDOW_UPDATE if head.length == 4 => self.window(head.stream, data),
            _ => {
                self.left = head.length as usize;
                Unit::Whole(HEAD)
            }
        }
    }

    /// WINDOW_UPDATE. By 0 it is an error of the stream; on none or on one that is not open yet, of the connection.
    fn window(&mut self, stream: u32, data: &[u8]) -> Unit {
        const LENGTH: usize = HEAD + 4;
        let Some([.., a, b, c, d]) = data.first_chunk::<LENGTH>() else {
            return Unit::Partial(LENGTH);
        };
        let by_nothing = u32::from_be_bytes([*a, *b, *c, *d]) << 1 == 0;
        if !by_nothing || stream == 0 || stream > self.stream {
            return Unit::Whole(LENGTH);
        }
        self.put_frame(HEADERS, END_HEADERS | END_STREAM, stream, &MALFORMED);
        Unit::Changed(LENGTH)
    }

    /// HEADERS with the CONTINUATION frames that belong to it (RFC 9113 section 6.10).
    fn block(&mut self, data: &[u8]) -> Result<Unit, Lost> {
        let mut block = Cow::Borrowed(&[][..]);
        let mut priority = &[][..];
        let mut first = None;
        let mut rest = data;
        for _ in 0..FRAMES_MAX {
            let at = data.len() - rest.len();
            let Some(head) = rest.first_chunk().copied().map(Head::read) else {
                return Ok(Unit::Partial(at + HEAD));
            };
            let length = head.length as usize;
            let fits = length <= FRAME_MAX && at + HEAD + length <= self.largest;
            let follows = first.is_none_or(|(stream, _)| head.kind == CONTINUATION && head.stream == stream);
            if !fits || !follows {
                return Err(Lost);
            }
            let Some(payload) = rest.get(HEAD..HEAD + length) else {
                return Ok(Unit::Partial(at + HEAD + length));
            };
            rest = &rest[HEAD + length..];
            if first.is_none() {
                first = Some((head.stream, head.flags & (END_STREAM | PRIORITY)));
                let fragment;
                (priority, fragment) = unpadded(payload, head.flags)?;
                block = Cow::Borrowed(fragment);
            } else {
                block.to_mut().extend_from_slice(payload);
            }
            let Some((stream, flags)) = first.filter(|_| head.flags & END_HEADERS != 0) else {
                continue;
            };
            self.stream = self.stream.max(stream);
            let length = data.len() - rest.len();
            let Some(changed) = self.fields(&block)? else {
                return Ok(Unit::Whole(length));
            };
            self.put_block(stream, flags, priority, changed);
            return Ok(Unit::Changed(length));
        }
        Err(Lost)
    }

    fn put_block(&mut self, stream: u32, flags: u8, priority: &[u8], mut block: BytesMut) {
        let mut kind = HEADERS;
        let mut flags = flags;
        let mut payload = BytesMut::from(priority);
        loop {
            payload.unsplit(block.split_to(block.len().min(FRAME_MAX - payload.len())));
            if block.is_empty() {
                return self.put_frame(kind, flags | END_HEADERS, stream, &payload);
            }
            self.put_frame(kind, flags, stream, &payload);
            payload.clear();
            kind = CONTINUATION;
            flags = 0;
        }
    }

    fn put_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.ready.put_uint(payload.len() as u64, 3);
        self.ready.put_u8(kind);
        self.ready.put_u8(flags);
        self.ready.put_u32(stream);
        self.ready.put_slice(payload);
    }

    /// Reads a header block (RFC 7541 section 6). If it is malformed, returns one that is, too, but that h2 gets through.
    fn fields(&mut self, block: &[u8]) -> Result<Option<BytesMut>, Lost> {
        let mut changed: Option<BytesMut> = None;
        let mut malformed = false;
        let mut scratch = BytesMut::new();
        let mut rest = block;
        while let Some(first) = rest.first().copied() {
            let field = rest;
            let mut replacement = None;
            if first & 0x80 != 0 {
                malformed |= self.table.get(integer(&mut rest, 7)?)?.malformed;
            } else if first & 0xe0 == 0x20 {
                self.table.resize(integer(&mut rest, 5)?)?;
            } else {
                let kept = first & 0x40 != 0;
                let literal = self
                    .table
                    .literal(&mut rest, if kept { 6 } else { 4 }, &mut scratch)?;
                if literal.entry.malformed {
                    malformed = true;
                    replacement = Some(if kept {
                        literal.harmless(field)?
                    } else {
                        BytesMut::new()
                    });
                }
                if kept {
                    self.table.insert(literal.entry);
                }
            }
            if let Some(replacement) = replacement {
                let before = block.len() - field.len();
                changed
                    .get_or_insert_with(|| BytesMut::from(&block[..before]))
                    .unsplit(replacement);
            } else if let Some(changed) = &mut changed {
                changed.extend_from_slice(&field[..field.len() - rest.len()]);
            }
        }
        if !malformed {
            return Ok(None);
        }
        let mut changed = changed.unwrap_or_else(|| BytesMut::from(block));
        changed.extend_from_slice(&MALFORMED);
        Ok(Some(changed))
    }
}

/// Priority and fragment of the block in the payload of HEADERS (RFC 9113 section 6.2).
fn unpadded(mut payload: &[u8], flags: u8) -> Result<(&[u8], &[u8]), Lost> {
    if flags & PADDED != 0 {
        let (padding, rest) = payload.split_first().ok_or(Lost)?;
        let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Lost)?;
        payload = &rest[..length];
    }
    let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
    payload.split_at_checked(priority).ok_or(Lost)
}

fn integer(rest: &mut &[u8], bits: u8) -> Result<usize, Lost> {
    prefix::read(rest, bits)
        .and_then(|value| usize::try_from(value).ok())
        .ok_or(Lost)
}

/// A string (RFC 7541 section 5.2), which is decoded into `scratch` where it has to be.
fn string<'a, 'b>(rest: &mut &'a [u8], scratch: &'b mut BytesMut) -> Result<&'b [u8], Lost>
where
    'a: 'b,
{
    let encoded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Lost)?;
    *rest = behind;
    if !encoded {
        return Ok(bytes);
    }
    scratch.clear();
    huffman::decode(bytes, scratch).map_err(|_malformed| Lost)?;
    Ok(scratch)
}

/// What a name says of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Field,
    /// `:authority`, `:path`, `:protocol`, `:scheme`.
    Text,
    Method,
    Status,
    /// No name of a field.
    None,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":authority" | b":path" | b":protocol" | b":scheme" => Self::Text,
            b":method" => Self::Method,
            b":status" => Self::Status,
            _ if HeaderName::from_lowercase(name).is_ok() => Self::Field,
            _ => Self::None,
        }
    }

    /// Whether h2 takes a value. What it is worth is found out elsewhere.
    pub(super) fn takes(self, value: &[u8]) -> bool {
        match self {
            Self::Field => value
                .iter()
                .all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t'),
            Self::Text => std::str::from_utf8(value).is_ok(),
            Self::Method => Method::from_bytes(value).is_ok(),
            Self::Status => StatusCode::from_bytes(value).is_ok(),
            Self::None => false,
        }
    }
}

/// What is known of a field.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    name_length: usize,
    value_length: usize,
    malformed: bool,
}

impl Entry {
    /// RFC 7541 section 4.1.
    const fn size(&self) -> usize {
        self.name_length + self.value_length + 32
    }
}

struct Literal {
    entry: Entry,
    /// Bytes in front of the value.
    value_at: usize,
}

impl Literal {
    /// What h2 takes in the place of this malformed `field` that goes into the table: of the same size there, and of the same name if that is one.
    fn harmless(&self, field: &[u8]) -> Result<BytesMut, Lost> {
        let Entry {
            name,
            name_length,
            value_length,
            ..
        } = self.entry;
        let (mut out, length) = if name == Name::Field {
            (BytesMut::from(&field[..self.value_at]), value_length)
        } else {
            // of no name and no value there is nothing of this size
            let length = (name_length + value_length).checked_sub(1).ok_or(Lost)?;
            (BytesMut::from(&[0x40, 1, b'x'][..]), length)
        };
        prefix::write(&mut out, 0, 7, length);
        out.put_bytes(b'0', length);
        Ok(out)
    }
}

/// The dynamic table (RFC 7541 section 2.3.2), of which the sizes matter.
struct Table {
    /// The last one first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE_MAX,
        }
    }
}

impl Table {
    fn get(&self, index: usize) -> Result<Entry, Lost> {
        let index = index.checked_sub(1).ok_or(Lost)?;
        if let Some(name) = STATIC.get(index) {
            return Ok(Entry {
                name: Name::of(name.as_bytes()),
                name_length: name.len(),
                value_length: 0,
                malformed: false,
            });
        }
        self.entries.get(index - STATIC.len()).copied().ok_or(Lost)
    }

    /// A literal field, the index of whose name has so many bits in its first byte (RFC 7541 section 6.2).
    fn literal(&self, rest: &mut &[u8], bits: u8, scratch: &mut BytesMut) -> Result<Literal, Lost> {
        let before = rest.len();
        let (name, name_length) = match integer(rest, bits)? {
            0 => {
                let name = string(rest, scratch)?;
                (Name::of(name), name.len())
            }
            index => {
                let entry = self.get(index)?;
                (entry.name, entry.name_length)
            }
        };
        let value_at = before - rest.len();
        let value = string(rest, scratch)?;
        Ok(Literal {
            entry: Entry {
                name,
                name_length,
                value_length: value.len(),
                malformed: !name.takes(value),
            },
            value_at,
        })
    }

    fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    fn resize(&mut self, most: usize) -> Result<(), Lost> {
        if most > TABLE_MAX {
            return Err(Lost);
        }
        self.most = most;
        self.shrink(most);
        Ok(())
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
    }
}

/// Names of the static table (RFC 7541 appendix A).
pub(super) const STATIC: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::{Request, Response};
    use hyper::{body::Incoming, server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    type Field = (Vec<u8>, Vec<u8>);

    fn is_malformed((name, value): &Field) -> bool {
        !Name::of(name).takes(value)
    }

    /// How a client writes a field.
    #[derive(Clone, Copy, Debug)]
    struct Form {
        /// `0x40` puts it into the table.
        first: u8,
        huffman: bool,
        /// By its index, or that of its name, where there is one.
        indexed: bool,
    }

    /// A client's side of RFC 7541.
    #[derive(Default)]
    struct Encoder {
        table: Vec<Field>,
    }

    impl Encoder {
        fn put(&mut self, out: &mut BytesMut, field: &Field, form: Form) {
            let place = |found: Option<usize>| found.filter(|_| form.indexed).map(|at| at + 62);
            if let Some(index) = place(self.table.iter().position(|entry| entry == field)) {
                return prefix::write(out, 0x80, 7, index);
            }
            let bits = if form.first == 0x40 { 6 } else { 4 };
            let name = self.table.iter().position(|entry| entry.0 == field.0);
            match place(name) {
                Some(index) => prefix::write(out, form.first, bits, index),
                None => {
                    out.put_u8(form.first);
                    put_string(out, &field.0, form.huffman);
                }
            }
            put_string(out, &field.1, form.huffman);
            if form.first == 0x40 {
                self.table.insert(0, field.clone());
                let size = |entry: &Field| entry.0.len() + entry.1.len() + 32;
                while self.table.iter().map(size).sum::<usize>() > TABLE_MAX {
                    self.table.pop();
                }
            }
        }
    }

    fn put_string(out: &mut BytesMut, text: &[u8], huffman: bool) {
        if huffman {
            prefix::write(out, 0x80, 7, huffman::encoded_length(text));
            huffman::encode(text, out);
        } else {
            prefix::write(out, 0, 7, text.len());
            out.put_slice(text);
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut screen = Screen::new(0);
        screen.put_frame(kind, flags, stream, payload);
        screen.ready.to_vec()
    }

    /// Preface and SETTINGS.
    fn greeting() -> Vec<u8> {
        [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(SETTINGS, 0, 0, &[]),
        ]
        .concat()
    }

    /// What a server got and said.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        /// Fields of the requests with the names that this test sends, as they came.
        requests: Vec<Vec<Field>>,
        answered: Vec<u32>,
        reset: Vec<(u32, u32)>,
    }

    /// Has a server read bytes, until it has said something about `streams` streams, or ended the connection (`None`).
    async fn serve(bytes: &[u8], streams: usize) -> Option<Seen> {
        let (mut client, server) = tokio::io::duplex(1 << 24);
        let seen = Mutex::new(Seen::default());
        let service = service_fn(|request: Request<Incoming>| {
            let field = |(name, value): (&HeaderName, &http::HeaderValue)| {
                (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
            };
            let mut fields = vec![(b":path".to_vec(), request.uri().path().as_bytes().to_vec())];
            fields.extend(request.headers().iter().map(field));
            seen.lock().requests.push(fields);
            async { Ok::<_, Infallible>(Response::new(http_body_util::Empty::<bytes::Bytes>::new())) }
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(1000)
            .serve_connection(TokioIo::new(server), service);
        let talking = async {
            client.write_all(bytes).await.unwrap();
            let (mut answered, mut reset) = (Vec::new(), Vec::new());
            while answered.len() + reset.len() < streams {
                let mut head = [0; HEAD];
                client.read_exact(&mut head).await.unwrap();
                let head = Head::read(head);
                let mut payload = vec![0; head.length as usize];
                client.read_exact(&mut payload).await.unwrap();
                match head.kind {
                    HEADERS => answered.push(head.stream),
                    RST_STREAM => reset.push((head.stream, u32::from_be_bytes(payload.try_into().unwrap()))),
                    GOAWAY => return None,
                    _ => {}
                }
            }
            Some((answered, reset))
        };
        let (mut answered, mut reset) = tokio::select! {
            said = tokio::time::timeout(Duration::from_secs(60), talking) => said.expect("in time")?,
            _ended = serving => return None,
        };
        answered.sort_unstable();
        reset.sort_unstable();
        Some(Seen {
            requests: seen.into_inner().requests,
            answered,
            reset,
        })
    }

    fn a_field() -> impl Strategy<Value = Field> {
        let name = prop_oneof![
            4 => prop::sample::select(&["x-a", "x-b", "accept", "user-agent"][..]).prop_map(|name| name.as_bytes().to_vec()),
            1 => prop::sample::select(vec![&b"X-A"[..], b":x", b"x y", b":status", b"x\r\ny", b"\xff"]).prop_map(<[u8]>::to_vec),
        ];
        let value = prop_oneof![
            4 => "[ -~]{0,20}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 1..4),
            1 => (900_usize..1500, prop::sample::select(&[b'v', 0, b'\n'][..])).prop_map(|(length, last)| {
                let mut value = vec![b'v'; length];
                value.push(last);
                value
            }),
        ];
        (name, value)
    }

    fn a_form() -> impl Strategy<Value = Form> {
        (
            prop::sample::select(&[0x40, 0x40, 0, 0x10][..]),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(first, huffman, indexed)| Form {
                first,
                huffman,
                indexed,
            })
    }

    /// A request: fields, and where its block is cut.
    fn a_request() -> impl Strategy<Value = (Vec<(Field, Form)>, Option<usize>, u8)> {
        (
            prop::collection::vec((a_field(), a_form()), 0..5),
            prop::option::of(0_usize..200),
            prop::sample::select(&[0, PADDED, PRIORITY, PADDED | PRIORITY][..]),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_malformed_request_costs_its_stream_and_the_others_come_as_they_were_sent(
            requests in prop::collection::vec(a_request(), 1..12),
            piece in prop_oneof![Just(usize::MAX), 1_usize..300],
        ) {
            let mut encoder = Encoder::default();
            let mut bytes = greeting();
            let mut expected = Seen::default();
            for (at, (fields, cut, flags)) in requests.iter().enumerate() {
                let stream = 2 * u32::try_from(at).unwrap() + 1;
                let path: Field = (b":path".to_vec(), format!("/{at}").into_bytes());
                // GET, http, a path
                let mut block = BytesMut::from(&[0x82, 0x86][..]);
                encoder.put(&mut block, &path, Form { first: 0x40, huffman: false, indexed: true });
                for (field, form) in fields {
                    encoder.put(&mut block, field, *form);
                }
                let cut = cut.map_or(block.len(), |cut| cut.min(block.len()));
                let mut payload = Vec::new();
                if flags & PADDED != 0 {
                    payload.push(7);
                }
                if flags & PRIORITY != 0 {
                    payload.extend([0, 0, 0, 0, 9]);
                }
                payload.extend(&block[..cut]);
                if flags & PADDED != 0 {
                    payload.extend([0; 7]);
                }
                let end = if cut < block.len() { 0 } else { END_HEADERS };
                bytes.extend(frame(HEADERS, flags | END_STREAM | end, stream, &payload));
                if cut < block.len() {
                    bytes.extend(frame(CONTINUATION, END_HEADERS, stream, &block[cut..]));
                }
                if fields.iter().any(|(field, _)| is_malformed(field) || field.0 == b":status") {
                    expected.reset.push((stream, 1));
                } else {
                    expected.answered.push(stream);
                    let mut all = vec![path];
                    all.extend(fields.iter().map(|(field, _)| field.clone()));
                    expected.requests.push(all);
                }
            }
            let (screened, is_blind) = Screen::all(&bytes, piece, 1 << 20);
            prop_assert!(!is_blind);
            if expected.reset.is_empty() {
                prop_assert_eq!(&screened, &bytes);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let seen = runtime.block_on(serve(&screened, requests.len()));
            let mut seen = seen.expect("the connection goes on");
            // fields of one name are together where they are read
            for fields in seen.requests.iter_mut().chain(&mut expected.requests) {
                fields.sort_by(|one, other| one.0.cmp(&other.0));
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn whatever_the_frames_are_the_screen_does_what_it_should(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            crate::fuzz::http2_fields(&bytes);
        }
    }

    #[tokio::test]
    async fn a_window_update_by_nothing_costs_its_stream() {
        let get = |stream, end| frame(HEADERS, END_HEADERS | end, stream, &[0x82, 0x86, 0x84]);
        let nothing = |stream| frame(WINDOW_UPDATE, 0, stream, &[0x80, 0, 0, 0]);
        for piece in [1, 5, usize::MAX] {
            let bytes = [greeting(), get(1, 0), nothing(1), get(3, END_STREAM)].concat();
            let seen = serve(&Screen::all(&bytes, piece, 100).0, 2).await.unwrap();
            assert_eq!(seen.reset, [(1, 1)]);
            assert_eq!(seen.answered, [3]);
        }
        // of the connection, and of a stream that is not open yet
        for stream in [0, 5] {
            let bytes = [greeting(), get(1, 0), nothing(stream)].concat();
            assert_eq!(Screen::all(&bytes, 7, 100), (bytes.clone(), false));
            assert_eq!(serve(&bytes, 3).await, None);
        }
    }

    #[test]
    fn what_is_held_has_a_bound_and_passes_when_it_is_reached() {
        let limit = 4096;
        let begun = frame(HEADERS, 0, 1, &[0x82; 1000]);
        let on = frame(CONTINUATION, 0, 1, &[0x82; 1000]);
        let empty = frame(CONTINUATION, 0, 1, &[]);
        for more in [on, empty] {
            let bytes = [greeting(), begun.clone(), more.repeat(FRAMES_MAX)].concat();
            assert_eq!(Screen::all(&bytes, 100, limit), (bytes.clone(), true));
        }
    }
}
