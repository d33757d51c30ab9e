//! Decisions of an authorizer that are kept: what it said of a caller is said again of the next request with the same credentials, without a call.
//! Only `allow` is kept, for as long as the plugin says. Later hooks of the plugin see every request, as ever.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use edgeward_core::{config::DecisionCache, normalize::parse_query};
use http::HeaderName;
use moka::{Expiry, sync::Cache};

use crate::exchange::{ContextValue, Exchange, Undo};

/// SHA-256 of everything that a decision is kept for: credentials are not in memory longer than their requests.
pub(crate) type Key = [u8; 32];

/// What an entry weighs besides its values, in bytes.
const ENTRY: usize = 256;

/// The kept decisions of one version.
pub(crate) struct Decisions {
    headers: Vec<HeaderName>,
    query: Vec<String>,
    ttl_max: Duration,
    size: u64,
    cache: Cache<Key, Arc<Decision>>,
}

/// What an authorizer said of a caller.
pub(crate) struct Decision {
    ttl: Duration,
    principal: Option<String>,
    usage_key: Option<String>,
    context: Vec<((Arc<str>, String), ContextValue)>,
}

struct Ttl;

impl Expiry<Key, Arc<Decision>> for Ttl {
    fn expire_after_create(&self, _: &Key, decision: &Arc<Decision>, _: Instant) -> Option<Duration> {
        Some(decision.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        decision: &Arc<Decision>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(decision.ttl)
    }
}

impl Decisions {
    /// `settings` were checked; a name that is no field name would be ignored.
    pub(crate) fn new(settings: &DecisionCache) -> Self {
        let field = |name: &String| HeaderName::from_bytes(name.as_bytes()).ok();
        Self {
            headers: settings.headers.iter().filter_map(field).collect(),
            query: settings.query.clone(),
            ttl_max: settings.max_ttl.0,
            size: settings.size.0,
            cache: Cache::builder()
                .max_capacity(settings.size.0)
                .weigher(|_, decision: &Arc<Decision>| u32::try_from(decision.weight()).unwrap_or(u32::MAX))
                .expire_after(Ttl)
                .build(),
        }
    }

    /// What a decision about this request would be kept under: route, method and all values of the fields and parameters. None when one of them is
    /// missing.
    pub(crate) fn key(&self, exchange: &Exchange) -> Option<Key> {
        let mut hash = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(exchange.route.name.as_bytes());
        add(exchange.request.method.as_str().as_bytes());
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

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Decision>> {
        self.cache.get(key)
    }

    /// Keeps what an authorizer has just said and not yet committed. Nothing is kept of one that edited the request, which was this one only.
    pub(crate) fn keep(&self, key: Key, ttl_seconds: u32, exchange: &Exchange) {
        let ttl = Duration::from_secs(ttl_seconds.into()).min(self.ttl_max);
        if ttl.is_zero() {
            return;
        }
        let mut decision = Decision {
            ttl,
            principal: exchange.principal.clone(),
            usage_key: exchange.usage_key.clone(),
            context: Vec::new(),
        };
        for undo in &exchange.undo {
            let Undo::Context(key, _) = undo else { return };
            if let Some(value) = exchange.context.get(key)
                && decision.context.iter().all(|(known, _)| known != key)
            {
                decision.context.push((key.clone(), value.clone()));
            }
        }
        if decision.weight() as u64 <= self.size {
            self.cache.insert(key, Arc::new(decision));
        }
    }
}

impl Decision {
    /// Says it again.
    pub(crate) fn apply(&self, exchange: &mut Exchange) {
        exchange.principal.clone_from(&self.principal);
        exchange.usage_key.clone_from(&self.usage_key);
        for (key, value) in &self.context {
            exchange.context.insert(key.clone(), value.clone());
        }
    }

    pub(crate) fn ttl_seconds(&self) -> u32 {
        u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX)
    }

    fn weight(&self) -> usize {
        let texts = [&self.principal, &self.usage_key];
        ENTRY
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + self
                .context
                .iter()
                .map(|((_, key), value)| key.len() + value.size())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::config::{Bytes, Time};
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;
    use crate::exchange::{HeaderEdit, Peer, RequestHead, RouteInfo, Side};

    fn decisions(headers: &[&str], query: &[&str]) -> Decisions {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Decisions::new(&DecisionCache {
            headers: owned(headers),
            query: owned(query),
            max_ttl: Time::secs(60),
            size: Bytes::mib(1),
        })
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
        decisions: &Decisions,
        mut first: Exchange,
        second: &Exchange,
        edit: impl FnOnce(&mut Exchange),
    ) -> bool {
        let key = decisions.key(&first).unwrap();
        edit(&mut first);
        decisions.keep(key, 60, &first);
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
        by.get(&by.key(&second).unwrap()).unwrap().apply(&mut second);
        assert_eq!(second.principal.as_deref(), Some("alice"));
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
}
