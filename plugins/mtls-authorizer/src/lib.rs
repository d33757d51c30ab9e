//! Authorizes by the certificate that the listener verified. This file is the glue to the gateway; the logic knows nothing of it and reads in this order:
//! [`config`] -> [`settings`], [`certificate`] -> [`rule`] -> ([`pattern`], [`spiffe`], [`template`], [`name`]).

pub mod certificate;
pub mod config;
pub mod name;
pub mod pattern;
pub mod rule;
pub mod settings;
pub mod spiffe;
pub mod template;
#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_sdk::{
    Allowed, Authorize, Decision, Denied, Exchange, Interest, Plugin, RequestHead, clock,
    crypto::{self, HashAlgorithm},
    log_debug, log_info,
};
use serde_json::{Value, json};

use crate::{
    certificate::{Certificate, serial_pairs},
    rule::Evidence,
    settings::{OWN_FACT, Settings},
};

/// The plugin.
pub struct MtlsAuthorizer(Settings);

impl Plugin for MtlsAuthorizer {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        Ok((Self(settings), Interest::none().authorize()))
    }
}

impl Authorize for MtlsAuthorizer {
    fn authorize(&mut self, _request: &RequestHead, exchange: &Exchange) -> Decision {
        let Some(der) = exchange.peer().client_certificate else {
            log_debug!("refused: no certificate");
            let denied = Denied::new(self.0.missing_status, "a client certificate is required");
            // RFC 9110 section 15.5.2 asks for a challenge; no scheme is registered for certificates
            return if self.0.missing_status == 401 {
                denied.header("www-authenticate", "Certificate").into()
            } else {
                denied.into()
            };
        };
        let certificate = match Certificate::read(&der) {
            Ok(certificate) => certificate,
            Err(error) => return refused(&error),
        };
        let about = format!(
            "subject {:?}, issuer {:?}, serial {}",
            certificate.subject.text, certificate.issuer.text, certificate.serial
        );
        // it was good when the connection began, which may be long ago
        let now = i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX);
        if now > certificate.not_after || now < certificate.not_before {
            return refused(&format!("{about}: not within its validity"));
        }
        let evidence = Evidence {
            fingerprint: hex(&crypto::hash(HashAlgorithm::Sha256, &der)),
            spki: STANDARD.encode(crypto::hash(HashAlgorithm::Sha256, &certificate.public_key)),
            certificate,
        };
        let Some(caller) = self.0.rules.iter().find_map(|rule| rule.caller(&evidence)) else {
            return refused(&format!("{about}: no rule fits"));
        };
        let fact = client_cert(&evidence.certificate, self.0.pem.then_some(der.as_slice()));
        let allowed = Allowed::new(caller.principal).fact(OWN_FACT, fact);
        caller
            .facts
            .into_iter()
            .fold(allowed, |allowed, (key, value)| allowed.fact(key, value))
            .into()
    }
}

fn refused(detail: &str) -> Decision {
    log_info!("refused: {detail}");
    Denied::new(403, "the client certificate is not accepted").into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What Amazon API Gateway calls `requestContext.identity.clientCert`.
fn client_cert(certificate: &Certificate, der: Option<&[u8]>) -> Value {
    let [not_before, not_after] = &certificate.validity;
    let mut fact = json!({
        "subjectDN": certificate.subject.text,
        "issuerDN": certificate.issuer.text,
        "serialNumber": serial_pairs(&certificate.serial),
        "validity": {"notBefore": not_before, "notAfter": not_after},
    });
    if let (Some(der), Some(fact)) = (der, fact.as_object_mut()) {
        fact.insert("clientCertPem".to_owned(), pem(der).into());
    }
    fact
}

/// RFC 7468 section 5.1.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, char) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(char);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

edgeward_sdk::export!(MtlsAuthorizer: authorize);
