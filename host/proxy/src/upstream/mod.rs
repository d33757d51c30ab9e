//! Requests to upstreams: choice of an endpoint, a connection, the exchange, and retries. `send` is all the request path needs; `UpstreamGroup` is
//! shared by the workers, `Pools` belongs to one. Whether a retry is safe and affordable is decided in `edgeward_core::retry`.

mod connect;
mod endpoint;
mod error;
mod group;
mod h1;
mod health;
mod pool;
mod request;
mod resolve;
mod tls;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use edgeward_core::{
    config::UpstreamProtocol,
    forwarded::hop_by_hop,
    retry::{self, Failure},
};
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::{
    connect::H2Stream,
    endpoint::{Endpoint, InFlight},
    error::Failed,
    h1::{H1, H1Exchange, Home, Unanswered},
    pool::{H2Lease, Keep},
};
pub use self::{
    error::UpstreamConfigError,
    group::{EndpointStatus, UpstreamGroup},
    tls::roots,
};
pub(crate) use self::{
    error::{UpstreamError, UpstreamErrorKind},
    h1::{ResponseBody, Switched},
    pool::Pools,
};
use crate::{
    body::{Body, Stage, Upload},
    upgrade::Upgrade,
};

const UNASKED: &str = "101 to a request without Upgrade";

/// Addresses of one name that are tried when connecting fails, without counting as retries (a name may have a family that is not reachable).
const SIBLINGS_MAX: usize = 3;

/// What a single request wants different from its upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendOptions {
    /// Time from the end of the request to the response head, instead of `response-timeout`.
    pub(crate) timeout: Option<Duration>,
    /// The handshake that the request's head has. Sent once and never again, and on a new connection, which nobody has closed meanwhile.
    pub(crate) upgrade: Option<Upgrade>,
}

/// A response head with its body still flowing.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The response. Its body gives the connection back when it has been read to its end and closes or resets it when dropped before.
    pub(crate) response: Response<Body>,
    /// Address of the endpoint that answered.
    pub(crate) endpoint: Arc<str>,
    /// Attempts made, retries included.
    pub(crate) attempts: u8,
    /// Time from the call to the response head in microseconds.
    pub(crate) head_us: u64,
    /// The connection, when the response is a 101 that agrees to the upgrade.
    pub(crate) switched: Option<Box<Switched>>,
}

/// Sends a request to an endpoint of `group` and waits for the response head.
///
/// The request may have its target in any form; it goes out in the form of the upstream's protocol, with `host` of the configuration if there is
/// one, and without `Expect`. Other hop-by-hop fields are the caller's to remove. The request body is sent while the response is waited for and may
/// go on after this returned. Time in which a client is slow to send does not count against the upstream; a limit on that is the caller's
/// ([`Body::with_timeout`]). A response that does not come in time is not retried: the client has waited long enough.
///
/// # Errors
/// [`UpstreamError`] when there is no response head.
///
/// # Cancel safety
/// Dropping the future ends the exchange: an HTTP/1.1 connection is closed, an HTTP/2 stream reset. Nothing half-used gets back to a pool.
pub(crate) async fn send(
    pools: &Pools,
    group: &UpstreamGroup,
    request: Request<Body>,
    options: SendOptions,
) -> Result<Sent, UpstreamError> {
    let began = Instant::now();
    let mut tried = SmallVec::<[u64; 4]>::new();
    let mut attempts = 0_u8;
    let mut siblings = 0;
    if group.is_empty() {
        Box::pin(group.resolve_if_empty()).await;
    }
    let mut now = group.now();
    group.budget.request(now);
    let mut call = Call::new(pools, group, request, options);
    loop {
        let Some(endpoint) = group.pick(now, &tried) else {
            return Err(UpstreamError {
                kind: UpstreamErrorKind::NoEndpoint,
                endpoint: None,
                source: None,
                attempts,
            });
        };
        attempts = attempts.saturating_add(1);
        let outcome = call.attempt(&endpoint).await;
        tried.push(endpoint.id);
        match outcome {
            Ok(mut response) => {
                group.record(&endpoint, !response.status().is_server_error());
                if call.retries_status(response.status()) && call.may_retry(Failure::Status, attempts) {
                    drain(&mut response);
                    now = group.now();
                    continue;
                }
                let head_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                return Ok(Sent {
                    response,
                    endpoint: Arc::clone(&endpoint.name),
                    attempts,
                    head_us,
                    switched: call.switched,
                });
            }
            Err(Failed { kind, source }) => {
                if !matches!(kind, UpstreamErrorKind::RequestBody(_)) {
                    group.record(&endpoint, false);
                }
                let unsent = call.body.is_some();
                let again = match kind {
                    UpstreamErrorKind::Connect
                        if unsent && siblings < SIBLINGS_MAX && group.has_sibling(&endpoint, &tried) =>
                    {
                        siblings += 1;
                        attempts -= 1;
                        true
                    }
                    UpstreamErrorKind::RequestBody(_) | UpstreamErrorKind::ResponseTimeout => false,
                    _ if unsent => call.may_retry(Failure::NotSent, attempts),
                    _ => call.may_retry(Failure::NoAnswer, attempts),
                };
                if !again {
                    let endpoint = Some(Arc::clone(&endpoint.name));
                    return Err(UpstreamError {
                        kind,
                        endpoint,
                        source,
                        attempts,
                    });
                }
                tracing::debug!(upstream = %group.name, endpoint = %endpoint.name, ?kind, "request is tried again");
                now = group.now();
            }
        }
    }
}

