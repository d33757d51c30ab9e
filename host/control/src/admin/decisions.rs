//! Kept decisions of authorizers, thrown away: those of an API or of one of its stages, and those of a plugin's own.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api, ApiError,
    model::{Source, actor},
};
use crate::deploy::apis::Actor;

/// Which decisions of an API.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OfApi {
    /// Of this authorizer. Default: of all.
    authorizer: Option<String>,
    /// About this principal. Default: about all, refusals too.
    principal: Option<String>,
}

/// Which decisions of a plugin.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OfPlugin {
    /// About this principal. Default: about all, refusals too.
    principal: Option<String>,
}

/// What was thrown away.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Flushed {
    /// Decisions; one that several workers had counts for each.
    flushed: usize,
}

/// Throws away what authorizers of a stage have said: the next request asks again.
#[utoipa::path(
    delete, path = "/v1/apis/{parent}/stages/{name}/cache/authorizers", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "name of the stage"), OfApi),
    responses((status = 200, body = Flushed), (status = 404, body = ApiError, description = "the stage serves nothing, or has no such authorizer")),
)]
pub(super) async fn of_stage(
    State(api): State<Api>,
    Path((name, stage)): Path<(String, String)>,
    Query(which): Query<OfApi>,
    source: Option<Extension<Source>>,
) -> Result<Json<Flushed>, ApiError> {
    flush(&api, &name, Some(&stage), &which, &actor(source))
}

/// Throws away what authorizers of all stages of an API have said: the next requests ask again.
#[utoipa::path(
    delete, path = "/v1/apis/{parent}/cache/authorizers", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), OfApi),
    responses((status = 200, body = Flushed), (status = 404, body = ApiError, description = "no stage serves anything, or none has such an authorizer")),
)]
pub(super) async fn of_api(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<OfApi>,
    source: Option<Extension<Source>>,
) -> Result<Json<Flushed>, ApiError> {
    flush(&api, &name, None, &which, &actor(source))
}

fn flush(
    api: &Api,
    name: &str,
    stage: Option<&str>,
    which: &OfApi,
    actor: &Actor,
) -> Result<Json<Flushed>, ApiError> {
    let OfApi {
        authorizer,
        principal,
    } = which;
    let flushed = api.deployer.proxy().and_then(|proxy| {
        let current = proxy.current();
        current.flush_decisions(name, stage, authorizer.as_deref(), principal.as_deref())
    });
    let flushed = flushed.ok_or_else(|| {
        let of = stage.map_or_else(
            || format!("API `{name}`"),
            |stage| format!("stage `{stage}` of API `{name}`"),
        );
        let problem = match authorizer {
            None => format!("{of} serves nothing"),
            Some(authorizer) => format!("no route that {of} serves has an authorizer `{authorizer}`"),
        };
        ApiError::new(StatusCode::NOT_FOUND, problem)
    })?;
    let target = match stage {
        Some(stage) => format!("apis/{name}/stages/{stage}/cache/authorizers"),
        None => format!("apis/{name}/cache/authorizers"),
    };
    let detail = json!({"authorizer": authorizer, "principal": principal, "flushed": flushed});
    api.deployer
        .note(actor, "flush", &target, "done", None, Some(detail))?;
    Ok(Json(Flushed { flushed }))
}

/// Throws away what the live version of a plugin has said and its `decision-cache` keeps.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/decisions", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), OfPlugin),
    responses((status = 200, body = Flushed), (status = 404, body = ApiError)),
)]
pub(super) async fn of_plugin(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<OfPlugin>,
    source: Option<Extension<Source>>,
) -> Result<Json<Flushed>, ApiError> {
    api.deployer.plugin(&name)?;
    let applied = api.deployer.applied();
    let loaded = applied.plugins.get(&name);
    let flushed = loaded.map_or(0, |loaded| {
        loaded.version.flush_decisions(which.principal.as_deref())
    });
    let target = format!("plugins/{name}/decisions");
    let detail = json!({"principal": which.principal, "flushed": flushed});
    api.deployer
        .note(&actor(source), "flush", &target, "done", None, Some(detail))?;
    Ok(Json(Flushed { flushed }))
}
