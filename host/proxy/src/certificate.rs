//! Certificates that listeners show: a chain and its key, parsed and checked together, and what there is to tell of them.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use edgeward_core::ids::Digest;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use serde::{Deserialize, Serialize};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use crate::pem;

const DAY: i64 = 24 * 60 * 60;
/// Certificates are warned of when that much time is left, in seconds, or a quarter of their whole time if that is less.
const EXPIRY_WARNING: i64 = 14 * DAY;

/// A certificate that the control plane keeps.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CertificatePem {
    /// Certificate chain, PEM, leaf first.
    pub chain: String,
    /// Private key, PEM (PKCS#8, SEC1 or PKCS#1).
    pub key: String,
    /// Server names it is for. Default: the DNS names in the certificate.
    #[serde(default)]
    pub names: Vec<String>,
}

impl fmt::Debug for CertificatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificatePem")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// What there is to tell of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// DNS names in it (RFC 6125: the subject alternative names; a common name does not count).
    pub dns_names: Vec<String>,
    /// Whose it is, as text.
    pub subject: String,
    /// Who issued it, as text.
    pub issuer: String,
    /// Its number, in hex.
    pub serial: String,
    /// Unix time from which it holds, in seconds.
    pub not_before: i64,
    /// Unix time until which it holds, in seconds.
    pub not_after: i64,
    /// SHA-256 of its DER form.
    pub sha256: Digest,
}

impl CertificateInfo {
    /// Seconds that are left at a time; negative when it has expired.
    #[must_use]
    pub fn left(&self, now: i64) -> i64 {
        self.not_after.saturating_sub(now)
    }

    /// Days that are left when it is time to do something; 0 and less when it has expired.
    pub(crate) fn days_left_if_few(&self) -> Option<i64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        self.days_left_at(i64::try_from(now.as_secs()).ok()?)
    }

    fn days_left_at(&self, now: i64) -> Option<i64> {
        let whole = self.not_after.saturating_sub(self.not_before);
        (self.left(now) < EXPIRY_WARNING.min(whole / 4)).then(|| self.left(now).div_euclid(DAY))
    }

    fn of(leaf: &[u8]) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
        Ok(Self {
            dns_names: dns_names(&parsed)?,
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: parsed.raw_serial_as_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            sha256: edgeward_runtime::digest(leaf),
        })
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let Some(names) = names else { return Ok(Vec::new()) };
    let dns_name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    Ok(names.value.general_names.iter().filter_map(dns_name).collect())
}

/// A chain and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is at fault.
    #[error("chain: {0}")]
    Chain(String),
    /// The key is at fault. The text has nothing of it.
    #[error("key: {0}")]
    Key(String),
    /// They do not belong together, or are of a kind that TLS cannot use.
    #[error("chain and key: {0}")]
    Pair(rustls::Error),
}

/// Parses a chain and its key, both PEM, and checks that they belong together.
///
/// # Errors
/// One of them cannot be used, or not with the other.
pub(crate) fn load(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, CertificateInfo), CertificateError> {
    let chain = pem::certificates(chain).map_err(CertificateError::Chain)?;
    for certificate in &chain {
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| CertificateError::Chain(error.to_string()))?;
    }
    let key = pem::key(key).map_err(CertificateError::Key)?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Pair)?;
    let leaf = certified.cert.first();
    let leaf = leaf.ok_or_else(|| CertificateError::Chain("no certificate in it".to_owned()))?;
    let info = CertificateInfo::of(leaf).map_err(CertificateError::Chain)?;
    Ok((certified, info))
}

impl CertificatePem {
    /// Parses it, checks that chain and key belong together, and tells what it is. Whether it has expired is for the caller to judge.
    ///
    /// # Errors
    /// Chain or key cannot be used, or not with the other.
    pub fn inspect(&self) -> Result<CertificateInfo, CertificateError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        load(self.chain.as_bytes(), self.key.as_bytes(), &provider).map(|(_, info)| info)
    }

    /// Tells what it is, without a look at the key.
    ///
    /// # Errors
    /// The chain cannot be used.
    pub fn info(&self) -> Result<CertificateInfo, CertificateError> {
        let chain = pem::certificates(self.chain.as_bytes()).map_err(CertificateError::Chain)?;
        let leaf = chain.first();
        let leaf = leaf.ok_or_else(|| CertificateError::Chain("no certificate in it".to_owned()))?;
        CertificateInfo::of(leaf).map_err(CertificateError::Chain)
    }
}

/// A certificate of a listener, ready to be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its file or its name, as the configuration names it.
    pub(crate) label: String,
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) info: CertificateInfo,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(names: &[&str]) -> (CertificatePem, rcgen::KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let pem = CertificatePem {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            names: Vec::new(),
        };
        (pem, key)
    }

    #[test]
    fn a_certificate_is_warned_of_in_time() {
        let info = |days| CertificateInfo {
            not_before: 0,
            not_after: days * DAY,
            ..pem(&["a.example"]).0.inspect().unwrap()
        };
        let year = info(365);
        assert_eq!(year.days_left_at(350 * DAY), None);
        assert_eq!(year.days_left_at(352 * DAY), Some(13));
        assert_eq!(year.days_left_at(364 * DAY + 1), Some(0));
        assert_eq!(year.days_left_at(366 * DAY), Some(-1));
        // those that hold for six days are renewed at four
        let week = info(6);
        assert_eq!(week.days_left_at(4 * DAY), None);
        assert_eq!(week.days_left_at(5 * DAY), Some(1));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_byte_of_the_key() {
        let (good, key) = pem(&["a.example", "*.b.example"]);
        assert_eq!(good.inspect().unwrap().dns_names, ["a.example", "*.b.example"]);
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let secret = key.serialize_pem();
        let line = secret.lines().nth(1).unwrap();
        let torn = format!("-----BEGIN PRIVATE KEY-----\n{line}");
        let not_der = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n");
        for (chain, key, expected) in [
            ("nothing", secret.as_str(), "chain: no certificate in it"),
            (&good.chain, "", "key: no private key in it"),
            (&good.chain, &torn, "key: not a private key"),
            (&good.chain, &not_der, "chain and key: "),
            (&good.chain, &other, "chain and key: "),
            (&secret, &secret, "chain: no certificate in it"),
        ] {
            let pem = CertificatePem {
                chain: chain.to_owned(),
                key: key.to_owned(),
                names: Vec::new(),
            };
            let error = pem.inspect().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains(&line[..12]), "{error}");
            assert!(!format!("{pem:?}").contains(&line[..12]));
        }
    }
}
