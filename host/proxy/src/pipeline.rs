//! Runs the plugins of one exchange, phase by phase, and honours what each binding says about failures.
//!
//! The chain is shared by the request path, by body streams that go on after a head was sent, and by the observers at the end; a lock that nobody
//! else wants guards it. Request phases run in the order of the pipeline, response phases in reverse.

mod admit;
mod collect;
mod shadow;
mod streaming;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use edgeward_core::{
    config::OnError,
    phase::{Phase, Phases},
    reject::{Reject, RejectCode},
};
use edgeward_runtime::{
    Answer, BodyAction, BodyMode, BodyState, ContextValue, Exchange, ExchangeSlot, FailureKind, HeadAction,
    Outcome, PluginFailure, PluginVersion, RequestHead, ResponseHead, Session,
};
use futures_util::stream;
use http::Response;
use http_body_util::StreamBody;
use smallvec::SmallVec;
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use self::collect::{body_reject, whole_body};
pub(crate) use self::shadow::Part;
pub use self::shadow::{Difference as ShadowDifference, Shadow, ShadowCounts};
use self::{
    collect::{Collected, collect, whole},
    shadow::{Hook, Said, Twin},
    streaming::{Early, Streaming},
};
use crate::{body::Body, snapshot::Fixed};

/// The chain of one exchange, shared.
#[derive(Clone)]
pub(crate) struct SharedChain {
    chain: Arc<Mutex<Chain>>,
    phases: Phases,
}

/// The plugins of one exchange and the exchange itself.
pub(crate) struct Chain {
    pub(crate) exchange: ExchangeSlot,
    links: SmallVec<[Link; 4]>,
}

struct Link {
    session: Session,
    /// The version that runs beside it.
    twin: Option<Twin>,
    /// It failed.
    failed: bool,
    /// It failed and its binding says to go on without it.
    skipped: bool,
    /// It holds the head until the body was seen.
    holds: bool,
}

/// What comes after a step.
pub(crate) enum Step<T> {
    /// Go on with this.
    Next(T),
    /// The answer is there.
    Answer(Response<Body>),
}

/// Direction of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

impl Way {
    const fn phase(self) -> Phase {
        match self {
            Self::Request => Phase::RequestBody,
            Self::Response => Phase::ResponseBody,
        }
    }

    fn mode(self, version: &PluginVersion) -> BodyMode {
        match self {
            Self::Request => version.interest().request_body,
            Self::Response => version.interest().response_body,
        }
    }

    fn too_large(self, limit: u64) -> Reject {
        let (code, what) = match self {
            Self::Request => (RejectCode::RequestTooLarge, "request"),
            Self::Response => (RejectCode::ResponseTooLarge, "response"),
        };
        Reject::new(
            code,
            format!("{what} body exceeds the {limit} bytes that a plugin of the route takes"),
        )
    }
}

impl SharedChain {
    pub(crate) fn new(parts: &[Part], phases: Phases, exchange: Exchange) -> Self {
        let links = parts
            .iter()
            .map(|part| Link {
                session: Session::new(&part.version),
                twin: part.shadow.as_ref().and_then(Shadow::follow),
                failed: false,
                skipped: false,
                holds: false,
            })
            .collect();
        Self {
            chain: Arc::new(Mutex::new(Chain {
                exchange: Some(Box::new(exchange)),
                links,
            })),
            phases,
        }
    }

    async fn lock(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().await
    }

    /// Whether a plugin has failed, whatever came of that. Asked at the end, when nobody else has the chain.
    pub(crate) fn has_failed(&self) -> bool {
        let chain = self.chain.try_lock();
        chain.is_ok_and(|chain| chain.links.iter().any(|link| link.failed))
    }

    /// Who the caller is and what authorizers said of it: `principalId`, and each text, number and truth value of `plugin`'s context, of the first
    /// plugin's where none is named.
    pub(crate) async fn authorizer(&self, plugin: Option<&str>) -> BTreeMap<String, String> {
        match self.lock().await.exchange() {
            Ok(exchange) => said_of(exchange, plugin),
            Err(_lost) => BTreeMap::new(),
        }
    }

