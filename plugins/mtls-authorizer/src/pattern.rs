//! Patterns of names.

/// True when a text fits a pattern in which each `*` stands for any text, none included. Takes time in proportion to the product of their lengths
/// at worst.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // the leftmost place leaves most to the parts behind it
        let Some((_, behind)) = text.split_once(part) else {
            return false;
        };
        text = behind;
    }
    text.ends_with(last)
}

/// True for a pattern of DNS names: labels of letters, digits, `-` and `_`; `*` as the whole first one.
#[must_use]
pub fn is_dns_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// True when a DNS name fits: case does not count, `*` takes one label (RFC 9525 section 6.3). A name that is a wildcard itself is nobody's.
#[must_use]
pub fn dns(pattern: &str, name: &str) -> bool {
    if name.contains('*') {
        return false;
    }
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(name),
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
    }
}

/// True when an e-mail address fits: of the host, case does not count (RFC 5280 section 7.5). `*@host` takes all of a host.
#[must_use]
pub fn email(pattern: &str, address: &str) -> bool {
    let (Some((wanted, wanted_host)), Some((local, host))) =
        (pattern.rsplit_once('@'), address.rsplit_once('@'))
    else {
        return false;
    };
    !local.is_empty() && (wanted == "*" || wanted == local) && wanted_host.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, wanted) in [
            ("svc-*", "svc-pay", true),
            ("svc-*", "svc-", true),
            ("svc-*", "xsvc-", false),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*a*", "bab", true),
            ("", "a", false),
            ("a", "A", false),
        ] {
            assert_eq!(glob(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_takes_one_label_of_a_dns_name() {
        for (pattern, name, wanted) in [
            ("api.example.com", "API.example.COM", true),
            ("*.example.com", "a.Example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "*.example.com", false),
            ("*.example.com", "aexample.com", false),
            ("example.com", "example.com.", false),
        ] {
            assert_eq!(dns(pattern, name), wanted, "{pattern} {name}");
        }
        for bad in ["", "*", "*.", "a.*.b", "a*.b", "**.a", "a..b", "a b", "ä.de"] {
            assert!(!is_dns_pattern(bad), "{bad}");
        }
        assert!(is_dns_pattern("*.example.com") && is_dns_pattern("localhost"));
    }

    #[test]
    fn a_star_takes_every_mailbox_of_a_host() {
        for (pattern, address, wanted) in [
            ("ada@example.com", "ada@EXAMPLE.com", true),
            ("ada@example.com", "Ada@example.com", false),
            ("*@example.com", "ada@example.com", true),
            ("*@example.com", "@example.com", false),
            ("*@example.com", "ada@x.example.com", false),
            ("*@example.com", "\"a@evil.com\"@example.com", true),
            ("*@evil.com", "\"a@evil.com\"@example.com", false),
            ("*@example.com", "example.com", false),
        ] {
            assert_eq!(email(pattern, address), wanted, "{pattern} {address}");
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_a_slow_and_simple_one(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                    ([one, rest @ ..], [other, behind @ ..]) => one == other && slow(rest, behind),
                    _ => false,
                }
            }
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
