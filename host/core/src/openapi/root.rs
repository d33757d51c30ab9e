//! What a document says of the API as a whole.

use serde_json::{Map, Value, json};

use super::{
    AMAZON, Backend, BasePath, OWN, Version,
    import::{Importer, response_type},
    report::{Names, at, number},
};
use crate::api::uri::{Address, variables_in, with_variables};

/// Longest address of a server, with its variables, in bytes.
const URL_MAX: usize = 8192;

/// Extensions that only REST APIs of AWS have.
const REST_ONLY: [&str; 8] = [
    "gateway-responses",
    "request-validators",
    "request-validator",
    "api-key-source",
    "binary-media-types",
    "minimum-compression-size",
    "policy",
    "documentation",
];

impl<'d> Importer<'d> {
    /// Everything beside paths and components.
    pub(super) fn root(&mut self) {
        let Some(root) = self.document.as_object() else {
            return;
        };
        self.info(root);
        self.base_path();
        self.backend_address();
        for (key, value) in root {
            let place = at("", key);
            if let Some(name) = key.strip_prefix(AMAZON) {
                self.reads("", key);
                self.amazon(name, value, &place);
                continue;
            }
            match key.as_str() {
                "tags" => self.tags(value),
                "servers" => self.servers(value),
                "webhooks" => self
                    .report
                    .warn(&place, "are requests that the API sends: not understood"),
                "openapi"
                | "swagger"
                | "info"
                | "paths"
                | "components"
                | "definitions"
                | "parameters"
                | "responses"
                | "securityDefinitions"
                | "security"
                | "host"
                | "basePath"
                | "schemes"
                | "consumes"
                | "produces"
                | "externalDocs"
                | "jsonSchemaDialect" => {}
                _ => self.unknown("", key),
            }
        }
        let mut api = std::mem::take(&mut self.api);
        self.own(root, &["definition"], &mut api);
        self.api = api;
    }

    fn info(&mut self, root: &Map<String, Value>) {
        let Some(info) = root.get("info") else {
            self.report.problem("/info", "is missing");
            return;
        };
        for (key, field) in [
            ("title", "name"),
            ("description", "description"),
            ("version", "version"),
        ] {
            let place = at("/info", key);
            let value = match info.get(key) {
                // `version: 1.0` in YAML
                Some(Value::Number(number)) if key == "version" => Some(number.to_string()),
                other => self.report.text(other, &place).map(str::to_owned),
            };
            match value {
                Some(text) if !text.is_empty() || field == "description" => {
                    self.api.insert(field.to_owned(), text.into());
                }
                _ => {}
            }
        }
    }

    fn amazon(&mut self, name: &str, value: &'d Value, place: &str) {
        match name {
            "cors" => self.cors(value, place),
            "binary-media-types" => drop(self.api.insert(name.to_owned(), value.clone())),
            "minimum-compression-size" => match number(value) {
                Some(size) => drop(self.api.insert(name.to_owned(), size.into())),
                None if value.is_null() => {}
                None => self.report.problem(place, "is not a number of bytes"),
            },
            "api-key-source" => {
                let source = self.report.text(Some(value), place).unwrap_or_default();
                self.api
                    .insert(name.to_owned(), source.to_ascii_uppercase().into());
            }
            "request-validators" => self.validators(value, place),
            "gateway-responses" => self.gateway_responses(value, place),
            "endpoint-configuration" => self.endpoint(value, place),
            "policy" if value.is_null() => {}
            "policy" => drop(self.api.insert(name.to_owned(), value.clone())),
            "documentation" => self.report.warn(place, "documentation parts are not kept"),
            "importexport-version" if value == "1.0" || value.as_f64() == Some(1.0) => {}
            // of operations, where they say nothing else
            "request-validator" => {}
            _ => self.unknown("", &format!("{AMAZON}{name}")),
        }
    }

    fn cors(&mut self, value: &Value, place: &str) {
        let Some(object) = self.report.object(Some(value), place) else {
            return;
        };
        let mut cors = Map::new();
        for (key, value) in object {
            let field = match key.as_str() {
                "allowOrigins" => "allow-origins",
                "allowMethods" => "allow-methods",
                "allowHeaders" => "allow-headers",
                "exposeHeaders" => "expose-headers",
                "allowCredentials" => "allow-credentials",
                "maxAge" => "max-age",
                _ => {
                    self.report.warn(&at(place, key), "is not understood");
                    continue;
                }
            };
            cors.insert(field.to_owned(), value.clone());
        }
        // what is wrong is told here, not with the rest of the API
        if self.typed::<crate::api::Cors>(cors.clone(), place).is_some() {
            self.api.insert("cors".to_owned(), Value::Object(cors));
        }
    }

