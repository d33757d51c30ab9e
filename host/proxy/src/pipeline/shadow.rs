//! Versions of plugins that run beside the live ones, to be compared with them: on copies of what these get, and without any effect on requests.
//!
//! What a live version is called with goes to its shadow through a short queue, with what came of the call; the shadow does the same calls in the same order
//! in a task of its own. Requests never wait for it: where it cannot follow, it is left behind and that is counted.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use edgeward_core::phase::Phase;
use edgeward_runtime::{
    Answer, BodyAction, BodyState, Decision, Exchange, ExchangeSlot, HeadAction, PluginFailure,
    PluginVersion, Session, Verdict,
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Link, Way};

/// Exchanges that one shadow is in at a time.
const RUNNING_MAX: usize = 64;
/// Calls of one exchange that wait for the shadow.
const WAITING_MAX: usize = 8;
/// Differences that are kept to be looked at.
const KEPT: usize = 20;

/// A plugin of a route.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) version: Arc<PluginVersion>,
    /// The version that runs beside it.
    pub(crate) shadow: Option<Arc<Shadow>>,
}

/// A version that runs beside the live one.
#[derive(Debug)]
pub struct Shadow {
    version: Arc<PluginVersion>,
    percent: f64,
    equal: AtomicU64,
    different: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    running: AtomicUsize,
    latest: Mutex<VecDeque<Difference>>,
}

/// What a shadow has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowCounts {
    /// Calls in which it did what the live version did.
    pub equal: u64,
    /// Calls in which it decided otherwise or changed something else.
    pub different: u64,
    /// Calls in which it failed.
    pub failed: u64,
    /// Exchanges that it was to see and did not see to the end, because too many were under way.
    pub skipped: u64,
    /// The latest differences, the newest first.
    pub latest: Vec<Difference>,
}

/// A call in which a shadow differed. Values are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ShadowDifference")]
pub struct Difference {
    /// The request.
    pub request_id: String,
    /// Its route.
    pub route: String,
    /// The hook.
    pub phase: &'static str,
    /// What the live version decided.
    pub live: String,
    /// What the shadow decided.
    pub shadow: String,
    /// What is not the same afterwards: `request.header.x`, `context.team`, ...
    pub fields: Vec<String>,
}

impl Shadow {
    /// Of a version that sees `percent` of the exchanges that the live one sees.
    #[must_use]
    pub fn new(version: Arc<PluginVersion>, percent: f64) -> Self {
        Self {
            version,
            percent,
            equal: AtomicU64::new(0),
            different: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            latest: Mutex::default(),
        }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &Arc<PluginVersion> {
        &self.version
    }

    /// Per cent of exchanges that it sees.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.percent
    }

    /// What it has come to.
    #[must_use]
    pub fn counts(&self) -> ShadowCounts {
        ShadowCounts {
            equal: self.equal.load(Relaxed),
            different: self.different.load(Relaxed),
            failed: self.failed.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            latest: self.latest.lock().iter().cloned().collect(),
        }
    }

    /// Begins to follow an exchange, if it is drawn.
    pub(super) fn follow(self: &Arc<Self>) -> Option<Twin> {
        if fastrand::f64() * 100.0 >= self.percent {
            return None;
        }
        let place = Place(Arc::clone(self));
        if self.running.fetch_add(1, Relaxed) >= RUNNING_MAX {
            self.skipped.fetch_add(1, Relaxed);
            return None;
        }
        let (calls, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(place, queue));
        Some(Twin {
            calls,
            shadow: Arc::clone(self),
        })
    }

    fn compare(&self, call: &Call, said: &Said, after: Option<&Exchange>) {
        let fields = after.map_or_else(Vec::new, |after| differences(&call.after, after));
        let counter = match said {
            Said::Failed(_) => &self.failed,
            Said::Decided(_) if *said == call.live && fields.is_empty() => {
                self.equal.fetch_add(1, Relaxed);
                return;
            }
            Said::Decided(_) => &self.different,
        };
        counter.fetch_add(1, Relaxed);
        let difference = Difference {
            request_id: call.after.request_id.clone(),
            route: call.after.route.name.clone(),
            phase: call.hook.phase().name(),
            live: call.live.text().to_owned(),
            shadow: said.text().to_owned(),
            fields,
        };
        tracing::debug!(
            target: "plugin",
            plugin = self.version.name(),
            version = self.version.version(),
            request_id = difference.request_id,
            phase = difference.phase,
            live = difference.live,
            shadow = difference.shadow,
            fields = difference.fields.join(","),
            "a shadow differs"
        );
        let mut latest = self.latest.lock();
        latest.push_front(difference);
        latest.truncate(KEPT);
    }
}

