//! `cargo xtask soak`: builds the plugins, the gateway and the soak, and runs it (`tests/soak`).

use std::process::Command;

use crate::command::{self, cargo};
use crate::guests;
use crate::workspace::Workspace;

/// Builds and runs the soak; `args` go to it. Without `--gateway` among them it runs the program of `cargo xtask release` or
/// of a release build if there is one, else the one that tests use.
///
/// # Errors
/// A build fails, or something was not as it has to be.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut soak = Command::new(workspace.target_dir.join("debug/soak"));
    soak.args(args);
    if !args.iter().any(|arg| arg == "--gateway") {
        let programs = ["dist", "release"].map(|folder| workspace.target_dir.join(folder).join("edgeward"));
        if let Some(program) = programs.iter().find(|program| program.exists()) {
            soak.arg("--gateway").arg(program);
        }
    }
    command::run(&mut soak)
}
