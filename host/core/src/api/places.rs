//! What is wrong with stages and domains by themselves: variables, canaries, base paths, rules.

use std::{collections::BTreeMap, time::Duration};

use super::{AccessLog, Mapping, RouteKey, RouteSettings, RoutingRule, Stage, Sticky, is_base_path};
use crate::{config::Problem, route::HostPattern};

/// Most variables of a stage, longest name and value (as AWS).
const VARIABLES_MAX: usize = 100;
const VARIABLE_NAME_MAX: usize = 64;
const VARIABLE_VALUE_MAX: usize = 512;
/// How far back a canary is judged.
const ROLLBACK_WINDOW_MIN: Duration = Duration::from_secs(1);
const ROLLBACK_WINDOW_MAX: Duration = Duration::from_secs(3600);

/// What is wrong with a stage.
#[must_use]
pub fn check_stage(stage: &Stage) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_variables("variables", &stage.variables, &mut problems);
    for (key, settings) in &stage.settings {
        check_settings(key, settings, &mut problems);
    }
    for (key, message) in stage.access_log.iter().flat_map(AccessLog::problems) {
        problems.push(Problem::new(format!("access-log.{key}"), message));
    }
    let Some(canary) = &stage.canary else {
        return problems;
    };
    if !(0.0..=100.0).contains(&canary.percent) {
        problems.push(Problem::new(
            "canary.percent",
            format!("{} is not from 0 to 100", canary.percent),
        ));
    }
    if stage.deployment.is_none() {
        problems.push(Problem::new(
            "canary",
            "needs a `deployment` of the stage beside it",
        ));
    }
    check_variables("canary.variables", &canary.variables, &mut problems);
    match &canary.sticky {
        Some(Sticky::Header(name)) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
            problems.push(Problem::new(
                "canary.sticky.header",
                format!("`{name}` is not a field name"),
            ));
        }
        Some(Sticky::Cookie(name))
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"=;,\"".contains(&byte)) =>
        {
            problems.push(Problem::new(
                "canary.sticky.cookie",
                format!("`{name}` is not the name of a cookie"),
            ));
        }
        Some(Sticky::Address(false) | Sticky::Key(false)) => {
            problems.push(Problem::new(
                "canary.sticky",
                "`false` says nothing: leave `sticky` out",
            ));
        }
        _ => {}
    }
    if let Some(policy) = &canary.rollback {
        for (key, value) in [
            ("errors", policy.errors),
            ("plugin-failures", policy.plugin_failures),
            ("latency", policy.latency),
        ] {
            if !value.is_finite() || value < 0.0 {
                problems.push(Problem::new(
                    format!("canary.rollback.{key}"),
                    format!("{value} is not 0 or more"),
                ));
            }
        }
        if !(ROLLBACK_WINDOW_MIN..=ROLLBACK_WINDOW_MAX).contains(&policy.window.0) {
            problems.push(Problem::new(
                "canary.rollback.window",
                format!("{} is not from 1s to 1h", policy.window),
            ));
        }
        if policy.min_requests == 0 {
            problems.push(Problem::new(
                "canary.rollback.min-requests",
                "is 0: nothing can be told of no request",
            ));
        }
    }
    problems
}

fn check_settings(key: &str, settings: &RouteSettings, problems: &mut Vec<Problem>) {
    let mut wrong = |place: &str, message: String| {
        problems.push(Problem::new(format!("settings.{key}{place}"), message));
    };
    if key != "*"
        && let Err(message) = RouteKey::parse(key)
    {
        wrong("", format!("{message}, nor is it `*`"));
    }
    // what is not enforced must not look as if it were
    if settings.throttle.is_some() {
        wrong(".throttle", "throttles cannot be enforced yet".to_owned());
    }
    if settings.cache.is_some() {
        wrong(".cache", "responses cannot be kept yet".to_owned());
    }
    if settings.data_trace == Some(true) {
        wrong(".data-trace", "bodies are never logged".to_owned());
    }
    if let Some(time) = settings.timeout.filter(|time| time.0.as_millis() < 50) {
        wrong(".timeout", format!("{time} is less than 50ms"));
    }
}

fn check_variables(path: &str, variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    if variables.len() > VARIABLES_MAX {
        problems.push(Problem::new(
            path,
            format!("{} variables exceed {VARIABLES_MAX}", variables.len()),
        ));
    }
    for (name, value) in variables {
        let good = (1..=VARIABLE_NAME_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            problems.push(
                Problem::new(
                    format!("{path}.{name}"),
                    format!("`{name}` cannot be the name of a variable"),
                )
                .hint("1 to 64 of a-z, A-Z, 0-9, `_`"),
            );
        }
        let good = value.len() <= VARIABLE_VALUE_MAX
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#&=,".contains(&byte));
        if !good {
            problems.push(
                Problem::new(format!("{path}.{name}"), "its value is not possible")
                    .hint("up to 512 of a-z, A-Z, 0-9, `-._~:/?#&=,`"),
            );
        }
    }
}

