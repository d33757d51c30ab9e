//! Key sets behind a URL: fetched when needed, cached in a `kv` store that all instances share, and never fetched more often than the
//! cooldown allows once they are there.
//!
//! Two keys per URL: `jwks:<url>` holds the keys and when they were fetched, `jwks-gate:<url>` is there while nobody may fetch.
//! - Keys younger than the refresh age are used. Older ones are used too, while the one request that takes the gate fetches.
//! - When that fetch fails the old keys serve on, up to the stale age, and the gate opens again soon.
//! - A token that no key verifies has the keys fetched anew, once per cooldown; those that come while that happens, up to eight, fetch too. Within the cooldown
//!   up to three more do so, one for each other key that they name: tokens of a key that is gone must not keep one out that is new.
//! - Without any keys every request may fetch, unless a fetch failed just now.

use std::sync::Arc;

use edgeward_sdk::log::Level;
use serde_json::{Value, json};

use crate::{
    jwk::{self, KeySet},
    outside::Outside,
    refusal::excerpt,
    settings::{Discovery, UrlSource},
    strict_json,
};

/// Pause after a failed fetch in milliseconds (the cooldown when that is shorter).
const RETRY_MS: u64 = 5000;

/// Largest discovery document in bytes.
const DISCOVERY_LIMIT: usize = 64 * 1024;
/// Longest `jwks_uri` in bytes.
const ADDRESS_LIMIT: usize = 2048;
/// How many requests may fetch beside the one that has the gate: those that name a new key while it is on its way should not fail.
const JOINT_LIMIT: u32 = 8;
/// How many names of keys may have the keys fetched within the cooldown.
const NAMES_LIMIT: u32 = 4;
/// Longest name of a key that is remembered, in bytes.
const NAME_LIMIT: usize = 256;

const FETCHING: &[u8] = b"fetching";
const FETCHED: &[u8] = b"fetched";
const FAILED: &[u8] = b"failed";

/// The parsed keys of one URL, kept as long as the instance lives and the store holds the same bytes.
#[derive(Default)]
pub struct KeyCache {
    parsed: Option<Entry>,
}

#[derive(Clone)]
struct Entry {
    stored: Vec<u8>,
    fetched_ms: u64,
    keys: Arc<KeySet>,
}

/// What came of the wish for newer keys.
pub enum Refetch {
    /// Newer keys.
    Keys(Arc<KeySet>),
    /// They were fetched within the cooldown: what is not in them does not exist.
    Recent,
    /// They are being fetched, or cannot be fetched.
    Unavailable(String),
}

impl KeyCache {
    /// The keys to check a token with.
    ///
    /// # Errors
    /// There are none that may be used, and none can be fetched.
    pub fn keys(&mut self, source: &UrlSource, outside: &dyn Outside) -> Result<Arc<KeySet>, String> {
        let Some(entry) = self.stored(source, outside)? else {
            return self.first(source, outside);
        };
        let age_ms = outside.now_ms().saturating_sub(entry.fetched_ms);
        if age_ms < source.refresh_ms {
            return Ok(entry.keys);
        }
        if age_ms >= source.max_stale_ms {
            return self.first(source, outside);
        }
        if !take_gate(source, outside)? {
            return Ok(entry.keys);
        }
        self.fetch(source, outside).or_else(|error| {
            let (age, left) = (age_ms / 1000, (source.max_stale_ms - age_ms) / 1000);
            outside.log(
                Level::Warn,
                &format!("{error}; keys fetched {age} s ago serve for {left} s more"),
            );
            Ok(entry.keys)
        })
    }

    /// Newer keys, because a token names a key that is not there, or not that.
    pub fn refetch(&mut self, source: &UrlSource, kid: Option<&str>, outside: &dyn Outside) -> Refetch {
        match take_gate(source, outside) {
            // it counts as asked for
            Ok(true) => {
                may_name(source, kid, outside);
            }
            Ok(false) => match gate(source, outside) {
                Some(state) if state == FETCHING => {
                    if !may_join(source, outside) {
                        return Refetch::Unavailable(format!("{} is being fetched", source.url));
                    }
                    may_name(source, kid, outside);
                }
                Some(state) if state == FAILED => return Refetch::Unavailable(failed_just_now(source)),
                _ => {
                    // the new keys may be there already
                    if let Some(keys) = self.newer(source, outside) {
                        return Refetch::Keys(keys);
                    }
                    // others who name a new key meanwhile fetch as well
                    if !(may_name(source, kid, outside) && set_gate(source, outside)) {
                        return Refetch::Recent;
                    }
                }
            },
            Err(error) => return Refetch::Unavailable(error),
        }
        self.fetch(source, outside)
            .map_or_else(Refetch::Unavailable, Refetch::Keys)
    }

