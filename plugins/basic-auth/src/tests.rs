//! The plugin against the fake host: what the gateway gets to see.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_sdk::{
    Allowed, Answer, Authorize as _, Decision, Denied, HeadAction, Interest, Plugin as _, RequestHead,
    Transform as _,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::{
    BasicAuth,
    authorizer::{self, Outside, Refusal},
    settings::Settings,
};

/// bcrypt of `open sesame` and of `123£`, cost 4; argon2id of `hunter42`, 8 KiB.
const ADA: &str = "$2b$04$ypQZWws/nAFoYniyIC2Pi.KFFoFj1iDdsAYQZBwx2WP0.KfV8LYwy";
const BOB: &str = "$2b$04$fKwaBYUjZHPDr48NFUF4AOjjXUIf2EncbQROkx5sSYUG2rHPczsnq";
const EVE: &str =
    "$argon2id$v=19$m=8,t=1,p=1$s61wmSjHPnCFqNdZ/VpORQ$1ljkwBuv7IYJc7QCx42uQKBZMIkP+n8aoOspVMazz18";

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn request(name: &str, password: &str) -> RequestHead {
    testing::request("GET", "https://api.test/").with_header("authorization", basic(name, password))
}

fn init(config: &Value) -> (BasicAuth, Interest) {
    testing::init(&config.to_string()).unwrap()
}

fn ask(config: &Value, request: &RequestHead) -> Decision {
    init(config).0.authorize(request, &testing::exchange())
}

fn denied(reason: &str, ttl: u32) -> Decision {
    Denied::new(401, reason)
        .header("www-authenticate", "Basic realm=\"pets\", charset=\"UTF-8\"")
        .ttl_seconds(ttl)
        .into()
}

fn wrong() -> Decision {
    denied("user name or password is wrong", 10)
}

fn unavailable() -> Decision {
    Denied::new(503, "the password cannot be checked at the moment")
        .header("retry-after", "1")
        .into()
}

fn users() -> Value {
    json!({"realm": "pets", "users": [
        {"name": "ada", "hash": ADA, "groups": ["dev", "ops"], "facts": {"plan": "gold", "seats": 3, "beta": true, "more": {"a": []}}},
        {"name": "bob", "hash": BOB},
        {"name": "eve", "hash": EVE},
    ]})
}

