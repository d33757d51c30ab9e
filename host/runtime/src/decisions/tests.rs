//! What is kept, what is not, for whom and for how long; who waits, and who need not.

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
