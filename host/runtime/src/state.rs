//! What the host keeps per instance: the exchange while a call runs, budgets, memory limiter, WASI. One plain field per concern.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeward_core::{config::PluginLimits, phase::Phase};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use crate::{
    capabilities::{Capabilities, matcher::Matcher},
    exchange::Exchange,
    failure::{FailureKind, exceeded},
    stats::Stats,
};

/// Whether `init` runs or requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `init` runs: no clocks, no randomness, no outside; matchers may be built.
    Init,
    /// A hook runs.
    Serve(Phase),
}

/// What is left of the budgets of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) host_calls: u32,
    pub(crate) host_bytes: u64,
    pub(crate) log_lines: u32,
    pub(crate) egress: u64,
    pub(crate) scan: u64,
    /// A refused call is logged once per request.
    pub(crate) denial_logged: bool,
}

impl Budget {
    pub(crate) fn of(limits: &PluginLimits) -> Self {
        Self {
            host_calls: limits.host_calls,
            host_bytes: limits.host_buffers.0,
            log_lines: limits.log_lines,
            egress: limits.egress.0,
            scan: limits.scan.0,
            denial_logged: false,
        }
    }
}

/// CPU time of the running call. Costs nothing until a call has run for a whole tick.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    pub(crate) mark: CpuMark,
    used: Duration,
}

/// CPU time of the thread when the guest was last entered or resumed, in nanoseconds; 0 before the first tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuMark(Arc<AtomicU64>);

impl CpuMark {
    /// What the thread does from now on is not the guest's, until [`Self::go_on`] gets what this gave.
    pub(crate) fn pause(&self) -> Option<u64> {
        // a call that has not run for a tick yet has no mark: its first tick is charged at a flat rate
        (self.0.load(Ordering::Relaxed) != 0).then(thread_cpu)
    }

    /// It may be another thread by now: the difference is what is moved, around zero too.
    pub(crate) fn go_on(&self, paused: Option<u64>) {
        if let Some(paused) = paused {
            self.0
                .fetch_add(thread_cpu().wrapping_sub(paused), Ordering::Relaxed);
        }
    }
}

/// Store data.
pub(crate) struct HostState {
    /// The exchange, while a call runs.
    pub(crate) exchange: Option<Box<Exchange>>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) mode: Mode,
    pub(crate) budget: Budget,
    /// Matchers of the snapshot this instance started from, or that its own `init` built.
    pub(crate) matchers: Arc<[Matcher]>,
    /// Matchers that a running `init` has built so far.
    pub(crate) built: Vec<Matcher>,
    pub(crate) memory_used: usize,
    pub(crate) memory_refused: bool,
    pub(crate) cpu: CpuMeter,
    pub(crate) cpu_limit: Duration,
    /// Message and place of a panic, told by the guest just before it traps.
    pub(crate) panic: Option<String>,
    pub(crate) wasi: Option<Box<Wasi>>,
}

/// WASI, for guests that came with it and were granted it.
pub(crate) struct Wasi {
    pub(crate) context: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) frozen: crate::wasi::Frozen,
    pub(crate) output: Arc<parking_lot::Mutex<crate::wasi::Output>>,
}

impl HostState {
    /// The exchange of the running call.
    pub(crate) fn exchange(&mut self) -> wasmtime::Result<&mut Exchange> {
        self.exchange.as_deref_mut().ok_or_else(|| {
            exceeded(
                FailureKind::Denied,
                "head and exchange are only there during the call that they were passed to",
            )
        })
    }

    /// Counts a host call.
    pub(crate) fn enter(&mut self) -> wasmtime::Result<()> {
        match self.budget.host_calls.checked_sub(1) {
            Some(left) => {
                self.budget.host_calls = left;
                Ok(())
            }
            None => Err(exceeded(
                FailureKind::HostCalls,
                format!(
                    "more than {} host calls in one request",
                    self.capabilities.limits.host_calls
                ),
            )),
        }
    }

