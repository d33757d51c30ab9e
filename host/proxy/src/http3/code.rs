//! Error codes, and what they cost.

use quinn::VarInt;

/// Error codes of HTTP/3 (RFC 9114 section 8.1) and QPACK (RFC 9204 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    NoError = 0x100,
    InternalError = 0x102,
    StreamCreationError = 0x103,
    ClosedCriticalStream = 0x104,
    FrameUnexpected = 0x105,
    FrameError = 0x106,
    ExcessiveLoad = 0x107,
    IdError = 0x108,
    SettingsError = 0x109,
    MissingSettings = 0x10a,
    RequestRejected = 0x10b,
    RequestCancelled = 0x10c,
    RequestIncomplete = 0x10d,
    MessageError = 0x10e,
    DecompressionFailed = 0x200,
    EncoderStreamError = 0x201,
    DecoderStreamError = 0x202,
}

impl Code {
    pub(super) fn var_int(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// What the client did wrong, or that it went away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Costs the connection.
    #[error("{1} ({0:?})")]
    Connection(Code, &'static str),
    /// Costs the stream.
    #[error("{1} ({0:?})")]
    Stream(Code, &'static str),
    /// The client reset the stream, or the connection is gone.
    #[error("the client has gone")]
    Gone,
}
