//! Capability `matcher`: pattern sets that live in the host, built once in `init` and then immutable. A set is recorded as its source too, so
//! that a version loaded from the cache gets the same sets without running `init`.

use std::{net::IpAddr, sync::OnceLock};

use aho_corasick::{AhoCorasick, MatchKind};
use edgeward_core::cidr;
use ipnet::IpNet;
use regex_automata::{
    Input, MatchKind as RegexMatchKind, PatternSet,
    meta::{BuildError, Regex},
    nfa::thompson::WhichCaptures,
    util::syntax,
};
use serde::{Deserialize, Serialize};
use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::matcher::{Hit, Host},
    failure::{FailureKind, exceeded},
    state::{HostState, Mode},
};

/// Most sets one version may build.
const SETS_MAX: usize = 256;
/// Most patterns in one set.
const PATTERNS_MAX: usize = 20_000;
/// Most bytes of pattern text in one set.
const SOURCE_MAX: usize = 4 << 20;
/// Most memory of one compiled regex set, in bytes.
const REGEX_SIZE_MAX: usize = 64 << 20;

/// What a set was built from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    Regex {
        patterns: Vec<String>,
        case_insensitive: bool,
    },
    Literal {
        literals: Vec<Vec<u8>>,
        ascii_case_insensitive: bool,
    },
    Ip {
        blocks: Vec<String>,
    },
}

/// A built set.
pub(crate) struct Matcher {
    pub(crate) source: Source,
    engine: Engine,
}

/// `matches` needs engines that report every pattern, `find` ones that report the leftmost; the second is made when first asked for.
enum Engine {
    Regex {
        all: Box<Regex>,
        leftmost: OnceLock<Option<Box<Regex>>>,
    },
    Literal {
        all: Box<AhoCorasick>,
        leftmost: OnceLock<Option<Box<AhoCorasick>>>,
    },
    Ip(IpSet),
}

fn regex(
    patterns: &[String],
    case_insensitive: bool,
    kind: RegexMatchKind,
) -> std::result::Result<Regex, Box<BuildError>> {
    // captures are never asked for, and their slots would take more memory than the automata; a large set needs room for its lazy DFA, or it
    // falls back to an engine that is many times slower
    let captures = if kind == RegexMatchKind::All {
        WhichCaptures::None
    } else {
        WhichCaptures::Implicit
    };
    let config = Regex::config()
        .match_kind(kind)
        .utf8_empty(false)
        .nfa_size_limit(Some(REGEX_SIZE_MAX))
        .which_captures(captures)
        .hybrid_cache_capacity(16 << 20);
    let syntax = syntax::Config::new()
        .utf8(false)
        .case_insensitive(case_insensitive);
    Regex::builder()
        .configure(config)
        .syntax(syntax)
        .build_many(patterns)
        .map_err(Box::new)
}

fn literals(
    literals: &[Vec<u8>],
    case_insensitive: bool,
    kind: MatchKind,
) -> std::result::Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .match_kind(kind)
        .ascii_case_insensitive(case_insensitive)
        .build(literals)
        .map_err(|error| error.to_string())
}

/// Blocks by prefix length, longest first; a look-up tries each length that occurs.
struct IpSet {
    blocks: Vec<(u8, std::collections::HashMap<IpNet, u32>)>,
}

impl Matcher {
    /// Builds a set; the error names the pattern.
    pub(crate) fn build(source: Source) -> std::result::Result<Self, String> {
        let engine = match &source {
            Source::Regex {
                patterns,
                case_insensitive,
            } => {
                bounded(patterns.iter().map(String::len))?;
                let built = regex(patterns, *case_insensitive, RegexMatchKind::All).map_err(|error| {
                    let place = error
                        .pattern()
                        .and_then(|id| Some((id.as_usize(), patterns.get(id.as_usize())?)));
                    let why = error
                        .syntax_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    match place {
                        Some((index, pattern)) => format!("pattern {index} `{pattern}`: {why}"),
                        None => why,
                    }
                })?;
                Engine::Regex {
                    all: Box::new(built),
                    leftmost: OnceLock::new(),
                }
            }
            Source::Literal {
                literals: patterns,
                ascii_case_insensitive,
            } => {
                bounded(patterns.iter().map(Vec::len))?;
                if let Some(index) = patterns.iter().position(Vec::is_empty) {
                    return Err(format!("literal {index} is empty"));
                }
                let built = literals(patterns, *ascii_case_insensitive, MatchKind::Standard)?;
                Engine::Literal {
                    all: Box::new(built),
                    leftmost: OnceLock::new(),
                }
            }
            Source::Ip { blocks } => {
                bounded(blocks.iter().map(String::len))?;
                Engine::Ip(IpSet::build(blocks)?)
            }
        };
        Ok(Self { source, engine })
    }

