//! APIs and domains of the configuration file: part of the model for as long as the file has them. Their stages serve the API as the file has it, with the
//! live versions of its plugins, so that nothing of them has to be kept.

use std::{collections::BTreeMap, sync::Arc};

use edgeward_core::config::{Config, Plugin};
use edgeward_proxy::{ApisInput, StageInput};
use edgeward_runtime::PluginVersion;

use super::{
    Applied,
    apis::{Deployed, Ready, auto_deploy, checked_arm, pin_id},
};
use crate::{
    bundle::Bundle,
    error::ControlError,
    file,
    model::{Model, Pin, Pinning},
};

/// Puts what the file has of the API model beside what is kept of it, and names the loaded plugins that its stages serve with.
///
/// # Errors
/// Everything in it that is not possible.
pub(super) fn add(applied: &mut Applied) -> Result<(), ControlError> {
    if !has_any(&applied.file) {
        return Ok(());
    }
    let kept = applied.model.kept();
    let model = beside(&applied.file, &kept, &|name| live(applied, name))?;
    let loaded = applied
        .plugins
        .iter()
        .map(|(name, loaded)| Ok((pin_id(name, &live(applied, name)?, None), loaded.clone())));
    let loaded: Vec<_> = loaded.collect::<Result<_, ControlError>>()?;
    let mut deployed = Deployed::clone(&applied.deployed);
    deployed.know(loaded);
    applied.model = Arc::new(model);
    applied.deployed = Arc::new(deployed);
    Ok(())
}

/// Whether a file says anything of the API model.
pub(super) fn has_any(config: &Config) -> bool {
    !config.apis.is_empty() || !config.domains.is_empty()
}

/// The model with what a file has of it, deployed.
fn beside(config: &Config, kept: &Model, pin: Pinning<'_>) -> Result<Model, ControlError> {
    let mut draft = Bundle::of_file(config).beside(kept)?;
    draft.check()?;
    auto_deploy(&mut draft, pin)?;
    Ok(draft.model)
}

/// A binding as it is now, module and all: the file's deployments follow it.
fn live(applied: &Applied, name: &str) -> Result<Pin, ControlError> {
    let plugin = applied.effective.plugins.get(name).zip(applied.plugins.get(name));
    let (plugin, loaded) = plugin.ok_or_else(|| super::unknown(&applied.file, name))?;
    pinned(&loaded.version, plugin)
}

fn pinned(version: &PluginVersion, plugin: &Plugin) -> Result<Pin, ControlError> {
    Ok(Pin {
        version: version.version(),
        module: version.digest(),
        settings: file::json(plugin)?,
    })
}

/// What a file's APIs would be served with, to look for problems before there is a gateway. `kept` is the model of the data folder.
///
/// # Errors
/// Everything in the file's APIs and domains that is not possible.
pub fn trial(
    config: &Config,
    kept: &Model,
    plugins: &BTreeMap<String, Arc<PluginVersion>>,
) -> Result<ApisInput, ControlError> {
    let pin = |name: &str| {
        let plugin = config.plugins.get(name).zip(plugins.get(name));
        let (plugin, version) = plugin.ok_or_else(|| super::unknown(config, name))?;
        pinned(version, plugin)
    };
    let model = beside(config, kept, &pin)?;
    let mut stages = BTreeMap::new();
    for api in config.apis.keys() {
        for (name, stage) in model.stages(api)? {
            let Some(deployment) = stage.deployment else {
                continue;
            };
            let definition = Arc::new(model.definition(api)?);
            let engine = definition.api.template_engine.as_ref();
            let ready = Ready {
                engine: engine.and_then(|name| plugins.get(name)).cloned(),
                plugins: plugins.clone(),
                definition,
            };
            let input = StageInput {
                api: api.as_str().into(),
                stage: name.as_str().into(),
                control: checked_arm(api, &name, &deployment, ready, &stage.variables)?,
                canary: None,
                settings: stage.settings.clone(),
                access_log: None,
            };
            stages.insert((api.clone(), name), input);
        }
    }
    Deployed::of_stages(stages).input(&model, &config.api_domain)
}
