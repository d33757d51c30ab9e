//! Sets of patterns that live in the gateway: built once in `init`, immutable, and run at native speed. One call scans one
//! input against the whole set.
//!
//! ```
//! use edgeward_sdk::matcher::{IpSet, RegexSet};
//!
//! let rules = RegexSet::new([r"union\s+select", r"<script"], true)?;
//! assert_eq!(rules.matches(b"1 UNION  SELECT x"), [0]);
//!
//! let inside = IpSet::new(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"])?;
//! assert_eq!(inside.find("10.1.2.3"), Some(1));
//! # Ok::<(), String>(())
//! ```

pub use crate::bindings::imports::edgeward::plugin::matcher::Hit;
use crate::host::matcher as host;

/// A set of regular expressions (syntax of the Rust `regex` crate, linear time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexSet(u32);

impl RegexSet {
    /// Builds the set; only in `init`.
    ///
    /// # Errors
    /// A pattern does not parse or the set is too large; the text names the pattern.
    pub fn new<P: Into<String>>(
        patterns: impl IntoIterator<Item = P>,
        case_insensitive: bool,
    ) -> Result<Self, String> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        host::build_regex(&patterns, case_insensitive).map(Self)
    }

    /// Indices of all patterns that occur in the input, ascending.
    pub fn matches(&self, input: &[u8]) -> Vec<u32> {
        host::matches(self.0, input)
    }

    /// True if any pattern occurs: the fastest question.
    pub fn is_match(&self, input: &[u8]) -> bool {
        host::is_match(self.0, input)
    }

    /// The leftmost hit.
    pub fn find(&self, input: &[u8]) -> Option<Hit> {
        host::find(self.0, input)
    }
}

/// A set of literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiteralSet(u32);

impl LiteralSet {
    /// Builds the set; only in `init`.
    ///
    /// # Errors
    /// The set is too large.
    pub fn new<L: Into<Vec<u8>>>(
        literals: impl IntoIterator<Item = L>,
        ascii_case_insensitive: bool,
    ) -> Result<Self, String> {
        let literals: Vec<Vec<u8>> = literals.into_iter().map(Into::into).collect();
        host::build_literal(&literals, ascii_case_insensitive).map(Self)
    }

    /// Indices of all literals that occur in the input, ascending.
    pub fn matches(&self, input: &[u8]) -> Vec<u32> {
        host::matches(self.0, input)
    }

    /// True if any literal occurs: the fastest question.
    pub fn is_match(&self, input: &[u8]) -> bool {
        host::is_match(self.0, input)
    }

    /// The leftmost hit.
    pub fn find(&self, input: &[u8]) -> Option<Hit> {
        host::find(self.0, input)
    }
}

/// A set of addresses and CIDR blocks, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpSet(u32);

impl IpSet {
    /// Builds the set; only in `init`.
    ///
    /// # Errors
    /// A block is no address and no CIDR block; the text names it.
    pub fn new<B: Into<String>>(blocks: impl IntoIterator<Item = B>) -> Result<Self, String> {
        let blocks: Vec<String> = blocks.into_iter().map(Into::into).collect();
        host::build_ip(&blocks).map(Self)
    }

    /// Index of the most specific block that contains the address; none too when the text is no address.
    pub fn find(&self, address: &str) -> Option<u32> {
        host::find_ip(self.0, address)
    }

    /// True if any block contains the address.
    pub fn contains(&self, address: &str) -> bool {
        self.find(address).is_some()
    }
}
