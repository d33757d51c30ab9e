//! Who holds which access key: from the configuration, or from a source that is asked and whose answers are kept in a `kv` store.
//!
//! Under `sigv4-key:<url> <id>` the store has what the source said last: a key, that there is none, or that it failed. Counters with a
//! time to live bound how much is kept and how often the source is asked, whatever ids callers make up.

use std::{collections::BTreeMap, fmt};

use edgeward_sdk::log::Level;
use edgeward_sigv4::{Timestamp, encode};
use serde::{Deserialize, Serialize};

use crate::{
    config::Source,
    identity::{Attributes, Identity, time},
    outside::Outside,
    settings::{Key, Settings},
};

/// How long a failed question is not asked again, in milliseconds.
const RETRY_MS: u64 = 2000;

/// Largest answer of a source in bytes.
const ANSWER_LIMIT: usize = 16 * 1024;

/// An access key.
#[derive(Clone)]
pub struct Known {
    /// Secret access key; none when there is only a public key.
    pub secret: Option<String>,
    /// Public key of Signature Version 4a; none: to be made of the secret.
    pub public_key: Option<Vec<u8>>,
    /// Session token that must come along; none: there must be none.
    pub session_token: Option<String>,
    /// Whose key it is.
    pub identity: Identity,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("identity", &self.identity)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What a source answers with status 200.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    secret_access_key: String,
    session_token: Option<String>,
    principal_arn: Option<String>,
    account_id: Option<String>,
    user_id: Option<String>,
    policy: Option<serde_json::Value>,
    tags: Option<BTreeMap<String, String>>,
    org_id: Option<String>,
    org_paths: Option<Vec<String>>,
    issued_at: Option<String>,
    mfa: Option<bool>,
    mfa_at: Option<String>,
    expiration: Option<String>,
}

/// What is kept of an answer.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    Known(Box<Answer>),
    Unknown,
    Failed,
}

/// Finds an access key; none when nobody knows it.
///
/// # Errors
/// It cannot be said now, because a secret is not there or the source fails.
pub fn find(settings: &Settings, id: &str, outside: &impl Outside) -> Result<Option<Known>, String> {
    match (settings.keys.get(id), &settings.source) {
        (Some(key), _) => configured(id, key, outside).map(Some),
        (None, Some(source)) => ask(source, id, outside),
        (None, None) => Ok(None),
    }
}

fn configured(id: &str, key: &Key, outside: &impl Outside) -> Result<Known, String> {
    let text = |name: &Option<String>| {
        let value = name.as_ref().map(|name| secret_text(name, outside));
        value.transpose().map_err(|error| format!("key {id}: {error}"))
    };
    Ok(Known {
        secret: text(&key.secret)?,
        public_key: key.public_key.clone(),
        session_token: text(&key.session_token)?,
        identity: key.identity.clone(),
        expires: None,
    })
}

/// A secret as text, without a line break at its end.
fn secret_text(name: &str, outside: &impl Outside) -> Result<String, String> {
    let text =
        String::from_utf8(outside.secret(name)?).map_err(|_secret| format!("secret {name:?} is no text"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("secret {name:?} is empty"));
    }
    Ok(text.to_owned())
}

fn ask(source: &Source, id: &str, outside: &impl Outside) -> Result<Option<Known>, String> {
    let name = format!("sigv4-key:{} {id}", source.url);
    let entry = match kept(source, &name, outside)? {
        Some(entry) => entry,
        None => {
            let asked = outside.count(&source.store, &format!("sigv4-fetches:{}", source.url), 60_000)?;
            let most = source.max_fetches_per_minute;
            if asked > most.into() {
                return Err(format!(
                    "{} was asked {most} times within a minute, which is max-fetches-per-minute",
                    source.url
                ));
            }
            let fetched = download(source, id, outside);
            let entry = match &fetched {
                Ok(Some(answer)) => Entry::Known(Box::new(answer.clone())),
                Ok(None) => Entry::Unknown,
                Err(_) => Entry::Failed,
            };
            keep(source, &name, &entry, outside);
            fetched?;
            entry
        }
    };
    match entry {
        Entry::Known(answer) => known(source, *answer).map(Some),
        Entry::Unknown => Ok(None),
        Entry::Failed => Err(format!("{} failed a moment ago", source.url)),
    }
}

fn kept(source: &Source, name: &str, outside: &impl Outside) -> Result<Option<Entry>, String> {
    let Some(stored) = outside.read(&source.store, name)? else {
        return Ok(None);
    };
    let entry = serde_json::from_slice(&stored);
    if entry.is_err() {
        let message = format!(
            "entry {name:?} in store {:?} is unusable and ignored",
            source.store
        );
        outside.log(Level::Error, &message);
    }
    Ok(entry.ok())
}