#[test]
fn a_user_with_the_right_password_goes_on_with_groups_and_facts() {
    let _host = Host::new().install();
    let wanted = Allowed::new("ada")
        .ttl_seconds(300)
        .fact("user", "ada")
        .fact("groups", json!(["dev", "ops"]))
        .fact("beta", true)
        .fact("more", json!({"a": []}))
        .fact("plan", "gold")
        .fact("seats", 3_i64);
    assert_eq!(ask(&users(), &request("ada", "open sesame")), wanted.into());
    for (name, password) in [("bob", "123£"), ("eve", "hunter42")] {
        let wanted: Decision = Allowed::new(name).ttl_seconds(300).fact("user", name).into();
        assert_eq!(ask(&users(), &request(name, password)), wanted);
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let host = Host::new().install();
    assert_eq!(ask(&users(), &request("ada", "123£")), wrong());
    assert_eq!(ask(&users(), &request("ADA", "open sesame")), wrong());
    // whoever stands in for them: its password opens nothing
    for index in 0..20 {
        for password in ["open sesame", "123£", "hunter42"] {
            assert_eq!(ask(&users(), &request(&format!("x{index}"), password)), wrong());
        }
    }
    let lines = host.log_lines();
    assert_eq!(lines[0].1, "refused: user \"ada\": the password is wrong");
    assert_eq!(lines[1].1, "refused: there is no such user");
    assert!(lines.iter().all(|(_, line)| !line.contains("sesame")));
}

#[test]
fn nothing_is_kept_by_what_is_no_password() {
    let _host = Host::new().install();
    for (sources, ttl) in [
        (json!(["$request.header.Authorization"]), Some(300)),
        (json!(["$request.header.x-tenant"]), None),
    ] {
        let exchange = testing::exchange().with_entry("gateway", "identity-sources", sources.clone());
        let decision = init(&users()).0.authorize(&request("bob", "123£"), &exchange);
        let Decision::Allow(allowed) = decision else {
            panic!("not allowed")
        };
        assert_eq!(allowed.ttl_seconds, ttl, "{sources}");
    }
}

#[test]
fn credentials_that_cannot_be_read_are_refused() {
    let _host = Host::new().install();
    let without = testing::request("GET", "https://api.test/");
    assert_eq!(
        ask(&users(), &without),
        denied("user name and password are required", 0)
    );
    let twice = request("ada", "open sesame").with_header("authorization", basic("ada", "open sesame"));
    let bearer = testing::request("GET", "https://api.test/").with_header("authorization", "Bearer x");
    for bad in [twice, bearer, request("", "x"), request("a\nda", "x")] {
        assert_eq!(ask(&users(), &bad), denied("the credentials cannot be read", 0));
    }
}

/// `tests/vectors/requests.json`: fields as they arrive, and what comes of them.
#[test]
fn requests_are_decided_on_as_the_vectors_say() {
    let _host = Host::new().install();
    let config =
        json!({"realm": "foo", "users": [{"name": "Aladdin", "hash": ADA}, {"name": "test", "hash": BOB}]});
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/requests.json")).unwrap();
    for vector in vectors {
        let fields = vector["authorization"].as_array().unwrap().iter();
        let request = fields.fold(testing::request("GET", "https://api.test/"), |request, field| {
            request.with_header("authorization", field.as_str().unwrap())
        });
        let outcome = match ask(&config, &request) {
            Decision::Allow(allowed) => ("user", allowed.principal),
            Decision::Deny(denied) => {
                assert_eq!(denied.status, 401);
                // the challenge of RFC 7617 section 2.1
                assert_eq!(denied.headers[0].name, "www-authenticate");
                assert_eq!(denied.headers[0].value, "Basic realm=\"foo\", charset=\"UTF-8\"");
                ("reason", denied.reason)
            }
            Decision::Respond(answer) => panic!("{answer:?}"),
        };
        assert_eq!(vector[outcome.0], outcome.1, "{}", vector["name"]);
    }
}

#[test]
fn users_come_from_a_file_too() {
    let file =
        format!("# staff\r\nada:{ADA}\r\nbob:{BOB}\nold:{{SHA}}VBPuJHI7uixaa6LQGWx4s+5GKNE=\nada:{BOB}\n");
    let host = Host::new().with_secret("users", file).install();
    let config = json!({"realm": "pets", "htpasswd": "users", "users": [{"name": "bob", "groups": ["ops"]}, {"name": "zoe"}]});
    assert_eq!(
        init(&config).1,
        Interest::none().authorize().request_head().needs("secret")
    );
    let plain: Decision = Allowed::new("ada").ttl_seconds(300).fact("user", "ada").into();
    assert_eq!(ask(&config, &request("ada", "open sesame")), plain);
    // the first line of a name counts
    assert_eq!(ask(&config, &request("ada", "123£")), wrong());
    let Decision::Allow(allowed) = ask(&config, &request("bob", "123£")) else {
        panic!("not allowed")
    };
    assert_eq!(allowed.context.len(), 2);
    // configured, but in no file: nobody
    assert!(matches!(ask(&config, &request("zoe", "x")), Decision::Deny(_)));
    assert_eq!(ask(&config, &request("old", "password")), unavailable());
    let lines = host.log_lines();
    let last = &lines.last().unwrap().1;
    assert!(
        last.starts_with("refused: htpasswd, user \"old\": {SHA}, SHA-1 without salt is not taken"),
        "{last}"
    );
}

#[test]
fn a_hash_can_be_a_secret_of_its_own() {
    let _host = Host::new()
        .with_secret("ada-hash", format!("{ADA}\n"))
        .with_missing_secret("bob-hash")
        .install();
    let user = |secret: &str| json!({"realm": "pets", "users": [{"name": "ada", "secret": secret}]});
    assert!(matches!(
        ask(&user("ada-hash"), &request("ada", "open sesame")),
        Decision::Allow(_)
    ));
    assert_eq!(ask(&user("ada-hash"), &request("ada", "x")), wrong());
    for missing in ["bob-hash", "not-granted"] {
        // strangers are told the same
        for name in ["ada", "xyz"] {
            assert_eq!(ask(&user(missing), &request(name, "open sesame")), unavailable());
        }
    }
}

#[test]
fn a_file_that_cannot_be_had_or_read_is_no_fault_of_the_caller() {
    let config = json!({"realm": "pets", "htpasswd": "users"});
    let large = vec![b'#'; (1 << 20) + 1];
    for host in [
        Host::new(),
        Host::new().with_missing_secret("users"),
        Host::new().with_secret("users", b"\xff"),
        Host::new().with_secret("users", large),
    ] {
        let _host = host.install();
        assert_eq!(ask(&config, &request("ada", "open sesame")), unavailable());
    }
    let _host = Host::new().with_secret("users", "").install();
    assert_eq!(ask(&config, &request("ada", "open sesame")), wrong());
}

#[test]
fn the_password_does_not_reach_the_upstream_unless_that_is_configured() {
    let _host = Host::new().install();
    let (mut plugin, interest) = init(&users());
    assert_eq!(interest, Interest::none().authorize().request_head());
    let request = request("ada", "open sesame");
    assert_eq!(
        plugin.on_request_head(&request, &testing::exchange()),
        HeadAction::Proceed
    );
    assert!(request.header("authorization").is_none());
    assert_eq!(
        plugin.on_request_head(&request.read_only(), &testing::exchange()),
        Answer::new(503).into()
    );
    let mut config = users();
    config["forward-credentials"] = json!(true);
    assert_eq!(init(&config).1, Interest::none().authorize());
}

/// Counts how much is compared: a verification compares once.
struct Counting(std::cell::Cell<u32>);

impl Outside for Counting {
    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        Err(format!("secret {name:?} is not granted"))
    }

    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        edgeward_sdk::crypto::hmac(edgeward_sdk::crypto::HashAlgorithm::Sha256, key, message)
    }

    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        one == other
    }
}

#[test]
fn a_password_is_verified_once_whoever_asks() {
    let settings = Settings::new(serde_json::from_value(users()).unwrap()).unwrap();
    for name in ["ada", "bob", "eve", "nobody", "x", "y", "z"] {
        let outside = Counting(std::cell::Cell::new(0));
        let lines = [basic(name, "wrong").into_bytes()];
        let refusal = authorizer::check(&settings, &lines, &outside).unwrap_err();
        assert!(matches!(refusal, Refusal::Wrong(_)));
        assert_eq!(outside.0.get(), 1, "{name}");
    }
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = BasicAuth::init(r#"{"users": [{"name": "ada", "hash": "$apr1$x$y"}]}"#)
        .err()
        .unwrap();
    assert!(
        error.starts_with("config.users[0].hash: $apr1$, MD5 of Apache is not taken"),
        "{error}"
    );
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<BasicAuth>(include_str!("../README.md"), parse);
    assert_eq!(configs, 2);
}
