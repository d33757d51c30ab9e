//! What runs exactly once per exchange, when the last byte of the response is out or the client has gone: access log, metrics, observers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeward_core::{
    api::Logging,
    reject::{Reject, RejectCode},
};
use edgeward_runtime::Outcome;
use http::{HeaderMap, HeaderValue, Method, Version, uri::PathAndQuery};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{
    api::{Call, Voice},
    body::{Body, BodyError},
    grpc,
    listen::ConnInfo,
    pipeline::SharedChain,
    snapshot::{Route, Snapshot},
    tunnel::{Ended, Tunnel},
    upstream::Switched,
    worker::Worker,
};

/// Everything that is known of an exchange when it ends. Reports when dropped, so that nothing gets lost when a client goes away.
pub(crate) struct Finish {
    pub(crate) worker: Arc<Worker>,
    pub(crate) conn: Arc<ConnInfo>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) started: Instant,
    pub(crate) request_id: String,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) client: Option<std::net::IpAddr>,
    /// The API that the request belongs to, if any.
    pub(crate) call: Option<Box<Call>>,
    /// Whose words errors are in, as long as the API is not known.
    pub(crate) voice: Voice,
    /// Index of the matched route in its table: the API's, or the configuration file's.
    pub(crate) route: Option<usize>,
    pub(crate) reject: Option<Reject>,
    pub(crate) status: u16,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u8,
    pub(crate) upstream: Option<Duration>,
    /// Counts the bytes of the request's body, if it has one.
    pub(crate) request_bytes: Option<Arc<AtomicU64>>,
    pub(crate) response_bytes: u64,
    /// The plugins of the exchange, if any: observers run at the end.
    pub(crate) chain: Option<SharedChain>,
    /// True once the response body was handed out to its end.
    pub(crate) complete: bool,
    /// The upstream's connection, when it agreed to an upgrade and the client was not told yet.
    pub(crate) switched: Option<Box<Switched>>,
    /// What the request asks for, if it is a gRPC call.
    pub(crate) grpc: Option<grpc::Call>,
    /// Set by the tunnel, if the exchange became one.
    pub(crate) tunnel: Option<Ended>,
    /// Status of the upstream's response.
    pub(crate) upstream_status: Option<u16>,
    /// Path and query, and host, as the client sent them, where an authorizer may ask; fields, where one does.
    pub(crate) raw_target: Option<PathAndQuery>,
    pub(crate) raw_authority: Option<HeaderValue>,
    pub(crate) raw_headers: Option<HeaderMap>,
    /// Time to the response head, of APIs.
    pub(crate) answered: Option<Duration>,
}

fn is_plugin_failure(code: RejectCode) -> bool {
    matches!(
        code,
        RejectCode::AuthorizerFailure
            | RejectCode::AuthorizerConfiguration
            | RejectCode::PluginFailure
            | RejectCode::PluginTimeout
            | RejectCode::PluginInvalidAnswer
    )
}

impl Drop for Finish {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        // how long a tunnel was open says nothing about how fast it was answered
        let answered = self.tunnel.as_ref().map_or(duration, |tunnel| tunnel.answered);
        let request_bytes = self.request_bytes.as_ref().map_or(0, |bytes| bytes.load(Relaxed));
        self.conn.end();
        let metrics = &self.worker.shared.metrics;
        metrics.exchanges.fetch_sub(1, Relaxed);
        if let Some(reject) = &self.reject {
            metrics.reject(reject.code);
        }
        let route = self.route();
        let stats = route.map_or(&self.worker.shared.unrouted, |route| &route.stats);
        stats.record(self.status, answered, request_bytes, self.response_bytes);
        if let Some(call) = &self.call {
            let refused = self.reject.as_ref().map(|reject| reject.code);
            // one that the request went on without, too
            let failed = refused.is_some_and(is_plugin_failure)
                || self.chain.as_ref().is_some_and(SharedChain::has_failed);
            call.arm
                .stats
                .record(self.status, failed, self.answered.unwrap_or(answered));
        }
        if let Some(call) = &self.call
            && let Some(log) = &call.arm.access_log
        {
            log.leave(self, call, duration, request_bytes);
        }
        if self.snapshot.log_access && self.is_logged(route) {
            self.log(
                route.map_or("", |route| &route.info.name),
                duration,
                request_bytes,
            );
        }
        if let Some(chain) = self.chain.take() {
            let outcome = Outcome {
                status: self.status,
                response_type: self.reject.as_ref().map(|reject| reject.code.name()),
                request_bytes,
                response_bytes: self.response_bytes,
                duration,
                upstream: self.upstream,
                endpoint: self.endpoint.clone(),
                aborted: !self.complete,
            };
            // one task per finished exchange, and exchanges are bounded by connections and streams
            if chain.observes() && tokio::runtime::Handle::try_current().is_ok() {
                self.worker
                    .background
                    .spawn(async move { chain.observe(&outcome).await });
            }
        }
    }
}

