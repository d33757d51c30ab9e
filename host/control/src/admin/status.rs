//! Status, configuration, metrics, health.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{Api, ApiError};
use crate::deploy::Status;

/// Everything at a glance.
#[utoipa::path(get, path = "/v1/status", tag = "status", security(("token" = [])), responses((status = 200, body = Status)))]
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.deployer.status())
}

/// The configuration in effect, published versions in place, defaults written out.
#[utoipa::path(get, path = "/v1/config", tag = "status", security(("token" = [])), responses((status = 200, body = Value)))]
pub(super) async fn config(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let config = serde_json::to_value(&*api.deployer.applied().effective);
    Ok(Json(
        config.map_err(|error| ApiError::internal(error.to_string()))?,
    ))
}

/// Reads the configuration file again, as SIGHUP does.
#[utoipa::path(
    post, path = "/v1/reload", tag = "status", security(("token" = [])),
    responses((status = 200, body = Status), (status = 422, body = ApiError, description = "refused; the old configuration stays")),
)]
pub(super) async fn reload(State(api): State<Api>) -> Result<Json<Status>, ApiError> {
    api.deployer.reload().await?;
    Ok(Json(api.deployer.status()))
}

/// 200 while the process works.
#[utoipa::path(get, path = "/healthz", tag = "status", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// 200 while requests are served; 503 from the moment the gateway begins to stop.
#[utoipa::path(get, path = "/readyz", tag = "status", responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = ApiError)))]
pub(super) async fn ready(State(api): State<Api>) -> Response {
    if api.deployer.is_ready() {
        "ready\n".into_response()
    } else {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping").into_response()
    }
}

/// Prometheus text format 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "status", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        api.deployer.metrics() + &api.access.metrics(),
    )
        .into_response()
}
