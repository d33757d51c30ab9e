//! What a request claims: the credentials in its `Authorization` field or its query, read strictly. Nothing is verified here but form.

use crate::{
    Algorithm, Credential, Mac, Malformed, PathStyle, Query, Request, Timestamp, UNSIGNED_PAYLOAD, Verify,
    canonical_request, fixed_signature, from_hex, malformed::excerpt, signing_key, string_to_sign,
};

/// Longest `Authorization` field in bytes, and longest list of signed header fields in a query.
pub const AUTHORIZATION_LIMIT: usize = 8192;

const ALGORITHM: &str = "X-Amz-Algorithm";
const CREDENTIAL: &str = "X-Amz-Credential";
const DATE: &str = "X-Amz-Date";
const EXPIRES: &str = "X-Amz-Expires";
const SIGNED_HEADERS: &str = "X-Amz-SignedHeaders";
pub(crate) const SIGNATURE: &str = "X-Amz-Signature";
pub(crate) const SECURITY_TOKEN: &str = "X-Amz-Security-Token";
const REGION_SET: &str = "X-Amz-Region-Set";
const CONTENT_SHA256: &str = "X-Amz-Content-Sha256";

/// Longest life of a presigned request in seconds: a week.
const EXPIRES_LIMIT: u64 = 604_800;

/// Where the credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header field.
    Header,
    /// In the query: a presigned URL.
    Query,
}

/// What the client says about the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: the hash of the body that comes is signed.
    Unsaid,
    /// Its SHA-256 in lower-case hexadecimal digits, which is signed and must be that of the body.
    Sha256(String),
    /// That it is not signed.
    Unsigned,
}

/// The credentials of a request and what belongs to them.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Where they are.
    pub form: Form,
    /// How the request is signed.
    pub algorithm: Algorithm,
    /// Who signed, and for what.
    pub credential: Credential,
    /// When the client signed.
    pub time: Timestamp,
    /// How long a presigned request lives in seconds, 1 to 604800; none when it does not say.
    pub expires: Option<u64>,
    /// Names of the signed header fields: lower case, ascending, `host` among them.
    pub signed_headers: Vec<String>,
    /// The signature: 32 bytes of a MAC, or 64 bytes `r || s`.
    pub signature: Vec<u8>,
    /// The regions that Signature Version 4a is for.
    pub region_set: Option<String>,
    /// The session token that came along.
    pub session_token: Option<String>,
    /// What the client says about the body.
    pub payload: Payload,
    query: Query,
}

impl Presented {
    /// Reads the credentials of a request; none when it has none.
    ///
    /// # Errors
    /// The request claims to be signed, but not in a way that has exactly one meaning.
    pub fn read(request: &Request<'_>) -> Result<Option<Self>, Malformed> {
        let authorization =
            single(request, "authorization", "Authorization")?.filter(|value| !value.is_empty());
        match (authorization, in_query(request.query)) {
            (None, false) => Ok(None),
            (Some(_), true) => Err(Malformed::BothForms),
            (Some(value), false) => Self::from_header(request, value).map(Some),
            (None, true) => Self::from_query(request).map(Some),
        }
    }

    fn from_header(request: &Request<'_>, authorization: &str) -> Result<Self, Malformed> {
        limit("Authorization", authorization)?;
        let (algorithm, rest) = authorization
            .split_once([' ', '\t'])
            .unwrap_or((authorization, ""));
        let [mut credential, mut signature, mut signed_headers] = [None; 3];
        let mut unknown = None;
        for part in rest.split(',').flat_map(str::split_ascii_whitespace) {
            let (name, value) = part.split_once('=').ok_or(Malformed::NotAPair)?;
            let (name, place) = match name {
                "Credential" => ("Credential", &mut credential),
                "Signature" => ("Signature", &mut signature),
                "SignedHeaders" => ("SignedHeaders", &mut signed_headers),
                other => {
                    unknown = unknown.or(Some(other));
                    continue;
                }
            };
            if place.replace(value).is_some() {
                return Err(Malformed::Repeated(name));
            }
        }
        let amz_date = single(request, "x-amz-date", DATE)?;
        let date = match amz_date {
            None => single(request, "date", "Date")?,
            some => some,
        };
        let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (credential, signature, signed_headers, date)
        else {
            let parts = [
                ("Credential", credential),
                ("Signature", signature),
                ("SignedHeaders", signed_headers),
                (DATE, date),
            ];
            return Err(missing(Form::Header, &parts));
        };
        if let Some(other) = unknown {
            return Err(Malformed::Unknown(excerpt(other)));
        }
        let algorithm = Algorithm::parse(algorithm)?;
        let time = Timestamp::parse_basic(date)
            .or_else(|| Timestamp::parse_http(date).filter(|_| amz_date.is_none()))
            .ok_or_else(|| Malformed::Date(excerpt(date)))?;
        let signed_headers = signed_header_names(signed_headers)?;
        if amz_date.is_none() && !signed_headers.iter().any(|name| name == "date") {
            return Err(Malformed::DateNotSigned);
        }
        Ok(Self {
            form: Form::Header,
            algorithm,
            credential: Credential::parse(credential, algorithm)?,
            time,
            expires: None,
            signed_headers,
            signature: signature_bytes(algorithm, signature)?,
            region_set: region_set(
                algorithm,
                Form::Header,
                single(request, "x-amz-region-set", REGION_SET)?,
            )?,
            session_token: owned(single(request, "x-amz-security-token", SECURITY_TOKEN)?),
            payload: payload(single(request, "x-amz-content-sha256", CONTENT_SHA256)?)?,
            query: Query::parse(request.query)?,
        })
    }

