//! Section `listeners`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// Name, for logs, metrics and `routes[].listeners`. Default: the address.
    #[serde(default)]
    pub name: Option<String>,
    /// Address and port, e.g. `0.0.0.0:8080` or `[::]:8443`. Port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS; without it the listener speaks cleartext (HTTP/1.1, and HTTP/2 with prior knowledge).
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Peers (CIDR blocks or addresses) whose `Forwarded`, `X-Forwarded-*` fields are believed. Default: none.
    #[serde(default, deserialize_with = "blocks")]
    #[schemars(with = "Vec<String>")]
    pub trusted_hops: Vec<IpNet>,
    /// Speak HTTP/2 (by ALPN on TLS, by prior knowledge on cleartext). Default `true`.
    #[serde(default = "yes")]
    pub http2: bool,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListenerTls {
    /// Certificates; chosen by the server name (SNI) that the client asks for, the first one when none matches.
    pub certificates: Vec<Certificate>,
    /// CA file (PEM) that client certificates are checked against.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Refuse clients without a certificate (with `client-ca`). Default `true`; `false` accepts clients without one.
    #[serde(default = "yes")]
    pub client_required: bool,
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Certificate {
    /// Certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Private key, PEM (PKCS#8, SEC1 or PKCS#1).
    pub key: PathBuf,
    /// Server names it is for, `*.example.com` allowed. Default: the DNS names in the certificate.
    #[serde(default)]
    pub names: Vec<String>,
}

pub(super) fn yes() -> bool {
    true
}

/// CIDR blocks; an address stands for itself.
fn blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let block = |text: &String| {
        let parsed = text
            .parse()
            .or_else(|_not_a_block| text.parse::<IpAddr>().map(IpNet::from));
        parsed
            .map_err(|_neither| D::Error::custom(format!("`{text}` is neither a CIDR block nor an address")))
    };
    texts.iter().map(block).collect()
}
