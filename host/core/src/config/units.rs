//! Sizes and times with written units: `64KiB`, `250ms`. Owns their text form only.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number of bytes. Written as a plain number or with a unit: `B`, `KB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` times 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }
    /// `n` times 1024 * 1024 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }
    /// The number as `usize`, saturating.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size: write a number of bytes or e.g. `64KiB`, `10MiB`");
        let text_trimmed = text.trim();
        let (number, factor) = BYTE_UNITS
            .iter()
            .find_map(|(unit, factor)| {
                text_trimmed
                    .strip_suffix(unit)
                    .map(|number| (number.trim(), *factor))
            })
            .unwrap_or((text_trimmed, 1));
        let number: u64 = number.parse().map_err(|_ignored| wrong())?;
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A span of time. Written with a unit: `us`, `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// `n` milliseconds.
    #[must_use]
    pub const fn ms(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }
    /// `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

const TIME_UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time: write e.g. `250ms`, `5s`, `10m`");
        let trimmed = text.trim();
        let (number, factor) = TIME_UNITS
            .iter()
            .find_map(|(unit, factor)| trimmed.strip_suffix(unit).map(|number| (number.trim(), *factor)))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_ignored| wrong())?;
        number
            .checked_mul(factor)
            .map(|us| Self(Duration::from_micros(us)))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        let (unit, factor) = TIME_UNITS
            .iter()
            .rev()
            .find(|(_, factor)| us >= *factor && us.is_multiple_of(*factor))
            .unwrap_or(&TIME_UNITS[0]);
        write!(f, "{}{unit}", us / factor)
    }
}

macro_rules! text_form {
    ($type:ty, $name:literal, $example:literal, $number:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Number(u64),
                    Text(String),
                }
                match Written::deserialize(deserializer)? {
                    Written::Text(text) => text.parse().map_err(D::Error::custom),
                    Written::Number(number) => $number(number).map_err(D::Error::custom),
                }
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"description": $example, "type": ["string", "integer"], "minimum": 0})
            }
        }
    };
}

text_form!(
    Bytes,
    "Bytes",
    "A size: a number of bytes, or text such as `64KiB`.",
    |n| Ok::<_, String>(Bytes(n))
);
text_form!(
    Time,
    "Time",
    "A time: text such as `250ms`, `5s`, `10m`.",
    |n: u64| {
        if n == 0 {
            Ok(Time(Duration::ZERO))
        } else {
            Err(format!("`{n}` has no unit: write e.g. `{n}ms` or `{n}s`"))
        }
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_round_trip() {
        for text in ["0B", "64KiB", "10MiB", "3GiB", "17B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["1us", "250ms", "5s", "10m", "2h", "1d"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert_eq!("2 MB".parse::<Bytes>().unwrap(), Bytes(2_000_000));
    }

    #[test]
    fn nonsense_is_refused_with_the_text() {
        for text in [
            "",
            "KiB",
            "-1B",
            "1.5s",
            "99999999999999999999",
            "18446744073709551615KiB",
        ] {
            assert!(
                text.parse::<Bytes>().unwrap_err().contains("not a size"),
                "{text}"
            );
        }
        assert!("5".parse::<Time>().unwrap_err().contains("not a time"));
    }
}