    fn from_query(request: &Request<'_>) -> Result<Self, Malformed> {
        let query = Query::parse(request.query)?;
        let (algorithm, credential) = (query.single(ALGORITHM)?, query.single(CREDENTIAL)?);
        let (signature, signed_headers) = (query.single(SIGNATURE)?, query.single(SIGNED_HEADERS)?);
        let date = query.single(DATE)?;
        let (Some(algorithm), Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (algorithm, credential, signature, signed_headers, date)
        else {
            let parts = [
                (ALGORITHM, algorithm),
                (CREDENTIAL, credential),
                (SIGNATURE, signature),
                (SIGNED_HEADERS, signed_headers),
                (DATE, date),
            ];
            return Err(missing(Form::Query, &parts));
        };
        limit(SIGNED_HEADERS, signed_headers)?;
        let algorithm = Algorithm::parse(algorithm)?;
        let time = Timestamp::parse_basic(date).ok_or_else(|| Malformed::Date(excerpt(date)))?;
        let token = either(request, &query, "x-amz-security-token", SECURITY_TOKEN)?;
        let said = either(request, &query, "x-amz-content-sha256", CONTENT_SHA256)?;
        Ok(Self {
            form: Form::Query,
            algorithm,
            credential: Credential::parse(credential, algorithm)?,
            time,
            expires: query.single(EXPIRES)?.map(seconds).transpose()?,
            signed_headers: signed_header_names(signed_headers)?,
            signature: signature_bytes(algorithm, signature)?,
            region_set: region_set(algorithm, Form::Query, query.single(REGION_SET)?)?,
            session_token: token,
            payload: payload(said.as_deref())?,
            query,
        })
    }

    /// Names of the header fields that begin with `x-amz-`, were sent and are not signed, without `x-amz-security-token`: a session token
    /// may be added after signing and is compared with the one that belongs to the key.
    pub fn unsigned_amz_headers<'r>(&self, request: &Request<'r>) -> impl Iterator<Item = &'r str> {
        let names = request.headers.iter().map(|(name, _)| *name);
        names.filter(|name| {
            name.starts_with("x-amz-")
                && *name != "x-amz-security-token"
                && !self.signed_headers.iter().any(|signed| signed == name)
        })
    }

    /// Names of the header fields that are signed and were not sent.
    pub fn absent_headers<'s>(&'s self, request: &Request<'s>) -> impl Iterator<Item = &'s str> {
        let (names, request) = (self.signed_headers.iter().map(String::as_str), *request);
        names.filter(move |name| *name != "host" && request.values(name).next().is_none())
    }

    /// The canonical requests that the client may have signed: one, and for a presigned request with a session token a second one without the
    /// token, which some clients add after signing.
    #[must_use]
    pub fn canonical_requests(
        &self,
        request: &Request<'_>,
        payload_hash: &str,
        style: PathStyle,
    ) -> Vec<Vec<u8>> {
        let ways: &[&[&str]] = match (self.form, &self.session_token) {
            (Form::Header, _) => &[&[]],
            (Form::Query, None) => &[&[SIGNATURE]],
            (Form::Query, Some(_)) => &[&[SIGNATURE], &[SIGNATURE, SECURITY_TOKEN]],
        };
        ways.iter()
            .map(|without| {
                let query = self.query.canonical(without);
                canonical_request(request, &query, &self.signed_headers, payload_hash, style)
            })
            .collect()
    }

    /// The string to sign for a canonical request.
    #[must_use]
    pub fn string_to_sign(&self, canonical_request: &[u8], crypto: &impl Mac) -> String {
        string_to_sign(
            self.algorithm,
            self.time,
            &self.credential.scope(),
            canonical_request,
            crypto,
        )
    }

    /// True when the signature is a MAC of the string with a key made of the secret, for the credential's own scope. False for Signature
    /// Version 4a.
    #[must_use]
    pub fn is_signed_with_secret(&self, secret: &str, string_to_sign: &str, crypto: &impl Verify) -> bool {
        let Credential {
            date,
            region: Some(region),
            service,
            ..
        } = &self.credential
        else {
            return false;
        };
        let key = signing_key(secret, date, region, service, crypto);
        crypto.hmac_sha256_is(&key, string_to_sign.as_bytes(), &self.signature)
    }

    /// True when the signature is one of the string with the private half of a P-256 key. False for Signature Version 4.
    ///
    /// # Errors
    /// The key is no point of the curve.
    pub fn is_signed_with_key(
        &self,
        public_key: &[u8],
        string_to_sign: &str,
        crypto: &impl Verify,
    ) -> Result<bool, String> {
        match self.algorithm {
            Algorithm::HmacSha256 => Ok(false),
            Algorithm::EcdsaP256Sha256 => {
                crypto.ecdsa_p256_is(public_key, string_to_sign.as_bytes(), &self.signature)
            }
        }
    }
}

