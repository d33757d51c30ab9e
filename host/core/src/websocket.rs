//! WebSocket as far as somebody in the middle has to know it (RFC 6455 section 5): where frames end, whether a Close has passed, and the Close that
//! is put between two frames. Owns no I/O and judges nothing: payloads, masks and extensions are the endpoints' own.

/// Longest head of a frame: two bytes, eight of the length, four of the mask.
const HEAD_MAX: usize = 14;

/// The endpoint goes away (RFC 6455 section 7.4.1).
pub const GOING_AWAY: u16 = 1001;

/// Follows the frames of one direction, by their heads alone.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_MAX],
    /// Bytes of the head that were seen.
    known: usize,
    /// Bytes of the payload that are to come.
    payload: u64,
    /// The frame that is passing is a Close.
    closing: bool,
    closed: bool,
}

impl Frames {
    /// Whether the next byte begins a frame.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.known == 0 && self.payload == 0
    }

    /// Whether a whole Close has passed.
    #[must_use]
    pub const fn has_closed(&self) -> bool {
        self.closed
    }

    /// Follows `bytes` up to the end of the frame that they are in, and tells how many those are. At a boundary: the whole next frame.
    pub fn follow_one(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.payload > 0 {
                let left = bytes.len() - at;
                let part = usize::try_from(self.payload).map_or(left, |payload| payload.min(left));
                self.payload -= part as u64;
                at += part;
            } else {
                self.head[self.known] = *byte;
                self.known += 1;
                at += 1;
                if self.known < head_length(&self.head[..self.known]) {
                    continue;
                }
                self.payload = payload_length(&self.head);
                self.closing = self.head[0] & 0x0f == 0x8;
                self.known = 0;
            }
            if self.payload == 0 {
                self.closed |= self.closing;
                return at;
            }
        }
        at
    }

    /// Follows all of `bytes`.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.follow_one(bytes)..];
        }
    }
}

/// Length of a frame's head, of which the beginning is known.
fn head_length(known: &[u8]) -> usize {
    let Some(second) = known.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn payload_length(head: &[u8; HEAD_MAX]) -> u64 {
    let bytes = match head[1] & 0x7f {
        126 => &head[2..4],
        127 => &head[2..10],
        short => return u64::from(short),
    };
    bytes
        .iter()
        .fold(0, |length, byte| length << 8 | u64::from(*byte))
}

/// A Close frame with `code` (RFC 6455 section 5.5.1). What goes to a server is masked (section 5.3).
#[must_use]
pub fn close_frame(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    match mask {
        None => vec![0x88, 2, high, low],
        Some(mask) => vec![
            0x88,
            0x82,
            mask[0],
            mask[1],
            mask[2],
            mask[3],
            high ^ mask[0],
            low ^ mask[1],
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with an opcode and a payload of so many bytes.
    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[0x88; 4]);
        }
        // looks like a Close wherever it is read from
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    #[test]
    fn a_close_is_seen_when_it_is_whole() {
        let mut frames = Frames::default();
        frames.follow(&frame(1, 200, true));
        assert!(frames.at_boundary() && !frames.has_closed());
        for mask in [None, Some([1, 2, 3, 4])] {
            let mut frames = Frames::default();
            let close = close_frame(GOING_AWAY, mask);
            let (last, before) = close.split_last().unwrap();
            frames.follow(before);
            assert!(!frames.at_boundary() && !frames.has_closed());
            frames.follow(&[*last]);
            assert!(frames.at_boundary() && frames.has_closed());
        }
        let mut frames = Frames::default();
        frames.follow(&[0x88, 0]);
        assert!(frames.has_closed(), "a Close without a code");
    }

    #[test]
    fn a_masked_close_reads_as_its_code() {
        let close = close_frame(GOING_AWAY, Some([9, 8, 7, 6]));
        assert_eq!([close[6] ^ 9, close[7] ^ 8], 1001_u16.to_be_bytes());
    }

    #[test]
    fn a_length_beyond_all_bounds_is_followed_and_nothing_more() {
        let mut frames = Frames::default();
        frames.follow(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.follow(&[0x88; 1000]);
        assert!(!frames.at_boundary() && !frames.has_closed());
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_in_whatever_pieces_they_come(
            sizes in proptest::collection::vec((prop_oneof![0_usize..130, 65_530_usize..65_540], any::<bool>()), 1..6),
            piece in 1_usize..70_000,
        ) {
            let mut text = Vec::new();
            let mut ends = Vec::new();
            for (size, masked) in &sizes {
                text.extend(frame(2, *size, *masked));
                ends.push(text.len());
            }
            let mut frames = Frames::default();
            let (mut at, mut found) = (0, Vec::new());
            for part in text.chunks(piece) {
                let mut part = part;
                while !part.is_empty() {
                    let count = frames.follow_one(part);
                    at += count;
                    part = &part[count..];
                    if frames.at_boundary() {
                        found.push(at);
                    }
                }
            }
            prop_assert_eq!(found, ends);
            prop_assert!(!frames.has_closed());
        }
    }
}
