//! `cargo xtask bench`: the benchmark program of `benches/`, in a release build, with fresh guests.

use crate::command::{self, cargo};
use crate::guests;
use crate::workspace::Workspace;

/// Builds the guests and runs the benchmarks with `args`.
///
/// # Errors
/// A build or the benchmark program fails.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    command::run(
        cargo()
            .args(["run", "--release", "--package", "edgeward-benches", "--"])
            .args(args),
    )
}
