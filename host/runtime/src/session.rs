//! The only way into a guest. A `Session` is one plugin in one exchange: it makes or takes an instance at the first call, keeps it or
//! what it changed in it for the later phases of the same exchange, and throws it away after any failure.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeward_core::{
    phase::Phase,
    policy::{Policy, PolicyKind},
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use wasmtime::component::Resource;

use crate::{
    bindings::{
        edgeward::plugin::types as wit,
        exports::edgeward::plugin::{authorize, inspect, observe, transform},
    },
    capabilities::head::from_wit,
    decisions::{Asking, Decisions, Found, Key, Said},
    exchange::{
        Exchange, ExchangeHandle, Granted, RequestHandle, ResponseHandle, editable_name, field_value,
        final_status, is_framing,
    },
    failure::{Failed, FailureKind, PluginFailure, exceeded},
    instance::{Held, Instance},
    interest::Interest,
    memory,
    state::Mode,
    version::{PluginVersion, classify},
};

/// An answer of a plugin: checked, framing fields dropped.
pub type Answer = Response<Bytes>;

/// Verdict of an authorizer. What it says of the caller is in the exchange already.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Allow {
        /// How long the decision may be reused, in seconds; 0 is not at all.
        ttl_seconds: u32,
    },
    /// Refuse.
    Deny {
        /// 401 or 403 usually; 400 to 599.
        status: StatusCode,
        /// For log and error body.
        reason: String,
        /// Extra header fields.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// How long the refusal may be reused, in seconds.
        ttl_seconds: u32,
    },
    /// Refuse with an answer of the plugin's own.
    Respond(Answer),
}

/// What to do after a head.
#[derive(Debug)]
pub enum HeadAction {
    /// Go on.
    Proceed,
    /// Hold the head until the body was seen.
    Hold,
    /// Answer instead.
    Respond(Answer),
}

/// What to do with a body or a chunk of it.
#[derive(Debug)]
pub enum BodyAction {
    /// Pass it.
    Proceed,
    /// Put this in its place.
    Replace(Bytes),
    /// Answer instead.
    Respond(Answer),
}

/// Where a chunk stands in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// More follows.
    More,
    /// The end.
    Last,
    /// Above the buffer limit; passes unseen.
    TooLarge,
}

/// Verdict of an inspection.
#[derive(Debug)]
pub struct Verdict {
    /// Refusal, if it is one: status, and an answer in place of the gateway's.
    pub block: Option<(StatusCode, Option<Answer>)>,
    /// Rules that matched: id, message, location.
    pub matched: Vec<(String, String, String)>,
    /// Labels.
    pub labels: Vec<String>,
}

/// What became of an exchange.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Status sent; 0 when the client went before.
    pub status: u16,
    /// Reason of a response that the gateway made itself.
    pub response_type: Option<&'static str>,
    /// Body bytes from the client.
    pub request_bytes: u64,
    /// Body bytes to the client.
    pub response_bytes: u64,
    /// Whole duration.
    pub duration: Duration,
    /// Time to the upstream's head.
    pub upstream: Option<Duration>,
    /// Endpoint that answered.
    pub endpoint: Option<Arc<str>>,
    /// Not sent to the end.
    pub aborted: bool,
}

/// Where what an authorizer says is kept, and taken from.
enum Kept {
    /// Where the binding says, if it does.
    Own,
    /// Under a key.
    Here(Arc<Decisions>, Key),
    /// Nowhere.
    Nowhere,
}

/// One plugin in one exchange.
pub struct Session {
    version: Arc<PluginVersion>,
    /// Where decisions about this exchange are kept.
    kept: Kept,
    held: Held,
    /// Bytes of linear memory after the last call.
    memory: usize,
    /// How long the next call was waited for already, which is of its wall time.
    waited: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?})", self.version)
    }
}

/// Where the exchange is kept between calls. It is empty only while a call runs.
pub type ExchangeSlot = Option<Box<Exchange>>;

