//! What the RFCs let a gateway refuse, and what their security considerations and later advisories tell it to limit: one file per document, one test per
//! section, over raw sockets. docs/conformance.md lists them.

mod abuse;
mod rfc7541;
mod rfc9110;
mod rfc9112;
mod rfc9113;
mod rfc9114;
mod slow;

use edgeward_tests::{Ca, Gateway, Origin};
use serde_json::{Value, json};

/// A gateway before an origin, with these limits.
async fn gateway(origin: &Origin, limits: Value) -> Gateway {
    before(&origin.endpoint(), limits).await
}

/// The same before any endpoint.
async fn before(endpoint: &str, limits: Value) -> Gateway {
    Gateway::start(json!({
        "limits": limits,
        "upstreams": {"origin": {"endpoints": [endpoint]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await
}

/// A gateway before an origin that speaks every version of HTTP: one listener with TLS for `example.test` and these settings, and a route
/// `/h2/{path+}` to the same origin in HTTP/2.
async fn gateway_of_all_versions(origin: &Origin, listener: Value, limits: Value) -> (Gateway, Ca) {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    ca.issue(&["example.test"]).write(folder.path(), "a");
    let mut settings = json!({
        "address": "127.0.0.1:0",
        "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
    });
    settings
        .as_object_mut()
        .unwrap()
        .extend(listener.as_object().unwrap().clone());
    let upstream = |protocol: &str| json!({"endpoints": [origin.endpoint()], "protocol": protocol});
    let gateway = Gateway::start_in(
        folder,
        json!({
            "limits": limits,
            "listeners": [settings],
            "upstreams": {"h1": upstream("http1"), "h2": upstream("http2")},
            "routes": [
                {"path": "/h2/{path+}", "upstream": "h2"},
                {"path": "/{path+}", "upstream": "h1"},
            ],
        }),
    )
    .await;
    (gateway, ca)
}

/// Whether the metrics have this line.
fn has_metric(gateway: &Gateway, expected: &str) -> Option<()> {
    gateway
        .metrics()
        .lines()
        .any(|line| line == expected)
        .then_some(())
}
