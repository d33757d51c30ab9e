//! Writes its configured version into every request (`x-stamp-request`) and every response (`x-stamp`), so that a test sees which
//! version an exchange was served by, and that it was one and the same.

use edgeward_sdk::prelude::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    /// What is written.
    version: String,
}

impl Plugin for Stamp {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let stamp = edgeward_sdk::config::parse(config)?;
        Ok((stamp, Interest::none().request_head().response_head()))
    }
}

impl Transform for Stamp {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        finish(request.set_header("x-stamp-request", &self.version))
    }

    fn on_response_head(
        &mut self,
        _request: &RequestHead,
        response: &ResponseHead,
        _exchange: &Exchange,
    ) -> HeadAction {
        finish(response.set_header("x-stamp", &self.version))
    }
}

fn finish(edit: Result<(), String>) -> HeadAction {
    match edit {
        Ok(()) => HeadAction::Proceed,
        Err(reason) => Answer::new(500).body(reason).into(),
    }
}

edgeward_sdk::export!(Stamp: transform);

#[cfg(test)]
mod tests {
    use edgeward_sdk::testing;

    use super::*;

    #[test]
    fn request_and_response_are_stamped() {
        let (mut plugin, _) = testing::init::<Stamp>(r#"{"version": "2"}"#).unwrap();
        let (request, exchange) = (
            testing::request("GET", "https://api.example/pets"),
            testing::exchange(),
        );
        let response = testing::response(200).with_header("x-stamp", "the origin's");
        assert_eq!(plugin.on_request_head(&request, &exchange), HeadAction::Proceed);
        assert_eq!(
            plugin.on_response_head(&request, &response, &exchange),
            HeadAction::Proceed
        );
        assert_eq!(request.header_str("x-stamp-request").as_deref(), Some("2"));
        assert_eq!(response.header_values("x-stamp"), [b"2"]);
    }
}
