//! The rules of Amazon API Gateway's authorizers, one by one.

use serde_json::{Value, json};

use super::decisions::{NOW, Signer, authorizer, inline, now};
use crate::{
    algorithm::Algorithm,
    authorizer::Accepted,
    config::Config,
    locate::{self, Fields},
    manner::{Answered, answer},
    settings::{Keys, Settings},
};

const ISSUER: &str = "https://id.test/";

/// A configuration with a key under the name `k`.
fn config(preset: &str, key: &Value, extra: Value) -> Value {
    let mut config = json!({"preset": preset, "keys": inline(json!([key]))});
    if preset != "cognito" {
        config["issuer"] = json!(ISSUER);
        config["audience"] = json!(["pets", "shop"]);
    } else if extra.get("user-pools").is_none() {
        config["issuer"] = json!(ISSUER);
    }
    let members = config.as_object_mut().unwrap();
    for (name, value) in extra.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    config
}

/// The usual claims with others; null takes one away.
fn claims(change: &Value) -> Value {
    let mut claims =
        json!({"iss": ISSUER, "aud": "pets", "sub": "ada", "exp": NOW + 60, "iat": NOW, "token_use": "id"});
    let members = claims.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

struct Bench {
    signer: Signer,
    algorithm: Algorithm,
    preset: &'static str,
}

impl Bench {
    fn new(preset: &'static str) -> Self {
        let algorithm = Algorithm::Rs256;
        Self {
            signer: Signer::new(algorithm),
            algorithm,
            preset,
        }
    }

    /// What becomes of a token with this header and these claims.
    fn ask(&self, extra: Value, header: Value, change: &Value) -> Result<Accepted, Answered> {
        self.on_route(&[], extra, header, change)
    }

    /// The same on a route that wants one of these scopes.
    fn on_route(
        &self,
        route: &[&str],
        extra: Value,
        header: Value,
        change: &Value,
    ) -> Result<Accepted, Answered> {
        let route: Vec<_> = route.iter().map(|scope| (*scope).to_owned()).collect();
        let mut authorizer = authorizer(config(self.preset, &self.signer.jwk("k"), extra));
        let token = self.signer.token(header, &claims(change));
        let outcome = authorizer.check(&token, &route, &now());
        outcome.map_err(|refusal| answer(authorizer.settings(), &route, &refusal))
    }

    fn claims(&self, extra: Value, change: Value) -> Result<Accepted, Answered> {
        self.ask(extra, json!({"alg": self.algorithm.name(), "kid": "k"}), &change)
    }
}

fn challenge(answered: &Answered) -> &str {
    assert_eq!(answered.header.0, "www-authenticate");
    &answered.header.1
}

fn settings(config: Value) -> Result<Settings, String> {
    let config: Config = serde_json::from_value(config).unwrap();
    Settings::new(config).map(|(settings, _)| settings)
}

struct Request(Vec<(&'static str, &'static str)>);

impl Fields for Request {
    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        let fields = self.0.iter().filter(|(one, _)| *one == name);
        fields.map(|(_, value)| value.as_bytes().to_vec()).collect()
    }
    fn query_values(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }
    fn query(&self) -> String {
        String::new()
    }
}

#[test]
fn tokens_come_bare_or_with_a_scheme() {
    for preset in ["http-api", "rest-jwt", "cognito"] {
        let key = Signer::new(Algorithm::Es256).jwk("k");
        let usual = settings(config(preset, &key, json!({}))).unwrap();
        for value in ["abc", "Bearer abc", "bearer abc"] {
            let found = locate::find(&usual.locations, &Request(vec![("authorization", value)]));
            assert_eq!(found.unwrap(), "abc", "{value}");
        }
        let other = json!({"token-from": [{"header": "X-Token"}]});
        let other = settings(config(preset, &key, other)).unwrap();
        let found = locate::find(&other.locations, &Request(vec![("x-token", "Bearer abc")]));
        assert_eq!(found.unwrap(), "abc");
    }
}

