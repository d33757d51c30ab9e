//! Decisions of an authorizer that are kept: what it said of a caller is said again of the next request with the same credentials, without a call.
//! What is kept is what it said, not what came of it: a policy is held against each request anew. Refusals are kept where the plugin says so. Later hooks of
//! the plugin see every request, as ever.
//!
//! Each worker has a part of its own, so that none waits for another. A decision that one worker lacks is taken from the others, and while one asks the
//! plugin, the others wait for what it says.

use std::{
    collections::{HashMap, hash_map::Entry},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use edgeward_core::{config::DecisionCache, normalize::parse_query};
use http::{HeaderName, HeaderValue, StatusCode};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    exchange::{ContextValue, Exchange, Granted, Undo},
    session::Decision,
};

/// SHA-256 of everything that a decision is kept for: credentials are not in memory longer than their requests.
pub type Key = [u8; 32];

/// What an entry weighs besides its values, in bytes.
const ENTRY: usize = 256;
/// What a policy weighs, as a multiple of its text.
const POLICY: usize = 4;
/// Parts at most; machines with more cores share them.
const PARTS_MAX: usize = 64;

/// Kept decisions of one authorizer.
#[derive(Debug)]
pub struct Decisions {
    headers: Vec<HeaderName>,
    query: Vec<String>,
    ttl_max: Duration,
    /// How long a decision still serves after its time while it is asked for anew.
    stale: Duration,
    /// Bytes of each part.
    size: usize,
    /// Entries of each part.
    entries: usize,
    parts: Box<[Mutex<Part>]>,
    /// Keys that are being asked about.
    asked: Mutex<HashMap<Key, watch::Receiver<()>>>,
    /// Raised when decisions are thrown away: what was asked before is not kept after.
    flushed: AtomicU64,
    counts: Counts,
}

/// Decisions of one worker.
#[derive(Debug)]
struct Part {
    known: LruCache<Key, Arc<Said>>,
    weight: usize,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// How often decisions were there, were not, and made room for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DecisionCounts {
    /// Requests that were decided by what was kept.
    pub hits: u64,
    /// Requests that the plugin was asked about.
    pub misses: u64,
    /// Decisions that made room for others.
    pub evictions: u64,
}

/// What an authorizer said of a caller.
#[derive(Debug)]
pub(crate) struct Said {
    until: Instant,
    weight: usize,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Allow {
        principal: Option<String>,
        usage_key: Option<String>,
        policy: Option<Arc<Granted>>,
        context: Vec<((Arc<str>, String), ContextValue)>,
    },
    Deny {
        status: StatusCode,
        reason: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
}

/// What comes of asking.
pub(crate) enum Found {
    /// Somebody else asked, and this was said.
    Said(Arc<Said>),
    /// Nothing: the plugin is asked, and others who want to know wait until this is dropped.
    Nothing(Asking),
}

/// A question that is under way.
pub(crate) struct Asking {
    of: Arc<Decisions>,
    key: Key,
    flushed: u64,
    /// Dropped with this, which wakes those who wait; none where somebody else asks, too.
    first: Option<watch::Sender<()>>,
}

impl Asking {
    /// False where it was waited for somebody else before.
    pub(crate) fn is_first(&self) -> bool {
        self.first.is_some()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.first.is_some() {
            self.of.asked.lock().remove(&self.key);
        }
    }
}

impl Decisions {
    /// `settings` were checked; a name that is no field name would be ignored.
    #[must_use]
    pub fn new(settings: &DecisionCache) -> Arc<Self> {
        let field = |name: &String| HeaderName::from_bytes(name.as_bytes()).ok();
        let count = std::thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .min(PARTS_MAX);
        let part = || {
            Mutex::new(Part {
                known: LruCache::unbounded(),
                weight: 0,
            })
        };
        let size = usize::try_from(settings.size.0).unwrap_or(usize::MAX);
        Arc::new(Self {
            headers: settings.headers.iter().filter_map(field).collect(),
            query: settings.query.clone(),
            ttl_max: settings.max_ttl.0,
            stale: settings.stale_while_revalidate.0,
            size: size / count,
            entries: (settings.entries / count).max(1),
            parts: (0..count).map(|_| part()).collect(),
            asked: Mutex::default(),
            flushed: AtomicU64::new(0),
            counts: Counts::default(),
        })
    }

