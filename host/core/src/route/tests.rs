//! Tests of the router: the documented rules by example, and agreement with a naive matcher.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::naive::{Plain, Request, agree};
use super::*;

fn spec(hosts: &[&str], methods: &[&str], path: &str, headers: &[HeaderMatch]) -> RouteSpec {
    RouteSpec {
        hosts: hosts
            .iter()
            .map(|host| HostPattern::parse(host).unwrap())
            .collect(),
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        path: PathPattern::parse(path).unwrap(),
        headers: headers.to_vec(),
    }
}

fn paths(paths: &[&str]) -> Router {
    let specs: Vec<_> = paths.iter().map(|path| spec(&[], &[], path, &[])).collect();
    Router::build(&specs).unwrap()
}

fn find(router: &Router, host: &str, method: &str, path: &str) -> Match {
    router.find(Some(host), path, &method.parse().unwrap(), &HeaderMap::new())
}

/// The route for `GET path` and its parameters as `name=value` pairs.
fn get(router: &Router, path: &str) -> Option<(usize, String)> {
    match find(router, "localhost", "GET", path) {
        Match::Found(route, params) => {
            let pairs: Vec<_> = params
                .iter(path)
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Some((route, pairs.join(" ")))
        }
        _ => None,
    }
}

fn route(found: &Match) -> Option<usize> {
    match found {
        Match::Found(route, _) => Some(*route),
        _ => None,
    }
}

fn hit(route: usize, params: &str) -> Option<(usize, String)> {
    Some((route, params.to_owned()))
}

#[test]
fn literal_beats_parameter_beats_greedy_at_each_segment() {
    let router = paths(&["/a/{x}/c", "/a/b/{y}", "/{all+}", "/a/b/c/d", "/"]);
    assert_eq!(get(&router, "/a/b/c"), hit(1, "y=c"));
    assert_eq!(get(&router, "/a/z/c"), hit(0, "x=z"));
    assert_eq!(get(&router, "/a/b/c/d"), hit(3, ""));
    assert_eq!(get(&router, "/a/z/z"), hit(2, "all=a/z/z"));
    assert_eq!(get(&router, "/a/b/c/e"), hit(2, "all=a/b/c/e"));
    assert_eq!(get(&router, "/"), hit(4, ""));
}

#[test]
fn a_literal_branch_that_dead_ends_falls_back_to_the_parameter() {
    let router = paths(&["/a/b/x", "/a/{p}/y", "/{q}/b/z", "/{q}/{rest+}"]);
    assert_eq!(get(&router, "/a/b/y"), hit(1, "p=b"));
    assert_eq!(get(&router, "/a/b/z"), hit(2, "q=a"));
    assert_eq!(get(&router, "/a/b/q"), hit(3, "q=a rest=b/q"));
    assert_eq!(get(&router, "/a"), None);
}

#[test]
fn greedy_takes_one_or_more_segments_and_keeps_inner_slashes() {
    let router = paths(&["/files/{proxy+}", "/x/{a}/{b+}"]);
    for (path, found) in [
        ("/files", None),
        ("/files/", None),
        ("/files//", None),
        ("/files/a", hit(0, "proxy=a")),
        ("/files/a/", hit(0, "proxy=a")),
        ("/files/a//", hit(0, "proxy=a/")),
        ("/files/a//b%2Fc/d", hit(0, "proxy=a//b%2Fc/d")),
        ("/files//a", hit(0, "proxy=/a")),
        ("/x/1/2/3", hit(1, "a=1 b=2/3")),
        ("/x/1", None),
    ] {
        assert_eq!(get(&router, path), found, "{path}");
    }
}

#[test]
fn one_trailing_slash_is_ignored_and_other_empty_segments_are_literal() {
    let router = paths(&["/a/", "/a/{x}", "/b//c", "/d//"]);
    for (path, found) in [
        ("/a", hit(0, "")),
        ("/a/", hit(0, "")),
        ("/a//", None),
        ("/a/1/", hit(1, "x=1")),
        ("/b//c", hit(2, "")),
        ("/b/c", None),
        ("/b/x/c", None),
        ("/d//", hit(3, "")),
        ("/d/", None),
        ("//a", None),
        ("//", None),
    ] {
        assert_eq!(get(&router, path), found, "{path}");
    }
}

