//! What is done with APIs beyond editing them: deploy, go back, promote and abort canaries, look for drift, state everything at once, read the audit log.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use edgeward_core::{
    api::{Canary, RollbackPolicy, Stage, Sticky},
    config::{Problem, typed},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Api, ApiError, made,
    model::{Options, Source, actor, expectation, matches, tag_of},
};
use crate::{
    access::Role,
    bundle::{self, Bundle},
    clock::{parse_rfc3339, rfc3339},
    deploy::{
        Drift, Element, ShadowView,
        apis::{Actor, ArmView, Edited},
    },
    error::{ControlError, Faults},
    model::{Draft, Expect, Key, Kind, Pinning, Wanted},
    store::{AuditCheck, AuditQuery, AuditRow},
};

/// Entries of the audit log in an answer, where the request does not say; and at most.
const ENTRIES: u32 = 100;
const ENTRIES_MAX: u32 = 1000;

/// A deployment to make.
#[derive(Debug, Default, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct NewDeployment {
    /// What it is for.
    description: Option<String>,
    /// The stage that shall serve it. It is made if it is not there.
    stage: Option<String>,
    /// Which of the stage's requests it gets, as a canary. Without it: all, at once.
    canary: Option<NewCanary>,
    /// Versions of plugins that it has in place of the live ones, by name of the binding; 0 is the configuration file's. The next deployment has the live
    /// ones again, unless it says so, too.
    plugins: BTreeMap<String, u64>,
}

/// How a deployment is tried: as `canary` of a stage, without `deployment`.
#[derive(Debug, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct NewCanary {
    /// Per cent of the stage's requests that it gets, 0 to 100.
    percent: f64,
    /// Stage variables that differ.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// What requests are kept together by: `header`, `cookie`, `address`, `key`.
    #[schema(value_type = Option<Object>)]
    sticky: Option<Sticky>,
    /// When it is given up without being asked.
    #[schema(value_type = Option<Object>)]
    rollback: Option<RollbackPolicy>,
}

impl NewCanary {
    fn of(self, deployment: String) -> Canary {
        Canary {
            deployment,
            percent: self.percent,
            variables: self.variables,
            sticky: self.sticky,
            rollback: self.rollback,
        }
    }
}

/// A deployment that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Deployed {
    /// Its name.
    id: String,
    /// The stage that serves it.
    stage: Option<String>,
    /// Snapshot that requests get from now on.
    snapshot: Option<u64>,
    /// Milliseconds from the call to the moment that it was in effect.
    took_ms: u64,
}

impl Deployed {
    fn new(id: String, stage: Option<String>, edited: &Edited) -> Self {
        Self {
            id,
            stage,
            snapshot: edited.snapshot,
            took_ms: edited.took_ms,
        }
    }
}

/// What a body says, which may be left out.
pub(super) fn body<T: Default + DeserializeOwned + JsonSchema + 'static>(
    bytes: &Bytes,
) -> Result<T, ApiError> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    said(json_of(bytes)?)
}

/// A body as JSON.
pub(super) fn json_of(bytes: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("body: not JSON: {error}")))
}

/// What a body says: everything that is wrong with its form is told at once.
pub(super) fn said<T: DeserializeOwned + JsonSchema + 'static>(body: Value) -> Result<T, ApiError> {
    Ok(typed(body).map_err(ControlError::Invalid)?)
}

