//! Tests of upstreams against small real servers on loopback. This file is the kit: servers, configurations, requests.

mod balance;
mod exchange;
mod faults;
mod http2;
mod names;
mod secure;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeward_core::config::{self, Time, Upstream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{Pools, SendOptions, Sent, UpstreamError, UpstreamGroup, send};
use crate::body::{Body, BodyError};

/// A test server; stops with the runtime of its test.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Gives every connection, with its number from 0, to `handle`.
    async fn raw<F>(handle: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(handle(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, connections }
    }

    /// HTTP/1.1 by hyper.
    async fn h1<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::raw(move |_, stream| serve_h1(stream, answer.clone())).await
    }

    /// HTTP/2 by hyper, prior knowledge.
    async fn h2<F>(
        settings: impl Fn(&mut hyper::server::conn::http2::Builder<TokioExecutor>) + Clone + Send + Sync + 'static,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::raw(move |_, stream| {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            settings(&mut builder);
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve_h1<T, F>(io: T, answer: impl Fn(Request<Incoming>) -> F + Send + 'static)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let _ended = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(io), service)
        .await;
}

/// Reads a request head from a raw connection; `None` when the peer closed.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn upstream(endpoints: &[&Server]) -> Upstream {
    let mut config = config_of(&["127.0.0.1:1"]);
    config.endpoints = endpoints
        .iter()
        .map(|server| server.address.to_string())
        .collect();
    config
}

fn config_of(endpoints: &[&str]) -> Upstream {
    let mut config: Upstream = serde_json::from_value(serde_json::json!({ "endpoints": endpoints })).unwrap();
    config.connect_timeout = Time::secs(5);
    config.response_timeout = Time::secs(5);
    config
}

fn group(config: &Upstream) -> Arc<UpstreamGroup> {
    UpstreamGroup::new("test", config).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::builder()
        .uri(path)
        .header("host", "client.example")
        .body(Body::empty())
        .unwrap()
}

fn post(body: Body) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri("/")
        .header("host", "client.example")
        .body(body)
        .unwrap()
}

async fn call(pools: &Pools, group: &UpstreamGroup, request: Request<Body>) -> Result<Sent, UpstreamError> {
    let sending = send(pools, group, request, SendOptions::default());
    tokio::time::timeout(Duration::from_secs(10), sending)
        .await
        .expect("no answer at all")
}

async fn text(sent: Sent) -> String {
    let (body, _) = sent.response.into_body().collect_limited(1 << 30).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A body whose frames the test sends.
fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (sender, mut receiver) = mpsc::channel(8);
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::boxed(StreamBody::new(stream)))
}

fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(bytes.into()))
}

async fn ok(_request: Request<Incoming>) -> Response<Body> {
    Response::new(Body::full("ok"))
}

/// Waits for a condition that other tasks bring about.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