/// What is wrong with a domain, its mappings (by base path) and its rules.
#[must_use]
pub fn check_domain(
    name: &str,
    mappings: &BTreeMap<String, Mapping>,
    rules: &BTreeMap<String, RoutingRule>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Err(error) = HostPattern::parse(name) {
        problems.push(Problem::new("", error.to_string()));
    } else if name == "*" || name.contains(':') {
        problems.push(Problem::new("", format!("`{name}` is not the name of a domain")));
    }
    for base in mappings.keys().filter(|base| !is_base_path(base)) {
        problems.push(Problem::new(
            format!("mappings.{base}"),
            format!("`{base}` is not a base path"),
        ));
    }
    let mut priorities = BTreeMap::new();
    for (id, rule) in rules {
        let path = format!("rules.{id}");
        if !(1..=1_000_000).contains(&rule.priority) {
            problems.push(Problem::new(
                format!("{path}.priority"),
                format!("{} is not from 1 to 1000000", rule.priority),
            ));
        }
        if let Some(first) = priorities.insert(rule.priority, id) {
            problems.push(Problem::new(
                format!("{path}.priority"),
                format!("rule `{first}` has {} too", rule.priority),
            ));
        }
        if rule.headers.len() > 2 {
            problems.push(Problem::new(
                format!("{path}.headers"),
                format!("{} conditions exceed 2", rule.headers.len()),
            ));
        }
        for (name, value) in &rule.headers {
            if is_open_within(value) {
                problems.push(
                    Problem::new(
                        format!("{path}.headers.{name}"),
                        format!("`{value}` has a `*` between other characters, where it stands for nothing"),
                    )
                    .hint("one at the begin, at the end, or both: `*a`, `a*`, `*a*`"),
                );
            }
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.push(Problem::new(
                    format!("{path}.headers.{name}"),
                    format!("`{name}` is not a field name"),
                ));
            }
        }
        for base in rule
            .base_paths
            .iter()
            .filter(|base| base.is_empty() || !is_base_path(base))
        {
            problems.push(Problem::new(
                format!("{path}.base-paths"),
                format!("`{base}` is not a base path"),
            ));
        }
    }
    problems
}

/// Whether a value has a `*` elsewhere than at its begin and at its end. AWS takes `a*`, `*a` and `*a*`
/// (AWS::ApiGatewayV2::RoutingRule MatchHeaderValue), and `?` is a character as any other.
fn is_open_within(value: &str) -> bool {
    let inner = value.strip_prefix('*').unwrap_or(value);
    inner.strip_suffix('*').unwrap_or(inner).contains('*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_a_route_come_before_those_of_all_and_what_is_not_enforced_is_refused() {
        let stage = |settings: serde_json::Value| -> Stage {
            serde_json::from_value(serde_json::json!({"settings": settings})).unwrap()
        };
        let good = stage(serde_json::json!({
            "*": {"logging": "error", "timeout": "2s", "data-trace": false},
            "GET /pets/{id}": {"logging": "off", "body-limit": "1KiB", "metrics": false},
        }));
        assert_eq!(check_stage(&good), []);
        let own = RouteSettings::of(&good.settings, "GET /pets/{id}");
        assert_eq!(
            (own.logging, own.metrics, own.timeout.map(|time| time.0.as_secs())),
            (Some(crate::api::Logging::Off), Some(false), Some(2))
        );
        let other = RouteSettings::of(&good.settings, "GET /");
        assert_eq!(
            (other.logging, other.body_limit),
            (Some(crate::api::Logging::Error), None)
        );
        let bad = stage(serde_json::json!({
            "pets": {},
            "*": {"throttle": {"rate": 1.5, "burst": 3}, "cache": {"ttl": "5m"}, "data-trace": true, "timeout": "1ms"},
        }));
        let problems: Vec<_> = check_stage(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 5, "{problems:#?}");
    }

    #[test]
    fn stages_and_domains_are_checked() {
        let stage: Stage = serde_json::from_value(json!({
            "variables": {"a-b": "x", "ok": "sp ace"},
            "canary": {"deployment": "d", "percent": 101.0, "sticky": {"header": "a b"}, "rollback": {"errors": -1.0, "min-requests": 0, "window": "2h"}},
        }))
        .unwrap();
        let paths: Vec<_> = check_stage(&stage)
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "variables.a-b",
                "variables.ok",
                "canary.percent",
                "canary",
                "canary.sticky.header",
                "canary.rollback.errors",
                "canary.rollback.window",
                "canary.rollback.min-requests"
            ]
        );
        let rules: BTreeMap<String, RoutingRule> = serde_json::from_value(json!({
            "a": {"priority": 1, "api": "x", "stage": "y", "headers": {"a b": "c"}},
            "b": {"priority": 1, "api": "x", "stage": "y", "base-paths": ["/a"]},
            "c": {"priority": 2, "api": "x", "stage": "y", "headers": {"x-v": "a*c", "x-w": "**"}},
            "d": {"priority": 3, "api": "x", "stage": "y", "headers": {"x-v": "*a?c*", "x-w": "*"}},
            "e": {"priority": 4, "api": "x", "stage": "y", "headers": {"x-v": "*a", "x-w": "***"}},
        }))
        .unwrap();
        let mappings = BTreeMap::from([(
            "/x".to_owned(),
            Mapping {
                api: "a".into(),
                stage: "s".into(),
            },
        )]);
        let problems = check_domain("api.example.com:80", &mappings, &rules);
        let paths: Vec<_> = problems.into_iter().map(|problem| problem.path).collect();
        assert_eq!(
            paths,
            [
                "",
                "mappings./x",
                "rules.a.headers.a b",
                "rules.b.priority",
                "rules.b.base-paths",
                "rules.c.headers.x-v",
                "rules.e.headers.x-w"
            ]
        );
    }
}