#[test]
fn a_missing_token_gets_401_and_a_bare_challenge() {
    for preset in ["http-api", "rest-jwt", "cognito"] {
        let key = Signer::new(Algorithm::Es256).jwk("k");
        let settings = settings(config(preset, &key, json!({"scopes": ["read"]}))).unwrap();
        for (fields, wanted) in [
            (vec![], "Bearer"),
            (
                vec![("authorization", "a"), ("authorization", "b")],
                if preset == "http-api" {
                    "Bearer scope=\"read\" error=\"invalid_token\" error_description=\"more than one token was sent\""
                } else {
                    "Bearer"
                },
            ),
        ] {
            let refusal = locate::find(&settings.locations, &Request(fields)).unwrap_err();
            let answered = answer(&settings, &[], &refusal);
            assert_eq!((answered.status, answered.reason), (401, "Unauthorized"));
            assert_eq!(challenge(&answered), wanted);
        }
    }
}

#[test]
fn the_key_must_be_named_and_found() {
    for preset in ["http-api", "rest-jwt", "cognito"] {
        let bench = Bench::new(preset);
        assert!(bench.claims(json!({}), json!({})).is_ok());
        for header in [json!({"alg": "RS256"}), json!({"alg": "RS256", "kid": "other"})] {
            let answered = bench.ask(json!({}), header, &json!({})).unwrap_err();
            assert_eq!((answered.status, answered.reason), (401, "Unauthorized"));
        }
        // a key without a name serves nobody
        let mut unnamed = bench.signer.jwk("k");
        unnamed.as_object_mut().unwrap().remove("kid");
        let keys = json!({"keys": inline(json!([unnamed]))});
        assert_eq!(bench.claims(keys, json!({})).unwrap_err().status, 401);
    }
}

#[test]
fn each_preset_has_its_algorithms() {
    for (preset, algorithms) in [
        ("http-api", vec!["RS256", "RS384", "RS512"]),
        ("cognito", vec!["RS256", "RS384", "RS512"]),
        (
            "rest-jwt",
            vec!["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"],
        ),
    ] {
        for name in [
            "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "EdDSA", "HS256",
        ] {
            let algorithm = Algorithm::from_name(name).unwrap();
            let key = Signer::new(Algorithm::Es256).jwk("k");
            let listed = settings(config(preset, &key, json!({"algorithms": [name]})));
            assert_eq!(
                listed.is_ok(),
                algorithms.contains(&name),
                "{preset} {name}: {listed:?}"
            );
            if algorithm.is_hmac() {
                continue;
            }
            let bench = Bench {
                signer: Signer::new(algorithm),
                algorithm,
                preset,
            };
            let outcome = bench.claims(json!({}), json!({}));
            assert_eq!(outcome.is_ok(), algorithms.contains(&name), "{preset} {name}");
        }
    }
}

#[test]
fn the_issuer_is_compared_exactly() {
    for preset in ["http-api", "rest-jwt", "cognito"] {
        let bench = Bench::new(preset);
        for issuer in [
            json!("https://id.test"),
            json!("https://ID.test/"),
            json!([ISSUER]),
            json!(null),
        ] {
            let answered = bench.claims(json!({}), json!({"iss": issuer})).unwrap_err();
            assert_eq!(
                (answered.status, answered.reason),
                (401, "Unauthorized"),
                "{issuer}"
            );
        }
    }
}

#[test]
fn client_id_counts_in_http_apis_and_only_without_aud() {
    let good = |preset: &'static str, change: Value| {
        let outcome = Bench::new(preset).claims(json!({}), change.clone());
        if let Err(answered) = &outcome {
            assert_eq!((answered.status, answered.reason), (401, "Unauthorized"));
            if preset == "http-api" {
                assert_eq!(
                    challenge(answered),
                    "Bearer scope=\"\" error=\"invalid_token\" error_description=\"the token does not have a valid audience\"",
                    "{change}"
                );
            }
        }
        outcome.is_ok()
    };
    for (change, http, rest) in [
        (json!({"aud": "shop"}), true, true),
        (json!({"aud": ["x", "pets"]}), true, true),
        (json!({"aud": "x"}), false, false),
        (json!({"aud": null}), false, false),
        (json!({"aud": null, "client_id": "pets"}), true, false),
        (json!({"aud": null, "client_id": "x"}), false, false),
        (json!({"aud": null, "client_id": ["pets"]}), false, false),
        // both are there: aud alone counts
        (json!({"aud": "x", "client_id": "pets"}), false, false),
        (json!({"aud": [], "client_id": "pets"}), false, false),
        (json!({"aud": "pets", "client_id": "x"}), true, true),
    ] {
        assert_eq!(good("http-api", change.clone()), http, "{change}");
        assert_eq!(good("rest-jwt", change.clone()), rest, "{change}");
    }
}

