//! `edgeward audit`: the log of every change.

use std::io::Write as _;

use clap::Subcommand;

use crate::{
    client::{Client, ServerArgs, block_on, in_query},
    output::{Output, Told},
};

/// Entries that are asked for at a time.
const PAGE: usize = 1000;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check that no entry was changed, put in or taken out.
    Verify(Args),
    /// Print every entry, one JSON document a line, the oldest first.
    Export(ExportArgs),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Only those that are not older than this instant, e.g. `2026-01-31T12:00:00Z`.
    #[arg(long)]
    since: Option<String>,
    /// Only those that are older than this instant.
    #[arg(long)]
    until: Option<String>,
    /// Only those of this principal.
    #[arg(long)]
    principal: Option<String>,
    /// Only those of this target; `apis/pets/*` for all that begin so.
    #[arg(long)]
    target: Option<String>,
    /// Only those with this action, e.g. `deploy`.
    #[arg(long)]
    action: Option<String>,
    /// Only those with this outcome: `done`, `refused`, `denied`.
    #[arg(long)]
    outcome: Option<String>,
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
        if output.is_json() {
            output.show(&answer, String::new);
        }
        return Err(Told(format!(
            "the audit log is not as it was written: {problem} ({entries} entries before that are)"
        ))
        .into());
    }
    output.show(&answer, || format!("{entries} entries, all as they were written"));
    Ok(())
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let conditions = [
        ("since", &args.since),
        ("until", &args.until),
        ("principal", &args.principal),
        ("target", &args.target),
        ("action", &args.action),
        ("outcome", &args.outcome),
    ];
    let conditions: String = conditions
        .into_iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", in_query(value.as_ref()?))))
        .collect();
    let mut after = 0;
    loop {
        let path = format!("/v1/audit?cursor={after}&limit={PAGE}{conditions}");
        let page = block_on(async { client.get(&path).await })?;
        let Some(entries) = page.as_array().filter(|entries| !entries.is_empty()) else {
            return Ok(());
        };
        let mut out = std::io::stdout().lock();
        for entry in entries {
            writeln!(out, "{entry}")?;
            after = entry["seq"].as_u64().unwrap_or(after);
        }
        drop(out);
    }
}
