//! The stream of an HTTP/2 connection, whose writes are gathered: h2 writes and flushes each DATA frame by itself, which would be a system call, and
//! with TLS a record, for each of the responses that are ready at once. What it writes while it is polled goes out when it has been polled.
//! All that passes is shown to `frames.rs`, and what comes goes through `screen.rs`.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frames::{Abuse, Frames},
    screen::Screen,
};
use crate::http1::{Io, Linger};

/// Most that is gathered, besides the one write that goes beyond it.
const GATHERED_MAX: usize = 64 << 10;

/// The stream as h2 sees it. Whoever polls the connection has another one of the same, to send.
#[derive(Clone)]
pub(super) struct Gathered(Arc<Mutex<State>>);

struct State {
    io: Io,
    /// A write waits for what was gathered to be sent.
    full: bool,
    frames: Frames,
    screen: Screen,
    abuse: Option<Abuse>,
}

impl Gathered {
    pub(super) fn new(io: Io, frames: Frames, screen: Screen) -> Self {
        Self(Arc::new(Mutex::new(State {
            io,
            full: false,
            frames,
            screen,
            abuse: None,
        })))
    }

    /// Why the client is to be let go, if it is: a read failed for that, or h2 has ended the connection with an error.
    pub(super) fn abuse(&self) -> Option<Abuse> {
        let state = self.0.lock();
        state
            .abuse
            .or(state.frames.is_broken().then_some(Abuse::Protocol))
    }

    /// See [`Frames::unfinished`].
    pub(super) fn unfinished(&self) -> Option<u64> {
        self.0.lock().frames.unfinished()
    }

    /// See [`Frames::small_windows`].
    pub(super) fn small_windows(&self) -> bool {
        self.0.lock().frames.small_windows()
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.0.lock().io.sent()
    }

    /// Puts GOAWAY behind what is to be sent, if that can be and was not done.
    pub(super) fn say_goaway(&self, abuse: Abuse) {
        let mut state = self.0.lock();
        if let Some(goaway) = state.frames.goaway(abuse) {
            state.frames.write(&goaway);
            state.io.output().extend_from_slice(&goaway);
        }
    }

    /// See [`Io::poll_linger`].
    pub(super) fn poll_linger(&self, linger: &mut Linger, context: &mut Context<'_>) -> Poll<()> {
        self.0.lock().io.poll_linger(linger, context)
    }

    /// Sends all that was gathered.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.io.poll_flush(context))?;
        // it did not go out while h2 was polled, and h2 waits for it
        if std::mem::take(&mut state.full) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let State {
            io,
            frames,
            screen,
            abuse,
            ..
        } = &mut *self.0.lock();
        loop {
            if screen.take(buffer) {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(io.poll_read(context, buffer))?;
            let data = &buffer.filled()[before..];
            if data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Err(found) = frames.read(data) {
                *abuse = Some(found);
                return Poll::Ready(Err(io::Error::other(found)));
            }
            let passed = screen.read(data);
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if state.io.output().len() >= GATHERED_MAX {
            state.full = true;
            ready!(state.io.poll_flush(context))?;
            state.full = false;
        }
        let State { io, frames, .. } = &mut *state;
        let output = io.output();
        for part in data {
            frames.write(part);
            output.extend_from_slice(part);
        }
        Poll::Ready(Ok(data.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is done yet: see [`Gathered::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = &mut self.0.lock().io;
        ready!(io.poll_flush(context))?;
        io.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::BytesMut;
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::http1::Stream;

    /// More than the buffers of both sockets hold.
    const MUCH: usize = 32 << 20;

    #[tokio::test]
    async fn what_waited_for_room_goes_on_when_there_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let io = Io::new(Stream::Tcp(stream), BytesMut::new());
        let mut gathered = Gathered::new(io, Frames::new(1, 1), Screen::new(0));
        let sender = gathered.clone();
        let (stuck, wait) = tokio::sync::oneshot::channel();
        let mut stuck = Some(stuck);
        let mut left = MUCH;
        let writing = tokio::spawn(async move {
            poll_fn(|context| {
                // as h2 does, and the server after it
                let polled = loop {
                    if left == 0 {
                        break Pin::new(&mut gathered).poll_flush(context);
                    }
                    let data = vec![b'x'; left.min(20_000)];
                    match Pin::new(&mut gathered).poll_write(context, &data) {
                        Poll::Ready(Ok(count)) => left -= count,
                        Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                        Poll::Pending => break Poll::Pending,
                    }
                };
                let sent = sender.poll_send(context);
                assert!(sender.0.lock().io.output().len() < GATHERED_MAX + 20_000);
                if polled.is_pending() {
                    stuck.take().map(|stuck| stuck.send(()));
                    return Poll::Pending;
                }
                sent
            })
            .await
        });
        wait.await.unwrap();
        let mut read = 0;
        let mut buffer = vec![0; 1 << 20];
        let reading = async {
            while read < MUCH {
                read += other.read(&mut buffer).await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), reading)
            .await
            .unwrap();
        writing.await.unwrap().unwrap();
    }
}
