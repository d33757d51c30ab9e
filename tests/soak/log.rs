//! The gateway's log, read as it is written: lines are counted, and what no soak should see is kept.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, PipeReader},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Errors and warnings that are kept with their words.
const KEPT_MAX: usize = 20;
/// Kinds of lines that are told apart; the rest counts as one.
const KINDS_MAX: usize = 200;
/// The error that a broken configuration file brings, which the soak writes now and then.
const REFUSED: &str = "configuration was not loaded, the old one stays in effect";

/// A log that is read by a thread of its own, to its end.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// Lines by level, message and reason.
    counts: BTreeMap<String, u64>,
    /// Errors that nobody waited for, panics among them.
    errors: Vec<String>,
    /// The end of what is no JSON: a process that dies talks like that.
    last: String,
}

impl Log {
    /// Begins to read.
    pub(crate) fn read(pipe: PipeReader) -> Self {
        let log = Self::default();
        let shared = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.add(&line);
            }
        });
        log
    }

    fn add(&self, line: &str) {
        let mut lines = self.0.lock();
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            line.clone_into(&mut lines.last);
            if lines.errors.len() < KEPT_MAX {
                lines.errors.push(line.to_owned());
            }
            return;
        };
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let (level, message) = (text("level"), text("message"));
        // a panic's message has the words of the panic in it
        let mut kind = format!(
            "{level} {}: {}",
            text("target"),
            message.split(':').next().unwrap_or_default()
        );
        for field in ["error", "response_type"] {
            if !text(field).is_empty() {
                kind = format!("{kind}: {}", text(field));
            }
        }
        if lines.counts.len() >= KINDS_MAX && !lines.counts.contains_key(&kind) {
            "others".clone_into(&mut kind);
        }
        *lines.counts.entry(kind).or_default() += 1;
        let wanted = message == REFUSED;
        if level == "ERROR" && !wanted && lines.errors.len() < KEPT_MAX {
            lines.errors.push(line.to_owned());
        }
    }

    /// Errors that nobody waited for.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.0.lock().errors.clone()
    }

    /// The last line that was no JSON.
    pub(crate) fn last(&self) -> String {
        self.0.lock().last.clone()
    }

    /// Lines by kind.
    pub(crate) fn json(&self) -> Value {
        json!(self.0.lock().counts)
    }
}
