//! The fake host behaves as the gateway does, as far as plugin tests can see it.

use edgeward_sdk::crypto::{self, HashAlgorithm, PublicKey, SignatureAlgorithm};
use edgeward_sdk::matcher::{IpSet, LiteralSet, RegexSet};
use edgeward_sdk::testing::{self, Host};
use edgeward_sdk::{
    Allowed, BodyMode, ContextValue, Decision, Denied, Exchange, Interest, OverLimit, Plugin, clock,
    collections::HashMap, entropy, http_client, kv, log, metrics, secret,
};
use serde_json::{Value, json};

#[test]
fn setters_refuse_framing_hop_by_hop_and_broken_fields() {
    let request = testing::request("GET", "https://h.example/");
    for name in [
        "Content-Length",
        "transfer-encoding",
        "connection",
        "te",
        "bad name",
        "",
    ] {
        let error = request.set_header(name, "1").unwrap_err();
        assert!(error.contains(name), "{error}");
        assert!(request.append_header(name, "1").is_err());
    }
    assert!(request.set_header("x-ok", "a\r\nb: c").is_err());
    assert!(request.headers().is_empty());
}

#[test]
fn header_edits_are_read_back_without_regard_to_case() {
    let request = testing::request("GET", "https://h.example/")
        .with_header("Accept", "a")
        .with_header("accept", "b")
        .with_header("x-gone", "1");
    assert_eq!(request.header_values("ACCEPT"), [b"a".to_vec(), b"b".to_vec()]);
    request.append_header("accept", "c").unwrap();
    assert_eq!(request.header_values("accept").len(), 3);
    request.set_header("Accept", "only").unwrap();
    request.remove_header("X-Gone").unwrap();
    let fields: Vec<_> = request
        .headers()
        .into_iter()
        .map(|field| (field.name, field.value))
        .collect();
    assert_eq!(fields, [("accept".to_owned(), b"only".to_vec())]);
    assert_eq!(request.header_str("x-bin"), None);
}

#[test]
fn method_path_query_and_status_are_validated() {
    let request = testing::request("GET", "https://h.example/a%20b?x=1");
    assert!(request.set_method("GE T").is_err());
    assert!(request.set_path("relative").is_err());
    assert!(request.set_path("/a b").is_err());
    assert!(request.set_path("/a%2").is_err());
    assert!(request.set_path("/a?b").is_err());
    assert!(request.set_query("a#b").is_err());
    request.set_method("POST").unwrap();
    request.set_path("/c/%C3%A4").unwrap();
    request.set_query("a=b&c=%2F?").unwrap();
    assert_eq!(
        (request.path().as_str(), request.query().as_str()),
        ("/c/%C3%A4", "a=b&c=%2F?")
    );
    let response = testing::response(200);
    assert!(response.set_status(199).is_err());
    assert!(response.set_status(600).is_err());
    response.set_status(404).unwrap();
    assert_eq!(response.status(), 404);
}

#[test]
fn a_phase_that_comes_too_late_changes_nothing() {
    let request = testing::request("GET", "https://h.example/")
        .with_header("a", "1")
        .read_only();
    assert!(request.set_header("a", "2").is_err());
    assert!(request.remove_header("a").is_err());
    assert!(request.set_path("/x").is_err());
    assert!(testing::response(200).read_only().set_status(500).is_err());
    assert_eq!(request.header_str("a").as_deref(), Some("1"));
}

#[test]
fn a_head_converts_to_the_http_crate() {
    let request = testing::request("POST", "https://h.example:8443/p?q=1")
        .with_version("HTTP/2.0")
        .with_header("a", "1")
        .with_header("a", "2");
    let parts = request.to_http().unwrap();
    assert_eq!(parts.uri, "https://h.example:8443/p?q=1");
    assert_eq!(
        (parts.method, parts.version),
        (http::Method::POST, http::Version::HTTP_2)
    );
    assert_eq!(parts.headers.get_all("a").iter().count(), 2);
    let parts = testing::response(418).with_header("b", "3").to_http().unwrap();
    assert_eq!((parts.status.as_u16(), parts.headers.len()), (418, 1));
}

#[test]
fn context_entries_are_namespaced_and_replaced() {
    let exchange = testing::exchange()
        .with_namespace("mine")
        .with_entry("gateway", "k", 1);
    exchange.set("k", "a").unwrap();
    exchange.set("k", "b").unwrap();
    assert!(exchange.set("j", ContextValue::Json("{".into())).is_err());
    assert_eq!(exchange.get("mine", "k"), Some("b".into()));
    assert_eq!(exchange.get("gateway", "k"), Some(ContextValue::Integer(1)));
    assert_eq!(exchange.entries().len(), 2);
}

