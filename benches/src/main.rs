//! Benchmarks of Edgeward. Prints medians over rounds; what counts is the ratio of two lines of one run. CPU time is that of the thread that does
//! the work. `compare` measures whole processes, of other proxies too. `docs/performance.md` says how to read it.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod authorizers;
mod compare;
mod count;
mod end_to_end;
mod hooks;
mod measure;
mod publish;
mod router;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::measure::Report;

/// Benchmarks of Edgeward.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Parts to run, by the first word of their lines: router, hooks, end-to-end, authorizers, publish. Default: all.
    parts: Vec<String>,
    /// Writes the figures into this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// The gateway beside nginx, HAProxy and Envoy, each on one core.
    Compare(compare::Options),
    /// What `cargo xtask bench count` runs under callgrind.
    #[command(hide = true)]
    Count,
    /// The origin of the comparison.
    #[command(hide = true)]
    Origin {
        /// Port on loopback.
        port: u16,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cfg!(debug_assertions) && !matches!(cli.command, Some(Command::Count)) {
        println!("note: a debug build; figures are of no use");
    }
    match cli.command {
        Some(Command::Count) => return count::run(),
        Some(Command::Compare(options)) => return compare::run(&options),
        Some(Command::Origin { port }) => return compare::origin(port),
        None => {}
    }
    // one per process, which TLS and what is published ask for; nobody else has installed one
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut report = Report::default();
    let runs = |name: &str| cli.parts.is_empty() || cli.parts.iter().any(|given| name.starts_with(given));
    if runs("router") {
        router::run(&mut report)?;
    }
    if runs("hooks") {
        hooks::run(&mut report)?;
    }
    if runs("end-to-end") {
        end_to_end::run(&mut report)?;
    }
    if runs("authorizers") {
        authorizers::run(&mut report)?;
    }
    if runs("publish") {
        publish::run(&mut report)?;
    }
    if let Some(file) = cli.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(&file, text).with_context(|| format!("{}", file.display()))?;
    }
    report.kept()
}
