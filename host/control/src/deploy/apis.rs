//! Changes of the API model: a draft is checked, made ready and built into a snapshot, then kept together with what the audit log says of it, then
//! published. Whatever fails ends the change; what ran before still runs.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Instant};

use edgeward_core::{
    api::{AccessLog, Definition, LogFormat, Stage},
    config::{ModuleRef, Plugin, Problems},
    ids::Digest,
};
use edgeward_proxy::{ApisInput, ArmCounts, ArmInput, CanaryInput, DomainInput, LogDestination, StageInput};
use edgeward_runtime::PluginVersion;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Applied, Deployer, Shared, load,
    load::{Loaded, Unkept},
    redact::{with_tests, without_secrets},
};
use crate::{
    access::Authority,
    clock::{now_ms, rfc3339},
    error::{ControlError, Faults},
    file,
    model::{Deployment, Difference, Draft, Key, Kind, Model, Pin, Pinning, Wanted, lacking},
    store::{AuditEntry, Store},
};

/// Who makes a change.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Name of the principal.
    pub principal: String,
    /// What it may do.
    pub authority: Authority,
    /// How it was known.
    pub authentication: Option<String>,
    /// Address that the call came from.
    pub source: Option<String>,
    /// What its client calls itself.
    pub user_agent: Option<String>,
    /// Id of the call.
    pub request_id: Option<String>,
    /// SHA-256 of the `Idempotency-Key` of the call, if it came with one.
    pub idempotency_key: Option<Digest>,
}

impl Actor {
    /// Somebody of whom only the name is known.
    #[must_use]
    pub fn named(principal: &str, authority: Authority) -> Self {
        Self {
            principal: principal.to_owned(),
            authority,
            authentication: None,
            source: None,
            user_agent: None,
            request_id: None,
            idempotency_key: None,
        }
    }
}

/// What a change did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edited {
    /// What differs.
    pub changes: Vec<Difference>,
    /// Snapshot that requests get from now on, if that is another one.
    pub snapshot: Option<u64>,
    /// Milliseconds from the call to the moment that it was in effect.
    pub took_ms: u64,
}

/// APIs that are deployed, as the data plane gets them.
#[derive(Clone, Default)]
pub struct Deployed {
    stages: BTreeMap<(String, String), StageInput>,
    /// Loaded plugins by what is pinned.
    plugins: BTreeMap<Digest, Loaded>,
}

/// What an arm of a stage serves, and has served.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ArmView {
    /// The deployment.
    pub deployment: String,
    /// Requests and failures so far.
    #[schema(value_type = Value)]
    pub served: ArmCounts,
    /// 99th percentile of the time to the response head so far, in milliseconds, to an eighth of it.
    pub p99_ms: Option<f64>,
}

