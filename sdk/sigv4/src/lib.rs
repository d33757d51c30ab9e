//! AWS Signature Version 4 (`AWS4-HMAC-SHA256`) and Version 4a (`AWS4-ECDSA-P256-SHA256`), for both sides of a request.
//!
//! There is no cryptography in here: hashes, MACs and signatures come through [`Mac`] and [`Verify`], which [`HostCrypto`] answers
//! with the gateway's capability `crypto`. Reading order: [`Request`] is what is signed, [`Presented`] what a client claims,
//! [`canonical_request`] and [`string_to_sign`] are the texts in between, [`Signer`] makes signatures.
//!
//! Source: "AWS Signature Version 4 for API requests" in the IAM user guide, and the signing test suite of aws-c-auth.

mod canonical;
mod crypto;
mod der;
mod encode;
mod host;
mod malformed;
mod presented;
mod query;
mod scope;
mod sign;
mod target;
#[cfg(test)]
mod tests;
mod timestamp;

pub use crate::{
    canonical::{PathStyle, canonical_path, canonical_request, string_to_sign},
    crypto::{Mac, Verify, private_key, signing_key},
    der::fixed_signature,
    encode::{encode, from_hex, to_hex},
    host::HostCrypto,
    malformed::Malformed,
    presented::{AUTHORIZATION_LIMIT, Form, Payload, Presented},
    query::Query,
    scope::{Algorithm, Credential, TERMINATOR, region_set_has},
    sign::Signer,
    target::split_target,
    timestamp::Timestamp,
};

/// Payload hash that says that the body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// SHA-256 of nothing, in hexadecimal digits: the payload hash of a request without body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A request as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method, e.g. `GET`.
    pub method: &'a str,
    /// Path as it is sent: percent-encoded, not normalised.
    pub path: &'a str,
    /// Query as it is sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// `Host` or `:authority` as it is sent.
    pub host: &'a str,
    /// Header fields in order of arrival, names in lower case. A field `host` among them is not looked at.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Request<'a> {
    /// All values of a header field, in order. The name is in lower case.
    pub fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers;
        headers
            .iter()
            .filter(move |(one, _)| *one == name)
            .map(|(_, value)| *value)
    }
}
