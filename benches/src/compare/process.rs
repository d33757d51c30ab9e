//! Processes of a comparison: pinned to a core, ended with their children whatever happens, and what they used.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Core of the proxy.
pub(crate) const PROXY: usize = 0;
/// Core of the origin, the load generator and this program.
pub(crate) const LOAD: usize = 1;
/// `USER_HZ`: the unit of times in `/proc`, 100 wherever Linux runs these programs.
const TICKS: f64 = 100.0;
/// Time a process gets to end.
const GRACE: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM make [`pause`] fail, so that everything is taken down in order.
pub(crate) fn watch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let (Ok(mut term), Ok(mut int)) =
                    (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
                else {
                    return;
                };
                tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
                INTERRUPTED.store(true, Relaxed);
            });
        })?;
    Ok(())
}

/// Whether somebody wants this program to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// Sleeps; fails when the program was told to end.
pub(crate) fn pause(time: Duration) -> Result<()> {
    std::thread::sleep(time);
    ensure!(!interrupted(), "interrupted");
    Ok(())
}

/// Asks every 10 ms until there is an answer; what it waits for is named in the error.
pub(crate) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(
            started.elapsed() < limit,
            "{what}: not within {} s",
            limit.as_secs()
        );
        pause(Duration::from_millis(10))?;
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// File of a program: on `PATH`, or where Debian puts daemons.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A process, with all that it starts.
pub(crate) struct Process {
    child: Child,
    what: String,
    output: PathBuf,
}

impl Process {
    /// Starts a command line on a core, in a folder that also gets its output.
    pub(crate) fn start(what: &str, core: usize, folder: &Path, words: &[String]) -> Result<Self> {
        let output = folder.join(format!("{what}.out"));
        let file = File::create(&output).with_context(|| format!("{}", output.display()))?;
        // the signal is for the case that this program is killed
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("setpriv: cannot start (apt-get install util-linux)")?;
        Ok(Self {
            child,
            what: what.to_owned(),
            output,
        })
    }

    /// Runs a command line on the core of the load to its end; what it printed.
    pub(crate) fn output(what: &str, limit: Duration, folder: &Path, words: &[String]) -> Result<String> {
        let mut process = Self::start(what, LOAD, folder, words)?;
        let status = until(what, limit, || Ok(process.child.try_wait()?))?;
        ensure!(status.success(), "{what}: {status}: {}", process.tail());
        fs::read_to_string(&process.output).with_context(|| format!("{what}: output"))
    }

    /// Fails when the process ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}): {}", self.what, self.tail());
        }
        Ok(())
    }

    /// The end of what it printed.
    fn tail(&self) -> String {
        let text = fs::read(&self.output).unwrap_or_default();
        let start = text.len().saturating_sub(300);
        String::from_utf8_lossy(&text[start..]).trim().replace('\n', "; ")
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("{}: signal", self.what))
    }

    /// CPU seconds of the process and everything below it.
    pub(crate) fn cpu(&self) -> f64 {
        tree(self.child.id()).values().map(|stat| stat.cpu).sum()
    }

    /// A line of `/proc/PID/status` in MB, added up over the tree.
    pub(crate) fn memory(&self, key: &str) -> f64 {
        let of = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<f64>().ok()
        };
        tree(self.child.id()).keys().filter_map(of).sum::<f64>() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let below = tree(self.child.id());
        // one that ended already has nothing to be told
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.signal(Signal::TERM));
            let started = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < GRACE {
                std::thread::sleep(Duration::from_millis(10));
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
        for (pid, stat) in below {
            let same = Stat::read(pid).is_some_and(|now| now.started == stat.started);
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| same) {
                // it may end by itself meanwhile
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

/// What is of interest in `/proc/PID/stat`.
struct Stat {
    parent: u32,
    /// Seconds, those of children that were waited for included.
    cpu: f64,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            cpu: ticks as f64 / TICKS,
            started: number(19)?,
        })
    }
}

/// A process and everything below it.
fn tree(root: u32) -> HashMap<u32, Stat> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: HashMap<u32, Stat> = pids
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect();
    let mut found = HashMap::new();
    let mut level = vec![root];
    while let Some(pid) = level.pop() {
        level.extend(
            all.iter()
                .filter(|(_, stat)| stat.parent == pid)
                .map(|(pid, _)| *pid),
        );
        if let Some(stat) = all.remove(&pid) {
            found.insert(pid, stat);
        }
    }
    found
}

/// A stretch of time, to tell what others used of the two cores meanwhile.
pub(crate) struct Window {
    started: Instant,
    foreign: f64,
}

impl Window {
    /// Begins now.
    pub(crate) fn open() -> Self {
        Self {
            started: Instant::now(),
            foreign: foreign(),
        }
    }

    /// Seconds since it began.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Share of both cores that processes other than ours used.
    pub(crate) fn foreign(&self) -> f64 {
        ((foreign() - self.foreign) / (2.0 * self.seconds())).clamp(0.0, 1.0)
    }
}

/// CPU seconds that were used on our two cores so far and not by us.
fn foreign() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let busy = |core: usize| -> f64 {
        let name = format!("cpu{core} ");
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .unwrap_or_default();
        let times: Vec<f64> = line.split(' ').filter_map(|time| time.parse().ok()).collect();
        // user, nice, system, irq, softirq
        [0, 1, 2, 5, 6]
            .iter()
            .filter_map(|index| times.get(*index))
            .sum::<f64>()
            / TICKS
    };
    let ours: f64 = tree(std::process::id()).values().map(|stat| stat.cpu).sum();
    busy(PROXY) + busy(LOAD) - ours
}
