//! What the tasks know of the tree: its root, where cargo builds, its packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use crate::command;

/// Plugins that are workspaces of their own, with lock files of their own (docs/decisions/0019-cedar.md).
const OWN: [&str; 1] = ["plugins/cedar-authorizer"];

/// The part of `cargo metadata` that the tasks use.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    /// Directory of the root manifest.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds; `CARGO_TARGET_DIR` is already taken into account.
    #[serde(rename = "target_directory")]
    pub(crate) target_dir: PathBuf,
    pub(crate) packages: Vec<Package>,
    /// Those of the plugins that are workspaces of their own.
    #[serde(skip)]
    pub(crate) own: Vec<Package>,
}

/// A package of the tree.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    targets: Vec<Target>,
    /// `[package.metadata]`; null where the manifest has none.
    #[serde(default)]
    metadata: serde_json::Value,
}

/// A library, program or test of a package.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) crate_types: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// Cargo is missing or refuses a manifest of the tree.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let metadata = |manifest: Option<&Path>| {
            let mut cargo = command::cargo();
            cargo.args(["metadata", "--format-version=1", "--no-deps"]);
            if let Some(manifest) = manifest {
                cargo.arg("--manifest-path").arg(manifest);
            }
            Self::parse(&command::output(&mut cargo)?)
        };
        let mut workspace = metadata(None)?;
        for folder in OWN {
            let manifest = workspace.root.join(folder).join("Cargo.toml");
            workspace.own.extend(metadata(Some(&manifest))?.packages);
        }
        Ok(workspace)
    }

    /// Reads the output of `cargo metadata --format-version=1`.
    pub(crate) fn parse(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("cannot read the output of cargo metadata")
    }

    /// `cargo TASK` for a plugin that is a workspace of its own. It builds into the target directory of all others: what they have in common is
    /// compiled once, and kept where that is kept.
    pub(crate) fn cargo_of(&self, own: &Package, task: &str) -> Command {
        let mut cargo = command::cargo();
        cargo.arg(task).arg("--manifest-path").arg(&own.manifest_path);
        cargo.arg("--target-dir").arg(&self.target_dir);
        cargo
    }

    /// `path` relative to the root, for messages.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Package {
    pub(crate) fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// The library that is a wasm module when built for wasm, if the package has one.
    pub(crate) fn cdylib(&self) -> Option<&Target> {
        self.targets
            .iter()
            .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    }

    /// A string of `[package.metadata.edgeward]`.
    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.metadata.get("edgeward")?.get(key)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_is_a_member_or_a_workspace_of_its_own() {
        let workspace = Workspace::load().unwrap();
        for entry in std::fs::read_dir(workspace.root.join("plugins")).unwrap() {
            let folder = entry.unwrap().path();
            let is_among = |packages: &[Package]| packages.iter().any(|package| package.dir() == folder);
            assert!(
                is_among(&workspace.packages) != is_among(&workspace.own),
                "{}",
                folder.display()
            );
        }
    }
}
