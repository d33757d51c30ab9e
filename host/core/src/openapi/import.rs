//! A document as a definition: the order in which its parts are read, and what is put together from them. All faults are found at once; with any of them
//! there is no definition.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    AMAZON, Imported, OWN, Options, Version,
    report::{Names, Report, at},
    schema::{Models, models_of},
};
use crate::{
    api::{Definition, GatewayResponseType, Integration, Protocol, RouteKey, is_name},
    config::{Problem, Problems, typed},
};

/// A document that is being read.
pub(super) struct Importer<'d> {
    pub(super) document: &'d Value,
    pub(super) version: Version,
    pub(super) options: &'d Options,
    pub(super) report: Report,
    pub(super) definition: Definition,
    /// Members of the API itself.
    pub(super) api: Map<String, Value>,
    pub(super) models: Models<'d>,
    /// What made up names keep clear of.
    pub(super) used: &'d Used<'d>,
    /// Places of extensions of AWS that something read.
    pub(super) read: BTreeSet<String>,
    pub(super) authorizers_given: Names,
    /// Names of authorizers by those of schemes.
    pub(super) authorizer_names: BTreeMap<String, String>,
    /// Names of validators by those in the document.
    pub(super) validators: BTreeMap<String, String>,
    pub(super) integrations_given: Names,
    /// Names of integrations by pointer, or by address.
    pub(super) integration_names: BTreeMap<String, String>,
    /// Keys of routes by method and path without a slash at its end.
    pub(super) taken: BTreeMap<String, String>,
    /// Routes without an integration.
    pub(super) without: Vec<String>,
    /// Members that other programs made up.
    pub(super) foreign: BTreeSet<String>,
    /// Parameters that have a schema.
    pub(super) typed_parameters: usize,
    /// What is put before paths.
    pub(super) base_path: String,
    /// Address that operations without an integration lead to.
    pub(super) backend: Option<String>,
}

/// What routes use that a document does not name.
#[derive(Default)]
pub(super) struct Used<'d> {
    pub(super) integrations: BTreeMap<&'d str, &'d Integration>,
    models: BTreeSet<String>,
}

impl<'d> Used<'d> {
    /// What of the API that is there stays in use beside a document.
    fn beside(known: &'d Definition, document: &Definition) -> Self {
        let mut used = Self::default();
        for (key, route) in &known.routes {
            if document.routes.contains_key(key) {
                continue;
            }
            used.models.extend(models_of(route, &known.models));
            let name = route.integration.as_deref().unwrap_or_default();
            if let Some((name, integration)) = known.integrations.get_key_value(name) {
                used.integrations.insert(name, integration);
            }
        }
        used
    }

    /// Whether a document has something else under one of the names.
    fn differs(&self, known: &Definition, document: &Definition) -> bool {
        let model = |name: &String| {
            let new = document.models.get(name);
            new.is_some() && new != known.models.get(name)
        };
        let integration = |(name, there): (&&str, &&Integration)| {
            let new = document.integrations.get(*name);
            new.is_some_and(|new| new != *there)
        };
        self.models.iter().any(model) || self.integrations.iter().any(integration)
    }
}

/// Understands a document.
///
/// # Errors
/// Everything that is wrong with it, each with its place as a JSON pointer.
pub fn import(document: &Value, options: &Options) -> Result<Imported, Problems> {
    let imported = read_with(document, options, &Used::default())?;
    let Some(known) = options.known.as_ref().filter(|_| options.beside) else {
        return Ok(imported);
    };
    // which routes the document does not name is known only now
    let used = Used::beside(known, &imported.definition);
    if used.differs(known, &imported.definition) {
        return read_with(document, options, &used);
    }
    Ok(imported)
}

fn read_with<'d>(
    document: &'d Value,
    options: &'d Options,
    used: &'d Used<'d>,
) -> Result<Imported, Problems> {
    let version = version(document).map_err(|problem| Problems(vec![problem]))?;
    let mut report = Report::default();
    let models = Models::new(document, version, &used.models, &mut report);
    let mut importer = Importer {
        document,
        version,
        options,
        report,
        definition: Definition::default(),
        api: Map::new(),
        models,
        used,
        read: BTreeSet::new(),
        authorizers_given: Names::default(),
        authorizer_names: BTreeMap::new(),
        validators: BTreeMap::new(),
        integrations_given: Names::default(),
        integration_names: BTreeMap::new(),
        taken: BTreeMap::new(),
        without: Vec::new(),
        foreign: BTreeSet::new(),
        typed_parameters: 0,
        base_path: String::new(),
        backend: None,
    };
    importer.root();
    importer.schemes();
    importer.integrations();
    importer.paths();
    importer.unused_schemes();
    importer.unread();
    importer.finish()
}

