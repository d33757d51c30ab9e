//! Section `routes`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Time};

/// A route: which requests it takes, which plugins they pass and where they go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Route {
    /// Unique name, for logs and metrics. Default: built from hosts, methods and path.
    pub name: Option<String>,
    /// Hosts: exact, `*.example.com`, or empty for any.
    pub hosts: Vec<String>,
    /// Path pattern: `/pets/{id}`, `/files/{proxy+}`. Literal beats parameter beats greedy, segment by segment.
    pub path: String,
    /// Methods; empty for any.
    pub methods: Vec<String>,
    /// Header conditions; all must hold.
    pub headers: BTreeMap<String, HeaderCondition>,
    /// Plugin bindings by name, in order. Inspectors run first, then authorizers, then transformers; within a phase this order holds (responses: reversed).
    pub pipeline: Vec<String>,
    /// Name of the upstream.
    pub upstream: Option<String>,
    /// A fixed answer instead of an upstream.
    pub respond: Option<FixedResponse>,
    /// Largest request body, overriding `limits.body`.
    pub body_limit: Option<Bytes>,
    /// Time to the response head, overriding the upstream's `response-timeout`.
    pub timeout: Option<Time>,
    /// Clients may go on with WebSocket (`Upgrade: websocket`, or extended CONNECT of HTTP/2) if the upstream agrees. Default `false`: what flows then passes no body phase of any plugin and no body limit.
    pub websocket: bool,
}

/// A condition on a request header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderCondition {
    /// The field has exactly this value.
    Exact(String),
    /// The value begins with this.
    Prefix(String),
    /// The field is there, with any value. Write `present: true`.
    Present(bool),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedResponse {
    /// Status, 200 to 599.
    pub status: u16,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body text.
    #[serde(default)]
    pub body: String,
}

impl Route {
    /// `name`, or a name built from what the route matches: `GET api.example.com/pets/{id}`.
    #[must_use]
    pub fn display_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut text = self.methods.join("|");
        if !text.is_empty() {
            text.push(' ');
        }
        text += &self.hosts.join("|");
        text += &self.path;
        for (name, condition) in &self.headers {
            text += &match condition {
                HeaderCondition::Exact(value) => format!(" {name}={value}"),
                HeaderCondition::Prefix(value) => format!(" {name}={value}*"),
                HeaderCondition::Present(present) => format!(" {name}?{present}"),
            };
        }
        text
    }
}