fn request() -> Resource<RequestHandle> {
    Resource::new_borrow(1)
}
fn response() -> Resource<ResponseHandle> {
    Resource::new_borrow(2)
}
fn exchange_handle() -> Resource<ExchangeHandle> {
    Resource::new_borrow(3)
}

/// Calls a function of a guest with everything that belongs to it: instance, exchange in and out, budgets, classification, counters.
macro_rules! enter {
    ($session:expr, $phase:expr, $slot:expr, $hook:ident . $function:ident ( $($argument:expr),* )) => {{
        let session: &mut Session = $session;
        let phase: Phase = $phase;
        let slot: &mut ExchangeSlot = $slot;
        let started = Instant::now();
        let waited = std::mem::take(&mut session.waited);
        // the instance is owned by this call, so that a call that is dropped half-way drops it too
        let mut instance = session.begin(phase, slot).await?;
        let left = session.version.capabilities.limits.wall_time.0.saturating_sub(waited);
        let wall = session.version.may_wait.then_some(left);
        let mark = instance.store.data().cpu.mark.clone();
        let result = match &instance.guests.$hook {
            Some(guest) => {
                let call = guest.$function(&mut instance.store, $($argument),*);
                let call = session.version.runtime.running.during(mark, call);
                bounded(wall, staying(instance.home, &mut instance.moved, call)).await
            }
            None => Err(exceeded(FailureKind::Trap, concat!("the module does not export `", stringify!($hook), "`"))),
        };
        session.end(phase, slot, instance, (started, waited), result)?
    }};
}

impl Session {
    /// A session for one exchange. Costs nothing until the first call.
    #[must_use]
    pub fn new(version: &Arc<PluginVersion>) -> Self {
        Self {
            version: Arc::clone(version),
            kept: Kept::Own,
            held: Held::Nothing,
            memory: 0,
            waited: Duration::ZERO,
        }
    }

    /// Has what the hook `authorize` says kept under a key, and taken from there; without one nowhere. The binding's own `decision-cache` does not count then.
    pub fn keep_decisions(&mut self, kept: Option<(Arc<Decisions>, Key)>) {
        self.kept = kept.map_or(Kept::Nowhere, |(decisions, key)| Kept::Here(decisions, key));
    }

    /// The version it runs.
    #[must_use]
    pub fn version(&self) -> &Arc<PluginVersion> {
        &self.version
    }

    /// What the plugin asked for.
    #[must_use]
    pub fn interest(&self) -> &Interest {
        self.version.interest()
    }

    /// Bytes of linear memory of its instance after the last call; 0 before the first.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Hook `authorize`, or what it said before of the same credentials, where the binding has a `decision-cache` or [`Self::keep_decisions`] was called. On
    /// `Allow` principal, usage key, policy and context are in the exchange.
    ///
    /// # Errors
    /// The failure; the exchange is as it was before.
    ///
    /// # Cancel safety
    /// Dropping the future drops instance and exchange.
    pub async fn authorize(&mut self, slot: &mut ExchangeSlot) -> Result<Decision, PluginFailure> {
        let kept = match (&self.kept, &self.version.decisions, slot.as_deref()) {
            (Kept::Here(decisions, key), ..) => Some((Arc::clone(decisions), *key)),
            (Kept::Own, Some(decisions), Some(exchange)) => {
                decisions.key(exchange).map(|key| (Arc::clone(decisions), key))
            }
            _ => None,
        };
        let (said, asking) = match kept {
            Some((decisions, key)) => self.known(&decisions, key).await?,
            None => (None, None),
        };
        if let Some(said) = said {
            let reused = &self.version.stats.decisions_reused;
            reused.fetch_add(1, Ordering::Relaxed);
            return match slot.as_deref_mut() {
                Some(exchange) => Ok(said.again(exchange)),
                None => Err(self.failure(Phase::Authorize, lost())),
            };
        }
        let decision = enter!(
            self,
            Phase::Authorize,
            slot,
            authorize.call_authorize(request(), exchange_handle())
        );
        let usage_key = match (&decision, &asking) {
            (authorize::Decision::Allow(allowed), Some(_asking)) => allowed.usage_key.clone(),
            _ => None,
        };
        let checked = self.decide(slot, decision);
        if let (Ok(decision), Some(asking), Some(exchange)) = (&checked, &asking, slot.as_deref()) {
            asking.keep(decision, usage_key, exchange);
        }
        self.checked(Phase::Authorize, slot, checked)
    }

