//! `cargo xtask ci`: every check of a change, cheap ones first. `.ci/run` calls this.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Context as _;

use crate::clients::Wanted;
use crate::command::{self, cargo};
use crate::workspace::{Package, Workspace};
use crate::{Check, clients, count, demo, docs, guests, test, wit};

type Step = (&'static str, fn(&Workspace) -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("lock", lock),
    ("wit", |workspace| wit::run(workspace, Check { check: true })),
    ("guests", |workspace| {
        guests::run(workspace, &guests::Options::default())
    }),
    ("clippy", clippy),
    ("docs", |workspace| docs::run(workspace, Check { check: true })),
    ("clients and test", clients_and_test),
    ("count", count::ci),
    ("demo", |workspace| {
        demo::run(workspace, &demo::Options { once: true })
    }),
];

/// The suite, with the clients of other makes. Once they are installed none of their tests is skipped.
fn clients_and_test(workspace: &Workspace) -> anyhow::Result<()> {
    let wanted = clients::wanted();
    let mut there = false;
    if wanted != Wanted::No {
        match clients::run(workspace) {
            Ok(()) => there = true,
            Err(error) if wanted == Wanted::Required => return Err(error),
            Err(error) => eprintln!("warning: clients are missing, and their tests are skipped: {error:#}"),
        }
    }
    test::tests(workspace, &[], Some(test::Ci { clients: there }))
}

fn fmt(workspace: &Workspace) -> anyhow::Result<()> {
    let check = |package: Option<&Package>| {
        let mut fmt = cargo();
        fmt.args(["fmt", "--check"]);
        match package {
            Some(own) => fmt.arg("--manifest-path").arg(&own.manifest_path),
            None => fmt.arg("--all"),
        };
        if !std::io::stdout().is_terminal() {
            fmt.args(["--", "--color", "never"]); // rustfmt goes by TERM alone
        }
        command::run(&mut fmt)
    };
    check(None).context("run `cargo fmt --all`")?;
    for own in &workspace.own {
        let folder = workspace.shown(own.dir());
        check(Some(own)).with_context(|| format!("run `cargo fmt` in {folder}"))?;
    }
    Ok(())
}

/// The lock files of workspaces of their own. To build them would write what is missing there; that of the whole workspace was written when this program
/// was built.
fn lock(workspace: &Workspace) -> anyhow::Result<()> {
    for own in &workspace.own {
        let mut tree = cargo();
        tree.args(["tree", "--locked", "--depth", "0", "--manifest-path"]);
        let folder = workspace.shown(own.dir());
        command::output(tree.arg(&own.manifest_path))
            .with_context(|| format!("run `cargo update --workspace` in {folder}"))?;
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    let rest = ["--all-targets", "--", "-D", "warnings"];
    command::run(cargo().args(["clippy", "--workspace"]).args(rest))?;
    for own in &workspace.own {
        command::run(workspace.cargo_of(own, "clippy").arg("--locked").args(rest))?;
    }
    Ok(())
}

/// Runs every step and stops at the first that fails.
///
/// # Errors
/// The failed step, by name.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let started = Instant::now();
    for (name, step) in STEPS {
        println!("ci: {name}");
        step(workspace).with_context(|| format!("ci step {name} failed"))?;
    }
    println!("ci: passed in {} s", started.elapsed().as_secs());
    Ok(())
}
