//! The data plane: listeners, the path of a request, plugin pipelines, upstreams. `handle.rs` is the spine.

mod admit;
mod api;
mod body;
mod certificate;
mod challenges;
mod date;
mod finish;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod handle;
mod http1;
mod http3;
mod listen;
mod material;
mod metrics;
mod pace;
mod pem;
mod pipeline;
mod prefix;
mod respond;
mod snapshot;
mod timer;
mod tunnel;
mod upgrade;
mod upstream;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use edgeward_core::exposition::{Exposition, Kind};
use edgeward_runtime::Runtime;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    listen::{Listener, Missing, Transport, addresses::Addresses},
    metrics::{Metrics, RouteStats},
    worker::{Command, WorkerHandle},
};
pub use api::{
    ApisInput, ArmCounts, ArmInput, ArmStats, CanaryInput, DomainInput, LogDestination, StageInput,
};
pub use certificate::{CertificateError, CertificateInfo, CertificatePem};
pub use challenges::{Challenge, Challenges, Offer};
pub use listen::{ClientNames, ServerTls, quic::quic_secret};
pub use material::{Certificates, Material};
pub use pipeline::{Shadow, ShadowCounts, ShadowDifference};
pub use snapshot::{Snapshot, SnapshotInput};
pub use upstream::{EndpointStatus, UpstreamConfigError, UpstreamGroup, roots};

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) live: ArcSwap<Snapshot>,
    pub(crate) metrics: Metrics,
    /// Requests that no route took.
    pub(crate) unrouted: RouteStats,
    pub(crate) listeners: Mutex<Vec<Arc<Listener>>>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) challenges: Arc<Challenges>,
    /// Number of workers.
    pub(crate) workers: usize,
}

/// The data plane could not start, or could not take a snapshot's listeners.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{name}` cannot listen on {address}: {source}")]
    Listen {
        /// Name of the listener.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("worker thread: {0}")]
    Thread(#[from] io::Error),
    /// The workers have ended.
    #[error("the data plane has stopped")]
    Stopped,
}

/// State of the data plane, for status pages.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProxyStatus {
    /// Worker threads.
    pub workers: usize,
    /// Open client connections.
    pub connections: u64,
    /// Exchanges under way.
    pub exchanges: u64,
    /// Number of the live snapshot.
    pub snapshot: u64,
    /// Routes in it.
    pub routes: usize,
    /// Endpoints by upstream.
    pub upstreams: Vec<UpstreamStatus>,
}

/// State of one upstream.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamStatus {
    /// Name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// State of one endpoint.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointView {
    /// Address and port.
    pub address: String,
    /// What active checks say; `true` without them.
    pub healthy: bool,
    /// Left out because of failures of real traffic.
    pub ejected: bool,
    /// Requests under way.
    pub in_flight: u32,
}

/// The running data plane.
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Mutex<Vec<WorkerHandle>>,
    /// Publishing is one at a time.
    publishing: Mutex<Vec<Background>>,
    health: Option<HealthThread>,
    _runtime: Runtime,
}

/// Background work of one upstream: DNS and active checks. Ends when dropped.
struct Background {
    group: Arc<UpstreamGroup>,
    stop: CancellationToken,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The thread on which upstream checks run.
struct HealthThread {
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HealthThread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("upstream-health".to_owned())
            .spawn(move || {
                // ends when the sender is dropped, too
                let _ended = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for HealthThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // the thread has nothing that could panic and matter here
            let _ended = thread.join();
        }
    }
}

/// Warns of certificates that expire soon, once a day each.
async fn watch_certificates(shared: Arc<Shared>) {
    let mut warned = BTreeMap::new();
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        minutes.tick().await;
        let live = shared.live.load_full();
        let mut few = BTreeMap::new();
        for (listener, shown) in live.certificates() {
            if let Some(days_left) = shown.info.days_left_if_few() {
                few.insert((listener.to_owned(), shown.label.clone()), days_left);
            }
        }
        for (of, days_left) in &few {
            if warned.get(of) != Some(days_left) {
                let (listener, certificate) = of;
                tracing::warn!(
                    listener,
                    certificate,
                    days_left,
                    "certificate expires soon or has expired"
                );
            }
        }
        warned = few;
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy")
    }
}

