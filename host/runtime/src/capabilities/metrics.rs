//! Capability `metrics`: counters and distributions of a plugin's own.

use wasmtime::Result;

use crate::{bindings::edgeward::plugin::metrics::Host, state::HostState, stats::Custom};

impl Host for HostState {
    fn add(&mut self, name: String, value: u64) -> Result<()> {
        self.enter()?;
        self.change(&name, Custom::Counter(value));
        Ok(())
    }

    fn record_value(&mut self, name: String, value: f64) -> Result<()> {
        self.enter()?;
        if value.is_finite() {
            self.change(&name, Custom::Distribution { count: 1, sum: value });
        }
        Ok(())
    }
}

impl HostState {
    fn change(&mut self, name: &str, change: Custom) {
        if self.capabilities.metrics {
            self.stats.custom(name, change);
        } else {
            self.deny("metrics");
        }
    }
}
