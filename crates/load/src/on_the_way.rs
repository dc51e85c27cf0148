//! Judges every count that visitors are told while the run goes on: whether it lies between the fewest and the most users that there
//! may have been.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use crate::presences::{Limits, Subject};

/// How long this program waits before it decides that a number was too low. A connection may have been lost at the same moment, and
/// this program may learn of the loss later than the server.
const SUSPECTED_FOR: Duration = Duration::from_secs(1);
/// The first count may be an estimate if it comes later than this: servers wait no longer for the store.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// The counts that visitors were told on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OnTheWay {
    /// Counts that were judged.
    pub judged: u64,
    /// Counts above the most users that there may have been. Only known if nobody else visits.
    pub too_many: u64,
    /// Counts below the fewest users that there must have been.
    pub too_few: u64,
    /// The count that was furthest from the allowed numbers; `None` if none was wrong.
    pub worst: Option<WrongCount>,
}

/// A count that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongCount {
    /// The room; `None` for the site.
    pub room: Option<String>,
    /// What a visitor was told.
    pub told: u64,
    /// The nearest number that may have been right.
    pub allowed: u64,
}

/// Judges counts. All visitors share it.
#[derive(Debug)]
pub(crate) struct Judge {
    limits: Arc<Limits>,
    /// Whether there are no other visitors.
    alone: bool,
    judged: AtomicU64,
    wrong: Mutex<Wrong>,
}

#[derive(Debug, Default)]
struct Wrong {
    too_many: u64,
    too_few: u64,
    /// Numbers that are too low, with how often and since when they are suspected.
    suspects: BTreeMap<(Subject, u64), (u64, Instant)>,
    worst: Option<Worst>,
}

#[derive(Clone, Copy, Debug)]
struct Worst {
    subject: Subject,
    told: u64,
    allowed: u64,
}

impl Judge {
    pub(crate) fn new(limits: Arc<Limits>, alone: bool) -> Self {
        Self { limits, alone, judged: AtomicU64::new(0), wrong: Mutex::default() }
    }

    /// Judges a count that a visitor was told.
    pub(crate) fn hear(&self, subject: Subject, told: u64, now: Instant) {
        self.judged.fetch_add(1, Ordering::Relaxed);
        if told < self.limits.least(subject) {
            let mut wrong = self.wrong();
            let (times, _) = wrong.suspects.entry((subject, told)).or_insert((0, now));
            *times += 1;
            return;
        }
        let most = self.limits.most(subject);
        if self.alone && told > most {
            let mut wrong = self.wrong();
            wrong.too_many += 1;
            wrong.compare(Worst { subject, told, allowed: most });
        }
    }

    /// Decides on the numbers that have been suspected for long enough. To be called often.
    pub(crate) fn pass(&self, now: Instant) {
        self.decide(|since| now.saturating_duration_since(since) >= SUSPECTED_FOR);
    }

    /// Decides on all, and sums up. `name` names a room.
    pub(crate) fn sum(&self, name: impl Fn(u32) -> String) -> OnTheWay {
        self.decide(|_| true);
        let wrong = self.wrong();
        let worst = wrong.worst.map(|Worst { subject, told, allowed }| WrongCount {
            room: match subject {
                Subject::Site => None,
                Subject::Room(room) => Some(name(room)),
            },
            told,
            allowed,
        });
        OnTheWay {
            judged: self.judged.load(Ordering::Relaxed),
            too_many: wrong.too_many,
            too_few: wrong.too_few,
            worst,
        }
    }

    fn decide(&self, is_due: impl Fn(Instant) -> bool) {
        let mut wrong = self.wrong();
        let (due, kept) = std::mem::take(&mut wrong.suspects)
            .into_iter()
            .partition(|&(_, (_, since))| is_due(since));
        wrong.suspects = kept;
        let due: BTreeMap<_, _> = due;
        for ((subject, told), (times, _)) in due {
            // The limits are those of a window that includes the moment of the suspicion.
            let least = self.limits.least(subject);
            if told < least {
                wrong.too_few += times;
                wrong.compare(Worst { subject, told, allowed: least });
            }
        }
    }

    fn wrong(&self) -> MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wrong {
    fn compare(&mut self, found: Worst) {
        let error = |worst: &Worst| worst.told.abs_diff(worst.allowed);
        if self.worst.as_ref().is_none_or(|worst| error(&found) > error(worst)) {
            self.worst = Some(found);
        }
    }
}

impl OnTheWay {
    /// Whether no count was wrong.
    pub fn is_right(&self) -> bool {
        self.too_many == 0 && self.too_few == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identities::User,
        presences::{Connection, Presences, Step},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Two identities with two connections each, in the site and in room 3. They joined long ago.
    fn crowd(start: Instant) -> (Presences, [Connection<'static>; 4]) {
        let mut presences = Presences::new(5, 10 * SECOND);
        let connections =
            [0, 0, 1, 1].map(|identity| Connection { user: User::Identity(identity), rooms: &[3] });
        for connection in connections {
            presences.record(Step::Start, connection, start);
            presences.record(Step::Join, connection, start);
        }
        presences.pass(start + 10 * SECOND);
        (presences, connections)
    }

    /// Goal: a server that counts connections, or forgets an identity, is found, in the site and in rooms, and the worst count is
    /// named. Method: right and wrong counts; the same beside other visitors, who may be the difference.
    #[test]
    fn wrong_counts_are_found() {
        let start = Instant::now();
        let (presences, _) = crowd(start);
        let now = start + 20 * SECOND;
        for (alone, too_many) in [(true, 2), (false, 0)] {
            let judge = Judge::new(presences.limits(), alone);
            for (subject, told) in [
                (Subject::Site, 2),
                (Subject::Site, 3),
                (Subject::Room(3), 2),
                (Subject::Room(3), 4),
                (Subject::Room(3), 1),
                (Subject::Room(3), 1),
            ] {
                judge.hear(subject, told, now);
            }
            judge.pass(now + SECOND);
            let sum = judge.sum(|room| format!("/r/{room}"));
            assert_eq!((sum.judged, sum.too_many, sum.too_few), (6, too_many, 2));
            assert!(!sum.is_right());
            let worst = sum.worst.unwrap();
            let told = if alone { 4 } else { 1 };
            assert_eq!((worst.room.as_deref(), worst.told, worst.allowed), (Some("/r/3"), told, 2));
        }
    }

    /// Goal: a count that is lower because connections were lost at that moment is not wrong, though the loss is known later. Method:
    /// an identity is lost just after the count, and in the other case it is not.
    #[test]
    fn losses_are_learned_late() {
        for is_lost in [true, false] {
            let start = Instant::now();
            let (mut presences, connections) = crowd(start);
            let judge = Judge::new(presences.limits(), true);
            let now = start + 20 * SECOND;
            judge.hear(Subject::Site, 1, now);
            if is_lost {
                for connection in &connections[..2] {
                    let step = Step::Leave { had_joined: true };
                    presences.record(step, *connection, now + SECOND / 100);
                }
            }
            judge.pass(now + SECOND / 2);
            assert!(judge.wrong().too_few == 0, "not decided yet");
            judge.pass(now + SECOND);
            assert_eq!(judge.sum(|_| String::new()).is_right(), is_lost);
        }
    }
}
