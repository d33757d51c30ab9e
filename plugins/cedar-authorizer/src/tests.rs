//! The plugin against the fake host: what the gateway gets to see.

use edgeward_sdk::{
    Allowed, Authorize as _, Decision, Denied, Exchange, Interest, Peer, RequestHead,
    testing::{self, Host},
};
use proptest::prelude::{any, prop, prop_assert, proptest};
use serde_json::{Value, json};

use crate::{CedarAuthorizer, config::Config, seen::Seen, settings::Settings};

/// 2030-03-17, 17:46:40 UTC.
const NOW: u64 = 1_900_000_000_000;

/// What requests look like in the schema, as the README has it.
const SCHEMA: &str = r#"
entity Group in [Group];
entity User in [Group] { department?: String };
entity Anonymous;
entity Area;
entity Route in [Area] { path: String, host: String, params: { id?: String }, query: { page?: String } };
type Seen = {
  method: String, route: String, ip: ipaddr, tls: Bool, time: datetime,
  headers: { "x-tenant"?: String }, userAgent?: String,
};
action read;
action GET in [read] appliesTo { principal: [User, Anonymous], resource: [Route], context: Seen };
action POST appliesTo { principal: [User], resource: [Route], context: Seen };
"#;

fn peer(address: &str) -> Peer {
    Peer {
        address: address.into(),
        port: 1,
        client_address: address.into(),
        tls_version: Some("1.3".into()),
        sni: None,
        client_certificate: None,
    }
}

fn from(principal: Option<&str>) -> Exchange {
    let exchange = testing::exchange()
        .with_peer(peer("192.0.2.7"))
        .with_route("orders", "/orders/{id}");
    match principal {
        Some(principal) => exchange.with_principal(principal),
        None => exchange,
    }
}

fn get(url: &str) -> RequestHead {
    testing::request("GET", url).with_path_param("id", "7")
}

fn plugin(config: &Value) -> CedarAuthorizer {
    let (plugin, interest) = testing::init::<CedarAuthorizer>(&config.to_string()).unwrap();
    assert_eq!(interest, Interest::none().authorize());
    plugin
}

fn ask(config: &Value, request: &RequestHead, exchange: &Exchange) -> Decision {
    plugin(config).authorize(request, exchange)
}

fn refused() -> Decision {
    Denied::new(403, "not allowed").into()
}

fn allowed(principal: &str, policies: &[&str]) -> Decision {
    Allowed::new(principal).fact("policies", json!(policies)).into()
}

fn mistakes(config: &Value) -> String {
    let _host = Host::new().install();
    testing::init::<CedarAuthorizer>(&config.to_string())
        .err()
        .unwrap()
}

/// A condition of a policy that permits, asked by `alice` for `GET https://API.test:8443/orders/7?page=2&x=1`.
#[track_caller]
fn check(condition: &str, wanted: bool) {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({
        "policies": format!("permit(principal, action, resource) when {{ {condition} }};"),
        "headers": ["X-Tenant"], "query": ["page"],
        "principal": {
            "claims": {"namespace": "tokens"},
            "attributes": ["department", "level", "tags", "address"],
            "groups": "/realm/roles",
        },
        "entities": [
            {"uid": {"type": "Group", "id": "sales"}, "attrs": {}, "parents": [{"type": "Group", "id": "staff"}]},
            {"uid": {"type": "Route", "id": "orders"}, "attrs": {"owner": "ops"}, "parents": [{"type": "Area", "id": "shop"}]},
            {"uid": {"type": "User", "id": "alice"}, "attrs": {"since": 2019}, "parents": []},
        ],
    });
    let request = get("https://API.test:8443/orders/7?page=2&x=1")
        .with_header("x-tenant", "blue")
        .with_header("user-agent", "curl/8");
    let claims = json!({
        "department": "sales", "level": 3, "tags": ["a", "b"], "address": {"city": "Bonn", "lat": 50.7},
        "secret": true, "realm": {"roles": ["sales"]},
    });
    let exchange = from(Some("alice")).with_entry("tokens", "claims", claims);
    let decision = ask(&config, &request, &exchange);
    assert_eq!(
        decision == allowed("alice", &["policy0"]),
        wanted,
        "{condition}: {decision:?}"
    );
}

