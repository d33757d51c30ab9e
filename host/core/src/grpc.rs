//! gRPC as far as a gateway has to know it: which requests are calls, how long they may take, and what stands for an HTTP status. After
//! `PROTOCOL-HTTP2.md` and `http-grpc-status-mapping.md` of the gRPC documentation.

use std::{fmt::Write as _, time::Duration};

/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u8 = 4;

/// Most digits of a timeout.
const DIGITS_MAX: usize = 8;

/// Units of a timeout in nanoseconds, the finest first.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

/// Whether this `Content-Type` is that of a call: `application/grpc`, alone or with `+proto` and the like. `application/grpc-web` is another protocol.
#[must_use]
pub fn is_call(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.len() >= TYPE.len()
        && content_type[..TYPE.len()].eq_ignore_ascii_case(TYPE)
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
#[must_use]
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'n' => Some(Duration::from_nanos(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'S' => Some(Duration::from_secs(number)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'H' => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}

/// Writes a `grpc-timeout`, in the finest unit that has room, never more than it is.
#[must_use]
pub fn format_timeout(time: Duration) -> String {
    let most = 10_u128.pow(DIGITS_MAX as u32) - 1;
    let nanos = time.as_nanos();
    let fitting = UNITS.iter().find(|(_, unit)| nanos / unit <= most);
    let (letter, unit) = fitting.unwrap_or(&UNITS[UNITS.len() - 1]);
    format!("{}{letter}", (nanos / unit).min(most))
}

/// The `grpc-status` that stands for an HTTP status.
#[must_use]
pub const fn status_of(http: u16) -> u8 {
    match http {
        400 => 13,                   // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 502 | 503 | 504 => 14, // UNAVAILABLE
        _ => 2,                      // UNKNOWN
    }
}

/// A `grpc-message`: percent-encoded but for visible ASCII and blanks.
#[must_use]
pub fn message(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // a String takes everything
            let _never = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_content_type() {
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; x=y",
        ] {
            assert!(is_call(yes.as_bytes()), "{yes}");
        }
        for no in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/json",
            "",
        ] {
            assert!(!is_call(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn timeouts_are_read_as_they_are_defined() {
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_hours(1)));
        assert_eq!(parse_timeout(b"2M"), Some(Duration::from_mins(2)));
        assert_eq!(parse_timeout(b"3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse_timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            parse_timeout(b"99999999u"),
            Some(Duration::from_micros(99_999_999))
        );
        assert_eq!(parse_timeout(b"0n"), Some(Duration::ZERO));
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "1.5S", "5 S"] {
            assert_eq!(parse_timeout(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_left_is_written_in_the_finest_unit_that_has_room() {
        for (time, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_millis(99), "99000000n"),
            (Duration::from_millis(250), "250000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::from_secs(u64::MAX), "99999999H"),
        ] {
            assert_eq!(format_timeout(time), text);
            assert!(parse_timeout(text.as_bytes()).unwrap() <= time);
        }
    }

    #[test]
    fn messages_are_visible_ascii() {
        assert_eq!(message("100% é\n"), "100%25 %C3%A9%0A");
    }
}
