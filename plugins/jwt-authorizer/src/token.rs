//! The compact serialization of a JWS (RFC 7515 section 3.1) that carries a JWT (RFC 7519 section 7.2): parsed, nothing verified yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    refusal::{Refusal, excerpt},
    strict_json,
};

/// Longest `kid` in bytes; longer ones are refused before any key is looked up.
const KID_LIMIT: usize = 256;

const MALFORMED: &str = "the token is malformed";

/// A token as the caller sent it. Nothing in it may be believed before the signature was verified.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    /// `alg` of the header.
    pub algorithm: String,
    /// `kid` of the header.
    pub kid: Option<String>,
    /// `typ` of the header.
    pub typ: Option<String>,
    /// The payload.
    pub claims: Map<String, Value>,
    /// What was signed: header and payload, still encoded (RFC 7515 section 5.2).
    pub signed: &'a str,
    /// The signature or MAC.
    pub signature: Vec<u8>,
}

/// Parses a token of at most `limit` bytes.
///
/// # Errors
/// The token is too long, encrypted, not a compact JWS with JSON objects as header and payload, or uses `crit`.
pub fn parse(text: &str, limit: usize) -> Result<Token<'_>, Refusal> {
    if text.len() > limit {
        let detail = format!("token of {} bytes exceeds max-token-bytes {limit}", text.len());
        return Err(Refusal::token("the token is too large", detail));
    }
    let (signed, header, payload, signature) = split(text)?;
    let header = object(header, "header")?;
    // RFC 7515 section 4.1.11: an extension that is critical and not understood makes the token invalid. None is understood here.
    if header.contains_key("crit") {
        return Err(Refusal::token(
            "the token uses an unsupported extension",
            "header has crit, which is not supported",
        ));
    }
    let Some(algorithm) = text_member(&header, "alg")? else {
        return Err(Refusal::token(MALFORMED, "header has no alg"));
    };
    let kid = text_member(&header, "kid")?;
    if let Some(kid) = &kid
        && kid.len() > KID_LIMIT
    {
        let detail = format!("kid of {} bytes exceeds {KID_LIMIT}", kid.len());
        return Err(Refusal::token(MALFORMED, detail));
    }
    let typ = text_member(&header, "typ")?;
    let claims = object(payload, "payload")?;
    let signature = decode(signature, "signature")?;
    if signature.is_empty() {
        return Err(Refusal::token(
            "the token is not signed",
            format!("empty signature, alg {:?}", excerpt(&algorithm)),
        ));
    }
    Ok(Token {
        algorithm,
        kid,
        typ,
        claims,
        signed,
        signature,
    })
}

/// Splits into (signed part, header, payload, signature).
fn split(text: &str) -> Result<(&str, &str, &str, &str), Refusal> {
    let malformed = |detail: String| Err(Refusal::token(MALFORMED, detail));
    match text.bytes().filter(|byte| *byte == b'.').count() {
        2 => {}
        4 => {
            let detail =
                "five segments: this is an encrypted token (JWE); only signed tokens (JWS) are accepted";
            return Err(Refusal::token("encrypted tokens are not supported", detail));
        }
        _ if text.starts_with('{') => {
            return malformed("JSON serialization of a JWS; only the compact one is accepted".into());
        }
        dots => return malformed(format!("{} segments instead of three", dots + 1)),
    }
    let Some((signed, signature)) = text.rsplit_once('.') else {
        return malformed("no signature segment".into());
    };
    let Some((header, payload)) = signed.split_once('.') else {
        return malformed("no payload segment".into());
    };
    Ok((signed, header, payload, signature))
}

/// Strict base64url: no padding, no white space, no left-over bits (RFC 7515 section 2).
fn decode(segment: &str, name: &str) -> Result<Vec<u8>, Refusal> {
    let refuse = |error| {
        Refusal::token(
            MALFORMED,
            format!("{name} is no base64url without padding: {error}"),
        )
    };
    URL_SAFE_NO_PAD.decode(segment).map_err(refuse)
}

fn object(segment: &str, name: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = decode(segment, name)?;
    strict_json::object(&bytes).map_err(|error| Refusal::token(MALFORMED, format!("{name}: {error}")))
}