    fn validators(&mut self, value: &Value, place: &str) {
        let mut given = Names::default();
        for (name, value) in self.report.object(Some(value), place).into_iter().flatten() {
            let place = at(place, name);
            let Some(object) = self.report.object(Some(value), &place) else {
                continue;
            };
            let mut fields = Map::new();
            for (key, value) in object {
                match key.as_str() {
                    "validateRequestBody" => drop(fields.insert("body".to_owned(), value.clone())),
                    "validateRequestParameters" => {
                        drop(fields.insert("parameters".to_owned(), value.clone()))
                    }
                    _ => self.unknown(&place, key),
                }
            }
            self.own(object, &[], &mut fields);
            if let Some(validator) = self.typed(fields, &place) {
                let given = given.give(name, "validator");
                self.report.became(&place, format!("validator `{given}`"));
                self.validators.insert(name.clone(), given.clone());
                self.definition.validators.insert(given, validator);
            }
        }
    }

    fn gateway_responses(&mut self, value: &Value, place: &str) {
        for (name, value) in self.report.object(Some(value), place).into_iter().flatten() {
            let place = at(place, name);
            let Some(kind) = response_type(name) else {
                self.report.warn(&place, "is no type of gateway response");
                continue;
            };
            let Some(object) = self.report.object(Some(value), &place) else {
                continue;
            };
            let mut fields = Map::new();
            for (key, value) in object {
                let place = at(&place, key);
                if !self.response_member(key, value, &place, &mut fields) {
                    self.report.warn(&place, "is not understood");
                }
            }
            self.own(object, &[], &mut fields);
            if let Some(response) = self.typed(fields, &place) {
                self.report.became(&place, format!("gateway response `{name}`"));
                self.definition.gateway_responses.insert(kind, response);
            }
        }
    }

    fn endpoint(&mut self, value: &Value, place: &str) {
        for (key, value) in self.report.object(Some(value), place).into_iter().flatten() {
            match key.as_str() {
                "disableExecuteApiEndpoint" => {
                    self.api
                        .insert("disable-default-endpoint".to_owned(), value.clone());
                }
                _ => self.report.warn(
                    &at(place, key),
                    "is not understood: the gateway's listeners say where it is reached",
                ),
            }
        }
    }

    fn tags(&mut self, value: &Value) {
        let mut tags = Map::new();
        for (index, tag) in self.report.list(Some(value), "/tags").iter().enumerate() {
            self.reads(&format!("/tags/{index}"), "x-amazon-apigateway-tag-value");
            let text = |key: &str| tag.get(key).and_then(Value::as_str);
            match (text("name"), tag.get(format!("{AMAZON}tag-value"))) {
                (Some(name), Some(Value::String(value))) => {
                    tags.insert(name.to_owned(), value.as_str().into());
                }
                (_, None) => {}
                _ => self.report.problem(
                    &format!("/tags/{index}"),
                    "has no name, or a value that is no text",
                ),
            }
        }
        if !tags.is_empty() {
            self.api.insert("tags".to_owned(), Value::Object(tags));
        }
    }

    fn servers(&mut self, value: &'d Value) {
        for (index, server) in self.report.list(Some(value), "/servers").iter().enumerate() {
            let key = format!("{AMAZON}endpoint-configuration");
            self.reads(&format!("/servers/{index}"), &key);
            if let Some(value) = server.get(&key) {
                self.endpoint(value, &at(&format!("/servers/{index}"), &key));
            }
        }
    }

    /// The first server's URL with the defaults of its variables.
    fn server(&mut self) -> Option<String> {
        let server = self.document.get("servers")?.get(0)?;
        let mut url = self.report.text(server.get("url"), "/servers/0/url")?.to_owned();
        let variables = server.get("variables").and_then(Value::as_object);
        for (name, variable) in variables.into_iter().flatten() {
            if let Some(default) = variable.get("default").and_then(Value::as_str) {
                let place = format!("{{{name}}}");
                let longer = default.len().saturating_mul(url.matches(&place).count());
                if url.len().saturating_add(longer) > URL_MAX {
                    self.report.problem(
                        "/servers/0/url",
                        format!("with its variables it is longer than {URL_MAX} bytes"),
                    );
                    return None;
                }
                url = url.replace(&place, default);
            }
        }
        Some(url)
    }

