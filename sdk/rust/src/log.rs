//! Lines into the gateway's log; plugin, version, route and request id are added there.
//!
//! Lines above `limits.log-lines` per request are dropped and counted; a line is cut at 4 KiB. The macros format only when the
//! level is written:
//!
//! ```
//! # let host = edgeward_sdk::testing::Host::new().install();
//! edgeward_sdk::log_warn!("key {} is unknown", "k7");
//! # assert_eq!(host.log_lines()[0].1, "key k7 is unknown");
//! ```

use std::fmt;

pub use crate::bindings::imports::edgeward::plugin::log::Level;
use crate::host::log as host;

/// Writes a line.
pub fn log(level: Level, message: &str) {
    host::log(level, message);
}

/// True when lines of that level are written at all.
pub fn enabled(level: Level) -> bool {
    host::enabled(level)
}

/// Formats and writes a line if its level is written: what the macros call.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if enabled(level) {
        match message.as_str() {
            Some(text) => log(level, text),
            None => log(level, &message.to_string()),
        }
    }
}

/// Writes a line for developers of the plugin.
pub fn trace(message: &str) {
    log(Level::Trace, message);
}

/// Writes a line for developers of the plugin.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Writes a line that an operator may want to know.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Writes a line about something unexpected that was dealt with.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Writes a line that an operator must look at.
pub fn error(message: &str) {
    log(Level::Error, message);
}

/// Tells the gateway the message and place of a panic. `export!` installs a panic hook that does it.
#[doc(hidden)]
pub fn panicked(message: &str) {
    host::panicked(message);
}

/// Formats and logs at level trace.
#[macro_export]
macro_rules! log_trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($message)+)) };
}

/// Formats and logs at level debug.
#[macro_export]
macro_rules! log_debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($message)+)) };
}

/// Formats and logs at level info.
#[macro_export]
macro_rules! log_info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($message)+)) };
}

/// Formats and logs at level warn.
#[macro_export]
macro_rules! log_warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Formats and logs at level error.
#[macro_export]
macro_rules! log_error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($message)+)) };
}
