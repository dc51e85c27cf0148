//! Tests of when memory is given back.

use super::*;

/// Goal: memory is given back after a rush, and not whenever a session ends. Method: numbers that rise, fall a little, fall
/// by half and to zero, and small numbers.
#[test]
fn half_of_many_must_have_left() {
    let high = HighWater::default();
    high.rise(99);
    assert!(!high.has_ebbed(0), "they are not enough");
    high.rise(100);
    assert!(high.has_ebbed(0), "a small process holds no more");
    high.rise(2000);
    high.rise(1500);
    assert!([2000, 1500, 1001].iter().all(|&sessions| !high.has_ebbed(sessions)));
    assert!(high.has_ebbed(1000));
    assert!(!high.has_ebbed(501), "it starts over");
    assert!(high.has_ebbed(400));
}
