//! Tokens of principals: made, replaced, told about. Principals themselves are resources like others (`model`).

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use edgeward_core::config::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api, ApiError,
    apis::body,
    model::{Options, Page, Source, actor, shown},
};
use crate::{
    access::{Role, Token, token},
    clock::{now_ms, parse_rfc3339, rfc3339},
    error::ControlError,
    file,
    model::{Document, Draft, Expect, Key, Kind, Pinning, missing},
};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// Days that a token is good for, where the request does not say; and at most.
const GOOD: i64 = 90;
const GOOD_MAX: i64 = 366;
/// Days that a token that was replaced is good for besides, where the request does not say; and at most.
const OVERLAP: i64 = 1;
const OVERLAP_MAX: i64 = 30;
/// Days after its end that a token is told of.
const KEPT: i64 = 30;

/// A token to make.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct NewToken {
    /// What it is for.
    description: Option<String>,
    /// How long it is good for: `12h`, `90d`. Default `90d`, `366d` at most.
    #[schema(value_type = Option<String>)]
    expires_in: Option<Time>,
}

/// A token to take the place of another.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Rotation {
    /// How long the old one is good for besides, unless it ends before: `0s`, `24h`. Default `1d`, `30d` at most.
    #[schema(value_type = Option<String>)]
    overlap: Option<Time>,
    /// How long the new one is good for. Default `90d`, `366d` at most.
    #[schema(value_type = Option<String>)]
    expires_in: Option<Time>,
}

/// A token that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NewlyMade {
    /// Its name.
    id: String,
    /// The principal that it is of.
    principal: String,
    /// The token. It is told this once and not kept.
    token: String,
    /// Beginning of its SHA-256.
    fingerprint: String,
    /// Until when it is good.
    expires_at: String,
    /// The token whose place it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// Until when that one is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_expires_at: Option<String>,
}

/// Who the caller is.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Whoami {
    /// Name of the principal.
    principal: String,
    /// Its role.
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// The APIs that it is for.
    apis: Vec<String>,
    /// How it was known.
    authentication: Option<String>,
    /// The address that it calls from.
    source: Option<String>,
}

/// Who you are, and what you may do.
#[utoipa::path(get, path = "/v1/whoami", tag = "access", security(("token" = [])), responses((status = 200, body = Whoami)))]
pub(super) async fn whoami(source: Option<Extension<Source>>) -> Json<Whoami> {
    let actor = actor(source);
    Json(Whoami {
        role: actor.authority.role(),
        apis: actor.authority.apis().to_vec(),
        principal: actor.principal,
        authentication: actor.authentication,
        source: actor.source,
    })
}

/// A span in milliseconds: what was asked for, or so many days.
fn span(name: &str, asked: Option<Time>, default: i64, most: i64) -> Result<i64, ApiError> {
    let Some(asked) = asked else {
        return Ok(default * DAY);
    };
    let ms = i64::try_from(asked.0.as_millis()).unwrap_or(i64::MAX);
    if ms > most * DAY {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("`{name}` {asked} is more than {most}d"),
        ));
    }
    Ok(ms)
}

/// A token that waits to be kept.
struct Making {
    key: Key,
    text: String,
    token: Token,
}

fn making(
    api: &Api,
    principal: &str,
    created_by: &str,
    description: Option<String>,
    good_for: i64,
) -> Result<Making, ApiError> {
    let fresh = token::make().ok_or_else(|| ApiError::internal("the system has no random numbers"))?;
    let token = Token {
        description,
        expires_at: rfc3339(now_ms().saturating_add(good_for)),
        created_by: created_by.to_owned(),
        fingerprint: token::fingerprint(&fresh.text),
        mac: api.access.mac(&fresh.text),
    };
    Ok(Making {
        key: Key::of(Kind::Token, principal, &fresh.id),
        text: fresh.text,
        token,
    })
}

/// Puts a token in its place, and removes those of the principal that ended long ago.
fn keep(draft: &mut Draft, making: &Key, token: &Token) -> Result<(), ControlError> {
    let long_ago = now_ms() - KEPT * DAY;
    let ended: Vec<String> = draft
        .model
        .list(Kind::Token, &making.parent)
        .filter(|(_, document)| stored(document).is_some_and(|token| token.has_expired(long_ago)))
        .map(|(id, _)| id.clone())
        .collect();
    for id in ended {
        draft.remove(&Key::of(Kind::Token, &making.parent, &id), Expect::Any)?;
    }
    draft.put(making, file::json(token)?, Expect::Absent)?;
    Ok(())
}

fn stored(document: &Document) -> Option<Token> {
    serde_json::from_value(document.body.clone()).ok()
}

