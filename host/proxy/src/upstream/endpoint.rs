//! One address of an upstream: its health, and how many requests are under way. Shared by all workers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeward_core::{
    breaker::{Breaker, CheckRun},
    config,
};
use parking_lot::Mutex;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(super) struct Endpoint {
    /// Unique in the process and never used again: pools are kept by it.
    pub(super) id: u64,
    pub(super) address: SocketAddr,
    /// `address` as text, for logs.
    pub(super) name: Arc<str>,
    /// Index of the configured `host:port` that this address belongs to.
    pub(super) target: usize,
    in_flight: AtomicU32,
    /// The breaker's verdict, readable without its lock: milliseconds since the group's epoch.
    ejected_until_ms: AtomicU64,
    /// The breaker has failures to clear.
    suspect: AtomicBool,
    unhealthy: AtomicBool,
    breaker: Mutex<Breaker>,
    checks: Mutex<CheckRun>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, target: usize, health: &config::Health) -> Arc<Self> {
        let (unhealthy_after, healthy_after) = health
            .active
            .as_ref()
            .map_or((1, 1), |active| (active.unhealthy_after, active.healthy_after));
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            name: address.to_string().into(),
            target,
            in_flight: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            unhealthy: AtomicBool::new(false),
            breaker: Mutex::new(Breaker::new(health.passive.failures, health.passive.eject_time.0)),
            checks: Mutex::new(CheckRun::new(unhealthy_after, healthy_after)),
        })
    }

    pub(super) fn is_usable(&self, now: Duration) -> bool {
        !self.is_unhealthy() && !self.is_ejected(now)
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    pub(super) fn is_ejected(&self, now: Duration) -> bool {
        millis(now) < self.ejected_until_ms.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Real traffic went well.
    pub(super) fn succeeded(&self, now: Duration) {
        let mut breaker = self.breaker.lock();
        breaker.success(now);
        self.suspect.store(breaker.is_open(now), Ordering::Relaxed);
    }

    /// Whether [`Endpoint::succeeded`] has something to clear.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Real traffic failed. Returns for how long it is left out if this failure did it; `others` says whether another endpoint is usable.
    pub(super) fn failed(&self, now: Duration, others: impl FnOnce() -> bool) -> Option<Duration> {
        let mut breaker = self.breaker.lock();
        let until = breaker.failure(now, others);
        self.suspect.store(true, Ordering::Relaxed);
        let until = until?;
        // not before the breaker thinks so too, or it would not count a failure of the request that comes between
        let until_ms = u64::try_from(until.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        self.ejected_until_ms.store(until_ms, Ordering::Relaxed);
        Some(until.saturating_sub(now))
    }

    /// Result of an active check; returns the new state if it changed.
    pub(super) fn checked(&self, ok: bool) -> Option<bool> {
        let change = self.checks.lock().record(ok)?;
        self.unhealthy.store(!change, Ordering::Relaxed);
        Some(change)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Counts one request while it exists.
pub(super) struct InFlight(pub(super) Arc<Endpoint>);

impl InFlight {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
