//! Calls that change something beside the API model, and calls that were refused or denied, are noted in the audit log. What changes the model is noted with
//! the change itself.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use lru::LruCache;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Api, ApiError,
    auth::{Peer, short},
    model::{Source, actor},
    once::Replayed,
};
use crate::{
    access::{Authority, NOBODY},
    deploy::{Deployer, apis::Actor, with_tests},
    file,
    model::Kind,
};

/// Entries about calls that came to nothing, at once and in a minute: nobody fills the disk with them.
const REFUSED: u32 = 60;
const REFILL: Duration = Duration::from_secs(60);

/// Denied calls that are noted in [`WINDOW`]: of a principal, of an address that nobody is known at, and of all such addresses. How many more there were is noted after it.
const DENIED_KNOWN: u32 = 1000;
const DENIED: u32 = 5;
const DENIED_ALL: u32 = 60;
const WINDOW: Duration = Duration::from_secs(600);
/// Callers that are remembered.
const CALLERS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Characters of a method and of a path that are noted.
const ACTION_MAX: usize = 20;
const TARGET_MAX: usize = 500;

/// What a call has changed, on its response.
#[derive(Clone, Debug)]
struct Difference(Value);

/// What a handler has to say for the audit log, on its response.
#[derive(Clone, Debug)]
pub(super) struct Noted(pub(super) Value);

/// How many more denied calls are noted.
#[derive(Clone)]
pub(super) struct Denials(Arc<Mutex<Denied>>);

struct Denied {
    all: Window,
    callers: LruCache<Caller, (Window, u32)>,
    /// Calls of callers that were forgotten.
    forgotten: u32,
}

/// Who is denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Principal(String),
    /// Nobody who is known, by what their failures are counted for.
    Place(String),
}

impl Caller {
    /// Most of their denied calls that are noted in [`WINDOW`].
    fn most(&self) -> u32 {
        match self {
            Self::Principal(_) => DENIED_KNOWN,
            Self::Place(_) => DENIED,
        }
    }
}

#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    noted: u32,
}

impl Window {
    fn at(now: Instant) -> Self {
        Self { since: now, noted: 0 }
    }

    fn has_ended(self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }

    fn has_room(self, most: u32, now: Instant) -> bool {
        self.has_ended(now) || self.noted < most
    }

    fn note(&mut self, now: Instant) {
        if self.has_ended(now) {
            *self = Self::at(now);
        }
        self.noted += 1;
    }
}

impl Denials {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Denied {
            all: Window::at(Instant::now()),
            callers: LruCache::new(CALLERS),
            forgotten: 0,
        })))
    }

    /// Whether one more of a caller is noted; then how many were not before it.
    fn take(&self, caller: &Caller, now: Instant) -> Option<u32> {
        let mut denied = self.0.lock();
        let denied = &mut *denied;
        let known = matches!(caller, Caller::Principal(_));
        let room = known || denied.all.has_room(DENIED_ALL, now);
        if denied.callers.len() == CALLERS.get()
            && !denied.callers.contains(caller)
            && let Some((_, (_, silent))) = denied.callers.pop_lru()
        {
            denied.forgotten = denied.forgotten.saturating_add(silent);
        }
        let new = || (Window::at(now), 0);
        let (window, silent) = denied.callers.get_or_insert_mut(caller.clone(), new);
        if !(window.has_room(caller.most(), now) && room) {
            *silent = silent.saturating_add(1);
            return None;
        }
        window.note(now);
        let silent = std::mem::take(silent);
        if !known {
            denied.all.note(now);
        }
        Some(silent)
    }

    /// How many calls were not noted, of each principal whose time is over and of all places whose time is over together, or of all where `now` is not said. They are not
    /// told again.
    fn silent(&self, now: Option<Instant>) -> Silent {
        let mut denied = self.0.lock();
        let mut told = Silent {
            calls: std::mem::take(&mut denied.forgotten),
            ..Silent::default()
        };
        for (caller, (window, silent)) in &mut denied.callers {
            if *silent == 0 || !now.is_none_or(|now| window.has_ended(now)) {
                continue;
            }
            let silent = std::mem::take(silent);
            match caller {
                Caller::Principal(name) => told.principals.push((name.clone(), silent)),
                Caller::Place(_) => {
                    told.calls = told.calls.saturating_add(silent);
                    told.places += 1;
                }
            }
        }
        told
    }

    /// Notes how many denied calls were not noted, after the time that they are counted for and at the end.
    pub(super) async fn tell(self, deployer: Deployer, stop: CancellationToken) {
        loop {
            let goes_on = tokio::select! {
                () = stop.cancelled() => false,
                () = tokio::time::sleep(WINDOW / 10) => true,
            };
            let silent = self.silent(goes_on.then(Instant::now));
            let note = |name: &str, detail: Value| {
                let who = Actor::named(name, Authority::none());
                if let Err(error) = deployer.note(&who, "more", "", "denied", None, Some(detail)) {
                    tracing::error!(%error, "the number of denied calls is not in the audit log");
                }
            };
            for (name, more) in silent.principals {
                note(&name, json!({"more": more}));
            }
            if silent.calls > 0 {
                note(NOBODY, json!({"more": silent.calls, "places": silent.places}));
            }
            if !goes_on {
                return;
            }
        }
    }
}

