//! Cross-origin requests: the gateway answers preflights, and says of each answer who may read it, errors too (the Fetch standard, section 3.3).

use edgeward_core::api;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::Call;
use crate::body::Body;

/// What is said, ready to be written.
#[derive(Debug)]
pub(crate) struct Cors {
    model: api::Cors,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

impl Cors {
    pub(super) fn new(model: &api::Cors) -> Self {
        let list = |names: &[String]| {
            let text = names.join(",");
            (!text.is_empty())
                .then(|| HeaderValue::from_str(&text).ok())
                .flatten()
        };
        Self {
            methods: list(&model.allow_methods),
            headers: list(&model.allow_headers),
            exposed: list(&model.expose_headers),
            max_age: model.max_age.map(HeaderValue::from),
            model: model.clone(),
        }
    }

    fn origin(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let allowed = self.model.allowed(origin.to_str().ok()?)?;
        HeaderValue::from_str(allowed).ok()
    }

    fn common(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
        let Some(allowed) = self.origin(origin) else {
            return false;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.model.allow_credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        true
    }
}

/// The answer to a preflight, if the request is one and the API says something about origins.
pub(crate) fn preflight(call: &Call, head: &Parts) -> Option<Response<Body>> {
    let cors = call.arm.cors.as_ref()?;
    let origin = call.origin.as_ref()?;
    let asked = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if cors.model.varies() {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if cors.common(origin, headers) {
        // `*` is no wildcard where credentials are sent
        let echo = |value: &Option<HeaderValue>, asked: Option<&HeaderValue>| match value {
            Some(value) if value == "*" && cors.model.allow_credentials => asked.cloned(),
            other => other.clone(),
        };
        let methods = echo(&cors.methods, Some(asked));
        let fields = echo(
            &cors.headers,
            head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS),
        );
        let said = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, fields),
            (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
    Some(response)
}

/// Says on an answer who may read it, in place of what a server behind says.
pub(super) fn decorate(call: &Call, headers: &mut HeaderMap) {
    let Some(cors) = &call.arm.cors else { return };
    let theirs: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in theirs {
        headers.remove(name);
    }
    if cors.model.varies() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = &call.origin
        && cors.common(origin, headers)
        && let Some(exposed) = &cors.exposed
    {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
    }
}
