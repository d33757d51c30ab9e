//! `compare`: the gateway beside nginx, HAProxy and Envoy. The proxy alone on core 0; origin, load generator and this program on core 1. Contenders
//! take turns within each round; what counts is the CPU time of the proxy's processes per request.

mod cases;
mod contenders;
mod h3;
mod load;
mod origin;
mod process;
mod report;
mod rounds;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use indexmap::IndexMap;

use self::{
    cases::Case,
    contenders::{Program, Site},
    process::{LOAD, Process, Window, find, free_port, interrupted, pause, until},
    report::{FOREIGN_MAX, Machine, Outcome, Report, Row},
    rounds::round,
};

pub(crate) use self::origin::origin;

/// Options of `compare`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Cases to run, by the beginning of their names. Default: all but those that take long.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Contenders that take part, by the beginning of their names. Default: all.
    #[arg(long = "contender")]
    contenders: Vec<String>,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load per round and contender.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds to wait at most, before each measurement, for others to leave the cores alone.
    #[arg(long, default_value_t = 20)]
    quiet: u64,
    /// Writes everything into this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The gateway's program [xtask: built from this tree].
    #[arg(long)]
    gateway: PathBuf,
    /// Folder with plugins and test guests.
    #[arg(long, env = "EDGEWARD_GUESTS")]
    guests: PathBuf,
}

/// Compares.
///
/// # Errors
/// The machine has one core only, a needed program or file is missing, no case has such a name, or the run was interrupted. What goes wrong with
/// one contender is printed in its place.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = choose(options)?;
    let mut pinned = rustix::thread::CpuSet::new();
    pinned.set(LOAD);
    rustix::thread::sched_setaffinity(None, &pinned).context("this program needs two cores")?;
    process::watch_signals()?;
    let folder = tempfile::Builder::new().prefix("edgeward-compare").tempdir()?;
    let mut site = Site {
        folder: folder.path().to_owned(),
        guests: fs::canonicalize(&options.guests).with_context(|| format!("{}", options.guests.display()))?,
        programs: Vec::new(),
        origin: free_port()?,
    };
    site.certify()?;
    let programs = programs(&mut site, options)?;
    let mut report = Report {
        machine: Machine::read(foreign(Duration::from_secs(1))?),
        rounds: options.rounds,
        seconds: options.seconds,
        programs,
        cases: Vec::new(),
    };
    report.machine.print();
    for (name, version) in &report.programs {
        println!("{name:<9} {version}");
    }
    for case in &chosen {
        let outcome = take(&site, case, options)?;
        outcome.print();
        report.cases.push(outcome);
        // what was measured is kept when a later case is interrupted
        if let Some(file) = &options.json {
            fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
                .with_context(|| format!("{}", file.display()))?;
        }
    }
    Ok(())
}

/// Cases with the contenders that were asked for.
fn choose(options: &Options) -> Result<Vec<Case>> {
    let asked =
        |list: &[String], name: &str| list.is_empty() || list.iter().any(|given| name.starts_with(given));
    let mut chosen = cases::all();
    let names: Vec<_> = chosen.iter().map(|case| case.name).collect();
    chosen.retain(|case| {
        if case.by_name_only {
            options.cases.iter().any(|given| given == case.name)
        } else {
            asked(&options.cases, case.name)
        }
    });
    for case in &mut chosen {
        case.contenders
            .retain(|contender| asked(&options.contenders, &contender.name));
    }
    chosen.retain(|case| !case.contenders.is_empty());
    ensure!(
        !chosen.is_empty(),
        "no case of that name with such a contender; cases: {}",
        names.join(", ")
    );
    Ok(chosen)
}

/// Finds the programs; their versions, or how to install them.
fn programs(site: &mut Site, options: &Options) -> Result<IndexMap<&'static str, String>> {
    let mut versions = IndexMap::new();
    for program in Program::ALL {
        let file = match program {
            Program::Edgeward => {
                let file = fs::canonicalize(&options.gateway);
                Some(file.with_context(|| format!("{}", options.gateway.display()))?)
            }
            Program::Envoy => envoy(),
            _ => find(program.name()),
        };
        let Some(file) = file else {
            versions.insert(program.name(), format!("skipped: {}", program.install()));
            continue;
        };
        let told = Command::new(&file).arg(program.version()).output()?;
        let told = [told.stdout, told.stderr].concat();
        // Envoy begins with its own path
        let told = String::from_utf8_lossy(&told).replace(&*file.to_string_lossy(), program.name());
        let told = told.trim();
        versions.insert(program.name(), told.lines().next().unwrap_or_default().to_owned());
        site.programs.push((program, file));
    }
    Ok(versions)
}

/// Envoy: where `EDGEWARD_ENVOY` says, on `PATH`, or in its Python package.
fn envoy() -> Option<PathBuf> {
    let code = "import envoy, os; print(os.path.dirname(envoy.__file__))";
    let package = || {
        let told = Command::new("python3").args(["-c", code]).output().ok()?;
        let folder = String::from_utf8(told.stdout).ok()?;
        Some(Path::new(folder.trim()).join("_bin/envoy"))
    };
    std::env::var_os("EDGEWARD_ENVOY")
        .map(PathBuf::from)
        .or_else(|| find("envoy"))
        .or_else(package)
        .filter(|file| file.is_file())
}

/// Share of the cores that others use now.
fn foreign(time: Duration) -> Result<f64> {
    let window = Window::open();
    pause(time)?;
    Ok(window.foreign())
}

/// Runs a case.
fn take(site: &Site, case: &Case, options: &Options) -> Result<Outcome> {
    println!("\n{}", case.name);
    let mut rows: Vec<_> = case.contenders.iter().map(Row::new).collect();
    let missing = case.load.tool().filter(|(tool, _)| find(tool).is_none());
    for (row, contender) in rows.iter_mut().zip(&case.contenders) {
        if let Some((tool, package)) = missing {
            row.error = Some(format!("skipped: {tool} is missing: apt-get install {package}"));
        } else if site.file(contender.program).is_none() {
            row.error = Some(format!("skipped: {}", contender.program.install()));
        }
    }
    let folder = site.folder.join(case.name);
    fs::create_dir_all(&folder)?;
    let myself = std::env::current_exe()?.display().to_string();
    let words = [myself, "origin".to_owned(), site.origin.to_string()];
    let mut origin = Process::start("origin", LOAD, &folder, &words)?;
    until("origin", Duration::from_secs(10), || {
        origin.alive()?;
        Ok(TcpStream::connect(("127.0.0.1", site.origin)).ok())
    })?;
    for number in 1..=options.rounds {
        for (row, contender) in rows.iter_mut().zip(&case.contenders) {
            if row.error.is_some() {
                continue;
            }
            let started = Instant::now();
            while foreign(Duration::from_millis(300))? > FOREIGN_MAX
                && started.elapsed().as_secs() < options.quiet
            {}
            let own = folder.join(&contender.name);
            match round(site, case, contender, options.seconds, &own) {
                Ok(figures) => {
                    let shown: Vec<_> = figures
                        .iter()
                        .map(|(key, value)| format!("{key} {value:.2}"))
                        .collect();
                    println!("  round {number} {:<24} {}", contender.name, shown.join("  "));
                    row.rounds.push(figures);
                }
                Err(error) if interrupted() => return Err(error),
                Err(error) => {
                    println!("  round {number} {:<24} error: {error:#}", contender.name);
                    row.error = Some(format!("error: {error:#}").replace(&*own.to_string_lossy(), "."));
                }
            }
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(Outcome::new(case, rows))
}
