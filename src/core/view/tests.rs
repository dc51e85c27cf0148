//! Tests of the view: the fold, the estimate, and what the two promise together.

#[path = "tests/estimate.rs"]
mod estimate;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{count, reply};

const LEASE: Duration = Duration::from_secs(2);
const NO_CHANGE: Change = Change(0);

fn recovering(users: u64, revision: u64) -> Count {
    Count { recovering: true, ..count(users, revision) }
}

fn local(users: u64) -> Local {
    Local { users, change: Change(users) }
}

/// A view of an instance that observed and reported each of these local counts, answered in order.
struct Story {
    view: View,
    sequence: Sequence,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let mut view = View::default();
        view.begin_incarnation(Incarnation::random(), LEASE);
        Self { view, sequence: Sequence(0), now: Instant::now() }
    }

    fn answered(&mut self, users: u64, count: Count) {
        let sent = self.send(users);
        self.receive(sent, reply(count));
    }

    fn receive(&mut self, sent: SentReport, reply: Reply) {
        self.view.report_ended();
        self.view.fold_reply(sent, &reply, self.now);
    }

    fn send(&mut self, users: u64) -> SentReport {
        self.view.observe(local(users));
        self.sequence = self.sequence.next();
        self.view.report_sent(self.sequence);
        SentReport { sequence: self.sequence, local: local(users), at: self.now }
    }

    fn users(&self) -> u64 {
        self.view.shown(self.now).users
    }
}

/// Goal: before the first answer the instance shows its own users, as an estimate. Method: directly.
#[test]
fn without_a_base_the_local_count_is_shown() {
    let mut view = View::default();
    view.observe(local(3));
    assert_eq!(view.shown(Instant::now()), Shown { users: 3, revision: Revision(0), exact: false });
    assert_eq!(view.covered(), NO_CHANGE);
}

/// Goal: while the store is away joins and leaves here still move the number, and its return with the same
/// revision makes it exact again. Method: answer, lose, change, answer.
#[test]
fn an_outage_shows_the_estimate() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    assert!(story.view.shown(story.now).exact);
    story.view.mark_unreachable();
    story.view.observe(local(6));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 12, revision: Revision(7), exact: false }
    );
    story.answered(4, count(10, 7));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 10, revision: Revision(7), exact: true }
    );
}

/// Goal: a store that lost its data causes no dip. Method: recovering counts that start near zero, by reply
/// and by announcement, then the end of recovery.
#[test]
fn recovery_causes_no_dip() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.answered(4, recovering(4, 8));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 10, revision: Revision(7), exact: false }
    );
    story.view.fold(recovering(7, 9), story.now);
    story.answered(5, recovering(8, 10));
    assert_eq!(
        story.users(),
        11,
        "our newcomer, acknowledged while recovering, stays in the estimate"
    );
    assert_eq!(story.view.seen(), recovering(8, 10));
    story.view.fold(count(11, 11), story.now);
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 11, revision: Revision(11), exact: true }
    );
    story.view.mark_unreachable();
    assert_eq!(story.users(), 11);
}

/// Goal: an instance that starts during recovery shows what the store has rather than itself alone. Method:
/// the first reply is a recovering one.
#[test]
fn a_newcomer_among_instances_takes_a_recovering_count() {
    let mut story = Story::new();
    story.answered(1, recovering(8, 10));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 8, revision: Revision(10), exact: false }
    );
}

/// Goal: when the announcement overtakes the reply, the estimate does not count our change twice. Method:
/// announcement of our own report first, then its reply, then an outage.
#[test]
fn an_announcement_may_overtake_the_reply() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let sent = story.send(5);
    story.view.fold(count(11, 8), story.now);
    story.receive(sent, reply(count(11, 8)));
    story.view.mark_unreachable();
    assert_eq!(story.users(), 11);
}

