//! The world outside, for tests: a clock that is moved by hand, a `kv` store with times to live and a scripted source.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use edgeward_sdk::log::Level;

use crate::outside::Outside;

/// A value and the time at which it ends.
type Stored = (Vec<u8>, u64);

#[derive(Default)]
pub(crate) struct Fake {
    now_ms: Cell<u64>,
    secrets: RefCell<HashMap<String, Vec<u8>>>,
    pages: RefCell<HashMap<String, (u16, String)>>,
    fetches: Cell<usize>,
    store: RefCell<HashMap<(String, String), Stored>>,
    store_is_full: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl Fake {
    pub(crate) fn at(now_ms: u64) -> Self {
        Self {
            now_ms: Cell::new(now_ms),
            ..Self::default()
        }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    pub(crate) fn set_time(&self, ms: u64) {
        self.now_ms.set(ms);
    }

    pub(crate) fn serve(&self, url: &str, status: u16, body: String) {
        self.pages.borrow_mut().insert(url.into(), (status, body));
    }

    pub(crate) fn hide(&self, name: &str, secret: &[u8]) {
        self.secrets.borrow_mut().insert(name.into(), secret.into());
    }

    pub(crate) fn put(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) {
        self.write(store, key, value, ttl_ms).unwrap();
    }

    pub(crate) fn fill_store(&self) {
        self.store_is_full.set(true);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.get()
    }

    /// How many keys that begin so are in the stores.
    pub(crate) fn stored(&self, prefix: &str) -> usize {
        let entries = self.store.borrow();
        entries.keys().filter(|(_, key)| key.starts_with(prefix)).count()
    }

    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log.borrow().iter().any(|line| line.contains(text))
    }
}

impl Outside for Fake {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        let secrets = self.secrets.borrow();
        secrets
            .get(name)
            .cloned()
            .ok_or_else(|| format!("secret {name:?} is not granted"))
    }

    fn fetch(&self, url: &str, _timeout_ms: u32) -> Result<(u16, Vec<u8>), String> {
        self.fetches.set(self.fetches.get() + 1);
        let pages = self.pages.borrow();
        let (status, body) = pages.get(url).ok_or("connection refused")?;
        Ok((*status, body.clone().into_bytes()))
    }

    fn read(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let entries = self.store.borrow();
        let entry = entries
            .get(&(store.into(), key.into()))
            .filter(|(_, ends)| *ends > self.now_ms());
        Ok(entry.map(|(value, _)| value.clone()))
    }

    fn write(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        if self.store_is_full.get() {
            return Err("store is full".into());
        }
        self.store
            .borrow_mut()
            .insert((store.into(), key.into()), (value.into(), self.now_ms() + ttl_ms));
        Ok(())
    }

    fn write_if_absent(&self, store: &str, key: &str, value: &[u8], ttl_ms: u64) -> Result<bool, String> {
        if self.read(store, key)?.is_some() {
            return Ok(false);
        }
        self.write(store, key, value, ttl_ms).map(|()| true)
    }

    fn count(&self, store: &str, key: &str, ttl_ms: u64) -> Result<u64, String> {
        let Some(value) = self.read(store, key)? else {
            return self.write(store, key, b"1", ttl_ms).map(|()| 1);
        };
        let sum: u64 = String::from_utf8(value).unwrap().parse::<u64>().unwrap() + 1;
        let mut entries = self.store.borrow_mut();
        entries.get_mut(&(store.into(), key.into())).unwrap().0 = sum.to_string().into_bytes();
        Ok(sum)
    }

    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        one == other
    }

    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push(format!("{level:?}: {message}"));
    }
}
