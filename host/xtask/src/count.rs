//! `cargo xtask bench count`: instructions of what each request pays for, counted by callgrind and compared with the figures in
//! `benches/instructions.json`. The program is the one of `benches/`, in the build that tests use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use serde::{Deserialize, Serialize};

use crate::command::{self, cargo};
use crate::packages;
use crate::workspace::Workspace;

/// A case that takes more than this, over its figure, is a regression; one that takes as much less needs a new figure.
const TOLERANCE: f64 = 0.05;
/// What an update leaves alone.
const NOISE: f64 = 0.01;
const INSTALL: &str = "apt-get install valgrind";
/// C libraries choose functions by the processor; these are the ones that every processor has.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Options of `cargo xtask bench count`.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench count")]
pub(crate) struct Options {
    /// Write the figures instead of comparing with them.
    #[arg(long, requires = "reason")]
    update: bool,
    /// Why they change; kept beside each figure that does.
    #[arg(long, requires = "update")]
    reason: Option<String>,
}

/// What `benches/instructions.json` holds.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Figures {
    /// What counts depend on besides the code, at the last update.
    made_with: BTreeMap<String, String>,
    cases: BTreeMap<String, Figure>,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    /// Per operation.
    instructions: u64,
    /// Why it was last changed.
    reason: String,
}

/// Counts, and compares or updates.
///
/// # Errors
/// Valgrind is missing, a build or the run fails, or a case takes more instructions than its figure allows.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    let name = "cargo xtask bench count".to_owned();
    let options =
        Options::try_parse_from(std::iter::once(&name).chain(args)).unwrap_or_else(|error| error.exit());
    ensure!(there(), "valgrind is missing: {INSTALL}");
    let counted = count(workspace)?;
    let made_with = made_with()?;
    let path = workspace.root.join("benches/instructions.json");
    let old = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("cannot read {}", workspace.shown(&path)))?,
        Err(_) if options.update => Figures::default(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", workspace.shown(&path))),
    };
    match &options.reason {
        None => check(&old, &counted, &made_with),
        Some(reason) => {
            let new = updated(old, &counted, made_with, reason);
            fs::write(&path, serde_json::to_string_pretty(&new)? + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("count: {} written", workspace.shown(&path));
            Ok(())
        }
    }
}

/// The step of CI: gets valgrind where it may, and without it does nothing but say so.
///
/// # Errors
/// As for [`run`].
pub(crate) fn ci(workspace: &Workspace) -> anyhow::Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        println!("count: skipped, the figures are for x86-64");
        return Ok(());
    }
    if !there() && !packages::install(&["valgrind"]) {
        println!("count: skipped, valgrind is missing: {INSTALL}");
        return Ok(());
    }
    run(workspace, &[])
}

fn there() -> bool {
    command::succeeds(Command::new("valgrind").arg("--version"))
}

