//! Moments, in the forms in which they are signed and sent.

use std::time::{Duration, UNIX_EPOCH};

/// A moment, in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Reads the basic format of ISO 8601, `20150830T123600Z`, years 1970 to 9999.
    #[must_use]
    pub fn parse_basic(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [date @ .., b'T', h1, h2, m1, m2, s1, s2, b'Z'] if date.len() == 8 => {
                from_digits(date, &[*h1, *h2, *m1, *m2, *s1, *s2])
            }
            _ => None,
        }
    }

    /// Reads the extended format in UTC, `2015-08-30T12:36:00Z` (RFC 3339); fractions of a second are dropped.
    #[must_use]
    pub fn parse_extended(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let shaped = date.len() == 10 && time.len() == 8 && !fraction.is_empty();
        if !shaped || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let (date, time) = (date.replace('-', ""), time.replace(':', ""));
        from_digits(date.as_bytes(), time.as_bytes())
    }

    /// Reads the date of an HTTP field (RFC 9110 section 5.6.7).
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        let time = httpdate::parse_http_date(text).ok()?;
        Some(Self(time.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    }

    /// The moment that many seconds later.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The moment that many seconds earlier, 1970 at the earliest.
    #[must_use]
    pub fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// The date, `20150830`.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.0 / 86_400);
        let mut text = String::with_capacity("20150830T123600Z".len());
        push_digits(&mut text, year, 4);
        push_digits(&mut text, month, 2);
        push_digits(&mut text, day, 2);
        text
    }

    /// The basic format of ISO 8601, `20150830T123600Z`.
    #[must_use]
    pub fn basic(self) -> String {
        let (mut text, of_day) = (self.date(), self.0 % 86_400);
        text.push('T');
        for part in [of_day / 3600, of_day / 60 % 60, of_day % 60] {
            push_digits(&mut text, part, 2);
        }
        text.push('Z');
        text
    }
}

impl From<Duration> for Timestamp {
    /// From a duration since 1970.
    fn from(since_1970: Duration) -> Self {
        Self(since_1970.as_secs())
    }
}

/// The last digits of a number, zeros in front of it too, without the machinery of formatting.
fn push_digits(text: &mut String, number: u64, count: u32) {
    let digits = (0..count).rev().map(|place| number / 10_u64.pow(place) % 10);
    text.extend(digits.filter_map(|digit| char::from_digit(u32::try_from(digit).ok()?, 10)));
}

/// `yyyymmdd` and `hhmmss`.
fn from_digits(date: &[u8], time: &[u8]) -> Option<Timestamp> {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
        })
    };
    let (date, time) = match (date.len(), time.len()) {
        (8, 6) => (number(date)?, number(time)?),
        _ => return None,
    };
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    Some(Timestamp(days * 86_400 + hour * 3600 + minute * 60 + second))
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64) -> [u64; 12] {
    let february = if leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days of all years from 1970 up to `year`, without it.
fn year_start(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let months = month_days(year);
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    if day == 0 || day > *months.get(before)? {
        return None;
    }
    Some(year_start(year) + months.iter().take(before).sum::<u64>() + day - 1)
}

/// 9999-12-31, in days since 1970: later days are written as this one.
const LAST_DAY: u64 = 2_932_896;

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.min(LAST_DAY);
    // 366 days to a year are too many, so this is the year or one before it for some centuries; the loop finds it
    let mut year = 1970 + days / 366;
    while year_start(year + 1) <= days {
        year += 1;
    }
    let mut left = days - year_start(year);
    let mut month = 1;
    for length in month_days(year) {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_basic_format_is_read_strictly() {
        assert_eq!(
            Timestamp::parse_basic("20150830T123600Z"),
            Some(Timestamp(1_440_938_160))
        );
        assert_eq!(Timestamp::parse_basic("19700101T000000Z"), Some(Timestamp(0)));
        assert_eq!(Timestamp(951_782_400).basic(), "20000229T000000Z");
        assert_eq!(Timestamp(u64::MAX).date(), "99991231");
        for text in [
            "",
            "20150830T123600",
            "20150830T123600z",
            "2015-08-30T12:36:00Z",
            "20150830 123600Z",
            "20150229T000000Z",
            "20151301T000000Z",
            "20150800T000000Z",
            "20150830T240000Z",
            "20150830T006000Z",
            "20150830T000060Z",
            "+0150830T000000Z",
            "19691231T235959Z",
            "20150830T1236000Z",
        ] {
            assert_eq!(Timestamp::parse_basic(text), None, "{text}");
        }
    }

    #[test]
    fn other_formats_are_read_where_they_occur() {
        let wanted = Some(Timestamp(1_440_938_160));
        assert_eq!(Timestamp::parse_http("Sun, 30 Aug 2015 12:36:00 GMT"), wanted);
        assert_eq!(Timestamp::parse_extended("2015-08-30T12:36:00Z"), wanted);
        assert_eq!(Timestamp::parse_extended("2015-08-30T12:36:00.250Z"), wanted);
        for text in [
            "2015-08-30T12:36:00",
            "2015-08-30T12:36:00+01:00",
            "2015-8-30T12:36:00Z",
            "2015-08-30T12:36:00.Z",
            "20150830T123600Z",
        ] {
            assert_eq!(Timestamp::parse_extended(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0_u64..253_402_300_800) {
            let time = Timestamp(seconds);
            prop_assert_eq!(Timestamp::parse_basic(&time.basic()), Some(time));
            let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            prop_assert_eq!(Timestamp::parse_http(&http), Some(time));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (Timestamp::parse_basic(&text), Timestamp::parse_extended(&text), Timestamp::parse_http(&text));
        }
    }
}