    /// The same without waiting, at the end of an exchange: nothing where a plugin still works on it, as on a body whose rest nobody waits for.
    pub(crate) fn authorizer_now(&self, plugin: Option<&str>) -> BTreeMap<String, String> {
        match self.chain.try_lock().as_deref_mut().map(Chain::exchange) {
            Ok(Ok(exchange)) => said_of(exchange, plugin),
            Ok(Err(_)) | Err(_) => BTreeMap::new(),
        }
    }

    /// All that plugins said of the exchange, and who the caller is.
    pub(crate) async fn said(&self) -> (BTreeMap<(Arc<str>, String), ContextValue>, Option<String>) {
        match self.lock().await.exchange() {
            Ok(exchange) => (exchange.context.clone(), exchange.principal.clone()),
            Err(_lost) => Default::default(),
        }
    }

    /// What the route's plugins may know of the API (namespace `gateway`).
    pub(crate) async fn tell(&self, namespace: &Arc<str>, facts: Vec<(&str, ContextValue)>) {
        if let Ok(exchange) = self.lock().await.exchange() {
            for (key, value) in facts {
                exchange
                    .context
                    .insert((Arc::clone(namespace), key.to_owned()), value);
            }
        }
    }

    pub(crate) fn observes(&self) -> bool {
        self.phases.has(Phase::Observe)
    }

    /// Runs the observers. Their failures are logged and counted, nothing more.
    pub(crate) async fn observe(&self, outcome: &Outcome) {
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        for link in active(links, Phase::Observe) {
            if let Err(failure) = link.session.observe(exchange, outcome).await {
                log(&failure, exchange);
            }
        }
    }

    /// Phases that change the request: head, body. Returns what is sent.
    pub(crate) async fn request(&self, mut body: Body) -> Result<Step<(RequestHead, Body)>, Reject> {
        if self.phases.has(Phase::RequestHead)
            && let Some(answer) = self.heads(Way::Request).await?
        {
            return Ok(Step::Answer(answer));
        }
        let mut changed = false;
        if self.phases.has(Phase::RequestBody) && (!body.is_empty() || self.lock().await.holds()) {
            match self.bodies(Way::Request, body).await? {
                Step::Next((next, touched)) => {
                    body = next;
                    changed = touched;
                }
                Step::Answer(answer) => return Ok(Step::Answer(answer)),
            }
        }
        let mut chain = self.lock().await;
        let needs_later = self.keeps_request();
        let exchange = chain.exchange()?;
        exchange.request_sent = true;
        let mut head = if needs_later {
            exchange.request.clone()
        } else {
            take(&mut exchange.request)
        };
        if changed {
            crate::finish::framing_removed(&mut head.headers);
        }
        Ok(Step::Next((head, body)))
    }

    /// True when a later phase may still look at the request.
    fn keeps_request(&self) -> bool {
        [
            Phase::RequestBody,
            Phase::ResponseHead,
            Phase::ResponseBody,
            Phase::GatewayError,
            Phase::Observe,
        ]
        .iter()
        .any(|phase| self.phases.has(*phase))
    }

    /// Phases after the response head came: response head, response body.
    pub(crate) async fn response(
        &self,
        response: Response<Body>,
        has_body: bool,
    ) -> Result<Response<Body>, Reject> {
        if !self.phases.has(Phase::ResponseHead) && !self.phases.has(Phase::ResponseBody) {
            return Ok(response);
        }
        let (parts, mut body) = response.into_parts();
        let version = parts.version;
        {
            let mut chain = self.lock().await;
            chain.exchange()?.response = Some(ResponseHead {
                status: parts.status,
                headers: parts.headers,
            });
        }
        let mut answered = false;
        if self.phases.has(Phase::ResponseHead)
            && let Some(answer) = self.heads(Way::Response).await?
        {
            body = self.replace_response(answer).await?;
            answered = true;
        }
        let mut changed = answered;
        if !answered && has_body && self.phases.has(Phase::ResponseBody) {
            match self.bodies(Way::Response, body).await? {
                Step::Next((next, touched)) => {
                    body = next;
                    changed = touched;
                }
                Step::Answer(answer) => {
                    body = self.replace_response(answer).await?;
                    changed = true;
                }
            }
        }
        let mut chain = self.lock().await;
        // plugins see the body go by with the head
        let needs_later = self.phases.has(Phase::ResponseBody);
        let exchange = chain.exchange()?;
        exchange.response_sent = true;
        let head = exchange.response.as_mut().ok_or_else(lost)?;
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = if needs_later {
            head.headers.clone()
        } else {
            std::mem::take(&mut head.headers)
        };
        *response.version_mut() = version;
        if changed {
            crate::finish::framing_removed(response.headers_mut());
        }
        Ok(response)
    }

