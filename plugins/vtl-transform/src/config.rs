//! The configuration: what an operator writes. `plan` checks and compiles it.

use std::collections::BTreeMap;

/// `config` of the binding.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// By the name of the route.
    pub routes: BTreeMap<String, Route>,
    /// Routes that are not named.
    pub any: Option<Route>,
    /// Templates by name: of an API, which the gateway puts here and names with each message.
    pub templates: BTreeMap<String, String>,
    /// Largest body, and largest output of a template, in bytes.
    pub limit: u64,
    /// Name of the authorizer binding whose claims are `$context.authorizer.claims`. Default: the first binding that left claims.
    pub claims_from: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            routes: BTreeMap::new(),
            any: None,
            templates: BTreeMap::new(),
            limit: 10 << 20,
            claims_from: None,
        }
    }
}

/// One route.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Route {
    /// Requests.
    pub request: Option<Request>,
    /// Responses, by what the upstream answered.
    pub responses: Vec<Response>,
}

/// Requests of a route.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Request {
    /// Templates by media type; `$default` is for all others.
    pub templates: BTreeMap<String, String>,
    /// What happens to a request for which there is no template.
    pub passthrough: Passthrough,
}

/// What happens to a request for which there is no template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passthrough {
    /// It passes.
    #[default]
    WhenNoMatch,
    /// It passes if there are no templates at all.
    WhenNoTemplates,
    /// It is refused.
    Never,
}

/// Some responses of a route.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Response {
    /// Regular expression that the whole status has to match; without it, the entry is for those that no other matches.
    pub selection: Option<String>,
    /// Templates by media type.
    pub templates: BTreeMap<String, String>,
}
