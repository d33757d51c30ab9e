//! A matcher that knows nothing of the router but its documentation, and looks at every route. Tests and fuzzing hold the router against it.

use std::{cmp::Reverse, collections::BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{BuildError, HeaderMatch, HeaderValueMatch, HostPattern, Match, PathPattern, RouteSpec, Router};
use crate::normalize::normalize_path;

/// Names and values.
type Pairs = Vec<(String, String)>;

/// A route as text.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    /// Patterns in canonical form.
    pub(crate) hosts: Vec<&'static str>,
    pub(crate) methods: Vec<&'static str>,
    pub(crate) path: String,
    /// Values with a `*` at the end are beginnings of values.
    pub(crate) headers: Vec<(&'static str, Option<&'static str>)>,
}

/// A request as text.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) host: Option<&'static str>,
    pub(crate) method: &'static str,
    /// In normal form.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

/// Builds a router of the table and asserts that it says of conflicts and of all requests what the naive matcher says. Routes that conflict with one
/// before them are left out for the latter.
pub(crate) fn agree(table: &[Plain], requests: &[Request]) {
    let mut kept: Vec<Plain> = Vec::new();
    for route in table {
        if !kept.iter().any(|other| other.conflicts(route)) {
            kept.push(route.clone());
        }
    }
    let all: Vec<_> = table.iter().map(Plain::spec).collect();
    let clash = (0..table.len()).any(|at| table[..at].iter().any(|other| other.conflicts(&table[at])));
    let built = Router::build(&all);
    let conflict = matches!(built, Err(BuildError::Conflict(_)));
    assert_eq!(conflict, clash, "{:?} of {table:#?}", built.err());
    let specs: Vec<_> = kept.iter().map(Plain::spec).collect();
    let Ok(router) = Router::build(&specs) else {
        return; // too ambiguous to be served
    };
    for request in requests {
        let found = asked(&router, request);
        assert_eq!(found, naive(&kept, request), "{request:?} in {kept:#?}");
    }
}

/// What the router says.
fn asked(router: &Router, request: &Request) -> Result<(usize, Pairs), Vec<String>> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let method: Method = request.method.parse().expect("methods are tokens");
    match router.find(request.host, &request.path, &method, &headers) {
        Match::Found(route, params) => {
            let pairs = params.iter(&request.path);
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Ok((route, pairs.collect()))
        }
        Match::MethodNotAllowed(allowed) => {
            assert!(!allowed.is_empty());
            Err(allowed.iter().map(|method| method.as_str().to_owned()).collect())
        }
        Match::NotFound => Err(Vec::new()),
    }
}

/// What the router should say: route and parameters, or the methods for 405, none for 404.
fn naive(table: &[Plain], request: &Request) -> Result<(usize, Pairs), Vec<String>> {
    let mut best = Vec::new();
    let mut allowed = BTreeSet::new();
    for (index, route) in table.iter().enumerate() {
        let (Some(host), Some((kinds, params)), true) = (
            route.host_rank(request.host),
            route.path_rank(&request.path),
            route.headers_fit(&request.headers),
        ) else {
            continue;
        };
        match route.method_rank(request.method) {
            Some(method) => best.push((
                (host, kinds, method, Reverse(route.header_set().len()), index),
                params,
            )),
            None => {
                allowed.extend(route.methods.iter().map(|method| (*method).to_owned()));
                if route.methods.contains(&"GET") {
                    allowed.insert("HEAD".to_owned());
                }
            }
        }
    }
    match best.into_iter().min() {
        Some((rank, params)) => Ok((rank.4, params)),
        None => Err(allowed.into_iter().collect()),
    }
}

impl Plain {
    fn spec(&self) -> RouteSpec {
        let condition = |(name, value): &(&'static str, Option<&'static str>)| HeaderMatch {
            name: HeaderName::from_static(name),
            value: match value.map(|value| (value, value.strip_suffix('*'))) {
                None => HeaderValueMatch::Present,
                Some((_, Some(beginning))) => HeaderValueMatch::Prefix(beginning.into()),
                Some((value, None)) => HeaderValueMatch::Exact(value.into()),
            },
        };
        let host = |host: &&str| HostPattern::parse(host).expect("host patterns are valid");
        RouteSpec {
            hosts: self.hosts.iter().map(host).collect(),
            methods: self
                .methods
                .iter()
                .map(|method| method.parse().expect("methods are tokens"))
                .collect(),
            path: PathPattern::parse(&self.path).expect("path patterns are valid"),
            headers: self.headers.iter().map(condition).collect(),
        }
    }

