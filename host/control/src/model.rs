//! The API model as the control plane holds it: resources by kind, parent and name, each a JSON document of a type in `edgeward_core::api`. A [`Draft`]
//! is a change that is being made; nothing of it is seen before all of it was found to work and was kept.

mod kind;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeward_core::{
    api::{self, Definition, Domain, Mapping, RoutingRule, Stage},
    config::{Problem, Problems},
    ids::Digest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use kind::{Kind, NO_BASE_PATH};
use kind::{response_type, written};

use crate::{clock::now_ms, error::ControlError, store::DocumentChange};

/// Where a resource is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Name of the API or domain that it belongs to; empty for these.
    pub parent: String,
    /// Its name.
    pub name: String,
}

/// A resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says: an object of its kind's type.
    pub body: Value,
    /// Grows with every change of the model; its entity tag.
    pub revision: u64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
}

/// A deployment: an API as it was when it was deployed. Never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deployment {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SHA-256 of definition and plugins.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// Versions of the plugins that routes pass and of the one that renders templates, by name of the binding.
    #[serde(default)]
    pub plugins: BTreeMap<String, Pin>,
    /// The API.
    pub definition: Definition,
}

/// A plugin as a deployment has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pin {
    /// Version of the binding; 0 is the configuration file's.
    pub version: u64,
    /// Its module.
    #[schemars(with = "String")]
    pub module: Digest,
    /// Its settings, as in the configuration file.
    pub settings: Value,
}

/// What a change expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// This revision.
    Revision(u64),
}

impl Key {
    /// A key of a kind without parent.
    #[must_use]
    pub fn top(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            parent: String::new(),
            name: name.to_owned(),
        }
    }

    /// A key of what belongs to something.
    #[must_use]
    pub fn of(kind: Kind, parent: &str, name: &str) -> Self {
        Self {
            kind,
            parent: parent.to_owned(),
            name: name.to_owned(),
        }
    }

    /// As it stands in paths, without encoding: `apis/pets/routes/GET /pets`.
    #[must_use]
    pub fn path(&self) -> String {
        let own = format!("{}/{}", self.kind.collection(), self.name);
        match self.kind.parent() {
            None => own,
            Some(parent) => format!("{}/{}/{own}", parent.collection(), self.parent),
        }
    }

    /// The API that it is or belongs to.
    #[must_use]
    pub fn api(&self) -> Option<&str> {
        match (self.kind, self.kind.parent()) {
            (Kind::Api, _) => Some(&self.name),
            (_, Some(Kind::Api)) => Some(&self.parent),
            _ => None,
        }
    }
}

/// A domain with what belongs to it.
#[derive(Clone, Debug)]
pub struct WholeDomain {
    /// The domain.
    pub domain: Domain,
    /// Mappings by base path, which is empty for none.
    pub mappings: BTreeMap<String, Mapping>,
    /// Rules by name.
    pub rules: BTreeMap<String, RoutingRule>,
}

type Shelf = Arc<BTreeMap<String, Arc<Document>>>;

/// Every resource. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Model {
    shelves: BTreeMap<(Kind, Arc<str>), Shelf>,
    revision: u64,
}

impl Model {
    /// Of everything that was kept.
    #[must_use]
    pub fn new(documents: Vec<(Key, Document)>) -> Self {
        let mut shelves: BTreeMap<(Kind, Arc<str>), BTreeMap<String, Arc<Document>>> = BTreeMap::new();
        let mut revision = 0;
        for (key, document) in documents {
            revision = revision.max(document.revision);
            let shelf = shelves.entry((key.kind, key.parent.as_str().into())).or_default();
            shelf.insert(key.name, Arc::new(document));
        }
        Self {
            shelves: shelves
                .into_iter()
                .map(|(key, shelf)| (key, Arc::new(shelf)))
                .collect(),
            revision,
        }
    }

