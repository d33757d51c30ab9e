//! HTTP/1.1 towards upstreams: a connection carries one exchange at a time, and whoever waits for the exchange drives it. No task of its own, no
//! channel: the request's body goes out while the response is waited for and read.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{
    endpoint::InFlight,
    error::{Failed, UpstreamErrorKind},
    pool::{Keep, Pools},
};
use crate::{
    body::{Body, BodyError},
    http1::{Decoder, Io, Outflow, ResponseHead, Stream, parse_response},
    timer::Timer,
    upgrade::Upgrade,
};

/// A connection without an exchange. Dropping it closes the socket.
pub(super) struct H1(Box<Inner>);

struct Inner {
    io: Io,
    timer: Timer,
}

/// A connection while a request goes out and its response comes in.
pub(super) struct H1Exchange {
    h1: H1,
    /// What is left of the request.
    upload: Option<Outflow<Body>>,
    decoder: Decoder,
    keep_alive: bool,
    /// While the body is waited for: when the waiting is too long.
    deadline: Option<Instant>,
}

/// An exchange that broke off before a response head.
pub(super) struct Unanswered {
    /// The body, if nothing of the request was sent.
    pub(super) body: Option<Body>,
    pub(super) failed: Failed,
}

impl H1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Box::new(Inner {
            io: Io::new(stream, BytesMut::new()),
            timer: Timer::new(),
        }))
    }

    /// The peer has neither closed nor said anything since the last exchange.
    pub(super) fn is_ready(&mut self) -> bool {
        self.0.io.is_quiet()
    }

    /// Sends a request and waits for the head of its response, with `patience` no longer than that.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn send(
        mut self,
        head: &Request<()>,
        body: Body,
        patience: Option<Duration>,
    ) -> Result<(Response<()>, H1Exchange), Unanswered> {
        if !self.is_ready() {
            return Err(Unanswered {
                body: Some(body),
                failed: Failed::bare(UpstreamErrorKind::Reset),
            });
        }
        let Inner { io, timer } = &mut *self.0;
        let mut upload = Some(Outflow::of_request(io, head, body));
        let mut deadline = None;
        let answer = std::future::poll_fn(|context| {
            let polled = poll_head(io, &mut upload, head.method(), context);
            if polled.is_pending()
                && let Some(patience) = patience
            {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                ready!(timer.poll(deadline, context));
                return Poll::Ready(Err(Failed::bare(UpstreamErrorKind::ResponseTimeout)));
            }
            polled
        });
        match answer.await {
            Ok(head) => {
                let exchange = H1Exchange {
                    h1: self,
                    upload,
                    decoder: head.body,
                    keep_alive: head.keep_alive,
                    deadline: None,
                };
                Ok((Response::from_parts(head.parts, ()), exchange))
            }
            Err(failed) => Err(Unanswered { body: None, failed }),
        }
    }

    /// Closes in order: with TLS, close_notify first.
    pub(super) fn retire(mut self) {
        if self.0.io.is_tls() {
            tokio::spawn(async move {
                let closing = std::future::poll_fn(|context| self.0.io.poll_shutdown(context));
                let _closed = tokio::time::timeout(Duration::from_secs(1), closing).await;
            });
        }
    }
}

fn poll_head(
    io: &mut Io,
    upload: &mut Option<Outflow<Body>>,
    method: &Method,
    context: &mut Context<'_>,
) -> Poll<Result<ResponseHead, Failed>> {
    let mut broken = None;
    if let Some(outflow) = upload {
        match outflow.poll_send(io, context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => *upload = None,
            Poll::Ready(Err(error)) => {
                // never asked again: a body that failed looks like one that has ended
                *upload = None;
                broken = Some(error);
            }
        }
    }
    loop {
        match parse_response(&mut io.input, method) {
            Ok(Some(mut head)) => {
                head.keep_alive &= broken.is_none();
                return Poll::Ready(Ok(head));
            }
            Ok(None) => {}
            Err(problem) => return Poll::Ready(Err(Failed::new(UpstreamErrorKind::Protocol, problem))),
        }
        match io.poll_fill(context) {
            Poll::Ready(Ok(count)) if count > 0 => {}
            // an answer that came before the socket broke was read above: some servers refuse a body and close
            Poll::Pending if broken.is_none() => return Poll::Pending,
            Poll::Pending => {
                let error = broken.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
                return Poll::Ready(Err(Failed::from_io(error)));
            }
            Poll::Ready(Ok(_)) => {
                let error = broken.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(Failed::from_io(error)));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::from_io(broken.unwrap_or(error)))),
        }
    }
}

impl H1Exchange {
    /// The response's body, which gives the connection back at its end.
    pub(super) fn into_body(self, home: Home) -> Body {
        let mut body = ResponseBody {
            exchange: Some(self),
            home: Some(home),
        };
        if body.is_end_stream() {
            body.finish();
            return Body::empty();
        }
        Body::from_http1_response(Box::new(body))
    }

