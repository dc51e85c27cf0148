//! Users of the dead, who are taken out of the count in portions.

use super::*;

/// Goal: users of a dead instance who are still in the count raise no peak, and afterwards counts become peaks as ever. Method: an
/// instance has died a while ago, and its users are taken out in portions while others come, before and after the store is asked;
/// then a view that lags shows the count of before once more.
#[test]
fn users_of_the_dead_raise_no_peak() {
    let mut stage = Stage::new();
    stage.see(6);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    stage.instances.remove("b");
    stage.pass(60_000);
    stage.call_when_due();
    stage.has_dead = true;
    for users in [8, 9] {
        stage.see(users);
        stage.call_when_due();
        stage.report(3);
    }
    assert!(stage.watch.due(stage.now) <= stage.now + HEARTBEAT, "it asks again soon");
    stage.has_dead = false;
    stage.see_late(9);
    assert_eq!((stage.today(), stage.watch.has_business()), (Some(6), false));
    stage.see(7);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.today(), Some(7));
}
