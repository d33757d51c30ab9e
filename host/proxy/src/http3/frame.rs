//! Integers and frame headers (RFC 9000 section 16, RFC 9114 section 7).

use bytes::{Buf as _, BufMut, Bytes};

use super::code::{Code, Fault};

/// Longest frame header: two integers.
const HEADER_MAX: usize = 16;

/// Types of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u64 = 0x0;
    pub(in super::super) const HEADERS: u64 = 0x1;
    pub(in super::super) const CANCEL_PUSH: u64 = 0x3;
    pub(in super::super) const SETTINGS: u64 = 0x4;
    pub(in super::super) const PUSH_PROMISE: u64 = 0x5;
    pub(in super::super) const GOAWAY: u64 = 0x7;
    pub(in super::super) const MAX_PUSH_ID: u64 = 0xd;

    /// Types of HTTP/2 that must not be used (RFC 9114 section 7.2.8).
    pub(in super::super) const fn is_reserved(kind: u64) -> bool {
        matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
    }
}

/// The integer at the beginning, and how many bytes it takes; `None` when they are not all there.
pub(super) fn integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, length))
}

/// Writes an integer below 2^62 in the fewest bytes.
pub(super) fn put_integer(out: &mut impl BufMut, value: u64) {
    match value {
        0..0x40 => out.put_uint(value, 1),
        0x40..0x4000 => out.put_uint(value | 0x4000, 2),
        0x4000..0x4000_0000 => out.put_uint(value | 0x8000_0000, 4),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// Type and payload length of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: u64,
    pub(super) length: u64,
}

impl FrameHeader {
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (kind, first) = integer(bytes)?;
        let (length, second) = integer(bytes.get(first..)?)?;
        Some((Self { kind, length }, first + second))
    }

    pub(super) fn put(self, out: &mut impl BufMut) {
        put_integer(out, self.kind);
        put_integer(out, self.length);
    }
}

/// A frame header that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; HEADER_MAX],
    filled: usize,
}

impl Partial {
    /// Takes what belongs to the header off `input`; `None` when it needs more.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<FrameHeader> {
        if self.filled == 0
            && let Some((header, length)) = FrameHeader::parse(input)
        {
            input.advance(length);
            return Some(header);
        }
        while self.filled < HEADER_MAX && input.has_remaining() {
            self.bytes[self.filled] = input.get_u8();
            self.filled += 1;
            if let Some((header, _)) = FrameHeader::parse(&self.bytes[..self.filled]) {
                self.filled = 0;
                return Some(header);
            }
        }
        None
    }

    /// Whether a header has begun and not ended.
    pub(super) fn is_cut(&self) -> bool {
        self.filled > 0
    }
}

/// Refuses frame types that a stream of this kind must not carry.
pub(super) fn unexpected(what: &'static str) -> Fault {
    Fault::Connection(Code::FrameUnexpected, what)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_of_the_standard_are_read() {
        // RFC 9000 appendix A.1
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(integer(bytes), Some((value, bytes.len())));
            assert_eq!(integer(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(value in 0..1_u64 << 62) {
            let mut out = BytesMut::new();
            put_integer(&mut out, value);
            prop_assert_eq!(integer(&out), Some((value, out.len())));
        }

        #[test]
        fn a_header_in_pieces_is_the_same_header(kind in 0..1_u64 << 62, length in 0..1_u64 << 62, cut in 0_usize..16) {
            let mut out = BytesMut::new();
            FrameHeader { kind, length }.put(&mut out);
            out.put_slice(b"payload");
            let mut first = out.freeze();
            let mut second = first.split_off(cut.min(first.len() - 8));
            let mut partial = Partial::default();
            prop_assert_eq!(partial.take(&mut first), None);
            prop_assert_eq!(partial.take(&mut second), Some(FrameHeader { kind, length }));
            prop_assert_eq!(&second[..], b"payload");
            prop_assert!(!partial.is_cut());
        }
    }
}
