//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_sdk::{ContextValue, config::Problems};
use serde_json::Value;

use crate::{
    config::{Config, Cost, User},
    credentials::{NAME_MAX, is_name},
    hash::Hash,
};

/// Most users in the configuration.
const USERS_MAX: usize = 10_000;
/// Most groups of a user, and their longest name in bytes.
const GROUPS_MAX: (usize, usize) = (100, 128);
/// Most facts of a user, and their longest key in bytes.
const FACTS_MAX: (usize, usize) = (32, 64);
/// Keys of facts that the plugin makes itself.
const OWN_FACTS: [&str; 2] = ["user", "groups"];
/// Longest realm in bytes.
const REALM_MAX: usize = 128;

/// Checked configuration.
#[derive(Clone)]
pub struct Settings {
    /// Value of `WWW-Authenticate`.
    pub challenge: String,
    /// Configured users by name.
    pub users: BTreeMap<String, Known>,
    /// Name of the secret with the file of users.
    pub htpasswd: Option<String>,
    /// Largest cost of a hash.
    pub cost: Cost,
    /// How long a decision holds, in seconds.
    pub decision_ttl: u32,
    /// How long a refusal holds, in seconds.
    pub refused_ttl: u32,
    /// Name and password stay in the request.
    pub forward: bool,
}

/// A configured user.
#[derive(Clone)]
pub struct Known {
    /// Where the hash is.
    pub source: Source,
    /// Facts for later plugins.
    pub facts: Vec<(String, ContextValue)>,
}

/// Where the hash of a user is.
#[derive(Clone)]
pub enum Source {
    /// Here.
    Here(Hash),
    /// In the secret of that name.
    Secret(String),
    /// In the file of users.
    File,
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        let printable = config.realm.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if config.realm.is_empty() || config.realm.len() > REALM_MAX || !printable {
            problems.push(format!(
                "realm: {:?} is not 1 to {REALM_MAX} printable ASCII characters",
                config.realm
            ));
        }
        if config.users.is_empty() && config.htpasswd.is_none() {
            problems.push("users: nobody, and no htpasswd");
        }
        for (key, value, low, high) in [
            (
                "cost.argon2-memory-kib",
                config.cost.argon2_memory_kib,
                8,
                131_072,
            ),
            ("cost.argon2-passes", config.cost.argon2_passes, 1, 16),
            ("cost.bcrypt-cost", config.cost.bcrypt_cost, 4, 15),
            ("decision-ttl-seconds", config.decision_ttl_seconds, 0, 3600),
            ("refused-ttl-seconds", config.refused_ttl_seconds, 0, 300),
        ] {
            problems.range(key, value, low, high);
        }
        if config.users.len() > USERS_MAX {
            problems.push(format!("users: {} exceed {USERS_MAX}", config.users.len()));
        }
        let mut users = BTreeMap::new();
        for (index, user) in config.users.into_iter().enumerate().take(USERS_MAX) {
            let path = format!("users[{index}]");
            let name = user.name.clone();
            match known(&path, user, &config.cost, config.htpasswd.is_some()) {
                Ok(known) => {
                    if users.insert(name.clone(), known).is_some() {
                        problems.push(format!("{path}.name: {name:?} is there twice"));
                    }
                }
                Err(found) => problems.extend(found),
            }
        }
        problems.check()?;
        let realm = config.realm.replace('\\', "\\\\").replace('"', "\\\"");
        Ok(Self {
            challenge: format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            users,
            htpasswd: config.htpasswd,
            cost: config.cost,
            decision_ttl: config.decision_ttl_seconds,
            refused_ttl: config.refused_ttl_seconds,
            forward: config.forward_credentials,
        })
    }

    /// Capabilities that this configuration needs.
    #[must_use]
    pub fn capabilities(&self) -> BTreeSet<&'static str> {
        let secret = |known: &Known| matches!(known.source, Source::Secret(_));
        let needed = self.htpasswd.is_some() || self.users.values().any(secret);
        needed.then_some("secret").into_iter().collect()
    }
}

