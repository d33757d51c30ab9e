//! Section `listeners`.

use std::{
    borrow::Cow,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::acme_certificate_name;
use crate::{cidr, route::HostPattern};

/// A socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// Name, for logs and metrics. Default: the address.
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
    /// Peers (CIDR blocks or addresses) that begin each connection with a header of the PROXY protocol, version 1 or 2: load balancers in front.
    /// The client's address is the one in it, and a connection of theirs without it is closed. Nobody else's is read. Default: none.
    #[serde(default, deserialize_with = "blocks")]
    #[schemars(with = "Vec<String>")]
    pub proxy_protocol: Vec<IpNet>,
    /// Let `%2F` and `%5C` in paths pass, encoded as they are. The router takes them for part of a segment; a server behind that does not sees
    /// another path. Default `false`: 400.
    #[serde(default)]
    pub encoded_slashes: bool,
    /// Let header fields with an underscore in their names pass. Servers that make variables of them (CGI, WSGI, PHP) take `X_User` for `X-User`, which
    /// a plugin or the gateway may have set. Default `false`: 400.
    #[serde(default)]
    pub underscores: bool,
    /// Speak HTTP/2 (by ALPN on TLS, by prior knowledge on cleartext). Default `true`.
    #[serde(default = "yes")]
    pub http2: bool,
    /// Speak HTTP/3 on the same port, over UDP; answers over HTTP/1.1 and HTTP/2 tell clients so (`Alt-Svc`). Only with `tls`. Default `true`.
    #[serde(default = "yes")]
    pub http3: bool,
    /// UDP port that `Alt-Svc` names, where clients reach the listener by another one than it has. Default: its own.
    #[serde(default)]
    pub http3_port: Option<u16>,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListenerTls {
    /// Certificates; chosen by the server name (SNI) that the client asks for, the first one when none matches. Without any that is there, handshakes
    /// fail.
    pub certificates: Vec<Certificate>,
    /// Protocol versions and cipher suites.
    #[serde(default)]
    pub policy: TlsPolicy,
    /// Certificates that clients are asked for. Default: none.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
    /// Domains with a rule of their own for client certificates.
    #[serde(default)]
    pub domains: Vec<TlsDomain>,
}

/// Domains of a listener with a rule of their own for client certificates. A request for one of them has to come over a connection that was opened for it
/// (SNI), and such a connection serves no other: else the answer is 421.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsDomain {
    /// Server names, `*.example.com` allowed.
    pub names: Vec<String>,
    /// Certificates that their clients are asked for. Default: none.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
}

/// Certificates that clients are asked for (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientAuth {
    /// Truststore: file (PEM) with the CAs that certificates are checked against.
    pub ca: PathBuf,
    /// Refuse clients without a certificate. Default `true`; `false` accepts them, but none whose certificate does not hold.
    #[serde(default = "yes")]
    pub required: bool,
    /// Revocation lists (PEM or DER) of every CA in the chains. With one or more, a client whose chain has a certificate that is revoked, or
    /// of a CA whose list is missing or outdated, is refused. Default: none, nothing is checked.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
    /// Certificates that a client may send besides its own. Default 3.
    #[serde(default = "depth")]
    pub depth: u8,
}

/// Protocol versions and cipher suites, by the names of Mozilla's server side TLS guidelines. Keys are exchanged by what the
/// client likes best of X25519MLKEM768 (which a quantum computer does not break), X25519, P-256 and P-384; suites encrypt and authenticate in one (AES-GCM, ChaCha20-Poly1305).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 with forward secrecy (ECDHE), and TLS 1.3.
    #[default]
    Intermediate,
}

/// A certificate chain and its key: in files (`cert`, `key`), kept by the gateway (`stored`), or ordered from a certificate authority (`acme`, `names`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Certificate {
    /// File with the certificate chain, PEM, leaf first.
    pub cert: Option<PathBuf>,
    /// File with the private key, PEM (PKCS#8, SEC1 or PKCS#1).
    pub key: Option<PathBuf>,
    /// File with an OCSP response of the CA (DER) that is stapled to the certificate.
    pub ocsp: Option<PathBuf>,
    /// Name of a certificate that was put through the admin API; `*` for all of them. One that is not there (yet) is left out.
    pub stored: Option<String>,
    /// Name of an authority in `acme`: one certificate for all of `names` is ordered from it and renewed in time. Until it is there, it is left out.
    pub acme: Option<String>,
    /// Server names it is for, `*.example.com` allowed but with `acme`. Default: the names it was put with, else the DNS names in the certificate.
    pub names: Vec<String>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource<'a> {
    /// Files.
    Files {
        /// The chain.
        cert: &'a Path,
        /// The key.
        key: &'a Path,
        /// The OCSP response.
        ocsp: Option<&'a Path>,
    },
    /// Kept by the gateway under this name, put through the admin API or ordered; `*` for all that were put.
    Stored(Cow<'a, str>),
}

impl Listener {
    /// Its name, or the address where it has none.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address.to_string())
    }
}

impl Certificate {
    /// Where it comes from; nowhere in a configuration that was not checked.
    #[must_use]
    pub fn source(&self) -> Option<CertificateSource<'_>> {
        if let Some(name) = &self.stored {
            return Some(CertificateSource::Stored(name.into()));
        }
        if self.acme.is_some() {
            return Some(CertificateSource::Stored(
                acme_certificate_name(&self.names)?.into(),
            ));
        }
        Some(CertificateSource::Files {
            cert: self.cert.as_deref()?,
            key: self.key.as_deref()?,
            ocsp: self.ocsp.as_deref(),
        })
    }
}

/// Whether this is a name that clients can ask for by SNI, or `*.` and one.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    HostPattern::parse(name).is_ok() && !name.contains([':', '[']) && name != "*"
}

/// Whether a certificate can be put under this name: 1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`, beginning with a letter or digit.
#[must_use]
pub fn is_certificate_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(known)
}

fn depth() -> u8 {
    3
}

pub(super) fn yes() -> bool {
    true
}

/// CIDR blocks; an address stands for itself.
fn blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let block = |text: &String| {
        cidr::block(text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is neither a CIDR block nor an address")))
    };
    texts.iter().map(block).collect()
}
