//! A whole request over loopback: CPU time of the gateway's worker thread per request, with 0, 1 and 5 plugins.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use edgeward_core::config;
use edgeward_proxy::{Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{Runtime, RuntimeOptions};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    hooks::load,
    measure::{report, threads_cpu},
};

const CLIENTS: usize = 16;
const REQUESTS: usize = 500;

pub(crate) fn run() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("load")
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let origin = origin().await?;
        let runtime = Runtime::new(RuntimeOptions { instances: 1000, ..RuntimeOptions::default() })?;
        let mut plugins = BTreeMap::new();
        for index in 0..5 {
            let name = format!("plugin{index}");
            let version = load(&runtime, "read-headers", &name, serde_json::json!({})).await?;
            plugins.insert(name, version);
        }
        plugins.insert("idle".to_owned(), load(&runtime, "no-interest", "idle", serde_json::json!({})).await?);
        let names: Vec<_> = (0..5).map(|index| format!("plugin{index}")).collect();
        let config = config::from_value(serde_json::json!({
            "listeners": [{"address": "127.0.0.1:0"}],
            "workers": 1,
            "log": {"access": false},
            "upstreams": {"origin": {"endpoints": [origin.to_string()]}},
            "plugins": plugins.keys().map(|name| (name.clone(), serde_json::json!({"module": "x.wasm"}))).collect::<serde_json::Map<_, _>>(),
            "routes": [
                {"path": "/0", "upstream": "origin"},
                {"path": "/none", "upstream": "origin", "pipeline": ["idle"]},
                {"path": "/1", "upstream": "origin", "pipeline": &names[..1]},
                {"path": "/5", "upstream": "origin", "pipeline": &names},
            ],
        }))?;
        let snapshot = Snapshot::build(SnapshotInput { config: &config, base_dir: Path::new("."), plugins: &plugins, previous: None })?;
        let proxy = Proxy::start(runtime, snapshot)?;
        let address = proxy.addresses().first().context("no listener")?.1;
        let cases = [("/0", "no plugin"), ("/none", "1 plugin without interest"), ("/1", "1 plugin, fresh"), ("/5", "5 plugins, fresh")];
        let mut rounds = vec![Vec::new(); cases.len()];
        // interleaved, so that a disturbance hits all cases alike
        for round in 0..8 {
            for (case, (path, _)) in cases.iter().enumerate() {
                let start = threads_cpu("worker-")?;
                drive(address, path).await?;
                let used = threads_cpu("worker-")? - start;
                if round > 0 {
                    rounds[case].push(used as f64 / (CLIENTS * REQUESTS) as f64 / 1000.0);
                }
            }
        }
        for ((_, label), rounds) in cases.iter().zip(&rounds) {
            report(&format!("end to end: h1, 1 KiB, {label}, CPU per request"), rounds, "us");
        }
        Ok(())
    })
}

async fn drive(address: SocketAddr, path: &str) -> Result<()> {
    let uri: Arc<str> = Arc::from(path);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let uri = Arc::clone(&uri);
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                for _ in 0..REQUESTS {
                    let mut request = Request::get(&*uri).header("host", "bench.example.com");
                    for index in 0..10 {
                        request = request.header(format!("x-header-{index}"), "some usual value");
                    }
                    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
                    anyhow::ensure!(response.status() == 200, "status {}", response.status());
                    response.into_body().collect().await?;
                }
                Ok(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
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
