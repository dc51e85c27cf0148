//! The view of the site while the store asks for everything again, and while it announces rooms.

use super::*;

/// Goal: after the store has asked for everything again, the number is an estimate that includes the local users until a report of
/// the new incarnation is acknowledged, even if the count does not change by it. Method: counts without the local users, by the
/// reply and by an announcement; then an answer with the same revision.
#[test]
fn a_resend_causes_no_dip() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let sent = story.send(4);
    story.receive(sent, &Reply { outcome: Outcome::Resend, ..reply(count(6, 9)) });
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    let estimate = Shown { users: 10, revision: Revision(7), exact: false };
    assert_eq!(story.view.shown(story.now), estimate);
    story.view.fold(count(5, 10), story.now);
    assert_eq!((story.users(), story.view.shown(story.now).exact), (10, false));
    assert_eq!(story.view.seen(), count(5, 10));
    story.sequence = Sequence(0);
    story.answered(4, count(9, 11));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 9, revision: Revision(11), exact: true }
    );

    let sent = story.send(0);
    story.receive(sent, &Reply { outcome: Outcome::Resend, ..reply(count(5, 12)) });
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.sequence = Sequence(0);
    story.answered(0, count(5, 12));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 5, revision: Revision(12), exact: true }
    );
}

/// Goal: an announcement of rooms raises what the next report has seen, and hides neither a count nor the mark of the same
/// revision. Method: pages below, at and above the revisions of counts.
#[test]
fn pages_are_seen_and_say_nothing_of_the_site() {
    let stamp = |micros| Stamp::new(Incarnation::random(), Duration::from_micros(micros));
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let (old, new) = (stamp(5), stamp(9));
    story.view.see_page(Revision(6), old);
    assert_eq!(story.view.seen(), count(10, 7));
    story.view.see_page(Revision(9), new);
    assert_eq!(story.view.seen(), Count { stamp: new, ..count(10, 9) });
    assert_eq!(story.view.newest(), count(10, 7));
    story.view.fold(Count { stamp: new, ..recovering(4, 9) }, story.now);
    assert!(!story.view.shown(story.now).exact, "the mark is heard");
    story.view.see_page(Revision(12), new);
    story.view.fold(count(11, 12), story.now);
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 11, revision: Revision(12), exact: true }
    );
}

/// Goal: a count that this instance has been taken from is not exact, whoever has read the clock when. Method: such a count arrives after
/// the lease, and is shown with the time before.
#[test]
fn a_clock_that_was_read_too_early_makes_nothing_exact() {
    let mut story = Story::new();
    story.answered(1, count(3, 5));
    let after = story.now + LEASE + Duration::from_millis(1);
    story.view.fold(count(2, 6), after);
    let shown = story.view.shown(story.now);
    assert_eq!((shown.users, shown.exact), (3, false));
}
