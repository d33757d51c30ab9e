//! Makes sure that the active Rust toolchain can build guests. The work is in `wasm-std.sh`; here is only the
//! quick look that finds nothing to do.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
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
    let sysroot = sysroot()?;
    let missing: Vec<&str> = targets
        .iter()
        .copied()
        .filter(|target| std_library(&sysroot, target).is_none())
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

/// Tells the standard library of a target from one that was installed or built at another time; empty if there is none.
///
/// # Errors
/// There is no `rustc`.
pub(crate) fn std_identity(target: &str) -> anyhow::Result<String> {
    let sysroot = sysroot()?;
    let library = std_library(&sysroot, target);
    let identity = library.and_then(|library| {
        let data = library.metadata().ok()?;
        Some(format!(
            "{} {:?}",
            library.path().display(),
            data.modified().ok()?
        ))
    });
    Ok(identity.unwrap_or_default())
}

/// Where the active toolchain is.
///
/// # Errors
/// There is no `rustc`.
pub(crate) fn sysroot() -> anyhow::Result<PathBuf> {
    let told = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(told.trim().into())
}

fn std_library(sysroot: &Path, target: &str) -> Option<DirEntry> {
    let entries = std::fs::read_dir(sysroot.join("lib/rustlib").join(target).join("lib")).ok()?;
    entries.flatten().find(|entry| {
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
        assert!(std_library(sysroot.path(), "wasm32-wasip2").is_none());
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(lib.join("libcore-1.rlib"), "").unwrap();
        assert!(std_library(sysroot.path(), "wasm32-wasip2").is_none());
        std::fs::write(lib.join("libstd-1.rlib"), "").unwrap();
        assert!(std_library(sysroot.path(), "wasm32-wasip2").is_some());
        assert!(std_library(sysroot.path(), "wasm32-unknown-unknown").is_none());
    }

    const RUSTUP_WORKS: &str =
        r#"mkdir -p "$SYSROOT/lib/rustlib/$4/lib" && touch "$SYSROOT/lib/rustlib/$4/lib/libstd-rustup.rlib""#;
    const RUSTUP_FAILS: &str = "echo 'error: could not download file' >&2; exit 1";
    /// An archive with everything.
    const APT_WORKS: &str = r#"case "$*" in
        *indextargets*) echo http://archive.test/debian/ ;;
        *" download "*) package=${!#}; touch "${package%%[=/]*}_1_all.deb" ;;
        esac"#;
    /// One without the source of this version.
    const APT_HAS_NONE: &str = r#"case "$*" in
        *indextargets*) echo http://archive.test/debian/ ;;
        *" download "*) echo "E: Version '9.9.9+*' for 'rust-src' was not found" >&2; exit 100 ;;
        esac"#;
    const APT_IS_AWAY: &str = r#"case "$*" in
        *indextargets*) echo http://archive.test/debian/ ;;
        *) echo 'E: Could not resolve archive.test' >&2; exit 100 ;;
        esac"#;

    /// `wasm-std.sh` on a machine where the tools are stubs, which write down how they were called.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(rustup: &str, apt: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for folder in ["bin", "sysroot/lib/rustlib", "home"] {
                std::fs::create_dir_all(machine.path(folder)).unwrap();
            }
            machine.tool(
                "rustc",
                r#"case "$*" in *sysroot*) echo "$SYSROOT" ;; *) echo "rustc 9.9.9 (stub)" ;; esac"#,
            );
            machine.tool("rustup", rustup);
            machine.tool("apt-get", apt);
            machine.tool("apt-cache", "echo 'rust-src | 9.9.8+dfsg-1 | archive'");
            machine.tool(
                "dpkg-deb",
                r#"source=$3/usr/src/rustc-9.9.9/library; libc=$3/usr/lib/wasm32-wasip2
                mkdir -p "$source" "$libc"; touch "$source/Cargo.lock" "$libc"/{libc.a,crt1-command.o,crt1-reactor.o}"#,
            );
            machine.tool(
                "cargo",
                r#"while [ $# -gt 0 ]; do case $1 in --target) target=$2 ;; --target-dir) folder=$2 ;; esac; shift; done
                [ -e "$SYSROOT/lib/rustlib/src/rust/library/Cargo.lock" ] || exit 1
                mkdir -p "$folder/$target/release/deps"; touch "$folder/$target/release/deps"/lib{std,core,stub}-1.rlib"#,
            );
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn tool(&self, name: &str, script: &str) {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.path("bin").join(name);
            let text = format!("#!/usr/bin/env bash\necho \"{name} $*\" >>\"$CALLS\"\n{script}\n");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// Whether the script was content, what it said, and how the tools were called.
        fn run(&self, way: Option<&str>) -> (bool, String, String) {
            let mut command = Command::new("bash");
            command
                .args(["-c", SCRIPT, "wasm-std"])
                .args(TARGETS)
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
                .env("HOME", self.path("home"))
                .env("SYSROOT", self.path("sysroot"))
                .env("CALLS", self.path("calls"));
            if let Some(way) = way {
                command.env("EDGEWARD_WASM_STD", way);
            }
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let calls = std::fs::read_to_string(self.path("calls")).unwrap();
            (output.status.success(), said, calls)
        }

        fn all_there(&self) -> bool {
            TARGETS
                .iter()
                .all(|target| std_library(&self.path("sysroot"), target).is_some())
        }
    }

    #[test]
    fn rustup_comes_first() {
        let machine = Machine::new(RUSTUP_WORKS, APT_WORKS);
        let (good, said, calls) = machine.run(None);
        assert!(good && machine.all_there(), "{said}");
        assert!(!calls.contains("apt-get") && !calls.contains("cargo"), "{calls}");
        let (good, _, again) = machine.run(None);
        assert!(
            good && again.matches("rustup").count() == TARGETS.len(),
            "{again}"
        );
    }

    #[test]
    fn without_rustup_the_library_is_built_from_debians_source() {
        for (rustup, way) in [(RUSTUP_FAILS, None), (RUSTUP_WORKS, Some("source"))] {
            let machine = Machine::new(rustup, APT_WORKS);
            let (good, said, calls) = machine.run(way);
            assert!(good && machine.all_there(), "{said}");
            assert_eq!(calls.contains("rustup"), way.is_none(), "{calls}");
            let lib = machine.path("sysroot/lib/rustlib/wasm32-wasip2/lib");
            assert!(lib.join("libcore-1.rlib").exists() && lib.join("self-contained/libc.a").exists());
            assert!(
                !lib.join("libstub-1.rlib").exists(),
                "the crate that was built for its dependencies"
            );
            // nothing else stays in the toolchain, and apt's own lists and settings are left alone
            assert!(!machine.path("sysroot/lib/rustlib/src").exists());
            for call in calls.lines().filter(|call| call.starts_with("apt-get -qq")) {
                assert!(call.contains("-o Dir::State::lists="), "{call}");
            }
        }
    }

    #[test]
    fn where_no_way_works_one_message_says_why_and_what_to_do() {
        for (apt, why) in [
            (
                APT_HAS_NONE,
                "not in http://archive.test/debian/, which has: 9.9.8+dfsg-1",
            ),
            (
                APT_IS_AWAY,
                "apt-get update from http://archive.test/debian/ failed, see above",
            ),
            ("true", "apt is not set up with a Debian archive"),
        ] {
            let machine = Machine::new(RUSTUP_FAILS, apt);
            let (good, said, _) = machine.run(None);
            assert!(!good && !machine.all_there(), "{said}");
            assert_eq!(said.matches("error: guests cannot be built").count(), 1, "{said}");
            let message = said.split("error: guests cannot be built").nth(1).unwrap();
            for part in [
                "rustc 9.9.9",
                "wasm32-unknown-unknown wasm32-wasip2",
                "1. rustup: 'rustup target add wasm32-wasip2' failed, see above",
                &format!("2. Debian's rust-src of version 9.9.9: {why}"),
                "rustup target add wasm32-unknown-unknown wasm32-wasip2",
                "apt-get install libstd-rust-dev-wasm32",
            ] {
                assert!(message.contains(part), "{part} in {said}");
            }
            assert!(
                message.ends_with("libstd-rust-dev-wasm32\n"),
                "nothing behind it: {said}"
            );
        }
    }
}