    /// A resource.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Document>> {
        self.shelf(key.kind, &key.parent)?.get(&key.name)
    }

    /// All of a kind that belong to something, by name.
    pub fn list(&self, kind: Kind, parent: &str) -> impl Iterator<Item = (&String, &Arc<Document>)> {
        self.shelf(kind, parent)
            .into_iter()
            .flat_map(|shelf| shelf.iter())
    }

    fn shelf(&self, kind: Kind, parent: &str) -> Option<&Shelf> {
        // `Arc<str>` is looked up by a key of its own type
        self.shelves.get(&(kind, Arc::from(parent)))
    }

    /// A resource as what it is.
    ///
    /// # Errors
    /// It is not there.
    pub fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<T, ControlError> {
        let document = self.get(key).ok_or_else(|| missing(key))?;
        decoded(key, &document.body)
    }

    fn all<T: DeserializeOwned>(
        &self,
        kind: Kind,
        parent: &str,
    ) -> Result<BTreeMap<String, T>, ControlError> {
        self.list(kind, parent)
            .map(|(name, document)| {
                Ok((
                    name.clone(),
                    decoded(&Key::of(kind, parent, name), &document.body)?,
                ))
            })
            .collect()
    }

    /// An API with everything that is deployed with it.
    ///
    /// # Errors
    /// It is not there.
    pub fn definition(&self, api: &str) -> Result<Definition, ControlError> {
        let responses: BTreeMap<String, api::GatewayResponse> = self.all(Kind::GatewayResponse, api)?;
        Ok(Definition {
            api: self.read(&Key::top(Kind::Api, api))?,
            routes: self.all(Kind::Route, api)?,
            integrations: self.all(Kind::Integration, api)?,
            authorizers: self.all(Kind::Authorizer, api)?,
            models: self.all(Kind::Model, api)?,
            validators: self.all(Kind::Validator, api)?,
            gateway_responses: responses
                .into_iter()
                .filter_map(|(name, response)| Some((response_type(&name)?, response)))
                .collect(),
        })
    }

    /// API and name of a deployment that has a module in it, if there is one.
    #[must_use]
    pub fn deployment_with(&self, module: Digest) -> Option<(String, String)> {
        let module = module.to_string();
        let has = |document: &Document| {
            let plugins = document.body.get("plugins").and_then(Value::as_object);
            plugins.is_some_and(|plugins| plugins.values().any(|pin| pin["module"] == module.as_str()))
        };
        self.list(Kind::Api, "").find_map(|(api, _)| {
            let mut deployments = self.list(Kind::Deployment, api);
            let (name, _) = deployments.find(|(_, document)| has(document))?;
            Some((api.clone(), name.clone()))
        })
    }

    /// Stages of an API.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn stages(&self, api: &str) -> Result<BTreeMap<String, Stage>, ControlError> {
        self.all(Kind::Stage, api)
    }

    /// A domain with its mappings by base path, and its rules.
    ///
    /// # Errors
    /// It is not there.
    pub fn domain(&self, name: &str) -> Result<WholeDomain, ControlError> {
        let mappings: BTreeMap<String, Mapping> = self.all(Kind::Mapping, name)?;
        let base = |name: String| if name == NO_BASE_PATH { String::new() } else { name };
        Ok(WholeDomain {
            domain: self.read(&Key::top(Kind::Domain, name))?,
            mappings: mappings
                .into_iter()
                .map(|(name, mapping)| (base(name), mapping))
                .collect(),
            rules: self.all(Kind::Rule, name)?,
        })
    }

    fn set(&mut self, key: &Key, document: Option<Document>) {
        let place = (key.kind, Arc::from(key.parent.as_str()));
        let shelf = Arc::make_mut(self.shelves.entry(place.clone()).or_default());
        match document {
            Some(document) => drop(shelf.insert(key.name.clone(), Arc::new(document))),
            None => drop(shelf.remove(&key.name)),
        }
        if shelf.is_empty() {
            self.shelves.remove(&place);
        }
    }
}

/// The answer to what is not there.
pub(crate) fn missing(key: &Key) -> ControlError {
    let of = match key.kind.parent() {
        None => String::new(),
        Some(parent) => format!(" of {} `{}`", parent.noun(), key.parent),
    };
    ControlError::NotFound(format!("no {}{of} is called `{}`", key.kind.noun(), key.name))
}