/// Deploys an API as it is now, to a stage if one is named, which is what `If-Match` is about. The body may be empty.
#[utoipa::path(
    post, path = "/v1/apis/{parent}/deployments", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API")), request_body = Option<NewDeployment>,
    responses((status = 201, body = Deployed), (status = 200, body = Deployed, description = "what would be made"), (status = 403, body = ApiError, description = "`plugins` without the role `operator`"), (status = 404, body = ApiError), (status = 412, body = ApiError, description = "the stage is not as expected"), (status = 422, body = ApiError, description = "cannot be deployed: every reason")),
)]
pub(super) async fn deploy(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Deployed>), ApiError> {
    let wanted: NewDeployment = body(&bytes)?;
    let actor = actor(source);
    if !wanted.plugins.is_empty() && !actor.authority.has(Role::Operator) {
        let problem = "`plugins`: other versions than the live ones take the role `operator`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, problem));
    }
    let expect = expectation(&headers)?;
    let stage = wanted.stage.clone();
    if stage.is_none() && !matches!(expect, Expect::Any) {
        let problem = "`If-Match` is about the stage, and the request names none";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, problem));
    }
    let make = move |draft: &mut Draft, pin: Pinning<'_>| {
        let mut faults = Faults::default();
        let variables = wanted.canary.as_ref().map(|canary| canary.variables.clone());
        let to = wanted.stage.clone().map(|to| (to, variables.unwrap_or_default()));
        let deployment = Wanted {
            description: wanted.description,
            plugins: wanted.plugins,
            stages: to.into_iter().collect(),
        };
        let made = faults.take(draft.deploy(&name, deployment, pin))?;
        // the stage is looked at all the same, for what is wrong with it besides
        let id = made.unwrap_or_default();
        match &wanted.stage {
            Some(stage) => drop(faults.take(serve(draft, &name, stage, expect, wanted.canary, &id))?),
            None if wanted.canary.is_some() => {
                faults.extend([Problem::new("stage", "is missing: a canary is one of a stage")])
            }
            None => {}
        }
        faults.end()?;
        Ok(id)
    };
    let (id, edited) = api.deployer.edit(actor, "deploy", options.dry_run, make).await?;
    let deployed = Deployed::new(id, stage, &edited);
    Ok((made(!options.dry_run), Json(deployed)))
}

/// Lets a stage serve a deployment: to all, or as a canary.
fn serve(
    draft: &mut Draft,
    api: &str,
    stage: &str,
    expect: Expect,
    canary: Option<NewCanary>,
    deployment: &str,
) -> Result<(), ControlError> {
    let key = Key::of(Kind::Stage, api, stage);
    draft.expect(&key, expect)?;
    if draft.model.get(&key).is_none() && canary.is_none() {
        draft.put(&key, json!({}), Expect::Absent)?;
    }
    draft.edit_stage(api, stage, |document| {
        match canary {
            _ if document.canary.is_some() => {
                return Err(ControlError::Conflict(format!(
                    "stage `{stage}` has a canary: promote or abort it first"
                )));
            }
            None => document.deployment = Some(deployment.to_owned()),
            Some(canary) => document.canary = Some(canary.of(deployment.to_owned())),
        }
        Ok(())
    })
}

/// A deployment to go back to.
#[derive(Debug, Default, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GoBack {
    /// Its name. Default: the one that the stage served before.
    deployment: Option<String>,
}

/// Lets a stage serve an earlier deployment. A canary ends. The body may be empty.
#[utoipa::path(
    post, path = "/v1/apis/{parent}/stages/{name}/rollback", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "name of the stage")),
    request_body = Option<GoBack>,
    responses((status = 200, body = Deployed), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "there is none"), (status = 412, body = ApiError, description = "the stage is not as expected")),
)]
pub(super) async fn rollback(
    State(api): State<Api>,
    Path((name, stage)): Path<(String, String)>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Deployed>, ApiError> {
    let GoBack { deployment } = body(&bytes)?;
    let expect = expectation(&headers)?;
    let of = stage.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        let stage = Key::of(Kind::Stage, &name, &of);
        draft.expect(&stage, expect)?;
        let previous = draft.model.read::<Stage>(&stage)?.previous;
        let deployment = deployment.or(previous).ok_or_else(|| {
            ControlError::Conflict(format!(
                "stage `{of}` of API `{name}` has served no deployment before that one"
            ))
        })?;
        let key = Key::of(Kind::Deployment, &name, &deployment);
        if draft.model.get(&key).is_none() {
            return Err(crate::model::missing(&key));
        }
        draft.edit_stage(&name, &of, |document| {
            document.canary = None;
            // what is edited next would be deployed over it
            document.auto_deploy = false;
            document.deployment = Some(deployment.clone());
            Ok(deployment)
        })
    };
    let (id, edited) = api
        .deployer
        .edit(actor(source), "rollback", options.dry_run, make)
        .await?;
    Ok(Json(Deployed::new(id, Some(stage), &edited)))
}

