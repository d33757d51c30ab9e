//! One request through one plugin, with the calls that the gateway would make: inspect, authorize, request, response,
//! gateway error, observe. Nothing is sent anywhere; the case says what the upstream answers.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use edgeward_core::{
    config::OnError,
    normalize::normalize_path,
    phase::Phase,
    reject::RejectCode,
    route::{Match, Params, PathPattern, RouteSpec, Router},
};
use edgeward_runtime::{
    Answer, BodyAction, BodyMode, BodyState, ContextValue, Decision, Exchange, ExchangeSlot, HeadAction,
    Outcome, Peer, PluginFailure, PluginVersion, RequestHead, ResponseHead, RouteInfo, Session, is_framing,
};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use serde::Serialize;

use super::case::{Case, Expectation};

/// Bytes of a body that a plugin in mode `stream` gets at a time.
const CHUNK: usize = 16 << 10;

/// What became of a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Trial {
    pub(crate) name: String,
    pub(crate) request: serde_json::Value,
    /// `pass` when the request would have gone upstream, else who answered.
    pub(crate) verdict: String,
    /// Status that the client gets.
    pub(crate) status: u16,
    pub(crate) steps: Vec<Step>,
    /// What the upstream gets.
    #[serde(skip)]
    pub(crate) upstream: Option<(HeaderMap, Bytes)>,
    /// What the client gets.
    #[serde(skip)]
    pub(crate) client: (HeaderMap, Bytes),
    /// Bytes of linear memory at the end.
    pub(crate) memory_bytes: usize,
    /// Time in the plugin, in microseconds.
    pub(crate) time_us: u64,
    /// Expectations that do not hold.
    pub(crate) deviations: Vec<String>,
}

/// One call of the plugin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Step {
    pub(crate) phase: Phase,
    pub(crate) outcome: String,
    /// What the call changed: `+` added, `-` gone.
    pub(crate) edits: Vec<String>,
    pub(crate) time_us: u64,
    pub(crate) memory_bytes: usize,
}

/// An answer in place of going on.
enum Stop {
    /// The plugin's own.
    Answer(Box<Answer>),
    /// The gateway's.
    Reject(RejectCode, StatusCode, String, Box<HeaderMap>),
}

/// Runs a case.
///
/// # Errors
/// The case does not fit its route.
pub(crate) async fn run(version: &Arc<PluginVersion>, case: &Case) -> anyhow::Result<Trial> {
    let mut run = Run {
        session: Session::new(version),
        slot: Some(exchange(case)?),
        steps: Vec::new(),
    };
    let started = Instant::now();
    let mut body = Bytes::copy_from_slice(&case.body);
    let stop = run.request_side(&mut body).await.err();
    let upstream = match (&stop, run.slot.as_deref_mut()) {
        (None, Some(exchange)) => Some((exchange.request.headers.clone(), body.clone())),
        _ => None,
    };
    let by = run.steps.last().map_or(Phase::Inspect, |step| step.phase);
    let (verdict, response_type) = match &stop {
        None => ("pass".to_owned(), None),
        Some(Stop::Answer(_)) => (format!("answered in {by}"), None),
        Some(Stop::Reject(code, _, detail, _)) => (
            format!("refused in {by}: {} ({detail})", code.name()),
            Some(code.name()),
        ),
    };
    let (head, mut answer) = match stop {
        None => (
            ResponseHead {
                status: case.response.status,
                headers: case.response.headers.clone(),
            },
            Bytes::copy_from_slice(&case.response.body),
        ),
        Some(stop) => run.refusal(stop).await,
    };
    let rejected = response_type.is_some();
    if let Some(exchange) = run.slot.as_deref_mut() {
        exchange.request_sent = true;
        exchange.response = Some(head);
    }
    if !rejected {
        run.response_side(&mut answer).await;
    }
    let (status, headers) = match run
        .slot
        .as_deref()
        .and_then(|exchange| exchange.response.as_ref())
    {
        Some(head) => (head.status.as_u16(), head.headers.clone()),
        None => (0, HeaderMap::new()),
    };
    run.observe(
        status,
        response_type,
        (body.len(), answer.len()),
        started.elapsed(),
    )
    .await;
    let mut trial = Trial {
        name: case.name.clone(),
        request: case.line(),
        verdict,
        status,
        upstream,
        client: (headers, answer),
        memory_bytes: run.steps.iter().map(|step| step.memory_bytes).max().unwrap_or(0),
        time_us: run.steps.iter().map(|step| step.time_us).sum(),
        steps: run.steps,
        deviations: Vec::new(),
    };
    trial.deviations = case
        .expect
        .iter()
        .filter_map(|expected| deviation(&trial, expected))
        .collect();
    Ok(trial)
}

