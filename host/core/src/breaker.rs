//! Health as state machines without clocks: `Breaker` leaves something out for a while after failures in a row (passive health of endpoints), and
//! `CheckRun` turns results of active checks into healthy and unhealthy. Times are spans since any fixed moment the caller chose.

use std::time::Duration;

/// The time of being left out grows up to this multiple of the first one.
pub const MAX_FACTOR: u32 = 10;

/// Opens after `limit` failures in a row, for `base`, then 2, 4, 8 and at most [`MAX_FACTOR`] times that. After the time is over it is on probation:
/// the first failure opens it again, a success clears it. Repeats are forgotten when it stayed closed for `MAX_FACTOR * base`.
#[derive(Clone, Debug)]
pub struct Breaker {
    limit: u32,
    base: Duration,
    failures: u32,
    repeats: u32,
    open_until: Option<Duration>,
}

impl Breaker {
    /// A closed breaker. `limit` 0 never opens.
    #[must_use]
    pub const fn new(limit: u32, base: Duration) -> Self {
        Self {
            limit,
            base,
            failures: 0,
            repeats: 0,
            open_until: None,
        }
    }

    /// Whether it is open at `now`.
    #[must_use]
    pub fn is_open(&self, now: Duration) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// Records a success. Ignored while open: it belongs to something that began before.
    pub fn success(&mut self, now: Duration) {
        if !self.is_open(now) {
            self.failures = 0;
        }
    }

    /// Records a failure. Returns until when it is open if this failure opened it. `may_open` is asked only when it would open; a `false` keeps it
    /// closed for now (the last usable endpoint is never left out) and the next failure asks again.
    pub fn failure(&mut self, now: Duration, may_open: impl FnOnce() -> bool) -> Option<Duration> {
        if self.limit == 0 || self.is_open(now) {
            return None;
        }
        self.failures = self.failures.saturating_add(1).min(self.limit);
        if self.failures < self.limit || !may_open() {
            return None;
        }
        if self
            .open_until
            .is_none_or(|until| now.saturating_sub(until) > self.base.saturating_mul(MAX_FACTOR))
        {
            self.repeats = 0;
        }
        let factor = 1_u32
            .checked_shl(self.repeats)
            .map_or(MAX_FACTOR, |factor| factor.min(MAX_FACTOR));
        let until = now.saturating_add(self.base.saturating_mul(factor));
        self.repeats = self.repeats.saturating_add(1).min(31);
        self.failures = self.limit - 1; // probation
        self.open_until = Some(until);
        Some(until)
    }
}

/// Results of active checks of one endpoint. Healthy until proven otherwise.
#[derive(Clone, Debug)]
pub struct CheckRun {
    unhealthy_after: u32,
    healthy_after: u32,
    healthy: bool,
    against: u32,
}

impl CheckRun {
    /// Begins healthy. Limits of 0 count as 1.
    #[must_use]
    pub fn new(unhealthy_after: u32, healthy_after: u32) -> Self {
        Self {
            unhealthy_after: unhealthy_after.max(1),
            healthy_after: healthy_after.max(1),
            healthy: true,
            against: 0,
        }
    }

    /// Records one result; returns the new state if it changed.
    pub fn record(&mut self, ok: bool) -> Option<bool> {
        if ok == self.healthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.healthy {
            self.unhealthy_after
        } else {
            self.healthy_after
        };
        if self.against < needed {
            return None;
        }
        self.healthy = ok;
        self.against = 0;
        Some(ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn opens_only_after_failures_in_a_row() {
        let mut breaker = Breaker::new(3, secs(5));
        for second in 0..20 {
            assert_eq!(breaker.failure(secs(second), || true), None);
            assert_eq!(breaker.failure(secs(second), || true), None);
            breaker.success(secs(second));
        }
        breaker.failure(secs(20), || true);
        breaker.failure(secs(20), || true);
        assert_eq!(breaker.failure(secs(20), || true), Some(secs(25)));
        assert!(breaker.is_open(secs(24)) && !breaker.is_open(secs(25)));
    }

    #[test]
    fn time_doubles_up_to_ten_times_and_is_forgotten_after_calm() {
        let mut breaker = Breaker::new(1, secs(5));
        let mut now = Duration::ZERO;
        let mut spans = Vec::new();
        for _ in 0..6 {
            let until = breaker.failure(now, || true).unwrap();
            spans.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(spans, [5, 10, 20, 40, 50, 50]);
        now += secs(51);
        assert_eq!(breaker.failure(now, || true), Some(now + secs(5)));
    }

    #[test]
    fn on_probation_one_failure_is_enough_and_one_success_clears() {
        let mut breaker = Breaker::new(3, secs(5));
        for _ in 0..3 {
            breaker.failure(secs(0), || true);
        }
        assert_eq!(breaker.failure(secs(5), || true), Some(secs(15)));
        breaker.success(secs(14)); // still open: late answer, ignored
        breaker.success(secs(15));
        assert_eq!(breaker.failure(secs(15), || true), None);
        assert_eq!(breaker.failure(secs(15), || true), None);
        assert_eq!(breaker.failure(secs(15), || true), Some(secs(35)));
    }

    #[test]
    fn a_veto_keeps_it_closed_and_the_next_failure_asks_again() {
        let mut breaker = Breaker::new(2, secs(5));
        breaker.failure(secs(0), || unreachable!("asked only at the limit"));
        assert_eq!(breaker.failure(secs(0), || false), None);
        assert_eq!(breaker.failure(secs(1), || false), None);
        assert_eq!(breaker.failure(secs(2), || true), Some(secs(7)));
    }

    #[test]
    fn zero_failures_turns_it_off() {
        let mut breaker = Breaker::new(0, secs(5));
        for second in 0..100 {
            assert_eq!(breaker.failure(secs(second), || true), None);
        }
    }

    #[test]
    fn checks_need_their_runs_in_both_directions() {
        let mut run = CheckRun::new(3, 2);
        let changes: Vec<_> = [
            false, false, true, false, false, false, true, false, true, true, true,
        ]
        .into_iter()
        .map(|ok| run.record(ok))
        .collect();
        let mut expected = [None; 11];
        expected[5] = Some(false);
        expected[9] = Some(true);
        assert_eq!(changes, expected);
    }
}
