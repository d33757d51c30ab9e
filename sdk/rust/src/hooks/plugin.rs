//! The start of a plugin: configuration in, state and interest out.

pub use crate::bindings::lifecycle::exports::edgeward::plugin::lifecycle::{OverLimit, Phases};

/// A plugin and its state.
pub trait Plugin: Sized + 'static {
    /// Makes the plugin from its configuration: the `config` value of the binding as JSON text (`null` when there is none).
    /// [`crate::config::parse`] turns it into a type.
    ///
    /// Runs once per deployed version. The memory it leaves is snapshotted and every request starts from that snapshot (or, with
    /// `reuse`, from an instance of it that served others before), so do here what takes time: parse rules, build
    /// [`crate::matcher`] sets. Clocks, random numbers, secrets, `kv` and `http` are refused here.
    ///
    /// # Errors
    /// The configuration does not do; the text reaches the operator who deploys.
    fn init(config: &str) -> Result<(Self, Interest), String>;
}

/// How a plugin wants to see a body.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BodyMode {
    /// Not at all: the body moves from socket to socket without touching the plugin.
    #[default]
    None,
    /// Chunk by chunk, as it arrives. A chunk is not the entire body.
    Stream,
    /// Whole, collected up to a limit. The head is held until the body was seen.
    Buffer {
        /// Largest body in bytes; the binding's `limits.body` caps it.
        limit: u64,
        /// What happens above the limit.
        over: OverLimit,
    },
}

/// What a plugin asks for, given its configuration. The gateway never enters a plugin for a phase it did not ask for.
///
/// ```
/// use edgeward_sdk::{BodyMode, Interest, OverLimit};
///
/// let interest = Interest::none()
///     .request_head()
///     .request_body(BodyMode::Buffer { limit: 64 * 1024, over: OverLimit::Reject })
///     .needs("kv");
/// assert_eq!(interest.capabilities, ["kv"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// Phases in which to call the plugin.
    pub phases: Phases,
    /// How it wants request bodies ([`crate::Transform::on_request_body`], [`crate::Inspect::inspect`]).
    pub request_body: BodyMode,
    /// How it wants response bodies ([`crate::Transform::on_response_body`]).
    pub response_body: BodyMode,
    /// Whether [`crate::Authorize::authorize`] needs [`crate::RequestHead::body_digest`].
    pub request_digest: bool,
    /// Names of the capabilities it needs with this configuration.
    pub capabilities: Vec<String>,
}

impl Interest {
    /// No phase at all: the place to start from.
    pub fn none() -> Self {
        Self {
            phases: Phases::empty(),
            request_body: BodyMode::None,
            response_body: BodyMode::None,
            request_digest: false,
            capabilities: Vec::new(),
        }
    }

    fn phase(mut self, phase: Phases) -> Self {
        self.phases |= phase;
        self
    }

    /// Calls [`crate::Authorize::authorize`].
    #[must_use]
    pub fn authorize(self) -> Self {
        self.phase(Phases::AUTHORIZE)
    }

    /// Has the gateway collect and hash the request's body before [`crate::Authorize::authorize`], for [`crate::RequestHead::body_digest`].
    #[must_use]
    pub fn request_digest(mut self) -> Self {
        self.request_digest = true;
        self
    }

    /// Calls [`crate::Inspect::inspect`] with the head, and with the body as `body` says (`Stream` is not possible there).
    #[must_use]
    pub fn inspect(mut self, body: BodyMode) -> Self {
        self.request_body = body;
        self.phase(Phases::INSPECT)
    }

    /// Calls [`crate::Transform::on_request_head`].
    #[must_use]
    pub fn request_head(self) -> Self {
        self.phase(Phases::REQUEST_HEAD)
    }

    /// Calls [`crate::Transform::on_request_body`].
    #[must_use]
    pub fn request_body(mut self, body: BodyMode) -> Self {
        self.request_body = body;
        self.phase(Phases::REQUEST_BODY)
    }

    /// Calls [`crate::Transform::on_response_head`].
    #[must_use]
    pub fn response_head(self) -> Self {
        self.phase(Phases::RESPONSE_HEAD)
    }

    /// Calls [`crate::Transform::on_response_body`].
    #[must_use]
    pub fn response_body(mut self, body: BodyMode) -> Self {
        self.response_body = body;
        self.phase(Phases::RESPONSE_BODY)
    }

    /// Calls [`crate::Transform::on_gateway_error`].
    #[must_use]
    pub fn gateway_error(self) -> Self {
        self.phase(Phases::GATEWAY_ERROR)
    }

    /// Calls [`crate::Observe::on_complete`].
    #[must_use]
    pub fn observe(self) -> Self {
        self.phase(Phases::OBSERVE)
    }

    /// Names a capability (`kv`, `http`, `secret`) without whose grant the deployment is to be refused.
    #[must_use]
    pub fn needs(mut self, capability: impl Into<String>) -> Self {
        self.capabilities.push(capability.into());
        self
    }
}
