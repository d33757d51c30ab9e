//! Frames of a request stream, in the order that RFC 9114 section 4.1 allows.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::{
    code::{Code, Fault},
    frame::{Partial, kind, unexpected},
};

/// Most that is taken from the stream at once.
const CHUNK: usize = 64 << 10;
/// Payload of frames of unknown types (RFC 9114 section 9) that a stream may carry: they are for greasing, a few bytes each.
const UNKNOWN_MAX: u64 = 16 << 10;

/// What a request stream brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A field section: first the head, then perhaps trailers.
    Fields(Bytes),
    /// A field section that is longer than allowed; the stream cannot be read on.
    TooLong(u64),
    Data(Bytes),
    End,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    /// Nothing but frames of unknown types.
    Trailed,
}

/// Where in a frame we are.
#[derive(Debug)]
enum Payload {
    None,
    Fields { left: usize, got: BytesMut },
    Data { left: u64 },
    Unknown { left: u64 },
}

/// The receiving side of a request stream.
#[derive(Debug)]
pub(super) struct Reader<S = RecvStream> {
    stream: S,
    input: Bytes,
    header: Partial,
    payload: Payload,
    stage: Stage,
    /// The stream has ended and `input` has all of it that was not handed out.
    ended: bool,
    unknown_left: u64,
    /// Longest field section, as it is on the wire.
    fields_max: u64,
}

/// Where the bytes of a stream come from; `None` at its end.
pub(super) trait Source {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>>;
}

impl Source for RecvStream {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        // the future keeps nothing between polls
        let chunk = ready!(pin!(self.read_chunk(CHUNK, true)).poll(context));
        Poll::Ready(match chunk {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(ReadError::ClosedStream) => Ok(None),
            Err(_reset_or_lost) => Err(Fault::Gone),
        })
    }
}

