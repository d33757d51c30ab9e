//! Building the compiled router and looking up in it: host tables, methods and header conditions.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::error::{BuildError, RouteConflict};
use super::params::Params;
use super::pattern::{HostKind, HostPattern, MAX_HOST, canonical_host};
use super::trie::{Entry, LeafId, MAX_VISITS, MethodId, NodeId, Tries, Walk};
use super::{HeaderMatch, Match, RouteIndex, RouteSpec};

/// Most routes of a router, counted once per host pattern, method and segment: keeps the indices
/// in 32 bits.
const MAX_SIZE: usize = 1 << 28;

/// The compiled routes. See the [module documentation](super) for what matches and what it costs.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<str>, NodeId>,
    wildcard: HashMap<Box<str>, NodeId>,
    /// The numbers of labels that wildcard suffixes have, most first.
    wildcard_labels: Vec<usize>,
    any: Option<NodeId>,
    tries: Tries,
    routes: Vec<Compiled>,
    /// HEAD is served by what lists HEAD or any method, not by GET.
    own_head: bool,
    /// What "any method" stands for; every method where it is not said.
    any_is: Option<&'static [Method]>,
    /// Methods beyond the standard ones.
    extensions: HashMap<Method, MethodId>,
}

#[derive(Debug)]
struct Compiled {
    names: Option<Arc<[Box<str>]>>,
    headers: Box<[HeaderMatch]>,
    methods: Box<[Method]>,
}

impl MethodId {
    /// Sorts last.
    const ANY: Self = Self(u16::MAX);
    /// A method that no route lists.
    const UNKNOWN: Self = Self(0);
    const GET: Self = Self(1);
    const HEAD: Self = Self(2);
    const FIRST_EXTENSION: u16 = 10;

    fn standard(method: &Method) -> Option<Self> {
        Some(match *method {
            Method::GET => Self::GET,
            Method::HEAD => Self::HEAD,
            Method::POST => Self(3),
            Method::PUT => Self(4),
            Method::DELETE => Self(5),
            Method::PATCH => Self(6),
            Method::OPTIONS => Self(7),
            Method::CONNECT => Self(8),
            Method::TRACE => Self(9),
            _ => return None,
        })
    }
}

impl Router {
    /// Compiles `specs`. Routes of the same host and path shape may name their parameters
    /// differently as long as they differ in methods or header conditions.
    ///
    /// # Errors
    /// See [`BuildError`]; the first conflict found is reported.
    pub fn build(specs: &[RouteSpec]) -> Result<Self, BuildError> {
        let size = specs.iter().fold(0_usize, |size, spec| {
            let each = spec.hosts.len().max(1) * (spec.path.segments().len() + spec.methods.len() + 1);
            size.saturating_add(each)
        });
        if size > MAX_SIZE {
            return Err(BuildError::TooLarge {
                what: "routes",
                count: size,
                limit: MAX_SIZE,
            });
        }
        let mut router = Self::default();
        let mut taken = Taken::default();
        for (index, spec) in specs.iter().enumerate() {
            router.add(index, spec, &mut taken)?;
        }
        router.sort();
        router.check_visits()?;
        Ok(router)
    }

    fn add(&mut self, index: RouteIndex, spec: &RouteSpec, taken: &mut Taken) -> Result<(), BuildError> {
        let headers = canonical_headers(&spec.headers);
        let header_set = taken.header_set(&headers);
        let any_host = [HostPattern::ANY];
        let hosts = if spec.hosts.is_empty() {
            &any_host
        } else {
            spec.hosts.as_slice()
        };
        let methods = self.method_ids(&spec.methods)?;
        for host in hosts {
            let root = self.root_of(host);
            let leaf = self.tries.leaf_of(root, spec.path.segments());
            for method in &methods {
                match taken.routes.entry((leaf, *method, header_set)) {
                    // The same host or method twice in one route.
                    MapEntry::Occupied(first) if *first.get() == index => continue,
                    MapEntry::Occupied(first) => {
                        let name =
                            |id: &MethodId| spec.methods.iter().find(|method| self.method_id(method) == *id);
                        return Err(RouteConflict {
                            first: *first.get(),
                            second: index,
                            host: host.to_string(),
                            method: name(method).map_or("any method", Method::as_str).to_owned(),
                            path: spec.path.to_string(),
                        }
                        .into());
                    }
                    MapEntry::Vacant(free) => free.insert(index),
                };
                let entry = Entry {
                    method: *method,
                    conditional: !headers.is_empty(),
                    route: index as u32,
                };
                self.tries.leaf_mut(leaf).entries.push(entry);
            }
        }
        let names: Arc<[Box<str>]> = spec.path.param_names().map(Box::from).collect();
        self.routes.push(Compiled {
            names: (!names.is_empty()).then_some(names),
            headers,
            methods: spec.methods.clone().into_boxed_slice(),
        });
        Ok(())
    }

