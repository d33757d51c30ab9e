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

/// Why a canary is given up, if it is. Both counts are of the same time.
#[expect(
    clippy::cast_precision_loss,
    reason = "shares of requests do not need the last bits"
)]
fn verdict(control: &ArmCounts, canary: &ArmCounts, policy: &RollbackPolicy) -> Option<String> {
    if canary.requests < policy.min_requests {
        return None;
    }
    let share = |part: u64, counts: &ArmCounts| {
        if counts.requests == 0 {
            0.0
        } else {
            part as f64 * 100.0 / counts.requests as f64
        }
    };
    for (what, ours, theirs, margin) in [
        (
            "answered with 5xx",
            share(canary.errors, canary),
            share(control.errors, control),
            policy.errors,
        ),
        (
            "failed in a plugin",
            share(canary.plugin_failures, canary),
            share(control.plugin_failures, control),
            policy.plugin_failures,
        ),
    ] {
        if ours > theirs + margin {
            return Some(format!(
                "{ours:.1} % of its last {} requests {what}, {theirs:.1} % of the others' {}, and {margin} % more is allowed",
                canary.requests, control.requests
            ));
        }
    }
    // how fast is fast can only be told beside enough others
    if control.requests.min(canary.requests) < enough(policy) {
        return None;
    }
    let (ours, theirs) = (canary.p99_ms()?, control.p99_ms()?);
    (ours > theirs * policy.latency).then(|| {
        format!(
            "99 % of its last {} responses began within {ours:.1} ms, of the others' {} within {theirs:.1} ms, and {} times that is allowed",
            canary.requests, control.requests, policy.latency
        )
    })
}

/// Requests of the canary that a stretch of time has to have, once there are so many.
fn enough(policy: &RollbackPolicy) -> u64 {
    policy.min_requests.max(PERCENTILE_MIN)
}

/// What both arms had served at some times: back to the beginning of the shortest stretch up to now that is as long as the policy's window and has enough requests of the
/// canary, or to when the two were first seen beside each other. Some twenty at most.
struct Looks {
    arms: [String; 2],
    seen: VecDeque<(Instant, [ArmCounts; 2])>,
}

impl Looks {
    fn begin(arms: [String; 2], now: Instant, counts: [ArmCounts; 2]) -> Self {
        let seen = VecDeque::from([(now, counts)]);
        Self { arms, seen }
    }

    /// What both arms have served in the stretch that they are judged by.
    fn stretch(&mut self, now: Instant, counts: [ArmCounts; 2], policy: &RollbackPolicy) -> [ArmCounts; 2] {
        let reaches = |(at, [_, canary]): &(Instant, [ArmCounts; 2]), part: u32| {
            now.duration_since(*at) >= policy.window.0 / part
                && counts[1].requests.saturating_sub(canary.requests) >= enough(policy).div_ceil(part.into())
        };
        while self.seen.get(1).is_some_and(|second| reaches(second, 1)) {
            self.seen.pop_front();
        }
        let since = self.seen.front().map_or_else(Default::default, |(_, before)| {
            [counts[0].since(&before[0]), counts[1].since(&before[1])]
        });
        if self.seen.back().is_none_or(|last| reaches(last, 10)) {
            self.seen.push_back((now, counts));
        }
        since
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
            let [control, served] = of.stretch(now, counts, policy);
            if let Some(reason) = verdict(&control, &served, policy) {
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
            (counts(1000, 0, 9.0), counts(100, 2, 9.0), false),
            (counts(1000, 0, 9.0), counts(100, 3, 9.0), true),
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
        add(&stats, 90, 0, 9.0);
        for _ in 0..10 {
            stats.record(200, true, Duration::from_millis(9));
        }
        let reason = verdict(&counts(1000, 0, 9.0), &stats.counts(), &policy).unwrap();
        assert!(reason.contains("10.0 %"), "{reason}");
    }

    #[test]
    fn a_canary_that_breaks_after_a_long_time_is_judged_by_what_it_did_lately() {
        let policy = RollbackPolicy {
            min_requests: 20,
            ..RollbackPolicy::default()
        };
        // requests of the canary in a second, and how many of them fail at most before it goes
        for (each, most) in [(200, 200), (5, 15), (1, 3)] {
            let [control, canary] = [ArmStats::default(), ArmStats::default()];
            let start = Instant::now();
            let arms = ["a", "b"].map(str::to_owned);
            let mut looks = Looks::begin(arms, start, [control.counts(), canary.counts()]);
            let mut look = |second: u64, canary: &ArmStats| {
                add(&control, 20 * each, 0, 9.0);
                let now = start + Duration::from_secs(second);
                let [control, canary] = looks.stretch(now, [control.counts(), canary.counts()], &policy);
                assert!(looks.seen.len() <= 25, "{}", looks.seen.len());
                verdict(&control, &canary, &policy)
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
}
