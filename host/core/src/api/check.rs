//! What no single type excludes: names, references within an API, expressions, and what is not built yet and must not be deployed as if it were.

use std::{collections::BTreeMap, time::Duration};

use regex_automata::meta::Regex;

use super::{
    Api, Authorizer, AuthorizerType, Definition, GatewayResponse, IdentitySource, Integration,
    IntegrationType, Profile, Protocol, Route,
    identity::SOURCES_MAX,
    is_script,
    mapping::{Mapping as ParameterMapping, Place},
    uri::{Address, variables_in, with_variables},
};
use crate::{
    config::{Aws, Problem},
    policy::{Policy, PolicyKind},
    route::PathPattern,
};

/// Longest name of a resource, in bytes (as AWS's stage names).
const NAME_MAX: usize = 128;
/// Longest base path of a mapping, in bytes (as AWS).
const BASE_PATH_MAX: usize = 300;
/// Largest `minimum-compression-size`, in bytes (as AWS).
const COMPRESSION_MAX: u64 = 10 << 20;
/// Largest template, in bytes (as AWS).
const TEMPLATE_MAX: usize = 300 << 10;

/// Longest time that decisions of authorizers are kept (as AWS).
const RESULT_TTL_MAX: Duration = Duration::from_secs(3600);

/// Most scopes that a route wants one of, and the longest one, in bytes.
const SCOPES_MAX: usize = 50;
const SCOPE_MAX: usize = 256;

/// Types of security schemes (OpenAPI 3.1).
const SCHEMES: [&str; 5] = ["apiKey", "http", "oauth2", "openIdConnect", "mutualTLS"];

/// Whether a text can name an API, an integration, a model and the like: 1 to 128 of letters, digits, `-`, `_`, `.`, not beginning with `.`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether a text can name a stage: 1 to 128 of letters, digits, `-`, `_`, or `$default`.
#[must_use]
pub fn is_stage_name(text: &str) -> bool {
    text == "$default"
        || (1..=NAME_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a text can be a base path: segments without empty ones, dot segments and encodings, or nothing at all.
#[must_use]
pub fn is_base_path(text: &str) -> bool {
    text.is_empty()
        || text.len() <= BASE_PATH_MAX
            && text
                .split('/')
                .all(|segment| !segment.is_empty() && segment != "." && segment != "..")
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"$-_.+!*'()/".contains(&byte))
}

/// What a route's key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKey {
    /// Everything that no other route takes.
    Default,
    /// A method (none for `ANY`) and a path.
    Path(Option<http::Method>, PathPattern),
}

impl RouteKey {
    /// Parses `GET /pets/{id}`, `ANY /files/{proxy+}`, `$default`.
    ///
    /// # Errors
    /// What is wrong, for the publisher.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "$default" {
            return Ok(Self::Default);
        }
        let Some((method, path)) = text.split_once(' ') else {
            return Err(format!(
                "`{text}` is not `METHOD /path`, `ANY /path` or `$default`"
            ));
        };
        let method = match method {
            "ANY" => None,
            other
                if other
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'-') =>
            {
                let parsed = other
                    .parse()
                    .map_err(|_ignored| format!("`{other}` is not a method"))?;
                if parsed == http::Method::CONNECT {
                    return Err("CONNECT is not served".to_owned());
                }
                Some(parsed)
            }
            other => return Err(format!("`{other}` is not a method in upper case")),
        };
        let path = PathPattern::parse(path).map_err(|error| error.to_string())?;
        Ok(Self::Path(method, path))
    }
}

