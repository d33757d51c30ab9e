//! When a certificate is ordered, renewed, asked about. Times are milliseconds since 1970. No I/O.

use serde::{Deserialize, Serialize};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Waits after the first failure, the second, ...; the last is for all that follow. Let's Encrypt takes five failures an hour for a name.
const WAITS: [i64; 8] = [
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    45 * MINUTE,
    90 * MINUTE,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
];
/// No wait is longer: times beyond it come from a clock that was wrong then.
const WAIT_MAX: i64 = DAY;
/// Certificates that hold for less are renewed at half their time.
const SHORT_LIVED: i64 = 10 * DAY;
/// How often the authority is asked for a better time to renew (RFC 9773 section 4.3), where it does not say or says too little or much.
const ASK: (i64, i64) = (MINUTE, DAY);
/// After an authority did not answer that, or cannot.
const ASK_AFTER_FAILURE: i64 = 6 * HOUR;

/// How far an order has come. Kept on disk: a gateway that is started again and again does not ask the authority each time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Progress {
    /// What is ordered, as text. Failures of another order do not count.
    pub(crate) of: String,
    /// Attempts that failed since the last success.
    pub(crate) failures: u32,
    /// Not before this time.
    pub(crate) next_attempt: i64,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
    /// When the certificate that is there is renewed, once that was decided.
    pub(crate) renew_at: Option<i64>,
    /// When the authority is asked for a better time.
    pub(crate) ask_at: i64,
    /// Whether the authority has an opinion on that: then it is told which certificate an order replaces.
    pub(crate) ari: bool,
    /// Somebody asked for a new certificate now.
    pub(crate) forced: bool,
    /// When the attempt that is under way began.
    #[serde(skip)]
    pub(crate) under_way_since: Option<i64>,
}

/// What a certificate that is there says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

/// What to do for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Order a certificate now.
    Order,
    /// Ask the authority when to renew.
    Ask,
    /// Nothing until this time.
    Wait(i64),
}

impl Progress {
    /// Of an order that has not begun.
    pub(crate) fn new(of: String) -> Self {
        Self {
            of,
            ..Self::default()
        }
    }

    /// What to do now. `current` is the certificate that is there, if it is the one that is ordered.
    pub(crate) fn step(&self, current: Option<Validity>, now: i64) -> Step {
        let order_at = self.order_at(current, now);
        if now >= order_at {
            return Step::Order;
        }
        match current {
            Some(current) if now < self.renew_at(current) => {
                let ask_at = sane(self.ask_at, ASK.1, now);
                if now >= ask_at {
                    Step::Ask
                } else {
                    Step::Wait(order_at.min(ask_at))
                }
            }
            _ => Step::Wait(order_at),
        }
    }

    /// When a certificate is ordered next, as things are; now, when it is time.
    pub(crate) fn order_at(&self, current: Option<Validity>, now: i64) -> i64 {
        if self.forced {
            return now;
        }
        let next_attempt = sane(self.next_attempt, WAIT_MAX, now);
        let renew_at = current.map_or(now, |current| self.renew_at(current));
        renew_at.max(next_attempt).max(now)
    }

    fn renew_at(&self, current: Validity) -> i64 {
        self.renew_at
            .unwrap_or_else(|| current.renew_at(0.0))
            .min(current.latest())
    }

    /// An attempt begins: a gateway that is killed in it waits as after one that failed.
    pub(crate) fn begun(&mut self, now: i64) {
        self.forced = false;
        self.under_way_since = Some(now);
        self.next_attempt = now + self.wait();
    }

    /// The authority is about to be asked when to renew: not again before it had time to answer.
    pub(crate) fn asked(&mut self, now: i64) {
        self.ask_at = now + ASK_AFTER_FAILURE;
    }

    /// An attempt failed; `current` is the certificate that is there. The authority wants to be left alone for `least` milliseconds. `jitter` is from 0
    /// to 1.
    pub(crate) fn failed(
        &mut self,
        error: String,
        current: Option<Validity>,
        least: i64,
        now: i64,
        jitter: f64,
    ) {
        let mut wait = self.wait();
        wait += part(wait / 5, jitter);
        if let Some(current) = current {
            // the shorter it still holds, the sooner
            wait = wait.min(((current.not_after - now) / 10).max(MINUTE));
        }
        self.failures = self.failures.saturating_add(1);
        self.next_attempt = now + wait.max(least).min(WAIT_MAX);
        self.error = Some(error);
    }

    fn wait(&self) -> i64 {
        *WAITS.get(self.failures as usize).unwrap_or(&(12 * HOUR))
    }

