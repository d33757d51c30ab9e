//! Resources of the API model: one set of handlers for every kind. Lists, reads, creates, replaces, patches, removes; entity tags, preconditions and dry runs
//! as the RFCs have them.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Api, ApiError, JSON_MAX, made};
use crate::{
    access::{Authority, NOBODY},
    clock::rfc3339,
    deploy::apis::{Actor, Edited},
    error::ControlError,
    file,
    model::{Document, Draft, Expect, Key, Kind, Model, Pinning},
};

/// Items of a page, where the request does not say; and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
/// What stands in a representation beside the document.
pub(super) const META: [&str; 4] = ["id", "etag", "created-at", "updated-at"];

/// Who calls, as it was found out before the handler runs.
#[derive(Clone, Debug)]
pub(super) struct Source(pub(super) Arc<Actor>);

/// Who calls; nobody, who may nothing, where that was not found out.
pub(super) fn actor(source: Option<Extension<Source>>) -> Actor {
    source.map_or_else(
        || Actor::named(NOBODY, Authority::none()),
        |Extension(Source(actor))| Actor::clone(&actor),
    )
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Options {
    /// Do everything but keep and publish it. Also `dryRun`.
    #[serde(alias = "dryRun")]
    pub(super) dry_run: bool,
}

/// Items of a page, as the request says.
pub(super) fn page_limit(wanted: Option<usize>) -> Result<usize, ApiError> {
    let limit = wanted.unwrap_or(PAGE);
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(limit);
    }
    let problem = format!("`limit` {limit} is not from 1 to {PAGE_MAX}");
    Err(ApiError::new(StatusCode::BAD_REQUEST, problem))
}

/// Which part of a collection.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// So many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Those behind the one of this name.
    pub(super) cursor: Option<String>,
}

impl Page {
    /// The page, of items that are in the order of their names.
    pub(super) fn of<'m>(
        &self,
        items: impl Iterator<Item = (&'m String, &'m Arc<Document>)>,
        shown: impl Fn(&str, &Document) -> Value,
    ) -> Result<Json<Value>, ApiError> {
        let limit = page_limit(self.limit)?;
        let after = self.cursor.as_deref();
        let mut rest = items
            .filter(|(name, _)| after.is_none_or(|after| name.as_str() > after))
            .peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while let Some((name, document)) = rest.next_if(|_| items.len() < limit) {
            items.push(shown(name, document));
            last = Some(name.clone());
        }
        let next = rest.peek().is_some().then_some(last).flatten();
        let page = serde_json::to_value(Items { items, next });
        Ok(Json(page.map_err(|error| ApiError::internal(error.to_string()))?))
    }
}