#[test]
fn policies_see_the_request() {
    for (condition, wanted) in [
        (r#"principal == User::"alice""#, true),
        (r#"principal == User::"Alice""#, false),
        (r#"action == Action::"GET""#, true),
        (
            r#"resource == Route::"orders" && resource in Area::"shop" && resource.owner == "ops""#,
            true,
        ),
        (
            r#"resource.path == "/orders/7" && resource.path like "/orders/*""#,
            true,
        ),
        (r#"resource.host == "api.test""#, true),
        (r#"resource.params.id == "7""#, true),
        (r#"resource.query.page == "2" && !(resource.query has x)"#, true),
        (r#"context.headers["x-tenant"] == "blue""#, true),
        (
            r#"context.userAgent like "curl/*" && !(context.headers has "user-agent")"#,
            true,
        ),
        (
            r#"context.method == "GET" && context.route == "orders" && context.tls"#,
            true,
        ),
        (
            r#"context.ip.isInRange(ip("192.0.2.0/24")) && context.ip.isIpv4()"#,
            true,
        ),
        (r#"context.ip == ip("192.0.2.8")"#, false),
        (
            r#"context.time > datetime("2030-03-17") && context.time < datetime("2030-03-18")"#,
            true,
        ),
        (
            r#"context.time.toTime() >= duration("17h") && context.time.toTime() < duration("18h")"#,
            true,
        ),
        (r#"context.time.toTime() < duration("17h")"#, false),
        (
            r#"principal.department == "sales" && principal.level >= 3 && principal.tags.contains("b")"#,
            true,
        ),
        (
            r#"principal.address.city == "Bonn" && !(principal.address has lat)"#,
            true,
        ),
        (r#"principal has secret"#, false),
        (r#"principal.since == 2019"#, true),
        (
            r#"principal in Group::"sales" && principal in Group::"staff""#,
            true,
        ),
        (r#"principal in Group::"boss""#, false),
    ] {
        check(condition, wanted);
    }
}

#[test]
fn a_path_is_in_its_route() {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({
        "resource": "path", "action": "route",
        "policies": r#"permit(principal, action == Action::"orders", resource in Area::"shop") when { resource == Path::"/orders/7" };"#,
        "entities": [{"uid": {"type": "Route", "id": "orders"}, "attrs": {}, "parents": [{"type": "Area", "id": "shop"}]}],
    });
    let alice = from(Some("alice"));
    assert_eq!(
        ask(&config, &get("https://a.test/orders/7"), &alice),
        allowed("alice", &["policy0"])
    );
    assert_eq!(ask(&config, &get("https://a.test/orders/8"), &alice), refused());
}

#[test]
fn what_no_policy_permits_or_one_forbids_is_refused() {
    let host = Host::new().at_time(NOW).install();
    let config = json!({"policies": [
        r#"@id("readers") permit(principal, action == Action::"GET", resource);"#,
        r#"@id("no bots") forbid(principal == User::"bot", action, resource); permit(principal == User::"root", action, resource);"#,
    ]});
    let url = "https://a.test/orders/7";
    assert_eq!(
        ask(&config, &get(url), &from(Some("ada"))),
        allowed("ada", &["readers"])
    );
    assert_eq!(ask(&config, &get(url), &from(Some("bot"))), refused());
    assert_eq!(
        ask(&config, &testing::request("PUT", url), &from(Some("ada"))),
        refused()
    );
    // the third of all
    assert_eq!(
        ask(&config, &testing::request("PUT", url), &from(Some("root"))),
        allowed("root", &["policy2"])
    );
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    let refusals: Vec<&String> = lines.iter().filter(|line| line.starts_with("refused")).collect();
    assert_eq!(
        refusals,
        [
            r#"refused: User::"bot" Action::"GET" Route::"orders": forbidden by ["no bots"]"#,
            r#"refused: User::"ada" Action::"PUT" Route::"orders": no policy permits it"#,
        ]
    );
}

#[test]
fn a_policy_that_cannot_be_evaluated_refuses_unless_it_may_be_skipped() {
    let host = Host::new().at_time(NOW).install();
    let mut config = json!({"policies":
        "permit(principal, action, resource); forbid(principal, action, resource) when { principal.suspended };"
    });
    let request = get("https://a.test/orders/7");
    assert_eq!(ask(&config, &request, &from(Some("ada"))), refused());
    config["on-policy-error"] = json!("skip");
    assert_eq!(
        ask(&config, &request, &from(Some("ada"))),
        allowed("ada", &["policy0"])
    );
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    assert!(
        lines[0].contains("policy1") && lines[0].contains("suspended"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("a policy cannot be evaluated"), "{lines:?}");
}

#[test]
fn nobody_is_refused_or_a_principal_of_its_own() {
    let host = Host::new().at_time(NOW).install();
    let mut config = json!({"policies": r#"permit(principal == Anonymous::"anonymous", action, resource);"#});
    let request = get("https://a.test/orders/7");
    assert_eq!(ask(&config, &request, &from(None)), refused());
    config["principal"] = json!({"anonymous": "ask"});
    assert_eq!(
        ask(&config, &request, &from(None)),
        allowed("anonymous", &["policy0"])
    );
    assert_eq!(ask(&config, &request, &from(Some("anonymous"))), refused());
    assert!(host.log_lines()[0].1.contains("no authorizer before this one"));
}

#[test]
fn fields_and_parameters_that_policies_see_are_there_once() {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({
        "policies": "permit(principal, action, resource);",
        "headers": ["x-env"], "query": ["env"],
    });
    let alice = from(Some("alice"));
    let url = "https://a.test/?x=1&x=2&env=a";
    assert_eq!(ask(&config, &get(url), &alice), allowed("alice", &["policy0"]));
    assert_eq!(
        ask(&config, &get(&format!("{url}&env=b")), &alice),
        Decision::deny(400, "query parameter env is there more than once")
    );
    let twice = get(url).with_header("x-env", "a").with_header("x-env", "a");
    assert_eq!(
        ask(&config, &twice, &alice),
        Decision::deny(400, "header field x-env is there more than once")
    );
    let bytes = get(url).with_header("x-env", [0xff]);
    assert_eq!(
        ask(&config, &bytes, &alice),
        Decision::deny(400, "header field x-env is no text")
    );
}

#[test]
fn claims_that_are_not_what_they_should_be_refuse() {
    let host = Host::new().at_time(NOW).install();
    let config = json!({
        "policies": "permit(principal, action, resource);",
        "principal": {"claims": {"namespace": "tokens"}, "attributes": ["deep"], "groups": "groups"},
    });
    let deep = (0..9).fold(json!(1), |inner, _| json!([inner]));
    for (claims, wanted) in [
        (json!({"groups": "one"}), true),
        (json!({"groups": null, "deep": null}), true),
        (json!([]), true),
        (json!({"groups": 1}), false),
        (json!({"groups": ["a", 1]}), false),
        (json!({"groups": vec!["a"; 1001]}), false),
        (json!({"deep": deep}), false),
    ] {
        let exchange = from(Some("ada")).with_entry("tokens", "claims", claims.clone());
        let decision = ask(&config, &get("https://a.test/"), &exchange);
        assert_eq!(decision == allowed("ada", &["policy0"]), wanted, "{claims}");
    }
    let lines = host.log_lines();
    assert!(
        lines
            .iter()
            .any(|(_, line)| line.contains("the groups: 1001 exceed 1000"))
    );
    // without facts there is a principal all the same
    assert_eq!(
        ask(&config, &get("https://a.test/"), &from(Some("ada"))),
        allowed("ada", &["policy0"])
    );
}

#[test]
fn addresses_in_ipv6_form_are_the_ipv4_addresses() {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({"policies": r#"permit(principal, action, resource) when { context.ip.isInRange(ip("192.0.2.0/24")) };"#});
    let at = |address: &str| from(Some("ada")).with_peer(peer(address));
    let request = get("http://a.test/");
    assert_eq!(
        ask(&config, &request, &at("::ffff:192.0.2.1")),
        allowed("ada", &["policy0"])
    );
    assert_eq!(ask(&config, &request, &at("2001:db8::1")), refused());
    assert_eq!(ask(&config, &request, &at("garbage")), refused());
}

#[test]
fn decisions_are_for_reuse_where_the_configuration_says_so() {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({"ttl-seconds": 60, "policies":
        r#"permit(principal == User::"ada", action, resource); forbid(principal == User::"eve", action, resource) when { principal.x };"#
    });
    let request = get("https://a.test/");
    let ttl = |principal: &str| match ask(&config, &request, &from(Some(principal))) {
        Decision::Allow(allowed) => allowed.ttl_seconds,
        Decision::Deny(denied) => denied.ttl_seconds,
        Decision::Respond(_) => None,
    };
    assert_eq!([ttl("ada"), ttl("bob"), ttl("eve")], [Some(60), Some(60), None]);
}

fn with_schema(policies: &str) -> Value {
    json!({
        "policies": policies, "schema": SCHEMA, "headers": ["x-tenant"], "query": ["page"],
        "principal": {"anonymous": "ask", "claims": {"namespace": "tokens"}, "attributes": ["department"]},
        "entities": [{"uid": {"type": "Route", "id": "orders"}, "attrs": {}, "parents": [{"type": "Area", "id": "shop"}]}],
    })
}

#[test]
fn requests_are_held_against_the_schema() {
    let host = Host::new().at_time(NOW).install();
    let config = with_schema(
        r#"permit(principal is User, action in Action::"read", resource in Area::"shop") when { principal has department && principal.department == "sales" };"#,
    );
    let claims = |value: Value| from(Some("ada")).with_entry("tokens", "claims", value);
    let sales = claims(json!({"department": "sales", "other": 1}));
    let url = "https://a.test/orders/7?page=1";
    assert_eq!(
        ask(&config, &get(url).with_header("x-tenant", "a"), &sales),
        allowed("ada", &["policy0"])
    );
    assert_eq!(ask(&config, &get(url), &claims(json!({}))), refused());
    // of another type than the schema says
    assert_eq!(
        ask(&config, &get(url), &claims(json!({"department": 7}))),
        refused()
    );
    // an action and a path parameter that it does not know
    assert_eq!(ask(&config, &testing::request("PUT", url), &sales), refused());
    assert_eq!(
        ask(&config, &get(url).with_path_param("x", "1"), &sales),
        refused()
    );
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    let unknown = lines
        .iter()
        .filter(|line| line.starts_with("refused: the schema does not have it"));
    assert_eq!(unknown.count(), 3, "{lines:#?}");
}

#[test]
fn mistakes_in_policies_are_named_with_line_and_column() {
    let found = mistakes(
        &json!({"policies": ["permit(principal, action, resource);\npermit(principal, action);", "forbid(\n  principal ==, action, resource);", "permit(principal == ?principal, action, resource);", "@id(\"policy0\") permit(principal, action, resource);"]}),
    );
    let lines: Vec<&str> = found.lines().collect();
    assert!(
        lines[0].starts_with("config.policies[0]: line 2, column "),
        "{found}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("config.policies[1]: line 2, column 15: ")),
        "{found}"
    );
    assert!(
        found.contains("config.policies[2]: policy 1 of the text has slots"),
        "{found}"
    );
    let twice = mistakes(
        &json!({"policies": "permit(principal, action, resource); @id(\"policy0\") forbid(principal, action, resource);"}),
    );
    assert_eq!(twice, "config.policies: policy \"policy0\" is there twice");
}

#[test]
fn policies_are_validated_against_the_schema() {
    let found = mistakes(&with_schema(
        "permit(principal, action, resource)\nwhen { principal.departement == \"a\" };\npermit(principal is User, action, resource)\nwhen { context.tls == 1 || resource.pfad == \"\" };\npermit(principal == Usr::\"a\", action, resource);",
    ));
    for wanted in [
        "config.policies: line 2, column 8: ",
        "config.policies: line 4, column ",
        "config.policies: line 5, column ",
        "departement",
        "Usr",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
}

#[test]
fn other_mistakes_are_named_with_their_path() {
    let permit = "permit(principal, action, resource);";
    for (config, wanted) in [
        (json!({"policies": []}), "config.policies: without any"),
        (json!({"policies": " "}), "config.policies: without any"),
        (
            json!({"policies": permit.repeat(1001)}),
            "config.policies: 1001 exceed 1000",
        ),
        (
            json!({"policies": " ".repeat(300_000)}),
            "config.policies: 300000 bytes exceed 262144",
        ),
        (
            json!({"policies": permit, "schema": "entity User {\n  a: Strin\n};"}),
            "config.schema: ",
        ),
        (
            json!({"policies": permit, "schema": "entity User\n in ;"}),
            "config.schema: line 2, column ",
        ),
        (
            json!({"policies": permit, "schema": " ".repeat(300_000)}),
            "config.schema: 300000 bytes",
        ),
        (
            json!({"policies": permit, "ttl-seconds": 3601}),
            "config.ttl-seconds: 3601 exceeds 3600",
        ),
        (
            json!({"policies": permit, "headers": ["a", "A"]}),
            "config.headers[1]: \"A\" is there twice",
        ),
        (
            json!({"policies": permit, "query": [""]}),
            "config.query[0]: \"\" is not 1",
        ),
        (
            json!({"policies": permit, "query": vec!["a"; 65]}),
            "config.query: 65 exceed 64",
        ),
        (
            json!({"policies": permit, "principal": {"groups": "a"}}),
            "config.principal: attributes and groups need claims",
        ),
        (
            json!({"policies": permit, "principal": {"claims": {"namespace": "a"}}}),
            "config.principal.claims: neither",
        ),
        (
            json!({"policies": permit, "types": {"user": "a b"}}),
            "config.types.user: \"a b\" is no name",
        ),
        (
            json!({"policies": permit, "types": {"user": "Group"}}),
            "config.types.group: Group is types.user already",
        ),
        (
            json!({"policies": permit, "types": {"action": "Act"}}),
            "config.types.action: Act does not end",
        ),
        (
            json!({"policies": permit, "entities": [{"uid": 1}, {"attrs": {}}]}),
            "config.entities[1]: ",
        ),
        (
            json!({"policies": permit, "entities": [{"uid": {"type": "Route", "id": "a"}, "attrs": {"path": "b"}, "parents": []}]}),
            "config.entities[0]: Route::\"a\" has the attribute \"path\", which requests set",
        ),
        (
            json!({"policies": permit, "entities": [{"uid": {"type": "G", "id": "a"}, "attrs": {}, "parents": [{"type": "G", "id": "b"}]}, {"uid": {"type": "G", "id": "b"}, "attrs": {}, "parents": [{"type": "G", "id": "a"}]}]}),
            "config.entities: ",
        ),
        (
            json!({"policies": permit, "entities": vec![json!({}); 201]}),
            "config.entities: 201 exceed 200",
        ),
    ] {
        let error = mistakes(&config);
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let many = mistakes(
        &json!({"policies": "permit(", "ttl-seconds": 9999, "schema": "entity", "types": {"user": ""}}),
    );
    assert!(many.lines().count() >= 4, "{many}");
}

#[test]
fn the_examples_of_cedar_decide_as_cedar_says() {
    let _host = Host::new().at_time(NOW).install();
    let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/cedar.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let config = json!({
            "policies": case["policies"], "entities": case["entities"],
            "resource": "path", "action": "method", "types": {"path": "File"},
        });
        let config: Config = serde_json::from_value(config).unwrap();
        let settings = Settings::new(config).unwrap();
        for request in case["requests"].as_array().unwrap() {
            let text = |key: &str| request[key].as_str().unwrap().to_owned();
            let seen = Seen {
                principal: Some(text("principal")),
                method: text("action"),
                path: text("resource"),
                address: "::1".into(),
                ..Seen::default()
            };
            let verdict = settings.engine.decide(&seen).unwrap();
            assert_eq!(verdict.allowed, request["allowed"], "{request}");
        }
    }
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let _host = Host::new().install();
    let readme = include_str!("../README.md");
    let mut configs = 0;
    for block in readme.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let document: Value = serde_yaml_ng::from_str(block).unwrap();
        let plugins = document["plugins"].as_object().unwrap().values();
        for plugin in plugins.filter(|plugin| plugin["module"] == "plugin_cedar_authorizer.wasm") {
            let outcome = testing::init::<CedarAuthorizer>(&plugin["config"].to_string());
            assert!(outcome.is_ok(), "{:?}", outcome.err());
            configs += 1;
        }
    }
    assert_eq!(configs, 2);
}

fn asked(policies: &str) -> Settings {
    let config = json!({
        "policies": policies, "resource": "path",
        "principal": {"claims": {"namespace": "t"}, "attributes": ["a"], "groups": "g"},
        "headers": ["h"], "query": ["q"],
    });
    Settings::new(serde_json::from_value(config).unwrap()).unwrap()
}

fn quoted(text: &str) -> String {
    cedar_policy::EntityId::new(text).escaped().to_string()
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever names are made of, they name one entity, and stay within their quotes in policy and log.
    #[test]
    fn any_names_stay_what_they_are(principal in any::<String>(), method in any::<String>(), path in any::<String>(), group in any::<String>(), value in any::<String>()) {
        let text = format!(
            "permit(principal == User::\"{}\", action == Action::\"{}\", resource == Path::\"{}\") when {{ principal in Group::\"{}\" && principal.a == \"{}\" && context.headers.h == \"{}\" && resource.query.q == \"{}\" }};",
            quoted(&principal), quoted(&method), quoted(&path), quoted(&group), quoted(&value), quoted(&value), quoted(&value),
        );
        let settings = asked(&text);
        let seen = Seen {
            principal: Some(principal.clone()), method, path, address: "::1".into(),
            claims: json!({"a": value.clone(), "g": [group]}),
            headers: vec![("h".into(), value.clone())],
            query: vec![("q".into(), value.clone())],
            params: vec![(value.clone(), value)],
            ..Seen::default()
        };
        let verdict = settings.engine.decide(&seen).unwrap();
        prop_assert!(verdict.allowed, "{verdict:?}");
        prop_assert!(!verdict.question.contains(['\n', '\r']));
        let other = Seen { principal: Some(principal + "x"), ..seen };
        prop_assert!(!settings.engine.decide(&other).unwrap().allowed);
    }

    /// Claims of any form neither end the plugin nor let anybody in.
    #[test]
    fn any_claims_are_taken_or_refused(claims in json_of_any_form(), params in prop::collection::vec((any::<String>(), any::<String>()), 0..4), now_ms in any::<u64>(), address in "[0-9a-f:.]{0,12}") {
        let settings = asked("permit(principal == User::\"a\", action, resource) when { principal in Group::\"admin\" || principal.a == User::\"b\" };");
        let seen = Seen { principal: Some("b".into()), claims, params, now_ms, address, ..Seen::default() };
        prop_assert!(!settings.engine.decide(&seen).is_ok_and(|verdict| verdict.allowed));
    }
}

fn json_of_any_form() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::strategy::Strategy as _;
    let leaf = proptest::prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::strategy::Just(json!({"__entity": {"type": "User", "id": "b"}})),
        proptest::strategy::Just(json!({"__extn": {"fn": "ip", "arg": "x"}})),
    ];
    let nested = leaf.prop_recursive(10, 64, 4, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ag_]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    (nested.clone(), nested).prop_map(|(a, g)| json!({"a": a, "g": g}))
}
