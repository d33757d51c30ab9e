//! The body of a request: read from the connection by whoever polls it, so that nothing is read that nobody asked for.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::io::Io;
use crate::body::BodyError;

/// The body of one request on a connection. It may outlive the exchange; then it fails as if the client had gone.
pub(crate) struct RequestBody {
    io: Arc<Mutex<Io>>,
    exchange: u64,
    ended: bool,
}

impl RequestBody {
    /// The body of the request whose decoder is in `io`; at least one byte or chunk of it is to come.
    pub(super) fn new(io: &Arc<Mutex<Io>>, exchange: u64) -> Self {
        Self {
            io: Arc::clone(io),
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
        let mut io = self.io.lock();
        let io = &mut *io;
        if io.exchange != self.exchange {
            return Poll::Ready(Some(Err(BodyError::ClientGone)));
        }
        loop {
            match io.decoder.decode(&mut io.input) {
                Err(problem) => return Poll::Ready(Some(Err(BodyError::Malformed(problem)))),
                Ok(frame) => {
                    if io.decoder.is_done() {
                        self.ended = true;
                        if let Some(watcher) = io.watcher.take() {
                            watcher.wake();
                        }
                    }
                    if frame.is_some() || self.ended {
                        return Poll::Ready(frame.map(Ok));
                    }
                }
            }
            if std::mem::take(&mut io.expects_continue) {
                io.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                // should it not go out at once, it goes with the response head; a socket that just carried a request takes 25 bytes
                if let Poll::Ready(Err(_)) = io.poll_flush(context) {
                    return Poll::Ready(Some(Err(BodyError::ClientGone)));
                }
            }
            match ready!(io.poll_fill(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                Ok(_) => {}
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
        let io = self.io.lock();
        match io.decoder.left() {
            Some(left) if io.exchange == self.exchange => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
