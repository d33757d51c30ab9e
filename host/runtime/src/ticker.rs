//! The thread that advances the epochs of the engines, so that guests that run too long are interrupted. It sleeps while no guest runs.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

use crate::{
    RuntimeInner,
    instance::IDLE_MAX,
    memory,
    priority::{give_way, go_first},
    state::CpuMark,
};

/// Time between looks at idle instances.
const SWEEP: Duration = Duration::from_secs(1);
/// Ticks without a guest after which the ticker sleeps: it is not woken for each of the calls that follow one another.
const QUIET: u32 = 50;

/// Into how many parts a tick is cut while a call runs for longer than one: those that wait beside it wait for a part at a time.
const LONG: u32 = 5;

/// How many guests run, by threads, so that one does not write to what others read.
#[derive(Default)]
pub(crate) struct Running {
    counts: [Count; 16],
    /// The ticker sleeps, or is about to.
    asleep: AtomicBool,
    /// A call goes on that was interrupted before, or waited.
    long: AtomicBool,
    ticker: OnceLock<Thread>,
}

/// A cache line, and the one beside it that processors fetch with it.
#[derive(Default)]
#[repr(align(128))]
struct Count(AtomicUsize);

/// A guest may run as long as this lives.
pub(crate) struct Entered<'a>(&'a Count);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Running {
    /// To be called before a guest runs: epochs advance from here on.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let count = memory::of_thread(&self.counts);
        // either the ticker sees this before it sleeps, or this sees that it sleeps
        count.0.fetch_add(1, SeqCst);
        if self.asleep.load(SeqCst)
            && let Some(ticker) = self.ticker.get()
        {
            ticker.unpark();
        }
        Entered(count)
    }

    /// Epochs advance while the call is polled, and not while it waits: what the thread does then is not of its CPU time.
    pub(crate) async fn during<T>(&self, mark: CpuMark, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        let mut waited = None;
        std::future::poll_fn(|context| {
            let _entered = self.enter();
            if let Some(paused) = waited.take() {
                self.long.store(true, Relaxed);
                mark.go_on(paused);
            }
            let polled = call.as_mut().poll(context);
            if polled.is_pending() {
                waited = Some(mark.pause());
            }
            polled
        })
        .await
    }

    fn nobody(&self) -> bool {
        self.counts.iter().all(|count| count.0.load(SeqCst) == 0)
    }

    /// Waits for the next tick, or as long as nobody runs, but not longer than to the next sweep. False if it slept.
    fn wait(&self, tick: Duration, quiet: &mut u32) -> bool {
        *quiet = if self.nobody() { *quiet + 1 } else { 0 };
        if *quiet <= QUIET {
            let long = self.long.swap(false, Relaxed);
            std::thread::park_timeout(if long { tick / LONG } else { tick });
            return true;
        }
        self.asleep.store(true, SeqCst);
        if self.nobody() {
            std::thread::park_timeout(SWEEP);
        }
        self.asleep.store(false, SeqCst);
        if !self.nobody() {
            *quiet = 0;
        }
        false
    }
}

/// Advances the epochs of the engines with each tick while guests run, until dropped.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(runtime: &Arc<RuntimeInner>, tick: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let engines: Vec<_> = runtime.engines().map(wasmtime::Engine::weak).collect();
        let running = Arc::clone(&runtime.running);
        let runtime = Arc::downgrade(runtime);
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                // it may have to interrupt what runs on its own core
                go_first();
                running.ticker.get_or_init(std::thread::current);
                let mut sweeper: Option<JoinHandle<()>> = None;
                let mut swept = Instant::now();
                let mut quiet = 0;
                loop {
                    let ticked = running.wait(tick, &mut quiet);
                    if stopped.load(Relaxed) {
                        return;
                    }
                    for engine in engines.iter().filter(|_| ticked) {
                        let Some(engine) = engine.upgrade() else { return };
                        engine.increment_epoch();
                    }
                    // on a thread of its own: giving memory back takes time, and epochs must not wait
                    if swept.elapsed() >= SWEEP && sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
                        swept = Instant::now();
                        let runtime = Weak::clone(&runtime);
                        let sweep = move || {
                            give_way();
                            if let Some(runtime) = runtime.upgrade() {
                                runtime.sweep(IDLE_MAX);
                            }
                        };
                        sweeper = std::thread::Builder::new()
                            .name("sweep".to_owned())
                            .spawn(sweep)
                            .ok();
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // the ticker has no way to panic that matters here
            let _ignored = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn the_ticker_sleeps_only_while_nobody_runs() {
        let running = Arc::new(Running::default());
        let entered = running.enter();
        let mut quiet = QUIET;
        assert!(running.wait(TICK, &mut quiet) && quiet == 0, "somebody runs");
        drop(entered);
        let ticker = {
            let running = Arc::clone(&running);
            std::thread::spawn(move || {
                running.ticker.get_or_init(std::thread::current);
                let mut quiet = QUIET;
                let before = Instant::now();
                // for hours, unless it is woken
                while quiet > 0 && before.elapsed() < Duration::from_secs(20) {
                    running.wait(TICK, &mut quiet);
                }
                before.elapsed()
            })
        };
        while !running.asleep.load(SeqCst) {
            std::thread::yield_now();
        }
        let entered = running.enter();
        assert!(ticker.join().unwrap() < Duration::from_secs(20));
        drop(entered);
        assert!(running.nobody());
    }
}