fn download(source: &Source, id: &str, outside: &impl Outside) -> Result<Option<Answer>, String> {
    let url = &source.url;
    let joint = if url.contains('?') { '&' } else { '?' };
    let question = format!("{url}{joint}access-key-id={}", encode(id));
    let (status, body) = outside
        .fetch(&question, source.timeout_ms)
        .map_err(|error| format!("{url}: {error}"))?;
    match status {
        200 if body.len() > ANSWER_LIMIT => Err(format!(
            "{url}: an answer of {} bytes, the limit is {ANSWER_LIMIT}",
            body.len()
        )),
        200 => {
            // what a parser says may hold parts of the secret
            let answer: Answer = serde_json::from_slice(&body)
                .map_err(|_secret| format!("{url}: no JSON object with a text secretAccessKey"))?;
            known(source, answer.clone())?;
            Ok(Some(answer))
        }
        404 => Ok(None),
        other => Err(format!("{url}: status {other} instead of 200 or 404")),
    }
}

fn known(source: &Source, answer: Answer) -> Result<Known, String> {
    if answer.secret_access_key.is_empty() {
        return Err(format!("{}: secretAccessKey is empty", source.url));
    }
    let at = |name: &str, text: &Option<String>| {
        let read = text.as_deref().map(time).transpose();
        read.map_err(|error| format!("{}: {name} {error}", source.url))
    };
    let expires = at("expiration", &answer.expiration)?;
    let attributes = Attributes {
        tags: answer.tags.unwrap_or_default(),
        org_id: answer.org_id,
        org_paths: answer.org_paths.unwrap_or_default(),
        issued: at("issuedAt", &answer.issued_at)?,
        mfa: answer.mfa,
        mfa_at: at("mfaAt", &answer.mfa_at)?,
    };
    let identity = Identity::new(answer.principal_arn, answer.account_id, answer.user_id)
        .with_policy(answer.policy.as_ref())
        .with_attributes(attributes)
        .map_err(|error| format!("{}: {error}", source.url))?;
    Ok(Known {
        secret: Some(answer.secret_access_key),
        public_key: None,
        session_token: answer.session_token,
        identity,
        expires,
    })
}