    /// What a decision about this request would be kept under: route, its scopes, method, who is calling by what was said before, and all values of the fields
    /// and parameters. None when one of these is missing.
    pub(crate) fn key(&self, exchange: &Exchange) -> Option<Key> {
        let mut hash = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(exchange.route.name.as_bytes());
        add(exchange.request.method.as_str().as_bytes());
        // another deployment may want others on the same route
        for scope in &exchange.route.scopes {
            add(scope.as_bytes());
        }
        add(&exchange.route.scopes.len().to_le_bytes());
        // a plugin may say the same again of who is calling
        for known in [&exchange.principal, &exchange.usage_key] {
            add(&[u8::from(known.is_some())]);
            add(known.as_deref().unwrap_or_default().as_bytes());
        }
        // values and, after them, their number: no two lists of lists are written alike
        for name in &self.headers {
            let mut count = 0_u64;
            for value in exchange.request.headers.get_all(name) {
                add(value.as_bytes());
                count += 1;
            }
            add(&count.to_le_bytes());
            (count > 0).then_some(())?;
        }
        for name in &self.query {
            let mut count = 0_u64;
            let query = exchange.request.query.as_deref().unwrap_or_default();
            for (_, value) in parse_query(query).filter(|(key, _)| key == name) {
                add(value.as_bytes());
                count += 1;
            }
            add(&count.to_le_bytes());
            (count > 0).then_some(())?;
        }
        hash.finish().as_ref().try_into().ok()
    }

    /// Asks about a key that nothing is known of ([`Self::get`]). While somebody else asks, what was said before serves, if it may, or what is said now is waited
    /// for, as long as that takes.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(crate) async fn ask(self: &Arc<Self>, key: Key) -> Found {
        let flushed = self.flushed.load(Relaxed);
        let (sender, receiver) = watch::channel(());
        let asked = match self.asked.lock().entry(key) {
            Entry::Occupied(asked) => Some(asked.get().clone()),
            Entry::Vacant(place) => {
                place.insert(receiver);
                None
            }
        };
        let first = match asked {
            None => Some(sender),
            Some(mut asked) => {
                if let Some(said) = self.late(&key) {
                    self.counts.hits.fetch_add(1, Relaxed);
                    return Found::Said(said);
                }
                // an error: the sender is gone, which is what is waited for
                let _ended = asked.changed().await;
                if let Some(said) = self.get(&key) {
                    return Found::Said(said);
                }
                // it cannot be kept: each asks for itself
                None
            }
        };
        self.counts.misses.fetch_add(1, Relaxed);
        Found::Nothing(Asking {
            of: Arc::clone(self),
            key,
            flushed,
            first,
        })
    }

    /// What was said under a key, by whichever worker's part has it.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Said>> {
        let said = self.known(key);
        if said.is_some() {
            self.counts.hits.fetch_add(1, Relaxed);
        }
        said
    }

    /// What was said last under a key, whether it is over or not.
    fn late(&self, key: &Key) -> Option<Arc<Said>> {
        if self.stale.is_zero() {
            // what is not over was looked for already
            return None;
        }
        let now = Instant::now();
        let parts = self.parts.iter();
        let said = parts.filter_map(|part| part.lock().get(key, now, self.stale));
        said.max_by_key(|said| said.until)
    }

    /// What was said under a key and is not over.
    fn known(&self, key: &Key) -> Option<Arc<Said>> {
        let (own, now) = (worker() % self.parts.len(), Instant::now());
        let flushed = self.flushed.load(Relaxed);
        let serves = |said: &Arc<Said>| said.until > now;
        let look = |part: &Mutex<Part>| part.lock().get(key, now, self.stale).filter(serves);
        if let Some(said) = look(self.parts.get(own)?) {
            return Some(said);
        }
        let mut others = self.parts.iter().enumerate().filter(|(at, _)| *at != own);
        let said = others.find_map(|(_, part)| look(part))?;
        self.put(*key, Arc::clone(&said), flushed);
        Some(said)
    }

    /// Nothing is said under a key any more.
    fn forget(&self, key: &Key) {
        for part in &self.parts {
            part.lock().pop(key);
        }
    }

    /// Keeps what was said before anything was thrown away since `flushed`.
    fn put(&self, key: Key, said: Arc<Said>, flushed: u64) {
        let Some(part) = self.parts.get(worker() % self.parts.len()) else {
            return;
        };
        let mut evicted = 0;
        let mut part = part.lock();
        // a part is emptied after the number was raised: who has its lock sees that, or is emptied later
        if self.flushed.load(Relaxed) != flushed {
            return;
        }
        part.weight += said.weight;
        if let Some((_, old)) = part.known.push(key, said) {
            part.weight -= old.weight;
        }
        while part.weight > self.size || part.known.len() > self.entries {
            let Some((_, old)) = part.known.pop_lru() else {
                break;
            };
            part.weight -= old.weight;
            evicted += 1;
        }
        self.counts.evictions.fetch_add(evicted, Relaxed);
    }

    /// Throws decisions away: those about a principal, or all. What is being asked is not kept either.
    pub fn flush(&self, principal: Option<&str>) -> usize {
        self.flushed.fetch_add(1, Relaxed);
        let mut gone = 0;
        for part in &self.parts {
            let mut part = part.lock();
            let about = |said: &Said| match (&said.verdict, principal) {
                (_, None) => true,
                (Verdict::Allow { principal: known, .. }, Some(wanted)) => known.as_deref() == Some(wanted),
                (Verdict::Deny { .. }, Some(_)) => false,
            };
            let keys: Vec<Key> = part
                .known
                .iter()
                .filter(|(_, said)| about(said))
                .map(|(key, _)| *key)
                .collect();
            gone += keys.iter().filter(|key| part.pop(key)).count();
        }
        gone
    }

    /// How often it was of use.
    #[must_use]
    pub fn counts(&self) -> DecisionCounts {
        DecisionCounts {
            hits: self.counts.hits.load(Relaxed),
            misses: self.counts.misses.load(Relaxed),
            evictions: self.counts.evictions.load(Relaxed),
        }
    }
}

