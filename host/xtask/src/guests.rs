//! `cargo xtask guests`: builds every wasm guest of the tree to a component in [`dir`]. The only code that
//! knows how that is done; everything else takes the `.wasm` files.
//!
//! A guest is a package with a cdylib under `plugins/*`, `tests/guests/*` or `examples/*/guest`. Guests in other
//! languages are described by `examples/*/guest.json` and built by `foreign.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::command::{self, cargo};
use crate::workspace::{Package, Workspace};
use crate::{foreign, toolchain};

const DEFAULT_TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "guest";
/// Part of every stamp: change it when the way from module to component changes.
const ENCODER: &[u8] = b"wit-component 0.254, 1";

/// Options of `cargo xtask guests`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only this guest: package name (plugin-headers) or artifact name (headers).
    #[arg(long, short)]
    package: Option<String>,
    /// Only type-check the Rust guests for their wasm target; build and write nothing.
    #[arg(long)]
    check: bool,
}

/// A Rust guest.
#[derive(Debug)]
struct Guest<'a> {
    package: &'a str,
    /// Its manifest, where it is a workspace of its own.
    own: Option<&'a Path>,
    /// The component is `<name>.wasm`.
    name: &'a str,
    /// File stem of the module that cargo builds.
    module: String,
    target: &'a str,
}

/// What happened to one guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Built,
    Fresh,
    Skipped(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built => f.write_str("built"),
            Self::Fresh => f.write_str("up to date"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// Where the components are.
pub(crate) fn dir(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("guests")
}

/// Everything in between: cargo's output for wasm targets, stamps, scratch directories.
pub(crate) fn build_dir(workspace: &Workspace) -> PathBuf {
    // Not the host's target directory: a running host build would hold its lock.
    workspace.target_dir.join("guest-build")
}

/// Builds the guests that `options` select.
///
/// # Errors
/// No guest has the selected name, two guests share one, the toolchain cannot build for wasm, or a build fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let mut rust = find(workspace)?;
    let mut other = foreign::find(workspace)?;
    check_names(
        rust.iter()
            .map(|guest| guest.name)
            .chain(other.iter().map(foreign::Guest::name)),
    )?;
    if let Some(wanted) = &options.package {
        rust.retain(|guest| guest.package == wanted || guest.name == wanted);
        other.retain(|guest| guest.name() == wanted);
        if rust.is_empty() && other.is_empty() {
            bail!("no guest named {wanted}");
        }
    }
    let targets: BTreeSet<&str> = rust.iter().map(|guest| guest.target).collect();
    toolchain::ensure(&targets.iter().copied().collect::<Vec<_>>())?;
    for target in &targets {
        let compiled = [
            build_dir(workspace),
            workspace.target_dir.join("suite-cache/new-project"),
        ];
        forget_other_std(
            &compiled.map(|dir| dir.join(target)),
            &toolchain::std_identity(target)?,
        )?;
    }
    let mut builds: BTreeMap<(Option<&Path>, &str), Vec<&str>> = BTreeMap::new();
    for guest in &rust {
        let packages = builds.entry((guest.own, guest.target)).or_default();
        packages.push(guest.package);
    }
    for ((own, target), packages) in builds {
        build(workspace, own, target, &packages, options.check)?;
    }
    if options.check {
        return Ok(());
    }
    for guest in &rust {
        let outcome = finish(workspace, guest).with_context(|| format!("guest {}", guest.package))?;
        report(workspace, guest.name, &outcome);
    }
    for guest in &other {
        let outcome = guest
            .build(workspace)
            .with_context(|| format!("guest {}", guest.name()))?;
        report(workspace, guest.name(), &outcome);
    }
    Ok(())
}

fn report(workspace: &Workspace, name: &str, outcome: &Outcome) {
    let size = match std::fs::metadata(component(workspace, name)) {
        Ok(data) => format!("{} KiB", data.len().div_ceil(1024)),
        Err(_) => "-".to_owned(),
    };
    println!("guests: {name:<24} {size:>9}  {outcome}");
}

fn component(workspace: &Workspace, name: &str) -> PathBuf {
    dir(workspace).join(format!("{name}.wasm"))
}

/// The Rust guests, in the order of their names.
fn find(workspace: &Workspace) -> anyhow::Result<Vec<Guest<'_>>> {
    let mut guests = Vec::new();
    let members = workspace.packages.iter().map(|package| (package, None));
    let own = workspace.own.iter();
    let own = own.map(|package| (package, Some(package.manifest_path.as_path())));
    for (package, own) in members.chain(own) {
        let Some(library) = package.cdylib() else { continue };
        if !is_guest_dir(
            package
                .dir()
                .strip_prefix(&workspace.root)
                .unwrap_or(package.dir()),
        ) {
            continue;
        }
        if library.crate_types.len() > 1 {
            // Cargo leaves lto out without a word; the module is then ten times as large.
            bail!(
                "package {}: crate-type must be [\"cdylib\"] alone, else cargo does no lto",
                package.name
            );
        }
        guests.push(Guest {
            package: &package.name,
            own,
            name: short_name(&package.name),
            module: library.name.replace('-', "_"),
            target: guest_target(package)?,
        });
    }
    guests.sort_by_key(|guest| guest.name);
    Ok(guests)
}