    /// The numbers of the methods a route lists, new ones given out as needed.
    fn method_ids(&mut self, methods: &[Method]) -> Result<Vec<MethodId>, BuildError> {
        if methods.is_empty() {
            return Ok(vec![MethodId::ANY]);
        }
        let mut ids = Vec::with_capacity(methods.len());
        for method in methods {
            let mut id = self.method_id(method);
            if id == MethodId::UNKNOWN {
                let count = self.extensions.len();
                let limit = usize::from(u16::MAX - MethodId::FIRST_EXTENSION);
                if count >= limit {
                    return Err(BuildError::TooLarge {
                        what: "extension methods",
                        count: count + 1,
                        limit,
                    });
                }
                id = MethodId(MethodId::FIRST_EXTENSION + count as u16);
                self.extensions.insert(method.clone(), id);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    fn root_of(&mut self, host: &HostPattern) -> NodeId {
        let tries = &mut self.tries;
        match &host.0 {
            HostKind::Exact(name) => *self.exact.entry(name.clone()).or_insert_with(|| tries.root()),
            HostKind::Wildcard(suffix) => {
                let labels = suffix.split('.').count();
                if let Err(at) = self.wildcard_labels.binary_search_by(|known| labels.cmp(known)) {
                    self.wildcard_labels.insert(at, labels);
                }
                *self
                    .wildcard
                    .entry(suffix.clone())
                    .or_insert_with(|| tries.root())
            }
            HostKind::Any => *self.any.get_or_insert_with(|| tries.root()),
        }
    }

    /// Puts the routes of every leaf in order of precedence. Methods that differ do not compete,
    /// but for "any", which is last.
    fn sort(&mut self) {
        let routes = &self.routes;
        for leaf in self.tries.leaves_mut() {
            leaf.entries.sort_by_key(|entry| {
                let conditions = routes[entry.route as usize].headers.len();
                (
                    entry.method == MethodId::ANY,
                    std::cmp::Reverse(conditions),
                    entry.route,
                )
            });
        }
    }

    fn check_visits(&self) -> Result<(), BuildError> {
        let worst = self.tries.worst_visits();
        let exact = self.exact.iter().map(|(name, root)| (name.to_string(), *root));
        let wildcard = self
            .wildcard
            .iter()
            .map(|(suffix, root)| (format!("*.{suffix}"), *root));
        let any = self.any.iter().map(|root| ("*".to_owned(), *root));
        let tables = exact
            .chain(wildcard)
            .chain(any)
            .map(|(host, root)| (worst[root as usize], host));
        match tables.max() {
            Some((visits, host)) if visits > MAX_VISITS => Err(BuildError::Ambiguous { host, visits }),
            _ => Ok(()),
        }
    }

    /// The same without `HEAD` being served by routes that list `GET`, as Amazon API Gateway has it.
    #[must_use]
    pub fn without_implied_head(mut self) -> Self {
        self.own_head = true;
        self
    }

    /// The same with routes for any method taking these only. A route that lists one of them still comes first.
    #[must_use]
    pub fn with_any_of(mut self, methods: &'static [Method]) -> Self {
        self.any_is = Some(methods);
        self
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are no routes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Finds the route for a request. `host` is the authority of the request, with or without a
    /// port; `path` is a normal path without query, see [`crate::normalize::normalize_path`]. What
    /// is no absolute path (`*`, an authority) matches nothing.
    ///
    /// Allocates only for more than eight path parameters, for the methods of a
    /// [`Match::MethodNotAllowed`] and for paths that are not in normal form.
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str, method: &Method, headers: &HeaderMap) -> Match {
        let Some(mut walk) = Walk::new(&self.tries, path) else {
            return Match::NotFound;
        };
        let mut buffer = [0_u8; MAX_HOST];
        let host = host.and_then(|host| canonical_host(host, &mut buffer));
        let id = self.method_id(method);
        let any = match self.any_is {
            Some(methods) if !methods.contains(method) => id,
            _ => MethodId::ANY,
        };
        let mut path_exists = false;
        let found = self.each_table(host, |root| {
            walk.run(root, &mut |leaf| {
                path_exists = true;
                self.pick(leaf, id, any, headers)
            })
        });
        if let Some(route) = found {
            let names = self.routes[route].names.clone();
            return Match::Found(route, Params::new(names, walk.spans));
        }
        let allowed = if path_exists {
            self.allowed(host, walk, headers)
        } else {
            Vec::new()
        };
        if allowed.is_empty() {
            Match::NotFound
        } else {
            Match::MethodNotAllowed(allowed)
        }
    }

    /// Calls `visit` with the tables that serve `host`, most specific first, until it returns
    /// something.
    fn each_table<T>(&self, host: Option<&str>, mut visit: impl FnMut(NodeId) -> Option<T>) -> Option<T> {
        if let Some(host) = host {
            if let Some(root) = self.exact.get(host)
                && let Some(found) = visit(*root)
            {
                return Some(found);
            }
            for labels in &self.wildcard_labels {
                let Some((dot, _)) = host.rmatch_indices('.').nth(labels - 1) else {
                    continue;
                };
                if dot > 0
                    && let Some(root) = self.wildcard.get(&host[dot + 1..])
                    && let Some(found) = visit(*root)
                {
                    return Some(found);
                }
            }
        }
        self.any.and_then(visit)
    }

    /// The best route of a leaf for a request. `any` is what routes for any method are known by, if they take the request's.
    fn pick(&self, leaf: LeafId, method: MethodId, any: MethodId, headers: &HeaderMap) -> Option<RouteIndex> {
        let entries = &self.tries.leaf(leaf).entries;
        let fits = |entry: &&Entry| !entry.conditional || self.headers_match(entry, headers);
        let find = |wanted: MethodId, or: MethodId| {
            entries
                .iter()
                .filter(|entry| entry.method == wanted || entry.method == or)
                .find(fits)
        };
        let found = if method == MethodId::HEAD && !self.own_head {
            find(MethodId::HEAD, MethodId::HEAD).or_else(|| find(MethodId::GET, any))
        } else {
            find(method, any)
        };
        found.map(|entry| entry.route as usize)
    }

    fn headers_match(&self, entry: &Entry, headers: &HeaderMap) -> bool {
        self.routes[entry.route as usize]
            .headers
            .iter()
            .all(|condition| condition.matches(headers))
    }

    /// The methods that would have found a route, sorted. Off the usual path, so it walks again.
    fn allowed(&self, host: Option<&str>, mut walk: Walk<'_>, headers: &HeaderMap) -> Vec<Method> {
        let mut methods: Vec<Method> = Vec::new();
        let nothing: Option<()> = self.each_table(host, |root| {
            walk.run(root, &mut |leaf| {
                for entry in &self.tries.leaf(leaf).entries {
                    if !entry.conditional || self.headers_match(entry, headers) {
                        methods.extend_from_slice(&self.routes[entry.route as usize].methods);
                        if entry.method == MethodId::ANY {
                            methods.extend_from_slice(self.any_is.unwrap_or_default());
                        }
                    }
                }
                None
            })
        });
        debug_assert!(nothing.is_none());
        if methods.contains(&Method::GET) && !self.own_head {
            methods.push(Method::HEAD);
        }
        methods.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    fn method_id(&self, method: &Method) -> MethodId {
        MethodId::standard(method)
            .or_else(|| self.extensions.get(method).copied())
            .unwrap_or(MethodId::UNKNOWN)
    }
}

/// What is in use already, while building.
#[derive(Default)]
struct Taken {
    routes: HashMap<(LeafId, MethodId, usize), RouteIndex>,
    header_sets: HashMap<Box<[HeaderMatch]>, usize>,
}

impl Taken {
    /// A number for a set of conditions.
    fn header_set(&mut self, headers: &[HeaderMatch]) -> usize {
        let next = self.header_sets.len();
        *self.header_sets.entry(headers.into()).or_insert(next)
    }
}

/// The conditions sorted and without duplicates: equal for equal sets.
fn canonical_headers(headers: &[HeaderMatch]) -> Box<[HeaderMatch]> {
    let mut headers = headers.to_vec();
    headers.sort_unstable_by(|a, b| (a.name.as_str(), &a.value).cmp(&(b.name.as_str(), &b.value)));
    headers.dedup();
    headers.into_boxed_slice()
}
