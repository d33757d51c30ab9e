//! What rules and facts need of a certificate, in one look at it. The gateway has verified it; what is here only reads.

use std::net::IpAddr;

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate, time::ASN1Time,
};

use crate::name::Name;

/// Largest certificate in bytes.
const DER_MAX: usize = 64 * 1024;
/// Most subject alternative names.
const NAMES_MAX: usize = 1000;
/// Longest subject alternative name in bytes.
const NAME_MAX: usize = 4096;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Subject.
    pub subject: Name,
    /// Issuer.
    pub issuer: Name,
    /// Serial number: hexadecimal digits in lower case, without zeros in front.
    pub serial: String,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when, in seconds since 1970.
    pub not_after: i64,
    /// The same as OpenSSL writes it: `May 28 12:30:02 2019 GMT`.
    pub validity: [String; 2],
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// Its extended key usage names `clientAuth`.
    pub client_auth: bool,
    /// It may sign certificates.
    pub authority: bool,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It cannot be read, something is twice in it, or it exceeds a limit.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        if der.len() > DER_MAX {
            return Err(format!(
                "the certificate has {} bytes, more than {DER_MAX}",
                der.len()
            ));
        }
        let (rest, parsed) = parse_x509_certificate(der)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        if !rest.is_empty() {
            return Err("the certificate has bytes behind its end".into());
        }
        let mut certificate = Self {
            subject: Name::of(parsed.subject()),
            issuer: Name::of(parsed.issuer()),
            serial: serial(parsed.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            validity: [parsed.validity().not_before, parsed.validity().not_after].map(openssl_time),
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            ips: Vec::new(),
            client_auth: false,
            authority: false,
            public_key: parsed.public_key().raw.to_vec(),
        };
        certificate.extensions(&parsed)?;
        Ok(certificate)
    }

    fn extensions(&mut self, parsed: &X509Certificate<'_>) -> Result<(), String> {
        let wrong = |what: &str, why: &dyn std::fmt::Display| format!("{what} of the certificate: {why}");
        if let Some(usage) = parsed
            .extended_key_usage()
            .map_err(|error| wrong("extended key usage", &error))?
        {
            self.client_auth = usage.value.client_auth;
        }
        let constraints = parsed
            .basic_constraints()
            .map_err(|error| wrong("basic constraints", &error))?;
        let usage = parsed.key_usage().map_err(|error| wrong("key usage", &error))?;
        self.authority = constraints.is_some_and(|found| found.value.ca)
            || usage.is_some_and(|found| found.value.key_cert_sign());
        if let Some(names) = parsed
            .subject_alternative_name()
            .map_err(|error| wrong("subject alternative names", &error))?
        {
            let names = &names.value.general_names;
            if names.len() > NAMES_MAX {
                return Err(wrong(
                    "subject alternative names",
                    &format!("{} exceed {NAMES_MAX}", names.len()),
                ));
            }
            for name in names {
                self.name(name)?;
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &GeneralName<'_>) -> Result<(), String> {
        let (list, text) = match name {
            GeneralName::DNSName(text) => (&mut self.dns, text),
            GeneralName::URI(text) => (&mut self.uris, text),
            GeneralName::RFC822Name(text) => (&mut self.emails, text),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.ips.push(address.map_err(|_length| {
                    format!("an IP address of the certificate has {} bytes", bytes.len())
                })?);
                return Ok(());
            }
            GeneralName::Invalid(..) => {
                return Err("a subject alternative name of the certificate is invalid".into());
            }
            _ => return Ok(()),
        };
        // IA5String (RFC 5280 section 4.2.1.6): nothing but ASCII, and nobody needs its control characters
        if text.len() > NAME_MAX || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!(
                "a subject alternative name of the certificate is longer than {NAME_MAX} bytes or not printable"
            ));
        }
        list.push((*text).to_owned());
        Ok(())
    }
}

fn serial(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serial_digits(&hex)
}

/// A serial number without zeros in front.
#[must_use]
pub fn serial_digits(hex: &str) -> String {
    match hex.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// The serial number in pairs: `0a:1b`.
#[must_use]
pub fn serial_pairs(digits: &str) -> String {
    let zero = if digits.len() % 2 == 1 { "0" } else { "" };
    let mut text = String::new();
    for (index, char) in zero.chars().chain(digits.chars()).enumerate() {
        if index > 0 && index % 2 == 0 {
            text.push(':');
        }
        text.push(char);
    }
    text
}

fn openssl_time(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let time = time.to_datetime();
    let month = usize::from(u8::from(time.month())).saturating_sub(1);
    format!(
        "{} {:>2} {:02}:{:02}:{:02} {} GMT",
        MONTHS.get(month).unwrap_or(&"???"),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Certificates that PyCA's cryptography made, and what it and OpenSSL say about them.
    fn vectors() -> Vec<Value> {
        serde_json::from_str(include_str!("../tests/vectors/certificates.json")).unwrap()
    }

    fn der(vector: &Value) -> Vec<u8> {
        STANDARD.decode(vector["der"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn certificates_are_read_as_others_read_them() {
        let vectors = vectors();
        assert!(vectors.len() >= 8);
        for vector in vectors {
            let read = Certificate::read(&der(&vector));
            if vector["error"].is_string() {
                let error = read.unwrap_err();
                assert!(error.contains(vector["error"].as_str().unwrap()), "{error}");
                continue;
            }
            let read = read.unwrap();
            let found = json!({
                "subject": read.subject.text,
                "issuer": read.issuer.text,
                "serial": read.serial,
                "validity": read.validity,
                "dns": read.dns,
                "uris": read.uris,
                "emails": read.emails,
                "ips": read.ips,
                "client-auth": read.client_auth,
                "authority": read.authority,
            });
            assert_eq!(found, vector["says"], "{}", vector["name"]);
        }
    }

    #[test]
    fn serial_numbers_have_one_form() {
        assert_eq!(serial(&[0, 0, 0x0a, 0xbc]), "abc");
        assert_eq!(serial(&[0]), "0");
        assert_eq!(serial_pairs("abc"), "0a:bc");
        assert_eq!(serial_pairs("0abc"), "0a:bc");
    }

    #[test]
    fn bytes_behind_the_end_and_large_certificates_are_refused() {
        let mut der = der(&vectors()[0]);
        der.push(0);
        assert!(Certificate::read(&der).unwrap_err().contains("behind its end"));
        assert!(
            Certificate::read(&vec![0x30; DER_MAX + 1])
                .unwrap_err()
                .contains("more than 65536")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _any = Certificate::read(&bytes);
        }

        #[test]
        fn any_change_of_a_certificate_is_read_or_refused(which in 0_usize..8, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut der = der(&vectors()[which]);
            let at = at.index(der.len());
            der[at] = byte;
            let _any = Certificate::read(&der);
            let cut = cut.index(der.len());
            prop_assert!(Certificate::read(&der[..cut]).is_err());
        }
    }
}
