//! The hook `authorize`: who is calling, and may they?

use super::Plugin;
pub use crate::bindings::authorize::exports::edgeward::plugin::authorize::{
    Allowed, ContextFact, Decision, Denied,
};
use crate::head::{Exchange, RequestHead};
use crate::messages::{Answer, ContextValue, Pair};

/// Decides whether a caller may go on. Runs before transformers; all authorizers of a route must allow, and a failure of the
/// plugin denies.
pub trait Authorize: Plugin {
    /// Called with the request head.
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision;
}

impl Decision {
    /// Lets the caller go on as `principal`. For facts, a usage key or a time to live, begin with [`Allowed::new`].
    pub fn allow(principal: impl Into<String>) -> Self {
        Self::Allow(Allowed::new(principal))
    }

    /// Refuses with the gateway's own error body: 401 when credentials are missing or invalid, 403 when they do not suffice.
    /// For header fields such as `www-authenticate`, begin with [`Denied::new`].
    pub fn deny(status: u16, reason: impl Into<String>) -> Self {
        Self::Deny(Denied::new(status, reason))
    }
}

/// ```
/// use edgeward_sdk::{Allowed, ContextValue, Decision};
///
/// let decision: Decision = Allowed::new("alice")
///     .fact("plan", "gold")
///     .fact("claims", ContextValue::Json(r#"{"sub":"alice"}"#.into()))
///     .usage_key("tenant-7")
///     .ttl_seconds(60)
///     .into();
/// # assert!(matches!(decision, Decision::Allow(_)));
/// ```
impl Allowed {
    /// The caller is `principal`: no facts, no usage key, not reusable.
    pub fn new(principal: impl Into<String>) -> Self {
        Self {
            principal: principal.into(),
            context: Vec::new(),
            usage_key: None,
            policy: None,
            ttl_seconds: None,
        }
    }

    /// Adds a fact that later plugins read in this plugin's namespace of the context.
    #[must_use]
    pub fn fact(mut self, key: impl Into<String>, value: impl Into<ContextValue>) -> Self {
        self.context.push(ContextFact {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Sets the key that usage plans and rate limits count by, when it is not the principal.
    #[must_use]
    pub fn usage_key(mut self, key: impl Into<String>) -> Self {
        self.usage_key = Some(key.into());
        self
    }

    /// Says what the caller may do, as a policy in the language of IAM (JSON): the gateway holds each request of the caller against it, those that reuse
    /// the decision too. Only on routes of APIs.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Lets the gateway reuse the decision for the same credential for that many seconds.
    #[must_use]
    pub fn ttl_seconds(mut self, seconds: u32) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }
}

impl Denied {
    /// Refuses with that status; `reason` is logged and shown to the caller.
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            headers: Vec::new(),
            ttl_seconds: None,
        }
    }

    /// Adds a header field to the error response.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Pair {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Lets the gateway refuse the same credential for that many seconds without asking again.
    #[must_use]
    pub fn ttl_seconds(mut self, seconds: u32) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }
}

impl From<Allowed> for Decision {
    fn from(allowed: Allowed) -> Self {
        Self::Allow(allowed)
    }
}

impl From<Denied> for Decision {
    fn from(denied: Denied) -> Self {
        Self::Deny(denied)
    }
}

impl From<Answer> for Decision {
    fn from(answer: Answer) -> Self {
        Self::Respond(answer)
    }
}
