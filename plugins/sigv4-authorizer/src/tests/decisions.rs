//! Whole decisions: each thing that is easy to get wrong about signatures.

use edgeward_sigv4::{PathStyle, Signer, Timestamp, UNSIGNED_PAYLOAD, to_hex};
use serde_json::{Value, json};

use super::wire::{ID, NOW, SECRET, Wire, check, config, outside, refused, settings, signer, wire};
use crate::{authorizer, ecdsa, refusal::Kind, settings::Settings};

const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLE+/==";

#[track_caller]
fn accepted(extra: Value, request: &Wire) {
    let accepted = check(extra, request).unwrap();
    assert_eq!(accepted.access_key_id, ID);
    assert_eq!(accepted.identity.account.as_deref(), Some("123456789012"));
}

#[track_caller]
fn mismatched(request: &Wire) {
    let refusal = refused(json!({}), request);
    assert_eq!(refusal.kind, Kind::Signature, "{refusal:?}");
    assert!(
        refusal.aws.starts_with("The request signature we calculated"),
        "{refusal:?}"
    );
}

#[test]
fn both_forms_and_both_algorithms_are_accepted() {
    accepted(json!({}), &wire("/pets?tag=a%20b&x").signed(&signer()));
    accepted(json!({}), &wire("/pets?tag=a%20b&x").presigned(&signer(), 60));
    accepted(json!({}), &wire("/pets?tag=a%20b&x").signed_4a("us-east-1"));
    let europe = Signer {
        region: "eu-central-1",
        ..signer()
    };
    accepted(json!({}), &wire("/").signed(&europe));
}

#[test]
fn every_part_of_the_request_is_covered() {
    let good = wire("/pets/7?tag=a")
        .with("x-trace", "1")
        .post("body")
        .signed(&signer());
    accepted(json!({}), &good);
    mismatched(&Wire {
        method: "PUT",
        ..good.clone()
    });
    mismatched(&Wire {
        target: "/pets/8?tag=a".into(),
        ..good.clone()
    });
    mismatched(&Wire {
        target: "/pets/7?tag=b".into(),
        ..good.clone()
    });
    mismatched(&Wire {
        target: "/pets/7?tag=a&more".into(),
        ..good.clone()
    });
    mismatched(&Wire {
        target: "/pets/7?Tag=a".into(),
        ..good.clone()
    });
    mismatched(&Wire {
        host: "evil.test",
        ..good.clone()
    });
    mismatched(&Wire {
        body: "bodi",
        ..good.clone()
    });
    mismatched(&Wire {
        body: "",
        ..good.clone()
    });
    mismatched(&good.clone().set("x-trace", |_| "2".into()));
    mismatched(&good.clone().without("x-trace"));
    mismatched(&good.clone().with("x-trace", "1"));
    mismatched(&good.clone().set("x-amz-date", |_| NOW.plus(1).basic()));
    let other = wire("/").signed(&signer()).headers.pop().unwrap().1;
    let other = String::from_utf8(other).unwrap();
    mismatched(&good.clone().set("authorization", |text| {
        format!("{}{}", &text[..text.len() - 64], &other[other.len() - 64..])
    }));
    mismatched(&wire("/").signed(&Signer {
        secret: "other",
        ..signer()
    }));
    accepted(json!({}), &good.with("accept", "*/*"));
}

#[test]
fn the_path_is_encoded_again_and_not_once() {
    let target = "/test/@connections/JBDvjfGEIAMCERw%3D";
    accepted(json!({}), &wire(target).signed(&signer()));
    let once = Signer {
        style: PathStyle {
            normalize: true,
            encode_again: false,
        },
        ..signer()
    };
    mismatched(&wire(target).signed(&once));
    let refusal = refused(json!({}), &wire("/a%2Fb").signed(&once));
    assert!(refusal.aws.contains("'GET\n/a%252Fb\n"), "{}", refusal.aws);
}

#[test]
fn dot_segments_and_empty_segments_do_not_count_unless_told() {
    let raw = Signer {
        style: PathStyle {
            normalize: false,
            encode_again: true,
        },
        ..signer()
    };
    for (target, other) in [("/a//b/../c", "/a/c"), ("/a/./b", "/a/b"), ("//", "/")] {
        let mut request = wire(other).signed(&signer());
        request.target = target.into();
        accepted(json!({}), &request);
        mismatched(&wire(target).signed(&raw));
        accepted(json!({"normalize-path": false}), &wire(target).signed(&raw));
        assert!(check(json!({"normalize-path": false}), &request).is_err());
    }
    // an encoded dot is no dot segment
    let mut request = wire("/b").signed(&signer());
    request.target = "/a/%2e%2e/b".into();
    mismatched(&request);
}

