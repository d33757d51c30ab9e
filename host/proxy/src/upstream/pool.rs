//! Connections of one worker: idle HTTP/1.1 ones, newest first, and shared HTTP/2 ones. Kept by endpoint id, so that an endpoint that DNS or a reload
//! took away is never asked for again and its connections go with the idle time.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    connect::{self, H2, H2Stream},
    endpoint::{Endpoint, InFlight},
    error::{Failed, UpstreamErrorKind},
    group::UpstreamGroup,
    h1::H1,
};
use crate::body::Lease;

/// HTTP/2 connections to one endpoint; when all are full, streams wait in line on the emptiest.
const H2_CONNECTIONS_MAX: usize = 16;

/// How often idle connections are looked through while there are any.
const SWEEP: Duration = Duration::from_secs(1);

/// The upstream connections of one worker thread. Belongs to the runtime it is used in; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pools(Arc<Inner>);

#[derive(Default)]
struct Inner(Mutex<State>);

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot, BuildHasherDefault<IdHasher>>,
    sweeping: bool,
}

/// Connections to one endpoint.
#[derive(Default)]
struct Slot {
    /// Oldest first.
    idle: VecDeque<(H1, Instant)>,
    idle_timeout: Duration,
    h2: Vec<Shared>,
    /// Held while an HTTP/2 connection is made, so that a burst makes one and not one each.
    opening: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    connection: H2,
    /// Streams opened when it was last found without one, and when that was.
    idle: Option<(u64, Instant)>,
}

impl Pools {
    /// Empty pools.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Idle HTTP/1.1 connections and open HTTP/2 connections.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.0.0.lock();
        state.slots.values().fold((0, 0), |(idle, h2), slot| {
            (idle + slot.idle.len(), h2 + slot.h2.len())
        })
    }

    /// The idle HTTP/1.1 connection that was used last, if it is still open.
    pub(super) fn take(&self, endpoint: &Endpoint) -> Option<H1> {
        let mut state = self.0.0.lock();
        let slot = state.slots.get_mut(&endpoint.id)?;
        while let Some((mut connection, since)) = slot.idle.pop_back() {
            if since.elapsed() >= slot.idle_timeout {
                retire_all(&mut slot.idle); // the others are older
                connection.retire();
                return None;
            }
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection that has nothing under way.
    pub(super) fn put(&self, endpoint: &Endpoint, connection: H1, keep: Keep) {
        if keep.max == 0 || keep.time.is_zero() {
            connection.retire();
            return;
        }
        let mut state = self.0.0.lock();
        let slot = state.slots.entry(endpoint.id).or_default();
        slot.idle_timeout = keep.time;
        slot.idle.push_back((connection, Instant::now()));
        let extra = if slot.idle.len() > keep.max {
            slot.idle.pop_front()
        } else {
            None
        };
        self.sweep_later(&mut state);
        drop(state);
        if let Some((connection, _)) = extra {
            connection.retire();
        }
    }

    /// A stream on a new HTTP/2 connection, or on one that somebody else opened meanwhile; the flag says the latter. `fresh` insists on a new one.
    pub(super) async fn new_stream(
        &self,
        group: &UpstreamGroup,
        endpoint: &Endpoint,
        fresh: bool,
    ) -> Result<(H2Stream, bool), Failed> {
        let opening = async {
            let gate = self.gate(endpoint);
            let _gate = gate.lock().await;
            if !fresh && let Some(stream) = self.open_stream(endpoint, true) {
                return Ok((stream, true));
            }
            let connection = connect::h2(group, endpoint).await?;
            let stream = connection.stream();
            let mut state = self.0.0.lock();
            let slot = state.slots.entry(endpoint.id).or_default();
            slot.idle_timeout = group.config.idle_timeout.0;
            slot.h2.push(Shared {
                connection,
                idle: None,
            });
            self.sweep_later(&mut state);
            Ok((stream, false))
        };
        // Covers the wait for the gate too: behind an endpoint that does not answer nobody waits longer than alone.
        tokio::time::timeout(group.config.connect_timeout.0, opening)
            .await
            .unwrap_or_else(|elapsed| Err(Failed::new(UpstreamErrorKind::ConnectTimeout, elapsed)))
    }

    fn gate(&self, endpoint: &Endpoint) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.0.0.lock();
        self.sweep_later(&mut state);
        Arc::clone(&state.slots.entry(endpoint.id).or_default().opening)
    }

    /// A stream on an open HTTP/2 connection with room; with `or_wait` and as many connections as there may be, in line on the emptiest.
    pub(super) fn open_stream(&self, endpoint: &Endpoint, or_wait: bool) -> Option<H2Stream> {
        let mut state = self.0.0.lock();
        let slot = state.slots.get_mut(&endpoint.id)?;
        slot.h2.retain(|shared| !shared.connection.is_closed());
        if let Some(shared) = slot.h2.iter().find(|shared| shared.connection.has_room()) {
            return Some(shared.connection.stream());
        }
        if !or_wait || slot.h2.len() < H2_CONNECTIONS_MAX {
            return None;
        }
        slot.h2
            .iter()
            .min_by_key(|shared| shared.connection.streams())
            .map(|shared| shared.connection.stream())
    }

    /// Idle connections cost nothing but a look each second; with none left the task ends.
    fn sweep_later(&self, state: &mut State) {
        if std::mem::replace(&mut state.sweeping, true) {
            return;
        }
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(inner) = Weak::upgrade(&weak) else { return };
                if inner.sweep() {
                    return;
                }
            }
        });
    }
}

