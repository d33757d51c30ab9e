//! The client's certificate as functions are told of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use x509_parser::{parse_x509_certificate, time::ASN1Time};

/// `clientCert`: PEM, names, serial number, and validity with dates such as `May 28 12:30:02 2019 GMT`. None when the bytes are no certificate.
#[must_use]
pub fn client_cert(der: &[u8]) -> Option<Value> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some(json!({
        "clientCertPem": pem(der),
        "subjectDN": certificate.subject().to_string(),
        "issuerDN": certificate.issuer().to_string(),
        "serialNumber": certificate.raw_serial_as_string(),
        "validity": {"notBefore": date(&validity.not_before), "notAfter": date(&validity.not_after)},
    }))
}

/// RFC 7468 section 5.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

/// As OpenSSL writes it; times of certificates are in UTC.
fn date(time: &ASN1Time) -> String {
    time.to_string().replace("+00:00", "GMT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_certificate_is_told_with_names_and_dates_as_openssl_writes_them() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "www.example.com");
        params.serial_number = Some(vec![0xa1, 0x02].into());
        params.not_before = rcgen::date_time_ymd(2019, 5, 28);
        params.not_after = rcgen::date_time_ymd(2021, 8, 5);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let told = client_cert(certificate.der()).unwrap();
        assert_eq!(told["subjectDN"], "CN=www.example.com");
        assert_eq!(told["issuerDN"], "CN=www.example.com");
        assert_eq!(told["serialNumber"], "00:a1:02");
        assert_eq!(told["validity"]["notBefore"], "May 28 00:00:00 2019 GMT");
        assert_eq!(told["validity"]["notAfter"], "Aug  5 00:00:00 2021 GMT");
        let pem = told["clientCertPem"].as_str().unwrap();
        assert_eq!(pem.trim(), certificate.pem().replace('\r', "").trim());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = client_cert(&bytes).is_some();
        }
    }
}