    /// Without usable keys: fetches, together with others if need be, but not right after a failure.
    fn first(&mut self, source: &UrlSource, outside: &dyn Outside) -> Result<Arc<KeySet>, String> {
        if !take_gate(source, outside)? && gate(source, outside).is_some_and(|state| state == FAILED) {
            return Err(failed_just_now(source));
        }
        self.fetch(source, outside)
    }

    /// What another request has fetched since this one looked.
    fn newer(&mut self, source: &UrlSource, outside: &dyn Outside) -> Option<Arc<KeySet>> {
        let seen = self.parsed.as_ref()?.fetched_ms;
        let entry = self.stored(source, outside).ok().flatten()?;
        (entry.fetched_ms != seen).then_some(entry.keys)
    }

    fn stored(&mut self, source: &UrlSource, outside: &dyn Outside) -> Result<Option<Entry>, String> {
        let Some(stored) = outside.read(&source.store, &keys_name(source))? else {
            return Ok(None);
        };
        if let Some(entry) = self.parsed.as_ref().filter(|entry| entry.stored == stored) {
            return Ok(Some(entry.clone()));
        }
        let entry = parse(stored);
        if let Err(error) = &entry {
            let message = format!(
                "entry for {} in store {:?} is unusable and ignored: {error}",
                source.url, source.store
            );
            outside.log(Level::Error, &message);
        }
        self.parsed = entry.ok();
        Ok(self.parsed.clone())
    }

    fn fetch(&mut self, source: &UrlSource, outside: &dyn Outside) -> Result<Arc<KeySet>, String> {
        let fetched = download(source, outside);
        let (state, pause_ms) = match &fetched {
            Ok(_) => (FETCHED, source.cooldown_ms),
            Err(_) => (FAILED, source.cooldown_ms.min(RETRY_MS)),
        };
        // the keys come first: who sees that they were fetched finds them
        let kept = fetched.as_ref().map_or(Ok(()), |entry| {
            outside.write(
                &source.store,
                &keys_name(source),
                &entry.stored,
                source.max_stale_ms,
            )
        });
        let opened = outside.write(&source.store, &gate_name(source), state, pause_ms);
        let entry = fetched?;
        if let Err(error) = kept.and(opened) {
            let message = format!(
                "keys of {} cannot be cached, every request fetches them: {error}",
                source.url
            );
            outside.log(Level::Error, &message);
        }
        let keys = Arc::clone(&entry.keys);
        self.parsed = Some(entry);
        Ok(keys)
    }
}

fn download(source: &UrlSource, outside: &dyn Outside) -> Result<Entry, String> {
    let found = source.discovery.as_ref().map(|discovery| {
        let body = get(&source.url, source.timeout_ms, DISCOVERY_LIMIT, outside)?;
        key_set_address(discovery, &body).map_err(|error| format!("{}: {error}", source.url))
    });
    let found = found.transpose()?;
    let url = found.as_ref().unwrap_or(&source.url);
    let body = get(url, source.timeout_ms, source.limit, outside)?;
    let keys = jwk::compact(&body).map_err(|error| format!("{url}: {error}"))?;
    let entry = json!({ "fetched": outside.now_ms(), "jwks": keys });
    parse(entry.to_string().into_bytes()).map_err(|error| format!("{url}: {error}"))
}

fn get(url: &str, timeout_ms: u32, limit: usize, outside: &dyn Outside) -> Result<Vec<u8>, String> {
    let fetched = outside.fetch(url, timeout_ms);
    let (status, body) = fetched.map_err(|error| format!("{url}: {error}"))?;
    if status != 200 {
        return Err(format!("{url}: status {status} instead of 200"));
    }
    if body.len() > limit {
        return Err(format!("{url}: {} bytes, the limit is {limit}", body.len()));
    }
    Ok(body)
}

/// Where the keys are, by what an issuer says of itself (OpenID Connect Discovery 1.0 section 4.3: it must name itself as it is known).
fn key_set_address(discovery: &Discovery, body: &[u8]) -> Result<String, String> {
    let said = strict_json::object(body).map_err(|error| format!("no discovery document: {error}"))?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let issuer = text("issuer");
    if issuer != discovery.issuer {
        let (issuer, wanted) = (excerpt(issuer), &discovery.issuer);
        return Err(format!("it is of issuer {issuer:?} and not of {wanted:?}"));
    }
    let url = text("jwks_uri");
    let secure = url.starts_with("https://") || (discovery.plain && url.starts_with("http://"));
    if !secure || url.len() > ADDRESS_LIMIT || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let url = excerpt(url);
        return Err(format!(
            "jwks_uri {url:?} is no https:// address of at most {ADDRESS_LIMIT} bytes"
        ));
    }
    Ok(url.to_owned())
}

