//! Operations as routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{AMAZON, METHODS, OWN, Version, import::Importer, report::at};
use crate::api::{Route, RouteKey};

/// Parameters by place and name, each with where it stands.
type Parameters<'d> = BTreeMap<(&'d str, &'d str), (&'d Map<String, Value>, String)>;

/// Bytes that a member of a list counts for.
pub(super) const EACH: usize = 64;

/// An operation, and where it stands.
struct Operation<'d> {
    /// Without the base path.
    path: &'d str,
    key: String,
    object: &'d Map<String, Value>,
    place: String,
    /// What parts of it are named after.
    name: String,
}

impl<'d> Importer<'d> {
    /// Every path.
    pub(super) fn paths(&mut self) {
        let paths = self.report.object(self.document.get("paths"), "/paths");
        if paths.is_none_or(Map::is_empty) {
            self.report.warn("/paths", "there are none");
        }
        for (path, item) in paths.into_iter().flatten() {
            if path.starts_with("x-") {
                self.unknown("/paths", path);
                continue;
            }
            let place = at("/paths", path);
            if !path.starts_with('/') && path != "$default" {
                self.report
                    .problem(&place, format!("`{path}` does not begin with `/`"));
                continue;
            }
            let Some((item, place)) = self.report.resolved(self.document, item, &place) else {
                continue;
            };
            if let Some(item) = self.report.object(Some(item), &place) {
                self.path(path, item, &place);
            }
        }
    }

    fn path(&mut self, path: &'d str, item: &'d Map<String, Value>, place: &str) {
        let mut shared = Parameters::new();
        self.parameters(item, place, &mut shared);
        for (name, value) in item {
            let any = name == "x-amazon-apigateway-any-method";
            if any || METHODS.contains(&name.as_str()) {
                self.reads(place, name);
                let place = at(place, name);
                if let Some(object) = self.report.object(Some(value), &place) {
                    let method = if any {
                        "ANY".to_owned()
                    } else {
                        name.to_ascii_uppercase()
                    };
                    self.operation(&method, path, object, place, &shared);
                }
                continue;
            }
            match name.as_str() {
                "parameters" | "summary" | "description" | "$ref" => {}
                "servers" => self.report.note(&at(place, name), "is not used"),
                _ => self.unknown(place, name),
            }
        }
    }

    fn operation(
        &mut self,
        method: &str,
        path: &'d str,
        object: &'d Map<String, Value>,
        place: String,
        shared: &Parameters<'d>,
    ) {
        let key = if matches!(path, "/$default" | "$default") && method == "ANY" {
            "$default".to_owned()
        } else {
            let path = if path == "/" && !self.base_path.is_empty() {
                ""
            } else {
                path
            };
            format!("{method} {}{path}", self.base_path)
        };
        // what is the same for many operations is counted with each
        if !self.report.spend(EACH * (1 + shared.len()) + 2 * key.len()) {
            return;
        }
        if let Err(message) = RouteKey::parse(&key) {
            self.report.problem(&place, message);
            return;
        }
        if let Some(other) = self
            .taken
            .insert(key.trim_end_matches('/').to_owned(), key.clone())
        {
            self.report.problem(
                &place,
                format!("`{key}` is the same as `{other}`: a slash at the end makes no difference"),
            );
        }
        let name = self
            .report
            .text(object.get("operationId"), &at(&place, "operationId"));
        let operation = Operation {
            path,
            name: name.map_or_else(|| key.to_ascii_lowercase(), str::to_owned),
            key,
            object,
            place,
        };
        let mut route = Map::new();
        if let Some(name) = name {
            route.insert("operation-name".to_owned(), name.into());
        }
        let mut parameters = shared.clone();
        self.parameters(object, &operation.place, &mut parameters);
        self.request(&operation, &parameters, &mut route);
        self.body(&operation, &parameters, &mut route);
        self.members(&operation, &mut route);
        self.own(object, &[], &mut route);
        if !self.report.spend(Value::Object(route.clone()).to_string().len()) {
            return;
        }
        if let Some(route) = self.typed::<Route>(route, &operation.place) {
            self.put_route(operation, route);
        }
    }

