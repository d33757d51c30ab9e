//! Capability `kv`: named stores in the memory of the process, shared by everything that was granted the same name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::kv::{Entry, Error, Host},
    state::{HostState, Mode},
};

const KEY_MAX: usize = 512;
const VALUE_MAX: usize = 64 * 1024;
/// What an entry costs besides key and value, in bytes.
const OVERHEAD: usize = 96;

/// All stores of a process.
#[derive(Default)]
pub(crate) struct Stores(Mutex<BTreeMap<String, Arc<Store>>>);

impl Stores {
    /// The store of that name; its quota is the largest that any binding asks for.
    pub(crate) fn open(&self, name: &str, max_bytes: u64) -> Arc<Store> {
        let mut stores = self.0.lock();
        let store = stores.entry(name.to_owned()).or_default();
        let mut inner = store.0.lock();
        inner.quota = inner.quota.max(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        drop(inner);
        Arc::clone(store)
    }
}

/// One store.
#[derive(Default)]
pub(crate) struct Store(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Item>,
    bytes: usize,
    quota: usize,
    version: u64,
}

struct Item {
    value: Vec<u8>,
    version: u64,
    expires: Option<Instant>,
}

type Outcome<T> = std::result::Result<T, Error>;

impl Inner {
    fn get(&mut self, key: &str, now: Instant) -> Option<&Item> {
        if self
            .entries
            .get(key)
            .is_some_and(|item| item.expires.is_some_and(|at| at <= now))
        {
            self.remove(key);
        }
        self.entries.get(key)
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(item) = self.entries.remove(key) else {
            return false;
        };
        self.bytes -= cost(key, &item.value);
        true
    }

    fn set(&mut self, key: &str, value: Vec<u8>, expires: Option<Instant>, now: Instant) -> Outcome<u64> {
        if key.len() > KEY_MAX {
            return Err(Error::TooLarge(format!(
                "key of {} bytes exceeds {KEY_MAX}",
                key.len()
            )));
        }
        if value.len() > VALUE_MAX {
            return Err(Error::TooLarge(format!(
                "value of {} bytes exceeds {VALUE_MAX}",
                value.len()
            )));
        }
        let new = cost(key, &value);
        let old = self.entries.get(key).map_or(0, |item| cost(key, &item.value));
        if self.bytes - old + new > self.quota {
            self.drop_expired(now);
            let old = self.entries.get(key).map_or(0, |item| cost(key, &item.value));
            if self.bytes - old + new > self.quota {
                return Err(Error::QuotaExceeded(format!(
                    "the store holds {} of {} bytes",
                    self.bytes, self.quota
                )));
            }
        }
        self.remove(key);
        self.bytes += new;
        self.version += 1;
        self.entries.insert(
            key.to_owned(),
            Item {
                value,
                version: self.version,
                expires,
            },
        );
        Ok(self.version)
    }

    fn drop_expired(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, item| {
            let keep = item.expires.is_none_or(|at| at > now);
            if !keep {
                *bytes -= cost(key, &item.value);
            }
            keep
        });
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

fn expiry(now: Instant, ttl_ms: Option<u64>) -> Option<Instant> {
    ttl_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)))
}

impl HostState {
    fn store(&mut self, name: &str) -> Result<Outcome<Arc<Store>>> {
        self.enter()?;
        if self.mode == Mode::Init {
            return Ok(Err(Error::Unavailable(
                "kv is not available during init".to_owned(),
            )));
        }
        if let Some(store) = self.capabilities.kv.get(name) {
            return Ok(Ok(Arc::clone(store)));
        }
        self.deny(&format!("kv store `{name}`"));
        Ok(Err(Error::NotGranted(format!("store `{name}` is not granted"))))
    }
}

/// Opens a granted store or returns the refusal to the guest.
macro_rules! open {
    ($state:expr, $name:expr) => {
        match $state.store(&$name)? {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        }
    };
}

impl Host for HostState {
    fn get(&mut self, store: String, key: String) -> Result<Outcome<Option<Entry>>> {
        let store = open!(self, store);
        let mut inner = store.0.lock();
        let entry = inner.get(&key, Instant::now()).map(|item| Entry {
            value: item.value.clone(),
            version: item.version,
        });
        Ok(Ok(entry))
    }

    fn set(
        &mut self,
        store: String,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<Outcome<u64>> {
        let store = open!(self, store);
        let now = Instant::now();
        Ok(store.0.lock().set(&key, value, expiry(now, ttl_ms), now))
    }

    fn compare_and_set(
        &mut self,
        store: String,
        key: String,
        expected: u64,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<Outcome<Option<u64>>> {
        let store = open!(self, store);
        let now = Instant::now();
        let mut inner = store.0.lock();
        if inner.get(&key, now).map_or(0, |item| item.version) != expected {
            return Ok(Ok(None));
        }
        Ok(inner.set(&key, value, expiry(now, ttl_ms), now).map(Some))
    }

    fn increment(
        &mut self,
        store: String,
        key: String,
        delta: i64,
        ttl_ms: Option<u64>,
    ) -> Result<Outcome<i64>> {
        let store = open!(self, store);
        let now = Instant::now();
        let mut inner = store.0.lock();
        let (sum, expires) = match inner.get(&key, now) {
            Some(item) => {
                let text = std::str::from_utf8(&item.value).unwrap_or_default();
                (
                    text.parse::<i64>().unwrap_or(0).saturating_add(delta),
                    item.expires,
                )
            }
            None => (delta, expiry(now, ttl_ms)),
        };
        Ok(inner
            .set(&key, sum.to_string().into_bytes(), expires, now)
            .map(|_version| sum))
    }

    fn delete(&mut self, store: String, key: String) -> Result<Outcome<bool>> {
        let store = open!(self, store);
        let mut inner = store.0.lock();
        let there = inner.get(&key, Instant::now()).is_some();
        inner.remove(&key);
        Ok(Ok(there))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_counts_what_is_there_and_expired_entries_make_room() {
        let stores = Stores::default();
        let store = stores.open("s", 300);
        let mut inner = store.0.lock();
        let now = Instant::now();
        inner
            .set("a", vec![0; 50], Some(now + Duration::from_secs(1)), now)
            .unwrap();
        inner
            .set("a", vec![1; 60], Some(now + Duration::from_secs(1)), now)
            .unwrap();
        assert!(matches!(
            inner.set("b", vec![0; 100], None, now),
            Err(Error::QuotaExceeded(_))
        ));
        let later = now + Duration::from_secs(2);
        inner.set("b", vec![0; 100], None, later).unwrap();
        assert!(inner.get("a", later).is_none());
        assert!(inner.remove("b"));
        assert_eq!(inner.bytes, 0);
    }

    #[test]
    fn versions_change_with_every_write() {
        let stores = Stores::default();
        let store = stores.open("s", 1000);
        let mut inner = store.0.lock();
        let now = Instant::now();
        let first = inner.set("k", vec![1], None, now).unwrap();
        let second = inner.set("k", vec![1], None, now).unwrap();
        assert!(first != 0 && second > first);
    }
}
