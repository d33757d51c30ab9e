//! What is wrong with the form of a signed request.

use crate::{Form, UNSIGNED_PAYLOAD};

/// Why a request that claims to be signed cannot be read. Values from the request are shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field or parameter is longer than anybody needs.
    #[error("{what} has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Name of the field or parameter.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// A field or parameter that must be there once is there several times.
    #[error("'{0}' occurs more than once")]
    Repeated(&'static str),
    /// A field or parameter is no text.
    #[error("'{0}' is no text")]
    NotText(&'static str),
    /// Credentials in a header field and in the query.
    #[error("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")]
    BothForms,
    /// A part of the `Authorization` field has no equals sign.
    #[error("a part of the Authorization header is no key=value pair")]
    NotAPair,
    /// A part of the `Authorization` field that does not belong there.
    #[error("the Authorization header has the unknown parameter '{0}'")]
    Unknown(String),
    /// Parts of the credentials are not there.
    #[error("{} missing: {}", .form.word(), .names.join(", "))]
    Missing {
        /// Where they should be.
        form: Form,
        /// Their names.
        names: Vec<&'static str>,
    },
    /// The algorithm is none of the two.
    #[error("Unsupported AWS 'algorithm': '{0}'.")]
    Algorithm(String),
    /// The credential has not as many parts as it must have.
    #[error("Credential must have exactly {wanted} slash-delimited elements, e.g. {example}, got '{got}'.")]
    Credential {
        /// How many there must be.
        wanted: usize,
        /// How it looks.
        example: &'static str,
        /// What came.
        got: String,
    },
    /// The access key id has characters that no id has, or too many.
    #[error("the access key id '{0}' is none: 1 to 128 letters, digits, '.', '_' and '-'")]
    AccessKeyId(String),
    /// The time is not in the basic format of ISO 8601.
    #[error("Date must be in ISO-8601 'basic format'. Got '{0}'. See http://en.wikipedia.org/wiki/ISO_8601")]
    Date(String),
    /// The list of signed header fields is not sorted, not in lower case or has no names.
    #[error("SignedHeaders must be lower-case names in ascending order, separated by ';', got '{0}'.")]
    SignedHeaders(String),
    /// `host` is not signed.
    #[error("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")]
    HostNotSigned,
    /// The time of the request comes from a field that is not signed.
    #[error("'Date' must be a 'SignedHeader' in the AWS Authorization when there is no 'X-Amz-Date'.")]
    DateNotSigned,
    /// The signature has not the form that the algorithm makes.
    #[error("Signature must be {0}.")]
    Signature(&'static str),
    /// The life of a presigned request is no number of seconds from 1 to 604800.
    #[error("X-Amz-Expires must be a number of seconds from 1 to 604800, got '{0}'.")]
    Expires(String),
    /// The payload hash is neither a SHA-256 in hexadecimal digits nor `UNSIGNED-PAYLOAD`.
    #[error(
        "X-Amz-Content-Sha256 must be 64 lower-case hexadecimal digits or {UNSIGNED_PAYLOAD}, got '{0}'."
    )]
    PayloadHash(String),
    /// A percent sign in the query without two hexadecimal digits behind it.
    #[error("Illegal hex character in escape % pattern: '{0}'.")]
    Escape(String),
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
        }
    }
}

/// The beginning of a text from outside, for a message: up to 64 characters, control characters replaced.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars()
        .take(64)
        .map(|one| if one.is_control() { '?' } else { one })
        .collect()
}