/// The answer with the token in it, which nobody on the way may keep. `replaced`: the token whose place it takes, and until when that is good.
fn made(options: Options, making: Making, replaced: Option<(String, String)>) -> Response {
    if options.dry_run {
        return Json(json!({"dry-run": true})).into_response();
    }
    let (replaces, replaced_expires_at) = replaced.unzip();
    let made = NewlyMade {
        id: making.key.name,
        principal: making.key.parent,
        token: making.text,
        fingerprint: making.token.fingerprint,
        expires_at: making.token.expires_at,
        replaces,
        replaced_expires_at,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, no_store, Json(made)).into_response()
}

/// Makes a token of a principal. Its text is in the answer and nowhere else. The body may be empty.
#[utoipa::path(
    post, path = "/v1/principals/{parent}/tokens", tag = "access", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the principal")), request_body = Option<NewToken>,
    responses((status = 201, body = NewlyMade), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "it has too many"), (status = 422, body = ApiError)),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Path(principal): Path<String>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let wanted: NewToken = body(&bytes)?;
    let actor = actor(source);
    let good_for = span("expires-in", wanted.expires_in, GOOD, GOOD_MAX)?;
    let making = making(&api, &principal, &actor.principal, wanted.description, good_for)?;
    let (wanted, kept) = (making.key.clone(), making.token.clone());
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| keep(draft, &wanted, &kept);
    api.deployer.edit(actor, "edit", options.dry_run, make).await?;
    Ok(made(options, making, None))
}

/// Makes a token in place of another, which is good for a while besides. The body may be empty.
#[utoipa::path(
    post, path = "/v1/principals/{parent}/tokens/{name}/rotate", tag = "access", security(("token" = [])),
    params(("parent" = String, Path, description = "id of the principal"), ("name" = String, Path, description = "id of the token")),
    request_body = Option<Rotation>,
    responses((status = 201, body = NewlyMade), (status = 404, body = ApiError), (status = 422, body = ApiError)),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    Path((principal, id)): Path<(String, String)>,
    Query(options): Query<Options>,
    source: Option<Extension<Source>>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let wanted: Rotation = body(&bytes)?;
    let actor = actor(source);
    let good_for = span("expires-in", wanted.expires_in, GOOD, GOOD_MAX)?;
    let overlap = span("overlap", wanted.overlap, OVERLAP, OVERLAP_MAX)?;
    let making = making(&api, &principal, &actor.principal, None, good_for)?;
    let old = Key::of(Kind::Token, &principal, &id);
    let (wanted, mut kept) = (making.key.clone(), making.token.clone());
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        let mut replaced: Token = draft.model.read(&old)?;
        kept.description.clone_from(&replaced.description);
        let end = now_ms().saturating_add(overlap);
        if parse_rfc3339(&replaced.expires_at).is_none_or(|old_end| end < old_end) {
            replaced.expires_at = rfc3339(end);
            draft.put(&old, file::json(&replaced)?, Expect::Present)?;
        }
        keep(draft, &wanted, &kept)?;
        Ok(replaced.expires_at)
    };
    let (replaced_expires_at, _edited) = api.deployer.edit(actor, "rotate", options.dry_run, make).await?;
    Ok(made(options, making, Some((id, replaced_expires_at))))
}

/// A token as it is told about.
fn told(id: &str, document: &Document, last_used: Option<i64>) -> Value {
    let mut told = shown(id, document, true);
    if let Some(object) = told.as_object_mut() {
        object.insert("last-used-at".to_owned(), last_used.map(rfc3339).into());
        let expired = stored(document).is_none_or(|token| token.has_expired(now_ms()));
        object.insert("expired".to_owned(), expired.into());
    }
    told
}

/// Every token of a principal: never its text. When it was last used is right to the hour.
pub(super) async fn list(
    State(api): State<Api>,
    Path(principal): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let model = api.deployer.model();
    let of = Key::top(Kind::Principal, &principal);
    model.get(&of).ok_or_else(|| missing(&of))?;
    let uses = api.deployer.store().model.token_uses()?;
    let tokens = model.list(Kind::Token, &principal);
    page.of(tokens, |id, document| told(id, document, uses.get(id).copied()))
}

/// One token.
pub(super) async fn read(
    State(api): State<Api>,
    Path((principal, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let model = api.deployer.model();
    let key = Key::of(Kind::Token, &principal, &id);
    let document = model.get(&key).ok_or_else(|| missing(&key))?;
    let uses = api.deployer.store().model.token_uses()?;
    Ok(Json(told(&id, document, uses.get(&id).copied())))
}
