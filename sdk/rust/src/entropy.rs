//! Random bits for hash tables. [`crate::collections`] uses them; plugins seldom need this module.

/// 128 random bits, different for every instance, even of one snapshot. Refused during `init`.
///
/// Not for keys or tokens: one instance always gets the same bits.
pub fn hash_seed() -> (u64, u64) {
    crate::host::entropy::hash_seed()
}
