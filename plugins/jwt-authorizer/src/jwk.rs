//! Keys: JSON Web Keys (RFC 7517) and what each of them may verify.
//!
//! The list of algorithms of a key is narrowed by its type, its curve, its size and its `alg`, `use` and `key_ops`; a token can only ever be
//! checked with an algorithm from that list. That is what keeps an RSA public key from being used as an HMAC secret (RFC 8725 section 3.1).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{algorithm::Algorithm, refusal::excerpt, strict_json};

/// Most keys of one set; a bigger set is refused as a whole.
pub const KEYS_LIMIT: usize = 100;
/// Largest JWKS document in bytes.
pub const DOCUMENT_LIMIT: usize = 512 * 1024;

/// Key material in the form the host's `crypto` takes.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// RSA public key: modulus and exponent, big-endian without leading zeros.
    Rsa {
        /// modulus
        n: Vec<u8>,
        /// public exponent
        e: Vec<u8>,
    },
    /// Uncompressed point `0x04 || x || y`.
    Ec(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
    /// Secret of a MAC.
    Secret(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::Ec(_) => "Ec",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "Secret(hidden)",
        })
    }
}

/// A key and what it may verify.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name of the key.
    pub kid: Option<String>,
    /// Algorithms it may be used with; never empty.
    pub algorithms: Vec<Algorithm>,
    /// The key itself.
    pub material: Material,
}

/// The usable keys of a JWKS, and why the others are not.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    /// Usable keys.
    pub keys: Vec<Key>,
    /// One sentence per key that was skipped.
    pub skipped: Vec<String>,
}

impl Key {
    /// A key for MACs from secret bytes.
    ///
    /// # Errors
    /// The secret is too short for every MAC.
    pub fn from_secret(kid: Option<String>, secret: Vec<u8>) -> Result<Self, String> {
        let fits = |algorithm: &Algorithm| secret.len() >= algorithm.min_secret_bytes();
        let algorithms: Vec<Algorithm> = Algorithm::HMAC.into_iter().filter(fits).collect();
        if algorithms.is_empty() {
            return Err(format!(
                "secret of {} bytes is too short: HS256 needs 32, HS384 48, HS512 64",
                secret.len()
            ));
        }
        Ok(Self {
            kid,
            algorithms,
            material: Material::Secret(secret),
        })
    }

    fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, String> {
        let kid = text(jwk, "kid")?.map(str::to_owned);
        let mut key = match text(jwk, "kty")?.ok_or("kty is missing")? {
            "RSA" => rsa(jwk)?,
            "EC" => ec(jwk)?,
            "OKP" => okp(jwk)?,
            "oct" => Self::from_secret(None, bytes(jwk, "k")?)?,
            other => return Err(format!("kty {:?} is not supported", excerpt(other))),
        };
        key.kid = kid;
        if let Some(usage) = text(jwk, "use")?
            && usage != "sig"
        {
            return Err(format!("use is {:?} instead of \"sig\"", excerpt(usage)));
        }
        if let Some(operations) = jwk.get("key_ops") {
            let operations = operations.as_array().ok_or("key_ops is no array")?;
            if !operations.iter().any(|operation| operation == "verify") {
                return Err("key_ops does not contain \"verify\"".into());
            }
        }
        if let Some(name) = text(jwk, "alg")? {
            let algorithm = Algorithm::from_name(name).ok_or_else(|| {
                format!(
                    "alg {:?} is no signature algorithm that is supported",
                    excerpt(name)
                )
            })?;
            if !key.algorithms.contains(&algorithm) {
                return Err(format!(
                    "alg {algorithm} does not fit the type, curve or size of the key"
                ));
            }
            key.algorithms = vec![algorithm];
        }
        Ok(key)
    }
}

