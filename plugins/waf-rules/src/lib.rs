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

use crate::config::{Config, OverAction};
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
        Ok((
            Self {
                ruleset,
                config,
                needs_body,
            },
            interest,
        ))
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
        let mut status = self.config.block.status;
        if !evaluation.block && !evaluation.allow && self.needs_body {
            let unseen = if matches!(state, BodyState::TooLarge) {
                Some((
                    self.config.body.over,
                    413,
                    "body-too-large",
                    "the body is larger than the limit and was not looked at",
                ))
            } else if request.is_encoded() {
                Some((
                    self.config.body.encoded,
                    415,
                    "body-encoded",
                    "the body has a content coding and was not looked at",
                ))
            } else {
                None
            };
            if let Some((action, unseen_status, id, message)) =
                unseen.filter(|(action, ..)| *action != OverAction::Pass)
            {
                evaluation.report(id, message, "body".to_owned());
                if action == OverAction::Block && self.config.mode == config::Mode::Block {
                    evaluation.block = true;
                    status = unseen_status;
                }
            }
        }
        self.verdict(evaluation, status)
    }
}

impl WafRules {
    fn verdict(&self, evaluation: evaluate::Evaluation, status: u16) -> Verdict {
        let block = &self.config.block;
        let mut verdict = match (&block.body, evaluation.block) {
            (_, false) => Verdict::allow(),
            (None, true) => Verdict::block(status),
            (Some(body), true) => Verdict::block_with(
                Answer::new(status)
                    .header("content-type", &block.content_type)
                    .body(body.as_bytes()),
            ),
        };
        let matched = evaluation.matched.into_iter();
        verdict.matched = matched
            .map(|m| RuleMatch {
                id: m.id,
                message: m.message,
                location: m.location,
            })
            .collect();
        verdict.labels = evaluation.labels;
        verdict
    }
}

edgeward_sdk::export!(WafRules: inspect);
