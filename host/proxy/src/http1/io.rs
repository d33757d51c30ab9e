//! A connection's socket with what was read ahead and what waits to be written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

/// First read of a connection; heads seldom need more.
const READ_MIN: usize = 8 << 10;
/// Largest read: what a body that streams holds at once.
const READ_MAX: usize = 256 << 10;

/// Most that waits to be written and is copied when more comes, so that all of it goes out at once.
const COPY_MAX: usize = 16 << 10;

/// Largest buffer of written bytes that an idle connection keeps.
const KEPT_MAX: usize = 4 << 10;

/// Time for closing in order.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);
/// What is read and thrown away meanwhile.
const LINGER_MAX: usize = 4 << 20;

/// How far closing in order has got; see [`Io::poll_linger`].
#[derive(Default)]
pub(crate) struct Linger {
    shut: bool,
    read: usize,
}

/// A connection, with TLS or without.
pub(crate) enum Stream {
    /// Cleartext.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// Closed by this side.
    Closed,
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(context, data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

/// A socket and its buffers.
pub(crate) struct Io {
    stream: Stream,
    /// Read and not taken yet.
    pub(crate) input: BytesMut,
    /// Size of the next read.
    window: usize,
    /// The other side has sent its last byte.
    eof: bool,
    /// Written before `chunk`.
    output: BytesMut,
    /// `output` has grown beyond what an idle connection may keep.
    large: bool,
    chunk: Bytes,
    /// Written after `chunk`.
    after: &'static [u8],
    /// The stream may hold written bytes back (TLS does, when the socket is full).
    unflushed: bool,
    sent: u64,
}

impl Io {
    pub(crate) fn new(stream: Stream, input: BytesMut) -> Self {
        Self {
            stream,
            input,
            window: READ_MIN,
            eof: false,
            output: BytesMut::new(),
            large: false,
            chunk: Bytes::new(),
            after: b"",
            unflushed: false,
            sent: 0,
        }
    }

    /// Reads once; 0 bytes at the end of the stream. Reads get larger while they fill their buffer.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() - self.input.len() < self.window / 4 {
            self.input.reserve(self.window);
        }
        let room = self.input.capacity() - self.input.len();
        let count = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            context,
            &mut self.input
        ))?;
        if count == 0 {
            self.eof = true;
        } else if count == room {
            self.window = (self.window * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// Reads into another buffer: what was read ahead, then from the stream.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(count));
        Poll::Ready(Ok(()))
    }

    /// Small reads again: a head comes next.
    pub(crate) fn calm(&mut self) {
        if self.window > READ_MIN {
            self.window = READ_MIN;
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
        }
    }

    /// Whether something was not given to the stream yet.
    fn waits(&self) -> bool {
        !(self.output.is_empty() && self.chunk.is_empty() && self.after.is_empty())
    }

    /// What waits to be written, to write more behind it. Not while much waits: see [`Self::takes_data`].
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        if !(self.chunk.is_empty() && self.after.is_empty()) {
            // a copy is cheaper than another write
            self.output.extend_from_slice(&std::mem::take(&mut self.chunk));
            self.output.extend_from_slice(std::mem::take(&mut self.after));
        }
        &mut self.output
    }

    /// Puts data behind what waits to be written, and `after` behind it. Not while much waits: see [`Self::takes_data`].
    pub(super) fn push(&mut self, data: Bytes, after: &'static [u8]) {
        let output = self.output();
        // a copy of a little is cheaper than another entry in the vector
        if data.len() <= 2048 {
            output.extend_from_slice(&data);
            output.extend_from_slice(after);
        } else {
            self.chunk = data;
            self.after = after;
        }
    }

    /// Whether more may be put behind what waits: that is little enough to be copied.
    pub(super) fn takes_data(&self) -> bool {
        self.chunk.len() <= COPY_MAX && self.output.len() < 64 << 10
    }

    /// Writes all that waits.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.large |= self.output.len() > KEPT_MAX;
        while self.waits() {
            let stream = Pin::new(&mut self.stream);
            let count = if self.chunk.is_empty() && self.after.is_empty() {
                ready!(stream.poll_write(context, &self.output))?
            } else {
                let parts = [
                    io::IoSlice::new(&self.output),
                    io::IoSlice::new(&self.chunk),
                    io::IoSlice::new(self.after),
                ];
                ready!(stream.poll_write_vectored(context, &parts))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(count);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut count: usize) {
        self.sent += count as u64;
        self.unflushed = true;
        let part = count.min(self.output.len());
        self.output.advance(part);
        count -= part;
        if self.output.is_empty() && std::mem::take(&mut self.large) {
            self.output = BytesMut::new();
        }
        let part = count.min(self.chunk.len());
        self.chunk.advance(part);
        count -= part;
        self.after = &self.after[count.min(self.after.len())..];
    }

    /// Ends the writing direction in order (FIN, with TLS close_notify before).
    pub(crate) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// Closes behind a last word: writes what waits, ends that direction, and reads on for a little while, since closing with unread bytes would take
    /// the last word from the other side (RFC 9112 section 9.6). The caller limits the time: [`LINGER_TIME`].
    pub(crate) fn poll_linger(&mut self, linger: &mut Linger, context: &mut Context<'_>) -> Poll<()> {
        if !linger.shut {
            if ready!(self.poll_flush(context)).is_err() {
                return Poll::Ready(());
            }
            linger.shut = match self.poll_shutdown(context) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            };
        }
        loop {
            self.input.clear();
            match ready!(self.poll_fill(context)) {
                Ok(count) if count > 0 && linger.read + count <= LINGER_MAX => linger.read += count,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Bytes written so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether a connection that has nothing under way can be used: the other side has neither closed nor sent anything.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.input.is_empty() && self.poll_fill(&mut context).is_pending()
    }

    /// The stream for whoever goes on without HTTP, and what was read of it and not taken. What was written must be out.
    pub(crate) fn leave(&mut self) -> (Stream, BytesMut) {
        let stream = std::mem::replace(&mut self.stream, Stream::Closed);
        (stream, std::mem::take(&mut self.input))
    }

    /// Closes the socket, whoever else may hold this.
    pub(super) fn close(&mut self) {
        self.stream = Stream::Closed;
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Makes closing look like a failure to the client (RST instead of FIN).
    pub(crate) fn reset(&self) {
        let socket = match &self.stream {
            Stream::Tcp(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Closed => return,
        };
        if let Err(error) = socket.set_zero_linger() {
            tracing::debug!(%error, "connection closes in order though its body broke off");
        }
    }
}
