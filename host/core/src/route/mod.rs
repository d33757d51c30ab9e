//! The compiled router: which route serves a request, by host, path, method and headers. Pure, and
//! built once per configuration.
//!
//! # Precedence
//!
//! Of all routes that match a request on every count, the winner is the first by
//!
//! 1. host: exact, then the wildcard with the most labels, then any host;
//! 2. path: literal before parameter before greedy parameter, decided at the first segment where
//!    two candidates differ;
//! 3. method: a route that lists the method before one for any method;
//! 4. headers: more conditions first;
//! 5. the order of declaration.
//!
//! A candidate that fails on a later count never hides one that comes after it: the search falls
//! through from a host whose table has nothing for the request to the less specific hosts, from a
//! literal branch that dead-ends to the parameter beside it, and from a path whose methods or
//! headers do not fit to the next-best path.
//!
//! # Details
//!
//! - The path is one that [`crate::normalize::normalize_path`] returned. Literal segments are
//!   compared in normal form, so `/%7Eme` in a pattern is `/~me`; a path that was not normalised
//!   is compared segment by segment in normal form all the same, but its dot segments are not
//!   resolved.
//! - One trailing slash is ignored, in patterns and in requests. Other empty segments are literal
//!   empty segments; a parameter does not match them. A greedy parameter takes the rest of the
//!   path, inner double slashes included, without one trailing slash, and not when nothing is left.
//! - A `HEAD` request is served by the route that lists `HEAD`, failing that by the one that lists
//!   `GET` (RFC 9110 section 9.3.2), failing that by one for any method, all at the same path.
//! - [`Match::MethodNotAllowed`] lists the methods under which this very request, with its
//!   headers, would have found a route. If there is none, the answer is [`Match::NotFound`].
//!
//! # Bounds
//!
//! A lookup costs one hash lookup per kind of host pattern and per literal segment, however many
//! routes there are. Where literals stand beside parameters the search may have to go back: a trie
//! node is visited at most once, and [`Router::build`] refuses a table in which some path could
//! visit more than [`MAX_VISITS`] nodes of one host. Patterns have at most [`MAX_SEGMENTS`]
//! segments, which bounds the recursion; of a longer request path only that much is looked at.
//! Only routes of the same path and method that differ by nothing but header conditions are tried
//! one by one.

mod error;
pub(crate) mod naive;
mod params;
mod pattern;
mod router;
mod trie;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, Method};

pub use self::error::{BuildError, RouteConflict};
pub use self::params::{ParamIter, Params, decode_param};
pub use self::pattern::{HostPattern, MAX_HOST, MAX_SEGMENTS, PathPattern, PatternError, canonical_host};
pub use self::router::Router;
pub use self::trie::MAX_VISITS;

/// Position of a route in the slice the router was built from.
pub type RouteIndex = usize;

/// What one route matches.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// Any of these hosts; empty means any host.
    pub hosts: Vec<HostPattern>,
    /// Any of these methods; empty means any method.
    pub methods: Vec<Method>,
    /// The path.
    pub path: PathPattern,
    /// All of these conditions.
    pub headers: Vec<HeaderMatch>,
}

/// A condition on one request header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// What one of its values must be.
    pub value: HeaderValueMatch,
}

/// What a header value must be. Of a header that occurs several times one value has to match;
/// comma-separated lists are not taken apart. Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderValueMatch {
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// Anything, the empty value included.
    Present,
    /// These bytes first.
    Prefix(Vec<u8>),
}

impl HeaderMatch {
    /// Whether `headers` fulfil the condition.
    #[must_use]
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            HeaderValueMatch::Present => headers.contains_key(&self.name),
            HeaderValueMatch::Exact(bytes) => headers
                .get_all(&self.name)
                .iter()
                .any(|value| value.as_bytes() == bytes),
            HeaderValueMatch::Prefix(bytes) => headers
                .get_all(&self.name)
                .iter()
                .any(|value| value.as_bytes().starts_with(bytes)),
        }
    }
}

/// The answer of [`Router::find`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This route, with the path parameters.
    Found(RouteIndex, Params),
    /// The path exists, the method does not; sorted, without duplicates, never empty: the value of
    /// `Allow`.
    MethodNotAllowed(Vec<Method>),
    /// No route.
    NotFound,
}
