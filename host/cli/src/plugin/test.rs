//! `edgeward plugin test`: a project's unit tests, then its requests through the built plugin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{
    build::{self, cargo_command},
    settings::{self, SettingsArgs},
    try_one::{load, trials},
};
use crate::{
    client::block_on,
    output::{Output, Told},
    serve::install_crypto,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the project. Its plugin.yaml, if there is one, has the settings.
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// Only the requests in tests/*.http.
    #[arg(long)]
    skip_unit: bool,
}

/// Tests a project.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    if !args.skip_unit {
        unit_tests(&args.path)?;
    }
    let files = request_files(&args.path)?;
    if files.is_empty() {
        output.show(&json!({"requests": []}), || {
            "no requests in tests/*.http".to_owned()
        });
        return Ok(());
    }
    let (module, _) = build::build(&args.path, None, output)?;
    telemetry::start(LogFormat::Text)?;
    install_crypto();
    let file = args.path.join("plugin.yaml");
    let source = SettingsArgs {
        settings: file.is_file().then_some(file),
        ..SettingsArgs::default()
    };
    let settings = settings::read(&Value::Object(source.document()?), &[])?;
    let (mut results, mut wrong) = (Vec::new(), 0);
    block_on(async {
        let (plugin, _runtime) = load(&module, settings, &args.path, output).await?;
        for file in &files {
            for trial in trials(&plugin, file).await? {
                let verdict = if trial.deviations.is_empty() {
                    "ok"
                } else {
                    "WRONG"
                };
                wrong += usize::from(!trial.deviations.is_empty());
                output.line(&format!("{verdict:<6} {}", trial.name));
                for deviation in &trial.deviations {
                    output.line(&format!("       {deviation}"));
                }
                results.push(json!({"file": file, "trial": trial}));
            }
        }
        Ok(())
    })?;
    output.show(&json!({"requests": results, "wrong": wrong}), || {
        format!("{} requests, {wrong} wrong", results.len())
    });
    if wrong > 0 {
        let text = format!(
            "{wrong} of {} requests did not do what was expected",
            results.len()
        );
        return Err(Told(text).into());
    }
    Ok(())
}

fn unit_tests(project: &Path) -> anyhow::Result<()> {
    let status = cargo_command()
        .args(["test", "--manifest-path"])
        .arg(project.join("Cargo.toml"))
        // standard output is for the outcome
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

fn request_files(project: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = project.join("tests");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == "http") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
