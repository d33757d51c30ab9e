//! WASI 0.2 for guests that come with it: clocks and random numbers (refused during `init`), standard output and error into the log, an empty
//! environment. No files, no sockets.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime::{Result, StoreContextMut, component::Linker};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx,
    cli::{IsTerminal, StdoutStream},
};

use crate::{
    bindings::edgeward::plugin::log::Level,
    failure::{FailureKind, exceeded},
    state::{HostState, Mode, Wasi},
};

/// Longest line collected from standard output or error, in bytes.
const LINE_MAX: usize = 4096;
/// Most random bytes in one call.
const RANDOM_MAX: usize = 64 << 10;

/// Set when `init` used something that must not be frozen into a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frozen {
    /// A clock or random numbers: the deployment is refused.
    pub(crate) refused: Arc<AtomicBool>,
    /// The seed for hash tables that languages take at start: no snapshot, but the plugin may run with reuse.
    pub(crate) seed: Arc<AtomicBool>,
}

/// Adds WASI to a linker. The interfaces that `init` may not use are replaced by ones that ask which mode runs.
pub(crate) fn link(linker: &mut Linker<HostState>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.12")?;
    seed.func_wrap(
        "insecure-seed",
        |mut store: StoreContextMut<'_, HostState>, (): ()| {
            let state = store.data_mut();
            if state.mode == Mode::Init
                && let Some(wasi) = &state.wasi
            {
                wasi.frozen.seed.store(true, Ordering::Relaxed);
            }
            Ok((rand::random::<(u64, u64)>(),))
        },
    )?;
    for (interface, bytes, number) in [
        ("wasi:random/random@0.2.12", "get-random-bytes", "get-random-u64"),
        (
            "wasi:random/insecure@0.2.12",
            "get-insecure-random-bytes",
            "get-insecure-random-u64",
        ),
    ] {
        let mut random = linker.instance(interface)?;
        random.func_wrap(bytes, random_bytes)?;
        random.func_wrap(number, random_number)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn random_bytes(mut store: StoreContextMut<'_, HostState>, (len,): (u64,)) -> Result<(Vec<u8>,)> {
    may_be_random(store.data_mut())?;
    let len = usize::try_from(len).ok().filter(|len| *len <= RANDOM_MAX);
    let len = len.ok_or_else(|| {
        exceeded(
            FailureKind::HostBuffer,
            "more than 64KiB of random bytes in one call",
        )
    })?;
    let mut bytes = vec![0; len];
    rand::fill(&mut bytes);
    Ok((bytes,))
}

fn random_number(mut store: StoreContextMut<'_, HostState>, (): ()) -> Result<(u64,)> {
    may_be_random(store.data_mut())?;
    Ok((rand::random(),))
}

fn may_be_random(state: &mut HostState) -> Result<()> {
    state.enter()?;
    if state.mode == Mode::Init {
        return Err(exceeded(
            FailureKind::Denied,
            "init may not use random numbers (wasi:random): they would be frozen into the snapshot",
        ));
    }
    Ok(())
}

/// A WASI context for one instance.
pub(crate) fn context(log_lines: u32, frozen: &Frozen) -> Wasi {
    let output = Arc::new(Mutex::new(Output {
        most: log_lines as usize,
        ..Output::default()
    }));
    let mut builder = WasiCtx::builder();
    builder
        .allow_blocking_current_thread(false)
        .wall_clock(Clock(frozen.refused.clone()))
        .monotonic_clock(Clock(frozen.refused.clone()))
        .insecure_random_seed(rand::random())
        .stdout(Stream(Arc::clone(&output), 0))
        .stderr(Stream(Arc::clone(&output), 1));
    Wasi {
        context: builder.build(),
        table: ResourceTable::new(),
        frozen: frozen.clone(),
        output,
    }
}

/// Real time that remembers having been asked.
struct Clock(Arc<AtomicBool>);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        self.0.store(true, Ordering::Relaxed);
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        self.0.store(true, Ordering::Relaxed);
        u64::try_from(START.get_or_init(std::time::Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a guest has written in the running call: lines that wait for the log.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Most lines that are kept; `limits.log-lines`.
    most: usize,
    /// Lines without an end yet, of standard output and error.
    pending: [Vec<u8>; 2],
    lines: Vec<String>,
    dropped: u64,
}

impl HostState {
    /// Writes what the guest put on standard output and error during a call into the log, within the budget of log lines.
    pub(crate) fn write_output(&mut self) {
        let Some(wasi) = &self.wasi else { return };
        let mut output = wasi.output.lock();
        for stream in 0..output.pending.len() {
            if output.pending.get(stream).is_some_and(|line| !line.is_empty()) {
                output.end_line(stream);
            }
        }
        let lines = std::mem::take(&mut output.lines);
        let dropped = std::mem::take(&mut output.dropped);
        drop(output);
        for line in lines {
            self.write_line(Level::Info, &line);
        }
        self.stats.log_dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl Output {
    /// Cuts bytes into lines.
    fn push(&mut self, stream: usize, bytes: &[u8]) {
        for byte in bytes {
            let Some(pending) = self.pending.get_mut(stream) else {
                return;
            };
            let full = pending.len() >= LINE_MAX;
            if *byte != b'\n' {
                pending.push(*byte);
            }
            if *byte == b'\n' || full {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: usize) {
        let Some(line) = self.pending.get_mut(stream) else {
            return;
        };
        if self.lines.len() < self.most {
            self.lines.push(String::from_utf8_lossy(line).into_owned());
        } else {
            self.dropped += 1;
        }
        line.clear();
    }
}

/// Standard output or error.
#[derive(Clone)]
struct Stream(Arc<Mutex<Output>>, usize);

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().push(self.1, bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}