    /// The connection behind a 101.
    ///
    /// # Errors
    /// The upstream has switched before it had the request.
    pub(super) fn switch(mut self, upgrade: Upgrade, flight: InFlight) -> Result<Switched, &'static str> {
        if self.upload.is_some() {
            return Err("101 before the end of the request");
        }
        let (stream, early) = self.h1.0.io.leave();
        Ok(Switched {
            stream,
            early,
            upgrade,
            _flight: flight,
        })
    }

    /// Reads the body and throws it away, at most `limit` bytes, and closes: the peer sees no broken connection.
    pub(super) async fn read_to_end(mut self, limit: u64) {
        let mut left = limit;
        while let Some(Ok(frame)) = std::future::poll_fn(|context| self.poll_frame(context)).await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(size) {
                Some(less) => left = less,
                None => return,
            }
        }
        if self.decoder.is_done() {
            self.h1.retire();
        }
    }

    /// Reads on; the upload goes on beside.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let io = &mut self.h1.0.io;
        if let Some(outflow) = &mut self.upload {
            match outflow.poll_send(io, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = None,
                // the response may be whole without it; the connection cannot be used again
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "request body broke off behind the response head");
                    self.upload = None;
                    self.keep_alive = false;
                }
            }
        }
        loop {
            match self.decoder.decode(&mut io.input) {
                Err(problem) => {
                    return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, problem))));
                }
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
            }
            match ready!(io.poll_fill(context)) {
                Ok(count) if count > 0 => {}
                Ok(_) if matches!(self.decoder, Decoder::Close) => {
                    self.decoder = Decoder::Done;
                    return Poll::Ready(None);
                }
                Ok(_) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// A connection that is not HTTP's any more. It belongs to no pool, and counts as a request under way as long as this exists.
pub(crate) struct Switched {
    pub(crate) stream: Stream,
    /// What came right behind the 101.
    pub(crate) early: BytesMut,
    /// What the upstream has agreed to.
    pub(crate) upgrade: Upgrade,
    _flight: InFlight,
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Switched")
    }
}

/// Where a connection goes after its exchange.
pub(super) struct Home {
    pub(super) pools: Pools,
    pub(super) flight: InFlight,
    pub(super) keep: Keep,
}

/// The body of a response. Dropped before its end, it closes the connection.
pub(crate) struct ResponseBody {
    exchange: Option<H1Exchange>,
    home: Option<Home>,
}

impl ResponseBody {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        let Poll::Ready(polled) = exchange.poll_frame(context) else {
            return self.wait(context);
        };
        exchange.deadline = None;
        match &polled {
            Some(Err(_)) => {
                self.exchange = None;
                self.home = None;
            }
            _ if exchange.decoder.is_done() => self.finish(),
            _ => {}
        }
        Poll::Ready(polled.map(|frame| frame.map_err(|error| BodyError::Upstream(Arc::new(error)))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.exchange
            .as_ref()
            .is_none_or(|exchange| exchange.decoder.is_done())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.exchange.as_ref().map(|exchange| exchange.decoder.left()) {
            None => SizeHint::with_exact(0),
            Some(Some(left)) => SizeHint::with_exact(left),
            Some(None) => SizeHint::default(),
        }
    }

    /// Pending, until the upstream has been silent for too long. Time in which nobody asks does not count.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (Some(exchange), Some(home)) = (&mut self.exchange, &self.home) else {
            return Poll::Ready(None);
        };
        let deadline = *exchange
            .deadline
            .get_or_insert_with(|| Instant::now() + home.keep.body_timeout);
        ready!(exchange.h1.0.timer.poll(deadline, context));
        self.exchange = None;
        self.home = None;
        Poll::Ready(Some(Err(BodyError::Timeout)))
    }

    /// The response is whole: the connection goes back to the pool when the request is out too.
    fn finish(&mut self) {
        let (Some(exchange), Some(home)) = (self.exchange.take(), self.home.take()) else {
            return;
        };
        let Home { pools, flight, keep } = home;
        let H1Exchange {
            mut h1,
            upload,
            keep_alive,
            ..
        } = exchange;
        match upload {
            _ if !keep_alive => h1.retire(),
            None => {
                h1.0.io.calm();
                pools.put(&flight.0, h1, keep);
            }
            // The response came before the end of the request: rare enough for a task. The request is over as far as balancing is concerned.
            Some(mut outflow) => {
                let endpoint = Arc::clone(&flight.0);
                drop(flight);
                tokio::spawn(async move {
                    let rest = std::future::poll_fn(|context| outflow.poll_send(&mut h1.0.io, context));
                    if let Ok(Ok(())) = tokio::time::timeout(keep.body_timeout, rest).await {
                        h1.0.io.calm();
                        pools.put(&endpoint, h1, keep);
                    }
                });
            }
        }
    }
}
