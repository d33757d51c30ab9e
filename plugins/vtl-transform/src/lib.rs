//! `vtl-transform`: mapping templates of Amazon API Gateway. This file connects them to the gateway; the work is in `plan` (which
//! template), `parse` and `eval` (the language), `host` (what templates see) and `apply` (edits of heads).

pub mod apply;
pub mod ast;
pub mod config;
mod engine;
pub mod environment;
pub mod eval;
pub mod fault;
pub mod host;
pub mod json;
pub mod jsonpath;
pub mod overrides;
pub mod parse;
pub mod plan;
pub mod print;
pub mod regex;
mod requests;
mod responses;
#[cfg(test)]
mod tests;
pub mod util;
pub mod value;

use crate::config::Config;
use crate::host::Seen;
use crate::overrides::Overrides;
use crate::plan::Plan;
use crate::requests::First;
use edgeward_sdk::prelude::*;

/// The plugin.
pub struct VtlTransform {
    plan: Plan,
    claims_from: Option<String>,
    state: State,
}

/// The exchange at hand.
#[derive(Default)]
struct State {
    request_id: String,
    seen: Seen,
    /// Of the request template; the response template begins with them.
    overrides: Overrides,
    /// What the request template made before it was known whether there is a body.
    first: Option<First>,
    /// The answer is this plugin's own.
    refused: bool,
}

impl VtlTransform {
    /// True when the exchange at hand is this one: its request came by. Answers of plugins before this one, and its own, are not for templates.
    fn continues(&self, exchange: &Exchange) -> bool {
        !self.state.refused && self.state.request_id == exchange.request_id()
    }

    /// Ends the exchange with an error.
    fn refuse(&mut self, status: u16, message: &str) -> Answer {
        self.state.refused = true;
        apply::refusal(status, message)
    }
}

impl Plugin for VtlTransform {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: Config = edgeward_sdk::config::parse(config)?;
        let plan = Plan::new(&config)?;
        let buffer = || BodyMode::Buffer {
            limit: config.limit,
            over: OverLimit::Reject,
        };
        let mut interest = Interest::none();
        if plan.has_routes() {
            // responses are looked at for the overrides of request templates too, requests for what response templates see of them
            interest = interest.request_head().response_head();
        }
        if plan.has_requests() || plan.is_engine() {
            interest = interest.request_body(buffer());
        }
        if plan.has_responses() || plan.is_engine() {
            interest = interest.response_body(buffer());
        }
        let plugin = Self {
            plan,
            claims_from: config.claims_from.clone(),
            state: State::default(),
        };
        Ok((plugin, interest))
    }
}

impl Transform for VtlTransform {
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        self.state = State::default();
        if self.plan.route(&exchange.route()).is_none() {
            return HeadAction::Proceed;
        }
        self.state.request_id = exchange.request_id();
        self.state.seen = Seen::of(request);
        match self.request_head(request, exchange) {
            Ok(true) => HeadAction::Hold,
            Ok(false) => HeadAction::Proceed,
            Err(answer) => answer.into(),
        }
    }

    fn on_request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        if let Some(name) = self.wanted(exchange) {
            return made(self.rendered(&name, request, exchange, &chunk));
        }
        if !self.continues(exchange) {
            return BodyAction::Proceed;
        }
        if state != BodyState::Last {
            return self.refuse(413, "Request Too Long").into();
        }
        match self.request_body(request, exchange, &chunk) {
            Ok(None) => BodyAction::Proceed,
            Ok(Some(body)) => BodyAction::Replace(body.into()),
            Err(answer) => answer.into(),
        }
    }

    fn on_response_head(
        &mut self,
        _request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
    ) -> HeadAction {
        if !self.continues(exchange) {
            return HeadAction::Proceed;
        }
        match self.response_head(response, exchange) {
            Ok(None) => HeadAction::Proceed,
            Ok(Some(answer)) | Err(answer) => answer.into(),
        }
    }

    fn on_response_body(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        if let Some(name) = self.wanted(exchange) {
            return made(self.rendered(&name, request, exchange, &chunk));
        }
        if !self.continues(exchange) {
            return BodyAction::Proceed;
        }
        if state != BodyState::Last {
            return self.refuse(502, "Internal server error").into();
        }
        match self.response_body(response, exchange, &chunk) {
            Ok(None) => BodyAction::Proceed,
            Ok(Some(body)) => BodyAction::Replace(body.into()),
            Err(answer) => answer.into(),
        }
    }
}

fn made(rendered: Result<String, Answer>) -> BodyAction {
    match rendered {
        Ok(body) => BodyAction::Replace(body.into()),
        Err(answer) => answer.into(),
    }
}

edgeward_sdk::export!(VtlTransform: transform);
