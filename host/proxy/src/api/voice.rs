//! How the gateway speaks for an API: problem documents, or Amazon API Gateway's answers, with what the API says of its gateway responses.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeward_core::{
    api::{
        Definition, GatewayResponse, GatewayResponseType,
        mapping::{Mapping, Place, Value},
    },
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    Call, cors,
    facts::{Known, names_said},
    find,
};
use crate::{body::Body, finish::Finish, respond};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const APIGW_ID: HeaderName = HeaderName::from_static("x-amz-apigw-id");
const APIGW_REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");

/// Whose words errors are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Problem documents.
    #[default]
    Native,
    /// AWS's REST APIs.
    Rest,
    /// AWS's HTTP APIs.
    Http,
}

impl Voice {
    pub(super) fn of(definition: &Definition) -> Self {
        find::voice(definition.api.protocol, definition.api.profile)
    }
}

/// AWS's words for a token of a user pool whose time is over.
const EXPIRED: &str = "The incoming token has expired";

/// What an authorizer's own answer says of a signature, in an API that speaks as AWS does: a gateway response of its type, and so the API's to change.
/// The type is that of the field `x-amzn-ErrorType`; the text is the answer's.
pub(crate) fn of_signature(voice: Voice, answer: &Response<Bytes>) -> Option<Reject> {
    if voice == Voice::Native || answer.status() != StatusCode::FORBIDDEN {
        return None;
    }
    let error = answer.headers().get(&ERROR_TYPE)?;
    let code = match error.to_str().ok()? {
        "MissingAuthenticationTokenException" => RejectCode::MissingAuthenticationToken,
        "InvalidSignatureException" | "IncompleteSignatureException" | "UnrecognizedClientException" => {
            RejectCode::InvalidSignature
        }
        "ExpiredTokenException" => RejectCode::ExpiredToken,
        _ => return None,
    };
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let usual = GatewayResponseType::of(code).message();
    let message = body["message"].as_str().unwrap_or(usual);
    let mut reject = Reject::new(code, message);
    if voice == Voice::Rest {
        reject.headers.push((ERROR_TYPE, error.clone()));
    }
    Some(reject)
}

/// Gateway responses of an API, ready.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    by_type: BTreeMap<GatewayResponseType, Ready>,
    read_request: bool,
}

#[derive(Debug)]
struct Ready {
    status: Option<u16>,
    /// It tells what an authorizer said.
    reads_authorizer: bool,
    fields: Vec<Mapping>,
    templates: Vec<(String, Value)>,
}

impl Responses {
    pub(super) fn new(model: &BTreeMap<GatewayResponseType, GatewayResponse>) -> Self {
        let by_type: BTreeMap<_, _> = model
            .iter()
            .map(|(kind, response)| {
                let fields = response.parameters.iter();
                let templates = response.templates.iter();
                let mut texts = response.parameters.values().chain(response.templates.values());
                let ready = Ready {
                    status: response.status,
                    reads_authorizer: texts.any(|text| names_said(text)),
                    fields: fields
                        .filter_map(|(key, value)| Mapping::gateway_response(key, value).ok())
                        .collect(),
                    templates: templates
                        .map(|(kind, text)| (kind.clone(), Value::template(text)))
                        .collect(),
                };
                (*kind, ready)
            })
            .collect();
        Self {
            read_request: !by_type.is_empty(),
            by_type,
        }
    }

    /// Whether they name the request's fields.
    pub(super) fn read_request(&self) -> bool {
        self.read_request
    }

    fn of(&self, kind: GatewayResponseType, status: u16) -> Option<&Ready> {
        self.by_type
            .get(&kind)
            .or_else(|| self.by_type.get(&kind.fallback(status)))
    }
}

/// The type of a refusal.
pub(super) fn kind(reject: &Reject) -> GatewayResponseType {
    GatewayResponseType::of(reject.code)
}

/// AWS's words for a refusal.
pub(super) fn message(reject: &Reject) -> String {
    let kind = kind(reject);
    match reject.code {
        // what a user pool's authorizer says of a token that was good once
        RejectCode::Unauthorized if reject.detail == EXPIRED => EXPIRED.to_owned(),
        // they name the parameters, what may not be called, and what is wrong with a signature
        RejectCode::BadRequestParameters
        | RejectCode::PolicyDenied
        | RejectCode::MissingAuthenticationToken
        | RejectCode::InvalidSignature
        | RejectCode::ExpiredToken => reject.detail.clone(),
        // no connection at all
        RejectCode::UpstreamConnect | RejectCode::NoHealthyUpstream => "Internal server error".to_owned(),
        RejectCode::RouteNotFound if reject.status == 403 => "Forbidden".to_owned(),
        _ if matches!(
            kind,
            GatewayResponseType::Default4xx | GatewayResponseType::Default5xx
        ) =>
        {
            reject.code.title().to_owned()
        }
        _ => kind.message().to_owned(),
    }
}