#[test]
fn any_method_can_stand_for_some_and_comes_after_those_that_are_listed() {
    static SOME: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
    for (path, asked) in [("/a", "/a"), ("/a/{x}", "/a/1"), ("/a/{x+}", "/a/1/2")] {
        // whatever comes first, and whatever the parameter is called
        for (any, get) in [(0, 1), (1, 0)] {
            let other = path.replace('x', "y");
            let mut specs = [spec(&[], &[], path, &[]), spec(&[], &["GET"], &other, &[])];
            if any == 1 {
                specs.swap(0, 1);
            }
            let router = Router::build(&specs).unwrap();
            let router = router.without_implied_head().with_any_of(&SOME);
            let of = |method: &str| find(&router, "localhost", method, asked);
            assert_eq!(route(&of("GET")), Some(get), "{path}");
            assert_eq!(route(&of("HEAD")), Some(any), "{path}");
            assert_eq!(route(&of("POST")), Some(any), "{path}");
            for method in ["PUT", "TRACE", "PURGE"] {
                assert_eq!(of(method), Match::MethodNotAllowed(SOME.to_vec()), "{method}");
            }
        }
    }
    // what it does not take, the next path may
    let specs = [spec(&[], &[], "/a", &[]), spec(&[], &["PURGE"], "/{x}", &[])];
    let router = Router::build(&specs).unwrap().with_any_of(&SOME);
    assert_eq!(route(&find(&router, "localhost", "PURGE", "/a")), Some(1));
    assert_eq!(route(&find(&router, "localhost", "GET", "/a")), Some(0));
    let twice = [spec(&[], &[], "/{x}", &[]), spec(&[], &[], "/{y}", &[])];
    assert!(Router::build(&twice).is_err());
}

#[test]
fn what_is_no_absolute_path_matches_nothing() {
    let router = paths(&["/{all+}", "/"]);
    for path in ["", "*", "a", "example.com:443", "http://example.com/"] {
        assert_eq!(get(&router, path), None, "{path}");
    }
}

#[test]
fn literals_match_in_normal_form_and_values_stay_raw() {
    let router = paths(&["/%7eme/{x}", "/caf\u{e9}", "/a%2fb", "/s p"]);
    assert_eq!(get(&router, "/~me/%41"), hit(0, "x=%41"));
    assert_eq!(get(&router, "/%7Eme/%2f"), hit(0, "x=%2f"));
    assert_eq!(get(&router, "/caf%C3%A9"), hit(1, ""));
    assert_eq!(get(&router, "/caf%c3%a9/"), hit(1, ""));
    assert_eq!(get(&router, "/a%2Fb"), hit(2, ""));
    assert_eq!(get(&router, "/a/b"), None);
    assert_eq!(get(&router, "/s%20p"), hit(3, ""));
    assert_eq!(get(&router, "/~me/%"), hit(0, "x=%"));
    assert_eq!(get(&router, "/%zz/1"), None);
}

#[test]
fn parameters_decode_to_bytes() {
    assert_eq!(&*decode_param("a%2Fb+%ff%zz"), b"a/b+\xff%zz");
    let router = paths(&["/{a}/{b}"]);
    let Match::Found(0, params) = find(&router, "h", "GET", "/1/2%20") else {
        panic!("not found")
    };
    assert_eq!((params.len(), params.is_empty()), (2, false));
    assert_eq!(params.get("/1/2%20", "b"), Some("2%20"));
    assert_eq!(params.get("/1/2%20", "c"), None);
    assert_eq!(
        params.get("/1", "b"),
        Some(""),
        "another path is no reason to panic"
    );
    assert_eq!(Params::default().iter("/").count(), 0);
}

#[test]
fn more_than_eight_parameters_are_captured() {
    let router = paths(&["/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j+}"]);
    let pairs = "a=0 b=1 c=2 d=3 e=4 f=5 g=6 h=7 i=8 j=9/10";
    assert_eq!(get(&router, "/0/1/2/3/4/5/6/7/8/9/10"), hit(0, pairs));
}