impl Deployer {
    /// The API model.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        Arc::clone(&self.applied().model)
    }

    /// Changes the API model. Runs to its end even if the caller goes away. With `dry_run` everything is done but keeping and publishing.
    ///
    /// # Errors
    /// Whatever `make` refuses, and everything that keeps the result from being served: nothing has changed then.
    pub async fn edit<T: Send + 'static>(
        &self,
        actor: Actor,
        action: &'static str,
        dry_run: bool,
        make: impl FnOnce(&mut Draft, Pinning<'_>) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<(T, Edited), ControlError> {
        let this = self.clone();
        let outcome =
            tokio::spawn(async move { this.edit_locked(&actor, action, dry_run, make).await }).await;
        outcome.unwrap_or(Err(ControlError::Panicked))
    }

    async fn edit_locked<T>(
        &self,
        actor: &Actor,
        action: &'static str,
        dry_run: bool,
        make: impl FnOnce(&mut Draft, Pinning<'_>) -> Result<T, ControlError>,
    ) -> Result<(T, Edited), ControlError> {
        let started = Instant::now();
        let _guard = self.shared.change.lock().await;
        let proxy = self.ready()?;
        let applied = self.applied();
        let store = &self.shared.store;
        let mut draft = Draft::new(&applied.model);
        let mut faults = Faults::default();
        let (value, unkept) = {
            let unkept = RefCell::default();
            let pin = |name: &str, version| pin(&applied, store, &unkept, name, version);
            let value = make(&mut draft, &pin)?;
            faults.take(auto_deploy(&mut draft, &pin))?;
            (value, unkept.take())
        };
        for (key, before, after) in draft.touched() {
            if !actor.authority.may_change(key, before, after) {
                return Err(actor.authority.refusal(key));
            }
        }
        faults.take(draft.check())?;
        faults.take(super::certificates::check_domains(&draft, &applied.certificates))?;
        faults.extend(super::of_file::taken_names(&draft, &applied.effective.api_domain));
        faults.end()?;
        let changes = draft.differences();
        let edited = |snapshot| Edited {
            changes: changes.clone(),
            snapshot,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if draft.is_empty() {
            return Ok((value, edited(None)));
        }
        let entries = entries(actor, action, &draft, &changes);
        let mut next = (*applied).clone();
        next.model = Arc::new(draft.model.clone());
        if !draft.is_served() {
            if !dry_run {
                let kept = &store.model;
                kept.change_documents(&draft.changes(), &entries, &self.shared.audit_key)?;
                self.shared.applied.store(Arc::new(next));
            }
            return Ok((value, edited(None)));
        }
        next.deployed = Arc::new(
            self.deploy_stages(&next, &applied, &draft.apis(), &unkept)
                .await?,
        );
        let shadows = draft.changed(Kind::Shadow);
        if !shadows.is_empty() {
            next.shadows = Arc::new(self.shadows(&next, &shadows).await?);
        }
        next.at = now_ms();
        let snapshot = super::build(&next, Some(&proxy.current()))?;
        if dry_run {
            return Ok((value, edited(None)));
        }
        let id = snapshot.id();
        self.keep_modules(&unkept)?;
        store
            .model
            .change_documents(&draft.changes(), &entries, &self.shared.audit_key)?;
        if let Err(error) = proxy.publish(snapshot) {
            let taken_back = [entry(actor, "take-back", "apis", "refused", None)];
            store
                .model
                .change_documents(&draft.inverse(), &taken_back, &self.shared.audit_key)?;
            return Err(error.into());
        }
        self.shared.applied.store(Arc::new(next));
        let edited = edited(Some(id));
        tracing::info!(
            principal = actor.principal,
            action,
            changes = edited.changes.len(),
            snapshot = id,
            elapsed_ms = edited.took_ms,
            "the API model was changed"
        );
        Ok((value, edited))
    }

    /// Makes the files of modules that are part of deployments from now on part of the store.
    fn keep_modules(&self, unkept: &Unkept) -> Result<(), ControlError> {
        let Shared { store, runtime, .. } = &*self.shared;
        for (digest, path) in unkept {
            let bytes = load::read_module_as(path, *digest)?;
            store.keep_bytes(&bytes, || {
                let info = runtime.inspect(&bytes).ok();
                info.and_then(|info| serde_json::to_value(info).ok())
                    .unwrap_or_default()
            })?;
        }
        Ok(())
    }

    /// Removes a module that nothing is made of: no plugin of the configuration file, no version, no deployment.
    ///
    /// # Errors
    /// Not there, or in use.
    pub async fn remove_module(&self, module: Digest) -> Result<(), ControlError> {
        // nothing is deployed meanwhile
        let _guard = self.shared.change.lock().await;
        let applied = self.applied();
        let wanted = ModuleRef::Digest(module);
        let mut plugins = applied.file.plugins.iter();
        if let Some((name, _)) = plugins.find(|(_, plugin)| plugin.module == wanted) {
            let problem = format!("module {module} is used by plugin `{name}` in the configuration file");
            return Err(ControlError::Conflict(problem));
        }
        if let Some((api, deployment)) = applied.model.deployment_with(module) {
            let problem = format!("module {module} is part of deployment `{deployment}` of API `{api}`");
            return Err(ControlError::Conflict(problem));
        }
        Ok(self.shared.store.forget(module)?)
    }

    /// Notes what happened beside the API model, or did not: what was there before turned into what is there now, and what else there is to say.
    ///
    /// # Errors
    /// The store refuses.
    pub fn note(
        &self,
        actor: &Actor,
        action: &str,
        target: &str,
        outcome: &str,
        patch: Option<&Value>,
        detail: Option<Value>,
    ) -> Result<(), ControlError> {
        let entry = AuditEntry {
            detail,
            ..entry(actor, action, target, outcome, patch.map(without_secrets))
        };
        let kept = &self.shared.store.model;
        Ok(kept.change_documents(&[], &[entry], &self.shared.audit_key)?)
    }

    /// Whether the audit log is as it was written.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn check_audit(&self) -> Result<crate::store::AuditCheck, ControlError> {
        Ok(self.shared.store.model.check_audit(&self.shared.audit_key)?)
    }

    /// What stages serve, after changes of `apis`; all others are as they were in `before`. `unkept`: modules that are not in the store yet.
    pub(super) async fn deploy_stages(
        &self,
        next: &Applied,
        before: &Applied,
        apis: &[String],
        unkept: &Unkept,
    ) -> Result<Deployed, ControlError> {
        let mut deployed = (*before.deployed).clone();
        let shared = &self.shared;
        let loader = load::Loader::new(&shared.runtime, &shared.store, &shared.recent, &next.base_dir)
            .with_unkept(unkept);
        let mut faults = Faults::default();
        for api in apis {
            deployed.stages.retain(|(of, _), _| of != api);
            if next.model.get(&Key::top(Kind::Api, api)).is_none() {
                continue;
            }
            for (name, stage) in next.model.stages(api)? {
                let old = before.deployed.stages.get(&(api.clone(), name.clone()));
                let input = stage_input(
                    &next.model,
                    api,
                    &name,
                    &stage,
                    old,
                    &loader,
                    &mut deployed.plugins,
                );
                if let Some(Some(input)) = faults.take(input.await)? {
                    deployed.stages.insert((api.clone(), name), input);
                }
            }
        }
        faults.end()?;
        deployed.forget_unused();
        Ok(deployed)
    }

    /// What the arms of a stage have served: the first one, and the canary if there is one.
    ///
    /// # Errors
    /// No such stage, or it serves nothing.
    pub fn arms(&self, api: &str, stage: &str) -> Result<(ArmView, Option<ArmView>), ControlError> {
        let key = Key::of(Kind::Stage, api, stage);
        let document: Stage = self.model().read(&key)?;
        let counts = self
            .proxy()
            .and_then(|proxy| proxy.current().arm_counts(api, stage));
        let (Some(deployment), Some((control, canary))) = (document.deployment, counts) else {
            return Err(ControlError::Conflict(format!(
                "stage `{stage}` of API `{api}` serves nothing"
            )));
        };
        let view = |deployment: String, served: ArmCounts| ArmView {
            deployment,
            p99_ms: served.p99_ms(),
            served,
        };
        let canary = document
            .canary
            .zip(canary)
            .map(|(canary, counts)| view(canary.deployment, counts));
        Ok((view(deployment, control), canary))
    }
}

