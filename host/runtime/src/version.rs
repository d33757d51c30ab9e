//! A live version of a plugin binding: from the bytes of a module to something that requests can be run through.
//! validate -> grants -> init -> snapshot -> compile -> `InstancePre`, or all of it from the cache.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use edgeward_core::{
    config::{Isolation, OnError, Plugin, Reuse},
    ids::Digest,
    phase::Phase,
};
use parking_lot::Mutex;
use serde::Serialize;
use wasmtime::{
    Engine, Store,
    component::{Component, InstancePre, Linker},
};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

use crate::{
    RuntimeInner,
    artifact::{self, Cache, Meta},
    bindings::exports::edgeward::plugin as hooks,
    breaker::Breaker,
    capabilities::{Capabilities, matcher::Matcher},
    decisions::Decisions,
    failure::{Exceeded, FailureKind, LoadError},
    instance::Idle,
    interest::Interest,
    manifest::{self, ModuleInfo, Wrong},
    memory::Image,
    rewind,
    session::bounded,
    state::{Budget, CpuMeter, HostState, Mode},
    stats::{Stats, StatsView},
    wasi::{self, Frozen},
};

/// What to make a version of.
#[derive(Clone, Debug)]
pub struct VersionSpec {
    /// Name of the binding.
    pub name: String,
    /// Number of the version; 0 is what the configuration file says.
    pub version: u64,
    /// The binding's settings.
    pub settings: Plugin,
    /// Folder that relative paths in grants start from.
    pub base_dir: PathBuf,
    /// It runs beside the live version and must have no effect: its stores are its own, and it sends requests of safe methods only (RFC 9110 section 9.2.1).
    pub shadow: bool,
}

/// What happened while a version was made.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LoadReport {
    /// What the plugin asked for.
    #[schemars(with = "crate::interest::Text")]
    pub interest: Interest,
    /// `taken`, or why there is none.
    pub snapshot: String,
    /// How instances are shared: `request` or `reuse(requests, ttl)`.
    pub isolation: String,
    /// With isolation `request`: `rewind` when one instance is put back to the snapshot between requests, else why each request gets an instance made for it.
    pub instances: String,
    /// True when compiled code came from the cache.
    pub from_cache: bool,
    /// Time for `init`, in milliseconds, instrumenting and compiling for it included; 0 from the cache.
    pub init_ms: f64,
    /// Time for the snapshot, in milliseconds; 0 from the cache.
    pub snapshot_ms: f64,
    /// Time to compile or to read from the cache, in milliseconds.
    pub compile_ms: f64,
    /// Everything, in milliseconds.
    pub total_ms: f64,
    /// Size of the component that runs (with its snapshot), in bytes; 0 from the cache.
    pub component_bytes: u64,
    /// Capabilities that the module imports, does not need with this configuration and was not granted: calls to them are refused.
    pub ungranted: Vec<String>,
}

/// A live version of a binding.
pub struct PluginVersion {
    pub(crate) runtime: Arc<RuntimeInner>,
    pub(crate) pre: InstancePre<HostState>,
    pub(crate) indices: Indices,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) matchers: Arc<[Matcher]>,
    pub(crate) snapshotted: bool,
    pub(crate) config: String,
    pub(crate) reuse: Option<Reuse>,
    /// Instances are put back to the snapshot after a request and used again.
    pub(crate) rewinds: bool,
    /// What the memory of a new instance holds; there while there are instances.
    pub(crate) image: Mutex<Option<Arc<Image>>>,
    /// Idle instances for reuse; one list per worker thread, so that the locks are not contended.
    pub(crate) idle: [Idle; IDLE_LISTS],
    pub(crate) breaker: Breaker,
    pub(crate) decisions: Option<Arc<Decisions>>,
    pub(crate) uses_wasi: bool,
    /// True when a call may wait for something outside, so that wall time has to be watched.
    pub(crate) may_wait: bool,
    on_error: Option<OnError>,
    info: ModuleInfo,
    report: LoadReport,
}

/// Lists of idle instances.
pub(crate) const IDLE_LISTS: usize = 16;

impl std::fmt::Debug for PluginVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PluginVersion({} version {} {})",
            self.name(),
            self.version(),
            self.digest().short()
        )
    }
}

