//! The hook `inspect`: a WAF looks at the request and gives a verdict.

use super::Plugin;
pub use crate::bindings::inspect::exports::edgeward::plugin::inspect::{
    Action, Blocking, RuleMatch, Verdict,
};
use crate::head::{Exchange, RequestHead};
use crate::messages::{Answer, BodyState};

/// Looks at a request, and at its body if it asked for it. Runs before authorizers; a failure of the plugin blocks.
pub trait Inspect: Plugin {
    /// Called with the request head and, in body mode `Buffer`, the whole body. Without a body `body` is empty and `state` is
    /// `Last`; `TooLarge` when the body was above the limit and passes unseen.
    fn inspect(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        body: Vec<u8>,
        state: BodyState,
    ) -> Verdict;
}

/// ```
/// use edgeward_sdk::{RuleMatch, Verdict};
///
/// let rule = RuleMatch { id: "sqli-1".into(), message: "union select".into(), location: "query.q".into() };
/// let verdict = Verdict::block(403).matched(rule).label("sqli");
/// # assert_eq!(verdict.labels, ["sqli"]);
/// ```
impl Verdict {
    /// Lets the request go on.
    pub fn allow() -> Self {
        Self {
            action: Action::Allow,
            matched: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Blocks with the gateway's own error body; the status is 400 to 599, usually 403.
    pub fn block(status: u16) -> Self {
        Self {
            action: Action::Block(Blocking { status, answer: None }),
            ..Self::allow()
        }
    }

    /// Blocks with an answer of the plugin's own.
    pub fn block_with(answer: Answer) -> Self {
        let blocking = Blocking {
            status: answer.status,
            answer: Some(answer),
        };
        Self {
            action: Action::Block(blocking),
            ..Self::allow()
        }
    }

    /// Adds a rule that matched, blocking or counting only.
    #[must_use]
    pub fn matched(mut self, rule: RuleMatch) -> Self {
        self.matched.push(rule);
        self
    }

    /// Adds a label for later plugins, logs and metrics.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }
}
