//! The immutable whole that one request sees: routes with their ready chains, upstreams, listeners. Built from a `Config` and loaded plugins, or
//! not at all. Half-built snapshots are never visible.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeward_core::{
    config::{self, Config, FixedResponse, HeaderCondition, Limits, Problem, Problems},
    ids::Digest,
    phase::Phases,
    route::{BuildError, HeaderMatch, HeaderValueMatch, HostPattern, PathPattern, RouteSpec, Router},
};
use edgeward_runtime::{PluginVersion, RouteInfo};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ipnet::IpNet;

use crate::{
    admit::Lenient,
    api::{Apis, ApisInput, ArmCounts, Builder, Integration, Mock, RouteApi},
    body::Body,
    certificate::Shown,
    listen::{
        quic,
        tls::{DomainCertificates, Tls},
    },
    material::Material,
    metrics::RouteStats,
    pipeline::{Part, Shadow},
    upstream::UpstreamGroup,
};

/// What a snapshot is built from.
#[derive(Debug)]
pub struct SnapshotInput<'a> {
    /// The configuration, checked.
    pub config: &'a Config,
    /// Files and certificates that it names.
    pub material: &'a Material,
    /// Loaded versions by name of the binding; every binding that a route names must be there.
    pub plugins: &'a BTreeMap<String, Arc<PluginVersion>>,
    /// Versions that run beside them, likewise.
    pub shadows: &'a BTreeMap<String, Arc<Shadow>>,
    /// APIs that are deployed.
    pub apis: &'a ApisInput,
    /// The snapshot before, whose upstreams, TLS settings and counters live on where neither their configuration nor a file of theirs has changed.
    pub previous: Option<&'a Snapshot>,
}

/// Everything a request needs to know, at one moment.
#[derive(Debug)]
pub struct Snapshot {
    id: u64,
    /// The configuration file's routes.
    pub(crate) table: Table,
    pub(crate) apis: Apis,
    pub(crate) limits: Limits,
    pub(crate) log_access: bool,
    pub(crate) listeners: Vec<Arc<ListenerSpec>>,
    pub(crate) workers: usize,
    upstreams: BTreeMap<String, Arc<UpstreamGroup>>,
    /// Contents of the files of each upstream.
    upstream_files: BTreeMap<String, Vec<Digest>>,
    plugins: BTreeMap<String, Arc<PluginVersion>>,
    shadows: BTreeMap<String, Arc<Shadow>>,
}

/// Routes, and what finds them.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) router: Router,
    pub(crate) routes: Vec<Route>,
}

/// A route, ready to serve.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) info: Arc<RouteInfo>,
    pub(crate) target: Target,
    /// Plugins in the order of the pipeline; those without any interest are left out.
    pub(crate) chain: Vec<Part>,
    /// Phases that any of them asked for.
    pub(crate) phases: Phases,
    /// Largest request body in bytes; `u64::MAX` for none.
    pub(crate) body_limit: u64,
    pub(crate) timeout: Option<Duration>,
    /// Clients may go on with WebSocket.
    pub(crate) websocket: bool,
    pub(crate) stats: Arc<RouteStats>,
    /// What it has beyond others as the route of an API.
    pub(crate) api: Option<Box<RouteApi>>,
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum Target {
    Upstream(Arc<UpstreamGroup>),
    Fixed(Fixed),
    Integration(Box<Integration>),
    Mock(Mock),
}

/// A response from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A listener, ready to accept.
#[derive(Debug)]
pub(crate) struct ListenerSpec {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) trusted_hops: Vec<IpNet>,
    /// Peers that begin connections with a PROXY header.
    pub(crate) proxy_protocol: Vec<IpNet>,
    pub(crate) lenient: Lenient,
    pub(crate) http2: bool,
    /// What HTTP/3 connections are accepted with.
    pub(crate) quic: Option<Arc<quinn::ServerConfig>>,
    /// UDP port that clients are told; of the listener if `None`.
    pub(crate) http3_port: Option<u16>,
}

impl ListenerSpec {
    /// Whether it goes on with the sockets of another: those of the same address. Where the system chooses the port, names tell listeners apart.
    pub(crate) fn takes_over(&self, other: &Self) -> bool {
        self.address == other.address && (self.address.port() != 0 || self.name == other.name)
    }
}

