//! `cargo xtask release`: the program as it is handed to users, compiled by a profile of itself at work (PGO). The load is that of
//! `cargo xtask bench compare`; docs/performance.md says what it is worth.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::command::{self, cargo};
use crate::workspace::Workspace;
use crate::{guests, toolchain};

/// Cases of `compare` that the profile is made of: what gateways do most of the time.
const CASES: [&str; 7] = ["h1-", "tls-", "post-", "headers", "jwt", "waf", "routes-"];
/// What puts load on the gateway meanwhile, and the Debian packages they are in.
const TOOLS: [(&str, &str); 2] = [("wrk", "wrk"), ("h2load", "nghttp2-client")];

/// Builds the gateway to record a profile, puts it under load, and builds it once more by the profile. Takes about three release builds' time.
///
/// # Errors
/// A tool is missing (with the command that installs it), a build fails, or the load left no profile.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    for (tool, package) in TOOLS {
        ensure!(
            command::succeeds(Command::new("which").arg(tool)),
            "{tool} is missing, which the profile is recorded with: apt-get install {package}"
        );
    }
    let compiler = Compiler::ask()?;
    let merge = compiler.profile_data()?;
    guests::run(workspace, &guests::Options::default())?;
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;

    let folder = workspace.target_dir.join("release-profile");
    let records = folder.join("records");
    let profiled = folder.join("profiled");
    // what was compiled by another profile is of no use: cargo does not see that the file changed
    for old in [&records, &profiled] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    println!("release: a program that records what it does");
    let flag = format!("-Cprofile-generate={}", records.display());
    let recording = build(&folder.join("recording"), &compiler, &flag)?;
    put_under_load(workspace, &recording)?;
    let profile = folder.join("edgeward.profdata");
    command::run(
        Command::new(&merge)
            .args(["merge", "-o"])
            .args([&profile, &records]),
    )
    .context("the load left no profile")?;
    println!("release: the program");
    let flag = format!("-Cprofile-use={}", profile.display());
    let program = build(&profiled, &compiler, &flag)?;
    let place = workspace.target_dir.join("dist");
    let target = place.join("edgeward");
    fs::create_dir_all(&place)
        .and_then(|()| fs::copy(&program, &target))
        .with_context(|| format!("cannot write {}", target.display()))?;
    println!("release: {}", target.display());
    Ok(())
}

fn put_under_load(workspace: &Workspace, gateway: &Path) -> anyhow::Result<()> {
    let mut load = Command::new(workspace.target_dir.join("debug/edgeward-benches"));
    load.args("compare --contender edgeward --rounds 1 --seconds 3 --quiet 0".split(' '));
    for case in CASES {
        load.args(["--case", case]);
    }
    load.arg("--gateway").arg(gateway);
    load.env("EDGEWARD_GUESTS", guests::dir(workspace));
    command::run(&mut load)
}

/// The gateway's program, built with `flag` in `folder`.
fn build(folder: &Path, compiler: &Compiler, flag: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", "edgeward", "--bins"]);
    // with a target named, build scripts and macros are built without the flag
    cargo.args(["--target", &compiler.host]);
    cargo.arg("--target-dir").arg(folder);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flag);
    command::run(&mut cargo)?;
    Ok(folder.join(&compiler.host).join("release/edgeward"))
}

/// What `rustc -vV` tells.
#[derive(Debug, PartialEq, Eq)]
struct Compiler {
    host: String,
    /// Major version of its LLVM: profiles are read by tools of the same one.
    llvm: String,
}

impl Compiler {
    fn ask() -> anyhow::Result<Self> {
        Self::parse(&command::output(Command::new("rustc").arg("-vV"))?)
    }

    fn parse(told: &str) -> anyhow::Result<Self> {
        let line = |name: &str| {
            told.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("rustc -vV says nothing of {name}"))
        };
        let llvm = line("LLVM version")?;
        Ok(Self {
            host: line("host")?.to_owned(),
            llvm: llvm.split('.').next().unwrap_or(llvm).to_owned(),
        })
    }

    /// `llvm-profdata` of the toolchain (which rustup is asked for), or of the system.
    fn profile_data(&self) -> anyhow::Result<PathBuf> {
        let component = toolchain::sysroot()?
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin/llvm-profdata");
        let system = PathBuf::from(format!("llvm-profdata-{}", self.llvm));
        for file in [&component, &system] {
            if command::succeeds(Command::new(file).arg("--version")) {
                return Ok(file.clone());
            }
        }
        if command::succeeds(Command::new("rustup").args(["component", "add", "llvm-tools"]))
            && component.exists()
        {
            return Ok(component);
        }
        bail!(
            "llvm-profdata of LLVM {llvm} is missing: rustup component add llvm-tools, or apt-get install llvm-{llvm}",
            llvm = self.llvm
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_its_host_and_llvm() {
        let told = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let compiler = Compiler {
            host: "x86_64-unknown-linux-gnu".to_owned(),
            llvm: "22".to_owned(),
        };
        assert_eq!(Compiler::parse(told).unwrap(), compiler);
        let error = Compiler::parse("rustc 1.95.0\nhost: x\n").unwrap_err();
        assert!(error.to_string().contains("LLVM version"), "{error}");
    }
}
