//! Error bodies: problem documents (RFC 9457) with every problem found.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeward_core::config::Problem;
use serde::Serialize;

use super::body_max;
use crate::{error::ControlError, store::StoreError};

/// Largest text of a framework error that is shown.
const TEXT_MAX: usize = 4096;

/// A problem document.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiError {
    /// HTTP status.
    status: u16,
    /// Text of the status.
    title: String,
    /// What happened.
    detail: String,
    /// Everything that is wrong, with path and hint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<serde_json::Value>, required = false)]
    problems: Vec<Problem>,
}

impl ApiError {
    /// An error with one sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            detail: detail.into(),
            problems: Vec::new(),
        }
    }

    /// 500.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let kind = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        )];
        (status, kind, body).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NotFound(_) => StatusCode::NOT_FOUND,
            StoreError::Conflict(_) => StatusCode::CONFLICT,
            StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            full if full.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Io { .. }
            | StoreError::Database { .. }
            | StoreError::Locked { .. }
            | StoreError::Newer { .. }
            | StoreError::Damaged { .. } => {
                tracing::error!(%error, "the store failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let status = match error {
            ControlError::Store(error) => return error.into(),
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ControlError::Precondition(_) => StatusCode::PRECONDITION_FAILED,
            ControlError::Forbidden(_) => StatusCode::FORBIDDEN,
            ControlError::Conflict(_) => StatusCode::CONFLICT,
            ControlError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            ControlError::Start(_) | ControlError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let detail = error.to_string();
        let problems = match error {
            ControlError::Invalid(problems) => problems.0,
            _ => Vec::new(),
        };
        Self {
            problems,
            ..Self::new(status, detail)
        }
    }
}

/// Makes problem documents of the framework's own errors: no such endpoint, wrong method, unreadable body.
pub(super) async fn all_errors(request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let most = body_max(request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !is_error || kind.is_some_and(|kind| kind == "application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, TEXT_MAX).await.unwrap_or_default();
    let detail = match String::from_utf8_lossy(&text).trim() {
        "" => format!(
            "{what}: {}",
            status.canonical_reason().unwrap_or("error").to_lowercase()
        ),
        text if status == StatusCode::PAYLOAD_TOO_LARGE => format!("{text} of {most} bytes"),
        text => text.to_owned(),
    };
    let (problem, body) = ApiError::new(status, detail).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(problem.headers);
    Response::from_parts(parts, Body::new(body))
}