impl<S: Source> Reader<S> {
    pub(super) fn new(stream: S, fields_max: u64) -> Self {
        Self {
            stream,
            input: Bytes::new(),
            header: Partial::default(),
            payload: Payload::None,
            stage: Stage::Head,
            ended: false,
            unknown_left: UNKNOWN_MAX,
            fields_max,
        }
    }

    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// True when it is known that nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.input.is_empty() && matches!(self.payload, Payload::None)
    }

    /// The next part of the message. What has not come yet is not waited for with anything of it held back, but for field sections.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Fault>> {
        loop {
            if self.input.is_empty() && !self.ended {
                match self.stream.poll_chunk(context)? {
                    Poll::Ready(Some(chunk)) => self.input = chunk,
                    Poll::Ready(None) => self.ended = true,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if let Some(event) = self.take()? {
                return Poll::Ready(Ok(event));
            }
            if self.input.is_empty() && self.ended {
                return Poll::Ready(self.end());
            }
        }
    }

    /// Looks whether the stream has ended, without waiting.
    pub(super) fn peek_end(&mut self, context: &mut Context<'_>) -> Result<bool, Fault> {
        if self.input.is_empty() && !self.ended {
            match self.stream.poll_chunk(context)? {
                Poll::Ready(Some(chunk)) => self.input = chunk,
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {}
            }
        }
        Ok(self.has_ended())
    }

    fn end(&self) -> Result<Event, Fault> {
        let cut = self.header.is_cut() || !matches!(self.payload, Payload::None);
        match (cut, self.stage) {
            // RFC 9114 section 7.1
            (true, _) => Err(Fault::Connection(
                Code::FrameError,
                "frame is cut off by the end of the stream",
            )),
            (false, Stage::Head) => Err(Fault::Stream(
                Code::RequestIncomplete,
                "stream ended before a request head",
            )),
            (false, Stage::Body | Stage::Trailed) => Ok(Event::End),
        }
    }

    /// What the bytes at hand make.
    fn take(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            match &mut self.payload {
                Payload::None => {
                    let Some(header) = self.header.take(&mut self.input) else {
                        return Ok(None);
                    };
                    if let Some(event) = self.begin(header.kind, header.length)? {
                        return Ok(Some(event));
                    }
                }
                Payload::Fields { left, got } => {
                    let part = self.input.split_to(self.input.len().min(*left));
                    *left -= part.len();
                    let section = match (*left, got.is_empty()) {
                        (0, true) => part, // whole in one piece, the usual case
                        (more, _) => {
                            got.extend_from_slice(&part);
                            if more > 0 {
                                return Ok(None);
                            }
                            std::mem::take(got).freeze()
                        }
                    };
                    self.payload = Payload::None;
                    return Ok(Some(Event::Fields(section)));
                }
                Payload::Data { left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = self.input.split_to(self.input.len().min(most));
                    if data.is_empty() {
                        return Ok(None);
                    }
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.payload = Payload::None;
                    }
                    return Ok(Some(Event::Data(data)));
                }
                Payload::Unknown { left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let skipped = self.input.split_to(self.input.len().min(most));
                    *left -= skipped.len() as u64;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.payload = Payload::None;
                }
            }
        }
    }

    fn begin(&mut self, frame: u64, length: u64) -> Result<Option<Event>, Fault> {
        match (frame, self.stage) {
            (kind::HEADERS, Stage::Head | Stage::Body) => {
                self.stage = if self.stage == Stage::Head {
                    Stage::Body
                } else {
                    Stage::Trailed
                };
                if length > self.fields_max {
                    return Ok(Some(Event::TooLong(length)));
                }
                self.payload = Payload::Fields {
                    left: usize::try_from(length).unwrap_or(usize::MAX),
                    got: BytesMut::new(),
                };
            }
            // an empty frame leaves nothing to wait for
            (kind::DATA, Stage::Body) if length == 0 => self.pay_for(1)?,
            (kind::DATA, Stage::Body) => self.payload = Payload::Data { left: length },
            (kind::HEADERS, Stage::Trailed) => return Err(unexpected("HEADERS behind trailers")),
            (kind::DATA, Stage::Head) => return Err(unexpected("DATA before HEADERS")),
            (kind::DATA, Stage::Trailed) => return Err(unexpected("DATA behind trailers")),
            (
                kind::CANCEL_PUSH | kind::SETTINGS | kind::PUSH_PROMISE | kind::GOAWAY | kind::MAX_PUSH_ID,
                _,
            ) => return Err(unexpected("frame that a request stream must not have")),
            (other, _) if kind::is_reserved(other) => {
                return Err(unexpected("frame type of HTTP/2"));
            }
            _ => {
                self.pay_for(length.saturating_add(2))?;
                self.payload = Payload::Unknown { left: length };
            }
        }
        Ok(None)
    }

    /// Frames that bring nothing are few.
    fn pay_for(&mut self, bytes: u64) -> Result<(), Fault> {
        self.unknown_left = self.unknown_left.checked_sub(bytes).ok_or(Fault::Connection(
            Code::ExcessiveLoad,
            "too much in frames that bring nothing",
        ))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use proptest::prelude::*;

    use super::{super::frame::FrameHeader, *};

    /// Chunks, then the end.
    struct Chunks(VecDeque<Bytes>);

    impl Source for Chunks {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
            Poll::Ready(Ok(self.0.pop_front()))
        }
    }

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let length = payload.len() as u64;
        FrameHeader { kind, length }.put(&mut out);
        out.extend_from_slice(payload);
        out.to_vec()
    }

    /// All events, data joined.
    fn events(bytes: &[u8], cuts: usize) -> Result<Vec<Event>, Fault> {
        let chunks = bytes.chunks(cuts.max(1)).map(Bytes::copy_from_slice).collect();
        let mut reader = Reader::new(Chunks(chunks), 100);
        let mut context = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        loop {
            let Poll::Ready(event) = reader.poll_event(&mut context) else {
                panic!("nothing to wait for");
            };
            let event = event?;
            let last = matches!(event, Event::End | Event::TooLong(_));
            match (events.last_mut(), event) {
                (Some(Event::Data(before)), Event::Data(more)) => {
                    *before = [&before[..], &more].concat().into();
                }
                (_, event) => events.push(event),
            }
            if last {
                return Ok(events);
            }
        }
    }

    #[test]
    fn a_message_is_read_however_it_is_cut() {
        let message = [
            frame(0x21, b"grease"),
            frame(kind::HEADERS, b"head"),
            frame(kind::DATA, b"some "),
            frame(0x40, b""),
            frame(kind::DATA, b""),
            frame(kind::DATA, &[b'x'; 300]),
            frame(kind::HEADERS, b"tail"),
            frame(0x21, b""),
        ]
        .concat();
        for cut in 1..message.len() {
            let events = events(&message, cut).unwrap();
            assert_eq!(events.len(), 4, "{events:?}");
            assert_eq!(events[0], Event::Fields(Bytes::from_static(b"head")));
            assert!(matches!(&events[1], Event::Data(data) if data.len() == 305));
            assert_eq!(events[2], Event::Fields(Bytes::from_static(b"tail")));
        }
    }

    #[test]
    fn frames_out_of_order_or_place_cost_the_connection() {
        let head = frame(kind::HEADERS, b"h");
        for frames in [
            vec![frame(kind::DATA, b"d")],
            vec![head.clone(), head.clone(), head.clone()],
            vec![head.clone(), head.clone(), frame(kind::DATA, b"d")],
            vec![frame(kind::SETTINGS, b"")],
            vec![head.clone(), frame(kind::CANCEL_PUSH, b"\0")],
            vec![head.clone(), frame(kind::GOAWAY, b"\0")],
            vec![head.clone(), frame(kind::MAX_PUSH_ID, b"\0")],
            vec![head.clone(), frame(kind::PUSH_PROMISE, b"\0")],
            vec![head.clone(), frame(0x2, b"")],
            vec![head.clone(), frame(0x6, b"")],
            vec![head.clone(), frame(0x8, b"")],
            vec![head, frame(0x9, b"")],
        ] {
            let fault = events(&frames.concat(), 7).unwrap_err();
            assert!(
                matches!(fault, Fault::Connection(Code::FrameUnexpected, _)),
                "{fault}"
            );
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_told_apart() {
        let head = frame(kind::HEADERS, b"head");
        let fault = events(b"", 1).unwrap_err();
        assert!(matches!(fault, Fault::Stream(Code::RequestIncomplete, _)));
        for cut in [1, 3, head.len() - 1] {
            let fault = events(&head[..cut], 2).unwrap_err();
            assert!(matches!(fault, Fault::Connection(Code::FrameError, _)));
        }
        let cut = [&head[..], &frame(kind::DATA, b"data")[..4]].concat();
        let fault = events(&cut, 2).unwrap_err();
        assert!(matches!(fault, Fault::Connection(Code::FrameError, _)));
    }

    #[test]
    fn nothing_that_is_too_long_is_kept() {
        assert_eq!(
            events(&frame(kind::HEADERS, &[0; 101])[..3], 1).unwrap(),
            [Event::TooLong(101)]
        );
        for flood in [
            frame(0x21, &[0; 20_000]),
            frame(0x21, b"").repeat(10_000),
            [frame(kind::HEADERS, b"h"), frame(kind::DATA, b"").repeat(20_000)].concat(),
        ] {
            let fault = events(&flood, 1000).unwrap_err();
            assert!(matches!(fault, Fault::Connection(Code::ExcessiveLoad, _)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..40) {
            let _outcome = events(&bytes, cut);
        }
    }
}
