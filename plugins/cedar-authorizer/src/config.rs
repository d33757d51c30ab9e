//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use serde::Deserialize;
use serde_json::Value;

/// Configuration of the `cedar-authorizer` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "cedar-authorizer"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Policies in the language of Cedar: a text or a list of them, up to 256 KiB and 1000 policies in all. No templates.
    pub policies: OneOrMore,
    /// Schema in the language of Cedar, up to 256 KiB: policies are validated against it (strictly) when the plugin is deployed, and each request is held against it.
    /// Default: none.
    #[serde(default)]
    pub schema: Option<String>,
    /// Entities in the JSON form of Cedar, up to 200 and 1 MiB: groups of groups, facts about users and routes. Default: none.
    #[serde(default)]
    pub entities: Vec<Value>,
    /// Who is asking.
    #[serde(default)]
    pub principal: Principal,
    /// What the action is. Default `method`.
    #[serde(default)]
    pub action: Action,
    /// What the resource is. Default `route`.
    #[serde(default)]
    pub resource: Resource,
    /// Header fields that policies see as `context.headers`, up to 64. Default: none.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Query parameters that policies see as `resource.query`, up to 64. Default: none.
    #[serde(default)]
    pub query: Vec<String>,
    /// Names of entity types.
    #[serde(default)]
    pub types: Types,
    /// What becomes of a request when a policy cannot be evaluated for it. Default `deny`.
    #[serde(default)]
    pub on_policy_error: OnPolicyError,
    /// How long the gateway may reuse a decision for the same credential, in seconds, 0 to 3600: on whatever path, at whatever time. Default 0.
    #[serde(default)]
    pub ttl_seconds: u32,
}

/// Who is asking.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Principal {
    /// What becomes of requests of which no authorizer has said whose they are. Default `refuse`.
    pub anonymous: Anonymous,
    /// Where the facts about the principal are. Default: nowhere.
    pub claims: Option<Claims>,
    /// Members of the facts that become attributes of the principal, up to 64. Default: none.
    pub attributes: Vec<String>,
    /// Member of the facts that names the groups of the principal, a text or a list of texts; with a `/` before it a JSON pointer. Default: none.
    pub groups: Option<String>,
}

/// Where the facts about the principal are: an entry of the context, JSON.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claims {
    /// Name of the authorizer's binding.
    pub namespace: String,
    /// Key of the entry. Default `claims`.
    #[serde(default = "default_key")]
    pub key: String,
}

/// What becomes of requests of which no authorizer has said whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// They are refused.
    #[default]
    Refuse,
    /// The policies are asked about `Anonymous::"anonymous"`.
    Ask,
}

/// What the action is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The method: `Action::"GET"`.
    #[default]
    Method,
    /// The name of the route: `Action::"list-orders"`.
    Route,
}

/// What the resource is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The route: `Route::"orders"`.
    #[default]
    Route,
    /// The path, in its route: `Path::"/orders/7"`.
    Path,
}

/// What becomes of a request when a policy cannot be evaluated for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnPolicyError {
    /// It is refused.
    #[default]
    Deny,
    /// The policy does not count, as Cedar has it: a `forbid` that cannot be evaluated forbids nothing.
    Skip,
}

/// Names of entity types, with their namespace: `Shop::User`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Types {
    /// Principals. Default `User`.
    pub user: String,
    /// The principal of requests without one. Default `Anonymous`.
    pub anonymous: String,
    /// Groups of principals. Default `Group`.
    pub group: String,
    /// Actions; ends in `Action`. Default `Action`.
    pub action: String,
    /// Routes. Default `Route`.
    pub route: String,
    /// Paths. Default `Path`.
    pub path: String,
}

impl Default for Types {
    fn default() -> Self {
        Self {
            user: "User".into(),
            anonymous: "Anonymous".into(),
            group: "Group".into(),
            action: "Action".into(),
            route: "Route".into(),
            path: "Path".into(),
        }
    }
}

/// One text or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

fn default_key() -> String {
    "claims".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error("{}").contains("`policies`"));
        assert!(error(r#"{"policies":"","policy":1}"#).contains("`policy`"));
        assert!(error(r#"{"policies":"","principal":{"claims":{}}}"#).contains("`namespace`"));
        assert!(error(r#"{"policies":"","types":{"users":"A"}}"#).contains("`users`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
