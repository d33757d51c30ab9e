//! Failures of an upstream exchange and of an upstream's configuration. The spine maps `UpstreamErrorKind` to a reject code.

use std::{error::Error as StdError, fmt, io, path::PathBuf, sync::Arc};

use crate::body::BodyError;

pub(super) type Source = Box<dyn StdError + Send + Sync>;

/// What went wrong, as far as the answer to the client depends on it.
#[derive(Clone, Debug)]
pub(crate) enum UpstreamErrorKind {
    /// The upstream has no address: its names do not resolve.
    NoEndpoint,
    /// No TCP connection (refused, unreachable).
    Connect,
    /// No connection within `connect-timeout`, TLS included.
    ConnectTimeout,
    /// The TLS handshake failed: certificate, name, protocol.
    Tls,
    /// No response head in time.
    ResponseTimeout,
    /// The connection or stream ended before a response head.
    Reset,
    /// What came is not HTTP, or not what was asked for.
    Protocol,
    /// The request body failed while it was sent; not the upstream's fault.
    RequestBody(BodyError),
}

/// A request that got no response.
#[derive(Debug)]
pub(crate) struct UpstreamError {
    /// What went wrong in the last attempt.
    pub(crate) kind: UpstreamErrorKind,
    /// Address of the endpoint of the last attempt.
    pub(crate) endpoint: Option<Arc<str>>,
    /// Cause, for logs; never for clients.
    pub(crate) source: Option<Box<dyn StdError + Send + Sync>>,
    /// Attempts made, retries included.
    pub(crate) attempts: u8,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.kind {
            UpstreamErrorKind::NoEndpoint => "upstream has no endpoint",
            UpstreamErrorKind::Connect => "cannot connect to upstream",
            UpstreamErrorKind::ConnectTimeout => "connecting to upstream took too long",
            UpstreamErrorKind::Tls => "tls handshake with upstream failed",
            UpstreamErrorKind::ResponseTimeout => "upstream sent no response head in time",
            UpstreamErrorKind::Reset => "upstream closed before a response",
            UpstreamErrorKind::Protocol => "upstream did not speak http as expected",
            UpstreamErrorKind::RequestBody(error) => return write!(f, "request body failed: {error}"),
        };
        f.write_str(what)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, " {endpoint}")?;
        }
        if self.attempts > 1 {
            write!(f, " ({} attempts)", self.attempts)?;
        }
        Ok(())
    }
}

impl StdError for UpstreamError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            UpstreamErrorKind::RequestBody(error) => Some(error),
            _ => self
                .source
                .as_deref()
                .map(|source| source as &(dyn StdError + 'static)),
        }
    }
}

/// The failure of one phase of one attempt.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: UpstreamErrorKind,
    pub(super) source: Option<Source>,
}

impl Failed {
    pub(super) fn new(kind: UpstreamErrorKind, source: impl Into<Source>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    pub(super) fn bare(kind: UpstreamErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Sorts an error of an HTTP/1.1 connection that came before a response head.
    pub(super) fn from_io(error: io::Error) -> Self {
        let body = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<BodyError>());
        match body {
            Some(body) => Self::bare(UpstreamErrorKind::RequestBody(body.clone())),
            None => Self::new(UpstreamErrorKind::Reset, error),
        }
    }

    /// Sorts an error of hyper's client that came before a response head.
    pub(super) fn from_hyper(error: hyper::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(body) = inner.downcast_ref::<BodyError>() {
                return Self::bare(UpstreamErrorKind::RequestBody(body.clone()));
            }
            cause = inner.source();
        }
        let kind = if error.is_parse() {
            UpstreamErrorKind::Protocol
        } else {
            UpstreamErrorKind::Reset
        };
        Self::new(kind, error)
    }
}

/// An upstream that cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamConfigError {
    /// No endpoint at all.
    #[error("has no endpoints")]
    NoEndpoints,
    /// An endpoint that is not `host:port`.
    #[error("endpoint `{0}` is not `host:port` with a port from 1 to 65535")]
    Endpoint(String),
    /// `host` is not a host with an optional port.
    #[error("host `{0}` is not a host name or address with an optional port")]
    Host(String),
    /// A name that cannot be verified in TLS.
    #[error("`{0}` is not a name or address that a certificate can have")]
    ServerName(String),
    /// A PEM file that cannot be read or has nothing usable in it.
    #[error("{what} `{path}`: {problem}")]
    Pem {
        /// `ca`, `client-cert` or `client-key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// One half of the client certificate without the other.
    #[error("client-cert and client-key go together: one of them is missing")]
    HalfClientCert,
    /// The system has no CA certificates and none is configured.
    #[error("the system has no CA certificates; name a file with `ca`: {0}")]
    NoSystemRoots(String),
    /// rustls refuses the combination.
    #[error("tls settings")]
    Tls(#[from] rustls::Error),
}
