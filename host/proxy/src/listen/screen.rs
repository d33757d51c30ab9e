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
                malformed |= self.table.is_malformed(integer(&mut rest, 7)?)?;
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
    /// Whether the field at this index is malformed.
    fn is_malformed(&self, index: usize) -> Result<bool, Lost> {
        match index.checked_sub(1).ok_or(Lost)?.checked_sub(STATIC.len()) {
            None => Ok(false),
            Some(at) => self.entries.get(at).map(|entry| entry.malformed).ok_or(Lost),
        }
    }

    /// The name at this index, and its length.
    fn name(&self, index: usize) -> Result<(Name, usize), Lost> {
        let index = index.checked_sub(1).ok_or(Lost)?;
        if let Some(name) = STATIC.get(index) {
            return Ok((Name::of(name.as_bytes()), name.len()));
        }
        let entry = self.entries.get(index - STATIC.len()).ok_or(Lost)?;
        Ok((entry.name, entry.name_length))
    }

    /// A literal field, the index of whose name has so many bits in its first byte (RFC 7541 section 6.2).
    fn literal(&self, rest: &mut &[u8], bits: u8, scratch: &mut BytesMut) -> Result<Literal, Lost> {
        let before = rest.len();
        let (name, name_length) = match integer(rest, bits)? {
            0 => {
                let name = string(rest, scratch)?;
                (Name::of(name), name.len())
            }
            index => self.name(index)?,
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
mod tests;