/// An entry for each change; those of deployments, and of stages that serve another one, say which modules are in it.
fn entries(actor: &Actor, action: &str, draft: &Draft, changes: &[Difference]) -> Vec<AuditEntry> {
    let modules_in = |body: &Value| {
        let plugins = body.get("plugins").and_then(Value::as_object)?;
        let modules = plugins
            .iter()
            .map(|(name, pin)| (name.clone(), pin["module"].clone()));
        let modules: serde_json::Map<String, Value> = modules.collect();
        (!modules.is_empty()).then_some(Value::Object(modules))
    };
    let modules_of = |key: &Key, before: Option<&Value>, after: Option<&Value>| match key.kind {
        Kind::Deployment => Some(json!({"modules": modules_in(after.or(before)?)?})),
        Kind::Stage => {
            // both arms: what it serves to all, and to some
            let arms = [
                ("modules", "/deployment"),
                ("canary-modules", "/canary/deployment"),
            ];
            let modules = arms.into_iter().filter_map(|(name, place)| {
                let served = |body: Option<&Value>| Some(body?.pointer(place)?.as_str()?.to_owned());
                let now = served(after).filter(|now| Some(now) != served(before).as_ref())?;
                let deployment = Key::of(Kind::Deployment, &key.parent, &now);
                Some((name.to_owned(), modules_in(&draft.model.get(&deployment)?.body)?))
            });
            let modules: serde_json::Map<String, Value> = modules.collect();
            (!modules.is_empty()).then_some(Value::Object(modules))
        }
        _ => None,
    };
    let modules: BTreeMap<String, Value> = draft
        .touched()
        .filter_map(|(key, before, after)| Some((key.path(), modules_of(key, before, after)?)))
        .collect();
    let entry_of = |change: &Difference| {
        let what = if action == "edit" { change.action } else { action };
        let patch = without_secrets(&with_tests(&change.before, &change.patch));
        AuditEntry {
            detail: modules.get(&change.path).cloned(),
            ..entry(actor, what, &change.path, "done", Some(patch))
        }
    };
    changes.iter().map(entry_of).collect()
}