    fn matches(&self, input: &[u8]) -> Vec<u32> {
        let mut found: Vec<u32> = match &self.engine {
            Engine::Regex { all: regex, .. } => {
                let mut set = PatternSet::new(regex.pattern_len());
                regex.which_overlapping_matches(&Input::new(input), &mut set);
                set.iter().map(|id| id.as_u32()).collect()
            }
            Engine::Literal { all: literals, .. } => {
                let mut seen = vec![false; literals.patterns_len()];
                for hit in literals.find_overlapping_iter(input) {
                    if let Some(seen) = seen.get_mut(hit.pattern().as_usize()) {
                        *seen = true;
                    }
                }
                (0u32..)
                    .zip(seen)
                    .filter_map(|(index, seen)| seen.then_some(index))
                    .collect()
            }
            Engine::Ip(_) => Vec::new(),
        };
        found.sort_unstable();
        found
    }

    fn is_match(&self, input: &[u8]) -> bool {
        match &self.engine {
            Engine::Regex { all, .. } => all.is_match(input),
            Engine::Literal { all, .. } => all.is_match(input),
            Engine::Ip(_) => false,
        }
    }

    fn find(&self, input: &[u8]) -> Option<Hit> {
        let (pattern, start, end) = match (&self.engine, &self.source) {
            (
                Engine::Regex { leftmost, .. },
                Source::Regex {
                    patterns,
                    case_insensitive,
                },
            ) => {
                // the patterns have been built once: they can be built again
                let build = || {
                    regex(patterns, *case_insensitive, RegexMatchKind::LeftmostFirst)
                        .ok()
                        .map(Box::new)
                };
                let hit = leftmost.get_or_init(build).as_ref()?.find(input)?;
                (hit.pattern().as_u32(), hit.start(), hit.end())
            }
            (
                Engine::Literal { leftmost, .. },
                Source::Literal {
                    literals: patterns,
                    ascii_case_insensitive,
                },
            ) => {
                let build = || {
                    literals(patterns, *ascii_case_insensitive, MatchKind::LeftmostFirst)
                        .ok()
                        .map(Box::new)
                };
                let hit = leftmost.get_or_init(build).as_ref()?.find(input)?;
                (hit.pattern().as_u32(), hit.start(), hit.end())
            }
            _ => return None,
        };
        Some(Hit {
            pattern,
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    fn find_ip(&self, address: &str) -> Option<u32> {
        match &self.engine {
            Engine::Ip(set) => set.find(address.parse().ok()?),
            Engine::Regex { .. } | Engine::Literal { .. } => None,
        }
    }
}

fn bounded(lengths: impl ExactSizeIterator<Item = usize>) -> std::result::Result<(), String> {
    if lengths.len() > PATTERNS_MAX {
        return Err(format!(
            "{} patterns exceed {PATTERNS_MAX} in one set",
            lengths.len()
        ));
    }
    let total: usize = lengths.sum();
    if total > SOURCE_MAX {
        return Err(format!(
            "{total} bytes of patterns exceed {SOURCE_MAX} in one set"
        ));
    }
    Ok(())
}

impl IpSet {
    fn build(blocks: &[String]) -> std::result::Result<Self, String> {
        let mut by_length = std::collections::BTreeMap::<u8, std::collections::HashMap<IpNet, u32>>::new();
        for (index, text) in (0u32..).zip(blocks) {
            let net = cidr::block(text)
                .ok_or_else(|| format!("block {index} `{text}` is neither an address nor a CIDR block"))?;
            by_length
                .entry(net.prefix_len())
                .or_default()
                .entry(net.trunc())
                .or_insert(index);
        }
        Ok(Self {
            blocks: by_length.into_iter().rev().collect(),
        })
    }

    fn find(&self, address: IpAddr) -> Option<u32> {
        let address = address.to_canonical();
        self.blocks.iter().find_map(|(length, nets)| {
            let net = IpNet::new(address, *length).ok()?;
            nets.get(&net.trunc()).copied()
        })
    }
}

impl HostState {
    fn build_set(&mut self, source: Source) -> Result<std::result::Result<u32, String>> {
        self.enter()?;
        if self.mode != Mode::Init {
            return Ok(Err("sets can be built during init only".to_owned()));
        }
        if self.built.len() >= SETS_MAX {
            return Ok(Err(format!("more than {SETS_MAX} sets")));
        }
        Ok(Matcher::build(source).map(|matcher| {
            self.built.push(matcher);
            u32::try_from(self.built.len() - 1).unwrap_or(u32::MAX)
        }))
    }

    fn set(&self, index: u32) -> Result<&Matcher> {
        let sets: &[Matcher] = if self.mode == Mode::Init {
            &self.built
        } else {
            &self.matchers
        };
        sets.get(index as usize).ok_or_else(|| {
            exceeded(
                FailureKind::Denied,
                format!("matcher set {index} does not exist: there are {}", sets.len()),
            )
        })
    }
}

impl Host for HostState {
    fn build_regex(
        &mut self,
        patterns: Vec<String>,
        case_insensitive: bool,
    ) -> Result<std::result::Result<u32, String>> {
        self.build_set(Source::Regex {
            patterns,
            case_insensitive,
        })
    }

    fn build_literal(
        &mut self,
        literals: Vec<Vec<u8>>,
        ascii_case_insensitive: bool,
    ) -> Result<std::result::Result<u32, String>> {
        self.build_set(Source::Literal {
            literals,
            ascii_case_insensitive,
        })
    }

    fn build_ip(&mut self, blocks: Vec<String>) -> Result<std::result::Result<u32, String>> {
        self.build_set(Source::Ip { blocks })
    }

    fn matches(&mut self, set: u32, input: Vec<u8>) -> Result<Vec<u32>> {
        self.enter()?;
        self.scan(input.len())?;
        let set = self.set(set)?;
        Ok(self.uncharged(|| set.matches(&input)))
    }

    fn is_match(&mut self, set: u32, input: Vec<u8>) -> Result<bool> {
        self.enter()?;
        self.scan(input.len())?;
        let set = self.set(set)?;
        Ok(self.uncharged(|| set.is_match(&input)))
    }

    fn find(&mut self, set: u32, input: Vec<u8>) -> Result<Option<Hit>> {
        self.enter()?;
        self.scan(input.len())?;
        let set = self.set(set)?;
        Ok(self.uncharged(|| set.find(&input)))
    }

    fn find_ip(&mut self, set: u32, address: String) -> Result<Option<u32>> {
        self.enter()?;
        Ok(self.set(set)?.find_ip(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_set_reports_every_pattern_that_occurs() {
        let patterns = vec![
            "union\\s+select".to_owned(),
            "<script".to_owned(),
            "select".to_owned(),
        ];
        let set = Matcher::build(Source::Regex {
            patterns,
            case_insensitive: true,
        })
        .unwrap();
        assert_eq!(set.matches(b"1 UNION  SELECT x"), [0, 2]);
        assert!(!set.is_match(b"\xff\x00 nothing"));
        assert_eq!(
            set.find(b"ab<Script>").map(|hit| (hit.pattern, hit.start)),
            Some((1, 2))
        );
    }

    #[test]
    fn find_reports_the_leftmost_literal() {
        let literals = vec![b"abcd".to_vec(), b"c".to_vec()];
        let set = Matcher::build(Source::Literal {
            literals,
            ascii_case_insensitive: false,
        })
        .unwrap();
        assert_eq!(
            set.find(b"xabcd").map(|hit| (hit.pattern, hit.start, hit.end)),
            Some((0, 1, 5))
        );
        assert_eq!(set.matches(b"xabcd"), [0, 1]);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let source = Source::Regex {
            patterns: vec!["a".to_owned(), "(".to_owned()],
            case_insensitive: false,
        };
        let error = Matcher::build(source).err().unwrap();
        assert!(error.starts_with("pattern 1 `(`: "), "{error}");
    }

    #[test]
    fn the_most_specific_block_wins_and_mapped_addresses_count_as_ipv4() {
        let blocks = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "2001:db8::/32",
            "192.0.2.7",
            "::ffff:10.1.2.0/120",
        ];
        let blocks = blocks.map(str::to_owned).to_vec();
        let set = Matcher::build(Source::Ip { blocks }).unwrap();
        assert_eq!(set.find_ip("10.1.3.3"), Some(1));
        assert_eq!(set.find_ip("10.1.2.3"), Some(4));
        assert_eq!(set.find_ip("10.2.2.3"), Some(0));
        assert_eq!(set.find_ip("::ffff:192.0.2.7"), Some(3));
        assert_eq!(set.find_ip("2001:db8::1"), Some(2));
        assert_eq!(set.find_ip("11.0.0.1"), None);
        assert_eq!(set.find_ip("not an address"), None);
    }
}