#[test]
fn times_hold_to_the_second() {
    for preset in ["http-api", "rest-jwt", "cognito"] {
        let bench = Bench::new(preset);
        for (change, good) in [
            (json!({"exp": NOW + 1}), true),
            (json!({"exp": NOW}), false),
            (json!({"exp": NOW - 1}), false),
            (json!({"exp": null}), false),
            (json!({"nbf": NOW}), true),
            (json!({"nbf": NOW + 1}), false),
            (json!({"iat": NOW + 1}), false),
            (json!({"iat": null}), true),
        ] {
            let outcome = bench.claims(json!({}), change.clone());
            assert_eq!(outcome.is_ok(), good, "{preset} {change}");
        }
    }
}

#[test]
fn an_expired_token_is_told_so() {
    let ask = |preset| {
        let answered = Bench::new(preset)
            .claims(json!({}), json!({"exp": NOW - 1}))
            .unwrap_err();
        (answered.status, answered.reason, answered.header.1)
    };
    let rest = (401, "The incoming token has expired", "Bearer".to_owned());
    assert_eq!(ask("cognito"), rest);
    assert_eq!(ask("rest-jwt"), rest);
    let text = "Bearer scope=\"\" error=\"invalid_token\" error_description=\"the token has expired\"";
    assert_eq!(ask("http-api"), (401, "Unauthorized", text.to_owned()));
}

#[test]
fn one_scope_of_the_route_is_enough() {
    let scopes = json!({"scopes": ["read", "write"]});
    for (preset, status, reason) in [
        ("http-api", 403, "Forbidden"),
        ("rest-jwt", 403, "Forbidden"),
        ("cognito", 401, "Unauthorized"),
    ] {
        let bench = Bench::new(preset);
        for (mut change, good) in [
            (json!({"scope": "write x"}), true),
            (json!({"scp": ["read"]}), true),
            (json!({"scp": "read"}), true),
            (json!({"scope": "reading"}), false),
            (json!({}), false),
        ] {
            change["token_use"] = json!("access");
            let header = json!({"alg": bench.algorithm.name(), "kid": "k"});
            let of_route = bench.on_route(&["read", "write"], json!({}), header, &change);
            for outcome in [bench.claims(scopes.clone(), change.clone()), of_route] {
                let Err(answered) = outcome else {
                    assert!(good, "{preset} {change}");
                    continue;
                };
                assert!(!good, "{preset} {change}");
                assert_eq!((answered.status, answered.reason), (status, reason));
                let text = challenge(&answered);
                if preset == "http-api" {
                    assert_eq!(
                        text,
                        "Bearer scope=\"read write\" error=\"insufficient_scope\" error_description=\"a required scope is missing\""
                    );
                } else {
                    assert_eq!(text, "Bearer");
                }
            }
        }
    }
}

#[test]
fn http_apis_do_not_look_at_the_use_of_a_token() {
    for token_use in ["id", "access", "x"] {
        for scopes in [json!([]), json!(["read"])] {
            let change = json!({"token_use": token_use, "scope": "read"});
            assert!(
                Bench::new("http-api")
                    .claims(json!({"scopes": scopes}), change)
                    .is_ok()
            );
        }
    }
}

#[test]
fn cognito_wants_id_tokens_without_scopes_and_access_tokens_with_them() {
    let bench = Bench::new("cognito");
    let good = |scopes: Value, token_use: Value| {
        let change = json!({"token_use": token_use, "scope": "read", "aud": null});
        let header = json!({"alg": bench.algorithm.name(), "kid": "k"});
        let route: Vec<&str> = scopes
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let of_route = bench.on_route(&route, json!({}), header, &change);
        let good = [bench.claims(json!({"scopes": scopes}), change), of_route].map(|outcome| {
            let outcome = outcome.map_err(|answered| (answered.status, answered.reason));
            outcome.map_or_else(
                |answered| {
                    assert_eq!(answered, (401, "Unauthorized"));
                    false
                },
                |_accepted| true,
            )
        });
        assert_eq!(good[0], good[1], "the configuration and the route are the same");
        good[0]
    };
    for (token_use, id, access) in [
        (json!("id"), true, false),
        (json!("access"), false, true),
        (json!("ID"), false, false),
        (json!(null), false, false),
        (json!(["id", "access"]), false, false),
    ] {
        assert_eq!(good(json!([]), token_use.clone()), id, "{token_use}");
        assert_eq!(good(json!(["read"]), token_use.clone()), access, "{token_use}");
    }
}

