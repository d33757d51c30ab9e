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
        let framing = encode::request_head(io.output(), head, &body);
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
                encode::chunk_size(io.output(), data.len());
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
                encode::last_chunk(io.output(), trailers.filter(|_| self.trailers));
                Ok(true)
            }
            Framing::Length(left) if left > 0 => {
                Err(io::Error::other("body is shorter than its content-length"))
            }
            Framing::None | Framing::Length(_) | Framing::Close => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use bytes::BytesMut;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::http1::{Decoder, Stream};

    /// Sends frames of these sizes, all there at once, and returns what the other side reads.
    async fn sent(framing: Framing, sizes: &[usize]) -> BytesMut {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let frames: Vec<_> = (b'a'..)
            .zip(sizes)
            .map(|(letter, size)| vec![letter; *size])
            .collect();
        let reading = tokio::spawn(async move {
            let mut read = BytesMut::new();
            while other.read_buf(&mut read).await.unwrap() > 0 {}
            read
        });
        let mut io = Io::new(Stream::Tcp(stream), BytesMut::new());
        let frames = frames
            .into_iter()
            .map(|data| Ok::<_, BodyError>(Frame::data(data.into())));
        let mut outflow = Outflow::new(StreamBody::new(stream::iter(frames)), framing, false);
        poll_fn(|context| outflow.poll_send(&mut io, context))
            .await
            .unwrap();
        drop(io);
        tokio::time::timeout(Duration::from_secs(30), reading)
            .await
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn frames_of_any_size_go_out_in_order() {
        let sizes = [
            1, 3000, 0, 9000, 2048, 2049, 100, 16_384, 16_385, 70_000, 5000, 200_000, 1, 20_000,
        ];
        let expected: Vec<u8> = (b'a'..)
            .zip(sizes)
            .flat_map(|(letter, size)| vec![letter; size])
            .collect();
        let length = sizes.iter().sum::<usize>() as u64;
        assert_eq!(sent(Framing::Length(length), &sizes).await, expected);
        let mut chunks = sent(Framing::Chunked, &sizes).await;
        let mut decoder = Decoder::chunked();
        let mut decoded = Vec::new();
        while let Some(frame) = decoder.decode(&mut chunks).unwrap() {
            decoded.extend_from_slice(&frame.into_data().unwrap());
        }
        assert!(decoder.is_done() && chunks.is_empty());
        assert!(decoded == expected);
    }
}
