//! The body of messages in both directions: nothing, bytes in memory, hyper's incoming stream, or any other stream in a box; plus what is watched
//! while it flows (size limit, byte count, idle time, the upstream connection it comes from). Data and trailers pass unchanged and nothing is read
//! ahead: backpressure is the poller's.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use edgeward_core::forwarded::hop_by_hop;
use futures_util::{StreamExt as _, stream};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{http1::RequestBody, pace::Pace, timer::Timer, upstream::ResponseBody};

/// Why a body ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client closed or reset its connection or stream.
    #[error("client went away before the end of the request body")]
    ClientGone,
    /// The client's framing is wrong (chunk sizes, for example).
    #[error("request body: {0}")]
    Malformed(&'static str),
    /// Its content coding cannot be undone.
    #[error("the body is not what its Content-Encoding says: {0}")]
    Coding(&'static str),
    /// More bytes than allowed.
    #[error("body exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No byte for longer than allowed, or too few.
    #[error("the body came too slowly")]
    Timeout,
    /// The upstream's connection or stream broke.
    #[error("upstream broke off the response body")]
    Upstream(#[source] Arc<dyn StdError + Send + Sync>),
    /// Ended by the gateway itself; the text says why.
    #[error("body aborted: {0}")]
    Aborted(Arc<str>),
}

type BoxedStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// Something that is held while a body flows and wants to know of a clean end. Dropped without `end`, the body was not read to its end.
pub(crate) trait Lease: Send + Sync {
    /// The last frame was handed out.
    fn end(self: Box<Self>);
}

/// A message body. Cheap to move; costs an allocation only where something is watched.
pub(crate) struct Body {
    kind: Kind,
    watch: Option<Box<Watch>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Http1(RequestBody),
    Client(Incoming),
    Upstream(Incoming),
    Http1Response(Box<ResponseBody>),
    /// The mutex makes bodies `Sync` (a reference may live across an await); it is never contended and not even locked for polling.
    Boxed(Mutex<BoxedStream>),
}

impl Body {
    /// No body.
    #[must_use]
    pub(crate) const fn empty() -> Self {
        Self {
            kind: Kind::Empty,
            watch: None,
        }
    }

    /// A body that is whole in memory.
    #[must_use]
    pub(crate) fn full(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self {
            kind: if data.is_empty() {
                Kind::Empty
            } else {
                Kind::Full(data)
            },
            watch: None,
        }
    }

    /// The body of an HTTP/1.1 request.
    #[must_use]
    pub(crate) fn from_http1(body: RequestBody) -> Self {
        Self {
            kind: Kind::Http1(body),
            watch: None,
        }
    }

    /// The body of a request that hyper's server received. Its failures are the client's.
    #[must_use]
    pub(crate) fn from_client(incoming: Incoming) -> Self {
        let ended = incoming.is_end_stream();
        Self {
            kind: if ended {
                Kind::Empty
            } else {
                Kind::Client(incoming)
            },
            watch: None,
        }
    }

    /// The body of a response that hyper's client received. Its failures are the upstream's.
    #[must_use]
    pub(crate) fn from_upstream(incoming: Incoming) -> Self {
        let ended = incoming.is_end_stream();
        Self {
            kind: if ended {
                Kind::Empty
            } else {
                Kind::Upstream(incoming)
            },
            watch: None,
        }
    }

    /// The body of an HTTP/1.1 response.
    #[must_use]
    pub(crate) fn from_http1_response(body: Box<ResponseBody>) -> Self {
        Self {
            kind: Kind::Http1Response(body),
            watch: None,
        }
    }

    /// Any other stream.
    #[must_use]
    pub(crate) fn boxed(
        stream: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    ) -> Self {
        Self {
            kind: Kind::Boxed(Mutex::new(Box::pin(stream))),
            watch: None,
        }
    }

    /// `front`, then what is left of `rest`.
    #[must_use]
    pub(crate) fn behind(front: Frame<Bytes>, rest: Self) -> Self {
        let rest = stream::unfold(rest, |mut rest| async move { Some((rest.frame().await?, rest)) });
        Self::boxed(StreamBody::new(stream::iter([Ok(front)]).chain(rest)))
    }

    /// The same body, empty if there turns out to be nothing in it. Waits for its first data or trailers, or for `patience`.
    ///
    /// # Errors
    /// What the stream fails with.
    pub(crate) async fn settled(mut self, patience: Duration) -> Result<Self, BodyError> {
        let first = async {
            loop {
                let frame = self.frame().await.transpose()?;
                if !frame.as_ref().is_some_and(is_nothing) {
                    return Ok(frame);
                }
            }
        };
        match tokio::time::timeout(patience, first).await {
            Err(_elapsed) => Ok(self),
            Ok(first) => Ok(first?.map_or_else(Self::empty, |first| Self::behind(first, self))),
        }
    }

    /// Fails with [`BodyError::TooLarge`] at the frame that takes it above `limit` bytes. The smaller limit wins if set twice.
    #[must_use]
    pub(crate) fn with_limit(mut self, limit: u64) -> Self {
        if !self.is_empty() {
            let watch = self.watch_mut();
            watch.limit = watch.limit.min(limit);
        }
        self
    }

    /// Fails with [`BodyError::Timeout`] when it is waited for and nothing comes for `idle`, or fewer than `rate` bytes per second on average over
    /// `idle`; for that only until what it is sent to has begun to answer. Time in which nobody asks does not count.
    #[must_use]
    pub(crate) fn with_timeout(mut self, idle: Duration, rate: u64) -> Self {
        if self.is_streaming() {
            self.watch_mut().pace = Some(Box::new((Pace::new(idle, rate), Timer::new())));
        }
        self
    }

    /// Fails with [`BodyError::Timeout`] when it is waited for at `end`.
    #[must_use]
    pub(crate) fn with_end(mut self, end: Instant) -> Self {
        if self.is_streaming() {
            self.watch_mut().end = Some(Box::new((end, Timer::new())));
        }
        self
    }

    /// Adds the data bytes that pass to `counter` (trailers and framing are not counted).
    #[must_use]
    pub(crate) fn with_counter(mut self, counter: Arc<AtomicU64>) -> Self {
        if !self.is_empty() {
            self.watch_mut().counter = Some(counter);
        }
        self
    }

    /// Holds `lease` until the end; an empty body ends at once.
    #[must_use]
    pub(crate) fn with_lease(mut self, lease: Box<dyn Lease>) -> Self {
        if self.is_empty() {
            lease.end();
        } else {
            self.watch_mut().lease = Some(lease);
        }
        self
    }

    pub(crate) fn set_upload(&mut self, upload: Arc<Upload>) {
        self.watch_mut().upload = Some(upload);
    }

    /// No data and no trailers will come.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// Whether its bytes come from outside over time (neither empty nor in memory).
    #[must_use]
    pub(crate) fn is_streaming(&self) -> bool {
        !matches!(self.kind, Kind::Empty | Kind::Full(_))
    }

    /// A second copy (a reference count, not the bytes) of a body that is empty or in memory; `None` for streams.
    #[must_use]
    pub(crate) fn copy(&self) -> Option<Self> {
        match &self.kind {
            Kind::Empty => Some(Self::empty()),
            Kind::Full(data) => Some(Self::full(data.clone())),
            Kind::Http1(_)
            | Kind::Client(_)
            | Kind::Upstream(_)
            | Kind::Http1Response(_)
            | Kind::Boxed(_) => None,
        }
    }

    /// Its bytes, if they are in memory.
    pub(crate) fn in_memory(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(data) => Some(data),
            Kind::Empty
            | Kind::Http1(_)
            | Kind::Client(_)
            | Kind::Upstream(_)
            | Kind::Http1Response(_)
            | Kind::Boxed(_) => None,
        }
    }

    /// Reads everything into memory: data and trailers. At most `limit` bytes are kept.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] above `limit`, else what the stream fails with.
    #[cfg(test)]
    pub(crate) async fn collect_limited(
        mut self,
        limit: u64,
    ) -> Result<(Bytes, Option<http::HeaderMap>), BodyError> {
        if self.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let mut first = Bytes::new();
        let mut rest = bytes::BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = self.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    if (first.len() + rest.len() + data.len()) as u64 > limit {
                        return Err(BodyError::TooLarge { limit });
                    }
                    if first.is_empty() && rest.is_empty() {
                        first = data;
                    } else {
                        if rest.is_empty() {
                            rest.extend_from_slice(&first);
                            first = Bytes::new();
                        }
                        rest.extend_from_slice(&data);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, trailers))
    }

    fn watch_mut(&mut self) -> &mut Watch {
        self.watch.get_or_insert_with(Box::default)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self::full(data)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Full(data) => write!(f, "Body::Full({} bytes)", data.len()),
            Kind::Http1(_) | Kind::Client(_) => f.write_str("Body::Client"),
            Kind::Upstream(_) | Kind::Http1Response(_) => f.write_str("Body::Upstream"),
            Kind::Boxed(_) => f.write_str("Body::Boxed"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = this.kind.poll_frame(context);
        if let Some(watch) = &mut this.watch {
            polled = watch.see(polled, this.kind.is_end_stream(), context);
        }
        if let Poll::Ready(None | Some(Err(_))) = polled {
            this.kind = Kind::Empty; // fused; what it came from is let go
            this.watch = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(data) => SizeHint::with_exact(data.len() as u64),
            Kind::Http1(body) => body.size_hint(),
            Kind::Client(incoming) | Kind::Upstream(incoming) => incoming.size_hint(),
            Kind::Http1Response(body) => body.size_hint(),
            Kind::Boxed(stream) => stream.lock().size_hint(),
        }
    }
}

impl Kind {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(data) => {
                let data = std::mem::take(data);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Self::Http1(body) => body.poll_frame(context),
            Self::Client(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map_ok(without_forbidden_trailers)
                .map_err(|_reset| BodyError::ClientGone),
            Self::Upstream(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map_ok(without_forbidden_trailers)
                .map_err(|error| BodyError::Upstream(Arc::new(error))),
            Self::Http1Response(body) => body.poll_frame(context),
            Self::Boxed(stream) => stream.get_mut().as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Http1(body) => body.is_end_stream(),
            Self::Client(incoming) | Self::Upstream(incoming) => incoming.is_end_stream(),
            Self::Http1Response(body) => body.is_end_stream(),
            Self::Boxed(stream) => stream.lock().is_end_stream(),
        }
    }
}

/// A frame of data without data: HTTP/2 may end a stream with one.
fn is_nothing(frame: &Frame<Bytes>) -> bool {
    frame.data_ref().is_some_and(Bytes::is_empty)
}

/// HTTP/1.1 leaves them out where it reads them; hyper does not.
fn without_forbidden_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        hop_by_hop::strip_trailers(trailers);
    }
    frame
}

