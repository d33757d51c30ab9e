//! How long an answer holds, from its `Cache-Control` and `Age` (RFC 9111 sections 4.2 and 5.2.2).

/// Seconds that an answer holds; 0 when it does not say, says no, or cannot be read. `private` does not count: decisions are kept for one caller.
///
/// `lines` are the values of `Cache-Control`, `age` is that of `Age`.
#[must_use]
pub fn seconds<'a>(lines: impl IntoIterator<Item = &'a str>, age: Option<&str>) -> u32 {
    let mut max_age: Option<u32> = None;
    for directive in lines.into_iter().flat_map(|line| line.split(',')) {
        let (name, value) = directive
            .split_once('=')
            .map_or((directive.trim(), None), |(name, value)| {
                (name.trim(), Some(value.trim()))
            });
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return 0;
        }
        if name.eq_ignore_ascii_case("max-age") {
            let Some(seconds) = value.and_then(delta_seconds) else {
                return 0;
            };
            max_age = Some(max_age.map_or(seconds, |other| other.min(seconds)));
        }
    }
    let age = match age {
        None => 0,
        Some(text) => match delta_seconds(text.trim()) {
            Some(age) => age,
            None => return 0,
        },
    };
    max_age.unwrap_or(0).saturating_sub(age)
}

/// RFC 9111 section 1.2.2; the quoted form is what recipients ought to take, too.
fn delta_seconds(text: &str) -> Option<u32> {
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(bare.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_time_is_that_of_max_age() {
        for (line, age, wanted) in [
            ("max-age=60", None, 60),
            ("private, Max-Age=\"60\"", None, 60),
            ("public, max-age = 60 , must-revalidate", None, 60),
            ("max-age=60", Some("20"), 40),
            ("max-age=60", Some("90"), 0),
            ("max-age=60", Some("soon"), 0),
            ("max-age=60, max-age=5", None, 5),
            ("max-age=99999999999999", None, u32::MAX),
            ("max-age=60, no-store", None, 0),
            ("no-cache=\"set-cookie\", max-age=60", None, 0),
            ("max-age=-1", None, 0),
            ("max-age=1.5", None, 0),
            ("max-age", None, 0),
            ("s-maxage=60", None, 0),
            ("", None, 0),
        ] {
            assert_eq!(seconds([line], age), wanted, "{line}");
        }
        assert_eq!(seconds(["max-age=60", "no-store"], None), 0);
        assert_eq!(seconds([], None), 0);
    }

    proptest! {
        #[test]
        fn no_text_holds_longer_than_it_says(line in "\\PC{0,60}", seconds_said: u32) {
            let _any = seconds([line.as_str()], Some(line.as_str()));
            let said = format!("max-age={seconds_said}");
            prop_assert!(seconds([said.as_str(), line.as_str()], None) <= seconds_said);
        }
    }
}