fn guest_target(package: &Package) -> anyhow::Result<&'static str> {
    let wanted = package.setting("target").unwrap_or(DEFAULT_TARGET);
    match toolchain::TARGETS.into_iter().find(|target| *target == wanted) {
        Some(target) => Ok(target),
        None => bail!(
            "package {}: metadata.edgeward.target is {wanted}, known are {}",
            package.name,
            toolchain::TARGETS.join(", ")
        ),
    }
}

fn is_guest_dir(relative: &Path) -> bool {
    let parts: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
    matches!(
        parts.as_slice(),
        ["plugins", _] | ["tests", "guests", _] | ["examples", _, "guest"]
    )
}

/// `plugin-headers` -> `headers`.
fn short_name(package: &str) -> &str {
    ["plugin-", "guest-", "example-"]
        .into_iter()
        .find_map(|prefix| package.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(package)
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            bail!("two guests would both be {name}.wasm: rename one");
        }
    }
    Ok(())
}

/// Empties folders of what was compiled against another standard library. Cargo knows a compiler by its version only, and what was compiled
/// before the library was installed or built anew does not go with what is compiled after it.
fn forget_other_std(compiled: &[PathBuf], identity: &str) -> anyhow::Result<()> {
    for dir in compiled {
        let stamp = dir.join("std");
        if std::fs::read_to_string(&stamp).is_ok_and(|known| known == identity) {
            continue;
        }
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&stamp, identity))
            .with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(())
}

/// One cargo run for all guests of a workspace and a target, so that they share the build of the SDK.
fn build(
    workspace: &Workspace,
    own: Option<&Path>,
    target: &str,
    packages: &[&str],
    check: bool,
) -> anyhow::Result<()> {
    let mut cargo = cargo();
    cargo.args([
        if check { "check" } else { "build" },
        "--lib",
        "--profile",
        PROFILE,
        "--target",
        target,
    ]);
    if let Some(manifest) = own {
        cargo.arg("--manifest-path").arg(manifest);
    }
    cargo.arg("--target-dir").arg(build_dir(workspace));
    // Flags in the environment are meant for the host; they would also replace those given here.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.arg("--config").arg(remap_flags(&workspace.root, target));
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    for package in packages {
        cargo.args(["--package", package]);
    }
    command::run(&mut cargo).with_context(|| format!("guests for {target} do not build"))
}

/// Paths in panics and line tables start at the workspace or at the registry, so that a component does not
/// depend on where it was built and does not tell.
fn remap_flags(root: &Path, target: &str) -> String {
    let mut flags = vec![format!("--remap-path-prefix={}=edgeward", root.display())];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    // A JSON array of strings is also a TOML one.
    format!("target.{target}.rustflags={}", serde_json::Value::from(flags))
}

/// Turns cargo's output for `guest` into its component, unless that was done for the same module before.
fn finish(workspace: &Workspace, guest: &Guest<'_>) -> anyhow::Result<Outcome> {
    let path = build_dir(workspace)
        .join(guest.target)
        .join(PROFILE)
        .join(&guest.module)
        .with_extension("wasm");
    let module = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(ENCODER);
    hasher.write(&module);
    let stamp = hasher.finish();
    if is_fresh(workspace, guest.name, stamp) {
        return Ok(Outcome::Fresh);
    }
    install(workspace, guest.name, stamp, module)?;
    Ok(Outcome::Built)
}

