//! Runs plugins: from the bytes of a module to calls with budgets. The only crate that names wasmtime.
//!
//! [`Runtime::load`] makes a [`PluginVersion`] (validate, grants, `init`, snapshot, compile); a [`Session`] runs one version in one exchange.

#[allow(
    clippy::allow_attributes,
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unused_qualifications,
    reason = "generated from wit/; which lints it meets changes with the generator"
)]
mod bindings;

mod artifact;
mod breaker;
mod capabilities;
mod decisions;
mod engine;
mod exchange;
mod failure;
mod instance;
mod interest;
mod manifest;
mod memory;
mod priority;
mod rewind;
mod session;
mod state;
mod stats;
mod ticker;
mod version;
mod wasi;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use edgeward_core::{
    exposition::{
        Exposition,
        Kind::{Counter, Gauge, Summary},
        Label,
    },
    ids::Digest,
};
use lru::LruCache;
use parking_lot::Mutex;
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

/// Modules whose code for `init` is kept.
const FOR_INIT: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

pub use artifact::digest;
pub use decisions::{DecisionCounts, Decisions, Key as DecisionKey};
pub use exchange::{ContextValue, Exchange, Granted, Peer, RequestHead, ResponseHead, RouteInfo, is_framing};
pub use failure::{FailureKind, LoadError, PluginFailure};
pub use interest::{BodyMode, Interest};
pub use manifest::{ModuleInfo, WIT_PACKAGE, WIT_SERVED};
pub use priority::{give_way, go_first};
pub use session::{
    Answer, BodyAction, BodyState, Decision, ExchangeSlot, HeadAction, Outcome, Session, Verdict,
};
pub use stats::StatsView;
pub use version::{LoadReport, Module, PluginVersion, VersionSpec};

/// Settings of the runtime.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Folder for compiled code; none compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Key of the MAC over compiled code; kept by the process, never shared.
    pub cache_key: [u8; 32],
    /// Instances that can exist at once, over all plugins and workers. Each reserves 4 GiB of address space, not of memory. Default 2000.
    pub instances: u32,
    /// Length of an epoch: the granularity of CPU budgets. Default 1 ms; longer ones are for measurements.
    pub tick: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_key: rand::random(),
            instances: 2000,
            tick: Duration::from_millis(1),
        }
    }
}

/// The runtime could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not run on this machine (address space, CPU).
    #[error("plugin engine with {instances} instances: {message}")]
    Engine {
        /// Instances asked for.
        instances: u32,
        /// Why.
        message: String,
    },
    /// The folder for compiled code cannot be used.
    #[error("cache folder {path}: {source}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The epoch thread could not be started.
    #[error("epoch thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// The plugin runtime of a process. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<RuntimeInner>);

pub(crate) struct RuntimeInner {
    /// Instances from the pool.
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<state::HostState>,
    /// Instances that are rewound, where the system can tell which pages of a memory were written.
    pub(crate) rewound: Option<Rewound>,
    pub(crate) linker_wasi: Linker<state::HostState>,
    pub(crate) cache: Option<artifact::Cache>,
    pub(crate) stores: capabilities::kv::Stores,
    pub(crate) versions: Mutex<Vec<Weak<PluginVersion>>>,
    pub(crate) compiled: AtomicU64,
    /// Modules that were compiled for `init` lately, by their digests: the next version of a module often differs in its settings alone.
    pub(crate) for_init: Mutex<LruCache<Digest, Component>>,
    pub(crate) compilers: rayon::ThreadPool,
    /// Most instances at once.
    instances: u32,
    pub(crate) running: Arc<ticker::Running>,
    ticker: OnceLock<ticker::Ticker>,
}

/// The engine for instances that are rewound.
pub(crate) struct Rewound {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<state::HostState>,
    /// Its memories.
    live: Arc<AtomicUsize>,
}