/// Denied calls that were not noted.
#[derive(Debug, Default)]
struct Silent {
    /// By principal.
    principals: Vec<(String, u32)>,
    /// Of nobody who is known.
    calls: u32,
    /// From so many places, and some that were forgotten.
    places: u32,
}

/// How many more calls that came to nothing are noted.
#[derive(Clone)]
pub(super) struct Budget(Arc<Mutex<(u32, Instant)>>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((REFUSED, Instant::now()))))
    }

    fn take(&self) -> bool {
        let mut left = self.0.lock();
        if left.1.elapsed() >= REFILL {
            *left = (REFUSED, Instant::now());
        }
        let taken = left.0.checked_sub(1);
        left.0 = taken.unwrap_or(0);
        taken.is_some()
    }
}

/// Whether what a path names is part of the API model, whose changes are noted by themselves.
fn is_model(path: &str) -> bool {
    let first = path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next());
    let is = |first: &str| {
        let mut tops = Kind::ALL.iter().filter(|kind| kind.parent().is_none());
        first == "bundle" || first == "imports" || tops.any(|kind| kind.collection() == first)
    };
    first.is_some_and(is) && certificate_of(path).is_none()
}

/// The certificate that a path names, by itself or below a domain.
fn certificate_of(path: &str) -> Option<&str> {
    match *path.strip_prefix("/v1/")?.split('/').collect::<Vec<_>>() {
        ["certificates", name, ..] | ["domains", _, "certificates", name] => Some(name),
        _ => None,
    }
}

/// Whether a call only asks something, though it brings a body.
fn is_question(path: &str) -> bool {
    path == "/v1/policy/explain"
}

/// Notes calls. A call that changes something runs to its end and is noted even if its client goes away.
pub(super) async fn note(State(api): State<Api>, request: Request, next: Next) -> Response {
    if is_read(request.method()) {
        return noted(api, request, next).await;
    }
    let task = tokio::spawn(noted(api, request, next));
    task.await.unwrap_or_else(|_panicked| {
        ApiError::internal("a defect in the gateway, see its log").into_response()
    })
}

pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn noted(api: Api, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>();
    let place = peer.map(|peer| peer.place.clone()).unwrap_or_default();
    let mut response = next.run(request).await;
    // it was noted the first time
    if response.extensions().get::<Replayed>().is_some() {
        return response;
    }
    let status = response.status();
    let denied = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    let failed = status.as_u16() >= 400;
    // what was read, and what changed the model or only asked what would
    if !denied && (is_read(&method) || is_question(&path) || (is_model(&path) && !failed)) {
        return response;
    }
    let mut detail = json!({"status": status.as_u16()});
    let who = actor(response.extensions().get::<Source>().cloned().map(Extension));
    if denied {
        let caller = match &*who.principal {
            NOBODY => Caller::Place(place),
            known => Caller::Principal(known.to_owned()),
        };
        match api.denials.take(&caller, Instant::now()) {
            None => return response,
            Some(0) => {}
            Some(silent) => detail["more-before"] = silent.into(),
        }
    } else if failed && !api.refused.take() {
        return response;
    }
    let outcome = match (denied, failed) {
        (true, _) => "denied",
        (_, true) => "refused",
        _ => "done",
    };
    if let (Some(Noted(Value::Object(more))), Some(detail)) =
        (response.extensions_mut().remove(), detail.as_object_mut())
    {
        detail.extend(more);
    }
    let patch: Option<Difference> = response.extensions_mut().remove();
    let (action, target) = named(&method, &path);
    let kept = api.deployer.note(
        &who,
        &action,
        &target,
        outcome,
        patch.as_ref().map(|Difference(patch)| patch),
        Some(detail),
    );
    match kept {
        Err(error) if !failed => {
            tracing::error!(%error, target, "a change is in effect and not in the audit log");
            ApiError::internal("the change is in effect, but could not be noted in the audit log")
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, target, "a refused call is not in the audit log");
            response
        }
        Ok(()) => response,
    }
}

/// Action and target of a call, cut short: whoever is denied may say what they like. A certificate has one target, wherever it is put.
fn named(method: &Method, path: &str) -> (String, String) {
    let target = match certificate_of(path) {
        Some(name) if path.starts_with("/v1/domains/") => format!("certificates/{name}"),
        _ => path.strip_prefix("/v1/").unwrap_or(path).to_owned(),
    };
    (
        short(&method.as_str().to_lowercase(), ACTION_MAX),
        short(&target, TARGET_MAX),
    )
}

