//! `cargo xtask test`: the guests, then the tests of plugins that are workspaces of their own and the documentation examples of the SDK, then every test of
//! the workspace.

use std::process::Command;

use anyhow::Context as _;

use crate::command::{self, cargo};
use crate::workspace::Workspace;
use crate::{clients, guests};

/// How CI runs the suite.
#[derive(Clone, Copy)]
pub(crate) struct Ci {
    /// Clients of other makes are all there: none of their tests may be skipped.
    pub(crate) clients: bool,
}

/// Runs the tests; `args` go to nextest, or to `cargo test` where nextest is not installed.
///
/// # Errors
/// A guest does not build, or a test fails.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    guests::run(workspace, &guests::Options::default())?;
    tests(workspace, args, None)
}

/// Runs the tests with the guests as they are. The summary of the whole suite comes last.
pub(crate) fn tests(workspace: &Workspace, args: &[String], ci: Option<Ci>) -> anyhow::Result<()> {
    // Arguments such as filters are meant for the suite.
    if args.is_empty() {
        for own in &workspace.own {
            command::run(workspace.cargo_of(own, "test").arg("--quiet"))
                .with_context(|| format!("tests of {} failed", own.name))?;
        }
    }
    if !command::succeeds(cargo().args(["nextest", "--version"])) {
        println!("test: cargo-nextest is not installed, so this is plain `cargo test`");
        command::run(cargo().args(["build", "--workspace", "--bins"]))?;
        let mut test = cargo();
        test.arg("test").args(scope(args)).args(args);
        return command::run(with_clients(&mut test, ci)).context("tests failed");
    }
    // Doctests are what nextest cannot run.
    if args.is_empty() {
        command::run(cargo().args(["test", "--quiet", "--doc", "--package", "edgeward-sdk"]))
            .context("documentation examples of the SDK failed")?;
    }
    // the suite runs the gateway as a process too, and building tests does not build another package's binary
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut nextest = cargo();
    nextest.args(["nextest", "run"]).args(scope(args));
    if ci.is_some() {
        nextest.args(["--profile", "ci"]);
    }
    nextest.args(args);
    command::run(with_clients(&mut nextest, ci)).context("tests failed")
}

fn with_clients(tests: &mut Command, ci: Option<Ci>) -> &mut Command {
    if ci.is_some_and(|ci| ci.clients) {
        tests.env(clients::VARIABLE, "required");
    }
    tests
}

/// The whole workspace, unless `args` name packages.
fn scope(args: &[String]) -> Option<&'static str> {
    let names_package = |arg: &String| arg == "-p" || arg.starts_with("--package");
    (!args.iter().any(names_package)).then_some("--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_workspace_is_tested_unless_a_package_is_named() {
        let scope = |args: &[&str]| scope(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(scope(&["-E", "test(swap)"]), Some("--workspace"));
        assert_eq!(scope(&["--package=edgeward-core"]), None);
        assert_eq!(scope(&["-p", "edgeward-core"]), None);
    }
}
