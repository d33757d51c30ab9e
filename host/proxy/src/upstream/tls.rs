//! TLS towards upstreams: one rustls client configuration per group, built once. The certificate is always verified; there is no switch for that.

use std::{
    fs,
    path::Path,
    sync::{Arc, OnceLock},
};

use edgeward_core::config;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::error::UpstreamConfigError;
use crate::pem;

pub(super) fn connector(
    tls: &config::UpstreamTls,
    protocol: config::UpstreamProtocol,
) -> Result<TlsConnector, UpstreamConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let mut config = match (&tls.client_cert, &tls.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = read(cert).and_then(|pem| pem::certificates(&pem));
            let chain = chain.map_err(of("client-cert", cert))?;
            let own_key = read(key).and_then(|pem| pem::key(&pem));
            let key = own_key.map_err(of("client-key", key))?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => return Err(UpstreamConfigError::HalfClientCert),
    };
    config.alpn_protocols = match protocol {
        config::UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        config::UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name to send and to verify: the configured one, else the host of the endpoint (an address is verified as an address, without SNI).
pub(super) fn server_name(
    tls: &config::UpstreamTls,
    host: &str,
) -> Result<ServerName<'static>, UpstreamConfigError> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_not_a_name| UpstreamConfigError::ServerName(name.to_owned()))
}

/// CAs that servers are checked against: those in a file (PEM), else those of the system.
///
/// # Errors
/// The file cannot be read or has none, or the system has none.
pub fn roots(ca: Option<&Path>) -> Result<Arc<RootCertStore>, UpstreamConfigError> {
    let Some(path) = ca else { return system_roots() };
    let roots = read(path).and_then(|pem| pem::roots(&pem));
    roots.map(Arc::new).map_err(of("ca", path))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| error.to_string())
}

/// Read once per process: hundreds of certificates, and every group shares them.
fn system_roots() -> Result<Arc<RootCertStore>, UpstreamConfigError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problems: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(UpstreamConfigError::NoSystemRoots(problems.join("; ")));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// Says which file something is wrong with.
fn of(what: &'static str, path: &Path) -> impl FnOnce(String) -> UpstreamConfigError {
    move |problem| UpstreamConfigError::Pem {
        what,
        path: path.to_owned(),
        problem,
    }
}