fn parse(stored: Vec<u8>) -> Result<Entry, String> {
    let entry = strict_json::object(&stored)?;
    let fetched_ms = entry
        .get("fetched")
        .and_then(Value::as_u64)
        .ok_or("no time of fetch")?;
    let jwks = entry.get("jwks").and_then(Value::as_object).ok_or("no key set")?;
    let keys = Arc::new(KeySet::from_jwks(jwks, false)?);
    Ok(Entry {
        stored,
        fetched_ms,
        keys,
    })
}

/// At least as long as the fetch can take, so that a short cooldown does not let a second one start meanwhile.
fn pause_ms(source: &UrlSource) -> u64 {
    source.cooldown_ms.max(source.timeout_ms.into())
}

/// True for the one request that may fetch now.
fn take_gate(source: &UrlSource, outside: &dyn Outside) -> Result<bool, String> {
    outside.write_if_absent(&source.store, &gate_name(source), FETCHING, pause_ms(source))
}

/// True for the few that may fetch while another does.
fn may_join(source: &UrlSource, outside: &dyn Outside) -> bool {
    (0..JOINT_LIMIT).any(|place| {
        let name = format!("jwks-join-{place}:{}", source.url);
        let taken = outside.write_if_absent(&source.store, &name, FETCHING, source.cooldown_ms);
        taken.unwrap_or(false)
    })
}

/// True for the few names of keys that may have the keys fetched within the cooldown, once each.
fn may_name(source: &UrlSource, kid: Option<&str>, outside: &dyn Outside) -> bool {
    let kid = kid.unwrap_or_default().as_bytes();
    if kid.len() > NAME_LIMIT {
        return false;
    }
    for place in 0..NAMES_LIMIT {
        let name = format!("jwks-name-{place}:{}", source.url);
        match outside.write_if_absent(&source.store, &name, kid, source.cooldown_ms) {
            Ok(true) => return true,
            Ok(false) => match outside.read(&source.store, &name) {
                Ok(Some(known)) if known != kid => {}
                _ => return false,
            },
            Err(_) => return false,
        }
    }
    false
}

/// True where nobody else may fetch now, as with [`take_gate`].
fn set_gate(source: &UrlSource, outside: &dyn Outside) -> bool {
    let set = outside.write(&source.store, &gate_name(source), FETCHING, pause_ms(source));
    set.is_ok()
}

fn gate(source: &UrlSource, outside: &dyn Outside) -> Option<Vec<u8>> {
    outside.read(&source.store, &gate_name(source)).ok().flatten()
}

fn keys_name(source: &UrlSource) -> String {
    format!("jwks:{}", source.url)
}

fn gate_name(source: &UrlSource) -> String {
    format!("jwks-gate:{}", source.url)
}

