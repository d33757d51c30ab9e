//! A whole request over loopback: CPU time of the gateway's worker thread per request, with 0, 1 and 5 plugins.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use edgeward_core::config;
use edgeward_proxy::{ApisInput, Certificates, Material, Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{Runtime, RuntimeOptions};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
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
        let origin = origin().await?;
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
        let config = config::from_value(serde_json::json!({
            "listeners": [{"address": "127.0.0.1:0"}],
            "workers": 1,
            "log": {"access": false},
            "upstreams": {"origin": {"endpoints": [origin.to_string()]}},
            "plugins": bindings,
            "routes": cases.iter().map(route).collect::<Vec<_>>(),
        }))?;
        let snapshot = Snapshot::build(SnapshotInput {
            config: &config,
            material: &Material::new(Path::new("."), Certificates::new()),
            plugins: &plugins,
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
    pub(crate) async fn drive(&self, path: &str, clients: usize, requests: usize) -> Result<()> {
        let all: Vec<_> = (0..clients)
            .map(|_| tokio::spawn(client(self.address, path.to_owned(), requests)))
            .collect();
        for client in all {
            client.await??;
        }
        Ok(())
    }
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("load")
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let runtime = Runtime::new(RuntimeOptions {
            instances: 1000,
            ..RuntimeOptions::default()
        })?;
        let gateway = Gateway::start(runtime, &CASES).await?;
        let mut rounds = vec![Vec::new(); CASES.len()];
        // interleaved, so that a disturbance hits all cases alike
        for round in 0..8 {
            for (case, (path, ..)) in CASES.iter().enumerate() {
                let start = threads_cpu("worker-")?;
                gateway.drive(path, CLIENTS, REQUESTS).await?;
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

async fn client(address: SocketAddr, path: String, requests: usize) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for _ in 0..requests {
        let mut request = Request::get(&path).header("host", "bench.example.com");
        for index in 0..10 {
            request = request.header(format!("x-header-{index}"), "some usual value");
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        anyhow::ensure!(response.status() == 200, "status {}", response.status());
        response.into_body().collect().await?;
    }
    Ok(())
}

async fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let body = Bytes::from(vec![b'x'; 1024]);
        while let Ok((stream, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |_request| {
                    let body = body.clone();
                    async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
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
