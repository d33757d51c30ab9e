//! The body of a request: read from the connection by whoever polls it, so that nothing is read that nobody asked for.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::{decode::Decoder, io::Io};
use crate::body::BodyError;

/// What the task of a client connection and the body of the running request share. Never held locked across an await, nor while a body is polled.
pub(super) struct Shared {
    pub(super) io: Io,
    /// The body of the running request.
    pub(super) decoder: Decoder,
    /// Counts requests: a body that outlives its exchange reads nothing of the next one.
    pub(super) exchange: u64,
    /// `100 Continue` is due when the body is asked for.
    pub(super) expects_continue: bool,
    /// It was written and may not be out.
    pub(super) continuing: bool,
    /// Nobody will read the rest of the body.
    pub(super) unread: bool,
    /// Who wants to know when the body was read.
    pub(super) watcher: Option<Waker>,
    /// Who waits for bytes of the body.
    reader: Option<Waker>,
}

/// Most that is read ahead to see whether a client is still there, behind a body that nobody reads.
const AHEAD_MAX: usize = 64 << 10;

impl Shared {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            decoder: Decoder::Done,
            exchange: 0,
            expects_continue: false,
            continuing: false,
            unread: false,
            watcher: None,
            reader: None,
        }
    }

    /// Ends the exchange: a body of it that is still held somewhere reads nothing any more, and whoever waits for it learns so.
    pub(super) fn detach(&mut self) {
        self.exchange += 1;
        self.watcher = None;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Ready when the client has closed. Looks only where nothing else is to be read: the body is for whoever polls it, and a request behind this
    /// one for its turn.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let unread = !self.decoder.is_done();
        if unread && !self.unread {
            // whoever reads the body sees it; from the body's end on it is this task's to see
            match &mut self.watcher {
                Some(watcher) => watcher.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        while self.io.input.is_empty() || (unread && self.io.input.len() < AHEAD_MAX) {
            if let Ok(0) | Err(_) = ready!(self.io.poll_fill(context)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// The body of one request on a connection. It may outlive the exchange; then it fails as if the client had gone.
pub(crate) struct RequestBody {
    shared: Arc<Mutex<Shared>>,
    exchange: u64,
    ended: bool,
}

impl RequestBody {
    /// The body of the request whose decoder is in `shared`; at least one byte or chunk of it is to come.
    pub(super) fn new(shared: &Arc<Mutex<Shared>>, exchange: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            exchange,
            ended: false,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        if shared.exchange != self.exchange {
            return Poll::Ready(Some(Err(BodyError::ClientGone)));
        }
        loop {
            match shared.decoder.decode(&mut shared.io.input) {
                Err(problem) => return Poll::Ready(Some(Err(BodyError::Malformed(problem)))),
                Ok(frame) => {
                    if shared.decoder.is_done() {
                        self.ended = true;
                        if let Some(watcher) = shared.watcher.take() {
                            watcher.wake();
                        }
                    }
                    if frame.is_some() || self.ended {
                        return Poll::Ready(frame.map(Ok));
                    }
                }
            }
            if std::mem::take(&mut shared.expects_continue) {
                shared
                    .io
                    .output()
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                shared.continuing = true;
            }
            // the socket may be full of the response before
            if shared.continuing {
                match shared.io.poll_flush(context) {
                    Poll::Ready(Ok(())) => shared.continuing = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                    Poll::Pending => {}
                }
            }
            match shared.io.poll_fill(context) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                Poll::Pending => {
                    match &mut shared.reader {
                        Some(reader) => reader.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        let shared = self.shared.lock();
        match shared.decoder.left() {
            Some(left) if shared.exchange == self.exchange => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        if !self.ended && shared.exchange == self.exchange {
            shared.unread = true;
            if let Some(watcher) = shared.watcher.take() {
                watcher.wake();
            }
        }
    }
}
