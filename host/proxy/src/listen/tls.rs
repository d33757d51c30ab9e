//! TLS of listeners: certificates by server name, client certificates, ALPN.

use std::{collections::HashMap, path::Path, sync::Arc};

use edgeward_core::config::{Certificate, ListenerTls};
use rustls::{
    RootCertStore, ServerConfig,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Builds the TLS settings of a listener; the error names file and reason.
pub(crate) fn server_config(
    config: &ListenerTls,
    http2: bool,
    base_dir: &Path,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let path = base_dir.join(path);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = if config.client_required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            builder.with_client_cert_verifier(
                verifier
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            )
        }
    };
    let resolver = Resolver::new(config, &provider, base_dir)?;
    let mut server = builder.with_cert_resolver(Arc::new(resolver));
    server.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(server))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls_pki_types::pem::Error| format!("{}: {error}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if chain.is_empty() {
        Err(format!("{}: no certificate in it", path.display()))
    } else {
        Ok(chain)
    }
}

/// Chooses a certificate by server name: exact, then wildcard, then the first.
#[derive(Debug)]
struct Resolver {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the name without its first label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Resolver {
    fn new(
        config: &ListenerTls,
        provider: &rustls::crypto::CryptoProvider,
        base_dir: &Path,
    ) -> Result<Self, String> {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        let mut first = None;
        for certificate in &config.certificates {
            let key = Arc::new(load(certificate, provider, base_dir)?);
            let names = if certificate.names.is_empty() {
                names_in(&key)?
            } else {
                certificate.names.clone()
            };
            for name in names {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard
                        .entry(rest.to_owned())
                        .or_insert_with(|| Arc::clone(&key)),
                    None => exact.entry(name).or_insert_with(|| Arc::clone(&key)),
                };
            }
            first.get_or_insert(key);
        }
        Ok(Self {
            exact,
            wildcard,
            first: first.ok_or("no certificate")?,
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = hello.server_name().and_then(|name| {
            // rustls hands names over in lower case
            self.exact
                .get(name)
                .or_else(|| self.wildcard.get(name.split_once('.')?.1))
        });
        Some(Arc::clone(chosen.unwrap_or(&self.first)))
    }
}

fn load(
    config: &Certificate,
    provider: &rustls::crypto::CryptoProvider,
    base_dir: &Path,
) -> Result<CertifiedKey, String> {
    let chain = certificates(&base_dir.join(&config.cert))?;
    let path = base_dir.join(&config.key);
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("{} and {}: {error}", config.cert.display(), config.key.display()))
}

/// DNS names of the leaf (RFC 6125: the subject alternative names; a common name does not count).
fn names_in(key: &CertifiedKey) -> Result<Vec<String>, String> {
    let leaf = key.cert.first().ok_or("no certificate")?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|error| format!("certificate: {error}"))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| format!("certificate: {error}"))?;
    Ok(names
        .map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default())
}