#[test]
fn exact_host_beats_longer_wildcard_beats_any_host() {
    let router = Router::build(&[
        spec(&["*"], &[], "/{all+}", &[]),
        spec(&["*.example.com"], &[], "/a", &[]),
        spec(&["*.api.example.com"], &[], "/a", &[]),
        spec(&["V1.api.example.com.:8443"], &[], "/a", &[]),
        spec(&["[0:0::1]", "127.0.0.1"], &[], "/a", &[]),
    ])
    .unwrap();
    for (host, expected) in [
        ("v1.api.example.com", 3),
        ("V1.API.Example.COM.:443", 3),
        ("v2.api.example.com", 2),
        ("x.v1.api.example.com", 2),
        ("api.example.com", 1),
        ("a.b.example.com:80", 1),
        ("example.com", 0),
        (".example.com", 0),
        ("badexample.com", 0),
        ("[::1]:8080", 4),
        ("127.0.0.1:8080", 4),
        ("", 0),
    ] {
        assert_eq!(route(&find(&router, host, "GET", "/a")), Some(expected), "{host}");
    }
    let none = router.find(None, "/a", &Method::GET, &HeaderMap::new());
    assert_eq!(route(&none), Some(0));
    let long = "a.".repeat(5000) + "example.com";
    assert_eq!(
        route(&find(&router, &long, "GET", "/a")),
        Some(0),
        "no such host name"
    );
}

#[test]
fn a_host_without_a_route_for_the_request_falls_through_to_less_specific_hosts() {
    let router = Router::build(&[
        spec(&["api.example.com"], &["POST"], "/a", &[]),
        spec(&["*.example.com"], &["GET"], "/a", &[]),
        spec(&[], &["GET"], "/b", &[]),
    ])
    .unwrap();
    assert_eq!(route(&find(&router, "api.example.com", "GET", "/a")), Some(1));
    assert_eq!(route(&find(&router, "api.example.com", "GET", "/b")), Some(2));
    let allowed = vec![Method::GET, Method::HEAD, Method::POST];
    assert_eq!(
        find(&router, "api.example.com", "PUT", "/a"),
        Match::MethodNotAllowed(allowed)
    );
    assert_eq!(find(&router, "api.example.com", "PUT", "/c"), Match::NotFound);
}

#[test]
fn a_specific_method_beats_any_and_a_methodless_path_falls_through() {
    let router = Router::build(&[
        spec(&[], &[], "/a", &[]),
        spec(&[], &["GET", "PURGE"], "/a", &[]),
        spec(&[], &["OPTIONS"], "/b", &[]),
        spec(&[], &["GET"], "/{proxy+}", &[]),
    ])
    .unwrap();
    for (method, path, expected) in [
        ("GET", "/a", Some(1)),
        ("PURGE", "/a", Some(1)),
        ("POST", "/a", Some(0)),
        ("NEVERHEARD", "/a", Some(0)),
        ("HEAD", "/a", Some(1)),
        ("OPTIONS", "/b", Some(2)),
        ("GET", "/b", Some(3)),
        ("HEAD", "/b", Some(3)),
        ("POST", "/b", None),
    ] {
        assert_eq!(
            route(&find(&router, "h", method, path)),
            expected,
            "{method} {path}"
        );
    }
    let allowed = vec![Method::GET, Method::HEAD, Method::OPTIONS];
    assert_eq!(
        find(&router, "h", "NEVERHEARD", "/b"),
        Match::MethodNotAllowed(allowed)
    );
}

#[test]
fn head_goes_to_its_own_route_before_that_of_get() {
    let router = Router::build(&[
        spec(&[], &["GET"], "/a", &[]),
        spec(&[], &["HEAD"], "/a", &[]),
        spec(&[], &[], "/a", &[]),
        spec(&[], &["HEAD"], "/b/{x}", &[]),
        spec(&[], &["GET"], "/b/c", &[]),
    ])
    .unwrap();
    assert_eq!(route(&find(&router, "h", "HEAD", "/a")), Some(1));
    assert_eq!(
        route(&find(&router, "h", "HEAD", "/b/c")),
        Some(4),
        "the path comes first"
    );
    assert_eq!(route(&find(&router, "h", "HEAD", "/b/d")), Some(3));
    assert_eq!(
        find(&router, "h", "GET", "/b/d"),
        Match::MethodNotAllowed(vec![Method::HEAD])
    );
}

