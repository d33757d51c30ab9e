//! The signing test suite of aws-c-auth: every text on the way, for signing and for reading, header and query form.

use crate::{
    EMPTY_SHA256, PathStyle, Payload, Presented, Request, Signer, Timestamp, fixed_signature, from_hex,
    private_key, to_hex,
};
use crate::{Mac as _, split_target};
use serde::Deserialize;

use super::crypto::{Crypto, ID, SECRET, p256_public_key};

#[derive(Deserialize)]
struct Suite {
    v4: Vec<Case>,
    v4a: Vec<Case>,
    #[serde(rename = "public-key")]
    public_key: Point,
}

#[derive(Deserialize)]
struct Point {
    x: String,
    y: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    name: String,
    request: String,
    normalize: Option<bool>,
    #[serde(default)]
    sign_body: bool,
    #[serde(default)]
    omit_token: bool,
    token: Option<String>,
    header: Texts,
    query: Option<Texts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Texts {
    canonical: String,
    string_to_sign: Option<String>,
    signature: Option<String>,
    signed: Option<String>,
}

fn suite() -> Suite {
    serde_json::from_str(include_str!("../../tests/vectors/aws-signing-test-suite.json")).unwrap()
}

/// A request as a text, taken apart.
struct Parsed {
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, Vec<u8>)>,
    body: String,
}

impl Parsed {
    fn new(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap();
        let (method, rest) = first.split_once(' ').unwrap();
        let target = rest.strip_suffix(" HTTP/1.1").unwrap();
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines {
            if line.starts_with(' ') {
                // a folded line (RFC 9112 section 5.2) continues the value
                headers.last_mut().unwrap().1.extend_from_slice(line.as_bytes());
            } else {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name.to_ascii_lowercase(), value.into()));
            }
        }
        let host = headers.iter().find(|(name, _)| name == "host").unwrap();
        Self {
            method: method.into(),
            target: target.into(),
            host: String::from_utf8(host.1.clone()).unwrap(),
            headers,
            body: body.into(),
        }
    }

    fn request(&self) -> Request<'_> {
        let (path, query) = split_target(&self.target);
        Request {
            method: &self.method,
            path,
            query,
            host: &self.host,
            headers: super::kept(&self.headers),
        }
    }

    fn payload_hash(&self) -> String {
        to_hex(&Crypto.sha256(self.body.as_bytes()))
    }
}

impl Case {
    fn style(&self) -> PathStyle {
        PathStyle {
            normalize: self.normalize.unwrap_or(true),
            encode_again: true,
        }
    }

    /// Reads a signed request of the suite and finds the canonical request and the string to sign in it.
    fn reads(&self, texts: &Texts) -> (Presented, String) {
        let parsed = Parsed::new(texts.signed.as_ref().unwrap());
        let presented = Presented::read(&parsed.request()).unwrap().unwrap();
        let said = match &presented.payload {
            Payload::Sha256(hash) => hash.clone(),
            _ => parsed.payload_hash(),
        };
        assert_eq!(said, parsed.payload_hash(), "{}", self.name);
        let found = presented
            .canonical_requests(&parsed.request(), &said, self.style())
            .into_iter()
            .find(|text| text == texts.canonical.as_bytes())
            .unwrap_or_else(|| panic!("{}: {:?}", self.name, texts.canonical));
        let string = presented.string_to_sign(&found, &Crypto);
        assert_eq!(Some(&string), texts.string_to_sign.as_ref(), "{}", self.name);
        assert_eq!(presented.session_token, self.token, "{}", self.name);
        (presented, string)
    }
}

#[test]
fn every_request_of_the_suite_is_signed_as_the_suite_signs_it() {
    let mut signed = 0;
    for case in suite().v4 {
        if case.normalize.is_none() {
            continue;
        }
        let parsed = Parsed::new(&case.request);
        let signer = Signer {
            access_key_id: ID,
            secret: SECRET,
            session_token: case.token.as_deref(),
            sign_token: !case.omit_token,
            region: "us-east-1",
            service: "service",
            style: case.style(),
            send_payload_hash: case.sign_body,
        };
        let time = Timestamp::parse_basic("20150830T123600Z").unwrap();
        let added = signer
            .headers(&parsed.request(), &parsed.payload_hash(), time, &Crypto)
            .unwrap();
        let wanted = case.header.signature.as_ref().unwrap();
        assert!(
            added.last().unwrap().1.ends_with(&format!("Signature={wanted}")),
            "{}: {added:?}",
            case.name
        );
        let query = signer
            .query(&parsed.request(), &parsed.payload_hash(), time, 3600, &Crypto)
            .unwrap();
        let wanted = case.query.unwrap().signature.unwrap();
        assert!(
            query.contains(&format!("X-Amz-Signature={wanted}")),
            "{}: {query}",
            case.name
        );
        signed += 1;
    }
    assert_eq!(signed, 38);
}

#[test]
fn every_signed_request_of_the_suite_is_verified() {
    let mut verified = 0;
    for case in suite().v4 {
        if case.normalize.is_none() {
            continue;
        }
        for texts in [&case.header, case.query.as_ref().unwrap()] {
            let (presented, string) = case.reads(texts);
            assert!(
                presented.is_signed_with_secret(SECRET, &string, &Crypto),
                "{}",
                case.name
            );
            assert!(!presented.is_signed_with_secret("other", &string, &Crypto));
            assert!(!presented.is_signed_with_secret(SECRET, &format!("{string}0"), &Crypto));
            verified += 1;
        }
    }
    assert_eq!(verified, 76);
}

#[test]
fn every_request_of_the_suite_of_version_4a_is_verified_with_the_derived_key() {
    let suite = suite();
    let private = private_key(ID, SECRET, &Crypto).unwrap();
    let public = p256_public_key(&private).unwrap();
    let Point { x, y } = suite.public_key;
    assert_eq!(to_hex(&public), format!("04{x}{y}"));
    let mut verified = 0;
    for case in &suite.v4a {
        for texts in [&case.header, case.query.as_ref().unwrap()] {
            let (mut presented, string) = case.reads(texts);
            assert_eq!(presented.region_set.as_deref(), Some("us-east-1"));
            let holds =
                |presented: &Presented| presented.is_signed_with_key(&public, &string, &Crypto).unwrap();
            assert!(holds(&presented), "{}", case.name);
            assert!(!presented.is_signed_with_secret(SECRET, &string, &Crypto));
            // the suite has a second signature of the same text: each signature is another one
            let second = from_hex(texts.signature.as_ref().unwrap()).unwrap();
            presented.signature = fixed_signature(&second).unwrap().to_vec();
            assert!(holds(&presented), "{}", case.name);
            presented.signature[40] ^= 1;
            assert!(!holds(&presented), "{}", case.name);
            verified += 1;
        }
    }
    assert_eq!(verified, 76);
}

#[test]
fn paths_of_management_calls_are_encoded_twice() {
    let mut seen = 0;
    for case in suite().v4.iter().filter(|case| case.normalize.is_none()) {
        let mut parsed = Parsed::new(&case.request);
        for (name, value) in &mut parsed.headers {
            if name == "x-amz-date" {
                *value = b"20210511T154045Z".to_vec();
            }
        }
        let signed = ["host", "x-amz-date"].map(str::to_owned);
        let text =
            crate::canonical_request(&parsed.request(), "", &signed, EMPTY_SHA256, PathStyle::default());
        assert_eq!(
            String::from_utf8(text).unwrap(),
            case.header.canonical,
            "{}",
            case.name
        );
        seen += 1;
    }
    assert_eq!(seen, 2);
}
