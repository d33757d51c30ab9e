//! What a route of an API does with its requests, in order: plugins, and what the gateway does by itself. The order is that of the data plane's spine.

use edgeward_core::{
    api::{AuthorizerType, Definition, IntegrationType, Route},
    phase::{Phase, Phases},
};
use serde::Serialize;

use super::Deployer;
use crate::{
    error::ControlError,
    model::{Key, Kind, missing},
};

/// One thing that a route does.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Element {
    /// The phase that it is part of. Those of plugins have the names that plugins know them by.
    pub phase: &'static str,
    /// What it is: `plugin`, or something that the gateway does by itself.
    pub element: &'static str,
    /// Of which binding, authorizer, validator or integration.
    pub name: Option<String>,
    /// The live version, of a plugin.
    pub version: Option<u64>,
}

/// A plugin that a route passes.
struct Passed<'a> {
    name: &'a str,
    version: u64,
    phases: Phases,
}

impl Deployer {
    /// What a route does with its requests, in order, as the API is now and with the live versions of its plugins.
    ///
    /// # Errors
    /// No such API or route, or it names what is not there.
    pub fn pipeline(&self, api: &str, route: &str) -> Result<Vec<Element>, ControlError> {
        let applied = self.applied();
        let definition = applied.model.definition(api)?;
        let found = definition.routes.get(route);
        let found = found.ok_or_else(|| missing(&Key::of(Kind::Route, api, route)))?;
        let mut plugins = Vec::new();
        for name in definition.passed_by(found) {
            let loaded = applied.plugins.get(name);
            let loaded = loaded.ok_or_else(|| super::unknown(&applied.file, name))?;
            plugins.push(Passed {
                name,
                version: loaded.version.version(),
                phases: loaded.version.interest().phases,
            });
        }
        Ok(elements(&definition, found, &plugins))
    }
}

/// What the gateway does by itself.
fn own(phase: &'static str, element: &'static str, name: Option<&String>) -> Element {
    Element {
        phase,
        element,
        name: name.cloned(),
        version: None,
    }
}

