//! One round of one contender, by kind of case: figures by name.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use indexmap::IndexMap;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    cases::{Case, Kind},
    contenders::{Contender, Running, Site, Work, marking},
    load::{Load, Paced, Sample, percentile},
    process::{Window, pause},
};

/// Figures of a round, by name and unit.
pub(crate) type Figures = IndexMap<&'static str, f64>;

/// CPU time of the proxy, the figure that verdicts are about.
pub(crate) const CPU: &str = "cpu_us";
/// Share of the two cores that others used.
pub(crate) const FOREIGN: &str = "foreign";

/// Changes of the case `swap`, and seconds between them.
const CHANGES: u32 = 5;
const PERIOD: f64 = 2.0;
/// Seconds after the command of a change that are, with the command, looked at by themselves.
const AFTER: f64 = 0.5;
/// Seconds with and without a plugin that never returns, and the CPU time that its binding gives it by default.
const SPINNING: f64 = 10.0;
const BUDGET_MS: f64 = 10.0;
/// Publications of the case `swaps-10k`.
const PUBLICATIONS: u32 = 10_000;

/// Runs a round in `folder`, which is empty at its beginning: nothing of an earlier round, such as a published version, is left.
pub(crate) fn round(
    site: &Site,
    case: &Case,
    contender: &Contender,
    seconds: u64,
    folder: &Path,
) -> Result<Figures> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    if case.kind == Kind::Versions {
        return versions(site, case, contender, folder);
    }
    let running = site.start(contender, folder, case.path, case.load.fields())?;
    running.check(contender.work, case.path, case.load.fields())?;
    match case.kind {
        Kind::Load if contender.work == Work::OverHttp2 => load(&Load::H2load, case.path, &running, seconds),
        Kind::Load => load(&case.load, case.path, &running, seconds),
        Kind::Swap => swap(site, contender, &running),
        Kind::Spin => spin(&running),
        Kind::Publications => publications(site, &running),
        Kind::Versions => unreachable!("done above"),
    }
}

fn load(load: &Load, path: &str, running: &Running, seconds: u64) -> Result<Figures> {
    let run = |seconds| load.run(running.h1, running.tls, path, seconds, &running.folder);
    run(1).context("warming up")?;
    let (window, before) = (Window::open(), running.process.cpu());
    let loaded = run(seconds)?;
    let (cpu, wall, foreign) = (running.process.cpu() - before, window.seconds(), window.foreign());
    ensure!(
        loaded.count > 0.0,
        "no request succeeded, {} errors",
        loaded.errors
    );
    let mut figures = Figures::from([("per_s", loaded.per_second)]);
    if let Some((p50, p99)) = loaded.p50_p99 {
        figures.extend([("p50_us", p50), ("p99_us", p99)]);
    }
    figures.extend([
        (CPU, cpu * 1e6 / loaded.count),
        ("core", cpu / wall),
        ("rss_mb", running.process.memory("VmHWM")),
        ("errors", loaded.errors),
        (FOREIGN, foreign),
    ]);
    Ok(figures)
}

fn latency<'a>(samples: impl Iterator<Item = &'a Sample>) -> f64 {
    percentile(
        &mut samples.map(|sample| sample.latency * 1e3).collect::<Vec<_>>(),
        0.99,
    )
}

/// What went wrong, and how often; printed because a number of failures explains nothing.
fn failures(samples: &[Sample]) -> f64 {
    let mut kinds = IndexMap::<&str, u32>::new();
    for error in samples.iter().filter_map(|sample| sample.outcome.as_ref().err()) {
        *kinds.entry(error).or_default() += 1;
    }
    for (kind, count) in &kinds {
        println!("    {count} requests failed: {kind}");
    }
    f64::from(kinds.values().sum::<u32>())
}

fn swap(site: &Site, contender: &Contender, running: &Running) -> Result<Figures> {
    let window = Window::open();
    let paced = Paced::start(running.h1, "/1k", 32, 50.0);
    let mut changes = Vec::new();
    for number in 1..=CHANGES {
        pause(Duration::from_secs_f64(PERIOD))?;
        let at = paced.now();
        site.change(contender, running, number)?;
        changes.push((number, at, paced.now()));
    }
    pause(Duration::from_secs_f64(PERIOD))?;
    let rss = running.process.memory("VmRSS");
    let samples = paced.finish()?;
    let near = |sample: &Sample| {
        changes
            .iter()
            .any(|(_, at, returned)| (*at..returned + AFTER).contains(&sample.sent))
    };
    let of = |number: u32| samples.iter().filter(move |sample| sample.outcome == Ok(number));
    let (mut first, mut last, mut command) = (Vec::new(), Vec::new(), Vec::new());
    for (number, at, returned) in &changes {
        let new = of(*number)
            .map(|sample| sample.done)
            .fold(f64::INFINITY, f64::min);
        ensure!(new.is_finite(), "change {number} was never seen");
        first.push((new - at) * 1e3);
        last.push((of(number - 1).map(|sample| sample.sent).fold(*at, f64::max) - at) * 1e3);
        command.push((returned - at) * 1e3);
    }
    Ok(Figures::from([
        ("requests", samples.len() as f64),
        ("failed", failures(&samples)),
        ("p99_ms", latency(samples.iter().filter(|sample| !near(sample)))),
        (
            "p99_after_ms",
            latency(samples.iter().filter(|sample| near(sample))),
        ),
        (
            "slowest_ms",
            samples
                .iter()
                .map(|sample| sample.latency * 1e3)
                .fold(0.0, f64::max),
        ),
        ("command_ms", percentile(&mut command, 0.5)),
        ("first_new_ms", percentile(&mut first, 0.5)),
        ("last_old_ms", percentile(&mut last, 0.5)),
        ("rss_mb", rss),
        (FOREIGN, window.foreign()),
    ]))
}

