//! Capability `log`: lines into the gateway's log, with a budget per request.

use std::sync::atomic::Ordering::Relaxed;

use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::log::{Host, Level},
    state::HostState,
};

/// Longest line, in bytes; more is cut.
const LINE_MAX: usize = 4096;

impl Host for HostState {
    fn log(&mut self, level: Level, message: String) -> Result<()> {
        self.enter()?;
        self.write_line(level, &message);
        Ok(())
    }

    fn enabled(&mut self, level: Level) -> Result<bool> {
        self.enter()?;
        Ok(match level {
            Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
            Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
            Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
            Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
        })
    }

    fn panicked(&mut self, message: String) -> Result<()> {
        self.panic = Some(cut(&message).to_owned());
        Ok(())
    }
}

impl HostState {
    /// Writes a line of this plugin, unless the budget of log lines is used up.
    pub(crate) fn write_line(&mut self, level: Level, message: &str) {
        let Some(left) = self.budget.log_lines.checked_sub(1) else {
            self.stats.log_dropped.fetch_add(1, Relaxed);
            return;
        };
        self.budget.log_lines = left;
        let message = cut(message);
        let plugin = &*self.capabilities.plugin;
        let version = self.capabilities.version;
        let exchange = self.exchange.as_deref();
        let request_id = exchange.map_or("", |exchange| &exchange.request_id);
        let route = exchange.map_or("", |exchange| &exchange.route.name);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "plugin", plugin, version, request_id, route, "{message}")
            };
        }
        match level {
            Level::Trace => line!(trace),
            Level::Debug => line!(debug),
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error => line!(error),
        }
    }
}

fn cut(message: &str) -> &str {
    message
        .get(..message.floor_char_boundary(LINE_MAX))
        .unwrap_or(message)
}
