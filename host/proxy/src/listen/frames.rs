//! What the frames of an HTTP/2 connection cost beside what they carry. Heads of frames (RFC 9113 section 4.1) are looked at in both directions while
//! their bytes pass, and what makes work without being any is counted. hyper and h2 limit the rest themselves: streams, sizes of heads, CONTINUATION,
//! empty and small DATA, streams that the client makes them reset.

use std::time::{Duration, Instant};

use super::stall::PIECE;

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
/// Length of the client's connection preface (RFC 9113 section 3.4).
pub(super) const PREFACE: u32 = 24;

/// Requests that pay for one that is reset: a quarter of them may be, however many there are.
const REQUESTS_PER_RESET: u32 = 4;
/// Control frames that a request brings along: WINDOW_UPDATE for its response, PRIORITY.
const CONTROL_PER_REQUEST: u32 = 4;
/// Bytes of DATA, either way, that pay for a control frame.
const DATA_PER_CONTROL: u32 = 16;
/// What was used up comes back in this time.
const RECOVERY: Duration = Duration::from_secs(10);

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Abuse {
    /// Rapid reset (CVE-2023-44487).
    #[error("more streams were reset than `limits.h2-resets` allows")]
    Resets,
    /// Floods of PING, SETTINGS, PRIORITY, WINDOW_UPDATE, of empty and of unknown frames (CVE-2019-9511 to 9518).
    #[error("more frames without use came than `limits.h2-control-frames` allows")]
    ControlFrames,
    /// Preface, SETTINGS or a header block that does not come to its end.
    #[error("preface or head did not come within `limits.head-timeout`")]
    SlowHead,
    /// Nothing, or too little, of what was written is taken.
    #[error("what was sent is not read, or more slowly than `limits.min-rate`")]
    SlowReader,
    /// The protocol is broken, or one of the HTTP/2 library's own limits exceeded.
    #[error("the protocol was broken")]
    Protocol,
}

impl Abuse {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] = [
        Self::Resets,
        Self::ControlFrames,
        Self::SlowHead,
        Self::SlowReader,
        Self::Protocol,
    ];

    /// Error code of GOAWAY (RFC 9113 section 7): `PROTOCOL_ERROR` or `ENHANCE_YOUR_CALM`.
    const fn code(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Resets | Self::ControlFrames | Self::SlowHead | Self::SlowReader => 11,
        }
    }

    /// The metric's label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::ControlFrames => "control-frames",
            Self::SlowHead => "slow-head",
            Self::SlowReader => "slow-reader",
            Self::Protocol => "protocol",
        }
    }
}

/// Length of a frame's head.
pub(super) const HEAD: usize = 9;

/// A head of a frame (RFC 9113 section 4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) const fn read([a, b, c, kind, flags, stream @ ..]: [u8; HEAD]) -> Self {
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }
}

/// Finds the heads of frames in bytes that come in any pieces.
#[derive(Debug, Default)]
struct Walk {
    /// Bytes of a payload that are to be skipped.
    left: u32,
    head: [u8; HEAD],
    /// Bytes of `head` that are there.
    have: usize,
}

impl Walk {
    /// The next head; what was looked at is taken off `data`.
    fn next(&mut self, data: &mut &[u8]) -> Option<Head> {
        let skip = data.len().min(self.left as usize);
        *data = &data[skip..];
        self.left -= u32::try_from(skip).unwrap_or(self.left);
        let count = data.len().min(HEAD - self.have);
        let (taken, rest) = data.split_at(count);
        self.head[self.have..self.have + count].copy_from_slice(taken);
        self.have += count;
        *data = rest;
        if self.have < HEAD {
            return None;
        }
        self.have = 0;
        let head = Head::read(self.head);
        self.left = head.length;
        Some(head)
    }

    /// Whether the next byte begins a frame.
    const fn is_between(&self) -> bool {
        self.left == 0 && self.have == 0
    }
}