/// An entry of the audit log.
pub(crate) fn entry(
    actor: &Actor,
    action: &str,
    target: &str,
    outcome: &str,
    patch: Option<Value>,
) -> AuditEntry {
    AuditEntry {
        at: rfc3339(now_ms()),
        principal: actor.principal.clone(),
        authentication: actor.authentication.clone(),
        source: actor.source.clone(),
        user_agent: actor.user_agent.clone(),
        request_id: actor.request_id.clone(),
        idempotency_key: actor.idempotency_key.map(|digest| digest.to_string()),
        action: action.to_owned(),
        target: target.to_owned(),
        outcome: outcome.to_owned(),
        patch,
        detail: None,
    }
}

/// Deploys APIs that changed to the stages that want that.
///
/// # Errors
/// Everything that keeps any of them from being deployed.
pub(super) fn auto_deploy(draft: &mut Draft, pin: Pinning<'_>) -> Result<(), ControlError> {
    let mut faults = Faults::default();
    for (api, stages) in draft.stages_to_deploy()? {
        let wanted = Wanted {
            stages: stages
                .iter()
                .map(|stage| (stage.clone(), BTreeMap::new()))
                .collect(),
            ..Wanted::default()
        };
        let Some(deployment) = faults.take(draft.deploy(&api, wanted, pin))? else {
            continue;
        };
        for name in stages {
            draft.edit_stage(&api, &name, |stage| {
                stage.deployment = Some(deployment.clone());
                Ok(())
            })?;
        }
    }
    faults.end()
}

/// A version of a binding as a deployment keeps it: the one with the number, else the live one. A module that is a file becomes part of the store with
/// the deployment.
fn pin(
    applied: &Applied,
    store: &Store,
    unkept: &RefCell<Unkept>,
    name: &str,
    version: Option<u64>,
) -> Result<Pin, ControlError> {
    let live = applied.live.get(name).map_or(0, |row| row.version);
    let plugin = match version {
        Some(version) => super::binding(applied, store, name, version)?,
        None => applied
            .effective
            .plugins
            .get(name)
            .cloned()
            .ok_or_else(|| super::unknown(&applied.file, name))?,
    };
    let module = match &plugin.module {
        ModuleRef::Digest(digest) => *digest,
        ModuleRef::File(path) => {
            let path = applied.base_dir.join(path);
            let bytes = load::read_module(&path).map_err(|error| {
                ControlError::invalid(
                    format!("plugins.{name}.module"),
                    format!("cannot read {}: {error}", path.display()),
                )
            })?;
            let digest = edgeward_runtime::digest(&bytes);
            if !store.has(digest) {
                unkept.borrow_mut().insert(digest, path);
            }
            digest
        }
    };
    pinned(&plugin, version.unwrap_or(live), module)
}

pub(super) fn pinned(plugin: &Plugin, version: u64, module: Digest) -> Result<Pin, ControlError> {
    let plugin = Plugin {
        module: ModuleRef::Digest(module),
        ..plugin.clone()
    };
    Ok(Pin {
        version,
        module,
        settings: file::json(&plugin)?,
    })
}