fn version(document: &Value) -> Result<Version, Problem> {
    if !document.is_object() {
        return Err(Problem::new("", "is not an object"));
    }
    let said = |key: &str| match document.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        // `swagger: 2.0` in YAML
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let (key, text) = match (said("openapi"), said("swagger")) {
        (Some(text), _) => ("openapi", text),
        (None, Some(text)) => ("swagger", text),
        (None, None) => {
            return Err(Problem::new(
                "",
                "is no OpenAPI document: neither `openapi` nor `swagger` says a version",
            ));
        }
    };
    let of = |major: &str| text == major || text.starts_with(&format!("{major}."));
    match key {
        "swagger" if of("2.0") || text == "2" => Ok(Version::V2),
        "openapi" if of("3.0") => Ok(Version::V3),
        "openapi" if of("3.1") => Ok(Version::V31),
        _ => Err(Problem::new(
            at("", key),
            format!("`{text}` is not known: 2.0, 3.0 and 3.1 are"),
        )),
    }
}

impl Importer<'_> {
    /// A value of the model; what is wrong is told at its place.
    pub(super) fn typed<T: DeserializeOwned + JsonSchema + 'static>(
        &mut self,
        fields: Map<String, Value>,
        place: &str,
    ) -> Option<T> {
        match typed(Value::Object(fields)) {
            Ok(value) => Some(value),
            Err(problems) => {
                for mut problem in problems.0 {
                    if !problem.path.is_empty() {
                        problem.message = format!("{}: {}", problem.path, problem.message);
                    }
                    place.clone_into(&mut problem.path);
                    self.report.problems.push(problem);
                }
                None
            }
        }
    }

    /// Members of our own: they stand for what they are called.
    pub(super) fn own(&self, object: &Map<String, Value>, except: &[&str], fields: &mut Map<String, Value>) {
        for (key, value) in object {
            match key.strip_prefix(OWN) {
                Some(field) if !except.contains(&field) => {
                    if value.is_null() {
                        fields.remove(field);
                    } else {
                        fields.insert(field.to_owned(), value.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// A member that nothing is made of.
    pub(super) fn unknown(&mut self, place: &str, key: &str) {
        if key.starts_with(OWN) || !self.report.spend(key.len()) {
            return;
        }
        self.reads(place, key);
        if key.starts_with(AMAZON) || !key.starts_with("x-") {
            self.report.warn(&at(place, key), "is not understood");
        } else {
            self.foreign.insert(key.to_owned());
        }
    }

    fn finish(mut self) -> Result<Imported, Problems> {
        self.models.finish(&mut self.report);
        self.definition.models = std::mem::take(&mut self.models.made);
        let mut named: BTreeSet<String> = self.api.keys().cloned().collect();
        self.kind_of_api();
        let api = std::mem::take(&mut self.api);
        if let Some(api) = self.typed(api, "") {
            self.definition.api = api;
        }
        self.verbatim(&mut named);
        if self.definition.api.protocol == Protocol::Websocket {
            self.report.problem(
                &at("", &format!("{OWN}protocol")),
                "documents do not describe WebSocket APIs",
            );
        }
        self.summary();
        let Report {
            problems,
            warnings,
            notes,
            became,
            ..
        } = self.report;
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Imported {
            definition: self.definition,
            named,
            became,
            warnings,
            notes,
        })
    }

    /// Protocol and profile, where the document does not say them.
    fn kind_of_api(&mut self) {
        let known = self.options.known.as_ref().map(|known| &known.api);
        let written = |value| serde_json::to_value(value).unwrap_or_default();
        let protocol = self.options.protocol.map(written);
        let guessed = || {
            written(if self.needs_rest() {
                Protocol::Rest
            } else {
                Protocol::Http
            })
        };
        let protocol = protocol
            .or_else(|| self.api.get("protocol").cloned())
            .or_else(|| known.map(|known| written(known.protocol)))
            .unwrap_or_else(guessed);
        let profile = self.options.profile.map(|profile| serde_json::json!(profile));
        let profile = profile
            .or_else(|| self.api.get("profile").cloned())
            .unwrap_or_else(|| serde_json::json!(known.map(|known| known.profile).unwrap_or_default()));
        self.api.insert("protocol".to_owned(), protocol);
        self.api.insert("profile".to_owned(), profile);
    }

    /// What an export wrote because nothing else could say it: whole members of the definition, or `null` for those that are not there.
    fn verbatim(&mut self, named: &mut BTreeSet<String>) {
        let place = at("", &format!("{OWN}definition"));
        let value = self.document.get(format!("{OWN}definition"));
        let Some(parts) = self.report.object(value, &place) else {
            return;
        };
        for (kind, items) in parts {
            let place = at(&place, kind);
            let Some(items) = self.report.object(Some(items), &place) else {
                continue;
            };
            if kind == "api" {
                named.extend(items.keys().cloned());
                if let Some(mut api) = self.typed::<crate::api::Api>(items.clone(), &place) {
                    api.protocol = self.options.protocol.unwrap_or(api.protocol);
                    api.profile = self.options.profile.unwrap_or(api.profile);
                    self.definition.api = api;
                }
                continue;
            }
            for (name, item) in items {
                self.item(kind, name, item, &at(&place, name));
            }
        }
    }

    fn item(&mut self, kind: &str, name: &str, item: &Value, place: &str) {
        let good = match kind {
            "routes" => RouteKey::parse(name).map(drop),
            "gateway-responses" => Ok(()),
            _ if is_name(name) => Ok(()),
            _ => Err(format!("`{name}` cannot be a name")),
        };
        if let Err(message) = good {
            self.report.problem(place, message);
            return;
        }
        let fields = match item {
            Value::Null => None,
            Value::Object(fields) => Some(fields.clone()),
            _ => return self.report.problem(place, "is not an object"),
        };
        macro_rules! put {
            ($field:ident, $key:expr) => {
                match fields {
                    None => drop(self.definition.$field.remove(&$key)),
                    Some(fields) => {
                        if let Some(value) = self.typed(fields, place) {
                            self.definition.$field.insert($key, value);
                        }
                    }
                }
            };
        }
        let key = name.to_owned();
        match kind {
            "routes" => put!(routes, key),
            "integrations" => put!(integrations, key),
            "authorizers" => put!(authorizers, key),
            "models" => put!(models, key),
            "validators" => put!(validators, key),
            "gateway-responses" => match response_type(name) {
                Some(kind) => put!(gateway_responses, kind),
                None => self.report.problem(place, "is no type of gateway response"),
            },
            _ => self.report.problem(place, "is no part of a definition"),
        }
    }

    /// What is told once of the whole document.
    fn summary(&mut self) {
        if !self.without.is_empty() {
            let some: Vec<&str> = self.without.iter().take(5).map(String::as_str).collect();
            let more = if self.without.len() > some.len() {
                ", ..."
            } else {
                ""
            };
            let message = format!(
                "{} of {} operations have no integration and cannot be deployed before they have one: {}{more}",
                self.without.len(),
                self.taken.len(),
                some.join(", ")
            );
            self.report
                .warnings
                .push(Problem::new("/paths", message).hint("`--backend URL` or `--upstream NAME`"));
        }
        if self.typed_parameters > 0 {
            let count = self.typed_parameters;
            self.report.note(
                "/paths",
                format!(
                    "types of {count} parameters are not kept and not checked, only that those are there that have to be; an export says `string`"
                ),
            );
        }
        if !self.taken.is_empty() {
            self.report.note(
                "/paths",
                "responses, summaries, descriptions and examples of operations are documentation and are not kept",
            );
        }
        if !self.foreign.is_empty() {
            let names: Vec<&str> = self.foreign.iter().take(20).map(String::as_str).collect();
            self.report
                .note("", format!("extensions of other programs: {}", names.join(", ")));
        }
    }
}

/// A type of gateway response by its name.
pub(super) fn response_type(name: &str) -> Option<GatewayResponseType> {
    GatewayResponseType::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
}
