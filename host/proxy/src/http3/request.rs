//! A request stream: head, exchange, answer.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use edgeward_core::{
    forwarded::is_trusted,
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use http_body::{Frame, SizeHint};
use quinn::{RecvStream, SendStream};

use super::{
    code::{Code, Fault},
    head::{self, HeadError},
    reader::{Event, Reader},
    send::{self, SendError, unless_stopped},
    server::Link,
};
use crate::{
    body::{Body, BodyError},
    handle,
    listen::ConnInfo,
};

const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Serves a request stream to its end. What goes wrong costs the stream, or the connection where the RFC says so.
pub(super) async fn serve(link: Arc<Link>, conn: Arc<ConnInfo>, mut send: SendStream, recv: RecvStream) {
    // of the request's body: its failure is answered, and is no fault of the exchange
    let abandoned = Arc::new(AtomicBool::new(false));
    let ended = exchange(&link, conn, &mut send, recv, &abandoned).await;
    if let Err(Fault::Stream(code, _)) = ended {
        let _gone = send.reset(code.var_int());
    }
    if let Err(fault @ Fault::Connection(..)) = &ended {
        link.fail(fault);
    } else if ended.is_err() || abandoned.load(Relaxed) {
        // what costs only a stream can be had as often as one likes, if nobody counts
        if let Err(flood) = link.charge(ABANDONED) {
            link.fail(&flood);
        }
    }
}

/// What a stream costs that did not get to its end: 200 at once, and ten per second.
const ABANDONED: u32 = 10;

async fn exchange(
    link: &Arc<Link>,
    conn: Arc<ConnInfo>,
    send: &mut SendStream,
    recv: RecvStream,
    abandoned: &Arc<AtomicBool>,
) -> Result<(), Fault> {
    let early = recv.is_0rtt();
    let worker = Arc::clone(&link.worker);
    let mut reader = Reader::new(recv, link.limits.head.0.saturating_mul(2));
    let (method, response) = match request(link, &mut reader).await {
        Ok((mut parts, length)) => {
            if early {
                of_early_data(link, &conn, &mut parts).await?;
            }
            let method = parts.method.clone();
            let ended = poll_fn(|context| Poll::Ready(reader.peek_end(context))).await?;
            let body = match (ended, length) {
                (true, None | Some(0)) => Body::empty(),
                (true, Some(_)) => return Err(wrong_length()),
                (false, left) => Body::boxed(RequestBody {
                    link: Arc::clone(link),
                    reader,
                    left,
                    trailers: None,
                    done: false,
                    abandoned: Arc::clone(abandoned),
                }),
            };
            let request = Request::from_parts(parts, body);
            let exchange = handle::handle(worker, conn, request);
            let response = unless_stopped(send, exchange).await.ok_or(Fault::Gone)?;
            (method, response)
        }
        Err(HeadError::Fault(fault)) => {
            if let Fault::Stream(code, _) = fault {
                let _gone = reader.stream().stop(code.var_int());
            }
            return Err(fault);
        }
        Err(HeadError::Refused(reject)) => {
            let _gone = reader.stream().stop(Code::NoError.var_int());
            let response = handle::refuse(worker, conn, reject, Version::HTTP_3);
            (Method::GET, response)
        }
    };
    send::response(send, response, &method, &link.limits)
        .await
        .map_err(|error| {
            if matches!(error, SendError::Stalled) {
                link.worker.shared.metrics.slow_readers.fetch_add(1, Relaxed);
            }
            tracing::debug!(%error, "answer did not reach its end");
            Fault::Stream(error.code(), "answer did not reach its end")
        })
}

