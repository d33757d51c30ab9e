//! What becomes of an exchange whose upstream agreed to WebSocket: bytes pass both ways until both sides have ended, and the exchange ends with them.
//!
//! Nothing is read that has no place to go, and a tunnel that is silent holds no buffers. The framing is followed by frame heads alone, so that a
//! tunnel that has to end (drain, idle, too old) says so to both sides between two frames and waits for their answers (RFC 6455 sections 5.5.1 and 7).

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use edgeward_core::{
    reject::Reject,
    websocket::{Frames, GOING_AWAY, close_frame},
};
use http::Response;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::Instant,
};

use crate::{
    finish::{Finish, Outgoing},
    handle,
    timer::Timer,
    upstream::Switched,
    worker::Worker,
};

/// Most that is read at once, and held of a direction whose reader is slow.
const CHUNK: usize = 32 << 10;
/// Time that one side gets to end when the other has, and both get to answer a Close of the gateway.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// Time for the last bytes, FIN included.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);

/// What a tunnel leaves for its exchange's report.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Time from the request to the answer that began the tunnel.
    pub(crate) answered: Duration,
    /// Why it ended, for the log.
    pub(crate) end: &'static str,
}

/// An exchange that goes on without HTTP once its answer is out.
pub(crate) struct Tunnel {
    finish: Box<Finish>,
    upstream: Switched,
}

impl Tunnel {
    pub(crate) fn new(finish: Box<Finish>, upstream: Switched) -> Self {
        Self { finish, upstream }
    }

    /// Gives up before anything was passed on, and answers with a refusal instead.
    pub(crate) fn refuse(self, reject: Reject) -> Response<Outgoing> {
        handle::refused(self.finish, reject)
    }

    /// Passes bytes between `client` and the upstream to the end, and reports it. `early` was read from the client already.
    ///
    /// # Cancel safety
    /// Dropping the future closes both sides without a word and reports the exchange as aborted.
    pub(crate) async fn run<C>(self, mut client: C, early: BytesMut)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { mut finish, upstream } = self;
        let Switched {
            mut stream,
            early: answer,
            ..
        } = upstream;
        let worker = Arc::clone(&finish.worker);
        let _open = Open::new(&worker);
        let received = Arc::new(AtomicU64::new(0));
        finish.request_bytes = Some(Arc::clone(&received));
        finish.complete = false;
        let ended = finish.tunnel.insert(Ended {
            answered: finish.started.elapsed(),
            end: "cut-off",
        });
        let limits = &finish.snapshot.limits;
        let mut watch = Watch::new(limits.websocket_idle_timeout.0, limits.websocket_lifetime.0);
        let mut up = Way::new(early);
        let mut down = Way::new(answer);
        let draining = finish.conn.drain.clone();
        let mut drain = pin!(draining.cancelled());
        let metrics = &worker.shared.metrics;
        let mut counted = (0, 0);
        ended.end = poll_fn(|context| {
            loop {
                let over = (
                    up.poll(&mut client, &mut stream, context).is_ready(),
                    down.poll(&mut stream, &mut client, context).is_ready(),
                );
                if counted != (up.bytes, down.bytes) {
                    metrics.tunnel_bytes_in.fetch_add(up.bytes - counted.0, Relaxed);
                    metrics
                        .tunnel_bytes_out
                        .fetch_add(down.bytes - counted.1, Relaxed);
                    counted = (up.bytes, down.bytes);
                    received.store(up.bytes, Relaxed);
                    finish.response_bytes = down.bytes;
                    watch.moved();
                }
                watch.see(over, up.frames.has_closed() && down.frames.has_closed());
                if over == (true, true) {
                    return Poll::Ready(watch.end());
                }
                let reason = match drain.as_mut().poll(context) {
                    Poll::Ready(()) if !watch.is_ending() => "drain",
                    _ => ready!(watch.poll(context)),
                };
                if watch.is_ending() {
                    return Poll::Ready(watch.end());
                }
                watch.close(reason);
                // where one side has begun to close, the other answers by itself
                if !up.frames.has_closed() && !down.frames.has_closed() {
                    up.close(close_frame(GOING_AWAY, Some(fastrand::u32(..).to_ne_bytes())));
                    down.close(close_frame(GOING_AWAY, None));
                }
            }
        })
        .await;
        finish.complete = up.frames.has_closed() && down.frames.has_closed();
        let shutdown = async { tokio::join!(client.shutdown(), stream.shutdown()) };
        // what there was to say was said
        let _ended = tokio::time::timeout(SHUTDOWN_TIME, shutdown).await;
    }
}

/// Counts a tunnel while it is open.
struct Open(Arc<Worker>);

impl Open {
    fn new(worker: &Arc<Worker>) -> Self {
        let metrics = &worker.shared.metrics;
        metrics.tunnels.fetch_add(1, Relaxed);
        metrics.tunnels_total.fetch_add(1, Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.metrics.tunnels.fetch_sub(1, Relaxed);
    }
}

/// When a tunnel has to end, and why it does.
struct Watch {
    timer: Timer,
    /// Zero for no limit.
    idle: Duration,
    lifetime: Option<Instant>,
    /// When a byte was last read.
    last: Instant,
    /// A side has ended, or both have said Close: only the rest is waited for.
    half: bool,
    /// Why the gateway ends it, and how long it waits for the sides to agree.
    closing: Option<(&'static str, Instant)>,
    /// How the sides end it by themselves.
    first: &'static str,
}

impl Watch {
    fn new(idle: Duration, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            timer: Timer::new(),
            idle,
            lifetime: (!lifetime.is_zero()).then(|| now + lifetime),
            last: now,
            half: false,
            closing: None,
            first: "",
        }
    }

