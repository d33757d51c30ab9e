//! Requests as clients sign and send them.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use edgeward_sdk::HeaderBlock;
use edgeward_sigv4::{
    Algorithm, HostCrypto, Mac as _, PathStyle, Request, Signer, Timestamp, canonical_request, private_key,
    split_target, string_to_sign, to_hex,
};
use serde_json::{Value, json};

use crate::{
    authorizer::{self, Accepted},
    ecdsa,
    fake::Fake,
    outside::Incoming,
    refusal::Refusal,
    settings::Settings,
};

pub(super) const ID: &str = "AKIDEXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(super) const HOST: &str = "api.test";
/// 2015-08-30T12:36:00Z
pub(super) const NOW: Timestamp = Timestamp(1_440_938_160);

/// A request on its way.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) host: &'static str,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: &'static str,
}

impl Incoming for Wire {
    fn method(&self) -> String {
        self.method.into()
    }

    fn raw_target(&self) -> String {
        self.target.clone()
    }

    fn raw_authority(&self) -> String {
        self.host.into()
    }

    fn headers(&self) -> HeaderBlock {
        self.headers.iter().map(|(name, value)| (name, value)).collect()
    }

    fn body_sha256(&self) -> Option<Vec<u8>> {
        (!self.body.is_empty()).then(|| HostCrypto.sha256(self.body.as_bytes()))
    }
}

pub(super) fn wire(target: &str) -> Wire {
    Wire {
        method: "GET",
        target: target.into(),
        host: HOST,
        headers: Vec::new(),
        body: "",
    }
}

impl Wire {
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn post(mut self, body: &'static str) -> Self {
        (self.method, self.body) = ("POST", body);
        self
    }

    /// Replaces the values of a header field.
    pub(super) fn set(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        for (one, value) in &mut self.headers {
            if one == name {
                *value = change(std::str::from_utf8(value).unwrap()).into_bytes();
            }
        }
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(one, _)| one != name);
        self
    }

    pub(super) fn request(&self) -> Request<'_> {
        let (path, query) = split_target(&self.target);
        let fields = self.headers.iter();
        let fields: Vec<_> = fields
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        Request {
            method: self.method,
            path,
            query,
            host: self.host,
            // never freed, which is little in a test
            headers: fields.leak(),
        }
    }

    fn payload_hash(&self) -> String {
        to_hex(&HostCrypto.sha256(self.body.as_bytes()))
    }

    /// Signs in the header.
    pub(super) fn signed(self, signer: &Signer<'_>) -> Self {
        let hash = self.payload_hash();
        self.signed_with_hash(signer, &hash)
    }

    pub(super) fn signed_with_hash(mut self, signer: &Signer<'_>, hash: &str) -> Self {
        let added = signer.headers(&self.request(), hash, NOW, &HostCrypto).unwrap();
        self.headers
            .extend(added.into_iter().map(|(name, value)| (name, value.into_bytes())));
        self
    }

    /// Signs in the query.
    pub(super) fn presigned(mut self, signer: &Signer<'_>, expires: u64) -> Self {
        let query = signer
            .query(&self.request(), &self.payload_hash(), NOW, expires, &HostCrypto)
            .unwrap();
        self.target = format!("{}?{query}", self.request().path);
        self
    }

    /// Signs with version 4a in the header, for a set of regions.
    pub(super) fn signed_4a(mut self, regions: &str) -> Self {
        self = self
            .with("x-amz-date", &NOW.basic())
            .with("x-amz-region-set", regions);
        let mut names: Vec<String> = self.headers.iter().map(|(name, _)| name.clone()).collect();
        names.push("host".into());
        names.sort();
        let query = edgeward_sigv4::Query::parse(self.request().query)
            .unwrap()
            .canonical(&[]);
        let canonical = canonical_request(
            &self.request(),
            &query,
            &names,
            &self.payload_hash(),
            PathStyle::default(),
        );
        let algorithm = Algorithm::EcdsaP256Sha256;
        let scope = format!("{}/execute-api/aws4_request", NOW.date());
        let string = string_to_sign(algorithm, NOW, &scope, &canonical, &HostCrypto);
        let private = private_key(ID, SECRET, &HostCrypto).unwrap();
        let public = ecdsa::public_key(&private).unwrap();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, &private, &public)
                .unwrap();
        let signature = pair.sign(&SystemRandom::new(), string.as_bytes()).unwrap();
        let text = format!(
            "{algorithm} Credential={ID}/{scope}, SignedHeaders={}, Signature={}",
            names.join(";"),
            to_hex(signature.as_ref())
        );
        self.with("authorization", &text)
    }
}

pub(super) fn signer() -> Signer<'static> {
    Signer {
        access_key_id: ID,
        secret: SECRET,
        session_token: None,
        sign_token: true,
        region: "us-east-1",
        service: "execute-api",
        style: PathStyle::default(),
        send_payload_hash: false,
    }
}

/// The configuration of most tests with further members.
pub(super) fn config(extra: Value) -> Value {
    let mut config = json!({
        "regions": ["us-east-1", "eu-central-1"],
        "credentials": [{"access-key-id": ID, "secret": "key", "principal-arn": "arn:aws:iam::123456789012:user/ada"}],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    config
}

pub(super) fn settings(extra: Value) -> Settings {
    Settings::new(serde_json::from_value(config(extra)).unwrap()).unwrap()
}

pub(super) fn outside() -> Fake {
    let fake = Fake::at(NOW.0 * 1000);
    fake.hide("key", SECRET.as_bytes());
    fake
}

pub(super) fn check(extra: Value, request: &Wire) -> Result<Accepted, Refusal> {
    authorizer::check(&settings(extra), request, &outside())
}

#[track_caller]
pub(super) fn refused(extra: Value, request: &Wire) -> Refusal {
    check(extra, request).unwrap_err()
}