/// Something that may be used up to a limit, comes back with time and is earned by use.
#[derive(Debug)]
struct Allowance {
    most: u32,
    left: u32,
    filled: Instant,
}

impl Allowance {
    fn new(most: u32) -> Self {
        Self {
            most,
            left: most,
            filled: Instant::now(),
        }
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    /// False when nothing is left. The clock is looked at only then.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let back = u128::from(self.most) * self.filled.elapsed().as_micros() / RECOVERY.as_micros();
            if back > 0 {
                self.filled = Instant::now();
                self.earn(u32::try_from(back).unwrap_or(u32::MAX));
            }
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

/// The frames of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    input: Walk,
    output: Walk,
    resets: Allowance,
    control: Allowance,
    /// Requests that do not count for a reset yet.
    requests: u32,
    /// Highest stream of the client.
    stream: u32,
    /// The client's SETTINGS have begun.
    greeted: bool,
    /// A header block has begun and not ended.
    block: bool,
    /// Counts frames, but for those that go on with a block.
    begun: u64,
    /// Type of the last one.
    kind: u8,
    /// See [`Self::small_windows`].
    small_windows: bool,
    /// A GOAWAY with an error was written.
    broken: bool,
}

impl Frames {
    /// `resets` and `control` are what may come at once.
    pub(super) fn new(resets: u32, control: u32) -> Self {
        Self {
            input: Walk {
                left: PREFACE,
                ..Walk::default()
            },
            output: Walk::default(),
            resets: Allowance::new(resets),
            control: Allowance::new(control),
            requests: 0,
            stream: 0,
            greeted: false,
            block: false,
            begun: 0,
            kind: SETTINGS,
            small_windows: false,
            broken: false,
        }
    }

    /// Looks at bytes of the client.
    ///
    /// # Errors
    /// It does too much without use.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<(), Abuse> {
        while let Some(head) = self.input.next(&mut data) {
            // h2 does not insist on it
            if !self.greeted && head.kind != SETTINGS {
                return Err(Abuse::Protocol);
            }
            self.kind = head.kind;
            self.begun += u64::from(head.kind != CONTINUATION);
            let useful = match head.kind {
                DATA if head.length > 0 => {
                    self.control.earn(head.length / DATA_PER_CONTROL);
                    true
                }
                DATA => head.flags & END_STREAM != 0,
                HEADERS => {
                    self.block = head.flags & END_HEADERS == 0;
                    if head.stream > self.stream {
                        self.stream = head.stream;
                        self.control.earn(CONTROL_PER_REQUEST);
                        self.requests += 1;
                        if self.requests == REQUESTS_PER_RESET {
                            self.requests = 0;
                            self.resets.earn(1);
                        }
                    }
                    true
                }
                RST_STREAM => {
                    if !self.resets.spend() {
                        return Err(Abuse::Resets);
                    }
                    true
                }
                CONTINUATION => {
                    self.block = head.flags & END_HEADERS == 0;
                    false
                }
                SETTINGS => {
                    self.greeted = true;
                    self.small_windows |= sets_small_windows(data, head.length as usize);
                    false
                }
                _ => false,
            };
            if !useful && !self.control.spend() {
                return Err(Abuse::ControlFrames);
            }
        }
        Ok(())
    }

    /// Looks at bytes to the client.
    pub(super) fn write(&mut self, mut data: &[u8]) {
        while let Some(head) = self.output.next(&mut data) {
            match head.kind {
                DATA => self.control.earn(head.length / DATA_PER_CONTROL),
                // the error code is behind the last stream; h2 writes the frame in one piece
                GOAWAY => self.broken |= data.get(4..8).is_some_and(|code| code != [0; 4]),
                _ => {}
            }
        }
    }

