//! The `edgeward` binary: parses the command line, runs one command, turns its outcome into an exit code.
//! Exit codes: 0 success, 1 failure, 2 wrong usage or an invalid configuration.

mod apply;
mod audit;
mod backup;
mod certificate;
mod check;
mod client;
mod door;
mod openapi;
mod output;
mod plugin;
mod policy;
mod principal;
mod publish;
mod schema;
mod serve;
mod status;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Invalid, Output};

/// Requests make many small allocations that live shortly; docs/performance.md has what this saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An API gateway that runs sandboxed plugins and swaps them under traffic.
#[derive(Parser)]
#[command(name = "edgeward", version)]
struct Cli {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Args),
    /// Find everything that is wrong with a configuration file; starts nothing.
    Check(check::Args),
    /// Print the JSON Schema of the configuration file, or documentation made from it.
    Schema(schema::Args),
    /// Make, build, test and upload plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Find out what policies say about a call, and why.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Put, list and delete certificates.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Make the API model what a file or folder says, all of it or nothing.
    Apply(apply::Args),
    /// Tell what `apply` would change.
    Diff(apply::Args),
    /// Make or change an API by an OpenAPI document.
    Import(openapi::ImportArgs),
    /// Write an API as an OpenAPI document.
    Export(openapi::ExportArgs),
    /// Check or print the log of every change.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Write everything that survives a restart, keys included, into one file. The gateway may run.
    Backup(backup::BackupArgs),
    /// Make a data folder of a backup.
    Restore(backup::RestoreArgs),
    /// Make, list and remove those who may use the admin API.
    #[command(subcommand)]
    Principal(principal::Command),
    /// Make, list, rotate and revoke their tokens.
    #[command(subcommand)]
    Token(principal::TokenCommand),
    /// Make a version of a plugin live.
    Publish(publish::PublishArgs),
    /// Go back to the version of a plugin that was live before, or to a given one.
    Rollback(publish::RollbackArgs),
    /// Show what runs.
    Status(status::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Schema(args) => schema::run(&args, output),
        Command::Plugin(command) => plugin::run(command, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Certificate(command) => certificate::run(command, output),
        Command::Apply(args) => apply::apply(&args, output),
        Command::Diff(args) => apply::diff(&args, output),
        Command::Import(args) => openapi::import(&args, output),
        Command::Export(args) => openapi::export(&args, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Backup(args) => backup::backup(&args, output),
        Command::Restore(args) => backup::restore(&args, output),
        Command::Principal(command) => principal::run(command, output),
        Command::Token(command) => principal::run_token(command, output),
        Command::Publish(args) => publish::publish(&args, output),
        Command::Rollback(args) => publish::rollback(&args, output),
        Command::Status(args) => status::run(&args, output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(if error.is::<Invalid>() { 2 } else { 1 })
        }
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
    fn json_is_accepted_by_every_command() {
        for line in [
            "serve -c gateway.yaml",
            "check gateway.yaml",
            "schema --markdown",
            "plugin new a",
            "plugin build",
            "plugin test",
            "plugin inspect a.wasm",
            "plugin try a.wasm --request a.http",
            "plugin push a a.wasm --publish",
            "policy explain --policy a.json --arn b",
            "policy explain --resource-policy a.json --arn b --principal c --account d --kind iam --action e --context f=g --context h=",
            "certificate put site --cert a.crt --key a.key --for a.example",
            "certificate list",
            "certificate delete site",
            "apply -f apis.yaml",
            "diff -f apis.yaml",
            "import api.yaml",
            "import api.yaml --id pets --mode merge --authorizer a=b --authorizer c=d --upstream u",
            "export pets --stage prod --version 3.1",
            "audit verify",
            "audit export --since 2026-01-01T00:00:00Z --target apis/*",
            "backup -o a.tar",
            "restore -f a.tar --data-dir data",
            "principal add ci --role publisher --apis pets,shop-*",
            "principal list",
            "principal remove ci",
            "token create ci --expires-in 30d",
            "token list ci",
            "token rotate ci abcdefgh --overlap 1h",
            "token revoke ci abcdefgh",
            "status --admin https://a.example --client-cert a.crt --client-key a.key --admin-ca ca.pem",
            "publish a 1",
            "rollback a",
            "status",
        ] {
            let words = ["edgeward"].into_iter().chain(line.split(' ')).chain(["--json"]);
            assert!(Cli::try_parse_from(words).is_ok_and(|cli| cli.json), "{line}");
        }
    }
}
