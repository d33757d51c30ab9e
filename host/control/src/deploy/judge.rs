//! Gives canaries up that do worse than they may: looks at what both arms have served, every second.

use std::{collections::HashMap, time::Duration};

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

/// Why a canary is given up, if it is. Both counts are of the time in which there was the canary.
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
                "{ours:.1} % of its requests {what}, {theirs:.1} % of the others, and {margin} % more is allowed"
            ));
        }
    }
    // how fast is fast can only be told beside enough others
    if control.requests < policy.min_requests {
        return None;
    }
    let (ours, theirs) = (canary.p99_ms()?, control.p99_ms()?);
    (ours as f64 > theirs as f64 * policy.latency).then(|| {
        format!("99 % of its responses began within {ours} ms, of the others within {theirs} ms, and {} times that is allowed", policy.latency)
    })
}

/// What both arms had served when their deployments were first seen beside each other.
type Begun = HashMap<Key, ([String; 2], [ArmCounts; 2])>;

/// Looks until it is stopped.
pub(crate) async fn run(deployer: Deployer, stop: CancellationToken) {
    let mut begun = Begun::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let found = look(&deployer, &mut begun);
        for (key, deployment, reason) in found {
            give_up(&deployer, &key, &deployment, &reason).await;
        }
    }
}

/// Canaries that have to go.
fn look(deployer: &Deployer, begun: &mut Begun) -> Vec<(Key, String, String)> {
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
            // a canary begins at nothing, and the other arm where it is
            let from = [control.served.clone(), ArmCounts::default()];
            let (of, before) = begun
                .entry(key.clone())
                .or_insert_with(|| (arms.clone(), from.clone()));
            if *of != arms {
                *before = [control.served.clone(), served.served.clone()];
                *of = arms;
            }
            let [control_before, canary_before] = before;
            let now = (
                control.served.since(control_before),
                served.served.since(canary_before),
            );
            if let Some(reason) = verdict(&now.0, &now.1, policy) {
                found.push((key, canary.deployment, reason));
            }
        }
    }
    begun.retain(|key, _| seen.contains(key));
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
    use super::*;

    fn counts(requests: u64, errors: u64, class: usize) -> ArmCounts {
        let mut times = vec![0; 15];
        times[class] = requests;
        ArmCounts {
            requests,
            errors,
            plugin_failures: 0,
            times,
        }
    }

    #[test]
    fn a_canary_is_judged_beside_the_other_arm_and_not_before_it_has_served_enough() {
        let policy = RollbackPolicy::default();
        for (control, canary, goes) in [
            (counts(1000, 0, 3), counts(99, 99, 3), false),
            (counts(1000, 0, 3), counts(100, 2, 3), false),
            (counts(1000, 0, 3), counts(100, 3, 3), true),
            // everybody's server has failed
            (counts(1000, 500, 3), counts(100, 50, 3), false),
            // 10 ms beside 20, and beside 50
            (counts(1000, 0, 3), counts(100, 0, 4), false),
            (counts(1000, 0, 3), counts(100, 0, 6), true),
            // too few to tell what is slow
            (counts(50, 0, 3), counts(100, 0, 6), false),
            (counts(0, 0, 0), counts(100, 50, 3), true),
        ] {
            assert_eq!(
                verdict(&control, &canary, &policy).is_some(),
                goes,
                "{control:?} {canary:?}"
            );
        }
        let mut failing = counts(100, 0, 3);
        failing.plugin_failures = 10;
        assert!(
            verdict(&counts(1000, 0, 3), &failing, &policy)
                .unwrap()
                .contains("10.0 %")
        );
    }
}
