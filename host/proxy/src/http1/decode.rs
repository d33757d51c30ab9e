//! Where a message body ends: by length or in chunks (RFC 9112 sections 6 and 7).

use bytes::{Buf as _, Bytes, BytesMut};
use edgeward_core::forwarded::hop_by_hop;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// Longest line with a chunk's size: 16 digits and extensions, which nobody uses and attackers pad.
const SIZE_LINE_MAX: usize = 256;
/// Most bytes of extensions in a body (RFC 9112 section 7.1.1).
const EXTENSIONS_MAX: usize = 4 << 10;
/// Largest trailer section.
const TRAILERS_MAX: usize = 16 << 10;
/// Most fields in a trailer section.
const TRAILER_FIELDS_MAX: usize = 64;

/// Decoder of one body. Feed it with the bytes behind the head.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// All was read.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// In chunks, with the bytes of extensions so far.
    Chunked(Chunked, usize),
    /// All there is until the connection closes; only responses are framed so.
    Close,
    /// The framing was wrong: nothing behind it can be made sense of.
    Broken,
}

/// What comes next of a body in chunks.
#[derive(Debug)]
pub(crate) enum Chunked {
    /// A size line.
    Size,
    /// So many bytes of a chunk; at least one.
    Data(u64),
    /// The line end behind a chunk.
    End,
    /// The trailer section and the empty line.
    Trailers,
}

impl Decoder {
    /// For a body in chunks.
    pub(crate) const fn chunked() -> Self {
        Self::Chunked(Chunked::Size, 0)
    }

    /// Whether nothing is left to be read.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes that are left, where they are known.
    pub(crate) const fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(..) | Self::Close | Self::Broken => None,
        }
    }

    /// Takes a frame from `buffer`; `None` when more bytes are needed, or the body has ended ([`Self::is_done`] tells).
    ///
    /// # Errors
    /// What is wrong with the framing. The connection cannot be used any further.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame<Bytes>>, &'static str> {
        let decoded = self.step(buffer);
        if decoded.is_err() {
            *self = Self::Broken;
        }
        decoded
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame<Bytes>>, &'static str> {
        match self {
            Self::Done => Ok(None),
            Self::Broken => Err("framing was wrong before"),
            Self::Close => {
                let data = buffer.split().freeze();
                Ok((!data.is_empty()).then(|| Frame::data(data)))
            }
            Self::Length(left) => {
                let data = take(buffer, left);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(data.map(Frame::data))
            }
            Self::Chunked(state, extensions) => {
                let mut data = None;
                loop {
                    match state {
                        Chunked::Size => match size_line(buffer, extensions)? {
                            None => break,
                            Some(0) => *state = Chunked::Trailers,
                            Some(size) => *state = Chunked::Data(size),
                        },
                        // the line end and the size behind a chunk are looked at with it: the last chunk is known as such then
                        Chunked::Data(_) if data.is_some() => break,
                        Chunked::Data(left) => {
                            data = take(buffer, left);
                            if *left > 0 {
                                break;
                            }
                            *state = Chunked::End;
                        }
                        Chunked::End => {
                            if buffer.len() < 2 {
                                break;
                            }
                            if &buffer[..2] != b"\r\n" {
                                return Err("chunk is longer than its size says");
                            }
                            buffer.advance(2);
                            *state = Chunked::Size;
                        }
                        Chunked::Trailers if data.is_some() && !buffer.starts_with(b"\r\n") => break,
                        Chunked::Trailers => match trailers(buffer)? {
                            None => break,
                            Some(trailers) => {
                                *self = Self::Done;
                                return Ok(data.map(Frame::data).or_else(|| trailers.map(Frame::trailers)));
                            }
                        },
                    }
                }
                Ok(data.map(Frame::data))
            }
        }
    }
}

/// Up to `left` bytes of the buffer, without a copy.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    if size == 0 {
        return None;
    }
    *left -= size as u64;
    Some(buffer.split_to(size).freeze())
}

/// The size of the next chunk; extensions are skipped and added to those before.
fn size_line(buffer: &mut BytesMut, extensions: &mut usize) -> Result<Option<u64>, &'static str> {
    let Some(end) = memchr::memchr(b'\n', &buffer[..buffer.len().min(SIZE_LINE_MAX)]) else {
        return if buffer.len() >= SIZE_LINE_MAX {
            Err("line with a chunk's size is too long")
        } else {
            Ok(None)
        };
    };
    let Some(line) = buffer[..end].strip_suffix(b"\r") else {
        return Err("line with a chunk's size ends with a bare LF");
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    if digits.is_empty() || digits.len() > 16 {
        return Err("chunk without a size of 1 to 16 hexadecimal digits");
    }
    // RFC 9112 section 7.1.1: BWS ";" and then anything that is no control character
    let extension = rest.trim_ascii_start();
    if !(rest.is_empty() || extension.starts_with(b";"))
        || rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err("chunk size is followed by what is no extension");
    }
    *extensions += rest.len();
    if *extensions > EXTENSIONS_MAX {
        return Err("chunk extensions of more than 4 KiB");
    }
    let size = digits.iter().fold(0_u64, |size, digit| {
        size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0))
    });
    buffer.advance(end + 1);
    Ok(Some(size))
}

