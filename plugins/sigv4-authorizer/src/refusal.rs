//! Why a caller is refused: one text for the operator's log, exact, and what the caller is told, which is what Amazon API Gateway says or next
//! to nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_sigv4::{Form, HostCrypto, Mac as _, Malformed};

/// Class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not signed.
    NoCredentials,
    /// It claims to be signed, but cannot be read.
    Incomplete,
    /// The signature does not hold: wrong, too old, too new, used before.
    Signature,
    /// The signature is for another region, service or day.
    Scope,
    /// Nobody knows the key, or the session token is not the one of the key.
    Token,
    /// The key has ended.
    ExpiredToken,
    /// Keys cannot be had now, so nothing can be said about the signature.
    Unavailable,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class: decides status and type.
    pub kind: Kind,
    /// What AWS says.
    pub aws: String,
    /// For the caller when AWS is not imitated.
    pub public: &'static str,
    /// For the operator's log.
    pub detail: String,
}

impl Kind {
    /// Status code in the manner of AWS.
    #[must_use]
    pub fn aws_status(self) -> u16 {
        if self == Self::Unavailable { 503 } else { 403 }
    }

    /// Value of the header field `x-amzn-ErrorType`.
    #[must_use]
    pub fn aws_type(self) -> &'static str {
        match self {
            Self::NoCredentials => "MissingAuthenticationTokenException",
            Self::Incomplete => "IncompleteSignatureException",
            Self::Signature | Self::Scope => "InvalidSignatureException",
            Self::Token => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::Unavailable => "ServiceUnavailableException",
        }
    }

    /// Status code otherwise.
    #[must_use]
    pub fn plain_status(self) -> u16 {
        match self {
            Self::Scope => 403,
            Self::Unavailable => 503,
            _ => 401,
        }
    }
}

/// What callers are told whose key is unknown, whose token is wrong and whose signature is wrong: which it is, is not their business.
const NO_MATCH: &str = "the signature does not match";

impl Refusal {
    /// The request is not signed.
    pub fn no_credentials(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::NoCredentials,
            aws: "Missing Authentication Token".into(),
            public: "a signed request is required",
            detail: detail.into(),
        }
    }

    /// The request cannot be read. `authorization` is the field as it came; AWS tells its hash and not its value.
    pub fn malformed(error: &Malformed, authorization: &[u8]) -> Self {
        let hash = || STANDARD.encode(HostCrypto.sha256(authorization));
        let aws = match error {
            Malformed::NotAPair => format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '{}'.",
                hash()
            ),
            Malformed::Missing {
                form: Form::Header,
                names,
            } => {
                let texts: String = names.iter().map(|name| header_requires(name)).collect();
                format!(
                    "{texts}(Hashed with SHA-256 and encoded with Base64) Authorization={}",
                    hash()
                )
            }
            Malformed::Missing {
                form: Form::Query,
                names,
            } => {
                let texts = names
                    .iter()
                    .map(|name| format!("AWS query-string parameters must include '{name}'. "));
                format!(
                    "{}Re-examine the query-string parameters.",
                    texts.collect::<String>()
                )
            }
            other => other.to_string(),
        };
        let kind = match error {
            Malformed::BothForms | Malformed::HostNotSigned | Malformed::DateNotSigned => Kind::Signature,
            _ => Kind::Incomplete,
        };
        Self {
            kind,
            aws,
            public: "the signature of the request cannot be read",
            detail: error.to_string(),
        }
    }

    /// An algorithm that is not accepted here.
    pub fn algorithm(name: &str, accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        Self {
            kind: Kind::Incomplete,
            aws: format!("Unsupported AWS 'algorithm': '{name}' (only {accepted} for now)."),
            public: "the algorithm is not accepted",
            detail: format!("algorithm {name} is not in `algorithms`"),
        }
    }

    /// The signature is too old, too new or lives too long.
    pub fn time(aws: String, public: &'static str, detail: String) -> Self {
        Self {
            kind: Kind::Signature,
            aws,
            public,
            detail,
        }
    }

    /// The credential scope does not fit.
    pub fn scope(aws: String, id: &str) -> Self {
        Self {
            kind: Kind::Scope,
            detail: format!("key {id}: {aws}"),
            aws,
            public: "the signature is for another service, region or day",
        }
    }

    /// Something that must be signed is not, or is not what was signed.
    pub fn unsigned(aws: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Signature,
            aws: aws.into(),
            public: "the signature does not cover the whole request",
            detail: detail.into(),
        }
    }

    /// A key that nobody knows, or a token that is not the one of the key.
    pub fn token(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Token,
            aws: "The security token included in the request is invalid.".into(),
            public: NO_MATCH,
            detail: detail.into(),
        }
    }

    /// A key that has ended.
    pub fn expired_token(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::ExpiredToken,
            aws: "The security token included in the request is expired".into(),
            public: "the credentials have expired",
            detail: detail.into(),
        }
    }

    /// A signature that is wrong. AWS tells what should have been signed, which the client knows but for mistakes: it is its own request.
    pub fn mismatch(canonical_request: &[u8], string_to_sign: &str, detail: impl Into<String>) -> Self {
        let canonical = String::from_utf8_lossy(canonical_request);
        let aws = format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
             method. Consult the service documentation for details.\n\nThe Canonical String for this request should have \
             been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n"
        );
        Self {
            kind: Kind::Signature,
            aws,
            public: NO_MATCH,
            detail: detail.into(),
        }
    }

    /// A request that came before.
    pub fn replayed(id: &str) -> Self {
        Self {
            kind: Kind::Signature,
            aws: "The request was received before. Sign it again.".into(),
            public: "the request was received before",
            detail: format!("key {id}: the signature was used before"),
        }
    }

    /// Keys that cannot be had.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unavailable,
            aws: "Service Unavailable".into(),
            public: "the signature cannot be checked at the moment",
            detail: detail.into(),
        }
    }
}

fn header_requires(name: &str) -> String {
    match name {
        "X-Amz-Date" => {
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ".into()
        }
        "X-Amz-Region-Set" => {
            "Authorization header requires existence of a 'X-Amz-Region-Set' header. ".into()
        }
        name => format!("Authorization header requires '{name}' parameter. "),
    }
}
