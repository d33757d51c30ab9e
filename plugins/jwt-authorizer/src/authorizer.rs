//! The decision about one token: its form, its algorithm, its key, its signature, its claims, in this order (RFC 7515 section 5.2,
//! RFC 7519 section 7.2, RFC 8725).

use std::sync::Arc;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use edgeward_sdk::log::Level;
use serde_json::{Map, Value};

use crate::{
    algorithm::Algorithm,
    claims::{self, Scopes},
    config::Encoding,
    jwk::{Key, KeySet},
    key_cache::{KeyCache, Refetch},
    manner,
    outside::Outside,
    refusal::{Refusal, excerpt},
    settings::{Keys, Settings, UrlSource},
    token::{self, Token},
};

/// Most keys one token is tried with: a big key set must not turn each request into a hundred signature checks.
const ATTEMPTS_LIMIT: u32 = 8;

/// Checks tokens.
pub struct Authorizer {
    settings: Settings,
    /// One per source; only those of URLs are used.
    caches: Vec<KeyCache>,
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Who is calling.
    pub principal: String,
    /// What usage is counted by, when it is not the principal.
    pub usage_key: Option<String>,
    /// All claims.
    pub claims: Map<String, Value>,
    /// How long the decision may be reused, in seconds.
    pub ttl_seconds: Option<u32>,
}

impl Authorizer {
    /// An authorizer with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let caches = settings.sources.iter().map(|_| KeyCache::default()).collect();
        Self { settings, caches }
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides about a token. `route`: scopes of which the route wants one.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(
        &mut self,
        text: &str,
        route: &[String],
        outside: &dyn Outside,
    ) -> Result<Accepted, Refusal> {
        let token = token::parse(text, self.settings.max_token_bytes)?;
        let algorithm = self.algorithm(&token)?;
        self.check_type(&token)?;
        manner::check_kid(&self.settings, &token)?;
        // Not trusted yet: a wrong issuer is refused before any key is looked up, an accepted one selects its sources.
        let issuer = claims::check_issuer(&token.claims, &self.settings.issuers)?;
        self.verify(&token, algorithm, issuer, outside)?;
        let settings = &self.settings;
        let now_ms = outside.now_ms();
        let expires = claims::check_times(&token.claims, now_ms, settings.times)?;
        manner::check_audience(settings, &token.claims, issuer, outside)?;
        manner::check_use(settings, route, &token.claims)?;
        let principal = manner::principal(settings, &token.claims)?;
        let usage_key = settings
            .usage_key
            .as_ref()
            .map(|path| claims::name(&token.claims, path))
            .transpose()?;
        claims::check_scopes(&token.claims, &settings.scopes, settings.scope_match)?;
        claims::check_scopes(&token.claims, route, Scopes::Any)?;
        claims::check_rules(&token.claims, &settings.rules)?;
        let ttl_seconds = claims::reuse_seconds(settings.decision_ttl, expires, now_ms);
        Ok(Accepted {
            principal,
            usage_key,
            claims: token.claims,
            ttl_seconds,
        })
    }

    /// The algorithm, if it exists and is accepted. `none` does not exist (RFC 8725 section 3.2).
    fn algorithm(&self, token: &Token<'_>) -> Result<Algorithm, Refusal> {
        let name = excerpt(&token.algorithm);
        let refuse =
            |why: &str| Refusal::token("the algorithm is not accepted", format!("alg {name:?} {why}"));
        let algorithm = Algorithm::from_name(&token.algorithm).ok_or_else(|| refuse("is not supported"))?;
        match &self.settings.algorithms {
            Some(list) if !list.contains(&algorithm) => Err(refuse("is not in `algorithms`")),
            None if algorithm.is_hmac() => Err(refuse("must be listed in `algorithms`")),
            _ => Ok(algorithm),
        }
    }

    /// RFC 8725 section 3.11.
    fn check_type(&self, token: &Token<'_>) -> Result<(), Refusal> {
        if self.settings.types.is_empty() {
            return Ok(());
        }
        let typ = token.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        let bare = typ.strip_prefix("application/").unwrap_or(&typ);
        if self.settings.types.iter().any(|one| one == bare) {
            return Ok(());
        }
        Err(Refusal::token(
            "the type of the token is not accepted",
            format!("typ {:?} is not in `types`", excerpt(&typ)),
        ))
    }

    /// Succeeds when a key that may serve the issuer and the algorithm verifies the signature.
    fn verify(
        &mut self,
        token: &Token<'_>,
        algorithm: Algorithm,
        issuer: Option<&str>,
        outside: &dyn Outside,
    ) -> Result<(), Refusal> {
        let mut trial = Trial {
            token,
            algorithm,
            outside,
            by_name: !self.settings.preset.is_native(),
            attempts: 0,
            matched: false,
        };
        let mut unavailable = None;
        let secrets_allowed = self.settings.accepts_hmac();
        let fitting = |keys: &Keys| match keys {
            Keys::Hmac { .. } => algorithm.is_hmac(),
            Keys::Fixed(_) | Keys::Url(_) => !algorithm.is_hmac(),
            Keys::SecretSet(_) => true,
        };
        let mut urls: Vec<(&UrlSource, &mut KeyCache)> = Vec::new();
        for (source, cache) in self.settings.sources.iter().zip(&mut self.caches) {
            if !source.serves(issuer) || !fitting(&source.keys) {
                continue;
            }
            match load(&source.keys, cache, secrets_allowed, outside) {
                Ok(set) if trial.verifies(&set) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    outside.log(Level::Warn, &format!("keys cannot be had: {error}"));
                    unavailable = Some(error);
                }
            }
            if let Keys::Url(url) = &source.keys {
                urls.push((url, cache));
            }
        }
        // The key may be newer than the cached set, and have the name of an old one, or none.
        if unavailable.is_none() {
            for (url, cache) in urls {
                match cache.refetch(url, token.kid.as_deref(), outside) {
                    Refetch::Keys(set) => {
                        trial.attempts = 0;
                        if trial.verifies(&set) {
                            return Ok(());
                        }
                    }
                    Refetch::Recent => {}
                    Refetch::Unavailable(error) => unavailable = Some(error),
                }
            }
        }
        let kid = token.kid.as_deref().map(excerpt);
        match unavailable {
            Some(error) if !trial.matched => Err(Refusal::unavailable(format!(
                "no key for alg {algorithm}, kid {kid:?}, and {error}"
            ))),
            _ if trial.attempts > 0 => {
                let detail = format!(
                    "signature does not verify, alg {algorithm}, kid {kid:?}, {} keys tried",
                    trial.attempts
                );
                Err(Refusal::token("the signature is invalid", detail))
            }
            _ => {
                let detail = format!(
                    "no key fits alg {algorithm}, kid {kid:?}, iss {:?}",
                    issuer.map(excerpt)
                );
                Err(Refusal::token(manner::NO_KEY, detail))
            }
        }
    }
}

