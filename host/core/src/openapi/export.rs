//! A definition as a document. What is written is read back: what is not as it was then stands beside the rest, whole, so that nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    AMAZON, METHODS, Options, Version, import, root::own, schema::written, scheme::written as written_scheme,
};
use crate::{
    api::{ApiKeySource, Definition, Integration, IntegrationType, PassthroughBehavior, Route, RouteKey},
    config::Time,
};

/// Methods that `ANY` stands for.
const ANY: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// Which extensions are written. With all of them a document can be read back as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// Integrations of operations.
    pub integrations: bool,
    /// Which plugins stand behind security schemes.
    pub authorizers: bool,
    /// Everything else.
    pub apigateway: bool,
}

impl Extensions {
    /// All of them.
    pub const ALL: Self = Self {
        integrations: true,
        authorizers: true,
        apigateway: true,
    };
    /// None, for people who call the API.
    pub const NONE: Self = Self {
        integrations: false,
        authorizers: false,
        apigateway: false,
    };

    /// Parses `all`, `none`, or some of `integrations,authorizers,apigateway`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut some = Self::NONE;
        for word in text.split(',').map(str::trim) {
            match word {
                "all" => some = Self::ALL,
                // of AWS; there are no documentation parts here
                "none" | "documentation" | "" => {}
                "integrations" => some.integrations = true,
                "authorizers" => some.authorizers = true,
                "apigateway" => some.apigateway = true,
                other => {
                    return Err(format!(
                        "`{other}` is not one of all, none, integrations, authorizers, apigateway"
                    ));
                }
            }
        }
        Ok(some)
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The document.
    pub document: Value,
    /// Keys of routes that a document without extensions cannot have.
    pub left_out: Vec<String>,
}

/// Writes a definition. `id` is the API's, which is its title where it has no name; `base` is a path that it is served under.
#[must_use]
pub fn export(
    id: &str,
    definition: &Definition,
    version: Version,
    extensions: Extensions,
    base: Option<&str>,
) -> Exported {
    let mut exporter = Exporter {
        id,
        definition,
        version,
        extensions,
        left_out: Vec::new(),
        api_key: "api_key".to_owned(),
    };
    while definition.authorizers.contains_key(&exporter.api_key) {
        exporter.api_key.push('_');
    }
    let mut root = exporter.root(base);
    if extensions == Extensions::ALL {
        exporter.left_out.clear();
        exporter.complete(&mut root);
    }
    Exported {
        document: Value::Object(root),
        left_out: exporter.left_out,
    }
}

struct Exporter<'a> {
    id: &'a str,
    definition: &'a Definition,
    version: Version,
    extensions: Extensions,
    left_out: Vec<String>,
    /// Name of the scheme of API keys.
    api_key: String,
}

