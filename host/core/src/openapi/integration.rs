//! `x-amazon-apigateway-integration` as integrations, and what operations without one lead to.

use serde_json::{Map, Value};

use super::{
    AMAZON, Backend, OWN,
    import::Importer,
    report::{at, number, pointer},
};
use crate::api::{Integration, is_name};

/// Where integrations stand that have a name.
const COMPONENTS: &str = "/components/x-amazon-apigateway-integrations";

impl<'d> Importer<'d> {
    /// Integrations that the document has by name.
    pub(super) fn integrations(&mut self) {
        let known = self.document.pointer(COMPONENTS);
        let integrations = self.report.object(known, COMPONENTS);
        for (name, value) in integrations.into_iter().flatten() {
            let place = at(COMPONENTS, name);
            self.reads("/components", "x-amazon-apigateway-integrations");
            if let Some(name) = self.put(value, &place, name, true) {
                self.integration_names.insert(place, name);
            }
        }
    }

    /// The name of an operation's integration.
    pub(super) fn integration(&mut self, value: &'d Value, place: &str, wanted: &str) -> Option<String> {
        let Some(reference) = value.get("$ref") else {
            return self.put(value, place, wanted, false);
        };
        let target = reference.as_str().and_then(pointer).unwrap_or_default();
        if let Some(name) = self.integration_names.get(&target) {
            return Some(name.clone());
        }
        let (value, found) = self.report.resolved(self.document, value, place)?;
        if let Some(name) = self.integration_names.get(&found) {
            return Some(name.clone());
        }
        let name = self.put(value, &found, wanted, false)?;
        self.integration_names.insert(target, name.clone());
        Some(name)
    }

    /// Keeps an integration. One that is `named` in the document replaces what has its name.
    fn put(&mut self, value: &'d Value, place: &str, wanted: &str, named: bool) -> Option<String> {
        let Value::Object(object) = value else {
            self.report.problem(place, "is not an object");
            return None;
        };
        let fields = self.fields(object, place);
        let integration: Integration = self.typed(fields, place)?;
        // an integration that several operations have is written with each
        if let Some(name) = object
            .get(&format!("{OWN}name"))
            .and_then(Value::as_str)
            .filter(|name| is_name(name))
        {
            match self.definition.integrations.get(name) {
                Some(there) if *there == integration => return Some(name.to_owned()),
                Some(_) => self.report.warn(
                    place,
                    format!("says that it is the integration `{name}`, and is not as the first that does: it gets a name of its own"),
                ),
                None => {
                    self.integrations_given.take(name);
                    self.definition.integrations.insert(name.to_owned(), integration);
                    return Some(name.to_owned());
                }
            }
        }
        let name = if named {
            self.integrations_given.give(wanted, "integration")
        } else {
            self.made_up(wanted, "integration", &integration)
        };
        self.definition.integrations.insert(name.clone(), integration);
        Some(name)
    }

    /// A name for an integration that says none.
    fn made_up(&mut self, wanted: &str, otherwise: &str, integration: &Integration) -> String {
        let used = self.used;
        self.integrations_given.give_but(wanted, otherwise, |name| {
            used.integrations
                .get(name)
                .is_some_and(|there| *there != integration)
        })
    }

    fn fields(&mut self, object: &'d Map<String, Value>, place: &str) -> Map<String, Value> {
        let mut fields = Map::new();
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.to_ascii_uppercase();
        for (key, value) in object {
            let place = at(place, key);
            if value.is_null() {
                continue;
            }
            let mut put = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
            match key.as_str() {
                "type" => put("type", kind.as_str().into()),
                "uri" => put("uri", value.clone()),
                "httpMethod" => put("method", value.clone()),
                "contentHandling" => put("content-handling", upper(value)),
                "passthroughBehavior" => put("passthrough-behavior", upper(value)),
                "requestParameters" => put("request-parameters", self.texts(value, &place)),
                "requestTemplates" => put("request-templates", self.texts(value, &place)),
                "timeoutInMillis" => match number(value) {
                    Some(time) => put("timeout", format!("{time}ms").into()),
                    None => self.report.problem(&place, "is not a number of milliseconds"),
                },
                "responses" if kind.ends_with("_PROXY") => self.proxied(value, &place),
                "responses" => put("responses", self.responses(value, &place)),
                "responseParameters" => put("response-parameters", self.by_status(value, &place)),
                _ => self.beside(key, value, &place),
            }
        }
        self.own(object, &["name"], &mut fields);
        fields
    }

