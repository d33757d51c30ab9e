//! `cargo xtask bench`: the benchmark program of `benches/`, in a release build, with fresh guests; for its `compare`, the gateway's program too.
//! `count` is in `count.rs`.

use std::process::Command;

use crate::command::{self, cargo};
use crate::workspace::Workspace;
use crate::{count, guests};

/// Builds the guests and runs the benchmarks with `args`.
///
/// # Errors
/// A build or the benchmark program fails.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    if let Some((part, args)) = args.split_first()
        && part == "count"
    {
        return count::run(workspace, args);
    }
    // both in one go: built one by one, they would ask for wasmtime with different features, and it would be built twice
    command::run(cargo().args([
        "build",
        "--release",
        "--package",
        "edgeward",
        "--package",
        "edgeward-benches",
        "--bins",
    ]))?;
    let programs = workspace.target_dir.join("release");
    let mut bench = Command::new(programs.join("edgeward-benches"));
    bench.args(args);
    if args.first().is_some_and(|part| part == "compare") {
        if !args.iter().any(|arg| arg.starts_with("--gateway")) {
            bench.arg("--gateway").arg(programs.join("edgeward"));
        }
        bench.env("EDGEWARD_GUESTS", workspace.target_dir.join("guests"));
    }
    command::run(&mut bench)
}