    /// What was said under a key, or what keeps what the plugin says now; neither where it was waited in vain for somebody else who asks.
    async fn known(
        &mut self,
        decisions: &Arc<Decisions>,
        key: Key,
    ) -> Result<(Option<Arc<Said>>, Option<Asking>), PluginFailure> {
        if let Some(said) = decisions.get(&key) {
            return Ok((Some(said), None));
        }
        // one budget to wait while others ask, and to ask then
        let (started, limit) = (Instant::now(), self.version.capabilities.limits.wall_time.0);
        match tokio::time::timeout(limit, decisions.ask(key)).await {
            Ok(Found::Said(said)) => Ok((Some(said), None)),
            Ok(Found::Nothing(asking)) => {
                if !asking.is_first() {
                    self.waited = started.elapsed();
                }
                Ok((None, Some(asking)))
            }
            Err(_elapsed) if self.version.may_wait => {
                let message = format!("another request has asked for {} ms", limit.as_millis());
                // whoever asks tells the breaker, and no one else
                Err(self.counted(Phase::Authorize, (FailureKind::WallTime, message)))
            }
            Err(_elapsed) => Ok((None, None)),
        }
    }

    fn decide(&self, slot: &mut ExchangeSlot, decision: authorize::Decision) -> Result<Decision, Failed> {
        match decision {
            authorize::Decision::Allow(allowed) => {
                let Some(exchange) = slot.as_deref_mut() else {
                    return Err(lost());
                };
                for fact in allowed.context {
                    let value = from_wit(fact.value).map_err(|error| {
                        (
                            FailureKind::InvalidAnswer,
                            format!("context `{}`: {error}", fact.key),
                        )
                    })?;
                    exchange.set_context(self.version.shared_name(), &fact.key, value);
                }
                let policy = allowed.policy.map(|text| granted(&text)).transpose()?;
                exchange.set_caller(allowed.principal, allowed.usage_key);
                exchange.policy = policy;
                Ok(Decision::Allow {
                    ttl_seconds: allowed.ttl_seconds.unwrap_or(0),
                })
            }
            authorize::Decision::Deny(denied) => {
                let status = refusal(denied.status, "deny")?;
                let headers = denied
                    .headers
                    .into_iter()
                    .map(|pair| {
                        let name = editable_name(&pair.name)?;
                        let value = field_value(&name, pair.value.as_bytes())?;
                        Ok((name, value))
                    })
                    .collect::<Result<_, String>>()
                    .map_err(invalid)?;
                Ok(Decision::Deny {
                    status,
                    reason: denied.reason,
                    headers,
                    ttl_seconds: denied.ttl_seconds.unwrap_or(0),
                })
            }
            authorize::Decision::Respond(answer) => self.answer(answer).map(Decision::Respond),
        }
    }