#[test]
fn order_and_writing_of_the_query_do_not_count_but_case_and_values_do() {
    let good = wire("/?b=2&a=%2F&a=&c").signed(&signer());
    for target in ["/?a=&a=%2f&b=2&c=", "/?c&b=2&a=/&a"] {
        accepted(
            json!({}),
            &Wire {
                target: target.into(),
                ..good.clone()
            },
        );
    }
    mismatched(&Wire {
        target: "/?B=2&a=%2F&a=&c".into(),
        ..good.clone()
    });
    mismatched(&Wire {
        target: "/?b=2&a=%252F&a=&c".into(),
        ..good
    });
    // a plus is a space, as forms write it, and an encoded plus is none
    let plus = wire("/?q=a%20b").signed(&signer());
    accepted(
        json!({}),
        &Wire {
            target: "/?q=a+b".into(),
            ..plus.clone()
        },
    );
    mismatched(&Wire {
        target: "/?q=a%2Bb".into(),
        ..plus
    });
}

#[test]
fn spaces_in_header_values_are_trimmed_and_collapsed_and_the_order_of_lines_counts() {
    let good = wire("/")
        .with("x-list", "a")
        .with("x-list", "b  c")
        .signed(&signer());
    let with = |values: [&str; 2]| {
        let mut request = good.clone().without("x-list");
        for value in values {
            request = request.with("x-list", value);
        }
        request
    };
    accepted(json!({}), &with([" a ", "b c\t"]));
    accepted(json!({}), &good.clone().without("x-list").with("x-list", "a,b c"));
    mismatched(&with(["b c", "a"]));
    mismatched(&with(["a", "bc"]));
}

#[test]
fn fields_of_amazon_must_be_signed_unless_a_proxy_adds_them() {
    let good = wire("/").signed(&signer());
    accepted(
        json!({}),
        &good.clone().with("x-amz-cf-id", "1").with("x-amzn-trace-id", "2"),
    );
    let refusal = refused(json!({}), &good.clone().with("x-amz-target", "1"));
    assert_eq!(
        refusal.aws,
        "There were headers present in the request which were not signed: x-amz-target"
    );
    assert!(refusal.detail.contains("name it in `unsigned-headers`"));
    accepted(
        json!({"unsigned-headers": ["x-amz-target"]}),
        &good.clone().with("x-amz-target", "1"),
    );
    assert!(check(json!({"unsigned-headers": []}), &good.with("x-amz-cf-id", "1")).is_err());
}

#[test]
fn a_signed_field_cannot_be_taken_away_by_connection() {
    let good = wire("/").with("x-role", "admin").signed(&signer());
    accepted(json!({}), &good.clone().with("connection", "keep-alive, x-other"));
    for value in ["x-role", "close, X-Role ", "x-amz-date"] {
        let refusal = refused(json!({}), &good.clone().with("connection", value));
        assert!(
            refusal.aws.contains("is named in Connection"),
            "{value}: {}",
            refusal.aws
        );
    }
}

#[test]
fn the_payload_hash_must_be_signed_and_be_that_of_the_body() {
    let sending = Signer {
        send_payload_hash: true,
        ..signer()
    };
    let good = wire("/").post("body").signed(&sending);
    accepted(json!({}), &good);
    let refusal = refused(json!({}), &Wire { body: "bodi", ..good });
    assert_eq!(
        refusal.aws,
        "The provided 'x-amz-content-sha256' header does not match what was computed."
    );
    let hash = "0".repeat(64);
    let unsigned = wire("/").signed(&signer()).with("x-amz-content-sha256", &hash);
    assert!(
        refused(json!({}), &unsigned)
            .aws
            .contains("not signed: x-amz-content-sha256")
    );
    // the hash of nothing, for a request that has a body
    mismatched(&Wire {
        body: "body",
        ..wire("/").presigned(&signer(), 60)
    });
}