impl Definition {
    /// Everything that keeps it from being deployed. Paths are those of the definition: `routes.GET /pets.integration`.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_api(&mut problems);
        for (key, route) in &self.routes {
            self.check_route(key, route, &mut problems);
        }
        for (name, integration) in &self.integrations {
            check_name("integrations", name, &mut problems);
            check_integration(
                &format!("integrations.{name}"),
                integration,
                &self.api,
                &mut problems,
            );
        }
        for (name, authorizer) in &self.authorizers {
            check_name("authorizers", name, &mut problems);
            check_authorizer(&format!("authorizers.{name}"), authorizer, &mut problems);
        }
        for (name, model) in &self.models {
            check_name("models", name, &mut problems);
            if !model.schema.is_object() && !model.schema.is_boolean() {
                problems.push(Problem::new(
                    format!("models.{name}.schema"),
                    "is not a JSON Schema",
                ));
            }
        }
        for name in self.validators.keys() {
            check_name("validators", name, &mut problems);
        }
        for (kind, response) in &self.gateway_responses {
            check_gateway_response(
                &format!("gateway-responses.{}", kind.name()),
                response,
                &mut problems,
            );
        }
        problems
    }

    fn check_api(&self, problems: &mut Vec<Problem>) {
        let api = &self.api;
        if api.protocol == Protocol::Websocket {
            problems.push(Problem::new(
                "api.protocol",
                "WEBSOCKET APIs cannot be deployed yet",
            ));
        }
        if let Some(cors) = &api.cors {
            for (key, message) in cors.problems() {
                problems.push(Problem::new(format!("api.cors.{key}"), message));
            }
        }
        for (index, kind) in api.binary_media_types.iter().enumerate() {
            if kind.split('/').filter(|part| !part.is_empty()).count() != 2 {
                problems.push(Problem::new(
                    format!("api.binary-media-types[{index}]"),
                    format!("`{kind}` is not a media type"),
                ));
            }
        }
        if let Some(size) = api
            .minimum_compression_size
            .filter(|size| size.0 > COMPRESSION_MAX)
        {
            problems.push(Problem::new(
                "api.minimum-compression-size",
                format!("{size} exceeds 10MiB"),
            ));
        }
        if let Some(policy) = &api.policy {
            self.check_policy(policy, problems);
        }
        if !self.gateway_responses.is_empty()
            && api.protocol == Protocol::Http
            && api.profile == Profile::Apigw
        {
            problems.push(
                Problem::new("gateway-responses", "HTTP APIs of AWS have none")
                    .hint("use `protocol: REST`, or `profile: native`"),
            );
        }
    }

    fn check_policy(&self, policy: &serde_json::Value, problems: &mut Vec<Problem>) {
        if (self.api.protocol, self.api.profile) == (Protocol::Http, Profile::Apigw) {
            let problem = Problem::new("api.policy", "HTTP APIs of AWS have none");
            problems.push(problem.hint("use `protocol: REST`, or `profile: native`"));
        }
        // names do not matter for what is wrong with it
        let home = match Aws::default().home("api") {
            Ok(home) => home,
            Err(problem) => return problems.push(problem),
        };
        if let Err(found) = Policy::from_value(policy, PolicyKind::Resource(&home)) {
            problems.extend(found.0.into_iter().map(|problem| Problem {
                path: format!("api.policy{}", problem.path),
                ..problem
            }));
        }
    }

    fn check_route(&self, key: &str, route: &Route, problems: &mut Vec<Problem>) {
        let path = format!("routes.{key}");
        if let Err(message) = RouteKey::parse(key) {
            problems.push(Problem::new(&path, message));
        }
        match &route.integration {
            None => problems.push(
                Problem::new(format!("{path}.integration"), "is missing")
                    .hint("a route needs an integration to be deployed"),
            ),
            Some(name) => refer(
                &self.integrations,
                "integration",
                name,
                format!("{path}.integration"),
                problems,
            ),
        }
        if let Some(name) = &route.authorizer {
            refer(
                &self.authorizers,
                "authorizer",
                name,
                format!("{path}.authorizer"),
                problems,
            );
        }
        if let Some(name) = &route.validator {
            refer(
                &self.validators,
                "validator",
                name,
                format!("{path}.validator"),
                problems,
            );
        }
        for (kind, name) in &route.request_models {
            if self.model(name).is_some() {
                continue;
            }
            refer(
                &self.models,
                "model",
                name,
                format!("{path}.request-models.{kind}"),
                problems,
            );
        }
        for place in route.request_parameters.keys() {
            let known = ["header.", "querystring.", "path."].iter().any(|kind| {
                place
                    .strip_prefix("method.request.")
                    .is_some_and(|rest| rest.len() > kind.len() && rest.starts_with(kind))
            });
            if !known {
                problems.push(Problem::new(
                    format!("{path}.request-parameters.{place}"),
                    "is not `method.request.header|querystring|path.NAME`",
                ));
            }
        }
        // what is not enforced must not look as if it were
        if route.api_key_required {
            problems.push(Problem::new(
                format!("{path}.api-key-required"),
                "API keys cannot be required yet",
            ));
        }
        if let Err(message) = self.check_scopes(route) {
            problems.push(Problem::new(format!("{path}.authorization-scopes"), message));
        }
    }

    /// Scopes have to be such (RFC 6749 section 3.3), and somebody who tells those of a caller.
    fn check_scopes(&self, route: &Route) -> Result<(), String> {
        let scopes = &route.authorization_scopes;
        if scopes.is_empty() {
            return Ok(());
        }
        if scopes.len() > SCOPES_MAX {
            return Err(format!("{} scopes exceed {SCOPES_MAX}", scopes.len()));
        }
        let is_scope = |scope: &String| {
            let good = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            (1..=SCOPE_MAX).contains(&scope.len()) && scope.bytes().all(good)
        };
        if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!(
                "{scope:?} is no scope: 1 to {SCOPE_MAX} visible characters, no space, `\"` or `\\`"
            ));
        }
        let Some(name) = &route.authorizer else {
            return Err("need an `authorizer` that tells the scopes of a caller".to_owned());
        };
        match self.authorizers.get(name) {
            Some(authorizer) if authorizer.kind == AuthorizerType::Iam => Err(format!(
                "authorizer `{name}` is of type `iam`, whose callers have no scopes"
            )),
            _ => Ok(()),
        }
    }
}

