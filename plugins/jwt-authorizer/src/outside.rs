//! What the logic needs from outside, as one seam: the host in a gateway, a simulation in tests.

use edgeward_sdk::log::Level;

use crate::{algorithm::Algorithm, jwk::Material};

/// The world outside the plugin. Error texts name what was asked for; they go to the log, never to a caller.
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
    /// Verifies a signature or MAC.
    ///
    /// # Errors
    /// The key is malformed.
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &Material,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, String>;
    /// True when a value of `aud` looks as configured.
    fn audience_matches(&self, audience: &str) -> bool;
    /// Writes a log line.
    fn log(&self, level: Level, message: &str);
}
