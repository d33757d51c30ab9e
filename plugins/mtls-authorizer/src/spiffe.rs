//! SPIFFE IDs (SPIFFE-ID section 2) and patterns of their paths.

/// Longest SPIFFE ID in bytes (section 2.3).
const ID_MAX: usize = 2048;
/// Longest trust domain in bytes (section 2.1).
const TRUST_DOMAIN_MAX: usize = 255;

/// A SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// Trust domain.
    pub trust_domain: &'a str,
    /// Path: empty, or begins with `/`.
    pub path: &'a str,
}

/// True for what a trust domain may be: lower-case letters, digits, `.`, `-` and `_`.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= TRUST_DOMAIN_MAX && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

/// Segments of a path; none where one is not allowed.
fn segments(path: &str) -> Option<Vec<&str>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    segments
        .iter()
        .all(|segment| is_segment(segment))
        .then_some(segments)
}

impl<'a> Id<'a> {
    /// Reads a SPIFFE ID. None where it is none: another scheme, a port, a query, a fragment, percent-encoding, dot segments, empty segments.
    #[must_use]
    pub fn read(uri: &'a str) -> Option<Self> {
        let rest = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= ID_MAX)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (trust_domain, path) = rest.split_at_checked(end)?;
        (is_trust_domain(trust_domain) && segments(path).is_some()).then_some(Self { trust_domain, path })
    }
}

/// A pattern of paths: segments, `*` for one segment, `**` at the end for any number of them, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<String>,
    open: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix('/')
            .filter(|_| text.len() <= ID_MAX)
            .ok_or_else(|| format!("{text:?} does not begin with / or is longer than {ID_MAX} bytes"))?;
        let mut segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let open = segments.last().is_some_and(|last| last == "**");
        if open {
            segments.pop();
        }
        if let Some(bad) = segments
            .iter()
            .find(|segment| *segment != "*" && !is_segment(segment))
        {
            return Err(format!(
                "{text:?} has the segment {bad:?}: letters, digits, '.', '-' and '_', or * for one segment, or ** at the end"
            ));
        }
        Ok(Self { segments, open })
    }

    /// True when the path of an ID fits.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let Some(found) = segments(path) else {
            return false;
        };
        let enough = if self.open {
            found.len() >= self.segments.len()
        } else {
            found.len() == self.segments.len()
        };
        let mut pairs = self.segments.iter().zip(&found);
        enough && pairs.all(|(wanted, segment)| wanted == "*" || wanted == segment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_as_the_standard_says() {
        let read = |uri| Id::read(uri).map(|id| (id.trust_domain, id.path));
        assert_eq!(
            read("spiffe://staging.example.com/payments/mysql"),
            Some(("staging.example.com", "/payments/mysql"))
        );
        assert_eq!(
            read("spiffe://k8s-west.example.com/ns/staging/sa/default"),
            Some(("k8s-west.example.com", "/ns/staging/sa/default"))
        );
        assert_eq!(read("spiffe://example.com"), Some(("example.com", "")));
        assert_eq!(
            read("spiffe://a_b-c.1/A/9eebccd2"),
            Some(("a_b-c.1", "/A/9eebccd2"))
        );
        let long = format!("spiffe://example.com/{}", "a".repeat(2048));
        let domain = format!("spiffe://{}/a", "a".repeat(256));
        for bad in [
            "",
            "spiffe:",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://example.com/a",
            "https://example.com/a",
            "spiffe://Example.com/a",
            "spiffe://example.com:80/a",
            "spiffe://user@example.com/a",
            "spiffe://example.com/",
            "spiffe://example.com/a/",
            "spiffe://example.com//a",
            "spiffe://example.com/a//b",
            "spiffe://example.com/./a",
            "spiffe://example.com/a/..",
            "spiffe://example.com/a%2fb",
            "spiffe://example.com/a?b",
            "spiffe://example.com?b",
            "spiffe://example.com/a#b",
            "spiffe://example.com/ä",
            long.as_str(),
            domain.as_str(),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns_take_whole_segments() {
        for (pattern, path, wanted) in [
            ("/ns/prod/sa/web", "/ns/prod/sa/web", true),
            ("/ns/prod/sa/web", "/ns/prod/sa/web2", false),
            ("/ns/*/sa/web", "/ns/prod/sa/web", true),
            ("/ns/*/sa/web", "/ns/a/b/sa/web", false),
            ("/ns/*", "/ns", false),
            ("/ns/**", "/ns", true),
            ("/ns/**", "/ns/a/b", true),
            ("/ns/**", "/nsx/a", false),
            ("/**", "", true),
            ("/a", "", false),
            ("/a", "/A", false),
            ("/*", "/a/../b", false),
        ] {
            assert_eq!(
                Pattern::read(pattern).unwrap().fits(path),
                wanted,
                "{pattern} {path}"
            );
        }
        for bad in ["", "a", "/", "/a/", "/a*", "/**/a", "/..", "/a//b"] {
            assert!(Pattern::read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}", path in "[/a.*]{0,12}") {
            let _any = Id::read(&text);
            let _any = Id::read(&format!("spiffe://{text}"));
            if let Ok(pattern) = Pattern::read(&path) {
                prop_assert!(!pattern.fits("/a//a") && !pattern.fits("a"));
            }
        }
    }
}