fn exchange(case: &Case) -> anyhow::Result<Box<Exchange>> {
    let path = normalize_path(case.uri.path())
        .map_err(|error| anyhow::anyhow!("path `{}`: {error}", case.uri.path()))?;
    let pattern = case.route.clone().unwrap_or_else(|| path.to_string());
    let mut headers: HeaderMap = case.headers.clone();
    let framing: Vec<_> = headers.keys().filter(|name| is_framing(name)).cloned().collect();
    for name in framing {
        headers.remove(name);
    }
    let params = match &case.route {
        None => Params::default(),
        Some(route) => {
            let route = PathPattern::parse(route)?;
            let spec = RouteSpec {
                hosts: Vec::new(),
                methods: Vec::new(),
                path: route,
                headers: Vec::new(),
            };
            match Router::build(&[spec])?.find(None, &path, &case.method, &headers) {
                Match::Found(_, params) => params,
                Match::MethodNotAllowed(_) | Match::NotFound => {
                    bail!("path `{path}` does not match route `{pattern}`")
                }
            }
        }
    };
    let authority = case
        .uri
        .authority()
        .context("the request has no host")?
        .to_string();
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_str(&authority)?);
    }
    let https = case.uri.scheme_str() == Some("https");
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let peer = Peer {
        address: SocketAddr::new(client, 50_000),
        tls_version: https.then_some("1.3"),
        sni: case.uri.host().filter(|_| https).map(str::to_owned),
        client_certificate: None,
    };
    let request = RequestHead {
        method: case.method.clone(),
        https,
        authority,
        version: Version::HTTP_11,
        path: path.into_owned(),
        query: case.uri.query().map(str::to_owned),
        headers,
    };
    let route = Arc::new(RouteInfo {
        name: pattern.clone(),
        pattern,
        scopes: Vec::new(),
    });
    let id = "00000000-0000-7000-8000-000000000001".to_owned();
    Ok(Box::new(Exchange::new(
        id,
        route,
        params,
        Arc::new(peer),
        client,
        request,
    )))
}

struct Run {
    session: Session,
    slot: ExchangeSlot,
    steps: Vec<Step>,
}

/// Calls one hook and notes what it did.
macro_rules! step {
    ($run:expr, $phase:expr, $function:ident ( $($argument:expr),* ), $tell:expr) => {{
        let run: &mut Run = $run;
        let before = run.view();
        let started = Instant::now();
        let result = run.session.$function(&mut run.slot, $($argument),*).await;
        let time = started.elapsed();
        let outcome = match &result {
            Ok(value) => $tell(value),
            Err(failure) => format!("failed: {}: {}", failure.kind, failure.message),
        };
        run.note($phase, &before, time, outcome);
        result
    }};
}

impl Run {
    fn wants(&self, phase: Phase) -> bool {
        self.session.interest().phases.has(phase)
    }

    fn note(&mut self, phase: Phase, before: &[String], time: Duration, outcome: String) {
        let after = self.view();
        let gone = before
            .iter()
            .filter(|line| !after.contains(line))
            .map(|line| format!("- {line}"));
        let added = after
            .iter()
            .filter(|line| !before.contains(line))
            .map(|line| format!("+ {line}"));
        let edits = gone.chain(added).collect();
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.steps.push(Step {
            phase,
            outcome,
            edits,
            time_us,
            memory_bytes: self.session.memory(),
        });
    }

    /// Everything that a plugin can change, one line each.
    fn view(&self) -> Vec<String> {
        let Some(exchange) = self.slot.as_deref() else {
            return Vec::new();
        };
        let request = &exchange.request;
        let query = request
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let mut lines = vec![format!("request {} {}{query}", request.method, request.path)];
        let field = |side: &str, headers: &HeaderMap| -> Vec<String> {
            headers
                .iter()
                .map(|(name, value)| format!("{side} {name}: {}", String::from_utf8_lossy(value.as_bytes())))
                .collect()
        };
        lines.extend(field("request", &request.headers));
        if let Some(response) = &exchange.response {
            lines.push(format!("response {}", response.status));
            lines.extend(field("response", &response.headers));
        }
        lines.extend(
            exchange
                .principal
                .iter()
                .map(|principal| format!("principal {principal}")),
        );
        lines.extend(exchange.usage_key.iter().map(|key| format!("usage key {key}")));
        lines.extend(
            exchange
                .context
                .iter()
                .map(|((space, key), value)| format!("context {space}.{key} = {}", shown(value))),
        );
        lines
    }

