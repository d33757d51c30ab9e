//! `clock` and `entropy`: always granted, refused while `init` runs.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::{clock, entropy},
    failure::{FailureKind, exceeded},
    state::{HostState, Mode},
};

impl HostState {
    fn refuse_in_init(&mut self, what: &str) -> Result<()> {
        self.enter()?;
        if self.mode == Mode::Init {
            return Err(exceeded(
                FailureKind::Denied,
                format!("init may not use {what}: it would be frozen into the snapshot"),
            ));
        }
        Ok(())
    }
}

impl clock::Host for HostState {
    fn now_ms(&mut self) -> Result<u64> {
        self.refuse_in_init("the clock (`clock.now-ms`)")?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl entropy::Host for HostState {
    fn hash_seed(&mut self) -> Result<(u64, u64)> {
        self.refuse_in_init("random numbers (`entropy.hash-seed`)")?;
        Ok(rand::random())
    }
}
