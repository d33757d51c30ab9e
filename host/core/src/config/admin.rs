//! Section `admin`.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, ClientAuth};

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Admin {
    /// Serve it at all. Default `true`.
    pub enabled: bool,
    /// Address to listen on. Default `127.0.0.1:9440`. Binding to anything but loopback exposes the control of the gateway: give it `tls`.
    pub address: SocketAddr,
    /// TLS of the address. Default: none, it speaks cleartext.
    pub tls: Option<AdminTls>,
    /// A unix socket to listen on, too. Default: none.
    pub socket: Option<AdminSocket>,
    /// File with the token of the principal `root`; created with mode 0600 on first start, and read again when it changes. Default `<data-dir>/admin.token`.
    pub token_file: Option<PathBuf>,
    /// Largest module that may be uploaded. Default `64MiB`.
    pub upload_limit: Bytes,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            enabled: true,
            address: ([127, 0, 0, 1], 9440).into(),
            tls: None,
            socket: None,
            token_file: None,
            upload_limit: Bytes::mib(64),
        }
    }
}

/// TLS of the admin API. Its files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminTls {
    /// File with the certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// File with the private key, PEM (PKCS#8, SEC1 or PKCS#1).
    pub key: PathBuf,
    /// Certificates that clients are asked for. With `required: false` clients without one come with a token. Default: none.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
    /// Which principals client certificates stand for; the first that fits. A client whose certificate stands for nobody needs a token.
    #[serde(default)]
    pub principals: Vec<CertificatePrincipal>,
}

/// A client certificate and the principal that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CertificatePrincipal {
    /// Its whole subject, as the access log writes it, e.g. `CN=alice, O=Example`.
    #[serde(default)]
    pub subject: Option<String>,
    /// One of its subject alternative names: a DNS name, an e-mail address or a URI, e.g. `spiffe://example.com/ci`.
    #[serde(default)]
    pub san: Option<String>,
    /// Name of the principal; `root` is the built-in one with all rights.
    pub principal: String,
}

/// A unix socket of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminSocket {
    /// Where it is made. A socket that is left there from before is replaced.
    pub path: PathBuf,
    /// Who may open it: `"0600"` for the user that the gateway runs as, `"0660"` for that user's group, too. Default `"0600"`.
    #[serde(default)]
    pub mode: SocketMode,
    /// Which principals users of this machine are; the first that fits. The user that the gateway runs as, and the superuser, are `root` unless it says
    /// otherwise: they could read the token anyway. All others need a token.
    #[serde(default)]
    pub principals: Vec<PeerPrincipal>,
}

/// Mode of a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SocketMode {
    /// The user that the gateway runs as.
    #[default]
    #[serde(rename = "0600")]
    Owner,
    /// That user and its group.
    #[serde(rename = "0660")]
    Group,
}

/// A user or group of this machine and the principal that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PeerPrincipal {
    /// Number of the user.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Number of the user's first group, or of the one that its process has chosen.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Name of the principal; `root` is the built-in one with all rights.
    pub principal: String,
}