fn header(name: &'static str, value: HeaderValueMatch) -> HeaderMatch {
    HeaderMatch {
        name: HeaderName::from_static(name),
        value,
    }
}

#[test]
fn more_header_conditions_come_first_and_failing_ones_count_as_not_found() {
    let exact = || header("x-v", HeaderValueMatch::Exact(b"1".to_vec()));
    let prefix = || header("x-t", HeaderValueMatch::Prefix(b"ab".to_vec()));
    let router = Router::build(&[
        spec(&[], &["GET"], "/a", &[]),
        spec(&[], &["GET"], "/a", &[exact()]),
        spec(&[], &["GET"], "/a", &[prefix(), exact()]),
        spec(&[], &["GET"], "/a", &[header("x-v", HeaderValueMatch::Present)]),
        spec(&[], &["GET"], "/b", &[exact()]),
        spec(&[], &["POST"], "/b", &[prefix()]),
    ])
    .unwrap();
    let find = |method: Method, path: &str, pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        router.find(None, path, &method, &headers)
    };
    assert_eq!(route(&find(Method::GET, "/a", &[])), Some(0));
    assert_eq!(route(&find(Method::GET, "/a", &[("x-v", "2")])), Some(3));
    assert_eq!(
        route(&find(Method::GET, "/a", &[("x-v", "2"), ("x-v", "1")])),
        Some(1)
    );
    assert_eq!(
        route(&find(Method::GET, "/a", &[("x-t", "abc"), ("x-v", "1")])),
        Some(2)
    );
    assert_eq!(find(Method::GET, "/b", &[]), Match::NotFound);
    assert_eq!(
        find(Method::PUT, "/b", &[("x-t", "ab")]),
        Match::MethodNotAllowed(vec![Method::POST])
    );
    assert_eq!(
        find(Method::GET, "/b", &[("x-t", "ab")]),
        Match::MethodNotAllowed(vec![Method::POST])
    );
}

#[test]
fn the_same_route_twice_is_a_conflict_that_names_both() {
    let present = || header("x-v", HeaderValueMatch::Present);
    let error = Router::build(&[
        spec(&["*.example.com"], &["GET"], "/pets/{id}", &[]),
        spec(&["a.example.com"], &["GET"], "/pets/{id}", &[]),
        spec(
            &["b.org", "*.EXAMPLE.com"],
            &["POST", "GET"],
            "/pets/{name}/",
            &[],
        ),
    ])
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "routes 0 and 2 both serve GET *.example.com/pets/{name}/ under the same header conditions"
    );
    let conflicts =
        |a: RouteSpec, b: RouteSpec| matches!(Router::build(&[a, b]), Err(BuildError::Conflict(_)));
    assert!(conflicts(
        spec(&[], &[], "/a", &[]),
        spec(&["*"], &[], "/%61", &[])
    ));
    assert!(conflicts(
        spec(&[], &["GET"], "/a", &[present(), present()]),
        spec(&[], &["GET"], "/a", &[present()])
    ));
    assert!(!conflicts(
        spec(&[], &[], "/a", &[]),
        spec(&[], &["GET"], "/a", &[])
    ));
    assert!(!conflicts(
        spec(&[], &["GET"], "/{a}", &[]),
        spec(&[], &["HEAD"], "/{b}", &[])
    ));
    assert!(!conflicts(
        spec(&[], &["GET"], "/a", &[]),
        spec(&[], &["GET"], "/a", &[present()])
    ));
    assert!(Router::build(&[spec(&["a", "A"], &["GET", "GET"], "/a", &[])]).is_ok());
}