impl Exporter<'_> {
    fn root(&mut self, base: Option<&str>) -> Map<String, Value> {
        let mut root = Map::new();
        let (key, version) = match self.version {
            Version::V2 => ("swagger", "2.0"),
            Version::V3 => ("openapi", "3.0.3"),
            Version::V31 => ("openapi", "3.1.0"),
        };
        root.insert(key.to_owned(), version.into());
        root.insert("info".to_owned(), self.info());
        if let Some(base) = base {
            match self.version {
                Version::V2 => root.insert("basePath".to_owned(), base.into()),
                Version::V3 | Version::V31 => root.insert("servers".to_owned(), json!([{"url": base}])),
            };
        }
        let paths = self.paths();
        root.insert("paths".to_owned(), Value::Object(paths));
        let schemas: Map<String, Value> = self
            .definition
            .models
            .iter()
            .map(|(name, model)| (name.clone(), self.schema(name, model)))
            .collect();
        let schemes = self.schemes();
        match self.version {
            Version::V2 => {
                put(&mut root, "definitions", Value::Object(schemas));
                put(&mut root, "securityDefinitions", Value::Object(schemes));
            }
            Version::V3 | Version::V31 => {
                let mut components = Map::new();
                put(&mut components, "schemas", Value::Object(schemas));
                put(&mut components, "securitySchemes", Value::Object(schemes));
                if self.extensions.integrations {
                    let spare = Value::Object(self.spare());
                    put(&mut components, &format!("{AMAZON}integrations"), spare);
                }
                put(&mut root, "components", Value::Object(components));
            }
        }
        if self.extensions.apigateway {
            self.amazon(&mut root);
        }
        root
    }

    fn info(&self) -> Value {
        let api = &self.definition.api;
        let mut info = json!({
            "title": api.name.as_deref().unwrap_or(self.id),
            "version": api.version.as_deref().unwrap_or_default(),
        });
        if let Some(description) = &api.description {
            info["description"] = description.as_str().into();
        }
        info
    }

    /// Integrations that no route has.
    fn spare(&self) -> Map<String, Value> {
        let used: BTreeSet<&String> = self
            .definition
            .routes
            .values()
            .filter_map(|route| route.integration.as_ref())
            .collect();
        let integrations = self.definition.integrations.iter();
        integrations
            .filter(|(name, _)| !used.contains(name))
            .map(|(name, integration)| (name.clone(), written_integration(name, integration)))
            .collect()
    }

    /// Extensions of the API as a whole.
    fn amazon(&self, root: &mut Map<String, Value>) {
        let api = &self.definition.api;
        let mut amazon = |name: &str, value: Value| put(root, &format!("{AMAZON}{name}"), value);
        if let Some(cors) = &api.cors {
            amazon("cors", camel(&fields(cors)));
        }
        amazon("binary-media-types", json!(api.binary_media_types));
        if let Some(size) = api.minimum_compression_size {
            amazon("minimum-compression-size", size.0.into());
        }
        if let Some(policy) = &api.policy {
            amazon("policy", policy.clone());
        }
        if api.api_key_source != ApiKeySource::default() {
            amazon("api-key-source", json!(api.api_key_source));
        }
        if api.disable_default_endpoint {
            amazon(
                "endpoint-configuration",
                json!({"disableExecuteApiEndpoint": true}),
            );
        }
        let validators: Map<String, Value> = self
            .definition
            .validators
            .iter()
            .map(|(name, validator)| {
                let known = [
                    ("body", "validateRequestBody"),
                    ("parameters", "validateRequestParameters"),
                ];
                (name.clone(), renamed(fields(validator), &known))
            })
            .collect();
        amazon("request-validators", Value::Object(validators));
        let responses: Map<String, Value> = self
            .definition
            .gateway_responses
            .iter()
            .map(|(kind, response)| {
                let known = [
                    ("status", "statusCode"),
                    ("parameters", "responseParameters"),
                    ("templates", "responseTemplates"),
                ];
                (kind.name().to_owned(), renamed(fields(response), &known))
            })
            .collect();
        amazon("gateway-responses", Value::Object(responses));
        let tags = api
            .tags
            .iter()
            .map(|(name, value)| json!({"name": name, (format!("{AMAZON}tag-value")): value}))
            .collect();
        put(root, "tags", Value::Array(tags));
        let mut rest = fields(api);
        for known in [
            "name",
            "description",
            "version",
            "cors",
            "binary-media-types",
            "minimum-compression-size",
            "api-key-source",
            "disable-default-endpoint",
            "tags",
        ] {
            rest.remove(known);
        }
        root.extend(rest.into_iter().map(|(key, value)| (own(&key), value)));
        if api.name.is_none() {
            root.insert(own("name"), Value::Null);
        }
    }

    fn schema(&self, name: &str, model: &crate::api::Model) -> Value {
        let mut schema = written(name, &self.definition.models, self.version);
        if let Some(object) = schema.as_object_mut().filter(|_| self.extensions.apigateway) {
            let mut rest = fields(model);
            rest.remove("schema");
            if model.content_type == "application/json" {
                rest.remove("content-type");
            }
            object.extend(rest.into_iter().map(|(key, value)| (own(&key), value)));
        }
        schema
    }

    fn schemes(&self) -> Map<String, Value> {
        let mut schemes = Map::new();
        for (name, authorizer) in &self.definition.authorizers {
            let (mut scheme, is_all) = written_scheme(authorizer, self.version);
            if let Some(description) = &authorizer.description {
                scheme.insert("description".to_owned(), description.as_str().into());
            }
            if self.extensions.authorizers {
                let mut members = fields(authorizer);
                if is_all {
                    members.remove("scheme");
                }
                scheme.insert(own("authorizer"), Value::Object(members));
            }
            schemes.insert(name.clone(), Value::Object(scheme));
        }
        if self
            .definition
            .routes
            .values()
            .any(|route| route.api_key_required)
        {
            let scheme = json!({"type": "apiKey", "name": "x-api-key", "in": "header"});
            schemes.insert(self.api_key.clone(), scheme);
        }
        schemes
    }

    fn paths(&mut self) -> Map<String, Value> {
        let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        let mut any = Vec::new();
        for (key, route) in &self.definition.routes {
            let (method, path) = match (RouteKey::parse(key), key.split_once(' ')) {
                (Ok(RouteKey::Default), _) if self.extensions.apigateway => (None, "/$default"),
                (Ok(RouteKey::Path(method, _)), Some((_, path))) => (method, path),
                _ => {
                    self.left_out.push(key.clone());
                    continue;
                }
            };
            let plain = if self.extensions.apigateway {
                path.to_owned()
            } else {
                path.replace("+}", "}")
            };
            let Some(method) = method else {
                any.push((key, plain, path, route));
                continue;
            };
            let method = method.as_str().to_ascii_lowercase();
            let item = paths.entry(plain).or_default();
            let known = METHODS.contains(&&*method) && (method != "trace" || self.version != Version::V2);
            if known && !item.contains_key(&method) {
                item.insert(method, self.operation(path, route));
            } else {
                self.left_out.push(key.clone());
            }
        }
        for (key, plain, path, route) in any {
            let item = paths.entry(plain).or_default();
            if self.extensions.apigateway {
                let mut operation = self.operation(path, route);
                if key == "$default" {
                    operation["isDefaultRoute"] = true.into();
                }
                item.insert("x-amazon-apigateway-any-method".to_owned(), operation);
                continue;
            }
            for method in ANY {
                if !item.contains_key(method) {
                    let mut operation = self.operation(path, route);
                    if let Some(object) = operation.as_object_mut() {
                        object.remove("operationId");
                    }
                    item.insert(method.to_owned(), operation);
                }
            }
        }
        paths
            .into_iter()
            .filter(|(_, item)| !item.is_empty())
            .map(|(path, item)| (path, Value::Object(item)))
            .collect()
    }

    fn operation(&self, path: &str, route: &Route) -> Value {
        let mut operation = Map::new();
        if let Some(name) = &route.operation_name {
            operation.insert("operationId".to_owned(), name.as_str().into());
        }
        let mut parameters = self.parameters(path, route);
        self.body(route, &mut operation, &mut parameters);
        put(&mut operation, "parameters", Value::Array(parameters));
        let integration = route
            .integration
            .as_ref()
            .and_then(|name| Some((name, self.definition.integrations.get(name)?)));
        operation.insert("responses".to_owned(), responses(integration.map(|(_, one)| one)));
        self.security(route, &mut operation);
        if let Some((name, integration)) = integration.filter(|_| self.extensions.integrations) {
            operation.insert(
                format!("{AMAZON}integration"),
                written_integration(name, integration),
            );
        }
        if self.extensions.apigateway {
            if let Some(validator) = route
                .validator
                .as_ref()
                .filter(|name| self.definition.validators.contains_key(*name))
            {
                operation.insert(format!("{AMAZON}request-validator"), validator.as_str().into());
            }
            let mut rest = fields(route);
            for known in [
                "operation-name",
                "integration",
                "authorizer",
                "authorization-scopes",
                "api-key-required",
                "validator",
                "request-parameters",
                "request-models",
            ] {
                rest.remove(known);
            }
            operation.extend(rest.into_iter().map(|(key, value)| (own(&key), value)));
        }
        Value::Object(operation)
    }

    fn parameters(&self, path: &str, route: &Route) -> Vec<Value> {
        let mut parameters = Vec::new();
        let mut of_path: Vec<&str> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| name.trim_end_matches('+'))
            .collect();
        let parameter = |name: &str, place: &str, required: bool| {
            let mut parameter = json!({"name": name, "in": place, "required": required});
            match self.version {
                Version::V2 => parameter["type"] = "string".into(),
                Version::V3 | Version::V31 => parameter["schema"] = json!({"type": "string"}),
            }
            parameter
        };
        for (place, required) in &route.request_parameters {
            let Some((kind, name)) = place
                .strip_prefix("method.request.")
                .and_then(|place| place.split_once('.'))
            else {
                continue;
            };
            match kind {
                "header" => {
                    let mut parameter = parameter(name, "header", *required);
                    if self.version.ignores_header(name) {
                        // says nothing without the extension
                        if !self.extensions.apigateway {
                            continue;
                        }
                        parameter[own("required")] = (*required).into();
                    }
                    parameters.push(parameter);
                }
                "querystring" => parameters.push(parameter(name, "query", *required)),
                "path" if of_path.contains(&name) => {
                    of_path.retain(|other| *other != name);
                    let mut parameter = parameter(name, "path", true);
                    if !required && self.extensions.apigateway {
                        parameter[own("required")] = false.into();
                    }
                    parameters.push(parameter);
                }
                _ => {}
            }
        }
        for name in of_path {
            let mut parameter = parameter(name, "path", true);
            if self.extensions.apigateway {
                parameter[own("implied")] = true.into();
            }
            parameters.push(parameter);
        }
        parameters
    }

    fn body(&self, route: &Route, operation: &mut Map<String, Value>, parameters: &mut Vec<Value>) {
        let known = route
            .request_models
            .iter()
            .filter(|(_, model)| self.definition.models.contains_key(*model))
            .map(|(kind, model)| {
                let kind = if kind == "$default" { "*/*" } else { kind.as_str() };
                (
                    kind,
                    json!({"$ref": format!("#{}{model}", self.version.schemas())}),
                )
            });
        let models: BTreeMap<&str, Value> = known.collect();
        let Some(first) = models.values().next() else {
            return;
        };
        if self.version == Version::V2 {
            parameters.push(json!({"name": "body", "in": "body", "schema": first}));
            operation.insert("consumes".to_owned(), models.keys().copied().collect());
        } else {
            let content: Map<String, Value> = models
                .into_iter()
                .map(|(kind, schema)| (kind.to_owned(), json!({"schema": schema})))
                .collect();
            operation.insert("requestBody".to_owned(), json!({"content": content}));
        }
    }

    fn security(&self, route: &Route, operation: &mut Map<String, Value>) {
        let mut requirement = Map::new();
        if let Some(name) = route
            .authorizer
            .as_ref()
            .filter(|name| self.definition.authorizers.contains_key(*name))
        {
            requirement.insert(name.clone(), json!(route.authorization_scopes));
        }
        if route.api_key_required {
            requirement.insert(self.api_key.clone(), json!([]));
        }
        if !requirement.is_empty() {
            operation.insert("security".to_owned(), json!([requirement]));
        }
    }

    /// Adds what is different after reading the document back.
    fn complete(&self, root: &mut Map<String, Value>) {
        let read = |root: &Map<String, Value>| {
            import(&Value::Object(root.clone()), &Options::default()).map(|imported| imported.definition)
        };
        let back = read(root).unwrap_or_else(|_refused| {
            // nothing of it can be said otherwise
            root.insert("paths".to_owned(), json!({}));
            for part in ["components", "definitions", "securityDefinitions"] {
                root.remove(part);
            }
            root.retain(|key, _| !key.starts_with("x-") && key != "tags");
            read(root).unwrap_or_default()
        });
        let mut parts = Map::new();
        let (wanted, back) = (fields(self.definition), fields(&back));
        let nothing = Map::new();
        for (kind, wanted) in &wanted {
            let there = back.get(kind);
            if kind == "api" {
                if there != Some(wanted) {
                    parts.insert(kind.clone(), wanted.clone());
                }
                continue;
            }
            let wanted = wanted.as_object().unwrap_or(&nothing);
            let there = there.and_then(Value::as_object).unwrap_or(&nothing);
            let mut items = Map::new();
            for (name, item) in wanted {
                if there.get(name) != Some(item) {
                    items.insert(name.clone(), item.clone());
                }
            }
            for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
                items.insert(name.clone(), Value::Null);
            }
            put(&mut parts, kind, Value::Object(items));
        }
        put(root, &own("definition"), Value::Object(parts));
    }
}

