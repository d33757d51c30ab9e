//! `edgeward plugin new`: a project that builds and passes its tests at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::json;

use super::sdk;
use crate::output::Output;

/// Folder of the SDK in a project.
const SDK: &str = "edgeward-sdk";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the plugin: lower-case letters, digits, `-`.
    name: String,
    /// What the plugin does.
    #[arg(long, value_enum, default_value = "authorize")]
    hook: Hook,
    /// Language.
    #[arg(long, value_enum, default_value = "rust")]
    language: Language,
    /// Folder to make. Default: the name.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Folder of the Rust SDK, in place of the copy that the project gets.
    #[arg(long)]
    sdk_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Hook {
    /// Decide who calls and whether it may.
    Authorize,
    /// Change requests and responses.
    Transform,
    /// Look at requests and block bad ones.
    Inspect,
    /// Look at finished exchanges.
    Observe,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Language {
    /// With edgeward-sdk.
    Rust,
}

struct Template {
    hook: &'static str,
    source: &'static str,
    cases: &'static str,
    settings: &'static str,
}

macro_rules! template {
    ($hook:literal) => {
        Template {
            hook: $hook,
            source: include_str!(concat!("../../templates/", $hook, ".rs.in")),
            cases: include_str!(concat!("../../templates/", $hook, ".http.in")),
            settings: include_str!(concat!("../../templates/", $hook, ".yaml.in")),
        }
    };
}

impl Hook {
    fn template(self) -> Template {
        match self {
            Self::Authorize => template!("authorize"),
            Self::Transform => template!("transform"),
            Self::Inspect => template!("inspect"),
            Self::Observe => template!("observe"),
        }
    }
}

/// Makes a project.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let Language::Rust = args.language;
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let files = files(&args.name, args.hook, args.sdk_path.as_deref())?;
    if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("folder {} is there and not empty", path.display());
    }
    for (name, text) in &files {
        write(&path.join(name), text)?;
    }
    let mut names: Vec<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    if args.sdk_path.is_none() {
        let folder = path.join(SDK);
        write(&folder.join("Cargo.toml"), &sdk::manifest())?;
        for (name, text) in sdk::FILES {
            write(&folder.join(name), text)?;
        }
        names.push(format!("{SDK}/"));
    }
    output.show(&json!({"path": path, "files": names}), || {
        format!(
            "made {} with {}\nnext: cd {} && edgeward plugin test",
            path.display(),
            names.join(", "),
            path.display()
        )
    });
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn files(name: &str, hook: Hook, sdk: Option<&Path>) -> anyhow::Result<Vec<(&'static str, String)>> {
    let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.ends_with('-');
    if !valid || name == "gateway" || name == "test" {
        bail!("`{name}` cannot be the name of a plugin: 1 to 64 of a-z, 0-9, `-`, beginning with a letter");
    }
    let sdk = match sdk {
        None => format!("{{ path = \"{SDK}\" }}"),
        Some(path) => {
            let path = path
                .canonicalize()
                .with_context(|| format!("no SDK in {}", path.display()))?;
            // a JSON text is a TOML text as well
            format!("{{ path = {} }}", json!(path.display().to_string()))
        }
    };
    let template = hook.template();
    let settings: String = template
        .settings
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{type}}", &type_name(name))
            .replace("{{hook}}", template.hook)
            .replace("{{sdk}}", &sdk)
            .replace("{{settings}}", &settings)
    };
    Ok(vec![
        ("Cargo.toml", fill(include_str!("../../templates/Cargo.toml.in"))),
        ("src/lib.rs", fill(template.source)),
        ("tests/cases.http", fill(template.cases)),
        ("plugin.yaml", fill(template.settings)),
        (
            "gateway.yaml",
            fill(include_str!("../../templates/gateway.yaml.in")),
        ),
        ("README.md", fill(include_str!("../../templates/README.md.in"))),
        (".gitignore", "/target\n/edgeward-data\n*.wasm\n".to_owned()),
    ])
}

/// `api-keys` as `ApiKeys`. `Plugin` and the names of the hooks are taken by the SDK.
fn type_name(name: &str) -> String {
    let mut text = String::new();
    for word in name.split('-') {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.extend(letters);
    }
    text + "Plugin"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{case, settings};

    #[test]
    fn every_template_is_filled_and_its_parts_fit_together() {
        for hook in Hook::value_variants() {
            let files = files("my-plugin", *hook, None).unwrap();
            let file = |name: &str| &files.iter().find(|(known, _)| *known == name).unwrap().1;
            for (name, text) in &files {
                assert!(!text.contains("{{"), "{hook:?} {name}");
            }
            assert!(file("src/lib.rs").contains("struct MyPluginPlugin"));
            edgeward_core::config::read(file("gateway.yaml")).unwrap();
            settings::read(&serde_yaml_ng::from_str(file("plugin.yaml")).unwrap(), &[]).unwrap();
            let cases = case::parse(file("tests/cases.http")).unwrap();
            assert!(cases.iter().all(|case| !case.expect.is_empty()), "{hook:?}");
        }
    }

    #[test]
    fn names_that_cargo_or_the_gateway_refuse_are_refused() {
        for bad in ["", "Upper", "a b", "../a", "gateway", "1a", "a-", "a_b"] {
            assert!(files(bad, Hook::Observe, None).is_err(), "{bad}");
        }
        assert_eq!(type_name("api-keys"), "ApiKeysPlugin");
    }
}