impl Proxy {
    /// Binds the listeners and starts the workers.
    ///
    /// # Errors
    /// An address that cannot be listened on, or a thread that cannot be started; nothing is left behind then.
    pub fn start(runtime: Runtime, first: Snapshot) -> Result<Self, StartError> {
        let count = first.workers;
        let wanted = first.listeners.clone();
        let shared = Arc::new(Shared {
            live: ArcSwap::from_pointee(first),
            metrics: Metrics::default(),
            unrouted: RouteStats::default(),
            listeners: Mutex::default(),
            addresses: Arc::default(),
            challenges: Arc::default(),
            workers: count,
        });
        let workers = (0..count)
            .map(|index| worker::start(&shared, index))
            .collect::<Result<Vec<_>, _>>()?;
        let proxy = Self {
            shared,
            workers: Mutex::new(workers),
            publishing: Mutex::default(),
            health: Some(HealthThread::start()?),
            _runtime: runtime,
        };
        proxy.open(&listen::changes(&proxy.shared, &wanted).missing)?;
        proxy.watch_upstreams(&mut proxy.publishing.lock());
        if let Some(health) = &proxy.health {
            health.handle.spawn(watch_certificates(Arc::clone(&proxy.shared)));
        }
        Ok(proxy)
    }

    /// Makes a snapshot the live one: one atomic store. Exchanges under way finish on theirs. New listeners are bound first, so that a
    /// snapshot whose addresses cannot be had changes nothing.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn publish(&self, next: Snapshot) -> Result<(), StartError> {
        let mut background = self.publishing.lock();
        let wanted = next.listeners.clone();
        let changes = listen::changes(&self.shared, &wanted);
        if let Err(error) = self.open(&changes.missing) {
            changes.back.iter().for_each(|listener| listener.leave());
            return Err(error);
        }
        self.shared.live.store(Arc::new(next));
        let mut open = self.shared.listeners.lock();
        changes.gone.iter().for_each(|listener| listener.leave());
        open.retain(|listener| listener.is_there());
        for listener in open.iter().filter(|listener| listener.is_open()) {
            if let Some(spec) = wanted.iter().find(|spec| listener.is_of(spec)) {
                listener.spec.store(Arc::clone(spec));
            }
            listener.open.look_again();
        }
        drop(open);
        self.shared.metrics.publishes.fetch_add(1, Relaxed);
        self.watch_upstreams(&mut background);
        Ok(())
    }

    fn open(&self, missing: &[Missing]) -> Result<(), StartError> {
        let mut workers = self.workers.lock();
        let mut bound = Vec::new();
        for missing in missing {
            let failed = |source| StartError::Listen {
                name: missing.spec.name.clone(),
                address: missing.spec.address,
                source,
            };
            bound.extend(listen::bind(missing, workers.len()).map_err(failed)?);
        }
        for (listener, sockets) in bound {
            for (worker, socket) in workers.iter_mut().zip(sockets) {
                worker
                    .commands
                    .try_send(Command::Listen(Arc::clone(&listener), socket))
                    .map_err(|_ignored| StartError::Stopped)?;
            }
            self.shared.listeners.lock().push(listener);
        }
        Ok(())
    }

    /// Starts checks of upstreams that are new, ends those of upstreams that are gone.
    fn watch_upstreams(&self, background: &mut Vec<Background>) {
        let live = self.shared.live.load_full();
        let Some(health) = &self.health else { return };
        background.retain(|running| {
            live.upstreams()
                .values()
                .any(|group| Arc::ptr_eq(group, &running.group))
        });
        for group in live.upstreams().values() {
            if background
                .iter()
                .any(|running| Arc::ptr_eq(group, &running.group))
            {
                continue;
            }
            let stop = CancellationToken::new();
            health
                .handle
                .spawn(Arc::clone(group).run_background(stop.clone()));
            background.push(Background {
                group: Arc::clone(group),
                stop,
            });
        }
    }

    /// The live snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.live.load_full()
    }

    /// Answers to certificate authorities that ask whether a name is ours.
    #[must_use]
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.shared.challenges
    }

    /// Name and bound address of every listener.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.shared.listeners.lock();
        listeners
            .iter()
            .filter(|listener| listener.transport == Transport::Tcp)
            .map(|listener| (listener.spec.load().name.clone(), listener.bound))
            .collect()
    }

    /// Adds the data plane's metrics.
    pub fn metrics(&self, out: &mut Exposition) {
        let live = self.shared.live.load_full();
        for route in &live.table.routes {
            route.stats.write(&[("route", &*route.info.name)], out);
        }
        for arm in live.apis.arms() {
            // both arms write to the same log
            if let Some(log) = arm.access_log.as_ref().filter(|_log| arm.is_canary != Some(true)) {
                let of = [("api", &*arm.api), ("stage", &*arm.stage)];
                let (written, dropped) = log.counts();
                let mut family = |name, help, count| {
                    out.family(name, Kind::Counter, help).add(&of, count);
                };
                family(
                    "edgeward_access_log_lines_total",
                    "Lines of a stage's access log.",
                    written,
                );
                family(
                    "edgeward_access_log_dropped_total",
                    "Lines of a stage's access log that had no room in the queue or could not be written.",
                    dropped,
                );
            }
            let of = [
                ("api", &*arm.api),
                ("stage", &*arm.stage),
                (
                    "arm",
                    if arm.is_canary == Some(true) {
                        "canary"
                    } else {
                        "control"
                    },
                ),
            ];
            for gate in arm.gates.values() {
                let [api, stage, role] = of;
                let counts = gate.counts().unwrap_or_default();
                for (result, count) in [
                    ("hit", counts.hits),
                    ("miss", counts.misses),
                    ("evicted", counts.evictions),
                ] {
                    let labels = [api, stage, role, ("authorizer", &*gate.name), ("result", result)];
                    out.family(
                        "edgeward_authorizer_decisions_total",
                        Kind::Counter,
                        "Decisions of authorizers that were kept, were not, and made room for others.",
                    )
                    .add(&labels, count);
                }
            }
            if let Some(rest) = &arm.rest {
                let [api, stage, role] = of;
                rest.write(&[api, stage, role, ("route", "*")], out);
            }
            for route in arm.table.routes.iter().filter(|route| !arm.is_rest(route)) {
                let [api, stage, role] = of;
                route
                    .stats
                    .write(&[api, stage, role, ("route", &*route.info.name)], out);
            }
        }
        self.shared.unrouted.write(&[("route", "")], out);
        for (listener, shown) in live.certificates() {
            out.family(
                "edgeward_certificate_not_after_seconds",
                Kind::Gauge,
                "Unix time until which a certificate of a listener holds.",
            )
            .add(
                &[("listener", listener), ("certificate", &shown.label)],
                shown.info.not_after,
            );
        }
        self.shared.metrics.write(out);
        for (name, shadow) in live.shadows() {
            let counts = shadow.counts();
            let version = shadow.version().version().to_string();
            let mut calls = out.family(
                "edgeward_plugin_shadow_calls_total",
                Kind::Counter,
                "Calls that a version beside the live one has done as well, by how it compares.",
            );
            for (result, count) in [
                ("equal", counts.equal),
                ("different", counts.different),
                ("failed", counts.failed),
                ("skipped", counts.skipped),
            ] {
                calls.add(
                    &[("plugin", name), ("version", &version), ("result", result)],
                    count,
                );
            }
        }
        for (name, group) in live.upstreams() {
            for endpoint in group.status() {
                let labels = [("upstream", name.as_str()), ("endpoint", &*endpoint.address)];
                let up = u8::from(endpoint.healthy && !endpoint.ejected);
                out.family(
                    "edgeward_upstream_up",
                    Kind::Gauge,
                    "1 for an endpoint that is used.",
                )
                .add(&labels, up);
                out.family(
                    "edgeward_upstream_in_flight",
                    Kind::Gauge,
                    "Requests that an endpoint works on.",
                )
                .add(&labels, endpoint.in_flight);
            }
        }
    }

    /// State for status pages.
    #[must_use]
    pub fn status(&self) -> ProxyStatus {
        let live = self.shared.live.load_full();
        let endpoint = |endpoint: EndpointStatus| EndpointView {
            address: endpoint.address.to_string(),
            healthy: endpoint.healthy,
            ejected: endpoint.ejected,
            in_flight: endpoint.in_flight,
        };
        ProxyStatus {
            workers: self.workers.lock().len(),
            connections: self.shared.metrics.connections.load(Relaxed),
            exchanges: self.shared.metrics.exchanges.load(Relaxed),
            snapshot: live.id(),
            routes: live.table.routes.len(),
            upstreams: live
                .upstreams()
                .iter()
                .map(|(name, group)| UpstreamStatus {
                    name: name.clone(),
                    endpoints: group.status().into_iter().map(endpoint).collect(),
                })
                .collect(),
        }
    }

    /// Stops accepting, lets running exchanges finish for `timeout`, then ends the workers.
    ///
    /// # Cancel safety
    /// Dropping the future goes on with ending the workers, but does not wait for them.
    pub async fn drain(&self, timeout: Duration) {
        let workers = std::mem::take(&mut *self.workers.lock());
        let mut threads = Vec::new();
        for mut worker in workers {
            // a worker that has ended already needs no command
            let _ended = worker.commands.try_send(Command::Drain(timeout));
            threads.extend(worker.thread.take());
        }
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker thread panicked");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("workers could not be joined");
        }
        let live = self.shared.live.load_full();
        let flushed = tokio::task::spawn_blocking(move || {
            let logs = live.apis.arms().filter_map(|arm| arm.access_log.as_ref());
            logs.for_each(|log| log.flush());
        });
        if flushed.await.is_err() {
            tracing::error!("access logs could not be written to their end");
        }
    }
}
