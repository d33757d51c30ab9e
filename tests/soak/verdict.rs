//! What a soak came to.

use std::{fmt::Write as _, process::ExitStatus, time::Duration};

use edgeward_tests::Trend;
use serde_json::{Value, json};

use crate::{
    samples::{Sample, mib},
    site::Site,
    tally::Tally,
};

/// What resident memory may go up by over the last half, as a share of its median: more than the line through looks that differ by a tenth moves by itself,
/// and less than 100 bytes per request make in half an hour.
const CHANGE_MAX: f64 = 0.05;
/// Below this the first half has not seen everything yet that takes memory once, and a line through the second says nothing.
const JUDGED_FROM: Duration = Duration::from_secs(600);

/// What is known at the end.
pub(crate) struct End<'a> {
    /// How long it was meant to take.
    pub(crate) planned: Duration,
    /// Before traffic, and after it.
    pub(crate) before: Sample,
    pub(crate) after: Sample,
    /// How the process ended.
    pub(crate) status: ExitStatus,
    pub(crate) samples: &'a [Sample],
    pub(crate) tally: &'a Tally,
    pub(crate) site: &'a Site,
    /// What is open before and after, by kind.
    pub(crate) open: [Value; 2],
}

/// A judgement: does it hold, and in words.
type Line = (bool, String);

/// Judges. The text, the same as JSON, and whether everything holds.
pub(crate) fn judge(end: &End<'_>) -> (String, Value, bool) {
    let lines = [traffic(end), log(end), memory(end), descriptors(end), ended(end)];
    let holds = lines.iter().all(|(holds, _)| *holds);
    let mut text = String::new();
    for (holds, words) in &lines {
        // writing to a string does not fail
        let _written = writeln!(text, "  {}  {words}", if *holds { "ok  " } else { "FAIL" });
    }
    let json = json!({
        "holds": holds,
        "planned-s": end.planned.as_secs(),
        "verdict": lines.iter().map(|(holds, words)| json!({"holds": holds, "what": words})).collect::<Vec<_>>(),
        "resident-change-share": trend(end).map(|trend| trend.share()),
        "actors": end.tally.json(),
        "log": end.site.log.json(),
        "log-errors": end.site.log.errors(),
        "before": end.before.json(),
        "after": end.after.json(),
        "open-before": end.open[0],
        "open-after": end.open[1],
        "samples": end.samples.iter().map(Sample::json).collect::<Vec<_>>(),
    });
    (text, json, holds)
}

fn traffic(end: &End<'_>) -> Line {
    let (turns, unexpected) = end.tally.totals();
    let requests = end.after.requests - end.before.requests;
    let rate = requests as f64 / end.planned.as_secs_f64();
    let connections = end.after.metric("edgeward_connections_total");
    let words = format!(
        "{turns} turns of actors, {unexpected} ended unexpectedly; {requests} requests ({rate:.0} per second), {connections} connections, {} WebSockets, \
         {} snapshots",
        end.after.metric("edgeward_tunnels_total"),
        end.after.metric("edgeward_snapshots_published_total"),
    );
    (unexpected == 0 && turns > 0, words)
}

fn log(end: &End<'_>) -> Line {
    let errors = end.site.log.errors();
    let first = errors.first().map(|line| format!(": {line}")).unwrap_or_default();
    (
        errors.is_empty(),
        format!("{} errors and panics in the log{first}", errors.len()),
    )
}

/// Resident memory over the last half.
fn trend(end: &End<'_>) -> Option<Trend> {
    let half = end.planned / 2;
    let points = end.samples.iter().filter(|sample| sample.at >= half);
    let points: Vec<_> = points
        .map(|sample| (sample.at.as_secs_f64(), sample.resident as f64))
        .collect();
    Trend::of(&points)
}

fn memory(end: &End<'_>) -> Line {
    let Some(trend) = trend(end) else {
        return (end.planned < JUDGED_FROM, "resident memory: too few looks".into());
    };
    let words = format!(
        "resident memory over the last half: {:+.2} MiB along the line of least squares, {:+.2} % of the median of {:.1} MiB",
        trend.change / f64::from(1 << 20),
        trend.share() * 100.0,
        trend.median / f64::from(1 << 20),
    );
    if end.planned < JUDGED_FROM {
        return (true, words + " (not judged: too short)");
    }
    (trend.share() <= CHANGE_MAX, words)
}

fn descriptors(end: &End<'_>) -> Line {
    let (before, after) = (&end.before, &end.after);
    let still: u64 = ["edgeward_connections", "edgeward_exchanges", "edgeward_tunnels"]
        .iter()
        .map(|name| after.metric(name))
        .sum();
    let most = end
        .samples
        .iter()
        .map(|sample| sample.descriptors)
        .max()
        .unwrap_or_default();
    let words = format!(
        "descriptors {} before, at most {most}, {} after; threads {} and {}; {still} connections, exchanges and tunnels left; resident {:.1} and {:.1} MiB",
        before.descriptors,
        after.descriptors,
        before.threads,
        after.threads,
        mib(before.resident),
        mib(after.resident),
    );
    let back = after.descriptors <= before.descriptors && after.threads <= before.threads;
    (back && still == 0, words)
}

fn ended(end: &End<'_>) -> Line {
    (end.status.success(), format!("SIGTERM: {}", end.status))
}
