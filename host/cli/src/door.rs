//! Connections to the admin API of a gateway: over TCP, TLS, or a unix socket of this machine. One for each request.

use std::{convert::Infallible, fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::Uri;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use crate::client::ServerArgs;

/// Time that opening a connection may take.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// A body of a request.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// Where a gateway is.
pub(crate) enum Door {
    /// `host:port`.
    Cleartext(String),
    /// The same, and who is trusted to be it.
    Tls(String, ServerName<'static>, Arc<ClientConfig>),
    /// A unix socket.
    Local(PathBuf),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cleartext(address) => write!(f, "http://{address}"),
            Self::Tls(address, ..) => write!(f, "https://{address}"),
            Self::Local(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Door {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let given = &args.admin;
        if let Some(path) = given.strip_prefix("unix:") {
            return Ok(Self::Local(path.strip_prefix("//").unwrap_or(path).into()));
        }
        let uri: Uri = given.parse().with_context(|| format!("`{given}` is not a URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("admin URL `{given}` is none of `http://HOST:PORT`, `https://HOST:PORT` and `unix:PATH`");
        };
        let address = |port: u16| match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:{port}"),
        };
        match scheme {
            "http" if args.client_cert.is_some() => {
                bail!("a client certificate is of no use for `{given}`: only `https:` asks for one")
            }
            "http" => Ok(Self::Cleartext(address(80))),
            "https" => {
                let host = authority.host().trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(host.to_owned())
                    .with_context(|| format!("`{host}` cannot be in a certificate"))?;
                Ok(Self::Tls(address(443), name, Arc::new(tls(args)?)))
            }
            _ => bail!("admin URL `{given}`: `{scheme}` is none of `http`, `https` and `unix`"),
        }
    }

    /// Whether it is a socket of this machine, which knows its users.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// For the `Host` field.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Cleartext(address) | Self::Tls(address, ..) => address,
            Self::Local(_) => "localhost",
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> anyhow::Result<SendRequest<Outgoing>> {
        let opened = tokio::time::timeout(OPEN_TIME, self.try_open()).await;
        opened
            .unwrap_or_else(|_late| Err(anyhow!("no connection within {} s", OPEN_TIME.as_secs())))
            .with_context(|| {
                format!("no answer from the gateway at {self}: does it run? (--admin, EDGEWARD_ADMIN)")
            })
    }

    async fn try_open(&self) -> anyhow::Result<SendRequest<Outgoing>> {
        match self {
            Self::Cleartext(address) => speak(TcpStream::connect(address).await?).await,
            Self::Local(path) => speak(UnixStream::connect(path).await?).await,
            Self::Tls(address, name, config) => {
                let stream = TcpStream::connect(address).await?;
                let connector = TlsConnector::from(Arc::clone(config));
                speak(connector.connect(name.clone(), stream).await?).await
            }
        }
    }
}

async fn speak<S>(stream: S) -> anyhow::Result<SendRequest<Outgoing>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // how it ends shows in the answer
    tokio::spawn(connection);
    Ok(sender)
}

fn tls(args: &ServerArgs) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &args.admin_ca {
        Some(path) => {
            let unusable = || format!("cannot use {}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).with_context(unusable)? {
                let certificate = certificate.with_context(unusable)?;
                roots.add(certificate).with_context(unusable)?;
            }
            if roots.is_empty() {
                bail!("{}: no certificate in it", path.display());
            }
        }
        None => {
            let of_system = rustls_native_certs::load_native_certs().certs;
            let (_taken, _ignored) = roots.add_parsable_certificates(of_system);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&args.client_cert, &args.client_key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot use {}", cert.display()))?;
    let key_pem =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot use {}", key.display()))?;
    builder
        .with_client_auth_cert(chain, key_pem)
        .with_context(|| format!("{} and {} do not go together", cert.display(), key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(admin: &str) -> anyhow::Result<Door> {
        Door::new(&ServerArgs {
            admin: admin.to_owned(),
            ..ServerArgs::default()
        })
    }

    #[test]
    fn gateways_are_reached_by_http_https_and_unix() {
        for (given, told) in [
            ("http://127.0.0.1:9440", "http://127.0.0.1:9440"),
            ("http://localhost/", "http://localhost:80"),
            ("https://gateway.example", "https://gateway.example:443"),
            ("https://[::1]:9440", "https://[::1]:9440"),
            ("unix:/run/edgeward/admin.sock", "unix:/run/edgeward/admin.sock"),
            ("unix:///run/admin.sock", "unix:/run/admin.sock"),
            ("unix:admin.sock", "unix:admin.sock"),
        ] {
            assert_eq!(door(given).unwrap().to_string(), told, "{given}");
        }
        for bad in ["127.0.0.1:9440", "ftp://x", "", "/run/admin.sock"] {
            assert!(door(bad).is_err(), "{bad}");
        }
        let wrong = ServerArgs {
            admin: "http://127.0.0.1:1".to_owned(),
            client_cert: Some("a".into()),
            client_key: Some("b".into()),
            ..ServerArgs::default()
        };
        assert!(Door::new(&wrong).is_err(), "it would not be asked for");
    }
}