#[test]
fn an_unsigned_payload_is_refused_unless_allowed() {
    let sending = Signer {
        send_payload_hash: true,
        ..signer()
    };
    let request = wire("/")
        .post("body")
        .signed_with_hash(&sending, UNSIGNED_PAYLOAD);
    let refusal = refused(json!({}), &request);
    assert_eq!(
        refusal.aws,
        "The payload must be signed: 'UNSIGNED-PAYLOAD' is not supported."
    );
    accepted(json!({"unsigned-payload": true}), &request);
    accepted(
        json!({"unsigned-payload": true}),
        &Wire {
            body: "other",
            ..request
        },
    );
    // said nowhere, it is not assumed
    let silent = wire("/")
        .post("body")
        .signed_with_hash(&signer(), UNSIGNED_PAYLOAD);
    assert!(check(json!({"unsigned-payload": true}), &silent).is_err());
    let streaming = wire("/").signed_with_hash(&sending, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(
        refused(json!({"unsigned-payload": true}), &streaming).kind,
        Kind::Incomplete
    );
}

#[test]
fn a_session_token_must_be_that_of_the_key_signed_or_added_later() {
    let mut with_token = config(json!({}));
    with_token["credentials"][0]["session-token"] = json!("token");
    let settings_with_token = Settings::new(serde_json::from_value(with_token).unwrap()).unwrap();
    let ask = |request: &Wire| {
        let fake = outside();
        fake.hide("token", TOKEN.as_bytes());
        authorizer::check(&settings_with_token, request, &fake)
    };
    for sign_token in [true, false] {
        let temporary = Signer {
            session_token: Some(TOKEN),
            sign_token,
            ..signer()
        };
        for request in [
            wire("/?a=1").signed(&temporary),
            wire("/?a=1").presigned(&temporary, 60),
        ] {
            assert!(ask(&request).is_ok(), "{}", request.target);
            // a key without a token takes none
            let refusal = refused(json!({}), &request);
            assert_eq!(
                (refusal.kind, refusal.detail.contains("has no session token")),
                (Kind::Token, true)
            );
        }
        let other = Signer {
            session_token: Some("other"),
            ..temporary
        };
        for request in [wire("/").signed(&other), wire("/").presigned(&other, 60)] {
            let refusal = ask(&request).unwrap_err();
            assert_eq!(
                (refusal.kind, refusal.detail.contains("is another one")),
                (Kind::Token, true)
            );
        }
    }
    for request in [wire("/").signed(&signer()), wire("/").presigned(&signer(), 60)] {
        let refusal = ask(&request).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.detail.contains("is missing")),
            (Kind::Token, true)
        );
    }
}

#[test]
fn clocks_may_differ_by_the_skew_and_presigned_requests_end_to_the_second() {
    let header = wire("/").signed(&signer());
    let query = wire("/").presigned(&signer(), 60);
    let no_life = Wire {
        target: query.target.replace("&X-Amz-Expires=60", ""),
        ..query.clone()
    };
    let ask = |request: &Wire, offset: i64| {
        let fake = outside();
        fake.set_time(NOW.0.checked_add_signed(offset).unwrap() * 1000);
        authorizer::check(&settings(json!({})), request, &fake).map_err(|refusal| refusal.public)
    };
    for offset in [-300, 0, 300] {
        assert!(ask(&header, offset).is_ok(), "{offset}");
    }
    assert_eq!(ask(&header, 301).unwrap_err(), "the signature has expired");
    assert_eq!(ask(&header, -301).unwrap_err(), "the signature is not valid yet");
    for offset in [-300, 0, 60] {
        assert!(ask(&query, offset).is_ok(), "{offset}");
    }
    assert_eq!(ask(&query, 61).unwrap_err(), "the signature has expired");
    assert_eq!(ask(&query, -301).unwrap_err(), "the signature is not valid yet");
    // without a life of its own it is treated like a header; the signature covers that there is none
    assert_eq!(ask(&no_life, 301).unwrap_err(), "the signature has expired");
    assert_eq!(ask(&no_life, 0).unwrap_err(), "the signature does not match");
    let long = wire("/").presigned(&signer(), 604_800);
    assert!(ask(&long, 604_800).is_ok());
    assert_eq!(
        refused(json!({"max-expires-seconds": 3600}), &long).public,
        "the signature lives too long"
    );
}

