//! Answers on their way out.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use edgeward_core::config::Limits;
use http::{Method, Response, StatusCode, header, response::Parts};
use http_body::{Body, Frame};
use quinn::{SendStream, WriteError};

use super::{
    code::Code,
    frame::{FrameHeader, kind},
    head::is_connection_specific,
    qpack,
};
use crate::{body::BodyError, date, http1::digits, pace::Pace, timer::Timer};

/// Why an answer did not reach its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the client has gone: {0}")]
    Gone(#[from] WriteError),
    #[error("the client does not read")]
    Stalled,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("body of another length than its head says")]
    Length,
}

impl SendError {
    /// What the client is told, if it can be.
    pub(super) const fn code(&self) -> Code {
        match self {
            Self::Gone(_) | Self::Stalled => Code::RequestCancelled,
            Self::Body(_) | Self::Length => Code::InternalError,
        }
    }
}

/// Sends an answer to the end of its stream. What there is of the body goes out with the head; nothing waits for more.
///
/// # Errors
/// The stream is not finished then.
pub(super) async fn response<B>(
    stream: &mut SendStream,
    response: Response<B>,
    method: &Method,
    limits: &Limits,
) -> Result<(), SendError>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    let (parts, mut body) = response.into_parts();
    let mut left = declared(&parts, &body, method);
    let mut out = BytesMut::with_capacity(512);
    let mut pace = Pace::new(limits.idle_timeout.0, limits.min_rate.0);
    let mut timer = Timer::new();
    put_head(&mut out, &parts, left);
    if *method == Method::HEAD || has_no_body(parts.status) {
        left = None;
    }
    while !body.is_end_stream() {
        let frame = match poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                write(stream, &mut [out.split().freeze()], &mut pace, &mut timer).await?;
                match next_frame(stream, &mut body).await {
                    Some(frame) => frame,
                    None => return Err(WriteError::Stopped(Code::RequestCancelled.var_int()).into()),
                }
            }
        };
        let Some(frame) = frame.transpose()? else {
            break;
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let length = data.len() as u64;
                if let Some(left) = &mut left {
                    *left = left.checked_sub(length).ok_or(SendError::Length)?;
                }
                let kind = kind::DATA;
                FrameHeader { kind, length }.put(&mut out);
                write(stream, &mut [out.split().freeze(), data], &mut pace, &mut timer).await?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let mut section = BytesMut::new();
                    qpack::put_nothing(&mut section);
                    for (name, value) in &trailers {
                        if !is_connection_specific(name) {
                            qpack::put_field(&mut section, name.as_str(), value.as_bytes());
                        }
                    }
                    put_section(&mut out, &section);
                }
                break;
            }
        }
    }
    if left.is_some_and(|left| left > 0) {
        return Err(SendError::Length);
    }
    // in one packet with what was written last, since the connection sends when this task waits
    write(stream, &mut [out.split().freeze()], &mut pace, &mut timer).await?;
    let _stopped_by_the_client = stream.finish();
    Ok(())
}

const fn has_no_body(status: StatusCode) -> bool {
    matches!(status.as_u16(), 100..=199 | 204 | 304)
}

/// The length that the head tells: that of the body if it knows, else what the fields say.
fn declared(parts: &Parts, body: &impl Body, method: &Method) -> Option<u64> {
    let said = || digits(parts.headers.get(header::CONTENT_LENGTH)?.as_bytes());
    if *method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED {
        return said();
    }
    if has_no_body(parts.status) {
        return None;
    }
    body.size_hint().exact().or_else(said)
}

fn put_head(out: &mut BytesMut, parts: &Parts, length: Option<u64>) {
    let mut section = BytesMut::with_capacity(256);
    qpack::put_status(&mut section, parts.status);
    for (name, value) in &parts.headers {
        if *name != header::CONTENT_LENGTH && !is_connection_specific(name) {
            qpack::put_field(&mut section, name.as_str(), value.as_bytes());
        }
    }
    if let Some(length) = length {
        qpack::put_field(&mut section, "content-length", length.to_string().as_bytes());
    }
    if !parts.headers.contains_key(header::DATE) {
        date::with(|date| qpack::put_field(&mut section, "date", date.as_bytes()));
    }
    put_section(out, &section);
}

fn put_section(out: &mut BytesMut, section: &[u8]) {
    let header = FrameHeader {
        kind: kind::HEADERS,
        length: section.len() as u64,
    };
    header.put(out);
    out.extend_from_slice(section);
}

/// The next frame, or `None` when the client wants no more.
async fn next_frame<B: Body + Unpin>(
    stream: &SendStream,
    body: &mut B,
) -> Option<Option<Result<Frame<B::Data>, B::Error>>> {
    unless_stopped(
        stream,
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context)),
    )
    .await
}

/// The outcome of `future`, or `None` when the client has stopped the stream, or is gone.
pub(super) async fn unless_stopped<T>(stream: &SendStream, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    // begins only when there is something to wait for
    let mut stopped = pin!(async { stream.stopped().await });
    poll_fn(|context| {
        if let Poll::Ready(outcome) = future.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        stopped.as_mut().poll(context).map(|_code| None)
    })
    .await
}

/// Puts all of the chunks into the stream, which takes them as the client does.
async fn write(
    stream: &mut SendStream,
    chunks: &mut [Bytes],
    pace: &mut Pace,
    timer: &mut Timer,
) -> Result<(), SendError> {
    let mut first = 0;
    poll_fn(|context| {
        loop {
            while chunks.get(first).is_some_and(Bytes::is_empty) {
                first += 1;
            }
            let Some(rest) = chunks.get_mut(first..).filter(|rest| !rest.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            // the future keeps nothing between polls
            match pin!(stream.write_chunks(rest)).poll(context) {
                Poll::Ready(Ok(written)) => pace.moved(written.bytes as u64),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending if pace.poll_slow(timer, context) => {
                    return Poll::Ready(Err(SendError::Stalled));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
