//! What is beside APIs: versions of plugins that run in the shadow of the live ones, API keys, usage plans, firewalls.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RouteKey, Throttle};
use crate::config::Problem;

/// Routes of a stage that a usage plan may say a throttle of their own for.
const PLAN_ROUTES_MAX: usize = 20;

/// A version of a plugin that runs beside the live one, on copies, to be compared with it. Its name is that of the plugin's binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShadowPlan {
    /// The version; 0 is the configuration file's.
    pub version: u64,
    /// Per cent of exchanges that it sees, above 0 to 100. Default 100.
    #[serde(default = "all")]
    pub percent: f64,
}

fn all() -> f64 {
    100.0
}

/// A key that callers are known by. Its value is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ApiKey {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it may be used. Default `true`.
    pub enabled: bool,
    /// Who it is of, for bills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self {
            description: None,
            enabled: true,
            customer_id: None,
            tags: BTreeMap::new(),
        }
    }
}

/// How much callers may call of which stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UsagePlan {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Stages that may be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PlanStage>,
    /// How fast each key may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// How often each key may call in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Names of the API keys that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A stage of a usage plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlanStage {
    /// The API.
    pub api: String,
    /// Its stage.
    pub stage: String,
    /// How fast single routes may be called, by their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttle: BTreeMap<String, Throttle>,
}

/// Requests in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quota {
    /// How many.
    pub limit: u64,
    /// The period.
    pub period: Period,
    /// Day on which a week or a month begins, from 0.
    #[serde(default)]
    pub offset: u8,
}

/// A period of a quota, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Period {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
}

/// A firewall: plugins that inspect requests before anything else is done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WebAcl {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Plugin bindings, in order.
    pub plugins: Vec<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What is wrong with a shadow.
#[must_use]
pub fn check_shadow(plan: &ShadowPlan) -> Vec<Problem> {
    if plan.percent > 0.0 && plan.percent <= 100.0 {
        return Vec::new();
    }
    let problem = Problem::new("percent", format!("{} is not above 0 to 100", plan.percent));
    vec![problem.hint("to end a shadow, remove it")]
}

/// What is wrong with a usage plan by itself.
#[must_use]
pub fn check_usage_plan(plan: &UsagePlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let bucket = |place: &str, throttle: &Throttle| {
        let good = throttle.rate.is_finite() && throttle.rate >= 0.0;
        let problem = || {
            Problem::new(
                format!("{place}.rate"),
                format!("{} is not 0 or more", throttle.rate),
            )
        };
        (!good).then(problem)
    };
    problems.extend(
        plan.throttle
            .iter()
            .filter_map(|throttle| bucket("throttle", throttle)),
    );
    let mut named = BTreeSet::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let place = format!("stages[{index}]");
        if !named.insert((&stage.api, &stage.stage)) {
            let problem = format!("stage `{}` of API `{}` is named twice", stage.stage, stage.api);
            problems.push(Problem::new(place.clone(), problem));
        }
        if stage.throttle.len() > PLAN_ROUTES_MAX {
            let problem = format!(
                "has {} routes, {PLAN_ROUTES_MAX} is the limit",
                stage.throttle.len()
            );
            problems.push(Problem::new(format!("{place}.throttle"), problem));
        }
        for (route, throttle) in &stage.throttle {
            let place = format!("{place}.throttle.{route}");
            problems.extend(bucket(&place, throttle));
            if let Err(message) = RouteKey::parse(route) {
                problems.push(Problem::new(place, message));
            }
        }
    }
    problems.extend(named_twice("keys", &plan.keys));
    if let Some(quota) = &plan.quota {
        let last = match quota.period {
            Period::Day => 0,
            Period::Week => 6,
            Period::Month => 27,
        };
        if quota.offset > last {
            problems.push(Problem::new(
                "quota.offset",
                format!("{} is not from 0 to {last}", quota.offset),
            ));
        }
    }
    problems
}

/// What is wrong with a web ACL by itself.
#[must_use]
pub fn check_web_acl(acl: &WebAcl) -> Vec<Problem> {
    named_twice("plugins", &acl.plugins)
}

/// Names in a list that are in it before.
fn named_twice(place: &str, names: &[String]) -> Vec<Problem> {
    let mut before = BTreeSet::new();
    let twice = names.iter().enumerate().filter(|(_, name)| !before.insert(*name));
    twice
        .map(|(index, name)| Problem::new(format!("{place}[{index}]"), format!("`{name}` is named twice")))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plans_and_shadows_say_what_can_be() {
        let plan = |value| serde_json::from_value::<UsagePlan>(value).unwrap();
        let fine = plan(json!({"quota": {"limit": 1, "period": "MONTH", "offset": 27}}));
        assert_eq!(check_usage_plan(&fine), []);
        let routes: serde_json::Map<_, _> = (0..21)
            .map(|number| (format!("GET /{number}"), json!({"rate": 1.0, "burst": 1})))
            .collect();
        let wrong = plan(json!({
            "throttle": {"rate": -1.0, "burst": 1},
            "stages": [
                {"api": "a", "stage": "b", "throttle": {"GET /": {"rate": -0.1, "burst": 0}}},
                {"api": "a", "stage": "c", "throttle": {"/a/GET": {"rate": 1.0, "burst": 1}}},
                {"api": "a", "stage": "b", "throttle": routes},
            ],
            "keys": ["ada", "bob", "ada"],
            "quota": {"limit": 1, "period": "WEEK", "offset": 7},
        }));
        let paths: Vec<_> = check_usage_plan(&wrong)
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "throttle.rate",
                "stages[0].throttle.GET /.rate",
                "stages[1].throttle./a/GET",
                "stages[2]",
                "stages[2].throttle",
                "keys[2]",
                "quota.offset",
            ]
        );
        let acl = |plugins: &[&str]| serde_json::from_value(json!({"plugins": plugins})).unwrap();
        assert_eq!(check_web_acl(&acl(&["a", "b"])), []);
        assert_eq!(check_web_acl(&acl(&["a", "b", "b"]))[0].path, "plugins[2]");
        for (percent, good) in [
            (0.0, false),
            (0.1, true),
            (100.0, true),
            (100.1, false),
            (f64::NAN, false),
        ] {
            let found = check_shadow(&ShadowPlan { version: 1, percent });
            assert_eq!(found.is_empty(), good, "{percent}");
        }
    }
}
