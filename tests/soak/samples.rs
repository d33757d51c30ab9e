//! What the process takes, as the kernel and its own metrics tell it.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use edgeward_tests::get;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::site::Site;

/// Metrics that are kept with each sample: gauges, and counters that say how much was done.
const METRICS: [&str; 10] = [
    "edgeward_connections",
    "edgeward_exchanges",
    "edgeward_tunnels",
    "edgeward_connections_total",
    "edgeward_tunnels_total",
    "edgeward_upstream_retries_total",
    "edgeward_slow_readers_total",
    "edgeward_snapshots_published_total",
    "edgeward_http2_abuse_total",
    "edgeward_tls_handshake_failures_total",
];

/// A look at the process.
#[derive(Clone)]
pub(crate) struct Sample {
    /// Time since the beginning.
    pub(crate) at: Duration,
    /// Resident memory in bytes, and the part of it that no file is behind.
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// CPU time so far.
    pub(crate) cpu: Duration,
    /// Finished requests so far.
    pub(crate) requests: u64,
    metrics: BTreeMap<&'static str, u64>,
}

impl Sample {
    /// Looks.
    pub(crate) async fn take(site: &Site, began: Instant) -> Self {
        let pid = site.gateway.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = |name: &str| field(&status, name) * 1024;
        let text = get(site.gateway.admin, "/metrics").await.text();
        let families = sums(&text);
        let metric = |name: &str| families.get(name).copied().unwrap_or_default();
        Self {
            at: began.elapsed(),
            resident: kib("VmRSS:"),
            anonymous: kib("RssAnon:"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
            threads: field(&status, "Threads:"),
            cpu: cpu(pid),
            requests: metric("edgeward_requests_total"),
            metrics: METRICS.iter().map(|name| (*name, metric(name))).collect(),
        }
    }

    /// A metric of [`METRICS`].
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metrics.get(name).copied().unwrap_or_default()
    }

    /// As it is kept.
    pub(crate) fn json(&self) -> Value {
        json!({
            "at-s": self.at.as_secs(),
            "resident": self.resident,
            "anonymous": self.anonymous,
            "descriptors": self.descriptors,
            "threads": self.threads,
            "cpu-s": self.cpu.as_secs(),
            "requests": self.requests,
            "metrics": self.metrics,
        })
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:>5} s  RSS {:>6.1} MiB (anonymous {:>6.1})  {:>4} descriptors  {:>2} threads  {:>3} connections  {:>3} exchanges  {:>3} tunnels  \
             {:>8} requests  CPU {:>5} s",
            self.at.as_secs(),
            mib(self.resident),
            mib(self.anonymous),
            self.descriptors,
            self.threads,
            self.metric("edgeward_connections"),
            self.metric("edgeward_exchanges"),
            self.metric("edgeward_tunnels"),
            self.requests,
            self.cpu.as_secs(),
        )
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the descriptors of the process are, by kind.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// User and system time: proc_pid_stat(5), the name in parentheses, then `utime` and `stime` as the twelfth and thirteenth of the rest.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Metrics by name, summed over their labels.
fn sums(text: &str) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = name.split('{').next().unwrap_or_default();
        let value: f64 = value.parse().unwrap_or_default();
        *sums.entry(name).or_default() += value as u64;
    }
    sums
}

/// Looks again and again until the soak is over; a line a minute is printed.
pub(crate) async fn watch(site: &Site, began: Instant, every: Duration, samples: &Mutex<Vec<Sample>>) {
    let mut told = Duration::ZERO;
    while !site.is_over() {
        let sample = Sample::take(site, began).await;
        if sample.at >= told {
            told += Duration::from_secs(60);
            crate::tell(&sample.line());
        }
        samples.lock().push(sample);
        site.rest(every).await;
    }
}