impl Fixed {
    pub(crate) fn new(config: &FixedResponse) -> Result<Self, String> {
        let status = StatusCode::from_u16(config.status).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_ignored| format!("`{name}` is not a field name"))?;
            if edgeward_runtime::is_framing(&parsed) {
                return Err(format!("`{name}` belongs to the connection and cannot be set"));
            }
            headers.append(
                parsed,
                HeaderValue::from_str(value).map_err(|_ignored| format!("`{name}`: not a field value"))?,
            );
        }
        Ok(Self {
            status,
            headers,
            body: Bytes::from(config.body.clone()),
        })
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body.clone()));
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

impl Snapshot {
    /// Certificates that are shown, with the names of their listeners.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (&str, &Shown)> {
        let secured = self
            .listeners
            .iter()
            .filter_map(|listener| Some((&*listener.name, listener.tls.as_ref()?)));
        secured.flat_map(|(listener, tls)| tls.certificates().map(move |shown| (listener, shown)))
    }

    /// Builds a snapshot.
    ///
    /// # Errors
    /// All problems at once: certificates and CA files that cannot be read, routes that conflict, plugins that are not loaded.
    pub fn build(input: SnapshotInput<'_>) -> Result<Self, Problems> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let config = input.config;
        let mut problems = Vec::new();
        let listeners = build_listeners(&input, &mut problems);
        let upstream_files = upstream_files(&input);
        let mut upstreams = build_upstreams(&input, &upstream_files, &mut problems);
        let routes: Vec<_> = config
            .routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| {
                build_route(index, route, &input, &upstreams)
                    .map_err(|(key, message)| {
                        problems.push(Problem::new(format!("routes[{index}]{key}"), message))
                    })
                    .ok()
            })
            .collect();
        let specs: Vec<_> = config
            .routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| spec(index, route, &mut problems))
            .collect();
        let router = match Router::build(&specs) {
            Ok(router) => Some(router),
            Err(error) => {
                problems.push(conflict(config, &error));
                None
            }
        };
        let mut builder = Builder {
            limits: &config.limits,
            aws: &config.aws,
            upstreams: &upstreams,
            shadows: input.shadows,
            previous: input.previous.map(|previous| &previous.apis),
            groups: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        let apis = Apis::build(input.apis, &mut builder, &mut problems);
        let servers = builder.groups;
        upstreams.extend(servers);
        match router {
            Some(router) if problems.is_empty() => Ok(Self {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                table: Table { router, routes },
                apis,
                limits: config.limits.clone(),
                log_access: config.log.access,
                listeners,
                workers: config.workers.map_or_else(
                    || std::thread::available_parallelism().map_or(1, usize::from),
                    usize::from,
                ),
                upstreams,
                upstream_files,
                plugins: input.plugins.clone(),
                shadows: input.shadows.clone(),
            }),
            _ => Err(Problems(problems)),
        }
    }

    /// Number of the snapshot; grows with every build.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Live versions by name of the binding.
    #[must_use]
    pub fn plugins(&self) -> &BTreeMap<String, Arc<PluginVersion>> {
        &self.plugins
    }

    /// Versions that run beside the live ones, by name of the binding.
    #[must_use]
    pub fn shadows(&self) -> &BTreeMap<String, Arc<Shadow>> {
        &self.shadows
    }

    /// What the arms of a stage have served: the first one, and the canary if there is one.
    #[must_use]
    pub fn arm_counts(&self, api: &str, stage: &str) -> Option<(ArmCounts, Option<ArmCounts>)> {
        let stage = self.apis.stage(api, stage)?;
        let canary = stage.canary.as_ref().map(|canary| canary.arm.stats.counts());
        Some((stage.control.stats.counts(), canary))
    }

    /// Throws kept decisions of an API's authorizers away: of one stage, or of all; of one authorizer, or of all; about one principal, or about all. How many
    /// went; `None` where no such stage serves anything, or none has such an authorizer.
    #[must_use]
    pub fn flush_decisions(
        &self,
        api: &str,
        stage: Option<&str>,
        authorizer: Option<&str>,
        principal: Option<&str>,
    ) -> Option<usize> {
        let stages: Vec<_> = match stage {
            Some(stage) => self.apis.stage(api, stage).into_iter().collect(),
            None => self.apis.stages(api).collect(),
        };
        let gates = stages
            .iter()
            .flat_map(|stage| stage.arms())
            .flat_map(|arm| arm.gates.values())
            .filter(|gate| authorizer.is_none_or(|wanted| *gate.name == *wanted));
        let gone: Vec<usize> = gates.map(|gate| gate.flush(principal)).collect();
        let found = if authorizer.is_none() {
            !stages.is_empty()
        } else {
            !gone.is_empty()
        };
        found.then(|| gone.into_iter().sum())
    }

    /// Upstreams by name, and servers that APIs name by address.
    #[must_use]
    pub fn upstreams(&self) -> &BTreeMap<String, Arc<UpstreamGroup>> {
        &self.upstreams
    }
}

