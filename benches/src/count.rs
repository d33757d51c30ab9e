//! `count`: what `cargo xtask bench count` runs under callgrind: what each request pays for, a few hundred times. Callgrind writes down what it has
//! counted each time [`round`] ends; the line that is printed then says what it was.
#![expect(clippy::print_stdout, reason = "xtask reads it")]

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Result, anyhow, ensure};
use edgeward_runtime::{Runtime, RuntimeOptions};

use crate::{
    end_to_end::{Call, Case, Gateway},
    hooks,
    router::Table,
};

const ROUNDS: usize = 5;
const LOOKUPS: usize = 6_400;
const CALLS: usize = 100;
const REQUESTS: usize = 100;
/// Header fields of the request that a plugin is called with.
const FIELDS: usize = 12;

/// Runs all cases. Prints a line for each round: its operations and the name of the case, or `warm-up`.
///
/// # Errors
/// A guest is missing, instances are not rewound, or a request failed.
pub(crate) fn run() -> Result<()> {
    for routes in [10, 10_000] {
        let table = Table::new(routes)?;
        case(&format!("router: look-up among {routes} routes"), LOOKUPS, || {
            table.look_up(LOOKUPS);
            Ok(())
        })?;
    }
    // valgrind has room for few instances; and it is slow: how often an epoch ended would be chance
    let runtime = Runtime::new(RuntimeOptions {
        instances: 4,
        tick: Duration::from_secs(3600),
        ..RuntimeOptions::default()
    })?;
    calls(&runtime)?;
    requests(runtime)
}

fn calls(runtime: &Runtime) -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (label, settings, expected) in [
        ("fresh instance", serde_json::json!({}), "rewind"),
        ("reused instance", hooks::reuse(1_000_000), "isolation is `reuse`"),
    ] {
        let version = tokio.block_on(hooks::load(runtime, "read-headers", label, settings))?;
        let instances = &version.report().instances;
        ensure!(instances == expected, "{label}: instances of kind {instances}");
        case(&format!("hook: {label}"), CALLS, || {
            tokio.block_on(hooks::call(&version, FIELDS, CALLS as u64))
        })?;
    }
    Ok(())
}

/// Counted is the gateway's worker: this thread waits for the one with client and origin, which is not counted.
fn requests(runtime: Runtime) -> Result<()> {
    const CASES: [Case; 2] = [
        ("/0", &[], "no plugin"),
        ("/1", &["a"], "1 plugin, fresh instance"),
    ];
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let gateway = tokio.block_on(Gateway::start(runtime, &CASES))?;
    for (path, _, label) in CASES {
        let call = Arc::new(Call::get(path));
        case(&format!("request: {label}"), REQUESTS, || {
            let thread = || uncounted(&|| tokio.block_on(gateway.drive(&call, 1, REQUESTS)));
            std::thread::scope(|scope| scope.spawn(thread).join())
                .map_err(|_panic| anyhow!("the load panicked"))?
        })?;
    }
    Ok(())
}

/// Does `work`, which is that many operations, in several rounds. The first one pays for everything since the last case.
fn case(name: &str, operations: usize, work: impl Fn() -> Result<()>) -> Result<()> {
    round(&work)?;
    println!("warm-up");
    for _ in 0..ROUNDS {
        round(&work)?;
        println!("{operations} {name}");
    }
    Ok(())
}

/// xtask knows this function by its name.
#[inline(never)]
fn round(work: &dyn Fn() -> Result<()>) -> Result<()> {
    black_box(work())
}

/// This one, too.
#[inline(never)]
fn uncounted(work: &dyn Fn() -> Result<()>) -> Result<()> {
    black_box(work())
}
