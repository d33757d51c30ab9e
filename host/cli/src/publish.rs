//! `edgeward publish` and `edgeward rollback`.

use std::path::{Path, PathBuf};

use edgeward_control::{Store, StoreError, store::Action};
use serde_json::{Value, json};

use crate::{
    client::{Client, ServerArgs, block_on, plugin_path},
    output::Output,
};

#[derive(clap::Args)]
pub(crate) struct PublishArgs {
    /// Name of the plugin in the configuration file.
    name: String,
    /// Number of the version.
    version: u64,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct RollbackArgs {
    /// Name of the plugin in the configuration file.
    name: String,
    /// Number of the version; 0 is the configuration file's. Default: the version that was live before.
    version: Option<u64>,
    /// Change this data folder instead of a running gateway: for one that cannot start with what is published.
    #[arg(long, value_name = "DATA-DIR")]
    offline: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Makes a version live.
pub(crate) fn publish(args: &PublishArgs, output: Output) -> anyhow::Result<()> {
    let body = json!({ "version": args.version });
    change(&args.server, &args.name, "/publish", &body, output)
}

/// Goes back.
pub(crate) fn rollback(args: &RollbackArgs, output: Output) -> anyhow::Result<()> {
    if let Some(dir) = &args.offline {
        let version = rollback_offline(dir, &args.name, args.version)?;
        let text = || {
            format!(
                "plugin `{}`: version {version} is live at the next start",
                args.name
            )
        };
        output.show(&json!({"name": args.name, "version": version}), text);
        return Ok(());
    }
    let body = match args.version {
        Some(version) => json!({ "version": version }),
        None => json!({}),
    };
    change(&args.server, &args.name, "/rollback", &body, output)
}

fn change(server: &ServerArgs, name: &str, action: &str, body: &Value, output: Output) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let progress = output.spinner(format!("{name}: verifying and publishing"));
    let answer = block_on(client.post(&plugin_path(name, action), body));
    progress.finish_and_clear();
    let answer = answer?;
    output.show(&answer, || live(&answer));
    Ok(())
}

/// What a publication did, for people.
pub(crate) fn live(answer: &Value) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    let name = answer.get("name").and_then(Value::as_str).unwrap_or_default();
    let version = |number: u64| match number {
        0 => "the configuration file's version".to_owned(),
        number => format!("version {number}"),
    };
    if answer.get("changed") == Some(&Value::Bool(false)) {
        return format!("plugin `{name}`: {} was live already", version(number("version")));
    }
    format!(
        "plugin `{name}`: {} is live (before: {}), after {} ms",
        version(number("version")),
        version(number("previous-version")),
        number("took-ms")
    )
}

fn rollback_offline(dir: &Path, name: &str, version: Option<u64>) -> Result<u64, StoreError> {
    let store = Store::open(dir)?;
    let target = match version {
        Some(version) => version,
        None => store.plugins.previous(name)?,
    };
    let _receipt = match version {
        Some(version) => store.plugins.publish(name, version, Action::Rollback)?,
        None => store.plugins.undo(name)?,
    };
    Ok(target)
}