fn build_listeners(input: &SnapshotInput<'_>, problems: &mut Vec<Problem>) -> Vec<Arc<ListenerSpec>> {
    let mut listeners = Vec::new();
    let named = input
        .apis
        .domains
        .iter()
        .filter_map(|(domain, of)| Some((domain.clone(), of.domain.certificate.clone()?)));
    let domains: DomainCertificates = named.collect();
    for (index, listener) in input.config.listeners.iter().enumerate() {
        let name = listener.display_name();
        let before = input.previous.and_then(|previous| {
            let mut listeners = previous.listeners.iter();
            listeners.find(|before| before.name == name)?.tls.as_ref()
        });
        let tls = match listener
            .tls
            .as_ref()
            .map(|tls| {
                let protocols = (listener.http2, listener.http3);
                Tls::build(tls, &domains, protocols, input.material, before)
            })
            .transpose()
        {
            Ok(tls) => tls,
            Err(message) => {
                problems.push(Problem::new(format!("listeners[{index}].tls"), message));
                continue;
            }
        };
        let quic = match tls
            .as_ref()
            .and_then(|tls| tls.quic())
            .map(|tls| quic::server(tls, &input.config.limits))
            .transpose()
        {
            Ok(quic) => quic,
            Err(message) => {
                problems.push(Problem::new(format!("listeners[{index}].http3"), message));
                continue;
            }
        };
        listeners.push(Arc::new(ListenerSpec {
            name,
            address: listener.address,
            tls,
            trusted_hops: listener.trusted_hops.clone(),
            proxy_protocol: listener.proxy_protocol.clone(),
            lenient: Lenient {
                encoded_slashes: listener.encoded_slashes,
                underscores: listener.underscores,
            },
            http2: listener.http2,
            quic,
            http3_port: listener.http3_port,
        }));
    }
    listeners
}

/// Contents of the files that upstreams name. One that cannot be read is missing in its list: whoever builds the upstream says why.
fn upstream_files(input: &SnapshotInput<'_>) -> BTreeMap<String, Vec<Digest>> {
    let digests = |config: &config::Upstream| {
        let tls = config.tls.iter();
        let paths = tls
            .flat_map(|tls| [&tls.ca, &tls.client_cert, &tls.client_key])
            .flatten();
        paths
            .filter_map(|path| Some(input.material.file(path).ok()?.digest))
            .collect()
    };
    let upstreams = input.config.upstreams.iter();
    upstreams
        .map(|(name, config)| (name.clone(), digests(config)))
        .collect()
}