impl KeySet {
    /// Reads a JWKS (RFC 7517 section 5). Keys that cannot verify signatures are skipped with a reason. Secrets (`oct`) are taken only
    /// where `secrets_allowed`: a secret in a public document or in the configuration text is no secret.
    ///
    /// # Errors
    /// The value is no JWKS or has more than [`KEYS_LIMIT`] keys.
    pub fn from_jwks(jwks: &Map<String, Value>, secrets_allowed: bool) -> Result<Self, String> {
        let mut set = Self::default();
        for (index, value) in entries(jwks)?.iter().enumerate() {
            match read_key(value, secrets_allowed) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set
                    .skipped
                    .push(format!("key {index}{} is skipped: {reason}", named(value))),
            }
        }
        Ok(set)
    }

    /// Reads the text of a JWKS.
    ///
    /// # Errors
    /// As [`KeySet::from_jwks`], or the text is too long or no JSON.
    pub fn parse(document: &[u8], secrets_allowed: bool) -> Result<Self, String> {
        Self::from_jwks(&read_document(document)?, secrets_allowed)
    }

    /// The keys that may check a token: those that fit the algorithm and carry the token's `kid`; keys without a name when none carries it
    /// (issuers with one key often name it in neither place). A token without `kid` may be checked by every key that fits.
    #[must_use]
    pub fn candidates(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<&Key> {
        let fits = || self.keys.iter().filter(|key| key.algorithms.contains(&algorithm));
        let Some(kid) = kid else { return fits().collect() };
        let named: Vec<&Key> = fits().filter(|key| key.kid.as_deref() == Some(kid)).collect();
        if named.is_empty() {
            fits().filter(|key| key.kid.is_none()).collect()
        } else {
            named
        }
    }
}

/// The usable keys of a public JWKS with the members that matter, to be stored. Certificate chains make the original many times larger.
///
/// # Errors
/// As [`KeySet::parse`], or no key is usable.
pub fn compact(document: &[u8]) -> Result<Value, String> {
    const MEMBERS: [&str; 10] = ["kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y"];
    let jwks = read_document(document)?;
    let mut kept = Vec::new();
    let mut skipped = Vec::new();
    for (index, value) in entries(&jwks)?.iter().enumerate() {
        match (read_key(value, false), value) {
            (Ok(_), Value::Object(jwk)) => {
                let members = MEMBERS
                    .iter()
                    .filter_map(|name| Some(((*name).to_owned(), jwk.get(*name)?.clone())));
                kept.push(Value::Object(members.collect()));
            }
            (Err(reason), _) => skipped.push(format!("key {index}{} is skipped: {reason}", named(value))),
            (Ok(_), _) => {}
        }
    }
    if kept.is_empty() {
        return Err(format!("no usable key: {}", skipped.join("; ")));
    }
    Ok(json!({ "keys": kept }))
}

fn read_document(document: &[u8]) -> Result<Map<String, Value>, String> {
    if document.len() > DOCUMENT_LIMIT {
        return Err(format!(
            "JWKS of {} bytes exceeds {DOCUMENT_LIMIT}",
            document.len()
        ));
    }
    strict_json::object(document).map_err(|error| format!("no JWKS: {error}"))
}

fn entries(jwks: &Map<String, Value>) -> Result<&Vec<Value>, String> {
    let keys = jwks
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("no JWKS: member keys is missing or no array")?;
    if keys.len() > KEYS_LIMIT {
        return Err(format!("JWKS with {} keys exceeds {KEYS_LIMIT}", keys.len()));
    }
    Ok(keys)
}

fn read_key(value: &Value, secrets_allowed: bool) -> Result<Key, String> {
    let jwk = value.as_object().ok_or("it is no object")?;
    if !secrets_allowed && jwk.get("kty").is_some_and(|kty| kty == "oct") {
        return Err(
            "kty \"oct\" is a secret and is taken only from a secret, with HS algorithms in `algorithms`"
                .into(),
        );
    }
    Key::from_jwk(jwk)
}

fn named(value: &Value) -> String {
    match value.get("kid").and_then(Value::as_str) {
        Some(kid) => format!(" (kid {:?})", excerpt(kid)),
        None => String::new(),
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!(
            "{name} is {} instead of a string",
            strict_json::kind(other)
        )),
    }
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let encoded = text(jwk, name)?.ok_or_else(|| format!("{name} is missing"))?;
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|error| format!("{name} is no base64url without padding: {error}"))
}

