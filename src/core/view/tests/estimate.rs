//! The estimate compared with a model of the store, whose messages may be late, lost, or older than its data.

use std::collections::VecDeque;

use super::*;

const OTHERS: u64 = 40;

/// The part of the store that matters for the estimate. All other instances are one, whose users stay the same. It gets
/// every announcement at once.
struct Model {
    ours: u64,
    fence: Sequence,
    others: u64,
    revision: u64,
    /// The count of the revision.
    shown: Option<u64>,
    recovering: bool,
    others_seen: u64,
    /// Announcements that our instance has not received yet.
    channel: VecDeque<Count>,
    /// Whether our instance received the end of the last recovery.
    calm: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            ours: 0,
            fence: Sequence(0),
            others: OTHERS,
            revision: 1,
            shown: Some(OTHERS),
            recovering: false,
            others_seen: 1,
            channel: VecDeque::new(),
            calm: true,
        }
    }

    fn count(&self) -> Count {
        let users = self.ours + self.others;
        Count {
            users,
            revision: Revision(self.revision),
            recovering: self.recovering,
            ..Count::default()
        }
    }

    fn report(&mut self, sent: SentReport, seen: Count) -> Reply {
        let applied = sent.sequence > self.fence;
        if applied {
            (self.fence, self.ours) = (sent.sequence, sent.local.anonymous);
            let reused = seen.revision.0 == self.revision && Some(seen.users) != self.shown;
            self.revise(seen.revision.0, seen.revision.0 > self.revision || reused);
        }
        Reply {
            outcome: if applied { Outcome::Applied } else { Outcome::Stale },
            ..reply(self.count())
        }
    }

    fn others_report(&mut self) {
        self.others = OTHERS;
        self.revise(self.others_seen, self.others_seen > self.revision);
    }

    fn revise(&mut self, seen: u64, lost: bool) {
        self.recovering |= lost;
        let users = self.ours + self.others;
        if lost || self.shown != Some(users) {
            self.revision = self.revision.max(seen) + 1;
            self.announce();
        }
    }

    fn announce(&mut self) {
        self.shown = Some(self.ours + self.others);
        self.others_seen = self.revision;
        self.channel.push_back(self.count());
    }

    /// All is gone. A second loss while the first is still being told of is left out: it would have to happen within
    /// the time that a message takes.
    fn mark_unreachable(&mut self) {
        if self.calm && !self.channel.iter().any(|count| count.recovering) && !self.recovering {
            (self.ours, self.others, self.fence) = (0, 0, Sequence(0));
            (self.revision, self.shown) = (0, None);
        }
    }

    /// After a lease, in which all have reported.
    fn recover(&mut self) {
        if self.recovering && self.others == OTHERS && self.fence > Sequence(0) {
            self.recovering = false;
            self.revision += 1;
            self.announce();
        }
    }
}

/// A report that we sent, what we had seen then, and the reply if it ran.
type UnderWay = (SentReport, Count, Option<Reply>);

fn run(model: &mut Model, (sent, seen, answer): &mut UnderWay) {
    if answer.is_none() {
        *answer = Some(model.report(*sent, *seen));
    }
}

/// Goal: while the other instances do not change, the estimate is right whatever is late or lost. Method: up to two reports
/// under way, which are applied, answered or lost in any order; announcements that are in order but late; losses of all
/// data, and recoveries.
fn check_estimate(steps: &[(u8, u64)]) {
    let (mut model, mut story) = (Model::new(), Story::new());
    let first = story.send(0);
    let answer = model.report(first, story.view.seen());
    story.receive(first, &answer);
    let mut under_way: Vec<UnderWay> = Vec::new();
    for &(kind, number) in steps {
        let which = usize::try_from(number).unwrap() % under_way.len().max(1);
        match kind {
            0 if under_way.len() < 2 => {
                let seen = story.view.seen();
                under_way.push((story.send(number), seen, None));
            }
            1 if !under_way.is_empty() => run(&mut model, &mut under_way[which]),
            2 if !under_way.is_empty() => {
                run(&mut model, &mut under_way[which]);
                let (sent, _, answer) = under_way.remove(which);
                story.receive(sent, &answer.expect("it ran"));
            }
            3 if !under_way.is_empty() => {
                under_way.remove(which);
                story.view.report_ended();
                story.view.mark_unreachable();
            }
            4 => {
                if let Some(count) = model.channel.pop_front() {
                    model.calm = !count.recovering;
                    story.view.fold(count, story.now);
                }
            }
            5 => {
                // What had not run will never run: it was on a connection to what is gone.
                while let Some(index) = under_way.iter().position(|(.., answer)| answer.is_none()) {
                    under_way.remove(index);
                    story.view.report_ended();
                    story.view.mark_unreachable();
                }
                model.mark_unreachable();
            }
            6 => model.others_report(),
            7 => model.recover(),
            _ => story.view.observe(local(number)),
        }
        assert_eq!(story.view.estimate(), OTHERS + story.view.local.anonymous, "{:?}", story.view);
    }
}

proptest! {
    #[test]
    fn the_estimate_survives_late_lost_and_forgotten_words(
        steps in proptest::collection::vec((0u8..9, 0u64..20), 1..60),
    ) {
        check_estimate(&steps);
    }
}

/// Goal: a count that still has users of ended incarnations is shown as exact, and is nothing for the peaks. Method: an answer that
/// says so, an announcement after it, and the next answer.
#[test]
fn counts_with_users_of_the_dead_are_not_for_the_peaks() {
    let mut story = Story::new();
    story.answered(1, count(5, 7));
    assert_eq!(story.view.exact(story.now).map(|sight| sight.users), Some(5));
    story.view.take_highest();
    let sent = story.send(1);
    story.receive(sent, &Reply { dead: 1, ..reply(count(9, 8)) });
    story.view.fold(count(10, 9), story.now);
    let shown = story.view.shown(story.now);
    assert_eq!((shown.users, shown.exact), (10, true));
    assert_eq!((story.view.exact(story.now), story.view.take_highest()), (None, None));
    story.answered(1, count(6, 10));
    assert_eq!(story.view.exact(story.now).map(|sight| sight.users), Some(6));
}

/// Goal: an instance that has heard the count of the others shows it, also if its own first report was never answered. Method: an
/// announcement while that report is under way, the loss of the report, joins and leaves.
#[test]
fn what_was_heard_before_the_first_answer_is_in_the_estimate() {
    let mut story = Story::new();
    story.send(2);
    story.view.fold(count(500, 7), story.now);
    story.view.report_ended();
    story.view.mark_unreachable();
    assert_eq!(
        story.view.shown(story.now),
        Shown { users: 500, revision: Revision(7), exact: false }
    );
    story.view.observe(local(505));
    assert_eq!(story.users(), 505, "more are here than was heard");
    story.view.observe(local(0));
    assert_eq!(story.users(), 500);
}