    /// What `on-error` says about a failure.
    fn failed(&self, phase: Phase, failure: &PluginFailure) -> Result<(), Stop> {
        match self.session.version().on_error(phase) {
            OnError::Open => Ok(()),
            OnError::Closed => {
                let code = if phase == Phase::Authorize {
                    RejectCode::AuthorizerFailure
                } else {
                    RejectCode::PluginFailure
                };
                Err(reject(code, format!("the plugin failed: {}", failure.kind)))
            }
            OnError::Respond(answer) => {
                let mut response = Answer::new(Bytes::from(answer.body.clone()));
                *response.status_mut() =
                    StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Err(Stop::Answer(Box::new(response)))
            }
        }
    }

    async fn request_side(&mut self, body: &mut Bytes) -> Result<(), Stop> {
        if self.wants(Phase::Inspect) {
            self.inspect(body).await?;
        }
        if self.wants(Phase::Authorize) {
            self.authorize().await?;
        }
        if self.wants(Phase::RequestHead) {
            let action = step!(self, Phase::RequestHead, request_head(), head_text);
            match action {
                Ok(HeadAction::Respond(answer)) => return Err(Stop::Answer(Box::new(answer))),
                Ok(HeadAction::Proceed | HeadAction::Hold) => {}
                Err(failure) => self.failed(Phase::RequestHead, &failure)?,
            }
        }
        if self.wants(Phase::RequestBody) && !body.is_empty() {
            self.body(Phase::RequestBody, body).await?;
        }
        Ok(())
    }

    async fn inspect(&mut self, body: &Bytes) -> Result<(), Stop> {
        let (part, state) = match self.session.interest().request_body {
            BodyMode::None | BodyMode::Stream => (Bytes::new(), BodyState::Last),
            mode @ BodyMode::Buffer { .. } => match buffered(mode, body)? {
                Some(body) => (body, BodyState::Last),
                None => (Bytes::new(), BodyState::TooLarge),
            },
        };
        let verdict = step!(
            self,
            Phase::Inspect,
            inspect(&part, state),
            |verdict: &edgeward_runtime::Verdict| {
                let mut text = match &verdict.block {
                    None => "allow".to_owned(),
                    Some((status, _)) => format!("block with {status}"),
                };
                for (id, message, location) in &verdict.matched {
                    let _unused = write!(text, "; rule {id} ({message}) at {location}");
                }
                for label in &verdict.labels {
                    let _unused = write!(text, "; label {label}");
                }
                text
            }
        );
        match verdict {
            Ok(verdict) => match verdict.block {
                None => Ok(()),
                Some((_, Some(answer))) => Err(Stop::Answer(Box::new(answer))),
                Some((status, None)) => {
                    let detail = "an inspecting plugin refused the request".to_owned();
                    Err(Stop::Reject(
                        RejectCode::WafFiltered,
                        status,
                        detail,
                        Box::default(),
                    ))
                }
            },
            Err(failure) => self.failed(Phase::Inspect, &failure),
        }
    }

    async fn authorize(&mut self) -> Result<(), Stop> {
        let decision = step!(
            self,
            Phase::Authorize,
            authorize(),
            |decision: &Decision| match decision {
                Decision::Allow { ttl_seconds: 0 } => "allow".to_owned(),
                Decision::Allow { ttl_seconds } => format!("allow for {ttl_seconds} s"),
                Decision::Deny { status, reason, .. } => format!("deny with {status}: {reason}"),
                Decision::Respond(answer) => format!("respond with {}", answer.status()),
            }
        );
        match decision {
            Ok(Decision::Allow { .. }) => Ok(()),
            Ok(Decision::Deny {
                status,
                reason,
                headers,
                ..
            }) => {
                let code = if status == StatusCode::UNAUTHORIZED {
                    RejectCode::Unauthorized
                } else {
                    RejectCode::AccessDenied
                };
                Err(Stop::Reject(
                    code,
                    status,
                    reason,
                    Box::new(headers.into_iter().collect()),
                ))
            }
            Ok(Decision::Respond(answer)) => Err(Stop::Answer(Box::new(answer))),
            Err(failure) => self.failed(Phase::Authorize, &failure),
        }
    }