/// Goal: when the announcement of our own report arrives and its reply never does, the estimate does not
/// count our users twice. Method: a report that fails after its announcement; then others' news.
#[test]
fn a_lost_reply_counts_nobody_twice() {
    let mut story = Story::new();
    story.answered(0, count(10, 7));
    let _lost = story.send(1000);
    story.view.fold(count(1010, 8), story.now);
    assert_eq!(story.view.estimate(), 1010);
    story.view.report_ended();
    story.view.mark_unreachable();
    story.view.fold(count(1011, 9), story.now);
    assert_eq!(story.users(), 1010, "it is not known who the other is");
    story.answered(1000, count(1012, 10));
    story.view.mark_unreachable();
    assert_eq!(story.users(), 1012);
}

/// Goal: announcements from before a loss of data that arrive after a reply from after it do not take our own change
/// off the others. Method: both orders in which they can overtake each other, then a count that is recovering.
#[test]
fn old_announcements_after_a_loss_say_nothing_of_the_others() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.answered(5, recovering(5, 8));
    story.view.fold(count(11, 9), story.now);
    story.view.fold(count(10, 10), story.now);
    assert!(
        !story.view.shown_includes(Change(5), story.now),
        "an old count does not include the fifth"
    );
    story.answered(5, recovering(11, 11));
    assert_eq!(story.users(), 11);

    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let sent = story.send(5);
    story.view.fold(count(10, 9), story.now);
    story.receive(sent, reply(recovering(5, 8)));
    story.answered(5, recovering(11, 10));
    assert_eq!(story.users(), 11);
}

/// Goal: the end of a recovery, however it is heard of, says how many the others are now. Method: others who changed
/// meanwhile; the end by announcement, then by reply, and an outage right after it.
#[test]
fn the_end_of_a_recovery_tells_of_the_others() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.answered(4, recovering(4, 8));
    story.view.fold(recovering(40, 9), story.now);
    story.view.fold(count(54, 10), story.now);
    story.view.mark_unreachable();
    assert_eq!(story.users(), 54);

    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.answered(4, recovering(4, 8));
    story.answered(4, count(54, 9));
    story.view.fold(count(55, 10), story.now);
    story.view.mark_unreachable();
    assert_eq!(story.users(), 55);
}

/// Goal: a recovering count that is old news, or nonsense, changes nothing. Method: announcements below what was seen,
/// then news of the others and an outage.
#[test]
fn an_old_recovery_is_over() {
    let mut story = Story::new();
    story.answered(4, count(10, 10));
    story.view.fold(recovering(9, 9), story.now);
    story.view.fold(recovering(0, 0), story.now);
    story.view.fold(count(60, 11), story.now);
    story.view.mark_unreachable();
    assert_eq!(story.users(), 60);
}

/// Goal: who starts during a recovery shows what the store has, though an announcement overtakes the first reply.
/// Method: the announcement of its own first report, then the reply.
#[test]
fn an_announcement_before_the_first_reply_hides_nobody() {
    let mut story = Story::new();
    let sent = story.send(1);
    story.view.fold(recovering(8, 10), story.now);
    story.receive(sent, reply(recovering(9, 11)));
    assert_eq!(story.users(), 9);
}

/// Goal: a report that ran without an answer is not forgotten when an older one is answered late. Method: the older one
/// is stale, or had run before; then the announcement of what ran, and news of others.
#[test]
fn a_late_answer_does_not_make_up_for_a_lost_one() {
    for applied in [false, true] {
        let mut story = Story::new();
        story.answered(0, count(10, 7));
        let late = story.send(0);
        let _lost = story.send(1000);
        story.view.report_ended();
        story.view.mark_unreachable();
        story.receive(late, Reply { applied, ..reply(count(10, 7)) });
        story.view.fold(count(1010, 8), story.now);
        story.view.fold(count(1011, 9), story.now);
        assert_eq!(story.view.estimate(), 1010);
    }
}