    /// There is a new certificate.
    pub(crate) fn succeeded(&mut self, new: Validity, now: i64, jitter: f64) {
        *self = Self {
            renew_at: Some(new.renew_at(jitter)),
            // whatever clocks and authorities say, not one after the other
            next_attempt: now + ((new.not_after - new.not_before) / 4).clamp(0, HOUR),
            // authorities have an opinion at once, and change it rarely
            ask_at: now + ((new.not_after - new.not_before) / 8).clamp(0, MINUTE),
            ari: self.ari,
            forced: self.forced,
            ..Self::new(std::mem::take(&mut self.of))
        };
    }

    /// The authority suggests to renew between `start` and `end`, and to ask again after `again` milliseconds. A time that was chosen in this window before
    /// stays; the authority says so of one that is over: renew now.
    pub(crate) fn suggested(&mut self, (start, end): (i64, i64), again: i64, now: i64, jitter: f64) {
        self.ari = true;
        self.ask_at = now + again.clamp(ASK.0, ASK.1);
        let inside = self.renew_at.is_some_and(|at| (start..=end).contains(&at));
        if !inside {
            self.renew_at = Some(start + part((end - start).max(0), jitter));
        }
    }

    /// The authority did not say when to renew.
    pub(crate) fn not_suggested(&mut self, current: Validity, now: i64, jitter: f64) {
        self.ask_at = now + ASK_AFTER_FAILURE;
        self.renew_at.get_or_insert_with(|| current.renew_at(jitter));
    }
}

impl Validity {
    /// When a tenth of the time is left: whatever the authority says, it is renewed then.
    fn latest(self) -> i64 {
        self.not_after - self.not_after.saturating_sub(self.not_before).max(0) / 10
    }

    /// When two thirds of the time are over, or half of a short one; `jitter` from 0 to 1 makes it earlier by up to a thirtieth, so that certificates
    /// which were ordered together are not renewed together for ever.
    fn renew_at(self, jitter: f64) -> i64 {
        let whole = self.not_after.saturating_sub(self.not_before).max(0);
        let rest = if whole < SHORT_LIVED { whole / 2 } else { whole / 3 };
        self.not_after - rest - part(whole / 30, jitter)
    }
}

