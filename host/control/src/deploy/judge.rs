//! Gives canaries up that do worse than they may: looks at what both arms have served, every second.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use edgeward_core::api::{RollbackPolicy, Stage};
use edgeward_proxy::ArmCounts;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Deployer, apis::Actor};
use crate::{
    access::{Authority, GATEWAY},
    model::{Key, Kind},
};

/// Time between looks.
const EVERY: Duration = Duration::from_secs(1);

/// Least requests of both arms that a percentile is told of: fewer have no hundredth.
const PERCENTILE_MIN: u64 = 100;
/// How many standard deviations a difference has to be beyond its margin: arms that are alike are compared every second for days, and chance must not end a canary.
const SIGMAS: f64 = 5.0;

/// Why a canary is given up, if it is. Both counts are of the same time.
#[expect(
    clippy::cast_precision_loss,
    reason = "shares of requests do not need the last bits"
)]
fn verdict(control: &ArmCounts, canary: &ArmCounts, policy: &RollbackPolicy) -> Option<String> {
    if canary.requests < policy.min_requests {
        return None;
    }
    let (ours_all, theirs_all) = (canary.requests as f64, control.requests as f64);
    for (what, ours, theirs, margin) in [
        ("answered with 5xx", canary.errors, control.errors, policy.errors),
        (
            "failed in a plugin",
            canary.plugin_failures,
            control.plugin_failures,
            policy.plugin_failures,
        ),
    ] {
        let (ours, theirs) = (ours as f64, theirs as f64);
        let both = (ours + theirs) / (ours_all + theirs_all);
        let mut variance = both * (1.0 - both) / ours_all;
        let mut share = 0.0;
        if control.requests > 0 {
            variance += both * (1.0 - both) / theirs_all;
            share = theirs / theirs_all;
        }
        if ours / ours_all - share > margin / 100.0 + SIGMAS * variance.sqrt() {
            return Some(format!(
                "{:.1} % of its last {} requests {what}, {:.1} % of the others' {}: more than the {margin} % that are allowed and what may be chance",
                ours * 100.0 / ours_all,
                canary.requests,
                share * 100.0,
                control.requests
            ));
        }
    }
    // how fast is fast can only be told beside enough others
    if control.requests.min(canary.requests) < enough(policy) {
        return None;
    }
    let (ours, theirs) = (canary.p99_ms()?, control.p99_ms()?);
    let slow = canary.slower_than(theirs * policy.latency) / ours_all;
    let by_chance = 0.01 + SIGMAS * (0.01 * 0.99 / ours_all).sqrt();
    (ours > theirs * policy.latency && slow > by_chance).then(|| {
        format!(
            "99 % of its last {} responses began within {ours:.1} ms, of the others' {} within {theirs:.1} ms: more than the {} times that are allowed and what may be chance",
            canary.requests, control.requests, policy.latency
        )
    })
}

/// Requests of the canary that a stretch of time has to have, once there are so many.
fn enough(policy: &RollbackPolicy) -> u64 {
    policy.min_requests.max(PERCENTILE_MIN)
}

/// What both arms had served when they were first seen beside each other, and at some times since: back to the beginning of the shortest stretch up to now that is as long
/// as the policy's window and has enough requests of the canary. Some twenty at most.
struct Looks {
    arms: [String; 2],
    first: [ArmCounts; 2],
    seen: VecDeque<(Instant, [ArmCounts; 2])>,
}

impl Looks {
    fn begin(arms: [String; 2], now: Instant, counts: [ArmCounts; 2]) -> Self {
        Self {
            arms,
            first: counts.clone(),
            seen: VecDeque::from([(now, counts)]),
        }
    }

    /// Why a canary is given up: what it did lately tells of one that broke, and all that it ever did of one that is a little worse.
    fn verdict(&mut self, now: Instant, counts: [ArmCounts; 2], policy: &RollbackPolicy) -> Option<String> {
        let reaches = |(at, [_, canary]): &(Instant, [ArmCounts; 2]), part: u32| {
            now.duration_since(*at) >= policy.window.0 / part
                && counts[1].requests.saturating_sub(canary.requests) >= enough(policy).div_ceil(part.into())
        };
        while self.seen.get(1).is_some_and(|second| reaches(second, 1)) {
            self.seen.pop_front();
        }
        let since = |before: &[ArmCounts; 2]| {
            verdict(&counts[0].since(&before[0]), &counts[1].since(&before[1]), policy)
        };
        let lately = self.seen.front().and_then(|(_, before)| since(before));
        let reason = lately.or_else(|| since(&self.first));
        if self.seen.back().is_none_or(|last| reaches(last, 10)) {
            self.seen.push_back((now, counts));
        }
        reason
    }
}

