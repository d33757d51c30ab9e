//! Section `plugins`: a binding is a module with configuration, grants, budgets and what happens when it fails.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, FixedResponse, Time};

/// A plugin binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    /// The module: a `.wasm` file (component, or core module with an embedded component type), relative to the configuration file; or
    /// `sha256:<hex>` of a module that was uploaded.
    pub module: ModuleRef,
    /// Configuration handed to the plugin's `init` as JSON.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What the plugin may use beyond `log`, `clock`, `matcher` and `crypto`.
    #[serde(default)]
    pub grants: Grants,
    /// Budgets per request.
    #[serde(default)]
    pub limits: PluginLimits,
    /// Instances.
    #[serde(default)]
    pub isolation: Isolation,
    /// What happens to the request when the plugin fails. Default: `closed` for plugins that authorize or inspect, `open` for observers, `closed` for the rest.
    #[serde(default)]
    pub on_error: Option<OnError>,
    /// Opens when a version keeps failing.
    #[serde(default)]
    pub breaker: Breaker,
    /// For plugins that authorize: keeps what they allow for as long as they say (`ttl-seconds`), and does not call them meanwhile. Routes of APIs have `identity-sources` and `result-ttl` of their authorizers instead. Default: off.
    #[serde(default)]
    pub decision_cache: Option<DecisionCache>,
}

/// A module: file or digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, rename_all = "kebab-case")]
pub enum ModuleRef {
    /// `sha256:<64 hex digits>` of an uploaded module.
    Digest(crate::ids::Digest),
    /// Path of a `.wasm` file.
    File(PathBuf),
}

/// What a plugin may use. A plugin that needs more with its configuration is refused when it is deployed; calls to what it imports, does not
/// need and was not granted are refused and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Grants {
    /// Metrics of its own.
    pub metrics: bool,
    /// Key-value stores by name. Plugins that name the same store share it.
    pub kv: BTreeMap<String, KvGrant>,
    /// Outgoing HTTP.
    pub http: Option<HttpGrant>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// WASI 0.2: clocks, random numbers, standard output and error into the log, environment (empty). Never files or sockets.
    pub wasi: bool,
}

/// A key-value store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KvGrant {
    /// Keys and values together. Default `16MiB`.
    pub max_bytes: Bytes,
}

impl Default for KvGrant {
    fn default() -> Self {
        Self {
            max_bytes: Bytes::mib(16),
        }
    }
}

/// Outgoing HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HttpGrant {
    /// Hosts as `name`, `name:port` or `*.example.com`; checked against the URL.
    pub hosts: Vec<String>,
    /// Allow addresses that are private, loopback or link-local. Default `false`: a name that resolves to one is refused.
    pub private_addresses: bool,
    /// CA file (PEM) trusted besides the system's.
    pub ca: Option<PathBuf>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// Name of an environment variable of the gateway.
    Env(String),
    /// A file; surrounding white space is removed. A change of it is seen within a second.
    File(PathBuf),
}

/// Budgets of one binding. Going over one of time, memory, host buffers, host calls or `scan` fails the call (see `on-error`), and the failure is
/// counted and logged. Beyond the others: a body above `body` is refused or passes unseen, as the plugin asked for; log lines are dropped and
/// counted; an `http` call beyond `egress` or `http-response` is refused with an error that the plugin sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PluginLimits {
    /// CPU time of one call: of a phase, or of one chunk of a streamed body. Default `10ms`.
    pub cpu_time: Time,
    /// Wall time of one call, host calls included. Default `5s`.
    pub wall_time: Time,
    /// CPU time of `init`. Default `5s`.
    pub init_time: Time,
    /// Linear memory of one instance. Default `64MiB`, at most `256MiB`.
    pub memory: Bytes,
    /// Largest body that the plugin may buffer. Default `1MiB`.
    pub body: Bytes,
    /// Bytes the plugin may make the host hold for it in one request (answers, edits, context). What one call passes or returns may be as large
    /// as the largest of this, `body` and `egress`. Default `1MiB`.
    pub host_buffers: Bytes,
    /// Host calls in one request; of WASI the random numbers count, the rest is bounded by CPU time. Default 10000.
    pub host_calls: u32,
    /// Log lines in one request, standard output and error of WASI included; more are dropped and counted. Default 100.
    pub log_lines: u32,
    /// Bytes sent by `http` in one request; above it the call returns an error to the plugin. Default `1MiB`.
    pub egress: Bytes,
    /// Largest response to an `http` call; above it the call returns an error to the plugin. Default `1MiB`.
    pub http_response: Bytes,
    /// Bytes that `matcher` sets scan in one request. They scan at native speed, linear in their input, and their time does not count as
    /// the plugin's CPU time. Default `32MiB`.
    pub scan: Bytes,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            cpu_time: Time::ms(10),
            wall_time: Time::secs(5),
            init_time: Time::secs(5),
            memory: Bytes::mib(64),
            body: Bytes::mib(1),
            host_buffers: Bytes::mib(1),
            host_calls: 10_000,
            log_lines: 100,
            egress: Bytes::mib(1),
            http_response: Bytes::mib(1),
            scan: Bytes::mib(32),
        }
    }
}

/// A decision is used again for requests to the same route with the same method and the same values, all of them, of these header fields and query
/// parameters. Name whatever the plugin looks at before it allows. A request without one of them always goes to the plugin. What it allows is
/// kept, in memory, with principal, usage key, policy and context, for as long as the plugin says; what it refuses only if it says for how long; what it
/// allows and edits never. A new version of the plugin begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DecisionCache {
    /// Names of header fields, e.g. `authorization`.
    pub headers: Vec<String>,
    /// Names of query parameters.
    pub query: Vec<String>,
    /// Longest time a decision is kept, whatever the plugin says. Default `5m`, at most `1h`.
    pub max_ttl: Time,
    /// For how long after that a decision still serves while one request asks the plugin anew, so that no others wait for it (RFC 5861). Default `0s`, at most `1h`.
    pub stale_while_revalidate: Time,
    /// Memory for decisions; those least in use make room. Default `16MiB`.
    pub size: Bytes,
    /// Decisions at most. Default 100000.
    pub entries: usize,
}

impl Default for DecisionCache {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            query: Vec::new(),
            max_ttl: Time::secs(300),
            stale_while_revalidate: Time::secs(0),
            size: Bytes::mib(16),
            entries: 100_000,
        }
    }
}

/// How instances are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Every request gets an instance in which nothing of another is left: a new one, or one that was put back to the snapshot.
    #[default]
    Request,
    /// An instance serves several requests, one after the other, and is thrown away after any failure.
    Reuse(Reuse),
}

/// Bounds of reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Reuse {
    /// Requests one instance serves at most. Default 1000.
    pub requests: u32,
    /// Age an instance reaches at most. Default `60s`.
    pub ttl: Time,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            requests: 1000,
            ttl: Time::secs(60),
        }
    }
}

/// What happens to a request when a plugin fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// Refuse the request.
    Closed,
    /// Go on as if the plugin were not there.
    Open,
    /// Answer with this.
    Respond(FixedResponse),
}

/// Breaker of a plugin version: after failures in a row the version is not called for a while and `on-error` applies at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Breaker {
    /// Failures in a row that open it; 0 turns it off. Default 20.
    pub failures: u32,
    /// Time it stays open before one request tries again. Default `5s`.
    pub open_time: Time,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 20,
            open_time: Time::secs(5),
        }
    }
}
