//! Text of values that are none (addresses, instants, numbers), on the stack: the path of a request allocates nothing.

use std::fmt::{self, Write};

/// Longest text of an address, an instant or a number (an IPv6 address has 39).
const LENGTH: usize = 48;

/// A short text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Small {
    /// What a value is written as. What is longer than 48 bytes is cut off.
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self {
            bytes: [0; LENGTH],
            length: 0,
        };
        // an error means that it is full
        let _full = write!(text, "{value}");
        text
    }

    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Write for Small {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let free = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888";
        let address: std::net::IpAddr = longest.parse().unwrap();
        assert_eq!(Small::of(address).as_str(), longest);
        assert_eq!(Small::of(i64::MIN).as_str(), i64::MIN.to_string());
        assert_eq!(Small::of("x".repeat(49)).as_str(), "");
    }
}
