//! What the soak judges by. The soak itself is run by hand: `cargo xtask soak`.

use edgeward_tests::Trend;

/// So many measurements, one a second, of a process that has `base` bytes, gains `gain` with each, and is looked at while it has some more in hand.
fn measurements(count: u32, base: f64, gain: f64) -> Vec<(f64, f64)> {
    (0..count)
        .map(|number| {
            let in_hand = [0.0, 3e6, 1e6, 4e6, 2e6][number as usize % 5];
            (f64::from(number), base + gain * f64::from(number) + in_hand)
        })
        .collect()
}

#[test]
fn what_is_in_hand_at_a_look_is_no_trend_and_a_leak_is() {
    let flat = Trend::of(&measurements(300, 300e6, 0.0)).unwrap();
    assert!(flat.share().abs() < 0.005, "{flat:?}");
    assert!((300e6..305e6).contains(&flat.median), "{flat:?}");
    let leak = Trend::of(&measurements(300, 300e6, 100e3)).unwrap();
    // 299 seconds apart
    assert!((leak.change - 29.9e6).abs() < 1e6, "{leak:?}");
    assert!(leak.share() > 0.05, "{leak:?}");
    let shrinks = Trend::of(&measurements(300, 300e6, -100e3)).unwrap();
    assert!(shrinks.share() < -0.05, "{shrinks:?}");
}

#[test]
fn a_line_needs_points_and_time_between_them() {
    assert_eq!(Trend::of(&[]), None);
    assert_eq!(Trend::of(&measurements(2, 1.0, 1.0)), None);
    assert_eq!(Trend::of(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
}