#[test]
fn a_changed_life_of_a_presigned_request_is_noticed() {
    let good = wire("/").presigned(&signer(), 60);
    mismatched(&Wire {
        target: good.target.replace("Expires=60", "Expires=3600"),
        ..good.clone()
    });
    mismatched(&Wire {
        target: format!("{}&extra=1", good.target),
        ..good
    });
}

#[test]
fn a_request_is_accepted_once_where_that_is_asked_for() {
    let settings = settings(json!({"replay": {"store": "seen"}}));
    let fake = outside();
    let mut tries = Vec::new();
    for request in [
        wire("/").signed(&signer()),
        wire("/").presigned(&signer(), 3600),
        wire("/").signed_4a("*"),
    ] {
        assert!(authorizer::check(&settings, &request, &fake).is_ok());
        tries.push(request);
    }
    // of the same text version 4a makes another signature each time: it is the text that counts
    tries.push(wire("/").signed_4a("*"));
    // other writings of the same request too
    tries.push(wire("//").signed(&signer()));
    for request in &tries {
        let refusal = authorizer::check(&settings, request, &fake).unwrap_err();
        assert_eq!(refusal.public, "the request was received before");
    }
    assert!(authorizer::check(&settings, &wire("/2").signed(&signer()), &fake).is_ok());
    fake.pass(300_000);
    assert_eq!(
        authorizer::check(&settings, &tries[0], &fake).unwrap_err().public,
        "the request was received before"
    );
    fake.pass(1_000);
    assert_eq!(
        authorizer::check(&settings, &tries[0], &fake).unwrap_err().public,
        "the signature has expired"
    );
    fake.set_time(NOW.0 * 1000 + 3_600_999);
    assert_eq!(
        authorizer::check(&settings, &tries[1], &fake).unwrap_err().public,
        "the request was received before"
    );
    // a request that cannot be remembered does not pass
    fake.set_time(NOW.0 * 1000);
    fake.fill_store();
    let refusal = authorizer::check(&settings, &wire("/3").signed(&signer()), &fake).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.detail.contains("store is full")),
        (Kind::Unavailable, true)
    );
}

#[test]
fn a_refused_request_is_not_remembered() {
    let settings = settings(json!({"replay": {}}));
    let fake = outside();
    let wrong = wire("/").signed(&Signer {
        secret: "other",
        ..signer()
    });
    assert!(authorizer::check(&settings, &wrong, &fake).is_err());
    assert_eq!(fake.stored("sigv4-seen:"), 0);
    assert!(authorizer::check(&settings, &wire("/").signed(&signer()), &fake).is_ok());
}

#[test]
fn version_4a_is_for_a_set_of_regions_and_takes_a_configured_key_too() {
    for set in ["us-east-1", "*", "ap-south-1,eu-*"] {
        accepted(json!({}), &wire("/").signed_4a(set));
    }
    assert_eq!(
        refused(json!({}), &wire("/").signed_4a("ap-south-1")).kind,
        Kind::Scope
    );
    let good = wire("/").signed_4a("*");
    mismatched(&good.clone().set("x-amz-region-set", |_| "us-east-1".into()));
    mismatched(&Wire {
        method: "PUT",
        ..good.clone()
    });
    assert_eq!(
        refused(json!({"algorithms": ["sigv4"]}), &good).kind,
        Kind::Incomplete
    );
    assert_eq!(
        refused(json!({"algorithms": ["sigv4a"]}), &wire("/").signed(&signer())).kind,
        Kind::Incomplete
    );
    let private = edgeward_sigv4::private_key(ID, SECRET, &edgeward_sigv4::HostCrypto).unwrap();
    let public = to_hex(&ecdsa::public_key(&private).unwrap());
    let only_public = json!({"credentials": [
        {"access-key-id": ID, "public-key": public, "principal-arn": "arn:aws:iam::123456789012:user/ada"},
    ]});
    accepted(only_public.clone(), &good);
    let refusal = refused(only_public, &wire("/").signed(&signer()));
    assert_eq!(
        (
            refusal.kind,
            refusal.detail.contains("no secret, only a public key")
        ),
        (Kind::Token, true)
    );
    let other = to_hex(&ecdsa::public_key(&[7; 32]).unwrap());
    let wrong_key = json!({"credentials": [{"access-key-id": ID, "public-key": other}]});
    assert_eq!(refused(wrong_key, &good).kind, Kind::Signature);
}

