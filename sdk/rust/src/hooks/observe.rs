//! The hook `observe`: look at a finished exchange.

use super::Plugin;
pub use crate::bindings::observe::exports::edgeward::plugin::observe::Outcome;
use crate::head::{Exchange, RequestHead};

/// Looks at exchanges after the last byte went to the client; nothing it does can change them.
pub trait Observe: Plugin {
    /// Called once per exchange.
    fn on_complete(&mut self, request: &RequestHead, exchange: &Exchange, outcome: Outcome);
}
