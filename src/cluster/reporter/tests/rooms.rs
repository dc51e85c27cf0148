//! What the reporter does for rooms.

use super::*;

/// Goal: joins of rooms go with the same reports at the same pace. Method: a join of a room after a quiet time, then joins of rooms
/// and of the site in the gap.
#[tokio::test(start_paused = true)]
async fn rooms_and_the_site_share_a_pace() {
    let stage = Stage::new(&[Rule::Answer]);
    stage.pass(100).await;
    let _first = stage.join_room("/a");
    stage.pass(1).await;
    let _rush = (stage.join_room("/a"), stage.join(), stage.join_room("/b"));
    stage.pass(98).await;
    assert_eq!(stage.store.millis(), [0, 100, 105]);
    let said: Vec<_> = stage.store.reports().iter().map(|it| (it.users, it.rooms.len())).collect();
    assert_eq!(said, [(0, 0), (0, 1), (1, 2)]);
}

/// Goal: a store that has lost this instance, or holds something else than was reported, makes it report everything at once under
/// another incarnation, which names the former one until that is acknowledged. The site's number does not dip. Method: such a
/// reply to the second report of an instance with a room, then a lost report.
#[tokio::test(start_paused = true)]
async fn a_loss_begins_a_new_incarnation() {
    for rule in [Rule::Resend, Rule::Mismatch] {
        let stage = Stage::new(&[Rule::Answer, rule, Rule::Refuse, Rule::Answer]);
        let _here = (stage.join(), stage.join_room("/a"));
        stage.pass(499).await;
        assert_eq!(stage.shown().users, 1);
        stage.pass(5).await;
        assert_eq!((stage.shown().users, stage.shown().exact), (1, false), "{rule:?}");
        stage.pass(1000).await;
        assert!(stage.shown().exact);
        let reports = stage.store.reports();
        assert_eq!(stage.store.millis()[..4], [0, 500, 505, 555], "{rule:?}");
        assert_ne!(reports[2].incarnation, reports[1].incarnation);
        let former = Some(reports[0].incarnation);
        let named: Vec<_> = reports.iter().map(|report| report.former).collect();
        assert_eq!(named[..5], [None, None, former, former, None], "{rule:?}");
        assert_eq!((reports[2].sequence, reports[2].acknowledged), (Sequence(1), Sequence(0)));
        assert_eq!(reports[3].rooms.len(), 1, "the room is said again");
        assert_eq!(reports[3].users, 1);
        assert_eq!(stage.metrics.resends.get(), 1, "{rule:?}");
        stage.finish().await;
    }
}

/// Goal: while rooms of the dead are being taken away, reports follow each other at the gap, and a farewell is repeated, for a
/// limited time. Method: a store that always has some.
#[tokio::test(start_paused = true)]
async fn the_dead_are_taken_away_soon() {
    let stage = Stage::new(&[Rule::Dead, Rule::Dead, Rule::Answer, Rule::Dead]);
    stage.pass(100).await;
    assert_eq!(stage.store.millis(), [0, 5, 10]);
    let started = Instant::now();
    let reports = stage.finish().await;
    assert_eq!(started.elapsed(), FAREWELL_MAX);
    let farewells = reports.iter().filter(|report| report.kind == ReportKind::Farewell);
    assert_eq!(farewells.count(), 201);
}

/// Goal: a store that has to hear everything again in several reports is told that more follows, until the last, and each of them names
/// the former incarnation. Method: a loss of five rooms, with two entries in a report.
#[tokio::test(start_paused = true)]
async fn a_long_resend_is_announced() {
    let rules = [Rule::Answer, Rule::Answer, Rule::Answer, Rule::Resend, Rule::Answer];
    let stage = Stage::in_portions(&rules, 2);
    let _here = ["/a", "/b", "/c", "/d", "/e"].map(|name| stage.join_room(name));
    stage.pass(600).await;
    let resent: Vec<_> = stage
        .store
        .reports()
        .into_iter()
        .filter(|report| report.former.is_some())
        .map(|report| (report.rooms.len(), report.resending))
        .collect();
    assert_eq!(resent, [(2, true), (2, true), (1, false)]);
    let reports = stage.finish().await;
    let flags: Vec<_> = reports.iter().map(|report| report.resending).collect();
    assert_eq!(flags.iter().filter(|&&resending| resending).count(), 2, "{flags:?}");
}

/// Goal: every report says which of the reports before it is known to be acknowledged, so that a store that went back notices.
/// Method: answers, a lost report, and an answer.
#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_said() {
    let rules = [Rule::Answer, Rule::Answer, Rule::Refuse, Rule::Answer];
    let stage = Stage::new(&rules);
    stage.pass(1600).await;
    let reports = stage.finish().await;
    let said: Vec<_> = reports.iter().map(|it| (it.sequence.0, it.acknowledged.0)).collect();
    assert_eq!(said[..5], [(1, 0), (2, 1), (3, 2), (4, 2), (5, 4)]);
}