/// Once the breaker of the plugin is open, requests to it are refused at once: they are not among those that were stopped.
fn spin(running: &Running) -> Result<Figures> {
    let window = Window::open();
    let others = || Paced::start(running.h1, "/1k", 32, 50.0);
    let before = others();
    pause(Duration::from_secs_f64(SPINNING))?;
    let before = before.finish()?;
    let beside = others();
    let spinning = Paced::start(running.h1, "/spin", 1, 20.0);
    pause(Duration::from_secs_f64(SPINNING))?;
    let (spinning, beside) = (spinning.finish()?, beside.finish()?);
    ensure!(
        spinning.iter().all(|sample| sample.outcome.is_err()),
        "a plugin that never returns let a request pass"
    );
    let mut stopped: Vec<f64> = spinning
        .iter()
        .map(|sample| (sample.done - sample.sent) * 1e3)
        .filter(|ms| *ms > BUDGET_MS / 2.0)
        .collect();
    ensure!(!stopped.is_empty(), "no call took as long as its budget");
    Ok(Figures::from([
        ("p99_ms", latency(before.iter())),
        ("p99_beside_ms", latency(beside.iter())),
        ("failed", failures(&before) + failures(&beside)),
        ("stopped", stopped.len() as f64),
        ("stopped_p50_ms", percentile(&mut stopped, 0.5)),
        ("stopped_p99_ms", percentile(&mut stopped, 0.99)),
        (FOREIGN, window.foreign()),
    ]))
}

fn publications(site: &Site, running: &Running) -> Result<Figures> {
    let window = Window::open();
    let component = fs::read(site.guests.join("headers.wasm")).context("headers.wasm")?;
    let module: Value = serde_json::from_str(&running.admin("POST /v1/modules", &component)?.body)?;
    let digest = digest(&module).with_context(|| format!("no module in {module}"))?;
    let mut versions = Vec::new();
    for number in [1, 2] {
        let body = json!({"module": digest, "config": marking(number)}).to_string();
        let reply = running.admin("POST /v1/plugins/p0/versions", body.as_bytes())?;
        let made: Value = serde_json::from_str(&reply.body)?;
        versions.push(
            made["version"]
                .as_u64()
                .with_context(|| format!("no version in {made}"))?,
        );
    }
    let before = running.process.memory("VmRSS");
    let paced = Paced::start(running.h1, "/1k", 8, 40.0);
    for version in versions.iter().cycle().take(PUBLICATIONS as usize) {
        let body = json!({"version": version}).to_string();
        running.admin("POST /v1/plugins/p0/publish", body.as_bytes())?;
        pause(Duration::ZERO)?;
    }
    let seconds = paced.now();
    let samples = paced.finish()?;
    Ok(Figures::from([
        ("publications", f64::from(PUBLICATIONS)),
        ("per_s", f64::from(PUBLICATIONS) / seconds),
        ("requests", samples.len() as f64),
        ("failed", failures(&samples)),
        ("p99_ms", latency(samples.iter())),
        ("rss_before_mb", before),
        ("rss_after_mb", running.process.memory("VmRSS")),
        (FOREIGN, window.foreign()),
    ]))
}

/// The first `sha256:...` in a document.
fn digest(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.starts_with("sha256:").then(|| text.clone()),
        Value::Array(values) => values.iter().find_map(digest),
        Value::Object(values) => values.values().find_map(digest),
        _ => None,
    }
}

fn versions(site: &Site, case: &Case, contender: &Contender, folder: &Path) -> Result<Figures> {
    let window = Window::open();
    let mut figures = Figures::new();
    for (time, memory) in [("cold_ms", "cold_rss_mb"), ("warm_ms", "warm_rss_mb")] {
        let started = Instant::now();
        let running = site.start(contender, folder, case.path, &[])?;
        figures.insert(time, started.elapsed().as_secs_f64() * 1e3);
        figures.insert(memory, running.process.memory("VmRSS"));
        running.check(contender.work, case.path, &[])?;
        running.process.signal(Signal::TERM)?;
    }
    if let Work::Versions(count @ 1..) = contender.work {
        let kept = figures.get("warm_rss_mb").copied().unwrap_or_default();
        let bare = site.start(
            &Contender {
                work: Work::Versions(0),
                ..contender.clone()
            },
            &folder.join("bare"),
            case.path,
            &[],
        )?;
        let per_version = (kept - bare.process.memory("VmRSS")) * 1024.0 / count as f64;
        figures.insert("rss_per_version_kb", per_version);
    }
    figures.insert(FOREIGN, window.foreign());
    Ok(figures)
}
