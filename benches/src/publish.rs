//! Publishing of APIs: from the call to the moment that requests are served by it, the store on disk included; and what a request costs among few and many APIs.

use std::{
    net::SocketAddr,
    sync::{Arc, Once},
    time::Instant,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use edgeward_control::{
    ConfigFile, Deployer, Store,
    access::Authority,
    bundle::{self, Bundle},
    deploy::apis::Actor,
};
use edgeward_proxy::Proxy;
use edgeward_runtime::{Runtime, RuntimeOptions};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    end_to_end::load_runtime,
    measure::{Report, threads_cpu},
};

const ROUNDS: usize = 7;
/// Longest for an API of 300 routes, from the call to live, in milliseconds.
const API_MS_MAX: f64 = 200.0;
/// Longest for 10 000 routes over 500 APIs, in milliseconds.
const ALL_MS_MAX: f64 = 2_000.0;
/// Requests of a round of look-ups.
const REQUESTS: usize = 4_000;

/// A gateway with a data folder, on its own.
struct Gateway {
    deployer: Deployer,
    address: SocketAddr,
    _folder: TempDir,
}

impl Gateway {
    async fn start() -> Result<Self> {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("gateway.yaml");
        let config = json!({
            "listeners": [{"address": "127.0.0.1:0"}], "workers": 1, "log": {"access": false}, "admin": {"enabled": false},
        });
        std::fs::write(&path, config.to_string())?;
        let store = Arc::new(Store::open(&folder.path().join("data"))?);
        let runtime = Runtime::new(RuntimeOptions::default())?;
        let (deployer, snapshot) = Deployer::boot(runtime.clone(), store, ConfigFile::read(&path)?).await?;
        let proxy = Arc::new(Proxy::start(runtime, snapshot)?);
        let address = proxy.addresses().first().context("no listener")?.1;
        deployer.attach(proxy);
        Ok(Self {
            deployer,
            address,
            _folder: folder,
        })
    }

    /// Makes the model what the document says; milliseconds until it was served.
    async fn apply(&self, document: Value) -> Result<f64> {
        let bundle: Bundle = bundle::read(&document.to_string())?;
        let actor = Actor::named("bench", Authority::all());
        let start = Instant::now();
        self.deployer
            .edit(actor, "apply", false, move |draft, _pin| bundle.put_into(draft))
            .await?;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    }

    /// CPU microseconds of the worker for a request, with requests for `apis` APIs taking turns.
    async fn look_up(&self, apis: usize, routes: usize) -> Result<f64> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let start = threads_cpu("worker-")?;
        for index in 0..REQUESTS {
            // a handful of them, far apart: as in real traffic, and so that the processor's cache does not decide
            let (api, route) = (index % 64 * apis / 64, index % routes);
            let request = Request::get(format!("/prod/things{route}/42"))
                .header("host", format!("api{api}.execute-api.localhost"))
                .body(Empty::<Bytes>::new())?;
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            anyhow::ensure!(response.status() == 200, "status {}", response.status());
            response.into_body().collect().await?;
        }
        let used = threads_cpu("worker-")? - start;
        Ok(used as f64 / REQUESTS as f64 / 1000.0)
    }
}

/// An API of that many routes; `text` is what they answer.
fn api(routes: usize, text: &str) -> Value {
    let mock = json!({
        "type": "MOCK",
        "request-templates": {"application/json": "{\"statusCode\": 200}"},
        "responses": [{"status": 200, "templates": {"application/json": text}}],
    });
    let routes: Map<String, Value> = (0..routes)
        .map(|route| {
            (
                format!("GET /things{route}/{{id}}"),
                json!({"integration": "mock"}),
            )
        })
        .collect();
    json!({"protocol": "REST", "integrations": {"mock": mock}, "routes": routes, "stages": {"prod": {"auto-deploy": true}}})
}

fn apis(count: usize, routes: usize, text: impl Fn(usize) -> String) -> Value {
    let apis: Map<String, Value> = (0..count)
        .map(|index| (format!("api{index}"), api(routes, &text(index))))
        .collect();
    json!({"apis": apis})
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    load_runtime(2)?.block_on(async {
        let gateway = Gateway::start().await?;
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            new.push(
                gateway
                    .apply(apis(1, 300, |_| format!("{{\"new\": {round}}}")))
                    .await?,
            );
            changed.push(
                gateway
                    .apply(apis(1, 300, |_| format!("{{\"changed\": {round}}}")))
                    .await?,
            );
            gateway.apply(json!({})).await?;
        }
        for (name, rounds) in [
            ("publish: a new API of 300 routes, call to live", &new),
            ("publish: an API of 300 routes changed", &changed),
        ] {
            report.case_within(name.to_owned(), rounds, "ms", API_MS_MAX);
        }
        let (mut all, mut one) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            gateway.apply(json!({})).await?;
            all.push(
                gateway
                    .apply(apis(500, 20, |_| format!("{{\"all\": {round}}}")))
                    .await?,
            );
            let text = |index| {
                let round = if index == 250 { round + ROUNDS } else { round };
                format!("{{\"all\": {round}}}")
            };
            one.push(gateway.apply(apis(500, 20, text)).await?);
        }
        report.case_within(
            "publish: 10 000 routes over 500 APIs".to_owned(),
            &all,
            "ms",
            ALL_MS_MAX,
        );
        report.case(
            "publish: one of these APIs changed, by the whole document".to_owned(),
            &one,
            "ms",
        );
        let few = Gateway::start().await?;
        few.apply(apis(1, 20, |_| "{}".to_owned())).await?;
        let mut rounds = [Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            let figures = [few.look_up(1, 20).await?, gateway.look_up(500, 20).await?];
            // both gateways have a worker thread; the idle one's share is nothing
            if round > 0 {
                rounds[0].push(figures[0]);
                rounds[1].push(figures[1]);
            }
        }
        report.case(
            "publish: a request to one API of 20 routes, CPU".to_owned(),
            &rounds[0],
            "us",
        );
        report.case(
            "publish: a request to one of 500 APIs of 20 routes, CPU".to_owned(),
            &rounds[1],
            "us",
        );
        Ok(())
    })
}