    fn moved(&mut self) {
        self.last = Instant::now();
    }

    /// Notes which sides have ended, and whether both have said Close.
    fn see(&mut self, over: (bool, bool), closed: bool) {
        if self.first.is_empty() {
            self.first = match over {
                _ if closed => "closed",
                (true, _) => "client-gone",
                (false, true) => "upstream-gone",
                (false, false) => return,
            };
            self.half = true;
            self.last = Instant::now();
        }
    }

    /// Whether nothing is left to be waited for once the time is over.
    const fn is_ending(&self) -> bool {
        self.half || self.closing.is_some()
    }

    fn close(&mut self, reason: &'static str) {
        self.closing = Some((reason, Instant::now() + CLOSE_TIME));
    }

    fn end(&self) -> &'static str {
        self.closing.map_or(self.first, |(reason, _)| reason)
    }

    /// Ready with the reason when the time is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<&'static str> {
        let idle = match (self.half, self.idle.is_zero()) {
            (true, _) => Some(CLOSE_TIME),
            (false, true) => None,
            (false, false) => Some(self.idle),
        };
        let idle = idle.map(|idle| ("idle", self.last + idle));
        let lifetime = self.lifetime.map(|lifetime| ("lifetime", lifetime));
        let next = match (self.closing, idle, lifetime) {
            (Some(closing), _, _) => closing,
            (None, Some(idle), Some(lifetime)) if lifetime.1 < idle.1 => lifetime,
            (None, Some(idle), _) => idle,
            (None, None, Some(lifetime)) => lifetime,
            (None, None, None) => return Poll::Pending,
        };
        ready!(self.timer.poll(next.1, context));
        Poll::Ready(next.0)
    }
}

thread_local! {
    /// What is read is written at once; only what the other side does not take is held by the tunnel.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// One direction.
struct Way {
    frames: Frames,
    /// Read, and not taken by the other side yet. At most a chunk and a Close.
    held: BytesMut,
    /// The other side may hold back what it took.
    unflushed: bool,
    /// Bytes read.
    bytes: u64,
    /// Goes out at the next end of a frame; nothing of this side goes out behind it.
    close: Option<Vec<u8>>,
    /// That happened: what comes is read for its Close and thrown away.
    deaf: bool,
    /// This side has ended.
    ended: bool,
    /// The other side knows, or never will.
    over: bool,
}

impl Way {
    fn new(early: BytesMut) -> Self {
        let mut frames = Frames::default();
        frames.follow(&early);
        Self {
            frames,
            bytes: early.len() as u64,
            held: early,
            unflushed: false,
            close: None,
            deaf: false,
            ended: false,
            over: false,
        }
    }

    /// Says Close to the other side as soon as a frame has ended.
    fn close(&mut self, frame: Vec<u8>) {
        if self.ended {
            return;
        }
        if self.frames.at_boundary() {
            self.held.extend_from_slice(&frame);
            self.deaf = true;
        } else {
            self.close = Some(frame);
        }
    }

    /// Moves what there is. Ready when this side has ended and the other was told, or when both have said Close. A side that breaks has ended.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        if let Err(error) = ready!(self.poll_move(from, to, context)) {
            tracing::debug!(%error, "tunnel broke off");
            self.ended = true;
        }
        if !self.deaf {
            // that it cannot be told is as good
            let _told = ready!(Pin::new(to).poll_shutdown(context));
        }
        self.over = true;
        Poll::Ready(())
    }

    fn poll_move(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.held.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(context, &self.held))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.held.advance(count);
                self.unflushed = true;
            }
            if self.unflushed {
                ready!(Pin::new(&mut *to).poll_flush(context))?;
                self.unflushed = false;
                self.held = BytesMut::new();
            }
            if self.ended || (self.deaf && self.frames.has_closed()) {
                return Poll::Ready(Ok(()));
            }
            ready!(SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *from).poll_read(context, &mut buffer))?;
                self.take(buffer.filled(), to, context)
            }))?;
        }
    }

    /// Passes on what was read, and holds what the other side does not take.
    fn take(
        &mut self,
        read: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.ended = read.is_empty();
        self.bytes += read.len() as u64;
        let count = if self.deaf {
            0
        } else if self.close.is_some() {
            self.frames.follow_one(read)
        } else {
            self.frames.follow(read);
            read.len()
        };
        if count > 0 {
            self.unflushed = true;
            let taken = match Pin::new(to).poll_write(context, &read[..count]) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            };
            self.held.extend_from_slice(&read[taken..count]);
        }
        if self.frames.at_boundary()
            && let Some(frame) = self.close.take()
        {
            self.deaf = true;
            // unless this side has just said so itself
            if !self.frames.has_closed() {
                self.held.extend_from_slice(&frame);
            }
        }
        if self.deaf {
            self.frames.follow(&read[count..]);
        }
        Poll::Ready(Ok(()))
    }
}