/// Where the exports of a component are, looked up once.
pub(crate) struct Indices {
    pub(crate) lifecycle: hooks::lifecycle::GuestIndices,
    pub(crate) authorize: Option<hooks::authorize::GuestIndices>,
    pub(crate) transform: Option<hooks::transform::GuestIndices>,
    pub(crate) inspect: Option<hooks::inspect::GuestIndices>,
    pub(crate) observe: Option<hooks::observe::GuestIndices>,
}

impl Indices {
    fn new(pre: &InstancePre<HostState>, exported: &[String]) -> wasmtime::Result<Self> {
        let has = |name: &str| exported.iter().any(|hook| hook == name);
        Ok(Self {
            lifecycle: hooks::lifecycle::GuestIndices::new(pre)?,
            authorize: has("authorize")
                .then(|| hooks::authorize::GuestIndices::new(pre))
                .transpose()?,
            transform: has("transform")
                .then(|| hooks::transform::GuestIndices::new(pre))
                .transpose()?,
            inspect: has("inspect")
                .then(|| hooks::inspect::GuestIndices::new(pre))
                .transpose()?,
            observe: has("observe")
                .then(|| hooks::observe::GuestIndices::new(pre))
                .transpose()?,
        })
    }
}

impl PluginVersion {
    /// Name of the binding.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.capabilities.plugin
    }
    /// The name, shared.
    #[must_use]
    pub fn shared_name(&self) -> &Arc<str> {
        &self.capabilities.plugin
    }
    /// Number of the version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.capabilities.version
    }
    /// Module.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.info.digest
    }
    /// What the module is.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }
    /// How it was made.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }
    /// Throws decisions away that its own `decision-cache` keeps: those about a principal, or all. How many went.
    pub fn flush_decisions(&self, principal: Option<&str>) -> usize {
        let decisions = self.decisions.as_ref();
        decisions.map_or(0, |decisions| decisions.flush(principal))
    }

    /// What it asked for.
    #[must_use]
    pub fn interest(&self) -> &Interest {
        &self.report.interest
    }
    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> StatsView {
        self.stats.view()
    }
    /// True while its breaker is open.
    #[must_use]
    pub fn breaker_open(&self) -> bool {
        self.breaker.is_open()
    }
    /// Largest body that it may collect, in bytes.
    #[must_use]
    pub fn body_limit(&self) -> u64 {
        self.capabilities.limits.body.0
    }
    /// What happens to a request when it fails in this phase.
    #[must_use]
    pub fn on_error(&self, phase: Phase) -> &OnError {
        self.on_error.as_ref().unwrap_or(if phase == Phase::Observe {
            &OnError::Open
        } else {
            &OnError::Closed
        })
    }

    /// A store for a new instance.
    pub(crate) fn store(&self, mode: Mode, frozen: &Frozen) -> Store<HostState> {
        new_store(
            self.runtime.engine_for(self.rewinds),
            &self.capabilities,
            &self.stats,
            &self.matchers,
            self.uses_wasi,
            mode,
            frozen,
        )
    }
}

fn new_store(
    engine: &Engine,
    capabilities: &Arc<Capabilities>,
    stats: &Arc<Stats>,
    matchers: &Arc<[Matcher]>,
    uses_wasi: bool,
    mode: Mode,
    frozen: &Frozen,
) -> Store<HostState> {
    let state = HostState {
        exchange: None,
        budget: Budget::of(&capabilities.limits),
        wasi: uses_wasi.then(|| Box::new(wasi::context(capabilities.limits.log_lines, frozen))),
        capabilities: Arc::clone(capabilities),
        stats: Arc::clone(stats),
        mode,
        matchers: Arc::clone(matchers),
        built: Vec::new(),
        memory_used: 0,
        memory_refused: false,
        cpu: CpuMeter::default(),
        cpu_limit: Duration::MAX,
        panic: None,
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(HostState::on_tick);
    store
}

/// Everything that loading needs to know while it goes on.
struct Loading {
    runtime: Arc<RuntimeInner>,
    spec: VersionSpec,
    info: ModuleInfo,
    capabilities: Arc<Capabilities>,
    stats: Arc<Stats>,
    config: String,
    uses_wasi: bool,
    /// Imports without a grant.
    ungranted: Vec<String>,
}

/// What came out of compiling.
struct Compiled {
    component: Component,
    /// The component's code is mapped from a file of the cache.
    mapped: bool,
    interest: Interest,
    matchers: Vec<Matcher>,
    no_snapshot: Option<String>,
    no_rewind: Option<String>,
    from_cache: bool,
    init_ms: f64,
    snapshot_ms: f64,
    compile_ms: f64,
    component_bytes: u64,
}

/// A module that was read: its bytes as a component, and what they say of themselves. Serves any number of versions.
pub struct Module<'a> {
    component: Cow<'a, [u8]>,
    info: ModuleInfo,
}

