//! Tests of what is believed and what is sent on.

use proptest::prelude::*;

use super::*;

const OUTSIDE: &str = "203.0.113.7";

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"]
        .map(|net| net.parse().unwrap())
        .to_vec()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn client(peer: &str, pairs: &[(&'static str, &str)]) -> String {
    client_address(peer.parse().unwrap(), &trusted(), &headers(pairs)).to_string()
}

/// The forwarding headers after [`apply`] as text.
fn applied(peer: &str, pairs: &[(&'static str, &str)]) -> [String; 5] {
    let mut headers = headers(pairs);
    let info = ForwardInfo {
        peer: peer.parse().unwrap(),
        scheme: "https",
        host: Some("api.example.com:8443"),
        version: Version::HTTP_2,
    };
    apply(&mut headers, &info, &trusted(), &LastFields::default());
    let text = |name: HeaderName| {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        values.join(" | ")
    };
    [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        FORWARDED,
        VIA,
    ]
    .map(text)
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let claims = [("x-forwarded-for", "10.0.0.9"), ("forwarded", "for=10.0.0.9")];
    assert_eq!(client(OUTSIDE, &claims), OUTSIDE);
    assert_eq!(
        client_address("10.0.0.1".parse().unwrap(), &[], &headers(&claims)).to_string(),
        "10.0.0.1"
    );
}

#[test]
fn the_list_is_read_from_the_right_up_to_the_first_untrusted_address() {
    for (list, expected) in [
        (OUTSIDE, OUTSIDE),
        ("1.2.3.4, 203.0.113.7", OUTSIDE),
        ("1.2.3.4, 203.0.113.7 ,10.0.0.2,10.0.0.3", OUTSIDE),
        ("203.0.113.7:4711, 10.0.0.2:80", OUTSIDE),
        ("10.0.0.4, 10.0.0.2", "10.0.0.4"),
        ("1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"),
        ("1.2.3.4, 999.1.1.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443, fd00::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:203.0.113.7, ::ffff:10.1.1.1", OUTSIDE),
        ("203.0.113.7, , ", OUTSIDE),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", list)]),
            expected,
            "{list}"
        );
        assert_eq!(
            client("::ffff:10.0.0.1", &[("x-forwarded-for", list)]),
            expected,
            "{list}"
        );
    }
    let lines = [
        ("x-forwarded-for", "1.2.3.4, 203.0.113.7"),
        ("x-forwarded-for", "10.0.0.2"),
    ];
    assert_eq!(client("10.0.0.1", &lines), OUTSIDE);
}

#[test]
fn forwarded_is_read_where_there_is_no_other_list() {
    for (list, expected) in [
        ("for=203.0.113.7", OUTSIDE),
        (
            "for=1.2.3.4, For=\"203.0.113.7:80\";proto=http , for=10.0.0.2;by=x",
            OUTSIDE,
        ),
        ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("proto=http;host=\"a,b;c\\\"=\";for=203.0.113.7", OUTSIDE),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("for=203.0.113.7, proto=https", "10.0.0.1"),
        ("for=1.2.3.4, for 203.0.113.7", "10.0.0.1"),
    ] {
        assert_eq!(client("10.0.0.1", &[("forwarded", list)]), expected, "{list}");
    }
    let both = [("forwarded", "for=1.2.3.4"), ("x-forwarded-for", OUTSIDE)];
    assert_eq!(client("10.0.0.1", &both), OUTSIDE);
}

#[test]
fn an_unfinished_quoted_string_cannot_hide_what_was_appended() {
    for poison in ["for=\"", "for=\"1.2.3.4", "for=1.2.3.4;host=\"\\", "\"", "\\\""] {
        for appended in [
            "for=203.0.113.7",
            "for=\"203.0.113.7:80\"",
            "for=\"203.0.113.7\";host=\"a\"",
        ] {
            let list = format!("{poison}, {appended}");
            assert_eq!(client("10.0.0.1", &[("forwarded", &list)]), OUTSIDE, "{list}");
        }
    }
}

#[test]
fn bytes_that_are_not_ascii_cannot_hide_what_was_appended() {
    for (name, value) in [
        ("x-forwarded-for", &b"1.2.3.4, \xff, 203.0.113.7, 10.0.0.2"[..]),
        ("forwarded", &b"for=\"\xff, for=203.0.113.7, for=10.0.0.2"[..]),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_static("for=5.6.7.8, 5.6.7.8"));
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(
            client_address(peer, &trusted(), &headers).to_string(),
            OUTSIDE,
            "{name}"
        );
    }
}

#[test]
fn claims_of_an_untrusted_peer_are_replaced() {
    let [list, proto, host, forwarded, via] = applied(
        OUTSIDE,
        &[
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil"),
            ("x-real-ip", "10.0.0.9"),
            ("forwarded", "for=10.0.0.9"),
            ("via", "1.0 fred"),
        ],
    );
    assert_eq!(
        (&*list, &*proto, &*host),
        (OUTSIDE, "https", "api.example.com:8443")
    );
    assert_eq!(
        forwarded,
        "for=203.0.113.7;host=\"api.example.com:8443\";proto=https"
    );
    assert_eq!(via, "1.0 fred | 2.0 edgeward");
    let mut headers = headers(&[("x-real-ip", "10.0.0.9"), ("x-forwarded-prefix", "/a")]);
    let info = ForwardInfo {
        peer: "2001:db8::1".parse().unwrap(),
        scheme: "http",
        host: None,
        version: Version::HTTP_11,
    };
    apply(&mut headers, &info, &trusted(), &LastFields::default());
    assert_eq!(headers.len(), 4, "{headers:?}");
    assert_eq!(headers[FORWARDED], "for=\"[2001:db8::1]\";proto=http");
    assert_eq!(headers[VIA], "1.1 edgeward");
}

#[test]
fn fields_of_the_last_request_serve_only_one_like_it() {
    let last = LastFields::default();
    for (peer, scheme, host) in [
        (OUTSIDE, "https", Some("a.example")),
        (OUTSIDE, "https", Some("a.example")),
        (OUTSIDE, "https", Some("b.example")),
        (OUTSIDE, "https", None),
        (OUTSIDE, "http", None),
        ("203.0.113.8", "http", None),
        (OUTSIDE, "https", Some("a.example")),
    ] {
        let info = ForwardInfo {
            peer: peer.parse().unwrap(),
            scheme,
            host,
            version: Version::HTTP_11,
        };
        let (mut first, mut later) = (HeaderMap::new(), HeaderMap::new());
        apply(&mut first, &info, &[], &LastFields::default());
        apply(&mut later, &info, &[], &last);
        assert_eq!(later, first);
    }
}

#[test]
fn what_a_trusted_peer_says_is_appended_to() {
    let [list, proto, host, forwarded, _] = applied(
        "10.0.0.1",
        &[
            ("x-forwarded-for", "1.2.3.4:5"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example.com"),
            ("forwarded", "for=1.2.3.4, for=203.0.113.7;by=_lb"),
        ],
    );
    assert_eq!(
        (&*list, &*proto, &*host),
        ("1.2.3.4:5, 203.0.113.7, 10.0.0.1", "http", "shop.example.com")
    );
    let own = "for=10.0.0.1;host=\"api.example.com:8443\";proto=https";
    assert_eq!(forwarded, format!("for=1.2.3.4, for=203.0.113.7;by=_lb, {own}"));
    assert_eq!(applied("10.0.0.1", &[])[3], own);
}

#[test]
fn of_several_schemes_or_hosts_of_a_trusted_peer_the_last_counts() {
    let [_, proto, host, ..] = applied(
        "10.0.0.1",
        &[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "claimed.example"),
            ("x-forwarded-host", "seen.example"),
        ],
    );
    assert_eq!((&*proto, &*host), ("http", "seen.example"));
}

#[test]
fn both_lists_say_the_same_afterwards() {
    let [list, _, _, forwarded, _] = applied(
        "10.0.0.1",
        &[
            ("x-forwarded-for", "x, 2001:db8::1"),
            ("forwarded", "for=10.6.6.6"),
        ],
    );
    assert_eq!(list, "x, 2001:db8::1, 10.0.0.1");
    assert!(
        forwarded.starts_with("for=unknown, for=\"[2001:db8::1]\", for=10.0.0.1;"),
        "{forwarded}"
    );

    let sent = "for=_x, for=203.0.113.7;proto=http;host=\"a.b:80\", for=10.0.0.2;proto=https";
    let [list, proto, host, forwarded, _] = applied("10.0.0.1", &[("forwarded", sent)]);
    assert_eq!(list, "unknown, 203.0.113.7, 10.0.0.2, 10.0.0.1");
    assert_eq!((&*proto, &*host), ("http", "a.b:80"));
    assert!(
        forwarded.starts_with(&format!("{sent}, for=10.0.0.1;")),
        "{forwarded}"
    );
}

#[test]
fn lists_are_cut_to_the_rightmost_entries() {
    let long = (0..200)
        .map(|i| format!("10.1.0.{i}"))
        .collect::<Vec<_>>()
        .join(",");
    let [list, _, _, forwarded, _] = applied("10.0.0.1", &[("x-forwarded-for", &long)]);
    assert_eq!(
        (list.split(", ").count(), forwarded.split(", ").count()),
        (MAX_HOPS, MAX_HOPS)
    );
    assert!(
        list.starts_with("10.1.0.169, ") && list.ends_with(", 10.1.0.199, 10.0.0.1"),
        "{list}"
    );
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &long)]), "10.1.0.168");
}

proptest! {
    #[test]
    fn the_client_is_never_left_of_what_an_untrusted_address_wrote(
        claim in "[\\x20-\\x7e]{0,40}",
        trail in prop::collection::vec(0_u8..255, 0..4),
    ) {
        let trail: Vec<_> = trail.iter().map(|last| format!("10.0.0.{last}")).collect();
        let list = [&[claim.clone(), OUTSIDE.to_owned()], &*trail].concat().join(", ");
        prop_assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &list)]), OUTSIDE);
        let trail: Vec<_> = trail.iter().map(|hop| format!("for=\"{hop}:80\";proto=http")).collect();
        let list = [&[claim, format!("for={OUTSIDE}")], &*trail].concat().join(", ");
        prop_assert_eq!(client("10.0.0.1", &[("forwarded", &list)]), OUTSIDE);
        let [out, ..] = applied("10.0.0.1", &[("forwarded", &list)]);
        prop_assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &out)]), OUTSIDE);
    }
}
