//! `cargo xtask demo`: builds the plugins, the gateway and the demonstration, and runs it (`tests/demo`).

use crate::command::{self, cargo};
use crate::guests;
use crate::workspace::Workspace;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run once without waiting for a key; any deviation exits non-zero in both cases.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Builds and runs the demonstration.
///
/// # Errors
/// A build fails, or the demonstration deviated.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut demo = std::process::Command::new(workspace.target_dir.join("debug").join("demo"));
    if options.once {
        demo.arg("--once");
    }
    command::run(&mut demo)
}
