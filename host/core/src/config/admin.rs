//! Section `admin`.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bytes;

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Admin {
    /// Serve it at all. Default `true`.
    pub enabled: bool,
    /// Address to listen on. Default `127.0.0.1:9440`. Binding to anything but loopback exposes the control of the gateway: put TLS in front.
    pub address: SocketAddr,
    /// File with the bearer token; created with mode 0600 on first start. Default `<data-dir>/admin.token`.
    pub token_file: Option<PathBuf>,
    /// Largest module that may be uploaded. Default `64MiB`.
    pub upload_limit: Bytes,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            enabled: true,
            address: ([127, 0, 0, 1], 9440).into(),
            token_file: None,
            upload_limit: Bytes::mib(64),
        }
    }
}
