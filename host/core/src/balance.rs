//! Choice of an endpoint: round robin, and the better of two random ones by requests in flight. Pure functions over indices: the caller brings the
//! turn or the randomness and says which endpoints may be used. Health is not decided here (see `breaker`).

/// Takes the endpoints in turn: index `turn % len` where that one is usable. The turns of unusable endpoints are spread evenly over the usable ones,
/// so that the neighbour of a failed endpoint does not get twice the load. `None` when none is usable.
pub fn round_robin(turn: usize, len: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let first = turn.checked_rem(len)?;
    if usable(first) {
        return Some(first);
    }
    let count = (0..len).filter(|index| usable(*index)).count();
    nth_usable((turn / len).checked_rem(count)?, len, &usable)
}

/// Takes two different random usable endpoints and of these the one with the smaller `load` (the first on a tie). Two choices are enough to keep the
/// worst load near the mean without the herding that "least loaded of all" has with several workers. `random` is 64 uniform bits.
pub fn least_request(
    random: u64,
    len: usize,
    usable: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    let (a, b) = two_of(random, len)?;
    if usable(a) && usable(b) {
        return Some(lighter(a, b, load));
    }
    let count = (0..len).filter(|index| usable(*index)).count();
    let (a, b) = two_of(random, count)?;
    match (nth_usable(a, len, &usable), nth_usable(b, len, &usable)) {
        (Some(a), Some(b)) => Some(lighter(a, b, load)),
        (one, other) => one.or(other),
    }
}

fn lighter(a: usize, b: usize, load: impl Fn(usize) -> u32) -> usize {
    if a != b && load(b) < load(a) { b } else { a }
}

/// Two indices below `len`, different where `len` is above one.
fn two_of(random: u64, len: usize) -> Option<(usize, usize)> {
    let scale = |bits: u64, below: usize| usize::try_from((bits * below as u64) >> 32).unwrap_or(0);
    match len {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let a = scale(random >> 32, len);
            let b = scale(random & 0xffff_ffff, len - 1);
            Some((a, if b >= a { b + 1 } else { b }))
        }
    }
}

/// Usability may change between counting and choosing (other threads): then any usable one is right.
fn nth_usable(n: usize, len: usize, usable: &impl Fn(usize) -> bool) -> Option<usize> {
    (0..len)
        .filter(|index| usable(*index))
        .nth(n)
        .or_else(|| (0..len).find(|index| usable(*index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_visits_all_in_order() {
        let order: Vec<_> = (0..6).filter_map(|turn| round_robin(turn, 3, |_| true)).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn turns_of_an_unusable_endpoint_are_shared_by_the_others() {
        let mut hits = [0; 4];
        for turn in 0..1200 {
            hits[round_robin(turn, 4, |index| index != 1).unwrap()] += 1;
        }
        assert_eq!(hits, [400, 0, 400, 400]);
    }

    #[test]
    fn nothing_usable_is_none() {
        assert_eq!(round_robin(7, 0, |_| true), None);
        assert_eq!(round_robin(7, 3, |_| false), None);
        assert_eq!(least_request(7, 0, |_| true, |_| 0), None);
        assert_eq!(least_request(7, 3, |_| false, |_| 0), None);
    }

    #[test]
    fn two_random_choices_are_different_and_cover_everything() {
        let mut random = fastrand::Rng::with_seed(7);
        for len in 2..6 {
            let mut seen = vec![false; len];
            for _ in 0..500 {
                let (a, b) = two_of(random.u64(..), len).unwrap();
                assert!(a < len && b < len && a != b, "{a} {b} of {len}");
                seen[a] = true;
                seen[b] = true;
            }
            assert!(seen.iter().all(|seen| *seen), "{seen:?}");
        }
        assert_eq!(two_of(u64::MAX, 5), Some((4, 3)));
    }

    #[test]
    fn least_request_prefers_the_lighter_and_skips_the_unusable() {
        let load = [9, 1, 5, 0];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            assert_eq!(
                least_request(random.u64(..), 2, |_| true, |index| load[index]),
                Some(1)
            );
            let chosen = least_request(random.u64(..), 4, |index| index != 3, |index| load[index]).unwrap();
            assert!(
                chosen == 1 || chosen == 2,
                "the heaviest of three never wins a pair: {chosen}"
            );
            assert_eq!(
                least_request(random.u64(..), 4, |index| index == 0, |index| load[index]),
                Some(0)
            );
        }
    }

    #[test]
    fn least_request_keeps_a_slow_endpoint_from_piling_up() {
        // Endpoint 0 finishes nothing; the others finish at once.
        let mut load = [0_u32; 4];
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            let chosen = least_request(random.u64(..), 4, |_| true, |index| load[index]).unwrap();
            if chosen == 0 {
                load[0] += 1;
            }
        }
        assert!(load[0] <= 1, "round robin would have put 250 there: {}", load[0]);
    }
}
