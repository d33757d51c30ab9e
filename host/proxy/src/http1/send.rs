//! Bodies on their way out, framed as their heads say.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;

use super::{
    encode::{self, Framing},
    io::Io,
};
use crate::body::BodyError;

/// A body that goes out behind the head that was written to `Io`.
pub(crate) struct Outflow<B> {
    /// `None` when all of it was put into `Io`: what it holds is let go before the last bytes are out.
    body: Option<B>,
    framing: Framing,
    /// Trailers are sent where the framing has room for them.
    trailers: bool,
}

impl<B> Outflow<B>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin,
{
    pub(super) fn new(body: B, framing: Framing, trailers: bool) -> Self {
        Self {
            body: (framing != Framing::None).then_some(body),
            framing,
            trailers,
        }
    }

    /// Writes the head of a request into `io` and takes its body.
    pub(crate) fn of_request(io: &mut Io, head: &Request<()>, body: B) -> Self {
        let framing = encode::request_head(&mut io.output, head, &body);
        Self::new(body, framing, true)
    }

    /// Moves what there is of the body into the socket, as fast as it takes it. Ready when all is out.
    ///
    /// # Errors
    /// The connection broke, or the body failed.
    pub(crate) fn poll_send(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut waits = false;
            while self.body.is_some() && !waits && io.takes_data() {
                match self.poll_frame(context) {
                    Poll::Ready(frame) => drop(self.take(io, frame)?),
                    Poll::Pending => waits = true,
                }
            }
            ready!(io.poll_flush(context))?;
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Whether all of the body was put into `Io`.
    pub(crate) fn has_ended(&self) -> bool {
        self.body.is_none()
    }

    /// The next frame of the body. Not while an `Io` is locked that the body may come from.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    /// Puts a frame behind what waits to be written. After the last one the body comes back, to be dropped where nothing is locked.
    ///
    /// # Errors
    /// The body failed, or has another length than its head says.
    pub(super) fn take(
        &mut self,
        io: &mut Io,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> io::Result<Option<B>> {
        let ended = match frame {
            None => self.end(io, None)?,
            Some(Err(error)) => return Err(io::Error::other(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = self.body.as_ref().is_none_or(B::is_end_stream);
                    self.load(io, data, last)?
                }
                Err(frame) => self.end(io, frame.into_trailers().ok().as_ref())?,
            },
        };
        Ok(if ended { self.body.take() } else { None })
    }

    /// Whether the body has ended with this.
    fn load(&mut self, io: &mut Io, data: Bytes, last: bool) -> io::Result<bool> {
        match &mut self.framing {
            Framing::None => {}
            Framing::Close => io.push(data, b""),
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or_else(|| io::Error::other("body is longer than its content-length"))?;
                io.push(data, b"");
            }
            // an empty chunk would be the last one
            Framing::Chunked if data.is_empty() => {}
            Framing::Chunked => {
                encode::chunk_size(&mut io.output, data.len());
                if last {
                    io.push(data, b"\r\n0\r\n\r\n");
                    return Ok(true);
                }
                io.push(data, b"\r\n");
            }
        }
        if last { self.end(io, None) } else { Ok(false) }
    }

    fn end(&self, io: &mut Io, trailers: Option<&HeaderMap>) -> io::Result<bool> {
        match self.framing {
            Framing::Chunked => {
                encode::last_chunk(&mut io.output, trailers.filter(|_| self.trailers));
                Ok(true)
            }
            Framing::Length(left) if left > 0 => {
                Err(io::Error::other("body is shorter than its content-length"))
            }
            Framing::None | Framing::Length(_) | Framing::Close => Ok(true),
        }
    }
}