/// Notes that a call beside the API model begins, and finds out what it changes. What it changes is not in the database alone, and so cannot be one
/// transaction with its entry: whatever becomes of the gateway meanwhile, the log has the beginning. Where that cannot be noted, nothing is changed.
pub(super) async fn compare(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if is_read(request.method()) || is_question(&path) || is_model(&path) {
        return next.run(request).await;
    }
    let who = actor(request.extensions().get::<Source>().cloned().map(Extension));
    let (action, target) = named(request.method(), &path);
    if let Err(error) = api.deployer.note(&who, &action, &target, "begun", None, None) {
        return ApiError::from(error).into_response();
    }
    let before = state(&api, &path);
    let mut response = next.run(request).await;
    if response.status().is_success()
        && let Some((before, after)) = before.zip(state(&api, &path))
        && before != after
        && let Ok(patch) = file::json(&json_patch::diff(&before, &after))
    {
        let patch = with_tests(&before, &patch);
        response.extensions_mut().insert(Difference(patch));
    }
    response
}

/// What a call beside the API model may change, as far as it can be told without secrets: which version of a plugin serves, which certificate is kept, what
/// the configuration file is.
fn state(api: &Api, path: &str) -> Option<Value> {
    let decoded = |name: &str| percent_decode_str(name).decode_utf8_lossy().into_owned();
    if let Some(name) = certificate_of(path).map(decoded) {
        let kept = api.deployer.certificate(&name, None).ok();
        let mut kept = kept
            .map_or_else(|| Ok(json!({})), |kept| file::json(&kept))
            .ok()?;
        // which listeners show it follows from their configuration
        kept.as_object_mut()?.remove("listeners");
        return Some(kept);
    }
    let mut parts = path.strip_prefix("/v1/")?.split('/');
    let (what, name) = (parts.next()?, parts.next());
    let applied = api.deployer.applied();
    match (what, name.map(decoded)) {
        ("plugins", Some(name)) => {
            let loaded = applied.plugins.get(&name)?;
            let version = applied.live.get(&name).map_or(0, |row| row.version);
            Some(json!({"version": version, "module": loaded.version.digest().to_string()}))
        }
        ("reload", None) => {
            let digest = edgeward_runtime::digest(file::json(&*applied.file).ok()?.to_string().as_bytes());
            Some(json!({"configuration": digest.to_string()}))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_came_to_nothing_are_noted_up_to_a_number() {
        let budget = Budget::new();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 60);
    }

    #[test]
    fn denied_calls_are_noted_up_to_a_number_by_caller_and_the_rest_is_counted() {
        let place = |name: &str| Caller::Place(name.to_owned());
        let (denials, now) = (Denials::new(), Instant::now());
        let noted = (0..100)
            .filter(|_| denials.take(&place("a"), now).is_some())
            .count();
        assert_eq!(noted, 5);
        assert_eq!(
            denials.take(&place("b"), now),
            Some(0),
            "others are noted all the same"
        );
        assert_eq!(denials.take(&place("a"), now + WINDOW), Some(95));
        // many places together do not fill the log either, and hide nobody who is known
        let (denials, now) = (Denials::new(), Instant::now());
        let many = (0..1000).filter(|number: &u32| denials.take(&place(&number.to_string()), now).is_some());
        assert_eq!(many.count(), 60);
        let alice = Caller::Principal("alice".to_owned());
        let noted = (0..1001).filter(|_| denials.take(&alice, now).is_some()).count();
        assert_eq!(noted, 1000);
        // nothing is lost of what was not noted
        let told = denials.silent(Some(now));
        assert_eq!((told.calls, told.principals.len()), (0, 0));
        let told = denials.silent(Some(now + WINDOW));
        assert_eq!((told.calls, told.places), (940, 940));
        assert_eq!(told.principals, [("alice".to_owned(), 1)]);
        for number in 0..=CALLERS.get() {
            denials.take(&place(&number.to_string()), now);
        }
        let told = denials.silent(None);
        assert_eq!(told.calls as usize, CALLERS.get() + 1, "{told:?}");
        // nor of callers whose next call comes before that is told
        let late = now + WINDOW;
        let (denials, busy) = (Denials::new(), place("busy"));
        for _ in 0..7 {
            denials.take(&busy, now);
        }
        for number in 0..60 {
            denials.take(&place(&number.to_string()), late);
        }
        assert_eq!(denials.take(&busy, late), None);
        assert_eq!(denials.silent(Some(late)).calls, 3);
    }

    #[test]
    fn the_model_notes_its_own_changes() {
        assert!(
            is_model("/v1/apis")
                && is_model("/v1/apis/x/routes")
                && is_model("/v1/domains/a")
                && is_model("/v1/principals/a/tokens")
                && is_model("/v1/imports")
                && is_model("/v1/bundle")
        );
        assert!(!is_model("/v1/domains/a/certificates/site"));
        assert!(!is_model("/v1/plugins/apis") && !is_model("/v1/reload") && !is_model("/healthz"));
    }
}
