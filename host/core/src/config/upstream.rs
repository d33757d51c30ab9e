//! Section `upstreams`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// A group of endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// Endpoints as `host:port`. A DNS name stands for all its addresses and is resolved again every `dns-refresh`.
    pub endpoints: Vec<String>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// Protocol spoken to the endpoints.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS to the endpoints; without it cleartext.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// `Host` sent upstream. Default: what the client sent.
    #[serde(default)]
    pub host: Option<String>,
    /// Time to connect, TLS included. Default `2s`.
    #[serde(default = "two_seconds")]
    pub connect_timeout: Time,
    /// Time from the end of the request to the response head. Default `30s`. After it: 504.
    #[serde(default = "thirty_seconds")]
    pub response_timeout: Time,
    /// Time without a byte of the response body. Default `60s`.
    #[serde(default = "sixty_seconds")]
    pub body_timeout: Time,
    /// Time an unused connection is kept. Default `60s`.
    #[serde(default = "sixty_seconds")]
    pub idle_timeout: Time,
    /// Idle connections kept per endpoint and worker. Default 128.
    #[serde(default = "idle_connections")]
    pub idle_connections: u32,
    /// How often DNS names are resolved again. Default `30s`.
    #[serde(default = "thirty_seconds")]
    pub dns_refresh: Time,
    /// Retries.
    #[serde(default)]
    pub retry: Retry,
    /// Active and passive health checks.
    #[serde(default)]
    pub health: Health,
}

fn two_seconds() -> Time {
    Time::secs(2)
}
fn thirty_seconds() -> Time {
    Time::secs(30)
}
fn sixty_seconds() -> Time {
    Time::secs(60)
}
fn idle_connections() -> u32 {
    128
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The better of two random ones by requests in flight.
    LeastRequest,
}

/// Protocol spoken upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1 with keep-alive.
    #[default]
    Http1,
    /// HTTP/2 (prior knowledge on cleartext, ALPN on TLS).
    Http2,
}

/// TLS to an upstream. The certificate is always verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UpstreamTls {
    /// Name to send (SNI) and verify. Default: the host of the endpoint.
    pub server_name: Option<String>,
    /// CA file (PEM). Default: the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate, PEM.
    pub client_cert: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    pub client_key: Option<PathBuf>,
}

/// When and how often a request is sent again to another endpoint. Only requests that are safe to repeat are: the connection could not be made or was
/// closed before the request was sent, or the method is idempotent (RFC 9110 section 9.2.2), no byte of the response was seen, and the request body
/// is empty or still whole in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Retry {
    /// Attempts after the first. Default 1.
    pub attempts: u8,
    /// Retries allowed as a share of requests over the last ten seconds, so that retries never pile up on a failing upstream. Default 0.2.
    pub budget: f64,
    /// Response statuses that count as a failure to retry. Default 502, 503, 504.
    pub on_status: Vec<u16>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            budget: 0.2,
            on_status: vec![502, 503, 504],
        }
    }
}

/// Health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Health {
    /// Ask the endpoints themselves.
    pub active: Option<ActiveHealth>,
    /// Watch real traffic.
    pub passive: PassiveHealth,
}

/// Active checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ActiveHealth {
    /// Path that is requested with GET. Default `/`.
    pub path: String,
    /// Time between checks. Default `5s`.
    pub interval: Time,
    /// Time a check may take. Default `1s`.
    pub timeout: Time,
    /// Failures in a row until an endpoint is unhealthy. Default 3.
    pub unhealthy_after: u32,
    /// Successes in a row until it is healthy again. Default 2.
    pub healthy_after: u32,
}

impl Default for ActiveHealth {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Time::secs(5),
            timeout: Time::secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

/// Passive checks: an endpoint with too many failures in a row is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PassiveHealth {
    /// Connect failures, timeouts and 5xx answers in a row; 0 turns it off. Default 5.
    pub failures: u32,
    /// First time of being left out; doubles with each repeat up to ten times. Default `5s`.
    pub eject_time: Time,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self {
            failures: 5,
            eject_time: Time::secs(5),
        }
    }
}
