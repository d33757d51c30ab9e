//! A key-value store in the memory of the gateway process, shared by all instances of all plugins that were granted it.
//! Not available during `init`.

pub use crate::bindings::imports::edgeward::plugin::kv::{Entry, Error};
use crate::host::kv as host;

/// Reads a key; none when absent or expired.
///
/// # Errors
/// The store is not granted.
pub fn get(store: &str, key: &str) -> Result<Option<Entry>, Error> {
    host::get(store, key)
}

/// Writes a key and returns its new version. Without a time to live (milliseconds) it stays until deleted.
///
/// # Errors
/// The store is not granted or full, or key (512 bytes) or value (64 KiB) is too large.
pub fn set(store: &str, key: &str, value: impl AsRef<[u8]>, ttl_ms: Option<u64>) -> Result<u64, Error> {
    host::set(store, key, value.as_ref(), ttl_ms)
}

/// Writes only if the key still has the version `expected` (0: must be absent). Returns the new version, or none when somebody
/// was faster.
///
/// # Errors
/// As [`set`].
pub fn compare_and_set(
    store: &str,
    key: &str,
    expected: u64,
    value: impl AsRef<[u8]>,
    ttl_ms: Option<u64>,
) -> Result<Option<u64>, Error> {
    host::compare_and_set(store, key, expected, value.as_ref(), ttl_ms)
}

/// Adds to a counter kept as a decimal integer (absent counts as 0) and returns the sum. The time to live is set when the key
/// is created.
///
/// # Errors
/// As [`set`].
pub fn increment(store: &str, key: &str, delta: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
    host::increment(store, key, delta, ttl_ms)
}

/// Deletes a key; true if it was there.
///
/// # Errors
/// The store is not granted.
pub fn delete(store: &str, key: &str) -> Result<bool, Error> {
    host::delete(store, key)
}

impl Error {
    /// The host's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotGranted(reason)
            | Self::TooLarge(reason)
            | Self::QuotaExceeded(reason)
            | Self::Unavailable(reason) => reason,
        }
    }
}
