//! A whole request over loopback: CPU time of the gateway's worker thread per request, with 0, 1 and 5 plugins.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use edgeward_core::config;
use edgeward_proxy::{ApisInput, Certificates, Material, Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{PluginVersion, Runtime, RuntimeOptions};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

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

/// A gateway with one worker and an origin for it, which runs on the calling runtime.
pub(crate) struct Gateway {
    _proxy: Proxy,
    address: SocketAddr,
}

impl Gateway {
    /// With a route for each case.
    pub(crate) async fn start(runtime: Runtime, cases: &[Case]) -> Result<Self> {
        let (mut plugins, mut bindings) = (BTreeMap::new(), serde_json::Map::new());
        for name in cases.iter().flat_map(|(_, pipeline, _)| *pipeline) {
            if !plugins.contains_key(*name) {
                let guest = if *name == IDLE {
                    "no-interest"
                } else {
                    "read-headers"
                };
                let version = load(&runtime, guest, name, serde_json::json!({})).await?;
                plugins.insert((*name).to_owned(), version);
                bindings.insert((*name).to_owned(), serde_json::json!({"module": "x.wasm"}));
            }
        }
        let route = |(path, pipeline, _): &Case| serde_json::json!({"path": path, "upstream": "origin", "pipeline": pipeline});
        Self::of(runtime, cases.iter().map(route).collect(), bindings, &plugins).await
    }

    /// With these routes and plugins.
    pub(crate) async fn of(
        runtime: Runtime,
        routes: Vec<serde_json::Value>,
        bindings: serde_json::Map<String, serde_json::Value>,
        plugins: &BTreeMap<String, Arc<PluginVersion>>,
    ) -> Result<Self> {
        let origin = server(Bytes::from(vec![b'x'; 1024]), HeaderMap::new()).await?;
        let config = config::from_value(serde_json::json!({
            "listeners": [{"address": "127.0.0.1:0"}],
            "workers": 1,
            "log": {"access": false},
            "upstreams": {"origin": {"endpoints": [origin.to_string()]}},
            "plugins": bindings,
            "routes": routes,
        }))?;
        let snapshot = Snapshot::build(SnapshotInput {
            config: &config,
            material: &Material::new(Path::new("."), Certificates::new()),
            plugins,
            shadows: &BTreeMap::new(),
            apis: &ApisInput::default(),
            previous: None,
        })?;
        let proxy = Proxy::start(runtime, snapshot)?;
        let address = proxy.addresses().first().context("no listener")?.1;
        Ok(Self {
            _proxy: proxy,
            address,
        })
    }

    /// Sends that many requests over each of `clients` connections.
    pub(crate) async fn drive(&self, call: &Arc<Call>, clients: usize, requests: usize) -> Result<()> {
        let all: Vec<_> = (0..clients)
            .map(|_| tokio::spawn(client(self.address, Arc::clone(call), requests)))
            .collect();
        for client in all {
            client.await??;
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

async fn client(address: SocketAddr, call: Arc<Call>, requests: usize) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for _ in 0..requests {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header("host", "bench.example.com");
        for (name, value) in &call.fields {
            request = request.header(name, value);
        }
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
    Ok(())
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