    /// Counts a call that was refused because `what` is not granted, and logs the first one of a request.
    pub(crate) fn deny(&mut self, what: &str) {
        self.stats.denied.fetch_add(1, Ordering::Relaxed);
        if std::mem::replace(&mut self.budget.denial_logged, true) {
            return;
        }
        let exchange = self.exchange.as_deref();
        tracing::warn!(
            target: "plugin",
            request_id = exchange.map(|exchange| exchange.request_id.as_str()),
            route = exchange.map(|exchange| exchange.route.name.as_str()),
            plugin = &*self.capabilities.plugin,
            plugin_version = self.capabilities.version,
            plugin_digest = self.capabilities.digest.short(),
            what,
            "a plugin's call was refused: not granted"
        );
    }

    /// Accounts for bytes that the host holds on behalf of the guest until the request ends.
    pub(crate) fn hold(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.budget.host_bytes.checked_sub(bytes as u64) {
            Some(left) => {
                self.budget.host_bytes = left;
                Ok(())
            }
            None => Err(exceeded(
                FailureKind::HostBuffer,
                format!(
                    "answers, edits and context of one request exceed {}",
                    self.capabilities.limits.host_buffers
                ),
            )),
        }
    }

    /// Runs host work that is bounded by a budget of its own, without charging it to the guest's CPU time.
    pub(crate) fn uncharged<T>(&self, work: impl FnOnce() -> T) -> T {
        let paused = self.cpu.mark.pause();
        let result = work();
        self.cpu.mark.go_on(paused);
        result
    }

    /// Accounts for bytes that matchers scan for the guest.
    pub(crate) fn scan(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.budget.scan.checked_sub(bytes as u64) {
            Some(left) => {
                self.budget.scan = left;
                Ok(())
            }
            None => Err(exceeded(
                FailureKind::HostCalls,
                format!(
                    "matchers scanned more than {} in one request",
                    self.capabilities.limits.scan
                ),
            )),
        }
    }

    /// Prepares for a call with `limit` of CPU time.
    pub(crate) fn begin_call(&mut self, mode: Mode, limit: Duration) {
        self.mode = mode;
        self.cpu.used = Duration::ZERO;
        self.cpu.mark.0.store(0, Ordering::Relaxed);
        self.cpu_limit = limit;
        self.panic = None;
        self.memory_refused = false;
    }

    /// Called when a guest has run into a new tick: charges it, and lets others run before it goes on.
    pub(crate) fn on_tick(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let state = store.data_mut();
        let now = thread_cpu();
        let mark = state.cpu.mark.0.load(Ordering::Relaxed);
        // the first tick of a call came after less than a tick of work
        let since = if mark == 0 {
            Duration::from_micros(500)
        } else {
            Duration::from_nanos(now.saturating_sub(mark))
        };
        state.cpu.used += since;
        if state.cpu.used >= state.cpu_limit {
            return Err(exceeded(
                FailureKind::CpuTime,
                format!(
                    "used {} us of CPU, the limit is {} us",
                    state.cpu.used.as_micros(),
                    state.cpu_limit.as_micros()
                ),
            ));
        }
        let mark = state.cpu.mark.clone();
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                tokio::task::yield_now().await;
                mark.0.store(thread_cpu(), Ordering::Relaxed);
            }),
        ))
    }
}

/// CPU time of this thread in nanoseconds, never 0.
fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
}

impl ResourceLimiter for HostState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // the module itself does not allow it, and it is not counted
            return Ok(false);
        }
        let total = self.memory_used + desired.saturating_sub(current);
        if total as u64 > self.capabilities.limits.memory.0 {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_used = total;
        self.stats.memory_peak(total as u64);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired <= 100_000;
        self.memory_refused |= !fits;
        Ok(fits)
    }
}

impl WasiView for HostState {
    #[expect(
        clippy::expect_used,
        reason = "WASI is linked only for versions whose states carry it"
    )]
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self
            .wasi
            .as_deref_mut()
            .expect("a version that imports WASI has it in its state");
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut wasi.table,
        }
    }
}
