//! The wasmtime engines: one whose instances come from a pool with copy-on-write images, one whose instances are rewound (`crate::memory`).

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use crate::{memory::Creator, priority::give_way};
use parking_lot::Mutex;
use wasmtime::{
    CacheStore, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

/// Most memory one instance can have (the size of a slot); `limits.memory` is at most this.
const MEMORY_MAX: usize = 256 << 20;

/// Machine code of functions that were compiled since the start, in memory only. A deployment compiles nearly the same functions twice (for
/// `init` and for the snapshot), and the next version of a module shares most of them with the one before.
#[derive(Debug, Default)]
pub(crate) struct Functions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    code: HashMap<Vec<u8>, Arc<[u8]>>,
    bytes: usize,
}

/// Most bytes of kept machine code; above it everything is forgotten.
const FUNCTIONS_MAX: usize = 64 << 20;

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let code = self.0.lock().code.get(key).map(Arc::clone)?;
        Some(Cow::Owned(code.to_vec()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut known = self.0.lock();
        let size = key.len() + value.len();
        if known.bytes + size > FUNCTIONS_MAX {
            *known = Known::default();
        }
        if size <= FUNCTIONS_MAX && known.code.insert(key.to_vec(), value.into()).is_none() {
            known.bytes += size;
        }
        true
    }
}

/// Settings of the engine with a pool. A component built by one is valid in another made by the same function only.
pub(crate) fn config(instances: u32, functions: &Arc<Functions>) -> wasmtime::Result<Config> {
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
    let mut config = common(functions)?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(config)
}

/// The same for instances that are kept and rewound: their memories are ours.
pub(crate) fn rewound(creator: Creator, functions: &Arc<Functions>) -> wasmtime::Result<Config> {
    let mut config = common(functions)?;
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        // the images are ours, too
        .memory_init_cow(false)
        .with_host_memory(Arc::new(creator));
    Ok(config)
}

fn common(functions: &Arc<Functions>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .enable_incremental_compilation(Arc::clone(functions) as _)?
        .memory_init_cow(true)
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // nothing unwinds through guests: panics of host functions are caught where they are called
        .native_unwind_info(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20);
    Ok(config)
}

/// The threads that compile, all of them and nothing else: a new version must not take the time of requests.
pub(crate) fn compilers() -> std::io::Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .thread_name(|index| format!("compiler-{index}"))
        .start_handler(|_| give_way())
        .build()
        .map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_functions_are_bounded() {
        let functions = Functions::default();
        let piece = vec![7; FUNCTIONS_MAX / 4];
        for key in 0..9_u8 {
            assert!(functions.insert(&[key], piece.clone()));
            assert_eq!(functions.get(&[key]).unwrap(), piece);
            assert!(functions.0.lock().bytes <= FUNCTIONS_MAX);
        }
        assert!(functions.get(&[0]).is_none(), "forgotten to make room");
        functions.insert(b"large", vec![0; FUNCTIONS_MAX + 1]);
        assert!(functions.get(b"large").is_none());
    }
}
