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
mod tests {
    use edgeward_core::config::{Bytes, Time};
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;
    use crate::exchange::{HeaderEdit, Peer, RequestHead, RouteInfo, Side};

    fn settings(headers: &[&str], query: &[&str]) -> DecisionCache {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        DecisionCache {
            headers: owned(headers),
            query: owned(query),
            max_ttl: Time::secs(60),
            stale_while_revalidate: Time::secs(0),
            size: Bytes::mib(1),
            entries: 1000,
        }
    }

    fn decisions(headers: &[&str], query: &[&str]) -> Arc<Decisions> {
        Decisions::new(&settings(headers, query))
    }

    const ALLOW: Decision = Decision::Allow { ttl_seconds: 60 };

    fn deny(ttl_seconds: u32) -> Decision {
        Decision::Deny {
            status: StatusCode::FORBIDDEN,
            reason: "no".to_owned(),
            headers: Vec::new(),
            ttl_seconds,
        }
    }

    /// Asks about a key that nothing is known of.
    fn ask(decisions: &Arc<Decisions>, key: Key) -> Asking {
        use futures_util::FutureExt as _;
        match decisions.ask(key).now_or_never() {
            Some(Found::Nothing(asking)) => asking,
            _ => panic!("something is known of it"),
        }
    }

    fn exchange(query: &str, headers: &[(&'static str, &'static str)]) -> Exchange {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Exchange::new(
            "id".to_owned(),
            Arc::new(RouteInfo {
                name: "pets".to_owned(),
                pattern: "/pets".to_owned(),
                scopes: Vec::new(),
            }),
            edgeward_core::route::Params::default(),
            Arc::new(Peer {
                address: ([127, 0, 0, 1], 1).into(),
                tls_version: None,
                sni: None,
                client_certificate: None,
            }),
            [127, 0, 0, 1].into(),
            RequestHead {
                method: Method::GET,
                https: false,
                authority: "example".to_owned(),
                version: Version::HTTP_11,
                path: "/pets".to_owned(),
                query: Some(query.to_owned()),
                headers: map,
            },
        )
    }

    /// Whether a decision about the first request goes for the second, after `edit`.
    fn used_again(
        decisions: &Arc<Decisions>,
        mut first: Exchange,
        second: &Exchange,
        edit: impl FnOnce(&mut Exchange),
    ) -> bool {
        let key = decisions.key(&first).unwrap();
        edit(&mut first);
        ask(decisions, key).keep(&ALLOW, None, &first);
        decisions
            .key(second)
            .is_some_and(|key| decisions.get(&key).is_some())
    }

    #[test]
    fn all_values_count_and_missing_ones_are_no_key() {
        let by = decisions(&["a", "b"], &["t"]);
        let key = |query, headers: &[_]| by.key(&exchange(query, headers));
        let whole = key("t=1", &[("a", "1"), ("b", "2")]);
        assert!(whole.is_some());
        assert_eq!(
            whole,
            key("u=2&t=%31", &[("b", "2"), ("c", "3"), ("a", "1")]),
            "the rest does not matter"
        );
        for (query, headers) in [
            ("t=2", [("a", "1"), ("b", "2")].as_slice()),
            ("t=1&t=1", &[("a", "1"), ("b", "2")]),
            ("t=1", &[("a", "1"), ("b", "2"), ("b", "2")]),
            ("t=1", &[("a", "12"), ("b", "")]),
            ("t=1", &[("a", ""), ("b", "12")]),
        ] {
            let other = key(query, headers);
            assert!(other.is_some() && other != whole, "{query} {headers:?}");
        }
        assert_eq!(key("t=1", &[("a", "1")]), None);
        assert_eq!(key("", &[("a", "1"), ("b", "2")]), None);
        let mut put = exchange("t=1", &[("a", "1"), ("b", "2")]);
        put.request.method = Method::PUT;
        assert_ne!(by.key(&put), whole);
        let mut scoped = exchange("t=1", &[("a", "1"), ("b", "2")]);
        scoped.route = Arc::new(RouteInfo {
            name: scoped.route.name.clone(),
            pattern: scoped.route.pattern.clone(),
            scopes: vec!["read".to_owned()],
        });
        assert_ne!(by.key(&scoped), whole);
        for (principal, usage_key) in [(Some("alice"), None), (None, Some("alice")), (Some(""), None)] {
            let mut known = exchange("t=1", &[("a", "1"), ("b", "2")]);
            known.principal = principal.map(str::to_owned);
            known.usage_key = usage_key.map(str::to_owned);
            assert_ne!(by.key(&known), whole, "{principal:?} {usage_key:?}");
        }
    }

