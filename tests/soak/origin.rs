//! The upstream: HTTP/1.1 and HTTP/2 on one port. What it does depends on the path:
//!
//! - `/bytes/N`: so many bytes; `/events/N`: so many events, one each 200 ms;
//! - `/echo/...`: the request body as it comes; `/calls/...`: the same with the trailer `grpc-status: 0`, but `/calls/silent` never answers;
//! - `/flaky/...`: one in five 503, one in seven breaks off before its head, one in eleven in its body;
//! - everything else: what it was told of the client, as JSON.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// Time between two events.
const BETWEEN_EVENTS: Duration = Duration::from_millis(200);

/// Starts one.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener));
    address
}

/// A port that is free now.
pub(crate) fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Serves connections; when this is dropped, they end.
pub(crate) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        connections.spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // connections end as the gateway likes
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await,
            );
        });
        while connections.try_join_next().is_some() {}
    }
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(never).boxed_unsync()
}

fn never(never: Infallible) -> Error {
    match never {}
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["bytes", count] => {
            let chunk = Bytes::from_static(&[b'x'; 16 << 10]);
            let chunks = stream::unfold(count.parse::<usize>()?, move |left| {
                let chunk = chunk.slice(..left.min(chunk.len()));
                async move { (left > 0).then(|| (Ok(Frame::data(chunk.clone())), left - chunk.len())) }
            });
            Ok(Response::new(StreamBody::new(chunks).boxed_unsync()))
        }
        ["events", count] => {
            let events = stream::iter(0..count.parse::<u32>()?).then(async |number| {
                tokio::time::sleep(BETWEEN_EVENTS).await;
                Ok(Frame::data(Bytes::from(format!("data: {number}\n\n"))))
            });
            let body = StreamBody::new(Box::pin(events)).boxed_unsync();
            Ok(Response::builder()
                .header("content-type", "text/event-stream")
                .body(body)?)
        }
        ["echo", ..] => Ok(Response::new(
            request.into_body().map_err(Error::from).boxed_unsync(),
        )),
        ["calls", "silent"] => std::future::pending().await,
        ["calls", ..] => {
            let trailers = async {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Ok(trailers))
            };
            // without the empty frame that ended the request: the gateway's library ends a connection on which a hundred of them end nothing
            let messages = request.into_body().into_data_stream();
            let messages = messages.try_filter(|message| std::future::ready(!message.is_empty()));
            let body = StreamBody::new(messages.map_ok(Frame::data).map_err(Error::from));
            let body = body.with_trailers(trailers).boxed_unsync();
            Ok(Response::builder()
                .header("content-type", "application/grpc")
                .body(body)?)
        }
        ["flaky", ..] => flaky(),
        _ => {
            let told = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
            let told = json!({"path": path, "user": told("x-user"), "plan": told("x-plan"), "secret": "unknown to clients"});
            let response = Response::builder().header("content-type", "application/json");
            Ok(response.body(full(told.to_string()))?)
        }
    }
}

fn flaky() -> Result<Response<Body>, Error> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Relaxed);
    if turn.is_multiple_of(5) {
        return Ok(Response::builder().status(503).body(full("not now"))?);
    }
    if turn.is_multiple_of(7) {
        return Err("told to break off".into());
    }
    if turn.is_multiple_of(11) {
        let halves = stream::iter([Ok("half"), Err("told to break off")]).then(async |half| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            half.map(|half| Frame::data(Bytes::from_static(half.as_bytes())))
                .map_err(Error::from)
        });
        let body = StreamBody::new(Box::pin(halves)).boxed_unsync();
        return Ok(Response::builder().header("content-length", "8").body(body)?);
    }
    Ok(Response::new(full("whole")))
}
