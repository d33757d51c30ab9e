//! How many connections each client address has open.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// Counts by address, over all listeners and workers. The lock is taken when a connection begins and when it ends.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, u32>>);

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    all: Arc<Addresses>,
    client: IpAddr,
}

impl Addresses {
    /// Counts one more connection; `None` when the address has `most` open already (0: any number).
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Counted> {
        let client = client(address);
        let mut counts = self.0.lock();
        let count = counts.entry(client).or_default();
        if most != 0 && *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted {
            all: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.all.0.lock().entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Of IPv6 the first 64 bits: a client has all addresses below them (RFC 4291 section 2.5.4).
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_no_more_until_some_end() {
        let all = Arc::new(Addresses::default());
        let enter = |address: &str, most| all.enter(address.parse().unwrap(), most);
        let first = enter("192.0.2.1", 2).unwrap();
        let second = enter("192.0.2.1", 2).unwrap();
        assert!(enter("192.0.2.1", 2).is_none());
        let third = enter("192.0.2.1", 0).unwrap();
        let other = enter("192.0.2.2", 1).unwrap();
        drop((first, third));
        assert!(enter("192.0.2.1", 2).is_some());
        let near = enter("2001:db8::1", 1).unwrap();
        assert!(enter("2001:db8::ffff:2", 1).is_none());
        assert!(enter("2001:db8:0:1::1", 1).is_some());
        drop((second, other, near));
        assert!(
            all.0.lock().is_empty(),
            "nothing is kept of addresses without connections"
        );
    }
}
