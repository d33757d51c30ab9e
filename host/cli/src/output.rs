//! What commands print: text for people or one JSON document for programs, and progress where there is a terminal.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use edgeward_control::ControlError;
use edgeward_core::config::{Problem, Problems};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Refused;

/// How to print.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

/// The configuration is invalid: exit code 2.
#[derive(Debug)]
pub(crate) struct Invalid {
    /// Where it stands, for people.
    pub(crate) what: String,
    /// Everything that is wrong.
    pub(crate) problems: Problems,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.0.len();
        write!(
            f,
            "{}: {count} problem{}",
            self.what,
            if count == 1 { "" } else { "s" }
        )?;
        self.problems
            .0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Invalid {}

/// The command failed, and what it printed says so already.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the outcome of a command: the value as JSON, or a text for people.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            let text = serde_json::to_string_pretty(value)
                .unwrap_or_else(|error| json!({"error": {"message": error.to_string()}}).to_string());
            print(&text);
        } else {
            print(text().trim_end());
        }
    }

    /// Prints one JSON document on one line.
    pub(crate) fn event(self, value: &Value) {
        print(&value.to_string());
    }

    /// Prints a document as it is.
    pub(crate) fn text(self, text: &str) {
        print(text.trim_end());
    }

    /// Prints a line for people; programs get only the outcome.
    pub(crate) fn line(self, text: &str) {
        if !self.json {
            print(text);
        }
    }

    /// Prints an error: for programs on standard output, where they look.
    pub(crate) fn error(self, error: &anyhow::Error) {
        if self.json && error.is::<Told>() {
            return;
        }
        if self.json {
            let message = match error.downcast_ref::<Invalid>() {
                Some(invalid) => invalid.what.clone(),
                None => format!("{error:#}"),
            };
            self.event(&json!({"error": {"message": message, "problems": problems(error)}}));
        } else {
            // nothing can be done when standard error is closed
            let _closed = writeln!(io::stderr(), "error: {error:#}");
        }
    }

    /// A spinner with a message; invisible where there is no terminal.
    pub(crate) fn spinner(self, message: String) -> ProgressBar {
        let bar = self.bar(ProgressBar::new_spinner());
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// A bar over bytes; invisible where there is no terminal.
    pub(crate) fn bytes(self, total: u64) -> ProgressBar {
        let bar = self.bar(ProgressBar::new(total));
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    fn bar(self, bar: ProgressBar) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }
}

fn problems(error: &anyhow::Error) -> Vec<Value> {
    let to_values = |problems: &[Problem]| problems.iter().map(|problem| json!(problem)).collect();
    if let Some(invalid) = error.downcast_ref::<Invalid>() {
        to_values(&invalid.problems.0)
    } else if let Some(refused) = error.downcast_ref::<Refused>() {
        refused.problems.clone()
    } else if let Some(control) = error.downcast_ref::<ControlError>() {
        to_values(&control.problems().0)
    } else {
        Vec::new()
    }
}

fn print(text: &str) {
    // a reader that went away (`edgeward schema | head`) is no error of ours
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
