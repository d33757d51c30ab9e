//! What an arm of a stage has served: requests, failures, and how long its responses took.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Times below 2 to the power of this are one class, in microseconds.
const SHORT: u32 = 6;
/// Times from 2 to the power of this on are one class, in microseconds: 67 s.
const LONG: u32 = 26;
/// Classes that a doubling of the time is divided into, as a power of 2: their bounds are at most an eighth apart.
const STEP: u32 = 3;
const CLASSES: usize = ((LONG - SHORT) << STEP) as usize + 2;

/// Counts of an arm, which all workers add to.
#[derive(Debug)]
pub struct ArmStats {
    requests: AtomicU64,
    errors: AtomicU64,
    plugin_failures: AtomicU64,
    times: [AtomicU64; CLASSES],
}

impl Default for ArmStats {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            plugin_failures: AtomicU64::default(),
            times: [const { AtomicU64::new(0) }; CLASSES],
        }
    }
}

/// What an arm has served so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ArmCounts {
    /// Requests that ended.
    pub requests: u64,
    /// Of them, answered with 5xx.
    pub errors: u64,
    /// Of them, refused because a plugin failed.
    pub plugin_failures: u64,
    /// By time to the response head, in classes that become longer with the time.
    #[serde(skip)]
    times: Vec<u64>,
}

impl ArmStats {
    /// Adds a request that ended. `took` is the time to the response head.
    pub fn record(&self, status: u16, plugin_failed: bool, took: Duration) {
        self.requests.fetch_add(1, Relaxed);
        if status >= 500 {
            self.errors.fetch_add(1, Relaxed);
        }
        if plugin_failed {
            self.plugin_failures.fetch_add(1, Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.times.get(class_of(micros)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// What was added so far.
    #[must_use]
    pub fn counts(&self) -> ArmCounts {
        ArmCounts {
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            plugin_failures: self.plugin_failures.load(Relaxed),
            times: self.times.iter().map(|count| count.load(Relaxed)).collect(),
        }
    }
}

impl ArmCounts {
    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let times = self.times.iter().enumerate();
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            plugin_failures: self.plugin_failures.saturating_sub(before.plugin_failures),
            times: times
                .map(|(class, count)| count.saturating_sub(before.times.get(class).copied().unwrap_or(0)))
                .collect(),
        }
    }

    /// The 99th percentile of times to the response head in milliseconds, to an eighth of it; `None` without requests. Times above 67 s count as 67 s.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an eighth is all that is promised")]
    pub fn p99_ms(&self) -> Option<f64> {
        let total: u64 = self.times.iter().sum();
        let mut left = total.saturating_mul(99).div_ceil(100);
        for (class, count) in self.times.iter().enumerate() {
            if *count > 0 && *count >= left {
                // as if times were spread evenly over the class
                let [low, high] = bounds_of(class);
                let micros = low as f64 + (high - low) as f64 * left as f64 / *count as f64;
                return Some(micros / 1000.0);
            }
            left -= count;
        }
        None
    }

    /// About how many requests took longer than a time in milliseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an eighth is all that is promised")]
    pub fn slower_than(&self, ms: f64) -> f64 {
        let micros = ms * 1000.0;
        let counts = self.times.iter().enumerate();
        counts.fold(0.0, |slower, (class, count)| {
            let [low, high] = bounds_of(class).map(|bound| bound as f64);
            // as if times were spread evenly over the class
            let part = if micros <= low {
                1.0
            } else {
                ((high - micros) / (high - low).max(1.0)).max(0.0)
            };
            slower + part * *count as f64
        })
    }
}

/// Position of the class of a time.
fn class_of(micros: u64) -> usize {
    if micros < 1 << SHORT {
        return 0;
    }
    if micros >= 1 << LONG {
        return CLASSES - 1;
    }
    let octave = micros.ilog2();
    let step = (micros >> (octave - STEP)) & ((1 << STEP) - 1);
    1 + ((octave - SHORT) << STEP) as usize + usize::try_from(step).unwrap_or(0)
}

/// From where to where a class goes, in microseconds.
fn bounds_of(class: usize) -> [u64; 2] {
    let Some(index) = class.checked_sub(1) else {
        return [0, 1 << SHORT];
    };
    let octave = SHORT + u32::try_from(index >> STEP).unwrap_or(0);
    if octave >= LONG {
        return [1 << LONG; 2];
    }
    let step = (index as u64) & ((1 << STEP) - 1);
    [step, step + 1].map(|step| ((1 << STEP) + step) << (octave - STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = Duration>) -> ArmCounts {
        let stats = ArmStats::default();
        for took in times {
            stats.record(200, false, took);
        }
        stats.counts()
    }

    #[test]
    fn classes_follow_one_another_and_hold_what_is_in_them() {
        let mut end = 0;
        for class in 0..CLASSES {
            let [low, high] = bounds_of(class);
            assert_eq!(low, end, "class {class}");
            assert_eq!(class_of(low), class);
            if class < CLASSES - 1 {
                assert_eq!(class_of(high - 1), class);
                assert!(
                    class == 0 || (high - low) * 8 <= low,
                    "class {class}: {low} to {high}"
                );
            }
            end = high;
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn counts_are_told_apart_by_time() {
        let stats = ArmStats::default();
        for ms in [1, 3, 3, 60] {
            stats.record(200, false, Duration::from_millis(ms));
        }
        let before = stats.counts();
        assert_eq!(before.requests, 4);
        stats.record(503, true, Duration::from_secs(100));
        let after = stats.counts().since(&before);
        assert_eq!((after.requests, after.errors, after.plugin_failures), (1, 1, 1));
        assert_eq!(after.p99_ms(), Some(67_108.864));
        assert_eq!(ArmCounts::default().p99_ms(), None);
    }

    #[test]
    fn a_percentile_is_near_what_it_is() {
        for ms in [0.1, 0.9, 4.9, 10.1, 900.0, 1020.0, 29_000.0] {
            let others = [Duration::from_micros(70); 98];
            let slow = [Duration::from_secs_f64(ms / 1000.0); 2];
            let told = of(others.into_iter().chain(slow)).p99_ms().unwrap();
            assert!((told / ms - 1.0).abs() <= 0.125, "{ms}: {told}");
        }
        let counts = of([10, 10, 100, 1000].map(Duration::from_millis));
        for (ms, slower) in [
            (1.0, 4.0),
            (50.0, 2.0),
            (500.0, 1.0),
            (5000.0, 0.0),
            (100_000.0, 0.0),
        ] {
            assert!((counts.slower_than(ms) - slower).abs() < 0.001, "{ms}");
        }
        // one of a hundred is above it
        let slow = [Duration::from_secs(5)];
        let told = of([Duration::from_millis(1); 99].into_iter().chain(slow)).p99_ms();
        assert!(told.unwrap() < 1.2, "{told:?}");
    }
}
