//! The cases: what is sent, and who takes part doing what.

use super::{
    contenders::{
        Contender,
        Program::{self, Edgeward, Envoy, Haproxy, Nginx},
        Work, token,
    },
    load::Load,
};

/// How figures of a case come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A load generator, CPU per request.
    Load,
    /// Changes under paced load.
    Swap,
    /// A plugin that never returns, beside paced load that does not pass through it.
    Spin,
    /// Ten thousand publications under paced load.
    Publications,
    /// Starts with many versions, with and without compiled code kept from before.
    Versions,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it is, for the heading.
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    pub(crate) load: Load,
    pub(crate) path: &'static str,
    pub(crate) contenders: Vec<Contender>,
    /// Takes long: runs only when it is asked for.
    pub(crate) by_name_only: bool,
}

const POST: &str = "wrk.method = 'POST'\nwrk.body = string.rep('x', 16384)\n";
/// All routes take turns, far from each other.
const TURNS: &str = "local i = 0\nfunction request() i = (i + 7919) % 10000; return wrk.format(nil, '/r' .. i .. '/1k') end\n";
const SEARCH: &str = "/1k/search?q=red+running+shoes&page=2&sort=price_asc&brand=acme&session=8f14e45fceea167a5a36dedd4bea2543";
const BROWSER: [&str; 4] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/json;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Referer: https://shop.example.com/",
];

/// Plain proxies.
const PLAIN: [(&str, Program, Work); 4] = [
    ("edgeward", Edgeward, Work::Plain),
    ("nginx", Nginx, Work::Plain),
    ("haproxy", Haproxy, Work::Plain),
    ("envoy", Envoy, Work::Plain),
];

fn wrk(tls: bool, fields: &[&str], script: &'static str) -> Load {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    Load::Wrk { tls, fields, script }
}

fn case(
    name: &'static str,
    what: &'static str,
    load: Load,
    path: &'static str,
    rows: &[(&str, Program, Work)],
) -> Case {
    let row = |&(name, program, work): &(&str, Program, Work)| Contender {
        name: name.to_owned(),
        program,
        work,
    };
    Case {
        name,
        what,
        kind: Kind::Load,
        load,
        path,
        contenders: rows.iter().map(row).collect(),
        by_name_only: false,
    }
}

