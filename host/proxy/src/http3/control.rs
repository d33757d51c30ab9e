//! Unidirectional streams that clients open (RFC 9114 section 6.2, RFC 9204 section 4.2).

use std::{
    collections::HashSet,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::RecvStream;

use super::{
    code::{Code, Fault},
    frame::{FrameHeader, Partial, integer, kind, unexpected},
    reader::Source,
    server::Link,
};
use crate::prefix;

/// Types of streams.
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// Longest payload of a control frame that is read; of settings a few are in use, of a few bytes each.
const PAYLOAD_MAX: u64 = 4 << 10;

/// Streams of which a connection has one each.
#[derive(Debug, Default)]
pub(super) struct Seen {
    control: bool,
    encoder: bool,
    decoder: bool,
}

/// Reads a stream to its end.
///
/// # Errors
/// What the client does wrong, or that the connection is gone.
pub(super) async fn serve(link: &Arc<Link>, stream: RecvStream) -> Result<(), Fault> {
    let mut stream = Bytewise::new(stream);
    let limit = link.limits.head_timeout.0;
    let Ok(Some(of)) = tokio::time::timeout(limit, stream.integer())
        .await
        .unwrap_or(Err(Fault::Gone))
    else {
        // one that ends before it says what it is, or never says so, is let go (section 6.2)
        return link.charge(1);
    };
    let twice = || {
        Fault::Connection(
            Code::StreamCreationError,
            "second stream of a kind of which there is one",
        )
    };
    let first = |seen: &mut bool| {
        if std::mem::replace(seen, true) {
            Err(twice())
        } else {
            Ok(())
        }
    };
    let read = match of {
        CONTROL => {
            first(&mut link.seen.lock().control)?;
            control(link, &mut stream).await
        }
        ENCODER => {
            first(&mut link.seen.lock().encoder)?;
            encoder(link, &mut stream).await
        }
        DECODER => {
            first(&mut link.seen.lock().decoder)?;
            decoder(link, &mut stream).await
        }
        PUSH => {
            return Err(Fault::Connection(
                Code::StreamCreationError,
                "push stream from a client",
            ));
        }
        _ => {
            // not reset by us: it tells nothing, and nothing is read
            let _closed = stream.stream.stop(Code::StreamCreationError.var_int());
            return link.charge(1);
        }
    };
    match read {
        Err(fault @ Fault::Connection(..)) => Err(fault),
        // ended or reset, but the connection is there
        _ if link.connection.close_reason().is_none() => Err(Fault::Connection(
            Code::ClosedCriticalStream,
            "stream that has to stay was closed",
        )),
        _ => Err(Fault::Gone),
    }
}

/// Until the stream ends.
async fn control(link: &Link, stream: &mut Bytewise<RecvStream>) -> Result<(), Fault> {
    let mut control = Control::default();
    let mut partial = Partial::default();
    while let Some(header) = stream.frame(&mut partial).await? {
        link.charge(1)?;
        if control.begins(header)? {
            let Some(payload) = stream.exactly(header.length).await? else {
                return Ok(());
            };
            control.frame(header.kind, payload)?;
        } else {
            stream.skip(header.length).await?;
        }
    }
    Ok(())
}

/// What the control stream has said.
#[derive(Debug, Default)]
pub(super) struct Control {
    settings: bool,
    max_push: Option<u64>,
}

impl Control {
    /// Whether the payload is of interest.
    pub(super) fn begins(&mut self, header: FrameHeader) -> Result<bool, Fault> {
        if !std::mem::replace(&mut self.settings, true) {
            if header.kind != kind::SETTINGS {
                return Err(Fault::Connection(
                    Code::MissingSettings,
                    "first control frame is not SETTINGS",
                ));
            }
        } else if header.kind == kind::SETTINGS {
            return Err(unexpected("SETTINGS twice"));
        }
        match header.kind {
            kind::SETTINGS | kind::CANCEL_PUSH | kind::GOAWAY | kind::MAX_PUSH_ID => {
                if header.length > PAYLOAD_MAX {
                    return Err(Fault::Connection(
                        Code::ExcessiveLoad,
                        "control frame of more than 4 KiB",
                    ));
                }
                Ok(true)
            }
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => {
                Err(unexpected("frame that a control stream must not have"))
            }
            other if kind::is_reserved(other) => Err(unexpected("frame type of HTTP/2")),
            _ => Ok(false),
        }
    }

    pub(super) fn frame(&mut self, of: u64, payload: Bytes) -> Result<(), Fault> {
        if of == kind::SETTINGS {
            return settings(payload);
        }
        let (value, length) = integer(&payload).ok_or(Fault::Connection(
            Code::FrameError,
            "control frame without its number",
        ))?;
        if length != payload.len() {
            return Err(Fault::Connection(
                Code::FrameError,
                "control frame with more than its number",
            ));
        }
        match of {
            kind::MAX_PUSH_ID if self.max_push.is_some_and(|before| value < before) => {
                Err(Fault::Connection(Code::IdError, "MAX_PUSH_ID that goes back"))
            }
            kind::MAX_PUSH_ID => {
                self.max_push = Some(value);
                Ok(())
            }
            // nothing was ever pushed
            kind::CANCEL_PUSH => Err(Fault::Connection(
                Code::IdError,
                "CANCEL_PUSH of what was not pushed",
            )),
            _ => Ok(()),
        }
    }
}

/// Section 7.2.4: none of them changes what we send, but they have to be in order.
fn settings(mut payload: Bytes) -> Result<(), Fault> {
    let cut = || Fault::Connection(Code::FrameError, "SETTINGS cut off");
    let mut seen = HashSet::new();
    while !payload.is_empty() {
        let (id, length) = integer(&payload).ok_or_else(cut)?;
        payload.advance(length);
        let (_value, length) = integer(&payload).ok_or_else(cut)?;
        payload.advance(length);
        if matches!(id, 0x0 | 0x2..=0x5) {
            return Err(Fault::Connection(Code::SettingsError, "setting of HTTP/2"));
        }
        if !seen.insert(id) {
            return Err(Fault::Connection(Code::SettingsError, "setting twice"));
        }
    }
    Ok(())
}

/// RFC 9204 section 4.3: with a table of capacity 0 a client can only say that it is 0.
async fn encoder(link: &Link, stream: &mut Bytewise<RecvStream>) -> Result<(), Fault> {
    while let Some(byte) = stream.byte().await? {
        link.charge(1)?;
        if byte != 0x20 {
            return Err(Fault::Connection(
                Code::EncoderStreamError,
                "instruction for a dynamic table that was not allowed",
            ));
        }
    }
    Ok(())
}

/// RFC 9204 section 4.4: nothing refers to a table, so that streams may be cancelled, but nothing is acknowledged.
async fn decoder(link: &Link, stream: &mut Bytewise<RecvStream>) -> Result<(), Fault> {
    while let Some(first) = stream.byte().await? {
        link.charge(1)?;
        if first & 0xc0 != 0x40 {
            return Err(Fault::Connection(
                Code::DecoderStreamError,
                "acknowledgement of what was not sent",
            ));
        }
        let mut instruction = BytesMut::from(&[first][..]);
        let mut more = first & 0x3f == 0x3f;
        // no integer of 62 bits is longer
        while more && instruction.len() < 11 {
            let Some(byte) = stream.byte().await? else {
                return Ok(());
            };
            instruction.extend_from_slice(&[byte]);
            more = byte & 0x80 != 0;
        }
        prefix::read(&mut instruction, 6).ok_or(Fault::Connection(
            Code::DecoderStreamError,
            "integer beyond all bounds",
        ))?;
    }
    Ok(())
}

/// A stream that is read in small pieces.
struct Bytewise<S> {
    stream: S,
    input: Bytes,
}

impl<S: Source> Bytewise<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            input: Bytes::new(),
        }
    }

    /// Ready with false at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        while self.input.is_empty() {
            match ready!(self.stream.poll_chunk(context))? {
                Some(chunk) => self.input = chunk,
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    async fn byte(&mut self) -> Result<Option<u8>, Fault> {
        let there = poll_fn(|context| self.poll_fill(context)).await?;
        Ok(there.then(|| self.input.get_u8()))
    }

    async fn integer(&mut self) -> Result<Option<u64>, Fault> {
        let mut bytes = BytesMut::new();
        while let Some(byte) = self.byte().await? {
            bytes.extend_from_slice(&[byte]);
            if let Some((value, _)) = integer(&bytes) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    async fn frame(&mut self, partial: &mut Partial) -> Result<Option<FrameHeader>, Fault> {
        while poll_fn(|context| self.poll_fill(context)).await? {
            if let Some(header) = partial.take(&mut self.input) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// So many bytes, at most [`PAYLOAD_MAX`]; `None` when the stream ends before.
    async fn exactly(&mut self, length: u64) -> Result<Option<Bytes>, Fault> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::new();
        while bytes.len() < length {
            if !poll_fn(|context| self.poll_fill(context)).await? {
                return Ok(None);
            }
            let part = self.input.split_to(self.input.len().min(length - bytes.len()));
            bytes.extend_from_slice(&part);
        }
        Ok(Some(bytes.freeze()))
    }

    async fn skip(&mut self, length: u64) -> Result<(), Fault> {
        let mut left = length;
        while left > 0 && poll_fn(|context| self.poll_fill(context)).await? {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            self.input.advance(most);
            left -= most as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u64) -> FrameHeader {
        FrameHeader { kind, length: 1 }
    }

    fn code(outcome: Result<impl Sized, Fault>) -> Option<Code> {
        match outcome {
            Ok(_) => None,
            Err(Fault::Connection(code, _)) => Some(code),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn settings_come_first_and_once() {
        let mut control = Control::default();
        assert_eq!(
            code(control.begins(header(kind::GOAWAY))),
            Some(Code::MissingSettings)
        );
        let mut control = Control::default();
        assert!(control.begins(header(kind::SETTINGS)).unwrap());
        assert_eq!(
            code(control.begins(header(kind::SETTINGS))),
            Some(Code::FrameUnexpected)
        );
    }

    #[test]
    fn control_frames_are_checked() {
        let begun = || {
            let mut control = Control::default();
            control.begins(header(kind::SETTINGS)).unwrap();
            control
        };
        for unexpected in [kind::DATA, kind::HEADERS, kind::PUSH_PROMISE, 0x2, 0x6, 0x8, 0x9] {
            assert_eq!(
                code(begun().begins(header(unexpected))),
                Some(Code::FrameUnexpected)
            );
        }
        // PRIORITY_UPDATE and greasing are skipped
        assert!(!begun().begins(header(0xf_0700)).unwrap());
        assert!(!begun().begins(header(0x21)).unwrap());
        let long = FrameHeader {
            kind: kind::GOAWAY,
            length: 5000,
        };
        assert_eq!(code(begun().begins(long)), Some(Code::ExcessiveLoad));
        let mut control = begun();
        control
            .frame(kind::MAX_PUSH_ID, Bytes::from_static(&[9]))
            .unwrap();
        for (of, payload, expected) in [
            (kind::MAX_PUSH_ID, &[8][..], Some(Code::IdError)),
            (kind::MAX_PUSH_ID, &[10], None),
            (kind::CANCEL_PUSH, &[0], Some(Code::IdError)),
            (kind::GOAWAY, &[0], None),
            (kind::GOAWAY, &[], Some(Code::FrameError)),
            (kind::GOAWAY, &[0, 0], Some(Code::FrameError)),
        ] {
            assert_eq!(code(control.frame(of, Bytes::from_static(payload))), expected);
        }
    }

    #[test]
    fn settings_are_checked() {
        for (payload, expected) in [
            (&[][..], None),
            (&[0x01, 0x00, 0x06, 0x40, 0xff, 0x07, 0x00, 0x33, 0x01], None),
            (&[0x02, 0x00], Some(Code::SettingsError)),
            (&[0x05, 0x00], Some(Code::SettingsError)),
            (&[0x06, 0x00, 0x06, 0x00], Some(Code::SettingsError)),
            (&[0x06], Some(Code::FrameError)),
            (&[0x40], Some(Code::FrameError)),
        ] {
            assert_eq!(
                code(settings(Bytes::from_static(payload))),
                expected,
                "{payload:?}"
            );
        }
    }
}