fn known(path: &str, user: User, cost: &Cost, has_file: bool) -> Result<Known, Vec<String>> {
    let mut problems = Vec::new();
    if !is_name(&user.name) {
        problems.push(format!(
            "{path}.name: {:?} is not 1 to {NAME_MAX} bytes without colon and control characters",
            user.name
        ));
    }
    let source = match (user.hash, user.secret) {
        (Some(hash), None) => match Hash::parse(&hash, cost) {
            Ok(hash) => Source::Here(hash),
            Err(error) => {
                problems.push(format!("{path}.hash: {error}"));
                Source::File
            }
        },
        (None, Some(secret)) => Source::Secret(secret),
        (None, None) => {
            if !has_file {
                problems.push(format!(
                    "{path}: neither hash nor secret, and there is no htpasswd"
                ));
            }
            Source::File
        }
        (Some(_), Some(_)) => {
            problems.push(format!("{path}: has hash and secret, one of the two is enough"));
            Source::File
        }
    };
    let (most, longest) = GROUPS_MAX;
    let bad = |text: &String, longest: usize| {
        text.is_empty() || text.len() > longest || text.chars().any(char::is_control)
    };
    if user.groups.len() > most || user.groups.iter().any(|group| bad(group, longest)) {
        problems.push(format!(
            "{path}.groups: more than {most}, or one that is not 1 to {longest} bytes without control characters"
        ));
    }
    let (most, longest) = FACTS_MAX;
    if user.facts.len() > most || user.facts.keys().any(|key| bad(key, longest)) {
        problems.push(format!(
            "{path}.facts: more than {most}, or a key that is not 1 to {longest} bytes without control characters"
        ));
    }
    for own in OWN_FACTS {
        if user.facts.contains_key(own) {
            problems.push(format!("{path}.facts.{own}: the plugin says that itself"));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut facts: Vec<(String, ContextValue)> = Vec::new();
    if !user.groups.is_empty() {
        facts.push(("groups".to_owned(), Value::from(user.groups).into()));
    }
    facts.extend(user.facts.into_iter().map(|(key, value)| (key, fact(value))));
    Ok(Known { source, facts })
}

fn fact(value: Value) -> ContextValue {
    match value {
        Value::String(text) => text.into(),
        Value::Bool(boolean) => boolean.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) => float.into(),
            (None, None) => Value::Number(number).into(),
        },
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "$2y$05$UjqVaZ4Ab6xMfhP0/0KaZ.mMFqUFrz4eAAb3pPwhnGqAYyJnOCJ6O";

    fn settings(config: Value) -> Result<Settings, String> {
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = settings(json!({"htpasswd": "users"})).unwrap();
        assert_eq!(settings.challenge, "Basic realm=\"api\", charset=\"UTF-8\"");
        assert_eq!((settings.decision_ttl, settings.refused_ttl), (300, 10));
        let cost = settings.cost;
        assert_eq!(
            (cost.argon2_memory_kib, cost.argon2_passes, cost.bcrypt_cost),
            (19_456, 2, 10)
        );
        assert!(!settings.forward);
        assert_eq!(
            settings.capabilities().into_iter().collect::<Vec<_>>(),
            ["secret"]
        );
        let here =
            self::settings(json!({"users": [{"name": "a", "hash": HASH}], "realm": "a \"b\" \\"})).unwrap();
        assert!(here.capabilities().is_empty());
        assert_eq!(here.challenge, r#"Basic realm="a \"b\" \\", charset="UTF-8""#);
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        let user = |extra: Value| {
            let mut user = json!({"name": "ada", "hash": HASH});
            user.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({ "users": [user] })
        };
        let with = |extra: Value| {
            let mut config = user(json!({}));
            config
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            config
        };
        for (config, wanted) in [
            (json!({}), "config.users: nobody, and no htpasswd"),
            (with(json!({"realm": ""})), "config.realm: \"\" is not 1 to 128"),
            (with(json!({"realm": "ä"})), "config.realm: \"ä\" is not"),
            (
                user(json!({"name": "a:b"})),
                "config.users[0].name: \"a:b\" is not",
            ),
            (
                user(json!({"hash": "{SHA}x"})),
                "config.users[0].hash: {SHA}, SHA-1 without salt is not taken",
            ),
            (
                user(json!({"secret": "s"})),
                "config.users[0]: has hash and secret",
            ),
            (
                user(json!({"hash": null})),
                "config.users[0]: neither hash nor secret, and there is no htpasswd",
            ),
            (
                user(json!({"groups": [""]})),
                "config.users[0].groups: more than 100",
            ),
            (
                user(json!({"facts": {"groups": 1}})),
                "config.users[0].facts.groups: the plugin says that itself",
            ),
            (
                user(json!({"facts": {"": 1}})),
                "config.users[0].facts: more than 32",
            ),
            (
                json!({"users": [{"name": "a", "hash": HASH}, {"name": "a", "hash": HASH}]}),
                "config.users[1].name: \"a\" is there twice",
            ),
            (
                with(json!({"cost": {"bcrypt-cost": 16}})),
                "config.cost.bcrypt-cost: 16 is outside 4 to 15",
            ),
            (
                with(json!({"cost": {"argon2-memory-kib": 7}})),
                "config.cost.argon2-memory-kib: 7 is outside",
            ),
            (
                with(json!({"cost": {"argon2-passes": 0}})),
                "config.cost.argon2-passes: 0 is outside",
            ),
            (
                with(json!({"decision-ttl-seconds": 3601})),
                "config.decision-ttl-seconds: 3601 is outside",
            ),
            (
                with(json!({"refused-ttl-seconds": 301})),
                "config.refused-ttl-seconds: 301 is outside",
            ),
        ] {
            let error = settings(config.clone()).err().unwrap();
            assert!(error.contains(wanted), "{config}: {error}");
            assert!(!error.contains(HASH));
        }
    }
}