/// Whether the component is there and was made from what `stamp` stands for.
pub(crate) fn is_fresh(workspace: &Workspace, name: &str, stamp: u64) -> bool {
    let Ok(data) = std::fs::metadata(component(workspace, name)) else {
        return false;
    };
    let text = std::fs::read_to_string(stamp_path(workspace, name)).unwrap_or_default();
    text == stamp_text(stamp, data.len())
}

/// Makes a component of `wasm` (a core module or already a component) and puts it in place in one step.
///
/// # Errors
/// `wasm` is not valid, or the file cannot be written.
pub(crate) fn install(workspace: &Workspace, name: &str, stamp: u64, wasm: Vec<u8>) -> anyhow::Result<()> {
    let bytes = componentize(wasm)?;
    let dir = dir(workspace);
    let path = component(workspace, name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Another process may read the component at any time: it sees the old or the new one.
    if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
        let temporary = dir.join(format!("{name}.{}.wasm.tmp", std::process::id()));
        std::fs::write(&temporary, &bytes)
            .with_context(|| format!("cannot write {}", temporary.display()))?;
        std::fs::rename(&temporary, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let stamp_path = stamp_path(workspace, name);
    std::fs::create_dir_all(build_dir(workspace).join("stamps"))?;
    std::fs::write(&stamp_path, stamp_text(stamp, bytes.len() as u64))
        .with_context(|| format!("cannot write {}", stamp_path.display()))
}

/// Takes an outdated component away, so that nothing runs it by mistake.
pub(crate) fn remove(workspace: &Workspace, name: &str) -> anyhow::Result<()> {
    match std::fs::remove_file(component(workspace, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the outdated {name}.wasm"))
        }
        _ => Ok(()),
    }
}

fn stamp_path(workspace: &Workspace, name: &str) -> PathBuf {
    build_dir(workspace).join("stamps").join(name)
}

/// The length of the component tells one that was cut or replaced by hand.
fn stamp_text(stamp: u64, component_len: u64) -> String {
    format!("{stamp:016x} {component_len}\n")
}

/// A core module with an embedded component type becomes a component; a component stays as it is.
fn componentize(wasm: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(wasm),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&wasm)
            .and_then(|mut encoder| encoder.encode())
            .context("the module does not make a component"),
        _ => bail!("neither a wasm module nor a component ({} bytes)", wasm.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(packages: &str) -> Workspace {
        Workspace::parse(&format!(
            r#"{{"workspace_root": "/w", "target_directory": "/t", "packages": [{packages}]}}"#
        ))
        .unwrap()
    }

    fn package(name: &str, dir: &str, metadata: &str) -> String {
        format!(
            r#"{{"name": "{name}", "manifest_path": "/w/{dir}/Cargo.toml", "metadata": {metadata},
                "targets": [{{"name": "{name}", "crate_types": ["cdylib"]}}]}}"#
        )
    }

    #[test]
    fn what_another_std_compiled_is_forgotten_once() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = [folder.path().join("a"), folder.path().join("b")];
        forget_other_std(&compiled, "first").unwrap();
        let object = compiled[1].join("object");
        std::fs::write(&object, "").unwrap();
        forget_other_std(&compiled, "first").unwrap();
        assert!(object.exists());
        forget_other_std(&compiled, "second").unwrap();
        assert!(!object.exists());
    }

    #[test]
    fn guests_are_cdylibs_in_the_three_places() {
        let packages = [
            package("plugin-headers", "plugins/headers", "null"),
            package("guest-kitchen-sink", "tests/guests/kitchen-sink", "{}"),
            package(
                "example-hello",
                "examples/hello/guest",
                r#"{"edgeward": {"target": "wasm32-wasip2"}}"#,
            ),
            package("edgeward-sdk", "sdk/rust", "null"),
            r#"{"name": "plugin-shared", "manifest_path": "/w/plugins/shared/Cargo.toml",
                "targets": [{"name": "plugin_shared", "crate_types": ["lib"]}]}"#
                .to_owned(),
        ];
        let workspace = workspace(&packages.join(","));
        let found: Vec<_> = find(&workspace)
            .unwrap()
            .into_iter()
            .map(|guest| (guest.name.to_owned(), guest.module, guest.target))
            .collect();
        let expected = [
            ("headers", "plugin_headers", "wasm32-unknown-unknown"),
            ("hello", "example_hello", "wasm32-wasip2"),
            ("kitchen-sink", "guest_kitchen_sink", "wasm32-unknown-unknown"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, module, target)| (name.to_owned(), module.to_owned(), target))
        );
    }

    #[test]
    fn a_guest_that_is_a_workspace_of_its_own_is_built_by_its_manifest() {
        let mut tree = workspace(&package("plugin-headers", "plugins/headers", "null"));
        tree.own = workspace(&package("plugin-cedar", "plugins/cedar", "null")).packages;
        let found = find(&tree).unwrap();
        let found: Vec<_> = found.iter().map(|guest| (guest.name, guest.own)).collect();
        let manifest = Path::new("/w/plugins/cedar/Cargo.toml");
        assert_eq!(found, [("cedar", Some(manifest)), ("headers", None)]);
    }

    #[test]
    fn an_unknown_target_is_refused_with_the_known_ones() {
        let workspace = workspace(&package(
            "p",
            "plugins/p",
            r#"{"edgeward": {"target": "wasm64"}}"#,
        ));
        let error = find(&workspace).unwrap_err().to_string();
        assert!(
            error.contains("wasm64") && error.contains("wasm32-wasip2"),
            "{error}"
        );
    }

    #[test]
    fn a_guest_that_cannot_have_lto_is_refused() {
        let both = package("p", "plugins/p", "null").replace(r#"["cdylib"]"#, r#"["cdylib", "rlib"]"#);
        let error = find(&workspace(&both)).unwrap_err().to_string();
        assert!(error.contains("package p: crate-type must be"), "{error}");
    }

    #[test]
    fn two_guests_of_one_name_are_refused() {
        let error = check_names(["headers", "jwt", "headers"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("headers.wasm"), "{error}");
    }

    #[test]
    fn one_prefix_is_taken_off_a_name() {
        assert_eq!(short_name("plugin-guest-book"), "guest-book");
        assert_eq!(short_name("other"), "other");
        assert_eq!(short_name("plugin-"), "plugin-");
    }

    #[test]
    fn a_component_is_fresh_until_stamp_or_file_change() {
        let target = tempfile::tempdir().unwrap();
        let mut workspace = workspace("");
        workspace.target_dir = target.path().to_owned();
        assert!(!is_fresh(&workspace, "a", 1));
        install(&workspace, "a", 1, b"\0asm\x0d\0\x01\0".to_vec()).unwrap();
        assert!(is_fresh(&workspace, "a", 1));
        assert!(!is_fresh(&workspace, "a", 2), "other module");
        std::fs::write(component(&workspace, "a"), b"cut").unwrap();
        assert!(!is_fresh(&workspace, "a", 1), "file replaced");
        remove(&workspace, "a").unwrap();
        remove(&workspace, "a").unwrap();
        assert!(!is_fresh(&workspace, "a", 1), "file removed");
    }

    #[test]
    fn modules_become_components_and_other_bytes_are_refused() {
        let empty_module = b"\0asm\x01\0\0\0".to_vec();
        assert!(
            componentize(empty_module)
                .unwrap()
                .starts_with(b"\0asm\x0d\0\x01\0")
        );
        for bad in [&b""[..], b"\0asm", b"#!/bin/sh\n"] {
            assert!(
                componentize(bad.to_vec())
                    .unwrap_err()
                    .to_string()
                    .contains("neither")
            );
        }
    }

    #[test]
    fn remap_flags_are_valid_toml_for_paths_with_quotes_and_spaces() {
        let flags = remap_flags(Path::new("/a \"b\""), "wasm32-wasip2");
        assert!(
            flags.starts_with(r#"target.wasm32-wasip2.rustflags=["--remap-path-prefix=/a \"b\"=edgeward""#),
            "{flags}"
        );
    }
}
