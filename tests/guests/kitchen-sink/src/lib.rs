//! Every hook, accessor and capability, on demand.
//!
//! The request header `x-sink` holds an operation and its words, separated by blanks (see `operations.rs`); its result comes back
//! as JSON: `{"ok": ...}` with status 200 or `{"error": "..."}` with status 500. `x-sink-phase` says in which phase: `authorize`,
//! `inspect`, `request-head` (the default) or `response-head` (there the JSON goes into the response header `x-sink-result`).
//! `x-sink-response` holds edits of the response, separated by `;`. Without these headers everything passes.
//!
//! Configuration (all optional): `regex`, `literals`, `addresses` (lists for the matcher sets), `inspect-limit` (bytes of the
//! body to inspect) with `inspect-over` (`reject`, `pass`), `phases` (names of those to ask for; default all but bodies),
//! `needs` (capability names), `answer-errors` (true: answers gateway errors itself).

mod operations;

use edgeward_sdk::matcher::{IpSet, LiteralSet, RegexSet};
use edgeward_sdk::prelude::*;
use edgeward_sdk::{log_info, metrics};
use serde_json::json;

use crate::operations::Outcome;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Config {
    regex: Vec<String>,
    literals: Vec<String>,
    addresses: Vec<String>,
    inspect_limit: Option<u64>,
    inspect_over: Over,
    phases: Vec<String>,
    needs: Vec<String>,
    answer_errors: bool,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum Over {
    #[default]
    Reject,
    Pass,
}

impl Default for Config {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            regex: owned(&[r"union\s+select", r"^/admin"]),
            literals: owned(&["<script", "passwd"]),
            addresses: owned(&["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]),
            inspect_limit: None,
            inspect_over: Over::default(),
            phases: owned(&[
                "authorize",
                "inspect",
                "request-head",
                "response-head",
                "gateway-error",
                "observe",
            ]),
            needs: Vec::new(),
            answer_errors: false,
        }
    }
}

/// What the instance keeps.
struct KitchenSink {
    regex: RegexSet,
    literals: LiteralSet,
    addresses: IpSet,
    answer_errors: bool,
    /// Hooks that this instance has run: tells a fresh instance from a reused one.
    calls: u64,
}

impl Plugin for KitchenSink {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: Config = edgeward_sdk::config::parse(config)?;
        let body = match (config.inspect_limit, config.inspect_over) {
            (None, _) => BodyMode::None,
            (Some(limit), Over::Reject) => BodyMode::Buffer {
                limit,
                over: OverLimit::Reject,
            },
            (Some(limit), Over::Pass) => BodyMode::Buffer {
                limit,
                over: OverLimit::Pass,
            },
        };
        let mut interest = Interest::none();
        for phase in &config.phases {
            interest = match phase.as_str() {
                "authorize" => interest.authorize(),
                "inspect" => interest.inspect(body),
                "request-head" => interest.request_head(),
                "response-head" => interest.response_head(),
                "gateway-error" => interest.gateway_error(),
                "observe" => interest.observe(),
                other => return Err(format!("config.phases: {other} is unknown")),
            };
        }
        let interest = config.needs.into_iter().fold(interest, Interest::needs);
        let sink = KitchenSink {
            regex: RegexSet::new(config.regex, true)?,
            literals: LiteralSet::new(config.literals, true)?,
            addresses: IpSet::new(config.addresses)?,
            answer_errors: config.answer_errors,
            calls: 0,
        };
        log_info!("kitchen sink is ready");
        Ok((sink, interest))
    }
}

impl KitchenSink {
    /// Runs the operation of a request, if it is meant for this phase.
    fn operation(&mut self, phase: &str, request: &RequestHead, exchange: &Exchange) -> Option<Outcome> {
        self.calls += 1;
        let wanted = request
            .header_str("x-sink-phase")
            .unwrap_or_else(|| "request-head".to_owned());
        if wanted != phase {
            return None;
        }
        let line = request.header_str("x-sink")?;
        Some(self.run(&line, request, exchange))
    }
}

impl Authorize for KitchenSink {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        match self.operation("authorize", request, exchange) {
            None | Some(Outcome::Proceed) => Allowed::new("sink").fact("phase", "authorize").into(),
            Some(Outcome::Allow(allowed)) => allowed.into(),
            Some(Outcome::Deny(denied)) => denied.into(),
            Some(other) => other.answer().into(),
        }
    }
}

impl Inspect for KitchenSink {
    fn inspect(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        body: Vec<u8>,
        state: BodyState,
    ) -> Verdict {
        match self.operation("inspect", request, exchange) {
            None | Some(Outcome::Proceed) => Verdict::allow(),
            Some(Outcome::Body) => {
                let seen = json!({"bytes": body.len(), "state": format!("{state:?}"), "text": String::from_utf8_lossy(&body)});
                Verdict::block_with(Outcome::Value(seen).answer())
            }
            Some(Outcome::Deny(denied)) => Verdict::block(denied.status).matched(RuleMatch {
                id: "sink-1".to_owned(),
                message: denied.reason,
                location: "header.x-sink".to_owned(),
            }),
            Some(Outcome::Label(label)) => Verdict::allow().label(label),
            Some(other) => Verdict::block_with(other.answer()),
        }
    }
}

impl Transform for KitchenSink {
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        match self.operation("request-head", request, exchange) {
            None | Some(Outcome::Proceed) => HeadAction::Proceed,
            Some(other) => other.answer().into(),
        }
    }

    fn on_response_head(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
    ) -> HeadAction {
        let result = self.operation("response-head", request, exchange);
        let edits = request.header_str("x-sink-response");
        let edited = edits.map_or(Ok(()), |edits| operations::edit_response(&edits, response));
        let seen = response.set_header("x-sink-status", response.status().to_string());
        let reported = match result {
            None | Some(Outcome::Proceed) => Ok(()),
            Some(Outcome::Answer(answer)) => return answer.into(),
            Some(other) => response.set_header("x-sink-result", other.answer().body),
        };
        match edited.and(seen).and(reported) {
            Ok(()) => HeadAction::Proceed,
            Err(reason) => Outcome::Error(reason).answer().into(),
        }
    }

    fn on_gateway_error(
        &mut self,
        _request: &RequestHead,
        response: &ResponseHead,
        _exchange: &Exchange,
        error: GatewayError,
    ) -> Option<Answer> {
        let seen =
            json!({"response-type": error.response_type, "status": error.status, "detail": error.detail});
        if self.answer_errors {
            return Some(
                Answer::new(error.status)
                    .header("x-sink-gateway-error", "answered")
                    .body(seen.to_string()),
            );
        }
        match response.set_header("x-sink-gateway-error", seen.to_string()) {
            Ok(()) => None,
            Err(reason) => Some(Outcome::Error(reason).answer()),
        }
    }
}

impl Observe for KitchenSink {
    fn on_complete(&mut self, request: &RequestHead, exchange: &Exchange, outcome: edgeward_sdk::Outcome) {
        metrics::add("observed", 1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a duration in microseconds is far below 2^53"
        )]
        metrics::record_value("duration_us", outcome.duration_us as f64);
        let seen = json!({
            "path": request.path(),
            "principal": exchange.principal(),
            "status": outcome.status,
            "response-type": outcome.response_type,
            "request-bytes": outcome.request_bytes,
            "response-bytes": outcome.response_bytes,
            "upstream": outcome.upstream_us.is_some(),
            "endpoint": outcome.endpoint,
            "aborted": outcome.aborted,
        });
        log_info!("observed {seen}");
    }
}

edgeward_sdk::export!(KitchenSink: authorize, inspect, transform, observe);
