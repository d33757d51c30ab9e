//! Plugins: what is live, new versions, publish, roll back.

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
};
use edgeward_core::{
    config::{Problems, typed},
    ids::Digest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Api, ApiError,
    apis::{body, json_of, said},
    made,
    model::{Page, Source, actor, page_limit},
    modules,
    noted::Noted,
};
use crate::{
    access::Role,
    deploy::{LivePlugin, PluginDetail, Published, Target},
    error::ControlError,
    store::VersionRow,
};

/// A version to make: a module, and what differs from the binding in the configuration file.
#[derive(Deserialize, JsonSchema, utoipa::ToSchema)]
pub(super) struct NewVersion {
    /// Digest of an uploaded module.
    #[schema(value_type = String)]
    #[schemars(with = "String")]
    module: Digest,
    /// Any of `config`, `grants`, `limits`, `isolation`, `on-error`, `breaker`, `decision-cache`, as in the configuration file.
    /// `config` replaces the file's, the others are merged into it (RFC 7396).
    #[serde(flatten)]
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    settings: Map<String, Value>,
}

/// Whether to publish at once.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Publish the version when it works.
    publish: bool,
    /// Settings as JSON, as in the body of `POST .../versions`.
    settings: Option<String>,
}

/// A version that was made and loaded.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Created {
    /// The version.
    #[serde(flatten)]
    version: VersionRow,
    /// False when the newest version was the same: then it is this one.
    created: bool,
    /// What the module is.
    info: Value,
    /// How loading it went.
    report: Value,
    /// What publishing it did.
    published: Option<Published>,
}

/// A version to publish.
#[derive(Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    /// Its number.
    version: u64,
}

/// A version to go back to.
#[derive(Default, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rollback {
    /// Its number; 0 is the configuration file's. Default: the version that was live before.
    version: Option<u64>,
}

/// Plugins, what is live of each, and its counters: all, or a page of them.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", security(("token" = [])), params(Page), responses((status = 200, body = Vec<LivePlugin>), (status = 400, body = ApiError)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<LivePlugin>>, ApiError> {
    page.named(api.deployer.plugins(), |plugin| &plugin.name)
}

/// One plugin with its newest versions and publications.
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding")),
    responses((status = 200, body = PluginDetail), (status = 404, body = ApiError)),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<PluginDetail>, ApiError> {
    Ok(Json(api.deployer.plugin(&name)?))
}

/// Which versions.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    /// Those before the one with this number: the last one that is known.
    cursor: Option<u64>,
    /// So many at most, up to 1000. Default 100.
    limit: Option<usize>,
}

/// Versions of a plugin that were made through the API, the newest first. The next page begins behind the last one's number; the last page is empty.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/versions", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), Which),
    responses((status = 200, body = Vec<VersionRow>)),
)]
pub(super) async fn versions(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<VersionRow>>, ApiError> {
    let limit = u32::try_from(page_limit(which.limit)?).unwrap_or(u32::MAX);
    let store = &api.deployer.store().plugins;
    Ok(Json(store.versions(&name, which.cursor, limit)?))
}

/// One version.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/versions/{version}", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), ("version" = u64, Path, description = "its number")),
    responses((status = 200, body = VersionRow), (status = 404, body = ApiError)),
)]
pub(super) async fn version(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u64)>,
) -> Result<Json<VersionRow>, ApiError> {
    Ok(Json(api.deployer.store().plugins.version(&name, version)?))
}

/// Removes a version that is not live.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/versions/{version}", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), ("version" = u64, Path, description = "its number")),
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "live, or a shadow")),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u64)>,
) -> Result<StatusCode, ApiError> {
    api.deployer.remove_version(&name, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a version of an uploaded module and loads it; a version that does not work is not kept.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/versions", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), Options),
    request_body = NewVersion,
    responses((status = 201, body = Created), (status = 200, body = Created, description = "the newest version is the same"), (status = 403, body = ApiError, description = "grants take the role `admin`"), (status = 404, body = ApiError), (status = 422, body = ApiError, description = "does not work")),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    bytes: Bytes,
) -> Result<(StatusCode, Extension<Noted>, Json<Created>), ApiError> {
    if options.settings.is_some() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "settings go into the body here",
        ));
    }
    let body = json_of(&bytes)?;
    let new: NewVersion = match typed(body.clone()) {
        Ok(new) => new,
        Err(Problems(mut problems)) => {
            problems.extend(api.deployer.problems_of_settings(&name, body)?);
            return Err(ControlError::Invalid(Problems(problems)).into());
        }
    };
    let settings = Value::Object(new.settings);
    may_grant(source, &settings)?;
    make(&api, &name, new.module, &settings, options.publish).await
}