    /// Hook `inspect`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn inspect(
        &mut self,
        slot: &mut ExchangeSlot,
        body: &[u8],
        state: BodyState,
    ) -> Result<Verdict, PluginFailure> {
        let verdict = enter!(
            self,
            Phase::Inspect,
            slot,
            inspect.call_inspect(request(), exchange_handle(), body, state.to_wit())
        );
        let block = match verdict.action {
            inspect::Action::Allow => Ok(None),
            inspect::Action::Block(blocking) => self.blocking(blocking).map(Some),
        };
        let block = self.checked(Phase::Inspect, slot, block)?;
        Ok(Verdict {
            block,
            matched: verdict
                .matched
                .into_iter()
                .map(|rule| (rule.id, rule.message, rule.location))
                .collect(),
            labels: verdict.labels,
        })
    }

    fn blocking(&self, blocking: inspect::Blocking) -> Result<(StatusCode, Option<Answer>), Failed> {
        let status = refusal(blocking.status, "block")?;
        let answer = blocking.answer.map(|answer| self.answer(answer)).transpose()?;
        Ok((status, answer))
    }

    /// Hook `transform.on-request-head`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn request_head(&mut self, slot: &mut ExchangeSlot) -> Result<HeadAction, PluginFailure> {
        let action = enter!(
            self,
            Phase::RequestHead,
            slot,
            transform.call_on_request_head(request(), exchange_handle())
        );
        let action = self.head_action(action);
        self.checked(Phase::RequestHead, slot, action)
    }

    /// Hook `transform.on-response-head`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn response_head(&mut self, slot: &mut ExchangeSlot) -> Result<HeadAction, PluginFailure> {
        let action = enter!(
            self,
            Phase::ResponseHead,
            slot,
            transform.call_on_response_head(request(), response(), exchange_handle())
        );
        let action = self.head_action(action);
        self.checked(Phase::ResponseHead, slot, action)
    }

    /// Hook `transform.on-request-body`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn request_body(
        &mut self,
        slot: &mut ExchangeSlot,
        chunk: &[u8],
        state: BodyState,
    ) -> Result<BodyAction, PluginFailure> {
        let action = enter!(
            self,
            Phase::RequestBody,
            slot,
            transform.call_on_request_body(request(), exchange_handle(), chunk, state.to_wit())
        );
        let action = self.body_action(action);
        self.checked(Phase::RequestBody, slot, action)
    }

    /// Hook `transform.on-response-body`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn response_body(
        &mut self,
        slot: &mut ExchangeSlot,
        chunk: &[u8],
        state: BodyState,
    ) -> Result<BodyAction, PluginFailure> {
        let action = enter!(
            self,
            Phase::ResponseBody,
            slot,
            transform.call_on_response_body(request(), response(), exchange_handle(), chunk, state.to_wit())
        );
        let action = self.body_action(action);
        self.checked(Phase::ResponseBody, slot, action)
    }

    /// Hook `transform.on-gateway-error`: an answer in place of the gateway's, if the plugin gives one.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn gateway_error(
        &mut self,
        slot: &mut ExchangeSlot,
        response_type: &str,
        status: StatusCode,
        detail: &str,
    ) -> Result<Option<Answer>, PluginFailure> {
        let error = transform::GatewayError {
            response_type: response_type.to_owned(),
            status: status.as_u16(),
            detail: detail.to_owned(),
        };
        let answer = enter!(
            self,
            Phase::GatewayError,
            slot,
            transform.call_on_gateway_error(request(), response(), exchange_handle(), &error)
        );
        let answer = answer.map(|answer| self.answer(answer)).transpose();
        self.checked(Phase::GatewayError, slot, answer)
    }

    /// Hook `observe.on-complete`.
    ///
    /// # Errors
    /// As [`Session::authorize`].
    pub async fn observe(&mut self, slot: &mut ExchangeSlot, outcome: &Outcome) -> Result<(), PluginFailure> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let outcome = observe::Outcome {
            status: outcome.status,
            response_type: outcome.response_type.map(str::to_owned),
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
            duration_us: micros(outcome.duration),
            upstream_us: outcome.upstream.map(micros),
            endpoint: outcome.endpoint.as_deref().map(str::to_owned),
            aborted: outcome.aborted,
        };
        enter!(
            self,
            Phase::Observe,
            slot,
            observe.call_on_complete(request(), exchange_handle(), &outcome)
        );
        self.checked(Phase::Observe, slot, Ok(()))
    }

    /// Gets an instance ready and moves the exchange into it.
    async fn begin(&mut self, phase: Phase, slot: &mut ExchangeSlot) -> Result<Box<Instance>, PluginFailure> {
        if !self.version.breaker.admits() {
            return Err(self.failure(
                phase,
                (
                    FailureKind::BreakerOpen,
                    "it failed too often in a row".to_owned(),
                ),
            ));
        }
        let held = std::mem::take(&mut self.held);
        let resumed = self.version.resume(held).await;
        let mut instance = resumed.map_err(|failed| self.failure(phase, failed))?;
        let state = instance.store.data_mut();
        state.exchange = slot.take();
        state.begin_call(Mode::Serve(phase), self.version.capabilities.limits.cpu_time.0);
        instance.store.set_epoch_deadline(1);
        Ok(instance)
    }

    /// Moves the exchange back, keeps or drops the instance, counts. Edits are kept or undone once the answer was looked at (`checked`).
    fn end<T>(
        &mut self,
        phase: Phase,
        slot: &mut ExchangeSlot,
        mut instance: Box<Instance>,
        (started, waited): (Instant, Duration),
        result: wasmtime::Result<T>,
    ) -> Result<T, PluginFailure> {
        let state = instance.store.data_mut();
        state.write_output();
        *slot = state.exchange.take();
        let memory = state.memory_used;
        self.version.stats.call(phase, started.elapsed());
        match result {
            Ok(value) => {
                self.memory = memory;
                self.held = Held::Instance(instance);
                Ok(value)
            }
            Err(error) => {
                let failed = classify(state, &error);
                if let Some(exchange) = slot.as_deref_mut() {
                    exchange.roll_back();
                }
                // it had less time than its own, because another call of the version took its
                if failed.0 == FailureKind::WallTime && !waited.is_zero() {
                    return Err(self.counted(phase, failed));
                }
                Err(self.failure(phase, failed))
            }
        }
    }

    /// A failure that the breaker hears of.
    fn failure(&self, phase: Phase, failed: Failed) -> PluginFailure {
        let (version, failure) = (&self.version, self.counted(phase, failed));
        // overload is not the version's fault, and an open breaker no new failure
        if !matches!(failure.kind, FailureKind::Capacity | FailureKind::BreakerOpen)
            && version.breaker.failure()
        {
            tracing::error!(plugin = version.name(), version = version.version(), digest = %version.digest(), %failure, "plugin breaker opened");
        }
        failure
    }

    /// A failure that is in the figures and does not say more about the version than others that the breaker hears of.
    fn counted(&self, phase: Phase, (kind, message): Failed) -> PluginFailure {
        let version = &self.version;
        version.stats.failure(kind);
        PluginFailure {
            plugin: Arc::clone(version.shared_name()),
            version: version.version(),
            digest: version.digest(),
            phase,
            kind,
            message,
        }
    }

    /// Lets the instance go where the next call is far off, or there is none: the next exchange gets its memory while it is in the processor's cache.
    fn rest(&mut self, phase: Phase) {
        // bodies come in several calls
        if matches!(phase, Phase::RequestBody | Phase::ResponseBody) {
            return;
        }
        if let Held::Instance(instance) = std::mem::take(&mut self.held) {
            if self.version.interest().phases.has_after(phase) {
                self.held = self.version.park(instance);
            } else {
                self.version.release(instance);
            }
        }
    }

    /// Turns what is wrong with an answer into a failure of the plugin.
    fn checked<T>(
        &mut self,
        phase: Phase,
        slot: &mut ExchangeSlot,
        checked: Result<T, Failed>,
    ) -> Result<T, PluginFailure> {
        match checked {
            Ok(value) => {
                if let Some(exchange) = slot.as_deref_mut() {
                    exchange.commit();
                }
                self.version.breaker.success();
                self.rest(phase);
                Ok(value)
            }
            Err(failed) => {
                if let Some(exchange) = slot.as_deref_mut() {
                    exchange.roll_back();
                }
                self.held = Held::Nothing;
                Err(self.failure(phase, failed))
            }
        }
    }

    fn head_action(&self, action: transform::HeadAction) -> Result<HeadAction, Failed> {
        Ok(match action {
            transform::HeadAction::Proceed => HeadAction::Proceed,
            transform::HeadAction::Hold => HeadAction::Hold,
            transform::HeadAction::Respond(answer) => HeadAction::Respond(self.answer(answer)?),
        })
    }

    fn body_action(&self, action: transform::BodyAction) -> Result<BodyAction, Failed> {
        Ok(match action {
            transform::BodyAction::Proceed => BodyAction::Proceed,
            transform::BodyAction::Replace(bytes) => BodyAction::Replace(Bytes::from(bytes)),
            transform::BodyAction::Respond(answer) => BodyAction::Respond(self.answer(answer)?),
        })
    }

    /// Checks an answer and turns it into a response.
    fn answer(&self, answer: wit::Answer) -> Result<Answer, Failed> {
        let limit = self.version.capabilities.limits.host_buffers;
        let size = answer.body.len()
            + answer
                .headers
                .iter()
                .map(|header| header.name.len() + header.value.len())
                .sum::<usize>();
        if size as u64 > limit.0 {
            return Err((
                FailureKind::HostBuffer,
                format!("answer of {size} bytes exceeds `limits.host-buffers` of {limit}"),
            ));
        }
        let mut response = Response::new(Bytes::from(answer.body));
        *response.status_mut() = final_status(answer.status).map_err(invalid)?;
        for header in answer.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_ignored| invalid(format!("answer: `{}` is not a field name", header.name)))?;
            if is_framing(&name) {
                continue;
            }
            let value = field_value(&name, &header.value).map_err(invalid)?;
            response.headers_mut().append(name, value);
        }
        Ok(response)
    }
}