#[test]
fn cognito_holds_aud_against_an_expression() {
    let bench = Bench::new("cognito");
    // the fake takes what begins with `app-`
    let extra = json!({"audience-matches": "^app-"});
    for (aud, good) in [
        (json!("app-1"), true),
        (json!(["x", "app-1"]), true),
        (json!("x"), false),
        (json!([]), false),
        (json!(7), false),
        (json!(null), false),
    ] {
        let outcome = bench.claims(extra.clone(), json!({"aud": aud}));
        assert_eq!(outcome.is_ok(), good, "{aud}");
    }
    // without one anything does, as with AWS
    assert!(bench.claims(json!({}), json!({"aud": "x"})).is_ok());
}

#[test]
fn user_pools_are_issuers() {
    let pool = |arn: &str| settings(json!({"preset": "cognito", "user-pools": [arn]}));
    let arn = "arn:aws:cognito-idp:eu-central-1:123456789012:userpool/eu-central-1_aB3";
    let one = pool(arn).unwrap();
    assert_eq!(
        one.issuers,
        ["https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_aB3"]
    );
    let Keys::Url(url) = &one.sources[0].keys else {
        panic!("no url")
    };
    assert_eq!(
        url.url,
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_aB3/.well-known/openid-configuration"
    );
    let china = pool("arn:aws-cn:cognito-idp:cn-north-1:1:userpool/cn-north-1_a").unwrap();
    assert_eq!(
        china.issuers,
        ["https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_a"]
    );
    for wrong in [
        "eu-central-1_aB3",
        "arn:aws:cognito-idp:eu/1:1:userpool/a",
        "arn:aws:cognito-idp:r:1:userpool/",
        "arn:aws:cognito-idp:r:1:userpool/a/b",
        "arn:evil:cognito-idp:r:1:userpool/a",
        "arn:aws:iam::1:user/a",
    ] {
        assert!(pool(wrong).unwrap_err().contains("user-pools[0]"), "{wrong}");
    }
    let two = [arn, "arn:aws:cognito-idp:us-east-1:1:userpool/us-east-1_b"];
    let two = settings(json!({"preset": "cognito", "user-pools": two})).unwrap();
    assert_eq!((two.issuers.len(), two.sources.len()), (2, 2));
}

#[test]
fn issuers_of_rest_apis_have_audiences_and_claims_of_their_own() {
    let bench = Bench::new("rest-jwt");
    let issuers = json!({"issuer": null, "audience": null, "issuers": [
        {"issuer": ISSUER, "audience": "pets", "additional-claims": [
            {"name": "tenant", "required": true, "values": ["t1", "t2"]}, {"name": "plan", "values": ["gold"]}, {"name": "region"},
        ]},
        {"issuer": "https://other.test", "audience": ["other"]},
    ], "keys": [
        {"jwks": {"inline": {"keys": [bench.signer.jwk("k")]}, "issuer": [ISSUER, "https://other.test"]}},
    ]});
    for (change, good) in [
        (json!({"tenant": "t1"}), true),
        (json!({"tenant": "t2", "plan": "gold", "region": "x"}), true),
        (json!({}), false),
        (json!({"tenant": "t3"}), false),
        (json!({"tenant": ["t1"]}), false),
        (json!({"tenant": "t1", "plan": "free"}), false),
        (json!({"tenant": "t1", "region": 7}), false),
        (json!({"tenant": "t1", "aud": "other"}), false),
        (json!({"iss": "https://other.test", "aud": "other"}), true),
        (
            json!({"iss": "https://other.test", "aud": "pets", "tenant": "t1"}),
            false,
        ),
        (json!({"iss": "https://other.test/", "aud": "other"}), false),
    ] {
        match bench.claims(issuers.clone(), change.clone()) {
            Ok(_) => assert!(good, "{change}"),
            Err(answered) => {
                assert!(!good, "{change}");
                assert_eq!((answered.status, answered.reason), (401, "Unauthorized"));
            }
        }
    }
}

