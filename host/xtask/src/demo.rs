//! `cargo xtask demo`: builds what the demonstration needs.

use std::path::PathBuf;

use crate::command::{self, cargo};
use crate::guests;
use crate::workspace::Workspace;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run once without waiting for a key, and exit non-zero on any deviation.
    #[arg(long)]
    once: bool,
}

/// Builds the guests and the gateway.
///
/// # Errors
/// A build fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let edgeward = build(workspace)?;
    println!("demo: built {} (once: {})", edgeward.display(), options.once);
    anyhow::bail!("the scenario is not there yet")
}

/// Path of a gateway binary that is up to date, as are the guests beside it.
fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    guests::run(workspace, &guests::Options::default())?;
    command::run(cargo().args(["build", "--package", "edgeward"]))?;
    Ok(workspace.target_dir.join("debug").join("edgeward"))
}