impl Inner {
    /// Closes what was idle for too long or was closed by the peer; `true` when nothing is left to look after.
    fn sweep(&self) -> bool {
        let mut state = self.0.lock();
        state.slots.retain(|_, slot| {
            let time = slot.idle_timeout;
            while slot
                .idle
                .front_mut()
                .is_some_and(|(connection, since)| since.elapsed() >= time || !connection.is_ready())
            {
                if let Some((connection, _)) = slot.idle.pop_front() {
                    connection.retire();
                }
            }
            slot.idle.retain_mut(|(connection, _)| connection.is_ready());
            slot.h2
                .retain_mut(|shared| !shared.connection.is_closed() && !shared.is_idle_for(time));
            !slot.idle.is_empty() || !slot.h2.is_empty() || Arc::strong_count(&slot.opening) > 1
        });
        state.sweeping = !state.slots.is_empty();
        !state.sweeping
    }
}

impl Shared {
    fn is_idle_for(&mut self, time: Duration) -> bool {
        if self.connection.streams() > 0 {
            self.idle = None;
            return false;
        }
        let uses = self.connection.uses();
        match self.idle {
            Some((before, since)) if before == uses => since.elapsed() >= time,
            _ => {
                self.idle = Some((uses, Instant::now()));
                false
            }
        }
    }
}

fn retire_all(idle: &mut VecDeque<(H1, Instant)>) {
    for (connection, _) in idle.drain(..) {
        connection.retire();
    }
}

/// How long a connection is waited for, and how long and how many idle ones are kept.
#[derive(Clone, Copy)]
pub(super) struct Keep {
    pub(super) time: Duration,
    pub(super) max: usize,
    /// Time without a byte of the response body, and time that the rest of a request body gets after the response has ended.
    pub(super) body_timeout: Duration,
}

/// Holds a stream's place on its HTTP/2 connection while the response body flows.
pub(super) struct H2Lease {
    pub(super) flight: InFlight,
    pub(super) stream: H2Stream,
}

impl Lease for H2Lease {
    fn end(self: Box<Self>) {
        drop(self.stream);
        drop(self.flight);
    }
}

/// Ids are consecutive numbers: one multiplication spreads them.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
