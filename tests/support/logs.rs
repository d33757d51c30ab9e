//! The log of the gateway in this process, as JSON lines.

use std::{
    io,
    sync::{Arc, Once, OnceLock},
};

use parking_lot::Mutex;

use crate::eventually;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sink() -> &'static Sink {
    static SINK: OnceLock<Sink> = OnceLock::new();
    SINK.get_or_init(Sink::default)
}

/// Keeps what the gateway logs from now on.
pub fn record_logs() {
    static START: Once = Once::new();
    START.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .with_env_filter("info,edgeward_runtime=debug,edgeward_proxy=debug,plugin=trace,wasmtime=warn")
            .with_writer(|| sink().clone())
            .init();
    });
}

/// Everything logged so far.
#[must_use]
pub fn logs() -> String {
    String::from_utf8_lossy(&sink().0.lock()).into_owned()
}

/// The lines that contain all of these texts.
#[must_use]
pub fn logs_containing(texts: &[&str]) -> Vec<String> {
    let all = logs();
    let lines = all
        .lines()
        .filter(|line| texts.iter().all(|text| line.contains(text)));
    lines.map(str::to_owned).collect()
}

/// Waits for a line that contains all of these texts.
pub async fn wait_for_log(texts: &[&str]) -> String {
    eventually(&format!("a log line with {texts:?}"), async || {
        logs_containing(texts).into_iter().next()
    })
    .await
}
