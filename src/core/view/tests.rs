//! Tests of the view: the fold, the estimate, and what the two promise together.

#[path = "tests/estimate.rs"]
mod estimate;
#[path = "tests/resend.rs"]
mod resend;

use proptest::prelude::*;

use super::*;
use crate::{
    core::{report::Outcome, tally::Change},
    fixtures::{count, reply},
};

const LEASE: Duration = Duration::from_secs(2);
const NO_CHANGE: Change = Change(0);

fn recovering(users: u64, revision: u64) -> Count {
    Count { recovering: true, ..count(users, revision) }
}

fn local(users: u64) -> Local {
    Local { anonymous: users, connections: users, change: Change(users) }
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
        self.receive(sent, &reply(count));
    }

    fn receive(&mut self, sent: SentReport, reply: &Reply) {
        self.view.report_ended();
        self.view.fold_reply(sent, reply, SiteUsers::default(), self.now);
    }

    fn send(&mut self, users: u64) -> SentReport {
        self.view.observe(local(users));
        self.sequence = self.sequence.next();
        self.view.report_sent(self.sequence);
        SentReport {
            sequence: self.sequence,
            local: local(users),
            is_site_told: true,
            at: self.now,
        }
    }

    fn users(&self) -> u64 {
        self.view.shown(self.now).users
    }
}

/// Goal: before the first answer the view shows the local users, as an estimate. Method: a new view with two joins.
#[test]
fn without_a_base_the_local_count_is_shown() {
    let mut view = View::default();
    view.observe(local(3));
    assert_eq!(view.shown(Instant::now()), Shown { users: 3, revision: Revision(0), exact: false });
    assert_eq!(view.covered(), NO_CHANGE);
}

/// Goal: while the store is unreachable, local joins and leaves change the number, and an answer with the same revision
/// makes it exact again. Method: an answer, an outage, a change, an answer.
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

/// Goal: a store that has lost its data does not make the number dip. Method: recovering counts that begin near zero, by
/// reply and by announcement, then the end of the recovery.
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

/// Goal: an instance that starts during a recovery shows the store's number, not only its own users. Method: a first reply
/// that is recovering.
#[test]
fn a_newcomer_among_instances_takes_a_recovering_count() {
    let mut story = Story::new();
    story.answered(1, recovering(8, 10));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 8, revision: Revision(10), exact: false }
    );
}

/// Goal: if the announcement of a local change arrives before the reply, the estimate does not count the change twice.
/// Method: the announcement, its reply, then an outage.
#[test]
fn an_announcement_may_overtake_the_reply() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let sent = story.send(5);
    story.view.fold(count(11, 8), story.now);
    story.receive(sent, &reply(count(11, 8)));
    story.view.mark_unreachable();
    assert_eq!(story.users(), 11);
}

/// Goal: if the announcement of a local report arrives and its reply does not, the estimate does not count the local users
/// twice. Method: a report that fails after its announcement, then changes of others.
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

/// Goal: announcements from before a loss of data, which arrive after a reply from after it, do not falsify what is known
/// of the others. Method: both orders of arrival, then a recovering count.
#[test]
fn old_announcements_after_a_loss_say_nothing_of_the_others() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.answered(5, recovering(5, 8));
    story.view.fold(count(11, 9), story.now);
    story.view.fold(count(10, 10), story.now);
    assert!(
        story.view.included(story.now).leaves_out(5),
        "an old count does not include the fifth"
    );
    story.answered(5, recovering(11, 11));
    assert_eq!(story.users(), 11);

    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let sent = story.send(5);
    story.view.fold(count(10, 9), story.now);
    story.receive(sent, &reply(recovering(5, 8)));
    story.answered(5, recovering(11, 10));
    assert_eq!(story.users(), 11);
}

/// Goal: the end of a recovery tells how many users the other instances have, whether it is heard by announcement or by
/// reply. Method: others that changed meanwhile; an outage right after it.
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

/// Goal: an outdated or absurd recovering count changes nothing. Method: announcements below the highest revision, then
/// changes of the others and an outage.
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