impl Page {
    /// The page, of items in the order of their names. All of them, where no limit is said.
    pub(super) fn named<T>(
        &self,
        mut items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Json<Vec<T>>, ApiError> {
        if let Some(after) = &self.cursor {
            items.retain(|item| name(item) > after.as_str());
        }
        self.cut(&mut items)?;
        Ok(Json(items))
    }

    /// Cuts what is behind the page. Nothing, where no limit is said.
    pub(super) fn cut<T>(&self, items: &mut Vec<T>) -> Result<(), ApiError> {
        if self.limit.is_some() {
            items.truncate(page_limit(self.limit)?);
        }
        Ok(())
    }
}

/// A page of a collection.
#[derive(Serialize)]
struct Items {
    items: Vec<Value>,
    /// `cursor` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Path of a collection, as the router and the OpenAPI document have it.
pub(super) fn collection_path(kind: Kind) -> String {
    match kind.parent() {
        None => format!("/v1/{}", kind.collection()),
        Some(parent) => format!("/v1/{}/{{parent}}/{}", parent.collection(), kind.collection()),
    }
}

/// Path of a resource.
pub(super) fn item_path(kind: Kind) -> String {
    format!("{}/{{name}}", collection_path(kind))
}

/// The endpoints of every kind. Deployments and tokens are made and never changed.
pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new();
    for kind in Kind::ALL {
        let list = move |api: State<Api>,
                         source: Option<Extension<Source>>,
                         path: Path<Vec<(String, String)>>,
                         query: Query<Page>| { list(kind, api, source, path, query) };
        let read = move |api: State<Api>,
                         source: Option<Extension<Source>>,
                         path: Path<Vec<(String, String)>>,
                         headers: HeaderMap| { read(kind, api, source, path, headers) };
        let delete = move |call: Call| remove(kind, call);
        let (collection, item) = match kind {
            Kind::Deployment => (get(list).post(super::apis::deploy), get(read)),
            Kind::Token => (
                get(super::principals::list).post(super::principals::create),
                get(super::principals::read),
            ),
            _ => (
                get(list).post(move |call: Call| create(kind, call)),
                get(read)
                    .put(move |call: Call| put(kind, call))
                    .patch(move |call: Call| patch(kind, call)),
            ),
        };
        let item = item.delete(delete);
        router = router
            .route(&collection_path(kind), collection)
            .route(&item_path(kind), item);
    }
    router
}

/// Everything of a request that changes something.
pub(super) struct Call {
    api: Api,
    path: Vec<(String, String)>,
    options: Options,
    headers: HeaderMap,
    actor: Actor,
    body: Bytes,
}

impl axum::extract::FromRequest<Api> for Call {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, api: &Api) -> Result<Self, Response> {
        use axum::RequestExt as _;
        let mut request = request;
        let path: Path<Vec<(String, String)>> = request
            .extract_parts()
            .await
            .map_err(IntoResponse::into_response)?;
        let options: Query<Options> = request
            .extract_parts()
            .await
            .map_err(IntoResponse::into_response)?;
        let source: Option<Extension<Source>> = request.extract_parts().await.ok();
        let headers = request.headers().clone();
        let body = request.extract().await.map_err(IntoResponse::into_response)?;
        Ok(Self {
            api: api.clone(),
            path: path.0,
            options: options.0,
            headers,
            actor: actor(source),
            body,
        })
    }
}

fn of<'p>(path: &'p [(String, String)], name: &str) -> &'p str {
    path.iter()
        .find(|(known, _)| known == name)
        .map_or("", |(_, value)| value.as_str())
}

fn key(kind: Kind, path: &[(String, String)]) -> Key {
    Key::of(kind, of(path, "parent"), of(path, "name"))
}

/// A resource as clients see it.
pub(super) fn shown(name: &str, document: &Document, whole: bool) -> Value {
    let mut body = document.body.clone();
    if let Some(object) = body.as_object_mut() {
        if !whole {
            object.remove("definition");
        }
        // of a token, whose key nobody needs to know
        object.remove("mac");
        crate::model::hide_settings(object);
        object.insert("id".to_owned(), name.into());
        object.insert("etag".to_owned(), document.revision.to_string().into());
        object.insert("created-at".to_owned(), rfc3339(document.created_at).into());
        object.insert("updated-at".to_owned(), rfc3339(document.updated_at).into());
    }
    body
}

fn found<'m>(model: &'m Model, key: &Key) -> Result<&'m Arc<Document>, ControlError> {
    model.get(key).ok_or_else(|| crate::model::missing(key))
}

fn etag(document: &Document) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", document.revision)).unwrap_or(HeaderValue::from_static("\"\""))
}

async fn list(
    kind: Kind,
    State(api): State<Api>,
    source: Option<Extension<Source>>,
    Path(path): Path<Vec<(String, String)>>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let parent = of(&path, "parent");
    let model = api.deployer.model();
    if let Some(of) = kind.parent() {
        found(&model, &Key::top(of, parent))?;
    }
    let authority = actor(source).authority;
    let seen = model
        .list(kind, parent)
        .filter(|(name, document)| authority.sees(&Key::of(kind, parent, name), &document.body));
    page.of(seen, |name, document| shown(name, document, false))
}

async fn read(
    kind: Kind,
    State(api): State<Api>,
    source: Option<Extension<Source>>,
    Path(path): Path<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = key(kind, &path);
    let model = api.deployer.model();
    let document = found(&model, &key)?;
    if !actor(source).authority.sees(&key, &document.body) {
        return Err(crate::model::missing(&key).into());
    }
    let tag = etag(document);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| {
        known == "*"
            || known
                .split(',')
                .map(str::trim)
                // a weak comparison (RFC 9110 section 13.1.2)
                .any(|known| known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
    }) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(shown(&key.name, document, true))).into_response())
}

