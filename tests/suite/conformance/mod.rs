//! What the RFCs let a gateway refuse, and what their security considerations and later advisories tell it to limit: one file per document, one test per
//! section, over raw sockets. docs/conformance.md lists them.

mod abuse;
mod rfc7541;
mod rfc9110;
mod rfc9112;
mod rfc9113;
mod rfc9114;
mod slow;

use edgeward_tests::{Gateway, Origin};
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

/// Whether the metrics have this line.
fn has_metric(gateway: &Gateway, expected: &str) -> Option<()> {
    gateway
        .metrics()
        .lines()
        .any(|line| line == expected)
        .then_some(())
}