    /// Lets a body through a body phase.
    async fn body(&mut self, phase: Phase, body: &mut Bytes) -> Result<(), Stop> {
        let interest = self.session.interest();
        let mode = if phase == Phase::RequestBody {
            interest.request_body
        } else {
            interest.response_body
        };
        let whole = match mode {
            BodyMode::None => return Ok(()),
            BodyMode::Stream => false,
            BodyMode::Buffer { .. } => match buffered(mode, body) {
                Ok(Some(_)) => true,
                Ok(None) => {
                    return self
                        .chunk(phase, &Bytes::new(), BodyState::TooLarge)
                        .await
                        .map(drop);
                }
                Err(_) if phase == Phase::ResponseBody => {
                    return Err(reject(
                        RejectCode::ResponseTooLarge,
                        "the response body is above the plugin's limit".to_owned(),
                    ));
                }
                Err(stop) => return Err(stop),
            },
        };
        let size = if whole { body.len().max(1) } else { CHUNK };
        let mut passed = Vec::new();
        let mut rest = body.clone();
        loop {
            let chunk = rest.split_to(rest.len().min(size));
            let state = if rest.is_empty() {
                BodyState::Last
            } else {
                BodyState::More
            };
            passed.extend_from_slice(&self.chunk(phase, &chunk, state).await?);
            if state == BodyState::Last {
                break;
            }
        }
        *body = Bytes::from(passed);
        Ok(())
    }

    /// What is passed on of one chunk.
    async fn chunk(&mut self, phase: Phase, chunk: &Bytes, state: BodyState) -> Result<Bytes, Stop> {
        let action = if phase == Phase::RequestBody {
            step!(self, phase, request_body(chunk, state), body_text)
        } else {
            step!(self, phase, response_body(chunk, state), body_text)
        };
        match action {
            Ok(BodyAction::Proceed) => Ok(chunk.clone()),
            Ok(BodyAction::Replace(bytes)) => Ok(bytes),
            Ok(BodyAction::Respond(answer)) => Err(Stop::Answer(Box::new(answer))),
            Err(failure) => self.failed(phase, &failure).map(|()| chunk.clone()),
        }
    }

    async fn response_side(&mut self, body: &mut Bytes) {
        let mut stop = None;
        if self.wants(Phase::ResponseHead) {
            match step!(self, Phase::ResponseHead, response_head(), head_text) {
                Ok(HeadAction::Respond(answer)) => stop = Some(Stop::Answer(Box::new(answer))),
                Ok(HeadAction::Proceed | HeadAction::Hold) => {}
                Err(failure) => stop = self.failed(Phase::ResponseHead, &failure).err(),
            }
        }
        if stop.is_none() && self.wants(Phase::ResponseBody) && !body.is_empty() {
            stop = self.body(Phase::ResponseBody, body).await.err();
        }
        if let Some(stop) = stop {
            let (head, answer) = self.refusal(stop).await;
            *body = answer;
            if let Some(exchange) = self.slot.as_deref_mut() {
                exchange.response = Some(head);
            }
        }
    }

    /// The response of a stop; the plugin may change the gateway's own.
    async fn refusal(&mut self, stop: Stop) -> (ResponseHead, Bytes) {
        let (code, status, detail, mut headers) = match stop {
            Stop::Answer(answer) => return split(*answer),
            Stop::Reject(code, status, detail, headers) => (code, status, detail, headers),
        };
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let body = serde_json::json!({
            "type": "about:blank", "title": code.title(), "status": status.as_u16(), "detail": detail, "responseType": code.name(),
        });
        let body = Bytes::from(body.to_string());
        let head = ResponseHead {
            status,
            headers: *headers,
        };
        if !self.wants(Phase::GatewayError) || self.slot.is_none() {
            return (head, body);
        }
        if let Some(exchange) = self.slot.as_deref_mut() {
            exchange.response = Some(head);
        }
        let answer = step!(
            self,
            Phase::GatewayError,
            gateway_error(code.name(), status, &detail),
            |answer: &Option<Answer>| {
                match answer {
                    None => "proceed".to_owned(),
                    Some(answer) => format!("respond with {}", answer.status()),
                }
            }
        );
        if let Ok(Some(answer)) = answer {
            return split(answer);
        }
        match self
            .slot
            .as_deref_mut()
            .and_then(|exchange| exchange.response.take())
        {
            Some(head) => (head, body),
            None => (
                ResponseHead {
                    status,
                    headers: HeaderMap::new(),
                },
                body,
            ),
        }
    }