/// Upload, version and publication in one request: the body is the module.
#[utoipa::path(
    put, path = "/v1/plugins/{name}/module", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding"), Options),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, body = Created), (status = 200, body = Created, description = "the newest version is the same"),
        (status = 403, body = ApiError, description = "grants take the role `admin`"), (status = 404, body = ApiError),
        (status = 413, body = ApiError), (status = 422, body = ApiError, description = "does not work"),
    ),
)]
pub(super) async fn put_module(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    body: Body,
) -> Result<(StatusCode, Extension<Noted>, Json<Created>), ApiError> {
    // before the upload: a wrong name shall not cost 64 MiB
    api.deployer.plugin(&name)?;
    let settings = match options.settings.as_deref().map(serde_json::from_str) {
        None => Value::Object(Map::new()),
        Some(Ok(settings @ Value::Object(_))) => settings,
        Some(_) => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "`settings` is not a JSON object",
            ));
        }
    };
    may_grant(source, &settings)?;
    let module = modules::store(&api, body).await?;
    make(&api, &name, module.digest, &settings, options.publish).await
}

/// Grants reach what the gateway can read, secrets in files included: who changes them could become anybody.
fn may_grant(source: Option<Extension<Source>>, settings: &Value) -> Result<(), ApiError> {
    if settings.get("grants").is_some() && !actor(source).authority.has(Role::Admin) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "other `grants` than those of the configuration file take the role `admin`",
        ));
    }
    Ok(())
}

async fn make(
    api: &Api,
    name: &str,
    module: Digest,
    settings: &Value,
    publish: bool,
) -> Result<(StatusCode, Extension<Noted>, Json<Created>), ApiError> {
    let journal = &api.deployer.store().plugins;
    api.deployer.plugin(name)?;
    if settings.get("module").is_some() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "`module` is no setting"));
    }
    // the number is part of what is loaded; the version itself is kept once it was found to work
    let (mut row, created) = journal.next_version(name, module, settings)?;
    let loaded = api.deployer.verify(&row).await?;
    if created {
        row = journal.keep_version(&row)?;
    }
    let published = match publish {
        true => Some(api.deployer.publish(name, Target::Publish(row.version)).await?),
        false => None,
    };
    let value =
        |thing: serde_json::Result<Value>| thing.map_err(|error| ApiError::internal(error.to_string()));
    let answer = Created {
        version: row,
        created,
        info: value(serde_json::to_value(loaded.info()))?,
        report: value(serde_json::to_value(loaded.report()))?,
        published,
    };
    let noted = Noted(json!({"version": answer.version.version, "module": module.to_string()}));
    Ok((made(created), Extension(noted), Json(answer)))
}

/// Makes a version live: requests that come after the answer are served by it.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/publish", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding")), request_body = Publish,
    responses((status = 200, body = Published), (status = 404, body = ApiError), (status = 422, body = ApiError, description = "does not work")),
)]
pub(super) async fn publish(
    State(api): State<Api>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Json<Published>, ApiError> {
    let wanted: Publish = said(json_of(&bytes)?)?;
    Ok(Json(
        api.deployer
            .publish(&name, Target::Publish(wanted.version))
            .await?,
    ))
}

/// Goes back to the version that was live before, or to a given one. The body may be empty.
#[utoipa::path(
    post, path = "/v1/plugins/{name}/rollback", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding")), request_body = Option<Rollback>,
    responses((status = 200, body = Published), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "nothing to roll back")),
)]
pub(super) async fn rollback(
    State(api): State<Api>,
    Path(name): Path<String>,
    // many clients name a content type without sending anything
    bytes: Bytes,
) -> Result<Json<Published>, ApiError> {
    let Rollback { version } = body(&bytes)?;
    let target = version.map_or(Target::Previous, Target::RollbackTo);
    Ok(Json(api.deployer.publish(&name, target).await?))
}
