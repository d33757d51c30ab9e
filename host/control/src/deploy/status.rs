//! What the control plane tells about itself: status, plugins, metrics.

use std::{path::Path, sync::atomic::Ordering};

use edgeward_core::{
    config::Problems,
    exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Applied, Deployer, certificates};
use crate::{
    acme::OrderView,
    clock::{now_ms, rfc3339},
    error::ControlError,
    file,
    store::StoreError,
};

/// Versions and publications that a plugin's page shows.
const SHOWN: u32 = 100;

/// How loading the configuration file went.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReloadStatus {
    /// Whether the last attempt succeeded.
    pub ok: bool,
    /// When it was, RFC 3339.
    pub at: String,
    /// When the last success was, RFC 3339.
    pub succeeded_at: String,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LastError>,
    #[serde(skip)]
    succeeded_ms: i64,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LastError {
    /// When it was first seen, RFC 3339.
    pub since: String,
    /// Everything that is wrong.
    pub problems: Problems,
}

impl ReloadStatus {
    pub(super) fn first(now: i64) -> Self {
        let at = rfc3339(now);
        Self {
            ok: true,
            succeeded_at: at.clone(),
            at,
            failures: 0,
            error: None,
            succeeded_ms: now,
        }
    }

    /// Records an attempt; the same error is logged once.
    pub(super) fn finish(&mut self, now: i64, error: Option<&ControlError>, path: &Path) {
        self.at = rfc3339(now);
        self.ok = error.is_none();
        let Some(error) = error else {
            self.succeeded_at.clone_from(&self.at);
            self.succeeded_ms = now;
            self.error = None;
            return;
        };
        self.failures += 1;
        let problems = error.problems();
        if self.error.as_ref().is_some_and(|last| last.problems == problems) {
            return;
        }
        tracing::error!(path = %path.display(), problems = %problems, "configuration was not loaded, the old one stays in effect");
        self.error = Some(LastError {
            since: self.at.clone(),
            problems,
        });
    }
}

/// A binding and what is live of it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LivePlugin {
    /// The binding.
    pub name: String,
    /// Live version; 0 is the configuration file's.
    pub version: u64,
    /// `file` or `published`.
    pub source: &'static str,
    /// What the live module is.
    pub module: Value,
    /// How loading it went.
    pub report: Value,
    /// Its counters.
    pub stats: Value,
    /// Routes whose pipeline names it.
    pub routes: Vec<String>,
}

/// A binding with its versions and history.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginDetail {
    /// What is live.
    #[serde(flatten)]
    pub live: LivePlugin,
    /// The live binding, as in the configuration file.
    pub settings: Value,
    /// The newest versions made through the API.
    pub versions: Vec<crate::store::VersionRow>,
    /// The newest publications.
    pub history: Vec<crate::store::Publication>,
}

/// Everything at a glance.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of Edgeward.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// RFC 3339.
    pub started_at: String,
    /// Whether requests are served: false while the gateway starts or stops.
    pub ready: bool,
    /// Snapshot that new requests get.
    pub snapshot: Option<u64>,
    /// When it came into effect, RFC 3339.
    pub since: String,
    /// Listeners with the addresses they have.
    pub listeners: Vec<Value>,
    /// The configuration file.
    pub config: Value,
    /// What an operator should look at.
    pub warnings: Vec<String>,
    /// Certificates that are ordered from authorities.
    pub orders: Vec<OrderView>,
    /// Bindings and what is live.
    pub plugins: Vec<LivePlugin>,
    /// The data plane.
    pub proxy: Value,
    /// Folder for persistent state.
    pub data_dir: String,
}

fn value(thing: &impl Serialize) -> Value {
    serde_json::to_value(thing).unwrap_or(Value::Null)
}

