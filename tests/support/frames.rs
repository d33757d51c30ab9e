//! HTTP/2 in frames (RFC 9113 section 4), for what no library would send. Header blocks are written with static indexes and literals without Huffman
//! coding (RFC 7541); those that come back are decoded.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::within;

/// What a client says first (RFC 9113 section 3.4), without the SETTINGS behind it.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 section 6).
#[expect(missing_docs, reason = "the names are the RFC's")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames; ACK has the same bit as `END_STREAM`.
#[expect(missing_docs, reason = "the names are the RFC's")]
pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

/// Error codes (RFC 9113 section 7).
#[expect(missing_docs, reason = "the names are the RFC's")]
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` or GOAWAY.
    #[must_use]
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// How the gateway ended a stream, or the connection before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A whole response with this status.
    Answer(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// GOAWAY with this code, other than `NO_ERROR`.
    Away(u32),
    /// The connection ended without a word.
    Closed,
}

/// A connection of frames.
pub struct Frames {
    stream: TcpStream,
    decoder: fluke_hpack::Decoder<'static>,
    statuses: BTreeMap<u32, u16>,
}

impl Frames {
    /// Connects and says the preface with SETTINGS that leave everything as it is.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    /// Connects with SETTINGS.
    pub async fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self::silent(address).await;
        frames.send(PREFACE).await;
        frames.settings(settings).await;
        frames
    }

    /// Connects and says nothing.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            decoder: fluke_hpack::Decoder::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Sends bytes. The gateway may have closed already: what it said before is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(within("sending", self.stream.write_all(bytes.as_ref())).await);
    }

    /// Sends a frame.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) {
        self.send(frame(kind, flags, stream, payload)).await;
    }

    /// Sends SETTINGS.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        self.frame(kind::SETTINGS, 0, 0, settings_payload(settings)).await;
    }

    /// A request without a body.
    pub async fn get(&mut self, stream: u32, path: &str) {
        self.send(get(stream, path)).await;
    }

    /// The head of a request with a body.
    pub async fn post(&mut self, stream: u32, path: &str) {
        let block = block("POST", path, &[]);
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, block).await;
    }

    /// The next frame; nothing at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = within("a frame", async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            })
        })
        .await?;
        // every block, so that the decoder's table is the encoder's
        if frame.kind == kind::HEADERS {
            let fields = self.decoder.decode(&frame.payload).unwrap();
            let status = fields.iter().find(|(name, _)| name == b":status");
            if let Some((_, status)) = status {
                let status = std::str::from_utf8(status).unwrap().parse().unwrap();
                self.statuses.insert(frame.stream, status);
            }
        }
        Some(frame)
    }

    /// Reads until there is such a frame.
    pub async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame
                .unwrap_or_else(|| panic!("the connection ended before frame {kind} of stream {stream}"));
            if (frame.kind, frame.stream) == (kind, stream) {
                return frame;
            }
        }
    }

    /// Reads until the gateway has ended this stream or the connection.
    pub async fn end_of(&mut self, stream: u32) -> End {
        while let Some(frame) = self.next().await {
            match frame.kind {
                kind::GOAWAY if frame.code() != code::NO_ERROR => return End::Away(frame.code()),
                kind::RST_STREAM if frame.stream == stream => return End::Reset(frame.code()),
                kind::DATA | kind::HEADERS
                    if frame.stream == stream && frame.flags & flag::END_STREAM != 0 =>
                {
                    return End::Answer(self.statuses[&stream]);
                }
                _ => {}
            }
        }
        End::Closed
    }

    /// Reads to the end of the connection: how it was ended, [`End::Away`] or [`End::Closed`].
    pub async fn end(&mut self) -> End {
        self.end_of(u32::MAX).await
    }
}

/// A frame on the wire.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// GET on the wire.
#[must_use]
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = flag::END_STREAM | flag::END_HEADERS;
    frame(kind::HEADERS, flags, stream, block("GET", path, &[]))
}

/// What SETTINGS carry.
#[must_use]
pub fn settings_payload(settings: &[(u16, u32)]) -> Vec<u8> {
    settings
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect()
}

/// Header block of a request to host `a` with more fields.
#[must_use]
pub fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    literals(pseudo.iter().chain(fields).copied())
}

/// Header block of these fields, each a literal without indexing and a new name (RFC 7541 section 6.2.2).
pub fn literals<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, 0, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// An integer with a prefix of so many bits, behind these bits of its first byte (RFC 7541 section 5.1).
pub fn integer(block: &mut Vec<u8>, prefix: u32, first: u8, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        block.push(first | u8::try_from(value).unwrap());
        return;
    }
    block.push(first | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}
