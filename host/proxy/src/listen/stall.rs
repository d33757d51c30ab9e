//! Responses over HTTP/2 that the client does not take: it opens streams, never their windows, and keeps the connection alive by answering PING. hyper
//! waits for such a stream without end, with a piece of its body in hand.
//!
//! Each stream runs in a task of its own, which is watched here. In one poll of it hyper asks the body for pieces until there is none or the window is
//! closed. A task that waits though the body gave what was asked for waits for the client.

use std::{
    cell::Cell,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use edgeward_core::config::Limits;
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::{body::BodyError, finish::Outgoing, pace::Pace, timer::Timer, worker::Worker};

/// Most that is handed to hyper at once: the steps in which progress is seen. It makes DATA frames of that size anyway.
pub(super) const PIECE: usize = 16 << 10;

/// What a stream asked of its body in one poll.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// Bytes it was given.
    bytes: u64,
    /// The last answer: some, or that it has to wait.
    given: Option<bool>,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { bytes: 0, given: None }) };
}

fn note(bytes: usize, given: bool) {
    let asked = ASKED.get();
    ASKED.set(Asked {
        bytes: asked.bytes + bytes as u64,
        given: Some(given),
    });
}

/// A response body in pieces, which tells the task that polls it how it goes.
///
/// hyper hands a piece on when the window has room for a byte of it, and is done with the stream when that was the last one, however long it takes to go
/// out. Where a piece may be larger than the window, its last byte is held back for this reason, until there is room for it, too.
pub(super) struct Pieces {
    body: Outgoing,
    rest: Bytes,
    /// No piece was given yet. The first one has room in any window that is not [`Frames::small_windows`](super::frames::Frames::small_windows).
    first: bool,
    small_windows: bool,
}

impl Pieces {
    pub(super) fn new(body: Outgoing, small_windows: bool) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            first: true,
            small_windows,
        }
    }

    /// The next piece of `rest`.
    fn piece(&mut self) -> Frame<Bytes> {
        let mut count = self.rest.len().min(PIECE);
        let held = self.small_windows || (!self.first && self.body.is_end_stream());
        if held && count > 1 && count == self.rest.len() {
            count -= 1;
        }
        self.first = false;
        note(count, true);
        Frame::data(self.rest.split_to(count))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        note(0, false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame);
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.piece()
            }
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // asked before the first piece only
        self.body.size_hint()
    }
}

/// Starts the tasks of a connection's streams.
#[derive(Clone)]
pub(super) struct Streams {
    worker: Arc<Worker>,
    limits: Arc<Limits>,
}

impl Streams {
    pub(super) fn new(worker: &Arc<Worker>, limits: &Limits) -> Self {
        Self {
            worker: Arc::clone(worker),
            limits: Arc::new(limits.clone()),
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream,
            pace: Pace::new(self.limits.idle_timeout.0, self.limits.min_rate.0),
            timer: Timer::new(),
            stalls: false,
            worker: Arc::clone(&self.worker),
        });
    }
}

pin_project! {
    /// The task of a stream. Ends early when the client takes too little: the stream is reset (CANCEL), and all that it holds is let go.
    struct Watched<F> {
        #[pin]
        stream: F,
        pace: Pace,
        timer: Timer,
        stalls: bool,
        worker: Arc<Worker>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ASKED.set(Asked::default());
        if this.stream.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let asked = ASKED.get();
        if let Some(given) = asked.given {
            *this.stalls = given;
            this.pace.moved(asked.bytes);
        }
        if *this.stalls && this.pace.poll_slow(this.timer, context) {
            this.worker.shared.metrics.slow_readers.fetch_add(1, Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