/// Looks until it is stopped.
pub(crate) async fn run(deployer: Deployer, stop: CancellationToken) {
    let mut looks = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let found = look(&deployer, &mut looks);
        for (key, deployment, reason) in found {
            give_up(&deployer, &key, &deployment, &reason).await;
        }
    }
}

/// Canaries that have to go.
fn look(deployer: &Deployer, looks: &mut HashMap<Key, Looks>) -> Vec<(Key, String, String)> {
    let model = deployer.model();
    let mut found = Vec::new();
    let mut seen = Vec::new();
    let apis: Vec<&String> = model.list(Kind::Api, "").map(|(name, _)| name).collect();
    for api in apis {
        for (name, document) in model.list(Kind::Stage, api) {
            // most have none, and a document is read faster than parsed
            if document
                .body
                .pointer("/canary/rollback")
                .is_none_or(serde_json::Value::is_null)
            {
                continue;
            }
            let key = Key::of(Kind::Stage, api, name);
            let Ok(stage) = model.read::<Stage>(&key) else {
                continue;
            };
            let Some(canary) = stage.canary else { continue };
            let Some(policy) = &canary.rollback else { continue };
            let Ok((control, Some(served))) = deployer.arms(api, name) else {
                continue;
            };
            seen.push(key.clone());
            let arms = [control.deployment, served.deployment];
            let counts = [control.served, served.served];
            let now = Instant::now();
            // a canary begins at nothing, and the other arm where it is
            let of = looks.entry(key.clone()).or_insert_with(|| {
                Looks::begin(arms.clone(), now, [counts[0].clone(), ArmCounts::default()])
            });
            if of.arms != arms {
                *of = Looks::begin(arms, now, counts.clone());
            }
            if let Some(reason) = of.verdict(now, counts, policy) {
                found.push((key, canary.deployment, reason));
            }
        }
    }
    looks.retain(|key, _| seen.contains(key));
    found
}

