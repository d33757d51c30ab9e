//! Modules: upload, list, inspect, remove.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
};
use edgeward_core::ids::Digest;
use futures_util::StreamExt as _;

use super::{Api, ApiError, model::Page};
use crate::store::ModuleRow;

/// Time that a refused upload is read on.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Stores a module. The body is its bytes; it is checked, and kept under its SHA-256. Doing it again changes nothing.
#[utoipa::path(
    post, path = "/v1/modules", tag = "modules", security(("token" = [])),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "component, or core module with an embedded component type"),
    responses(
        (status = 201, body = ModuleRow),
        (status = 413, body = ApiError, description = "larger than `admin.upload-limit`"),
        (status = 422, body = ApiError, description = "not a plugin"),
    ),
)]
pub(super) async fn upload(
    State(api): State<Api>,
    body: Body,
) -> Result<(StatusCode, Json<ModuleRow>), ApiError> {
    Ok((StatusCode::CREATED, Json(store(&api, body).await?)))
}

/// Streams a body to disk, checks that it is a plugin, and keeps it.
pub(super) async fn store(api: &Api, body: Body) -> Result<ModuleRow, ApiError> {
    let _slot = api
        .uploads
        .acquire()
        .await
        .map_err(|_closed| ApiError::internal("no more uploads are taken"))?;
    let store = api.deployer.store();
    let mut upload = store.blobs.begin(api.upload_limit)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the upload was cut off: {error}"),
            )
        })?;
        if let Err(error) = upload.write(&chunk).await {
            drop(upload);
            discard(chunks).await;
            return Err(error.into());
        }
    }
    let bytes = upload.seal().await?;
    let (store, runtime) = (store.clone(), api.deployer.runtime().clone());
    // parsing a large module and syncing the disk take their time
    tokio::task::spawn_blocking(move || {
        let info = runtime.inspect(&bytes).map_err(|error| {
            ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                crate::error::module_error(&error),
            )
        })?;
        let info = serde_json::to_value(&info).map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(store.keep(upload, &info)?)
    })
    .await
    .map_err(|_panicked| ApiError::internal("a defect in the gateway stopped the upload, see its log"))?
}

/// Reads the rest of a refused body for a while: a client that still writes when the connection is closed often never
/// sees the answer.
async fn discard(mut chunks: axum::body::BodyDataStream) {
    let all = async { while let Some(Ok(_)) = chunks.next().await {} };
    // a client that takes longer has to live without the reason
    let _late = tokio::time::timeout(DISCARD_TIME, all).await;
}

/// Modules, newest first: all, or a page of them.
#[utoipa::path(get, path = "/v1/modules", tag = "modules", security(("token" = [])), params(Page), responses((status = 200, body = Vec<ModuleRow>), (status = 400, body = ApiError)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<ModuleRow>>, ApiError> {
    let mut modules = api.deployer.store().plugins.modules()?;
    if let Some(last) = &page.cursor {
        let at = modules
            .iter()
            .position(|module| module.digest.to_string() == *last);
        let at = at.ok_or_else(|| {
            let problem = format!("`cursor`: there is no module `{last}`");
            ApiError::new(StatusCode::BAD_REQUEST, problem)
        })?;
        modules.drain(..=at);
    }
    page.cut(&mut modules)?;
    Ok(Json(modules))
}

/// What inspection found in a module, and which versions use it.
#[utoipa::path(
    get, path = "/v1/modules/{digest}", tag = "modules", security(("token" = [])),
    params(("digest" = String, Path, description = "`sha256:<64 hex digits>`")),
    responses((status = 200, body = ModuleRow), (status = 404, body = ApiError)),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Path(digest): Path<String>,
) -> Result<Json<ModuleRow>, ApiError> {
    Ok(Json(api.deployer.store().plugins.module(parse(&digest)?)?))
}

/// Removes a module that no version uses.
#[utoipa::path(
    delete, path = "/v1/modules/{digest}", tag = "modules", security(("token" = [])),
    params(("digest" = String, Path, description = "`sha256:<64 hex digits>`")),
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "in use")),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Path(digest): Path<String>,
) -> Result<StatusCode, ApiError> {
    let digest = parse(&digest)?;
    api.deployer.remove_module(digest).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(digest: &str) -> Result<Digest, ApiError> {
    digest
        .parse()
        .map_err(|error: String| ApiError::new(StatusCode::BAD_REQUEST, error))
}
