//! The configuration, checked and compiled: which template is for which message.

use crate::ast::Block;
use crate::config::{Config, Passthrough, Request, Response, Route};
use crate::fault::{Budget, Limits};
use crate::parse;
use crate::regex::Regex;
use std::collections::BTreeMap;

/// Longest template in bytes, as at AWS.
const MAX_TEMPLATE: usize = 300 * 1024;
/// What templates without a media type of their own are for.
const DEFAULT: &str = "$default";
/// The media type of messages that name none.
const JSON: &str = "application/json";

/// All routes.
#[derive(Debug)]
pub struct Plan {
    routes: BTreeMap<String, RoutePlan>,
    any: Option<RoutePlan>,
    named: BTreeMap<String, Block>,
    /// What a script may use.
    pub limits: Limits,
}

/// A route.
#[derive(Debug)]
pub struct RoutePlan {
    /// Requests.
    pub request: Option<RequestPlan>,
    responses: Vec<ResponsePlan>,
}

/// Requests of a route.
#[derive(Debug)]
pub struct RequestPlan {
    templates: Templates,
    passthrough: Passthrough,
}

#[derive(Debug)]
struct ResponsePlan {
    selection: Option<Regex>,
    templates: Templates,
}

type Templates = BTreeMap<String, Block>;

/// A template that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen<'a> {
    /// The key it has in the configuration.
    pub key: &'a str,
    /// The template.
    pub block: &'a Block,
}

impl Chosen<'_> {
    /// Media type of what the template makes.
    #[must_use]
    pub fn media_type(&self) -> &str {
        if self.key == DEFAULT { JSON } else { self.key }
    }
}

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice<'a> {
    /// A template is rendered.
    Template(Chosen<'a>),
    /// It passes.
    Pass,
    /// 415
    Refuse,
}

impl Plan {
    /// Checks and compiles.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut problems = Vec::new();
        if config.limit == 0 {
            problems.push("config.limit: 0 leaves no body to change; it is at least 1 byte".to_owned());
        }
        let limits = Limits::for_bodies(config.limit);
        let mut compile = |path: &str, route: &Route| route_plan(path, route, limits, &mut problems);
        let routes = config.routes.iter();
        let routes = routes
            .map(|(name, route)| (name.clone(), compile(&format!("config.routes[{name:?}]"), route)))
            .collect();
        let any = config.any.as_ref().map(|route| compile("config.any", route));
        let mut named = BTreeMap::new();
        for (name, text) in &config.templates {
            match parsed(text) {
                Ok(block) => drop(named.insert(name.clone(), block)),
                Err(reason) => problems.push(format!("config.templates[{name:?}]: {reason}")),
            }
        }
        if problems.is_empty() {
            Ok(Self {
                routes,
                any,
                named,
                limits,
            })
        } else {
            Err(problems.join("; "))
        }
    }

    /// What is done on a route.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&RoutePlan> {
        self.routes.get(name).or(self.any.as_ref())
    }

    /// The template of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Block> {
        self.named.get(name)
    }

    /// True when the gateway says which template is rendered.
    #[must_use]
    pub fn is_engine(&self) -> bool {
        !self.named.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &RoutePlan> {
        self.routes.values().chain(&self.any)
    }

    /// True when there are routes with templates of their own.
    #[must_use]
    pub fn has_routes(&self) -> bool {
        self.all().next().is_some()
    }

    /// True when requests are looked at on any route.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.all().any(|route| route.request.is_some())
    }

    /// True when response bodies are looked at on any route.
    #[must_use]
    pub fn has_responses(&self) -> bool {
        self.all().any(RoutePlan::has_responses)
    }
}

impl RoutePlan {
    /// True when there are templates for responses.
    #[must_use]
    pub fn has_responses(&self) -> bool {
        self.responses
            .iter()
            .any(|response| !response.templates.is_empty())
    }

    /// The template for a response: by status, then by the first type that the client accepts, else JSON's, else the first.
    #[must_use]
    pub fn response(&self, status: u16, accept: Option<&str>, limits: Limits) -> Option<Chosen<'_>> {
        let status = status.to_string();
        let fits = |response: &&ResponsePlan| {
            let matches = |regex: &Regex| {
                regex
                    .matches_whole(&status, &mut Budget::new(limits))
                    .unwrap_or(false)
            };
            response.selection.as_ref().is_some_and(matches)
        };
        let default = || {
            self.responses
                .iter()
                .find(|response| response.selection.is_none())
        };
        let templates = &self.responses.iter().find(fits).or_else(default)?.templates;
        let accepted = accept.and_then(|accept| accept.split(',').next()).map(media_type);
        let wanted = accepted.and_then(|accepted| templates.get_key_value(&accepted));
        let found = wanted
            .or_else(|| templates.get_key_value(JSON))
            .or_else(|| templates.first_key_value());
        found.map(|(key, block)| Chosen { key, block })
    }
}

