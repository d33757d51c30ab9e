//! The gateway in this process: runtime and data plane, without the control plane.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_core::{
    config::{self, Config, ModuleRef},
    exposition::Exposition,
};
use edgeward_proxy::{Certificates, Material, Proxy, Snapshot, SnapshotInput};
use edgeward_runtime::{LoadError, PluginVersion, Runtime, RuntimeOptions, StatsView, VersionSpec};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Body, Connection, Reply, client, install_provider, paths};

/// Key of the suite's cache of compiled code.
const CACHE_KEY: [u8; 32] = *b"key of the suite's compiled code";

/// A runtime with the suite's cache of compiled code and a small pool.
#[must_use]
pub fn runtime() -> Runtime {
    runtime_with(paths::suite_cache(), 64)
}

/// A runtime with a cache folder of its own.
#[must_use]
pub fn runtime_with(cache: PathBuf, instances: u32) -> Runtime {
    Runtime::new(RuntimeOptions {
        cache_dir: Some(cache),
        cache_key: CACHE_KEY,
        instances,
        ..RuntimeOptions::default()
    })
    .unwrap()
}

/// The settings of a binding from JSON; `module` may be the name of a guest.
#[must_use]
pub fn plugin(settings: Value) -> config::Plugin {
    serde_json::from_value(with_guest(settings)).unwrap()
}

fn with_guest(mut settings: Value) -> Value {
    if let Some(name) = settings["module"]
        .as_str()
        .filter(|name| !name.contains(['/', ':', '.']))
    {
        settings["module"] = json!(paths::guest(name));
    }
    settings
}

/// Loads a version of a guest.
///
/// # Errors
/// As [`Runtime::load`].
pub async fn load(runtime: &Runtime, wasm: &[u8], settings: Value) -> Result<Arc<PluginVersion>, LoadError> {
    let mut settings = settings;
    settings["module"] = json!("unused.wasm");
    let spec = VersionSpec {
        name: "tested".to_owned(),
        version: 1,
        settings: plugin(settings),
        base_dir: PathBuf::from("/"),
        shadow: false,
    };
    runtime.load(wasm, spec).await
}

/// A running gateway; ends when dropped.
pub struct Gateway {
    /// The data plane.
    pub proxy: Proxy,
    /// The plugin runtime.
    pub runtime: Runtime,
    /// Folder that relative paths in the configuration start from.
    pub folder: TempDir,
}

impl Gateway {
    /// Starts a gateway. `listeners` may be left out: then there is one on a free port. The module of a plugin may be the name of
    /// a guest.
    pub async fn start(config: Value) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// The same with files in a folder.
    pub async fn start_in(folder: TempDir, config: Value) -> Self {
        Self::try_start(folder, config)
            .await
            .unwrap_or_else(|problem| panic!("the gateway does not start: {problem}"))
    }

    /// The same for configurations that may not work.
    ///
    /// # Errors
    /// The problems as text.
    pub async fn try_start(folder: TempDir, config: Value) -> Result<Self, String> {
        install_provider();
        let runtime = runtime();
        let snapshot = build(&runtime, folder.path(), config, None).await?;
        let proxy = Proxy::start(runtime.clone(), snapshot).map_err(|error| error.to_string())?;
        Ok(Self {
            proxy,
            runtime,
            folder,
        })
    }

    /// A gateway with one plugin on route `/{path+}` to an origin, and route `/plain/{path+}` to it without plugins.
    pub async fn with_plugin(origin: &str, plugin: Value) -> Self {
        Self::start(json!({
            "upstreams": {"origin": {"endpoints": [origin]}},
            "plugins": {"tested": plugin},
            "routes": [
                {"name": "tested", "path": "/{path+}", "upstream": "origin", "pipeline": ["tested"]},
                {"name": "plain", "path": "/plain/{path+}", "upstream": "origin"},
            ],
        }))
        .await
    }

    /// A snapshot of another configuration, which lives on from the current one. Nothing is published.
    ///
    /// # Errors
    /// The problems as text.
    pub async fn snapshot(&self, config: Value) -> Result<Snapshot, String> {
        build(
            &self.runtime,
            self.folder.path(),
            config,
            Some(&self.proxy.current()),
        )
        .await
    }

    /// Where the first listener is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.proxy.addresses()[0].1
    }

    /// A live plugin.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Arc<PluginVersion> {
        Arc::clone(&self.proxy.current().plugins()[name])
    }

    /// Counters of the plugin `tested`.
    #[must_use]
    pub fn stats(&self) -> StatsView {
        self.plugin("tested").stats()
    }

    /// Failures of the plugin `tested` of one kind.
    #[must_use]
    pub fn failures(&self, kind: &str) -> u64 {
        self.stats().failures.get(kind).copied().unwrap_or(0)
    }

    /// GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        client::get(self.address(), path).await
    }

    /// A request without body and with header fields, on a connection of its own.
    pub async fn call(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(method, path, fields, client::empty()).await
    }

    /// A request with a body, on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Body) -> Reply {
        let builder = http::Request::builder().method(method).uri(path);
        let builder = fields
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(*name, *value));
        Connection::h1(self.address()).await.send(builder, body).await
    }

    /// Metrics of data plane and plugins.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut metrics = Exposition::default();
        self.proxy.metrics(&mut metrics);
        self.runtime.metrics(&mut metrics);
        metrics.text()
    }
}

async fn build(
    runtime: &Runtime,
    folder: &Path,
    mut value: Value,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, String> {
    if value.get("listeners").is_none() {
        value["listeners"] = json!([{"name": "main", "address": "127.0.0.1:0"}]);
    }
    if value.get("workers").is_none() {
        value["workers"] = json!(2);
    }
    if let Some(plugins) = value["plugins"].as_object_mut() {
        for settings in plugins.values_mut() {
            *settings = with_guest(settings.take());
        }
    } else {
        value["plugins"] = json!({});
    }
    let config: Config = config::from_value(value).map_err(|problems| problems.to_string())?;
    let mut plugins = BTreeMap::new();
    for (name, settings) in &config.plugins {
        let ModuleRef::File(path) = &settings.module else {
            return Err("modules are files here".to_owned());
        };
        let wasm =
            std::fs::read(folder.join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
        let spec = VersionSpec {
            name: name.clone(),
            version: 0,
            settings: settings.clone(),
            base_dir: folder.to_path_buf(),
            shadow: false,
        };
        let version = runtime
            .load(&wasm, spec)
            .await
            .map_err(|error| error.to_string())?;
        plugins.insert(name.clone(), version);
    }
    Snapshot::build(SnapshotInput {
        config: &config,
        material: &Material::new(folder, Certificates::new()),
        plugins: &plugins,
        shadows: &BTreeMap::new(),
        apis: &edgeward_proxy::ApisInput::default(),
        previous,
    })
    .map_err(|problems| problems.to_string())
}
