//! OpenAPI documents: APIs made and changed by them, and written as such.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use edgeward_core::{
    api::{Profile, Protocol, Stage},
    config::{Problem, Problems},
    openapi::{self, Backend, BasePath, Became, Extensions, Imported, Version},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Api, ApiError, made,
    model::{Source, actor, matches, tag_of},
};
use crate::{
    deploy::apis::Edited,
    error::ControlError,
    import::{Mode, put},
    model::{Deployment, Draft, Key, Kind, Pinning, missing},
};

/// Keys of routes that a document cannot have, in an answer's head.
pub(super) const LEFT_OUT: &str = "edgeward-left-out";
/// Most bytes of them.
const LEFT_OUT_MAX: usize = 4096;

/// How a document is taken in.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Id of a new API. Default: made of the title.
    id: Option<String>,
    /// Of an API that is there: `merge` (default) or `overwrite`.
    #[param(value_type = Option<String>)]
    mode: Option<Mode>,
    /// What is done with the base path: `ignore` (default), `prepend` or `split`. Also `basepath`, as AWS writes it.
    #[param(value_type = Option<String>)]
    #[serde(alias = "basepath")]
    base_path: BasePath,
    /// Warnings are errors. Also `failonwarnings`, as AWS writes it.
    #[serde(alias = "failonwarnings")]
    fail_on_warnings: bool,
    /// Do everything but keep and publish it. Also `dryRun`.
    #[serde(alias = "dryRun")]
    dry_run: bool,
    /// `REST` or `HTTP`. Default: what the document says, what is there, what the document needs.
    #[param(value_type = Option<String>)]
    protocol: Option<Protocol>,
    /// `native` or `apigw`. Default: what the document says, what is there, `native`.
    #[param(value_type = Option<String>)]
    profile: Option<Profile>,
    /// Address that operations without an integration lead to; `servers` for that in the document.
    backend: Option<String>,
    /// Upstream that operations without an integration lead to.
    upstream: Option<String>,
    /// Plugins that stand behind security schemes: `scheme=plugin,...`.
    authorizers: Option<String>,
    /// Operations whose security cannot be had are open.
    allow_unsecured: bool,
}

impl Wanted {
    fn options(&self) -> Result<openapi::Options, ApiError> {
        let wrong = |message: String| ApiError::new(StatusCode::BAD_REQUEST, message);
        if self.protocol == Some(Protocol::Websocket) {
            return Err(wrong(
                "`protocol` is REST or HTTP: documents do not describe WebSocket APIs".to_owned(),
            ));
        }
        let backend = match (&self.backend, &self.upstream) {
            (None, None) => None,
            (Some(word), None) if word == "servers" => Some(Backend::Servers),
            (Some(url), None) => Some(Backend::Url(url.clone())),
            (None, Some(name)) => Some(Backend::Upstream(name.clone())),
            (Some(_), Some(_)) => {
                return Err(wrong("`backend` and `upstream` cannot both be said".to_owned()));
            }
        };
        let mut authorizers = BTreeMap::new();
        let pairs = self.authorizers.as_deref().unwrap_or_default();
        for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
            let (scheme, plugin) = pair
                .split_once('=')
                .filter(|(scheme, plugin)| !scheme.is_empty() && !plugin.is_empty())
                .ok_or_else(|| wrong(format!("`authorizers`: `{pair}` is not `scheme=plugin`")))?;
            authorizers.insert(scheme.to_owned(), plugin.to_owned());
        }
        Ok(openapi::Options {
            protocol: self.protocol,
            profile: self.profile,
            base_path: self.base_path,
            backend,
            authorizers,
            allow_unsecured: self.allow_unsecured,
            known: None,
            beside: false,
        })
    }
}

/// What a document became, and what that does.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Taken {
    /// Id of the API.
    api: String,
    /// Its protocol.
    #[schema(value_type = String)]
    protocol: Protocol,
    /// Its profile.
    #[schema(value_type = String)]
    profile: Profile,
    /// Whether nothing was kept.
    dry_run: bool,
    /// What became what.
    #[schema(value_type = Vec<Value>)]
    became: Vec<Became>,
    /// What was not understood or is not enforced.
    #[schema(value_type = Vec<Value>)]
    warnings: Vec<Problem>,
    /// What has no effect on requests and is not kept.
    #[schema(value_type = Vec<Value>)]
    notes: Vec<Problem>,
    /// What keeps the API from being deployed as it is now.
    #[schema(value_type = Vec<Value>)]
    undeployable: Vec<Problem>,
    /// What differs: paths, and `create`, `update` or `delete`.
    changes: Vec<Change>,
    /// Snapshot that requests get from now on, if that is another one.
    snapshot: Option<u64>,
    /// Milliseconds from the call to the moment that it was in effect.
    took_ms: u64,
}