fn check_authorizer(path: &str, authorizer: &Authorizer, problems: &mut Vec<Problem>) {
    let mut wrong = |at: &str, message: String| problems.push(Problem::new(format!("{path}.{at}"), message));
    let sources = &authorizer.identity_sources;
    if sources.len() > SOURCES_MAX {
        wrong(
            "identity-sources",
            format!("{} sources exceed {SOURCES_MAX}", sources.len()),
        );
    }
    for (index, source) in sources.iter().enumerate() {
        if let Err(message) = IdentitySource::checked(source) {
            wrong(&format!("identity-sources[{index}]"), message);
        }
    }
    if let Some(text) = &authorizer.identity_validation {
        if sources.is_empty() {
            wrong("identity-validation", "needs `identity-sources`".to_owned());
        }
        if let Err(message) = whole_value(text) {
            wrong("identity-validation", message);
        }
    }
    for (key, time) in [
        ("result-ttl", authorizer.result_ttl),
        ("stale-while-revalidate", authorizer.stale_while_revalidate),
    ] {
        if let Some(time) = time.filter(|time| time.0 > RESULT_TTL_MAX) {
            wrong(key, format!("{time} is more than 1h"));
        }
    }
    if sources.is_empty() && authorizer.stale_while_revalidate.is_some() {
        wrong("stale-while-revalidate", "needs `identity-sources`".to_owned());
    }
    if let Some(Err(message)) = authorizer.scheme.as_ref().map(check_scheme) {
        wrong("scheme.type", message);
    }
}

fn check_scheme(scheme: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
    let kind = scheme.get("type").and_then(serde_json::Value::as_str);
    let kind = kind.unwrap_or_default();
    if SCHEMES.contains(&kind) {
        return Ok(());
    }
    Err(format!("`{kind}` is none of {}", SCHEMES.join(", ")))
}