    /// Members that the model has no place for.
    fn beside(&mut self, key: &str, value: &Value, place: &str) {
        match (key, value) {
            _ if key.starts_with(OWN) => {}
            ("connectionType", Value::String(kind)) if kind == "INTERNET" => {}
            ("cacheKeyParameters", Value::Array(none)) if none.is_empty() => {}
            ("payloadFormatVersion", Value::String(version)) if version == "1.0" => {}
            ("responseTransferMode", _) => self.report.note(place, "bodies are always streamed"),
            ("cacheNamespace", _) => self.report.note(place, "nothing is cached"),
            ("cacheKeyParameters", _) => self.report.warn(place, "nothing is cached"),
            ("connectionType" | "connectionId", _) => {
                self.report.warn(
                    place,
                    "there are no VPC links: the gateway itself has to reach the server",
                );
            }
            ("tlsConfig", _) => self.report.warn(
                place,
                "certificates of servers are always verified, for the name in the address",
            ),
            ("credentials", _) => self
                .report
                .warn(place, "there are no roles of AWS: nothing is signed"),
            ("payloadFormatVersion" | "integrationSubtype", _) => {
                self.report.warn(place, "is of functions and services of AWS");
            }
            _ if key.starts_with("x-") && !key.starts_with(AMAZON) => {
                self.foreign.insert(key.to_owned());
            }
            _ => self.report.warn(place, "is not understood"),
        }
    }

    /// Responses of a proxy pass as they are, whatever AWS's documents say beside.
    fn proxied(&mut self, value: &Value, place: &str) {
        let responses = self.report.object(Some(value), place);
        if responses.is_none_or(Map::is_empty) {
            return;
        }
        let maps = |response: &Value| {
            ["responseParameters", "responseTemplates"].iter().any(|key| {
                response
                    .get(key)
                    .and_then(Value::as_object)
                    .is_some_and(|map| !map.is_empty())
            })
        };
        let message = "responses of a proxy integration pass as they are";
        if responses.is_some_and(|responses| responses.values().any(maps)) {
            self.report.warn(place, message);
        } else {
            self.report.note(place, message);
        }
    }

    fn responses(&mut self, value: &Value, place: &str) -> Value {
        let mut list = Vec::new();
        for (selection, value) in self.report.object(Some(value), place).into_iter().flatten() {
            let place = at(place, selection);
            let Some(object) = self.report.object(Some(value), &place) else {
                continue;
            };
            let mut fields = Map::new();
            if selection != "default" {
                fields.insert("selection".to_owned(), selection.as_str().into());
            }
            for (key, value) in object {
                let place = at(&place, key);
                match key.as_str() {
                    _ if self.response_member(key, value, &place, &mut fields) => {}
                    "contentHandling" => drop(fields.insert("content-handling".to_owned(), upper(value))),
                    _ if key.starts_with(OWN) => {}
                    _ => self.report.warn(&place, "is not understood"),
                }
            }
            self.own(object, &[], &mut fields);
            list.push(Value::Object(fields));
        }
        Value::Array(list)
    }

    /// What HTTP APIs change of responses: maps by status.
    fn by_status(&mut self, value: &Value, place: &str) -> Value {
        let mut statuses = Map::new();
        for (status, value) in self.report.object(Some(value), place).into_iter().flatten() {
            statuses.insert(status.clone(), self.texts(value, &at(place, status)));
        }
        Value::Object(statuses)
    }

    /// The integration of an operation that has none of its own.
    pub(super) fn behind(&mut self, key: &str, path: &str) -> Option<String> {
        let mut fields = Map::from_iter([("type".to_owned(), Value::from("HTTP_PROXY"))]);
        let mut wanted = "backend".to_owned();
        match (&self.options.backend, &self.backend) {
            (Some(Backend::Upstream(name)), _) => {
                fields.insert("upstream".to_owned(), name.as_str().into());
            }
            (Some(_), Some(base)) => {
                let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
                let uri = match (has_path, path) {
                    (false, _) => base.clone(),
                    (true, "/") => format!("{base}/"),
                    (true, "/$default" | "$default") => {
                        self.report.warn(
                            &at("/paths", path),
                            format!("has no path that could stand behind `{base}`"),
                        );
                        self.without.push(key.to_owned());
                        return None;
                    }
                    (true, path) => format!("{base}{}", path.replace("+}", "}")),
                };
                if has_path {
                    wanted = format!("backend{path}");
                }
                fields.insert("uri".to_owned(), uri.into());
            }
            _ => {
                self.without.push(key.to_owned());
                return None;
            }
        }
        let text = Value::Object(fields.clone()).to_string();
        if !self.report.spend(2 * text.len()) {
            return None;
        }
        if let Some(name) = self.integration_names.get(&text) {
            return Some(name.clone());
        }
        let integration = self.typed(fields, "/paths")?;
        let name = self.made_up(&wanted, "backend", &integration);
        self.report.became("/servers", format!("integration `{name}`"));
        self.definition.integrations.insert(name.clone(), integration);
        self.integration_names.insert(text, name.clone());
        Some(name)
    }
}

/// A word that AWS writes in both cases.
fn upper(value: &Value) -> Value {
    match value {
        Value::String(text) => text.to_ascii_uppercase().into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.clone(),
    }
}
