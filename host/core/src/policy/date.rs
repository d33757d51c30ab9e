//! Instants as policies write them.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::small::Small;

/// Reads an instant, in milliseconds since 1970: digits only are seconds since then; all else has to be one of the forms of ISO 8601 that the W3C's note
/// has, from `2026-01` to `2026-01-31T12:00:00.5+01:00`.
pub(super) fn read(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1000);
    }
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let whole = match text.len() {
        // 2026-01, 2026-01-31
        7 => Small::of(format_args!("{text}-01T00:00:00Z")),
        10 => Small::of(format_args!("{text}T00:00:00Z")),
        // without seconds: 2026-01-31T12:00Z, 2026-01-31T12:00+01:00
        17.. if text.get(16..17) != Some(":") => {
            let (minutes, zone) = text.split_at_checked(16)?;
            Small::of(format_args!("{minutes}:00{zone}"))
        }
        _ => Small::of(text),
    };
    let at = OffsetDateTime::parse(whole.as_str(), &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// Seconds since 1970, written as an instant; as a number where it is too far away for one.
pub(super) struct Written(pub(super) i64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0) else {
            return self.0.fmt(f);
        };
        let (hour, minute, second) = at.to_hms();
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_note_and_seconds_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1700000000", Some(1_700_000_000_000)),
            ("-1", Some(-1000)),
            ("2000-02-29", Some(951_782_400_000)),
            ("2000-03", Some(951_868_800_000)),
            ("2000-02-29T00:00Z", Some(951_782_400_000)),
            ("2000-02-29T01:00+01:00", Some(951_782_400_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000)),
            ("2000-02-29T00:00:00.25Z", Some(951_782_400_250)),
            ("2000-02-29T01:00:00+01:00", Some(951_782_400_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("", None),
            ("-", None),
            ("99999999999999999999", None),
            ("9223372036854775807", None),
            ("2001-02-29", None),
            ("2000-13", None),
            ("tomorrow", None),
            ("2000-02-29T00:00:00", None),
            ("2000-02-29 é00:00:00Z", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn instants_are_written_and_read_again() {
        for seconds in [0, -1, 951_782_400, 4_107_542_400, -62_135_596_800] {
            let written = Written(seconds).to_string();
            assert_eq!(read(&written), Some(seconds * 1000), "{written}");
        }
        assert_eq!(Written(i64::MAX).to_string(), i64::MAX.to_string());
    }
}
