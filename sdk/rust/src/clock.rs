//! The time of day. Refused during `init`, so that no moment is frozen into a snapshot.

use std::time::{Duration, SystemTime};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub fn now_ms() -> u64 {
    crate::host::clock::now_ms()
}

/// The same as a [`SystemTime`], which plain `std` cannot tell on `wasm32-unknown-unknown`.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms())
}
