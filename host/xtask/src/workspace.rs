//! What the tasks know of the tree: its root, where cargo builds, its packages.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::command;

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
}

/// A member of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: PathBuf,
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
    /// Cargo is missing or refuses a manifest of the workspace.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let json = command::output(command::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
        Self::parse(&json)
    }

    /// Reads the output of `cargo metadata --format-version=1`.
    pub(crate) fn parse(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("cannot read the output of cargo metadata")
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
