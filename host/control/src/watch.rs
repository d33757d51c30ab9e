//! Notices that the configuration file, or a file it names, has changed, and has it loaded again.
//!
//! File system events are only a reason to look: what counts is whether path, inode, size or time of a file differ. That
//! sees files replaced by a rename (editors) and through swapped symbolic links (mounted configuration maps) alike, and
//! a slow look every few seconds covers file systems without events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Time without events after which a change counts as complete.
const QUIET: Duration = Duration::from_millis(200);
/// Longest time to wait for quiet.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Time between looks without events.
const POLL: Duration = Duration::from_secs(3);
/// How far the clock of a file system may be behind: it moves on in steps.
const CLOCK: Duration = Duration::from_millis(20);

/// A watching thread; dropping it ends the thread.
pub struct Watch {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the files that `files` names now (it is asked again after every call of `changed`) and calls `changed`
    /// on the watching thread after they changed.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        files: impl Fn() -> BTreeSet<PathBuf> + Send + 'static,
        changed: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (wake, events) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let first = files();
        let seen = stamps(&first);
        let folders = Folders::new(wake.clone());
        let (stopped, mut state) = (
            Arc::clone(&stop),
            State {
                files: first,
                seen,
                folders,
            },
        );
        let thread = std::thread::Builder::new()
            .name("edgeward-watch".into())
            .spawn(move || {
                state.folders.set(&state.files);
                while wait(&events) && !stopped.load(Ordering::Acquire) {
                    let mut now = stamps(&state.files);
                    if now != state.seen {
                        let began = SystemTime::now();
                        changed();
                        state.files = files();
                        // taken before the call: a change during it is seen by the next look. Of a file that was not named before nobody knows whether it was
                        // read as it is now
                        let new = |path: &Path| stamp(path).filter(|_| !changed_since(path, began));
                        state.seen = state
                            .files
                            .iter()
                            .map(|path| (path.clone(), now.remove(path).unwrap_or_else(|| new(path))))
                            .collect();
                        state.folders.set(&state.files);
                    }
                }
            })?;
        Ok(Self {
            stop,
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // a full channel wakes the thread as well
        let _full = self.wake.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the configuration panicked");
        }
    }
}

struct State {
    files: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, Option<Stamp>>,
    folders: Folders,
}

/// What tells two contents of a file apart without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    target: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

fn stamps(files: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Option<Stamp>> {
    files.iter().map(|path| (path.clone(), stamp(path))).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let target = path.canonicalize().ok()?;
    let meta = fs::metadata(&target).ok()?;
    Some(Stamp {
        target,
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    })
}

/// Whether a file, or a link to it, was written or put there since a time, by the file system's clock.
fn changed_since(path: &Path, time: SystemTime) -> bool {
    let time = time
        .checked_sub(CLOCK)
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let metas = [fs::metadata(path), fs::symlink_metadata(path)];
    let changed = |meta: fs::Metadata| {
        let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
        Duration::new(seconds, u32::try_from(meta.ctime_nsec()).unwrap_or(0))
    };
    metas.into_iter().flatten().map(changed).max() >= time
}

/// Waits for events to come and to end, or for the next slow look; false when nobody can send any more.
fn wait(events: &Receiver<()>) -> bool {
    match events.recv_timeout(POLL) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    }
    let started = Instant::now();
    while started.elapsed() < QUIET_MAX {
        match events.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// Event sources: the folders of the files and of what their links point to.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(wake: SyncSender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                // a full channel means that a look is due already
                let _full = wake.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "no file events: the configuration is looked at every few seconds"))
            .ok();
        Self {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    fn set(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeSet::new();
        for file in files {
            let links = [Some(file.clone()), file.canonicalize().ok()];
            wanted.extend(
                links
                    .iter()
                    .flatten()
                    .filter_map(|path| path.parent())
                    .map(Path::to_owned),
            );
        }
        for gone in self.watched.difference(&wanted) {
            // the folder may be gone, and its watch with it
            let _gone = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            let known = self.watched.contains(&folder);
            if known || watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                watched.insert(folder);
            }
        }
        self.watched = watched;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn watch(file: &Path) -> (Watch, Receiver<()>) {
        let (sender, receiver) = sync_channel(16);
        let files = BTreeSet::from([file.to_owned()]);
        let watch = Watch::start(move || files.clone(), move || sender.send(()).unwrap()).unwrap();
        (watch, receiver)
    }

    #[test]
    fn a_write_a_rename_and_a_removal_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.yaml");
        fs::write(&file, "a").unwrap();
        let (_watch, changes) = watch(&file);
        fs::write(&file, "ab").unwrap();
        changes.recv_timeout(DEADLINE).expect("written in place");
        fs::write(dir.path().join("new"), "abc").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        changes.recv_timeout(DEADLINE).expect("replaced by a rename");
        fs::remove_file(&file).unwrap();
        changes.recv_timeout(DEADLINE).expect("removed");
    }

    #[test]
    fn a_swapped_symbolic_link_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("gateway.yaml"), "same").unwrap();
        }
        symlink("one", dir.path().join("data")).unwrap();
        symlink("data/gateway.yaml", dir.path().join("gateway.yaml")).unwrap();
        let (_watch, changes) = watch(&dir.path().join("gateway.yaml"));
        symlink("two", dir.path().join("data.new")).unwrap();
        fs::rename(dir.path().join("data.new"), dir.path().join("data")).unwrap();
        changes.recv_timeout(DEADLINE).expect("the link was swapped");
    }

    #[test]
    fn a_file_that_is_written_while_it_is_named_for_the_first_time_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (file, named) = (dir.path().join("gateway.yaml"), dir.path().join("key"));
        fs::write(&file, "a").unwrap();
        let files = Arc::new(parking_lot::Mutex::new(BTreeSet::from([file.clone()])));
        let (sender, changes) = sync_channel(16);
        let changed = {
            let (files, named) = (Arc::clone(&files), named.clone());
            move || {
                // what was loaded had no such file yet
                if files.lock().insert(named.clone()) {
                    fs::write(&named, "secret").unwrap();
                }
                sender.send(()).unwrap();
            }
        };
        let watch = Watch::start(move || files.lock().clone(), changed).unwrap();
        fs::write(&file, "ab").unwrap();
        changes.recv_timeout(DEADLINE).expect("the first file");
        changes.recv_timeout(DEADLINE).expect("the file that it names");
        drop(watch);
        assert!(changes.try_recv().is_err(), "and not again");
    }

    #[test]
    fn other_files_in_the_folder_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.yaml");
        fs::write(&file, "a").unwrap();
        let (watch, changes) = watch(&file);
        fs::write(dir.path().join("other"), "b").unwrap();
        // dropping waits for the thread's current look
        drop(watch);
        assert!(changes.try_recv().is_err());
    }
}
