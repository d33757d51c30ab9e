//! `edgeward plugin`: from an empty folder to a version that is live.

mod build;
mod case;
mod inspect;
mod new;
mod push;
mod sdk;
mod settings;
mod test;
mod trial;
mod try_one;

use clap::Subcommand;

use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a project for a new plugin, with tests.
    New(new::Args),
    /// Build a project to a component.
    Build(build::Args),
    /// Show what a module file is, or what is live of a plugin of the running gateway.
    Inspect(inspect::Args),
    /// Run a project's unit tests, then the requests in its tests/*.http through the built plugin.
    Test(test::Args),
    /// Run requests from a file through a plugin, without a gateway.
    Try(try_one::Args),
    /// Upload a module and make a version of it; with --publish it is live for the next request.
    Push(push::Args),
}

pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::New(args) => new::run(&args, output),
        Command::Build(args) => build::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Test(args) => test::run(&args, output),
        Command::Try(args) => try_one::run(&args, output),
        Command::Push(args) => push::run(&args, output),
    }
}