fn check_name(of: &str, name: &str, problems: &mut Vec<Problem>) {
    if !is_name(name) {
        problems.push(
            Problem::new(format!("{of}.{name}"), format!("`{name}` cannot be a name"))
                .hint("1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`"),
        );
    }
}

fn refer<T>(known: &BTreeMap<String, T>, what: &str, name: &str, path: String, problems: &mut Vec<Problem>) {
    if known.contains_key(name) {
        return;
    }
    let problem = Problem::new(path, format!("no {what} is called `{name}`"));
    let names: Vec<_> = known.keys().take(20).map(String::as_str).collect();
    problems.push(if names.is_empty() {
        problem
    } else {
        problem.hint(format!("there are: {}", names.join(", ")))
    });
}

fn check_templates(
    path: &str,
    templates: &BTreeMap<String, String>,
    integration: &Integration,
    has_engine: bool,
    problems: &mut Vec<Problem>,
) {
    for (kind, template) in templates {
        let path = format!("{path}.{kind}");
        let problem = if template.len() > TEMPLATE_MAX {
            Problem::new(path, format!("{} bytes exceed {TEMPLATE_MAX}", template.len()))
        } else if is_script(template) && !integration.has_templates() {
            Problem::new(
                path,
                "is never rendered: an HTTP_PROXY integration passes bodies as they are",
            )
            .hint("leave it out, or use `type: HTTP`")
        } else if is_script(template) && !has_engine {
            Problem::new(path, "is a Velocity template, and the API names no plugin that renders it")
                .hint("`template-engine` of the API: a plugin of the configuration file with the module `vtl-transform`")
        } else {
            continue;
        };
        problems.push(problem);
    }
}