/// The same as it stands in JSON: in quotes, or `null`.
pub(super) fn message_string(reject: &Reject) -> String {
    let message = message(reject);
    if message.is_empty() {
        "null".to_owned()
    } else {
        serde_json::Value::String(message).to_string()
    }
}

/// The response to a refusal.
pub(crate) fn error(finish: &Finish, reject: &Reject) -> Response<Body> {
    let voice = finish.call.as_ref().map_or(finish.voice, |call| call.arm.voice);
    let ready = finish.call.as_ref().and_then(|call| {
        let own = call.arm.responses.of(kind(reject), reject.status)?;
        Some((call, own))
    });
    let mut response = match voice {
        Voice::Native => respond::reject(reject, &finish.request_id),
        Voice::Rest => rest(reject),
        Voice::Http => http(reject),
    };
    // what belongs to the refusal: `www-authenticate`
    if voice != Voice::Native {
        // but which methods there are, AWS does not tell
        for (name, value) in reject.headers.iter().filter(|(name, _)| name != header::ALLOW) {
            if name == ERROR_TYPE {
                // more exact than that of the type of response
                response.headers_mut().insert(name.clone(), value.clone());
            } else {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
    }
    if let Some((call, own)) = ready {
        apply(own, finish, call, reject, &mut response);
    }
    response
}

fn apply(own: &Ready, finish: &Finish, call: &Call, reject: &Reject, response: &mut Response<Body>) {
    if let Some(status) = own.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        *response.status_mut() = status;
    }
    let authorizer = super::authorizer_now(finish, own.reads_authorizer);
    let facts = Known {
        headers: call.headers.as_ref(),
        query: call.query.as_deref(),
        authorizer: &authorizer,
        error: Some(reject),
        status: Some(response.status()),
        ..Known::new(finish, call)
    };
    if let Some((kind, template)) = choose(&own.templates, call.headers.as_ref()) {
        *response.body_mut() = Body::full(template.render(&facts));
        if let Ok(kind) = HeaderValue::from_str(kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
    }
    for field in &own.fields {
        let Place::Header(name) = &field.place else {
            continue;
        };
        let values = field.value.values(&facts);
        if values.is_empty() {
            // without a value there is no field
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(&values.join(",")) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
}

/// The template for the first type that the client accepts, else for JSON, else the first.
pub(super) fn choose<'t, T>(
    templates: &'t [(String, T)],
    headers: Option<&HeaderMap>,
) -> Option<(&'t str, &'t T)> {
    let accept = headers
        .and_then(|headers| headers.get(header::ACCEPT)?.to_str().ok())
        .unwrap_or_default();
    let first = accept.split([',', ';']).next().unwrap_or_default().trim();
    let of = |wanted: &str| {
        templates
            .iter()
            .find(|(kind, _)| kind.eq_ignore_ascii_case(wanted))
    };
    let found = of(first)
        .or_else(|| of("application/json"))
        .or_else(|| templates.first());
    found.map(|(kind, template)| (kind.as_str(), template))
}

fn json(status: u16, member: &str, message: &str) -> Response<Body> {
    let text = if message.is_empty() {
        "null".to_owned()
    } else {
        serde_json::Value::String(message.to_owned()).to_string()
    };
    let mut response = Response::new(Body::full(format!("{{\"{member}\":{text}}}")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// As AWS's REST APIs answer.
fn rest(reject: &Reject) -> Response<Body> {
    let kind = kind(reject);
    let (status, error) = match reject.code {
        RejectCode::UpstreamConnect | RejectCode::NoHealthyUpstream => (500, kind.error_type()),
        RejectCode::RouteNotFound if reject.status == 403 => {
            (403, GatewayResponseType::InvalidApiKey.error_type())
        }
        _ if kind.status() == 0 => (reject.status, kind.error_type()),
        // an authorizer may have chosen another
        RejectCode::Unauthorized | RejectCode::AccessDenied | RejectCode::WafFiltered
            if reject.status != reject.code.status() =>
        {
            (reject.status, kind.error_type())
        }
        _ => (kind.status(), kind.error_type()),
    };
    let message = message(reject);
    // where policies decide alone, AWS writes the member with a capital letter
    let member = if message.starts_with("User: ") {
        "Message"
    } else {
        "message"
    };
    let mut response = json(status, member, &message);
    response
        .headers_mut()
        .insert(ERROR_TYPE, HeaderValue::from_static(error));
    response
}

/// As AWS's HTTP APIs answer.
fn http(reject: &Reject) -> Response<Body> {
    let (status, message) = match reject.code {
        RejectCode::RouteNotFound | RejectCode::MethodNotAllowed => (404, "Not Found"),
        RejectCode::Unauthorized => (401, "Unauthorized"),
        RejectCode::AccessDenied
        | RejectCode::PolicyDenied
        | RejectCode::WafFiltered
        | RejectCode::MissingAuthenticationToken
        | RejectCode::InvalidSignature
        | RejectCode::ExpiredToken => (403, "Forbidden"),
        RejectCode::RequestTooLarge => (413, "Request Entity Too Large"),
        RejectCode::UpstreamTimeout
        | RejectCode::UpstreamConnectTimeout
        | RejectCode::UpstreamConnect
        | RejectCode::UpstreamTls
        | RejectCode::UpstreamFailure
        | RejectCode::NoHealthyUpstream => (503, "Service Unavailable"),
        code if code.status() < 500 => (reject.status, code.title()),
        RejectCode::Overloaded => (503, "Service Unavailable"),
        _ => (500, "Internal Server Error"),
    };
    json(status, "message", message)
}

/// What every answer of an API says: ids, and who may read it.
pub(crate) fn decorate(finish: &Finish, headers: &mut HeaderMap) {
    let voice = finish.call.as_ref().map_or(finish.voice, |call| call.arm.voice);
    let id = || HeaderValue::from_str(&finish.request_id).ok();
    match voice {
        Voice::Native => {}
        Voice::Rest => {
            if let Some(theirs) = headers.remove(&REQUEST_ID) {
                headers.insert("x-amzn-remapped-x-amzn-requestid", theirs);
            }
            if let Some(id) = id() {
                headers.insert(REQUEST_ID, id);
            }
            // opaque, and ends with `=` as AWS's does
            let opaque: String = finish
                .request_id
                .bytes()
                .filter(u8::is_ascii_alphanumeric)
                .take(15)
                .map(char::from)
                .collect();
            if let Ok(opaque) = HeaderValue::try_from(opaque + "=") {
                headers.insert(APIGW_ID, opaque);
            }
        }
        Voice::Http => {
            if let Some(id) = id() {
                headers.insert(APIGW_REQUEST_ID, id);
            }
        }
    }
    if let Some(call) = &finish.call
        && !call.preflight
    {
        cors::decorate(call, headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authorizer_says_of_a_signature_has_its_type() {
        let answer = |status: u16, error: &'static str, body: &'static str| {
            let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
                .headers_mut()
                .insert(ERROR_TYPE, HeaderValue::from_static(error));
            answer
        };
        for (error, body, code, says) in [
            (
                "MissingAuthenticationTokenException",
                "no JSON",
                RejectCode::MissingAuthenticationToken,
                "Missing Authentication Token",
            ),
            (
                "IncompleteSignatureException",
                r#"{"message": "in part"}"#,
                RejectCode::InvalidSignature,
                "in part",
            ),
            (
                "ExpiredTokenException",
                r#"{"message": 5}"#,
                RejectCode::ExpiredToken,
                "The security token included in the request is expired",
            ),
        ] {
            let reject = of_signature(Voice::Rest, &answer(403, error, body)).unwrap();
            assert_eq!((reject.code, reject.status, &*reject.detail), (code, 403, says));
            assert_eq!(message(&reject), says);
            let response = rest(&reject);
            assert_eq!(
                response.headers()[ERROR_TYPE],
                GatewayResponseType::of(code).error_type()
            );
            // whose words they are
            assert!(of_signature(Voice::Native, &answer(403, error, body)).is_none());
            assert!(of_signature(Voice::Rest, &answer(503, error, body)).is_none());
        }
        let other = answer(403, "ForbiddenException", "{}");
        assert!(of_signature(Voice::Rest, &other).is_none());
    }
}
