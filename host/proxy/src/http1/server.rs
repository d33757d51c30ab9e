//! The life of a client connection: head, exchange, response, again. One task, one timer, no timer operation per request.

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use edgeward_core::{
    config::Limits,
    reject::{Reject, RejectCode},
};
use http::{Method, Request, Response, Version};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    RequestBody, Stream,
    body::Shared,
    decode::Decoder,
    encode::{self, About, Framing},
    head::{self, Head},
    io::{Io, LINGER_TIME, Linger},
    send::Outflow,
};
use crate::{
    body::Body, finish::Outgoing, handle, listen::ConnInfo, pace::Pace, timer::Timer, tunnel::Tunnel,
    upgrade::Wish, worker::Worker,
};

/// What is read of a request body that nobody wants, so that its connection can be used again.
const DRAIN_MAX: u64 = 256 << 10;

type SharedConnection = Arc<Mutex<Shared>>;

/// How the wait for a head ended.
enum Waited {
    Head(Head),
    Refused(Reject),
    /// The client closed, was idle for too long, or the gateway drains.
    Over,
}

/// Serves a connection to its end. `first` are bytes that were read already.
///
/// # Cancel safety
/// Dropping the future closes the connection and ends the running exchange.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    limits: Limits,
    stream: Stream,
    first: BytesMut,
) {
    let shared = Arc::new(Mutex::new(Shared::new(Io::new(stream, first))));
    let _closing = Closing(Arc::clone(&shared));
    let mut timer = Timer::new();
    let mut drain = pin!(conn.drain.cancelled());
    // a connection that was just made gets the time for a head, later ones the idle time
    let mut patience = limits.head_timeout.0;
    loop {
        let waited = wait_for_head(drain.as_mut(), &shared, &limits, &mut timer, patience).await;
        let (method, version, mut keep_alive, trailers, mut response) = match waited {
            Waited::Over => break,
            Waited::Refused(reject) => {
                let response =
                    handle::refuse(Arc::clone(&worker), Arc::clone(&conn), reject, Version::HTTP_11);
                (Method::GET, Version::HTTP_11, false, false, response)
            }
            Waited::Head(head) => {
                let (method, version) = (head.parts.method.clone(), head.parts.version);
                let wishes = head.parts.extensions.get::<Wish>().is_some();
                // a client that was not let go may think that it was: nothing behind is taken for a request
                let (keep_alive, trailers) = (head.keep_alive && !wishes, head.trailers);
                let body = begin_body(&shared, head.body, head.expects_continue);
                let request = Request::from_parts(head.parts, body);
                let exchange = pin!(handle::handle(Arc::clone(&worker), Arc::clone(&conn), request));
                let Some(response) = unless_gone(&shared, exchange).await else {
                    return; // the client has gone: the exchange was dropped and has logged so
                };
                (method, version, keep_alive, trailers, response)
            }
        };
        let tunnel = agreed_tunnel(&shared, &mut response);
        {
            let mut shared = shared.lock();
            // a client that was not told to send its body may or may not send it; behind wrong framing nothing makes sense
            keep_alive &= !std::mem::take(&mut shared.expects_continue)
                && !matches!(shared.decoder, Decoder::Broken)
                && !conn.drain.is_cancelled();
        }
        let mut about = About {
            method: &method,
            version,
            keep_alive,
        };
        // not locked: the length of the body may be that of the request's
        let mut output = std::mem::take(shared.lock().io.output());
        let framing = encode::response_head(&mut output, &response, &mut about);
        *shared.lock().io.output() = output;
        let keep_alive = about.keep_alive;
        let outflow = Outflow::new(response.into_body(), framing, trailers);
        let pace = Pace::new(limits.idle_timeout.0, limits.min_rate.0);
        if let Err(error) = send(&shared, outflow, &mut timer, pace).await {
            if error.kind() == io::ErrorKind::TimedOut {
                worker.shared.metrics.slow_readers.fetch_add(1, Relaxed);
            }
            // where the end of the connection is the end of the body, a broken one must not look whole
            if framing == Framing::Close {
                shared.lock().io.reset();
            }
            tracing::debug!(%error, peer = %conn.peer.address, "connection ended");
            return;
        }
        if let Some(tunnel) = tunnel {
            let (stream, early) = shared.lock().io.leave();
            tunnel.run(stream, early).await;
            return;
        }
        if !keep_alive || !end_body(&shared).await {
            linger(&shared).await;
            return;
        }
        patience = limits.idle_timeout.0;
    }
    let closing = std::future::poll_fn(|context| shared.lock().io.poll_shutdown(context));
    let _closed = tokio::time::timeout(LINGER_TIME, closing).await;
}

/// The tunnel that begins behind the response. A client has to wait for the answer (RFC 6455 section 4.1): where bytes came before it, somebody may
/// have taken them for a request, and they are neither that nor passed on.
fn agreed_tunnel(shared: &SharedConnection, response: &mut Response<Outgoing>) -> Option<Tunnel> {
    let tunnel = response.body_mut().take_tunnel()?;
    if shared.lock().io.is_quiet() {
        return Some(tunnel);
    }
    *response = tunnel.refuse(early());
    None
}

fn early() -> Reject {
    Reject::new(
        RejectCode::BadRequest,
        "bytes came behind a request with Upgrade before it was answered",
    )
}

/// Closes the socket when the connection's task ends, even if a body of the last request is still held elsewhere.
struct Closing(SharedConnection);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.detach();
        shared.io.close();
    }
}

