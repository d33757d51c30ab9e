//! HTTP and HTTP_PROXY integrations: what a server is asked, and what becomes of what it says.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use edgeward_core::{
    api::{
        ContentHandling, Conversion, Definition, Integration as Model, IntegrationType,
        mapping::{Action, Mapping, Place},
        uri::{Address, Filling, PathTemplate},
    },
    normalize::{normalize_path, refuse_ambiguous},
    reject::{Reject, RejectCode},
};
use edgeward_runtime::RequestHead;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Voice,
    convert::{self, Converting},
    engine::{Engine, RequestOverrides},
    facts::{Known, names_said},
    fields,
    templates::{Mapped, Passing, Template, Templates, apply},
    trace,
};
use crate::{body::Body, upstream::UpstreamGroup};

/// Largest body that a mapping looks into, in bytes: as a JSON document it takes many times that.
const BODY_MAX: u64 = 1 << 20;
/// Everything but RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A server, and what it is asked; ready.
#[derive(Debug)]
pub(crate) struct Integration {
    pub(crate) group: Arc<UpstreamGroup>,
    api: Arc<str>,
    voice: Voice,
    host: Option<HeaderValue>,
    path: Option<PathTemplate>,
    query: Option<String>,
    method: Option<Method>,
    /// The request passes, with what mappings change.
    is_proxy: bool,
    mappings: Vec<Mapping>,
    reads_body: bool,
    pub(crate) reads_authorizer: bool,
    templates: Templates<Template>,
    /// Some of its templates are scripts.
    pub(crate) has_scripts: bool,
    passing: Passing,
    responses: Vec<Mapped>,
    by_status: BTreeMap<u16, Vec<Mapping>>,
    reads_response: bool,
    converting: Option<Converting>,
}