impl Rewound {
    fn new(functions: &Arc<engine::Functions>) -> wasmtime::Result<Self> {
        let live = Arc::default();
        let engine = Engine::new(&engine::rewound(memory::Creator::new(&live), functions)?)?;
        let linker = linker(&engine)?;
        Ok(Self { engine, linker, live })
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<state::HostState>> {
    let mut linker = Linker::new(engine);
    bindings::Plugin::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl RuntimeInner {
    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        std::iter::once(&self.engine).chain(self.rewound.as_ref().map(|rewound| &rewound.engine))
    }

    /// The engine for instances that are rewound, or the one with the pool.
    pub(crate) fn engine_for(&self, rewound: bool) -> &Engine {
        match &self.rewound {
            Some(rewound_engine) if rewound => &rewound_engine.engine,
            _ => &self.engine,
        }
    }

    /// True when there are as many rewound instances as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.rewound
            .as_ref()
            .is_some_and(|rewound| rewound.live.load(Ordering::Relaxed) >= self.instances as usize)
    }

    /// Lets go of instances that nobody has used for `age`.
    pub(crate) fn sweep(&self, age: Duration) {
        let versions: Vec<_> = self.versions.lock().iter().filter_map(Weak::upgrade).collect();
        for version in versions {
            version.sweep(age);
        }
    }

    /// The counters of a version. One that is loaded again with other settings goes on with those of the one before; a shadow has its own.
    fn stats_of(&self, spec: &VersionSpec, digest: Digest) -> Arc<stats::Stats> {
        if spec.shadow {
            return Arc::default();
        }
        let versions = self.versions.lock();
        let known = versions
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|known| !known.capabilities.shadow)
            .find(|known| {
                known.name() == spec.name && known.version() == spec.version && known.digest() == digest
            });
        drop(versions);
        known.map(|known| Arc::clone(&known.stats)).unwrap_or_default()
    }
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// When the pool does not fit into the address space or the cache folder cannot be used.
    pub fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine {
            instances: options.instances,
            message: format!("{error:#}"),
        };
        let functions = Arc::default();
        let config = engine::config(options.instances, &functions).map_err(failed)?;
        let engine = Engine::new(&config).map_err(failed)?;
        let linker = linker(&engine).map_err(failed)?;
        let rewound = match memory::usable() {
            Ok(()) => Some(Rewound::new(&functions).map_err(failed)?),
            Err(error) => {
                tracing::warn!(%error, "instances cannot be rewound on this system: every request gets an instance from the pool, which costs more");
                None
            }
        };
        let mut linker_wasi = linker.clone();
        wasi::link(&mut linker_wasi).map_err(failed)?;
        let cache = match options.cache_dir {
            None => None,
            Some(path) => {
                artifact::clean(&path);
                let cache = artifact::Cache::new(path.clone(), &options.cache_key);
                Some(cache.map_err(|source| RuntimeError::Cache { path, source })?)
            }
        };
        let inner = Arc::new(RuntimeInner {
            engine,
            linker,
            rewound,
            linker_wasi,
            cache,
            stores: capabilities::kv::Stores::default(),
            versions: Mutex::default(),
            compilers: engine::compilers().map_err(RuntimeError::Thread)?,
            compiled: AtomicU64::new(0),
            for_init: Mutex::new(LruCache::new(FOR_INIT)),
            instances: options.instances,
            running: Arc::default(),
            ticker: OnceLock::new(),
        });
        let ticker = ticker::Ticker::start(&inner, options.tick).map_err(RuntimeError::Thread)?;
        inner.ticker.get_or_init(|| ticker);
        Ok(Self(inner))
    }

    /// What a module is. Parses, compiles nothing.
    ///
    /// # Errors
    /// When the bytes are no Edgeward plugin.
    pub fn inspect(&self, wasm: &[u8]) -> Result<ModuleInfo, LoadError> {
        Module::read("", wasm).map(|module| module.info().clone())
    }

    /// Makes a version of a module: validate, check imports against grants, `init`, snapshot, compile. CPU heavy: not for a data plane thread.
    ///
    /// # Errors
    /// Texts for the operator who deploys.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but a possible temporary file in the cache folder, removed at the next start.
    pub async fn load(&self, wasm: &[u8], spec: VersionSpec) -> Result<Arc<PluginVersion>, LoadError> {
        self.load_module(&Module::read(&spec.name, wasm)?, spec).await
    }

    /// As [`Runtime::load`], for a module that was read before.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn load_module(
        &self,
        module: &Module<'_>,
        spec: VersionSpec,
    ) -> Result<Arc<PluginVersion>, LoadError> {
        version::load(&self.0, module, spec).await
    }

    /// Modules compiled since the start (cache misses).
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    /// Adds the metrics of all versions in memory: live ones, and such as requests still run on. What shadows count has no effect.
    pub fn metrics(&self, out: &mut Exposition) {
        let mut versions: Vec<_> = self.0.versions.lock().iter().filter_map(Weak::upgrade).collect();
        versions.retain(|version| !version.capabilities.shadow);
        for (at, version) in versions.iter().enumerate() {
            // versions with the same labels share their counters
            let mut before = versions.iter().take(at);
            if before.any(|other| Arc::ptr_eq(&other.stats, &version.stats)) {
                continue;
            }
            let number = version.version().to_string();
            let digest = version.digest().short();
            let labels = [
                ("plugin", version.name()),
                ("version", &number),
                ("digest", &digest),
            ];
            let view = version.stats();
            let kept = version
                .decisions
                .as_ref()
                .map(|decisions| decisions.counts())
                .unwrap_or_default();
            let mut calls = out.family("edgeward_plugin_calls_total", Counter, "Calls of hooks.");
            for (phase, count) in &view.calls {
                calls.add(&and(labels, ("phase", phase)), count);
            }
            let mut failures = out.family(
                "edgeward_plugin_failures_total",
                Counter,
                "Failed calls of hooks.",
            );
            for (kind, count) in &view.failures {
                failures.add(&and(labels, ("kind", kind)), count);
            }
            for (name, kind, help, value) in [
                (
                    "edgeward_plugin_call_microseconds_total",
                    Counter,
                    "Wall time of calls.",
                    view.call_us,
                ),
                (
                    "edgeward_plugin_instances_total",
                    Counter,
                    "Instances made.",
                    view.instances,
                ),
                (
                    "edgeward_plugin_instances_live",
                    Gauge,
                    "Instances that exist.",
                    view.live_instances,
                ),
                (
                    "edgeward_plugin_memory_peak_bytes",
                    Gauge,
                    "Largest memory of an instance.",
                    view.memory_peak,
                ),
                (
                    "edgeward_plugin_log_lines_dropped_total",
                    Counter,
                    "Log lines above `limits.log-lines`.",
                    view.log_lines_dropped,
                ),
                (
                    "edgeward_plugin_denied_calls_total",
                    Counter,
                    "Host calls that were not granted.",
                    view.denied_calls,
                ),
                (
                    "edgeward_plugin_decisions_reused_total",
                    Counter,
                    "Requests that were let pass by a decision kept from an earlier one.",
                    view.decisions_reused,
                ),
                (
                    "edgeward_plugin_decisions_missed_total",
                    Counter,
                    "Requests with credentials that no decision was kept for.",
                    kept.misses,
                ),
                (
                    "edgeward_plugin_decisions_evicted_total",
                    Counter,
                    "Kept decisions that made room for others.",
                    kept.evictions,
                ),
                (
                    "edgeward_plugin_metrics_dropped_total",
                    Counter,
                    "Changes of metrics of the plugin's own with a bad name or too many names.",
                    view.metrics_dropped,
                ),
                (
                    "edgeward_plugin_breaker_open",
                    Gauge,
                    "1 while the version is not called because it failed too often.",
                    u64::from(version.breaker_open()),
                ),
            ] {
                out.family(name, kind, help).add(&labels, value);
            }
            for (name, value) in version.stats.custom_view() {
                let labels = and(labels, ("name", &name));
                match value {
                    stats::Custom::Counter(total) => {
                        out.family(
                            "edgeward_plugin_custom_total",
                            Counter,
                            "Counters of plugins' own.",
                        )
                        .add(&labels, total);
                    }
                    stats::Custom::Distribution { count, sum } => {
                        out.family(
                            "edgeward_plugin_custom",
                            Summary,
                            "Distributions of plugins' own.",
                        )
                        .part("_count", &labels, count)
                        .part("_sum", &labels, sum);
                    }
                }
            }
        }
        out.family("edgeward_modules_compiled_total", Counter, "Modules compiled.")
            .add(&[], self.compiled());
    }
}

fn and<'a>([first, second, third]: [Label<'a>; 3], fourth: Label<'a>) -> [Label<'a>; 4] {
    [first, second, third, fourth]
}
