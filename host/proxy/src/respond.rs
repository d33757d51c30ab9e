//! The only place that builds error responses: problem documents (RFC 9457) with the reason and the request id.

use edgeward_core::reject::Reject;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{body::Body, grpc};

/// Gives the response to a reject the form that gRPC clients read: no body, and the status in the head ("Trailers-Only").
pub(crate) fn as_grpc(reject: &Reject, response: Response<Body>) -> Response<Body> {
    let (mut parts, _problem) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    grpc::end(&mut parts.headers, reject, parts.status.as_u16());
    parts.status = StatusCode::OK;
    Response::from_parts(parts, Body::empty())
}

/// The answer to a certificate authority (RFC 8555 section 8.3).
pub(crate) fn challenge(key_authorization: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(key_authorization.to_owned()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response to a reject.
pub(crate) fn reject(reject: &Reject, request_id: &str) -> Response<Body> {
    // a plugin may have chosen another status than the reason's own: the title is that of the status then
    let title = match StatusCode::from_u16(reject.status) {
        Ok(status) if reject.status != reject.code.status() => {
            status.canonical_reason().unwrap_or_else(|| reject.code.title())
        }
        _ => reject.code.title(),
    };
    let problem = serde_json::json!({
        "type": format!("https://edgeward.dev/errors#{}", reject.code.name()),
        "title": title,
        "status": reject.status,
        "detail": reject.detail,
        "responseType": reject.code.name(),
        "requestId": request_id,
    });
    let mut response = Response::new(Body::full(problem.to_string()));
    *response.status_mut() = StatusCode::from_u16(reject.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    for (name, value) in &reject.headers {
        headers.append(name.clone(), value.clone());
    }
    response
}
