//! The configuration file, what it refers to, and what published versions say differently. Pure apart from reading files;
//! putting the result to work is `deploy`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use edgeward_core::{
    config::{self, Config, ModuleRef, Plugin, Problem, Problems, SecretSource},
    ids::Digest,
};
use serde_json::Value;

use crate::store::VersionRow;

/// Largest configuration file in bytes.
const FILE_MAX: u64 = 16 << 20;

/// A configuration file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Its folder: relative paths in it begin here.
    pub base_dir: PathBuf,
    /// What it says.
    pub config: Config,
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It says what cannot be; all of it at once.
    #[error("{0}")]
    Invalid(#[from] Problems),
}

impl FileError {
    /// As a list of problems.
    #[must_use]
    pub fn problems(&self) -> Problems {
        match self {
            Self::Io { .. } => Problems(vec![Problem::new("", self.to_string())]),
            Self::Invalid(problems) => problems.clone(),
        }
    }
}

impl ConfigFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or has problems.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = read_text(path).map_err(|source| FileError::Io {
            path: path.to_owned(),
            source,
        })?;
        let config = config::read(&text)?;
        let parent = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let base_dir = std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned());
        Ok(Self {
            path: path.to_owned(),
            base_dir,
            config,
        })
    }
}

/// A value as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Value, crate::ControlError> {
    serde_json::to_value(value).map_err(|error| crate::ControlError::invalid("", error.to_string()))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_MAX} bytes"),
        ));
    }
    Ok(text)
}