/// Plugins in a phase: in the order of the pipeline, on the way back in reverse.
fn plugins(passed: &[Passed<'_>], phase: Phase) -> Vec<Element> {
    let those = passed.iter().filter(|plugin| plugin.phases.has(phase));
    let mut found: Vec<Element> = those
        .map(|plugin| Element {
            phase: phase.name(),
            element: "plugin",
            name: Some(plugin.name.to_owned()),
            version: Some(plugin.version),
        })
        .collect();
    if matches!(
        phase,
        Phase::ResponseHead | Phase::ResponseBody | Phase::GatewayError
    ) {
        found.reverse();
    }
    found
}

fn elements(definition: &Definition, route: &Route, passed: &[Passed<'_>]) -> Vec<Element> {
    let api = &definition.api;
    let authorizer = route.authorizer.as_ref();
    let gate = authorizer.and_then(|name| definition.authorizers.get(name));
    let validator = route.validator.as_ref();
    let validates = validator.and_then(|name| definition.validators.get(name));
    let integration = route.integration.as_ref();
    let integrated = integration.and_then(|name| definition.integrations.get(name));

    let mut all = vec![
        own("admit", "request-limits", None),
        own("find", "domain-and-stage", None),
    ];
    if api.cors.is_some() {
        all.push(own("find", "cors-preflight", None));
    }
    all.push(own("find", "route", None));
    all.push(own("find", "body-limit", None));
    all.extend(plugins(passed, Phase::Inspect));
    // callers whose kind decides are made sure of first
    let known_first = gate.is_some_and(|gate| gate.kind != AuthorizerType::Custom);
    if api.policy.is_some() && !known_first {
        all.push(own("authorize", "resource-policy-before", None));
    }
    if gate.is_some_and(|gate| !gate.identity_sources.is_empty()) {
        all.push(own("authorize", "identity-sources", authorizer));
    }
    all.extend(plugins(passed, Phase::Authorize));
    if gate.is_some() {
        all.push(own("authorize", "policies", authorizer));
    }
    if validates.is_some_and(|validator| validator.parameters) {
        all.push(own("validate", "parameters", validator));
    }
    if validates.is_some_and(|validator| validator.body) {
        all.push(own("validate", "body", validator));
    }
    all.extend(plugins(passed, Phase::RequestHead));
    all.extend(plugins(passed, Phase::RequestBody));
    if let Some(integrated) = integrated {
        let has_templates = integrated.has_templates();
        let answers = match integrated.kind {
            IntegrationType::Mock => "mock",
            IntegrationType::HttpProxy => "http-proxy",
            IntegrationType::Http => "http",
            IntegrationType::AwsProxy => "aws-proxy",
            IntegrationType::Aws => "aws",
        };
        if integrated.kind != IntegrationType::Mock && !integrated.request_parameters.is_empty() {
            all.push(own("integrate", "request-mapping", integration));
        }
        if has_templates && !integrated.request_templates.is_empty() {
            all.push(own("integrate", "request-templates", integration));
        }
        all.push(own("integrate", answers, integration));
        if !integrated.responses.is_empty() || !integrated.response_parameters.is_empty() {
            all.push(own("integrate", "response-mapping", integration));
        }
        let mut responses = integrated.responses.iter();
        if has_templates && responses.any(|response| !response.templates.is_empty()) {
            all.push(own("integrate", "response-templates", integration));
        }
    }
    all.extend(plugins(passed, Phase::ResponseHead));
    all.extend(plugins(passed, Phase::ResponseBody));
    all.push(own(Phase::GatewayError.name(), "gateway-responses", None));
    all.extend(plugins(passed, Phase::GatewayError));
    if api.cors.is_some() {
        all.push(own("answer", "cors", None));
    }
    if api.minimum_compression_size.is_some() {
        all.push(own("answer", "compression", None));
    }
    all.push(own(Phase::Observe.name(), "logs-and-metrics", None));
    all.extend(plugins(passed, Phase::Observe));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_route_does_is_told_in_the_order_in_which_it_is_done() {
        let definition: Definition = serde_json::from_value(json!({
            "api": {"protocol": "REST", "cors": {"allow-origins": ["*"]}, "policy": {}, "minimum-compression-size": 0},
            "authorizers": {"who": {"plugin": "b", "identity-sources": ["$request.header.x"]}},
            "validators": {"all": {"parameters": true, "body": true}},
            "integrations": {"web": {
                "type": "HTTP", "uri": "http://a.example/",
                "request-parameters": {"integration.request.header.a": "'b'"},
                "responses": [{"status": 200, "templates": {"text/plain": "x"}}],
            }},
            "routes": {
                "GET /": {"integration": "web", "authorizer": "who", "validator": "all", "pipeline": ["a", "b", "c"]},
                "GET /plain": {},
            },
        }))
        .unwrap();
        let every = Phase::ALL
            .iter()
            .fold(Phases::default(), |all, phase| all.with(*phase));
        let route = &definition.routes["GET /"];
        let names = definition.passed_by(route);
        assert_eq!(names, ["b", "a", "c"], "the authorizer comes first, and once");
        let quiet = Phases::default().with(Phase::ResponseHead);
        let passed: Vec<_> = names
            .into_iter()
            .map(|name| Passed {
                name,
                version: 3,
                phases: if name == "c" { quiet } else { every },
            })
            .collect();
        let told: Vec<String> = elements(&definition, route, &passed)
            .into_iter()
            .map(|one| match (one.element, one.name, one.version) {
                ("plugin", Some(name), Some(3)) => format!("{} {name}", one.phase),
                (element, ..) => element.to_owned(),
            })
            .collect();
        assert_eq!(
            told,
            [
                "request-limits",
                "domain-and-stage",
                "cors-preflight",
                "route",
                "body-limit",
                "inspect b",
                "inspect a",
                "resource-policy-before",
                "identity-sources",
                "authorize b",
                "authorize a",
                "policies",
                "parameters",
                "body",
                "request-head b",
                "request-head a",
                "request-body b",
                "request-body a",
                "request-mapping",
                "http",
                "response-mapping",
                "response-templates",
                "response-head c",
                "response-head a",
                "response-head b",
                "response-body a",
                "response-body b",
                "gateway-responses",
                "gateway-error a",
                "gateway-error b",
                "cors",
                "compression",
                "logs-and-metrics",
                "observe b",
                "observe a",
            ]
        );
        let plain = elements(&definition, &definition.routes["GET /plain"], &[]);
        let told: Vec<_> = plain.iter().map(|one| one.element).collect();
        assert_eq!(
            told,
            [
                "request-limits",
                "domain-and-stage",
                "cors-preflight",
                "route",
                "body-limit",
                "resource-policy-before",
                "gateway-responses",
                "cors",
                "compression",
                "logs-and-metrics",
            ]
        );
    }
}
