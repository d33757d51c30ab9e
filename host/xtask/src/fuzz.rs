//! `cargo xtask fuzz`: builds the targets of `fuzz/` with cargo-fuzz, lets each run for a while, and says what came of it. What a run finds interesting is
//! kept in `<target>/fuzz-corpus`; `--keep` puts what reaches code that the files in `fuzz/corpus` do not into these.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::command::{self, cargo};
use crate::workspace::Workspace;

const INSTALL: &str =
    "cargo-fuzz is missing: `cargo install cargo-fuzz --locked`, with a C++ compiler (`apt-get install g++`)";
/// The code is safe Rust: a sanitizer would find nothing in it, and take half of the speed and another toolchain.
const BUILT: [&str; 2] = ["--sanitizer", "none"];

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Targets; without any, all of them.
    targets: Vec<String>,
    /// Minutes for each target.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Targets that run at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Make the corpora in fuzz/corpus anew of what is in them and what was found: as few and small files as reach the same code.
    #[arg(long)]
    keep: bool,
}

/// What a run said of itself last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    edges: u64,
    features: u64,
    files: u64,
}

/// Runs the targets.
///
/// # Errors
/// cargo-fuzz is missing, a target is not there or does not build, or has found an input for which its property does not hold.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    ensure!(
        command::succeeds(cargo().args(["fuzz", "--version"])),
        "{INSTALL}"
    );
    let known = targets(workspace)?;
    for target in &options.targets {
        ensure!(
            known.contains(target),
            "no target `{target}`; there are: {}",
            known.join(", ")
        );
    }
    let chosen = if options.targets.is_empty() {
        &known
    } else {
        &options.targets
    };
    let programs = workspace.target_dir.join("fuzz");
    let mut build = fuzz(workspace, "build");
    command::run(build.arg("--target-dir").arg(&programs))?;
    let queue = Mutex::new(chosen.iter());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(error) = one(workspace, &programs, target, options) {
                        println!("fuzz: {target}: {error:#}");
                        failed.lock().expect("no thread panics").push(target.as_str());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Names of the programs in `fuzz/`.
fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn fuzz(workspace: &Workspace, what: &str) -> Command {
    let mut fuzz = cargo();
    fuzz.current_dir(&workspace.root).args(["fuzz", what]).args(BUILT);
    fuzz
}

fn one(workspace: &Workspace, programs: &Path, target: &str, options: &Options) -> anyhow::Result<()> {
    let seeds = workspace.root.join("fuzz/corpus").join(target);
    let found = workspace.target_dir.join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let log = programs.join(format!("{target}.log"));
    let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut run = fuzz(workspace, "run");
    run.arg("--target-dir")
        .arg(programs)
        .arg(target)
        .args([&found, &seeds])
        .args(["--", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(format!("-max_total_time={}", 60 * options.minutes));
    let dictionary = workspace
        .root
        .join("fuzz/dictionaries")
        .join(format!("{target}.dict"));
    if dictionary.exists() {
        run.arg(format!("-dict={}", dictionary.display()));
    }
    let ended = run
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .status();
    let ended = ended.with_context(|| format!("cannot start `{}`", command::line(&run)))?;
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let Figures {
        executions,
        edges,
        features,
        files,
    } = figures(&String::from_utf8_lossy(&said));
    println!(
        "fuzz: {target}: {executions} executions in {} min, cov: {edges} ft: {features}, {files} files",
        options.minutes
    );
    if !ended.success() {
        bail!(
            "its property does not hold, or it ended otherwise: see {}",
            log.display()
        );
    }
    if options.keep {
        keep(workspace, programs, target, &[&seeds, &found])?;
    }
    Ok(())
}

/// The figures in what libFuzzer has printed.
fn figures(said: &str) -> Figures {
    let mut figures = Figures::default();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let behind = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            // of a corpus: files/bytes
            words.get(at + 1)?.split('/').next()?.parse().ok()
        };
        if let (Some(edges), Some(features), Some(files)) = (behind("cov:"), behind("ft:"), behind("corp:")) {
            figures.edges = edges;
            figures.features = features;
            figures.files = files;
        }
        if let Some(executions) = behind("stat::number_of_executed_units:") {
            figures.executions = executions;
        }
    }
    figures
}

/// Makes the corpus of a target of the files in `from`. Code counts, not how often it is run, which would keep ten times as many.
fn keep(workspace: &Workspace, programs: &Path, target: &str, from: &[&PathBuf]) -> anyhow::Result<()> {
    let into = programs.join(format!("{target}.corpus"));
    if into.exists() {
        fs::remove_dir_all(&into).with_context(|| format!("cannot remove {}", into.display()))?;
    }
    fs::create_dir_all(&into)?;
    let mut merge = fuzz(workspace, "run");
    merge
        .arg("--target-dir")
        .arg(programs)
        .arg(target)
        .arg(&into)
        .args(from)
        .args(["--", "-set_cover_merge=1", "-use_counters=0"]);
    command::run(merge.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let corpus = workspace.root.join("fuzz/corpus").join(target);
    fs::remove_dir_all(&corpus).with_context(|| format!("cannot remove {}", corpus.display()))?;
    fs::create_dir_all(&corpus)?;
    let mut files = 0;
    for entry in fs::read_dir(&into)? {
        let entry = entry?;
        fs::copy(entry.path(), corpus.join(entry.file_name()))?;
        files += 1;
    }
    println!("fuzz: {target}: {files} files in {}", workspace.shown(&corpus));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figures_of_a_run_count() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 26Mb\n\
            #1338552\tREDUCE cov: 480 ft: 2613 corp: 887/144Kb lim: 4096 exec/s: 49576 rss: 29Mb L: 6/3860 MS: 1 EraseBytes-\n\
            stat::number_of_executed_units: 1338600\nstat::average_exec_per_sec: 49576\n";
        let expected = Figures {
            executions: 1_338_600,
            edges: 480,
            features: 2613,
            files: 887,
        };
        assert_eq!(figures(said), expected);
        assert_eq!(figures("error: could not compile"), Figures::default());
    }
}
