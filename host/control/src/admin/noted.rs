//! Calls that change something beside the API model, and calls that were refused or denied, are noted in the audit log. What changes the model is noted with
//! the change itself.

use std::{
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
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Api, ApiError,
    model::{Source, actor},
};
use crate::model::Kind;

/// Entries about calls that came to nothing, at once and in a minute: nobody fills the disk with them.
const REFUSED: u32 = 60;
const REFILL: Duration = Duration::from_secs(60);

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
    first.is_some_and(|first| {
        first == "bundle"
            || first == "imports"
            || [Kind::Api, Kind::Domain]
                .iter()
                .any(|kind| kind.collection() == first)
    })
}

/// Notes calls. A call that changes something runs to its end and is noted even if its client goes away.
pub(super) async fn note(
    State(api): State<Api>,
    source: Option<Extension<Source>>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return noted(api, source, request, next).await;
    }
    let task = tokio::spawn(noted(api, source, request, next));
    task.await.unwrap_or_else(|_panicked| {
        ApiError::internal("a defect in the gateway, see its log").into_response()
    })
}

async fn noted(api: Api, source: Option<Extension<Source>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let (denied, failed) = (status == StatusCode::UNAUTHORIZED, status.as_u16() >= 400);
    let reads = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    // what was read, and what changed the model or only asked what would
    if !denied && (reads || (is_model(&path) && !failed)) {
        return response;
    }
    if failed && !api.refused.take() {
        return response;
    }
    let outcome = match (denied, failed) {
        (true, _) => "denied",
        (_, true) => "refused",
        _ => "done",
    };
    let mut who = actor(source);
    if denied {
        "nobody".clone_into(&mut who.principal);
    }
    let mut detail = json!({"status": status.as_u16()});
    if let Some(live) = live(&api, &path) {
        detail["live"] = live;
    }
    let target = path.strip_prefix("/v1/").unwrap_or(&path);
    let kept = api.deployer.note(
        &who,
        &method.as_str().to_lowercase(),
        target,
        outcome,
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

/// Which version of a plugin serves after a call.
fn live(api: &Api, path: &str) -> Option<Value> {
    let name = path.strip_prefix("/v1/plugins/")?.split('/').next()?;
    let applied = api.deployer.applied();
    let loaded = applied.plugins.get(name)?;
    let version = applied.live.get(name).map_or(0, |row| row.version);
    Some(json!({"version": version, "module": loaded.version.digest().to_string()}))
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
    fn the_model_notes_its_own_changes() {
        assert!(
            is_model("/v1/apis")
                && is_model("/v1/apis/x/routes")
                && is_model("/v1/domains/a")
                && is_model("/v1/bundle")
        );
        assert!(!is_model("/v1/plugins/apis") && !is_model("/v1/reload") && !is_model("/healthz"));
    }
}
