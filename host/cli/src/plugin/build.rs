//! `edgeward plugin build`: cargo builds a core module, `wit-component` makes a component of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use edgeward_control::error::module_error;
use edgeward_runtime::{ModuleInfo, Runtime, RuntimeOptions};
use serde_json::Value;

use crate::output::{Output, size};

const TARGET: &str = "wasm32-unknown-unknown";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the project.
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// The component to write. Default: `<package>.wasm` in the project.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// Builds a project.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let (path, info) = build(&args.path, args.out.as_deref(), output)?;
    output.show(&serde_json::json!({"path": path, "module": info}), || {
        format!(
            "{}: {}, {}, hooks {}",
            path.display(),
            size(info.size),
            info.digest,
            info.hooks.join(", ")
        )
    });
    Ok(())
}

/// Builds a project and returns where the component is.
///
/// # Errors
/// The wasm target is missing, the project does not build, or the module is no plugin.
pub(crate) fn build(
    project: &Path,
    out: Option<&Path>,
    output: Output,
) -> anyhow::Result<(PathBuf, ModuleInfo)> {
    require_target()?;
    let progress = output.spinner(format!("building {}", project.display()));
    let built = cargo(project).and_then(|(name, module)| {
        let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        Ok((name, componentize(&bytes)?))
    });
    progress.finish_and_clear();
    let (name, component) = built?;
    let info = inspect(&component)?;
    let path = out.map_or_else(|| project.join(format!("{name}.wasm")), Path::to_owned);
    // a gateway may watch the file: it sees the old one or the new one
    let folder = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let file = tempfile::Builder::new().prefix(".build-").tempfile_in(folder)?;
        fs::write(file.path(), &component)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(file.path(), mode)?;
        file.persist(&path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, info))
}

/// What a module is.
///
/// # Errors
/// It is no plugin.
pub(crate) fn inspect(wasm: &[u8]) -> anyhow::Result<ModuleInfo> {
    let runtime = Runtime::new(RuntimeOptions {
        instances: 1,
        ..RuntimeOptions::default()
    })?;
    runtime
        .inspect(wasm)
        .map_err(|error| anyhow::anyhow!(module_error(&error)))
}

/// A core module becomes a component, a component stays as it is.
fn componentize(wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
    if wasm.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
        return Ok(wasm.to_vec());
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|mut encoder| encoder.encode())
        .context("the module does not make a component: does the project use `edgeward_sdk::export!`?")
}

fn require_target() -> anyhow::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot run rustc: Rust has to be installed to build plugins (https://rustup.rs)")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    let there = fs::read_dir(&folder)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_std(&entry.file_name()))));
    if !there {
        bail!(
            "the Rust toolchain cannot build for {TARGET}: run `rustup target add {TARGET}` (in a checkout of Edgeward: `cargo xtask toolchain`)"
        );
    }
    Ok(())
}

fn is_std(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
}

/// Runs cargo; returns the package's name and the module it made.
fn cargo(project: &Path) -> anyhow::Result<(String, PathBuf)> {
    let manifest = project.join("Cargo.toml");
    let manifest = manifest
        .canonicalize()
        .with_context(|| format!("no project in {}", project.display()))?;
    let answer = cargo_command()
        .args([
            "build",
            "--release",
            "--lib",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .arg("--manifest-path")
        .arg(&manifest)
        // flags in the environment are meant for the host
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !answer.status.success() {
        bail!("cargo build failed ({})", answer.status);
    }
    String::from_utf8_lossy(&answer.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message
                .get("manifest_path")
                .and_then(Value::as_str)
                .map(Path::new)
                == Some(&manifest)
        })
        .find_map(|message| module_of(&message))
        .context("the project makes no .wasm: its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`")
}

fn module_of(message: &Value) -> Option<(String, PathBuf)> {
    let files = message.get("filenames")?.as_array()?;
    let module = files
        .iter()
        .filter_map(Value::as_str)
        .find(|name| name.ends_with(".wasm"))?;
    let name = message.pointer("/target/name")?.as_str()?.replace('_', "-");
    Some((name, PathBuf::from(module)))
}

/// Cargo, the one that runs this process if there is one.
pub(crate) fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
