//! Settings of a plugin on the command line: a binding as in the configuration file, without `module`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use edgeward_core::config::{self, Plugin};
use serde_json::{Map, Value, json};

use crate::output::Invalid;

/// Where settings come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SettingsArgs {
    /// File with the binding, as in the configuration file without `module`: config, grants, limits, ...
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Configuration of the plugin: JSON, or a file with JSON or YAML.
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) config: Option<String>,
    /// Grant a capability: `metrics`, `wasi`, `kv=STORE`, `http=HOST[,HOST]`, `secret=NAME=ENVIRONMENT-VARIABLE`.
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
}

impl SettingsArgs {
    /// As JSON: what stands in the file, then `--config` and `--grant`.
    pub(crate) fn document(&self) -> anyhow::Result<Map<String, Value>> {
        let mut document = match &self.settings {
            None => Map::new(),
            Some(path) => match from_file(path)? {
                Value::Object(document) => document,
                Value::Null => Map::new(),
                _ => bail!("{} is no map of settings", path.display()),
            },
        };
        if let Some(config) = &self.config {
            document.insert("config".into(), inline_or_file(config)?);
        }
        for grant in &self.grants {
            add_grant(document.entry("grants").or_insert_with(|| json!({})), grant)?;
        }
        Ok(document)
    }

    /// The folder that relative paths begin at.
    pub(crate) fn base_dir(&self) -> PathBuf {
        let folder = self
            .settings
            .as_deref()
            .and_then(Path::parent)
            .filter(|dir| !dir.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).to_owned()
    }
}

/// Checks settings as the gateway would.
///
/// # Errors
/// All problems.
pub(crate) fn read(settings: &Value, grants: &[String]) -> anyhow::Result<Plugin> {
    let mut binding = settings.as_object().cloned().unwrap_or_default();
    for grant in grants {
        add_grant(binding.entry("grants").or_insert_with(|| json!({})), grant)?;
    }
    binding.insert("module".into(), "plugin.wasm".into());
    let document = json!({"listeners": [{"address": "127.0.0.1:0"}], "plugins": {"plugin": binding}});
    let mut config = config::from_value(document).map_err(|mut problems| {
        for problem in &mut problems.0 {
            problem.path = problem
                .path
                .trim_start_matches("plugins.plugin")
                .trim_start_matches('.')
                .to_owned();
        }
        Invalid {
            what: "settings of the plugin".to_owned(),
            problems,
        }
    })?;
    config.plugins.remove("plugin").context("no binding")
}

fn inline_or_file(text: &str) -> anyhow::Result<Value> {
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).context("--config is not valid JSON");
    }
    from_file(Path::new(text))
}

fn from_file(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{} is neither JSON nor YAML", path.display()))
}

fn add_grant(grants: &mut Value, grant: &str) -> anyhow::Result<()> {
    let (name, rest) = grant.split_once('=').unwrap_or((grant, ""));
    let Some(grants) = grants.as_object_mut() else {
        bail!("`grants` is no map")
    };
    let mut inner = |key: &str, name: &str, value: Value| {
        if let Some(map) = grants.entry(key).or_insert_with(|| json!({})).as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    match (name, rest) {
        ("kv", store) if !store.is_empty() => inner("kv", store, json!({})),
        ("http", hosts) if !hosts.is_empty() => {
            inner("http", "hosts", hosts.split(',').collect::<Vec<_>>().into())
        }
        ("secret", pair) if pair.contains('=') => {
            let (secret, variable) = pair.split_once('=').unwrap_or_default();
            inner("secrets", secret, json!({ "env": variable }));
        }
        ("metrics" | "wasi", "") => drop(grants.insert(name.to_owned(), true.into())),
        _ => bail!(
            "`--grant {grant}`: write `metrics`, `wasi`, `kv=STORE`, `http=HOST[,HOST]` or `secret=NAME=ENVIRONMENT-VARIABLE`"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_on_the_command_line_become_settings() {
        let grants = [
            "metrics",
            "kv=sessions",
            "http=a.example,b.example",
            "secret=key=MY_KEY",
        ]
        .map(str::to_owned);
        let plugin = read(&json!({"config": {"a": 1}}), &grants).unwrap();
        assert!(plugin.grants.metrics && plugin.grants.kv.contains_key("sessions"));
        assert_eq!(plugin.grants.http.unwrap().hosts, ["a.example", "b.example"]);
        assert!(plugin.grants.secrets.contains_key("key"));
        assert_eq!(plugin.config, json!({"a": 1}));
    }

    #[test]
    fn wrong_grants_and_settings_say_what_is_possible() {
        let error = read(&json!({}), &["disk".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("kv=STORE"), "{error}");
        let error = read(&json!({"limit": {}}), &[]).unwrap_err().to_string();
        assert!(
            error.contains("unknown key `limit`") && !error.contains("plugins.plugin"),
            "{error}"
        );
    }
}