/// Random requests as botocore and awscrt sign them; `tests/vectors/generate.py` makes them.
#[test]
fn what_amazons_own_clients_sign_is_accepted() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/vectors/botocore.json")).unwrap();
    assert!(vectors.len() >= 60);
    for vector in &vectors {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let headers = vector["headers"].as_array().unwrap().iter();
        let request = Wire {
            method: text("method").leak(),
            target: text("target"),
            host: text("host").leak(),
            headers: headers
                .map(|field| {
                    let part = |index: usize| field[index].as_str().unwrap();
                    (part(0).to_owned(), part(1).as_bytes().to_vec())
                })
                .collect(),
            body: text("body").leak(),
        };
        let mut config = config(json!({}));
        if vector["token"].is_string() {
            config["credentials"][0]["session-token"] = json!("token");
        }
        let settings = Settings::new(serde_json::from_value(config).unwrap()).unwrap();
        let fake = outside();
        fake.hide("token", vector["token"].as_str().unwrap_or_default().as_bytes());
        let outcome = authorizer::check(&settings, &request, &fake);
        assert!(outcome.is_ok(), "{vector}: {outcome:?}");
    }
}

#[test]
fn forms_can_be_switched_off() {
    let header = wire("/").signed(&signer());
    let query = wire("/").presigned(&signer(), 60);
    assert_eq!(
        refused(json!({"forms": ["query"]}), &header).kind,
        Kind::NoCredentials
    );
    let refusal = refused(json!({"forms": ["header"]}), &query);
    assert_eq!(
        (refusal.kind, refusal.detail.contains("signed in the query")),
        (Kind::NoCredentials, true)
    );
    accepted(json!({"forms": ["header"]}), &header);
    accepted(json!({"forms": ["query"]}), &query);
}

#[test]
fn both_forms_and_two_authorizations_are_refused() {
    let mut both = wire("/").presigned(&signer(), 60);
    both = both.with("authorization", "AWS4-HMAC-SHA256 Credential=a");
    assert_eq!(
        refused(json!({}), &both).aws,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    );
    let good = wire("/").signed(&signer());
    let twice = good.clone().with("authorization", "Basic YWJj");
    assert_eq!(
        refused(json!({}), &twice).aws,
        "'Authorization' occurs more than once"
    );
    let long = good.set("authorization", |text| format!("{text}, {}", "x".repeat(8192)));
    assert!(refused(json!({}), &long).aws.contains("the limit is 8192"));
}

#[test]
fn keys_come_from_a_source_until_they_expire() {
    let url = "https://keys.test/find";
    let settings = settings(json!({"credentials": [], "source": {"url": url}}));
    let fake = outside();
    let body = json!({"secretAccessKey": SECRET, "principalArn": "arn:aws:sts::42:assumed-role/r/s", "expiration": "2015-08-30T12:36:30Z"});
    fake.serve(&format!("{url}?access-key-id={ID}"), 200, body.to_string());
    let good = wire("/").signed(&signer());
    let accepted = authorizer::check(&settings, &good, &fake).unwrap();
    assert_eq!(accepted.identity.account.as_deref(), Some("42"));
    assert!(authorizer::check(&settings, &wire("/").signed_4a("*"), &fake).is_ok());
    fake.pass(30_000);
    let refusal = authorizer::check(&settings, &good, &fake).unwrap_err();
    assert_eq!(refusal.kind, Kind::ExpiredToken);
    assert_eq!(fake.fetches(), 1);
    let stranger = Signer {
        access_key_id: "STRANGER",
        ..signer()
    };
    fake.serve(&format!("{url}?access-key-id=STRANGER"), 500, String::new());
    let refusal = authorizer::check(&settings, &wire("/").signed(&stranger), &fake).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.aws.as_str()),
        (Kind::Unavailable, "Service Unavailable")
    );
}

#[test]
fn nothing_is_fetched_for_a_request_that_is_refused_anyway() {
    let settings = settings(json!({"credentials": [], "source": {"url": "https://keys.test/"}}));
    let fake = outside();
    fake.set_time(Timestamp(NOW.0 + 1000).0 * 1000);
    assert!(authorizer::check(&settings, &wire("/").signed(&signer()), &fake).is_err());
    assert_eq!(fake.fetches(), 0);
}