    async fn observe(
        &mut self,
        status: u16,
        response_type: Option<&'static str>,
        (request, response): (usize, usize),
        duration: Duration,
    ) {
        if !self.wants(Phase::Observe) {
            return;
        }
        if let Some(exchange) = self.slot.as_deref_mut() {
            exchange.response_sent = true;
        }
        let outcome = Outcome {
            status,
            response_type,
            request_bytes: request as u64,
            response_bytes: response as u64,
            duration,
            upstream: response_type.is_none().then_some(Duration::ZERO),
            endpoint: None,
            aborted: false,
        };
        // nothing that an observer does changes the exchange, its failure included
        let _ended = step!(self, Phase::Observe, observe(&outcome), |(): &()| "done"
            .to_owned());
    }
}

fn reject(code: RejectCode, detail: String) -> Stop {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Stop::Reject(code, status, detail, Box::default())
}

/// The body if it is within the limit; `None` when it passes unseen.
fn buffered(mode: BodyMode, body: &Bytes) -> Result<Option<Bytes>, Stop> {
    match mode {
        BodyMode::Buffer {
            limit,
            reject: refuse,
        } if body.len() as u64 > limit => {
            let detail = format!(
                "body of {} bytes exceeds the {limit} bytes that the plugin buffers",
                body.len()
            );
            if refuse {
                Err(reject(RejectCode::RequestTooLarge, detail))
            } else {
                Ok(None)
            }
        }
        BodyMode::None | BodyMode::Stream | BodyMode::Buffer { .. } => Ok(Some(body.clone())),
    }
}

fn split(answer: Answer) -> (ResponseHead, Bytes) {
    let (parts, body) = answer.into_parts();
    (
        ResponseHead {
            status: parts.status,
            headers: parts.headers,
        },
        body,
    )
}

fn head_text(action: &HeadAction) -> String {
    match action {
        HeadAction::Proceed => "proceed".to_owned(),
        HeadAction::Hold => "hold the head until the body was seen".to_owned(),
        HeadAction::Respond(answer) => format!("respond with {}", answer.status()),
    }
}

fn body_text(action: &BodyAction) -> String {
    match action {
        BodyAction::Proceed => "proceed".to_owned(),
        BodyAction::Replace(bytes) => format!("replace by {} bytes", bytes.len()),
        BodyAction::Respond(answer) => format!("respond with {}", answer.status()),
    }
}

fn shown(value: &ContextValue) -> String {
    match value {
        ContextValue::Text(text) => format!("\"{text}\""),
        ContextValue::Json(text) => text.clone(),
        ContextValue::Integer(number) => number.to_string(),
        ContextValue::Number(number) => number.to_string(),
        ContextValue::Boolean(truth) => truth.to_string(),
        ContextValue::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}

/// What is wrong, if an expectation does not hold.
fn deviation(trial: &Trial, expected: &Expectation) -> Option<String> {
    let passed = trial.upstream.is_some();
    match expected {
        Expectation::Pass if passed => None,
        Expectation::Pass => Some(format!(
            "expected the request to pass, it was {} with {}",
            trial.verdict, trial.status
        )),
        Expectation::Status(status) if *status == trial.status => None,
        Expectation::Status(status) => Some(format!(
            "expected status {status}, got {} ({})",
            trial.status, trial.verdict
        )),
        Expectation::RequestHeader(name, value) => match &trial.upstream {
            Some((headers, _)) => field_deviation("request", headers, name, value),
            None => Some(format!(
                "expected request field `{name}`, but the request was {}",
                trial.verdict
            )),
        },
        Expectation::ResponseHeader(name, value) => field_deviation("response", &trial.client.0, name, value),
        Expectation::RequestBody(text) => match &trial.upstream {
            Some((_, body)) => body_deviation("request", body, text),
            None => Some(format!(
                "expected a request body, but the request was {}",
                trial.verdict
            )),
        },
        Expectation::ResponseBody(text) => body_deviation("response", &trial.client.1, text),
    }
}

fn field_deviation(side: &str, headers: &HeaderMap, name: &str, value: &str) -> Option<String> {
    let found: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    if if value.is_empty() {
        found.is_empty()
    } else {
        found.iter().any(|found| found == value)
    } {
        return None;
    }
    let expected = if value.is_empty() {
        "no value".to_owned()
    } else {
        format!("`{value}`")
    };
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        format!("`{}`", found.join("`, `"))
    };
    Some(format!(
        "expected {side} field `{name}` with {expected}, got {found}"
    ))
}

fn body_deviation(side: &str, body: &Bytes, text: &str) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    (!body.contains(text)).then(|| {
        format!(
            "expected a {side} body that contains `{text}`, got `{}`",
            body.chars().take(200).collect::<String>()
        )
    })
}