fn check_integration(path: &str, integration: &Integration, api: &Api, problems: &mut Vec<Problem>) {
    let protocol = api.protocol;
    let mut wrong =
        |key: &str, message: String| problems.push(Problem::new(format!("{path}.{key}"), message));
    let is_mock = integration.kind == IntegrationType::Mock;
    match integration.kind {
        IntegrationType::Aws | IntegrationType::AwsProxy => {
            wrong("type", "functions cannot be called yet".to_owned());
            return;
        }
        IntegrationType::Mock if protocol == Protocol::Http => {
            wrong(
                "type",
                "HTTP APIs have no MOCK integrations: use `protocol: REST`".to_owned(),
            );
        }
        IntegrationType::Http if protocol == Protocol::Http => {
            wrong(
                "type",
                "HTTP APIs have HTTP_PROXY integrations only: use `protocol: REST`".to_owned(),
            );
        }
        IntegrationType::Http | IntegrationType::HttpProxy | IntegrationType::Mock => {}
    }
    match &integration.uri {
        None if !is_mock && integration.upstream.is_none() => wrong("uri", "is missing".to_owned()),
        Some(uri) if !is_mock => {
            // any text for variables: those of a stage are checked with the stage
            let some = variables_in(uri)
                .into_iter()
                .map(|name| (name, "v".to_owned()))
                .collect();
            if let Ok(filled) = with_variables(uri, &some)
                && let Err(message) = Address::parse(&filled)
            {
                wrong("uri", message);
            }
        }
        _ => {}
    }
    if let Some(method) = integration.method.as_deref().filter(|method| *method != "ANY")
        && (method.parse::<http::Method>().is_err() || method == "CONNECT")
    {
        wrong("method", format!("`{method}` is not a method"));
    }
    if let Some(time) = integration.timeout.filter(|time| time.0.as_millis() < 50) {
        wrong("timeout", format!("{time} is less than 50ms"));
    }
    for (key, value) in &integration.request_parameters {
        match ParameterMapping::request(key, value).and_then(ParameterMapping::checked) {
            Err(message) => wrong(&format!("request-parameters.{key}"), message),
            Ok(mapping) if mapping.value.reads_response_body() => {
                wrong(
                    &format!("request-parameters.{key}"),
                    "there is no response yet".to_owned(),
                );
            }
            Ok(_) => {}
        }
    }
    for (status, parameters) in &integration.response_parameters {
        if !status
            .parse::<u16>()
            .is_ok_and(|status| (200..600).contains(&status))
        {
            wrong(
                &format!("response-parameters.{status}"),
                "is not a status from 200 to 599".to_owned(),
            );
        }
        for (key, value) in parameters {
            if let Err(message) = ParameterMapping::response(key, value).and_then(ParameterMapping::checked) {
                wrong(&format!("response-parameters.{status}.{key}"), message);
            }
        }
    }
    let mut defaults = 0;
    for (index, response) in integration.responses.iter().enumerate() {
        let at = format!("responses[{index}]");
        match response.selection.as_deref() {
            None | Some("") => defaults += 1,
            Some(pattern) => {
                if let Err(error) = selection(pattern) {
                    wrong(&format!("{at}.selection"), error);
                }
            }
        }
        if !(200..600).contains(&response.status) {
            wrong(
                &format!("{at}.status"),
                format!("{} is not from 200 to 599", response.status),
            );
        }
        for (key, value) in &response.parameters {
            match ParameterMapping::response(key, value).and_then(ParameterMapping::checked) {
                Err(message) => wrong(&format!("{at}.parameters.{key}"), message),
                Ok(mapping) if mapping.place == Place::Status => {
                    wrong(
                        &format!("{at}.parameters.{key}"),
                        "the status is `status`".to_owned(),
                    );
                }
                Ok(_) => {}
            }
        }
    }
    if defaults > 1 {
        wrong(
            "responses",
            format!("{defaults} have no `selection`, at most one is the default"),
        );
    }
    if is_mock && integration.responses.is_empty() {
        wrong(
            "responses",
            "is empty: a MOCK integration has nothing to answer".to_owned(),
        );
    }
    if integration.kind == IntegrationType::HttpProxy && !integration.responses.is_empty() {
        wrong(
            "responses",
            "responses of an HTTP_PROXY integration pass as they are".to_owned(),
        );
    }
    check_templates(
        &format!("{path}.request-templates"),
        &integration.request_templates,
        integration,
        api.template_engine.is_some(),
        problems,
    );
    for (index, response) in integration.responses.iter().enumerate() {
        check_templates(
            &format!("{path}.responses[{index}].templates"),
            &response.templates,
            integration,
            api.template_engine.is_some(),
            problems,
        );
    }
}

/// The regular expression of a selection: it has to match the status from its start, as AWS.
///
/// # Errors
/// What is wrong with it.
pub fn selection(pattern: &str) -> Result<Regex, String> {
    regex(pattern, "")
}

/// The regular expression of an identity: it has to match the whole value.
///
/// # Errors
/// What is wrong with it.
pub fn whole_value(pattern: &str) -> Result<Regex, String> {
    regex(pattern, "$")
}

fn regex(pattern: &str, end: &str) -> Result<Regex, String> {
    // bounded: patterns come from publishers
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(1 << 20)).onepass(false))
        .build(&format!("^(?:{pattern}){end}"))
        .map_err(|error| format!("`{pattern}` is not a regular expression: {error}"))
}

fn check_gateway_response(path: &str, response: &GatewayResponse, problems: &mut Vec<Problem>) {
    if let Some(status) = response.status.filter(|status| !(200..600).contains(status)) {
        problems.push(Problem::new(
            format!("{path}.status"),
            format!("{status} is not from 200 to 599"),
        ));
    }
    for (key, value) in &response.parameters {
        if let Err(message) =
            ParameterMapping::gateway_response(key, value).and_then(ParameterMapping::checked)
        {
            problems.push(Problem::new(format!("{path}.parameters.{key}"), message));
        }
    }
    for (kind, template) in &response.templates {
        if template.len() > TEMPLATE_MAX {
            problems.push(Problem::new(
                format!("{path}.templates.{kind}"),
                format!("{} bytes exceed {TEMPLATE_MAX}", template.len()),
            ));
        }
    }
}

