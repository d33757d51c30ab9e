//! How APIs differ from what their stages serve.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{Applied, Deployer, apis::pinned};
use crate::{
    error::ControlError,
    file,
    model::{Deployment, Key, Kind, Pin, used},
};

/// How an API differs from what a stage serves.
#[derive(Clone, Debug, Serialize)]
pub struct Drift {
    /// What the stage serves.
    deployment: String,
    /// Whether a deployment made now would be another one.
    drifted: bool,
    /// JSON Patch from the API as it is served to the API as it is.
    patch: Value,
    /// Plugins of which a deployment made now would have another version.
    plugins: Vec<OutdatedPlugin>,
}

/// A plugin that a stage serves another version of than a deployment made now would have. Where both numbers are the same, the configuration file says
/// something else of it by now.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OutdatedPlugin {
    /// The binding.
    plugin: String,
    /// Version that is served; none where the API did not use it.
    deployed: Option<u64>,
    /// Version that is live; none where the API does not use it any more, or it is gone.
    live: Option<u64>,
}

impl Deployer {
    /// Difference between an API as it is and as its stages serve it, by stage: as JSON Patch, and by versions of plugins that a deployment made now would
    /// have others of.
    ///
    /// # Errors
    /// No such API.
    pub fn drift(&self, api: &str) -> Result<BTreeMap<String, Drift>, ControlError> {
        let applied = self.applied();
        let model = &applied.model;
        let definition = model.definition(api)?;
        let plugins = match model.is_of_file(&Key::top(Kind::Api, api)) {
            // these follow the live versions
            true => None,
            false => Some(used(&definition).map(|(_place, name)| name).collect()),
        };
        let now = file::json(&definition)?;
        let mut found = BTreeMap::new();
        for (name, stage) in model.stages(api)? {
            let Some(deployment) = stage.deployment else {
                continue;
            };
            let served: Deployment = model.read(&Key::of(Kind::Deployment, api, &deployment))?;
            let patch = json_patch::diff(&file::json(&served.definition)?, &now);
            let plugins = match &plugins {
                None => Vec::new(),
                Some(used) => outdated(&applied, used, &served.plugins)?,
            };
            let drift = Drift {
                deployment,
                drifted: !patch.0.is_empty() || !plugins.is_empty(),
                patch: file::json(&patch)?,
                plugins,
            };
            found.insert(name, drift);
        }
        Ok(found)
    }
}

/// Pins that a deployment made now would have others of.
fn outdated(
    applied: &Applied,
    used: &BTreeSet<&String>,
    deployed: &BTreeMap<String, Pin>,
) -> Result<Vec<OutdatedPlugin>, ControlError> {
    let mut found = Vec::new();
    let names: BTreeSet<&String> = used.iter().copied().chain(deployed.keys()).collect();
    for name in names {
        let live = match (applied.effective.plugins.get(name), applied.plugins.get(name)) {
            (Some(plugin), Some(loaded)) if used.contains(name) => {
                let version = &loaded.version;
                Some(pinned(plugin, version.version(), version.digest())?)
            }
            _ => None,
        };
        if live.as_ref() != deployed.get(name) {
            found.push(OutdatedPlugin {
                plugin: name.clone(),
                deployed: deployed.get(name).map(|pin| pin.version),
                live: live.map(|pin| pin.version),
            });
        }
    }
    Ok(found)
}
