//! `edgeward check`: everything that is wrong with a configuration, without starting or changing anything.

use std::{collections::BTreeMap, path::PathBuf};

use edgeward_control::{
    ConfigFile, deploy,
    store::{certificates::peek, documents},
};
use edgeward_core::config::{ModuleRef, Problem, Problems};
use edgeward_proxy::{Material, Snapshot, SnapshotInput};
use edgeward_runtime::{Runtime, RuntimeOptions, VersionSpec};
use serde_json::json;

use crate::{
    output::{Invalid, Output},
    serve::{install_crypto, unusable},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration file.
    #[arg(default_value = "gateway.yaml")]
    file: PathBuf,
    /// Only the file itself: load no plugin, read no certificate.
    #[arg(long)]
    shallow: bool,
    /// Folder with uploaded modules, in place of `data-dir` in the file.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Checks a file.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let file = ConfigFile::read(&args.file).map_err(|error| unusable(&args.file, error))?;
    if !args.shallow {
        let threads = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        threads.block_on(deep(args, &file, output))?;
    }
    let config = &file.config;
    let counts = json!({
        "ok": true,
        "listeners": config.listeners.len(),
        "upstreams": config.upstreams.len(),
        "plugins": config.plugins.len(),
        "routes": config.routes.len(),
        "apis": config.apis.len(),
    });
    output.show(&counts, || {
        format!(
            "{}: fine ({} listeners, {} upstreams, {} plugins, {} routes, {} APIs)",
            args.file.display(),
            config.listeners.len(),
            config.upstreams.len(),
            config.plugins.len(),
            config.routes.len(),
            config.apis.len()
        )
    });
    Ok(())
}

/// Loads every plugin and builds what requests would be served with.
async fn deep(args: &Args, file: &ConfigFile, output: Output) -> anyhow::Result<()> {
    install_crypto();
    let data_dir = args
        .data_dir
        .clone()
        .unwrap_or_else(|| file.base_dir.join(&file.config.data_dir.0));
    let runtime = Runtime::new(RuntimeOptions {
        instances: 8,
        ..RuntimeOptions::default()
    })?;
    let (mut plugins, mut problems) = (BTreeMap::new(), Vec::new());
    if let Some(problem) = edgeward_control::admin::tls_problem(&file.config.admin, &file.base_dir) {
        problems.push(Problem::new("admin.tls", problem));
    }
    for (name, settings) in &file.config.plugins {
        let path = match &settings.module {
            ModuleRef::File(path) => file.base_dir.join(path),
            // read past the store: a running gateway has it locked
            ModuleRef::Digest(digest) => data_dir.join("modules").join(format!("{}.wasm", digest.hex())),
        };
        let progress = output.spinner(format!("loading {name}"));
        let loaded = match std::fs::read(&path) {
            Err(error) => Err(Problem::new(
                format!("plugins.{name}.module"),
                format!("cannot read {}: {error}", path.display()),
            )),
            Ok(bytes) => {
                let spec = VersionSpec {
                    name: name.clone(),
                    version: 0,
                    settings: settings.clone(),
                    base_dir: file.base_dir.clone(),
                    shadow: false,
                };
                let loaded = runtime.load(&bytes, spec).await;
                loaded.map_err(|error| Problem::new(format!("plugins.{name}"), error.to_string()))
            }
        };
        progress.finish_and_clear();
        match loaded {
            Ok(plugin) => drop(plugins.insert(name.clone(), plugin)),
            Err(problem) => problems.push(problem),
        }
    }
    // without all plugins the snapshot would only repeat that they are missing
    if problems.is_empty() {
        // past the store as well
        let certificates = peek(&data_dir)?.into_iter();
        let certificates = certificates.map(|(name, stored)| (name, stored.pem)).collect();
        let kept = documents::peek(&data_dir)?;
        let apis = deploy::trial(&file.config, &kept, &plugins).map_err(|error| error.problems());
        let built = apis.and_then(|apis| {
            Snapshot::build(SnapshotInput {
                config: &file.config,
                material: &Material::new(&file.base_dir, certificates),
                plugins: &plugins,
                shadows: &BTreeMap::new(),
                apis: &apis,
                previous: None,
            })
        });
        if let Err(found) = built {
            problems = found.0;
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Invalid {
        what: args.file.display().to_string(),
        problems: Problems(problems),
    }
    .into())
}
