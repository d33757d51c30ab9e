//! The request target, taken apart.

/// Splits a request target (RFC 9112 section 3.2) into path and query, both as they were sent. Of the absolute form the
/// scheme and the authority are dropped; a target without path has the path `/`.
#[must_use]
pub fn split_target(target: &str) -> (&str, &str) {
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("", |at| &rest[at..]),
        _ => target,
    };
    (if path.is_empty() { "/" } else { path }, query)
}

#[cfg(test)]
mod tests {
    use super::split_target;

    #[test]
    fn a_target_is_split_as_it_was_sent() {
        for (target, path, query) in [
            ("/a//b/../c?x=1&y=?", "/a//b/../c", "x=1&y=?"),
            ("/", "/", ""),
            ("/?", "/", ""),
            ("", "/", ""),
            ("*", "*", ""),
            ("http://api.test/a?b", "/a", "b"),
            ("http://api.test?b=/c", "/", "b=/c"),
            ("/a?u=http://x/y", "/a", "u=http://x/y"),
            ("/p/http://x/y", "/p/http://x/y", ""),
        ] {
            assert_eq!(split_target(target), (path, query), "{target}");
        }
    }
}