async fn give_up(deployer: &Deployer, key: &Key, deployment: &str, reason: &str) {
    let actor = Actor::named(GATEWAY, Authority::all());
    let (api, stage, wanted) = (key.parent.clone(), key.name.clone(), deployment.to_owned());
    let make = move |draft: &mut crate::model::Draft, _pin: crate::model::Pinning<'_>| {
        draft.edit_stage(&api, &stage, |document| {
            // somebody may have been faster
            let mut canary = document.canary.iter();
            let goes = canary.any(|canary| canary.deployment == wanted);
            if goes {
                document.canary = None;
                document.auto_deploy = false;
            }
            Ok(goes)
        })
    };
    let outcome = deployer
        .edit(actor.clone(), "automatic-rollback", false, make)
        .await;
    match outcome {
        Ok((false, _)) => {}
        Ok((true, _)) => {
            tracing::warn!(
                api = key.parent,
                stage = key.name,
                deployment,
                reason,
                "a canary was given up"
            );
            let detail = json!({"deployment": deployment, "reason": reason});
            let noted = deployer.note(
                &actor,
                "automatic-rollback",
                &key.path(),
                "done",
                None,
                Some(detail),
            );
            if let Err(error) = noted {
                tracing::error!(%error, "the reason could not be kept in the audit log");
            }
        }
        Err(error) => {
            tracing::error!(api = key.parent, stage = key.name, deployment, reason, %error, "a canary could not be given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeward_proxy::ArmStats;

    use super::*;

    fn add(stats: &ArmStats, requests: u64, errors: u64, ms: f64) {
        for index in 0..requests {
            let status = if index < errors { 500 } else { 200 };
            stats.record(status, false, Duration::from_secs_f64(ms / 1000.0));
        }
    }

    fn counts(requests: u64, errors: u64, ms: f64) -> ArmCounts {
        let stats = ArmStats::default();
        add(&stats, requests, errors, ms);
        stats.counts()
    }

    #[test]
    fn a_canary_is_judged_beside_the_other_arm_and_not_before_it_has_served_enough() {
        let policy = RollbackPolicy::default();
        for (control, canary, goes) in [
            (counts(1000, 0, 9.0), counts(99, 99, 9.0), false),
            (counts(1000, 0, 9.0), counts(100, 4, 9.0), false),
            (counts(1000, 0, 9.0), counts(100, 6, 9.0), true),
            // a little more than is allowed, which many requests tell from chance
            (counts(10_000, 0, 9.0), counts(1000, 25, 9.0), false),
            (counts(1_000_000, 0, 9.0), counts(100_000, 2500, 9.0), true),
            // everybody's server has failed
            (counts(1000, 500, 9.0), counts(100, 50, 9.0), false),
            // nobody else is served
            (counts(0, 0, 0.0), counts(100, 50, 9.0), true),
            // three times is allowed, and an eighth may be lost in counting
            (counts(1000, 0, 10.0), counts(100, 0, 26.0), false),
            (counts(1000, 0, 10.0), counts(100, 0, 34.5), true),
            (counts(1000, 0, 900.0), counts(100, 0, 1020.0), false),
            (counts(1000, 0, 1100.0), counts(100, 0, 4900.0), true),
            // too few to tell what is slow
            (counts(99, 0, 9.0), counts(100, 0, 60.0), false),
        ] {
            assert_eq!(
                verdict(&control, &canary, &policy).is_some(),
                goes,
                "{control:?} {canary:?}"
            );
        }
        let stats = ArmStats::default();
        add(&stats, 80, 0, 9.0);
        for _ in 0..20 {
            stats.record(200, true, Duration::from_millis(9));
        }
        let reason = verdict(&counts(1000, 0, 9.0), &stats.counts(), &policy).unwrap();
        assert!(reason.contains("20.0 %"), "{reason}");
    }

    #[test]
    fn a_canary_that_breaks_after_a_long_time_is_judged_by_what_it_did_lately() {
        let policy = RollbackPolicy {
            min_requests: 20,
            ..RollbackPolicy::default()
        };
        // requests of the canary in a second, and how many of them fail at most before it goes
        for (each, most) in [(200, 200), (5, 15), (1, 6)] {
            let [control, canary] = [ArmStats::default(), ArmStats::default()];
            let start = Instant::now();
            let arms = ["a", "b"].map(str::to_owned);
            let mut looks = Looks::begin(arms, start, [control.counts(), canary.counts()]);
            let mut look = |second: u64, canary: &ArmStats| {
                add(&control, 20 * each, 0, 9.0);
                let now = start + Duration::from_secs(second);
                let reason = looks.verdict(now, [control.counts(), canary.counts()], &policy);
                assert!(looks.seen.len() <= 25, "{}", looks.seen.len());
                reason
            };
            for second in 1..2000 {
                add(&canary, each, 0, 9.0);
                assert_eq!(look(second, &canary), None);
            }
            let mut failed = 0;
            for second in 2000.. {
                add(&canary, each, each, 9.0);
                failed += each;
                if look(second, &canary).is_some() {
                    break;
                }
            }
            assert!(failed <= most, "{each} in a second: {failed} failed");
        }
    }

    /// Numbers that are none of chance, between 0 and 1.
    fn dice(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
        }
    }

    #[test]
    fn a_canary_that_is_like_the_others_stays_and_one_that_is_a_little_worse_goes() {
        let policy = RollbackPolicy::default();
        // requests of the canary in a second, and the share that fails of the others and of it
        for (each, theirs, ours, goes) in [
            (5, 0.01, 0.01, false),
            (5, 0.001, 0.001, false),
            (10, 0.005, 0.005, false),
            (2, 0.05, 0.06, false),
            (5, 0.001, 0.06, true),
        ] {
            for seed in 1..5 {
                let mut roll = dice(seed);
                let [control, canary] = [ArmStats::default(), ArmStats::default()];
                let start = Instant::now();
                let arms = ["a", "b"].map(str::to_owned);
                let mut looks = Looks::begin(arms, start, [control.counts(), canary.counts()]);
                let mut serve = |stats: &ArmStats, requests: u64, share: f64| {
                    for _ in 0..requests {
                        let status = if roll() < share { 500 } else { 200 };
                        // one of a hundred takes long, and some of these very long
                        let ms = 5.0 / (1.0 - roll()).max(0.001).sqrt();
                        stats.record(status, false, Duration::from_secs_f64(ms / 1000.0));
                    }
                };
                let reason = (1..7200).find_map(|second| {
                    serve(&control, 9 * each, theirs);
                    serve(&canary, each, ours);
                    let now = start + Duration::from_secs(second);
                    looks.verdict(now, [control.counts(), canary.counts()], &policy)
                });
                assert_eq!(
                    reason.is_some(),
                    goes,
                    "{each} {theirs} {ours} {seed}: {reason:?}"
                );
            }
        }
    }
}