    async fn replace_response(&self, answer: Response<Body>) -> Result<Body, Reject> {
        let (parts, body) = answer.into_parts();
        self.lock().await.exchange()?.response = Some(ResponseHead {
            status: parts.status,
            headers: parts.headers,
        });
        Ok(body)
    }

    /// Phase `gateway-error`: plugins may edit or replace an error response. Their failures leave it as it is.
    pub(crate) async fn gateway_error(&self, reject: &Reject, response: Response<Body>) -> Response<Body> {
        if !self.phases.has(Phase::GatewayError) {
            return response;
        }
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let Some(state) = exchange.as_deref_mut() else {
            return response;
        };
        let (parts, mut body) = response.into_parts();
        let original = (parts.status, parts.headers.clone());
        state.response = Some(ResponseHead {
            status: parts.status,
            headers: parts.headers,
        });
        for link in active(links, Phase::GatewayError).rev() {
            let before = link.before(exchange);
            let (code, status) = (reject.code.name(), original.0);
            let answer = link
                .session
                .gateway_error(exchange, code, status, &reject.detail)
                .await;
            link.after(before, exchange, || {
                let hook = Hook::GatewayError(code, status, reject.detail.to_string());
                (hook, Said::error(&answer))
            });
            match answer {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    let (parts, bytes) = answer.into_parts();
                    body = Body::full(bytes);
                    if let Some(state) = exchange.as_deref_mut() {
                        state.response = Some(ResponseHead {
                            status: parts.status,
                            headers: parts.headers,
                        });
                    }
                }
                Err(failure) => {
                    log(&failure, exchange);
                    link.failed = true;
                    link.skipped = true;
                }
            }
        }
        let mut response = Response::new(body);
        let head = exchange
            .as_deref()
            .and_then(|exchange| exchange.response.as_ref());
        let (status, headers) = head.map_or(original, |head| (head.status, head.headers.clone()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Head phase of transformers.
    async fn heads(&self, way: Way) -> Result<Option<Response<Body>>, Reject> {
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let phase = if way == Way::Request {
            Phase::RequestHead
        } else {
            Phase::ResponseHead
        };
        for index in order(links.len(), way) {
            let Some(link) = links.get_mut(index).filter(|link| link.takes(phase)) else {
                continue;
            };
            let before = link.before(exchange);
            let action = match way {
                Way::Request => link.session.request_head(exchange).await,
                Way::Response => link.session.response_head(exchange).await,
            };
            link.after(before, exchange, || (Hook::Head(way), Said::head(&action)));
            match action {
                Ok(HeadAction::Proceed) => link.holds = false,
                Ok(HeadAction::Hold) => link.holds = true,
                Ok(HeadAction::Respond(answer)) => return Ok(Some(respond_with(answer))),
                Err(failure) => {
                    if let Some(answer) = link.failed(phase, &failure, exchange)? {
                        return Ok(Some(answer));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Body phase of transformers: each takes the body that the one before left. True when the body may differ from what came.
    async fn bodies(&self, way: Way, mut body: Body) -> Result<Step<(Body, bool)>, Reject> {
        let count = self.lock().await.links.len();
        let mut changed = false;
        for index in order(count, way) {
            let (mode, holds, limit) = {
                let chain = self.lock().await;
                let Some(link) = chain.links.get(index).filter(|link| link.takes(way.phase())) else {
                    continue;
                };
                // of no body only those hear that may make one
                let made = link.holds && matches!(way.mode(link.session.version()), BodyMode::Buffer { .. });
                if way == Way::Request && body.is_empty() && !made {
                    continue;
                }
                (
                    way.mode(link.session.version()),
                    link.holds,
                    link.session.version().body_limit(),
                )
            };
            match mode {
                BodyMode::None => {}
                BodyMode::Stream => {
                    changed = true;
                    let early = holds.then(Early::default);
                    body = self.clone().streamed(way, index, body, early.clone());
                    if let Some(early) = early {
                        // what the hook lets pass is collected while the head waits
                        let collected = collect(body, limit).await;
                        if let Some(ended) = early.lock().take() {
                            return ended.map(Step::Answer);
                        }
                        body = match collected? {
                            Collected::Whole(bytes, trailers) => whole(bytes, trailers),
                            Collected::TooLarge(_) | Collected::Unread(_) => return Err(way.too_large(limit)),
                        };
                    }
                }
                BodyMode::Buffer { limit, reject } => {
                    match self.buffered(way, index, body, limit, reject).await? {
                        Step::Next((next, touched)) => {
                            body = next;
                            changed |= touched;
                        }
                        Step::Answer(answer) => return Ok(Step::Answer(answer)),
                    }
                }
            }
        }
        Ok(Step::Next((body, changed)))
    }

    async fn buffered(
        &self,
        way: Way,
        index: usize,
        body: Body,
        limit: u64,
        reject: bool,
    ) -> Result<Step<(Body, bool)>, Reject> {
        let collected = collect(body, limit).await?;
        let (bytes, state) = match &collected {
            Collected::Whole(bytes, _) => (bytes.clone(), BodyState::Last),
            Collected::TooLarge(_) if reject => return Err(way.too_large(limit)),
            Collected::TooLarge(_) | Collected::Unread(_) => (Bytes::new(), BodyState::TooLarge),
        };
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let Some(link) = links.get_mut(index) else {
            return Err(lost());
        };
        match link.body(way, exchange, &bytes, state).await {
            Ok(BodyAction::Proceed) => Ok(Step::Next((collected.into_body(), false))),
            // a body that passes unseen cannot be replaced: its bytes are on their way
            Ok(BodyAction::Replace(_)) if state == BodyState::TooLarge => {
                Ok(Step::Next((collected.into_body(), false)))
            }
            Ok(BodyAction::Replace(bytes)) => {
                let trailers = if let Collected::Whole(_, trailers) = collected {
                    trailers
                } else {
                    None
                };
                Ok(Step::Next((whole(bytes, trailers), true)))
            }
            Ok(BodyAction::Respond(answer)) => Ok(Step::Answer(respond_with(answer))),
            Err(failure) => match link.failed(way.phase(), &failure, exchange)? {
                Some(answer) => Ok(Step::Answer(answer)),
                None => Ok(Step::Next((collected.into_body(), false))),
            },
        }
    }

    /// A body whose chunks pass through one plugin. Nothing is read before it is asked for.
    fn streamed(self, way: Way, index: usize, body: Body, early: Option<Early>) -> Body {
        let state = Streaming {
            chain: self,
            way,
            index,
            body: Some(body),
            trailers: None,
            early,
        };
        Body::boxed(StreamBody::new(stream::unfold(state, |mut state| async move {
            let frame = state.next().await?;
            Some((frame, state))
        })))
    }
}

impl Chain {
    /// Whether a plugin holds the head.
    fn holds(&self) -> bool {
        self.links.iter().any(|link| link.holds && !link.skipped)
    }

    fn exchange(&mut self) -> Result<&mut Exchange, Reject> {
        self.exchange.as_deref_mut().ok_or_else(lost)
    }
}

impl Link {
    fn name(&self) -> &str {
        self.session.version().name()
    }

    fn takes(&self, phase: Phase) -> bool {
        !self.skipped && self.session.interest().phases.has(phase)
    }

    async fn body(
        &mut self,
        way: Way,
        exchange: &mut ExchangeSlot,
        chunk: &[u8],
        state: BodyState,
    ) -> Result<BodyAction, PluginFailure> {
        let before = self.before(exchange);
        let action = match way {
            Way::Request => self.session.request_body(exchange, chunk, state).await,
            Way::Response => self.session.response_body(exchange, chunk, state).await,
        };
        self.after(before, exchange, || {
            let hook = Hook::Body(way, Bytes::copy_from_slice(chunk), state);
            (hook, Said::body(&action))
        });
        action
    }

    /// Applies `on-error`: refuse, answer, or go on without this plugin.
    fn failed(
        &mut self,
        phase: Phase,
        failure: &PluginFailure,
        exchange: &ExchangeSlot,
    ) -> Result<Option<Response<Body>>, Reject> {
        log(failure, exchange);
        self.failed = true;
        match self.session.version().on_error(phase) {
            OnError::Open => {
                self.skipped = true;
                Ok(None)
            }
            OnError::Respond(fixed) => match Fixed::new(fixed) {
                Ok(fixed) => Ok(Some(fixed.response())),
                Err(message) => Err(closed(phase, failure).because(message)),
            },
            OnError::Closed => Err(closed(phase, failure)),
        }
    }
}

fn active(links: &mut [Link], phase: Phase) -> impl DoubleEndedIterator<Item = &mut Link> {
    links.iter_mut().filter(move |link| link.takes(phase))
}

/// Who the caller is, and what plugins said, as texts.
fn said_of(exchange: &Exchange, plugin: Option<&str>) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    for ((of, key), value) in &exchange.context {
        if plugin.is_some_and(|plugin| **of != *plugin) {
            continue;
        }
        let text = match value {
            ContextValue::Text(text) | ContextValue::Json(text) => text.clone(),
            ContextValue::Integer(number) => number.to_string(),
            ContextValue::Number(number) => number.to_string(),
            ContextValue::Boolean(truth) => truth.to_string(),
            ContextValue::Bytes(_) => continue,
        };
        said.entry(key.clone()).or_insert(text);
    }
    if let Some(principal) = &exchange.principal {
        said.insert("principalId".to_owned(), principal.clone());
    }
    said
}

/// Indices in pipeline order for requests, reversed for responses.
fn order(count: usize, way: Way) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| {
        if way == Way::Request {
            index
        } else {
            count - 1 - index
        }
    })
}

fn respond_with(answer: Answer) -> Response<Body> {
    answer.map(Body::full)
}

fn lost() -> Reject {
    Reject::new(RejectCode::Internal, "the request could not be processed")
        .because("a plugin call lost the exchange")
}

pub(crate) fn closed(phase: Phase, failure: &PluginFailure) -> Reject {
    let code = match (phase, failure.kind) {
        (_, FailureKind::Capacity) => RejectCode::Overloaded,
        (Phase::Authorize, FailureKind::InvalidAnswer) => RejectCode::AuthorizerConfiguration,
        (Phase::Authorize, _) => RejectCode::AuthorizerFailure,
        (_, FailureKind::WallTime) => RejectCode::PluginTimeout,
        (_, FailureKind::InvalidAnswer) => RejectCode::PluginInvalidAnswer,
        _ => RejectCode::PluginFailure,
    };
    Reject::new(code, "a plugin of this route failed").because(failure)
}

pub(crate) fn log(failure: &PluginFailure, exchange: &ExchangeSlot) {
    let exchange = exchange.as_deref();
    tracing::warn!(
        target: "plugin",
        request_id = exchange.map(|exchange| exchange.request_id.as_str()),
        route = exchange.map(|exchange| exchange.route.name.as_str()),
        plugin = &*failure.plugin,
        plugin_version = failure.version,
        plugin_digest = failure.digest.short(),
        phase = failure.phase.name(),
        kind = failure.kind.name(),
        message = failure.message,
        "plugin failed"
    );
}

fn take(head: &mut RequestHead) -> RequestHead {
    RequestHead {
        method: std::mem::take(&mut head.method),
        https: head.https,
        authority: std::mem::take(&mut head.authority),
        version: head.version,
        path: std::mem::take(&mut head.path),
        query: head.query.take(),
        headers: std::mem::take(&mut head.headers),
    }
}