    /// A number for the preface or head that the client is in the middle of, if it is: for that it has a certain time. For DATA it has another.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let is_partial = !self.input.is_between() && (self.kind != DATA || self.input.left == 0);
        (!self.greeted || self.block || is_partial).then_some(self.begun)
    }

    /// Whether the client has ever asked for windows of streams that a piece of a response does not fit into.
    pub(super) const fn small_windows(&self) -> bool {
        self.small_windows
    }

    /// Whether the connection was ended with an error that was found by h2.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// GOAWAY (RFC 9113 section 6.8), unless h2 has said that already, or a frame is half written.
    pub(super) fn goaway(&self, abuse: Abuse) -> Option<[u8; 17]> {
        if self.broken || !self.output.is_between() {
            return None;
        }
        let mut frame = [0; 17];
        frame[2] = 8;
        frame[3] = GOAWAY;
        frame[9..13].copy_from_slice(&self.stream.to_be_bytes());
        frame[13..].copy_from_slice(&abuse.code().to_be_bytes());
        Some(frame)
    }
}

/// Whether SETTINGS, with which `data` begins, make windows of streams small (RFC 9113 section 6.5.2). If they are not there as a whole they might.
fn sets_small_windows(data: &[u8], length: usize) -> bool {
    let Some(settings) = data.get(..length) else {
        return true;
    };
    settings.chunks_exact(6).any(|setting| match setting {
        [0, 4, value @ ..] => value
            .try_into()
            .is_ok_and(|value| u32::from_be_bytes(value) < PIECE as u32),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: u16) -> Vec<u8> {
        let mut frame = vec![0; 9 + usize::from(length)];
        frame[1..3].copy_from_slice(&length.to_be_bytes());
        frame[3..5].copy_from_slice(&[kind, flags]);
        frame[5..9].copy_from_slice(&stream.to_be_bytes());
        frame
    }

    /// A connection that has begun.
    fn greeted(resets: u32, control: u32) -> Frames {
        let mut frames = Frames::new(resets, control);
        assert_eq!(frames.unfinished(), Some(0));
        frames.read(&[0; PREFACE as usize]).unwrap();
        assert_eq!(frames.unfinished(), Some(0));
        frames.read(&frame(SETTINGS, 0, 0, 6)).unwrap();
        assert_eq!(frames.unfinished(), None);
        frames
    }

    #[test]
    fn heads_are_found_whatever_the_pieces() {
        let mut bytes = vec![0; PREFACE as usize];
        for (kind, length) in [
            (SETTINGS, 12),
            (HEADERS, 300),
            (DATA, 0),
            (DATA, 16_384),
            (RST_STREAM, 4),
        ] {
            bytes.extend(frame(kind, END_HEADERS, 7, length));
        }
        for piece in [1, 2, 8, 9, 10, 1000, usize::MAX] {
            let mut frames = Frames::new(10, 10);
            for piece in bytes.chunks(piece.min(bytes.len())) {
                frames.read(piece).unwrap();
            }
            assert!(frames.input.is_between());
            // the empty DATA was one too many, and what came behind it paid for it
            assert_eq!(
                (frames.resets.left, frames.control.left, frames.stream),
                (9, 10, 7)
            );
        }
    }

    #[test]
    fn small_windows_are_seen() {
        for (name, value, small) in [
            (4, 16_383_u32, true),
            (4, 16_384, false),
            (4, 0, true),
            (3, 0, false),
        ] {
            let mut settings = frame(SETTINGS, 0, 0, 12);
            settings[16] = name;
            settings[17..].copy_from_slice(&value.to_be_bytes());
            let mut frames = greeted(9, 9);
            frames.read(&settings).unwrap();
            assert_eq!(frames.small_windows(), small, "{name} {value}");
            frames.read(&frame(SETTINGS, 1, 0, 0)).unwrap();
            assert_eq!(frames.small_windows(), small, "{name} {value}");
            // in two parts: better safe
            let mut frames = greeted(9, 9);
            frames.read(&settings[..15]).unwrap();
            assert!(frames.small_windows());
        }
    }

    #[test]
    fn the_first_frame_is_settings() {
        let mut frames = Frames::new(9, 9);
        frames.read(&[0; PREFACE as usize]).unwrap();
        assert_eq!(
            frames.read(&frame(HEADERS, END_HEADERS, 1, 9)),
            Err(Abuse::Protocol)
        );
    }

    #[test]
    fn a_flood_ends_at_its_limit() {
        for kind in [2, SETTINGS, 6, GOAWAY, 8, CONTINUATION, 99, DATA] {
            let mut frames = greeted(5, 100);
            let flood = (0..200)
                .map(|_| frames.read(&frame(kind, 0, 1, 0)))
                .position(|read| read.is_err());
            assert_eq!(flood, Some(99), "{kind}");
        }
        let mut frames = greeted(5, 100);
        let flood = (0..200).map(|_| frames.read(&frame(RST_STREAM, 0, 1, 4)));
        assert_eq!(flood.collect::<Vec<_>>()[5], Err(Abuse::Resets));
    }

    #[test]
    fn use_pays_for_what_comes_with_it() {
        let mut frames = greeted(8, 8);
        for stream in 0..1000 {
            let stream = 2 * stream + 1;
            frames.read(&frame(HEADERS, END_HEADERS, stream, 10)).unwrap();
            for _ in 0..4 {
                frames.read(&frame(8, 0, stream, 4)).unwrap();
            }
            // three of four are let run
            if stream % 8 == 1 {
                frames.read(&frame(RST_STREAM, 0, stream, 4)).unwrap();
            }
            frames.write(&frame(DATA, 0, stream, 64));
            for _ in 0..4 {
                frames.read(&frame(8, 0, stream, 4)).unwrap();
            }
        }
        assert!(frames.goaway(Abuse::Resets).is_some());
    }

    #[test]
    fn what_was_used_up_comes_back() {
        let mut allowance = Allowance::new(1000);
        while allowance.spend() {}
        std::thread::sleep(Duration::from_millis(30));
        assert!(allowance.spend() && allowance.left < 500);
    }

    #[test]
    fn the_middle_of_a_head_is_known_and_the_middle_of_a_body_is_none() {
        let mut frames = greeted(9, 99);
        let head = frame(HEADERS, END_HEADERS, 1, 50);
        frames.read(&head[..5]).unwrap();
        let first = frames.unfinished();
        assert!(first.is_some());
        frames.read(&head[5..40]).unwrap();
        assert!(frames.unfinished().is_some());
        frames.read(&head[40..]).unwrap();
        assert_eq!(frames.unfinished(), None);
        frames.read(&frame(HEADERS, 0, 3, 50)).unwrap();
        let second = frames.unfinished();
        assert!(second.is_some() && second != first);
        frames.read(&frame(CONTINUATION, 0, 3, 5)).unwrap();
        assert_eq!(frames.unfinished(), second);
        frames.read(&frame(CONTINUATION, END_HEADERS, 3, 5)).unwrap();
        assert_eq!(frames.unfinished(), None);
        frames.read(&frame(DATA, 0, 3, 5)[..11]).unwrap();
        assert_eq!(frames.unfinished(), None);
    }

    #[test]
    fn the_last_word_names_the_last_stream_and_never_stands_inside_a_frame() {
        let mut frames = greeted(9, 99);
        frames.read(&frame(HEADERS, END_HEADERS, 5, 1)).unwrap();
        let goaway = frames.goaway(Abuse::Resets).unwrap();
        assert_eq!(goaway, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
        let data = frame(DATA, 0, 5, 10);
        frames.write(&data[..15]);
        assert!(frames.goaway(Abuse::Resets).is_none());
        frames.write(&data[15..]);
        assert!(frames.goaway(Abuse::Protocol).is_some() && !frames.is_broken());
        frames.write(&goaway);
        assert!(
            frames.is_broken() && frames.goaway(Abuse::Resets).is_none(),
            "once"
        );
    }
}
