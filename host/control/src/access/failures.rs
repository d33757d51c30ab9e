//! Failed attempts to be let in. Whoever guesses is slowed down, then not listened to for a while.
//!
//! Both counts are kept for the address that attempts come from, never for a token alone: else anybody could shut its holder out by failing in its name. From an
//! address, attempts at one token are counted apart from those at others, so that a program with an old token does not shut its neighbours out at once.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;

/// Addresses, and pairs of address and token, that are remembered; the ones that were quiet longest are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Failures of an address that are allowed at once, and the time after which one more is.
const BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(2);
/// Failures with one token from one address after which that pair is not listened to, and for how long at first: twice as long with each more.
const LOCK_AFTER: u32 = 10;
const LOCK_FIRST: Duration = Duration::from_secs(1);
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// A pair that was quiet for that long begins anew.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// What failed lately.
pub(crate) struct Failures(Mutex<Tables>);

struct Tables {
    /// When the allowance of an address is whole again.
    addresses: LruCache<String, Instant>,
    pairs: LruCache<(String, String), Pair>,
}

struct Pair {
    failures: u32,
    last: Instant,
    locked_until: Option<Instant>,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Tables {
            addresses: LruCache::new(REMEMBERED),
            pairs: LruCache::new(REMEMBERED),
        }))
    }

    /// Time to wait before another attempt from an address at a token is listened to; `None` to go on.
    pub(crate) fn wait(&self, address: &str, token: &str, now: Instant) -> Option<Duration> {
        let mut tables = self.0.lock();
        let allowance = BURST * REFILL;
        let whole = tables.addresses.get(address).copied();
        let of_address = whole.and_then(|whole| whole.checked_duration_since(now)?.checked_sub(allowance));
        let pair = tables.pairs.get(&(address.to_owned(), token.to_owned()));
        let of_pair = pair.and_then(|pair| pair.locked_until?.checked_duration_since(now));
        of_address.max(of_pair).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure. True when the pair is not listened to from now on.
    pub(crate) fn failed(&self, address: &str, token: &str, now: Instant) -> bool {
        let mut tables = self.0.lock();
        let whole = tables.addresses.get_or_insert_mut(address.to_owned(), || now);
        *whole = (*whole).max(now) + REFILL;
        let pair = tables
            .pairs
            .get_or_insert_mut((address.to_owned(), token.to_owned()), || Pair {
                failures: 0,
                last: now,
                locked_until: None,
            });
        if now.saturating_duration_since(pair.last) > FORGET {
            pair.failures = 0;
        }
        pair.failures = pair.failures.saturating_add(1);
        pair.last = now;
        let Some(more) = pair.failures.checked_sub(LOCK_AFTER) else {
            return false;
        };
        let time = LOCK_FIRST.saturating_mul(1 << more.min(20)).min(LOCK_MAX);
        pair.locked_until = Some(now + time);
        true
    }

    /// Forgets the failures of a pair: its holder was let in.
    pub(crate) fn succeeded(&self, address: &str, token: &str) {
        self.0.lock().pairs.pop(&(address.to_owned(), token.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pair_is_locked_after_ten_failures_for_longer_and_longer() {
        let (failures, start) = (Failures::new(), Instant::now());
        for _ in 0..9 {
            assert!(!failures.failed("a", "token", start));
        }
        assert_eq!(failures.wait("a", "token", start), None);
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert!(failures.failed("a", "token", now));
            assert_eq!(failures.wait("a", "token", now), Some(expected * SECOND));
            now += expected * SECOND;
            assert_eq!(failures.wait("a", "token", now), None);
        }
    }

    #[test]
    fn neither_other_addresses_nor_other_tokens_are_locked_out() {
        let (failures, now) = (Failures::new(), Instant::now());
        for _ in 0..12 {
            failures.failed("attacker", "token", now);
        }
        assert!(failures.wait("attacker", "token", now).is_some());
        assert_eq!(failures.wait("holder", "token", now), None);
        assert_eq!(failures.wait("attacker", "other", now), None);
    }

    #[test]
    fn an_address_that_tries_many_tokens_is_slowed_down() {
        let (failures, now) = (Failures::new(), Instant::now());
        for attempt in 0..30 {
            assert_eq!(failures.wait("a", "x", now), None, "{attempt}");
            failures.failed("a", &format!("token-{attempt}"), now);
        }
        failures.failed("a", "one-more", now);
        assert_eq!(failures.wait("a", "x", now), Some(REFILL));
        assert_eq!(failures.wait("a", "x", now + REFILL), None);
        assert_eq!(failures.wait("b", "x", now), None);
    }

    #[test]
    fn success_and_an_hour_of_quiet_begin_anew() {
        let (failures, now) = (Failures::new(), Instant::now());
        for _ in 0..9 {
            failures.failed("a", "token", now);
        }
        failures.succeeded("a", "token");
        assert!(!failures.failed("a", "token", now));
        for _ in 0..8 {
            failures.failed("a", "token", now);
        }
        assert!(!failures.failed("a", "token", now + FORGET + SECOND));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (failures, now) = (Failures::new(), Instant::now());
        for number in 0..5000 {
            failures.failed(&number.to_string(), "token", now);
        }
        let tables = failures.0.lock();
        assert_eq!((tables.addresses.len(), tables.pairs.len()), (4096, 4096));
    }
}