impl Integration {
    pub(super) fn new(
        api: &Arc<str>,
        definition: &Definition,
        name: &str,
        model: &Model,
        address: Option<Address>,
        group: Arc<UpstreamGroup>,
    ) -> Result<Self, (&'static str, String)> {
        let voice = Voice::of(definition);
        let handlings = model.responses.iter().map(|response| response.content_handling);
        let converting = Converting::new(voice, &definition.api, model.content_handling, handlings);
        let mappings = model
            .request_parameters
            .iter()
            .map(|(key, value)| Mapping::request(key, value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|message| ("request-parameters", message))?;
        let mut by_status = BTreeMap::new();
        for (status, parameters) in &model.response_parameters {
            let mappings: Result<Vec<_>, _> = parameters
                .iter()
                .map(|(key, value)| Mapping::response(key, value))
                .collect();
            let status = status
                .parse()
                .map_err(|_ignored| ("response-parameters", format!("`{status}` is no status")))?;
            by_status.insert(
                status,
                mappings.map_err(|message| ("response-parameters", message))?,
            );
        }
        let responses = Mapped::all(name, &model.responses)?;
        let templates = Template::of_requests(name, model);
        let mut proxied = by_status.values().flatten();
        let reads_response = responses.iter().any(Mapped::reads_body)
            || proxied.any(|mapping: &Mapping| mapping.value.reads_response_body());
        let method = model.method.as_deref().filter(|method| *method != "ANY");
        let (host, path, query) = match address {
            None => (None, None, None),
            Some(address) => (
                HeaderValue::from_str(&address.authority).ok(),
                address.path,
                address.query,
            ),
        };
        Ok(Self {
            group,
            api: Arc::clone(api),
            voice,
            host,
            path,
            query,
            method: method
                .map(str::parse)
                .transpose()
                .map_err(|_ignored| ("method", "is not a method".to_owned()))?,
            is_proxy: model.kind == IntegrationType::HttpProxy,
            reads_body: mappings.iter().any(|mapping| mapping.value.reads_request_body()),
            reads_authorizer: reads_authorizer(model),
            mappings,
            has_scripts: templates.any(Template::is_script) || responses.iter().any(Mapped::has_scripts),
            templates,
            passing: Passing::new(model),
            responses,
            by_status,
            reads_response,
            converting,
        })
    }

    /// Whether bodies of requests are looked into.
    pub(super) fn reads_body(&self) -> bool {
        self.reads_body
            || self.templates.any(Template::is_script)
            || self.converting.as_ref().is_some_and(Converting::reads_requests)
    }

    /// Whether what the client gets depends on the fields of its request.
    pub(super) fn needs_request_later(&self) -> bool {
        !self.is_proxy || !self.by_status.is_empty() || self.converting.is_some()
    }

    /// What the server is asked.
    ///
    /// # Errors
    /// The media type is not taken, a value is missing or cannot be part of the path.
    pub(super) async fn request(
        &self,
        known: Known<'_>,
        mut head: RequestHead,
        mut body: Body,
        encoded_slashes: bool,
        mut engine: Option<&mut Engine>,
    ) -> Result<(RequestHead, Body), Reject> {
        let over = RejectCode::RequestTooLarge;
        let conversion = self
            .converting
            .as_ref()
            .and_then(|converting| converting.of_request(&head.headers));
        body = convert::encoded(conversion, &mut head.headers, body, over).await?;
        let mut read = Bytes::new();
        if self.reads_body && !body.is_empty() {
            read = convert::read(&mut head.headers, body, BODY_MAX, over).await?;
            body = Body::full(read.clone());
        }
        if !self.is_proxy
            && let Some(template) = self.passing.template(&self.templates, &head.headers)?
        {
            body = template
                .of_request(engine.as_deref_mut(), &mut head.headers, body)
                .await?;
        }
        body = convert::bytes(conversion, &mut head.headers, body, over).await?;
        let query = head.query.take();
        let mut sent = std::mem::take(&mut head.headers);
        // how the body is framed is no value of the request
        let length = match self.voice {
            Voice::Rest => sent.remove(header::CONTENT_LENGTH),
            Voice::Native | Voice::Http => None,
        };
        let known = Known {
            headers: Some(&sent),
            query: query.as_deref(),
            body: &read,
            ..known
        };
        let mut headers = if self.is_proxy {
            self.passed(&sent)
        } else {
            self.own(&sent)
        };
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length);
        }
        let mut parameters: BTreeMap<&str, Filling<'_>> = BTreeMap::new();
        let mut pairs = self.is_proxy.then(|| query.clone()).flatten();
        let mut path = None;
        for mapping in &self.mappings {
            let values = mapping.value.values(&known);
            match &mapping.place {
                Place::Header(name) => write_request(&mut headers, name, mapping.action, &values),
                Place::Query(name) => match mapping.action {
                    Action::Append => values.iter().for_each(|value| append(&mut pairs, name, value)),
                    Action::Overwrite | Action::Remove => {
                        remove(&mut pairs, name);
                        if mapping.action == Action::Overwrite {
                            values.iter().for_each(|value| append(&mut pairs, name, value));
                        }
                    }
                },
                Place::PathParameter(name) => {
                    // one that is handed on stays as it is, slashes too
                    let raw = mapping.value.as_path_parameter();
                    let raw = raw.and_then(|raw| known.call.params.get(&known.call.path, raw));
                    let text = || values.into_iter().next_back().map(Filling::Text);
                    if let Some(value) = raw.map(Filling::Raw).or_else(text) {
                        parameters.insert(name, value);
                    }
                }
                Place::Path => path = values.into_iter().next_back(),
                Place::Status => {}
            }
        }
        let overrides =
            engine.map_or_else(|| Ok(RequestOverrides::default()), |engine| engine.of_request())?;
        for (name, values) in &overrides.fields {
            write_request(&mut headers, name, Action::Overwrite, values);
        }
        for (name, values) in &overrides.query {
            remove(&mut pairs, name);
            values.iter().for_each(|value| append(&mut pairs, name, value));
        }
        for (name, value) in &overrides.path {
            parameters.insert(name, Filling::Text(value.clone()));
        }
        head.path = self.path_of(&known, head.path, &parameters, path, encoded_slashes)?;
        head.query = match (&self.query, pairs) {
            (Some(own), Some(pairs)) if !pairs.is_empty() => Some(format!("{own}&{pairs}")),
            (Some(own), _) => Some(own.clone()),
            (None, pairs) => pairs.filter(|pairs| !pairs.is_empty()),
        };
        if let Some(method) = &self.method {
            head.method = method.clone();
        }
        if self.voice != Voice::Native {
            headers.insert(trace::FIELD, trace::of(&known));
        }
        if !headers.contains_key(header::HOST)
            && let Some(host) = &self.host
        {
            headers.insert(header::HOST, host.clone());
            head.authority = String::from_utf8_lossy(host.as_bytes()).into_owned();
        }
        head.headers = headers;
        Ok((head, body))
    }

    fn path_of(
        &self,
        known: &Known<'_>,
        passed: String,
        parameters: &BTreeMap<&str, Filling<'_>>,
        whole: Option<String>,
        encoded_slashes: bool,
    ) -> Result<String, Reject> {
        let bad = |what: String| Reject::new(RejectCode::BadRequestParameters, what);
        if let Some(whole) = whole {
            let path = normalize_path(&whole).map_err(|error| bad(error.to_string()))?;
            refuse_ambiguous(&path, encoded_slashes).map_err(|error| bad(error.to_string()))?;
            return Ok(path.into_owned());
        }
        let Some(template) = &self.path else {
            return Ok(passed);
        };
        let filled = template.fill(|name| {
            let raw = || known.call.params.get(&known.call.path, name).map(Filling::Raw);
            parameters.get(name).cloned().or_else(raw)
        });
        filled.map_err(|error| bad(error.to_string()))
    }

    /// The fields of a request that passes.
    fn passed(&self, sent: &HeaderMap) -> HeaderMap {
        let mut headers = sent.clone();
        // the server is another host
        if self.host.is_some() {
            headers.remove(header::HOST);
        }
        fields::before_passing(self.voice, &mut headers);
        // what it answers has to be read
        if self.reads_response || self.converting.is_some() {
            headers.remove(header::ACCEPT_ENCODING);
        }
        headers
    }

    /// The fields of a request that is the gateway's own.
    fn own(&self, sent: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
        ] {
            if let Some(value) = sent.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let agent = if self.voice == Voice::Native {
            "edgeward/"
        } else {
            "AmazonAPIGateway_"
        };
        if let Ok(agent) = HeaderValue::try_from(format!("{agent}{}", self.api)) {
            headers.insert(header::USER_AGENT, agent);
        }
        if self.voice == Voice::Native {
            for name in [
                "x-request-id",
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "via",
            ] {
                for value in sent.get_all(name) {
                    headers.append(HeaderName::from_static(name), value.clone());
                }
            }
        } else if let Ok(api) = HeaderValue::from_str(&self.api) {
            headers.insert("x-amzn-apigateway-api-id", api);
        }
        headers
    }

    /// What the client gets of what the server said. `request` has the fields of the client's request.
    ///
    /// # Errors
    /// No integration response takes the status, or a body that a mapping looks into is too large.
    pub(super) async fn response(
        &self,
        known: Known<'_>,
        request: &HeaderMap,
        response: Response<Body>,
        mut engine: Option<&mut Engine>,
    ) -> Result<Response<Body>, Reject> {
        let over = RejectCode::ResponseTooLarge;
        let (mut parts, mut body) = response.into_parts();
        let mut read = Bytes::new();
        if self.reads_response && !body.is_empty() {
            read = convert::read(&mut parts.headers, body, BODY_MAX, over).await?;
            body = Body::full(read.clone());
        }
        let theirs = if self.is_proxy {
            parts.headers.clone()
        } else {
            std::mem::take(&mut parts.headers)
        };
        let known = Known {
            headers: Some(request),
            response: Some((&theirs, &read)),
            ..known
        };
        if self.is_proxy {
            fields::remap_passing(self.voice, &mut parts.headers);
            if let Some(mappings) = self.by_status.get(&parts.status.as_u16()) {
                apply(mappings, &known, &mut parts.headers, &mut parts.status);
            }
            let conversion = self.conversion(None, &theirs, request);
            body = convert::encoded(conversion, &mut parts.headers, body, over).await?;
            body = convert::bytes(conversion, &mut parts.headers, body, over).await?;
            return Ok(Response::from_parts(parts, body));
        }
        let status = parts.status.as_u16();
        let chosen = Mapped::choose(&self.responses, status).ok_or_else(|| {
            Reject::new(
                RejectCode::ApiConfigurationError,
                "the API has no answer for what its server said",
            )
            .because(format_args!("no integration response takes the status {status}"))
        })?;
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
        ] {
            if let Some(value) = theirs.get(&name) {
                parts.headers.insert(name, value.clone());
            }
        }
        let conversion = self.conversion(chosen.handling, &theirs, request);
        body = convert::encoded(conversion, &mut parts.headers, body, over).await?;
        chosen.apply(&known, &mut parts.headers);
        parts.status = chosen.status;
        if let Some((kind, template)) = chosen.template(request) {
            body = template
                .of_response(engine.as_deref_mut(), &mut parts, body)
                .await?;
            if let Ok(kind) = HeaderValue::from_str(kind) {
                parts.headers.insert(header::CONTENT_TYPE, kind);
            }
        }
        body = convert::bytes(conversion, &mut parts.headers, body, over).await?;
        parts
            .headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        if self.voice == Voice::Rest {
            // AWS tells it where the answer is the API's own
            parts.headers.insert(trace::FIELD, trace::of(&known));
        }
        if let Some(engine) = engine {
            engine.override_response(&mut parts)?;
        }
        fields::remap_mapped(self.voice, &mut parts.headers);
        Ok(Response::from_parts(parts, body))
    }

    fn conversion(
        &self,
        handling: Option<ContentHandling>,
        response: &HeaderMap,
        request: &HeaderMap,
    ) -> Option<Conversion> {
        let converting = self.converting.as_ref()?;
        converting.of_response(handling, response, request)
    }
}

