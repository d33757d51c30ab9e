//! The plugin against the fake host: what the gateway gets to see.

use edgeward_sdk::{
    Allowed, Authorize as _, Decision, Denied, Exchange, Interest, Peer, Plugin as _,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::IpPolicy;

fn ask(config: &Value, exchange: &Exchange) -> Decision {
    let (mut plugin, interest) = testing::init::<IpPolicy>(&config.to_string()).unwrap();
    assert_eq!(interest, Interest::none().authorize());
    plugin.authorize(&testing::request("GET", "https://api.test/"), exchange)
}

fn from(config: &Value, address: &str) -> Decision {
    ask(config, &testing::exchange().with_client_address(address))
}

fn allowed(address: &str, rule: &str) -> Decision {
    Allowed::new(format!("ip:{address}"))
        .fact("address", address)
        .fact("rule", rule)
        .into()
}

fn refused() -> Decision {
    Denied::new(403, "not allowed from this address").into()
}

#[test]
fn the_first_rule_that_fits_counts_and_the_default_denies() {
    let config = json!({"rules": [
        {"allow": ["10.1.0.0/16", "2001:db8::/32"], "name": "office"},
        {"deny": ["10.0.0.0/8"]},
        {"allow": ["10.2.0.0/16", "192.0.2.1"]},
    ]});
    assert_eq!(from(&config, "10.1.2.3"), allowed("10.1.2.3", "office"));
    assert_eq!(from(&config, "2001:db8::7"), allowed("2001:db8::7", "office"));
    assert_eq!(from(&config, "10.2.0.1"), refused());
    assert_eq!(from(&config, "192.0.2.1"), allowed("192.0.2.1", "rule-3"));
    assert_eq!(from(&config, "192.0.2.2"), refused());
}

#[test]
fn a_rule_that_denies_can_override_all_others() {
    let config = json!({
        "order": "deny-overrides",
        "default": "allow",
        "rules": [{"allow": ["10.0.0.0/8"], "name": "inside"}, {"deny": ["10.6.0.0/16"]}],
    });
    assert_eq!(from(&config, "10.1.2.3"), allowed("10.1.2.3", "inside"));
    assert_eq!(from(&config, "10.6.2.3"), refused());
    assert_eq!(from(&config, "192.0.2.1"), allowed("192.0.2.1", "default"));
}

#[test]
fn ipv4_in_ipv6_form_does_not_get_around_a_rule() {
    let config = json!({"default": "allow", "rules": [{"deny": ["192.0.2.0/24"]}, {"deny": ["::ffff:198.51.100.0/120"]}]});
    assert_eq!(from(&config, "::ffff:192.0.2.9"), refused());
    assert_eq!(from(&config, "198.51.100.1"), refused());
    assert_eq!(
        from(&config, "::ffff:203.0.113.1"),
        allowed("203.0.113.1", "default")
    );
}

/// `tests/vectors/addresses.json`: rules, the addresses that they let pass with the rule that does, and those that they refuse.
#[test]
fn addresses_are_decided_on_as_the_vectors_say() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/addresses.json")).unwrap();
    for vector in vectors {
        let (name, config) = (&vector["name"], &vector["config"]);
        for (address, rule) in vector["allowed"].as_object().unwrap() {
            let Decision::Allow(allowed) = from(config, address) else {
                panic!("{name}: {address} is refused")
            };
            let fact = |key: &str| allowed.context.iter().find(|fact| fact.key == key).unwrap();
            assert_eq!(fact("rule").value.as_text(), rule.as_str(), "{name}: {address}");
            let seen = fact("address").value.as_text().unwrap();
            assert_eq!(allowed.principal, format!("ip:{seen}"), "{name}");
        }
        for address in vector["refused"].as_array().unwrap() {
            let Decision::Deny(denied) = from(config, address.as_str().unwrap()) else {
                panic!("{name}: {address} is let pass")
            };
            let status = config["status"].as_u64().unwrap_or(403);
            assert_eq!(u64::from(denied.status), status, "{name}: {address}");
            assert!(denied.headers.is_empty());
        }
    }
}