/// Goal: an instance that starts during a recovery shows the store's number, even if an announcement arrives before its
/// first reply. Method: the announcement of its own first report, then the reply.
#[test]
fn an_announcement_before_the_first_reply_hides_nobody() {
    let mut story = Story::new();
    let sent = story.send(1);
    story.view.fold(recovering(8, 10), story.now);
    story.receive(sent, &reply(recovering(9, 11)));
    assert_eq!(story.users(), 9);
}

/// Goal: a report that was applied without an answer is not forgotten when an older one is answered late. Method: an older
/// report that is stale, or was applied before; then the announcement of the later one, and changes of others.
#[test]
fn a_late_answer_does_not_make_up_for_a_lost_one() {
    for applied in [false, true] {
        let mut story = Story::new();
        story.answered(0, count(10, 7));
        let late = story.send(0);
        let _lost = story.send(1000);
        story.view.report_ended();
        story.view.mark_unreachable();
        story.receive(
            late,
            &Reply {
                outcome: if applied { Outcome::Applied } else { Outcome::Stale },
                ..reply(count(10, 7))
            },
        );
        story.view.fold(count(1010, 8), story.now);
        story.view.fold(count(1011, 9), story.now);
        assert_eq!(story.view.estimate(), 1010);
    }
}

/// Goal: no count is exact a lease after the newest answered report was sent, and the local users, whom the store may have
/// counted out, stay in the estimate. Method: an instance without reports for a lease hears counts of others, and then is
/// answered again.
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
    assert_eq!(story.view.acknowledged_anonymous(story.now), 0, "the store may hold none of ours");

    story.view.fold(count(7, 9), story.now);
    story.view.fold(count(8, 10), story.now);
    story.view.observe(local(5));
    let estimate = Shown { users: 12, revision: Revision(10), exact: false };
    assert_eq!(
        story.view.shown(story.now),
        estimate,
        "seven others are known of, and ours are five"
    );
    assert!(!story.view.included(story.now).leaves_out(5));

    let late = story.send(5);
    story.now += LEASE;
    story.receive(late, &reply(count(13, 11)));
    assert!(!story.view.shown(story.now).exact, "this answer is as old as a lease");
    story.answered(5, count(13, 11));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 13, revision: Revision(11), exact: true }
    );
}

/// Goal: an answer that arrives after the end of the lease does not subtract the local users from a count that was heard
/// meanwhile. Method: a count from after the end of the lease arrives before the late answer.
#[test]
fn a_count_from_after_the_lease_says_nothing_of_the_others() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    let late = story.send(4);
    story.now += LEASE;
    story.view.fold(count(6, 9), story.now);
    story.receive(late, &reply(count(10, 8)));
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 10, revision: Revision(9), exact: false }
    );
}

/// Goal: after a change of the incarnation the local users are not counted twice. Method: changes of others before the
/// first report of the new incarnation.
#[test]
fn a_new_name_counts_nobody_twice() {
    let mut story = Story::new();
    story.answered(4, count(10, 7));
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.view.fold(count(11, 8), story.now);
    assert_eq!(story.view.estimate(), 10);
}

/// Goal: replies in the wrong order cannot undo what a later one acknowledged. Method: answer two reports in the wrong
/// order.
#[test]
fn crossed_replies_keep_the_newest_acknowledgement() {
    let mut story = Story::new();
    let first = story.send(1);
    let second = story.send(2);
    story.receive(second, &reply(count(2, 2)));
    story.receive(first, &Reply { outcome: Outcome::Stale, ..reply(count(2, 2)) });
    assert_eq!(story.view.covered(), Change(2));
    assert_eq!(story.view.acknowledged_anonymous(story.now), 2);
}

proptest! {
    /// Goal: shown revisions never decrease, in any order of events. Method: random replies, announcements, outages and
    /// local changes.
    #[test]
    fn revisions_never_go_back(
        events in proptest::collection::vec((0u8..4, 0u64..30, 0u64..30, any::<bool>()), 0..200),
    ) {
        let mut story = Story::new();
        let mut last = Revision(0);
        for (kind, users, revision, mark) in events {
            let heard = Count { users, revision: Revision(revision), recovering: mark, ..Count::default() };
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

    /// Goal: while the other instances do not change, the estimate is right through any outage or loss of data. Method:
    /// others with a constant number; a local count that changes at random, reported or not.
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
