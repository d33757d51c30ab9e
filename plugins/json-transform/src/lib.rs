//! `json-transform`: changes JSON bodies of requests and responses by rules. This file connects the rules to the gateway; the work is
//! in `message` (which bodies), `plan` (the rules) and `edit` (the changes).

pub mod answer;
pub mod config;
pub mod edit;
pub mod host;
pub mod json;
pub mod message;
pub mod path;
pub mod plan;
pub mod template;
#[cfg(test)]
mod tests;

use crate::host::Hook;
use crate::message::Direction;
use edgeward_sdk::prelude::*;

/// The plugin.
pub struct JsonTransform {
    request: Option<Direction>,
    response: Option<Direction>,
    claims_from: Option<String>,
}

impl Plugin for JsonTransform {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: config::Config = edgeward_sdk::config::parse(config)?;
        let request = config.request.as_ref().map(Direction::request).transpose();
        let request = request.map_err(|error| format!("config.request.{error}"))?;
        let response = config.response.as_ref().map(Direction::response).transpose();
        let response = response.map_err(|error| format!("config.response.{error}"))?;
        if request.is_none() && response.is_none() {
            return Err("config: neither `request` nor `response` has rules".to_owned());
        }
        let mut interest = Interest::none();
        if let Some(direction) = &request {
            interest = interest.request_body(direction.buffer());
        }
        if let Some(direction) = &response {
            interest = interest.response_body(direction.buffer());
        }
        let plugin = Self {
            request,
            response,
            claims_from: config.claims_from,
        };
        Ok((plugin, interest))
    }
}

impl Transform for JsonTransform {
    fn on_request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        let claims_from = self.claims_from.as_deref();
        let hook = Hook {
            request,
            response: None,
            exchange,
            claims_from,
        };
        let direction = self.request.as_ref().filter(|_| matches!(state, BodyState::Last));
        direction.map_or(BodyAction::Proceed, |direction| {
            answer::request(direction, hook, &chunk)
        })
    }

    fn on_response_body(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        let claims_from = self.claims_from.as_deref();
        let hook = Hook {
            request,
            response: Some(response),
            exchange,
            claims_from,
        };
        let direction = self
            .response
            .as_ref()
            .filter(|_| matches!(state, BodyState::Last));
        direction.map_or(BodyAction::Proceed, |direction| {
            answer::response(direction, hook, response, &chunk)
        })
    }
}

edgeward_sdk::export!(JsonTransform: transform);
