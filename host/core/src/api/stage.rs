//! Where deployments are reached: stages, canaries, domains.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AccessLog;
use crate::config::{Bytes, Time};

/// A named reference to a deployment, and settings that take effect without another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Stage {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The deployment that it serves. None: it serves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The deployment that it served before that one. Kept by the gateway, whatever is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Deploy each change of the API at once. Default `false`.
    pub auto_deploy: bool,
    /// Stage variables: names of letters, digits and `_`, for integrations and plugins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Another deployment for a part of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What holds for requests of a route, by its key (`GET /pets/{id}`); `*` for all. Takes effect at once, without a deployment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, RouteSettings>,
    /// A line for each request, in a form of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What holds for requests of a route in a stage. What is left out is as `*` says, else as it is deployed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RouteSettings {
    /// Which requests are in the gateway's own log. Default `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Whether metrics tell of the route by itself. Default `true`; else it is counted as route `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<bool>,
    /// Whether bodies are logged: they never are, and `true` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_trace: Option<bool>,
    /// Largest request body, instead of the route's and the API's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<Bytes>,
    /// Time to the response head, instead of the integration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// Requests per second. Not enforced yet, and so refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Keeping of responses. Not there yet, and so refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
}

/// Which requests are in the gateway's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Logging {
    /// None.
    Off,
    /// Those that were answered with 4xx or 5xx, or broke off.
    Error,
    /// All.
    #[default]
    Info,
}

/// How many requests are taken: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Throttle {
    /// Requests per second that it is refilled with.
    pub rate: f64,
    /// Requests that it holds.
    pub burst: u64,
}

/// How responses of a route are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheSettings {
    /// For how long.
    pub ttl: Time,
}

/// The first that is set.
fn first<T: Clone>(
    each: [Option<&RouteSettings>; 2],
    get: impl Fn(&RouteSettings) -> &Option<T>,
) -> Option<T> {
    each.into_iter()
        .flatten()
        .find_map(|settings| get(settings).clone())
}

impl RouteSettings {
    /// Those of a route, from all of a stage.
    #[must_use]
    pub fn of(all: &BTreeMap<String, Self>, key: &str) -> Self {
        let (own, common) = (all.get(key), all.get("*"));
        let each = [own, common];
        Self {
            logging: first(each, |of| &of.logging),
            metrics: first(each, |of| &of.metrics),
            data_trace: first(each, |of| &of.data_trace),
            body_limit: first(each, |of| &of.body_limit),
            timeout: first(each, |of| &of.timeout),
            throttle: first(each, |of| &of.throttle),
            cache: first(each, |of| &of.cache),
        }
    }
}

/// A deployment that a part of a stage's requests is served by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Canary {
    /// The deployment.
    pub deployment: String,
    /// Per cent of requests that it gets, 0 to 100.
    pub percent: f64,
    /// Stage variables that differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// What requests are kept together by. Default: each is drawn by itself, as AWS does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// When the canary is given up without being asked. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackPolicy>,
}

/// Requests of the same value get the same arm of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sticky {
    /// The value of this header field.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The client's address. Write `address: true`.
    Address(bool),
    /// The API key: the value of `x-api-key`. Write `key: true`.
    Key(bool),
}

/// When a canary is given up: it has served enough requests to tell, and exceeds one of the margins by more than chance. What counts is what both arms have served in the
/// last `window`, or since as long before as it takes for 100 requests, or `min-requests` if these are more; and all that they have served since it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RollbackPolicy {
    /// Requests that the canary has to have served before it is judged. Default 100.
    pub min_requests: u64,
    /// How much larger its share of 5xx responses may be than the other arm's, in per cent of requests. Default 2.
    pub errors: f64,
    /// How much larger its share of requests with a failed plugin may be. Default 2.
    pub plugin_failures: f64,
    /// How many times the other arm's 99th percentile of the time to the response head its own may be, where both arms have served 100 requests, or `min-requests`
    /// if these are more. Default 3.
    pub latency: f64,
    /// How far back is looked, 1 s to 1 h. Default 10 s.
    pub window: Time,
}

impl Default for RollbackPolicy {
    fn default() -> Self {
        Self {
            min_requests: 100,
            errors: 2.0,
            plugin_failures: 2.0,
            latency: 3.0,
            window: Time::secs(10),
        }
    }
}

/// A host name of your own, and which stages its paths lead to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Domain {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of a kept certificate that listeners with TLS show to clients who ask for this domain, whatever theirs are for. Default: the listeners' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Whether mappings or rules decide. Default `mappings-only`.
    pub routing_mode: RoutingMode,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Whether mappings or rules decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingMode {
    /// Base-path mappings.
    #[default]
    MappingsOnly,
    /// Routing rules.
    RulesOnly,
    /// Rules, and mappings where none holds.
    RulesThenMappings,
}

/// What a base path leads to. Of several that a path begins with, the longest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mapping {
    /// The API.
    pub api: String,
    /// Its stage.
    pub stage: String,
}

/// A rule of a domain. The first one that holds counts, by priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoutingRule {
    /// 1 to 1000000, the lowest first; no two rules of a domain have the same.
    pub priority: u32,
    /// Header fields and values that a request has to have, all of them; two at most. `*` stands for any characters, and only at the begin or end of a value: `a*`, `*a`, `*a*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Base paths of which its path has to begin with one. Default: any path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_paths: Vec<String>,
    /// The API.
    pub api: String,
    /// Its stage.
    pub stage: String,
    /// Take the base path off before routes are looked for. Default `false`.
    #[serde(default)]
    pub strip_base_path: bool,
}
