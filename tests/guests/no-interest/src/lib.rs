//! Exports `transform` and asks for no phase: the host must never enter it, and so never sees the answer below.

use edgeward_sdk::prelude::*;

struct NoInterest;

impl Plugin for NoInterest {
    fn init(_config: &str) -> Result<(Self, Interest), String> {
        Ok((NoInterest, Interest::none()))
    }
}

impl Transform for NoInterest {
    fn on_request_head(&mut self, _request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        Answer::new(500)
            .body("entered for a phase it did not ask for")
            .into()
    }
}

edgeward_sdk::export!(NoInterest: transform);
