//! Why a table of routes cannot be compiled.

use super::RouteIndex;
use super::trie::MAX_VISITS;

/// A table of routes that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Two routes for the same requests.
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// Literals and parameters of a host are mixed such that a request could be made expensive.
    #[error(
        "host {host}: literal and parameter segments overlap so much that one lookup could try {visits} path \
         prefixes, at most {MAX_VISITS} are allowed"
    )]
    Ambiguous {
        /// The host pattern.
        host: String,
        /// Upper bound of the trie nodes visited.
        visits: u32,
    },
    /// Too many routes, or too many different extension methods.
    #[error("the table has too many {what}: {count}, at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// Two routes with the same host, path shape, method and header conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routes {first} and {second} both serve {method} {host}{path} under the same header conditions")]
pub struct RouteConflict {
    /// Index of the route declared first.
    pub first: RouteIndex,
    /// Index of the other route.
    pub second: RouteIndex,
    /// A host pattern both have.
    pub host: String,
    /// A method both have; `any method` if both serve any.
    pub method: String,
    /// The path of the second route.
    pub path: String,
}