fn decoded<T: DeserializeOwned>(key: &Key, body: &Value) -> Result<T, ControlError> {
    T::deserialize(body).map_err(|error| ControlError::invalid(key.path(), error.to_string()))
}

/// A change that is being made.
pub struct Draft {
    /// What will be.
    pub model: Model,
    before: Model,
    changes: BTreeMap<Key, Option<Document>>,
}

impl Draft {
    /// A change of a model.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let mut next = model.clone();
        next.revision += 1;
        Self {
            model: next,
            before: model.clone(),
            changes: BTreeMap::new(),
        }
    }

    /// Puts a resource in its place. True when it is new.
    ///
    /// # Errors
    /// The document is not valid, its parent is not there, or it is not what was expected.
    pub fn put(&mut self, key: &Key, body: Value, expect: Expect) -> Result<bool, ControlError> {
        self.expect(key, expect)?;
        if let Some(parent) = key.kind.parent() {
            let parent = Key::top(parent, &key.parent);
            if self.model.get(&parent).is_none() {
                return Err(missing(&parent));
            }
        }
        let body = key.kind.check(&key.name, body).map_err(ControlError::Invalid)?;
        let old = self.model.get(key).cloned();
        if old.as_ref().is_some_and(|old| old.body == body) {
            return Ok(false);
        }
        let now = now_ms();
        let document = Document {
            body,
            revision: self.model.revision,
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: now,
        };
        self.model.set(key, Some(document.clone()));
        self.changes.insert(key.clone(), Some(document));
        Ok(old.is_none())
    }

    /// Removes a resource and what belongs to it.
    ///
    /// # Errors
    /// It is not there, not what was expected, or in use.
    pub fn remove(&mut self, key: &Key, expect: Expect) -> Result<(), ControlError> {
        self.expect(key, expect)?;
        if self.model.get(key).is_none() {
            return Err(missing(key));
        }
        if key.kind == Kind::Deployment {
            for (name, stage) in self.model.stages(&key.parent)? {
                let canary = stage.canary.is_some_and(|canary| canary.deployment == key.name);
                if canary || stage.deployment.as_ref() == Some(&key.name) {
                    return Err(ControlError::Conflict(format!(
                        "deployment `{}` is served by stage `{name}`: active stages pointing to this deployment must be moved or deleted",
                        key.name
                    )));
                }
            }
        }
        let children: Vec<Key> = Kind::ALL
            .into_iter()
            .filter(|kind| kind.parent() == Some(key.kind))
            .flat_map(|kind| {
                let names: Vec<String> = self
                    .model
                    .list(kind, &key.name)
                    .map(|(name, _)| name.clone())
                    .collect();
                names.into_iter().map(move |name| (kind, name))
            })
            .map(|(kind, name)| Key::of(kind, &key.name, &name))
            .collect();
        for child in children.iter().chain([key]) {
            self.model.set(child, None);
            self.changes.insert(child.clone(), None);
        }
        Ok(())
    }

    fn expect(&self, key: &Key, expect: Expect) -> Result<(), ControlError> {
        let there = self.model.get(key);
        let problem = match (expect, there) {
            (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => return Ok(()),
            (Expect::Revision(wanted), Some(document)) if document.revision == wanted => return Ok(()),
            (Expect::Revision(wanted), Some(document)) => {
                format!(
                    "it has the entity tag \"{}\" now, not \"{wanted}\"",
                    document.revision
                )
            }
            (Expect::Absent, Some(_)) => "it is there already".to_owned(),
            (Expect::Revision(_) | Expect::Present, None) => "it is not there".to_owned(),
        };
        Err(ControlError::Precondition(format!(
            "{} `{}`: {problem}",
            key.kind.noun(),
            key.name
        )))
    }

    /// Makes a deployment of an API as it is in the draft. The same API gives the same deployment.
    ///
    /// # Errors
    /// Everything that keeps the API from being deployed.
    pub fn deploy(
        &mut self,
        api: &str,
        description: Option<String>,
        pin: &dyn Fn(&str) -> Result<Pin, ControlError>,
    ) -> Result<String, ControlError> {
        let definition = self.model.definition(api)?;
        let mut problems = definition.problems();
        let mut plugins = BTreeMap::new();
        let authorizers = definition
            .authorizers
            .iter()
            .map(|(name, authorizer)| (format!("authorizers.{name}"), &authorizer.plugin));
        let pipelines = definition.routes.iter().flat_map(|(key, route)| {
            route
                .pipeline
                .iter()
                .map(move |plugin| (format!("routes.{key}.pipeline"), plugin))
        });
        let engine = definition.api.template_engine.iter();
        let engine = engine.map(|plugin| ("api.template-engine".to_owned(), plugin));
        for (place, name) in authorizers.chain(pipelines).chain(engine) {
            if plugins.contains_key(name) {
                continue;
            }
            match pin(name) {
                Ok(pinned) => drop(plugins.insert(name.clone(), pinned)),
                Err(error) => problems.push(Problem::new(place, error.to_string())),
            }
        }
        if !problems.is_empty() {
            for problem in &mut problems {
                problem.path = format!("apis.{api}.{}", problem.path);
            }
            return Err(ControlError::Invalid(Problems(problems)));
        }
        let text = serde_json::to_string(&(&definition, &plugins)).unwrap_or_default();
        let digest = edgeward_runtime::digest(text.as_bytes());
        let name: String = digest.hex().chars().take(16).collect();
        let key = Key::of(Kind::Deployment, api, &name);
        if self.model.get(&key).is_none() {
            let deployment = Deployment {
                description,
                digest,
                plugins,
                definition,
            };
            let body = written(&deployment).map_err(ControlError::Invalid)?;
            self.put(&key, body, Expect::Absent)?;
        }
        Ok(name)
    }

    /// Lets a stage say something else.
    ///
    /// # Errors
    /// It is not there, or says what cannot be then.
    pub fn edit_stage<T>(
        &mut self,
        api: &str,
        stage: &str,
        edit: impl FnOnce(&mut Stage) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let key = Key::of(Kind::Stage, api, stage);
        let mut document: Stage = self.model.read(&key)?;
        let said = edit(&mut document)?;
        let body = written(&document).map_err(ControlError::Invalid)?;
        self.put(&key, body, Expect::Present)?;
        Ok(said)
    }

    /// Finds references that lead nowhere: stages to deployments, mappings and rules to stages.
    ///
    /// # Errors
    /// All of them.
    pub fn check(&self) -> Result<(), ControlError> {
        let mut problems = Vec::new();
        let gone =
            |kind: Kind, parent: &str, name: &str| self.model.get(&Key::of(kind, parent, name)).is_none();
        let (mut domains, mut stages_went) = (BTreeSet::new(), false);
        for (key, document) in &self.changes {
            match key.kind {
                Kind::Stage if document.is_none() => stages_went = true,
                Kind::Stage => self.check_stage(key, &mut problems)?,
                Kind::Domain => drop(domains.insert(key.name.clone())),
                Kind::Mapping | Kind::Rule => drop(domains.insert(key.parent.clone())),
                _ => {}
            }
        }
        if stages_went {
            // what leads to them would lead elsewhere
            domains.extend(self.model.list(Kind::Domain, "").map(|(name, _)| name.clone()));
        }
        for domain in domains {
            let Ok(whole) = self.model.domain(&domain) else {
                continue;
            };
            let place = |at: &str| format!("domains/{domain}.{at}");
            let own = api::check_domain(&domain, &whole.mappings, &whole.rules);
            problems.extend(own.into_iter().map(|mut problem| {
                problem.path = place(&problem.path);
                problem
            }));
            let mapped = whole
                .mappings
                .iter()
                .map(|(base, to)| (format!("mappings.{base}"), &to.api, &to.stage));
            let ruled = whole
                .rules
                .iter()
                .map(|(name, to)| (format!("rules.{name}"), &to.api, &to.stage));
            for (at, api, stage) in mapped.chain(ruled) {
                if gone(Kind::Stage, api, stage) {
                    let problem = format!("there is no stage `{stage}` of an API `{api}`");
                    problems.push(Problem::new(place(&at), problem));
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ControlError::Invalid(Problems(problems)))
        }
    }

    fn check_stage(&self, key: &Key, problems: &mut Vec<Problem>) -> Result<(), ControlError> {
        let stage: Stage = self.model.read(key)?;
        let before: Option<Stage> = self
            .before
            .get(key)
            .map(|_there| self.before.read(key))
            .transpose()?;
        let had_canary = before.as_ref().is_some_and(|before| before.canary.is_some());
        if had_canary
            && stage.canary.is_some()
            && before.is_some_and(|before| before.deployment != stage.deployment)
        {
            return Err(ControlError::Conflict(format!(
                "stage `{}` has a canary: promote or abort it first",
                key.name
            )));
        }
        let named = [
            ("deployment", stage.deployment),
            ("canary.deployment", stage.canary.map(|canary| canary.deployment)),
        ];
        for (place, deployment) in named {
            let there = |name: &String| {
                self.model
                    .get(&Key::of(Kind::Deployment, &key.parent, name))
                    .is_some()
            };
            if let Some(deployment) = deployment.filter(|name| !there(name)) {
                problems.push(Problem::new(
                    format!("{}.{place}", key.path()),
                    format!("API `{}` has no deployment `{deployment}`", key.parent),
                ));
            }
        }
        Ok(())
    }

    /// APIs that change.
    #[must_use]
    pub fn apis(&self) -> Vec<String> {
        let mut apis: Vec<String> = self
            .changes
            .keys()
            .filter_map(|key| key.api().map(str::to_owned))
            .collect();
        apis.sort();
        apis.dedup();
        apis
    }

    /// Stages that deploy by themselves and do not serve their API as it is now: it has changed, or they serve nothing yet. Those with a canary wait.
    ///
    /// # Errors
    /// A stage cannot be read.
    pub fn stages_to_deploy(&self) -> Result<Vec<Key>, ControlError> {
        let mut found = Vec::new();
        for api in self.apis() {
            let defines =
                |key: &&Key| !matches!(key.kind, Kind::Deployment | Kind::Stage) && key.api() == Some(&api);
            let is_edited = self.changes.keys().any(|key| defines(&key));
            if self.model.get(&Key::top(Kind::Api, &api)).is_none() {
                continue;
            }
            for (name, stage) in self.model.stages(&api)? {
                if stage.auto_deploy && stage.canary.is_none() && (is_edited || stage.deployment.is_none()) {
                    found.push(Key::of(Kind::Stage, &api, &name));
                }
            }
        }
        Ok(found)
    }

    /// Whether there is anything to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What has to be kept.
    #[must_use]
    pub fn changes(&self) -> Vec<DocumentChange> {
        self.changes
            .iter()
            .map(|(key, document)| DocumentChange {
                key: key.clone(),
                document: document.clone(),
            })
            .collect()
    }

    /// What takes the changes back.
    #[must_use]
    pub fn inverse(&self) -> Vec<DocumentChange> {
        self.changes
            .keys()
            .map(|key| DocumentChange {
                key: key.clone(),
                document: self.before.get(key).map(|document| (**document).clone()),
            })
            .collect()
    }

    /// What changes, one by one: path, `create`, `update` or `delete`, and the JSON Patch from what was to what will be.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let nothing = || Value::Object(Map::new());
        self.changes
            .iter()
            .filter_map(|(key, document)| {
                let before = self.before.get(key).map(|document| &document.body);
                let after = document.as_ref().map(|document| &document.body);
                let action = match (before, after) {
                    (None, Some(_)) => "create",
                    (Some(_), None) => "delete",
                    (Some(before), Some(after)) if before != after => "update",
                    _ => return None,
                };
                let patch = json_patch::diff(
                    &before.cloned().unwrap_or_else(nothing),
                    &after.cloned().unwrap_or_else(nothing),
                );
                Some(Difference {
                    path: key.path(),
                    action,
                    patch: serde_json::to_value(&patch).unwrap_or_default(),
                })
            })
            .collect()
    }
}

/// What a change does to one resource.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// The resource.
    pub path: String,
    /// `create`, `update` or `delete`.
    pub action: &'static str,
    /// JSON Patch (RFC 6902) from what was to what will be.
    pub patch: Value,
}

#[cfg(test)]
mod tests;
