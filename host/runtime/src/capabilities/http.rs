//! Capability `http`: outgoing requests over pooled connections. Names are checked against the grant, addresses again when connecting, so that a
//! name that resolves into the inside (SSRF, DNS rebinding) does not get there.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use edgeward_core::config::{HttpGrant, PluginLimits};
use http::{HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    bindings::edgeward::plugin::{
        http::{Error, Host, Request, Response},
        types::Header,
    },
    exchange::is_framing,
    state::{HostState, Mode},
};

/// Idle connections kept per host.
const IDLE_PER_HOST: usize = 16;
/// Time an unused connection is kept.
const IDLE_TIME: Duration = Duration::from_secs(30);

type Outcome = Result<Response, Error>;

/// The outgoing client of one version.
pub(crate) struct Client {
    hosts: Vec<HostRule>,
    pool: Pool<Connector, Full<Bytes>>,
    wall_time: Duration,
    response_max: usize,
}

/// One entry of `grants.http.hosts`.
struct HostRule {
    name: String,
    any_subdomain: bool,
    port: Option<u16>,
}

impl HostRule {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("grants.http.hosts: `{text}` is not `name`, `name:port` or `*.name`");
        let authority: http::uri::Authority = text
            .trim_start_matches("*.")
            .parse()
            .map_err(|_ignored| wrong())?;
        if authority.as_str().contains(['@', '*']) || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            name: authority.host().to_ascii_lowercase(),
            any_subdomain: text.starts_with("*."),
            port: authority.port_u16(),
        })
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        let named = match host.strip_suffix(&self.name) {
            Some("") => !self.any_subdomain,
            Some(front) => self.any_subdomain && front.ends_with('.'),
            None => false,
        };
        named && self.port.is_none_or(|allowed| allowed == port)
    }
}

impl Client {
    pub(crate) fn new(grant: &HttpGrant, base_dir: &Path, limits: &PluginLimits) -> Result<Self, String> {
        let hosts = grant
            .hosts
            .iter()
            .map(|text| HostRule::parse(text))
            .collect::<Result<_, _>>()?;
        let ca = grant.ca.as_ref().map(|path| base_dir.join(path));
        let connector = Connector {
            private: grant.private_addresses,
            tls: tls(ca.as_deref())?,
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Ok(Self {
            hosts,
            pool,
            wall_time: limits.wall_time.0,
            response_max: limits.http_response.as_usize(),
        })
    }

    async fn send(&self, request: Request) -> Outcome {
        let limit = request.timeout_ms.map_or(self.wall_time, |ms| {
            Duration::from_millis(ms.into()).min(self.wall_time)
        });
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Error::Timeout(format!(
                "no complete response within {} ms",
                limit.as_millis()
            ))),
        }
    }

    async fn exchange(&self, request: Request) -> Outcome {
        let url = request.url;
        let uri: Uri = url
            .parse()
            .map_err(|error| Error::InvalidRequest(format!("url `{url}`: {error}")))?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => {
                return Err(Error::InvalidRequest(format!(
                    "url `{url}` is neither http nor https"
                )));
            }
        };
        let port = uri.port_u16().unwrap_or(port);
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        if !self.hosts.iter().any(|rule| rule.allows(&host, port)) {
            return Err(Error::Denied(format!(
                "host `{host}:{port}` is not in grants.http.hosts"
            )));
        }
        let mut built = http::Request::builder().method(request.method.as_str()).uri(uri);
        for Header { name, value } in request.headers {
            let invalid = |_ignored| Error::InvalidRequest(format!("header `{name}` is not valid"));
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_ignored| invalid(()))?;
            let value = HeaderValue::from_bytes(&value).map_err(|_ignored| invalid(()))?;
            if !is_framing(&parsed) && parsed != http::header::HOST {
                built = built.header(parsed, value);
            }
        }
        let request = built
            .body(Full::new(Bytes::from(request.body)))
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let response = self
            .pool
            .request(request)
            .await
            .map_err(|error| classify(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.response_max)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Error::TooLarge(format!(
                        "response of `{host}` exceeds {} bytes",
                        self.response_max
                    ))
                } else {
                    Error::Failed(format!("response of `{host}`: {error}"))
                }
            })?;
        Ok(Response {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| Header {
                    name: name.as_str().to_owned(),
                    value: value.as_bytes().to_vec(),
                })
                .collect(),
            body: body.to_bytes().to_vec(),
        })
    }
}

