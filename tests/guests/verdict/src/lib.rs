//! Says what the request's field `x-verdict` asks for, as JSON: `{"allow": {"principal": "alice", "facts": {"k": "v"}, "policy": {...}, "ttl": 60}}`,
//! `{"deny": {"status": 403, "ttl": 60}}`, `"trap"`, `"loop"`. Without it the caller is `alice`. The digest of the body, the raw target, the raw authority
//! and the fields that the client sent are facts of whoever is let pass.

#![expect(clippy::panic, reason = "a trap is one of the answers")]

use std::{collections::BTreeMap, fmt::Write as _};

use edgeward_sdk::prelude::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Verdict {
    Allow(Allow),
    Deny(Deny),
    Trap,
    Loop,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    principal: String,
    #[serde(default)]
    facts: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    policy: Option<serde_json::Value>,
    #[serde(default)]
    ttl: Option<u32>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    status: u16,
    #[serde(default)]
    ttl: Option<u32>,
}

struct Says;

impl Plugin for Says {
    fn init(_config: &str) -> Result<(Self, Interest), String> {
        Ok((Self, Interest::none().authorize().request_digest()))
    }
}

impl Authorize for Says {
    fn authorize(&mut self, request: &RequestHead, _exchange: &Exchange) -> Decision {
        let asked = request.header_str("x-verdict");
        let asked = asked.unwrap_or_else(|| r#"{"allow": {"principal": "alice"}}"#.to_owned());
        match serde_json::from_str(&asked) {
            Ok(Verdict::Allow(allow)) => {
                let mut digest = String::new();
                for byte in request.body_digest().unwrap_or_default() {
                    // writing to a String cannot fail
                    let _unused = write!(digest, "{byte:02x}");
                }
                let mut allowed = Allowed::new(allow.principal)
                    .fact("digest", digest)
                    .fact("raw-target", request.raw_target())
                    .fact("raw-authority", request.raw_authority())
                    .fact("sent", sent(request));
                for (key, value) in allow.facts {
                    allowed = match value {
                        serde_json::Value::String(text) => allowed.fact(key, text),
                        other => allowed.fact(key, ContextValue::Json(other.to_string())),
                    };
                }
                if let Some(policy) = allow.policy {
                    allowed = allowed.policy(policy.to_string());
                }
                if let Some(ttl) = allow.ttl {
                    allowed = allowed.ttl_seconds(ttl);
                }
                allowed.into()
            }
            Ok(Verdict::Deny(deny)) => {
                let denied = Denied::new(deny.status, "the verdict asked for");
                match deny.ttl {
                    Some(ttl) => denied.ttl_seconds(ttl).into(),
                    None => denied.into(),
                }
            }
            Ok(Verdict::Trap) => panic!("the verdict asked for"),
            Ok(Verdict::Loop) => loop {
                std::hint::black_box(());
            },
            Err(error) => panic!("x-verdict: {error}"),
        }
    }
}

/// The fields that the client sent, `name: value` each.
fn sent(request: &RequestHead) -> String {
    let fields = request.raw_headers();
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    fields.collect::<Vec<_>>().join("; ")
}

edgeward_sdk::export!(Says: authorize);
