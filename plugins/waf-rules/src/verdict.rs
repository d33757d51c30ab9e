//! From an evaluation to the verdict: bodies that could not be looked at, and the answer of a block.

use crate::config::{Block, Config, Mode, OverAction};
use crate::evaluate::Evaluation;
use edgeward_sdk::{Answer, RuleMatch, Verdict};

/// Treats a body that was too large, or else in a content coding, as configured. Gives the status of a block.
pub fn unseen_body(config: &Config, evaluation: &mut Evaluation, too_large: bool) -> u16 {
    let (action, status, id, message) = if too_large {
        let message = "the body is larger than the limit and was not looked at";
        (config.body.over, 413, "body-too-large", message)
    } else {
        let message = "the body has a content coding and was not looked at";
        (config.body.encoded, 415, "body-encoded", message)
    };
    // what a rule said about the rest of the request stands
    if evaluation.block || evaluation.allow || action == OverAction::Pass {
        return config.block.status;
    }
    evaluation.report(id, message, "body".to_owned());
    evaluation.block = action == OverAction::Block && config.mode == Mode::Block;
    status
}

/// The verdict, with `status` in case of a block.
pub fn of(block: &Block, evaluation: Evaluation, status: u16) -> Verdict {
    let mut verdict = match (&block.body, evaluation.block) {
        (_, false) => Verdict::allow(),
        (None, true) => Verdict::block(status),
        (Some(body), true) => {
            let answer = Answer::new(status).header("content-type", &block.content_type);
            Verdict::block_with(answer.body(body.as_bytes()))
        }
    };
    for found in evaluation.matched {
        verdict = verdict.matched(RuleMatch {
            id: found.id,
            message: found.message,
            location: found.location,
        });
    }
    verdict.labels = evaluation.labels;
    verdict
}