    fn put_route(&mut self, operation: Operation<'d>, route: Route) {
        let mut told = format!("route `{}`", operation.key);
        for (what, name) in [
            ("integration", &route.integration),
            ("authorizer", &route.authorizer),
        ] {
            if let Some(name) = name {
                told += &format!(", {what} `{name}`");
            }
        }
        self.report.became(&operation.place, told);
        self.definition.routes.insert(operation.key, route);
    }

    /// Adds parameters to those that are known; they replace those of the same place and name.
    fn parameters(&mut self, object: &'d Map<String, Value>, place: &str, known: &mut Parameters<'d>) {
        let place = at(place, "parameters");
        let list = self.report.list(object.get("parameters"), &place);
        if !self.report.spend(EACH * list.len()) {
            return;
        }
        for (index, parameter) in list.iter().enumerate() {
            let place = format!("{place}/{index}");
            let Some((parameter, found)) = self.report.resolved(self.document, parameter, &place) else {
                continue;
            };
            let text = |key: &str| parameter.get(key).and_then(Value::as_str);
            match (parameter.as_object(), text("in"), text("name")) {
                (Some(object), Some(kind), Some(name)) if !name.is_empty() => {
                    known.insert((kind, name), (object, found));
                }
                _ => self.report.problem(&place, "has no `name` or no `in`"),
            }
        }
    }

    /// Which parameters a request needs.
    fn request(
        &mut self,
        operation: &Operation<'d>,
        parameters: &Parameters<'d>,
        route: &mut Map<String, Value>,
    ) {
        let mut places = Map::new();
        for ((kind, name), (parameter, place)) in parameters {
            let required = parameter
                .get("required")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            let kind = match *kind {
                "query" => "querystring",
                "header" => "header",
                "path" => "path",
                "body" if self.version == Version::V2 => continue,
                "formData" | "cookie" => {
                    let message = format!("`{name}` is not validated: it is in {kind}");
                    if required {
                        self.report.warn(place, message);
                    } else {
                        self.report.note(place, message);
                    }
                    continue;
                }
                other => {
                    self.report
                        .problem(place, format!("`{other}` is no place of a parameter"));
                    continue;
                }
            };
            let said = parameter.get(&format!("{OWN}required")).and_then(Value::as_bool);
            if kind == "header" && said.is_none() && self.version.ignores_header(name) {
                if required {
                    let message =
                        format!("`{name}` is not validated: OpenAPI ignores header parameters of that name");
                    self.report.note(place, message);
                }
                continue;
            }
            if parameter.contains_key("schema") || parameter.contains_key("type") {
                self.typed_parameters += 1;
            }
            if parameter.get(&format!("{OWN}implied")) == Some(&Value::Bool(true)) {
                continue;
            }
            let name = if kind == "path" {
                name.trim_end_matches('+')
            } else {
                name
            };
            if kind == "path" && !has_parameter(operation.path, name) {
                self.report
                    .warn(place, format!("`{}` has no parameter `{name}`", operation.path));
                continue;
            }
            let required = said.unwrap_or(required || kind == "path");
            places.insert(format!("method.request.{kind}.{name}"), required.into());
        }
        if !places.is_empty() {
            route.insert("request-parameters".to_owned(), Value::Object(places));
        }
    }

