//! Benchmark guest: writes `x-cfg` into responses, as small as a useful plugin can be. Its configuration is the value, a JSON string.

use edgeward_sdk::{Exchange, HeadAction, Interest, Plugin, RequestHead, ResponseHead, Transform};

struct Mark(String);

impl Plugin for Mark {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let value = config.trim_matches('"').to_owned();
        Ok((Self(value), Interest::none().response_head()))
    }
}

impl Transform for Mark {
    fn on_response_head(
        &mut self,
        _request: &RequestHead,
        response: &ResponseHead,
        _exchange: &Exchange,
    ) -> HeadAction {
        // a head that takes no more fields is the host's to report
        drop(response.set_header("x-cfg", self.0.as_str()));
        HeadAction::Proceed
    }
}

edgeward_sdk::export!(Mark: transform);
