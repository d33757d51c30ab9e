//! What became of the turns that actors took, by actor and kind.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// What became of one turn: the kind of its end, when it is one that the actor knows and takes, or what was not expected.
pub(crate) type Turn = Result<&'static str, String>;

/// Kinds of unexpected ends that are told apart for one actor; the rest counts as one.
const KINDS_MAX: usize = 20;

/// Counts turns.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<&'static str, Ends>>);

#[derive(Default)]
struct Ends {
    expected: BTreeMap<&'static str, u64>,
    /// By what they have in common: how many, when the first was, and its words.
    unexpected: BTreeMap<String, (u64, Duration, String)>,
    slowest: Duration,
}

impl Tally {
    /// Counts one turn, which ended so long after the beginning and took so long.
    pub(crate) fn add(&self, actor: &'static str, at: Duration, took: Duration, turn: Turn) {
        let mut actors = self.0.lock();
        let ends = actors.entry(actor).or_default();
        ends.slowest = ends.slowest.max(took);
        match turn {
            Ok(kind) => *ends.expected.entry(kind).or_default() += 1,
            Err(words) => {
                let mut kind = common(&words);
                if ends.unexpected.len() >= KINDS_MAX && !ends.unexpected.contains_key(&kind) {
                    "others".clone_into(&mut kind);
                }
                ends.unexpected.entry(kind).or_insert((0, at, words)).0 += 1;
            }
        }
    }

    /// Turns so far, and those among them that ended unexpectedly.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let actors = self.0.lock();
        let expected: u64 = actors.values().flat_map(|ends| ends.expected.values()).sum();
        let unexpected = actors.values().flat_map(|ends| ends.unexpected.values());
        let unexpected: u64 = unexpected.map(|(count, ..)| count).sum();
        (expected + unexpected, unexpected)
    }

    /// Everything.
    pub(crate) fn json(&self) -> Value {
        let actors = self.0.lock();
        let shown = actors.iter().map(|(name, ends)| {
            let unexpected: Vec<_> = ends.unexpected.iter().collect();
            let unexpected: Vec<_> = unexpected
                .iter()
                .map(|(_, (count, at, words))| json!({"count": count, "first-at-s": at.as_secs(), "first": words}))
                .collect();
            let shown = json!({
                "expected": ends.expected,
                "unexpected": unexpected,
                "slowest-ms": u64::try_from(ends.slowest.as_millis()).unwrap_or(u64::MAX),
            });
            ((*name).to_owned(), shown)
        });
        Value::Object(shown.collect())
    }
}

/// What endings of one kind have in common: the first words, without numbers.
fn common(words: &str) -> String {
    let first = words.chars().take(60);
    first.map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}