/// A status that a refusal can have.
fn refusal(status: u16, what: &str) -> Result<StatusCode, Failed> {
    match final_status(status) {
        Ok(code) if status >= 400 => Ok(code),
        _ => Err(invalid(format!(
            "{what} with status {status}, which is not between 400 and 599"
        ))),
    }
}

/// What an authorizer says that a caller may do, read.
fn granted(text: &str) -> Result<Arc<Granted>, Failed> {
    let read = Policy::read(text, PolicyKind::Authorizer);
    let read = read.map_err(|problems| invalid(format!("policy: {problems}")))?;
    Ok(Arc::new(Granted {
        policy: read.policy,
        text: text.len(),
    }))
}

fn invalid(message: String) -> Failed {
    (FailureKind::InvalidAnswer, message)
}

fn lost() -> Failed {
    (FailureKind::Trap, "the exchange was lost".to_owned())
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Held::Instance(instance) = std::mem::take(&mut self.held) {
            self.version.release(instance);
        }
    }
}

/// Notes when a call runs on another thread than the one that took the instance.
async fn staying<T>(home: u64, moved: &mut bool, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    std::future::poll_fn(|context| {
        *moved |= memory::thread() != home;
        call.as_mut().poll(context)
    })
    .await
}

/// Ends a call after this wall time.
pub(crate) async fn bounded<T>(
    wall: Option<Duration>,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let Some(wall) = wall else { return call.await };
    match tokio::time::timeout(wall, call).await {
        Ok(result) => result,
        Err(_elapsed) => Err(exceeded(
            FailureKind::WallTime,
            format!("took longer than {} ms, host calls included", wall.as_millis()),
        )),
    }
}

impl BodyState {
    const fn to_wit(self) -> wit::BodyState {
        match self {
            Self::More => wit::BodyState::More,
            Self::Last => wit::BodyState::Last,
            Self::TooLarge => wit::BodyState::TooLarge,
        }
    }
}