/// Adds a member, unless it is empty.
fn put(object: &mut Map<String, Value>, key: &str, value: Value) {
    let empty = match &value {
        Value::Object(object) => object.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if !empty {
        object.insert(key.to_owned(), value);
    }
}

/// A value of the model as it is written.
pub(super) fn fields(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Members under the names of AWS; those that it does not have under our own.
fn renamed(fields: Map<String, Value>, known: &[(&str, &str)]) -> Value {
    fields
        .into_iter()
        .map(|(key, value)| {
            let name = known.iter().find(|(ours, _)| *ours == key);
            (
                name.map_or_else(|| own(&key), |(_, theirs)| (*theirs).to_owned()),
                value,
            )
        })
        .collect()
}

/// `allow-origins` as `allowOrigins`, for members that only differ in that.
fn camel(fields: &Map<String, Value>) -> Value {
    let name = |key: &str| {
        let mut words = key.split('-');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            let mut letters = word.chars();
            name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            name.push_str(letters.as_str());
        }
        name
    };
    fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (name(key), value.clone()))
        .collect()
}

fn written_integration(name: &str, integration: &Integration) -> Value {
    let mut rest = fields(integration);
    let mut written = Map::from_iter([
        (own("name"), Value::from(name)),
        ("type".to_owned(), kind(integration.kind).into()),
    ]);
    rest.remove("type");
    let mut told = |ours: &str, theirs: &str| {
        if let Some(value) = rest.remove(ours) {
            put(&mut written, theirs, value);
        }
    };
    told("uri", "uri");
    told("method", "httpMethod");
    told("request-parameters", "requestParameters");
    told("request-templates", "requestTemplates");
    told("content-handling", "contentHandling");
    told("response-parameters", "responseParameters");
    if integration.passthrough_behavior != PassthroughBehavior::default() {
        told("passthrough-behavior", "passthroughBehavior");
    }
    rest.remove("passthrough-behavior");
    if let Some(Time(time)) = integration.timeout {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        written.insert("timeoutInMillis".to_owned(), time.into());
        rest.remove("timeout");
    }
    rest.remove("responses");
    let responses: Map<String, Value> = integration
        .responses
        .iter()
        .map(|response| {
            let mut fields = fields(response);
            fields.remove("selection");
            let known = [
                ("status", "statusCode"),
                ("parameters", "responseParameters"),
                ("templates", "responseTemplates"),
                ("content-handling", "contentHandling"),
            ];
            let mut value = renamed(fields, &known);
            // a text, as AWS has it
            value["statusCode"] = response.status.to_string().into();
            (
                response.selection.clone().unwrap_or_else(|| "default".to_owned()),
                value,
            )
        })
        .collect();
    put(&mut written, "responses", Value::Object(responses));
    written.extend(rest.into_iter().map(|(key, value)| (own(&key), value)));
    Value::Object(written)
}

const fn kind(kind: IntegrationType) -> &'static str {
    match kind {
        IntegrationType::HttpProxy => "http_proxy",
        IntegrationType::Http => "http",
        IntegrationType::Mock => "mock",
        IntegrationType::AwsProxy => "aws_proxy",
        IntegrationType::Aws => "aws",
    }
}

/// What a client can get, as far as that is known.
fn responses(integration: Option<&Integration>) -> Value {
    let mut responses: Map<String, Value> = integration
        .into_iter()
        .flat_map(|integration| &integration.responses)
        .map(|response| {
            let reason = http::StatusCode::from_u16(response.status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("Response");
            (response.status.to_string(), json!({"description": reason}))
        })
        .collect();
    if responses.is_empty() {
        responses.insert(
            "default".to_owned(),
            json!({"description": "Response of the server"}),
        );
    }
    Value::Object(responses)
}
