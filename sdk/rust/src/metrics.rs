//! Counters and histograms of the plugin's own, exported as `edgeward_plugin_custom_*` with labels `plugin` and `name`.
//!
//! A version may create up to 64 names of up to 64 characters `[a-z0-9_]`; more are dropped and counted.

/// Adds to a counter.
pub fn add(name: &str, value: u64) {
    crate::host::metrics::add(name, value);
}

/// Records one observation of a distribution.
pub fn record_value(name: &str, value: f64) {
    crate::host::metrics::record_value(name, value);
}
