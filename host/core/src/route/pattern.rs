//! Host and path patterns as operators write them, and their canonical forms.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::normalize::{canonical_chars, is_dot_segment};

/// Most segments of a path pattern.
pub const MAX_SEGMENTS: usize = 64;
/// Longest host name (RFC 1035 section 2.3.4), in bytes, without the trailing dot.
pub const MAX_HOST: usize = 253;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A host pattern.
    #[error("host pattern {pattern:?}: {part:?} {reason}")]
    Host {
        /// The whole pattern.
        pattern: String,
        /// The offending label or port.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A path pattern.
    #[error("path pattern {pattern:?}: segment {segment:?} {reason}")]
    Path {
        /// The whole pattern.
        pattern: String,
        /// The offending segment.
        segment: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Which hosts a route serves: `api.example.com`, `*.example.com` (one or more labels in front of
/// `example.com`) or `*` (any host, and requests without one). Case, a port and a trailing dot do
/// not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern(pub(super) HostKind);

/// The canonical form of a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum HostKind {
    Exact(Box<str>),
    /// The labels after `*.`.
    Wildcard(Box<str>),
    Any,
}

impl HostPattern {
    /// Any host.
    pub const ANY: Self = Self(HostKind::Any);

    /// Parses a pattern. International names are given in their ASCII form (`xn--...`).
    ///
    /// # Errors
    /// Names the pattern and the part of it that is wrong.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let error = |part: &str, reason: &str| PatternError::Host {
            pattern: pattern.to_owned(),
            part: part.to_owned(),
            reason: reason.to_owned(),
        };
        let name = split_port(pattern);
        let port = &pattern[name.len()..];
        let number = port.strip_prefix(':');
        if !port.is_empty() && !number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(error(port, "is not a port"));
        }
        if let Some(literal) = name.strip_prefix('[') {
            let address = literal
                .strip_suffix(']')
                .and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or_else(|| error(name, "is not an IPv6 address in brackets"))?;
            return Ok(Self(HostKind::Exact(format!("[{address}]").into())));
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name == "*" {
            return Ok(Self::ANY);
        }
        if name.len() > MAX_HOST {
            return Err(error(
                &name,
                &format!("is {} bytes long, at most {MAX_HOST} are allowed", name.len()),
            ));
        }
        let (wildcard, labels) = match name.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, name.as_str()),
        };
        for label in labels.split('.') {
            let reason = if label.is_empty() {
                "is an empty label"
            } else if label.len() > 63 {
                "is longer than the 63 bytes of a label"
            } else if label.contains('*') {
                "has a wildcard that is not the whole first label, as in \"*.example.com\""
            } else if !label.is_ascii() {
                "is not ASCII, write the name in its \"xn--\" form"
            } else if !label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            {
                "has characters other than letters, digits, '-' and '_'"
            } else {
                continue;
            };
            return Err(error(label, reason));
        }
        let labels = labels.into();
        Ok(Self(if wildcard {
            HostKind::Wildcard(labels)
        } else {
            HostKind::Exact(labels)
        }))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostKind::Exact(name) => f.write_str(name),
            HostKind::Wildcard(suffix) => write!(f, "*.{suffix}"),
            HostKind::Any => f.write_str("*"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::parse(pattern)
    }
}

/// `host` without its port; brackets stay.
fn split_port(host: &str) -> &str {
    let end = if host.starts_with('[') {
        host.find(']').map(|at| at + 1)
    } else {
        host.find(':')
    };
    &host[..end.unwrap_or(host.len())]
}

/// The host of a request as the router looks it up: without port and trailing dot, in lower case.
/// `None` for what is no host name: empty or longer than [`MAX_HOST`].
#[must_use]
pub fn canonical_host<'a>(host: &'a str, buffer: &'a mut [u8; MAX_HOST]) -> Option<&'a str> {
    let name = split_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_HOST {
        return None;
    }
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(name);
    }
    let lower = &mut buffer[..name.len()];
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

/// Which paths a route serves: `/pets/{id}`, `/files/{proxy+}`. A parameter fills a whole segment
/// and matches one that is not empty; a greedy one (`+`) comes last and matches one or more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    source: Box<str>,
    segments: Vec<Segment>,
}

/// One segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// In normal form.
    Literal(Box<str>),
    /// Name.
    Param(Box<str>),
    /// Name.
    Greedy(Box<str>),
}

impl PathPattern {
    /// Parses a pattern. Parameter names consist of letters, digits and `_ - . $`; literals may be
    /// written encoded or not, the normal form counts.
    ///
    /// # Errors
    /// Names the pattern and the segment of it that is wrong.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let error = |segment: &str, reason: String| PatternError::Path {
            pattern: pattern.to_owned(),
            segment: segment.to_owned(),
            reason,
        };
        let Some(rest) = pattern.strip_prefix('/') else {
            let first = pattern.split('/').next().unwrap_or_default();
            return Err(error(first, "does not start with '/'".to_owned()));
        };
        let mut segments: Vec<Segment> = Vec::new();
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            if last && part.is_empty() {
                break; // the root, or a trailing slash
            }
            if segments.len() == MAX_SEGMENTS {
                return Err(error(
                    part,
                    format!("is one too many, at most {MAX_SEGMENTS} are allowed"),
                ));
            }
            if matches!(segments.last(), Some(Segment::Greedy(_))) {
                return Err(error(
                    part,
                    "follows a greedy parameter, which must come last".to_owned(),
                ));
            }
            let segment = Segment::parse(part).map_err(|reason| error(part, reason))?;
            if let Some(name) = segment.name()
                && segments.iter().any(|earlier| earlier.name() == Some(name))
            {
                return Err(error(part, format!("repeats the parameter name {name:?}")));
            }
            segments.push(segment);
        }
        Ok(Self {
            source: pattern.into(),
            segments,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of the parameters, in order.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl Segment {
    fn parse(part: &str) -> Result<Self, String> {
        if let Some(inner) = part.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            let (name, greedy) = match inner.strip_suffix('+') {
                Some(name) => (name, true),
                None => (inner, false),
            };
            if name.is_empty() {
                return Err("has a parameter without a name".to_owned());
            }
            if !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$'))
            {
                return Err(
                    "has a parameter name with characters other than letters, digits and \"_-.$\"".to_owned(),
                );
            }
            return Ok(if greedy {
                Self::Greedy(name.into())
            } else {
                Self::Param(name.into())
            });
        }
        if part.contains(['{', '}']) {
            return Err(
                "has a parameter that does not fill the whole segment, as in \"/pets/{id}\"".to_owned(),
            );
        }
        if part == "*" || part == "**" {
            return Err(
                "is no wildcard here, write \"{name}\" for one segment or \"{name+}\" for the rest"
                    .to_owned(),
            );
        }
        let literal = canonical_chars(part).map_err(|problem| format!("cannot be in a path: {problem}"))?;
        if is_dot_segment(&literal) {
            return Err("is a dot segment, which no normalised request path has".to_owned());
        }
        Ok(Self::Literal(literal.into()))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param(name) | Self::Greedy(name) => Some(name),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::parse(pattern)
    }
}