/// True when a query has one of the parameters that only a presigned request has. Clients write these names as they are.
fn in_query(query: &str) -> bool {
    query
        .split('&')
        .map(|part| part.split_once('=').map_or(part, |(name, _)| name))
        .any(|name| [ALGORITHM, CREDENTIAL, SIGNATURE].contains(&name))
}

/// The one value of a header field as text.
fn single<'a>(
    request: &Request<'a>,
    name: &'a str,
    shown: &'static str,
) -> Result<Option<&'a str>, Malformed> {
    let mut values = request.values(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Malformed::Repeated(shown));
    }
    let text = std::str::from_utf8(value).map_err(|_not_text| Malformed::NotText(shown))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// The value of a query parameter, or else of the header field of the same name; not both.
fn either(
    request: &Request<'_>,
    query: &Query,
    name: &str,
    shown: &'static str,
) -> Result<Option<String>, Malformed> {
    match (query.single(shown)?, single(request, name, shown)?) {
        (Some(_), Some(_)) => Err(Malformed::Repeated(shown)),
        (one, other) => Ok(owned(one.or(other))),
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn limit(what: &'static str, text: &str) -> Result<(), Malformed> {
    if text.len() <= AUTHORIZATION_LIMIT {
        return Ok(());
    }
    Err(Malformed::TooLong {
        what,
        bytes: text.len(),
        limit: AUTHORIZATION_LIMIT,
    })
}

fn missing(form: Form, parts: &[(&'static str, Option<&str>)]) -> Malformed {
    let absent = parts.iter().filter(|(_, value)| value.is_none());
    Malformed::Missing {
        form,
        names: absent.map(|(name, _)| *name).collect(),
    }
}

fn signed_header_names(text: &str) -> Result<Vec<String>, Malformed> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let is_name = |name: &String| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(|byte| token(byte) && !byte.is_ascii_uppercase())
    };
    if !names.iter().all(is_name) || !names.is_sorted_by(|one, next| one < next) {
        return Err(Malformed::SignedHeaders(excerpt(text)));
    }
    if !names.iter().any(|name| name == "host") {
        return Err(Malformed::HostNotSigned);
    }
    Ok(names)
}

fn signature_bytes(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, Malformed> {
    let bytes = from_hex(text);
    match algorithm {
        Algorithm::HmacSha256 => bytes
            .filter(|bytes| bytes.len() == 32)
            .ok_or(Malformed::Signature("64 lower-case hexadecimal digits")),
        Algorithm::EcdsaP256Sha256 => bytes
            .and_then(|bytes| fixed_signature(&bytes))
            .map(|fixed| fixed.to_vec())
            .ok_or(Malformed::Signature(
                "an ECDSA signature in DER, in lower-case hexadecimal digits",
            )),
    }
}

fn region_set(algorithm: Algorithm, form: Form, set: Option<&str>) -> Result<Option<String>, Malformed> {
    match (algorithm, set) {
        (Algorithm::EcdsaP256Sha256, None) => Err(missing(form, &[(REGION_SET, None)])),
        (Algorithm::EcdsaP256Sha256, Some(set)) => Ok(Some(set.to_owned())),
        (Algorithm::HmacSha256, _) => Ok(None),
    }
}

fn payload(said: Option<&str>) -> Result<Payload, Malformed> {
    match said {
        None => Ok(Payload::Unsaid),
        Some(UNSIGNED_PAYLOAD) => Ok(Payload::Unsigned),
        Some(hash) if from_hex(hash).is_some_and(|bytes| bytes.len() == 32) => {
            Ok(Payload::Sha256(hash.to_owned()))
        }
        Some(other) => Err(Malformed::PayloadHash(excerpt(other))),
    }
}

fn seconds(text: &str) -> Result<u64, Malformed> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number
        .filter(|number| (1..=EXPIRES_LIMIT).contains(number))
        .ok_or_else(|| Malformed::Expires(excerpt(text)))
}