#[test]
fn decisions_are_kept_by_what_they_depend_on_and_by_nothing_else() {
    let told = |sources: Value| testing::exchange().with_entry("gateway", "identity-sources", sources);
    let kept = |exchange: &Exchange, sources: &[&str], decision: Decision| match exchange
        .kept_by(sources.iter().map(|source| (*source).to_owned()), decision)
    {
        Decision::Allow(allowed) => allowed.ttl_seconds.is_some(),
        Decision::Deny(denied) => denied.ttl_seconds.is_some(),
        Decision::Respond(_) => false,
    };
    let (field, query) = ("$request.header.authorization", "$request.querystring.Key");
    for (sources, own, is_kept) in [
        (json!(["$request.header.Authorization"]), vec![field], true),
        (
            json!(["method.request.header.Authorization", "$context.routeKey"]),
            vec![field],
            true,
        ),
        (json!(["$request.header.X-Tenant"]), vec![field], false),
        (json!(["$request.querystring.authorization"]), vec![field], false),
        (json!(["$request.querystring.Key"]), vec![query], true),
        (json!(["$request.querystring.key"]), vec![query], false),
        (json!(["$request.querystring.Key"]), vec![query, field], false),
    ] {
        let exchange = told(sources.clone());
        assert_eq!(
            kept(&exchange, &own, Allowed::new("ada").ttl_seconds(60).into()),
            is_kept,
            "{sources}"
        );
        assert_eq!(
            kept(&exchange, &own, Denied::new(401, "no").ttl_seconds(60).into()),
            is_kept,
            "{sources}"
        );
    }
    // nobody says what it is kept by: the configuration does
    assert!(kept(
        &testing::exchange(),
        &[field],
        Allowed::new("ada").ttl_seconds(60).into()
    ));
}

#[test]
fn kv_versions_counters_and_expiry_work() {
    let host = Host::new().with_kv("s").at_time(1_000).install();
    assert!(matches!(kv::get("other", "k"), Err(kv::Error::NotGranted(_))));
    assert_eq!(kv::compare_and_set("s", "k", 7, "x", None), Ok(None));
    let version = kv::compare_and_set("s", "k", 0, "x", Some(50)).unwrap().unwrap();
    assert_eq!(kv::get("s", "k").unwrap().unwrap().version, version);
    assert!(
        kv::compare_and_set("s", "k", version, "y", Some(50))
            .unwrap()
            .unwrap()
            > version
    );
    assert_eq!(kv::increment("s", "n", 2, Some(50)), Ok(2));
    host.advance_ms(49);
    assert_eq!(kv::increment("s", "n", 3, Some(50)), Ok(5));
    host.advance_ms(1);
    assert_eq!(kv::increment("s", "n", 1, None), Ok(1));
    assert_eq!(kv::get("s", "k"), Ok(None));
    assert_eq!(kv::delete("s", "n"), Ok(true));
    assert_eq!(kv::delete("s", "n"), Ok(false));
    assert!(matches!(
        kv::set("s", &"k".repeat(513), "", None),
        Err(kv::Error::TooLarge(_))
    ));
    assert!(matches!(
        kv::set("s", "k", vec![0; 65_537], None),
        Err(kv::Error::TooLarge(_))
    ));
}

#[test]
fn matcher_sets_report_all_patterns_and_the_leftmost_hit() {
    let regex = RegexSet::new(["select", r"union\s+select", "^x"], true).unwrap();
    assert_eq!(regex.matches(b"1 UNION  SELECT"), [0, 1]);
    let hit = regex.find(b"1 UNION  SELECT").unwrap();
    assert_eq!((hit.pattern, hit.start, hit.end), (1, 2, 15));
    assert!(!regex.is_match(b"\xff\xfe"));
    assert!(
        RegexSet::new(["ok", "("], false)
            .unwrap_err()
            .starts_with("pattern 1 `(`: ")
    );

    let literals = LiteralSet::new(["abcd", "c", "bc"], false).unwrap();
    assert_eq!(literals.matches(b"xabcd"), [0, 1, 2]);
    let hit = literals.find(b"xabcd").unwrap();
    assert_eq!((hit.pattern, hit.start, hit.end), (0, 1, 5));

    let blocks = IpSet::new([
        "10.0.0.0/8",
        "10.1.0.0/16",
        "::/0",
        "192.0.2.7",
        "::ffff:10.1.2.0/120",
    ])
    .unwrap();
    assert_eq!(blocks.find("10.1.2.9"), Some(4));
    assert_eq!(blocks.find("10.1.9.9"), Some(1));
    assert_eq!(blocks.find("::ffff:192.0.2.7"), Some(3));
    assert_eq!(blocks.find("2001:db8::1"), Some(2));
    assert_eq!(blocks.find("no address"), None);
    assert!(!blocks.contains("192.0.2.8"));
    assert!(
        IpSet::new(["10.0.0.0/33"])
            .unwrap_err()
            .contains("block 0 `10.0.0.0/33`")
    );
}

