//! The only writer of what runs. Every change - a publication, a rollback, a new configuration file - takes one lock and
//! the same steps: plan, load the plugins that are new, build a snapshot, record it, publish it. A step that fails ends
//! the change; what ran before still runs.

pub mod apis;
mod certificates;
mod drift;
pub(crate) mod judge;
mod load;
mod of_file;
mod pipeline;
mod redact;
mod shadows;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use edgeward_core::{
    config::{Config, Plugin, Problem, Problems},
    ids::Digest,
};
use edgeward_proxy::{Material, Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{PluginVersion, Runtime};
use serde::Serialize;
use serde_json::Value;

use apis::Deployed;
pub use certificates::CertificateView;
pub use drift::Drift;
pub use load::Loaded;
pub use of_file::trial;
pub use pipeline::Element;
pub(crate) use redact::with_tests;
pub use shadows::{ShadowView, Shadows};
pub use status::{LastError, LivePlugin, PluginDetail, ReloadStatus, Status};

use crate::{
    acme::{self, Orders},
    clock::now_ms,
    error::ControlError,
    file::{self, ConfigFile},
    model::Model,
    store::{Action, Store, StoreError, StoredCertificate, VersionRow},
};

/// Damaged deployments that a start names.
const DAMAGED_TOLD: usize = 8;

/// Makes every change to what runs. Cheap to clone.
#[derive(Clone)]
pub struct Deployer {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    store: Arc<Store>,
    path: PathBuf,
    /// The file's configuration at the start, for settings that need a restart.
    started_with: Config,
    started_at: i64,
    /// Files that the configuration file named when it was last read, also if it was refused then: a module that was
    /// missing may appear later.
    named: parking_lot::Mutex<BTreeSet<PathBuf>>,
    proxy: OnceLock<Arc<Proxy>>,
    /// Held by the one change that is under way.
    change: tokio::sync::Mutex<()>,
    applied: ArcSwap<Applied>,
    /// Versions that were loaded lately: a publication after a verification and a rollback need not load again.
    recent: load::Recent,
    reload: parking_lot::Mutex<ReloadStatus>,
    orders: Orders,
    audit_key: [u8; 32],
    published: AtomicU64,
    refused: AtomicU64,
    stopping: AtomicBool,
}

/// What runs.
#[derive(Clone)]
pub struct Applied {
    /// The file's configuration.
    pub file: Arc<Config>,
    /// The same with live versions in place.
    pub effective: Arc<Config>,
    /// Where relative paths begin.
    pub base_dir: PathBuf,
    /// Files as they were when the configuration was loaded, and certificates.
    pub material: Material,
    /// Certificates of the store.
    pub certificates: Arc<BTreeMap<String, StoredCertificate>>,
    /// Live versions that are not the file's.
    pub live: BTreeMap<String, VersionRow>,
    /// Plugins in use.
    pub plugins: BTreeMap<String, Loaded>,
    /// The API model.
    pub model: Arc<Model>,
    /// What of it is served.
    pub deployed: Arc<Deployed>,
    /// Versions of plugins that run beside the live ones.
    pub shadows: Arc<Shadows>,
    /// When it came into effect, milliseconds since 1970.
    pub at: i64,
}

/// Which version shall be live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one, because somebody published it.
    Publish(u64),
    /// This one, because somebody goes back to it; 0 is the configuration file's.
    RollbackTo(u64),
    /// The one that was live before.
    Previous,
}

/// What a publication or rollback did.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    /// The binding.
    pub name: String,
    /// Version that is live now; 0 is the configuration file's.
    pub version: u64,
    /// Version that was live before.
    pub previous_version: u64,
    /// False when the version was live already.
    pub changed: bool,
    /// Snapshot that requests get from now on.
    pub snapshot: u64,
    /// Milliseconds from the call to the moment the version was live.
    pub took_ms: u64,
}

impl Applied {
    fn warn_of_missing_certificates(&self) {
        for warning in certificates::missing(&self.file, &self.certificates) {
            tracing::warn!("{warning}");
        }
    }
}