fn text_member(header: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            let detail = format!(
                "header: {name} is {} instead of a string",
                strict_json::kind(other)
            );
            Err(Refusal::token(MALFORMED, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compact(header: &str, payload: &str, signature: &[u8]) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!(
            "{}.{}.{}",
            encode(header.as_bytes()),
            encode(payload.as_bytes()),
            encode(signature)
        )
    }

    fn detail(text: &str) -> String {
        parse(text, 8192).unwrap_err().detail
    }

    #[test]
    fn a_compact_jws_is_split_into_its_parts() {
        let text = compact(
            r#"{"alg":"ES256","kid":"a","typ":"JWT"}"#,
            r#"{"sub":"ada"}"#,
            &[1, 2],
        );
        let token = parse(&text, 8192).unwrap();
        assert_eq!(
            (
                token.algorithm.as_str(),
                token.kid.as_deref(),
                token.typ.as_deref()
            ),
            ("ES256", Some("a"), Some("JWT"))
        );
        assert_eq!(token.claims["sub"], "ada");
        assert_eq!(token.signature, [1, 2]);
        assert_eq!(token.signed, text.rsplit_once('.').unwrap().0);
    }

    #[test]
    fn what_is_no_compact_jws_is_refused_with_the_reason() {
        let good = compact(r#"{"alg":"ES256"}"#, "{}", &[1, 2, 3, 4]);
        assert!(parse(&good, good.len()).is_ok());
        assert!(
            parse(&good, good.len() - 1)
                .unwrap_err()
                .detail
                .contains("exceeds max-token-bytes")
        );
        assert!(detail("").contains("1 segments"));
        assert!(detail("..").contains("header"));
        assert!(detail("a.b").contains("2 segments"));
        assert!(detail("a.b.c.d.e").contains("JWE"));
        assert!(detail(r#"{"payload":"e30","signature":""}"#).contains("JSON serialization"));
        assert!(detail(&format!("{good}==")).contains("signature is no base64url"));
        assert!(detail(&good.replace('.', "=.")).contains("header is no base64url"));
        assert!(detail(&format!(" {good}")).contains("header is no base64url"));
        assert!(detail(&format!("{good}ü")).contains("signature is no base64url"));
        // "AR" decodes to one byte with bits left over: two texts for one signature must not exist
        assert!(detail(&format!("{}.AR", good.rsplit_once('.').unwrap().0)).contains("signature"));
        assert!(detail(&compact(r#"{"alg":"none"}"#, "{}", &[])).contains("empty signature"));
        assert!(
            detail(&compact(
                r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
                "{}",
                &[1]
            ))
            .contains("crit")
        );
        assert!(detail(&compact(r#"{"alg":"ES256","alg":"none"}"#, "{}", &[1])).contains("occurs twice"));
        assert!(
            detail(&compact(r#"{"alg":"ES256"}"#, r#"{"aud":"a","aud":"b"}"#, &[1]))
                .contains("payload: member")
        );
        assert!(detail(&compact(r#"{"kid":"a"}"#, "{}", &[1])).contains("no alg"));
        assert!(detail(&compact(r#"{"alg":1}"#, "{}", &[1])).contains("alg is a number"));
        assert!(detail(&compact(r#"{"alg":"ES256","kid":{}}"#, "{}", &[1])).contains("kid is an object"));
        assert!(
            detail(&compact(r#"{"alg":"ES256"}"#, "[]", &[1])).contains("payload: expected a JSON object")
        );
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
        assert!(detail(&compact(&long, "{}", &[1])).contains("kid of 257 bytes"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _outcome = parse(&text, 1024).is_ok();
        }

        #[test]
        fn no_bytes_in_three_segments_make_the_parser_panic(
            header in proptest::collection::vec(any::<u8>(), 0..80),
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let text = [header, payload, signature].map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).join(".");
            let _outcome = parse(&text, 1024).is_ok();
        }

        #[test]
        fn a_truncated_token_is_refused_or_has_another_signature(cut in 1usize..80) {
            let good = compact(r#"{"alg":"ES256","kid":"abc"}"#, r#"{"sub":"ada","n":[1,2]}"#, &[7; 64]);
            let short = &good[..good.len().saturating_sub(cut)];
            if let Ok(token) = parse(short, 8192) {
                prop_assert!(token.signature.len() < 64);
            }
        }
    }
}
