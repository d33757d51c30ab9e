//! HTTP/2 by hyper: one connection, its idle time, its end.

use std::{convert::Infallible, future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use edgeward_core::config::Limits;
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::{ConnInfo, gathered::Gathered};
use crate::{body::Body, handle, worker::Worker};

/// Serves a connection to its end.
pub(super) async fn serve(worker: &Arc<Worker>, conn: &Arc<ConnInfo>, limits: &Limits, stream: Gathered) {
    let service = service_fn(|request: Request<Incoming>| {
        let exchange = handle::handle(
            Arc::clone(worker),
            Arc::clone(conn),
            request.map(Body::from_client),
        );
        // in a box: hyper moves the future several times before it runs
        Box::pin(async { Ok::<_, Infallible>(exchange.await) })
    });
    let connection = builder(limits).serve_connection(TokioIo::new(stream.clone()), service);
    tokio::pin!(connection);
    let idle = tokio::time::sleep(limits.idle_timeout.0);
    tokio::pin!(idle);
    let drain = worker.drain.cancelled();
    tokio::pin!(drain);
    let mut ending = false;
    loop {
        tokio::select! {
            ended = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                // also what a connection that ends has to say
                match (polled, stream.poll_send(context)) {
                    (Poll::Ready(ended), _) => Poll::Ready(ended.map_err(io::Error::other)),
                    (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                    (Poll::Pending, _) => Poll::Pending,
                }
            }) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = %conn.peer.address, "connection ended");
                }
                return;
            }
            () = drain.as_mut(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle.as_mut() => {
                let left = conn.idle_left(limits.idle_timeout.0);
                if left.is_zero() {
                    if ending {
                        return;
                    }
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                idle.as_mut().reset(tokio::time::Instant::now() + left.max(Duration::from_secs(1)));
            }
        }
    }
}

/// hyper's limits are the outer wall; `admit` applies the exact ones with an error body.
fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.head.0.saturating_mul(2)).unwrap_or(u32::MAX))
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
