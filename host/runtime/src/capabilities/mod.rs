//! Capabilities: what plugins may import. One file each: grant, state, host implementation. They never see each other.

mod crypto;
pub(crate) mod head;
pub(crate) mod http;
pub(crate) mod kv;
mod log;
pub(crate) mod matcher;
mod metrics;
mod secret;
pub(crate) mod time;

use std::{collections::BTreeMap, sync::Arc};

use edgeward_core::{
    config::{Grants, PluginLimits, SecretSource},
    ids::Digest,
};
use secret::Secret;

/// What one version was granted, in ready form. Shared by all its instances.
pub(crate) struct Capabilities {
    pub(crate) plugin: Arc<str>,
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) limits: PluginLimits,
    pub(crate) metrics: bool,
    pub(crate) kv: BTreeMap<String, Arc<kv::Store>>,
    pub(crate) http: Option<http::Client>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// It must have no effect.
    pub(crate) shadow: bool,
}

impl Capabilities {
    /// Opens what `grants` gives. Without `stores` it is a shadow: its stores are its own.
    ///
    /// # Errors
    /// Text for the operator: which grant cannot be opened and why.
    pub(crate) fn open(
        plugin: Arc<str>,
        version: u64,
        digest: Digest,
        limits: PluginLimits,
        grants: &Grants,
        base_dir: &std::path::Path,
        stores: Option<&kv::Stores>,
    ) -> Result<Self, String> {
        let http = grants
            .http
            .as_ref()
            .map(|grant| http::Client::new(grant, base_dir, &limits))
            .transpose()?;
        let secrets = grants
            .secrets
            .iter()
            .map(|(name, source)| {
                let secret = match source {
                    SecretSource::Env(variable) => Secret::Env(variable.clone()),
                    SecretSource::File(path) => Secret::file(base_dir.join(path)),
                };
                (name.clone(), secret)
            })
            .collect();
        let kv = grants
            .kv
            .iter()
            .map(|(name, grant)| {
                let own = kv::Stores::default();
                (name.clone(), stores.unwrap_or(&own).open(name, grant.max_bytes.0))
            })
            .collect();
        Ok(Self {
            plugin,
            version,
            digest,
            limits,
            metrics: grants.metrics,
            kv,
            http,
            secrets,
            shadow: stores.is_none(),
        })
    }
}