/// RFC 7518 section 6.3.1.
fn rsa(jwk: &Map<String, Value>) -> Result<Key, String> {
    let n = without_leading_zeros(bytes(jwk, "n")?);
    let e = without_leading_zeros(bytes(jwk, "e")?);
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(format!("RSA modulus of {bits} bits is outside 2048 to 8192"));
    }
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || e == [1] || e.len() > 4 {
        return Err("RSA exponent must be odd, above 1 and at most 32 bits".into());
    }
    Ok(Key {
        kid: None,
        algorithms: Algorithm::RSA.to_vec(),
        material: Material::Rsa { n, e },
    })
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// RFC 7518 section 6.2.1: coordinates have exactly the size of the curve.
fn ec(jwk: &Map<String, Value>) -> Result<Key, String> {
    let curve = text(jwk, "crv")?.ok_or("crv is missing")?;
    let (algorithm, size) = match curve {
        "P-256" => (Algorithm::Es256, 32),
        "P-384" => (Algorithm::Es384, 48),
        "P-521" => (Algorithm::Es512, 66),
        other => return Err(format!("crv {:?} is not supported", excerpt(other))),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err(format!(
            "coordinates of {} and {} bytes do not fit {curve} ({size} bytes)",
            x.len(),
            y.len()
        ));
    }
    Ok(Key {
        kid: None,
        algorithms: vec![algorithm],
        material: Material::Ec([&[4], &x[..], &y[..]].concat()),
    })
}