/// What the preconditions of a request say (RFC 9110 section 13.1).
pub(super) fn expectation(headers: &HeaderMap) -> Result<Expect, ApiError> {
    let text = |name| {
        let lines = headers.get_all(&name).iter();
        let lines: Vec<_> = lines
            .map(|line| line.to_str().unwrap_or_default().trim())
            .collect();
        (!lines.is_empty()).then(|| lines.join(","))
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expect::Any),
        (None, Some(star)) if star == "*" => Ok(Expect::Absent),
        (Some(star), None) if star == "*" => Ok(Expect::Present),
        (Some(tags), None) => {
            // those that are no resource's tag fit none
            let number = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
            Ok(Expect::Revision(tags.split(',').filter_map(number).collect()))
        }
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "`If-None-Match` is `*` where something is changed, and not beside `If-Match`",
        )),
    }
}

/// Refuses `If-Match` where there is nothing that it could be about: whoever says it relies on it.
pub(super) async fn without_conditions(request: axum::extract::Request, next: Next) -> Response {
    if request.headers().contains_key(header::IF_MATCH) {
        let problem = "`If-Match` has no meaning here: what this changes has no entity tag";
        return ApiError::new(StatusCode::BAD_REQUEST, problem).into_response();
    }
    next.run(request).await
}

/// Entity tag of what is not one resource: a digest of what it says.
pub(super) fn tag_of(said: &impl Serialize) -> Result<HeaderValue, ControlError> {
    let text = file::json(said)?.to_string();
    let digest = edgeward_runtime::digest(text.as_bytes()).hex();
    let tag = HeaderValue::try_from(format!("\"{digest}\""));
    tag.map_err(|error| ControlError::invalid("", error.to_string()))
}

/// Refuses a change of what has another entity tag than `If-Match` says (RFC 9110 section 13.1.1).
pub(super) fn matches(wanted: Option<&HeaderValue>, tag: &HeaderValue) -> Result<(), ControlError> {
    let Some(wanted) = wanted.map(|wanted| wanted.to_str().unwrap_or_default()) else {
        return Ok(());
    };
    let tag = tag.to_str().unwrap_or_default();
    if wanted
        .split(',')
        .map(str::trim)
        .any(|wanted| wanted == "*" || wanted == tag)
    {
        return Ok(());
    }
    let problem = format!("it has the entity tag {tag} now, not {wanted}");
    Err(ControlError::Precondition(problem))
}

/// The body as a document, and the name in it.
fn document(body: &Bytes) -> Result<(Map<String, Value>, Option<String>), ApiError> {
    let value = edgeward_core::openapi::read_json(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("body: not JSON: {error}")))?;
    let Value::Object(mut object) = value else {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body: not a JSON object"));
    };
    let name = object.get("id").and_then(Value::as_str).map(str::to_owned);
    for meta in META {
        object.remove(meta);
    }
    Ok((object, name))
}

/// Answers a change: the resource, or what would change.
fn answer(call: &Call, status: StatusCode, key: &Key, edited: &Edited) -> Result<Response, ApiError> {
    if call.options.dry_run {
        return Ok(Json(json!({"dry-run": true, "changes": edited.changes})).into_response());
    }
    let model = call.api.deployer.model();
    let document = found(&model, key)?;
    // a change that changes nothing is nobody's to refuse
    if !call.actor.authority.sees(key, &document.body) {
        return Err(crate::model::missing(key).into());
    }
    let mut response = (
        status,
        [(header::ETAG, etag(document))],
        Json(shown(&key.name, document, true)),
    )
        .into_response();
    if status == StatusCode::CREATED
        && let Ok(place) = HeaderValue::try_from(location(key))
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Where a resource is, in a URL.
fn location(key: &Key) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    match key.kind.parent() {
        None => format!("/v1/{}/{}", key.kind.collection(), encoded(&key.name)),
        Some(parent) => format!(
            "/v1/{}/{}/{}/{}",
            parent.collection(),
            encoded(&key.parent),
            key.kind.collection(),
            encoded(&key.name)
        ),
    }
}

