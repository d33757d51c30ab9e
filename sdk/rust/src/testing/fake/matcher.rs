//! Pattern sets of the fake host, on the engines that the gateway uses.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use ipnet::IpNet;
use regex_automata::util::syntax;
use regex_automata::{Input, PatternSet, meta};

use crate::matcher::Hit;
use crate::stage::{self, Stage};

enum Set {
    /// One engine reports all patterns that occur, the other the leftmost hit.
    Regex {
        all: meta::Regex,
        leftmost: meta::Regex,
    },
    /// As with regular expressions.
    Literal {
        all: AhoCorasick,
        leftmost: AhoCorasick,
    },
    Ip(Vec<IpNet>),
}

thread_local! {
    /// All sets of this thread, whatever host is installed: an index stays valid.
    static SETS: RefCell<Vec<Rc<Set>>> = const { RefCell::new(Vec::new()) };
}

fn add(set: Set) -> Result<u32, String> {
    SETS.with_borrow_mut(|sets| {
        let index = u32::try_from(sets.len()).map_err(|error| error.to_string())?;
        sets.push(Rc::new(set));
        Ok(index)
    })
}

fn refuse_after_init() -> Result<(), String> {
    match stage::current() {
        Stage::Running => Err("matcher sets can be built during init only".to_owned()),
        Stage::Fresh | Stage::Init => Ok(()),
    }
}

fn find_set(set: u32) -> Rc<Set> {
    let found = SETS.with_borrow(|sets| sets.get(set as usize).cloned());
    found.unwrap_or_else(|| panic!("matcher set {set} does not exist"))
}

pub fn build_regex(patterns: &[String], case_insensitive: bool) -> Result<u32, String> {
    refuse_after_init()?;
    let build = |kind| {
        meta::Regex::builder()
            .configure(meta::Config::new().utf8_empty(false).match_kind(kind))
            // bytes need not be UTF-8; a `.` matches a whole character where they are
            .syntax(
                syntax::Config::new()
                    .utf8(false)
                    .case_insensitive(case_insensitive),
            )
            .build_many(patterns)
            .map_err(|error| regex_error(patterns, &error))
    };
    let (all, leftmost) = (
        build(regex_automata::MatchKind::All)?,
        build(regex_automata::MatchKind::LeftmostFirst)?,
    );
    add(Set::Regex { all, leftmost })
}

fn regex_error(patterns: &[String], error: &meta::BuildError) -> String {
    let detail = error
        .syntax_error()
        .map_or_else(|| error.to_string(), ToString::to_string);
    match error.pattern() {
        Some(index) => {
            let pattern = patterns.get(index.as_usize()).map_or("", String::as_str);
            format!("pattern {} `{pattern}`: {detail}", index.as_usize())
        }
        None => detail,
    }
}

pub fn build_literal(literals: &[Vec<u8>], ascii_case_insensitive: bool) -> Result<u32, String> {
    refuse_after_init()?;
    if let Some(index) = literals.iter().position(Vec::is_empty) {
        return Err(format!("literal {index} is empty"));
    }
    let build = |kind| {
        AhoCorasickBuilder::new()
            .match_kind(kind)
            .ascii_case_insensitive(ascii_case_insensitive)
            .build(literals)
            .map_err(|error| error.to_string())
    };
    let (all, leftmost) = (build(MatchKind::Standard)?, build(MatchKind::LeftmostFirst)?);
    add(Set::Literal { all, leftmost })
}

pub fn build_ip(blocks: &[String]) -> Result<u32, String> {
    refuse_after_init()?;
    let parse = |(index, block): (usize, &String)| {
        let address = || block.parse::<IpAddr>().map(IpNet::from);
        block
            .parse::<IpNet>()
            .or_else(|_| address())
            .map(in_short)
            .map_err(|error| format!("block {index} `{block}`: {error}"))
    };
    add(Set::Ip(
        blocks.iter().enumerate().map(parse).collect::<Result<_, _>>()?,
    ))
}

/// A block of IPv4 addresses in IPv6 form is one of IPv4 addresses.
fn in_short(block: IpNet) -> IpNet {
    let v4 = match block.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let length = block.prefix_len().checked_sub(96);
    let short = v4.zip(length).map(|(v4, length)| IpNet::new(v4.into(), length));
    short.and_then(Result::ok).unwrap_or(block)
}

pub fn matches(set: u32, input: &[u8]) -> Vec<u32> {
    let mut found: Vec<u32> = match &*find_set(set) {
        Set::Regex { all, .. } => {
            let mut patterns = PatternSet::new(all.pattern_len());
            all.which_overlapping_matches(&Input::new(input), &mut patterns);
            patterns.iter().map(|pattern| pattern.as_u32()).collect()
        }
        Set::Literal { all, .. } => all
            .find_overlapping_iter(input)
            .map(|found| found.pattern().as_u32())
            .collect(),
        Set::Ip(_) => panic!("matcher set {set} holds addresses"),
    };
    found.sort_unstable();
    found.dedup();
    found
}

pub fn is_match(set: u32, input: &[u8]) -> bool {
    match &*find_set(set) {
        Set::Regex { leftmost, .. } => leftmost.is_match(input),
        Set::Literal { leftmost, .. } => leftmost.is_match(input),
        Set::Ip(_) => panic!("matcher set {set} holds addresses"),
    }
}

pub fn find(set: u32, input: &[u8]) -> Option<Hit> {
    let (pattern, range) = match &*find_set(set) {
        Set::Regex { leftmost, .. } => leftmost
            .find(input)
            .map(|found| (found.pattern().as_u32(), found.range()))?,
        Set::Literal { leftmost, .. } => leftmost
            .find(input)
            .map(|found| (found.pattern().as_u32(), found.range()))?,
        Set::Ip(_) => panic!("matcher set {set} holds addresses"),
    };
    let offset = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Some(Hit {
        pattern,
        start: offset(range.start),
        end: offset(range.end),
    })
}

pub fn find_ip(set: u32, address: &str) -> Option<u32> {
    let Set::Ip(blocks) = &*find_set(set) else {
        panic!("matcher set {set} holds no addresses")
    };
    // an IPv4 address in IPv6 form counts as IPv4
    let address = address.parse::<IpAddr>().ok()?.to_canonical();
    let containing = blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.contains(&address));
    // the first of equally specific blocks
    let (index, _) = containing.min_by_key(|(_, block)| u8::MAX - block.prefix_len())?;
    u32::try_from(index).ok()
}