fn failed_just_now(source: &UrlSource) -> String {
    format!("{} could not be fetched a moment ago", source.url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, p256_jwk};

    const URL: &str = "https://id.test/jwks";

    fn source() -> UrlSource {
        UrlSource {
            url: URL.into(),
            discovery: None,
            limit: 150_000,
            store: "jwks".into(),
            refresh_ms: 300_000,
            max_stale_ms: 3_600_000,
            cooldown_ms: 30_000,
            timeout_ms: 2000,
        }
    }

    /// Names of the keys that an instance just started gets.
    fn kids(fake: &Fake) -> Result<Vec<String>, String> {
        let keys = KeyCache::default().keys(&source(), fake)?;
        Ok(keys
            .keys
            .iter()
            .map(|key| key.kid.clone().unwrap_or_default())
            .collect())
    }

    #[test]
    fn keys_are_fetched_once_and_refreshed_when_old() {
        let fake = Fake::at(1_000_000);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        for _ in 0..5 {
            assert_eq!(kids(&fake).unwrap(), ["a"]);
        }
        assert_eq!(fake.fetches(), 1);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("b")]}).to_string());
        fake.pass(299_999);
        assert_eq!(kids(&fake).unwrap(), ["a"]);
        fake.pass(1);
        assert_eq!(kids(&fake).unwrap(), ["b"]);
        assert_eq!(fake.fetches(), 2);
    }

    #[test]
    fn old_keys_serve_while_the_issuer_fails_and_end_with_the_stale_age() {
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        assert_eq!(kids(&fake).unwrap(), ["a"]);
        fake.serve(URL, 500, String::new());
        fake.pass(300_000);
        for _ in 0..10 {
            assert_eq!(kids(&fake).unwrap(), ["a"]);
        }
        assert_eq!(fake.fetches(), 2, "one retry, then the pause");
        assert!(fake.logged("status 500 instead of 200; keys fetched 300 s ago serve for 3300 s more"));
        fake.pass(RETRY_MS);
        assert_eq!(kids(&fake).unwrap(), ["a"]);
        assert_eq!(fake.fetches(), 3);
        fake.pass(3_600_000);
        assert!(kids(&fake).unwrap_err().contains("status 500"));
        assert!(
            kids(&fake)
                .unwrap_err()
                .contains("could not be fetched a moment ago")
        );
        assert_eq!(fake.fetches(), 4);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("c")]}).to_string());
        fake.pass(RETRY_MS);
        assert_eq!(kids(&fake).unwrap(), ["c"]);
    }

    #[test]
    fn a_flood_of_unknown_kids_fetches_a_few_times_per_cooldown() {
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        kids(&fake).unwrap();
        for number in 0..599 {
            fake.pass(100);
            KeyCache::default().refetch(&source(), Some(&number.to_string()), &fake);
        }
        let per_cooldown = 1 + NAMES_LIMIT as usize;
        let fetches = fake.fetches();
        assert!(
            (per_cooldown..=2 * per_cooldown).contains(&fetches),
            "{fetches} in 60 s of flood, cooldown 30 s"
        );
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        kids(&fake).unwrap();
        let long = "x".repeat(NAME_LIMIT + 1);
        let refetch = KeyCache::default().refetch(&source(), Some(&long), &fake);
        assert!(
            matches!(refetch, Refetch::Recent),
            "it is too long to be remembered"
        );
    }

    #[test]
    fn tokens_of_a_key_that_is_gone_do_not_keep_out_one_that_is_new() {
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        kids(&fake).unwrap();
        let refetch = |kid| KeyCache::default().refetch(&source(), Some(kid), &fake);
        fake.pass(30_000);
        for _ in 0..20 {
            refetch("gone");
            fake.pass(500);
        }
        // while one fetches because of a name, others with the same name do so, too
        fake.put("jwks", "jwks-gate:https://id.test/jwks", FETCHED, 30_000);
        assert!(may_name(&source(), Some("new"), &fake) && set_gate(&source(), &fake));
        assert!(matches!(refetch("new"), Refetch::Keys(_)));
        assert_eq!(fake.fetches(), 3);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("b")]}).to_string());
        assert!(matches!(refetch("b"), Refetch::Keys(set) if set.keys[0].kid.as_deref() == Some("b")));
    }

    #[test]
    fn a_request_that_meets_a_running_fetch_is_told_so() {
        let fake = Fake::at(0);
        fake.put("jwks", "jwks-gate:https://id.test/jwks", FETCHING, 30_000);
        fake.serve(URL, 500, String::new());
        let refetch = || match KeyCache::default().refetch(&source(), Some("b"), &fake) {
            Refetch::Unavailable(error) => error,
            Refetch::Keys(_) | Refetch::Recent => panic!("not unavailable"),
        };
        assert!(refetch().contains("status 500"), "it fetches too");
        fake.put("jwks", "jwks-gate:https://id.test/jwks", FETCHING, 30_000);
        for _ in 1..JOINT_LIMIT {
            refetch();
            fake.put("jwks", "jwks-gate:https://id.test/jwks", FETCHING, 30_000);
        }
        assert!(refetch().contains("is being fetched"), "not more than eight");
        assert_eq!(fake.fetches(), JOINT_LIMIT as usize);
    }

    #[test]
    fn requests_that_name_a_new_key_while_it_is_fetched_do_not_fail() {
        let fake = Fake::at(0);
        fake.serve(
            URL,
            200,
            json!({"keys": [p256_jwk("a"), p256_jwk("b")]}).to_string(),
        );
        fake.put("jwks", "jwks-gate:https://id.test/jwks", FETCHING, 30_000);
        for _ in 0..3 {
            assert!(matches!(
                KeyCache::default().refetch(&source(), Some("b"), &fake),
                Refetch::Keys(_) | Refetch::Recent
            ));
        }
        // what they found is there for all
        assert_eq!(kids(&fake).unwrap(), ["a", "b"]);
        assert_eq!(fake.fetches(), 1);
    }

    #[test]
    fn a_request_finds_the_keys_that_another_fetched_since_it_looked() {
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        let mut one = KeyCache::default();
        assert_eq!(one.keys(&source(), &fake).unwrap().keys.len(), 1);
        fake.pass(30_000);
        fake.serve(
            URL,
            200,
            json!({"keys": [p256_jwk("a"), p256_jwk("b")]}).to_string(),
        );
        assert!(matches!(
            KeyCache::default().refetch(&source(), Some("b"), &fake),
            Refetch::Keys(_)
        ));
        let Refetch::Keys(found) = one.refetch(&source(), Some("b"), &fake) else {
            panic!("it does not see them");
        };
        assert_eq!(found.keys.len(), 2);
        assert!(matches!(
            one.refetch(&source(), Some("b"), &fake),
            Refetch::Recent
        ));
        assert_eq!(fake.fetches(), 2);
    }

    #[test]
    fn an_issuer_says_where_its_keys_are() {
        const ABOUT: &str = "https://id.test/.well-known/openid-configuration";
        let source = |plain| UrlSource {
            url: ABOUT.into(),
            discovery: Some(Discovery {
                issuer: "https://id.test/".into(),
                plain,
            }),
            ..source()
        };
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        fake.serve(
            "http://id.test/jwks",
            200,
            json!({"keys": [p256_jwk("b")]}).to_string(),
        );
        let said =
            |issuer: &str, uri: Value| json!({"issuer": issuer, "jwks_uri": uri, "more": 1}).to_string();
        let keys = |plain| KeyCache::default().keys(&source(plain), &fake);
        for (document, wanted) in [
            ("<html>".to_owned(), "no discovery document"),
            ("{}".to_owned(), "it is of issuer \"\""),
            (
                said("https://id.test", json!(URL)),
                "it is of issuer \"https://id.test\" and not of \"https://id.test/\"",
            ),
            (said("https://id.test/", json!(null)), "jwks_uri \"\""),
            (
                said("https://id.test/", json!("http://id.test/jwks")),
                "jwks_uri \"http://id.test/jwks\"",
            ),
            (said("https://id.test/", json!("file:///etc/passwd")), "jwks_uri"),
            (
                said("https://id.test/", json!("https://id.test/other")),
                "connection refused",
            ),
            (
                format!("{{\"x\":\"{}\"}}", "x".repeat(DISCOVERY_LIMIT)),
                "the limit is 65536",
            ),
        ] {
            fake.serve(ABOUT, 200, document.clone());
            let error = keys(false).unwrap_err();
            assert!(error.contains(wanted), "{error}");
            fake.pass(RETRY_MS);
        }
        fake.serve(ABOUT, 200, said("https://id.test/", json!("http://id.test/jwks")));
        assert_eq!(keys(true).unwrap().keys[0].kid.as_deref(), Some("b"));
        fake.serve(ABOUT, 200, said("https://id.test/", json!(URL)));
        fake.pass(300_000);
        let before = fake.fetches();
        for _ in 0..3 {
            assert_eq!(keys(false).unwrap().keys[0].kid.as_deref(), Some("a"));
        }
        assert_eq!(fake.fetches(), before + 2, "the document and the keys, once");
    }

    #[test]
    fn a_key_set_that_is_too_large_is_refused() {
        let fake = Fake::at(0);
        let padding = "x".repeat(150_000);
        fake.serve(
            URL,
            200,
            json!({"keys": [p256_jwk("a")], "padding": padding}).to_string(),
        );
        assert!(kids(&fake).unwrap_err().contains("the limit is 150000"));
    }

    #[test]
    fn what_is_no_key_set_is_an_error_that_names_the_url() {
        for (status, body, wanted) in [
            (200, "<html>", "no JWKS"),
            (200, "{\"keys\":[]}", "no usable key"),
            (302, "", "status 302"),
        ] {
            let fake = Fake::at(0);
            fake.serve(URL, status, body.to_owned());
            let error = kids(&fake).unwrap_err();
            assert!(error.contains(URL) && error.contains(wanted), "{error}");
        }
        assert!(kids(&Fake::at(0)).unwrap_err().contains("connection refused"));
    }

    #[test]
    fn a_store_that_takes_nothing_is_reported_and_the_keys_still_serve() {
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        fake.fill_store();
        assert!(
            kids(&fake).is_err(),
            "the gate cannot be taken: no fetch without bounds"
        );
        let fake = Fake::at(0);
        fake.serve(URL, 200, json!({"keys": [p256_jwk("a")]}).to_string());
        fake.put("jwks", "jwks:https://id.test/jwks", b"rubbish", 1000);
        assert_eq!(kids(&fake).unwrap(), ["a"]);
        assert!(fake.logged("is unusable and ignored"));
    }
}