async fn create(kind: Kind, call: Call) -> Result<Response, ApiError> {
    let (body, name) = document(&call.body)?;
    let name = name.ok_or_else(|| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("body: `id` is missing: the name of the {}", kind.noun()),
        )
    })?;
    let key = Key::of(kind, of(&call.path, "parent"), &name);
    let wanted = key.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        if draft.model.get(&wanted).is_some() {
            return Err(ControlError::Conflict(format!(
                "{} `{}` is there already",
                wanted.kind.noun(),
                wanted.name
            )));
        }
        draft.put(&wanted, Value::Object(body), Expect::Absent)
    };
    let (_new, edited) = call
        .api
        .deployer
        .edit(call.actor.clone(), "edit", call.options.dry_run, make)
        .await?;
    answer(&call, StatusCode::CREATED, &key, &edited)
}

async fn put(kind: Kind, call: Call) -> Result<Response, ApiError> {
    let key = key(kind, &call.path);
    let expect = expectation(&call.headers)?;
    let (body, _name) = document(&call.body)?;
    let wanted = key.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| draft.put(&wanted, Value::Object(body), expect);
    let (new, edited) = call
        .api
        .deployer
        .edit(call.actor.clone(), "edit", call.options.dry_run, make)
        .await?;
    answer(&call, made(new), &key, &edited)
}

async fn patch(kind: Kind, call: Call) -> Result<Response, ApiError> {
    let key = key(kind, &call.path);
    let expect = match expectation(&call.headers)? {
        Expect::Any => Expect::Present,
        expect => expect,
    };
    let media = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let change: Value = serde_json::from_slice(&call.body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("body: not JSON: {error}")))?;
    let steps: Option<json_patch::Patch> = match media.as_str() {
        "application/json-patch+json" => Some(serde_json::from_value(change.clone()).map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, format!("body: no JSON Patch: {error}"))
        })?),
        "application/merge-patch+json" | "application/json" | "" => None,
        other => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "`{other}` is no patch: send `application/merge-patch+json` or `application/json-patch+json`"
                ),
            ));
        }
    };
    let wanted = key.clone();
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| {
        let old = draft
            .model
            .get(&wanted)
            .ok_or_else(|| crate::model::missing(&wanted))?;
        let mut body = old.body.clone();
        match &steps {
            Some(steps) => apply(&mut body, steps)?,
            None => json_patch::merge(&mut body, &change),
        }
        if let Some(object) = body.as_object_mut() {
            for meta in META {
                object.remove(meta);
            }
        }
        draft.put(&wanted, body, expect)
    };
    let (_new, edited) = call
        .api
        .deployer
        .edit(call.actor.clone(), "edit", call.options.dry_run, make)
        .await?;
    answer(&call, StatusCode::OK, &key, &edited)
}

/// Applies a JSON Patch step by step: one that copies could double a document with each.
fn apply(body: &mut Value, steps: &json_patch::Patch) -> Result<(), ControlError> {
    for step in &steps.0 {
        json_patch::patch(body, std::slice::from_ref(step))
            .map_err(|error| ControlError::Conflict(format!("the patch does not apply: {error}")))?;
        if matches!(step, json_patch::PatchOperation::Copy(_)) && body.to_string().len() > JSON_MAX {
            return Err(ControlError::invalid(
                "",
                format!("the patch makes a document of more than {JSON_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

async fn remove(kind: Kind, call: Call) -> Result<Response, ApiError> {
    let key = key(kind, &call.path);
    let expect = expectation(&call.headers)?;
    let make = move |draft: &mut Draft, _pin: Pinning<'_>| draft.remove(&key, expect);
    let ((), edited) = call
        .api
        .deployer
        .edit(call.actor.clone(), "edit", call.options.dry_run, make)
        .await?;
    if call.options.dry_run {
        return Ok(Json(json!({"dry-run": true, "changes": edited.changes})).into_response());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