async fn stage_input(
    model: &Model,
    api: &str,
    name: &str,
    stage: &Stage,
    old: Option<&StageInput>,
    loader: &load::Loader<'_>,
    plugins: &mut BTreeMap<Digest, Loaded>,
) -> Result<Option<StageInput>, ControlError> {
    let Some(deployment) = &stage.deployment else {
        return Ok(None);
    };
    let known = |id: &str| {
        let arms = old.into_iter().flat_map(|old| {
            std::iter::once(&old.control).chain(old.canary.as_ref().map(|canary| &canary.arm))
        });
        arms.filter(|arm| *arm.deployment == *id)
            .map(|arm| Ready {
                definition: Arc::clone(&arm.definition),
                plugins: arm.plugins.clone(),
                engine: arm.engine.clone(),
            })
            .next()
    };
    let mut faults = Faults::default();
    let mut variables = stage.variables.clone();
    let control = arm_input(
        model,
        api,
        name,
        deployment,
        &variables,
        known(deployment),
        loader,
        plugins,
    );
    let control = faults.take(control.await)?;
    let canary = match &stage.canary {
        None => None,
        Some(canary) => {
            variables.extend(canary.variables.clone());
            let known = known(&canary.deployment);
            let arm = arm_input(
                model,
                api,
                name,
                &canary.deployment,
                &variables,
                known,
                loader,
                plugins,
            );
            faults.take(arm.await)?.map(|arm| CanaryInput {
                arm,
                percent: canary.percent,
                sticky: canary.sticky.clone(),
            })
        }
    };
    let access_log = stage.access_log.as_ref();
    let access_log = faults.take(access_log.map(|log| log_of(api, log, loader)).transpose())?;
    faults.end()?;
    Ok(control.map(|control| StageInput {
        api: api.into(),
        stage: name.into(),
        control,
        canary,
        settings: stage.settings.clone(),
        access_log: access_log.flatten(),
    }))
}

fn log_of(
    api: &str,
    log: &AccessLog,
    loader: &load::Loader<'_>,
) -> Result<(LogFormat, LogDestination), ControlError> {
    let format = LogFormat::parse(&log.format)
        .map_err(|message| ControlError::invalid("access-log.format", message))?;
    let destination = log.file().map_or(LogDestination::Stdout, |name| {
        LogDestination::File(loader.data_dir().join("access-logs").join(api).join(name))
    });
    Ok((format, destination))
}

/// A deployment with its plugins loaded.
pub(super) struct Ready {
    pub(super) definition: Arc<Definition>,
    pub(super) plugins: BTreeMap<String, Arc<PluginVersion>>,
    pub(super) engine: Option<Arc<PluginVersion>>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "one step of the function above, for each of its arms"
)]
async fn arm_input(
    model: &Model,
    api: &str,
    stage: &str,
    deployment: &str,
    variables: &BTreeMap<String, String>,
    known: Option<Ready>,
    loader: &load::Loader<'_>,
    plugins: &mut BTreeMap<Digest, Loaded>,
) -> Result<ArmInput, ControlError> {
    let ready = match known {
        Some(ready) => ready,
        None => {
            let kept: Deployment = model.read(&Key::of(Kind::Deployment, api, deployment))?;
            ready(kept, loader, plugins).await?
        }
    };
    checked_arm(api, stage, deployment, ready, variables)
}

/// An arm whose definition has the stage variables that it needs.
pub(super) fn checked_arm(
    api: &str,
    stage: &str,
    deployment: &str,
    ready: Ready,
    variables: &BTreeMap<String, String>,
) -> Result<ArmInput, ControlError> {
    let problems = lacking(api, stage, &ready.definition, variables);
    if !problems.is_empty() {
        return Err(ControlError::Invalid(Problems(problems)));
    }
    Ok(ArmInput {
        deployment: deployment.into(),
        definition: ready.definition,
        variables: Arc::new(variables.clone()),
        plugins: ready.plugins,
        engine: ready.engine,
    })
}

async fn ready(
    kept: Deployment,
    loader: &load::Loader<'_>,
    plugins: &mut BTreeMap<Digest, Loaded>,
) -> Result<Ready, ControlError> {
    let definition = &kept.definition;
    let scripts = definition.scripts();
    let (mut versions, mut engine) = (BTreeMap::new(), None);
    for (name, pin) in &kept.plugins {
        let is_engine = definition.api.template_engine.as_ref() == Some(name);
        if is_engine && !scripts.is_empty() {
            engine = Some(load_pinned(name, pin, Some(&scripts), loader, plugins).await?);
        }
        if !is_engine || definition.passes(name) {
            versions.insert(name.clone(), load_pinned(name, pin, None, loader, plugins).await?);
        }
    }
    Ok(Ready {
        definition: Arc::new(kept.definition),
        plugins: versions,
        engine,
    })
}

/// What a plugin is known by that was loaded as it is pinned.
pub(super) fn pin_id(name: &str, pin: &Pin, scripts: Option<&BTreeMap<String, String>>) -> Digest {
    edgeward_runtime::digest(json!([name, pin, scripts]).to_string().as_bytes())
}