#[test]
fn bad_patterns_are_refused_by_name_and_segment() {
    for (pattern, message) in [
        (
            "pets",
            r#"path pattern "pets": segment "pets" does not start with '/'"#,
        ),
        (
            "/a/pets{id}",
            r#"path pattern "/a/pets{id}": segment "pets{id}" has a parameter that does not fill the whole segment, as in "/pets/{id}""#,
        ),
        (
            "/{a+}/b",
            r#"path pattern "/{a+}/b": segment "b" follows a greedy parameter, which must come last"#,
        ),
        (
            "/{a}/{a}",
            r#"path pattern "/{a}/{a}": segment "{a}" repeats the parameter name "a""#,
        ),
        (
            "/{}",
            r#"path pattern "/{}": segment "{}" has a parameter without a name"#,
        ),
        (
            "/{a*}",
            r#"path pattern "/{a*}": segment "{a*}" has a parameter name with characters other than letters, digits and "_-.$""#,
        ),
        (
            "/a/*",
            r#"path pattern "/a/*": segment "*" is no wildcard here, write "{name}" for one segment or "{name+}" for the rest"#,
        ),
        (
            "/a/%2e%2E/b",
            r#"path pattern "/a/%2e%2E/b": segment "%2e%2E" is a dot segment, which no normalised request path has"#,
        ),
        (
            "/a?b",
            r#"path pattern "/a?b": segment "a?b" cannot be in a path: path has a '?' at byte 1"#,
        ),
    ] {
        assert_eq!(PathPattern::parse(pattern).unwrap_err().to_string(), message);
    }
    assert!(PathPattern::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
    assert!(PathPattern::parse(&"/a".repeat(MAX_SEGMENTS + 1)).is_err());
    assert!(PathPattern::parse("/{a+}/").is_ok());
    for pattern in [
        "",
        "a..b",
        "a.*.b",
        "*a.b",
        "*..",
        "**",
        "a b",
        "b\u{fc}cher.de",
        "[::1",
        "[x]",
        "a:http",
        "[::1]80",
        "[::1]x80",
        "[::1]\u{fc}",
        "*.*.a",
    ] {
        assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
    }
    let error = HostPattern::parse("api.*.com").unwrap_err().to_string();
    assert_eq!(
        error,
        r#"host pattern "api.*.com": "*" has a wildcard that is not the whole first label, as in "*.example.com""#
    );
    for (pattern, shown) in [
        ("*:80", "*"),
        ("*.A.b.:1", "*.a.b"),
        ("[0::1]", "[::1]"),
        ("x_y.z-1", "x_y.z-1"),
    ] {
        assert_eq!(HostPattern::parse(pattern).unwrap().to_string(), shown);
    }
}

/// All paths of `depth` segments that are each `a` or a parameter.
fn ambiguous(depth: u32) -> Vec<RouteSpec> {
    let path = |bits: u32| {
        let segment = |level| {
            if bits >> level & 1 == 0 {
                "/a".to_owned()
            } else {
                format!("/{{p{level}}}")
            }
        };
        (0..depth).map(segment).collect::<String>() + "/end"
    };
    (0..1 << depth)
        .map(|bits| spec(&["h"], &[], &path(bits), &[]))
        .collect()
}

#[test]
fn tables_that_make_lookups_expensive_are_refused() {
    let router = Router::build(&ambiguous(8)).unwrap();
    assert_eq!(find(&router, "h", "GET", "/a/a/a/a/a/a/a/a/no"), Match::NotFound);
    assert_eq!(route(&find(&router, "h", "GET", "/b/a/a/a/a/a/a/a/end")), Some(1));
    let error = Router::build(&ambiguous(10)).unwrap_err();
    assert!(
        matches!(&error, BuildError::Ambiguous { host, visits } if host == "h" && *visits > MAX_VISITS),
        "{error}"
    );
}

#[test]
fn a_path_of_very_many_segments_costs_no_more_than_the_table_is_deep() {
    let router = paths(&["/a/{x}/{y}", "/a/{all+}"]);
    let path = "/a".repeat(100_000);
    assert_eq!(get(&router, &path).unwrap().0, 1);
    assert_eq!(get(&paths(&["/{a}/b"]), &path), None);
}

#[test]
fn many_literals_beside_each_other_are_found() {
    let specs: Vec<_> = (0..1000)
        .map(|i| spec(&[], &["GET"], &format!("/svc{}/r{i}/{{id}}", i % 30), &[]))
        .collect();
    let router = Router::build(&specs).unwrap();
    assert_eq!((router.len(), router.is_empty()), (1000, false));
    for i in 0..1000 {
        assert_eq!(get(&router, &format!("/svc{}/r{i}/x", i % 30)), hit(i, "id=x"));
    }
}

const HOSTS: [&str; 6] = ["*", "a.b.c", "x.a.b.c", "*.b.c", "*.c", "*.a.b.c"];
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PURGE", "BREW"];
const HEADERS: [(&str, Option<&str>); 4] = [
    ("x-a", None),
    ("x-a", Some("1")),
    ("x-a", Some("2")),
    ("x-b", None),
];

fn route_strategy() -> impl Strategy<Value = Plain> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec!["a", "b"]).prop_map(|literal| (literal, false)),
        3 => Just(("", true)),
        1 => Just(("", false)),
    ];
    let path = (
        prop::collection::vec(segment, 0..5),
        any::<bool>(),
        any::<bool>(),
        "[p-q]",
    )
        .prop_map(|(segments, greedy, slash, prefix)| {
            let mut path = String::new();
            for (at, (literal, param)) in segments.iter().enumerate() {
                path += &if *param {
                    format!("/{{{prefix}{at}}}")
                } else {
                    format!("/{literal}")
                };
            }
            if greedy {
                path += "/{rest+}";
            }
            if slash || path.is_empty() {
                path += "/";
            }
            path
        });
    (
        prop::collection::vec(prop::sample::select(HOSTS.to_vec()), 0..3),
        prop_oneof![Just(Vec::new()), prop::collection::vec(prop::sample::select(METHODS[..4].to_vec()), 1..3)],
        path,
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(prop::sample::select(HEADERS.to_vec()), 1..3)],
    )
        .prop_map(|(hosts, methods, path, headers)| Plain { hosts, methods, path, headers })
}

