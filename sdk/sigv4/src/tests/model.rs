//! The canonical request against a second implementation, written differently: maps and regular steps over whole texts instead of one pass.

use std::collections::{BTreeMap, BTreeSet};

use crate::{PathStyle, Presented, Query, Request, Signer, Timestamp, canonical_path, canonical_request};
use proptest::prelude::*;

use super::{
    crypto::{Crypto, ID, SECRET},
    kept,
};

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match char::from(*byte) {
            one @ ('A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~') => text.push(one),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::new();
    while let Some(first) = rest.first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&rest[1..3]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &rest[3..];
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = &rest[1..];
        }
    }
    bytes
}

/// Replaces until nothing changes.
fn until_stable(text: String, step: impl Fn(&str) -> String) -> String {
    let next = step(&text);
    if next == text {
        text
    } else {
        until_stable(next, step)
    }
}

fn model_path(path: &str) -> String {
    let slashes = path.ends_with('/');
    let path = until_stable(format!("{path}/"), |text| {
        text.replace("//", "/").replace("/./", "/")
    });
    let path = until_stable(path, |text| match text.find("/../") {
        None => text.to_owned(),
        Some(at) => {
            let parent = text[..at].rfind('/').unwrap_or(0);
            format!("{}{}", &text[..parent], &text[at + 3..])
        }
    });
    let path = path.trim_end_matches('/');
    let path = if slashes || path.is_empty() {
        format!("{path}/")
    } else {
        path.to_owned()
    };
    path.split('/')
        .map(|part| escape(part.as_bytes()))
        .collect::<Vec<_>>()
        .join("/")
}

fn model_query(query: &str) -> String {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in query.split('&') {
        if part.is_empty() {
            continue;
        }
        let at = part.find('=').unwrap_or(part.len());
        let value = part.get(at + 1..).unwrap_or("");
        sorted
            .entry(escape(&unescape(&part[..at])))
            .or_default()
            .push(escape(&unescape(value)));
    }
    let mut texts = Vec::new();
    for (name, mut values) in sorted {
        values.sort();
        texts.extend(values.iter().map(|value| format!("{name}={value}")));
    }
    texts.join("&")
}

fn model(request: &Request<'_>, payload: &str) -> String {
    let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers {
        let value = std::str::from_utf8(value).unwrap();
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        fields.entry(name).or_default().push(words.join(" "));
    }
    fields.insert("host", vec![request.host.to_owned()]);
    let lines: String = fields
        .iter()
        .map(|(name, values)| format!("{name}:{}\n", values.join(",")))
        .collect();
    let names: Vec<&str> = fields.keys().copied().collect();
    format!(
        "{}\n{}\n{}\n{lines}\n{}\n{payload}",
        request.method,
        model_path(request.path),
        model_query(request.query),
        names.join(";"),
    )
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        3 => "[a-c]{1,3}",
        1 => Just(String::new()),
        1 => Just(".".to_owned()),
        1 => Just("..".to_owned()),
        1 => "(%[0-9a-fA-F]{2}|[ü~@:+*' -]){1,3}",
        1 => Just("%2e%2E".to_owned()),
    ];
    prop::collection::vec(segment, 0..8).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn query() -> impl Strategy<Value = String> {
    prop::collection::vec(
        "([a-cA-C.~=+/ü-]|%[0-9a-fA-F]{2}){0,4}(=([a-c?=+ü-]|%[0-9a-fA-F]{2}){0,4})?",
        0..6,
    )
    .prop_map(|parts| parts.join("&"))
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = "[ \t]{0,3}([a-c,;\"]{0,3}[ \t]{0,3}){0,3}".prop_map(String::into_bytes);
    prop::collection::vec(("[a-d]{1,2}(-[a-d])?", value), 0..6)
}

proptest! {
    #[test]
    fn the_canonical_request_is_that_of_the_second_implementation(
        method in "GET|POST|PATCH", path in path(), query in query(), headers in headers(), host in "[a-c]{1,5}(:8080)?",
    ) {
        let request = Request { method: &method, path: &path, query: &query, host: &host, headers: kept(&headers) };
        let names: BTreeSet<String> = headers.iter().map(|(name, _)| name.clone()).chain(["host".to_owned()]).collect();
        let signed: Vec<String> = names.into_iter().collect();
        let canonical_query = Query::parse(&query).unwrap().canonical(&[]);
        let text = canonical_request(&request, &canonical_query, &signed, "HASH", PathStyle::default());
        prop_assert_eq!(String::from_utf8(text).unwrap(), model(&request, "HASH"));
    }

    #[test]
    fn normalising_twice_changes_nothing(path in path()) {
        let style = PathStyle { normalize: true, encode_again: false };
        let once = canonical_path(&path, style);
        prop_assert_eq!(canonical_path(&once, style), once);
    }

    /// What this library signs, it reads and verifies; and nothing else with the same signature.
    #[test]
    fn what_is_signed_is_verified_until_something_changes(
        path in path(), query in query(), headers in headers(), token in prop::option::of("[a-z/+=]{1,20}"), sign_token: bool, in_query: bool,
    ) {
        let signer = Signer {
            access_key_id: ID, secret: SECRET, session_token: token.as_deref(), sign_token, region: "eu-central-1",
            service: "execute-api", style: PathStyle::default(), send_payload_hash: false,
        };
        let time = Timestamp(1_700_000_000);
        let request = Request { method: "GET", path: &path, query: &query, host: "api.test", headers: kept(&headers) };
        let (mut all, mut target) = (headers.clone(), query.clone());
        if in_query {
            target = signer.query(&request, "HASH", time, 60, &Crypto).unwrap();
        } else {
            let added = signer.headers(&request, "HASH", time, &Crypto).unwrap();
            all.extend(added.into_iter().map(|(name, value)| (name, value.into_bytes())));
        }
        let request = Request { query: &target, headers: kept(&all), ..request };
        let presented = Presented::read(&request).unwrap().unwrap();
        prop_assert_eq!(&presented.session_token, &token);
        let holds = |request: &Request<'_>, payload: &str| {
            presented.canonical_requests(request, payload, PathStyle::default()).iter().any(|text| {
                presented.is_signed_with_secret(SECRET, &presented.string_to_sign(text, &Crypto), &Crypto)
            })
        };
        prop_assert!(holds(&request, "HASH"));
        prop_assert!(!holds(&request, "HASI"));
        let other = format!("{path}/x");
        for changed in [
            Request { method: "PUT", ..request },
            Request { host: "api.test.", ..request },
            Request { path: &other, ..request },
        ] {
            prop_assert!(!holds(&changed, "HASH"));
        }
    }

    /// Nothing from outside panics, whatever it is.
    #[test]
    fn no_request_panics(
        authorization in "(AWS4-HMAC-SHA256|AWS4-ECDSA-P256-SHA256|[ -~]{0,8})[ ,](Credential=[A-Z/]{0,30}|SignedHeaders=[a-z;]{0,9}|Signature=[0-9a-f]{0,64}|[ -~]{0,9}|,){0,6}",
        query in "([Xa-zA-Z-]{0,8}|X-Amz-Algorithm|X-Amz-Signature|[=&%+]){0,12}", date in "[0-9TZ]{0,17}",
    ) {
        let headers = [("authorization".to_owned(), authorization.into_bytes()), ("x-amz-date".to_owned(), date.into_bytes())];
        for headers in [&headers[..], &headers[1..]] {
            drop(Presented::read(&Request { method: "GET", path: "/", query: &query, host: "h", headers: kept(headers) }));
        }
    }
}