/// `scripts`: the templates of the API that the plugin renders.
async fn load_pinned(
    name: &str,
    pin: &Pin,
    scripts: Option<&BTreeMap<String, String>>,
    loader: &load::Loader<'_>,
    plugins: &mut BTreeMap<Digest, Loaded>,
) -> Result<Arc<PluginVersion>, ControlError> {
    let id = pin_id(name, pin, scripts);
    let mut plugin: Plugin = serde_json::from_value(pin.settings.clone())
        .map_err(|error| ControlError::invalid(format!("plugins.{name}"), error.to_string()))?;
    if let Some(scripts) = scripts {
        with_scripts(&mut plugin, scripts);
    }
    let loaded = loader
        .load(name, pin.version, &plugin, plugins.get(&id))
        .await
        .map_err(|mut problem| {
            if scripts.is_some() {
                problem.message = format!("does not take the API's templates: {}", problem.message);
            }
            ControlError::Invalid(Problems(vec![problem]))
        })?;
    let version = Arc::clone(&loaded.version);
    plugins.insert(id, loaded);
    Ok(version)
}

/// Puts the templates of an API into the configuration of the plugin that renders them, which takes bodies as large as its limits are.
fn with_scripts(plugin: &mut Plugin, scripts: &BTreeMap<String, String>) {
    if plugin.config.is_null() {
        plugin.config = json!({});
    }
    if let Some(config) = plugin.config.as_object_mut() {
        let limit = plugin.limits.body.0.min(plugin.limits.host_buffers.0);
        config.entry("limit").or_insert_with(|| json!(limit));
        config.insert("templates".to_owned(), json!(scripts));
    }
}

impl Deployed {
    /// Everything that stages of the model serve, for the start and after the configuration file has changed.
    pub(super) async fn of(
        model: &Model,
        loader: &load::Loader<'_>,
        before: &Self,
    ) -> Result<Self, ControlError> {
        let mut deployed = Self {
            stages: BTreeMap::new(),
            plugins: before.plugins.clone(),
        };
        let apis: Vec<String> = model.list(Kind::Api, "").map(|(name, _)| name.clone()).collect();
        let mut faults = Faults::default();
        for api in apis {
            for (name, stage) in model.stages(&api)? {
                let input = stage_input(model, &api, &name, &stage, None, loader, &mut deployed.plugins);
                if let Some(Some(input)) = faults.take(input.await)? {
                    deployed.stages.insert((api.clone(), name), input);
                }
            }
        }
        faults.end()?;
        deployed.forget_unused();
        Ok(deployed)
    }

    /// Stages that are served with plugins of somebody else's.
    pub(super) fn of_stages(stages: BTreeMap<(String, String), StageInput>) -> Self {
        Self {
            stages,
            plugins: BTreeMap::new(),
        }
    }

    /// Takes note of plugins that are loaded already.
    pub(super) fn know(&mut self, plugins: impl IntoIterator<Item = (Digest, Loaded)>) {
        self.plugins.extend(plugins);
    }

    fn forget_unused(&mut self) {
        let arms = self.stages.values().flat_map(|stage| {
            std::iter::once(&stage.control).chain(stage.canary.as_ref().map(|canary| &canary.arm))
        });
        let used: Vec<&Arc<PluginVersion>> = arms
            .flat_map(|arm| arm.plugins.values().chain(&arm.engine))
            .collect();
        self.plugins
            .retain(|_, loaded| used.iter().any(|version| Arc::ptr_eq(version, &loaded.version)));
    }

    /// As the data plane gets it.
    pub(super) fn input(&self, model: &Model, default_domain: &str) -> Result<ApisInput, ControlError> {
        let mut domains = BTreeMap::new();
        for (name, _) in model.list(Kind::Domain, "") {
            let whole = model.domain(name)?;
            let input = DomainInput {
                domain: whole.domain,
                mappings: whole.mappings,
                rules: whole.rules.into_values().collect(),
            };
            domains.insert(name.clone(), input);
        }
        let hidden = self
            .stages
            .values()
            .filter(|stage| stage.control.definition.api.disable_default_endpoint)
            .map(|stage| Arc::clone(&stage.api))
            .collect();
        Ok(ApisInput {
            default_domain: default_domain.to_owned(),
            any: model.list(Kind::Api, "").next().is_some(),
            stages: self.stages.values().cloned().collect(),
            domains,
            hidden,
        })
    }
}