impl Deployer {
    /// Everything at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let applied = self.applied();
        let reload = self.shared.reload.lock().clone();
        let proxy = self.proxy();
        let addresses = proxy.map(|proxy| proxy.addresses()).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: rfc3339(self.shared.started_at),
            ready: self.is_ready(),
            snapshot: proxy.map(|proxy| proxy.current().id()),
            since: rfc3339(applied.at),
            listeners: addresses
                .into_iter()
                .map(|(name, address)| json!({"name": name, "address": address}))
                .collect(),
            config: json!({"path": self.path(), "last-reload": value(&reload)}),
            warnings: self.warnings(&applied),
            orders: self.orders(),
            plugins: self.plugins(),
            proxy: proxy.map_or(Value::Null, |proxy| value(&proxy.status())),
            data_dir: self.store().root().display().to_string(),
        }
    }

    /// Whether requests are served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.proxy().is_some() && !self.is_stopping()
    }

    fn warnings(&self, applied: &Applied) -> Vec<String> {
        let mut warnings = file::needs_restart(&self.shared.started_with, &applied.file);
        warnings.extend(certificates::missing(&applied.file, &applied.certificates));
        for (name, row) in &applied.live {
            if !applied.file.plugins.contains_key(name) {
                warnings.push(format!(
                    "version {} of plugin `{name}` is published, but the configuration file has no such plugin",
                    row.version
                ));
            }
        }
        warnings
    }

    /// Every binding and what is live of it.
    #[must_use]
    pub fn plugins(&self) -> Vec<LivePlugin> {
        let applied = self.applied();
        applied
            .plugins
            .keys()
            .filter_map(|name| live_plugin(&applied, name))
            .collect()
    }

    /// One binding with versions and history.
    ///
    /// # Errors
    /// Not in the configuration file, or the store cannot be read.
    pub fn plugin(&self, name: &str) -> Result<PluginDetail, ControlError> {
        let applied = self.applied();
        let (Some(live), Some(settings)) = (live_plugin(&applied, name), applied.effective.plugins.get(name))
        else {
            return Err(super::unknown(&applied.file, name));
        };
        let read = || -> Result<_, StoreError> {
            let journal = &self.store().plugins;
            Ok((
                journal.versions(name, None, SHOWN)?,
                journal.history(name, SHOWN)?,
            ))
        };
        let (versions, history) = read()?;
        Ok(PluginDetail {
            live,
            settings: value(settings),
            versions,
            history,
        })
    }

    /// Prometheus text of the control plane, the data plane and the plugins.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut out = Exposition::default();
        self.own_metrics(&mut out);
        if let Some(proxy) = self.proxy() {
            proxy.metrics(&mut out);
        }
        self.runtime().metrics(&mut out);
        out.text()
    }

    fn own_metrics(&self, out: &mut Exposition) {
        let reload = self.shared.reload.lock().clone();
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
        out.family("edgeward_build_info", Gauge, "Version that runs.")
            .add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        out.family("edgeward_uptime_seconds", Gauge, "Time since the start.")
            .add(
                &[],
                seconds(now_ms().saturating_sub(self.shared.started_at).max(0)),
            );
        out.family(
            "edgeward_config_last_reload_success",
            Gauge,
            "1 when the last attempt to load the configuration file succeeded.",
        )
        .add(&[], u8::from(reload.ok));
        out.family(
            "edgeward_config_last_reload_success_timestamp_seconds",
            Gauge,
            "When the configuration file was last loaded.",
        )
        .add(&[], seconds(reload.succeeded_ms));
        out.family(
            "edgeward_config_reload_failures_total",
            Counter,
            "Attempts to load the configuration file that failed.",
        )
        .add(&[], reload.failures);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.family(
            "edgeward_publications_total",
            Counter,
            "Publications and rollbacks through the admin API.",
        )
        .add(&[("result", "ok")], count(&self.shared.published))
        .add(&[("result", "refused")], count(&self.shared.refused));
        let mut orders = out.family(
            "edgeward_certificate_order_failures",
            Gauge,
            "Attempts to order a certificate that failed since the last success.",
        );
        for order in self.orders() {
            orders.add(
                &[
                    ("certificate", &order.certificate),
                    ("authority", &order.authority),
                ],
                order.failures,
            );
        }
        let mut live = out.family(
            "edgeward_plugin_live_version",
            Gauge,
            "Live version of a plugin; 0 is the configuration file's.",
        );
        for (name, loaded) in &self.applied().plugins {
            live.add(&[("plugin", name)], loaded.version.version());
        }
    }
}

fn live_plugin(applied: &Applied, name: &str) -> Option<LivePlugin> {
    let plugin = &applied.plugins.get(name)?.version;
    Some(LivePlugin {
        name: name.to_owned(),
        version: plugin.version(),
        source: if plugin.version() == 0 {
            "file"
        } else {
            "published"
        },
        module: value(plugin.info()),
        report: value(plugin.report()),
        stats: value(&plugin.stats()),
        routes: applied
            .effective
            .routes
            .iter()
            .filter(|route| route.pipeline.iter().any(|step| step == name))
            .map(edgeward_core::config::Route::display_name)
            .collect(),
    })
}
