//! The traits a plugin implements: [`Plugin`] for its start, and one trait per hook with the types of that hook.

mod authorize;
mod inspect;
mod observe;
mod plugin;
mod transform;

pub use authorize::{Allowed, Authorize, ContextFact, Decision, Denied};
pub use inspect::{Action, Blocking, Inspect, RuleMatch, Verdict};
pub use observe::{Observe, Outcome};
pub use plugin::{BodyMode, Interest, OverLimit, Phases, Plugin};
pub use transform::{BodyAction, GatewayError, HeadAction, Transform};
