//! `edgeward plugin try`: requests from a file through a plugin, offline.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use edgeward_core::config::Plugin;
use edgeward_runtime::{PluginVersion, Runtime, RuntimeOptions, VersionSpec};
use serde_json::{Value, json};

use super::{
    case,
    settings::{self, SettingsArgs},
    trial::{self, Trial},
};
use crate::{
    client::block_on,
    output::{Output, Told, size},
    serve::install_crypto,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module.
    module: PathBuf,
    /// File with requests.
    #[arg(long, short, value_name = "FILE")]
    request: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Runs the requests and shows what the plugin did.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    telemetry::start(LogFormat::Text)?;
    install_crypto();
    let settings = settings::read(&Value::Object(args.settings.document()?), &[])?;
    block_on(async {
        let (plugin, _runtime) = load(&args.module, settings, &args.settings.base_dir(), output).await?;
        let trials = trials(&plugin, &args.request).await?;
        output.show(&json!({"load": plugin.report(), "trials": trials}), || {
            let report = plugin.report();
            let mut text = format!(
                "loaded in {:.0} ms, snapshot: {}\n",
                report.total_ms, report.snapshot
            );
            for trial in &trials {
                text += &describe(trial);
            }
            text
        });
        let wrong = trials.iter().filter(|trial| !trial.deviations.is_empty()).count();
        if wrong > 0 {
            let (all, file) = (trials.len(), args.request.display());
            return Err(Told(format!(
                "{wrong} of {all} requests did not do what {file} expects"
            ))
            .into());
        }
        Ok(())
    })
}

/// Name of the binding that a file stands for.
pub(crate) fn name_of(module: &Path) -> String {
    let stem = module
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("plugin");
    stem.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect()
}

/// Loads a plugin for trials; the runtime has to live as long.
///
/// # Errors
/// The file cannot be read, or the plugin does not load.
pub(crate) async fn load(
    module: &Path,
    settings: Plugin,
    base_dir: &Path,
    output: Output,
) -> anyhow::Result<(Arc<PluginVersion>, Runtime)> {
    let wasm = std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let runtime = Runtime::new(RuntimeOptions {
        instances: 4,
        ..RuntimeOptions::default()
    })?;
    let spec = VersionSpec {
        name: name_of(module),
        version: 0,
        settings,
        base_dir: base_dir.to_owned(),
        shadow: false,
    };
    let progress = output.spinner(format!("loading {}", module.display()));
    let loaded = runtime.load(&wasm, spec).await;
    progress.finish_and_clear();
    Ok((loaded?, runtime))
}

/// Runs every case of a file.
///
/// # Errors
/// The file cannot be understood.
pub(crate) async fn trials(plugin: &Arc<PluginVersion>, file: &Path) -> anyhow::Result<Vec<Trial>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let cases = case::parse(&text).with_context(|| file.display().to_string())?;
    let mut trials = Vec::with_capacity(cases.len());
    for case in &cases {
        let trial = trial::run(plugin, case)
            .await
            .with_context(|| format!("{}: {}", file.display(), case.name))?;
        trials.push(trial);
    }
    Ok(trials)
}

fn describe(trial: &Trial) -> String {
    let mut text = format!("\n{}\n", trial.name);
    // writing to a String cannot fail
    for step in &trial.steps {
        let _unused = writeln!(
            text,
            "  {:<14} {}  ({} us)",
            step.phase.name(),
            step.outcome,
            step.time_us
        );
        for edit in &step.edits {
            let _unused = writeln!(text, "  {:<14} {edit}", "");
        }
    }
    if trial.steps.is_empty() {
        let _unused = writeln!(text, "  the plugin asked for no phase of this request");
    }
    let _unused = writeln!(
        text,
        "  verdict        {}, status {}, {} us, memory {}",
        trial.verdict,
        trial.status,
        trial.time_us,
        size(trial.memory_bytes as u64)
    );
    for deviation in &trial.deviations {
        let _unused = writeln!(text, "  WRONG          {deviation}");
    }
    text
}