fn build_upstreams(
    input: &SnapshotInput<'_>,
    files: &BTreeMap<String, Vec<Digest>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Arc<UpstreamGroup>> {
    let mut upstreams = BTreeMap::new();
    for (name, config) in &input.config.upstreams {
        let config = with_base_dir(config, input.material.base_dir());
        let kept = input
            .previous
            .filter(|previous| previous.upstream_files.get(name) == files.get(name))
            .and_then(|previous| previous.upstreams.get(name))
            .filter(|old| *old.config() == config);
        let group = match kept {
            Some(group) => Ok(Arc::clone(group)),
            None => UpstreamGroup::new(name, &config),
        };
        match group {
            Ok(group) => {
                upstreams.insert(name.clone(), group);
            }
            Err(error) => problems.push(Problem::new(format!("upstreams.{name}"), error.to_string())),
        }
    }
    upstreams
}

fn with_base_dir(config: &config::Upstream, base_dir: &std::path::Path) -> config::Upstream {
    let mut config = config.clone();
    if let Some(tls) = &mut config.tls {
        for path in [&mut tls.ca, &mut tls.client_cert, &mut tls.client_key]
            .into_iter()
            .flatten()
        {
            *path = base_dir.join(&*path);
        }
    }
    config
}

type RouteProblem = (String, String);

fn build_route(
    index: usize,
    route: &config::Route,
    input: &SnapshotInput<'_>,
    upstreams: &BTreeMap<String, Arc<UpstreamGroup>>,
) -> Result<Route, RouteProblem> {
    let name = route.display_name();
    let target = match (&route.upstream, &route.respond) {
        (Some(upstream), _) => match upstreams.get(upstream) {
            Some(group) => Target::Upstream(Arc::clone(group)),
            // the upstream's own problem is reported already
            None => {
                return Err((
                    ".upstream".to_owned(),
                    format!("upstream `{upstream}` cannot be used"),
                ));
            }
        },
        (None, Some(fixed)) => {
            Target::Fixed(Fixed::new(fixed).map_err(|message| (".respond".to_owned(), message))?)
        }
        (None, None) => return Err((String::new(), "has neither `upstream` nor `respond`".to_owned())),
    };
    let mut chain = Vec::new();
    let mut phases = Phases::default();
    for (at, plugin) in route.pipeline.iter().enumerate() {
        let version = input.plugins.get(plugin).ok_or_else(|| {
            (
                format!(".pipeline[{at}]"),
                format!("plugin `{plugin}` is not loaded"),
            )
        })?;
        if !version.interest().phases.is_empty() {
            phases = phases.union(version.interest().phases);
            chain.push(Part {
                version: Arc::clone(version),
                shadow: input.shadows.get(plugin).cloned(),
            });
        }
    }
    let stats = input
        .previous
        .and_then(|previous| previous.table.routes.iter().find(|old| old.info.name == name))
        .map_or_else(Arc::default, |old| Arc::clone(&old.stats));
    let limit = route.body_limit.unwrap_or(input.config.limits.body).0;
    // routes are in the order of the configuration: the router's indices are theirs
    debug_assert!(index < input.config.routes.len());
    Ok(Route {
        info: Arc::new(RouteInfo {
            name,
            pattern: route.path.clone(),
            scopes: Vec::new(),
        }),
        target,
        chain,
        phases,
        body_limit: if limit == 0 { u64::MAX } else { limit },
        timeout: route.timeout.map(|time| time.0),
        websocket: route.websocket,
        stats,
        api: None,
    })
}

fn spec(index: usize, route: &config::Route, problems: &mut Vec<Problem>) -> Option<RouteSpec> {
    let built = (|| {
        Ok::<_, String>(RouteSpec {
            hosts: route
                .hosts
                .iter()
                .map(|host| HostPattern::parse(host))
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?,
            methods: route
                .methods
                .iter()
                .map(|method| method.parse())
                .collect::<Result<_, _>>()
                .map_err(|_ignored| "not a method")?,
            path: PathPattern::parse(&route.path).map_err(|error| error.to_string())?,
            headers: route
                .headers
                .iter()
                .map(|(name, condition)| {
                    let value = match condition {
                        HeaderCondition::Exact(value) => HeaderValueMatch::Exact(value.as_bytes().to_vec()),
                        HeaderCondition::Prefix(value) => HeaderValueMatch::Prefix(value.as_bytes().to_vec()),
                        HeaderCondition::Present(_) => HeaderValueMatch::Present,
                    };
                    let name = name
                        .parse()
                        .map_err(|_ignored| format!("`{name}` is not a field name"))?;
                    Ok(HeaderMatch { name, value })
                })
                .collect::<Result<_, String>>()?,
        })
    })();
    built
        .map_err(|message| problems.push(Problem::new(format!("routes[{index}]"), message)))
        .ok()
}

fn conflict(config: &Config, error: &BuildError) -> Problem {
    match error {
        BuildError::Conflict(conflict) => {
            let name = |index: usize| {
                config
                    .routes
                    .get(index)
                    .map(config::Route::display_name)
                    .unwrap_or_default()
            };
            Problem::new(
                format!("routes[{}]", conflict.second),
                format!(
                    "route `{}` takes the same requests as routes[{}] `{}`",
                    name(conflict.second),
                    conflict.first,
                    name(conflict.first)
                ),
            )
            .hint("give one of them another path, host, method or header condition")
        }
        other => Problem::new("routes", other.to_string()),
    }
}