impl Deployer {
    /// Loads everything for the start: the file's configuration with live versions in place.
    ///
    /// # Errors
    /// All problems of the versions, the plugins and the snapshot.
    pub async fn boot(
        runtime: Runtime,
        store: Arc<Store>,
        file: ConfigFile,
    ) -> Result<(Self, Snapshot), ControlError> {
        let live = store.plugins.live()?;
        let recent = load::Recent::default();
        let published: Vec<String> = live.keys().cloned().collect();
        let hint = |error| suggest_rollback(error, &published, store.root());
        let certificates = Arc::new(store.certificates.read()?);
        let model = Arc::new(Model::new(store.model.documents()?));
        whole(&model)?;
        let audit_key = store.audit_key()?;
        let applied = plan(&runtime, &store, &recent, &file, live, certificates, model, None)
            .await
            .map_err(hint)?;
        let snapshot = build(&applied, None)?;
        applied.warn_of_missing_certificates();
        let now = now_ms();
        let shared = Shared {
            runtime,
            orders: Orders::new(&store),
            audit_key,
            store,
            named: parking_lot::Mutex::new(file::references(&file.config, &file.base_dir)),
            path: file.path,
            started_with: file.config,
            started_at: now,
            proxy: OnceLock::new(),
            change: tokio::sync::Mutex::new(()),
            applied: ArcSwap::from_pointee(applied),
            recent,
            reload: parking_lot::Mutex::new(ReloadStatus::first(now)),
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            snapshot,
        ))
    }

    /// Names the proxy that changes go to, which serves what was loaded for the start. Until then every change is refused.
    pub fn attach(&self, proxy: Arc<Proxy>) {
        if self.shared.proxy.set(proxy).is_err() {
            tracing::error!("a second proxy was attached; the first one stays");
            return;
        }
        let noting = self.noting(&self.applied(), "start");
        // a disk that is full keeps no gateway from its start: what was not noted is the next time
        if let Err(error) = self.note_file(&noting) {
            tracing::error!(%error, "changes of APIs in the configuration file are in effect and not in the audit log");
        }
    }

    /// Refuses changes from now on, and makes `/readyz` say so.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Whether the gateway has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// What runs now.
    #[must_use]
    pub fn applied(&self) -> Arc<Applied> {
        self.shared.applied.load_full()
    }

    /// Certificates that are ordered.
    pub(crate) fn own_orders(&self) -> &Orders {
        &self.shared.orders
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }

    /// The configuration file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The settings that the gateway was started with.
    #[must_use]
    pub fn started_with(&self) -> &Config {
        &self.shared.started_with
    }

    /// Files whose change is a reason to load the configuration again.
    #[must_use]
    pub fn watched_files(&self) -> BTreeSet<PathBuf> {
        let applied = self.applied();
        let mut files = file::references(&applied.file, &applied.base_dir);
        files.extend(self.shared.named.lock().iter().cloned());
        files.insert(std::path::absolute(&self.shared.path).unwrap_or_else(|_| self.shared.path.clone()));
        files
    }

    /// The proxy, once it was attached.
    #[must_use]
    pub fn proxy(&self) -> Option<&Arc<Proxy>> {
        self.shared.proxy.get()
    }

    /// Checks that a version would work: valid settings, module there, plugin loads. Changes nothing.
    ///
    /// # Errors
    /// All problems.
    pub async fn verify(&self, row: &VersionRow) -> Result<Arc<PluginVersion>, ControlError> {
        let applied = self.applied();
        known(&applied.file, &row.name)?;
        let live = BTreeMap::from([(row.name.clone(), row.clone())]);
        let effective = file::effective(&applied.file, &live).map_err(ControlError::Invalid)?;
        let loaded = self
            .load(&effective, &applied.base_dir, &row.name, row.version)
            .await?;
        Ok(loaded.version)
    }

    /// What is wrong with settings of a version by themselves, where its module is not known.
    ///
    /// # Errors
    /// There is no such binding.
    pub fn problems_of_settings(&self, name: &str, settings: Value) -> Result<Vec<Problem>, ControlError> {
        let applied = self.applied();
        known(&applied.file, name)?;
        let row = VersionRow {
            name: name.to_owned(),
            version: 0,
            module: Digest([0; 32]),
            settings,
            created_at: String::new(),
        };
        let tried = file::effective(&applied.file, &BTreeMap::from([(name.to_owned(), row)]));
        Ok(tried.err().map_or_else(Vec::new, |Problems(problems)| problems))
    }

    /// Makes another version of a binding live. Runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// Unknown name or version, or the version does not work: nothing has changed then.
    pub async fn publish(&self, name: &str, target: Target) -> Result<Published, ControlError> {
        let (this, name) = (self.clone(), name.to_owned());
        let outcome = tokio::spawn(async move { this.publish_locked(&name, target).await }).await;
        let outcome = outcome.unwrap_or(Err(ControlError::Panicked));
        let counter = if outcome.is_ok() {
            &self.shared.published
        } else {
            &self.shared.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn publish_locked(&self, name: &str, target: Target) -> Result<Published, ControlError> {
        let started = Instant::now();
        let _guard = self.shared.change.lock().await;
        let proxy = self.ready()?;
        let applied = self.applied();
        known(&applied.file, name)?;
        let journal = &self.shared.store.plugins;
        let previous_version = applied.live.get(name).map_or(0, |row| row.version);
        let version = match target {
            Target::Publish(version) | Target::RollbackTo(version) => version,
            Target::Previous => journal.previous(name)?,
        };
        let outcome = |changed, snapshot| Published {
            name: name.to_owned(),
            version,
            previous_version,
            changed,
            snapshot,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if version == previous_version && target != Target::Previous {
            return Ok(outcome(false, proxy.current().id()));
        }
        let mut next = (*applied).clone();
        match version {
            0 => next.live.remove(name),
            _ => next.live.insert(name.to_owned(), journal.version(name, version)?),
        };
        next.effective = Arc::new(file::effective(&next.file, &next.live).map_err(ControlError::Invalid)?);
        let loaded = self.load(&next.effective, &next.base_dir, name, version).await?;
        next.plugins.insert(name.to_owned(), loaded);
        if of_file::has_any(&next.file) {
            of_file::add(&mut next)?;
            let apis: Vec<String> = next.file.apis.keys().cloned().collect();
            let nothing = load::Unkept::new();
            next.deployed = Arc::new(self.deploy_stages(&next, &next, &apis, &nothing).await?);
        }
        next.at = now_ms();
        let snapshot = build(&next, Some(&proxy.current()))?;
        let id = snapshot.id();
        let receipt = match target {
            Target::Publish(version) => journal.publish(name, version, Action::Publish)?,
            Target::RollbackTo(version) => journal.publish(name, version, Action::Rollback)?,
            Target::Previous => journal.undo(name)?,
        };
        if let Err(error) = proxy.publish(snapshot) {
            journal.revert(receipt)?;
            return Err(error.into());
        }
        self.shared.applied.store(Arc::new(next));
        let outcome = outcome(true, id);
        tracing::info!(
            plugin = name,
            version,
            previous_version,
            snapshot = id,
            elapsed_ms = outcome.took_ms,
            "a version is live"
        );
        Ok(outcome)
    }

    /// Reads the configuration file again and puts it into effect. Runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// All problems; what ran before still runs, and status and metrics say why.
    pub async fn reload(&self) -> Result<(), ControlError> {
        let this = self.clone();
        let attempt = tokio::spawn(async move {
            // held until the outcome is recorded: what status says is the outcome of the last attempt
            let _guard = this.shared.change.lock().await;
            let outcome = this.reload_locked().await;
            this.record(&outcome);
            outcome
        });
        attempt.await.unwrap_or_else(|_panicked| {
            let outcome = Err(ControlError::Panicked);
            self.record(&outcome);
            outcome
        })
    }

    /// Notes how loading the file went.
    fn record(&self, outcome: &Result<(), ControlError>) {
        // a gateway that stops does not report it as a bad file
        if matches!(outcome, Err(ControlError::Unavailable(_))) {
            return;
        }
        let shared = &self.shared;
        let mut status = shared.reload.lock();
        status.finish(now_ms(), outcome.as_ref().err(), &shared.path);
    }

    /// Needs the `change` lock held.
    async fn reload_locked(&self) -> Result<(), ControlError> {
        let proxy = self.ready()?;
        let file = ConfigFile::read(&self.shared.path)?;
        *self.shared.named.lock() = file::references(&file.config, &file.base_dir);
        let before = self.applied();
        let live = self.shared.store.plugins.live()?;
        let Shared {
            runtime,
            store,
            recent,
            ..
        } = &*self.shared;
        let certificates = Arc::clone(&before.certificates);
        let model = Arc::new(before.model.kept());
        let next = plan(
            runtime,
            store,
            recent,
            &file,
            live,
            certificates,
            model,
            Some(&before),
        )
        .await?;
        let snapshot = build(&next, Some(&proxy.current()))?;
        let id = snapshot.id();
        let noting = self.noting(&next, "reload");
        self.note_file(&noting)?;
        if let Err(error) = proxy.publish(snapshot) {
            self.take_back_file(&noting)?;
            return Err(error.into());
        }
        next.warn_of_missing_certificates();
        self.shared.applied.store(Arc::new(next));
        self.shared.orders.look_again();
        tracing::info!(path = %self.shared.path.display(), snapshot = id, "configuration is live");
        for warning in file::needs_restart(&self.shared.started_with, &file.config) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    async fn load(
        &self,
        effective: &Config,
        base_dir: &Path,
        name: &str,
        version: u64,
    ) -> Result<Loaded, ControlError> {
        let Shared {
            runtime,
            store,
            recent,
            ..
        } = &*self.shared;
        let Some(plugin) = effective.plugins.get(name) else {
            return Err(unknown(effective, name));
        };
        let current = self.applied().plugins.get(name).cloned();
        load::Loader::new(runtime, store, recent, base_dir)
            .load(name, version, plugin, current.as_ref())
            .await
            .map_err(|problem| ControlError::Invalid(Problems(vec![problem])))
    }

    fn ready(&self) -> Result<&Arc<Proxy>, ControlError> {
        if self.is_stopping() {
            return Err(ControlError::Unavailable("stopping"));
        }
        self.proxy().ok_or(ControlError::Unavailable("starting"))
    }
}

/// A gateway that cannot start with what is published has no admin API to go back with: says how to.
fn suggest_rollback(error: ControlError, published: &[String], root: &Path) -> ControlError {
    let ControlError::Invalid(Problems(mut problems)) = error else {
        return error;
    };
    for problem in &mut problems {
        let of = |name: &&String| {
            let rest = problem
                .path
                .strip_prefix("plugins.")
                .and_then(|rest| rest.strip_prefix(name.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(name) = published.iter().find(of) {
            let hint = format!(
                "a version of `{name}` is published; to go back: edgeward rollback {name} --offline {}",
                root.display()
            );
            problem.hint.get_or_insert(hint);
        }
    }
    ControlError::Invalid(Problems(problems))
}

/// Refuses names that the configuration file does not have.
fn known(config: &Config, name: &str) -> Result<(), ControlError> {
    if config.plugins.contains_key(name) {
        Ok(())
    } else {
        Err(unknown(config, name))
    }
}

/// A version of a binding as it would run; 0 is the configuration file's.
///
/// # Errors
/// There is no such binding or version, or what the version says is not valid any more.
fn binding(applied: &Applied, store: &Store, name: &str, version: u64) -> Result<Plugin, ControlError> {
    known(&applied.file, name)?;
    let mut said = BTreeMap::new();
    if version > 0 {
        said.insert(name.to_owned(), store.plugins.version(name, version)?);
    }
    let effective = file::effective(&applied.file, &said).map_err(ControlError::Invalid)?;
    let plugin = effective.plugins.get(name).cloned();
    plugin.ok_or_else(|| unknown(&applied.file, name))
}

/// Refuses a data folder whose deployments are not those that were made: what is served would not be what its id says.
fn whole(model: &Model) -> Result<(), StoreError> {
    let mut damaged: Vec<String> = model
        .damaged_deployments()
        .take(DAMAGED_TOLD)
        .map(|key| format!("`{}` of API `{}`", key.name, key.parent))
        .collect();
    if damaged.is_empty() {
        return Ok(());
    }
    damaged.sort();
    Err(StoreError::Conflict(format!(
        "the database is damaged: what is kept of deployment {} is not what was deployed under that name; restore a backup",
        damaged.join(", ")
    )))
}

fn unknown(config: &Config, name: &str) -> ControlError {
    let names: Vec<_> = config.plugins.keys().map(String::as_str).collect();
    let there = if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    ControlError::NotFound(format!(
        "no plugin is called `{name}` in the configuration file ({there})"
    ))
}

/// Works a configuration out and loads its plugins, taking over those of `before` that are the same.
#[expect(
    clippy::too_many_arguments,
    reason = "everything that a configuration is made of"
)]
async fn plan(
    runtime: &Runtime,
    store: &Store,
    recent: &load::Recent,
    file: &ConfigFile,
    live: BTreeMap<String, VersionRow>,
    certificates: Arc<BTreeMap<String, StoredCertificate>>,
    model: Arc<Model>,
    before: Option<&Applied>,
) -> Result<Applied, ControlError> {
    let effective = file::effective(&file.config, &live).map_err(ControlError::Invalid)?;
    let loader = load::Loader::new(runtime, store, recent, &file.base_dir);
    let mut plugins = BTreeMap::new();
    let mut problems: Vec<Problem> = Vec::new();
    for (name, plugin) in &effective.plugins {
        let version = live.get(name).map_or(0, |row| row.version);
        let current = before.and_then(|before| before.plugins.get(name));
        match loader.load(name, version, plugin, current).await {
            Ok(loaded) => drop(plugins.insert(name.clone(), loaded)),
            Err(problem) => problems.push(problem),
        }
    }
    for (name, authority) in &file.config.acme {
        if let Err((key, problem)) = acme::authority::check(authority, &file.base_dir) {
            problems.push(Problem::new(format!("acme.{name}.{key}"), problem));
        }
    }
    if !problems.is_empty() {
        return Err(ControlError::Invalid(Problems(problems)));
    }
    let mut applied = Applied {
        model,
        deployed: before
            .map(|before| Arc::clone(&before.deployed))
            .unwrap_or_default(),
        shadows: before
            .map(|before| Arc::clone(&before.shadows))
            .unwrap_or_default(),
        file: Arc::new(file.config.clone()),
        effective: Arc::new(effective),
        base_dir: file.base_dir.clone(),
        material: Material::new(&file.base_dir, certificates::for_proxy(&certificates)),
        certificates,
        live,
        plugins,
        at: now_ms(),
    };
    of_file::add(&mut applied)?;
    applied.deployed = Arc::new(Deployed::of(&applied.model, &loader, &applied.deployed).await?);
    applied.shadows = Arc::new(shadows::those_that_load(&applied, store, &loader, &[]).await?);
    Ok(applied)
}

fn build(applied: &Applied, previous: Option<&Snapshot>) -> Result<Snapshot, ControlError> {
    let plugins: BTreeMap<String, Arc<PluginVersion>> = applied
        .plugins
        .iter()
        .map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.version)))
        .collect();
    let apis = applied
        .deployed
        .input(&applied.model, &applied.effective.api_domain)?;
    Snapshot::build(SnapshotInput {
        config: &applied.effective,
        material: &applied.material,
        plugins: &plugins,
        shadows: &shadows::running(&applied.shadows),
        apis: &apis,
        previous,
    })
    .map_err(ControlError::Invalid)
}

#[cfg(test)]
mod tests;
