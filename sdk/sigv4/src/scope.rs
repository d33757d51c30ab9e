//! The two algorithms, and the credential with the scope that it is for.

use std::fmt;

use crate::{Malformed, malformed::excerpt};

/// What every credential scope ends with.
pub const TERMINATOR: &str = "aws4_request";

/// Longest access key id in bytes.
const ID_LIMIT: usize = 128;

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Signature Version 4: a MAC with a key for one day, region and service.
    HmacSha256,
    /// Signature Version 4a: ECDSA with a key pair made of the secret, for a set of regions.
    EcdsaP256Sha256,
}

impl Algorithm {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "AWS4-HMAC-SHA256",
            Self::EcdsaP256Sha256 => "AWS4-ECDSA-P256-SHA256",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, Malformed> {
        [Self::HmacSha256, Self::EcdsaP256Sha256]
            .into_iter()
            .find(|one| one.name() == name)
            .ok_or_else(|| Malformed::Algorithm(excerpt(name)))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The credential of a request: who signed, and for what. Nothing of it is believed until the signature is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Access key id: 1 to 128 letters, digits, `.`, `_` and `-`.
    pub access_key_id: String,
    /// Date, `yyyymmdd` when it is right.
    pub date: String,
    /// Region; none with [`Algorithm::EcdsaP256Sha256`], which has a set of regions beside the credential.
    pub region: Option<String>,
    /// Service.
    pub service: String,
    /// [`TERMINATOR`] when it is right.
    pub terminator: String,
}

impl Credential {
    /// Reads `id/date/region/service/aws4_request`, or without the region for Signature Version 4a.
    ///
    /// # Errors
    /// There are more or fewer parts, or the id has characters that no id has.
    pub fn parse(text: &str, algorithm: Algorithm) -> Result<Self, Malformed> {
        let parts: Vec<&str> = text.splitn(6, '/').collect();
        let (id, date, region, service, terminator) = match (algorithm, parts.as_slice()) {
            (Algorithm::HmacSha256, [id, date, region, service, end]) => {
                (*id, *date, Some((*region).to_owned()), *service, *end)
            }
            (Algorithm::EcdsaP256Sha256, [id, date, service, end]) => (*id, *date, None, *service, *end),
            (Algorithm::HmacSha256, _) => {
                return Err(Malformed::Credential {
                    wanted: 5,
                    example: "keyid/date/region/service/term",
                    got: excerpt(text),
                });
            }
            (Algorithm::EcdsaP256Sha256, _) => {
                return Err(Malformed::Credential {
                    wanted: 4,
                    example: "keyid/date/service/term",
                    got: excerpt(text),
                });
            }
        };
        if !Self::is_access_key_id(id) {
            return Err(Malformed::AccessKeyId(excerpt(id)));
        }
        Ok(Self {
            access_key_id: id.to_owned(),
            date: date.to_owned(),
            region,
            service: service.to_owned(),
            terminator: terminator.to_owned(),
        })
    }

    /// True for 1 to 128 letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn is_access_key_id(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=ID_LIMIT).contains(&text.len()) && text.bytes().all(allowed)
    }

    /// The credential scope of the string to sign.
    #[must_use]
    pub fn scope(&self) -> String {
        let Self {
            date,
            service,
            terminator,
            ..
        } = self;
        match &self.region {
            Some(region) => [date.as_str(), region, service, terminator].join("/"),
            None => [date.as_str(), service, terminator].join("/"),
        }
    }
}

/// True when a region is in a region set: a list with commas whose members may have one `*` that stands for any text.
#[must_use]
pub fn region_set_has(set: &str, region: &str) -> bool {
    set.split(',')
        .map(str::trim)
        .any(|one| match one.split_once('*') {
            Some((before, after)) => {
                region.len() >= before.len() + after.len()
                    && region.starts_with(before)
                    && region.ends_with(after)
            }
            None => one == region,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_exactly_its_parts() {
        let credential = Credential::parse(
            "AKID/20150830/us-east-1/execute-api/aws4_request",
            Algorithm::HmacSha256,
        )
        .unwrap();
        assert_eq!(
            (credential.access_key_id.as_str(), credential.scope().as_str()),
            ("AKID", "20150830/us-east-1/execute-api/aws4_request")
        );
        let multi = Credential::parse(
            "AKID/20150830/execute-api/aws4_request",
            Algorithm::EcdsaP256Sha256,
        )
        .unwrap();
        assert_eq!(multi.scope(), "20150830/execute-api/aws4_request");
        for (text, algorithm, wanted) in [
            ("a/b/c/d", Algorithm::HmacSha256, "exactly 5"),
            ("a/b/c/d/e/f", Algorithm::HmacSha256, "exactly 5"),
            ("", Algorithm::HmacSha256, "exactly 5"),
            ("a/b/c/d/e", Algorithm::EcdsaP256Sha256, "exactly 4"),
            ("/b/c/d/e", Algorithm::HmacSha256, "access key id ''"),
            ("a b/b/c/d/e", Algorithm::HmacSha256, "access key id 'a b'"),
        ] {
            let error = Credential::parse(text, algorithm).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert!(!Credential::is_access_key_id(&"A".repeat(129)));
    }

    #[test]
    fn region_sets_take_lists_and_a_star() {
        for (set, region, wanted) in [
            ("us-east-1", "us-east-1", true),
            ("us-east-1", "us-east-2", false),
            ("*", "us-east-1", true),
            ("us-west-2, us-east-*", "us-east-1", true),
            ("us-*-1", "us-east-1", true),
            ("us-*-1", "us-1", false),
            ("", "us-east-1", false),
            ("us-east-1x", "us-east-1", false),
        ] {
            assert_eq!(region_set_has(set, region), wanted, "{set} {region}");
        }
    }
}