    #[test]
    fn what_was_said_is_said_again_and_edits_are_not_made_again() {
        let request = || exchange("", &[("a", "1")]);
        let by = decisions(&["a"], &[]);
        let say = |exchange: &mut Exchange| {
            exchange.principal = Some("alice".to_owned());
            exchange.set_context(&Arc::from("login"), "team", ContextValue::Text("red".to_owned()));
        };
        let mut second = request();
        assert!(used_again(&by, request(), &second, say));
        drop(by.get(&by.key(&second).unwrap()).unwrap().again(&mut second));
        assert_eq!(second.principal.as_deref(), Some("alice"));
        // who was known before keeps the key that usage is counted by
        second.usage_key = Some("of another".to_owned());
        drop(by.get(&by.key(&request()).unwrap()).unwrap().again(&mut second));
        assert_eq!(second.usage_key.as_deref(), Some("of another"));
        assert_eq!(
            second.context[&(Arc::from("login"), "team".to_owned())],
            ContextValue::Text("red".to_owned())
        );
        type Edit = fn(&mut Exchange) -> Result<(), String>;
        let edits: [Edit; 3] = [
            |exchange| exchange.edit_header(Side::Request, "a", &HeaderEdit::Set(b"2")),
            |exchange| exchange.set_path("/other"),
            |exchange| exchange.set_query("other"),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let by = decisions(&["a"], &[]);
            let used = used_again(&by, request(), &request(), |exchange| {
                say(exchange);
                edit(exchange).unwrap();
            });
            assert!(!used, "edit {number}");
        }
    }

    #[test]
    fn a_decision_larger_than_the_cache_is_not_kept() {
        let by = decisions(&["a"], &[]);
        let request = || exchange("", &[("a", "1")]);
        let used = used_again(&by, request(), &request(), |exchange| {
            let value = ContextValue::Text("x".repeat(2 << 20));
            exchange.set_context(&Arc::from("login"), "claims", value);
        });
        assert!(!used);
    }

    #[test]
    fn refusals_are_kept_as_long_as_is_said_and_what_is_flushed_is_gone() {
        let by = decisions(&["a"], &[]);
        let request = exchange("", &[("a", "1")]);
        let key = by.key(&request).unwrap();
        ask(&by, key).keep(&deny(0), None, &request);
        assert!(by.get(&key).is_none());
        ask(&by, key).keep(&deny(5), None, &request);
        let mut again = exchange("", &[("a", "1")]);
        let said = by.get(&key).unwrap().again(&mut again);
        assert!(matches!(said, Decision::Deny { status, .. } if status == StatusCode::FORBIDDEN));
        assert_eq!(by.flush(Some("alice")), 0);
        // what was asked before the flush is not kept after it
        let other = by.key(&exchange("", &[("a", "2")])).unwrap();
        let asking = ask(&by, other);
        assert_eq!(by.flush(None), 1);
        asking.keep(&ALLOW, None, &request);
        assert!(by.get(&other).is_none() && by.get(&key).is_none());
    }

    #[test]
    fn a_principal_is_forgotten_and_others_are_not() {
        let by = decisions(&["a"], &[]);
        for (value, name) in [("1", "alice"), ("2", "bob")] {
            let mut request = exchange("", &[("a", value)]);
            let asking = ask(&by, by.key(&request).unwrap());
            request.principal = Some(name.to_owned());
            asking.keep(&ALLOW, None, &request);
        }
        assert_eq!(by.flush(Some("alice")), 1);
        let left = by.key(&exchange("", &[("a", "2")])).unwrap();
        assert!(by.get(&left).is_some());
    }

