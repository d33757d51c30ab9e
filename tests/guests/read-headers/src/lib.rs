//! Benchmark guest: reads every request header in one call and sets one, which is what a small header filter does.

use edgeward_sdk::{Exchange, HeadAction, Interest, Plugin, RequestHead, Transform};

struct ReadHeaders;

impl Plugin for ReadHeaders {
    fn init(_config: &str) -> Result<(Self, Interest), String> {
        Ok((Self, Interest::none().request_head()))
    }
}

impl Transform for ReadHeaders {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        let count = request.headers().len();
        // a head that takes no more fields is the host's to report
        drop(request.set_header("x-count", if count > 9 { "many" } else { "few" }));
        HeadAction::Proceed
    }
}

edgeward_sdk::export!(ReadHeaders: transform);
