//! APIs and domains of the configuration file: part of the model for as long as the file has them. Their stages serve the API as the file has it, with the
//! live versions of its plugins, so that nothing of them has to be kept.

use std::{collections::BTreeMap, sync::Arc};

use edgeward_core::config::{Config, Plugin, Problem};
use edgeward_proxy::{ApisInput, StageInput};
use edgeward_runtime::PluginVersion;
use serde_json::{Value, json};

use super::{
    Applied, Deployer,
    apis::{Actor, Deployed, Ready, auto_deploy, checked_arm, entry, pin_id},
    redact,
};
use crate::{
    access::{Authority, GATEWAY},
    bundle::Bundle,
    error::{ControlError, Faults},
    file,
    model::{Draft, Key, Kind, Model, Pin, Pinning},
    store::{AuditEntry, AuditQuery},
};

/// What a configuration file has of the model, and its plugins, by the path of the resource, as the audit log may tell it.
type Told = BTreeMap<String, Value>;

/// Puts what the file has of the API model beside what is kept of it, and names the loaded plugins that its stages serve with.
///
/// # Errors
/// Everything in it that is not possible.
pub(super) fn add(applied: &mut Applied) -> Result<(), ControlError> {
    if !has_any(&applied.file) {
        return Ok(());
    }
    let kept = applied.model.kept();
    let model = beside(&applied.file, &kept, &|name, _live_only| live(applied, name))?;
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

/// What is noted of a file that comes into effect.
pub(super) struct Noting {
    entries: Vec<AuditEntry>,
    before: Told,
    told: Told,
}

impl Deployer {
    /// What the audit log is to be told of the file's part of a model: an entry for each resource that is not as it was when the log was last told.
    /// `action`: `start` or `reload`.
    pub(super) fn noting(&self, next: &Applied, action: &str) -> Noting {
        let before = self.shared.store.told_of_file();
        let mut told = told(&next.model);
        told.extend(plugins(next, &before));
        let mut noting = Noting {
            entries: Vec::new(),
            before,
            told,
        };
        if noting.before == noting.told {
            return noting;
        }
        let actor = Actor::named(GATEWAY, Authority::all());
        let digest =
            file::json(&*next.file).map(|file| edgeward_runtime::digest(file.to_string().as_bytes()));
        let detail = digest
            .ok()
            .map(|digest| json!({"configuration": digest.to_string()}));
        // those that were there from the beginning are no change
        let knows_plugins = noting.before.contains_key(PLUGINS) || !self.is_log_new();
        let is_noted = |path: &str| knows_plugins || !path.starts_with(PLUGINS);
        let patches = differences(&noting.before, &noting.told).into_iter();
        noting.entries = patches
            .filter(|(path, _)| is_noted(path))
            .map(|(path, patch)| AuditEntry {
                detail: detail.clone(),
                ..entry(&actor, action, &path, "done", Some(patch))
            })
            .collect();
        noting
    }

    /// Notes it, and remembers that it was noted. Where only that is not possible, it is noted again another time.
    ///
    /// # Errors
    /// The store refuses.
    pub(super) fn note_file(&self, noting: &Noting) -> Result<(), ControlError> {
        if !noting.entries.is_empty() {
            let kept = &self.shared.store.model;
            kept.change_documents(&[], &noting.entries, &self.shared.audit_key)?;
        }
        if noting.before != noting.told {
            self.keep_told(&noting.told);
        }
        Ok(())
    }

    /// Notes that what was noted did not come into effect.
    ///
    /// # Errors
    /// The store refuses.
    pub(super) fn take_back_file(&self, noting: &Noting) -> Result<(), ControlError> {
        if noting.before != noting.told {
            self.keep_told(&noting.before);
        }
        if noting.entries.is_empty() {
            return Ok(());
        }
        let actor = Actor::named(GATEWAY, Authority::all());
        self.note(&actor, "take-back", "apis", "refused", None, None)
    }

    fn is_log_new(&self) -> bool {
        let one = AuditQuery {
            limit: 1,
            ..AuditQuery::default()
        };
        let entries = self.shared.store.model.audit(&one);
        entries.is_ok_and(|entries| entries.is_empty())
    }

    fn keep_told(&self, told: &Told) {
        if let Err(error) = self.shared.store.keep_told_of_file(told) {
            tracing::error!(%error, "what the audit log was told of the configuration file could not be kept: it may be told again");
        }
    }
}

fn told(model: &Model) -> Told {
    let documents = model.of_file().map(|(key, document)| {
        let mut body = document.body.clone();
        // which deployment a stage serves follows from the rest, and from the versions of plugins that are live
        if let (Kind::Stage, Some(stage)) = (key.kind, body.as_object_mut()) {
            stage.remove("deployment");
            stage.remove("previous");
        }
        (key.path(), redact::told(body))
    });
    documents.collect()
}

/// Path of all plugins together: there as soon as the log is told of them.
const PLUGINS: &str = "plugins";

/// The file's plugins: the digest of the module, and a fingerprint of the settings. Of one in whose place another version is live, the digest is that of before.
fn plugins(next: &Applied, before: &Told) -> Told {
    let told = next.file.plugins.iter().filter_map(|(name, plugin)| {
        let path = format!("{PLUGINS}/{name}");
        let mut settings = file::json(plugin).ok()?;
        settings.as_object_mut()?.remove("module");
        let settings = edgeward_runtime::digest(settings.to_string().as_bytes());
        let module = match next.live.get(name) {
            None => next.plugins.get(name)?.version.digest().to_string().into(),
            Some(_) => before
                .get(&path)
                .map_or(Value::Null, |before| before["module"].clone()),
        };
        Some((path, json!({"module": module, "settings": settings.to_string()})))
    });
    let all = (PLUGINS.to_owned(), json!({}));
    told.chain([all]).collect()
}

/// Paths of what differs, and the JSON Patches from what was to what is.
fn differences(before: &Told, after: &Told) -> Vec<(String, Value)> {
    let nothing = json!({});
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| {
            let of = |told: &Told| told.get(path).unwrap_or(&nothing).clone();
            let patch = json_patch::diff(&of(before), &of(after));
            let patch = serde_json::to_value(&patch).unwrap_or_default();
            (path.clone(), redact::with_tests(&of(before), &patch))
        })
        .collect()
}

