//! The wasmtime engines: one whose instances come from a pool with copy-on-write images, one whose instances are rewound (`crate::memory`); and
//! the thread that advances their epochs every millisecond.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{RuntimeInner, instance::IDLE_MAX, memory::Creator};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

/// Length of an epoch: the granularity of CPU budgets.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Most memory one instance can have (the size of a slot); `limits.memory` is at most this.
const MEMORY_MAX: usize = 256 << 20;

/// Settings of the engine with a pool. A component built by one is valid in another made by the same function only.
pub(crate) fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // a component may consist of several core instances (adapters, shims) with a memory and a table each
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(4))
        .total_stacks(instances)
        .max_memory_size(MEMORY_MAX)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        .max_core_instances_per_component(16)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        .table_elements(100_000)
        // what a small filter dirties is reset by writing it, not by madvise and a page fault for each page
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(instances);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The same for instances that are kept and rewound: their memories are ours.
pub(crate) fn rewound(creator: Creator) -> Config {
    let mut config = common();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        // the images are ours, too
        .memory_init_cow(false)
        .with_host_memory(Arc::new(creator));
    config
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20);
    config
}

/// How often idle instances are looked through.
const SWEEP: u32 = 1000;

/// Advances the epochs of the engines until dropped.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(runtime: &Arc<RuntimeInner>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let engines: Vec<_> = runtime.engines().map(Engine::weak).collect();
        let runtime = Arc::downgrade(runtime);
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                for tick in 1_u32.. {
                    std::thread::sleep(TICK);
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    for engine in &engines {
                        let Some(engine) = engine.upgrade() else { return };
                        engine.increment_epoch();
                    }
                    if tick.is_multiple_of(SWEEP)
                        && let Some(runtime) = runtime.upgrade()
                    {
                        runtime.sweep(IDLE_MAX);
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
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // it may be the ticker that lets go of the runtime last
            if thread.thread().id() != std::thread::current().id() {
                // the ticker has no way to panic that matters here
                let _ignored = thread.join();
            }
        }
    }
}
