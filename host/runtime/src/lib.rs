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
mod capabilities;
mod engine;
mod exchange;
mod failure;
mod interest;
mod manifest;
mod session;
mod state;
mod stats;
mod version;
mod wasi;

use std::{
    fmt::Write as _,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use wasmtime::{Engine, component::Linker};

pub use artifact::digest;
pub use exchange::{ContextValue, Exchange, Peer, RequestHead, ResponseHead, RouteInfo, is_framing};
pub use failure::{FailureKind, LoadError, PluginFailure};
pub use interest::{BodyMode, Interest};
pub use manifest::{ModuleInfo, WIT_PACKAGE, WIT_SERVED};
pub use session::{
    Answer, BodyAction, BodyState, Decision, ExchangeSlot, HeadAction, Outcome, Session, Verdict,
};
pub use stats::StatsView;
pub use version::{LoadReport, PluginVersion, VersionSpec};

/// Settings of the runtime.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Folder for compiled code; none compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Key of the MAC over compiled code; kept by the process, never shared.
    pub cache_key: [u8; 32],
    /// Instances that can exist at once, over all plugins and workers. Each reserves 4 GiB of address space, not of memory. Default 2000.
    pub instances: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_key: rand::random(),
            instances: 2000,
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
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<state::HostState>,
    pub(crate) linker_wasi: Linker<state::HostState>,
    pub(crate) cache: Option<artifact::Cache>,
    pub(crate) stores: capabilities::kv::Stores,
    pub(crate) versions: Mutex<Vec<Weak<PluginVersion>>>,
    pub(crate) compiled: AtomicU64,
    _ticker: engine::Ticker,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
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
        let engine = Engine::new(&engine::config(options.instances)).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        bindings::Plugin::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)
            .map_err(failed)?;
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
        let ticker = engine::Ticker::start(&engine).map_err(RuntimeError::Thread)?;
        Ok(Self(Arc::new(RuntimeInner {
            engine,
            linker,
            linker_wasi,
            cache,
            stores: capabilities::kv::Stores::default(),
            versions: Mutex::default(),
            compiled: AtomicU64::new(0),
            _ticker: ticker,
        })))
    }

    /// What a module is. Parses, compiles nothing.
    ///
    /// # Errors
    /// When the bytes are no Edgeward plugin.
    pub fn inspect(&self, wasm: &[u8]) -> Result<ModuleInfo, LoadError> {
        version::inspect(wasm)
    }

    /// Makes a version of a module: validate, check imports against grants, `init`, snapshot, compile. CPU heavy: not for a data plane thread.
    ///
    /// # Errors
    /// Texts for the operator who deploys.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but a possible temporary file in the cache folder, removed at the next start.
    pub async fn load(&self, wasm: &[u8], spec: VersionSpec) -> Result<Arc<PluginVersion>, LoadError> {
        version::load(&self.0, wasm, spec).await
    }

    /// Modules compiled since the start (cache misses).
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    /// Appends the metrics of all live versions in the Prometheus text format.
    pub fn metrics_text(&self, out: &mut String) {
        let versions: Vec<_> = self.0.versions.lock().iter().filter_map(Weak::upgrade).collect();
        let mut calls = String::new();
        let mut failures = String::new();
        let mut rest = String::new();
        let mut custom = String::new();
        for version in &versions {
            let labels = format!(
                "plugin=\"{}\",version=\"{}\",digest=\"{}\"",
                version.name(),
                version.version(),
                version.digest().short()
            );
            let view = version.stats();
            for (phase, count) in &view.calls {
                line(
                    &mut calls,
                    "edgeward_plugin_calls_total",
                    &format!("{labels},phase=\"{phase}\""),
                    count,
                );
            }
            for (kind, count) in &view.failures {
                line(
                    &mut failures,
                    "edgeward_plugin_failures_total",
                    &format!("{labels},kind=\"{kind}\""),
                    count,
                );
            }
            for (name, value) in [
                ("edgeward_plugin_call_microseconds_total", view.call_us),
                ("edgeward_plugin_instances_total", view.instances),
                ("edgeward_plugin_instances_live", view.live_instances),
                ("edgeward_plugin_memory_peak_bytes", view.memory_peak),
                ("edgeward_plugin_log_lines_dropped_total", view.log_lines_dropped),
                ("edgeward_plugin_denied_calls_total", view.denied_calls),
                ("edgeward_plugin_metrics_dropped_total", view.metrics_dropped),
                ("edgeward_plugin_breaker_open", u64::from(version.breaker_open())),
            ] {
                line(&mut rest, name, &labels, &value);
            }
            for (name, value) in version.stats.custom_view() {
                let labels = format!("{labels},name=\"{name}\"");
                match value {
                    stats::Custom::Counter(total) => {
                        line(&mut custom, "edgeward_plugin_custom_total", &labels, &total)
                    }
                    stats::Custom::Distribution { count, sum } => {
                        line(&mut custom, "edgeward_plugin_custom_count", &labels, &count);
                        line(&mut custom, "edgeward_plugin_custom_sum", &labels, &sum);
                    }
                }
            }
        }
        for part in [calls, failures, rest, custom] {
            out.push_str(&part);
        }
        line(out, "edgeward_modules_compiled_total", "", &self.compiled());
    }
}

fn line(out: &mut String, name: &str, labels: &str, value: &dyn std::fmt::Display) {
    // writing to a String cannot fail
    let _unused = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}
