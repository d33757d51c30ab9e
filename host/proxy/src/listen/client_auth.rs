//! Client certificates: truststore, revocation lists, depth of chains.

use std::{fs, path::Path, sync::Arc};

use edgeward_core::config::ClientAuth;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};

use crate::pem;

/// Checks client certificates against truststore and revocation lists.
///
/// # Errors
/// A file cannot be read or used; the text names it.
pub(super) fn verifier(
    config: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    base_dir: &Path,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let path = base_dir.join(&config.ca);
    let roots = pem::roots(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
    let mut lists = Vec::new();
    for file in &config.crl {
        lists.extend(revocations(&base_dir.join(file))?);
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(lists)
        .enforce_revocation_expiration();
    if !config.required {
        verifier = verifier.allow_unauthenticated();
    }
    let failed = |error| match config.crl.first() {
        Some(list) => format!("{} and {}: {error}", path.display(), list.display()),
        None => format!("{}: {error}", path.display()),
    };
    Ok(Arc::new(AtDepth {
        verifier: verifier.build().map_err(failed)?,
        intermediates: config.depth.into(),
    }))
}

/// Revocation lists in a file, PEM or DER.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(&error))?;
    if lists.is_empty() {
        return Err(failed(&"no revocation list in it"));
    }
    Ok(lists)
}

/// Refuses longer chains; the rest is the other verifier's.
#[derive(Debug)]
struct AtDepth {
    verifier: Arc<dyn ClientCertVerifier>,
    intermediates: usize,
}

impl ClientCertVerifier for AtDepth {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if intermediates.len() > self.intermediates {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.verifier.verify_client_cert(leaf, intermediates, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Subject of a certificate as text.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.subject().to_string())
}
