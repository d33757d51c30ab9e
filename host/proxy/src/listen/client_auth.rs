//! Client certificates: truststore, revocation lists, depth of chains.

use std::sync::Arc;

use edgeward_core::{config::ClientAuth, ids::Digest};
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
use x509_parser::extensions::GeneralName;

use crate::{
    material::{Content, Material},
    pem,
};

/// The files of a rule for client certificates, read.
pub(super) struct AuthFiles {
    ca: Content,
    crl: Vec<Content>,
}

impl AuthFiles {
    pub(super) fn read(config: &ClientAuth, material: &Material) -> Result<Self, String> {
        Ok(Self {
            ca: material.file(&config.ca)?,
            crl: config
                .crl
                .iter()
                .map(|path| material.file(path))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        std::iter::once(&self.ca).chain(&self.crl).map(|file| file.digest)
    }

    /// Checks client certificates against truststore and revocation lists.
    ///
    /// # Errors
    /// A file cannot be used; the text names it.
    pub(super) fn verifier(
        &self,
        config: &ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let path = config.ca.display();
        let roots = pem::roots(&self.ca.bytes).map_err(|problem| format!("{path}: {problem}"))?;
        let mut lists = Vec::new();
        for (path, file) in config.crl.iter().zip(&self.crl) {
            let found = revocations(&file.bytes);
            lists.extend(found.map_err(|problem| format!("{}: {problem}", path.display()))?);
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .with_crls(lists)
            .enforce_revocation_expiration();
        if !config.required {
            verifier = verifier.allow_unauthenticated();
        }
        let failed = |error| match config.crl.first() {
            Some(list) => format!("{path} and {}: {error}", list.display()),
            None => format!("{path}: {error}"),
        };
        Ok(Arc::new(AtDepth {
            verifier: verifier.build().map_err(failed)?,
            intermediates: config.depth.into(),
        }))
    }
}

/// Revocation lists in a file, PEM or DER.
fn revocations(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if lists.is_empty() {
        return Err("no revocation list in it".to_owned());
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

/// Whom a client certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNames {
    /// Its subject, as text.
    pub subject: String,
    /// Its subject alternative names that are DNS names, e-mail addresses and URIs.
    pub alternative: Vec<String>,
}

impl ClientNames {
    /// Of a certificate in DER that was checked; `None` when it cannot be parsed.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        };
        Some(Self {
            subject: parsed.subject().to_string(),
            alternative: names.iter().filter_map(text).collect(),
        })
    }
}

/// Subject of a certificate as text.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.subject().to_string())
}
