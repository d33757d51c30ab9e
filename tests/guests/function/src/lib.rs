//! A function behind a route: takes the event of a TOKEN authorizer of API Gateway as the body of a POST, and answers with its output. The token says what:
//! `allow` and `deny` for a policy, `unauthorized`, anything else for a failure.

use edgeward_sdk::prelude::*;
use serde_json::{Value, json};

struct Function;

impl Plugin for Function {
    fn init(_config: &str) -> Result<(Self, Interest), String> {
        let whole = BodyMode::Buffer {
            limit: 64 << 10,
            over: OverLimit::Reject,
        };
        Ok((Self, Interest::none().request_body(whole)))
    }
}

impl Transform for Function {
    fn on_request_body(
        &mut self,
        _request: &RequestHead,
        _exchange: &Exchange,
        chunk: Vec<u8>,
        _state: BodyState,
    ) -> BodyAction {
        let output = match serde_json::from_slice(&chunk) {
            Ok(event) => decide(&event),
            Err(error) => json!({"errorMessage": error.to_string()}),
        };
        Answer::new(200)
            .header("content-type", "application/json")
            .body(output.to_string())
            .into()
    }
}

fn decide(event: &Value) -> Value {
    let policy = |effect: &str| {
        json!({
            "principalId": "ada",
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}],
            },
            "context": {"plan": "gold"},
        })
    };
    match event["authorizationToken"].as_str() {
        Some("allow") => policy("Allow"),
        Some("deny") => policy("Deny"),
        Some("unauthorized") => json!({"errorMessage": "Unauthorized"}),
        _ => json!({"errorMessage": "no such token"}),
    }
}

edgeward_sdk::export!(Function: transform);
