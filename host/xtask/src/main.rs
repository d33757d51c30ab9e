//! Tasks for people who work on Edgeward: `cargo xtask <task>`. One file per task; `workspace.rs` knows the
//! tree, `command.rs` starts programs. Depends on no Edgeward crate, so that it builds in seconds.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod bench;
mod ci;
mod clients;
mod command;
mod count;
mod demo;
mod docs;
mod figures;
mod foreign;
mod fuzz;
mod guests;
mod packages;
mod release;
mod soak;
mod test;
mod toolchain;
mod wit;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::workspace::Workspace;

/// Tasks for people who work on Edgeward.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build every plugin, example guest and test guest to a component in <target>/guests.
    Guests(guests::Options),
    /// Make the active Rust toolchain able to build guests (the other tasks do this by themselves).
    ///
    /// Tries `rustup target add`; where that fails, builds std from Debian's rust-src of the same version.
    /// EDGEWARD_WASM_STD=source goes straight to the second way.
    Toolchain,
    /// Build the guests, then run every test, those of plugins that are workspaces of their own first.
    Test(PassThrough),
    /// Install the clients of other makes that the suite uses: curl, nghttp and h2load, Python's aioquic, grpcio and websockets, npm's oidc-provider.
    ///
    /// Programs by apt-get, where that needs no password; Python's libraries and npm's packages into <target>/clients.
    Clients,
    /// Everything CI checks: format, lock files, WIT, guests, clippy, generated files, tests, instructions, the demonstration. Stops at the first failure.
    Ci,
    /// Check wit/ and copy it into the SDK crate.
    Wit(Check),
    /// Regenerate the documentation that comes from code.
    Docs(Check),
    /// Run the benchmarks (release build); arguments go to the benchmark program.
    ///
    /// `bench [router] [hooks] [end-to-end] [authorizers] [publish]` measures parts of Edgeward. `bench compare [--case NAME]... [--contender NAME]... [--rounds N]
    /// [--seconds S] [--json FILE] [--gateway PATH]` measures the gateway beside nginx, HAProxy and Envoy, as far as they are installed.
    /// `bench count [--update --reason TEXT]` counts instructions and compares them with the figures kept in benches/instructions.json.
    Bench(PassThrough),
    /// Build the gateway as it is handed to users, compiled by a profile of itself under load: <target>/dist/edgeward.
    ///
    /// Takes three release builds, wrk and h2load (apt-get install wrk nghttp2-client), and llvm-profdata (rustup component add llvm-tools).
    Release,
    /// Fuzz: each target of fuzz/ for some minutes. Needs cargo-fuzz and a C++ compiler.
    Fuzz(fuzz::Options),
    /// Show the gateway at work: requests through plugins, and a swap under load.
    Demo(demo::Options),
    /// Run the gateway for an hour under mixed traffic and changes: `soak [--minutes N] [--gateway PATH] [--report FILE]`.
    Soak(PassThrough),
}

/// Write, or only compare.
#[derive(Args, Clone, Copy)]
struct Check {
    /// Change nothing; fail if a file is not what it should be.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct PassThrough {
    /// Handed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    match task {
        Task::Guests(options) => guests::run(&workspace, &options),
        Task::Toolchain => toolchain::ensure(&toolchain::TARGETS),
        Task::Test(pass) => test::run(&workspace, &pass.args),
        Task::Clients => clients::run(&workspace),
        Task::Ci => ci::run(&workspace),
        Task::Wit(check) => wit::run(&workspace, check),
        Task::Docs(check) => docs::run(&workspace, check),
        Task::Bench(pass) => bench::run(&workspace, &pass.args),
        Task::Release => release::run(&workspace),
        Task::Fuzz(options) => fuzz::run(&workspace, &options),
        Task::Demo(options) => demo::run(&workspace, &options),
        Task::Soak(pass) => soak::run(&workspace, &pass.args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_the_dashes_are_handed_on() {
        let cli = Cli::try_parse_from(["xtask", "test", "--", "-E", "test(swap)"]).unwrap();
        let Task::Test(pass) = cli.task else {
            panic!("not the test task")
        };
        assert_eq!(pass.args, ["-E", "test(swap)"]);
    }
}
