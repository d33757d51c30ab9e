//! DNS for upstreams: names become endpoints, are resolved again in the background, and keep their last addresses when resolving fails.

use std::{collections::BTreeSet, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::{endpoint::Endpoint, group::UpstreamGroup};

/// Addresses taken of one name; more are left out.
const ADDRESSES_MAX: usize = 64;

/// Requests that find no address do not ask DNS again within this time of a failure.
const NEGATIVE: Duration = Duration::from_secs(1);

/// Asks for the addresses of a host and port.
pub(super) type Lookup = Box<
    dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync,
>;

/// One resolution at a time per group.
pub(super) struct Resolving {
    lookup: Lookup,
    last_failure: Mutex<Option<Instant>>,
}

impl Resolving {
    pub(super) fn new(lookup: Lookup) -> Self {
        Self {
            lookup,
            last_failure: Mutex::default(),
        }
    }
}

/// What the operating system says: its hosts file, its DNS servers.
pub(super) fn system() -> Lookup {
    Box::new(|host, port| {
        Box::pin(async move { tokio::net::lookup_host((host, port)).await.map(Iterator::collect) })
    })
}

impl UpstreamGroup {
    pub(super) fn has_names(&self) -> bool {
        self.targets.iter().any(|target| target.literal.is_none())
    }

    /// Resolves all names and replaces the endpoints. Addresses that stay keep their health, counts and connections; a name that fails keeps its
    /// last addresses. Returns whether all names resolved.
    pub(super) async fn resolve(&self) -> bool {
        let mut failure = self.resolving.last_failure.lock().await;
        let all = self.resolve_locked().await;
        *failure = (!all).then(Instant::now);
        all
    }

    /// For a request that found no address at all: the first one resolves, the others wait for it.
    pub(super) async fn resolve_if_empty(&self) {
        let mut failure = self.resolving.last_failure.lock().await;
        if !self.endpoints.load().is_empty() || failure.is_some_and(|at| at.elapsed() < NEGATIVE) {
            return;
        }
        let all = self.resolve_locked().await;
        *failure = (!all).then(Instant::now);
    }

    async fn resolve_locked(&self) -> bool {
        let lookups = self.targets.iter().map(|target| async move {
            match target.literal {
                Some(ip) => Ok(BTreeSet::from([SocketAddr::new(ip, target.port)])),
                None => (self.resolving.lookup)(target.host.clone(), target.port)
                    .await
                    .map(|found| found.into_iter().take(ADDRESSES_MAX).collect()),
            }
        });
        let found = futures_util::future::join_all(lookups).await;
        let old = self.endpoints.load_full();
        let mut all = true;
        let mut new = Vec::with_capacity(old.len());
        for (index, addresses) in found.into_iter().enumerate() {
            match addresses {
                Ok(addresses) if !addresses.is_empty() => {
                    new.extend(
                        addresses
                            .into_iter()
                            .map(|address| self.keep_or_make(&old, index, address)),
                    );
                }
                outcome => {
                    all = false;
                    let before = new.len();
                    new.extend(old.iter().filter(|endpoint| endpoint.target == index).cloned());
                    let problem = outcome
                        .err()
                        .map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        upstream = %self.name,
                        host = %self.targets[index].host,
                        addresses_kept = new.len() - before,
                        problem,
                        "name does not resolve"
                    );
                }
            }
        }
        if new.len() != old.len() || !new.iter().zip(old.iter()).all(|(new, old)| Arc::ptr_eq(new, old)) {
            let names: Vec<_> = new.iter().map(|endpoint| &*endpoint.name).collect();
            tracing::debug!(upstream = %self.name, endpoints = names.join(" "), "endpoints changed");
            self.endpoints.store(Arc::new(new));
        }
        all
    }

    fn keep_or_make(&self, old: &[Arc<Endpoint>], target: usize, address: SocketAddr) -> Arc<Endpoint> {
        old.iter()
            .find(|endpoint| endpoint.target == target && endpoint.address == address)
            .map_or_else(|| Endpoint::new(address, target, &self.config.health), Arc::clone)
    }
}
