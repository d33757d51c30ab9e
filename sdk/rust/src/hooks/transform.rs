//! The hook `transform`: change requests, responses and the gateway's own errors.

use super::Plugin;
pub use crate::bindings::transform::exports::edgeward::plugin::transform::{
    BodyAction, GatewayError, HeadAction,
};
use crate::head::{Exchange, RequestHead, ResponseHead};
use crate::messages::{Answer, BodyState};

/// Changes what passes. Request phases run in the order of the pipeline, response phases in reverse. Implement the methods of
/// the phases that [`Plugin::init`] asks for; the others are never called.
#[expect(
    unused_variables,
    reason = "the defaults look at nothing; the names are documentation"
)]
pub trait Transform: Plugin {
    /// The request head, before it goes upstream.
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        HeadAction::Proceed
    }

    /// The request body: the whole of it in mode `Buffer`, a chunk in mode `Stream`. The head can be edited in mode `Buffer` and
    /// while it is held.
    fn on_request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        BodyAction::Proceed
    }

    /// The response head, before it goes to the client.
    fn on_response_head(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
    ) -> HeadAction {
        HeadAction::Proceed
    }

    /// The response body: the whole of it in mode `Buffer`, a chunk in mode `Stream`.
    fn on_response_body(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        BodyAction::Proceed
    }

    /// An error response of the gateway: edit its head, or answer in its place.
    fn on_gateway_error(
        &mut self,
        request: &RequestHead,
        response: &ResponseHead,
        exchange: &Exchange,
        error: GatewayError,
    ) -> Option<Answer> {
        None
    }
}

impl From<Answer> for HeadAction {
    fn from(answer: Answer) -> Self {
        Self::Respond(answer)
    }
}

impl From<Answer> for BodyAction {
    fn from(answer: Answer) -> Self {
        Self::Respond(answer)
    }
}
