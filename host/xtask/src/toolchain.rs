//! Makes sure that the active Rust toolchain can build guests. The work is in `wasm-std.sh`; here is only the
//! quick look that finds nothing to do.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::command;

/// Every target that a guest may ask for.
pub(crate) const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

const SCRIPT: &str = include_str!("wasm-std.sh");

/// Installs the standard library of `targets` where it is missing.
///
/// # Errors
/// Neither rustup nor Debian's archive could provide it; the script has printed what to do.
pub(crate) fn ensure(targets: &[&str]) -> anyhow::Result<()> {
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let missing: Vec<&str> = targets
        .iter()
        .copied()
        .filter(|target| !has_std(Path::new(sysroot.trim()), target))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    command::run(
        Command::new("bash")
            .args(["-c", SCRIPT, "wasm-std"])
            .args(&missing),
    )
    .map_err(|error| error.context(format!("no standard library for {}", missing.join(", "))))
    .context("guests cannot be built")
}

fn has_std(sysroot: &Path, target: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(sysroot.join("lib/rustlib").join(target).join("lib")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_is_there_only_with_its_library() {
        let sysroot = tempfile::tempdir().unwrap();
        let lib = sysroot.path().join("lib/rustlib/wasm32-wasip2/lib");
        assert!(!has_std(sysroot.path(), "wasm32-wasip2"));
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(lib.join("libcore-1.rlib"), "").unwrap();
        assert!(!has_std(sysroot.path(), "wasm32-wasip2"));
        std::fs::write(lib.join("libstd-1.rlib"), "").unwrap();
        assert!(has_std(sysroot.path(), "wasm32-wasip2"));
        assert!(!has_std(sysroot.path(), "wasm32-unknown-unknown"));
    }
}