impl Part {
    /// What was said, unless it is over for longer than `stale`, when it goes.
    fn get(&mut self, key: &Key, now: Instant, stale: Duration) -> Option<Arc<Said>> {
        let said = self.known.get(key)?;
        if said.until + stale > now {
            return Some(Arc::clone(said));
        }
        self.pop(key);
        None
    }

    /// Whether there was something.
    fn pop(&mut self, key: &Key) -> bool {
        let old = self.known.pop(key);
        if let Some(old) = &old {
            self.weight -= old.weight;
        }
        old.is_some()
    }
}

impl Asking {
    /// Keeps what an authorizer has just said and not yet committed, for as long as it says. Nothing is kept of one that edited the request, which was this
    /// one only. What it said before is over in either case. `usage_key` is the one that it has said itself.
    pub(crate) fn keep(&self, decision: &Decision, usage_key: Option<String>, exchange: &Exchange) {
        if !self.of.stale.is_zero() {
            // other workers' parts may have what is over, but serves late
            self.of.forget(&self.key);
        }
        if let Some(said) = self.said(decision, usage_key, exchange) {
            self.of.put(self.key, Arc::new(said), self.flushed);
        }
    }

    /// What is kept of a decision, if it is.
    fn said(&self, decision: &Decision, usage_key: Option<String>, exchange: &Exchange) -> Option<Said> {
        let (ttl, verdict) = match decision {
            Decision::Allow { ttl_seconds } => {
                let mut context: Vec<((Arc<str>, String), ContextValue)> = Vec::new();
                for undo in &exchange.undo {
                    let Undo::Context(key, _) = undo else {
                        return None;
                    };
                    if let Some(value) = exchange.context.get(key)
                        && context.iter().all(|(known, _)| known != key)
                    {
                        context.push((key.clone(), value.clone()));
                    }
                }
                let verdict = Verdict::Allow {
                    principal: exchange.principal.clone(),
                    usage_key,
                    policy: exchange.policy.clone(),
                    context,
                };
                (*ttl_seconds, verdict)
            }
            Decision::Deny {
                status,
                reason,
                headers,
                ttl_seconds,
            } => {
                let edited = exchange
                    .undo
                    .iter()
                    .any(|undo| !matches!(undo, Undo::Context(..)));
                if edited {
                    return None;
                }
                let verdict = Verdict::Deny {
                    status: *status,
                    reason: reason.clone(),
                    headers: headers.clone(),
                };
                (*ttl_seconds, verdict)
            }
            Decision::Respond(_) => return None,
        };
        let ttl = Duration::from_secs(ttl.into()).min(self.of.ttl_max);
        let weight = verdict.weight();
        (!ttl.is_zero() && weight <= self.of.size).then(|| Said {
            until: Instant::now() + ttl,
            weight,
            verdict,
        })
    }
}

impl Said {
    /// Says it again.
    pub(crate) fn again(&self, exchange: &mut Exchange) -> Decision {
        let left = self.until.saturating_duration_since(Instant::now());
        let ttl_seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
        match &self.verdict {
            Verdict::Allow {
                principal,
                usage_key,
                policy,
                context,
            } => {
                if let Some(principal) = principal {
                    exchange.set_caller(principal.clone(), usage_key.clone());
                }
                exchange.policy.clone_from(policy);
                for (key, value) in context {
                    exchange.context.insert(key.clone(), value.clone());
                }
                Decision::Allow { ttl_seconds }
            }
            Verdict::Deny {
                status,
                reason,
                headers,
            } => Decision::Deny {
                status: *status,
                reason: reason.clone(),
                headers: headers.clone(),
                ttl_seconds,
            },
        }
    }
}

impl Verdict {
    fn weight(&self) -> usize {
        let own = match self {
            Self::Allow {
                principal,
                usage_key,
                policy,
                context,
            } => {
                let texts = [principal, usage_key];
                let policy = policy.as_ref().map_or(0, |policy| POLICY * policy.text);
                let context = context.iter().map(|((_, key), value)| key.len() + value.size());
                texts.into_iter().flatten().map(String::len).sum::<usize>() + policy + context.sum::<usize>()
            }
            Self::Deny { reason, headers, .. } => {
                let headers = headers
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len());
                reason.len() + headers.sum::<usize>()
            }
        };
        ENTRY + own
    }
}

/// Number of this thread, in the order in which threads came here.
fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Relaxed);
    }
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests;
