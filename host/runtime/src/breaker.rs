//! The breaker of a plugin version.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

/// Stops calling a version that keeps failing. After `open_time` one call may try again.
pub(crate) struct Breaker {
    settings: edgeward_core::config::Breaker,
    born: Instant,
    failures: AtomicU32,
    /// Milliseconds after `born` until which it is open; 0 when closed.
    open_until: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(settings: edgeward_core::config::Breaker) -> Self {
        Self {
            settings,
            born: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// True when a call may be made. While open, one call per `open_time` may.
    pub(crate) fn admits(&self) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now();
        let next = now
            + u64::try_from(self.settings.open_time.0.as_millis())
                .unwrap_or(u64::MAX / 2)
                .max(1);
        now >= until
            && self
                .open_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(crate) fn success(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure; true when it opened the breaker.
    pub(crate) fn failure(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.settings.failures == 0 || failures < self.settings.failures {
            return false;
        }
        let until = self.now()
            + u64::try_from(self.settings.open_time.0.as_millis())
                .unwrap_or(u64::MAX / 2)
                .max(1);
        self.open_until.swap(until, Ordering::Relaxed) == 0
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) != 0
    }
}