#[test]
fn either_address_can_be_looked_at() {
    let mut config = json!({"rules": [{"allow": ["10.0.0.0/8"]}]});
    let exchange = || {
        testing::exchange().with_peer(Peer {
            address: "10.0.0.1".into(),
            port: 1,
            client_address: "192.0.2.1".into(),
            tls_version: None,
            sni: None,
            client_certificate: None,
        })
    };
    assert_eq!(ask(&config, &exchange()), refused());
    config["address"] = json!("peer");
    assert_eq!(ask(&config, &exchange()), allowed("10.0.0.1", "rule-1"));
}

#[test]
fn an_address_that_is_none_is_refused() {
    let host = Host::new().install();
    let config = json!({"default": "allow", "rules": [{"deny": ["10.0.0.0/8"]}], "status": 404});
    let decision: Decision = Denied::new(404, "not found").into();
    assert_eq!(from(&config, "unknown"), decision);
    assert!(host.log_lines()[0].1.contains("\"unknown\" is none"));
}

#[test]
fn the_principal_of_an_authorizer_before_stays() {
    let config = json!({"rules": [{"allow": ["10.0.0.0/8"]}]});
    let exchange = testing::exchange()
        .with_client_address("10.0.0.1")
        .with_principal("ada");
    let Decision::Allow(allowed) = ask(&config, &exchange) else {
        panic!("not allowed")
    };
    assert_eq!(allowed.principal, "ada");
}

#[test]
fn ten_thousand_blocks_are_one_set() {
    let blocks: Vec<String> = (0..10_000_u32)
        .map(|index| format!("10.{}.{}.0/24", index / 256, index % 256))
        .collect();
    let config = json!({"rules": [{"allow": blocks}]});
    assert_eq!(from(&config, "10.39.15.1"), allowed("10.39.15.1", "rule-1"));
    assert_eq!(from(&config, "10.39.16.1"), refused());
}

#[test]
fn mistakes_are_named_with_their_path() {
    let rules = |rule: Value| json!({ "rules": [rule] });
    let many: Vec<String> = (0..20_001).map(|_| "10.0.0.0/8".to_owned()).collect();
    let bad: Vec<String> = (0..12).map(|_| "x".to_owned()).collect();
    for (config, wanted) in [
        (
            json!({"rules": []}),
            "config.rules: an empty list decides nothing",
        ),
        (
            rules(json!({"allow": ["10.0.0.0/40"]})),
            "config.rules[0].allow[0]: \"10.0.0.0/40\" is neither",
        ),
        (
            rules(json!({"deny": ["10.0.0.1/8"]})),
            "config.rules[0].deny[0]: \"10.0.0.1/8\" has bits set",
        ),
        (
            rules(json!({})),
            "config.rules[0]: needs allow or deny, one of the two",
        ),
        (
            rules(json!({"allow": [], "deny": []})),
            "config.rules[0]: needs allow or deny",
        ),
        (
            rules(json!({"allow": [], "name": ""})),
            "config.rules[0].name: \"\" is not 1 to 64",
        ),
        (
            rules(json!({"allow": many})),
            "config.rules[0].allow: 20001 blocks exceed 20000",
        ),
        (rules(json!({"allow": bad})), "config.rules[0].allow: and 2 more"),
        (
            json!({"rules": vec![json!({"allow": []}); 101]}),
            "config.rules: 101 exceed 100",
        ),
        (
            json!({"rules": [{"allow": []}], "status": 401}),
            "config.status: 401 is neither 403 nor 404",
        ),
    ] {
        let error = IpPolicy::init(&config.to_string()).err().unwrap();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<IpPolicy>(include_str!("../README.md"), parse);
    assert_eq!(configs, 1);
}