/// Whether a file says anything of the API model.
pub(super) fn has_any(config: &Config) -> bool {
    !config.apis.is_empty() || !config.domains.is_empty()
}

/// The model with what a file has of it, deployed.
fn beside(config: &Config, kept: &Model, pin: Pinning<'_>) -> Result<Model, ControlError> {
    let mut draft = Bundle::of_file(config).beside(kept)?;
    let mut faults = Faults::default();
    faults.take(auto_deploy(&mut draft, pin))?;
    faults.take(draft.check())?;
    faults.extend(taken_names(&draft, &config.api_domain));
    faults.end()?;
    Ok(draft.model)
}

/// Domains of a change that would take names of APIs, which are theirs below `api_domain`, whether they are there already or not.
pub(super) fn taken_names(draft: &Draft, api_domain: &str) -> Vec<Problem> {
    let api_domain = api_domain.to_ascii_lowercase();
    let is_below = |name: &str, parent: &str| {
        let above = name.strip_suffix(parent);
        above.is_some_and(|above| above.ends_with('.'))
    };
    let takes = |name: &String| match name.strip_prefix("*.") {
        Some(suffix) => {
            suffix == api_domain || is_below(suffix, &api_domain) || is_below(&api_domain, suffix)
        }
        None => is_below(name, &api_domain),
    };
    let mut domains = draft.changed(Kind::Domain);
    domains.retain(|name| draft.model.get(&Key::top(Kind::Domain, name)).is_some() && takes(name));
    let problem = |name: String| {
        let message =
            format!("`{name}` is for APIs' own names, `{{api}}.{api_domain}`, which no domain takes");
        Problem::new(format!("domains/{name}"), message).hint("choose another name, or another `api-domain`")
    };
    domains.into_iter().map(problem).collect()
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
    let pin = |name: &str, _live_only: Option<u64>| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Expect;

    #[test]
    fn names_of_apis_are_no_domains() {
        let mut draft = Draft::new(&Model::default());
        let names = [
            "pets.apis.example",
            "a.pets.apis.example",
            "*.apis.example",
            "*.pets.apis.example",
            "*.example",
            "apis.example",
            "petsapis.example",
            "*.other.example",
            "pets.example",
        ];
        for name in names {
            draft
                .put(&Key::top(Kind::Domain, name), json!({}), Expect::Any)
                .unwrap();
        }
        let problems = taken_names(&draft, "APIs.example");
        let mut taken: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let mut wanted: Vec<_> = names
            .iter()
            .take(5)
            .map(|name| format!("domains/{name}"))
            .collect();
        taken.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(taken, wanted);
        // those that are there already stay
        assert_eq!(taken_names(&Draft::new(&draft.model), "apis.example"), []);
    }
}
