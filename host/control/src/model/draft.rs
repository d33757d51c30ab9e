//! Changes of the model that are being made: checked as a whole, and seen by nobody before they are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeward_core::{
    api::{self, Stage},
    config::{Problem, Problems},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Deployment, Document, Expect, Key, Kind, Model, Pinning, hide_settings, kind::written, missing};
use crate::{
    access::{PRINCIPALS_MAX, token::TOKENS_MAX},
    clock::now_ms,
    error::ControlError,
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
        if let (Kind::Stage, Some(old)) = (key.kind, &old) {
            remember(&old.body, &mut body);
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

    /// Makes a deployment of an API as it is in the draft. The same API gives the same deployment.
    ///
    /// # Errors
    /// Everything that keeps the API from being deployed.
    pub fn deploy(
        &mut self,
        api: &str,
        description: Option<String>,
        pin: Pinning<'_>,
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
            let mapped = whole
                .mappings
                .iter()
                .map(|(base, to)| (format!("mappings.{base}"), &to.api, &to.stage));
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
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ControlError::Invalid(Problems(problems)))
        }
    }

    fn check_plans(&self, problems: &mut Vec<Problem>) -> Result<(), ControlError> {
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
fn remember(old: &Value, new: &mut Value) {
    let served = old.get("deployment").filter(|served| served.is_string());
    let before = match served {
        Some(served) if Some(served) != new.get("deployment") => Some(served),
        _ => old.get("previous"),
    };
    if let (Some(before), Some(new)) = (before, new.as_object_mut()) {
        new.insert("previous".to_owned(), before.clone());
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
    /// What was.
    #[serde(skip)]
    pub(crate) before: Value,
}