impl Link {
    /// What the version beside it is to be called with.
    pub(super) fn before(&self, exchange: &ExchangeSlot) -> ExchangeSlot {
        self.twin.as_ref()?;
        Some(Box::new(exchange.as_deref()?.copy()))
    }

    /// Lets the version beside it do the same call.
    pub(super) fn after(
        &mut self,
        before: ExchangeSlot,
        exchange: &ExchangeSlot,
        call: impl FnOnce() -> (Hook, Said),
    ) {
        let (Some(twin), Some(_), Some(exchange)) = (&self.twin, &before, exchange.as_deref()) else {
            return;
        };
        let (hook, live) = call();
        let call = Call {
            hook,
            before,
            after: exchange.copy(),
            live,
        };
        if !twin.send(call) {
            self.twin = None;
        }
    }
}

/// One of the exchanges that a shadow is in.
struct Place(Arc<Shadow>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// The shadow of one plugin in one exchange, as the request path sees it.
pub(super) struct Twin {
    calls: mpsc::Sender<Call>,
    shadow: Arc<Shadow>,
}

impl Twin {
    /// Sends a call after it; false when it cannot follow any more.
    pub(super) fn send(&self, call: Call) -> bool {
        let sent = self.calls.try_send(call).is_ok();
        if !sent {
            self.shadow.skipped.fetch_add(1, Relaxed);
        }
        sent
    }
}

/// What a live version was called with, and what came of it.
pub(super) struct Call {
    pub(super) hook: Hook,
    /// There until the shadow is called with it.
    pub(super) before: ExchangeSlot,
    pub(super) after: Exchange,
    pub(super) live: Said,
}

/// A function of a plugin, with what only this call has.
pub(super) enum Hook {
    Inspect(Bytes, BodyState),
    Authorize,
    Head(Way),
    Body(Way, Bytes, BodyState),
    GatewayError(&'static str, StatusCode, String),
}

/// What a version decided, in words that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Decided(String),
    Failed(String),
}

async fn run(place: Place, mut queue: mpsc::Receiver<Call>) {
    let shadow = Arc::clone(&place.0);
    let mut session = Session::new(&shadow.version);
    while let Some(mut call) = queue.recv().await {
        let mut slot: ExchangeSlot = call.before.take();
        let said = if session.interest().phases.has(call.hook.phase()) {
            call.hook.run(&mut session, &mut slot).await
        } else {
            call.hook.nothing()
        };
        shadow.compare(&call, &said, slot.as_deref());
    }
    drop(place);
}

impl Hook {
    const fn phase(&self) -> Phase {
        match self {
            Self::Inspect(..) => Phase::Inspect,
            Self::Authorize => Phase::Authorize,
            Self::Head(Way::Request) => Phase::RequestHead,
            Self::Head(Way::Response) => Phase::ResponseHead,
            Self::Body(way, ..) => way.phase(),
            Self::GatewayError(..) => Phase::GatewayError,
        }
    }

    /// What a version does that has no such function.
    fn nothing(&self) -> Said {
        Said::Decided(
            match self {
                Self::Inspect(..) | Self::Authorize => "allow",
                Self::Head(_) | Self::Body(..) | Self::GatewayError(..) => "proceed",
            }
            .to_owned(),
        )
    }

    async fn run(&self, session: &mut Session, slot: &mut ExchangeSlot) -> Said {
        match self {
            Self::Inspect(body, state) => Said::verdict(&session.inspect(slot, body, *state).await),
            Self::Authorize => Said::decision(&session.authorize(slot).await),
            Self::Head(Way::Request) => Said::head(&session.request_head(slot).await),
            Self::Head(Way::Response) => Said::head(&session.response_head(slot).await),
            Self::Body(Way::Request, chunk, state) => {
                Said::body(&session.request_body(slot, chunk, *state).await)
            }
            Self::Body(Way::Response, chunk, state) => {
                Said::body(&session.response_body(slot, chunk, *state).await)
            }
            Self::GatewayError(code, status, detail) => {
                Said::error(&session.gateway_error(slot, code, *status, detail).await)
            }
        }
    }
}

impl Said {
    fn text(&self) -> &str {
        match self {
            Self::Decided(text) | Self::Failed(text) => text,
        }
    }

    fn of<T>(result: &Result<T, PluginFailure>, text: impl FnOnce(&T) -> String) -> Self {
        match result {
            Ok(value) => Self::Decided(text(value)),
            Err(failure) => Self::Failed(format!("failed: {}", failure.kind.name())),
        }
    }

    pub(super) fn verdict(result: &Result<Verdict, PluginFailure>) -> Self {
        Self::of(result, |verdict| {
            let mut text = match &verdict.block {
                None => "allow".to_owned(),
                Some((status, None)) => format!("block {}", status.as_u16()),
                Some((_, Some(answer))) => format!("block, {}", answered(answer)),
            };
            for (rule, _, _) in &verdict.matched {
                text += " rule ";
                text += rule;
            }
            for label in &verdict.labels {
                text += " label ";
                text += label;
            }
            text
        })
    }

    pub(super) fn decision(result: &Result<Decision, PluginFailure>) -> Self {
        Self::of(result, |decision| match decision {
            Decision::Allow { .. } => "allow".to_owned(),
            Decision::Deny { status, .. } => format!("deny {}", status.as_u16()),
            Decision::Respond(answer) => answered(answer),
        })
    }

    pub(super) fn head(result: &Result<HeadAction, PluginFailure>) -> Self {
        Self::of(result, |action| match action {
            // to hold a head is a way to do something, no decision
            HeadAction::Proceed | HeadAction::Hold => "proceed".to_owned(),
            HeadAction::Respond(answer) => answered(answer),
        })
    }

    pub(super) fn body(result: &Result<BodyAction, PluginFailure>) -> Self {
        Self::of(result, |action| match action {
            BodyAction::Proceed => "proceed".to_owned(),
            BodyAction::Replace(bytes) => format!("replace by {}", content(bytes)),
            BodyAction::Respond(answer) => answered(answer),
        })
    }

    pub(super) fn error(result: &Result<Option<Answer>, PluginFailure>) -> Self {
        Self::of(result, |answer| match answer {
            None => "proceed".to_owned(),
            Some(answer) => answered(answer),
        })
    }
}

fn content(bytes: &[u8]) -> String {
    format!(
        "{} bytes {}",
        bytes.len(),
        edgeward_runtime::digest(bytes).short()
    )
}

/// Status, fields and body of an answer; the fields by a digest.
fn answered(answer: &Answer) -> String {
    let mut fields: Vec<u8> = Vec::new();
    let mut all: Vec<_> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    all.sort_unstable();
    for (name, value) in all {
        fields.extend_from_slice(name.as_bytes());
        fields.push(b':');
        fields.extend_from_slice(value);
        fields.push(b'\n');
    }
    format!(
        "answer {}, fields {}, {}",
        answer.status().as_u16(),
        edgeward_runtime::digest(&fields).short(),
        content(answer.body())
    )
}

/// What two versions have left differently.
fn differences(live: &Exchange, shadow: &Exchange) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |differs: bool, what: &str| {
        if differs {
            found.push(what.to_owned());
        }
    };
    let (one, other) = (&live.request, &shadow.request);
    note(one.method != other.method, "request.method");
    note(one.path != other.path, "request.path");
    note(one.query != other.query, "request.query");
    note(live.principal != shadow.principal, "principal");
    note(live.usage_key != shadow.usage_key, "usage-key");
    let statuses = [live, shadow].map(|exchange| exchange.response.as_ref().map(|head| head.status));
    note(statuses[0] != statuses[1], "response.status");
    fields("request", &one.headers, &other.headers, &mut found);
    if let (Some(one), Some(other)) = (&live.response, &shadow.response) {
        fields("response", &one.headers, &other.headers, &mut found);
    }
    let keys = live.context.keys().chain(shadow.context.keys());
    let mut keys: Vec<_> = keys
        .filter(|key| live.context.get(*key) != shadow.context.get(*key))
        .map(|(_, key)| format!("context.{key}"))
        .collect();
    keys.sort();
    keys.dedup();
    found.extend(keys);
    found
}

fn fields(side: &str, one: &HeaderMap, other: &HeaderMap, found: &mut Vec<String>) {
    let names = one
        .keys()
        .chain(other.keys().filter(|name| !one.contains_key(*name)));
    for name in names {
        if !one.get_all(name).iter().eq(other.get_all(name).iter()) {
            found.push(format!("{side}.header.{name}"));
        }
    }
}