/// Lets a stage serve its canary's deployment for all requests, under the canary's variables.
#[utoipa::path(
    post, path = "/v1/apis/{parent}/stages/{name}/promote", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "name of the stage")),
    responses((status = 200, body = Deployed), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "it has no canary"), (status = 412, body = ApiError, description = "the stage is not as expected")),
)]
pub(super) async fn promote(
    State(api): State<Api>,
    Path(of): Path<(String, String)>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
) -> Result<Json<Deployed>, ApiError> {
    let promote = |document: &mut Stage, canary: Canary| {
        document.variables.extend(canary.variables);
        document.deployment = Some(canary.deployment);
    };
    let call = (actor(source), "promote", options);
    end_canary(&api, of, call, expectation(&headers)?, promote).await
}

/// Ends a canary: the stage serves its own deployment to everybody, and deploys nothing by itself any more.
#[utoipa::path(
    post, path = "/v1/apis/{parent}/stages/{name}/abort", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "name of the stage")),
    responses((status = 200, body = Deployed), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "it has no canary"), (status = 412, body = ApiError, description = "the stage is not as expected")),
)]
pub(super) async fn abort(
    State(api): State<Api>,
    Path(of): Path<(String, String)>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
) -> Result<Json<Deployed>, ApiError> {
    let call = (actor(source), "abort", options);
    // what was taken away must not come back, and what is half edited must not stand in the way
    let give_up = |document: &mut Stage, _canary| document.auto_deploy = false;
    end_canary(&api, of, call, expectation(&headers)?, give_up).await
}

/// Takes the canary off a stage; `then` says what the stage makes of it.
async fn end_canary(
    api: &Api,
    (name, stage): (String, String),
    (actor, action, options): (Actor, &'static str, Options),
    expect: Expect,
    then: impl FnOnce(&mut Stage, Canary) + Send + 'static,
) -> Result<Json<Deployed>, ApiError> {
    let of = stage.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        draft.expect(&Key::of(Kind::Stage, &name, &of), expect)?;
        draft.edit_stage(&name, &of, |document| {
            let canary = document.canary.take();
            let canary =
                canary.ok_or_else(|| ControlError::Conflict(format!("stage `{of}` has no canary")))?;
            then(document, canary);
            Ok(document.deployment.clone().unwrap_or_default())
        })
    };
    let (id, edited) = api.deployer.edit(actor, action, options.dry_run, make).await?;
    Ok(Json(Deployed::new(id, Some(stage), &edited)))
}

/// What the arms of a stage serve and have served.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Arms {
    /// The stage's own deployment.
    control: ArmView,
    /// The canary's, if there is one.
    canary: Option<ArmView>,
}

/// What a stage has served, by arm.
#[utoipa::path(
    get, path = "/v1/apis/{parent}/stages/{name}/arms", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "name of the stage")),
    responses((status = 200, body = Arms), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "it serves nothing")),
)]
pub(super) async fn arms(
    State(api): State<Api>,
    Path((name, stage)): Path<(String, String)>,
) -> Result<Json<Arms>, ApiError> {
    let (control, canary) = api.deployer.arms(&name, &stage)?;
    Ok(Json(Arms { control, canary }))
}

/// How an API differs from what its stages serve, by stage: as JSON Patch, and by versions of plugins.
#[utoipa::path(
    get, path = "/v1/apis/{parent}/drift", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API")),
    responses((status = 200, body = Value), (status = 404, body = ApiError)),
)]
pub(super) async fn drifted(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<BTreeMap<String, Drift>>, ApiError> {
    Ok(Json(api.deployer.drift(&name)?))
}

/// What a route does with its requests, in order: plugins, and what the gateway does by itself. As the API is now, with the live versions of its plugins.
#[utoipa::path(
    get, path = "/v1/apis/{parent}/routes/{name}/pipeline", tag = "apis", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the API"), ("name" = String, Path, description = "key of the route")),
    responses((status = 200, body = Vec<Element>), (status = 404, body = ApiError)),
)]
pub(super) async fn route_pipeline(
    State(api): State<Api>,
    Path((name, route)): Path<(String, String)>,
) -> Result<Json<Vec<Element>>, ApiError> {
    Ok(Json(api.deployer.pipeline(&name, &route)?))
}

