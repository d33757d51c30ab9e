//! `cargo xtask clients`: the clients of other makes that `tests/suite/clients.rs` drives the gateway with. Programs come as Debian packages, Python's
//! libraries into a folder of their own, `<target>/clients`, at the versions of `tests/real/requirements.txt`, npm's OpenID provider into `oidc` in it, at those of
//! `tests/real/oidc/package-lock.json`.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

use crate::{command, packages, workspace::Workspace};

/// Programs, what they answer with success, and the packages they are in.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("curl", "--version", "curl"),
    ("nghttp", "--version", "nghttp2-client"),
    ("h2load", "--version", "nghttp2-client"),
    ("pebble", "-h", "pebble"),
    ("faketime", "--version", "faketime"),
];

/// What has to be done where one is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing: tests are skipped.
    No,
    /// It is installed; where that is not possible, the log says so and tests are skipped.
    Installed,
    /// It is installed, or that is a failure.
    Required,
}

/// What `EDGEWARD_CLIENTS` says: `optional`, `required`, or nothing.
pub(crate) fn wanted() -> Wanted {
    match std::env::var(VARIABLE).as_deref() {
        Ok("required") => Wanted::Required,
        Ok(_) => Wanted::No,
        Err(_) => Wanted::Installed,
    }
}

/// Says what the suite does where a client is missing: fail if this is `required`, else skip the test with a word.
pub(crate) const VARIABLE: &str = "EDGEWARD_CLIENTS";

/// Installs what is missing.
///
/// # Errors
/// What could not be installed, and how to do it by hand.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let missing: BTreeSet<&str> = PROGRAMS
        .iter()
        .filter(|(program, question, _)| !command::succeeds(Command::new(program).arg(question)))
        .map(|(_, _, package)| *package)
        .collect();
    let missing: Vec<&str> = missing.into_iter().collect();
    ensure!(
        missing.is_empty() || packages::install(&missing),
        "clients are missing: apt-get install {}",
        missing.join(" ")
    );
    python(workspace)?;
    if let Err(error) = openid_provider(workspace) {
        println!("clients: without an OpenID provider, whose tests are skipped: {error:#}");
    }
    println!("clients: all there");
    Ok(())
}

/// Python's libraries, if they are not those of the list already.
fn python(workspace: &Workspace) -> anyhow::Result<()> {
    let list = workspace.root.join("tests/real/requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let folder = workspace.target_dir.join("clients");
    // written last, so that a folder that is half made is made again
    let installed = folder.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let make = |folder: &Path| {
        let mut python = Command::new("python3");
        command::succeeds(python.args(["-m", "venv", "--clear"]).arg(folder))
    };
    // without python3-venv Debian's Python has the module, and not what it needs
    ensure!(
        make(&folder) || packages::install(&["python3", "python3-venv"]) && make(&folder),
        "Python cannot make {}: apt-get install python3 python3-venv",
        folder.display()
    );
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ]);
    command::run(pip.arg(&list)).context("Python's libraries could not be installed")?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

/// The OpenID provider and what it needs, where Node is there, if they are not those of the list already. Nothing of them is run to install them.
fn openid_provider(workspace: &Workspace) -> anyhow::Result<()> {
    let source = workspace.root.join("tests/real/oidc");
    let folder = workspace.target_dir.join("clients/oidc");
    let lock = source.join("package-lock.json");
    let wanted = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    // written last, so that a folder that is half made is made again; without it the tests are skipped
    let installed = folder.join("installed.json");
    ensure!(
        command::succeeds(Command::new("npm").arg("--version")),
        "it takes Node 20 or newer, with npm"
    );
    if !fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), folder.join(name))
                .with_context(|| format!("cannot copy {name} to {}", folder.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
            .args(["--fetch-retries=2", "--fetch-timeout=60000"])
            .current_dir(&folder);
        command::run(&mut npm).context("npm's oidc-provider could not be installed")?;
        fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    }
    // without input it ends at once
    let mut provider = Command::new("node");
    provider.arg(source.join("provider.mjs")).arg(&folder);
    if command::succeeds(&mut provider) {
        return Ok(());
    }
    fs::remove_file(&installed).with_context(|| format!("cannot remove {}", installed.display()))?;
    bail!("npm's oidc-provider does not start: it takes Node 20 or newer")
}
