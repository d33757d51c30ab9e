//! Timing: CPU time of a thread, medians over rounds.

use anyhow::{Context as _, Result};
use serde::Serialize;

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// CPU time in nanoseconds of all threads of this process whose name begins with `prefix`, from the scheduler's own account.
pub(crate) fn threads_cpu(prefix: &str) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        // threads may end while we look
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if name.starts_with(prefix) {
            let account = std::fs::read_to_string(path.join("schedstat"))?;
            total += account
                .split(' ')
                .next()
                .context("schedstat is empty")?
                .parse::<u64>()?;
        }
    }
    Ok(total)
}

/// Median of rounds.
pub(crate) fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What a run says: printed at once, and kept for `--json`.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// Sentences about the run.
    notes: Vec<String>,
    cases: Vec<Case>,
}

/// A figure over rounds.
#[derive(Serialize)]
struct Case {
    name: String,
    unit: &'static str,
    median: f64,
    low: f64,
    high: f64,
    /// What the median may be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

impl Report {
    pub(crate) fn note(&mut self, note: String) {
        println!("{note}");
        self.notes.push(note);
    }

    /// Prints a line: name, figure, unit and spread.
    pub(crate) fn case(&mut self, name: String, rounds: &[f64], unit: &'static str) {
        self.case_within(name, rounds, unit, None);
    }

    /// The same for a figure whose median may be `limit` at most: [`Report::kept`] tells.
    pub(crate) fn case_within(
        &mut self,
        name: String,
        rounds: &[f64],
        unit: &'static str,
        limit: impl Into<Option<f64>>,
    ) {
        let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let high = rounds.iter().copied().fold(0.0, f64::max);
        let median = median(rounds.to_vec());
        println!("{name:<58} {median:>10.2} {unit:<3} ({low:.2} to {high:.2})");
        self.cases.push(Case {
            name,
            unit,
            median,
            low,
            high,
            limit: limit.into(),
        });
    }

    /// Whether all figures are within their limits.
    ///
    /// # Errors
    /// Names those that are not.
    pub(crate) fn kept(&self) -> Result<()> {
        let over: Vec<String> = self
            .cases
            .iter()
            .filter_map(|case| {
                let limit = case.limit.filter(|limit| case.median > *limit)?;
                Some(format!(
                    "{}: {:.2} {unit} of {limit} {unit}",
                    case.name,
                    case.median,
                    unit = case.unit
                ))
            })
            .collect();
        anyhow::ensure!(over.is_empty(), "above the limit: {}", over.join("; "));
        Ok(())
    }
}
