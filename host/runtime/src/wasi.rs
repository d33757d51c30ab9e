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
use wasmtime::{Result, component::Linker};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx,
    cli::{IsTerminal, StdoutStream},
};

use crate::{
    failure::{FailureKind, exceeded},
    state::{HostState, Mode, Wasi},
};

/// Longest line collected from standard output or error, in bytes.
const LINE_MAX: usize = 4096;

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
        |mut store: wasmtime::StoreContextMut<'_, HostState>, (): ()| {
            let state = store.data_mut();
            if state.mode == Mode::Init
                && let Some(wasi) = &state.wasi
            {
                wasi.frozen.seed.store(true, Ordering::Relaxed);
            }
            Ok((rand::random::<(u64, u64)>(),))
        },
    )?;
    let mut random = linker.instance("wasi:random/random@0.2.12")?;
    random.func_wrap(
        "get-random-bytes",
        |mut store: wasmtime::StoreContextMut<'_, HostState>, (len,): (u64,)| {
            refuse_random(store.data_mut())?;
            let len = usize::try_from(len).ok().filter(|len| *len <= 64 << 10);
            let mut bytes = vec![
                0;
                len.ok_or_else(|| exceeded(
                    FailureKind::HostBuffer,
                    "more than 64KiB of random bytes in one call"
                ))?
            ];
            rand::fill(&mut bytes);
            Ok((bytes,))
        },
    )?;
    random.func_wrap(
        "get-random-u64",
        |mut store: wasmtime::StoreContextMut<'_, HostState>, (): ()| {
            refuse_random(store.data_mut())?;
            Ok((rand::random::<u64>(),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn refuse_random(state: &HostState) -> Result<()> {
    if state.mode == Mode::Init {
        return Err(exceeded(
            FailureKind::Denied,
            "init may not use random numbers (wasi:random): they would be frozen into the snapshot",
        ));
    }
    Ok(())
}

/// A WASI context for one instance.
pub(crate) fn context(plugin: &Arc<str>, frozen: &Frozen) -> Wasi {
    let mut builder = WasiCtx::builder();
    builder
        .allow_blocking_current_thread(false)
        .wall_clock(Clock(frozen.refused.clone()))
        .monotonic_clock(Clock(frozen.refused.clone()))
        .insecure_random_seed(rand::random())
        .stdout(Lines::new(plugin, "stdout"))
        .stderr(Lines::new(plugin, "stderr"));
    Wasi {
        context: builder.build(),
        table: ResourceTable::new(),
        frozen: frozen.clone(),
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

/// Turns a byte stream into log lines.
#[derive(Clone)]
struct Lines {
    plugin: Arc<str>,
    stream: &'static str,
    pending: Arc<Mutex<Vec<u8>>>,
    left: Arc<std::sync::atomic::AtomicU32>,
}

impl Lines {
    fn new(plugin: &Arc<str>, stream: &'static str) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            stream,
            pending: Arc::default(),
            // an instance's output is bounded like its log lines; the rest is dropped
            left: Arc::new(std::sync::atomic::AtomicU32::new(100)),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut pending = self.pending.lock();
        for byte in bytes {
            if *byte == b'\n' || pending.len() >= LINE_MAX {
                let line = String::from_utf8_lossy(&pending).into_owned();
                pending.clear();
                if self
                    .left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    tracing::info!(target: "plugin", plugin = &*self.plugin, stream = self.stream, "{line}");
                }
            }
            if *byte != b'\n' {
                pending.push(*byte);
            }
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}
