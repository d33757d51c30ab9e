//! The origin behind the gateway: HTTP/1.1 and HTTP/2 on one port, on a thread of its own, so that a test that blocks does not
//! stop it. What it does depends on the path:
//!
//! - `/status/N`: that status; `/bytes/N`: so many bytes; `/trailers`: a body with the trailer `x-checksum: abc`;
//!   `/fields?name=value&...`: these response header fields; `/abort`: closes without an answer; `/half`: breaks off in the
//!   middle of a body; `/flaky/KEY/N`: N times 503, then 200; `/hold/KEY`: answers after [`Origin::release`]; `/slow/N`: after N milliseconds;
//!   `/stamp`: the request header `x-stamp-request` as body; `/text/...`: a plain text body.
//! - everything else: the request as JSON.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::eventually;

type OriginBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request that reached the origin.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Number of the connection it came on.
    pub connection: u64,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    flaky: Mutex<HashMap<String, u32>>,
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
    connections: AtomicU64,
}

/// A running origin; ends when dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts one on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::listen("127.0.0.1:0", None)
    }

    /// The same with TLS.
    #[must_use]
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::listen("127.0.0.1:0", Some(config))
    }

    /// Starts one on a given address, for an origin that comes back.
    #[must_use]
    pub fn listen(address: &str, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, shared, tls) => {}
                    _ended = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint in a configuration.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Requests that came so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// Number of requests whose target begins with this.
    #[must_use]
    pub fn hits(&self, target: &str) -> usize {
        self.state
            .seen
            .lock()
            .iter()
            .filter(|seen| seen.target.starts_with(target))
            .count()
    }

    /// Waits until that many requests to a target came.
    pub async fn wait_for(&self, target: &str, count: usize) {
        eventually(&format!("request {count} to {target}"), async || {
            (self.hits(target) >= count).then_some(())
        })
        .await;
    }

    /// Lets requests to `/hold/KEY` go, those that come later too.
    pub fn release(&self, key: &str) {
        let _was = gate(&self.state, key).send_replace(true);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic of the origin has shown in the exchange already
            drop(thread.join());
        }
    }
}

fn gate(state: &State, key: &str) -> watch::Sender<bool> {
    state
        .gates
        .lock()
        .entry(key.to_owned())
        .or_insert_with(|| watch::channel(false).0)
        .clone()
}

async fn accept(listener: TcpListener, state: Arc<State>, tls: Option<Arc<rustls::ServerConfig>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        drop(stream.set_nodelay(true));
        let number = state.connections.fetch_add(1, Relaxed);
        tokio::spawn(serve(stream, Arc::clone(&state), number, tls.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>, number: u64, tls: Option<Arc<rustls::ServerConfig>>) {
    let service = service_fn(move |request| answer(Arc::clone(&state), number, request));
    let builder = auto::Builder::new(TokioExecutor::new());
    // connections end as the gateway likes
    match tls {
        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
        Some(config) => {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

fn full(content: impl Into<Bytes>) -> OriginBody {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn answer(
    state: Arc<State>,
    connection: u64,
    request: Request<Incoming>,
) -> io::Result<Response<OriginBody>> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned();
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let method = request.method().to_string();
    state.seen.lock().push(Seen {
        method,
        target: target.clone(),
        connection,
    });
    match segments.as_slice() {
        ["status", code] => {
            let status = code.parse().map_err(io::Error::other)?;
            let body = if matches!(status, 204 | 304) {
                String::new()
            } else {
                format!("status {status}")
            };
            Ok(Response::builder()
                .status::<u16>(status)
                .body(full(body))
                .map_err(io::Error::other)?)
        }
        ["bytes", count] => {
            let count: usize = count.parse().map_err(io::Error::other)?;
            let chunk = Bytes::from(vec![b'x'; 16 << 10]);
            let chunks = stream::unfold(count, move |left| {
                let chunk = chunk.slice(..left.min(chunk.len()));
                async move { (left > 0).then(|| (Ok(Frame::data(chunk.clone())), left - chunk.len())) }
            });
            Ok(Response::new(StreamBody::new(chunks).boxed_unsync()))
        }
        ["trailers"] => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("abc"));
            let frames = [
                Ok(Frame::data(Bytes::from_static(b"body"))),
                Ok(Frame::trailers(trailers)),
            ];
            let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
            Ok(Response::builder()
                .header("trailer", "x-checksum")
                .body(body)
                .map_err(io::Error::other)?)
        }
        ["fields"] => {
            let mut response = Response::new(full("fields"));
            for (name, value) in request
                .uri()
                .query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|pair| pair.split_once('='))
            {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
                response
                    .headers_mut()
                    .append(name, value.parse().map_err(io::Error::other)?);
            }
            Ok(response)
        }
        ["abort"] => Err(io::Error::other("told to")),
        ["half"] => {
            // the break comes only after the first half was written
            let frames = stream::unfold(0, async |turn| match turn {
                0 => Some((Ok(Frame::data(Bytes::from_static(b"half"))), 1)),
                _ => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    Some((Err(io::Error::other("told to")), 2))
                }
            });
            let body = StreamBody::new(frames).boxed_unsync();
            Ok(Response::builder()
                .header("content-length", "100")
                .body(body)
                .map_err(io::Error::other)?)
        }
        ["flaky", key, count] => {
            let count: u32 = count.parse().map_err(io::Error::other)?;
            let mut flaky = state.flaky.lock();
            let so_far = flaky.entry((*key).to_owned()).or_default();
            *so_far += 1;
            let status = if *so_far <= count { 503 } else { 200 };
            Ok(Response::builder()
                .status(status)
                .body(full("flaky"))
                .map_err(io::Error::other)?)
        }
        ["hold", key] => {
            let mut released = gate(&state, key).subscribe();
            drop(released.wait_for(|released| *released).await);
            Ok(Response::new(full("released")))
        }
        ["slow", millis] => {
            let millis = millis.parse().map_err(io::Error::other)?;
            tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
            Ok(Response::new(full("slow")))
        }
        ["stamp"] => {
            let stamp = request
                .headers()
                .get("x-stamp-request")
                .map_or(Bytes::new(), |stamp| Bytes::copy_from_slice(stamp.as_bytes()));
            Ok(Response::new(full(stamp)))
        }
        ["text", ..] => Ok(Response::builder()
            .header("content-type", "text/plain")
            .body(full("some plain text"))
            .map_err(io::Error::other)?),
        _ => echo(connection, request).await,
    }
}

async fn echo(connection: u64, request: Request<Incoming>) -> io::Result<Response<OriginBody>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let fields = |headers: &HeaderMap| {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
        };
        headers.iter().map(field).collect::<Vec<_>>()
    };
    let trailers = body.trailers().map(fields).unwrap_or_default();
    let bytes = body.to_bytes();
    // members in the order of a request, which plugins that rewrite bodies keep
    let members = [
        ("method", json!(head.method.as_str())),
        ("path", json!(head.uri.path())),
        ("query", json!(head.uri.query())),
        ("version", json!(format!("{:?}", head.version))),
        ("authority", json!(head.uri.authority().map(ToString::to_string))),
        ("headers", json!(fields(&head.headers))),
        ("body", json!(String::from_utf8_lossy(&bytes))),
        ("body-bytes", json!(bytes.len())),
        ("trailers", json!(trailers)),
        ("connection", json!(connection)),
    ];
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let report = format!("{{{}}}", members.join(","));
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("x-origin", "echo");
    response.body(full(report)).map_err(io::Error::other)
}
