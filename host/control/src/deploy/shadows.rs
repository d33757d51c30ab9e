//! Versions of plugins that run beside the live ones: which there shall be is part of the API model, by name of the binding.

use std::{collections::BTreeMap, sync::Arc};

use edgeward_core::api::ShadowPlan;
use edgeward_proxy::{Shadow, ShadowCounts};
use serde::Serialize;

use super::{
    Applied, Deployer,
    load::{Loaded, Loader},
};
use crate::{
    error::ControlError,
    model::{Key, Kind, missing},
    store::Store,
};

/// Shadows by name of the binding, with what they were loaded from.
pub type Shadows = BTreeMap<String, (Loaded, Arc<Shadow>)>;

/// What a shadow has come to.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowView {
    /// The binding.
    pub plugin: String,
    /// Version that runs beside the live one.
    pub version: u64,
    /// Per cent of exchanges that it sees.
    pub percent: f64,
    /// How it compares, since it runs or the gateway started.
    #[schema(value_type = serde_json::Value)]
    pub counts: ShadowCounts,
}

impl Deployer {
    /// Everything that the model wants to run beside live versions. Those that are not of `changed` may be broken: they do not run.
    ///
    /// # Errors
    /// One of `changed` does not work.
    pub(super) async fn shadows(&self, next: &Applied, changed: &[String]) -> Result<Shadows, ControlError> {
        let shared = &self.shared;
        let loader = Loader::new(&shared.runtime, &shared.store, &shared.recent, &next.base_dir);
        those_that_load(next, &shared.store, &loader, changed).await
    }

    /// Removes a version that neither is live nor runs beside the live one.
    ///
    /// # Errors
    /// Not there, or in use.
    pub async fn remove_version(&self, name: &str, version: u64) -> Result<(), ControlError> {
        // no shadow begins meanwhile
        let _guard = self.shared.change.lock().await;
        let plans = plans(&self.applied())?;
        if plans.get(name).is_some_and(|plan| plan.version == version) {
            return Err(ControlError::Conflict(format!(
                "version {version} of plugin `{name}` runs beside the live one: remove `shadows/{name}` first"
            )));
        }
        Ok(self.shared.store.plugins.remove_version(name, version)?)
    }

    /// What the shadow of a binding has come to.
    ///
    /// # Errors
    /// It has none.
    pub fn shadow(&self, name: &str) -> Result<ShadowView, ControlError> {
        let applied = self.applied();
        let found = applied.shadows.get(name);
        let (_, shadow) = found.ok_or_else(|| missing(&Key::top(Kind::Shadow, name)))?;
        Ok(ShadowView {
            plugin: name.to_owned(),
            version: shadow.version().version(),
            percent: shadow.percent(),
            counts: shadow.counts(),
        })
    }
}

fn plans(applied: &Applied) -> Result<BTreeMap<String, ShadowPlan>, ControlError> {
    applied.model.all(Kind::Shadow, "")
}

/// Those that work: a gateway starts without the others, and says so. Those of `wanted` have to.
pub(super) async fn those_that_load(
    applied: &Applied,
    store: &Store,
    loader: &Loader<'_>,
    wanted: &[String],
) -> Result<Shadows, ControlError> {
    let mut shadows = Shadows::new();
    for (name, plan) in plans(applied)? {
        match load(applied, store, loader, &name, &plan).await {
            Ok(shadow) => drop(shadows.insert(name, shadow)),
            Err(error) if wanted.contains(&name) => return Err(error),
            Err(error) => {
                tracing::warn!(plugin = name, version = plan.version, %error, "a shadow does not run")
            }
        }
    }
    Ok(shadows)
}

async fn load(
    applied: &Applied,
    store: &Store,
    loader: &Loader<'_>,
    name: &str,
    plan: &ShadowPlan,
) -> Result<(Loaded, Arc<Shadow>), ControlError> {
    let plugin = super::binding(applied, store, name, plan.version)?;
    let before = applied.shadows.get(name);
    let loaded = loader
        .load_shadow(name, plan.version, &plugin, before.map(|(loaded, _)| loaded))
        .await
        .map_err(|problem| ControlError::invalid(problem.path, problem.message))?;
    // its counts go on while nothing of it changes
    let same = before.filter(|(_, shadow)| {
        Arc::ptr_eq(shadow.version(), &loaded.version) && shadow.percent().total_cmp(&plan.percent).is_eq()
    });
    let shadow = match same {
        Some((_, shadow)) => Arc::clone(shadow),
        None => Arc::new(Shadow::new(Arc::clone(&loaded.version), plan.percent)),
    };
    Ok((loaded, shadow))
}

/// As the data plane gets them.
pub(super) fn running(shadows: &Shadows) -> BTreeMap<String, Arc<Shadow>> {
    let one = |(name, (_, shadow)): (&String, &(Loaded, Arc<Shadow>))| (name.clone(), Arc::clone(shadow));
    shadows.iter().map(one).collect()
}