/// A time, or now where it is further away than it can be: it comes from a clock that was wrong.
fn sane(time: i64, longest: i64, now: i64) -> i64 {
    if time.saturating_sub(now) > longest {
        now
    } else {
        time
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a random part of a time: to the millisecond is more than enough"
)]
fn part(time: i64, of_one: f64) -> i64 {
    (time as f64 * of_one.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: Validity = Validity {
        not_before: 0,
        not_after: 90 * DAY,
    };

    #[test]
    fn a_certificate_that_is_missing_is_ordered_at_once_and_after_failures_later_and_later() {
        let mut progress = Progress::new("a".to_owned());
        assert_eq!(progress.step(None, 0), Step::Order);
        let (mut now, mut in_first_hour) = (0, 1);
        for wait in WAITS.into_iter().chain([12 * HOUR; 3]) {
            progress.failed("no".to_owned(), None, 0, now, 0.0);
            assert_eq!(progress.step(None, now), Step::Wait(now + wait));
            now += wait;
            in_first_hour += u32::from(now < HOUR);
            assert_eq!(progress.step(None, now), Step::Order);
        }
        assert!(in_first_hour <= 5, "{in_first_hour}");
        progress.failed("no".to_owned(), None, 0, 0, 1.0);
        assert_eq!(progress.next_attempt, 12 * HOUR + 12 * HOUR / 5);
    }

    #[test]
    fn without_a_suggestion_it_is_renewed_when_two_thirds_are_over_or_half_of_few_days() {
        let mut progress = Progress::new("a".to_owned());
        progress.succeeded(QUARTER, 0, 0.0);
        assert_eq!(progress.renew_at, Some(60 * DAY));
        assert_eq!(progress.step(Some(QUARTER), 0), Step::Wait(MINUTE));
        assert_eq!(progress.step(Some(QUARTER), MINUTE), Step::Ask);
        progress.not_suggested(QUARTER, MINUTE, 0.0);
        assert_eq!(
            progress.step(Some(QUARTER), MINUTE),
            Step::Wait(MINUTE + ASK_AFTER_FAILURE)
        );
        progress.ask_at = 60 * DAY;
        assert_eq!(progress.step(Some(QUARTER), 60 * DAY - 1), Step::Wait(60 * DAY));
        assert_eq!(progress.step(Some(QUARTER), 60 * DAY), Step::Order);
        let week = Validity {
            not_before: 0,
            not_after: 6 * DAY,
        };
        progress.succeeded(week, 0, 0.0);
        assert_eq!(progress.renew_at, Some(3 * DAY));
        progress.succeeded(QUARTER, 0, 1.0);
        assert_eq!(progress.renew_at, Some(57 * DAY));
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_and_does_not_ask_in_between() {
        let mut progress = Progress::new("a".to_owned());
        progress.succeeded(QUARTER, 0, 0.0);
        let now = 60 * DAY;
        progress.failed("no".to_owned(), Some(QUARTER), 0, now, 0.0);
        assert_eq!(progress.step(Some(QUARTER), now), Step::Wait(now + MINUTE));
        assert_eq!(progress.step(Some(QUARTER), now + MINUTE), Step::Order);
    }

    #[test]
    fn a_suggested_time_is_chosen_once_and_again_when_the_window_moves() {
        let mut progress = Progress::new("a".to_owned());
        progress.succeeded(QUARTER, 0, 0.0);
        progress.suggested((50 * DAY, 52 * DAY), 6 * HOUR, 0, 0.5);
        assert_eq!(progress.renew_at, Some(51 * DAY));
        progress.suggested((50 * DAY, 52 * DAY), 6 * HOUR, 0, 0.9);
        assert_eq!(progress.renew_at, Some(51 * DAY), "still inside");
        // revoked: renew now
        progress.suggested((-2 * DAY, -DAY), 0, DAY, 0.5);
        assert_eq!(progress.step(Some(QUARTER), DAY), Step::Order);
        assert_eq!(progress.ask_at, DAY + MINUTE, "not more often than that");
        progress.suggested((DAY, 2 * DAY), i64::MAX / 2, 0, 0.0);
        assert_eq!(progress.ask_at, DAY);
    }

    #[test]
    fn a_clock_that_was_wrong_once_stops_nothing() {
        let year_2038 = 2_145_916_800_000;
        let mut progress = Progress::new("a".to_owned());
        progress.failed("no".to_owned(), None, 0, year_2038, 0.0);
        assert_eq!(progress.step(None, 0), Step::Order);
        progress.succeeded(QUARTER, year_2038, 0.0);
        assert_eq!(progress.step(Some(QUARTER), 0), Step::Ask);
        // a clock that is ahead makes new certificates look old
        let now = 80 * DAY;
        progress.succeeded(QUARTER, now, 0.0);
        assert_eq!(progress.step(Some(QUARTER), now), Step::Wait(now + HOUR));
    }

    #[test]
    fn whatever_the_authority_suggests_it_is_renewed_before_it_ends_and_failures_then_wait_less() {
        let mut progress = Progress::new("a".to_owned());
        progress.succeeded(QUARTER, 0, 0.0);
        progress.suggested((100 * DAY, 101 * DAY), HOUR, 2 * HOUR, 0.0);
        assert_eq!(progress.step(Some(QUARTER), 81 * DAY), Step::Order);
        let day = Validity {
            not_before: 0,
            not_after: DAY,
        };
        for _ in 0..12 {
            progress.failed("no".to_owned(), Some(day), 0, 14 * HOUR, 1.0);
        }
        assert_eq!(progress.next_attempt, 15 * HOUR);
    }

    #[test]
    fn an_authority_that_wants_to_be_left_alone_is_for_a_day_at_most() {
        let mut progress = Progress::new("a".to_owned());
        for (least, waited) in [(1, MINUTE), (3 * HOUR, 3 * HOUR), (i64::MAX, DAY)] {
            progress = Progress::new(progress.of);
            progress.failed("no".to_owned(), Some(QUARTER), least, 85 * DAY, 0.0);
            let until = 85 * DAY + waited;
            assert_eq!(progress.step(Some(QUARTER), 85 * DAY), Step::Wait(until));
        }
        // somebody who knows better
        progress.forced = true;
        assert_eq!(progress.step(Some(QUARTER), 85 * DAY), Step::Order);
    }

    #[test]
    fn a_gateway_that_is_killed_in_an_attempt_waits() {
        let mut progress = Progress::new("a".to_owned());
        progress.begun(0);
        assert_eq!(progress.step(None, 0), Step::Wait(MINUTE));
    }

    #[test]
    fn what_somebody_asks_for_does_not_wait() {
        let mut progress = Progress::new("a".to_owned());
        progress.failed("no".to_owned(), None, 0, 0, 0.0);
        progress.forced = true;
        assert_eq!(progress.step(None, 0), Step::Order);
        progress.begun(0);
        // once more, while the attempt runs
        progress.forced = true;
        progress.failed("no".to_owned(), None, 0, 0, 0.0);
        assert_eq!(progress.step(None, 0), Step::Order);
        progress.begun(0);
        progress.failed("no".to_owned(), None, 0, 0, 0.0);
        assert_ne!(progress.step(None, 0), Step::Order);
    }
}