/// All cases, in the order in which they run.
pub(crate) fn all() -> Vec<Case> {
    let h1 = || wrk(false, &[], "");
    let plain = |name, what, load, path| case(name, what, load, path, &PLAIN);
    let beside = |name, what, load, path, label, work| {
        let rows = [("edgeward", Edgeward, Work::Plain), (label, Edgeward, work)];
        case(name, what, load, path, &rows)
    };
    let chain = |name, what, count| {
        let rows = [
            ("edgeward", Edgeward, Work::Plain),
            ("edgeward-headers", Edgeward, Work::Headers(count)),
            ("envoy-wasm", Envoy, Work::Wasm(count)),
        ];
        case(name, what, h1(), "/1k", &rows)
    };
    let token = token();
    let marked = [
        ("edgeward", Edgeward, Work::Marked(0)),
        ("edgeward-small", Edgeward, Work::Small(0)),
        ("nginx", Nginx, Work::Marked(0)),
        ("haproxy", Haproxy, Work::Marked(0)),
        ("envoy", Envoy, Work::Marked(0)),
    ];
    vec![
        plain("h1-1k", "HTTP/1.1, an answer of 1 KiB", h1(), "/1k"),
        plain("h1-64k", "HTTP/1.1, an answer of 64 KiB", h1(), "/64k"),
        plain("tls-h1-1k", "HTTP/1.1 over TLS, 1 KiB", wrk(true, &[], ""), "/1k"),
        plain(
            "tls-h2-1k",
            "HTTP/2 over TLS, 8 connections of 8 streams, 1 KiB",
            Load::H2load,
            "/1k",
        ),
        case(
            "h3-1k",
            "HTTP/3, 8 connections of 8 streams, 1 KiB (`edgeward-h2`: the same over HTTP/2, by h2load)",
            Load::H3,
            "/1k",
            &[PLAIN[0], ("edgeward-h2", Edgeward, Work::OverHttp2), PLAIN[3]],
        ),
        plain(
            "post-16k",
            "POST of 16 KiB, an answer of 1 KiB",
            wrk(false, &[], POST),
            "/1k",
        ),
        plain(
            "stream-1g",
            "one answer of 1 GiB; figures per MiB",
            Load::Stream,
            "/1g",
        ),
        case(
            "headers",
            "one field added to the request, one to the response (`edgeward` and `envoy`: none)",
            h1(),
            "/1k",
            &[
                PLAIN[0],
                ("edgeward-headers", Edgeward, Work::Headers(1)),
                ("edgeward-headers-reuse", Edgeward, Work::Reused),
                ("nginx", Nginx, Work::Headers(1)),
                ("haproxy", Haproxy, Work::Headers(1)),
                PLAIN[3],
                ("envoy-native", Envoy, Work::Headers(1)),
                ("envoy-lua", Envoy, Work::Lua),
                ("envoy-wasm", Envoy, Work::Wasm(1)),
            ],
        ),
        chain("chain-1", "1 plugin that adds fields", 1),
        chain("chain-2", "2 plugins that add fields", 2),
        chain("chain-5", "5 plugins that add fields", 5),
        chain("chain-10", "10 plugins that add fields", 10),
        beside(
            "no-interest",
            "a plugin that asked for no phase",
            h1(),
            "/1k",
            "edgeward-no-interest",
            Work::NoInterest,
        ),
        case(
            "jwt",
            "a token, ES256: verified with each request, and with the decision kept",
            wrk(false, &[&token], ""),
            "/1k",
            &[
                PLAIN[0],
                ("edgeward-jwt", Edgeward, Work::Jwt),
                ("edgeward-jwt-kept", Edgeward, Work::JwtKept),
            ],
        ),
        beside(
            "waf",
            "the starter set of rules, the GET of a browser",
            wrk(false, &BROWSER, ""),
            SEARCH,
            "edgeward-waf",
            Work::Waf,
        ),
        case(
            "routes-10k",
            "10 000 routes taking turns",
            wrk(false, &[], TURNS),
            "/r9999/1k",
            &[
                ("edgeward", Edgeward, Work::Routes),
                ("nginx", Nginx, Work::Routes),
                ("haproxy", Haproxy, Work::Routes),
            ],
        ),
        Case {
            kind: Kind::Swap,
            ..case(
                "swap",
                "5 changes under 1 600 requests per second",
                Load::Own,
                "/1k",
                &marked,
            )
        },
        Case {
            kind: Kind::Spin,
            ..case(
                "spin",
                "1 600 requests per second, beside 20 per second to a plugin that never returns",
                Load::Own,
                "/1k",
                &[("edgeward", Edgeward, Work::Spin)],
            )
        },
        Case {
            kind: Kind::Publications,
            by_name_only: true,
            ..case(
                "swaps-10k",
                "10 000 publications under 320 requests per second",
                Load::Own,
                "/1k",
                &marked[..1],
            )
        },
        versions(
            "versions-100",
            "100 versions of one module, each on its route",
            100,
        ),
        Case {
            by_name_only: true,
            ..versions(
                "versions-1k",
                "1 000 versions of one module, each on its route",
                1000,
            )
        },
    ]
}

fn versions(name: &'static str, what: &'static str, count: usize) -> Case {
    let rows = [
        ("edgeward", Edgeward, Work::Versions(0)),
        ("edgeward-versions", Edgeward, Work::Versions(count)),
    ];
    Case {
        kind: Kind::Versions,
        ..case(name, what, Load::Own, "/1k", &rows)
    }
}
