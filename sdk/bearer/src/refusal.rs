//! Why a caller is refused: one text for the operator's log, exact, and one for the caller that says nothing about keys or configuration.
//! The answer follows RFC 6750 section 3 (challenge) and 3.1 (error codes).

/// Class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No token in any of the configured places: 401 with a bare challenge.
    NoCredentials,
    /// The request carries credentials in a way that has no one meaning: 400 `invalid_request`.
    InvalidRequest,
    /// The token is no good: 401 `invalid_token`.
    InvalidToken,
    /// The token is good but does not grant this: 403 `insufficient_scope`.
    InsufficientScope,
    /// The keys cannot be had now, so nothing can be said about the token: 503.
    Unavailable,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class: decides status and challenge.
    pub kind: Kind,
    /// For the caller.
    pub public: &'static str,
    /// For the operator's log.
    pub detail: String,
}

/// What every challenge carries.
#[derive(Clone, Debug, Default)]
pub struct Challenge {
    /// `realm` of the challenge.
    pub realm: String,
    /// `scope` of the challenge when scopes are missing.
    pub scopes: Vec<String>,
    /// `resource_metadata` of the challenge (RFC 9728 section 5.1).
    pub resource_metadata: Option<String>,
}

impl Refusal {
    /// A token that is no good.
    pub fn token(public: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::InvalidToken,
            public,
            detail: detail.into(),
        }
    }

    /// A token that does not grant enough.
    pub fn scope(public: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::InsufficientScope,
            public,
            detail: detail.into(),
        }
    }

    /// Keys that cannot be had.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unavailable,
            public: "the token cannot be checked at the moment",
            detail: detail.into(),
        }
    }

    /// Status code of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::NoCredentials | Kind::InvalidToken => 401,
            Kind::InvalidRequest => 400,
            Kind::InsufficientScope => 403,
            Kind::Unavailable => 503,
        }
    }

    /// Header field of the answer: the challenge, or `retry-after` when the keys cannot be had. `route`: scopes of which the route wants one.
    #[must_use]
    pub fn header(&self, challenge: &Challenge, route: &[String]) -> (&'static str, String) {
        let error = match self.kind {
            Kind::Unavailable => return ("retry-after", "1".to_owned()),
            Kind::NoCredentials => None,
            Kind::InvalidRequest => Some("invalid_request"),
            Kind::InvalidToken => Some("invalid_token"),
            Kind::InsufficientScope => Some("insufficient_scope"),
        };
        let mut text = format!("Bearer realm=\"{}\"", challenge.realm);
        if let Some(error) = error {
            text += &format!(", error=\"{error}\", error_description=\"{}\"", self.public);
        }
        let scopes = listed(&challenge.scopes, route);
        if self.kind == Kind::InsufficientScope && !scopes.is_empty() {
            text += &format!(", scope=\"{scopes}\"");
        }
        if let Some(url) = &challenge.resource_metadata {
            text += &format!(", resource_metadata=\"{url}\"");
        }
        ("www-authenticate", text)
    }
}

/// Scopes as a challenge has them: those of the configuration, and those of the route.
#[must_use]
pub fn listed(configured: &[String], route: &[String]) -> String {
    let more = route.iter().filter(|scope| !configured.contains(scope));
    configured
        .iter()
        .chain(more)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The beginning of a text from outside, for a log line (print it with `{:?}`, which escapes control characters).
#[must_use]
pub fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge() -> Challenge {
        Challenge {
            realm: "pets".into(),
            scopes: vec!["read".into(), "write".into()],
            resource_metadata: None,
        }
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let none = Refusal {
            kind: Kind::NoCredentials,
            public: "a token is required",
            detail: String::new(),
        };
        assert_eq!(
            (none.status(), none.header(&challenge(), &[]).1.as_str()),
            (401, "Bearer realm=\"pets\"")
        );
        let bad = Refusal::token("the token has expired", "");
        assert_eq!(
            (bad.status(), bad.header(&challenge(), &[]).1.as_str()),
            (
                401,
                "Bearer realm=\"pets\", error=\"invalid_token\", error_description=\"the token has expired\""
            )
        );
        let scope = Refusal::scope("a scope is missing", "");
        assert_eq!(scope.status(), 403);
        assert!(
            scope
                .header(&challenge(), &[])
                .1
                .ends_with(", scope=\"read write\"")
        );
        let route = ["write".to_owned(), "admin".to_owned()];
        let both = scope.header(&challenge(), &route).1;
        assert!(both.ends_with(", scope=\"read write admin\""), "{both}");
        let later = Refusal::unavailable("");
        assert_eq!(
            (later.status(), later.header(&challenge(), &[]).0),
            (503, "retry-after")
        );
    }

    #[test]
    fn excerpts_end_on_a_character() {
        assert_eq!(excerpt("kürz"), "kürz");
        assert_eq!(excerpt(&"ü".repeat(100)).chars().count(), 64);
    }
}