/// A resource that differs.
#[derive(Serialize, utoipa::ToSchema)]
struct Change {
    /// The resource.
    path: String,
    /// `create`, `update` or `delete`.
    action: &'static str,
}

impl Taken {
    fn new(
        api: String,
        dry_run: bool,
        (imported, undeployable): (Imported, Vec<Problem>),
        edited: Edited,
    ) -> Self {
        let changes = edited.changes.into_iter();
        Self {
            api,
            protocol: imported.definition.api.protocol,
            profile: imported.definition.api.profile,
            dry_run,
            became: imported.became,
            warnings: imported.warnings,
            notes: imported.notes,
            undeployable,
            changes: changes
                .map(|change| Change {
                    path: change.path,
                    action: change.action,
                })
                .collect(),
            snapshot: edited.snapshot,
            took_ms: edited.took_ms,
        }
    }
}

/// Reads a document; a large one takes its time.
async fn read(bytes: Bytes) -> Result<Value, ApiError> {
    let read = move || {
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| ControlError::invalid("", format!("the document is no text: {error}")))?;
        openapi::read(text).map_err(|problem| ControlError::Invalid(Problems(vec![problem])))
    };
    let outcome = tokio::task::spawn_blocking(read).await;
    Ok(outcome.unwrap_or(Err(ControlError::Panicked))?)
}

/// An id made of a title: letters and digits, `-` for all else.
fn id_of(document: &Value) -> String {
    let title = document.pointer("/info/title").and_then(Value::as_str);
    let words = title.unwrap_or_default().to_ascii_lowercase();
    let words = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut id = words.collect::<Vec<_>>().join("-");
    id.truncate(63);
    id.trim_end_matches('-').to_owned()
}

/// Takes a document in, within a draft.
fn take_in(
    draft: &mut Draft,
    id: &str,
    document: &Value,
    mut options: openapi::Options,
    mode: Mode,
    strict: bool,
) -> Result<(Imported, Vec<Problem>), ControlError> {
    options.known = draft.model.definition(id).ok();
    options.beside = mode == Mode::Merge;
    let mut imported = openapi::import(document, &options).map_err(ControlError::Invalid)?;
    let beside = put(draft, id, &imported, mode)?;
    imported.warnings.extend(beside);
    if strict && !imported.warnings.is_empty() {
        return Err(ControlError::Invalid(Problems(imported.warnings)));
    }
    let undeployable = draft.model.definition(id)?.problems();
    Ok((imported, undeployable))
}

/// Makes an API of an OpenAPI document (2.0, 3.0, 3.1; JSON or YAML). With errors nothing changes, and all are told with their place.
#[utoipa::path(
    post, path = "/v1/imports", tag = "apis", security(("token" = [])), params(Wanted),
    request_body(content((Value = "application/json"), (String = "application/yaml"))),
    responses((status = 201, body = Taken), (status = 200, body = Taken, description = "what would be made"), (status = 409, body = ApiError, description = "there already"), (status = 422, body = ApiError, description = "not possible: every reason")),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
    source: Option<Extension<Source>>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Taken>), ApiError> {
    let options = wanted.options()?;
    let document = read(bytes).await?;
    let id = wanted.id.unwrap_or_else(|| id_of(&document));
    let (name, strict) = (id.clone(), wanted.fail_on_warnings);
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        if draft.model.get(&Key::top(Kind::Api, &name)).is_some() {
            return Err(ControlError::Conflict(format!(
                "API `{name}` is there already: give the new one another `id`, or put the document into that one"
            )));
        }
        take_in(draft, &name, &document, options, Mode::Overwrite, strict)
    };
    let (taken, edited) = api
        .deployer
        .edit(actor(source), "import", wanted.dry_run, make)
        .await?;
    let taken = Taken::new(id, wanted.dry_run, taken, edited);
    Ok((made(!wanted.dry_run), Json(taken)))
}

