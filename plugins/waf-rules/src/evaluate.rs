//! Running the rules over one request.

use crate::config::{Action, Size};
use crate::field::{self, Request, Value};
use crate::ruleset::{Compiled, Ruleset, Set, Test, covers};
use crate::transformation::apply_all;
use std::borrow::Cow;

/// Most matches that are reported for one request; what is above still counts and blocks.
const MAX_MATCHES: usize = 64;

/// Result of an evaluation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// True when a rule, or the sum of scores, blocks.
    pub block: bool,
    /// True when a rule with `action: allow` ended the evaluation.
    pub allow: bool,
    /// Matches in the order of the rules.
    pub matched: Vec<Matched>,
    /// Labels of the rules that matched, each once.
    pub labels: Vec<String>,
}

/// A rule that matched.
#[derive(Debug, PartialEq, Eq)]
pub struct Matched {
    /// Id of the rule.
    pub id: String,
    /// Its message.
    pub message: String,
    /// Where.
    pub location: String,
}

impl Evaluation {
    fn add(&mut self, rule: &Compiled, location: String) {
        for label in &rule.labels {
            if !self.labels.contains(label) {
                self.labels.push(label.clone());
            }
        }
        self.report(&rule.id, &rule.message, location);
    }

    /// Adds a match that no rule of the set made.
    pub fn report(&mut self, id: &str, message: &str, location: String) {
        if self.matched.len() < MAX_MATCHES {
            self.matched.push(Matched {
                id: id.to_owned(),
                message: message.to_owned(),
                location,
            });
        }
    }
}

/// Evaluates all rules in order: `allow` and `block` end it, `count` reports and goes on.
pub fn evaluate(ruleset: &Ruleset, request: &Request) -> Evaluation {
    let values = field::values(request, &ruleset.fields);
    let mut scan = Scan::new(ruleset, &values);
    let mut evaluation = Evaluation::default();
    let mut score = 0_u32;
    for rule in &ruleset.rules {
        let Some(location) = scan.first_match(rule) else {
            continue;
        };
        evaluation.add(rule, location);
        if rule.action == Action::Allow {
            evaluation.allow = true;
            return evaluation;
        }
        score = score.saturating_add(rule.score);
        if rule.action == Action::Block
            || ruleset
                .threshold
                .is_some_and(|threshold| rule.score > 0 && score >= threshold)
        {
            evaluation.block = true;
            return evaluation;
        }
    }
    evaluation
}

/// What was already transformed and scanned.
struct Scan<'a> {
    ruleset: &'a Ruleset,
    values: &'a [Value],
    /// Per value and chain.
    transformed: Vec<Option<Cow<'a, [u8]>>>,
    /// Per value and group.
    hits: Vec<Option<Vec<u32>>>,
}

impl<'a> Scan<'a> {
    fn new(ruleset: &'a Ruleset, values: &'a [Value]) -> Self {
        Self {
            ruleset,
            values,
            transformed: vec![None; values.len() * ruleset.chains.len()],
            hits: vec![None; values.len() * ruleset.groups.len()],
        }
    }

    /// Location of the first value that makes the rule match.
    fn first_match(&mut self, rule: &Compiled) -> Option<String> {
        let covered = |value: &Value| rule.fields.iter().any(|field| field.covers(value));
        let values = self.values;
        if matches!(rule.test, Test::Absent) {
            let none = !values.iter().any(covered);
            return none.then(|| "request".to_owned());
        }
        for (index, value) in values.iter().enumerate() {
            if !covered(value) || self.passes(rule, index) == rule.negate {
                continue;
            }
            let location = value.location();
            if !rule.excluded.iter().any(|pattern| covers(pattern, &location)) {
                return Some(location);
            }
        }
        None
    }

    fn passes(&mut self, rule: &Compiled, value: usize) -> bool {
        match &rule.test {
            Test::Set { group, from, to } => self
                .hits(value, *group)
                .iter()
                .any(|hit| (from..to).contains(&hit)),
            Test::Ip(set) => {
                std::str::from_utf8(&self.values[value].data).is_ok_and(|text| set.contains(text.trim()))
            }
            Test::Size(chain, Size { over, under }) => {
                let length = self.transformed(value, *chain).len();
                over.is_some_and(|over| length > over) || under.is_some_and(|under| length < under)
            }
            Test::Equals {
                chain,
                texts,
                case_insensitive,
            } => {
                let data = self.transformed(value, *chain);
                let equal = |text: &String| {
                    if *case_insensitive {
                        data.eq_ignore_ascii_case(text.as_bytes())
                    } else {
                        data == text.as_bytes()
                    }
                };
                texts.iter().any(equal)
            }
            Test::Absent => false,
        }
    }

    fn transformed(&mut self, value: usize, chain: usize) -> &[u8] {
        let slot = &mut self.transformed[value * self.ruleset.chains.len() + chain];
        slot.get_or_insert_with(|| apply_all(&self.ruleset.chains[chain], &self.values[value].data))
    }

    fn hits(&mut self, value: usize, group: usize) -> &[u32] {
        let at = value * self.ruleset.groups.len() + group;
        if self.hits[at].is_none() {
            let set = &self.ruleset.groups[group];
            let found = if set.starter_only && is_word(&self.values[value].data) {
                Vec::new()
            } else {
                let data = self.transformed(value, set.chain);
                match set.set {
                    Set::Regex(regex) => regex.matches(data),
                    Set::Literal(literals) => literals.matches(data),
                }
            };
            self.hits[at] = Some(found);
        }
        self.hits[at].as_deref().unwrap_or_default()
    }
}

/// One word: no rule of the starter set matches inside of it (a test holds that), so the host need not be asked. Two hyphens in a row
/// are no part of a word: `1--` cuts off an SQL statement.
pub(crate) fn is_word(data: &[u8]) -> bool {
    data.iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !data.windows(2).any(|pair| pair == b"--")
}
