//! The key-value store of the fake host.

use crate::kv::{Entry, Error};
use crate::stage::{self, Stage};
use crate::testing::host::{self, State, Stored};

const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 64 * 1024;

/// Runs an operation on a granted store, after expired entries were removed.
fn with<T>(store: &str, operation: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
    if stage::current() == Stage::Init {
        return Err(Error::Unavailable("kv is not available during init".to_owned()));
    }
    let state = host::current();
    let mut state = state.borrow_mut();
    if !state.stores.contains(store) {
        return Err(Error::NotGranted(format!("store {store} is not granted")));
    }
    let now_ms = state.now_ms;
    state
        .entries
        .retain(|_, stored| stored.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms));
    operation(&mut state)
}

fn name(store: &str, key: &str) -> (String, String) {
    (store.to_owned(), key.to_owned())
}

fn write(
    state: &mut State,
    store: &str,
    key: &str,
    value: &[u8],
    expires_ms: Option<u64>,
) -> Result<u64, Error> {
    if key.len() > MAX_KEY {
        return Err(Error::TooLarge(format!(
            "key of {} bytes exceeds the limit of {MAX_KEY}",
            key.len()
        )));
    }
    if value.len() > MAX_VALUE {
        return Err(Error::TooLarge(format!(
            "value of {} bytes exceeds the limit of {MAX_VALUE}",
            value.len()
        )));
    }
    state.writes += 1;
    let version = state.writes;
    let entry = Entry {
        value: value.to_vec(),
        version,
    };
    state
        .entries
        .insert(name(store, key), Stored { entry, expires_ms });
    Ok(version)
}

fn expiry(state: &State, ttl_ms: Option<u64>) -> Option<u64> {
    ttl_ms.map(|ttl_ms| state.now_ms.saturating_add(ttl_ms))
}

pub fn get(store: &str, key: &str) -> Result<Option<Entry>, Error> {
    with(store, |state| {
        Ok(state
            .entries
            .get(&name(store, key))
            .map(|stored| stored.entry.clone()))
    })
}

pub fn set(store: &str, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<u64, Error> {
    with(store, |state| {
        let expires_ms = expiry(state, ttl_ms);
        write(state, store, key, value, expires_ms)
    })
}

pub fn compare_and_set(
    store: &str,
    key: &str,
    expected: u64,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<Option<u64>, Error> {
    with(store, |state| {
        let version = state
            .entries
            .get(&name(store, key))
            .map_or(0, |stored| stored.entry.version);
        if version != expected {
            return Ok(None);
        }
        let expires_ms = expiry(state, ttl_ms);
        write(state, store, key, value, expires_ms).map(Some)
    })
}

pub fn increment(store: &str, key: &str, delta: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
    with(store, |state| {
        let (count, expires_ms) = match state.entries.get(&name(store, key)) {
            Some(stored) => (decimal(&stored.entry.value), stored.expires_ms),
            None => (0, expiry(state, ttl_ms)),
        };
        let sum = count.saturating_add(delta);
        write(state, store, key, sum.to_string().as_bytes(), expires_ms)?;
        Ok(sum)
    })
}

pub fn delete(store: &str, key: &str) -> Result<bool, Error> {
    with(store, |state| {
        Ok(state.entries.remove(&name(store, key)).is_some())
    })
}

/// A value that is no decimal integer counts as 0.
fn decimal(value: &[u8]) -> i64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