/// Reads the head.
async fn request(link: &Link, reader: &mut Reader) -> Result<(http::request::Parts, Option<u64>), HeadError> {
    let event = tokio::time::timeout(
        link.limits.head_timeout.0,
        poll_fn(|context| reader.poll_event(context)),
    );
    match event.await {
        Err(_elapsed) => Err(HeadError::Refused(Reject::new(
            RejectCode::RequestTimeout,
            "the request head did not come in time",
        ))),
        Ok(Err(fault)) => Err(fault.into()),
        Ok(Ok(Event::Fields(section))) => head::request(section, &link.limits),
        Ok(Ok(Event::TooLong(length))) => Err(HeadError::Refused(Reject::new(
            RejectCode::HeadTooLarge,
            format!(
                "encoded request head of {length} bytes exceeds {}",
                link.limits.head.0.saturating_mul(2)
            ),
        ))),
        Ok(Ok(Event::Data(_) | Event::End)) => {
            Err(Fault::Connection(Code::InternalError, "no head before the body").into())
        }
    }
}

/// A request that came before the handshake ended may be a copy of one that somebody recorded (RFC 8470): safe ones are marked, others wait until it
/// is known that the client is there. So do all from the address of a hop that is believed, which nothing has proven until then.
async fn of_early_data(link: &Link, conn: &ConnInfo, parts: &mut http::request::Parts) -> Result<(), Fault> {
    let believed = is_trusted(conn.peer.address.ip(), &conn.listener.trusted_hops);
    if parts.method.is_safe() && !believed {
        if !link.established.is_cancelled() {
            parts.headers.insert(EARLY_DATA, HeaderValue::from_static("1"));
        }
        return Ok(());
    }
    tokio::select! {
        () = link.established.cancelled() => Ok(()),
        _ = link.connection.closed() => Err(Fault::Gone),
    }
}

const fn wrong_length() -> Fault {
    Fault::Stream(Code::MessageError, "body of another length than its head says")
}

/// The body of a request.
struct RequestBody {
    link: Arc<Link>,
    reader: Reader,
    /// Bytes that `content-length` promises.
    left: Option<u64>,
    /// Handed out when it is known that nothing follows them.
    trailers: Option<HeaderMap>,
    done: bool,
    /// Set when it does not come to its end.
    abandoned: Arc<AtomicBool>,
}

impl RequestBody {
    fn event(&mut self, event: Event) -> Result<Option<Frame<Bytes>>, Fault> {
        match event {
            Event::Data(data) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
                }
                Ok(Some(Frame::data(data)))
            }
            Event::Fields(section) => {
                let trailers = head::trailers(section, &self.link.limits)?;
                self.trailers = (!trailers.is_empty()).then_some(trailers);
                Ok(None)
            }
            Event::TooLong(_) => Err(Fault::Stream(
                Code::ExcessiveLoad,
                "trailers exceed the limit of heads",
            )),
            Event::End if self.left.is_some_and(|left| left > 0) => Err(wrong_length()),
            Event::End => {
                self.done = true;
                Ok(self.trailers.take().map(Frame::trailers))
            }
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = Ok(None);
        while matches!(frame, Ok(None)) && !self.done {
            let event = ready!(self.reader.poll_event(context));
            frame = event.and_then(|event| self.event(event));
        }
        Poll::Ready(match frame {
            Ok(frame) => frame.map(Ok),
            Err(fault) => {
                self.done = true;
                self.abandoned.store(true, Relaxed);
                self.link.fail(&fault);
                Some(Err(match fault {
                    Fault::Gone => BodyError::ClientGone,
                    Fault::Stream(code, what) => {
                        let _gone = self.reader.stream().stop(code.var_int());
                        BodyError::Malformed(what)
                    }
                    Fault::Connection(_, what) => BodyError::Malformed(what),
                }))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done
            || (self.reader.has_ended() && self.trailers.is_none() && self.left.is_none_or(|left| left == 0))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.done && !self.reader.has_ended() {
            // RFC 9114 section 4.1: the answer is whole without the rest of the request
            let _gone = self.reader.stream().stop(Code::NoError.var_int());
        }
    }
}
