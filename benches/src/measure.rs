//! Timing: CPU time of a thread, medians over rounds.

use anyhow::{Context as _, Result};

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

/// Prints a line: name, figure, unit and spread.
pub(crate) fn report(name: &str, rounds: &[f64], unit: &str) {
    let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let high = rounds.iter().copied().fold(0.0, f64::max);
    println!(
        "{name:<58} {:>10.2} {unit:<3} ({low:.2} to {high:.2})",
        median(rounds.to_vec())
    );
}
