//! The API model as the control plane holds it: resources by kind, parent and name, each a JSON document of a type in `edgeward_core::api`. A [`Draft`]
//! is a change that is being made; nothing of it is seen before all of it was found to work and was kept.

mod draft;
mod kind;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeward_core::{
    api::{self, Definition, Domain, Mapping, RoutingRule, Stage},
    ids::Digest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use draft::{Difference, Draft};
pub(crate) use draft::{lacking, used};
use kind::response_type;
pub use kind::{Kind, NO_BASE_PATH};

use crate::{clock::now_ms, error::ControlError};

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

/// A version of a binding as a deployment keeps it: the one with the number, else the live one.
pub type Pinning<'a> = &'a dyn Fn(&str, Option<u64>) -> Result<Pin, ControlError>;

/// What is said of a deployment that is to be made.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What it is for.
    pub description: Option<String>,
    /// Versions of plugins in place of the live ones, by name of the binding.
    pub plugins: BTreeMap<String, u64>,
    /// Stages that shall serve it, with variables beside their own.
    pub stages: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a change expects to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// One of these revisions.
    Revision(Vec<u64>),
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
    /// APIs and domains of the configuration file, which only the file changes.
    of_file: Arc<BTreeSet<(Kind, String)>>,
}

impl Model {
    /// Of everything that was kept.
    #[must_use]
    pub fn new(documents: Vec<(Key, Document)>) -> Self {
        let mut shelves: BTreeMap<(Kind, Arc<str>), BTreeMap<String, Arc<Document>>> = BTreeMap::new();
        // never again one of a time before, whose documents may be gone
        let mut revision = now_ms().unsigned_abs();
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
            of_file: Arc::default(),
        }
    }

    /// Whether an API, a domain or what belongs to it comes from the configuration file.
    #[must_use]
    pub fn is_of_file(&self, key: &Key) -> bool {
        let top = match key.kind.parent() {
            None => (key.kind, key.name.clone()),
            Some(parent) => (parent, key.parent.clone()),
        };
        self.of_file.contains(&top)
    }

    /// What comes from the configuration file, but for deployments, which are made of the rest.
    pub fn of_file(&self) -> impl Iterator<Item = (Key, &Arc<Document>)> {
        self.of_file.iter().flat_map(move |(kind, name)| {
            let top = Key::top(*kind, name);
            let children = kind.written_children().flat_map(move |child| {
                self.list(child, name)
                    .map(move |(item, document)| (Key::of(child, name, item), document))
            });
            let own = self.get(&top).map(|document| (top.clone(), document));
            own.into_iter().chain(children)
        })
    }

    /// The model without what comes from the configuration file: what is kept.
    #[must_use]
    pub fn kept(&self) -> Self {
        if self.of_file.is_empty() {
            return self.clone();
        }
        let mut kept = Self {
            of_file: Arc::default(),
            ..self.clone()
        };
        kept.shelves.retain(|(kind, parent), _| {
            let top = kind.parent().map(|above| (above, parent.to_string()));
            top.is_none_or(|top| !self.of_file.contains(&top))
        });
        for (kind, name) in &*self.of_file {
            kept.set(&Key::top(*kind, name), None);
        }
        kept
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

    /// All of a kind that belong to something, as what they are.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn all<T: DeserializeOwned>(
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

    /// Deployments whose content is not what their names and digests say.
    pub fn damaged_deployments(&self) -> impl Iterator<Item = Key> {
        let shelves = self.shelves.iter();
        let deployments = shelves.filter(|((kind, _), _)| *kind == Kind::Deployment);
        deployments.flat_map(|((kind, api), shelf)| {
            let damaged = shelf
                .iter()
                .filter(|(name, document)| !is_whole(name, &document.body));
            damaged.map(|(name, _)| Key::of(*kind, api, name))
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

    /// A token by its id, and the name of the principal that it belongs to.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<(&str, &Arc<Document>)> {
        let first = (Kind::Token, Arc::from(""));
        let tokens = self.shelves.range(first..);
        let mut tokens = tokens.take_while(|((kind, _), _)| *kind == Kind::Token);
        tokens.find_map(|((_, principal), shelf)| Some((&**principal, shelf.get(id)?)))
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

/// Digest of what is in a deployment, in the form that is kept: it stays the same as long as that does, whatever else becomes of the program.
fn content_digest(definition: &Value, plugins: &Value) -> Digest {
    let text = serde_json::to_string(&(definition, plugins)).unwrap_or_default();
    edgeward_runtime::digest(text.as_bytes())
}

/// Name of a deployment with a digest: its first 16 hexadecimal digits.
fn deployment_name(digest: Digest) -> String {
    digest.hex().chars().take(16).collect()
}

/// Whether a deployment is what its name and its digest say.
fn is_whole(name: &str, body: &Value) -> bool {
    let digest = content_digest(&body["definition"], &body["plugins"]);
    body["digest"] == digest.to_string() && name == deployment_name(digest)
}

/// Settings of plugins may be secrets: of a deployment's only their digest is told.
pub(crate) fn hide_settings(deployment: &mut Map<String, Value>) {
    let plugins = deployment.get_mut("plugins").and_then(Value::as_object_mut);
    for pin in plugins.into_iter().flat_map(Map::values_mut) {
        if let Some(settings) = pin.get_mut("settings") {
            *settings = edgeward_runtime::digest(settings.to_string().as_bytes())
                .to_string()
                .into();
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

#[cfg(test)]
mod tests;
