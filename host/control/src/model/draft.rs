//! Changes of the model that are being made: checked as a whole, and seen by nobody before they are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeward_core::{
    api::{self, Definition, Stage, missing_variables},
    config::Problem,
};
use serde::{Deserialize as _, Serialize};
use serde_json::{Map, Value};

use super::{
    Deployment, Document, Expect, Key, Kind, Model, NO_BASE_PATH, Pin, Pinning, Wanted, content_digest,
    deployment_name, hide_settings, is_whole, kind::written, missing,
};
use crate::{
    access::{PRINCIPALS_MAX, token::TOKENS_MAX},
    clock::now_ms,
    error::{ControlError, Faults},
    file,
    store::DocumentChange,
};

/// A change that is being made.
pub struct Draft {
    /// What will be.
    pub model: Model,
    before: Model,
    changes: BTreeMap<Key, Option<Document>>,
    of_file: bool,
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
            of_file: false,
        }
    }

    /// What the configuration file adds to what is kept.
    #[must_use]
    pub fn of_file(kept: &Model, apis: BTreeSet<(Kind, String)>) -> Self {
        let mut draft = Self::new(kept);
        draft.model.of_file = Arc::new(apis);
        draft.of_file = true;
        draft
    }

    /// Whether it is of the configuration file.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        self.of_file
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
        let mut body = key.kind.check(&key.name, body).map_err(ControlError::Invalid)?;
        let old = self.model.get(key).cloned();
        if key.kind == Kind::Stage {
            remember(old.as_ref().map(|old| &old.body), &mut body);
        }
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

    /// Refuses a change of what is not as expected.
    ///
    /// # Errors
    /// It is not, or is part of the configuration file.
    pub fn expect(&self, key: &Key, expect: Expect) -> Result<(), ControlError> {
        if self.model.is_of_file(key) && !self.of_file {
            let (noun, name) = match key.kind.parent() {
                None => (key.kind.noun(), &key.name),
                Some(parent) => (parent.noun(), &key.parent),
            };
            return Err(ControlError::Conflict(format!(
                "{noun} `{name}` is in the configuration file: change it there"
            )));
        }
        let there = self.model.get(key);
        let problem = match (expect, there) {
            (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => return Ok(()),
            (Expect::Revision(wanted), Some(document)) if wanted.contains(&document.revision) => {
                return Ok(());
            }
            (Expect::Revision(_), Some(document)) => {
                format!(
                    "it has the entity tag \"{}\" now, not what `If-Match` says",
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

    /// Makes a deployment of an API as it is in the draft. The same API gives the same deployment, with the newer description.
    ///
    /// # Errors
    /// Everything that keeps the API from being deployed, and from being served by the stages.
    pub fn deploy(&mut self, api: &str, wanted: Wanted, pin: Pinning<'_>) -> Result<String, ControlError> {
        let definition = self.model.definition(api)?;
        let mut problems = definition.problems();
        let mut plugins = BTreeMap::new();
        for (place, name) in used(&definition) {
            let version = wanted.plugins.get(name).copied();
            if plugins.contains_key(name) {
                continue;
            }
            match pin(name, version) {
                Ok(pinned) => drop(plugins.insert(name.clone(), pinned)),
                // told below, where it was said
                Err(_) if version.is_some() => {}
                Err(error) => problems.push(Problem::new(place, error.to_string())),
            }
        }
        let (mut faults, mut lacking) = (Faults::default(), Vec::new());
        let is_wrong = |name: &String| !plugins.contains_key(name);
        if !problems.is_empty() || wanted.plugins.keys().any(is_wrong) {
            for (stage, more) in &wanted.stages {
                lacking.extend(self.lacking(api, stage, more, &definition, &problems)?);
            }
        }
        faults.extend(problems.into_iter().map(|mut problem| {
            problem.path = format!("apis.{api}.{}", problem.path);
            problem
        }));
        faults.extend(lacking);
        for (name, version) in &wanted.plugins {
            if plugins.contains_key(name) {
                continue;
            }
            let problem = match pin(name, Some(*version)) {
                Ok(_) => format!("API `{api}` does not use plugin `{name}`"),
                Err(error) => error.to_string(),
            };
            faults.push(Problem::new(format!("plugins.{name}"), problem));
        }
        faults.end()?;
        self.keep_deployment(api, wanted.description, &definition, &plugins)
    }

    /// What a stage lacks by itself of a definition that has other problems.
    fn lacking(
        &self,
        api: &str,
        stage: &str,
        more: &BTreeMap<String, String>,
        definition: &Definition,
        told: &[Problem],
    ) -> Result<Vec<Problem>, ControlError> {
        let key = Key::of(Kind::Stage, api, stage);
        let mut variables = match self.model.get(&key) {
            Some(_there) => self.model.read::<Stage>(&key)?.variables,
            None => BTreeMap::new(),
        };
        variables.extend(more.clone());
        let mut found = lacking(api, stage, definition, &variables);
        // an address that is wrong by itself is wrong in every stage
        let is_told = |problem: &Problem| {
            let mut places = told.iter().map(|told| format!(": {}", told.path));
            places.any(|place| problem.path.ends_with(&place))
        };
        found.retain(|problem| !is_told(problem));
        Ok(found)
    }

    fn keep_deployment(
        &mut self,
        api: &str,
        description: Option<String>,
        definition: &Definition,
        plugins: &BTreeMap<String, Pin>,
    ) -> Result<String, ControlError> {
        let digest = content_digest(&file::json(definition)?, &file::json(plugins)?);
        let name = deployment_name(digest);
        let key = Key::of(Kind::Deployment, api, &name);
        let Some(there) = self.model.get(&key) else {
            let deployment = Deployment {
                description,
                digest,
                plugins: plugins.clone(),
                definition: definition.clone(),
            };
            let body = written(&deployment).map_err(ControlError::Invalid)?;
            self.put(&key, body, Expect::Absent)?;
            let kept = self.model.get(&key);
            if kept.is_none_or(|kept| !is_whole(&name, &kept.body)) {
                return Err(ControlError::Conflict(format!(
                    "deployment `{name}` of API `{api}` would not be found whole at the next start: this is a defect in the gateway"
                )));
            }
            return Ok(name);
        };
        if there.body["digest"] != digest.to_string() {
            return Err(ControlError::Conflict(format!(
                "deployment `{name}` of API `{api}` is another one with the same name, of digest {}: remove it first",
                there.body["digest"]
            )));
        }
        if let Some(description) = description {
            let mut body = there.body.clone();
            body["description"] = description.into();
            self.put(&key, body, Expect::Present)?;
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

    /// Finds references that lead nowhere - stages to deployments, mappings and rules to stages - and stages without variables that they need.
    ///
    /// # Errors
    /// All of them.
    pub fn check(&self) -> Result<(), ControlError> {
        let mut problems = Faults::default();
        let gone =
            |kind: Kind, parent: &str, name: &str| self.model.get(&Key::of(kind, parent, name)).is_none();
        let (mut domains, mut went, mut plans) = (BTreeSet::new(), BTreeSet::new(), false);
        for (key, document) in &self.changes {
            match key.kind {
                Kind::Stage if document.is_none() => drop(went.insert((&key.parent, &key.name))),
                Kind::Stage => self.check_stage(key, &mut problems)?,
                Kind::Domain => drop(domains.insert(key.name.clone())),
                Kind::Mapping | Kind::Rule => drop(domains.insert(key.parent.clone())),
                Kind::UsagePlan | Kind::ApiKey => plans = true,
                Kind::Principal => self.at_most(key, PRINCIPALS_MAX)?,
                Kind::Token => self.at_most(key, TOKENS_MAX)?,
                _ => {}
            }
        }
        if plans || !went.is_empty() {
            self.check_plans(&mut problems)?;
        }
        // what leads to stages that went would lead elsewhere
        let changed = domains.clone();
        if !went.is_empty() {
            domains.extend(self.model.list(Kind::Domain, "").map(|(name, _)| name.clone()));
        }
        for domain in domains {
            let is_changed = changed.contains(&domain);
            let Ok(whole) = self.model.domain(&domain) else {
                continue;
            };
            let place = |at: &str| format!("domains/{domain}.{at}");
            let own = api::check_domain(&domain, &whole.mappings, &whole.rules);
            problems.extend(own.into_iter().map(|mut problem| {
                problem.path = place(&problem.path);
                problem
            }));
            let named = |base: &String| match base.as_str() {
                "" => NO_BASE_PATH.to_owned(),
                base => base.to_owned(),
            };
            let mapped = whole
                .mappings
                .iter()
                .map(|(base, to)| (format!("mappings.{}", named(base)), &to.api, &to.stage));
            let ruled = whole
                .rules
                .iter()
                .map(|(name, to)| (format!("rules.{name}"), &to.api, &to.stage));
            for (at, api, stage) in mapped.chain(ruled) {
                if gone(Kind::Stage, api, stage) && (is_changed || went.contains(&(api, stage))) {
                    let problem = format!("there is no stage `{stage}` of an API `{api}`");
                    problems.push(Problem::new(place(&at), problem));
                }
            }
        }
        problems.end()
    }

    fn check_plans(&self, problems: &mut Faults) -> Result<(), ControlError> {
        let there =
            |kind: Kind, parent: &str, name: &str| self.model.get(&Key::of(kind, parent, name)).is_some();
        let plans = self.model.all::<api::UsagePlan>(Kind::UsagePlan, "")?;
        for (name, plan) in &plans {
            for (index, to) in plan.stages.iter().enumerate() {
                if !there(Kind::Stage, &to.api, &to.stage) {
                    problems.push(Problem::new(
                        format!("usage-plans/{name}.stages[{index}]"),
                        format!("there is no stage `{}` of an API `{}`", to.stage, to.api),
                    ));
                }
            }
            for (index, key) in plan.keys.iter().enumerate() {
                if !there(Kind::ApiKey, "", key) {
                    problems.push(Problem::new(
                        format!("usage-plans/{name}.keys[{index}]"),
                        format!("there is no API key `{key}`"),
                    ));
                }
            }
        }
        problems.extend(in_two_plans(&plans));
        Ok(())
    }

    fn at_most(&self, key: &Key, most: usize) -> Result<(), ControlError> {
        let count = self.model.list(key.kind, &key.parent).count();
        if count <= most {
            return Ok(());
        }
        let noun = key.kind.noun();
        Err(ControlError::Conflict(format!(
            "there are {most} {noun}s, and no more are kept: remove some"
        )))
    }

    fn check_stage(&self, key: &Key, problems: &mut Faults) -> Result<(), ControlError> {
        let stage: Stage = self.model.read(key)?;
        if let Some(before) = self.stage_before(key)?
            && before.canary.is_some()
            && stage.canary.is_some()
            && before.deployment != stage.deployment
        {
            return Err(ControlError::Conflict(format!(
                "stage `{}` has a canary: promote or abort it first",
                key.name
            )));
        }
        let mut variables = stage.variables.clone();
        if let Some(deployment) = &stage.deployment {
            self.check_served(key, "deployment", deployment, &variables, problems)?;
        }
        if let Some(canary) = &stage.canary {
            variables.extend(canary.variables.clone());
            self.check_served(key, "canary.deployment", &canary.deployment, &variables, problems)?;
        }
        Ok(())
    }

    /// A deployment that a stage serves under variables.
    fn check_served(
        &self,
        stage: &Key,
        place: &str,
        deployment: &str,
        variables: &BTreeMap<String, String>,
        problems: &mut Faults,
    ) -> Result<(), ControlError> {
        let api = &stage.parent;
        let key = Key::of(Kind::Deployment, api, deployment);
        let Some(document) = self.model.get(&key) else {
            problems.push(Problem::new(
                format!("{}.{place}", stage.path()),
                format!("API `{api}` has no deployment `{deployment}`"),
            ));
            return Ok(());
        };
        let definition = Definition::deserialize(&document.body["definition"])
            .map_err(|error| ControlError::invalid(key.path(), error.to_string()))?;
        problems.extend(lacking(api, &stage.name, &definition, variables));
        Ok(())
    }

    /// A stage as it was before the change.
    fn stage_before(&self, key: &Key) -> Result<Option<Stage>, ControlError> {
        let there = self.before.get(key).map(|_there| self.before.read(key));
        there.transpose()
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

    /// Stages that deploy by themselves and have to now, by API: the API was edited, they serve nothing yet, they do so from now on, or their canary has
    /// ended while the API was edited. Those with a canary wait.
    ///
    /// # Errors
    /// A stage cannot be read.
    pub fn stages_to_deploy(&self) -> Result<BTreeMap<String, Vec<String>>, ControlError> {
        let mut found = BTreeMap::new();
        for api in self.apis() {
            let defines =
                |key: &&Key| !matches!(key.kind, Kind::Deployment | Kind::Stage) && key.api() == Some(&api);
            let is_edited = self.changes.keys().any(|key| defines(&key));
            if self.model.get(&Key::top(Kind::Api, &api)).is_none() {
                continue;
            }
            let mut stages = Vec::new();
            for (name, stage) in self.model.stages(&api)? {
                if stage.auto_deploy
                    && stage.canary.is_none()
                    && (is_edited || stage.deployment.is_none() || self.is_behind(&api, &name, &stage)?)
                {
                    stages.push(name);
                }
            }
            if !stages.is_empty() {
                found.insert(api, stages);
            }
        }
        Ok(found)
    }

    /// Whether a stage that deploys by itself has not done so for what was edited: it did not deploy by itself, or had a canary. What the canary was is not
    /// deployed: who ended it may not have wanted it.
    fn is_behind(&self, api: &str, name: &str, stage: &Stage) -> Result<bool, ControlError> {
        let Some(before) = self.stage_before(&Key::of(Kind::Stage, api, name))? else {
            return Ok(true);
        };
        if !before.auto_deploy {
            return Ok(true);
        }
        let Some(canary) = before.canary else {
            return Ok(false);
        };
        let now = file::json(&self.model.definition(api)?)?;
        let is_now = |deployment: &str| {
            let document = self.model.get(&Key::of(Kind::Deployment, api, deployment));
            document.is_some_and(|document| document.body["definition"] == now)
        };
        Ok(!is_now(&canary.deployment) && !stage.deployment.as_deref().is_some_and(is_now))
    }

    /// Names of the resources of a kind that it changes.
    #[must_use]
    pub fn changed(&self, kind: Kind) -> Vec<String> {
        let of_kind = self.changes.keys().filter(|key| key.kind == kind);
        of_kind.map(|key| key.name.clone()).collect()
    }

    /// What changes, as it was and as it will be.
    pub fn touched(&self) -> impl Iterator<Item = (&Key, Option<&Value>, Option<&Value>)> {
        self.changes.iter().map(|(key, document)| {
            let before = self.before.get(key).map(|document| &document.body);
            (key, before, document.as_ref().map(|document| &document.body))
        })
    }

    /// Whether anything of it is served: not where only principals and tokens change.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.changes.keys().any(|key| !key.kind.is_access())
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
        let told = |key: &Key, body: Option<&Value>| {
            let mut body = body.cloned().unwrap_or_else(|| Value::Object(Map::new()));
            if let (Kind::Deployment, Some(object)) = (key.kind, body.as_object_mut()) {
                hide_settings(object);
            }
            body
        };
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
                let before = told(key, before);
                let patch = json_patch::diff(&before, &told(key, after));
                Some(Difference {
                    path: key.path(),
                    action,
                    patch: serde_json::to_value(&patch).unwrap_or_default(),
                    before,
                })
            })
            .collect()
    }
}

/// Plans that are for a key and a stage that another one is for: a call is counted for one plan. Of two plans, the first such key is told.
fn in_two_plans(plans: &BTreeMap<String, api::UsagePlan>) -> Vec<Problem> {
    let (mut leading, mut compared) = (BTreeMap::new(), BTreeSet::new());
    let mut problems = Vec::new();
    for (name, plan) in plans {
        for api::PlanStage { api, stage, .. } in &plan.stages {
            let before: &mut Vec<(&String, &api::UsagePlan)> = leading.entry((api, stage)).or_default();
            for (other, theirs) in before.iter().filter(|(other, _)| *other != name) {
                if !compared.insert((*other, name)) {
                    continue;
                }
                let theirs: BTreeSet<&String> = theirs.keys.iter().collect();
                let mut keys = plan.keys.iter().enumerate();
                if let Some((index, key)) = keys.find(|(_, key)| theirs.contains(key)) {
                    problems.push(Problem::new(
                        format!("usage-plans/{name}.keys[{index}]"),
                        format!(
                            "usage plan `{other}` is for API key `{key}` and stage `{stage}` of API `{api}`, too"
                        ),
                    ));
                }
            }
            before.push((name, plan));
        }
    }
    problems
}

/// Notes which deployment a stage has served before the one that it serves now.
fn remember(old: Option<&Value>, new: &mut Value) {
    let of_old = |member: &str| old?.get(member).filter(|name| name.is_string());
    let before = match of_old("deployment") {
        Some(served) if Some(served) != new.get("deployment") => Some(served),
        _ => of_old("previous"),
    };
    let Some(new) = new.as_object_mut() else { return };
    // nobody else says what it was
    new.remove("previous");
    if let Some(before) = before {
        new.insert("previous".to_owned(), before.clone());
    }
}

/// Plugins of an API, with the place of each use: authorizers, plugins of routes, the one that renders templates.
pub(crate) fn used(definition: &Definition) -> impl Iterator<Item = (String, &String)> {
    let authorizers = definition
        .authorizers
        .iter()
        .map(|(name, authorizer)| (format!("authorizers.{name}"), &authorizer.plugin));
    let pipelines = definition.routes.iter().flat_map(|(key, route)| {
        let place = move |plugin| (format!("routes.{key}.pipeline"), plugin);
        route.pipeline.iter().map(place)
    });
    let engine = definition.api.template_engine.iter();
    let engine = engine.map(|plugin| ("api.template-engine".to_owned(), plugin));
    authorizers.chain(pipelines).chain(engine)
}

/// What a stage lacks of what a definition needs.
pub(crate) fn lacking(
    api: &str,
    stage: &str,
    definition: &Definition,
    variables: &BTreeMap<String, String>,
) -> Vec<Problem> {
    let mut problems = missing_variables(definition, variables);
    for problem in &mut problems {
        problem.path = format!("apis/{api}/stages/{stage}: {}", problem.path);
    }
    problems
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
    /// What was.
    #[serde(skip)]
    pub(crate) before: Value,
}