    fn host_set(&self) -> BTreeSet<&'static str> {
        if self.hosts.is_empty() {
            BTreeSet::from(["*"])
        } else {
            self.hosts.iter().copied().collect()
        }
    }

    fn header_set(&self) -> BTreeSet<(&'static str, Option<&'static str>)> {
        self.headers.iter().copied().collect()
    }

    fn conflicts(&self, other: &Self) -> bool {
        let shape = |path: &str| -> Vec<String> {
            let kind = |segment: &&str| match *segment {
                greedy if greedy.ends_with("+}") => "{+}".to_owned(),
                param if param.starts_with('{') => "{}".to_owned(),
                literal => normal(literal),
            };
            split(path).iter().map(kind).collect()
        };
        !self.host_set().is_disjoint(&other.host_set())
            && shape(&self.path) == shape(&other.path)
            && self.header_set() == other.header_set()
            && (self.methods.is_empty() && other.methods.is_empty()
                || self.methods.iter().any(|method| other.methods.contains(method)))
    }

    /// Rank of the best host pattern that matches; less is better.
    fn host_rank(&self, host: Option<&str>) -> Option<Reverse<usize>> {
        let host = host.and_then(canonical);
        let rank = |pattern: &&str| match (&host, pattern.strip_prefix("*.")) {
            (_, None) if **pattern == *"*" => Some(0),
            (Some(host), Some(suffix)) => {
                let labels = host.strip_suffix(suffix)?.strip_suffix('.')?;
                (!labels.is_empty()).then(|| suffix.split('.').count())
            }
            (Some(host), None) => (host == pattern).then_some(1000),
            (None, _) => None,
        };
        self.host_set().iter().filter_map(rank).max().map(Reverse)
    }

    /// Kinds of the segments, less is better, and the captured values.
    fn path_rank(&self, path: &str) -> Option<(Vec<u8>, Pairs)> {
        let segments = split(path);
        let pattern = split(&self.path);
        let (mut kinds, mut params) = (Vec::new(), Vec::new());
        for (at, part) in pattern.iter().enumerate() {
            let name = part.trim_matches(['{', '}', '+']).to_owned();
            if part.ends_with("+}") {
                let rest = segments.get(at..)?.join("/");
                if rest.is_empty() {
                    return None;
                }
                kinds.push(2);
                params.push((name, rest));
                return Some((kinds, params));
            }
            let segment = *segments.get(at)?;
            if part.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                kinds.push(1);
                params.push((name, segment.to_owned()));
            } else if normal(part) == segment {
                kinds.push(0);
            } else {
                return None;
            }
        }
        (segments.len() == pattern.len()).then_some((kinds, params))
    }

    fn method_rank(&self, method: &str) -> Option<u8> {
        if self.methods.contains(&method) {
            Some(0)
        } else if method == "HEAD" && self.methods.contains(&"GET") {
            Some(1)
        } else {
            self.methods.is_empty().then_some(2)
        }
    }

    fn headers_fit(&self, headers: &[(&str, &str)]) -> bool {
        let fits = |wanted: Option<&str>, value: &str| match wanted {
            None => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(beginning) => value.starts_with(beginning),
                None => value == wanted,
            },
        };
        self.headers.iter().all(|(name, wanted)| {
            headers
                .iter()
                .any(|(known, value)| known == name && fits(*wanted, value))
        })
    }
}

/// A host of a request without port, trailing dot and case; `None` where nothing is left.
fn canonical(host: &str) -> Option<String> {
    let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    (!name.is_empty()).then(|| name.to_owned())
}

/// A literal of a pattern in normal form.
fn normal(literal: &str) -> String {
    let path = format!("/{literal}");
    let path = normalize_path(&path).expect("literals are valid");
    path.strip_prefix('/').unwrap_or_default().to_owned()
}

/// Segments without leading and trailing slash of a path that starts with one.
fn split(path: &str) -> Vec<&str> {
    let mut segments: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
    if segments.last() == Some(&"") {
        segments.pop();
    }
    segments
}
