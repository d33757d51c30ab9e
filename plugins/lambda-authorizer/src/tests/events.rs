//! What functions are told, against `tests/vectors/events.json`: whole requests through the plugin, and the event that comes out.

use edgeward_sdk::{Authorize as _, Exchange, RequestHead, http_client, testing};
use serde_json::{Value, json};

use crate::LambdaAuthorizer;

/// The request of a vector.
pub(super) fn request(vector: &Value) -> (RequestHead, Exchange) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let request = testing::request(&text(&vector["method"]), &text(&vector["url"]));
    let pairs = |name: &str| vector[name].as_array().cloned().unwrap_or_default();
    let request = pairs("headers").iter().fold(request, |request, pair| {
        request.with_header(&text(&pair[0]), text(&pair[1]))
    });
    let request = pairs("params").iter().fold(request, |request, pair| {
        request.with_path_param(&text(&pair[0]), &text(&pair[1]))
    });
    let exchange = testing::exchange().with_route("pets", vector["pattern"].as_str().unwrap_or("/"));
    let exchange = match vector.get("context") {
        None => exchange,
        Some(context) => {
            let variables = vector
                .get("stage-variables")
                .cloned()
                .unwrap_or_else(|| json!({}));
            exchange
                .with_entry("gateway", "context", context.clone())
                .with_entry("gateway", "stage-variables", variables)
        }
    };
    (request, exchange)
}

#[test]
fn events_are_those_of_amazon_api_gateway() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/vectors/events.json")).unwrap();
    for vector in vectors {
        let host = testing::Host::new()
            .with_http(|_| {
                Ok(http_client::Response {
                    status: 200,
                    headers: Vec::new(),
                    body: b"{}".to_vec(),
                })
            })
            .install();
        let mut config = vector["config"].clone();
        config["function"] = json!({"url": {"address": "https://f.test/"}});
        let (mut plugin, _) = testing::init::<LambdaAuthorizer>(&config.to_string()).unwrap();
        let (request, exchange) = request(&vector["request"]);
        let _decision = plugin.authorize(&request, &exchange);
        let calls = host.http_requests();
        let event: Value = serde_json::from_slice(&calls[0].body).unwrap();
        let (name, wanted) = (&vector["name"], &vector["event"]);
        assert_eq!(
            serde_json::to_string_pretty(&event).unwrap(),
            serde_json::to_string_pretty(wanted).unwrap(),
            "{name}"
        );
    }
}
