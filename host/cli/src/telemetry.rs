//! Where log lines go: standard error, as text or JSON. `EDGEWARD_LOG`, else `RUST_LOG`, says which.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Starts logging, and makes panics log lines.
///
/// # Errors
/// The filter cannot be understood.
pub(crate) fn start(format: LogFormat) -> anyhow::Result<()> {
    let setting = ["EDGEWARD_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let filter = setting.unwrap_or_else(|| "info".to_owned());
    let filter =
        EnvFilter::try_new(&filter).with_context(|| format!("log filter `{filter}` cannot be understood"))?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            place,
            thread = std::thread::current().name().unwrap_or_default(),
            "panic: {text}"
        );
    }));
    Ok(())
}