/// Goal: no count is exact once a lease has passed since the newest answered report was sent, whatever is heard by other
/// ways, and our users, whom others may have taken out, stay in the estimate. Method: an instance that reports nothing
/// for a lease, hears that others went on without it, and then is answered again.
#[test]
fn a_lease_without_an_answer_ends_what_is_exact() {
    let mut story = Story::new();
    let sent_at = story.now;
    story.answered(4, count(10, 7));
    story.now = sent_at + LEASE - Duration::from_millis(1);
    story.view.fold(count(11, 8), story.now);
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 11, revision: Revision(8), exact: true }
    );
    assert!(story.view.is_reachable(story.now) && story.view.holds_lease(story.now));

    story.now = sent_at + LEASE;
    assert_eq!(story.view.lease_ends(), Some(story.now));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 11, revision: Revision(8), exact: false }
    );
    assert!(!story.view.is_reachable(story.now) && !story.view.holds_lease(story.now));
    assert_eq!(story.view.acknowledged_users(story.now), 0, "the store may hold none of ours");

    story.view.fold(count(7, 9), story.now);
    story.view.fold(count(8, 10), story.now);
    story.view.observe(local(5));
    let estimate = Shown { users: 12, revision: Revision(10), exact: false };
    assert_eq!(
        story.view.shown(story.now),
        estimate,
        "seven others are known of, and ours are five"
    );
    assert!(story.view.shown_includes(Change(5), story.now));

    let late = story.send(5);
    story.now += LEASE;
    story.receive(late, reply(count(13, 11)));
    assert!(!story.view.shown(story.now).exact, "this answer is as old as a lease");
    story.answered(5, count(13, 11));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 13, revision: Revision(11), exact: true }
    );
}

/// Goal: an answer that comes when the lease has ended does not take our users off a count that was heard meanwhile.
/// Method: a report whose answer is overtaken by the count from after our end.
#[test]
fn a_count_from_after_the_lease_says_nothing_of_the_others() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let late = story.send(4);
    story.now += LEASE;
    story.view.fold(count(6, 9), story.now);
    story.receive(late, reply(count(10, 8)));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 10, revision: Revision(9), exact: false }
    );
}

/// Goal: under a new name nobody is counted twice. Method: news of others before the first report under it.
#[test]
fn a_new_name_counts_nobody_twice() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.view.fold(count(11, 8), story.now);
    assert_eq!(story.view.estimate(), 10);
}

/// Goal: replies that cross cannot take back what a later one acknowledged. Method: answer two reports in the
/// wrong order.
#[test]
fn crossed_replies_keep_the_newest_acknowledgement() {
    let mut story = Story::new();
    let first = story.send(1);
    let second = story.send(2);
    story.receive(second, reply(count(2, 2)));
    story.receive(first, Reply { applied: false, ..reply(count(2, 2)) });
    assert_eq!(story.view.covered(), Change(2));
    assert_eq!(story.view.acknowledged_users(story.now), 2);
}

proptest! {
    /// Goal: shown revisions never go back, whatever is heard in whatever order. Method: random folds,
    /// losses and local changes.
    #[test]
    fn revisions_never_go_back(
        events in proptest::collection::vec((0u8..4, 0u64..30, 0u64..30, any::<bool>()), 0..200),
    ) {
        let mut story = Story::new();
        let mut last = Revision(0);
        for (kind, users, revision, mark) in events {
            let heard = Count { users, revision: Revision(revision), recovering: mark };
            match kind {
                0 => story.answered(users, heard),
                1 => story.view.fold(heard, story.now),
                2 => {
                    story.view.mark_unreachable();
                }
                _ => story.view.observe(local(users)),
            }
            let shown = story.view.shown(story.now);
            prop_assert!(shown.revision >= last);
            prop_assert!(!shown.exact || !story.view.seen().recovering);
            last = shown.revision;
        }
    }

    /// Goal: while nothing changes elsewhere, the estimate is the truth through any outage or loss of data.
    /// Method: others hold a constant number; our own count moves at random, reported or not.
    #[test]
    fn the_estimate_is_right_about_our_own_users(
        others in 0u64..50,
        steps in proptest::collection::vec((0u8..3, 0u64..20), 1..100),
    ) {
        let mut story = Story::new();
        let mut revision = 1;
        story.answered(0, count(others, revision));
        for (kind, users) in steps {
            revision += 1;
            match kind {
                0 => story.answered(users, count(others + users, revision)),
                1 => story.answered(users, recovering(users, revision)),
                _ => {
                    story.view.mark_unreachable();
                    story.view.observe(local(users));
                }
            }
            prop_assert_eq!(story.users(), others + users);
        }
    }
}
