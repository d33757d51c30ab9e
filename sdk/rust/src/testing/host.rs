//! The fake host: what it grants, what it knows, and what it saw.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use crate::http_client;
use crate::kv::Entry;
use crate::log::Level;

/// Answers outgoing requests of the plugin under test.
pub(super) type HttpHandler =
    dyn Fn(&http_client::Request) -> Result<http_client::Response, http_client::Error>;

/// A value in a store, and the time (milliseconds) from which on it is gone.
pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) expires_ms: Option<u64>,
}

/// Everything the host of a thread knows.
pub(super) struct State {
    pub(super) now_ms: u64,
    pub(super) hash_seed: (u64, u64),
    pub(super) level: Level,
    pub(super) secrets: BTreeMap<String, Option<Vec<u8>>>,
    pub(super) stores: BTreeSet<String>,
    pub(super) entries: BTreeMap<(String, String), Stored>,
    pub(super) writes: u64,
    pub(super) http: Option<Rc<HttpHandler>>,
    pub(super) requests: Vec<http_client::Request>,
    pub(super) log: Vec<(Level, String)>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) observations: BTreeMap<String, Vec<f64>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now_ms: 1_700_000_000_000,
            hash_seed: (1, 2),
            level: Level::Trace,
            secrets: BTreeMap::new(),
            stores: BTreeSet::new(),
            entries: BTreeMap::new(),
            writes: 0,
            http: None,
            requests: Vec::new(),
            log: Vec::new(),
            counters: BTreeMap::new(),
            observations: BTreeMap::new(),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Rc<RefCell<State>>> = RefCell::default();
}

/// The host of this thread.
pub(super) fn current() -> Rc<RefCell<State>> {
    CURRENT.with_borrow(Rc::clone)
}

/// A fake host. Grants nothing and knows nothing until told; [`Host::install`] makes it the host of the thread.
#[derive(Clone, Default)]
pub struct Host(Rc<RefCell<State>>);

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A host without grants, at 2023-11-14T22:13:20Z, that writes all log levels.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// Grants a secret and gives it a value.
    #[must_use]
    pub fn with_secret(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|state| {
            state
                .secrets
                .insert(name.to_owned(), Some(value.as_ref().to_vec()));
        })
    }

    /// Grants a secret whose source has no value.
    #[must_use]
    pub fn with_missing_secret(self, name: &str) -> Self {
        self.with(|state| {
            state.secrets.insert(name.to_owned(), None);
        })
    }

    /// Grants a key-value store.
    #[must_use]
    pub fn with_kv(self, store: &str) -> Self {
        self.with(|state| {
            state.stores.insert(store.to_owned());
        })
    }

    /// Grants `http`, and answers outgoing requests with `answer`. Without it they are denied.
    #[must_use]
    pub fn with_http(
        self,
        answer: impl Fn(&http_client::Request) -> Result<http_client::Response, http_client::Error> + 'static,
    ) -> Self {
        self.with(|state| state.http = Some(Rc::new(answer)))
    }

    /// Sets the time of day, in milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn at_time(self, now_ms: u64) -> Self {
        self.with(|state| state.now_ms = now_ms)
    }

    /// Sets the seed of hash tables.
    #[must_use]
    pub fn with_hash_seed(self, k0: u64, k1: u64) -> Self {
        self.with(|state| state.hash_seed = (k0, k1))
    }

    /// Writes log lines of that level and above only.
    #[must_use]
    pub fn with_log_level(self, level: Level) -> Self {
        self.with(|state| state.level = level)
    }

    /// Makes this the host of the thread; the handle stays good for looking into it.
    pub fn install(self) -> Self {
        CURRENT.set(Rc::clone(&self.0));
        self
    }

    /// Sets the time of day of a host in use.
    pub fn set_time(&self, now_ms: u64) {
        self.0.borrow_mut().now_ms = now_ms;
    }

    /// Lets time pass.
    pub fn advance_ms(&self, milliseconds: u64) {
        self.0.borrow_mut().now_ms += milliseconds;
    }

    /// The log lines so far. A panic message that the export glue would report is not among them.
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.0.borrow().log.clone()
    }

    /// What was added to a counter so far.
    pub fn counter(&self, name: &str) -> u64 {
        self.0.borrow().counters.get(name).copied().unwrap_or(0)
    }

    /// The observations of a distribution so far.
    pub fn observations(&self, name: &str) -> Vec<f64> {
        self.0
            .borrow()
            .observations
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// The outgoing requests so far.
    pub fn http_requests(&self) -> Vec<http_client::Request> {
        self.0.borrow().requests.clone()
    }
}
