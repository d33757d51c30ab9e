//! `edgeward status`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    client::{Client, ServerArgs, block_on},
    output::Output,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows what runs.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let status = block_on(client.get("/v1/status"))?;
    output.show(&status, || text(&status));
    Ok(())
}

fn string<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(status: &Value) -> String {
    let mut out = String::new();
    // writing to a String cannot fail
    let ready = if status.get("ready") == Some(&Value::Bool(true)) {
        "serving"
    } else {
        "not serving"
    };
    let _unused = writeln!(
        out,
        "edgeward {} {ready} since {}",
        string(status, "/version"),
        string(status, "/started-at")
    );
    let snapshot = status.get("snapshot").cloned().unwrap_or_default();
    let _unused = writeln!(out, "snapshot {snapshot} since {}", string(status, "/since"));
    for listener in list(status, "/listeners") {
        let _unused = writeln!(
            out,
            "listener {:<20} {}",
            string(listener, "/name"),
            string(listener, "/address")
        );
    }
    let _unused = writeln!(out, "config   {}", string(status, "/config/path"));
    if status.pointer("/config/last-reload/ok") == Some(&Value::Bool(false)) {
        let since = string(status, "/config/last-reload/error/since");
        let _unused = writeln!(
            out,
            "         NOT LOADED since {since}, an older configuration is in effect:"
        );
        for problem in list(status, "/config/last-reload/error/problems") {
            let _unused = writeln!(
                out,
                "           {}: {}",
                string(problem, "/path"),
                string(problem, "/message")
            );
        }
    }
    for warning in list(status, "/warnings") {
        let _unused = writeln!(out, "warning  {}", warning.as_str().unwrap_or_default());
    }
    for order in list(status, "/orders") {
        let next = match order.get("under-way-since").and_then(Value::as_str) {
            Some(since) => format!("under way since {since}"),
            None => format!("ordered next {}", string(order, "/next-order")),
        };
        let _unused = writeln!(
            out,
            "order    {:<20} from {}, holds until {}, {next}",
            string(order, "/certificate"),
            string(order, "/authority"),
            string(order, "/not-after"),
        );
        if let Some(failures) = order
            .get("failures")
            .and_then(Value::as_u64)
            .filter(|failures| *failures > 0)
        {
            let _unused = writeln!(
                out,
                "         FAILED {failures} times, last: {}",
                string(order, "/error")
            );
        }
    }
    for plugin in list(status, "/plugins") {
        let number = |pointer: &str| plugin.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let sum = |pointer: &str| -> u64 {
            let counts = plugin.pointer(pointer).and_then(Value::as_object);
            counts
                .into_iter()
                .flat_map(|counts| counts.values())
                .filter_map(Value::as_u64)
                .sum()
        };
        let version = match number("/version") {
            0 => "file".to_owned(),
            version => format!("v{version}"),
        };
        let digest: String = string(plugin, "/module/digest").chars().take(19).collect();
        let _unused = writeln!(
            out,
            "plugin   {:<20} {version:<6} {digest}  {} calls, {} failures",
            string(plugin, "/name"),
            sum("/stats/calls"),
            sum("/stats/failures")
        );
    }
    out
}