/// Puts an OpenAPI document into an API that is there: beside what it has, or in place of all of it but stages and deployments.
#[utoipa::path(
    put, path = "/v1/apis/{parent}/openapi", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), Wanted),
    request_body(content((Value = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = Taken), (status = 404, body = ApiError), (status = 412, body = ApiError, description = "it is not as expected"), (status = 422, body = ApiError, description = "not possible: every reason")),
)]
pub(super) async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Taken>, ApiError> {
    let options = wanted.options()?;
    let document = read(bytes).await?;
    let (name, strict, mode) = (
        id.clone(),
        wanted.fail_on_warnings,
        wanted.mode.unwrap_or_default(),
    );
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        let key = Key::top(Kind::Api, &name);
        if draft.model.get(&key).is_none() {
            return Err(missing(&key));
        }
        matches(
            headers.get(header::IF_MATCH),
            &tag_of(&draft.model.definition(&name)?)?,
        )?;
        take_in(draft, &name, &document, options, mode, strict)
    };
    let (taken, edited) = api
        .deployer
        .edit(actor(source), "import", wanted.dry_run, make)
        .await?;
    Ok(Json(Taken::new(id, wanted.dry_run, taken, edited)))
}

/// How an API is written.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[into_params(parameter_in = Query)]
pub(super) struct As {
    /// `2.0` (or `swagger`), `3.0` (or `oas30`, the default), `3.1`.
    version: Option<String>,
    /// `all` (default): the document can be read back as it was. Some of `integrations,authorizers,apigateway`, or `none`.
    extensions: Option<String>,
    /// `json` (default) or `yaml`.
    format: Option<String>,
    /// The deployment that a stage serves, instead of the API as it is now.
    stage: Option<String>,
}

/// An API as an OpenAPI document: as it is now, or as a stage serves it.
#[utoipa::path(
    get, path = "/v1/apis/{parent}/openapi", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), As),
    responses((status = 200, body = Value, description = "the document; `edgeward-left-out` names routes that it cannot have"), (status = 400, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "the stage serves nothing")),
)]
pub(super) async fn write(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wanted): Query<As>,
) -> Result<Response, ApiError> {
    let wrong = |message: String| ApiError::new(StatusCode::BAD_REQUEST, message);
    let version = wanted.version.as_deref().unwrap_or("3.0");
    let version = Version::parse(version)
        .ok_or_else(|| wrong(format!("`version` `{version}` is not 2.0, 3.0 or 3.1")))?;
    let extensions = Extensions::parse(wanted.extensions.as_deref().unwrap_or("all"))
        .map_err(|message| wrong(format!("`extensions`: {message}")))?;
    let model = api.deployer.model();
    let (definition, base) = match &wanted.stage {
        None => (model.definition(&id)?, None),
        Some(name) => {
            let stage: Stage = model.read(&Key::of(Kind::Stage, &id, name))?;
            let deployment = stage.deployment.ok_or_else(|| {
                ControlError::Conflict(format!("stage `{name}` of API `{id}` serves nothing"))
            })?;
            let deployment: Deployment = model.read(&Key::of(Kind::Deployment, &id, &deployment))?;
            let base = match name.as_str() {
                "$default" => "/".to_owned(),
                name => format!("/{name}"),
            };
            (deployment.definition, Some(base))
        }
    };
    let written = openapi::export(&id, &definition, version, extensions, base.as_deref());
    let (kind, text) = match wanted.format.as_deref() {
        None | Some("json") => (
            "application/json",
            serde_json::to_string_pretty(&written.document).ok(),
        ),
        Some("yaml") => (
            "application/yaml",
            serde_yaml_ng::to_string(&written.document).ok(),
        ),
        Some(other) => return Err(wrong(format!("`format` `{other}` is not json or yaml"))),
    };
    let text = text.ok_or_else(|| ApiError::internal("the document cannot be written"))?;
    let mut headers = HeaderMap::new();
    // each way to write it has a URL of its own
    headers.insert(header::ETAG, tag_of(&definition)?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut left_out = written.left_out.join(", ");
    left_out.truncate(left_out.floor_char_boundary(LEFT_OUT_MAX));
    if let Some(value) = HeaderValue::try_from(left_out)
        .ok()
        .filter(|value| !value.is_empty())
    {
        headers.insert(LEFT_OUT, value);
    }
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_made_of_titles() {
        for (title, id) in [
            ("Swagger Petstore", "swagger-petstore"),
            (" Pets (v2) ", "pets-v2"),
            ("«»", ""),
        ] {
            assert_eq!(id_of(&json!({"info": {"title": title}})), id);
        }
        let long = id_of(&json!({"info": {"title": "a b".repeat(40)}}));
        assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
    }
}
