//! `waf-rules`: a web application firewall whose rules are data. This file connects the rules to the gateway: configuration in,
//! request in, verdict out. The work is in `ruleset` (compiling) and `evaluate` (running).

pub mod body;
pub mod config;
pub mod evaluate;
pub mod field;
pub mod ruleset;
#[cfg(test)]
mod tests;
pub mod transformation;
#[cfg(test)]
mod vectors;
pub mod verdict;

use crate::config::Config;
use crate::field::{Field, Request};
use edgeward_sdk::prelude::*;

/// The plugin.
pub struct WafRules {
    ruleset: ruleset::Ruleset,
    config: Config,
    needs_body: bool,
}

impl Plugin for WafRules {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: Config = edgeward_sdk::config::parse(config)?;
        let ruleset = ruleset::compile(&config).map_err(|error| format!("config.{error}"))?;
        let needs_body = ruleset.fields.iter().any(Field::needs_body);
        // what is too large comes to `inspect` as such, so that it is reported and answered as configured
        let buffer = BodyMode::Buffer {
            limit: config.body.limit,
            over: OverLimit::Pass,
        };
        let interest = Interest::none().inspect(if needs_body { buffer } else { BodyMode::None });
        let plugin = Self {
            ruleset,
            config,
            needs_body,
        };
        Ok((plugin, interest))
    }
}

impl Inspect for WafRules {
    fn inspect(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        body: Vec<u8>,
        state: BodyState,
    ) -> Verdict {
        let request = Request {
            method: request.method(),
            path: request.path(),
            query: request.query(),
            headers: request
                .headers()
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            client_address: exchange.peer().client_address,
            body,
        };
        let mut evaluation = evaluate::evaluate(&self.ruleset, &request);
        let too_large = matches!(state, BodyState::TooLarge);
        let mut status = self.config.block.status;
        if self.needs_body && (too_large || request.is_encoded()) {
            status = verdict::unseen_body(&self.config, &mut evaluation, too_large);
        }
        verdict::of(&self.config.block, evaluation, status)
    }
}

edgeward_sdk::export!(WafRules: inspect);
