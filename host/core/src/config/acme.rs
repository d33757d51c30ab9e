//! Section `acme`.

use std::{collections::BTreeSet, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest first name of a certificate: the file it is kept in has it in its own name.
const FIRST_NAME_MAX: usize = 200;

/// A certificate authority that certificates are ordered from and renewed (ACME, RFC 8555). They are used by `listeners[].tls.certificates[].acme`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Acme {
    /// URL of its directory, e.g. `https://acme-v02.api.letsencrypt.org/directory`.
    pub directory: String,
    /// Addresses that the authority may write to, e.g. `mailto:ops@example.com`. Default: none.
    #[serde(default)]
    pub contact: Vec<String>,
    /// That you agree to the authority's terms of service. Default `false`, which most authorities refuse.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
    /// File (PEM) with the CAs that the authority's own server is checked against. Default: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// An account that you have at the authority by other means, for authorities that ask for one (RFC 8555 section 7.3.4).
    #[serde(default)]
    pub external_account: Option<ExternalAccount>,
    /// How to show that a name is yours, the best first; when one fails, the next attempt uses the next.
    #[serde(default = "challenges")]
    pub challenges: Vec<AcmeChallenge>,
    /// Kind of certificate, where the authority has several, e.g. `shortlived`. Default: the authority's choice.
    #[serde(default)]
    pub profile: Option<String>,
}

/// An account at an authority that was made by other means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExternalAccount {
    /// Identifier of its key.
    pub key_id: String,
    /// File with the key (HMAC), base64url without padding as authorities hand it out.
    pub key_file: PathBuf,
}

/// How to show that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AcmeChallenge {
    /// In a TLS handshake on port 443 (RFC 8737): a listener with `tls` has to be reached by it.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// In an answer on port 80 (RFC 8555 section 8.3): a listener without `tls` has to be reached by it.
    #[serde(rename = "http-01")]
    Http01,
}

fn challenges() -> Vec<AcmeChallenge> {
    vec![AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01]
}

/// Under which name a certificate is kept that is ordered for these names; `None` without any. It cannot be the name of one that was put.
#[must_use]
pub fn acme_certificate_name(names: &[String]) -> Option<String> {
    Some(format!("{PREFIX}{}", names.first()?.to_ascii_lowercase()))
}

/// Names as authorities compare them: in lower case, in no order.
#[must_use]
pub fn canonical_names(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Whether a certificate of this name was ordered.
#[must_use]
pub fn is_acme_certificate_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

const PREFIX: &str = "acme:";

/// What is wrong with a name that a certificate shall be ordered for.
pub(super) fn problem_of_name(name: &str, is_first: bool) -> Option<String> {
    if name.starts_with("*.") {
        return Some(format!(
            "`{name}`: wildcards need a challenge over DNS, which is not supported"
        ));
    }
    if !super::is_server_name(name) || !name.contains('.') || name.parse::<std::net::IpAddr>().is_ok() {
        return Some(format!("`{name}` is not a DNS name that an authority certifies"));
    }
    (is_first && name.len() > FIRST_NAME_MAX).then(|| {
        format!(
            "`{name}` has {} bytes, the first name at most {FIRST_NAME_MAX}",
            name.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::is_certificate_name;

    #[test]
    fn names_that_are_ordered_for_cannot_be_mistaken() {
        let name = acme_certificate_name(&["A.example".to_owned(), "b.example".to_owned()]).unwrap();
        assert_eq!(name, "acme:a.example");
        assert!(is_acme_certificate_name(&name) && !is_certificate_name(&name));
        assert_eq!(acme_certificate_name(&[]), None);
        assert_eq!(problem_of_name("a.example", true), None);
        for bad in ["*.a.example", "localhost", "127.0.0.1", "a.example:443", ""] {
            assert!(problem_of_name(bad, false).is_some(), "{bad}");
        }
        let long = format!("a{}.example", ".bc".repeat(70));
        assert!(problem_of_name(&long, true).unwrap().contains("at most 200"));
    }
}
