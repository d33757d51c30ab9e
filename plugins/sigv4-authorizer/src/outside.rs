//! What the logic needs from outside, as one seam: the host in a gateway, a simulation in tests.

use edgeward_sdk::{HeaderBlock, log::Level};

/// The world outside the plugin, besides [`edgeward_sigv4::HostCrypto`]. Error texts name what was asked for; they go to the log, never to a caller.
pub trait Outside {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// A granted secret.
    ///
    /// # Errors
    /// It is not granted or has no value.
    fn secret(&self, name: &str) -> Result<Vec<u8>, String>;
    /// GETs a URL; status and body.
    ///
    /// # Errors
    /// There was no answer.
    fn fetch(&self, url: &str, timeout_ms: u32) -> Result<(u16, Vec<u8>), String>;
    /// Reads from a `kv` store.
    ///
    /// # Errors
    /// The store cannot be used.
    fn read(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// Writes to a `kv` store.
    ///
    /// # Errors
    /// The store cannot be used or is full.
    fn write(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String>;
    /// Writes to a `kv` store if the key is absent; false when it is there.
    ///
    /// # Errors
    /// As for `write`.
    fn write_if_absent(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<bool, String>;
    /// Adds one to a counter in a `kv` store and returns the sum. The counter begins anew when its time to live, which is that of its
    /// first count, is over.
    ///
    /// # Errors
    /// As for `write`.
    fn count(&self, store: &str, key: &str, ttl_ms: u64) -> Result<u64, String>;
    /// Compares in time that depends on the lengths only.
    fn same(&self, one: &[u8], other: &[u8]) -> bool;
    /// Writes a log line.
    fn log(&self, level: Level, message: &str);
}

/// A request before anybody changed it.
pub trait Incoming {
    /// Method, e.g. `GET`.
    fn method(&self) -> String;
    /// Path and query exactly as the client sent them, or the whole target in absolute form.
    fn raw_target(&self) -> String;
    /// `Host` or `:authority` exactly as the client sent it.
    fn raw_authority(&self) -> String;
    /// All header fields exactly as the client sent them, in order of arrival, names in lower case.
    fn headers(&self) -> HeaderBlock;
    /// SHA-256 of the whole body; none when there is no body.
    fn body_sha256(&self) -> Option<Vec<u8>>;
}
