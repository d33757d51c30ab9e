//! Signing of outgoing requests with Signature Version 4.

use crate::{
    Algorithm, Credential, Mac, Malformed, PathStyle, Query, Request, TERMINATOR, Timestamp,
    canonical_request,
    presented::{SECURITY_TOKEN, SIGNATURE},
    signing_key, string_to_sign, to_hex,
};

/// Fields that proxies and clients change on the way, and those of the signature itself: they are not signed.
const NOT_SIGNED: [&str; 11] = [
    "authorization",
    "connection",
    "expect",
    "host", // comes from the request's authority
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// Signs requests for one service in one region.
///
/// ```
/// # use edgeward_sigv4::{EMPTY_SHA256, HostCrypto, PathStyle, Request, Signer, Timestamp};
/// let signer = Signer {
///     access_key_id: "AKIDEXAMPLE",
///     secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
///     session_token: None,
///     sign_token: true,
///     region: "us-east-1",
///     service: "service",
///     style: PathStyle::default(),
///     send_payload_hash: false,
/// };
/// let request = Request { method: "GET", path: "/", query: "", host: "example.amazonaws.com", headers: &[] };
/// let time = Timestamp::parse_basic("20150830T123600Z").unwrap();
/// let added = signer.headers(&request, EMPTY_SHA256, time, &HostCrypto).unwrap();
/// assert_eq!(added[0], ("x-amz-date".to_owned(), "20150830T123600Z".to_owned()));
/// assert!(added[1].1.ends_with("Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
/// ```
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// Access key id.
    pub access_key_id: &'a str,
    /// Secret access key.
    pub secret: &'a str,
    /// Session token of temporary credentials.
    pub session_token: Option<&'a str>,
    /// The session token is signed; false for the few services that want it added after signing.
    pub sign_token: bool,
    /// Region, e.g. `us-east-1`.
    pub region: &'a str,
    /// Service, e.g. `lambda`.
    pub service: &'a str,
    /// How the path is written.
    pub style: PathStyle,
    /// [`Signer::headers`] adds `x-amz-content-sha256`.
    pub send_payload_hash: bool,
}

impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Signer<'_> {
    /// The header fields that sign a request: `x-amz-date`, `x-amz-security-token` and `x-amz-content-sha256` as needed, and
    /// `authorization` as the last one. All header fields of the request are signed but those that others on the way change; none of the
    /// fields that are added may be among them. `payload_hash` is the SHA-256 of the body in hexadecimal digits, or
    /// [`crate::UNSIGNED_PAYLOAD`].
    ///
    /// # Errors
    /// The query has a percent sign without two hexadecimal digits.
    pub fn headers(
        &self,
        request: &Request<'_>,
        payload_hash: &str,
        time: Timestamp,
        crypto: &impl Mac,
    ) -> Result<Vec<(String, String)>, Malformed> {
        let mut added = vec![("x-amz-date".to_owned(), time.basic())];
        if self.send_payload_hash {
            added.push(("x-amz-content-sha256".to_owned(), payload_hash.to_owned()));
        }
        let token = self
            .session_token
            .map(|token| ("x-amz-security-token".to_owned(), token.to_owned()));
        let (signed_token, later_token) = if self.sign_token {
            (token, None)
        } else {
            (None, token)
        };
        added.extend(signed_token);
        let mut headers = request.headers.to_vec();
        headers.extend(
            added
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        );
        let signed = names(&headers);
        let request = Request {
            headers: &headers,
            ..*request
        };
        let query = Query::parse(request.query)?.canonical(&[]);
        let canonical = canonical_request(&request, &query, &signed, payload_hash, self.style);
        let (scope, signature) = self.sign(&canonical, time, crypto);
        let (algorithm, id, signed) = (Algorithm::HmacSha256, self.access_key_id, signed.join(";"));
        let authorization =
            format!("{algorithm} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
        added.extend(later_token);
        added.push(("authorization".to_owned(), authorization));
        Ok(added)
    }

    /// The query of a presigned request, without `?`: that of the request and the credentials, valid for `expires` seconds (1 to 604800). The
    /// client has to send the header fields of the request as they are, too.
    ///
    /// # Errors
    /// The query has a percent sign without two hexadecimal digits.
    pub fn query(
        &self,
        request: &Request<'_>,
        payload_hash: &str,
        time: Timestamp,
        expires: u64,
        crypto: &impl Mac,
    ) -> Result<String, Malformed> {
        let signed = names(request.headers);
        let mut query = Query::parse(request.query)?;
        let credential = format!("{}/{}", self.access_key_id, self.scope(time));
        query.push("X-Amz-Algorithm", Algorithm::HmacSha256.name());
        query.push("X-Amz-Credential", &credential);
        query.push("X-Amz-Date", &time.basic());
        query.push("X-Amz-Expires", &expires.to_string());
        query.push("X-Amz-SignedHeaders", &signed.join(";"));
        if let Some(token) = self.session_token.filter(|_| self.sign_token) {
            query.push(SECURITY_TOKEN, token);
        }
        let canonical = canonical_request(request, &query.canonical(&[]), &signed, payload_hash, self.style);
        let (_, signature) = self.sign(&canonical, time, crypto);
        if let Some(token) = self.session_token.filter(|_| !self.sign_token) {
            query.push(SECURITY_TOKEN, token);
        }
        query.push(SIGNATURE, &signature);
        Ok(query.canonical(&[]))
    }

    fn scope(&self, time: Timestamp) -> String {
        let credential = Credential {
            access_key_id: String::new(),
            date: time.date(),
            region: Some(self.region.to_owned()),
            service: self.service.to_owned(),
            terminator: TERMINATOR.to_owned(),
        };
        credential.scope()
    }

    fn sign(&self, canonical: &[u8], time: Timestamp, crypto: &impl Mac) -> (String, String) {
        let scope = self.scope(time);
        let text = string_to_sign(Algorithm::HmacSha256, time, &scope, canonical, crypto);
        let key = signing_key(self.secret, &time.date(), self.region, self.service, crypto);
        let signature = to_hex(&crypto.hmac_sha256(&key, text.as_bytes()));
        (scope, signature)
    }
}

/// Names of the fields to sign, sorted, each once.
fn names(headers: &[(&str, &[u8])]) -> Vec<String> {
    let signed = headers.iter().map(|(name, _)| *name);
    let mut names: Vec<String> = signed
        .filter(|name| !NOT_SIGNED.contains(name))
        .map(str::to_owned)
        .collect();
    names.push("host".to_owned());
    names.sort_unstable();
    names.dedup();
    names
}