/// Nothing is written where a value is missing or cannot be a field's.
pub(super) fn write(headers: &mut HeaderMap, name: &HeaderName, action: Action, values: &[String]) {
    if action == Action::Remove {
        headers.remove(name);
        return;
    }
    let values: Vec<HeaderValue> = values
        .iter()
        .filter_map(|value| HeaderValue::from_str(value.trim()).ok())
        .collect();
    if values.is_empty() {
        return;
    }
    if action == Action::Overwrite {
        headers.remove(name);
    }
    for value in values {
        headers.append(name.clone(), value);
    }
}

/// The same in a request, where what should be overwritten goes with or without a value: a client does not say who it is in place of an authorizer.
fn write_request(headers: &mut HeaderMap, name: &HeaderName, action: Action, values: &[String]) {
    if action == Action::Overwrite {
        headers.remove(name);
    }
    write(headers, name, action, values);
}

/// Whether mappings of an integration tell what an authorizer said.
pub(super) fn reads_authorizer(model: &Model) -> bool {
    let responses = model.responses.iter();
    let mut values = model
        .request_parameters
        .values()
        .chain(responses.flat_map(|response| response.parameters.values()))
        .chain(model.response_parameters.values().flat_map(BTreeMap::values));
    values.any(|value| names_said(value))
}

fn append(query: &mut Option<String>, name: &str, value: &str) {
    let query = query.get_or_insert_default();
    if !query.is_empty() {
        query.push('&');
    }
    query.extend(utf8_percent_encode(name, QUERY));
    query.push('=');
    query.extend(utf8_percent_encode(value, QUERY));
}

fn remove(query: &mut Option<String>, name: &str) {
    let Some(text) = query else { return };
    let kept: Vec<&str> = text
        .split('&')
        .filter(|pair| {
            edgeward_core::normalize::parse_query(pair)
                .next()
                .is_none_or(|(known, _)| known != name)
        })
        .collect();
    *text = kept.join("&");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_changed_pair_by_pair() {
        let mut query = Some("a=1&b=2&a=3".to_owned());
        remove(&mut query, "a");
        append(&mut query, "c d", "x&y");
        assert_eq!(query.as_deref(), Some("b=2&c%20d=x%26y"));
        let mut none = None;
        append(&mut none, "a", "");
        assert_eq!(none.as_deref(), Some("a="));
    }
}