impl<'a> Module<'a> {
    /// Parses, compiles nothing. `plugin` is for the error.
    ///
    /// # Errors
    /// When the bytes are no Edgeward plugin.
    pub fn read(plugin: &str, wasm: impl Into<Cow<'a, [u8]>>) -> Result<Self, LoadError> {
        let wasm = wasm.into();
        let digest = artifact::digest(&wasm);
        let size = wasm.len() as u64;
        let read = || {
            let (component, kind) = manifest::component(wasm)?;
            let info = manifest::read(&component, kind, digest, size)?;
            Ok(Self { component, info })
        };
        read().map_err(|wrong| wrong_module(plugin, digest, wrong))
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }
}

fn wrong_module(plugin: &str, digest: Digest, wrong: Wrong) -> LoadError {
    let plugin = plugin.to_owned();
    match wrong {
        Wrong::Invalid(message) => LoadError::Invalid {
            plugin,
            digest,
            message,
        },
        Wrong::World(message) => LoadError::WrongWorld {
            plugin,
            digest,
            message,
        },
    }
}

fn host(plugin: &str, message: impl std::fmt::Display) -> LoadError {
    LoadError::Host {
        plugin: plugin.to_owned(),
        message: message.to_string(),
    }
}

pub(crate) async fn load(
    runtime: &Arc<RuntimeInner>,
    module: &Module<'_>,
    spec: VersionSpec,
) -> Result<Arc<PluginVersion>, LoadError> {
    let started = Instant::now();
    let info = module.info.clone();
    let digest = info.digest;
    let ungranted: Vec<String> = info
        .capabilities
        .iter()
        .filter(|name| !manifest::granted(name, &spec.settings.grants))
        .cloned()
        .collect();
    // WASI cannot be answered with a refusal: a guest that imports it needs it from its first instruction on
    if ungranted.iter().any(|name| name == "wasi") {
        return Err(LoadError::NotGranted {
            plugin: spec.name,
            digest,
            message: "wasi".to_owned(),
        });
    }
    let capabilities = Capabilities::open(
        Arc::from(spec.name.as_str()),
        spec.version,
        digest,
        spec.settings.limits.clone(),
        &spec.settings.grants,
        &spec.base_dir,
        (!spec.shadow).then_some(&runtime.stores),
    )
    .map_err(|message| host(&spec.name, message))?;
    let loading = Loading {
        runtime: Arc::clone(runtime),
        uses_wasi: info.capabilities.iter().any(|name| name == "wasi"),
        capabilities: Arc::new(capabilities),
        stats: runtime.stats_of(&spec, digest),
        config: spec.settings.config.to_string(),
        ungranted,
        info,
        spec,
    };
    let compiled = loading.compile(&module.component).await?;
    let version = loading.finish(compiled, started)?;
    // after a start there may be many versions, and few of them in use
    if !version.report.from_cache && !version.interest().phases.is_empty() {
        version.warm().await;
    }
    Ok(version)
}

impl Loading {
    async fn compile(&self, component: &[u8]) -> Result<Compiled, LoadError> {
        let engine = &self.runtime.engine;
        let started = Instant::now();
        let memory = self.capabilities.limits.memory.0;
        let rewind = self.may_rewind().is_ok();
        let key = Cache::key(engine, &self.info.digest.0, &self.config, memory, rewind);
        let engine = |meta: &Meta| self.runtime.engine_for(meta.no_rewind.is_none());
        if let Some(cache) = &self.runtime.cache
            && let Some((component, meta)) = cache.load(engine, &key)
        {
            let matchers = meta
                .matchers
                .into_iter()
                .map(Matcher::build)
                .collect::<Result<Vec<_>, _>>();
            return Ok(Compiled {
                component,
                mapped: true,
                interest: self.checked(meta.interest)?,
                matchers: matchers.map_err(|error| host(&self.spec.name, error))?,
                no_snapshot: meta.no_snapshot,
                no_rewind: meta.no_rewind,
                from_cache: true,
                init_ms: 0.0,
                snapshot_ms: 0.0,
                compile_ms: ms(started),
                component_bytes: 0,
            });
        }
        let mut compiled = self.compile_anew(component).await?;
        self.runtime.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(cache) = &self.runtime.cache {
            let meta = Meta {
                interest: compiled.interest.clone(),
                matchers: compiled
                    .matchers
                    .iter()
                    .map(|matcher| matcher.source.clone())
                    .collect(),
                no_snapshot: compiled.no_snapshot.clone(),
                no_rewind: compiled.no_rewind.clone(),
            };
            cache.store(&key, &compiled.component, &meta);
            // code in a file takes no memory while it is not used
            if let Some((component, _)) = cache.load(engine, &key) {
                compiled.component = component;
                compiled.mapped = true;
            }
        }
        Ok(compiled)
    }

