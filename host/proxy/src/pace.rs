//! How long one side may let the other wait. Only time in which somebody waits counts: whoever is slow pays, not who waits for a third.

use std::{task::Context, time::Duration};

use tokio::time::Instant;

use crate::timer::Timer;

/// Watches the bytes of one direction. They are too slow when none moves for `limit` of waiting, or, on average over `limit` of waiting, fewer than
/// the least rate.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: Duration,
    /// Bytes that have to move in `limit` of waiting.
    least: u64,
    /// Set while somebody waits.
    since: Option<Instant>,
    /// Waited since the last byte.
    silent: Duration,
    /// Waited in the current span of `limit`, and moved in it.
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// `rate` is in bytes per second; 0 asks for a byte now and then only.
    pub(crate) fn new(limit: Duration, rate: u64) -> Self {
        let least = u128::from(rate).saturating_mul(limit.as_millis()) / 1000;
        Self {
            limit,
            least: u64::try_from(least).unwrap_or(u64::MAX),
            since: None,
            silent: Duration::ZERO,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// So many bytes moved; nobody waits any more, or waits anew. Does nothing to speak of where nobody waited.
    pub(crate) fn moved(&mut self, bytes: u64) {
        if self.since.is_some() {
            self.pause(Instant::now());
        }
        self.count(bytes);
    }

    /// Nobody waits for now.
    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.silent += now - since;
            self.waited += now - since;
        }
    }

    fn count(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        if bytes > 0 {
            self.silent = Duration::ZERO;
        }
    }

    /// No rate any more, from here on.
    pub(crate) fn any_rate(&mut self) {
        self.least = 0;
    }

    /// Somebody waits. True when it is too slow; else the task is woken when it may be.
    pub(crate) fn poll_slow(&mut self, timer: &mut Timer, context: &mut Context<'_>) -> bool {
        while let Some(deadline) = self.wait(Instant::now()) {
            if timer.poll(deadline, context).is_pending() {
                return false;
            }
        }
        true
    }

    /// Somebody waits: when to look again, or nothing when it is too slow.
    fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.pause(now);
        if self.silent >= self.limit || (self.waited >= self.limit && self.moved < self.least) {
            return None;
        }
        if self.waited >= self.limit {
            self.waited = Duration::ZERO;
            self.moved = 0;
        }
        self.since = Some(now);
        Some(now + (self.limit - self.silent.max(self.waited)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    /// A side that is waited for.
    struct Side {
        pace: Pace,
        now: Instant,
    }

    impl Side {
        fn new(rate: u64) -> Self {
            let now = Instant::now();
            Self {
                pace: Pace::new(LIMIT, rate),
                now,
            }
        }

        /// Waits for so long; whether that was too slow.
        fn wait(&mut self, time: Duration) -> bool {
            let slow = self.pace.wait(self.now).is_none();
            self.now += time;
            slow || self.pace.wait(self.now).is_none()
        }

        fn moved(&mut self, bytes: u64) {
            self.pace.pause(self.now);
            self.pace.count(bytes);
        }
    }

    #[test]
    fn silence_is_too_slow_after_the_limit_and_not_before() {
        let mut side = Side::new(0);
        for _ in 0..5 {
            assert!(!side.wait(LIMIT - Duration::from_millis(1)));
            side.moved(1);
        }
        assert!(side.wait(LIMIT));
    }

    #[test]
    fn a_trickle_is_too_slow_where_there_is_a_least_rate() {
        let is_slow = |mut side: Side, bytes: u64| {
            (0..30).any(|_| {
                let slow = side.wait(SECOND);
                side.moved(bytes);
                slow
            })
        };
        assert!(is_slow(Side::new(100), 99));
        assert!(!is_slow(Side::new(100), 120));
        let mut any = Side::new(100);
        any.pace.any_rate();
        assert!(!is_slow(any, 1));
    }

    #[test]
    fn what_moved_long_ago_is_no_credit_and_time_without_waiting_does_not_count() {
        let mut side = Side::new(100);
        side.moved(1 << 30);
        for _ in 0..9 {
            assert!(!side.wait(SECOND));
            side.moved(1);
            side.now += LIMIT; // nobody waits
        }
        let mut seconds = 0;
        while !side.wait(SECOND) {
            side.moved(1);
            seconds += 1;
        }
        assert!((10..=11).contains(&seconds), "{seconds}");
    }

    #[test]
    fn the_time_to_look_again_is_when_it_may_be_too_slow() {
        let mut side = Side::new(100);
        let start = side.now;
        assert_eq!(side.pace.wait(start), Some(start + LIMIT));
        side.now += 4 * SECOND;
        side.moved(50);
        // silent from here, but the span began before
        assert_eq!(side.pace.wait(side.now), Some(start + LIMIT));
        assert_eq!(side.pace.wait(start + LIMIT), None);
    }
}
