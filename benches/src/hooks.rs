//! What entering a plugin costs: a call in a fresh instance (put back to the snapshot), in one made anew and in a reused one, by number of request
//! headers; and what making an instance costs.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use edgeward_core::{config::Plugin, route::Params};
use edgeward_runtime::{
    Exchange, Peer, PluginVersion, RequestHead, RouteInfo, Runtime, RuntimeOptions, Session, VersionSpec,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::measure::{Report, thread_cpu};

const CALLS: u64 = 5_000;

/// Where `cargo xtask guests` puts components.
pub(crate) fn guest(name: &str) -> Result<Vec<u8>> {
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(2).context("no target folder")?;
    let path = target.join("guests").join(format!("{name}.wasm"));
    std::fs::read(&path).with_context(|| format!("{}: run `cargo xtask guests` first", path.display()))
}

/// Loads a guest with settings written as JSON.
pub(crate) async fn load(
    runtime: &Runtime,
    guest_name: &str,
    name: &str,
    settings: serde_json::Value,
) -> Result<Arc<PluginVersion>> {
    let mut settings = settings;
    settings["module"] = "bench.wasm".into();
    let settings: Plugin = serde_json::from_value(settings)?;
    let spec = VersionSpec {
        name: name.to_owned(),
        version: 0,
        settings,
        base_dir: PathBuf::from("."),
        shadow: false,
    };
    Ok(runtime.load(&guest(guest_name)?, spec).await?)
}

/// A GET with that many header fields.
fn exchange(headers: usize) -> Result<Exchange> {
    let mut map = HeaderMap::new();
    for index in 0..headers {
        map.insert(
            HeaderName::try_from(format!("x-header-{index}"))?,
            HeaderValue::from_static("some usual value"),
        );
    }
    let address = ([127, 0, 0, 1], 40_000).into();
    let head = RequestHead {
        method: Method::GET,
        https: false,
        authority: "example.com".to_owned(),
        version: Version::HTTP_11,
        path: "/v1/things/42".to_owned(),
        query: None,
        headers: map,
    };
    Ok(Exchange::new(
        "00000000-0000-4000-8000-000000000000".to_owned(),
        Arc::new(RouteInfo {
            name: "bench".to_owned(),
            pattern: "/v1/things/{id}".to_owned(),
            scopes: Vec::new(),
        }),
        Params::default(),
        Arc::new(Peer {
            address,
            tls_version: None,
            sni: None,
            client_certificate: None,
        }),
        address.ip(),
        head,
    ))
}

/// Settings with which each instance serves that many requests.
pub(crate) fn reuse(requests: u64) -> serde_json::Value {
    serde_json::json!({"isolation": {"reuse": {"requests": requests}}})
}

/// That many exchanges with a head of `headers` fields, each in a session of its own.
pub(crate) async fn call(version: &Arc<PluginVersion>, headers: usize, times: u64) -> Result<()> {
    let mut slot = Some(Box::new(exchange(headers)?));
    for _ in 0..times {
        Session::new(version).request_head(&mut slot).await?;
    }
    Ok(())
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let runtime = Runtime::new(RuntimeOptions {
            instances: 100,
            ..RuntimeOptions::default()
        })?;
        let read_headers = |name, binding| load(&runtime, "read-headers", name, binding);
        let fresh = read_headers("fresh", serde_json::json!({})).await?;
        let anew = read_headers("anew", reuse(1)).await?;
        let reused = read_headers("reused", reuse(1_000_000)).await?;
        let loaded = fresh.report();
        report.note(format!(
            "load: {} KB component, init {:.1} ms, snapshot {:.1} ms, compile {:.1} ms, total {:.1} ms",
            loaded.component_bytes / 1000,
            loaded.init_ms,
            loaded.snapshot_ms,
            loaded.compile_ms,
            loaded.total_ms
        ));
        report.note(format!("instances of isolation `request`: {}", loaded.instances));
        let mut empty = Vec::new();
        for (label, version) in [
            ("fresh instance", &fresh),
            ("instance made anew", &anew),
            ("reused instance", &reused),
        ] {
            for headers in [0, 12, 60] {
                let mut rounds = Vec::new();
                for _ in 0..7 {
                    let start = thread_cpu();
                    call(version, headers, CALLS).await?;
                    rounds.push((thread_cpu() - start) as f64 / CALLS as f64 / 1000.0);
                }
                if headers == 0 {
                    empty.push(rounds.clone());
                }
                report.case(
                    format!("hook: {label}, bulk read of {headers} headers, one set"),
                    &rounds,
                    "us",
                );
            }
        }
        // what making an instance and dropping it costs: the same call without it is taken off
        if let [_, anew, reused] = empty.as_slice() {
            let made: Vec<_> = anew
                .iter()
                .zip(reused)
                .map(|(anew, reused)| anew - reused)
                .collect();
            report.case(
                "instantiate: an instance from the pool, made and dropped".to_owned(),
                &made,
                "us",
            );
        }
        Ok(())
    })
}
