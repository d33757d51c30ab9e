//! The plugin against the fake host: what the gateway gets to see. Certificates are those of `tests/vectors`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_sdk::{
    Allowed, Authorize as _, ContextValue, Decision, Denied, Exchange, Interest, Peer, Plugin as _,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::MtlsAuthorizer;

/// 2030.
const NOW: u64 = 1_900_000_000_000;

fn vector(name: &str) -> Value {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../tests/vectors/certificates.json")).unwrap();
    vectors.into_iter().find(|vector| vector["name"] == name).unwrap()
}

fn der(name: &str) -> Vec<u8> {
    STANDARD.decode(vector(name)["der"].as_str().unwrap()).unwrap()
}

fn from(certificate: Option<Vec<u8>>) -> Exchange {
    testing::exchange().with_peer(Peer {
        address: "192.0.2.1".into(),
        port: 1,
        client_address: "192.0.2.1".into(),
        tls_version: Some("1.3".into()),
        sni: None,
        client_certificate: certificate,
    })
}

fn ask(config: &Value, certificate: Option<Vec<u8>>) -> Decision {
    let (mut plugin, interest) = testing::init::<MtlsAuthorizer>(&config.to_string()).unwrap();
    assert_eq!(interest, Interest::none().authorize());
    plugin.authorize(&testing::request("GET", "https://api.test/"), &from(certificate))
}

fn rule(conditions: &Value) -> Value {
    let mut rule = json!({"principal": "caller"});
    rule.as_object_mut()
        .unwrap()
        .extend(conditions.as_object().unwrap().clone());
    json!({ "rules": [rule] })
}

fn principal(decision: Decision) -> Option<String> {
    match decision {
        Decision::Allow(allowed) => Some(allowed.principal),
        _ => None,
    }
}

fn not_accepted() -> Decision {
    Denied::new(403, "the client certificate is not accepted").into()
}

#[track_caller]
fn check(name: &str, conditions: &Value, wanted: bool) {
    let _host = Host::new().at_time(NOW).install();
    let decision = ask(&rule(conditions), Some(der(name)));
    let wanted_principal = wanted.then(|| "caller".to_owned());
    assert_eq!(principal(decision), wanted_principal, "{name} {conditions}");
}

/// `tests/vectors/rules.json`: conditions that fit a certificate, and those that do not.
#[test]
fn conditions_fit_as_the_vectors_say() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/rules.json")).unwrap();
    for vector in vectors {
        let certificate = vector["certificate"].as_str().unwrap();
        for (list, wanted) in [("fits", true), ("does-not-fit", false)] {
            for conditions in vector[list].as_array().unwrap() {
                check(certificate, conditions, wanted);
            }
        }
    }
}

#[test]
fn certificates_and_keys_are_named_by_their_hashes() {
    let ada = vector("ada");
    let pairs = |hex: &str| {
        let pairs: Vec<&str> = (0..hex.len() / 2)
            .map(|index| &hex[2 * index..2 * index + 2])
            .collect();
        pairs.join(":").to_uppercase()
    };
    for (conditions, wanted) in [
        (json!({"fingerprint": ada["fingerprint"]}), true),
        (
            json!({"fingerprint": pairs(ada["fingerprint"].as_str().unwrap())}),
            true,
        ),
        (json!({"fingerprint": "00".repeat(32)}), false),
        (json!({"spki": ada["spki"]}), true),
        (
            json!({"spki": format!("sha256/{}", ada["spki"].as_str().unwrap())}),
            true,
        ),
        (json!({"spki": STANDARD.encode([0; 32])}), false),
    ] {
        check("ada", &conditions, wanted);
    }
}

