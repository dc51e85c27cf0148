//! An instance that the machine plays. It reports with what the product's view has seen, and shows what that
//! view shows.

use std::{collections::VecDeque, time::Duration};

use headcount::core::{
    about::Introduction,
    count::{Count, Incarnation, Revision, Sequence, Stamp},
    report::Reply,
    site_users::SiteUsers,
    tally::{Change, Local},
    view::{SentReport, Shown, View},
};
use tokio::time::Instant;

use super::super::stage::{Answer, CHANNEL, DATABASE, LEASE, Outcome, ensure};

pub(super) struct Member {
    pub(super) name: Incarnation,
    pub(super) view: View,
    /// The time of its own clock, which is never set.
    pub(super) now: Instant,
    /// Announcements that it will receive later.
    pub(super) unheard: VecDeque<Count>,
    introduction: Introduction,
    sequence: Sequence,
    /// The sequence of the newest report that was answered.
    answered: Sequence,
    local: Local,
    last_shown: Revision,
}

/// A report that was made.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) arguments: Vec<String>,
    pub(super) sent: SentReport,
    /// What its sender had seen.
    pub(super) seen: Count,
    pub(super) name: Incarnation,
    /// Whether it says who its sender is.
    introduced: bool,
}

impl Member {
    pub(super) fn new(name: Incarnation, now: Instant) -> Self {
        let mut view = View::default();
        view.begin_incarnation(name, Duration::from_millis(LEASE));
        Self {
            name,
            view,
            now,
            unheard: VecDeque::new(),
            introduction: Introduction::new(Duration::from_millis(LEASE)),
            sequence: Sequence::default(),
            answered: Sequence::default(),
            local: Local::default(),
            last_shown: Revision::default(),
        }
    }

    pub(super) fn observe(&mut self, users: u64) {
        if users != self.local.anonymous {
            self.local = Local {
                anonymous: users,
                connections: users,
                change: Change(self.local.change.0 + 1),
            };
            self.view.observe(self.local);
        }
    }

    pub(super) fn make_report(&mut self, farewell: bool, now: u64, base: Instant) -> Made {
        self.sequence = self.sequence.next();
        self.view.report_sent(self.sequence);
        let seen = self.view.seen();
        let (users, kind) =
            if farewell { (0, "farewell") } else { (self.local.anonymous, "report") };
        let numbers = [self.sequence.0, users, LEASE, seen.revision.0, seen.users];
        let mut arguments = vec![self.name.to_string()];
        arguments.extend(numbers.iter().map(u64::to_string));
        let at = base + Duration::from_millis(now);
        let introduced = !farewell && self.introduction.is_due(at);
        let about = if introduced { introduction(self.name) } else { String::new() };
        arguments.extend([kind.to_owned(), CHANNEL.to_owned(), DATABASE.to_owned(), about]);
        arguments.extend([&*seen.stamp.to_string(), "0", "", "0"].map(str::to_owned));
        let sent =
            SentReport { sequence: self.sequence, local: self.local, is_site_told: true, at };
        Made { arguments, sent, seen, name: self.name, introduced }
    }

    /// The report was lost, or took too long.
    pub(super) fn give_up(&mut self, made: &Made) {
        self.view.report_ended();
        self.introduction.renew();
        if made.name == self.name && made.sent.sequence > self.answered {
            self.view.mark_unreachable();
        }
    }

    /// The reply arrives. Returns whether another process reports under the same name.
    pub(super) fn hear_reply(&mut self, made: &Made, answer: &Answer) -> bool {
        self.view.report_ended();
        if made.name != self.name {
            return false;
        }
        if !made.introduced {
            let (stored, count) = (Sequence(answer.stored_sequence), reply(answer).count);
            self.introduction.heard(made.sent.sequence, stored, count);
        } else if answer.applied {
            self.introduction.arrived(made.sent.sequence, made.sent.at);
        }
        let sequence = made.sent.sequence;
        let stored = Sequence(answer.stored_sequence);
        if !answer.applied && (stored == sequence || stored > self.sequence) {
            return true;
        }
        self.answered = self.answered.max(sequence);
        self.view.fold_reply(made.sent, &reply(answer), SiteUsers::default(), self.now);
        false
    }

    pub(super) fn rename(&mut self, name: Incarnation) {
        self.name = name;
        self.introduction.renew();
        self.sequence = Sequence::default();
        self.answered = Sequence::default();
        self.view.begin_incarnation(name, Duration::from_millis(LEASE));
    }

    pub(super) fn hear_all(&mut self) {
        while let Some(count) = self.unheard.pop_front() {
            self.hear(count);
        }
    }

    pub(super) fn hear(&mut self, count: Count) {
        self.view.fold(count, self.now);
    }

    pub(super) fn shown(&self) -> Shown {
        self.view.shown(self.now)
    }

    /// Checks that what it shows never goes back.
    pub(super) fn check(&mut self) -> Outcome {
        let shown = self.shown().revision;
        ensure("no shown revision goes back", shown >= self.last_shown)?;
        self.last_shown = shown;
        Ok(())
    }
}

/// What an instance of this name says of itself.
pub(super) fn introduction(name: Incarnation) -> String {
    format!("{{\"host\":\"host of {name}\"}}")
}

fn reply(answer: &Answer) -> Reply {
    let count = Count {
        users: answer.count,
        revision: Revision(answer.revision),
        recovering: answer.recovering,
        stamp: Stamp::parse(&answer.stamp).expect("a stamp"),
    };
    let small = |number: u64| u32::try_from(number).expect("few instances");
    Reply {
        outcome: if answer.applied {
            headcount::core::report::Outcome::Applied
        } else {
            headcount::core::report::Outcome::Stale
        },
        count,
        announced: Revision(answer.announced),
        instances: small(answer.instances),
        stored_sequence: Sequence(answer.stored_sequence),
        reaped: small(answer.reaped),
        repaired: small(answer.repaired),
        crashed: small(answer.crashed),
        unannounced: answer.revision > answer.announced,
        ..Reply::default()
    }
}
