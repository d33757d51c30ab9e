//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Configuration of the `basic-auth` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "basic-auth"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What clients are told to log in to: 1 to 128 printable ASCII characters. Default `api`.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// Users, up to 10000.
    #[serde(default)]
    pub users: Vec<User>,
    /// Name of the granted secret that holds a file of users, one `name:hash` a line, as `htpasswd -B` writes it; up to 1 MiB.
    #[serde(default)]
    pub htpasswd: Option<String>,
    /// Largest cost of a hash.
    #[serde(default)]
    pub cost: Cost,
    /// How long the gateway may reuse the decision for the same name and password, in seconds, 0 to 3600. Default 300.
    #[serde(default = "default_decision_ttl_seconds")]
    pub decision_ttl_seconds: u32,
    /// How long it may refuse the same name and password without looking again, in seconds, 0 to 300. Default 10.
    #[serde(default = "default_refused_ttl_seconds")]
    pub refused_ttl_seconds: u32,
    /// Leaves name and password in the request for the upstream. Default false.
    #[serde(default)]
    pub forward_credentials: bool,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Name: 1 to 256 bytes without colon and control characters.
    pub name: String,
    /// Hash of the password: argon2id (`$argon2id$v=19$...`) or bcrypt (`$2a$`, `$2b$`, `$2y$`).
    #[serde(default)]
    pub hash: Option<String>,
    /// Name of the granted secret that holds the hash. Without `hash` and `secret`, it is the one in `htpasswd`.
    #[serde(default)]
    pub secret: Option<String>,
    /// Groups, for later plugins; up to 100.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Further facts for later plugins, up to 32: texts, numbers, truth values, other JSON.
    #[serde(default)]
    pub facts: BTreeMap<String, serde_json::Value>,
}

/// Largest cost of a hash. A dearer one is refused: it would take more time and memory than the plugin has.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cost {
    /// Memory of argon2id (`m`) in KiB, 8 to 131072. Default 19456.
    #[serde(default = "default_argon2_memory_kib")]
    pub argon2_memory_kib: u32,
    /// Passes of argon2id (`t`), 1 to 16. Default 2.
    #[serde(default = "default_argon2_passes")]
    pub argon2_passes: u32,
    /// Cost of bcrypt, 4 to 15. Default 10.
    #[serde(default = "default_bcrypt_cost")]
    pub bcrypt_cost: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            argon2_memory_kib: default_argon2_memory_kib(),
            argon2_passes: default_argon2_passes(),
            bcrypt_cost: default_bcrypt_cost(),
        }
    }
}

fn default_realm() -> String {
    "api".into()
}

fn default_decision_ttl_seconds() -> u32 {
    300
}

fn default_refused_ttl_seconds() -> u32 {
    10
}

fn default_argon2_memory_kib() -> u32 {
    19_456
}

fn default_argon2_passes() -> u32 {
    2
}

fn default_bcrypt_cost() -> u32 {
    10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error(r#"{"user":[]}"#).contains("`user`"));
        assert!(error(r#"{"users":[{"name":"a","password":"b"}]}"#).contains("`password`"));
        assert!(error(r#"{"cost":{"bcrypt":10}}"#).contains("`bcrypt`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
