//! A whole request over loopback: CPU time of the gateway's worker thread per request, with 0, 1 and 5 plugins.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use edgeward_core::config;
use edgeward_proxy::{ApisInput, Certificates, Material, Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{PluginVersion, Runtime, RuntimeOptions};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::{
    hooks::load,
    measure::{Report, threads_cpu},
};

const CLIENTS: usize = 16;
const REQUESTS: usize = 500;

/// A pipeline to measure: the path of its route, its plugins, what to call it.
pub(crate) type Case = (&'static str, &'static [&'static str], &'static str);

/// The plugin that asks for no phase.
const IDLE: &str = "idle";
const CASES: [Case; 4] = [
    ("/0", &[], "no plugin"),
    ("/none", &[IDLE], "1 plugin without interest"),
    ("/1", &["a"], "1 plugin, fresh"),
    ("/5", &["a", "b", "c", "d", "e"], "5 plugins, fresh"),
];

/// Name of the gateway.
pub(crate) const HOST: &str = "bench.example.com";

/// A gateway with one worker and an origin for it, which runs on the calling runtime.
pub(crate) struct Gateway {
    proxy: Proxy,
}

impl Gateway {
    /// With a route for each case.
    pub(crate) async fn start(runtime: Runtime, cases: &[Case]) -> Result<Self> {
        let (mut plugins, mut bindings) = (BTreeMap::new(), Map::new());
        for name in cases.iter().flat_map(|(_, pipeline, _)| *pipeline) {
            if !plugins.contains_key(*name) {
                let guest = if *name == IDLE {
                    "no-interest"
                } else {
                    "read-headers"
                };
                let version = load(&runtime, guest, name, json!({})).await?;
                plugins.insert((*name).to_owned(), version);
                bindings.insert((*name).to_owned(), json!({"module": "x.wasm"}));
            }
        }
        let route =
            |(path, pipeline, _): &Case| json!({"path": path, "upstream": "origin", "pipeline": pipeline});
        let routes: Vec<_> = cases.iter().map(route).collect();
        let site = json!({
            "listeners": [{"name": "plain", "address": "127.0.0.1:0"}],
            "plugins": bindings,
            "routes": routes,
        });
        Self::of(runtime, Path::new("."), site, &plugins).await
    }

    /// With these listeners, plugins and routes. The files of listeners are in `folder`.
    pub(crate) async fn of(
        runtime: Runtime,
        folder: &Path,
        mut site: Value,
        plugins: &BTreeMap<String, Arc<PluginVersion>>,
    ) -> Result<Self> {
        let origin = server(Bytes::from(vec![b'x'; 1024]), HeaderMap::new()).await?;
        site["workers"] = json!(1);
        site["log"] = json!({"access": false});
        site["upstreams"] = json!({"origin": {"endpoints": [origin.to_string()]}});
        let config = config::from_value(site)?;
        let snapshot = Snapshot::build(SnapshotInput {
            config: &config,
            material: &Material::new(folder, Certificates::new()),
            plugins,
            shadows: &BTreeMap::new(),
            apis: &ApisInput::default(),
            previous: None,
        })?;
        let proxy = Proxy::start(runtime, snapshot)?;
        Ok(Self { proxy })
    }

    /// Opens that many connections to the listener `plain`, or with TLS to the listener `tls`.
    pub(crate) async fn connect(
        &self,
        clients: usize,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<Clients> {
        let wanted = if tls.is_some() { "tls" } else { "plain" };
        let found = self
            .proxy
            .addresses()
            .into_iter()
            .find(|(name, _)| name == wanted);
        let (_, address) = found.with_context(|| format!("no listener {wanted}"))?;
        let mut senders = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            senders.push(match tls {
                Some(config) => {
                    let connector = TlsConnector::from(Arc::clone(config));
                    let connecting = connector.connect(ServerName::try_from(HOST)?, stream);
                    Box::pin(sender(Box::pin(connecting).await?)).await?
                }
                None => sender(stream).await?,
            });
        }
        Ok(Clients(senders))
    }

    /// Sends that many requests over each of `clients` new connections.
    pub(crate) async fn drive(&self, call: &Arc<Call>, clients: usize, requests: usize) -> Result<()> {
        self.connect(clients, None).await?.drive(call, requests).await
    }
}

/// Open connections to a gateway.
pub(crate) struct Clients(Vec<SendRequest<Full<Bytes>>>);

impl Clients {
    /// Sends that many requests over each connection.
    pub(crate) async fn drive(&mut self, call: &Arc<Call>, requests: usize) -> Result<()> {
        let senders = self.0.drain(..);
        let all: Vec<_> = senders
            .map(|sender| tokio::spawn(client(sender, Arc::clone(call), requests)))
            .collect();
        for client in all {
            self.0.push(client.await??);
        }
        Ok(())
    }
}

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Call {
    /// GET with ten fields of no meaning.
    pub(crate) fn get(path: &str) -> Self {
        let field = |index| (format!("x-header-{index}"), "some usual value".to_owned());
        Self {
            method: Method::GET,
            path: path.to_owned(),
            fields: (0..10).map(field).collect(),
            body: Bytes::new(),
        }
    }
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    load_runtime(1)?.block_on(async {
        let runtime = Runtime::new(RuntimeOptions {
            instances: 1000,
            ..RuntimeOptions::default()
        })?;
        let gateway = Gateway::start(runtime, &CASES).await?;
        let calls = CASES.map(|(path, ..)| Arc::new(Call::get(path)));
        let mut rounds = vec![Vec::new(); CASES.len()];
        // interleaved, so that a disturbance hits all cases alike
        for round in 0..8 {
            for (case, call) in calls.iter().enumerate() {
                let start = threads_cpu("worker-")?;
                gateway.drive(call, CLIENTS, REQUESTS).await?;
                let used = threads_cpu("worker-")? - start;
                if round > 0 {
                    rounds[case].push(used as f64 / (CLIENTS * REQUESTS) as f64 / 1000.0);
                }
            }
        }
        for ((.., label), rounds) in CASES.iter().zip(&rounds) {
            report.case(
                format!("end to end: h1, 1 KiB, {label}, CPU per request"),
                rounds,
                "us",
            );
        }
        Ok(())
    })
}

async fn sender(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn client(
    mut sender: SendRequest<Full<Bytes>>,
    call: Arc<Call>,
    requests: usize,
) -> Result<SendRequest<Full<Bytes>>> {
    for _ in 0..requests {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header("host", HOST);
        for (name, value) in &call.fields {
            request = request.header(name, value);
        }
        sender.ready().await?;
        let response = sender
            .send_request(request.body(Full::new(call.body.clone()))?)
            .await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status == 200,
            "{}: {status}: {}",
            call.path,
            String::from_utf8_lossy(&body)
        );
    }
    Ok(sender)
}

/// Where clients and origins run, on threads whose time is not counted.
pub(crate) fn load_runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("load")
        .enable_all()
        .build()?)
}

/// A server that answers everything with this, as long as the process lives.
pub(crate) async fn server(body: Bytes, fields: HeaderMap) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (body, fields) = (body.clone(), fields.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |_request| {
                    let mut response = Response::new(Full::new(body.clone()));
                    *response.headers_mut() = fields.clone();
                    async move { Ok::<_, Infallible>(response) }
                });
                // a client that goes away ends its connection, nothing more
                let _ended = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}