#[test]
fn the_first_rule_that_fits_names_principal_and_facts() {
    let _host = Host::new().at_time(NOW).install();
    let config = json!({"rules": [
        {"principal": "${spiffe.path}", "any": true},
        {"principal": "bob", "subject": {"CN": "bob"}},
        {
            "principal": "${san.dns}",
            "dns": "*.example.com",
            "subject": {"OU": "d*"},
            "facts": {"team": "${subject.OU}", "mail": "mailto:${san.email}", "none": "${san.uri}", "env": "prod", "by": "${issuer.CN}", "at": "${san.ip}"},
        },
        {"principal": "late", "any": true},
    ]});
    let wanted = Allowed::new("ada.example.com")
        .fact(
            "clientCert",
            json!({
                "subjectDN": "emailAddress=ada@example.com,CN=ada,OU=dev,OU=ops,O=Example,C=DE",
                "issuerDN": "CN=Clients,O=Example\\, Inc.,C=DE",
                "serialNumber": "0a:1b:2c",
                "validity": {"notBefore": "May  8 12:30:02 2019 GMT", "notAfter": "Aug  5 09:36:04 2099 GMT"},
            }),
        )
        .fact("at", "192.0.2.7")
        .fact("by", "Clients")
        .fact("env", "prod")
        .fact("mail", "mailto:ada@Example.com")
        .fact("team", "dev");
    assert_eq!(ask(&config, Some(der("ada"))), wanted.into());
    assert_eq!(
        principal(ask(&config, Some(der("svid")))).as_deref(),
        Some("/ns/prod/sa/web")
    );
    let spki = json!({"rules": [{"principal": "${spki} ${fingerprint} ${serial} ${spiffe.trust-domain}", "any": true}]});
    let svid = vector("svid");
    let wanted = format!(
        "{} {} a1b2c example.org",
        svid["spki"].as_str().unwrap(),
        svid["fingerprint"].as_str().unwrap()
    );
    assert_eq!(principal(ask(&spki, Some(der("svid")))), Some(wanted));
}

#[test]
fn the_certificate_itself_can_be_a_fact() {
    let _host = Host::new().at_time(NOW).install();
    let mut config = rule(&json!({"any": true}));
    config["pem"] = json!(true);
    let Decision::Allow(allowed) = ask(&config, Some(der("ada"))) else {
        panic!("not allowed")
    };
    let ContextValue::Json(fact) = &allowed.context[0].value else {
        panic!("no JSON")
    };
    let fact: Value = serde_json::from_str(fact).unwrap();
    let pem = fact["clientCertPem"].as_str().unwrap();
    let lines: Vec<&str> = pem.lines().collect();
    assert_eq!(lines[0], "-----BEGIN CERTIFICATE-----");
    assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
    assert!(lines.iter().all(|line| line.len() <= 64));
    assert_eq!(
        STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap(),
        der("ada")
    );
}

#[test]
fn without_a_certificate_nobody_goes_on() {
    let _host = Host::new().at_time(NOW).install();
    let mut config = rule(&json!({"any": true}));
    let reason = "a client certificate is required";
    assert_eq!(ask(&config, None), Decision::deny(403, reason));
    config["missing-status"] = json!(401);
    let wanted: Decision = Denied::new(401, reason)
        .header("www-authenticate", "Certificate")
        .into();
    assert_eq!(ask(&config, None), wanted);
}

#[test]
fn certificates_that_are_bad_or_fit_no_rule_are_refused() {
    let host = Host::new().at_time(NOW).install();
    let any = rule(&json!({"any": true}));
    let nobody = rule(&json!({"subject": {"CN": "bob"}}));
    assert_eq!(ask(&any, Some(b"garbage".to_vec())), not_accepted());
    assert_eq!(ask(&any, Some(Vec::new())), not_accepted());
    assert_eq!(ask(&any, Some(der("expired"))), not_accepted());
    assert_eq!(ask(&nobody, Some(der("ada"))), not_accepted());
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    assert!(
        lines[0].starts_with("refused: the certificate cannot be read"),
        "{lines:?}"
    );
    assert!(lines[2].ends_with("not within its validity"), "{lines:?}");
    assert_eq!(
        lines[3],
        r#"refused: subject "emailAddress=ada@example.com,CN=ada,OU=dev,OU=ops,O=Example,C=DE", issuer "CN=Clients,O=Example\\, Inc.,C=DE", serial a1b2c: no rule fits"#
    );
    let _early = Host::new().at_time(0).install();
    assert_eq!(ask(&any, Some(der("ada"))), not_accepted());
}