/// Keeps an answer for its time, if not too many are kept already.
fn keep(source: &Source, name: &str, entry: &Entry, outside: &impl Outside) {
    let (kind, ttl_ms) = match entry {
        Entry::Known(_) => ("known", u64::from(source.ttl_seconds) * 1000),
        Entry::Unknown => ("unknown", u64::from(source.unknown_ttl_seconds) * 1000),
        Entry::Failed => ("failed", RETRY_MS),
    };
    // the counter starts anew when the first ones that it counted have ended: about as many are there at once
    let counted = outside.count(&source.store, &format!("sigv4-{kind}:{}", source.url), ttl_ms);
    let written = counted.and_then(|count| {
        let most = u64::from(source.max_keys);
        if count == most + 1 {
            let message = format!(
                "more than max-keys: {most} {kind} keys of {}, the rest is not kept",
                source.url
            );
            outside.log(Level::Info, &message);
        }
        if count > most {
            return Ok(());
        }
        let text = serde_json::to_vec(entry).map_err(|error| error.to_string())?;
        outside.write(&source.store, name, &text, ttl_ms)
    });
    if let Err(error) = written {
        let message = format!("answers of {} cannot be kept: {error}", source.url);
        outside.log(Level::Error, &message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::Fake;

    const URL: &str = "https://keys.test/v1";

    fn settings(extra: serde_json::Value) -> Settings {
        let mut source = json!({"url": URL});
        source
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(json!({"regions": ["r"], "source": source})).unwrap()).unwrap()
    }

    fn page(id: &str) -> String {
        format!("{URL}?access-key-id={id}")
    }

    #[test]
    fn a_key_is_fetched_once_and_again_when_it_is_old() {
        let fake = Fake::at(1_700_000_000_000);
        let settings = settings(json!({}));
        let body = json!({"secretAccessKey": "s", "sessionToken": "t", "principalArn": "arn:aws:iam::42:user/a", "more": 1});
        fake.serve(&page("A"), 200, body.to_string());
        for _ in 0..3 {
            let known = find(&settings, "A", &fake).unwrap().unwrap();
            assert_eq!(
                (known.secret.as_deref(), known.session_token.as_deref()),
                (Some("s"), Some("t"))
            );
            assert_eq!(known.identity.account.as_deref(), Some("42"));
        }
        assert_eq!(fake.fetches(), 1);
        fake.pass(300_000);
        fake.serve(&page("A"), 404, String::new());
        assert!(find(&settings, "A", &fake).unwrap().is_none());
        assert_eq!(fake.fetches(), 2);
    }

    #[test]
    fn an_unknown_key_is_asked_for_once_in_a_while() {
        let fake = Fake::at(0);
        let settings = settings(json!({}));
        fake.serve(&page("A"), 404, String::new());
        for _ in 0..5 {
            assert!(find(&settings, "A", &fake).unwrap().is_none());
        }
        assert_eq!(fake.fetches(), 1);
        fake.pass(30_000);
        fake.serve(&page("A"), 200, json!({"secretAccessKey": "s"}).to_string());
        assert!(find(&settings, "A", &fake).unwrap().is_some());
    }

    #[test]
    fn a_flood_of_made_up_ids_is_bounded_in_the_store_and_at_the_source() {
        let fake = Fake::at(0);
        let settings = settings(json!({"max-keys": 3, "max-fetches-per-minute": 10}));
        let mut refused = 0;
        for number in 0..50 {
            let id = format!("A{number}");
            fake.serve(&page(&id), 404, String::new());
            refused += usize::from(find(&settings, &id, &fake).is_err());
        }
        assert_eq!((fake.fetches(), refused), (10, 40));
        assert_eq!(fake.stored("sigv4-key:"), 3);
        assert!(fake.logged("more than max-keys: 3 unknown keys"));
        assert!(
            find(&settings, "B", &fake)
                .unwrap_err()
                .contains("max-fetches-per-minute")
        );
        fake.pass(60_000);
        fake.serve(&page("B"), 404, String::new());
        assert!(find(&settings, "B", &fake).unwrap().is_none());
    }

    #[test]
    fn a_failing_source_is_left_alone_for_a_moment() {
        let fake = Fake::at(0);
        let settings = settings(json!({}));
        fake.serve(&page("A"), 500, String::new());
        assert!(
            find(&settings, "A", &fake)
                .unwrap_err()
                .contains("status 500 instead of 200 or 404")
        );
        assert!(
            find(&settings, "A", &fake)
                .unwrap_err()
                .contains("failed a moment ago")
        );
        assert_eq!(fake.fetches(), 1);
        fake.pass(RETRY_MS);
        fake.serve(&page("A"), 200, json!({"secretAccessKey": "s"}).to_string());
        assert!(find(&settings, "A", &fake).unwrap().is_some());
    }

    #[test]
    fn answers_that_do_not_do_are_named_without_their_secrets() {
        let big = format!("{{\"secretAccessKey\": \"{}\"}}", "hunter2".repeat(5000));
        for (body, wanted) in [
            ("hunter2".to_owned(), "no JSON object"),
            (
                json!({"secretAccessKey": ["hunter2"]}).to_string(),
                "no JSON object",
            ),
            (json!({"secretAccessKey": ""}).to_string(), "is empty"),
            (
                json!({"secretAccessKey": "hunter2", "expiration": "hunter2"}).to_string(),
                "expiration is no time",
            ),
            (
                json!({"secretAccessKey": "hunter2", "issuedAt": "hunter2"}).to_string(),
                "issuedAt is no time",
            ),
            (
                json!({"secretAccessKey": "hunter2", "mfa": false, "mfaAt": "2030-01-31T12:00:00Z"})
                    .to_string(),
                "mfa: false, and there is a time",
            ),
            (
                r#"{"secretAccessKey":"hunter2","secretAccessKey":"b"}"#.to_owned(),
                "no JSON object",
            ),
            (big, "the limit is 16384"),
        ] {
            let fake = Fake::at(0);
            fake.serve(&page("A"), 200, body);
            let error = find(&settings(json!({})), "A", &fake).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_store_that_takes_nothing_does_not_let_questions_through_unbounded() {
        let fake = Fake::at(0);
        fake.fill_store();
        assert!(
            find(&settings(json!({})), "A", &fake)
                .unwrap_err()
                .contains("store is full")
        );
        assert_eq!(fake.fetches(), 0);
        let fake = Fake::at(0);
        fake.put("sigv4", &format!("sigv4-key:{URL} A"), b"rubbish", 1000);
        fake.serve(&page("A"), 404, String::new());
        assert!(find(&settings(json!({})), "A", &fake).unwrap().is_none());
        assert!(fake.logged("is unusable and ignored"));
    }

    #[test]
    fn configured_keys_need_their_secrets() {
        let config = json!({"regions": ["r"], "credentials": [{"access-key-id": "A", "secret": "a"}]});
        let settings = Settings::new(serde_json::from_value(config).unwrap()).unwrap();
        let fake = Fake::at(0);
        assert!(
            find(&settings, "A", &fake)
                .unwrap_err()
                .contains("key A: secret \"a\" is not granted")
        );
        for (bytes, wanted) in [(&b"\n"[..], "is empty"), (b"\xff", "is no text")] {
            fake.hide("a", bytes);
            assert!(find(&settings, "A", &fake).unwrap_err().contains(wanted));
        }
        fake.hide("a", b"secret\r\n");
        let known = find(&settings, "A", &fake).unwrap().unwrap();
        assert_eq!(known.secret.as_deref(), Some("secret"));
        assert!(find(&settings, "B", &fake).unwrap().is_none());
    }
}
