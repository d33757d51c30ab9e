//! What Pebble does not do, in front of it: says when certificates are to be renewed (RFC 9773), refuses orders for a while, and takes its time.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{Connection, Pebble, bytes};

/// Stands in front of an authority; ends when dropped.
pub struct Front {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    address: SocketAddr,
    pebble: SocketAddr,
    client: Arc<rustls::ClientConfig>,
    /// Payloads of new orders, decoded.
    orders: Mutex<Vec<Value>>,
    /// Certificates that somebody asked about.
    asked: Mutex<Vec<String>>,
    /// Seconds for which new orders are refused.
    refusing: Mutex<Option<u64>>,
    /// Names whose orders wait.
    held: watch::Sender<HashSet<String>>,
}

impl Front {
    /// Starts one.
    pub async fn start(pebble: &Pebble) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ca = pebble.own_ca();
        let tls = TlsAcceptor::from(ca.issue(&["127.0.0.1"]).server(&["http/1.1"]));
        let state = Arc::new(State {
            address,
            pebble: pebble.address(),
            client: ca.client(&["http/1.1"], None),
            orders: Mutex::default(),
            asked: Mutex::default(),
            refusing: Mutex::default(),
            held: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    // it ends as the client likes
                    drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// URL of its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Orders that came, as they were sent.
    #[must_use]
    pub fn orders(&self) -> Vec<Value> {
        self.state.orders.lock().clone()
    }

    /// Identifiers of the certificates whose renewal was asked about.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().clone()
    }

    /// Refuses new orders, and says to come back after so many seconds; or takes them again.
    pub fn refuse(&self, seconds: Option<u64>) {
        *self.state.refusing.lock() = seconds;
    }

    /// Lets orders for this name wait, until [`go_on`](Self::go_on).
    pub fn hold(&self, name: &str) {
        self.state.held.send_modify(|held| {
            held.insert(name.to_owned());
        });
    }

    /// Holds up nothing any more.
    pub fn go_on(&self) {
        self.state.held.send_modify(HashSet::clear);
    }
}

type Answer = Result<Response<Full<Bytes>>, hyper::Error>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    if let Some(certificate) = path.strip_prefix("/renewal-info/") {
        state.asked.lock().push(certificate.to_owned());
        return Ok(renewal_info());
    }
    if path == "/order-plz" && head.method == Method::POST {
        let order = payload(&body);
        let names = order["identifiers"].as_array().into_iter().flatten();
        let names: Vec<_> = names.filter_map(|name| name["value"].as_str()).collect();
        let mut held = state.held.subscribe();
        // the sender is in `state`
        drop(
            held.wait_for(|held| !names.iter().any(|name| held.contains(*name)))
                .await,
        );
        let refusing = *state.refusing.lock();
        state.orders.lock().push(order);
        if let Some(seconds) = refusing {
            return Ok(refusal(seconds));
        }
    }
    let mut pebble = Box::pin(Connection::tls(state.pebble, "127.0.0.1", &state.client))
        .await
        .unwrap();
    let mut passed = Request::builder().method(head.method).uri(path.as_str());
    for (name, value) in &head.headers {
        passed = passed.header(name, value);
    }
    let reply = pebble.try_send(passed, bytes(body)).await?;
    let mut body = reply.body;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        if !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            response = response.header(name, value);
        }
    }
    if path == "/dir" {
        let mut directory: Value = serde_json::from_slice(&body).unwrap();
        directory["renewalInfo"] = json!(format!("https://{}/renewal-info", state.address));
        body = directory.to_string().into();
    }
    Ok(response.body(Full::new(body)).unwrap())
}

/// What a JWS carries (RFC 7515 section 7.2.2).
fn payload(jws: &[u8]) -> Value {
    let jws: Value = serde_json::from_slice(jws).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(jws["payload"].as_str().unwrap())
        .unwrap();
    serde_json::from_slice(&payload).unwrap_or_default()
}

/// Renew now: the window is over.
fn renewal_info() -> Response<Full<Bytes>> {
    let body = json!({"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}});
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::RETRY_AFTER, "21600")
        .body(Full::new(body.to_string().into()))
        .unwrap()
}

fn refusal(seconds: u64) -> Response<Full<Bytes>> {
    let problem = json!({
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "too many of them",
        "status": 429,
    });
    Response::builder()
        .status(StatusCode::TOO_MANY_REQUESTS)
        .header(header::CONTENT_TYPE, "application/problem+json")
        .header(header::RETRY_AFTER, seconds)
        .body(Full::new(problem.to_string().into()))
        .unwrap()
}