#[test]
fn mistakes_are_named_with_their_path() {
    let many: Vec<String> = (0..1001).map(|index| format!("x{index}")).collect();
    let rules = vec![json!({"principal": "a", "any": true}); 1001];
    for (config, wanted) in [
        (json!({"rules": []}), "config.rules: an empty list lets nobody in"),
        (json!({ "rules": rules }), "config.rules: 1001 exceed 1000"),
        (
            json!({"rules": [{"principal": "a", "any": true}], "missing-status": 404}),
            "config.missing-status: 404 is neither",
        ),
        (
            rule(&json!({})),
            "config.rules[0]: has no condition; set any: true",
        ),
        (
            rule(&json!({"any": true, "serial": "1"})),
            "config.rules[0]: has conditions",
        ),
        (
            rule(&json!({"principal": "${san}"})),
            "config.rules[0].principal: ${san} is no variable",
        ),
        (
            rule(&json!({"subject": {"XX": "a"}})),
            "config.rules[0].subject.XX: is no attribute",
        ),
        (
            rule(&json!({"issuer": {"CN": []}})),
            "config.rules[0].issuer.CN: an empty list fits nobody",
        ),
        (
            rule(&json!({"subject-dn": ""})),
            "config.rules[0].subject-dn: is not 1 to 4096 bytes",
        ),
        (
            rule(&json!({"dns": "a.*.b"})),
            "config.rules[0].dns: \"a.*.b\" is no DNS name",
        ),
        (
            rule(&json!({ "dns": many })),
            "config.rules[0].dns: 1001 values exceed 1000",
        ),
        (
            rule(&json!({"email": "example.com"})),
            "config.rules[0].email: \"example.com\" is no e-mail",
        ),
        (
            rule(&json!({"ip": "10.0.0.1/8"})),
            "config.rules[0].ip: \"10.0.0.1/8\" has bits set",
        ),
        (rule(&json!({"ip": "x"})), "config.rules[0].ip: \"x\" is neither"),
        (
            rule(&json!({"fingerprint": "ab"})),
            "config.rules[0].fingerprint: \"ab\" is not 64",
        ),
        (
            rule(&json!({"spki": "ab"})),
            "config.rules[0].spki: \"ab\" is not 32 bytes",
        ),
        (
            rule(&json!({"serial": "xyz"})),
            "config.rules[0].serial: \"xyz\" is not hexadecimal",
        ),
        (
            rule(&json!({"spiffe": {"trust-domain": "Example.org"}})),
            "config.rules[0].spiffe.trust-domain: \"Example.org\" is not",
        ),
        (
            rule(&json!({"spiffe": {"trust-domain": "a", "path": "/a*"}})),
            "config.rules[0].spiffe.path: \"/a*\" has the segment",
        ),
        (
            rule(&json!({"any": true, "facts": {"clientCert": "a"}})),
            "config.rules[0].facts.clientCert: the plugin says that itself",
        ),
        (
            rule(&json!({"any": true, "facts": {"": "a"}})),
            "config.rules[0].facts: more than 32",
        ),
        (
            rule(&json!({"any": true, "facts": {"a": "${"}})),
            "config.rules[0].facts.a: \"${\" has a ${ without",
        ),
    ] {
        let error = MtlsAuthorizer::init(&config.to_string()).err().unwrap();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<MtlsAuthorizer>(include_str!("../README.md"), parse);
    assert_eq!(configs, 1);
}
