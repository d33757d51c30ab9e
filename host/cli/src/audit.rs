//! `edgeward audit`: the log of every change.

use std::io::Write as _;

use clap::Subcommand;

use crate::{
    client::{Client, ServerArgs, block_on},
    output::{Output, Told},
};

/// Entries that are asked for at a time.
const PAGE: usize = 1000;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check that no entry was changed, put in or taken out.
    Verify(Args),
    /// Print every entry, one JSON document a line, the oldest first.
    Export(Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs one of the commands.
pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Verify(args) => verify(&args, output),
        Command::Export(args) => export(&args),
    }
}

fn verify(args: &Args, output: Output) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let answer = block_on(async { client.get("/v1/audit/verify").await })?;
    let entries = answer["entries"].as_u64().unwrap_or(0);
    if let Some(problem) = answer["problem"].as_str() {
        return Err(Told(format!(
            "the audit log is not as it was written: {problem} ({entries} entries before that are)"
        ))
        .into());
    }
    output.show(&answer, || format!("{entries} entries, all as they were written"));
    Ok(())
}

fn export(args: &Args) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let mut after = 0;
    loop {
        let page = block_on(async { client.get(&format!("/v1/audit?after={after}&limit={PAGE}")).await })?;
        let Some(entries) = page.as_array().filter(|entries| !entries.is_empty()) else {
            return Ok(());
        };
        let mut out = std::io::stdout().lock();
        for entry in entries {
            writeln!(out, "{entry}")?;
            after = entry["seq"].as_u64().unwrap_or(after);
        }
        drop(out);
        if entries.len() < PAGE {
            return Ok(());
        }
    }
}