fn request_strategy() -> impl Strategy<Value = Request> {
    let hosts = vec![
        None,
        Some("a.b.c"),
        Some("x.a.b.c"),
        Some("y.b.c"),
        Some("z.c"),
        Some("b.c"),
        Some("d"),
    ];
    (
        prop::sample::select(hosts),
        prop::sample::select(METHODS.to_vec()),
        prop_oneof!["(/[ab]){1,6}/?", "/((a|b|c|)/){0,5}(a|b|)"],
        prop::collection::vec(
            prop::sample::select(vec![("x-a", "1"), ("x-a", "2"), ("x-a", "3"), ("x-b", "")]),
            0..3,
        ),
    )
        .prop_map(|(host, method, path, headers)| Request {
            host,
            method,
            path,
            headers,
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        // Failing cases are kept beside this file and committed: they are tried first from then on.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_router_agrees_with_a_naive_matcher(
        table in prop::collection::vec(route_strategy(), 1..24),
        requests in prop::collection::vec(request_strategy(), 16),
    ) {
        agree(&table, &requests);
    }

    #[test]
    fn no_pattern_path_or_host_panics(
        patterns in prop::collection::vec("/[ab{}+/%2e*]{0,12}", 0..6),
        hosts in prop::collection::vec("[ab.*:\\[\\]]{0,8}", 0..4),
        path in "\\PC{0,16}|/[ab/%2ef]{0,16}",
        host in "\\PC{0,8}|[aB.:\\[\\]]{0,12}",
    ) {
        let hosts: Vec<_> = hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
        let spec = |path| RouteSpec { hosts: hosts.clone(), methods: Vec::new(), path, headers: Vec::new() };
        let specs: Vec<_> = patterns.iter().filter_map(|pattern| PathPattern::parse(pattern).ok()).map(spec).collect();
        if let Ok(router) = Router::build(&specs)
            && let Match::Found(_, params) = router.find(Some(&host), &path, &Method::GET, &HeaderMap::new())
        {
            prop_assert!(params.iter(&path).all(|(_, value)| !value.is_empty()));
        }
    }
}