#[test]
fn a_token_that_names_nobody_is_known_by_its_client_or_issuer() {
    for (change, principal) in [
        (json!({}), "ada"),
        (json!({"sub": null, "client_id": "app"}), "app"),
        (json!({"sub": null}), ISSUER),
    ] {
        let accepted = Bench::new("http-api").claims(json!({}), change).unwrap();
        assert_eq!(accepted.principal, principal);
    }
    assert_eq!(
        Bench::new("native")
            .claims(json!({}), json!({"sub": null}))
            .unwrap_err()
            .status,
        401
    );
}

#[test]
fn keys_come_from_what_the_issuer_says_unless_configured() {
    for (preset, stale, extra) in [
        ("http-api", 7_200_000, json!({"audience": "pets"})),
        ("rest-jwt", 3_600_000, json!({"audience": "pets"})),
        ("cognito", 3_600_000, json!({})),
    ] {
        let mut config = json!({"preset": preset, "issuer": "https://id.test"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let settings = settings(config).unwrap();
        let Keys::Url(url) = &settings.sources[0].keys else {
            panic!("no url")
        };
        assert_eq!(url.url, "https://id.test/.well-known/openid-configuration");
        assert_eq!(url.discovery.as_ref().unwrap().issuer, "https://id.test");
        assert_eq!(
            (url.max_stale_ms, url.timeout_ms, url.limit),
            (stale, 1500, 150_000)
        );
        assert_eq!(settings.capabilities(), ["http", "kv"]);
    }
}

#[test]
fn what_contradicts_a_preset_is_named_with_its_path() {
    let key = Signer::new(Algorithm::Es256).jwk("k");
    for (preset, extra, wanted) in [
        (
            "http-api",
            json!({"algorithms": ["ES256"]}),
            "algorithms: ES256 does not exist with preset http-api",
        ),
        (
            "http-api",
            json!({"allow-any-issuer": true}),
            "allow-any-issuer: contradicts",
        ),
        (
            "http-api",
            json!({"audience": null, "allow-any-audience": true}),
            "allow-any-audience: contradicts",
        ),
        ("http-api", json!({"audience": null}), "audience: missing"),
        (
            "http-api",
            json!({"require-exp": false}),
            "require-exp: contradicts",
        ),
        (
            "http-api",
            json!({"scope-match": "all"}),
            "scope-match: contradicts",
        ),
        (
            "http-api",
            json!({"issuer": ["a", "b"]}),
            "issuer: preset http-api has one issuer",
        ),
        (
            "http-api",
            json!({"user-pools": ["x"]}),
            "user-pools: makes sense with preset cognito only",
        ),
        (
            "native",
            json!({"audience-matches": "x"}),
            "audience-matches: makes sense with preset cognito only",
        ),
        (
            "rest-jwt",
            json!({"issuer": "http://id.test"}),
            "is not https:// without query and fragment",
        ),
        (
            "rest-jwt",
            json!({"issuer": "https://id.test?x"}),
            "is not https:// without query and fragment",
        ),
        (
            "rest-jwt",
            json!({"decision-ttl-seconds": 1}),
            "decision-ttl-seconds: contradicts preset rest-jwt",
        ),
        (
            "rest-jwt",
            json!({"issuers": [{"issuer": "https://a", "audience": "x"}]}),
            "issuers: in the place of",
        ),
        (
            "rest-jwt",
            json!({"issuer": null, "audience": null, "issuers": [{"issuer": "https://a", "audience": []}]}),
            "issuers[0].audience: an empty list",
        ),
        (
            "rest-jwt",
            json!({"issuer": null, "audience": null, "issuers": [{"issuer": "https://a", "audience": "x"}, {"issuer": "https://a", "audience": "y"}]}),
            "issuers[1].issuer: \"https://a\" is there twice",
        ),
        (
            "native",
            json!({"refusal-ttl-seconds": 301}),
            "refusal-ttl-seconds: 301 is outside 0 to 300",
        ),
        (
            "native",
            json!({"keys": [{"discovery": {"issuer": "http://id.test/"}}]}),
            "set allow-plain-http",
        ),
        (
            "native",
            json!({"issuer": ["a", "b"], "keys": [{"discovery": {}}]}),
            "keys[0].discovery.issuer: missing",
        ),
        (
            "native",
            json!({"keys": [{"discovery": {"issuer": "https://x"}}]}),
            "\"https://x\" is not in the list",
        ),
    ] {
        let error = settings(config(preset, &key, extra.clone())).unwrap_err();
        assert!(error.contains(wanted), "{extra}: {error}");
    }
}

#[test]
fn refusals_that_may_end_are_not_kept() {
    let bench = Bench::new("http-api");
    let kept = json!({"refusal-ttl-seconds": 60, "scopes": ["read"]});
    let ttl = |change: Value| bench.claims(kept.clone(), change).unwrap_err().ttl_seconds;
    assert_eq!(ttl(json!({"exp": NOW - 1})), Some(60));
    assert_eq!(ttl(json!({"scope": "x"})), Some(60));
    assert_eq!(ttl(json!({"nbf": NOW + 1})), None);
    let header = json!({"alg": "RS256", "kid": "new"});
    assert_eq!(
        bench
            .ask(kept.clone(), header, &json!({}))
            .unwrap_err()
            .ttl_seconds,
        None
    );
    assert_eq!(
        bench
            .claims(json!({}), json!({"exp": NOW - 1}))
            .unwrap_err()
            .ttl_seconds,
        None
    );
}

#[test]
fn a_rotated_key_costs_no_request() {
    const ABOUT: &str = "https://id.test/.well-known/openid-configuration";
    const KEYS: &str = "https://keys.test/set";
    let (old, new) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Rs256));
    let outside = now();
    outside.serve(
        ABOUT,
        200,
        json!({"issuer": ISSUER, "jwks_uri": KEYS}).to_string(),
    );
    outside.serve(KEYS, 200, json!({"keys": [old.jwk("old")]}).to_string());
    let mut authorizer = authorizer(json!({"preset": "http-api", "issuer": ISSUER, "audience": "pets"}));
    let of_old = old.token(json!({"alg": "RS256", "kid": "old"}), &claims(&json!({})));
    let of_new = new.token(json!({"alg": "RS256", "kid": "new"}), &claims(&json!({})));
    assert!(authorizer.check(&of_old, &[], &outside).is_ok());
    assert_eq!(outside.fetches(), 2);
    outside.pass(30_000);
    outside.serve(
        KEYS,
        200,
        json!({"keys": [old.jwk("old"), new.jwk("new")]}).to_string(),
    );
    assert!(
        authorizer.check(&of_new, &[], &outside).is_ok(),
        "it is fetched because it is not known"
    );
    assert!(authorizer.check(&of_old, &[], &outside).is_ok());
    assert_eq!(outside.fetches(), 4);
    // made-up names cost no more than a few for the cooldown
    for number in 0..50 {
        let header = json!({"alg": "RS256", "kid": number.to_string()});
        let refusal = authorizer
            .check(&new.token(header, &claims(&json!({}))), &[], &outside)
            .unwrap_err();
        assert_eq!(answer(authorizer.settings(), &[], &refusal).status, 401);
    }
    assert_eq!(outside.fetches(), 4 + 2 * 3);
    // while the issuer is away, what is known serves
    outside.serve(ABOUT, 503, String::new());
    outside.pass(30_000);
    let unknown = new.token(json!({"alg": "RS256", "kid": "x"}), &claims(&json!({})));
    let refusal = authorizer.check(&unknown, &[], &outside).unwrap_err();
    assert_eq!(answer(authorizer.settings(), &[], &refusal).status, 503);
    assert!(
        authorizer.check(&of_new, &[], &outside).is_err(),
        "it has expired by now"
    );
    let later = claims(&json!({"exp": NOW + 3600}));
    let of_new = new.token(json!({"alg": "RS256", "kid": "new"}), &later);
    assert!(authorizer.check(&of_new, &[], &outside).is_ok());
}
