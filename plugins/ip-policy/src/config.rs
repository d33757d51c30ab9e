//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use serde::Deserialize;

/// Configuration of the `ip-policy` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "ip-policy"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Rules, 1 to 100.
    pub rules: Vec<Rule>,
    /// Which rule counts where several fit. Default `first-match`.
    #[serde(default)]
    pub order: Order,
    /// What happens to an address that no rule fits. Default `deny`.
    #[serde(default)]
    pub default: Effect,
    /// Which address is looked at. Default `client-address`.
    #[serde(default)]
    pub address: Address,
    /// Status for those who are denied: 403, or 404 to show nothing. Default 403.
    #[serde(default = "default_status")]
    pub status: u16,
}

/// A rule: `allow` or `deny`, one of the two.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Addresses and CIDR blocks that are allowed, IPv4 and IPv6, up to 20000.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// Addresses and CIDR blocks that are denied, IPv4 and IPv6, up to 20000.
    #[serde(default)]
    pub deny: Option<Vec<String>>,
    /// Name of the rule, for the log and for later plugins; up to 64 bytes. Default: `rule-` and its number in the list, from 1 on.
    #[serde(default)]
    pub name: Option<String>,
}

/// Which rule counts where several fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first in the list.
    #[default]
    FirstMatch,
    /// One that denies, wherever it is in the list.
    DenyOverrides,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The request goes on.
    Allow,
    /// It does not.
    #[default]
    Deny,
}

/// Which address is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// The client's, after the listener's `trusted-hops`.
    #[default]
    ClientAddress,
    /// The one that the TCP connection (or QUIC connection) comes from.
    Peer,
}

fn default_status() -> u16 {
    403
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error("{}").contains("`rules`"));
        assert!(error(r#"{"rules":[],"rule":1}"#).contains("`rule`"));
        assert!(error(r#"{"rules":[{"block":[]}]}"#).contains("`block`"));
        assert!(error(r#"{"rules":[],"order":"last"}"#).contains("`last`"));
        assert!(error(r#"{"rules":[],"address":"x-forwarded-for"}"#).contains("`x-forwarded-for`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
