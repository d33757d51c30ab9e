//! `edgeward plugin inspect`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgeward_runtime::{Runtime, RuntimeOptions, VersionSpec};
use serde_json::{Value, json};

use super::{
    build,
    settings::{self, SettingsArgs},
};
use crate::{
    client::{Client, ServerArgs, block_on, plugin_path},
    output::Output,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A `.wasm` file, or the name of a plugin of the running gateway.
    target: String,
    /// Load the file as well, with the settings given: shows what it asks for, its snapshot and how long that took.
    #[arg(long)]
    load: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows a module or a live plugin.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let path = PathBuf::from(&args.target);
    let value = if path.extension().is_some_and(|name| name == "wasm") || path.is_file() {
        file(args, &path, output)?
    } else {
        let client = Client::new(&args.server)?;
        block_on(client.get(&plugin_path(&args.target, "")))?
    };
    output.show(&value, || {
        serde_yaml_ng::to_string(&value).unwrap_or_else(|_| value.to_string())
    });
    Ok(())
}

fn file(args: &Args, path: &Path, output: Output) -> anyhow::Result<Value> {
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let info = build::inspect(&wasm)?;
    if !args.load {
        return Ok(json!({ "module": info }));
    }
    let settings = settings::read(&Value::Object(args.settings.document()?), &[])?;
    let runtime = Runtime::new(RuntimeOptions {
        instances: 4,
        ..RuntimeOptions::default()
    })?;
    let spec = VersionSpec {
        name: super::try_one::name_of(path),
        version: 0,
        settings,
        base_dir: args.settings.base_dir(),
        shadow: false,
    };
    let progress = output.spinner(format!("loading {}", path.display()));
    let loaded = block_on(async { Ok(runtime.load(&wasm, spec).await?) });
    progress.finish_and_clear();
    Ok(json!({ "module": info, "report": loaded?.report() }))
}
