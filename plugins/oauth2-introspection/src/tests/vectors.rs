//! `tests/vectors/tokens.json`: requests, what the authorization server is asked and answers, and what comes of it. Examples of RFC 7662 and RFC 6750 are
//! among them.

use edgeward_sdk::{
    Authorize as _, Decision, Header, http_client,
    testing::{self, Host},
};
use serde_json::{Value, json};

use crate::Introspection;

#[test]
fn tokens_are_decided_on_as_the_vectors_say() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/vectors/tokens.json")).unwrap();
    for vector in vectors {
        let name = &vector["name"];
        let mut config = json!({
            "endpoint": "https://server.example.com/introspect",
            "authentication": {"basic": {"client-id": "s6BhdRkqt3", "secret": "own"}},
        });
        let own = vector["config"].as_object().into_iter().flatten();
        for (key, value) in own {
            config[key] = value.clone();
        }
        let reply = vector["reply"].clone();
        let host = Host::new()
            .at_time(vector["now"].as_u64().unwrap() * 1000)
            .with_secret("own", vector["secret"].as_str().unwrap_or("gX1fBat3bV"))
            .with_http(move |_| {
                Ok(http_client::Response {
                    status: u16::try_from(reply["status"].as_u64().unwrap()).unwrap(),
                    headers: vec![Header {
                        name: "content-type".into(),
                        value: b"application/json".to_vec(),
                    }],
                    body: reply["body"].to_string().into_bytes(),
                })
            })
            .install();
        let url = vector["url"]
            .as_str()
            .unwrap_or("https://server.example.com/resource");
        let request = testing::request("GET", url);
        let request = match vector["authorization"].as_str() {
            Some(field) => request.with_header("authorization", field),
            None => request,
        };
        let (mut plugin, _) = testing::init::<Introspection>(&config.to_string()).unwrap();
        let decision = plugin.authorize(&request, &testing::exchange());
        let asked = host.http_requests();
        // nobody is asked about a request that has not one token
        assert_eq!(asked.is_empty(), vector["reply"].is_null(), "{name}");
        if let (Some(question), false) = (asked.first(), vector["asked"].is_null()) {
            let wanted = &vector["asked"];
            let sent = question
                .headers
                .iter()
                .find(|field| field.name == "authorization");
            assert_eq!(
                sent.unwrap().value_str(),
                wanted["authorization"].as_str(),
                "{name}"
            );
            assert_eq!(
                question.body,
                wanted["body"].as_str().unwrap().as_bytes(),
                "{name}"
            );
        }
        let outcome = match decision {
            Decision::Allow(allowed) => {
                let mut facts = json!({});
                for fact in allowed.context.iter().filter(|fact| fact.key != "claims") {
                    facts[&fact.key] = fact.value.to_json().unwrap();
                }
                json!({"allow": {"principal": allowed.principal, "facts": facts}})
            }
            Decision::Deny(denied) => {
                let mut deny = json!({"status": denied.status});
                for field in denied.headers {
                    deny[field.name] = field.value.into();
                }
                json!({"deny": deny})
            }
            Decision::Respond(answer) => panic!("{name}: {answer:?}"),
        };
        for kind in ["allow", "deny"] {
            assert_eq!(outcome[kind], vector[kind], "{name}");
        }
    }
}