impl Finish {
    /// Its route, once that is known: the API's, or the configuration file's.
    pub(crate) fn route(&self) -> Option<&Route> {
        let table = self
            .call
            .as_ref()
            .map_or(&self.snapshot.table, |call| &call.arm.table);
        table.routes.get(self.route?)
    }

    fn is_logged(&self, route: Option<&Route>) -> bool {
        match route.and_then(|route| route.api.as_ref()).map(|api| api.logging) {
            Some(Logging::Off) => false,
            Some(Logging::Error) => self.status >= 400 || !self.complete,
            Some(Logging::Info) | None => true,
        }
    }

    fn log(&self, route: &str, duration: Duration, request_bytes: u64) {
        tracing::info!(
            target: "access",
            request_id = self.request_id,
            method = %self.method,
            host = self.host,
            path = self.path,
            protocol = ?self.version,
            listener = self.conn.listener.name,
            client = self.client.map(tracing::field::display),
            client_subject = self.conn.client_subject.as_deref(),
            route,
            api = self.call.as_ref().map(|call| &*call.arm.api),
            stage = self.call.as_ref().map(|call| &*call.arm.stage),
            canary = self.call.as_ref().and_then(|call| call.arm.is_canary),
            status = self.status,
            response_type = self.reject.as_ref().map(|reject| reject.code.name()),
            cause = self.reject.as_ref().and_then(|reject| reject.cause.as_deref()),
            endpoint = self.endpoint.as_deref(),
            attempts = self.attempts,
            upstream_ms = self.upstream.map(|time| time.as_secs_f64() * 1000.0),
            bytes_in = request_bytes,
            bytes_out = self.response_bytes,
            elapsed_ms = duration.as_secs_f64() * 1000.0,
            aborted = !self.complete,
            tunnel_end = self.tunnel.as_ref().map(|tunnel| tunnel.end),
            snapshot = self.snapshot.id(),
            "exchange"
        );
    }
}

/// A response body that finishes its exchange.
pub(crate) struct Outgoing {
    body: Body,
    /// In a box: it is large, and responses are moved a few times. Behind an upgrade the tunnel has it.
    finish: Option<Box<Finish>>,
    /// When a gRPC call has to end.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    pub(crate) fn new(body: Body, mut finish: Box<Finish>) -> Self {
        finish.complete = body.is_end_stream();
        Self {
            body,
            finish: Some(finish),
            deadline: None,
        }
    }

    /// Ends the body with trailers of gRPC when this timer is over.
    pub(crate) fn until(mut self, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Cuts the body off when its time is over. What it came from is let go.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Frame<Bytes>> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(context));
        self.deadline = None;
        self.body = Body::empty();
        let reject = grpc::expired();
        let trailers = grpc::trailers(&reject);
        if let Some(finish) = &mut self.finish {
            finish.reject = Some(reject);
        }
        Poll::Ready(Frame::trailers(trailers))
    }

    /// What goes on behind this response, if the upstream has agreed to leave HTTP. The response's body is empty then.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        let upstream = self.finish.as_mut()?.switched.take()?;
        Some(Tunnel::new(self.finish.take()?, *upstream))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.body.is_end_stream()
            && let Poll::Ready(last) = self.poll_deadline(context)
        {
            return Poll::Ready(Some(Ok(last)));
        }
        let Self { body, finish, .. } = &mut *self;
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        let Some(finish) = finish else {
            return Poll::Ready(frame);
        };
        match &frame {
            None => finish.complete = true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    finish.response_bytes += data.len() as u64;
                }
                finish.complete = body.is_end_stream();
            }
            Some(Err(error)) => {
                tracing::debug!(request_id = finish.request_id, %error, "response body broke off");
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Field values that a response must not carry twice or never.
pub(crate) fn framing_removed(headers: &mut HeaderMap) {
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::TRANSFER_ENCODING);
}