/// What is watched while a body flows.
struct Watch {
    limit: u64,
    seen: u64,
    pace: Option<Box<(Pace, Timer)>>,
    /// When all of it has to be there.
    end: Option<Box<(Instant, Timer)>>,
    counter: Option<Arc<AtomicU64>>,
    upload: Option<Arc<Upload>>,
    lease: Option<Box<dyn Lease>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            limit: u64::MAX,
            seen: 0,
            pace: None,
            end: None,
            counter: None,
            upload: None,
            lease: None,
        }
    }
}

impl Watch {
    fn see(
        &mut self,
        polled: Poll<Option<Result<Frame<Bytes>, BodyError>>>,
        ended: bool,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let outcome = match polled {
            Poll::Pending => match self.wait(context) {
                Poll::Pending => {
                    if let Some(upload) = &self.upload {
                        upload.note(Stage::Source);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(error) => Some(Err(error)),
            },
            Poll::Ready(Some(Ok(frame))) => Some(self.pass(frame)),
            Poll::Ready(other) => other,
        };
        match &outcome {
            // Trailers are always last, and after them nobody polls again.
            Some(Ok(frame)) if ended || frame.is_trailers() => self.finish(),
            Some(Ok(_)) => {
                if let Some(upload) = &self.upload {
                    upload.note(Stage::Sink);
                }
            }
            Some(Err(error)) => {
                if let Some(upload) = &self.upload {
                    *upload.error.lock() = Some(error.clone());
                }
            }
            None => self.finish(),
        }
        Poll::Ready(outcome)
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(pace) = &mut self.pace {
            pace.0.moved(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        if let Some(data) = frame.data_ref() {
            let length = data.len() as u64;
            self.seen = self.seen.saturating_add(length);
            if self.seen > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            if let Some(counter) = &self.counter {
                counter.fetch_add(length, Ordering::Relaxed);
            }
        }
        Ok(frame)
    }

    /// Ready with the error when the wait is too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        if let Some(end) = &mut self.end
            && end.1.poll(end.0, context).is_ready()
        {
            return Poll::Ready(BodyError::Timeout);
        }
        let Some(pace) = &mut self.pace else {
            return Poll::Pending;
        };
        let (pace, timer) = &mut **pace;
        // a client and an upstream that talk to each other may be silent, as far as the idle time goes
        if self.upload.as_ref().is_some_and(|upload| upload.is_answered()) {
            pace.any_rate();
        }
        if pace.poll_slow(timer, context) {
            Poll::Ready(BodyError::Timeout)
        } else {
            Poll::Pending
        }
    }

    fn finish(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.note(Stage::Done);
        }
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
        self.pace = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.note(Stage::Done);
        }
    }
}

/// How far a request body has got, for the one who waits for the response head: it may not be blamed for a client that sends slowly.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Mutex<(Stage, Instant)>,
    answered: AtomicBool,
    error: Mutex<Option<BodyError>>,
}

