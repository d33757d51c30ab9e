//! Whether a request may be sent again: safety (`may_repeat`) and the budget that keeps retries from piling up on a failing upstream (`Budget`).
//! Decisions only; the loop is in the proxy.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use http::Method;

/// How an attempt failed, as far as safety is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not a byte of the request was written; the request is still whole.
    NotSent,
    /// Sent at least in part; the connection ended without a byte of a response.
    NoAnswer,
    /// Answered with a status that asks for a retry.
    Status,
}

/// Whether repeating is safe (RFC 9110 section 9.2.2): nothing was sent, or the method is idempotent and the body is empty or still whole in memory.
#[must_use]
pub fn may_repeat(failure: Failure, method: &Method, body_whole: bool) -> bool {
    match failure {
        Failure::NotSent => true,
        Failure::NoAnswer | Failure::Status => method.is_idempotent() && body_whole,
    }
}

/// Seconds of the budget's window.
const WINDOW: u64 = 10;

/// Retries that a window always has if the share is not zero: a share of nearly no requests would be none at all, and a quiet service could never retry.
pub const MIN_RETRIES: u64 = 10;

/// Retries as a share of the requests of the last ten seconds (at least [`MIN_RETRIES`] in that time). Lock-free; counts of concurrent callers at the
/// turn of a second may be off by a few.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    slots: [Slot; WINDOW as usize],
}

#[derive(Debug, Default)]
struct Slot {
    /// Second that the counts belong to, plus one; 0 is unused.
    second: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

impl Budget {
    /// `share` of 0 (or anything that is not a positive number) allows no retries.
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self {
            share: if share > 0.0 { share } else { 0.0 },
            slots: Default::default(),
        }
    }

    /// Counts a request (not a retry of one). `now` is the time since any fixed moment.
    pub fn request(&self, now: Duration) {
        if self.share > 0.0 {
            self.slot(now).requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one retry out of the budget if there is one.
    pub fn try_retry(&self, now: Duration) -> bool {
        if self.share <= 0.0 {
            return false;
        }
        let current = now.as_secs() + 1;
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for slot in &self.slots {
            let second = slot.second.load(Ordering::Relaxed);
            if second != 0 && current.saturating_sub(second) < WINDOW {
                requests += u64::from(slot.requests.load(Ordering::Relaxed));
                retries += u64::from(slot.retries.load(Ordering::Relaxed));
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of ten seconds are far below 2^52"
        )]
        let allowed = retries < MIN_RETRIES || ((retries + 1) as f64) <= self.share * requests as f64;
        if allowed {
            self.slot(now).retries.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    fn slot(&self, now: Duration) -> &Slot {
        let second = now.as_secs();
        let slot = &self.slots[(second % WINDOW) as usize];
        let seen = slot.second.load(Ordering::Relaxed);
        if seen != second + 1
            && slot
                .second
                .compare_exchange(seen, second + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            slot.requests.store(0, Ordering::Relaxed);
            slot.retries.store(0, Ordering::Relaxed);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_requests_are_repeated() {
        for (failure, method, whole, expected) in [
            (Failure::NotSent, Method::POST, false, true),
            (Failure::NoAnswer, Method::POST, true, false),
            (Failure::NoAnswer, Method::GET, true, true),
            (Failure::NoAnswer, Method::PUT, true, true),
            (Failure::NoAnswer, Method::PUT, false, false),
            (Failure::Status, Method::DELETE, true, true),
            (Failure::Status, Method::PATCH, true, false),
        ] {
            assert_eq!(
                may_repeat(failure, &method, whole),
                expected,
                "{failure:?} {method} {whole}"
            );
        }
    }

    /// Runs `rate` requests a second of which every one wants a retry; returns retries made in each second.
    fn simulate(budget: &Budget, seconds: std::ops::Range<u64>, rate: u32) -> Vec<u32> {
        seconds
            .map(|second| {
                (0..rate)
                    .filter(|request| {
                        let now = Duration::from_secs(second) + Duration::from_secs(1) * *request / rate;
                        budget.request(now);
                        budget.try_retry(now)
                    })
                    .count() as u32
            })
            .collect()
    }

    #[test]
    fn a_dead_upstream_gets_its_share_and_no_more() {
        let made = simulate(&Budget::new(0.2), 0..60, 1000);
        let total: u32 = made.iter().sum();
        assert!((11_900..=12_110).contains(&total), "{total}");
        assert!(
            made.iter().skip(10).all(|made| (150..=260).contains(made)),
            "{made:?}"
        );
    }

    #[test]
    fn a_quiet_service_can_still_retry() {
        let made = simulate(&Budget::new(0.2), 0..30, 1);
        assert_eq!(made.iter().sum::<u32>(), 30);
    }

    #[test]
    fn what_was_not_used_is_forgotten_after_the_window() {
        let budget = Budget::new(0.5);
        for _ in 0..1000 {
            budget.request(Duration::ZERO);
        }
        assert!((0..500).all(|_| budget.try_retry(Duration::from_secs(9))));
        assert!(!budget.try_retry(Duration::from_secs(9)));
        // Ten seconds after the requests only the retries are still in the window.
        assert!(!budget.try_retry(Duration::from_secs(10)));
        assert!(budget.try_retry(Duration::from_secs(19)));
    }

    #[test]
    fn a_share_of_zero_or_nonsense_allows_none() {
        for share in [0.0, -1.0, f64::NAN] {
            assert!(
                simulate(&Budget::new(share), 0..3, 10)
                    .iter()
                    .all(|made| *made == 0),
                "{share}"
            );
        }
    }
}
