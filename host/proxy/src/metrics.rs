//! Counters of the data plane. Relaxed atomics on the request path, text when somebody asks.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use edgeward_core::{
    exposition::{
        Exposition,
        Kind::{Counter, Gauge, Histogram},
    },
    reject::RejectCode,
};

use crate::listen::Abuse;

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
    rejects: Rejects,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshake_failures: AtomicU64,
    pub(crate) proxy_header_failures: AtomicU64,
    pub(crate) quic_retries: AtomicU64,
    /// HTTP/2 connections that were ended, by [`Abuse`].
    abuses: [AtomicU64; Abuse::ALL.len()],
    pub(crate) slow_readers: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    pub(crate) upstream_retries: AtomicU64,
    pub(crate) publishes: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    pub(crate) tunnels_total: AtomicU64,
    /// From clients.
    pub(crate) tunnel_bytes_in: AtomicU64,
    /// To clients.
    pub(crate) tunnel_bytes_out: AtomicU64,
}

/// A counter of each reason.
#[derive(Debug)]
struct Rejects([AtomicU64; RejectCode::ALL.len()]);

impl Default for Rejects {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; RejectCode::ALL.len()])
    }
}

/// Labels and one more.
fn with<'a>(own: &[(&'a str, &'a str)], label: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    own.iter().copied().chain([label]).collect()
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

    pub(crate) fn write(&self, own: &[(&str, &str)], out: &mut Exposition) {
        let mut total = 0;
        let mut requests = out.family("edgeward_requests_total", Counter, "Finished requests.");
        for (class, count) in self.statuses.iter().enumerate() {
            let count = count.load(Relaxed);
            total += count;
            if count > 0 {
                let class = if class == 0 {
                    "gone".to_owned()
                } else {
                    format!("{class}xx")
                };
                requests.add(&with(own, ("status", &class)), count);
            }
        }
        let mut durations = out.family(
            "edgeward_request_duration_seconds",
            Histogram,
            "Time from the head of a request to the end of its response.",
        );
        let mut below = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&self.buckets) {
            below += count.load(Relaxed);
            let seconds = Duration::from_millis(*bound).as_secs_f64().to_string();
            durations.part("_bucket", &with(own, ("le", &seconds)), below);
        }
        durations
            .part("_bucket", &with(own, ("le", "+Inf")), total)
            .part(
                "_sum",
                own,
                Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64(),
            )
            .part("_count", own, total);
        out.family(
            "edgeward_request_bytes_total",
            Counter,
            "Body bytes from clients.",
        )
        .add(own, self.request_bytes.load(Relaxed));
        out.family("edgeward_response_bytes_total", Counter, "Body bytes to clients.")
            .add(own, self.response_bytes.load(Relaxed));
    }
}

impl Metrics {
    pub(crate) fn reject(&self, code: RejectCode) {
        self.rejects.0[code as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn abuse(&self, abuse: Abuse) {
        self.abuses[abuse as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn write(&self, out: &mut Exposition) {
        let mut abuses = out.family(
            "edgeward_http2_abuse_total",
            Counter,
            "HTTP/2 connections that were ended because of what the client did.",
        );
        for abuse in Abuse::ALL {
            abuses.add(
                &[("reason", abuse.name())],
                self.abuses[abuse as usize].load(Relaxed),
            );
        }
        let mut rejects = out.family(
            "edgeward_rejects_total",
            Counter,
            "Responses that the gateway made itself.",
        );
        for code in RejectCode::ALL {
            let count = self.rejects.0[*code as usize].load(Relaxed);
            if count > 0 {
                rejects.add(&[("response_type", code.name())], count);
            }
        }
        for (name, kind, help, value) in [
            (
                "edgeward_connections",
                Gauge,
                "Open client connections.",
                &self.connections,
            ),
            (
                "edgeward_connections_total",
                Counter,
                "Client connections accepted.",
                &self.connections_total,
            ),
            (
                "edgeward_connections_refused_total",
                Counter,
                "Connections closed because their client had `limits.connections-per-address` open, or of HTTP/3 the listener `limits.connections`.",
                &self.connections_refused,
            ),
            (
                "edgeward_tls_handshake_failures_total",
                Counter,
                "TLS handshakes that failed or took too long.",
                &self.handshake_failures,
            ),
            (
                "edgeward_proxy_header_failures_total",
                Counter,
                "Connections from load balancers without a proper PROXY header in time.",
                &self.proxy_header_failures,
            ),
            (
                "edgeward_quic_retries_total",
                Counter,
                "HTTP/3 clients that had to prove their address first.",
                &self.quic_retries,
            ),
            (
                "edgeward_slow_readers_total",
                Counter,
                "Responses that were cut off because their client took them too slowly or not at all.",
                &self.slow_readers,
            ),
            ("edgeward_exchanges", Gauge, "Requests in work.", &self.exchanges),
            (
                "edgeward_upstream_retries_total",
                Counter,
                "Requests sent to an upstream again.",
                &self.upstream_retries,
            ),
            (
                "edgeward_snapshots_published_total",
                Counter,
                "Configurations put into effect.",
                &self.publishes,
            ),
            ("edgeward_tunnels", Gauge, "Open WebSockets.", &self.tunnels),
            (
                "edgeward_tunnels_total",
                Counter,
                "WebSockets that an upstream agreed to.",
                &self.tunnels_total,
            ),
            (
                "edgeward_tunnel_request_bytes_total",
                Counter,
                "Bytes of WebSockets from clients, framing included.",
                &self.tunnel_bytes_in,
            ),
            (
                "edgeward_tunnel_response_bytes_total",
                Counter,
                "Bytes of WebSockets to clients, framing included.",
                &self.tunnel_bytes_out,
            ),
        ] {
            out.family(name, kind, help).add(&[], value.load(Relaxed));
        }
    }
}