    /// Whether instances of this binding can be rewound whatever the module is.
    fn may_rewind(&self) -> Result<(), String> {
        if self.uses_wasi {
            Err("it uses WASI, whose state is the host's".to_owned())
        } else if matches!(self.spec.settings.isolation, Isolation::Reuse(_)) {
            Err("isolation is `reuse`".to_owned())
        } else if self.runtime.rewound.is_none() {
            Err("this system does not tell which pages were written".to_owned())
        } else {
            Ok(())
        }
    }

    async fn compile_anew(&self, component: &[u8]) -> Result<Compiled, LoadError> {
        let started = Instant::now();
        let wizer = Wizer::new();
        let (instrumented, mut no_snapshot) = match wizer.instrument_component(component) {
            Ok(instrumented) => (Some(instrumented), None),
            Err(error) => (None, Some(format!("the module cannot be snapshotted: {error:#}"))),
        };
        let bytes = instrumented.as_ref().map_or(component, |(_, bytes)| bytes);
        let known = self.runtime.for_init.lock().get(&self.info.digest).cloned();
        let for_init = match known {
            Some(known) => known,
            None => self.compiled_component(bytes, false).await?,
        };
        self.runtime
            .for_init
            .lock()
            .put(self.info.digest, for_init.clone());
        let frozen = Frozen::default();
        let mut store = new_store(
            &self.runtime.engine,
            &self.capabilities,
            &self.stats,
            &Arc::from([]),
            self.uses_wasi,
            Mode::Init,
            &frozen,
        );
        let linker = self.linker();
        store
            .data_mut()
            .begin_call(Mode::Init, self.capabilities.limits.init_time.0);
        let _running = self.runtime.running.enter();
        let instance = linker
            .instantiate_async(&mut store, &for_init)
            .await
            .map_err(|error| self.init_failed(&mut store, &error))?;
        let interest = self.run_init(&mut store, &instance, &frozen).await;
        store.data_mut().write_output();
        let interest = interest?;
        let init_ms = ms(started);
        if frozen.seed.load(Ordering::Relaxed) {
            no_snapshot = Some("init took a seed for hash tables (wasi:random/insecure-seed), which must differ between instances".to_owned());
        }
        let matchers = std::mem::take(&mut store.data_mut().built);
        let started = Instant::now();
        let snapshot = match (&instrumented, &no_snapshot) {
            (Some((context, _)), None) => {
                match wizer
                    .snapshot_component(
                        context,
                        &mut WasmtimeWizerComponent {
                            store: &mut store,
                            instance,
                        },
                    )
                    .await
                {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        no_snapshot = Some(format!("the snapshot failed: {error:#}"));
                        None
                    }
                }
            }
            _ => None,
        };
        drop(store);
        let snapshot_ms = ms(started);
        let started = Instant::now();
        let rewound = match &snapshot {
            Some(bytes) => self.may_rewind().and_then(|()| rewind::prepare(bytes)),
            None => Err("there is no snapshot".to_owned()),
        };
        let (component, component_bytes) = match (&rewound, &snapshot, instrumented) {
            (Ok(bytes), ..) => (self.compiled_component(bytes, true).await?, bytes.len()),
            (_, Some(bytes), _) => (self.compiled_component(bytes, false).await?, bytes.len()),
            // without instrumentation the component for init is the original one
            (_, None, None) => (for_init, component.len()),
            (_, None, Some(_)) => (self.compiled_component(component, false).await?, component.len()),
        };
        Ok(Compiled {
            component,
            mapped: false,
            interest,
            matchers,
            no_snapshot,
            no_rewind: rewound.err(),
            from_cache: false,
            init_ms,
            snapshot_ms,
            compile_ms: ms(started),
            component_bytes: component_bytes as u64,
        })
    }

    /// Compiles on threads of its own.
    async fn compiled_component(&self, bytes: &[u8], rewound: bool) -> Result<Component, LoadError> {
        let engine = self.runtime.engine_for(rewound).clone();
        let bytes = bytes.to_vec();
        let (done, compiled) = tokio::sync::oneshot::channel();
        self.runtime.compilers.spawn(move || {
            let compiled = catch_unwind(AssertUnwindSafe(|| Component::new(&engine, bytes)));
            // nobody waits when the deployment was given up
            let _ignored = done.send(compiled);
        });
        let invalid = |message| LoadError::Invalid {
            plugin: self.spec.name.clone(),
            digest: self.info.digest,
            message,
        };
        match compiled.await {
            Ok(Ok(Ok(component))) => Ok(component),
            Ok(Ok(Err(error))) => Err(invalid(format!("{error:#}"))),
            Ok(Err(_)) | Err(_) => Err(invalid("the module makes the compiler fail".to_owned())),
        }
    }

    fn linker(&self) -> &Linker<HostState> {
        if self.uses_wasi {
            &self.runtime.linker_wasi
        } else {
            &self.runtime.linker
        }
    }

    async fn run_init(
        &self,
        store: &mut Store<HostState>,
        instance: &wasmtime::component::Instance,
        frozen: &Frozen,
    ) -> Result<Interest, LoadError> {
        let pre = instance.instance_pre(&*store);
        let answer = match hooks::lifecycle::GuestIndices::new(&pre)
            .and_then(|indices| indices.load(&mut *store, instance))
        {
            Ok(guest) => {
                let wall = self.capabilities.limits.init_time.0.saturating_mul(4);
                bounded(Some(wall), guest.call_init(&mut *store, &self.config)).await
            }
            Err(error) => Err(error),
        };
        let answer = answer.map_err(|error| self.init_failed(store, &error))?;
        if frozen.refused.load(Ordering::Relaxed) {
            return Err(LoadError::InitFailed {
                plugin: self.spec.name.clone(),
                kind: FailureKind::Denied,
                message: "init may not use a clock (wasi:clocks): the time would be frozen into the snapshot"
                    .to_owned(),
            });
        }
        match answer {
            Ok(interest) => self.checked(Interest::from_wit(interest)),
            Err(message) => Err(LoadError::InitRefused {
                plugin: self.spec.name.clone(),
                message,
            }),
        }
    }

    fn checked(&self, interest: Interest) -> Result<Interest, LoadError> {
        let settings = &self.spec.settings;
        let missing: Vec<_> = interest
            .capabilities
            .iter()
            .filter(|name| !manifest::granted(name, &settings.grants))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(LoadError::NotGranted {
                plugin: self.spec.name.clone(),
                digest: self.info.digest,
                message: missing.join(", "),
            });
        }
        if settings.decision_cache.is_some() && !interest.phases.has(Phase::Authorize) {
            return Err(LoadError::Interest {
                plugin: self.spec.name.clone(),
                message: "`decision-cache` is for plugins that ask for the phase `authorize`".to_owned(),
            });
        }
        match interest.check(&self.info.hooks, &settings.limits) {
            Ok(()) => Ok(interest),
            Err(message) => Err(LoadError::Interest {
                plugin: self.spec.name.clone(),
                message,
            }),
        }
    }

    fn init_failed(&self, store: &mut Store<HostState>, error: &wasmtime::Error) -> LoadError {
        let (kind, message) = classify(store.data_mut(), error);
        LoadError::InitFailed {
            plugin: self.spec.name.clone(),
            kind,
            message,
        }
    }

    fn finish(self, compiled: Compiled, started: Instant) -> Result<Arc<PluginVersion>, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::WrongWorld {
            plugin: self.spec.name.clone(),
            digest: self.info.digest,
            message: format!("{error:#}"),
        };
        let rewinds = compiled.no_rewind.is_none();
        let linker = match &self.runtime.rewound {
            Some(rewound) if rewinds => &rewound.linker,
            _ => self.linker(),
        };
        let pre = linker.instantiate_pre(&compiled.component).map_err(failed)?;
        let indices = Indices::new(&pre, &self.info.hooks).map_err(failed)?;
        let snapshotted = compiled.no_snapshot.is_none();
        let reuse = match (self.spec.settings.isolation, snapshotted) {
            (Isolation::Reuse(reuse), _) => Some(reuse),
            (Isolation::Request, false) => Some(Reuse::default()),
            (Isolation::Request, true) => None,
        };
        let isolation = reuse.map_or_else(
            || "request".to_owned(),
            |reuse| format!("reuse({}, {})", reuse.requests, reuse.ttl),
        );
        let report = LoadReport {
            interest: compiled.interest,
            snapshot: compiled.no_snapshot.unwrap_or_else(|| "taken".to_owned()),
            isolation,
            instances: compiled.no_rewind.unwrap_or_else(|| "rewind".to_owned()),
            from_cache: compiled.from_cache,
            init_ms: compiled.init_ms,
            snapshot_ms: compiled.snapshot_ms,
            compile_ms: compiled.compile_ms,
            total_ms: ms(started),
            component_bytes: compiled.component_bytes,
            ungranted: self.ungranted,
        };
        let version = Arc::new(PluginVersion {
            runtime: Arc::clone(&self.runtime),
            pre,
            indices,
            may_wait: self.uses_wasi || self.info.capabilities.iter().any(|name| name == "http"),
            capabilities: self.capabilities,
            stats: self.stats,
            matchers: compiled.matchers.into(),
            snapshotted,
            config: self.config,
            reuse,
            rewinds,
            image: Mutex::default(),
            idle: Default::default(),
            breaker: Breaker::new(self.spec.settings.breaker.clone()),
            decisions: self.spec.settings.decision_cache.as_ref().map(Decisions::new),
            uses_wasi: self.uses_wasi,
            on_error: self.spec.settings.on_error,
            info: self.info,
            report,
        });
        let mut versions = self.runtime.versions.lock();
        versions.retain(|known| known.strong_count() > 0);
        versions.push(Arc::downgrade(&version));
        drop(versions);
        if compiled.mapped {
            artifact::rest(&compiled.component);
        }
        Ok(version)
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// What kind of failure an error of wasmtime is, and its text for the operator.
pub(crate) fn classify(state: &mut HostState, error: &wasmtime::Error) -> (FailureKind, String) {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return (exceeded.kind, exceeded.message.clone());
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return (FailureKind::Capacity, format!("{error}"));
    }
    if state.memory_refused {
        let limit = state.capabilities.limits.memory;
        return (
            FailureKind::Memory,
            format!("asked for more than {limit} of memory and did not survive the refusal"),
        );
    }
    // wasmtime has no type for this one (`Store::set_hostcall_fuel`)
    if error
        .root_cause()
        .to_string()
        .contains("fuel allocated for hostcalls")
    {
        let limits = &state.capabilities.limits;
        return (
            FailureKind::HostBuffer,
            format!(
                "passed more to the host at once than the largest of `limits.host-buffers` of {}, `limits.body` of {} and `limits.egress` of {}",
                limits.host_buffers, limits.body, limits.egress
            ),
        );
    }
    let text = trap_text(error);
    match state.panic.take() {
        Some(panic) => (FailureKind::Trap, format!("{panic}: {text}")),
        None => (FailureKind::Trap, text),
    }
}

/// Cause and the first frames of a trap, with file and line where the module has them.
fn trap_text(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return cause;
    };
    let mut places = backtrace.frames().iter().filter_map(|frame| {
        let name = frame.func_name().unwrap_or("?");
        let symbol = frame.symbols().iter().find(|symbol| symbol.file().is_some());
        let place = symbol.and_then(|symbol| Some(format!("{}:{}", symbol.file()?, symbol.line()?)));
        let name = symbol.and_then(|symbol| symbol.name()).unwrap_or(name);
        let plumbing = ["core::", "std::", "alloc::", "__rust", "rust_panic", "abort"]
            .iter()
            .any(|front| name.starts_with(front));
        (!plumbing).then(|| place.map_or_else(|| name.to_owned(), |place| format!("{name} at {place}")))
    });
    let shown: Vec<_> = places.by_ref().take(4).collect();
    if shown.is_empty() {
        cause
    } else {
        format!("{cause}: in {}", shown.join(", from "))
    }
}
