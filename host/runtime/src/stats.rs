//! Counters of one plugin version. Relaxed atomics: each is exact, together they are no snapshot.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use edgeward_core::phase::Phase;
use parking_lot::Mutex;
use serde::Serialize;

use crate::failure::FailureKind;

/// Most metric names that one version may create.
const CUSTOM_MAX: usize = 64;

/// Counters of one version.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    calls: [AtomicU64; Phase::ALL.len()],
    failures: [AtomicU64; FailureKind::ALL.len()],
    pub(crate) instances: AtomicU64,
    pub(crate) live: AtomicU64,
    wall_nanos: AtomicU64,
    memory_peak: AtomicU64,
    pub(crate) log_dropped: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) decisions_reused: AtomicU64,
    pub(crate) custom_dropped: AtomicU64,
    custom: Mutex<BTreeMap<String, Custom>>,
}

/// A metric of the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Custom {
    Counter(u64),
    Distribution { count: u64, sum: f64 },
}

/// Counters of a version, as they were at one moment.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct StatsView {
    /// Calls by phase; phases without calls are left out.
    pub calls: BTreeMap<&'static str, u64>,
    /// Failures by kind; kinds without failures are left out.
    pub failures: BTreeMap<&'static str, u64>,
    /// Instances made so far.
    pub instances: u64,
    /// Instances that exist now.
    pub live_instances: u64,
    /// Wall time spent in calls, host calls included, in microseconds.
    pub call_us: u64,
    /// Largest memory of an instance, in bytes.
    pub memory_peak: u64,
    /// Log lines dropped because of `limits.log-lines`.
    pub log_lines_dropped: u64,
    /// Host calls that a missing grant refused.
    pub denied_calls: u64,
    /// Requests that were let pass by a decision kept from an earlier one.
    pub decisions_reused: u64,
    /// Changes of the plugin's own metrics dropped because of their name or number.
    pub metrics_dropped: u64,
}

impl Stats {
    pub(crate) fn call(&self, phase: Phase, time: Duration) {
        self.calls[phase as usize].fetch_add(1, Relaxed);
        self.wall_nanos
            .fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn failure(&self, kind: FailureKind) {
        self.failures[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn memory_peak(&self, bytes: u64) {
        if self.memory_peak.load(Relaxed) < bytes {
            self.memory_peak.fetch_max(bytes, Relaxed);
        }
    }

    /// Changes a metric of the plugin's own; names that are not allowed or one too many are counted as dropped.
    pub(crate) fn custom(&self, name: &str, change: Custom) {
        let valid = !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let mut custom = self.custom.lock();
        if !valid || (!custom.contains_key(name) && custom.len() >= CUSTOM_MAX) {
            self.custom_dropped.fetch_add(1, Relaxed);
            return;
        }
        match (custom.get_mut(name), change) {
            (Some(Custom::Counter(total)), Custom::Counter(more)) => *total = total.wrapping_add(more),
            (
                Some(Custom::Distribution { count, sum }),
                Custom::Distribution {
                    count: more,
                    sum: value,
                },
            ) => {
                *count += more;
                *sum += value;
            }
            (Some(_), _) => {
                self.custom_dropped.fetch_add(1, Relaxed);
            }
            (None, change) => {
                custom.insert(name.to_owned(), change);
            }
        }
    }

    pub(crate) fn custom_view(&self) -> BTreeMap<String, Custom> {
        self.custom.lock().clone()
    }

    pub(crate) fn view(&self) -> StatsView {
        let seen = |value: &AtomicU64| Some(value.load(Relaxed)).filter(|count| *count > 0);
        StatsView {
            calls: Phase::ALL
                .iter()
                .filter_map(|phase| Some((phase.name(), seen(&self.calls[*phase as usize])?)))
                .collect(),
            failures: FailureKind::ALL
                .iter()
                .filter_map(|kind| Some((kind.name(), seen(&self.failures[*kind as usize])?)))
                .collect(),
            instances: self.instances.load(Relaxed),
            live_instances: self.live.load(Relaxed),
            call_us: self.wall_nanos.load(Relaxed) / 1000,
            memory_peak: self.memory_peak.load(Relaxed),
            log_lines_dropped: self.log_dropped.load(Relaxed),
            denied_calls: self.denied.load(Relaxed),
            decisions_reused: self.decisions_reused.load(Relaxed),
            metrics_dropped: self.custom_dropped.load(Relaxed),
        }
    }
}
