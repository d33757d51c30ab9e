//! Benchmarks of Edgeward. Prints medians over rounds; what counts is the ratio of two lines of one run. CPU time is that of the thread that does
//! the work. `docs/performance.md` says how to read it.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod end_to_end;
mod hooks;
mod measure;
mod router;

use anyhow::Result;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|given| name.starts_with(given.as_str()));
    if cfg!(debug_assertions) {
        println!("note: a debug build; figures are of no use");
    }
    if runs("router") {
        router::run()?;
    }
    if runs("hooks") {
        hooks::run()?;
    }
    if runs("end-to-end") {
        end_to_end::run()?;
    }
    Ok(())
}
