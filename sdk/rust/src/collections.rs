//! Hash tables whose seed comes from the gateway.
//!
//! On `wasm32-unknown-unknown` the tables of `std` are seeded with addresses, which a snapshot makes the same in every instance
//! and which an attacker can learn; use these for keys that come from requests. They differ from `std`'s in the constructor only:
//! `HashMap::default()`, or `collect()`.
//!
//! ```
//! use edgeward_sdk::collections::HashMap;
//!
//! let mut counts: HashMap<String, u32> = HashMap::default();
//! *counts.entry("a".to_owned()).or_default() += 1;
//! assert_eq!(counts["a"], 1);
//! ```
//!
//! A table made during `init` becomes part of the snapshot and cannot be given other keys later; there [`RandomState`] uses fixed
//! ones (the gateway refuses entropy in `init`). That is fine for tables filled from the configuration and looked up ever after.
//! Never insert keys from requests into such a table: make a new one per request, which gets keys of this instance.

use std::cell::Cell;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::stage::{self, Stage};

/// `std`'s `HashMap` with the keys of [`RandomState`].
pub type HashMap<K, V, S = RandomState> = std::collections::HashMap<K, V, S>;

/// `std`'s `HashSet` with the keys of [`RandomState`].
pub type HashSet<T, S = RandomState> = std::collections::HashSet<T, S>;

/// Keys for SipHash-1-3: fixed during `init`, afterwards from the gateway and different for every instance and table.
#[derive(Clone, Debug)]
pub struct RandomState {
    k0: u64,
    k1: u64,
}

/// Keys during `init`: nothing up my sleeve (first digits of pi).
const FIXED: (u64, u64) = (0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);

thread_local! {
    /// Keys for the next table; empty until the first one after `init`.
    static NEXT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

impl RandomState {
    /// Keys for a new table.
    pub fn new() -> Self {
        if stage::current() == Stage::Init {
            return Self {
                k0: FIXED.0,
                k1: FIXED.1,
            };
        }
        let (k0, k1) = NEXT.get().unwrap_or_else(crate::entropy::hash_seed);
        // as std does: tables of one instance differ too, so that copying one into another does not become quadratic
        NEXT.set(Some((k0.wrapping_add(1), k1)));
        Self { k0, k1 }
    }
}

impl Default for RandomState {
    fn default() -> Self {
        Self::new()
    }
}

impl BuildHasher for RandomState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    fn hash_of(state: &RandomState) -> u64 {
        state.hash_one("key")
    }

    #[test]
    fn keys_are_fixed_during_init_and_the_hosts_afterwards() {
        let _host = Host::new().with_hash_seed(7, 8).install();
        let (first, second) = stage::during_init(|| (RandomState::new(), RandomState::new()));
        assert_eq!((first.k0, first.k1), FIXED);
        assert_eq!(hash_of(&first), hash_of(&second));
        let later = RandomState::new();
        assert_eq!((later.k0, later.k1), (7, 8));
    }

    #[test]
    fn tables_of_one_instance_have_different_keys() {
        let _host = Host::new().with_hash_seed(7, 8).install();
        assert_ne!(hash_of(&RandomState::new()), hash_of(&RandomState::new()));
    }
}