/// Waits for a request: `patience` for its first byte, the head timeout from there.
async fn wait_for_head(
    mut drain: Pin<&mut impl Future<Output = ()>>,
    shared: &SharedConnection,
    limits: &Limits,
    timer: &mut Timer,
    patience: Duration,
) -> Waited {
    let mut scan = head::Scan::default();
    let mut deadline = None;
    let mut begun = false;
    std::future::poll_fn(|context| {
        let io = &mut shared.lock().io;
        loop {
            match head::parse(&mut io.input, &mut scan, limits) {
                Ok(Some(head)) if head.upgrade && head.body.is_done() && !io.input.is_empty() => {
                    return Poll::Ready(Waited::Refused(early()));
                }
                Ok(Some(head)) => return Poll::Ready(Waited::Head(head)),
                Err(reject) => return Poll::Ready(Waited::Refused(reject)),
                Ok(None) => {}
            }
            match io.poll_fill(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {}
                // an end in the middle of a head is the client's own doing: nobody is there for an answer
                Poll::Ready(_) => return Poll::Ready(Waited::Over),
            }
        }
        if io.input.is_empty() {
            if drain.as_mut().poll(context).is_ready() {
                return Poll::Ready(Waited::Over);
            }
        } else if !begun {
            begun = true;
            deadline = None;
        }
        let patience = if begun { limits.head_timeout.0 } else { patience };
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
        ready!(timer.poll(deadline, context));
        Poll::Ready(if begun && !io.input.is_empty() {
            Waited::Refused(Reject::new(
                RejectCode::RequestTimeout,
                "the request head did not come in time",
            ))
        } else {
            Waited::Over
        })
    })
    .await
}

/// Makes the body that the handler reads.
fn begin_body(shared: &SharedConnection, decoder: Decoder, expects_continue: bool) -> Body {
    let empty = decoder.is_done();
    let mut locked = shared.lock();
    locked.exchange += 1;
    locked.decoder = decoder;
    locked.expects_continue = expects_continue;
    locked.continuing = false;
    locked.unread = false;
    if empty {
        Body::empty()
    } else {
        Body::from_http1(RequestBody::new(shared, locked.exchange))
    }
}

/// The handler's response, or `None` if the client closes before.
async fn unless_gone(
    shared: &SharedConnection,
    mut exchange: Pin<&mut impl Future<Output = Response<Outgoing>>>,
) -> Option<Response<Outgoing>> {
    std::future::poll_fn(|context| {
        if let Poll::Ready(response) = exchange.as_mut().poll(context) {
            return Poll::Ready(Some(response));
        }
        shared.lock().poll_gone(context).map(|()| None)
    })
    .await
}

/// Sends the response. What there is of the body goes out with the head; nothing waits for more.
///
/// # Errors
/// The connection or the body broke, or the client takes the response too slowly: [`io::ErrorKind::TimedOut`].
async fn send(
    shared: &SharedConnection,
    mut outflow: Outflow<Outgoing>,
    timer: &mut Timer,
    mut pace: Pace,
) -> io::Result<()> {
    let mut seen = shared.lock().io.sent();
    std::future::poll_fn(|context| {
        loop {
            // the body is polled without the lock: it may come from the request's
            let mut waits = false;
            while !outflow.has_ended() && !waits && shared.lock().io.takes_data() {
                match outflow.poll_frame(context) {
                    Poll::Ready(frame) => {
                        let ended = outflow.take(&mut shared.lock().io, frame)?;
                        drop(ended); // not under the lock, which the body of the request takes when it goes
                    }
                    Poll::Pending => waits = true,
                }
            }
            let mut locked = shared.lock();
            match locked.io.poll_flush(context) {
                Poll::Ready(Ok(())) if outflow.has_ended() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if waits => {
                    pace.moved(locked.io.sent() - std::mem::replace(&mut seen, locked.io.sent()));
                    ready!(locked.poll_gone(context));
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let moved = locked.io.sent() - std::mem::replace(&mut seen, locked.io.sent());
                    if moved > 0 {
                        pace.moved(moved);
                    }
                    if !pace.poll_slow(timer, context) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    })
    .await
}

/// Sees to the rest of the request's body; false when the connection cannot be used again. A little is read and thrown away.
async fn end_body(shared: &SharedConnection) -> bool {
    let mut budget = DRAIN_MAX;
    {
        let mut locked = shared.lock();
        locked.detach();
        if locked.decoder.is_done() {
            locked.io.calm();
            return true;
        }
        if locked.decoder.left().is_some_and(|left| left > budget) {
            return false;
        }
    }
    let drained = std::future::poll_fn(|context| {
        let mut locked = shared.lock();
        let Shared { io, decoder, .. } = &mut *locked;
        loop {
            loop {
                match decoder.decode(&mut io.input) {
                    Ok(None) => break,
                    Err(_) => return Poll::Ready(false),
                    Ok(Some(frame)) => {
                        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
                        let Some(left) = budget.checked_sub(size) else {
                            return Poll::Ready(false);
                        };
                        budget = left;
                    }
                }
            }
            if decoder.is_done() {
                io.calm();
                return Poll::Ready(true);
            }
            match ready!(io.poll_fill(context)) {
                Ok(count) if count > 0 => {}
                _ => return Poll::Ready(false),
            }
        }
    });
    tokio::time::timeout(LINGER_TIME, drained).await.unwrap_or(false)
}

/// Closes behind a last response.
async fn linger(shared: &SharedConnection) {
    shared.lock().detach();
    let mut linger = Linger::default();
    let lingering = std::future::poll_fn(|context| shared.lock().io.poll_linger(&mut linger, context));
    let _cut_off = tokio::time::timeout(LINGER_TIME, lingering).await;
}