/// The configuration with the live versions in place of the file's bindings. Live versions of bindings that the file does
/// not have rest until it has them again.
///
/// # Errors
/// What the versions say is not valid (any more).
pub fn effective(config: &Config, live: &BTreeMap<String, VersionRow>) -> Result<Config, Problems> {
    let wrong = |error: serde_json::Error| Problems(vec![Problem::new("plugins", error.to_string())]);
    if !config.plugins.keys().any(|name| live.contains_key(name)) {
        return Ok(config.clone());
    }
    let mut document = serde_json::to_value(config).map_err(wrong)?;
    for (name, plugin) in &config.plugins {
        let Some(version) = live.get(name) else { continue };
        let binding = overlay(plugin, version.module, &version.settings).map_err(wrong)?;
        if let Some(plugins) = document.get_mut("plugins").and_then(Value::as_object_mut) {
            plugins.insert(name.clone(), binding);
        }
    }
    config::from_value(document).map_err(|Problems(mut problems)| {
        for problem in &mut problems {
            let of = |name: &String| {
                problem.path.strip_prefix("plugins.").is_some_and(|rest| {
                    rest.strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
            };
            // 0 is no version of anybody's: it is being tried
            if let Some((name, version)) = live.iter().find(|(name, row)| row.version > 0 && of(name)) {
                problem.message += &format!(", in version {} of plugin `{name}`", version.version);
            }
        }
        Problems(problems)
    })
}

/// A binding with another module and settings: `config` is replaced as a whole, everything else is merged by
/// RFC 7396 (a `null` goes back to the default).
fn overlay(plugin: &Plugin, module: Digest, settings: &Value) -> serde_json::Result<Value> {
    let mut binding = serde_json::to_value(plugin)?;
    if let (Some(binding), Some(settings)) = (binding.as_object_mut(), settings.as_object()) {
        for (key, value) in settings {
            if key == "config" || !binding.contains_key(key) {
                binding.insert(key.clone(), value.clone());
            } else if value.is_null() {
                binding.remove(key);
            } else if let Some(old) = binding.get_mut(key) {
                merge(old, value);
            }
        }
        binding.insert("module".into(), serde_json::to_value(module)?);
    }
    Ok(binding)
}

/// JSON merge patch, RFC 7396 section 2. The depth is bounded by that of a parsed document.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    // an enum's other variant must not keep the keys of the old one: `{"exact": ..}` over `"closed"` replaces it
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Files that the configuration names: a change of any of them is a reason to load it again.
#[must_use]
pub fn references(config: &Config, base_dir: &Path) -> BTreeSet<PathBuf> {
    let mut paths: Vec<&PathBuf> = Vec::new();
    for tls in config
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref())
    {
        for certificate in &tls.certificates {
            paths.extend(
                [&certificate.cert, &certificate.key, &certificate.ocsp]
                    .into_iter()
                    .flatten(),
            );
        }
        let domains = tls.domains.iter().map(|domain| &domain.client_auth);
        for auth in domains.chain([&tls.client_auth]).flatten() {
            paths.extend([&auth.ca].into_iter().chain(&auth.crl));
        }
    }
    for tls in config
        .upstreams
        .values()
        .filter_map(|upstream| upstream.tls.as_ref())
    {
        paths.extend(tls.ca.iter().chain(&tls.client_cert).chain(&tls.client_key));
    }
    for authority in config.acme.values() {
        paths.extend(&authority.ca);
        paths.extend(
            authority
                .external_account
                .as_ref()
                .map(|external| &external.key_file),
        );
    }
    for plugin in config.plugins.values() {
        if let ModuleRef::File(path) = &plugin.module {
            paths.push(path);
        }
        paths.extend(grant_files(plugin));
    }
    paths.into_iter().map(|path| base_dir.join(path)).collect()
}

/// Files whose content a plugin's grants bring in.
pub fn grant_files(plugin: &Plugin) -> impl Iterator<Item = &PathBuf> {
    let secrets = plugin.grants.secrets.values().filter_map(|source| match source {
        SecretSource::File(path) => Some(path),
        SecretSource::Env(_) => None,
    });
    secrets.chain(plugin.grants.http.iter().filter_map(|http| http.ca.as_ref()))
}

/// Settings that are read once, at the start: names of those that differ.
#[must_use]
pub fn needs_restart(started_with: &Config, now: &Config) -> Vec<String> {
    let differs = [
        ("admin", started_with.admin != now.admin),
        ("data-dir", started_with.data_dir != now.data_dir),
        ("workers", started_with.workers != now.workers),
        (
            "limits.plugin-instances",
            started_with.limits.plugin_instances != now.limits.plugin_instances,
        ),
    ];
    differs
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| format!("`{name}` has changed: it takes effect after a restart"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "
listeners: [{address: '127.0.0.1:0', tls: {certificates: [{cert: c.pem, key: /k.pem}]}}]
plugins:
  auth: {module: auth.wasm, config: {a: 1, b: 2}, limits: {cpu-time: 5ms, memory: 16MiB}, grants: {secrets: {s: {file: s.txt}}}}
  other: {module: other.wasm}
";

    fn live(settings: Value) -> BTreeMap<String, VersionRow> {
        let row = VersionRow {
            name: "auth".into(),
            version: 3,
            module: Digest([7; 32]),
            settings,
            created_at: String::new(),
        };
        BTreeMap::from([("auth".into(), row)])
    }

    #[test]
    fn a_live_version_replaces_the_module_and_only_the_settings_it_names() {
        let config = config::read(TEXT).unwrap();
        let settings = json!({"config": {"c": 3}, "limits": {"memory": "32MiB"}, "on-error": "open"});
        let merged = effective(&config, &live(settings)).unwrap();
        let auth = &merged.plugins["auth"];
        assert_eq!(auth.module, ModuleRef::Digest(Digest([7; 32])));
        assert_eq!(auth.config, json!({"c": 3}), "config is replaced as a whole");
        assert_eq!(auth.limits.memory.to_string(), "32MiB");
        assert_eq!(auth.limits.cpu_time.to_string(), "5ms", "what is not named stays");
        assert_eq!(auth.on_error, Some(config::OnError::Open));
        assert_eq!(auth.grants, config.plugins["auth"].grants);
        assert_eq!(merged.plugins["other"], config.plugins["other"]);
    }

    #[test]
    fn null_goes_back_to_the_default_and_enums_are_replaced() {
        let config = config::read(TEXT).unwrap();
        let settings = json!({"limits": null, "isolation": {"reuse": {"requests": 5}}});
        let merged = effective(&config, &live(settings)).unwrap();
        assert_eq!(merged.plugins["auth"].limits, config::PluginLimits::default());
        assert!(
            matches!(merged.plugins["auth"].isolation, config::Isolation::Reuse(reuse) if reuse.requests == 5)
        );
    }

    #[test]
    fn problems_of_a_version_name_it() {
        let config = config::read(TEXT).unwrap();
        let problems =
            effective(&config, &live(json!({"limits": {"memory": "1GiB"}, "limit": 1}))).unwrap_err();
        let text = problems.to_string();
        assert!(
            text.contains("plugins.auth.limit: ") && text.contains("in version 3 of plugin `auth`"),
            "{text}"
        );
        let problems = effective(&config, &live(json!({"limits": {"memory": "1GiB"}}))).unwrap_err();
        assert!(
            problems.to_string().contains("plugins.auth.limits.memory: 1GiB"),
            "{problems}"
        );
    }

    #[test]
    fn versions_of_bindings_that_the_file_lacks_rest() {
        let config = config::read("listeners: [{address: '127.0.0.1:0'}]").unwrap();
        assert_eq!(effective(&config, &live(json!({}))).unwrap(), config);
    }

    #[test]
    fn every_file_that_is_named_is_found_relative_to_the_configuration() {
        let config = config::read(TEXT).unwrap();
        let found = references(&config, Path::new("/etc/edgeward"));
        let expected = [
            "/etc/edgeward/auth.wasm",
            "/etc/edgeward/c.pem",
            "/etc/edgeward/other.wasm",
            "/etc/edgeward/s.txt",
            "/k.pem",
        ];
        assert_eq!(
            found
                .iter()
                .map(|path| path.to_str().unwrap())
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn files_of_client_certificates_and_stapled_responses_are_found() {
        let config = config::read(
            "
listeners:
  - address: '127.0.0.1:0'
    tls:
      certificates: [{cert: c.pem, key: k.pem, ocsp: c.ocsp}]
      client-auth: {ca: ca.pem, crl: [one.crl, two.crl]}
      domains: [{names: [a.example], client-auth: {ca: a.pem, crl: [a.crl]}}, {names: [b.example]}]
",
        )
        .unwrap();
        let found = references(&config, Path::new(""));
        let names = [
            "a.crl", "a.pem", "c.ocsp", "c.pem", "ca.pem", "k.pem", "one.crl", "two.crl",
        ];
        assert_eq!(found, names.map(PathBuf::from).into());
    }

    #[test]
    fn settings_that_need_a_restart_are_named() {
        let before = config::read(TEXT).unwrap();
        let after = config::read(&format!(
            "{TEXT}\nworkers: 3\nadmin: {{address: '127.0.0.1:1'}}\nlimits: {{plugin-instances: 9}}\n"
        ))
        .unwrap();
        let warnings = needs_restart(&before, &after);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        for (warning, name) in warnings
            .iter()
            .zip(["admin", "workers", "limits.plugin-instances"])
        {
            assert!(warning.contains(&format!("`{name}`")), "{warning}");
        }
        assert!(needs_restart(&before, &before).is_empty());
    }
}