/// The error behind hyper's "client error (Connect)".
fn classify(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        if let Some(denied) = next.downcast_ref::<Refused>() {
            return Error::Denied(denied.to_string());
        }
        cause = next;
    }
    if error.is_connect() {
        Error::Connect(cause.to_string())
    } else {
        Error::Failed(cause.to_string())
    }
}

fn tls(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca {
        let error = |error: &dyn std::fmt::Display| format!("grants.http.ca: {}: {error}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|cause| error(&cause))? {
            roots
                .add(certificate.map_err(|cause| error(&cause))?)
                .map_err(|cause| error(&cause))?;
        }
    }
    roots.add_parsable_certificates(system_roots().iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The system's root certificates, read once. A machine without any has none: https then fails with an unknown issuer.
fn system_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: std::sync::OnceLock<Vec<CertificateDer<'static>>> = std::sync::OnceLock::new();
    ROOTS.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

/// Connects to what the grant allows.
#[derive(Clone)]
struct Connector {
    private: bool,
    tls: TlsConnector,
}

/// An address that the grant does not allow.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{host}` resolves to {address}, which is private, loopback or link-local: `grants.http.private-addresses` is off"
)]
struct Refused {
    host: String,
    address: IpAddr,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Stream, BoxError> {
        let https = uri.scheme_str() == Some("https");
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let mut last: BoxError = format!("`{host}` has no address").into();
        for address in tokio::net::lookup_host((host.as_str(), port)).await? {
            if !self.private && is_inside(address.ip()) {
                last = Refused {
                    host: host.clone(),
                    address: address.ip(),
                }
                .into();
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return self.secure(https, host.clone(), address, stream).await,
                Err(error) => last = format!("{address}: {error}").into(),
            }
        }
        Err(last)
    }

    async fn secure(
        &self,
        https: bool,
        host: String,
        address: SocketAddr,
        stream: TcpStream,
    ) -> Result<Stream, BoxError> {
        stream.set_nodelay(true)?;
        if !https {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(host)?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| format!("{address}: {error}"))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Addresses that a plugin reaches only with `private-addresses`.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                // NAT64 and 6to4 carry an IPv4 address inside
                || first == 0x2002
                || v6.segments()[..2] == [0x64, 0xff9b]
        }
    }
}

/// A connection with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Host for HostState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Outcome> {
        self.enter()?;
        if self.mode == Mode::Init {
            return Ok(Err(Error::Unavailable(
                "http is not available during init".to_owned(),
            )));
        }
        let size = request.url.len()
            + request.body.len()
            + request
                .headers
                .iter()
                .map(|header| header.name.len() + header.value.len())
                .sum::<usize>();
        let capabilities = Arc::clone(&self.capabilities);
        let Some(client) = &capabilities.http else {
            self.deny("http");
            return Ok(Err(Error::Denied("http is not granted".to_owned())));
        };
        if capabilities.shadow && !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
            return Ok(Err(Error::Denied(format!(
                "a shadow sends no requests of method {}",
                request.method
            ))));
        }
        let Some(left) = self.budget.egress.checked_sub(size as u64) else {
            return Ok(Err(Error::TooLarge(format!(
                "egress of one request exceeds {}",
                capabilities.limits.egress
            ))));
        };
        self.budget.egress = left;
        let outcome = client.send(request).await;
        if let Err(Error::Denied(what)) = &outcome {
            self.deny(what);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_whole_and_with_their_port() {
        let rule = |text| HostRule::parse(text).unwrap();
        assert!(rule("id.example.com").allows("id.example.com", 443));
        assert!(!rule("id.example.com").allows("evil-id.example.com", 443));
        assert!(!rule("id.example.com:8443").allows("id.example.com", 443));
        assert!(rule("*.example.com").allows("a.b.example.com", 443));
        assert!(!rule("*.example.com").allows("example.com", 443));
        assert!(!rule("*.example.com").allows("badexample.com", 443));
        assert!(HostRule::parse("http://x").is_err() && HostRule::parse("*").is_err());
    }

    #[test]
    fn inside_addresses_are_recognised_in_every_disguise() {
        for text in [
            "127.0.0.1",
            "10.1.1.1",
            "169.254.169.254",
            "::1",
            "::ffff:10.0.0.1",
            "fd00::1",
            "fe80::1",
            "0.0.0.0",
            "100.64.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(is_inside(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "2606:4700::1111"] {
            assert!(!is_inside(text.parse().unwrap()), "{text}");
        }
    }
}
