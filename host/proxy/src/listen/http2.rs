//! HTTP/2 by hyper: one connection, its idle time, what its client may not do to it, its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use edgeward_core::config::Limits;
use hyper::{
    Method, Request, body::Incoming, ext::Protocol, server::conn::http2, service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::{
    ConnInfo,
    frames::Abuse,
    gathered::Gathered,
    stall::{Pieces, Streams},
};
use crate::{
    body::Body,
    handle,
    http1::{LINGER_TIME, Linger},
    pace::Pace,
    timer::Timer,
    upgrade::Wish,
    worker::Worker,
};

/// Serves a connection to its end. An abuser is told so (GOAWAY), counted and let go.
pub(super) async fn serve(worker: &Arc<Worker>, conn: &Arc<ConnInfo>, limits: &Limits, stream: Gathered) {
    let found = Box::pin(exchange(worker, conn, limits, stream.clone())).await;
    // hyper's side of the connection is gone by now, and with it what it held of streams
    let Some(abuse) = found else { return };
    worker.shared.metrics.abuse(abuse);
    tracing::info!(reason = %abuse, peer = %conn.peer.address, "HTTP/2 connection ended");
    if abuse == Abuse::SlowReader {
        return; // nothing gets through
    }
    stream.say_goaway(abuse);
    let mut linger = Linger::default();
    let closing = poll_fn(|context| stream.poll_linger(&mut linger, context));
    let _cut_off = tokio::time::timeout(LINGER_TIME, closing).await;
}

/// Exchanges requests and responses until the connection ends; returns the reason if that is the client's doing.
async fn exchange(
    worker: &Arc<Worker>,
    conn: &Arc<ConnInfo>,
    limits: &Limits,
    stream: Gathered,
) -> Option<Abuse> {
    let service = service_fn(|mut request: Request<Incoming>| {
        let upgrade = wish(&mut request);
        let worker = Arc::clone(worker);
        let exchange = handle::handle(
            Arc::clone(&worker),
            Arc::clone(conn),
            request.map(Body::from_client),
        );
        // in a box: hyper moves the future several times before it runs
        let stream = stream.clone();
        Box::pin(async move {
            let mut response = exchange.await;
            if let Some(upgrade) = upgrade
                && let Some(tunnel) = response.body_mut().take_tunnel()
            {
                worker.connections.spawn(async move {
                    match upgrade.await {
                        Ok(stream) => tunnel.run(TokioIo::new(stream), BytesMut::new()).await,
                        Err(error) => tracing::debug!(%error, "the client went before its tunnel began"),
                    }
                });
            }
            Ok::<_, Infallible>(response.map(|body| Pieces::new(body, stream.small_windows())))
        })
    });
    let connection = builder(worker, limits).serve_connection(TokioIo::new(stream.clone()), service);
    tokio::pin!(connection);
    let idle = tokio::time::sleep(limits.idle_timeout.0);
    tokio::pin!(idle);
    let drain = conn.drain.cancelled();
    tokio::pin!(drain);
    let mut watch = Watch::new(limits);
    let mut ending = false;
    loop {
        tokio::select! {
            ended = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                // also what a connection that ends has to say
                let slow = watch.poll(&stream, context);
                match polled {
                    Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                    Poll::Pending => slow.map(Err),
                }
            }) => {
                return match ended {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => {
                        tracing::debug!(%error, peer = %conn.peer.address, "connection ended");
                        stream.abuse()
                    }
                    Err(slow) => slow,
                };
            }
            () = drain.as_mut(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle.as_mut() => {
                let left = conn.idle_left(limits.idle_timeout.0);
                if left.is_zero() {
                    if ending {
                        return None;
                    }
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                idle.as_mut().reset(Instant::now() + left.max(Duration::from_secs(1)));
            }
        }
    }
}

/// What has its time on a connection, besides its streams: a head that has begun, and what was written.
struct Watch {
    head_timeout: Duration,
    /// The head that the client is in the middle of, and when it has to be whole.
    head: Option<(u64, Instant)>,
    head_timer: Timer,
    sent: u64,
    pace: Pace,
    pace_timer: Timer,
}

impl Watch {
    fn new(limits: &Limits) -> Self {
        Self {
            head_timeout: limits.head_timeout.0,
            head: None,
            head_timer: Timer::new(),
            sent: 0,
            pace: Pace::new(limits.idle_timeout.0, limits.min_rate.0),
            pace_timer: Timer::new(),
        }
    }

    /// Sends what was gathered. Ready when the connection has to end: it broke (`None`), or the client is too slow.
    fn poll(&mut self, stream: &Gathered, context: &mut Context<'_>) -> Poll<Option<Abuse>> {
        match stream.poll_send(context) {
            Poll::Ready(Ok(())) => self
                .pace
                .moved(stream.sent() - std::mem::replace(&mut self.sent, stream.sent())),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "connection broke");
                return Poll::Ready(None);
            }
            Poll::Pending => {
                let moved = stream.sent() - std::mem::replace(&mut self.sent, stream.sent());
                if moved > 0 {
                    self.pace.moved(moved);
                }
                if self.pace.poll_slow(&mut self.pace_timer, context) {
                    return Poll::Ready(Some(Abuse::SlowReader));
                }
            }
        }
        let unfinished = stream.unfinished();
        if self.head.map(|(head, _)| head) != unfinished {
            self.head = unfinished.map(|head| (head, Instant::now() + self.head_timeout));
        }
        let Some((_, deadline)) = self.head else {
            return Poll::Pending;
        };
        ready!(self.head_timer.poll(deadline, context));
        Poll::Ready(Some(Abuse::SlowHead))
    }
}

/// What an extended CONNECT (RFC 8441 section 4) asks for, and where its stream will be. Other requests have neither.
fn wish(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let websocket = protocol.as_str().eq_ignore_ascii_case("websocket");
    request.extensions_mut().insert(Wish::Connect { websocket });
    Some(hyper::upgrade::on(request))
}

/// Largest head that is read, in bytes: hyper's limits are the outer wall; `admit` applies the exact ones with an error body.
pub(super) fn head_max(limits: &Limits) -> usize {
    usize::try_from(limits.head.0.saturating_mul(2)).unwrap_or(usize::MAX)
}

fn builder(worker: &Arc<Worker>, limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams::new(worker, limits));
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(head_max(limits)).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(limits.h2_resets as usize))
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