/// The fields of a trailer section: outer `None` while it is not whole, inner when it has none. Fields that do not belong into trailers
/// are left out.
#[expect(clippy::option_option, reason = "named in the line above")]
fn trailers(buffer: &mut BytesMut) -> Result<Option<Option<HeaderMap>>, &'static str> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(None));
    }
    let Some(end) = memchr::memmem::find(&buffer[..buffer.len().min(TRAILERS_MAX)], b"\r\n\r\n") else {
        return if buffer.len() >= TRAILERS_MAX {
            Err("trailer section is larger than 16 KiB")
        } else {
            Ok(None)
        };
    };
    let section = buffer.split_to(end + 4);
    if super::head::has_bare_line_end(&section) {
        return Err("trailer section has a bare CR or LF");
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut fields) else {
        return Err("trailer section is malformed or has more than 64 fields");
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) else {
            return Err("trailer section is malformed");
        };
        trailers.append(name, value);
    }
    hop_by_hop::strip_trailers(&mut trailers);
    Ok(Some((!trailers.is_empty()).then_some(trailers)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Outcome = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

    /// Decodes `input` as it arrives in pieces of `piece` bytes: data, trailers and what was left over.
    fn run(input: &[u8], piece: usize) -> Result<Outcome, &'static str> {
        let mut decoder = Decoder::chunked();
        let mut buffer = BytesMut::new();
        let (mut data, mut trailers) = (Vec::new(), None);
        for part in input.chunks(piece) {
            buffer.extend_from_slice(part);
            while let Some(frame) = decoder.decode(&mut buffer)? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
        }
        Ok((data, trailers, decoder.is_done(), buffer.to_vec()))
    }

    #[test]
    fn a_length_ends_where_it_says() {
        let mut decoder = Decoder::Length(5);
        let mut buffer = BytesMut::from("abc");
        let frame = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "abc");
        assert!(decoder.decode(&mut buffer).unwrap().is_none());
        assert_eq!(decoder.left(), Some(2));
        buffer.extend_from_slice(b"deNEXT");
        assert_eq!(
            decoder.decode(&mut buffer).unwrap().unwrap().into_data().unwrap(),
            "de"
        );
        assert!(decoder.is_done());
        assert_eq!(&buffer[..], b"NEXT");
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_in_pieces_of_any_size() {
        let input = b"3;a=\"b\"\r\nabc\r\n0A \t;x\r\n0123456789\r\n000\r\nX-Sum: 7\r\nContent-Length: 3\r\nx-sum: 8\r\n\r\nGET";
        for piece in 1..input.len() {
            let (data, trailers, done, rest) = run(input, piece).unwrap();
            assert_eq!(data, b"abc0123456789");
            let trailers = trailers.unwrap();
            assert_eq!(trailers.len(), 2);
            assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["7", "8"]);
            assert!(done);
            assert!(b"GET".starts_with(&rest[..]) || rest == b"GET");
        }
    }

    #[test]
    fn the_last_chunk_is_known_as_such_when_its_end_is_there() {
        let mut decoder = Decoder::chunked();
        let mut buffer = BytesMut::from("3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(
            decoder.decode(&mut buffer).unwrap().unwrap().into_data().unwrap(),
            "abc"
        );
        assert!(decoder.is_done());
    }

    #[test]
    fn nothing_is_read_behind_wrong_framing() {
        let mut decoder = Decoder::chunked();
        let mut buffer = BytesMut::from("0\r\nx : y\r\n\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n");
        assert!(decoder.decode(&mut buffer).is_err());
        assert!(decoder.decode(&mut buffer).is_err() && !decoder.is_done());
    }

    #[test]
    fn framing_that_others_read_differently_is_refused() {
        for (input, part) in [
            (&b"g\r\n"[..], "without a size"),
            (b"\r\n", "without a size"),
            (b"-1\r\n", "without a size"),
            (b"0x1\r\n", "no extension"),
            (b"1 1\r\n", "no extension"),
            (b"00000000000000001\r\n", "1 to 16"),
            (b"1\n", "bare LF"),
            (b"1;a\0\r\nx\r\n", "no extension"),
            (b"1;a\rb\r\nx\r\n", "no extension"),
            (b"1\r\nab\r\n", "longer than its size"),
            (b"1\r\na\n\n", "longer than its size"),
            (b"0\r\n x: folded\r\n\r\n", "malformed"),
            (b"0\r\nx : y\r\n\r\n", "malformed"),
            (b"0\r\nx: y\nz: a\r\n\r\n", "bare"),
        ] {
            let error = run(input, 1).unwrap_err();
            assert!(
                error.contains(part),
                "{:?}: {error}",
                input.escape_ascii().to_string()
            );
        }
        let many = b"1;a=1234567890\r\nx\r\n".repeat(500);
        assert!(
            run(&many, 1000)
                .unwrap_err()
                .contains("extensions of more than 4 KiB")
        );
        let long = [b"1;".as_slice(), &[b'a'; 300]].concat();
        assert!(run(&long, 7).unwrap_err().contains("too long"));
        let large = [b"0\r\nx: ".as_slice(), &[b'a'; TRAILERS_MAX]].concat();
        assert!(run(&large, 1000).unwrap_err().contains("16 KiB"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_the_same_in_one_piece_and_in_many(
            input in proptest::collection::vec(
                prop_oneof![Just(b'0'), Just(b'1'), Just(b'a'), Just(b'\r'), Just(b'\n'), Just(b';'), Just(b':'), any::<u8>()],
                0..64,
            ),
            piece in 1_usize..8,
        ) {
            let whole = run(&input, input.len().max(1));
            let pieces = run(&input, piece);
            prop_assert_eq!(whole.as_ref().map(|it| (&it.0, &it.1, it.2)).ok(), pieces.as_ref().map(|it| (&it.0, &it.1, it.2)).ok());
        }

        #[test]
        fn what_was_sent_in_chunks_is_read(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8), piece in 1_usize..50) {
            let mut input = Vec::new();
            for chunk in &chunks {
                input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            let (data, trailers, done, rest) = run(&input, piece).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(trailers.is_none() && done && rest.is_empty());
        }
    }
}