/// Whom the body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For its source: the client.
    Source,
    /// For the one who reads it: the upstream.
    Sink,
    /// For nobody: handed out or dropped.
    Done,
}

impl Upload {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new((Stage::Sink, Instant::now())),
            answered: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    fn note(&self, stage: Stage) {
        let mut state = self.state.lock();
        if state.0 != Stage::Done {
            *state = (stage, Instant::now());
        }
    }

    /// Who is waited for, and since when.
    pub(crate) fn state(&self) -> (Stage, Instant) {
        *self.state.lock()
    }

    /// The head of the response has come.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// What the body failed with.
    pub(crate) fn error(&self) -> Option<BodyError> {
        self.error.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tokio::sync::mpsc;

    use super::*;

    fn stream(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Body {
        Body::boxed(StreamBody::new(stream::iter(frames)))
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    fn pending_after(frames: &[&'static str]) -> (mpsc::Sender<&'static str>, Body) {
        let (sender, mut receiver) = mpsc::channel(8);
        for frame in frames {
            sender.try_send(*frame).unwrap();
        }
        let stream = stream::poll_fn(move |context| receiver.poll_recv(context).map(|text| text.map(data)));
        (sender, Body::boxed(StreamBody::new(stream)))
    }

    #[tokio::test]
    async fn data_and_trailers_pass_and_are_counted() {
        let counter = Arc::new(AtomicU64::new(0));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("9"));
        let body = stream(vec![
            data("hello "),
            data("world"),
            Ok(Frame::trailers(trailers.clone())),
        ]);
        let (bytes, got) = body
            .with_counter(Arc::clone(&counter))
            .collect_limited(100)
            .await
            .unwrap();
        assert_eq!(bytes, "hello world");
        assert_eq!(got, Some(trailers));
        assert_eq!(counter.load(Ordering::Relaxed), 11);
    }

    #[tokio::test]
    async fn whether_there_is_a_body_is_waited_for_and_nothing_of_it_lost() {
        let patience = Duration::from_secs(60);
        let nothing = stream(vec![data(""), data("")]).settled(patience);
        assert!(nothing.await.unwrap().is_empty());
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("9"));
        let frames = vec![
            data(""),
            data("1"),
            data("2"),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let body = stream(frames).settled(patience).await.unwrap();
        let (bytes, got) = body.collect_limited(100).await.unwrap();
        assert_eq!((&bytes[..], got), (&b"12"[..], Some(trailers)));
        let (sender, body) = pending_after(&[]);
        let late = body.settled(Duration::from_millis(1)).await.unwrap();
        sender.try_send("late").unwrap();
        drop(sender);
        assert_eq!(late.collect_limited(100).await.unwrap().0, "late");
        let broken = stream(vec![Err(BodyError::ClientGone)]).settled(patience);
        assert!(matches!(broken.await, Err(BodyError::ClientGone)));
    }

    #[tokio::test]
    async fn size_hints_are_exact_where_the_size_is_known() {
        assert_eq!(Body::empty().size_hint().exact(), Some(0));
        assert!(Body::empty().is_end_stream());
        let full = Body::full("abc").with_limit(5);
        assert_eq!(full.size_hint().exact(), Some(3));
        assert!(!full.is_end_stream());
        assert_eq!(stream(vec![]).size_hint().exact(), None);
        assert!(Body::full("").is_empty());
    }

    #[tokio::test]
    async fn a_body_above_its_limit_fails_and_stays_ended() {
        let mut body = stream(vec![data("1234"), data("5678"), data("9")])
            .with_limit(6)
            .with_limit(60);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1234");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { limit: 6 }), "{error}");
        assert!(body.frame().await.is_none());
        assert!(matches!(
            stream(vec![data("1234")]).collect_limited(3).await,
            Err(BodyError::TooLarge { limit: 3 })
        ));
        assert!(matches!(
            Body::full("1234").collect_limited(3).await,
            Err(BodyError::TooLarge { limit: 3 })
        ));
    }

    #[tokio::test]
    async fn a_body_that_stops_times_out_but_slow_readers_do_not_count() {
        let idle = Duration::from_millis(60);
        let (sender, body) = pending_after(&["a"]);
        let mut body = body.with_timeout(idle, 0);
        assert!(body.frame().await.unwrap().is_ok());
        // Nobody asks for longer than the idle time while a frame is there: no timeout.
        sender.try_send("b").unwrap();
        tokio::time::sleep(idle * 2).await;
        assert!(body.frame().await.unwrap().is_ok());
        let began = Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Timeout), "{error}");
        assert!(began.elapsed() >= idle);
    }

    struct Flag(Arc<AtomicBool>);
    impl Lease for Flag {
        fn end(self: Box<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_lease_ends_with_the_last_frame_and_only_then() {
        let ended = Arc::new(AtomicBool::new(false));
        let lease = || Box::new(Flag(Arc::clone(&ended)));
        drop(Body::empty().with_lease(lease()));
        assert!(ended.swap(false, Ordering::Relaxed), "an empty body has ended");
        let mut body = Body::full("x").with_lease(lease());
        assert!(body.frame().await.unwrap().is_ok());
        assert!(ended.swap(false, Ordering::Relaxed), "known to be the last frame");
        let mut body = stream(vec![data("x"), data("y")]).with_lease(lease());
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        assert!(!ended.load(Ordering::Relaxed), "dropped half-way");
        let body = stream(vec![data("x"), Err(BodyError::ClientGone)]).with_lease(lease());
        assert!(body.collect_limited(9).await.is_err());
        assert!(!ended.load(Ordering::Relaxed), "broken off");
    }

    #[tokio::test]
    async fn an_upload_says_whom_it_waits_for() {
        let upload = Arc::new(Upload::new());
        let (sender, mut body) = pending_after(&["a"]);
        body.set_upload(Arc::clone(&upload));
        assert_eq!(upload.state().0, Stage::Sink);
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(upload.state().0, Stage::Sink);
        assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none());
        assert_eq!(upload.state().0, Stage::Source);
        drop(sender);
        assert!(body.frame().await.is_none());
        assert_eq!(upload.state().0, Stage::Done);
    }

    #[test]
    fn bodies_can_be_shared_between_threads() {
        const fn assert<T: Send + Sync + Unpin>() {}
        assert::<Body>();
    }

    #[tokio::test]
    async fn only_bodies_in_memory_can_be_copied() {
        assert!(Body::empty().copy().is_some());
        assert_eq!(
            Body::full("ab")
                .copy()
                .unwrap()
                .collect_limited(2)
                .await
                .unwrap()
                .0,
            "ab"
        );
        assert!(stream(vec![]).copy().is_none());
    }
}
