//! Tokens of the admin API. One is `edgw_` and 47 of a-z and 2-7: an id (8), a secret (32: 160 random bits), and a checksum (7) by which programs that look
//! for lost secrets can tell one from other text: the first 35 bits of the SHA-256 of all before it. Kept is the HMAC-SHA-256 of the whole.

use aws_lc_rs::{digest, hmac, rand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::parse_rfc3339;

/// How every token begins.
pub(crate) const PREFIX: &str = "edgw_";
/// Most tokens of a principal.
pub(crate) const TOKENS_MAX: usize = 50;
/// RFC 4648 section 6, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID: usize = 8;
const SECRET: usize = 32;
const CHECK: usize = 7;

/// A token, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Token {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Until when it is good, RFC 3339.
    pub expires_at: String,
    /// Who made it.
    pub created_by: String,
    /// Beginning of its SHA-256, by which its holder can tell it.
    pub fingerprint: String,
    /// HMAC of its text, in hex. Never shown.
    pub mac: String,
}

impl Token {
    /// Whether it is good no more. So is one whose end cannot be read.
    pub(crate) fn has_expired(&self, now_ms: i64) -> bool {
        parse_rfc3339(&self.expires_at).is_none_or(|end| end <= now_ms)
    }
}

/// A token that was just made.
pub(crate) struct Fresh {
    /// Its name.
    pub(crate) id: String,
    /// All of it: told once.
    pub(crate) text: String,
}

/// Makes a token; `None` when the system has no random numbers.
pub(crate) fn make() -> Option<Fresh> {
    let mut random = [0; ID + SECRET];
    rand::fill(&mut random).ok()?;
    let body: String = random.iter().map(|&byte| letter(byte)).collect();
    let id = body.get(..ID)?.to_owned();
    let start = format!("{PREFIX}{body}");
    Some(Fresh {
        id,
        text: format!("{start}{}", checksum(&start)),
    })
}

/// The letter of the low 5 bits.
fn letter(bits: u8) -> char {
    ALPHABET
        .get(usize::from(bits & 31))
        .map_or('a', |&byte| char::from(byte))
}

fn checksum(start: &str) -> String {
    let hash = digest::digest(&digest::SHA256, start.as_bytes());
    let bits = hash
        .as_ref()
        .iter()
        .take(5)
        .fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    (0..CHECK)
        .map(|index| letter(u8::try_from(bits >> (35 - 5 * index) & 31).unwrap_or(0)))
        .collect()
}

/// The id in a token; `None` for what was never one.
pub(crate) fn id(text: &str) -> Option<&str> {
    let body = text.strip_prefix(PREFIX)?;
    if body.len() != ID + SECRET + CHECK || !body.bytes().all(|byte| ALPHABET.contains(&byte)) {
        return None;
    }
    let (start, check) = text.split_at_checked(text.len() - CHECK)?;
    (checksum(start) == check).then(|| body.get(..ID)).flatten()
}

/// What is kept of a token.
pub(crate) fn mac(key: &[u8; 32], text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hex(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// Whether a text is the token of which a MAC was kept. Takes as long for every text.
pub(crate) fn is_of(key: &[u8; 32], text: &str, kept: &str) -> bool {
    let made = mac(key, text);
    aws_lc_rs::constant_time::verify_slices_are_equal(made.as_bytes(), kept.as_bytes()).is_ok()
}

/// The beginning of a token's SHA-256.
pub(crate) fn fingerprint(text: &str) -> String {
    format!("sha256:{}", edgeward_runtime::digest(text.as_bytes()).short())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing to a String cannot fail
        let _unused = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_text_only() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one.text, other.text);
        assert_eq!(id(&one.text), Some(one.id.as_str()));
        assert!(
            one.text.starts_with("edgw_") && one.text.len() == 52,
            "{}",
            one.text
        );
        let key = [1; 32];
        let kept = mac(&key, &one.text);
        assert!(is_of(&key, &one.text, &kept));
        assert!(!is_of(&key, &other.text, &kept));
        assert!(!is_of(&[2; 32], &one.text, &kept), "another gateway's key");
        assert!(!is_of(&key, &one.text, "") && !kept.contains(&one.text));
    }

    #[test]
    fn the_checksum_tells_tokens_from_other_text() {
        let text = format!("edgw_{}", "a".repeat(40));
        // as anybody can compute it: base32(sha256(...))[..7]
        assert_eq!(checksum(&text), "tqav3yc");
        let token = format!("{text}{}", checksum(&text));
        assert_eq!(id(&token), Some("aaaaaaaa"));
        for wrong in [
            token.replacen('a', "b", 1),
            token.to_uppercase(),
            token[..51].to_owned(),
            format!("{token}a"),
            token.replace("edgw_", "edgx_"),
            "edgw_".to_owned(),
            String::new(),
            format!("edgw_{}é", "a".repeat(45)),
        ] {
            assert_eq!(id(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let token = |end: &str| Token {
            description: None,
            expires_at: end.to_owned(),
            created_by: String::new(),
            fingerprint: String::new(),
            mac: String::new(),
        };
        let end = token("1970-01-01T00:00:01.000Z");
        assert!(!end.has_expired(999) && end.has_expired(1000));
        assert!(token("soon").has_expired(0));
    }
}