    /// Models of bodies by media type.
    fn body(
        &mut self,
        operation: &Operation<'d>,
        parameters: &Parameters<'d>,
        route: &mut Map<String, Value>,
    ) {
        let wanted = format!("{}-body", operation.name);
        let mut models = Map::new();
        if self.version == Version::V2 {
            let mut bodies = parameters.iter().filter(|((kind, _), _)| *kind == "body");
            let Some((_, (parameter, place))) = bodies.next() else {
                return;
            };
            let place = at(place, "schema");
            let Some(schema) = parameter.get("schema") else {
                return;
            };
            for kind in self.consumes(operation) {
                let Some(kind) = self.media_type(&kind, &place) else {
                    continue;
                };
                if let Some(model) = self.models.of(schema, &place, &wanted, &mut self.report) {
                    models.insert(kind, model.into());
                }
            }
        } else {
            let place = at(&operation.place, "requestBody");
            let Some(body) = operation.object.get("requestBody") else {
                return;
            };
            let Some((body, place)) = self.report.resolved(self.document, body, &place) else {
                return;
            };
            let place = at(&place, "content");
            let content = self.report.object(body.get("content"), &place);
            if !self.report.spend(EACH * content.map_or(0, Map::len)) {
                return;
            }
            for (kind, media) in content.into_iter().flatten() {
                let place = at(&at(&place, kind), "schema");
                let (Some(schema), Some(kind)) = (media.get("schema"), self.media_type(kind, &place)) else {
                    continue;
                };
                if let Some(model) = self.models.of(schema, &place, &wanted, &mut self.report) {
                    models.insert(kind, model.into());
                }
            }
        }
        if !models.is_empty() {
            route.insert("request-models".to_owned(), Value::Object(models));
        }
    }

    fn consumes(&mut self, operation: &Operation<'d>) -> Vec<String> {
        let (list, place) = match operation.object.get("consumes") {
            Some(own) => (Some(own), at(&operation.place, "consumes")),
            None => (self.document.get("consumes"), "/consumes".to_owned()),
        };
        let list = self.report.list(list, &place);
        if list.is_empty() {
            return vec!["application/json".to_owned()];
        }
        let list: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let size = list.iter().map(|kind| EACH + kind.len()).sum::<usize>();
        if self.report.spend(size) { list } else { Vec::new() }
    }

    /// The media type as models know it, if bodies of it can be validated.
    fn media_type(&mut self, kind: &str, place: &str) -> Option<String> {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let lower = essence.to_ascii_lowercase();
        if lower == "*/*" {
            return Some("$default".to_owned());
        }
        if lower == "application/json" || lower.ends_with("+json") {
            return Some(essence.to_owned());
        }
        self.report
            .note(place, format!("bodies of `{kind}` are not validated"));
        None
    }

    /// The rest of an operation.
    fn members(&mut self, operation: &Operation<'d>, route: &mut Map<String, Value>) {
        let place = &operation.place;
        self.secure(operation.object.get("security"), place, route);
        let root = self.document.get(format!("{AMAZON}request-validator"));
        let mut integration = None;
        for (key, value) in operation.object {
            if !self.report.spend(place.len()) {
                return;
            }
            self.reads(place, key);
            let place = at(place, key);
            match key.as_str() {
                "x-amazon-apigateway-integration" => {
                    integration = Some(self.integration(value, &place, &operation.name));
                }
                "x-amazon-apigateway-auth" => self.amazon_auth(value, &place, route),
                "x-amazon-apigateway-request-validator" => {}
                "callbacks" => self.report.note(&place, "are requests that the server sends"),
                "servers" | "schemes" => self.report.note(&place, "is not used"),
                "tags" | "summary" | "description" | "externalDocs" | "operationId" | "consumes"
                | "produces" | "parameters" | "responses" | "deprecated" | "security" | "requestBody"
                | "isDefaultRoute" => {}
                _ => self.unknown(&operation.place, key),
            }
        }
        let own = operation.object.get("x-amazon-apigateway-request-validator");
        if let Some(Value::String(name)) = own.or(root).filter(|name| !name.is_null()) {
            match self.validators.get(name) {
                Some(name) => drop(route.insert("validator".to_owned(), name.as_str().into())),
                None => self
                    .report
                    .problem(place, format!("no request validator is called `{name}`")),
            }
        }
        let said = operation.object.contains_key(&format!("{OWN}integration"));
        let integration = match integration {
            Some(integration) => integration,
            None if said => None,
            None => self.behind(&operation.key, operation.path),
        };
        if let Some(name) = integration {
            route.insert("integration".to_owned(), name.into());
        }
    }
}

fn has_parameter(path: &str, name: &str) -> bool {
    path.contains(&format!("{{{name}}}")) || path.contains(&format!("{{{name}+}}"))
}