impl RequestPlan {
    /// The template for a request with that `Content-Type`, or what happens without one.
    #[must_use]
    pub fn choose(&self, content_type: Option<&str>) -> Choice<'_> {
        let media_type = content_type.map_or_else(|| JSON.to_owned(), media_type);
        let found = self.templates.get_key_value(&media_type);
        match found.or_else(|| self.templates.get_key_value(DEFAULT)) {
            Some((key, block)) => Choice::Template(Chosen { key, block }),
            None => match self.passthrough {
                Passthrough::WhenNoMatch => Choice::Pass,
                Passthrough::WhenNoTemplates if self.templates.is_empty() => Choice::Pass,
                Passthrough::WhenNoTemplates | Passthrough::Never => Choice::Refuse,
            },
        }
    }
}

/// A media type without its parameters (RFC 9110 section 8.3.1), in lower case.
fn media_type(field: &str) -> String {
    let media_type = field.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

fn route_plan(path: &str, route: &Route, limits: Limits, problems: &mut Vec<String>) -> RoutePlan {
    if route.request.is_none() && route.responses.is_empty() {
        problems.push(format!("{path}: neither `request` nor `responses`"));
    }
    let defaults = route
        .responses
        .iter()
        .filter(|response| response.selection.is_none());
    if defaults.count() > 1 {
        problems.push(format!(
            "{path}.responses: more than one entry without `selection`; only one can be the default"
        ));
    }
    let request = |request: &Request| RequestPlan {
        templates: compile(&format!("{path}.request"), &request.templates, problems),
        passthrough: request.passthrough,
    };
    let request = route.request.as_ref().map(request);
    let responses = route.responses.iter().enumerate();
    let responses = responses
        .map(|(index, response)| {
            response_plan(&format!("{path}.responses[{index}]"), response, limits, problems)
        })
        .collect();
    RoutePlan { request, responses }
}

fn response_plan(
    path: &str,
    response: &Response,
    limits: Limits,
    problems: &mut Vec<String>,
) -> ResponsePlan {
    let mut selection = None;
    if let Some(pattern) = &response.selection {
        // one run shows whether it ends
        let tried = Regex::new(pattern).and_then(|regex| {
            regex.matches_whole("599", &mut Budget::new(limits))?;
            Ok(regex)
        });
        match tried {
            Ok(regex) => selection = Some(regex),
            Err(error) => problems.push(format!("{path}.selection: {error}")),
        }
    }
    ResponsePlan {
        selection,
        templates: compile(path, &response.templates, problems),
    }
}

fn compile(path: &str, texts: &BTreeMap<String, String>, problems: &mut Vec<String>) -> Templates {
    let mut templates = Templates::new();
    for (key, text) in texts {
        let mut wrong = |reason: String| problems.push(format!("{path}.templates[{key:?}]: {reason}"));
        if key != DEFAULT && (!key.contains('/') || key.contains([';', ',', ' '])) {
            wrong(format!(
                "the key is no media type such as `{JSON}`, and not `{DEFAULT}`"
            ));
            continue;
        }
        match parsed(text) {
            Ok(block) => {
                if templates.insert(key.to_ascii_lowercase(), block).is_some() {
                    wrong("the key is there twice, in upper and lower case".to_owned());
                }
            }
            Err(reason) => wrong(reason),
        }
    }
    templates
}

fn parsed(text: &str) -> Result<Block, String> {
    if text.len() > MAX_TEMPLATE {
        return Err(format!("{} bytes; the limit is {MAX_TEMPLATE}", text.len()));
    }
    parse::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &str) -> Result<Plan, String> {
        Plan::new(&edgeward_sdk::config::parse(config).unwrap())
    }

    #[test]
    fn a_request_gets_the_template_of_its_media_type() {
        let plan = plan(
            r#"{"any": {"request": {"templates": {"application/json": "j", "text/xml": "x"}}},
            "routes": {
                "default": {"request": {"templates": {"$default": "d", "text/xml": "x"}, "passthrough": "never"}},
                "never": {"request": {"templates": {"text/xml": "x"}, "passthrough": "never"}},
                "some": {"request": {"templates": {"text/xml": "x"}, "passthrough": "when-no-templates"}},
                "none": {"request": {"passthrough": "when-no-templates"}},
                "responses": {"responses": [{}]}
            }}"#,
        )
        .unwrap();
        for (route, content_type, expected) in [
            ("other", None, "application/json"),
            ("other", Some("Text/XML; charset=utf-8"), "text/xml"),
            ("other", Some("text/plain"), "pass"),
            ("default", Some("text/plain"), "$default"),
            ("default", None, "$default"),
            ("never", Some("text/plain"), "refuse"),
            ("never", None, "refuse"),
            ("never", Some("text/xml"), "text/xml"),
            ("some", Some("text/plain"), "refuse"),
            ("none", Some("text/plain"), "pass"),
        ] {
            let request = plan.route(route).unwrap().request.as_ref().unwrap();
            let chosen = match request.choose(content_type) {
                Choice::Template(chosen) => chosen.key,
                Choice::Pass => "pass",
                Choice::Refuse => "refuse",
            };
            assert_eq!(chosen, expected, "{route} {content_type:?}");
        }
        assert!(plan.route("responses").unwrap().request.is_none());
        assert!(plan.has_requests() && !plan.has_responses());
    }

    #[test]
    fn a_response_gets_the_template_of_its_status_and_of_what_the_client_accepts() {
        let plan = plan(
            r#"{"any": {"responses": [
                {"templates": {"text/xml": "x", "application/json": "j"}},
                {"selection": "5\\d{2}", "templates": {"text/html": "h", "text/plain": "p"}},
                {"selection": "50.|404", "templates": {"a/b": "never for 50x"}},
                {"selection": "204", "templates": {}}
            ]}, "routes": {"narrow": {"responses": [{"selection": "2", "templates": {"a/b": "x"}}]}}}"#,
        )
        .unwrap();
        for (route, status, accept, expected) in [
            ("x", 200, None, Some("application/json")),
            ("x", 200, Some("text/xml;q=1, application/json"), Some("text/xml")),
            ("x", 200, Some("*/*, text/xml"), Some("application/json")),
            ("x", 503, None, Some("text/html")),
            ("x", 503, Some("text/plain"), Some("text/plain")),
            ("x", 404, None, Some("a/b")),
            ("x", 204, None, None),
            ("narrow", 200, None, None),
        ] {
            let route = plan.route(route).unwrap();
            let chosen = route
                .response(status, accept, plan.limits)
                .map(|chosen| chosen.key);
            assert_eq!(chosen, expected, "{status} {accept:?}");
        }
        assert!(!plan.has_requests() && plan.has_responses());
    }

    #[test]
    fn all_problems_are_told_with_their_place() {
        let error = plan(
            r##"{"limit": 0, "templates": {"web/request": "\n#if($x)"}, "routes": {
                "GET /pets": {"request": {"templates": {"application/json": "a\nb\n#if($x)", "json": "", "A/b": "", "a/b": ""}}},
                "GET /x": {"responses": [{"selection": "("}, {}, {"templates": {"a/b": "#set(x)"}}]},
                "GET /y": {}
            }}"##,
        )
        .unwrap_err();
        let problems: Vec<&str> = error.split("; ").collect();
        assert_eq!(
            problems,
            [
                "config.limit: 0 leaves no body to change",
                "it is at least 1 byte",
                r#"config.routes["GET /pets"].request.templates["a/b"]: the key is there twice, in upper and lower case"#,
                r##"config.routes["GET /pets"].request.templates["application/json"]: line 3: `#if` is not closed by `#end`"##,
                r#"config.routes["GET /pets"].request.templates["json"]: the key is no media type such as `application/json`, and not `$default`"#,
                r#"config.routes["GET /x"].responses: more than one entry without `selection`"#,
                "only one can be the default",
                r#"config.routes["GET /x"].responses[0].selection: regular expression `(`: `(` without `)`"#,
                r##"config.routes["GET /x"].responses[2].templates["a/b"]: line 1: `#set` without a reference that is to get a value"##,
                r#"config.routes["GET /y"]: neither `request` nor `responses`"#,
                r##"config.templates["web/request"]: line 2: `#if` is not closed by `#end`"##,
            ]
        );
        let long = format!(
            r#"{{"any": {{"request": {{"templates": {{"a/b": "{}"}}}}}}}}"#,
            "x".repeat(MAX_TEMPLATE + 1)
        );
        assert_eq!(
            plan(&long).unwrap_err(),
            r#"config.any.request.templates["a/b"]: 307201 bytes; the limit is 307200"#
        );
    }
}
