//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a call that comes again with the key of one that was done gets the same answer, and nothing
//! is done twice.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use edgeward_core::ids::Digest;
use lru::LruCache;
use parking_lot::Mutex;

use super::{Api, ApiError, body_max, model::Source, noted};

/// Answers that are kept; the oldest go first.
const ANSWERS: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// How long. They are in memory only: one may have a token in it.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Largest answer that is kept, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// Longest key, in bytes.
const KEY_MAX: usize = 255;

/// Calls with a key, by principal and key.
#[derive(Clone)]
pub(super) struct Repeats(Arc<Mutex<Calls>>);

struct Calls {
    /// As many as there are connections, at most.
    running: HashMap<String, Digest>,
    answered: LruCache<String, Answer>,
}

/// An answer that is given again.
#[derive(Clone)]
struct Answer {
    /// Of the request.
    digest: Digest,
    at: Instant,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// On an answer that was given before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed;

/// What becomes of a call.
enum Found {
    /// Nothing is known of its key: it runs until this is dropped.
    New(Running),
    Answered(Box<Answer>),
    /// The same key is in use for another request, or for one that is under way.
    Refused(ApiError),
}

/// A call that is under way.
struct Running {
    calls: Arc<Mutex<Calls>>,
    place: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.calls.lock().running.remove(&self.place);
    }
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Calls {
            running: HashMap::new(),
            answered: LruCache::new(ANSWERS),
        })))
    }

    fn begin(&self, place: String, key: &str, digest: Digest, now: Instant) -> Found {
        let other = || {
            let problem = format!("`Idempotency-Key` `{key}` came with another request before");
            Found::Refused(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, problem))
        };
        let mut calls = self.0.lock();
        let answered = calls.answered.get(&place);
        if let Some(answer) = answered.filter(|answer| now.saturating_duration_since(answer.at) < KEPT) {
            return if answer.digest == digest {
                Found::Answered(Box::new(answer.clone()))
            } else {
                other()
            };
        }
        match calls.running.get(&place) {
            Some(running) if *running == digest => Found::Refused(ApiError::new(
                StatusCode::CONFLICT,
                format!("a request with `Idempotency-Key` `{key}` is under way"),
            )),
            Some(_) => other(),
            None => {
                calls.running.insert(place.clone(), digest);
                Found::New(Running {
                    calls: Arc::clone(&self.0),
                    place,
                })
            }
        }
    }
}

impl Running {
    fn answer(&self, answer: Answer) {
        self.calls.lock().answered.put(self.place.clone(), answer);
    }
}

/// The key of a call that is done once: reads and uploads do nothing when they come again, and whatever key they have is not looked at.
pub(super) fn key_of(request: &Request) -> Option<&HeaderValue> {
    let key = request.headers().get("idempotency-key")?;
    (!noted::is_read(request.method()) && !is_upload(request.uri().path())).then_some(key)
}

/// Gives the answer again that the same call got before, or keeps this one if it is a success: what was refused has changed nothing, and may be tried again.
pub(super) async fn once(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(key) = key_of(&request).cloned() else {
        return next.run(request).await;
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_MAX {
        let problem = format!("`Idempotency-Key` is not of 1 to {KEY_MAX} characters");
        return ApiError::new(StatusCode::BAD_REQUEST, problem).into_response();
    }
    let (parts, body) = request.into_parts();
    let most = body_max(parts.uri.path());
    let body = match to_bytes(body, most).await {
        Ok(body) => body,
        Err(error) => {
            let problem = format!("body: cannot be read, or exceeds {most} bytes: {error}");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, problem).into_response();
        }
    };
    let principal = parts
        .extensions
        .get::<Source>()
        .map_or("", |Source(actor)| &actor.principal);
    let place = format!("{principal}\0{key}");
    let mut whole = format!("{} {}\0", parts.method, parts.uri).into_bytes();
    whole.extend_from_slice(&body);
    let digest = edgeward_runtime::digest(&whole);
    let running = match api.repeats.begin(place, key, digest, Instant::now()) {
        Found::New(running) => running,
        Found::Refused(refusal) => return refusal.into_response(),
        Found::Answered(answer) => {
            let mut response = (answer.status, answer.headers, answer.body).into_response();
            response
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
            response.extensions_mut().insert(Replayed);
            return response;
        }
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return ApiError::internal(error.to_string()).into_response(),
    };
    if body.len() <= ANSWER_MAX {
        running.answer(Answer {
            digest,
            at: Instant::now(),
            status: parts.status,
            headers: parts.headers.clone(),
            body: body.clone(),
        });
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether the body is a module.
fn is_upload(path: &str) -> bool {
    path == "/v1/modules" || (path.starts_with("/v1/plugins/") && path.ends_with("/module"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        edgeward_runtime::digest(text.as_bytes())
    }

    #[test]
    fn a_key_is_for_one_request_at_a_time_and_for_one_answer_for_an_hour() {
        let (repeats, now) = (Repeats::new(), Instant::now());
        let begin = |of: &str, at| repeats.begin("me\0k".to_owned(), "k", digest(of), at);
        let Found::New(running) = begin("a", now) else {
            panic!("nothing is known of it");
        };
        let refused = |found| match found {
            Found::Refused(refusal) => serde_json::to_value(&refusal).unwrap()["status"]
                .as_u64()
                .unwrap(),
            _ => 0,
        };
        assert_eq!((refused(begin("a", now)), refused(begin("b", now))), (409, 422));
        running.answer(Answer {
            digest: digest("a"),
            at: now,
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        });
        drop(running);
        assert!(matches!(begin("a", now), Found::Answered(_)));
        assert_eq!(refused(begin("b", now)), 422);
        assert!(matches!(begin("b", now + KEPT), Found::New(_)));
        assert!(
            matches!(begin("c", now + KEPT), Found::New(_)),
            "the one before ended"
        );
    }
}