    #[test]
    fn those_least_in_use_make_room_by_number_and_by_bytes() {
        let settings = DecisionCache {
            entries: 1,
            ..settings(&["a"], &[])
        };
        let by = Decisions::new(&settings);
        let key = |number: u8| [number; 32];
        for number in 0..3 {
            let asking = ask(&by, key(number));
            asking.keep(&ALLOW, None, &exchange("", &[("a", "1")]));
        }
        assert!(by.get(&key(0)).is_none() && by.get(&key(2)).is_some());
        assert_eq!(by.counts().evictions, 2);
        let by = decisions(&["a"], &[]);
        for number in 0..3 {
            let asking = ask(&by, key(number));
            let mut said = exchange("", &[("a", "1")]);
            let share = by.size;
            said.set_context(
                &Arc::from("login"),
                "x",
                ContextValue::Text("x".repeat(share * 3 / 4)),
            );
            asking.keep(&ALLOW, None, &said);
        }
        assert!(by.get(&key(1)).is_none() && by.get(&key(2)).is_some());
    }

    #[tokio::test]
    async fn while_one_asks_anew_the_others_have_what_was_said_before() {
        let by = Decisions::new(&DecisionCache {
            max_ttl: Time(Duration::from_nanos(1)),
            stale_while_revalidate: Time::secs(60),
            ..settings(&["a"], &[])
        });
        let request = exchange("", &[("a", "1")]);
        let key = by.key(&request).unwrap();
        ask(&by, key).keep(&ALLOW, None, &request);
        for _ in 0..2 {
            assert!(by.get(&key).is_none(), "its time is over");
            let asking = ask(&by, key);
            assert!(matches!(by.ask(key).await, Found::Said(_)));
            // one that fails keeps nothing, and takes nothing away
            drop(asking);
        }
        // what is said now counts from now on, even where it is not kept
        let asking = ask(&by, key);
        asking.keep(&deny(0), None, &request);
        let waits = tokio::time::timeout(Duration::from_millis(1), by.ask(key)).await;
        assert!(waits.is_err());
        drop(asking);
        // and where it is, whichever worker's part has what was said before
        let of_others = || {
            let (by, request) = (Arc::clone(&by), exchange("", &[("a", "1")]));
            std::thread::spawn(move || ask(&by, key).keep(&ALLOW, None, &request))
        };
        for _ in 0..by.parts.len() {
            of_others().join().unwrap();
        }
        ask(&by, key).keep(&deny(1), None, &request);
        let _asking = ask(&by, key);
        let Found::Said(said) = by.ask(key).await else {
            panic!("nothing serves late");
        };
        assert!(matches!(said.verdict, Verdict::Deny { .. }));
        // without the time to do so nothing serves late
        let strict = Decisions::new(&DecisionCache {
            max_ttl: Time(Duration::from_nanos(1)),
            ..settings(&["a"], &[])
        });
        ask(&strict, key).keep(&ALLOW, None, &request);
        let asking = ask(&strict, key);
        let waits = tokio::time::timeout(Duration::from_millis(1), strict.ask(key)).await;
        assert!(waits.is_err());
        drop(asking);
    }

    #[tokio::test]
    async fn one_asks_and_the_others_wait_for_what_it_says() {
        let by = decisions(&["a"], &[]);
        let request = exchange("", &[("a", "1")]);
        let key = by.key(&request).unwrap();
        let first = ask(&by, key);
        let others: Vec<_> = (0..4)
            .map(|_| {
                let by = Arc::clone(&by);
                tokio::spawn(async move { matches!(by.ask(key).await, Found::Said(_)) })
            })
            .collect();
        tokio::task::yield_now().await;
        first.keep(&ALLOW, None, &request);
        drop(first);
        for other in others {
            assert!(other.await.unwrap());
        }
        assert_eq!(by.counts().misses, 1);
        // where nothing can be kept they all ask
        by.flush(None);
        let first = ask(&by, key);
        let waiting = {
            let by = Arc::clone(&by);
            tokio::spawn(async move { matches!(by.ask(key).await, Found::Nothing(_)) })
        };
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