/// A request on its way through one or more attempts.
struct Call<'a> {
    pools: &'a Pools,
    group: &'a UpstreamGroup,
    head: Request<()>,
    timeout: Duration,
    /// The body while nothing of the request was sent.
    body: Option<Body>,
    /// The body once more, where sending the request again is safe: it is idempotent and the body in memory. Costs no copy of bytes.
    again: Option<Body>,
    upload: Option<Arc<Upload>>,
    upgrade: Option<Upgrade>,
    switched: Option<Box<Switched>>,
}

enum Connection {
    H1(H1),
    H2(H2Stream),
}

impl Connection {
    /// Sends a request and waits for its response head. The time runs from the last byte that the client sent; while the client is waited for it does
    /// not run.
    async fn send(
        self,
        head: &Request<()>,
        body: Body,
        upload: Option<&Upload>,
        timeout: Duration,
    ) -> Result<Answer, Unanswered> {
        let late = || Unanswered {
            body: None,
            failed: Failed::bare(UpstreamErrorKind::ResponseTimeout),
        };
        match self {
            Self::H1(h1) => {
                let (response, exchange) = match upload {
                    None => h1.send(head, body, Some(timeout)).await?,
                    Some(upload) => Box::pin(within(timeout, upload, h1.send(head, body, None)))
                        .await
                        .ok_or_else(late)??,
                };
                Ok(Answer::H1(response, exchange))
            }
            Self::H2(mut stream) => {
                let sent = Box::pin(stream.send(head, body));
                let response = match upload {
                    None => tokio::time::timeout(timeout, sent).await.ok(),
                    Some(upload) => within(timeout, upload, sent).await,
                };
                Ok(Answer::H2(response.ok_or_else(late)??, stream))
            }
        }
    }
}

/// A response head and where its body comes from.
enum Answer {
    H1(Response<()>, H1Exchange),
    H2(Response<Incoming>, H2Stream),
}

impl<'a> Call<'a> {
    fn new(pools: &'a Pools, group: &'a UpstreamGroup, request: Request<Body>, options: SendOptions) -> Self {
        let (parts, mut body) = request.into_parts();
        let mut head = Request::from_parts(parts, ());
        request::prepare(group, &mut head);
        let upload = body.is_streaming().then(|| Arc::new(Upload::new()));
        if let Some(upload) = &upload {
            body.set_upload(Arc::clone(upload));
        }
        Self {
            pools,
            group,
            timeout: options.timeout.unwrap_or(group.config.response_timeout.0),
            again: (head.method().is_idempotent() && options.upgrade.is_none())
                .then(|| body.copy())
                .flatten(),
            body: Some(body),
            head,
            upload,
            upgrade: options.upgrade,
            switched: None,
        }
    }

    fn retries_status(&self, status: StatusCode) -> bool {
        status.as_u16() >= 400 && self.group.config.retry.on_status.contains(&status.as_u16())
    }

    /// Whether another attempt is safe, allowed and affordable. Asked last: it takes from the budget.
    fn may_retry(&self, failure: Failure, attempts: u8) -> bool {
        attempts <= self.group.config.retry.attempts
            && retry::may_repeat(failure, self.head.method(), self.again.is_some())
            && self.group.budget.try_retry(self.group.now())
    }

    /// One attempt on one endpoint. A kept connection that turns out to be closed does not count: the request goes out again on a new one when
    /// nothing of it was written, or when it is safe to repeat.
    async fn attempt(&mut self, endpoint: &Arc<Endpoint>) -> Result<Response<Body>, Failed> {
        let flight = InFlight::new(Arc::clone(endpoint));
        let mut fresh = self.upgrade.is_some();
        loop {
            let (connection, reused) = connection(self.pools, self.group, endpoint, fresh).await?;
            let body = self.body.take();
            let Some(body) = body.or_else(|| self.again.as_ref().and_then(Body::copy)) else {
                return Err(Failed::bare(UpstreamErrorKind::Reset)); // not reached: retries need one of both
            };
            let sent = connection.send(&self.head, body, self.upload.as_deref(), self.timeout);
            match sent.await {
                Ok(answer) => return self.accept(answer, flight),
                Err(Unanswered { body, failed }) => {
                    self.body = body;
                    let failed = self.sort(failed);
                    let closed = matches!(failed.kind, UpstreamErrorKind::Reset);
                    let repeatable = self.body.is_some() || self.again.is_some();
                    if !(reused && closed && repeatable) {
                        return Err(failed);
                    }
                    fresh = true;
                }
            }
        }
    }