/// The API model as one document, without deployments: as much of it as is yours to see. Its entity tag is that of what you see.
#[utoipa::path(get, path = "/v1/bundle", tag = "apis", security(("token" = [])), responses((status = 200, body = Value)))]
pub(super) async fn bundle(
    State(api): State<Api>,
    source: Option<Extension<Source>>,
) -> Result<Response, ApiError> {
    let bundle = Bundle::seen_by(&actor(source).authority, &api.deployer.model());
    Ok(([(header::ETAG, tag_of(&bundle)?)], Json(bundle)).into_response())
}

/// Makes the API model what the document says, all of it or nothing: what it does not name goes, if it is yours to remove. `dry-run` tells what would change.
#[utoipa::path(
    put, path = "/v1/bundle", tag = "apis", security(("token" = [])), request_body = Value,
    responses((status = 200, body = Value), (status = 403, body = ApiError, description = "changes what is not yours to change"), (status = 412, body = ApiError, description = "it is not as expected"), (status = 422, body = ApiError, description = "not possible: every reason")),
)]
pub(super) async fn apply(
    State(api): State<Api>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("body: not text: {error}")))?;
    let wanted = bundle::read(text).map_err(ControlError::Invalid)?;
    let actor = actor(source);
    let authority = actor.authority.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        let tag = tag_of(&Bundle::seen_by(&authority, &draft.model))?;
        matches(headers.get(header::IF_MATCH), &tag)?;
        wanted.put_by(&authority, draft)
    };
    let ((), edited) = api.deployer.edit(actor, "apply", options.dry_run, make).await?;
    Ok(Json(
        json!({"dry-run": options.dry_run, "changes": edited.changes, "snapshot": edited.snapshot, "took-ms": edited.took_ms}),
    ))
}

/// What a version that runs beside the live one has come to.
#[utoipa::path(
    get, path = "/v1/shadows/{name}/counts", tag = "plugins", security(("token" = [])),
    params(("name" = String, Path, description = "name of the binding")),
    responses((status = 200, body = ShadowView), (status = 404, body = ApiError)),
)]
pub(super) async fn shadow(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<ShadowView>, ApiError> {
    Ok(Json(api.deployer.shadow(&name)?))
}

/// Which entries of the audit log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entries {
    /// Those behind the one with this number: `seq` of the last one that is known. Also `after`.
    #[serde(alias = "after")]
    cursor: u64,
    /// So many at most, up to 1000. Default 100.
    limit: Option<u32>,
    /// Not before this instant (RFC 3339).
    since: Option<String>,
    /// Before this instant (RFC 3339).
    until: Option<String>,
    /// Of this principal.
    principal: Option<String>,
    /// Of this target; with `*` at the end, of all that begin so.
    target: Option<String>,
    /// With this action, e.g. `deploy`.
    action: Option<String>,
    /// `done`, `refused` or `denied`.
    outcome: Option<String>,
}

/// An instant as entries write theirs.
fn instant(name: &str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    let instant = |text: &str| {
        let ms = parse_rfc3339(text).ok_or_else(|| {
            let problem = format!("`{name}` `{text}` is not an instant, e.g. `2026-01-31T12:00:00Z`");
            ApiError::new(StatusCode::BAD_REQUEST, problem)
        })?;
        Ok(rfc3339(ms))
    };
    text.map(instant).transpose()
}

/// Entries of the audit log, the oldest first. The next page begins behind the last `seq`; the last page is empty.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", security(("token" = [])), params(Entries), responses((status = 200, body = Vec<Value>)))]
pub(super) async fn audit(
    State(api): State<Api>,
    Query(which): Query<Entries>,
) -> Result<Json<Vec<AuditRow>>, ApiError> {
    let query = AuditQuery {
        after: which.cursor,
        limit: which.limit.unwrap_or(ENTRIES).min(ENTRIES_MAX),
        since: instant("since", which.since.as_deref())?,
        until: instant("until", which.until.as_deref())?,
        principal: which.principal,
        target: which.target,
        action: which.action,
        outcome: which.outcome,
    };
    Ok(Json(api.deployer.store().model.audit(&query)?))
}

/// Whether the audit log is as it was written.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", security(("token" = [])), responses((status = 200, body = Value)))]
pub(super) async fn verify(State(api): State<Api>) -> Result<Json<AuditCheck>, ApiError> {
    Ok(Json(api.deployer.check_audit()?))
}