#[test]
fn signatures_verify_and_misfits_are_errors() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
    let key = PublicKey::Ec(pair.public_key().as_ref().to_vec());
    let verify = |algorithm, key: &PublicKey, message: &[u8]| {
        crypto::verify(algorithm, key, message, signature.as_ref())
    };
    assert_eq!(verify(SignatureAlgorithm::Es256, &key, b"message"), Ok(true));
    assert_eq!(verify(SignatureAlgorithm::Es256, &key, b"other"), Ok(false));
    assert!(verify(SignatureAlgorithm::Es384, &key, b"message").is_err());
    assert!(verify(SignatureAlgorithm::Rs256, &key, b"message").is_err());
    assert!(verify(SignatureAlgorithm::Es256, &PublicKey::Ec(vec![4; 10]), b"message").is_err());
    assert!(
        verify(
            SignatureAlgorithm::Ed25519,
            &PublicKey::Ed25519(vec![1; 31]),
            b"message"
        )
        .is_err()
    );
    assert!(!crypto::hmac_verify(HashAlgorithm::Sha512, b"k", b"m", b"short"));
}

#[test]
fn http_goes_to_the_handler_and_is_recorded() {
    assert!(matches!(
        http_client::send(&http_client::Request::get("https://a/")),
        Err(http_client::Error::Denied(_))
    ));
    let host = Host::new()
        .with_http(|request| match request.url.as_str() {
            "https://a/" => Ok(http_client::Response {
                status: 204,
                headers: Vec::new(),
                body: Vec::new(),
            }),
            other => Err(http_client::Error::Connect(other.to_owned())),
        })
        .install();
    let send = |url: &str| http_client::send(&http_client::Request::get(url));
    assert_eq!(send("https://a/").unwrap().status, 204);
    assert!(matches!(send("https://b/"), Err(http_client::Error::Connect(_))));
    assert!(matches!(
        send("ftp://b/"),
        Err(http_client::Error::InvalidRequest(_))
    ));
    assert_eq!(host.http_requests().len(), 2);
}

#[test]
fn log_and_metrics_are_seen() {
    let host = Host::new().with_log_level(log::Level::Warn).install();
    edgeward_sdk::log_debug!("not {}", "written");
    edgeward_sdk::log_error!("written");
    metrics::add("hits", 2);
    metrics::add("hits", 3);
    metrics::record_value("ms", 1.5);
    assert_eq!(host.log_lines(), [(log::Level::Error, "written".to_owned())]);
    assert_eq!((host.counter("hits"), host.observations("ms")), (5, vec![1.5]));
}

struct AskInInit;

impl Plugin for AskInInit {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        match config {
            "clock" => drop(clock::now()),
            "entropy" => drop(entropy::hash_seed()),
            "kv" => drop(kv::get("s", "k").map_err(|error| error.reason().to_owned())?),
            "http" => drop(
                http_client::send(&http_client::Request::get("https://a/"))
                    .map_err(|error| error.reason().to_owned())?,
            ),
            "secret" => drop(secret::get("s").map_err(|error| error.reason().to_owned())?),
            _ => {
                let table: HashMap<u8, u8> = [(1, 2)].into_iter().collect();
                assert_eq!(table.get(&1), Some(&2));
                RegexSet::new(["a"], false)?;
            }
        }
        let body = BodyMode::Buffer {
            limit: 1,
            over: OverLimit::Pass,
        };
        Ok((AskInInit, Interest::none().inspect(body)))
    }
}

#[test]
fn init_refuses_what_the_gateway_refuses_there() {
    let _host = Host::new().with_kv("s").with_secret("s", "v").install();
    for capability in ["kv", "http", "secret"] {
        let error = testing::init::<AskInInit>(capability).err().unwrap();
        assert!(error.contains("init"), "{error}");
    }
    for capability in ["clock", "entropy"] {
        assert!(std::panic::catch_unwind(|| testing::init::<AskInInit>(capability)).is_err());
    }
    let (_, interest) = testing::init::<AskInInit>("null").unwrap();
    assert_eq!(
        interest.request_body,
        BodyMode::Buffer {
            limit: 1,
            over: OverLimit::Pass
        }
    );
    assert!(
        RegexSet::new(["a"], false).is_err(),
        "sets cannot be built after init"
    );
}
