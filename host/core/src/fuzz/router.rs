//! Routing tables and requests made of bytes.

use http::{HeaderMap, Method};

use crate::{
    normalize::normalize_path,
    route::{
        HostPattern, Match, PathPattern, RouteSpec, Router,
        naive::{Plain, Request, agree},
    },
};

const HOSTS: [&str; 8] = [
    "*",
    "a.b.c",
    "x.a.b.c",
    "*.b.c",
    "*.c",
    "*.a.b.c",
    "c",
    "*.x.a.b.c",
];
const ASKED_HOSTS: [Option<&str>; 12] = [
    None,
    Some(""),
    Some("a.b.c"),
    Some("A.B.C:80"),
    Some("x.a.b.c"),
    Some("y.x.a.b.c."),
    Some("y.b.c"),
    Some("z.c"),
    Some("b.c"),
    Some(".b.c"),
    Some("c"),
    Some("d"),
];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PURGE", "BREW", "OPTIONS"];
const CONDITIONS: [(&str, Option<&str>); 6] = [
    ("x-a", None),
    ("x-a", Some("1")),
    ("x-a", Some("2")),
    ("x-a", Some("1*")),
    ("x-b", None),
    ("x-b", Some("")),
];
const FIELDS: [(&str, &str); 6] = [
    ("x-a", "1"),
    ("x-a", "2"),
    ("x-a", "12"),
    ("x-a", ""),
    ("x-b", ""),
    ("x-c", "1"),
];
const SEGMENTS: [&str; 7] = ["a", "b", "c", "", "%7eu", "d%2fe", "\u{e9}"];
/// More of them than a node keeps in a list.
const MANY: usize = 24;

/// The router says what a naive matcher says. Bytes that begin with a slash are patterns instead, to be read without harm.
pub fn router(data: &[u8]) {
    if data.starts_with(b"/") {
        if let Ok(text) = std::str::from_utf8(data) {
            patterns(text);
        }
        return;
    }
    let mut choices = Choices(data);
    let table: Vec<_> = (0..choices.below(MANY)).map(|_| route(&mut choices)).collect();
    let requests: Vec<_> = (0..=choices.below(MANY)).map(|_| request(&mut choices)).collect();
    agree(&table, &requests);
}

/// Choices that the bytes make; the first of everything when there are none left.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % count.max(1)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some_of<T: Copy>(&mut self, all: &[T], most: usize) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| self.of(all)).collect()
    }
}

fn route(choices: &mut Choices<'_>) -> Plain {
    let mut path = String::new();
    for at in 0..choices.below(6) {
        path += &match choices.below(5) {
            0 => format!("/{{p{at}}}"),
            1 => format!("/s{}", choices.below(MANY)),
            _ => format!("/{}", choices.of(&SEGMENTS)),
        };
    }
    path += choices.of(&["", "/", "/{rest+}", "/{rest+}/"]);
    if path.is_empty() {
        path.push('/');
    }
    Plain {
        hosts: choices.some_of(&HOSTS, 2),
        methods: choices.some_of(&METHODS[..5], 2),
        path,
        headers: choices.some_of(&CONDITIONS, 2),
    }
}

fn request(choices: &mut Choices<'_>) -> Request {
    let mut path = String::new();
    for _ in 0..choices.below(8) {
        path += &match choices.below(4) {
            0 => format!("/s{}", choices.below(MANY)),
            _ => format!("/{}", choices.of(&SEGMENTS)),
        };
    }
    path += choices.of(&["", "/"]);
    if path.is_empty() {
        path.push('/');
    }
    let path = normalize_path(&path).expect("segments are valid").into_owned();
    Request {
        host: choices.of(&ASKED_HOSTS),
        method: choices.of(&METHODS),
        path,
        headers: choices.some_of(&FIELDS, 3),
    }
}

/// Lines are in turn a path that is asked for, a path pattern, a host and a host pattern.
fn patterns(text: &str) {
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (path, pattern, host, host_pattern) = (next(), next(), next(), next());
    let hosts: Vec<_> = HostPattern::parse(host_pattern).into_iter().collect();
    for host in &hosts {
        let shown = host.to_string();
        assert_eq!(HostPattern::parse(&shown).as_ref(), Ok(host), "{host_pattern:?}");
    }
    let Ok(pattern) = PathPattern::parse(pattern) else {
        return;
    };
    assert_eq!(PathPattern::parse(pattern.as_str()).as_ref(), Ok(&pattern));
    let names: Vec<_> = pattern.param_names().map(str::to_owned).collect();
    let spec = RouteSpec {
        hosts,
        methods: Vec::new(),
        path: pattern,
        headers: Vec::new(),
    };
    let router = Router::build(&[spec]).expect("one route conflicts with nothing");
    let found = router.find(Some(host), path, &Method::GET, &HeaderMap::new());
    assert!(
        !matches!(found, Match::MethodNotAllowed(_)),
        "any method is allowed: {text:?}"
    );
    if let Match::Found(route, params) = found {
        assert_eq!(route, 0);
        let found: Vec<_> = params.iter(path).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(found, names);
        assert!(params.iter(path).all(|(_, value)| !value.is_empty()), "{text:?}");
    }
}
