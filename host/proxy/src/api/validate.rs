//! Request validation: parameters first, then the body against the model of its media type.

use bytes::Bytes;
use edgeward_core::{
    api::{BodySchema, Definition, Route as RouteModel, mapping::Facts},
    reject::{Reject, RejectCode},
};
use http::HeaderValue;

use super::templates::media_type;

/// What a route's requests have to have.
#[derive(Debug)]
pub(crate) struct Validation {
    /// Names of header fields, path parameters and query parameters: in this order AWS tells of those that are missing.
    headers: Vec<String>,
    paths: Vec<String>,
    queries: Vec<String>,
    /// Models by media type.
    bodies: Vec<(String, BodySchema)>,
}

impl Validation {
    /// `None` when nothing is validated. Errors have their place in the route.
    pub(super) fn new(
        definition: &Definition,
        route: &RouteModel,
    ) -> Result<Option<Self>, (&'static str, String)> {
        let Some(name) = &route.validator else {
            return Ok(None);
        };
        let flags = definition
            .validators
            .get(name)
            .ok_or_else(|| ("validator", format!("no validator is called `{name}`")))?;
        let mut validation = Self {
            headers: Vec::new(),
            paths: Vec::new(),
            queries: Vec::new(),
            bodies: Vec::new(),
        };
        if flags.parameters {
            for (place, required) in &route.request_parameters {
                let place = place.strip_prefix("method.request.").unwrap_or(place);
                let Some((kind, name)) = place.split_once('.').filter(|_| *required) else {
                    continue;
                };
                match kind {
                    "header" => validation.headers.push(name.to_owned()),
                    "path" => validation.paths.push(name.to_owned()),
                    _ => validation.queries.push(name.to_owned()),
                }
            }
        }
        if flags.body {
            for (kind, model) in &route.request_models {
                let schema = BodySchema::compile(model, definition, flags.formats)
                    .map_err(|message| ("request-models", format!("model `{model}`: {message}")))?;
                validation.bodies.push((kind.clone(), schema));
            }
        }
        Ok(Some(validation))
    }

    /// Whether the body has to be read.
    pub(crate) fn reads_body(&self) -> bool {
        !self.bodies.is_empty()
    }

    /// Refuses a request without its parameters.
    pub(crate) fn parameters(&self, facts: &dyn Facts) -> Result<(), Reject> {
        let blank = |values: Vec<String>| values.iter().all(|value| value.trim().is_empty());
        let mut missing: Vec<&str> = Vec::new();
        missing.extend(
            self.headers
                .iter()
                .filter(|name| blank(facts.request_headers(name)))
                .map(String::as_str),
        );
        missing.extend(
            self.paths
                .iter()
                .filter(|name| blank(facts.path_parameter(name).into_iter().collect()))
                .map(String::as_str),
        );
        missing.extend(
            self.queries
                .iter()
                .filter(|name| blank(facts.query(name)))
                .map(String::as_str),
        );
        if missing.is_empty() {
            return Ok(());
        }
        Err(Reject::new(
            RejectCode::BadRequestParameters,
            format!("Missing required request parameters: [{}]", missing.join(", ")),
        ))
    }

    /// Refuses a body that is not what the model of its media type says. Other media types pass.
    pub(crate) fn body(&self, kind: Option<&HeaderValue>, body: &Bytes) -> Result<(), Reject> {
        let kind = media_type(kind);
        let of = |wanted: &str| {
            self.bodies
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(wanted))
        };
        let Some((_, schema)) = of(kind).or_else(|| of("$default")) else {
            return Ok(());
        };
        match schema.problem(body) {
            None => Ok(()),
            Some(problem) => {
                Err(Reject::new(RejectCode::BadRequestBody, "Invalid request body").because(problem))
            }
        }
    }
}
