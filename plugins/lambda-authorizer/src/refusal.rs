//! Why a caller is refused: one text for the operator's log, exact, and next to nothing for the caller.

use edgeward_sdk::log::Level;

/// Class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identity source is missing or the token does not look as configured; the function was not called.
    NoIdentity,
    /// The function failed with exactly `Unauthorized`.
    Unauthorized,
    /// The function answered that the caller may not pass.
    Forbidden,
    /// The function cannot be called, or failed.
    Failure,
    /// The function answered something that is no verdict.
    InvalidOutput,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class: decides the status.
    pub kind: Kind,
    /// For the operator's log.
    pub detail: String,
    /// How long it may be reused, in seconds.
    pub ttl_seconds: Option<u32>,
}

impl Kind {
    /// Status code of the refusal, as Amazon API Gateway has it; of 502 the gateway makes what it answers where there is no verdict.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoIdentity | Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Failure => 500,
            Self::InvalidOutput => 502,
        }
    }

    /// What the caller is told where the gateway shows it.
    #[must_use]
    pub fn public(self) -> &'static str {
        match self {
            Self::NoIdentity | Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::Failure | Self::InvalidOutput => "the request cannot be authorized",
        }
    }

    /// How the log takes it.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::NoIdentity => Level::Debug,
            Self::Unauthorized | Self::Forbidden => Level::Info,
            Self::Failure | Self::InvalidOutput => Level::Error,
        }
    }
}

impl Refusal {
    /// A refusal that is not for reuse.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            ttl_seconds: None,
        }
    }
}

/// The beginning of a text from outside, for a log line (print it with `{:?}`, which escapes control characters).
#[must_use]
pub fn excerpt(text: &str) -> &str {
    text.char_indices().nth(128).map_or(text, |(at, _)| &text[..at])
}
