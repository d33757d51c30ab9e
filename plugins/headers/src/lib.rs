//! Sets, appends, removes and renames header fields of requests and responses. This file is the glue to the gateway; the logic reads in
//! this order: [`config`] -> [`plan`] -> [`template`], [`claims`].

pub mod claims;
pub mod config;
mod host;
pub mod plan;
pub mod template;
#[cfg(test)]
mod tests;

use edgeward_sdk::{
    Answer, Exchange, GatewayError, HeadAction, Interest, Plugin, RequestHead, ResponseHead, Transform,
    log_error,
};

use crate::{
    host::Hook,
    plan::{Plan, Step},
};

/// The plugin.
pub struct Headers(Plan);

impl Plugin for Headers {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let plan = Plan::new(edgeward_sdk::config::parse(config)?)?;
        let mut interest = Interest::none();
        if !plan.request.is_empty() {
            interest = interest.request_head();
        }
        if !plan.response.is_empty() {
            interest = interest.response_head();
        }
        if plan.gateway_errors {
            interest = interest.gateway_error();
        }
        Ok((Self(plan), interest))
    }
}

impl Transform for Headers {
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        run(
            &self.0.request,
            &mut Hook::new(request, None, exchange, self.0.claims_from.as_deref()),
        )
        .map_or(HeadAction::Proceed, HeadAction::Respond)
    }

    fn on_response_head(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
    ) -> HeadAction {
        run(
            &self.0.response,
            &mut Hook::new(request, Some(response), exchange, self.0.claims_from.as_deref()),
        )
        .map_or(HeadAction::Proceed, HeadAction::Respond)
    }

    fn on_gateway_error(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        _error: GatewayError,
    ) -> Option<Answer> {
        run(
            &self.0.response,
            &mut Hook::new(request, Some(response), exchange, self.0.claims_from.as_deref()),
        )
    }
}

/// An answer in place of a message in which a field may still hold what it must not.
fn run(steps: &[Step], hook: &mut Hook<'_>) -> Option<Answer> {
    let error = plan::apply(steps, hook).err()?;
    log_error!("answered with 500 instead: {error}");
    Some(Answer::new(500))
}

edgeward_sdk::export!(Headers: transform);
