//! What a plugin asked for at `init`, checked against what it exports and what its binding gives.

use edgeward_core::{
    config::{Bytes, PluginLimits},
    phase::{Phase, Phases},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bindings::exports::edgeward::plugin::lifecycle as wit;

/// How a plugin sees a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BodyMode {
    /// Not at all.
    #[default]
    None,
    /// Chunk by chunk.
    Stream,
    /// Whole, up to a limit.
    Buffer {
        /// Largest body, in bytes.
        limit: u64,
        /// Above it: true refuses the message, false lets it pass unseen.
        reject: bool,
    },
}

/// What a plugin asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Phases in which it is called.
    pub phases: Phases,
    /// How it sees request bodies.
    pub request_body: BodyMode,
    /// How it sees response bodies.
    pub response_body: BodyMode,
    /// Whether `authorize` needs the digest of the request's body.
    pub request_digest: bool,
    /// Capabilities it needs with its configuration.
    pub capabilities: Vec<String>,
}

/// An interest as it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Interest")]
pub(crate) struct Text {
    phases: Vec<String>,
    request_body: BodyMode,
    response_body: BodyMode,
    #[serde(default)]
    request_digest: bool,
    capabilities: Vec<String>,
}

impl Serialize for Interest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Text {
            phases: self.phases.iter().map(|phase| phase.name().to_owned()).collect(),
            request_body: self.request_body,
            response_body: self.response_body,
            request_digest: self.request_digest,
            capabilities: self.capabilities.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Interest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let named = |phase: &&Phase| text.phases.iter().any(|name| name == phase.name());
        let phases = Phase::ALL
            .iter()
            .filter(named)
            .fold(Phases::default(), |set, phase| set.with(*phase));
        Ok(Self {
            phases,
            request_body: text.request_body,
            response_body: text.response_body,
            request_digest: text.request_digest,
            capabilities: text.capabilities,
        })
    }
}

/// Name of the hook (WIT interface) that serves a phase.
pub(crate) const fn hook_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Inspect => "inspect",
        Phase::Authorize => "authorize",
        Phase::RequestHead
        | Phase::RequestBody
        | Phase::ResponseHead
        | Phase::ResponseBody
        | Phase::GatewayError => "transform",
        Phase::Observe => "observe",
    }
}

impl Interest {
    pub(crate) fn from_wit(wit: wit::Interest) -> Self {
        let mut phases = Phases::default();
        for (flag, phase) in [
            (wit::Phases::AUTHORIZE, Phase::Authorize),
            (wit::Phases::INSPECT, Phase::Inspect),
            (wit::Phases::REQUEST_HEAD, Phase::RequestHead),
            (wit::Phases::REQUEST_BODY, Phase::RequestBody),
            (wit::Phases::RESPONSE_HEAD, Phase::ResponseHead),
            (wit::Phases::RESPONSE_BODY, Phase::ResponseBody),
            (wit::Phases::GATEWAY_ERROR, Phase::GatewayError),
            (wit::Phases::OBSERVE, Phase::Observe),
        ] {
            if wit.phases.contains(flag) {
                phases = phases.with(phase);
            }
        }
        let mode = |mode| match mode {
            wit::BodyMode::None => BodyMode::None,
            wit::BodyMode::Stream => BodyMode::Stream,
            wit::BodyMode::Buffer(buffer) => BodyMode::Buffer {
                limit: buffer.limit,
                reject: buffer.over == wit::OverLimit::Reject,
            },
        };
        Self {
            phases,
            request_body: mode(wit.request_body),
            response_body: mode(wit.response_body),
            request_digest: wit.request_digest,
            capabilities: wit.capabilities,
        }
    }

    /// Checks the interest against exports and limits.
    ///
    /// # Errors
    /// Text for the operator.
    pub(crate) fn check(&self, hooks: &[String], limits: &PluginLimits) -> Result<(), String> {
        for phase in self.phases.iter() {
            let hook = hook_of(phase);
            if !hooks.iter().any(|exported| exported == hook) {
                return Err(format!(
                    "phase `{phase}` is declared, but the module does not export `{hook}`"
                ));
            }
        }
        if self.phases.has(Phase::RequestBody) && self.request_body == BodyMode::None {
            return Err("phase `request-body` is declared with body mode `none`".to_owned());
        }
        if self.phases.has(Phase::ResponseBody) && self.response_body == BodyMode::None {
            return Err("phase `response-body` is declared with body mode `none`".to_owned());
        }
        if self.phases.has(Phase::Inspect)
            && !self.phases.has(Phase::RequestBody)
            && self.request_body == BodyMode::Stream
        {
            return Err("`inspect` takes bodies whole: declare body mode `buffer` or `none`".to_owned());
        }
        for mode in [self.request_body, self.response_body] {
            if let BodyMode::Buffer { limit, .. } = mode
                && limit > limits.body.0
            {
                return Err(format!(
                    "it wants to buffer bodies of {}, but `limits.body` is {}: raise it or configure the plugin with less",
                    Bytes(limit),
                    limits.body
                ));
            }
        }
        Ok(())
    }
}
