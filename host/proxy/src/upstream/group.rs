//! An upstream: its endpoints, settings and shared state. Immutable parts of a snapshot except for the list of addresses (DNS) and the health beside
//! each of them.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use edgeward_core::{balance, config, retry::Budget};
use http::{HeaderValue, uri::Authority};
use rustls_pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{
    endpoint::Endpoint,
    error::UpstreamConfigError,
    resolve::{self, Lookup, Resolving},
    tls,
};

/// One upstream of the configuration, shared by all workers. Survives a reload when its configuration did not change.
pub struct UpstreamGroup {
    pub(super) name: Arc<str>,
    pub(super) config: config::Upstream,
    pub(super) targets: Vec<Target>,
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    pub(super) tls: Option<TlsConnector>,
    /// `host` of the configuration, for `Host` and for `:authority`.
    pub(super) host: Option<(HeaderValue, Authority)>,
    pub(super) budget: Budget,
    pub(super) resolving: Resolving,
    turn: AtomicUsize,
    epoch: Instant,
}

/// A configured `host:port`.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) literal: Option<IpAddr>,
    pub(super) authority: Authority,
    pub(super) server_name: Option<ServerName<'static>>,
}

/// State of one endpoint, for status pages and metrics.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// Address and port.
    pub address: Arc<str>,
    /// The `host:port` of the configuration that it belongs to.
    pub target: String,
    /// What active checks say; `true` without them.
    pub healthy: bool,
    /// Left out because of failures of real traffic.
    pub ejected: bool,
    /// Requests under way.
    pub in_flight: u32,
}

impl UpstreamGroup {
    /// Builds an upstream. Reads the certificate files and resolves nothing: names get their addresses from [`UpstreamGroup::run_background`], or
    /// with the first request that needs them.
    ///
    /// # Errors
    /// What the configuration has wrong; the message goes behind `upstreams.<name>: `.
    pub fn new(name: &str, config: &config::Upstream) -> Result<Arc<Self>, UpstreamConfigError> {
        Self::with_lookup(name, config, resolve::system())
    }

    /// The same with names from elsewhere.
    pub(super) fn with_lookup(
        name: &str,
        config: &config::Upstream,
        lookup: Lookup,
    ) -> Result<Arc<Self>, UpstreamConfigError> {
        let connector = config
            .tls
            .as_ref()
            .map(|tls| tls::connector(tls, config.protocol))
            .transpose()?;
        let targets = config
            .endpoints
            .iter()
            .map(|text| Target::parse(text, config.tls.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if targets.is_empty() {
            return Err(UpstreamConfigError::NoEndpoints);
        }
        let host = config.host.as_deref().map(parse_host).transpose()?;
        let literal = targets
            .iter()
            .enumerate()
            .filter_map(|(index, target)| {
                target
                    .literal
                    .map(|ip| Endpoint::new((ip, target.port).into(), index, &config.health))
            })
            .collect();
        Ok(Arc::new(Self {
            name: name.into(),
            config: config.clone(),
            targets,
            endpoints: ArcSwap::from_pointee(literal),
            tls: connector,
            host,
            budget: Budget::new(config.retry.budget),
            resolving: Resolving::new(lookup),
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
            epoch: Instant::now(),
        }))
    }

    /// Name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was built from; a reload keeps the group when this is equal.
    #[must_use]
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// All endpoints with their health.
    #[must_use]
    pub fn status(&self) -> Vec<EndpointStatus> {
        let now = self.now();
        self.endpoints
            .load()
            .iter()
            .map(|endpoint| EndpointStatus {
                address: Arc::clone(&endpoint.name),
                target: self.target(endpoint).authority.to_string(),
                healthy: !endpoint.is_unhealthy(),
                ejected: endpoint.is_ejected(now),
                in_flight: endpoint.in_flight(),
            })
            .collect()
    }

    pub(super) fn target(&self, endpoint: &Endpoint) -> &Target {
        &self.targets[endpoint.target]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.load().is_empty()
    }

    /// Time since the group was made: the clock of its breakers and its budget.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Chooses an endpoint: a usable one that was not `tried` yet; else one that was not tried; else any. So when all are unhealthy or ejected all
    /// are used (panic mode: wrong health data must not take a service down that would answer). `None` only when there is no address at all.
    pub(super) fn pick(&self, now: Duration, tried: &[u64]) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let fresh = |index: usize| !tried.contains(&endpoints[index].id);
        let usable = |index: usize| endpoints[index].is_usable(now);
        // Retries take no turn: with two endpoints every request would begin at the same one again.
        let turn = if tried.is_empty() {
            self.turn.fetch_add(1, Ordering::Relaxed)
        } else {
            fastrand::usize(..)
        };
        let index = self
            .choose(turn, &endpoints, |index| usable(index) && fresh(index))
            .or_else(|| self.choose(turn, &endpoints, fresh))
            .or_else(|| self.choose(turn, &endpoints, |_| true))?;
        Some(Arc::clone(&endpoints[index]))
    }

    fn choose(
        &self,
        turn: usize,
        endpoints: &[Arc<Endpoint>],
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self.config.balance {
            config::Balance::RoundRobin => balance::round_robin(turn, endpoints.len(), usable),
            config::Balance::LeastRequest => {
                balance::least_request(fastrand::u64(..), endpoints.len(), usable, |index| {
                    endpoints[index].in_flight()
                })
            }
        }
    }

    /// Whether another address of the same configured name was not tried yet.
    pub(super) fn has_sibling(&self, endpoint: &Endpoint, tried: &[u64]) -> bool {
        self.endpoints
            .load()
            .iter()
            .any(|other| other.target == endpoint.target && !tried.contains(&other.id))
    }

    /// Passive health: an attempt on `endpoint` went well or not.
    pub(super) fn record(&self, endpoint: &Endpoint, ok: bool) {
        if self.config.health.passive.failures == 0 {
            return;
        }
        if ok && !endpoint.is_suspect() {
            return;
        }
        let now = self.now();
        if ok {
            endpoint.succeeded(now);
            return;
        }
        let others = || {
            self.endpoints
                .load()
                .iter()
                .any(|other| other.id != endpoint.id && other.is_usable(now))
        };
        if let Some(span) = endpoint.failed(now, others) {
            tracing::warn!(
                upstream = %self.name,
                endpoint = %endpoint.name,
                failures = self.config.health.passive.failures,
                ejected_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
                "endpoint ejected after failures in a row"
            );
        }
    }
}

impl std::fmt::Debug for UpstreamGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamGroup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Target {
    fn parse(text: &str, tls: Option<&config::UpstreamTls>) -> Result<Self, UpstreamConfigError> {
        let wrong = || UpstreamConfigError::Endpoint(text.to_owned());
        let authority: Authority = text.parse().map_err(|_not_an_authority| wrong())?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || text.contains('@') {
            return Err(wrong());
        }
        let literal = host.parse().ok();
        let server_name = tls.map(|tls| tls::server_name(tls, host)).transpose()?;
        Ok(Self {
            host: host.to_owned(),
            port,
            literal,
            authority,
            server_name,
        })
    }
}

fn parse_host(text: &str) -> Result<(HeaderValue, Authority), UpstreamConfigError> {
    let wrong = || UpstreamConfigError::Host(text.to_owned());
    let authority: Authority = text.parse().map_err(|_not_an_authority| wrong())?;
    if text.contains('@') {
        return Err(wrong());
    }
    let value = HeaderValue::from_str(text).map_err(|_not_a_value| wrong())?;
    Ok((value, authority))
}