    /// A failing request body shows as a broken exchange; the body itself knows better.
    fn sort(&self, failed: Failed) -> Failed {
        match self.upload.as_ref().and_then(|upload| upload.error()) {
            Some(body) => Failed::bare(UpstreamErrorKind::RequestBody(body)),
            None => failed,
        }
    }

    fn accept(&mut self, answer: Answer, flight: InFlight) -> Result<Response<Body>, Failed> {
        if let Some(upload) = &self.upload {
            upload.answered();
        }
        let config = &self.group.config;
        match answer {
            Answer::H1(response, exchange) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let upgrade = self.upgrade.take().ok_or(UNASKED);
                let switched = upgrade.and_then(|upgrade| {
                    upgrade.agreed(&response)?;
                    exchange.switch(upgrade, flight)
                });
                let switched =
                    switched.map_err(|problem| Failed::new(UpstreamErrorKind::Protocol, problem))?;
                self.switched = Some(Box::new(switched));
                Ok(response.map(|()| Body::empty()))
            }
            Answer::H1(response, exchange) => {
                let home = Home {
                    pools: self.pools.clone(),
                    flight,
                    keep: Keep {
                        time: config.idle_timeout.0,
                        max: usize::try_from(config.idle_connections).unwrap_or(usize::MAX),
                        body_timeout: config.body_timeout.0,
                    },
                };
                let body = exchange.into_body(home);
                Ok(response.map(|()| body))
            }
            Answer::H2(response, stream) => {
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return Err(Failed::new(UpstreamErrorKind::Protocol, UNASKED));
                }
                if !response.headers().keys().all(hop_by_hop::is_token) {
                    return Err(Failed::new(
                        UpstreamErrorKind::Protocol,
                        "a name that is no field's",
                    ));
                }
                let lease = Box::new(H2Lease { flight, stream });
                Ok(response.map(|incoming| {
                    Body::from_upstream(incoming)
                        .with_timeout(config.body_timeout.0, 0)
                        .with_lease(lease)
                }))
            }
        }
    }
}

/// A kept connection unless `fresh`, else a new one. The flag says whether it was kept.
async fn connection(
    pools: &Pools,
    group: &UpstreamGroup,
    endpoint: &Endpoint,
    fresh: bool,
) -> Result<(Connection, bool), Failed> {
    match group.config.protocol {
        UpstreamProtocol::Http1 => {
            if !fresh && let Some(h1) = pools.take(endpoint) {
                return Ok((Connection::H1(h1), true));
            }
            // Boxed: handshakes are large and rare, and every request carries the future of this function.
            Box::pin(connect::h1(group, endpoint))
                .await
                .map(|h1| (Connection::H1(h1), false))
        }
        UpstreamProtocol::Http2 => {
            if !fresh && let Some(stream) = pools.open_stream(endpoint, false) {
                return Ok((Connection::H2(stream), true));
            }
            let (stream, reused) = Box::pin(pools.new_stream(group, endpoint, fresh)).await?;
            Ok((Connection::H2(stream), reused))
        }
    }
}

/// Waits for `answer`, for `timeout` from the last byte that the client sent.
async fn within<F: Future>(timeout: Duration, upload: &Upload, answer: F) -> Option<F::Output> {
    let mut answer = std::pin::pin!(answer);
    let mut timer = std::pin::pin!(tokio::time::sleep(timeout));
    loop {
        tokio::select! {
            biased;
            output = &mut answer => return Some(output),
            () = &mut timer => {
                let now = Instant::now();
                let since = match upload.state() {
                    (Stage::Source, _) => now,
                    (Stage::Sink | Stage::Done, since) => since,
                };
                let deadline = since + timeout;
                if deadline <= now {
                    return None;
                }
                timer.as_mut().reset(deadline);
            }
        }
    }
}

/// Reads what is left of a response that is not wanted, as far as it is already there, so that its connection can be used again.
fn drain(response: &mut Response<Body>) {
    for _ in 0..16 {
        match response.body_mut().frame().now_or_never() {
            Some(Some(Ok(_))) => {}
            _ => return,
        }
    }
}