/// Stage variables that an API's integrations name and a stage does not have, each with its place.
#[must_use]
pub fn missing_variables(definition: &Definition, variables: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, integration) in &definition.integrations {
        let Some(uri) = &integration.uri else { continue };
        let path = format!("integrations.{name}.uri");
        match with_variables(uri, variables) {
            Err(missing) => problems.extend(
                missing
                    .into_iter()
                    .map(|variable| Problem::new(&path, format!("the stage has no variable `{variable}`"))),
            ),
            Ok(filled) if integration.kind != IntegrationType::Mock => {
                if let Err(message) = Address::parse(&filled) {
                    problems.push(Problem::new(&path, message));
                }
            }
            Ok(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(value: serde_json::Value) -> Definition {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn names_are_checked() {
        assert!(
            is_name("pets-v1.2_x") && !is_name("") && !is_name("a b") && !is_name("a/b") && !is_name("..")
        );
        assert!(
            is_stage_name("$default")
                && is_stage_name("prod")
                && !is_stage_name("a.b")
                && !is_stage_name("$x")
        );
        assert!(
            is_base_path("")
                && is_base_path("v1/pets")
                && !is_base_path("/v1")
                && !is_base_path("a//b")
                && !is_base_path("a/../b")
                && !is_base_path("a%20b")
        );
    }

    #[test]
    fn route_keys_are_a_method_and_a_path() {
        assert_eq!(RouteKey::parse("$default").unwrap(), RouteKey::Default);
        assert!(matches!(
            RouteKey::parse("ANY /a/{proxy+}").unwrap(),
            RouteKey::Path(None, _)
        ));
        assert!(matches!(
            RouteKey::parse("GET /a").unwrap(),
            RouteKey::Path(Some(_), _)
        ));
        for bad in [
            "GET",
            "get /a",
            "GET a",
            "GET /a{b}",
            "CONNECT /a",
            "GET /{p+}/x",
            "",
            "$connect",
        ] {
            assert!(RouteKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_problem_of_a_definition_is_found_at_once() {
        let problems = definition(json!({
            "api": {"protocol": "REST", "cors": {"allow-origins": []}, "binary-media-types": ["png"], "minimum-compression-size": "11MiB"},
            "routes": {
                "GET /a": {"integration": "none"},
                "get /b": {},
                "GET /c": {"integration": "web", "authorizer": "x", "validator": "y", "request-models": {"$default": "z"}, "request-parameters": {"query.x": true}, "api-key-required": true, "authorization-scopes": ["a b"]},
                "GET /d": {"integration": "web", "authorization-scopes": ["s"]},
                "GET /e": {"integration": "web", "authorizer": "signed", "authorization-scopes": ["s"]},
            },
            "authorizers": {"signed": {"type": "iam", "plugin": "sigv4"}},
            "integrations": {
                "web": {"type": "HTTP_PROXY", "uri": "http://{host}/", "timeout": "1ms", "method": "g t", "request-templates": {"a/b": "$x"}, "request-parameters": {"integration.request.header.te": "'x'", "overwrite:path": "$response.body"}, "responses": [{"status": 200}]},
                "fun": {"type": "AWS_PROXY"},
                "mock": {"type": "MOCK"},
                "http": {"type": "HTTP", "responses": [{"status": 99, "selection": "("}, {"status": 200}, {"status": 200, "templates": {"application/json": "$input.body"}}]},
            },
            "models": {"m": {"schema": 5}},
            "gateway-responses": {"DEFAULT_4XX": {"status": 1000, "parameters": {"gatewayresponse.header.via": "'x'"}}},
        }))
        .problems();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for expected in [
            "api.cors.allow-origins: ",
            "api.binary-media-types[0]: ",
            "api.minimum-compression-size: 11MiB exceeds 10MiB",
            "routes.GET /a.integration: no integration is called `none` (there are: fun, http, mock, web)",
            "routes.get /b: `get` is not a method",
            "routes.get /b.integration: is missing",
            "routes.GET /c.authorizer: no authorizer",
            "routes.GET /c.validator: no validator",
            "routes.GET /c.request-models.$default: no model",
            "routes.GET /c.request-parameters.query.x: ",
            "routes.GET /c.api-key-required: ",
            "routes.GET /c.authorization-scopes: \"a b\" is no scope",
            "routes.GET /d.authorization-scopes: need an `authorizer`",
            "routes.GET /e.authorization-scopes: authorizer `signed` is of type `iam`",
            "integrations.web.uri: ",
            "integrations.web.timeout: ",
            "integrations.web.method: ",
            "integrations.web.request-parameters.integration.request.header.te: ",
            "integrations.web.request-parameters.overwrite:path: there is no response yet",
            "integrations.web.responses: ",
            "integrations.fun.type: ",
            "integrations.mock.responses: is empty",
            "integrations.http.uri: is missing",
            "integrations.http.responses[0].selection: ",
            "integrations.http.responses[0].status: ",
            "integrations.http.responses: 2 have no `selection`",
            "integrations.http.responses[2].templates.application/json: is a Velocity template, and the API names no plugin",
            "integrations.web.request-templates.a/b: is never rendered",
            "models.m.schema: ",
            "gateway-responses.DEFAULT_4XX.status: ",
            "gateway-responses.DEFAULT_4XX.parameters.gatewayresponse.header.via: ",
        ] {
            assert!(
                text.iter().any(|line| line.starts_with(expected)),
                "{expected} not in {text:#?}"
            );
        }
    }

    #[test]
    fn names_that_are_no_variables_keep_it_from_being_deployed_and_not_from_being_built() {
        let mapping = ("overwrite:header.x", "$context.requestID");
        let problems = definition(json!({
            "api": {"protocol": "REST"},
            "integrations": {"web": {"type": "HTTP_PROXY", "uri": "http://a/", "request-parameters": {(mapping.0): (mapping.1)}}},
            "authorizers": {"a": {"plugin": "a", "identity-sources": ["context.requestID"]}},
            "gateway-responses": {"DEFAULT_4XX": {"parameters": {"gatewayresponse.header.x": "context.requestID"}}},
        }))
        .problems();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for place in [
            "integrations.web.request-parameters.",
            "authorizers.a.",
            "gateway-responses.",
        ] {
            let told = |line: &String| line.starts_with(place) && line.contains("no variable `requestID`");
            assert!(text.iter().any(told), "{place} {text:#?}");
        }
        // a deployment that was kept may have them
        assert!(ParameterMapping::request(mapping.0, mapping.1).is_ok());
        assert!(ParameterMapping::gateway_response("gatewayresponse.header.x", "context.requestID").is_ok());
        assert!(IdentitySource::parse("context.requestID").is_ok());
    }

    #[test]
    fn variables_that_a_stage_lacks_are_named() {
        let definition = definition(json!({
            "integrations": {"a": {"type": "HTTP_PROXY", "uri": "http://${stageVariables.host}/x"}, "b": {"type": "MOCK", "responses": [{"status": 200}]}},
        }));
        assert_eq!(missing_variables(&definition, &BTreeMap::new()).len(), 1);
        let with = |host: &str| BTreeMap::from([("host".to_owned(), host.to_owned())]);
        assert_eq!(missing_variables(&definition, &with("a.example")), []);
        assert_eq!(missing_variables(&definition, &with("a b")).len(), 1);
    }
}