/// Builds, runs and reads: instructions per operation, by case.
fn count(workspace: &Workspace) -> anyhow::Result<BTreeMap<String, u64>> {
    // the whole workspace: the one set of features that tests are built with too
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;
    let folder = workspace.target_dir.join("count");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["-q", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", folder.join("part").display()))
        .arg("--dump-after=edgeward_benches::count::round")
        // by itself this option would begin without counting
        .args([
            "--toggle-collect=edgeward_benches::count::uncounted",
            "--collect-atstart=yes",
        ])
        .arg(workspace.target_dir.join("debug/edgeward-benches"))
        .arg("count")
        .env("GLIBC_TUNABLES", TUNABLES)
        .env_remove("RUST_BACKTRACE");
    let lines = command::output(&mut valgrind)?;
    per_operation(&lines, &totals(&folder)?)
}

/// The counts that were written at the end of a round, in order.
fn totals(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let mut totals = Vec::new();
    for number in 1.. {
        let path = folder.join(format!("part.{number}"));
        if !path.exists() {
            break;
        }
        let text = fs::read_to_string(&path)?;
        totals.push(total(&text).with_context(|| format!("no count in {}", path.display()))?);
    }
    Ok(totals)
}

/// Instructions in a file of callgrind's (the part of it that is described under "Callgrind Format Specification").
fn total(part: &str) -> Option<u64> {
    part.lines()
        .find_map(|line| line.strip_prefix("totals: "))?
        .trim()
        .parse()
        .ok()
}

/// The smallest count of each case, per operation: what disturbs a round only adds to it. `lines` are those of `edgeward-benches count`.
fn per_operation(lines: &str, totals: &[u64]) -> anyhow::Result<BTreeMap<String, u64>> {
    let rounds = lines.lines().count();
    ensure!(
        rounds == totals.len(),
        "{rounds} rounds ended, but callgrind counted {} times",
        totals.len()
    );
    let mut cases = BTreeMap::new();
    for (line, total) in lines.lines().zip(totals) {
        if line == "warm-up" {
            continue;
        }
        let (operations, name) = line
            .split_once(' ')
            .with_context(|| format!("not the line of a round: {line}"))?;
        let count = total
            / operations
                .parse::<u64>()
                .with_context(|| format!("not the line of a round: {line}"))?;
        let smallest = cases.entry(name.to_owned()).or_insert(count);
        *smallest = count.min(*smallest);
    }
    Ok(cases)
}

/// What counts depend on besides the code.
fn made_with() -> anyhow::Result<BTreeMap<String, String>> {
    let told = |program: &str, arg: &str| command::output(Command::new(program).arg(arg));
    #[cfg(target_arch = "x86_64")]
    let avx2 = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let avx2 = false;
    let version = |text: String| {
        text.split([' ', '-'])
            .nth(1)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    Ok(BTreeMap::from([
        ("rustc".to_owned(), version(told("rustc", "--version")?)),
        ("valgrind".to_owned(), version(told("valgrind", "--version")?)),
        ("glibc".to_owned(), version(told("getconf", "GNU_LIBC_VERSION")?)),
        ("avx2".to_owned(), avx2.to_string()),
    ]))
}

/// Prints each case beside its figure.
///
/// # Errors
/// The cases that take too much, or have no figure.
fn check(
    figures: &Figures,
    counted: &BTreeMap<String, u64>,
    made_with: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (name, new) in counted {
        let Some(Figure {
            instructions: old, ..
        }) = figures.cases.get(name)
        else {
            wrong.push(format!("{name}: {new}, has no figure yet"));
            continue;
        };
        let change = change(*old, *new);
        let line = format!("{name}: {old} -> {new} instructions, {:+.1} %", change * 100.0);
        if change > TOLERANCE {
            wrong.push(line);
        } else if change < -TOLERANCE {
            println!("count: {line}: better, the figures should be updated");
        } else {
            println!("count: {line}");
        }
    }
    for name in figures.cases.keys().filter(|name| !counted.contains_key(*name)) {
        wrong.push(format!("{name}: has a figure, but is counted no more"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    for (what, then) in &figures.made_with {
        let now = made_with.get(what).map_or("unknown", String::as_str);
        if now != then {
            wrong.push(format!("the figures were made with {what} {then}, this is {now}"));
        }
    }
    bail!(
        "more than {:.0} % above benches/instructions.json; if that is as it has to be: \
        cargo xtask bench count --update --reason TEXT\n  {}",
        TOLERANCE * 100.0,
        wrong.join("\n  ")
    );
}

/// New figures: those that moved get the reason, the others stay as they are.
fn updated(
    mut old: Figures,
    counted: &BTreeMap<String, u64>,
    made_with: BTreeMap<String, String>,
    reason: &str,
) -> Figures {
    let cases = counted.iter().map(|(name, new)| {
        let kept = old
            .cases
            .remove(name)
            .filter(|figure| change(figure.instructions, *new).abs() <= NOISE);
        let figure = kept.unwrap_or_else(|| {
            println!("count: {name}: {new} instructions");
            Figure {
                instructions: *new,
                reason: reason.to_owned(),
            }
        });
        (name.clone(), figure)
    });
    Figures {
        cases: cases.collect(),
        made_with,
    }
}

/// From `old` to `new`, as a share of `old`.
fn change(old: u64, new: u64) -> f64 {
    new as f64 / old as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(cases: &[(&str, u64)]) -> BTreeMap<String, u64> {
        cases
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    fn figures(cases: &[(&str, u64)]) -> Figures {
        updated(Figures::default(), &counted(cases), made("1.95.0"), "first")
    }

    fn made(rustc: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("rustc".to_owned(), rustc.to_owned())])
    }

    fn complaint(old: &Figures, new: &[(&str, u64)], rustc: &str) -> Option<String> {
        check(old, &counted(new), &made(rustc))
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn the_total_of_a_part_is_read() {
        let part = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npart: 2\n\ndesc: Trigger: --dump-after=a::b\n\n\
            positions: line\nevents: Ir\nsummary: 13446446\n\nob=(3) libc.so.6\nfn=(948) malloc\n3281 5\ntotals: 13446446\n";
        assert_eq!(total(part), Some(13_446_446));
        assert_eq!(total("version: 1\nevents: Ir\n"), None);
    }

    #[test]
    fn the_best_round_counts_and_warming_up_does_not() {
        let lines = "warm-up\n10 one\n10 one\n10 one\nwarm-up\n2 two: a b\n";
        let cases = per_operation(lines, &[5, 1015, 1000, 1200, 9000, 40]).unwrap();
        assert_eq!(cases, counted(&[("one", 100), ("two: a b", 20)]));
        for (lines, totals) in [("10 one\n", [].as_slice()), ("one\n", &[1]), ("x one\n", &[1])] {
            assert!(per_operation(lines, totals).is_err(), "{lines}");
        }
    }

    #[test]
    fn more_than_the_tolerance_is_a_regression_and_less_is_not() {
        let old = figures(&[("one", 1000), ("two", 1000)]);
        assert_eq!(complaint(&old, &[("one", 1049), ("two", 500)], "1.95.0"), None);
        let said = complaint(&old, &[("one", 1051), ("two", 1000)], "1.95.0").unwrap();
        assert!(
            said.ends_with("\n  one: 1000 -> 1051 instructions, +5.1 %"),
            "{said}"
        );
        let said = complaint(&old, &[("one", 1200), ("two", 1000)], "1.96.0").unwrap();
        assert!(
            said.contains("the figures were made with rustc 1.95.0, this is 1.96.0"),
            "{said}"
        );
    }

    #[test]
    fn cases_and_figures_have_to_be_the_same_ones() {
        let old = figures(&[("one", 1000)]);
        let said = complaint(&old, &[("two", 1000)], "1.95.0").unwrap();
        assert!(said.contains("two: 1000, has no figure yet"), "{said}");
        assert!(
            said.contains("one: has a figure, but is counted no more"),
            "{said}"
        );
    }

    #[test]
    fn an_update_keeps_figures_that_did_not_move_with_their_reasons() {
        let old = figures(&[("gone", 1000), ("moved", 1000), ("same", 1000)]);
        let new = updated(
            old,
            &counted(&[("moved", 900), ("new", 7), ("same", 1009)]),
            made("1.96.0"),
            "second",
        );
        let of = |name: &str| (new.cases[name].instructions, new.cases[name].reason.as_str());
        assert_eq!(of("moved"), (900, "second"));
        assert_eq!(of("new"), (7, "second"));
        assert_eq!(of("same"), (1000, "first"));
        assert_eq!(new.cases.len(), 3);
        assert_eq!(new.made_with, made("1.96.0"));
    }
}
