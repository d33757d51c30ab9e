//! Publishing of APIs: from the call to the moment that requests are served by it, the store on disk included; and what a request costs among few and many APIs.

use std::{net::SocketAddr, sync::Arc, time::Instant};

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
    hooks::guest,
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
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("gateway.yaml");
        std::fs::write(folder.path().join("velocity.wasm"), guest("vtl-transform")?)?;
        std::fs::write(folder.path().join("ip-policy.wasm"), guest("ip-policy")?)?;
        let config = json!({
            "listeners": [{"address": "127.0.0.1:0"}], "workers": 1, "log": {"access": false}, "admin": {"enabled": false},
            "plugins": {
                "velocity": {"module": "velocity.wasm"},
                "callers": {"module": "ip-policy.wasm", "config": {"rules": [{"allow": ["127.0.0.0/8"]}]}},
            },
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

/// An API of that many routes which have what an API can have: each an integration with templates in Velocity, a model, a validator and an authorizer.
fn whole_api(routes: usize, text: &str) -> Value {
    let (mut integrations, mut models, mut keys) = (Map::new(), Map::new(), Map::new());
    for route in 0..routes {
        let name = format!("r{route}");
        let template = format!(
            "#set($id = $input.params('id')){{\"id\": \"$id\", \"route\": {route}, \"text\": \"{text}\", \"all\": $input.json('$')}}"
        );
        let integration = json!({
            "type": "HTTP",
            "uri": format!("http://127.0.0.1:9/things/{route}"),
            "request-templates": {"application/json": template},
            "responses": [{"status": 200}],
        });
        integrations.insert(name.clone(), integration);
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "maxLength": 100 + route}, "tags": {"type": "array", "items": {"type": "string"}}},
        });
        models.insert(name.clone(), json!({"schema": schema}));
        let key = format!("POST /things{route}/{{id}}");
        keys.insert(
            key,
            json!({"integration": name, "request-models": {"application/json": name}, "validator": "all", "authorizer": "callers"}),
        );
    }
    json!({
        "protocol": "REST",
        "template-engine": "velocity",
        "authorizers": {"callers": {"plugin": "callers"}},
        "validators": {"all": {"body": true, "parameters": true}},
        "integrations": integrations,
        "models": models,
        "routes": keys,
        "stages": {"prod": {"auto-deploy": true}},
    })
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
        let (mut whole, mut whole_changed) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let document = |word: &str| json!({"apis": {"api0": whole_api(300, &format!("{word} {round}"))}});
            whole.push(gateway.apply(document("new")).await?);
            whole_changed.push(gateway.apply(document("changed")).await?);
            gateway.apply(json!({})).await?;
        }
        for (name, rounds) in [
            ("publish: a new API of 300 routes, call to live", &new),
            ("publish: an API of 300 routes changed", &changed),
            ("publish: 300 routes with all that a route can have", &whole),
            ("publish: their templates changed", &whole_changed),
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
