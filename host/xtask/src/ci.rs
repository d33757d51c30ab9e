//! `cargo xtask ci`: every check of a change, cheap ones first. `.ci/run` calls this.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Context as _;

use crate::clients::Wanted;
use crate::command::{self, cargo};
use crate::workspace::Workspace;
use crate::{Check, clients, count, demo, docs, guests, test, wit};

type Step = (&'static str, fn(&Workspace) -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", |_| fmt()),
    ("wit", |workspace| wit::run(workspace, Check { check: true })),
    ("guests", |workspace| {
        guests::run(workspace, &guests::Options::default())
    }),
    ("clippy", |_| {
        command::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    }),
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
    test::tests(&[], Some(test::Ci { clients: there }))
}

fn fmt() -> anyhow::Result<()> {
    let mut fmt = cargo();
    fmt.args(["fmt", "--all", "--check"]);
    if !std::io::stdout().is_terminal() {
        fmt.args(["--", "--color", "never"]); // rustfmt goes by TERM alone
    }
    command::run(&mut fmt).context("run `cargo fmt --all`")
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
