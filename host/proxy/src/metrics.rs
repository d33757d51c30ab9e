//! Counters of the data plane. Relaxed atomics on the request path, text when somebody asks.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use edgeward_core::reject::RejectCode;

/// Upper bounds of the latency buckets, in milliseconds.
const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000];

/// Counters of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteStats {
    /// Responses by first digit of the status; 0 for clients that went before a head was sent.
    statuses: [AtomicU64; 6],
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS_MS.len()],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// Counters of the whole data plane.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    rejects: [AtomicU64; RejectCode::ALL.len()],
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) handshake_failures: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    pub(crate) upstream_retries: AtomicU64,
    pub(crate) publishes: AtomicU64,
}

impl RouteStats {
    pub(crate) fn record(&self, status: u16, duration: Duration, request_bytes: u64, response_bytes: u64) {
        if let Some(count) = self.statuses.get(usize::from(status / 100)) {
            count.fetch_add(1, Relaxed);
        }
        self.micros
            .fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
        let ms = duration.as_millis();
        if let Some(at) = BUCKETS_MS.iter().position(|bound| ms <= u128::from(*bound)) {
            self.buckets[at].fetch_add(1, Relaxed);
        }
        self.request_bytes.fetch_add(request_bytes, Relaxed);
        self.response_bytes.fetch_add(response_bytes, Relaxed);
    }

    pub(crate) fn write(&self, route: &str, out: &mut Parts) {
        let route = escape(route);
        let mut total = 0;
        for (class, count) in self.statuses.iter().enumerate() {
            let count = count.load(Relaxed);
            total += count;
            if count > 0 {
                let class = if class == 0 {
                    "gone".to_owned()
                } else {
                    format!("{class}xx")
                };
                line(
                    &mut out.requests,
                    format_args!("edgeward_requests_total{{route=\"{route}\",status=\"{class}\"}} {count}"),
                );
            }
        }
        let mut below = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&self.buckets) {
            below += count.load(Relaxed);
            let seconds = Duration::from_millis(*bound).as_secs_f64();
            line(
                &mut out.durations,
                format_args!(
                    "edgeward_request_duration_seconds_bucket{{route=\"{route}\",le=\"{seconds}\"}} {below}"
                ),
            );
        }
        let seconds = Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64();
        line(
            &mut out.durations,
            format_args!("edgeward_request_duration_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {total}"),
        );
        line(
            &mut out.durations,
            format_args!("edgeward_request_duration_seconds_sum{{route=\"{route}\"}} {seconds}"),
        );
        line(
            &mut out.durations,
            format_args!("edgeward_request_duration_seconds_count{{route=\"{route}\"}} {total}"),
        );
        line(
            &mut out.bytes,
            format_args!(
                "edgeward_request_bytes_total{{route=\"{route}\"}} {}",
                self.request_bytes.load(Relaxed)
            ),
        );
        line(
            &mut out.bytes,
            format_args!(
                "edgeward_response_bytes_total{{route=\"{route}\"}} {}",
                self.response_bytes.load(Relaxed)
            ),
        );
    }
}

/// Text by metric family, since a family's lines stand together.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) requests: String,
    pub(crate) durations: String,
    pub(crate) bytes: String,
}

impl Metrics {
    pub(crate) fn reject(&self, code: RejectCode) {
        self.rejects[code as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn write(&self, out: &mut String) {
        line(out, format_args!("# TYPE edgeward_rejects_total counter"));
        for code in RejectCode::ALL {
            let count = self.rejects[*code as usize].load(Relaxed);
            if count > 0 {
                line(
                    out,
                    format_args!(
                        "edgeward_rejects_total{{response_type=\"{}\"}} {count}",
                        code.name()
                    ),
                );
            }
        }
        for (name, kind, value) in [
            ("edgeward_connections", "gauge", &self.connections),
            ("edgeward_connections_total", "counter", &self.connections_total),
            (
                "edgeward_tls_handshake_failures_total",
                "counter",
                &self.handshake_failures,
            ),
            ("edgeward_exchanges", "gauge", &self.exchanges),
            (
                "edgeward_upstream_retries_total",
                "counter",
                &self.upstream_retries,
            ),
            ("edgeward_snapshots_published_total", "counter", &self.publishes),
        ] {
            line(out, format_args!("# TYPE {name} {kind}"));
            line(out, format_args!("{name} {}", value.load(Relaxed)));
        }
    }
}

impl Parts {
    pub(crate) fn write(&self, out: &mut String) {
        out.push_str("# TYPE edgeward_requests_total counter\n");
        out.push_str(&self.requests);
        out.push_str("# TYPE edgeward_request_duration_seconds histogram\n");
        out.push_str(&self.durations);
        out.push_str(&self.bytes);
    }
}

/// Writes a line of the text format.
pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // writing to a String cannot fail
    let _unused = writeln!(out, "{text}");
}

/// A label value (Prometheus text format).
pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