/// RFC 8037 section 2.
fn okp(jwk: &Map<String, Value>) -> Result<Key, String> {
    let curve = text(jwk, "crv")?.ok_or("crv is missing")?;
    if curve != "Ed25519" {
        return Err(format!("crv {:?} is not supported", excerpt(curve)));
    }
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err(format!("x of {} bytes does not fit Ed25519 (32 bytes)", x.len()));
    }
    Ok(Key {
        kid: None,
        algorithms: vec![Algorithm::EdDsa],
        material: Material::Ed25519(x),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn set(keys: Value) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), false).unwrap()
    }

    /// One P-256 key with further members.
    fn p256(extra: Value) -> Value {
        let mut key = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y});
        key.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        key
    }

    #[test]
    fn a_key_that_does_not_fit_signatures_is_skipped_with_the_reason() {
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let cases = [
            (json!(1), "no object"),
            (json!({}), "kty is missing"),
            (json!({"kty": "none"}), "not supported"),
            (p256(json!({"use": "enc"})), "use is \"enc\""),
            (p256(json!({"key_ops": ["encrypt"]})), "key_ops"),
            (p256(json!({"key_ops": "verify"})), "key_ops is no array"),
            (p256(json!({"alg": "ES384"})), "does not fit"),
            (p256(json!({"alg": "HS256"})), "does not fit"),
            (p256(json!({"alg": "ECDH-ES"})), "no signature algorithm"),
            (p256(json!({"crv": "secp256k1"})), "crv \"secp256k1\""),
            (p256(json!({"crv": "P-384"})), "do not fit P-384"),
            (p256(json!({"x": "AA"})), "coordinates of 1 and 32"),
            (p256(json!({"x": format!("{X}=")})), "x is no base64url"),
            (json!({"kty": "OKP", "crv": "X25519", "x": X}), "X25519"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), "3 bytes"),
            (json!({"kty": "RSA", "n": short, "e": "AQAB"}), "1024 bits"),
            (json!({"kty": "RSA", "n": n, "e": "AQ"}), "exponent"),
            (json!({"kty": "RSA", "n": n, "e": "AQAA"}), "exponent"),
            (
                json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "HS256"}),
                "does not fit",
            ),
            (json!({"kty": "oct", "k": X}), "is a secret"),
        ];
        for (key, reason) in cases {
            let set = set(json!([key]));
            assert!(set.keys.is_empty(), "{key}");
            assert!(set.skipped[0].contains(reason), "{}", set.skipped[0]);
        }
    }

    #[test]
    fn a_key_verifies_only_what_its_type_and_alg_allow() {
        let n = URL_SAFE_NO_PAD.encode([vec![0], vec![0xff; 256]].concat());
        let set = set(json!([
            {"kty": "RSA", "n": n, "e": "AQAB", "kid": "any"},
            {"kty": "RSA", "n": n, "e": "AQAB", "kid": "one", "alg": "PS256", "use": "sig", "key_ops": ["verify"]},
            p256(json!({"kid": "ec"})),
        ]));
        assert_eq!(set.keys[0].algorithms, Algorithm::RSA);
        assert!(
            matches!(&set.keys[0].material, Material::Rsa { n, .. } if n.len() == 256),
            "leading zero goes"
        );
        assert_eq!(set.keys[1].algorithms, [Algorithm::Ps256]);
        assert_eq!(set.candidates(Algorithm::Rs256, Some("one")).len(), 0);
        assert_eq!(set.candidates(Algorithm::Ps256, None).len(), 2);
        assert_eq!(set.candidates(Algorithm::Es256, Some("ec")).len(), 1);
        assert_eq!(set.candidates(Algorithm::Es256, Some("other")).len(), 0);
        for hmac in Algorithm::HMAC {
            assert_eq!(set.candidates(hmac, None).len(), 0);
        }
    }

    #[test]
    fn keys_of_the_rfc_are_usable_for_what_they_say() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/keys.json")).unwrap();
        for vector in vectors {
            let name = &vector["name"];
            let document = json!({"keys": vector["keys"]}).to_string();
            let set = KeySet::parse(document.as_bytes(), vector["secret"] == true).unwrap();
            let mut usable = json!({});
            for key in &set.keys {
                let algorithms = key.algorithms.iter().map(|algorithm| algorithm.name());
                usable[key.kid.as_deref().unwrap()] = algorithms.collect();
            }
            assert_eq!(usable, vector["usable"], "{name}");
            let skipped = vector["skipped"].as_array().unwrap();
            assert_eq!(set.skipped.len(), skipped.len(), "{name}");
            for (told, wanted) in set.skipped.iter().zip(skipped) {
                assert!(told.contains(wanted.as_str().unwrap()), "{name}: {told}");
            }
        }
    }

    #[test]
    fn an_unnamed_key_serves_a_named_token_only_when_no_key_has_that_name() {
        let set = set(json!([p256(json!({})), p256(json!({"kid": "a"}))]));
        let kids = |kid| {
            set.candidates(Algorithm::Es256, kid)
                .iter()
                .map(|key| key.kid.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(kids(Some("a")), [Some("a".to_owned())]);
        assert_eq!(kids(Some("b")), [None]);
        assert_eq!(kids(None).len(), 2);
    }

    #[test]
    fn secrets_come_from_secrets_and_must_be_long_enough() {
        let parse = |secret: &[u8]| {
            let jwks = json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret)}]});
            KeySet::parse(jwks.to_string().as_bytes(), true).unwrap()
        };
        assert_eq!(parse(&[1; 64]).keys[0].algorithms, Algorithm::HMAC);
        assert_eq!(parse(&[1; 32]).keys[0].algorithms, [Algorithm::Hs256]);
        assert!(parse(&[1; 31]).skipped[0].contains("31 bytes"));
        assert!(!format!("{:?}", parse(&[77; 64])).contains("77"));
    }

    #[test]
    fn the_stored_form_keeps_what_verifies_and_drops_the_rest() {
        let chain = "A".repeat(4000);
        let jwks = json!({"keys": [p256(json!({"kid": "a", "x5c": [chain], "d": "secret"})), {"kty": "oct", "k": X}]});
        let stored = compact(jwks.to_string().as_bytes()).unwrap();
        assert_eq!(stored, json!({"keys": [p256(json!({"kid": "a"}))]}));
        assert!(compact(b"{\"keys\":[]}").unwrap_err().contains("no usable key"));
        assert!(compact(b"<html>").unwrap_err().contains("no JWKS"));
        assert!(compact(b"{}").unwrap_err().contains("keys"));
        assert!(
            compact(&vec![b' '; DOCUMENT_LIMIT + 1])
                .unwrap_err()
                .contains("exceeds")
        );
        let many = json!({"keys": vec![p256(json!({})); KEYS_LIMIT + 1]});
        assert!(
            compact(many.to_string().as_bytes())
                .unwrap_err()
                .contains("101 keys")
        );
    }
}
