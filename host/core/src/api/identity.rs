//! Identity sources of authorizers: what of a request tells callers apart.

use super::mapping::Facts;

/// Most sources of an authorizer.
pub(super) const SOURCES_MAX: usize = 10;
/// Longest source, in bytes.
const SOURCE_MAX: usize = 256;

/// One source: a value of a request. Path parameters can be none (as AWS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// A header field.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A variable of the context, e.g. `routeKey`.
    Context(String),
    /// A variable of the stage.
    StageVariable(String),
}

impl IdentitySource {
    /// Reads one, as AWS writes them for REST (`method.request.header.X`, `method.request.querystring.x`, `context.x`, `stageVariables.x`) or for HTTP APIs
    /// (`$request.header.X`, `$request.querystring.x`, `$context.x`, `$stageVariables.x`).
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no identity source: `$request.header.NAME`, `$request.querystring.NAME`, `$context.NAME` or `$stageVariables.NAME`"
            )
        };
        let begin = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
        let source = if let Some(name) = begin(["$request.header.", "method.request.header."]) {
            http::HeaderName::from_bytes(name.as_bytes()).map_err(|_ignored| wrong())?;
            Self::Header(name.to_owned())
        } else if let Some(name) = begin(["$request.querystring.", "method.request.querystring."]) {
            Self::Query(name.to_owned())
        } else if let Some(name) = begin(["$context.", "context."]) {
            Self::Context(name.to_owned())
        } else if let Some(name) = begin(["$stageVariables.", "stageVariables."]) {
            Self::StageVariable(name.to_owned())
        } else {
            return Err(wrong());
        };
        let (Self::Header(name) | Self::Query(name) | Self::Context(name) | Self::StageVariable(name)) =
            &source;
        let good = (1..=SOURCE_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"'`,".contains(&byte));
        if !good {
            return Err(wrong());
        }
        Ok(source)
    }

    /// The same, if a variable of the context that it names is one. What was deployed before may name others, which are empty.
    ///
    /// # Errors
    /// It is none, or names no variable.
    pub fn checked(text: &str) -> Result<Self, String> {
        let source = Self::parse(text)?;
        if let Self::Context(name) = &source {
            super::context::check(name)?;
        }
        Ok(source)
    }

    /// Its values, in order; none where it is missing or empty.
    #[must_use]
    pub fn values(&self, facts: &impl Facts) -> Vec<String> {
        let values = match self {
            Self::Header(name) => facts.request_headers(name),
            Self::Query(name) => facts.query(name),
            Self::Context(name) => facts.context(name).into_iter().collect(),
            Self::StageVariable(name) => facts.stage_variable(name).into_iter().collect(),
        };
        if values.iter().all(String::is_empty) {
            Vec::new()
        } else {
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_source_are_read_and_others_are_not() {
        for (texts, source) in [
            (
                [
                    "$request.header.Authorization",
                    "method.request.header.Authorization",
                ],
                IdentitySource::Header("Authorization".to_owned()),
            ),
            (
                ["$request.querystring.key", "method.request.querystring.key"],
                IdentitySource::Query("key".to_owned()),
            ),
            (
                ["$context.identity.sourceIp", "context.identity.sourceIp"],
                IdentitySource::Context("identity.sourceIp".to_owned()),
            ),
            (
                ["$stageVariables.lane", "stageVariables.lane"],
                IdentitySource::StageVariable("lane".to_owned()),
            ),
        ] {
            for text in texts {
                assert_eq!(IdentitySource::parse(text).as_ref(), Ok(&source));
            }
        }
        for text in [
            "",
            "$request.header.",
            "$request.header.a b",
            "$request.header.a:b",
            "$request.path.id",
            "method.request.path.id",
            "Authorization",
        ] {
            assert!(IdentitySource::parse(text).is_err(), "{text}");
        }
        let long = format!("$request.querystring.{}", "x".repeat(300));
        assert!(IdentitySource::parse(&long).is_err());
    }
}
