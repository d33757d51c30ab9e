//! `cargo xtask bench`: the benchmark program of `benches/`, in a release build, with fresh guests; for its `compare`, the gateway's program too.

use crate::command::{self, cargo};
use crate::guests;
use crate::workspace::Workspace;

/// Builds the guests and runs the benchmarks with `args`.
///
/// # Errors
/// A build or the benchmark program fails.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    let mut bench = cargo();
    bench
        .args(["run", "--release", "--package", "edgeward-benches", "--"])
        .args(args);
    if args.first().is_some_and(|part| part == "compare") {
        if !args.iter().any(|arg| arg.starts_with("--gateway")) {
            command::run(cargo().args(["build", "--release", "--package", "edgeward", "--bins"]))?;
            bench
                .arg("--gateway")
                .arg(workspace.target_dir.join("release").join("edgeward"));
        }
        bench.env("EDGEWARD_GUESTS", workspace.target_dir.join("guests"));
    }
    command::run(&mut bench)
}