/// One token against several key sets.
struct Trial<'a> {
    token: &'a Token<'a>,
    algorithm: Algorithm,
    outside: &'a dyn Outside,
    /// Only the key that the token names counts.
    by_name: bool,
    attempts: u32,
    /// A key was there that the token names, or may mean when it names none.
    matched: bool,
}

impl Trial<'_> {
    fn verifies(&mut self, set: &KeySet) -> bool {
        let kid = self.token.kid.as_deref();
        let candidates = set.candidates(self.algorithm, kid).into_iter();
        for key in candidates.filter(|key| !self.by_name || key.kid.as_deref() == kid) {
            if self.attempts == ATTEMPTS_LIMIT {
                let message =
                    format!("token without usable kid: {ATTEMPTS_LIMIT} keys tried, the rest is not");
                self.outside.log(Level::Warn, &message);
                return false;
            }
            self.attempts += 1;
            self.matched |= key.kid == self.token.kid || self.token.kid.is_none();
            if self.verifies_with(key) {
                return true;
            }
        }
        false
    }

    fn verifies_with(&self, key: &Key) -> bool {
        let message = self.token.signed.as_bytes();
        self.outside
            .verify(self.algorithm, &key.material, message, &self.token.signature)
            .unwrap_or_else(|error| {
                let message = format!(
                    "key {:?} cannot be used with {}: {error}",
                    key.kid, self.algorithm
                );
                self.outside.log(Level::Error, &message);
                false
            })
    }
}

fn load(
    keys: &Keys,
    cache: &mut KeyCache,
    secrets_allowed: bool,
    outside: &dyn Outside,
) -> Result<Arc<KeySet>, String> {
    match keys {
        Keys::Fixed(set) => Ok(Arc::clone(set)),
        Keys::Url(source) => cache.keys(source, outside),
        Keys::SecretSet(name) => {
            let set = KeySet::parse(&outside.secret(name)?, secrets_allowed)
                .map_err(|error| format!("secret {name:?}: {error}"))?;
            for note in &set.skipped {
                outside.log(Level::Warn, &format!("secret {name:?}: {note}"));
            }
            if set.keys.is_empty() {
                return Err(format!("secret {name:?}: no usable key"));
            }
            Ok(Arc::new(set))
        }
        Keys::Hmac {
            secret: name,
            kid,
            encoding,
        } => {
            let bytes = decode(outside.secret(name)?, *encoding)
                .map_err(|error| format!("secret {name:?}: {error}"))?;
            let key =
                Key::from_secret(kid.clone(), bytes).map_err(|error| format!("secret {name:?}: {error}"))?;
            Ok(Arc::new(KeySet {
                keys: vec![key],
                skipped: Vec::new(),
            }))
        }
    }
}

/// The bytes of a secret. Error texts do not repeat any of it.
fn decode(raw: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, String> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let trimmed = raw.trim_ascii();
    let base64 = |alphabet| {
        let decoded = GeneralPurpose::new(alphabet, LENIENT).decode(trimmed);
        decoded
            .ok()
            .ok_or_else(|| format!("does not decode as {encoding:?}").to_ascii_lowercase())
    };
    match encoding {
        Encoding::Bytes => Ok(raw),
        Encoding::Text => {
            let text = raw.strip_suffix(b"\n").unwrap_or(&raw);
            Ok(text.strip_suffix(b"\r").unwrap_or(text).to_vec())
        }
        Encoding::Base64 => base64(&alphabet::STANDARD),
        Encoding::Base64url => base64(&alphabet::URL_SAFE),
        Encoding::Hex => {
            let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
            let pairs = trimmed.chunks(2).map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            });
            pairs
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(|| "does not decode as hex".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_decode_as_written() {
        let decode = |raw: &str, encoding| decode(raw.as_bytes().to_vec(), encoding);
        assert_eq!(decode("ab\r\n", Encoding::Text).unwrap(), b"ab");
        assert_eq!(decode("ab\n", Encoding::Bytes).unwrap(), b"ab\n");
        assert_eq!(decode("+/8=\n", Encoding::Base64).unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("-_8", Encoding::Base64url).unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("fbFF", Encoding::Hex).unwrap(), [0xfb, 0xff]);
        for (raw, encoding) in [
            ("geheim!", Encoding::Base64),
            ("+/8", Encoding::Base64url),
            ("fb1", Encoding::Hex),
            ("zz", Encoding::Hex),
        ] {
            let error = decode(raw, encoding).unwrap_err();
            assert!(
                error.starts_with("does not decode as") && !error.contains(raw),
                "{error}"
            );
        }
    }
}