    /// What the document says that its paths begin with.
    fn base_path(&mut self) {
        let said = match self.version {
            Version::V2 => self
                .report
                .text(self.document.get("basePath"), "/basePath")
                .unwrap_or_default()
                .to_owned(),
            Version::V3 | Version::V31 => {
                let variable = self.document.pointer("/servers/0/variables/basePath/default");
                match variable.and_then(Value::as_str) {
                    Some(default) => default.to_owned(),
                    None => path_of(&self.server().unwrap_or_default()).to_owned(),
                }
            }
        };
        let mut segments: Vec<&str> = said.split('/').filter(|segment| !segment.is_empty()).collect();
        match self.options.base_path {
            BasePath::Ignore => segments.clear(),
            BasePath::Prepend => {}
            BasePath::Split => drop(segments.drain(..segments.len().min(1))),
        }
        self.base_path = segments.iter().map(|segment| format!("/{segment}")).collect();
    }

    /// The address that operations without an integration lead to.
    fn backend_address(&mut self) {
        let address = match &self.options.backend {
            None | Some(Backend::Upstream(_)) => return,
            Some(Backend::Url(url)) => url.clone(),
            Some(Backend::Servers) => match self.version {
                Version::V2 => self.host(),
                Version::V3 | Version::V31 => self.server().unwrap_or_default(),
            },
        };
        let place = match &self.options.backend {
            Some(Backend::Url(_)) => "backend",
            _ => "/servers",
        };
        let address = address.trim_end_matches('/');
        let some = variables_in(address)
            .into_iter()
            .map(|name| (name, "v".to_owned()))
            .collect();
        let filled = with_variables(address, &some).unwrap_or_default();
        match Address::parse(&filled) {
            Ok(parsed) if parsed.query.is_none() => self.backend = Some(address.to_owned()),
            Ok(_) => self.report.problem(
                place,
                format!("`{address}` has a query: no path can stand behind it"),
            ),
            Err(message) => self.report.problem(place, message),
        }
    }

    fn host(&mut self) -> String {
        let Some(host) = self.report.text(self.document.get("host"), "/host") else {
            return String::new();
        };
        let schemes = self.report.list(self.document.get("schemes"), "/schemes");
        let plain = !schemes.is_empty() && !schemes.contains(&json!("https"));
        let scheme = if plain { "http" } else { "https" };
        let base = self
            .document
            .get("basePath")
            .and_then(Value::as_str)
            .unwrap_or_default();
        format!("{scheme}://{host}{base}")
    }

    /// Whether there is what only REST APIs have.
    pub(super) fn needs_rest(&self) -> bool {
        let root = self.document.as_object();
        let amazon = root
            .into_iter()
            .flat_map(|root| root.keys())
            .filter_map(|key| key.strip_prefix(AMAZON));
        let mut amazon = amazon;
        if amazon.any(|key| REST_ONLY.contains(&key)) {
            return true;
        }
        let integrations = self.definition.integrations.values();
        let mut integrations = integrations;
        let validated = self
            .definition
            .routes
            .values()
            .any(|route| route.validator.is_some());
        validated
            || self
                .definition
                .routes
                .values()
                .any(|route| route.api_key_required)
            || integrations.any(|one| {
                matches!(
                    one.kind,
                    crate::api::IntegrationType::Http
                        | crate::api::IntegrationType::Mock
                        | crate::api::IntegrationType::Aws
                ) || !one.request_templates.is_empty()
                    || one
                        .request_parameters
                        .keys()
                        .any(|key| key.starts_with("integration."))
            })
    }

    /// Takes a member that responses of integrations and gateway responses have both. False for any other.
    pub(super) fn response_member(
        &mut self,
        key: &str,
        value: &Value,
        place: &str,
        fields: &mut Map<String, Value>,
    ) -> bool {
        let (name, value) = match key {
            _ if value.is_null() => return true,
            "statusCode" => match number(value) {
                Some(status) => ("status", status.into()),
                None => {
                    self.report.problem(place, "is no status");
                    return true;
                }
            },
            "responseParameters" => ("parameters", self.texts(value, place)),
            "responseTemplates" => ("templates", self.texts(value, place)),
            _ => return false,
        };
        fields.insert(name.to_owned(), value);
        true
    }

    /// A map of texts. Numbers and the like are written as such.
    pub(super) fn texts(&mut self, value: &Value, place: &str) -> Value {
        let mut texts = Map::new();
        for (key, value) in self.report.object(Some(value), place).into_iter().flatten() {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null => continue,
                Value::Array(_) | Value::Object(_) => {
                    self.report.problem(&at(place, key), "is not a text");
                    continue;
                }
            };
            texts.insert(key.clone(), text.into());
        }
        Value::Object(texts)
    }
}

/// The path of a URL, which may be just that.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| {
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
    });
    rest.split(['?', '#']).next().unwrap_or_default()
}

/// Where our own extensions of a part begin.
pub(super) fn own(field: &str) -> String {
    format!("{OWN}{field}")
}
