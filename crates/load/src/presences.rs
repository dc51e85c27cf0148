//! The limits for the counts of a correct server: how many users of this program there are at least and at most, in the site and in
//! each room. Pure: the time is passed in.
//!
//! A server needs time to count, so both limits are those of a window of time. The lower limit counts a user while one of his
//! connections has received its first counts and was not asked to leave; it is the lowest of these numbers within the window. The
//! upper limit counts all different users who had a connection within the window. They need not have been there at the same time:
//! different servers report who leaves and who comes, each at its own time, so one who has left may be counted together with one who
//! has come since.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::identities::User;

/// The site, or the room with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Site,
    Room(u32),
}

/// A connection: whose it is, and in which rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) user: User,
    pub(crate) rooms: &'a [u32],
}

/// The users of the site and of all rooms.
#[derive(Debug)]
pub(crate) struct Presences {
    /// How long ago a number may have been right.
    window: Duration,
    subjects: HashMap<Subject, Population>,
    /// The changes within the window, the oldest first. When a change leaves the window, the limits of its subject are computed again.
    changes: VecDeque<(Instant, Subject)>,
    /// The ends of connections within the window, and when they leave it. The earliest come first.
    ends: VecDeque<(Instant, Subject, User)>,
    limits: Arc<Limits>,
}

/// The limits of the site and of all rooms at this moment. Every visitor reads them for every count, so they are atomic numbers
/// without a lock.
#[derive(Debug)]
pub(crate) struct Limits {
    site: Limit,
    rooms: Box<[Limit]>,
}

/// The fewest and the most users that a server may tell now.
#[derive(Debug, Default)]
struct Limit {
    least: AtomicU64,
    most: AtomicU64,
}

/// The users of one subject.
#[derive(Debug)]
struct Population {
    users: HashMap<User, Connections>,
    /// Users with a connection that has joined.
    joined: u64,
    least: Lowest,
}

/// The connections of one user.
#[derive(Clone, Copy, Debug, Default)]
struct Connections {
    joined: u32,
    open: u32,
}

/// The smallest value of a number within a window of time.
#[derive(Debug)]
struct Lowest {
    /// When the number changed, and to what. Only values that may still be the smallest one: from the smallest to the newest.
    values: VecDeque<(Instant, u64)>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It is started.
    Start,
    /// It has received its first counts.
    Join,
    /// It was asked to leave, or was lost. A server may count it until it has ended.
    Leave {
        /// Whether it had received its first counts.
        had_joined: bool,
    },
    /// It has ended.
    End,
}

impl Presences {
    /// Nobody, and this number of rooms.
    pub(crate) fn new(rooms: u32, window: Duration) -> Self {
        let rooms = (0..rooms).map(|_| Limit::default()).collect();
        let limits = Limits { site: Limit::default(), rooms };
        Self {
            window,
            subjects: HashMap::new(),
            changes: VecDeque::new(),
            ends: VecDeque::new(),
            limits: Arc::new(limits),
        }
    }

    /// The limits, which follow these presences.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// Records what becomes of a connection.
    pub(crate) fn record(&mut self, step: Step, connection: Connection<'_>, now: Instant) {
        self.take_ends(now);
        let rooms = connection.rooms.iter().map(|&room| Subject::Room(room));
        for subject in std::iter::once(Subject::Site).chain(rooms) {
            match step {
                Step::End => self.ends.push_back((now + self.window, subject, connection.user)),
                _ => self.change(step, subject, connection.user, now),
            }
        }
    }

    /// Forgets the connections whose ends have left the window.
    fn take_ends(&mut self, now: Instant) {
        while let Some(&(at, subject, user)) = self.ends.front()
            && at <= now
        {
            self.ends.pop_front();
            self.change(Step::End, subject, user, at);
        }
    }

    fn change(&mut self, step: Step, subject: Subject, user: User, at: Instant) {
        let population = self.subjects.entry(subject).or_insert_with(|| Population::new(at));
        population.record(step, user, at);
        self.changes.push_back((at, subject));
        self.refresh(subject, at);
    }

    /// Forgets what is older than the window. To be called often.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.take_ends(now);
        while let Some(&(at, subject)) = self.changes.front()
            && now.saturating_duration_since(at) >= self.window
        {
            self.changes.pop_front();
            self.refresh(subject, now);
        }
    }

    fn refresh(&mut self, subject: Subject, now: Instant) {
        let (Some(population), Some(limit)) =
            (self.subjects.get_mut(&subject), self.limits.of(subject))
        else {
            return;
        };
        let since = now.checked_sub(self.window).unwrap_or(now);
        limit.least.store(population.least.since(since), Ordering::Relaxed);
        limit.most.store(population.users.len() as u64, Ordering::Relaxed);
    }
}

impl Limits {
    fn of(&self, subject: Subject) -> Option<&Limit> {
        match subject {
            Subject::Site => Some(&self.site),
            Subject::Room(room) => self.rooms.get(room as usize),
        }
    }

    /// The fewest users that a server may tell now.
    pub(crate) fn least(&self, subject: Subject) -> u64 {
        self.of(subject).map_or(0, |limit| limit.least.load(Ordering::Relaxed))
    }

    /// The most users of this program that a server may tell now.
    pub(crate) fn most(&self, subject: Subject) -> u64 {
        self.of(subject).map_or(0, |limit| limit.most.load(Ordering::Relaxed))
    }
}

impl Population {
    fn new(now: Instant) -> Self {
        let least = Lowest { values: VecDeque::from([(now, 0)]) };
        Self { users: HashMap::new(), joined: 0, least }
    }

    fn record(&mut self, step: Step, user: User, now: Instant) {
        let connections = self.users.entry(user).or_default();
        let was_counted = connections.joined > 0;
        match step {
            Step::Start => connections.open += 1,
            Step::Join => connections.joined += 1,
            Step::Leave { had_joined } => connections.joined -= u32::from(had_joined),
            Step::End => connections.open -= 1,
        }
        let is_counted = connections.joined > 0;
        if connections.open == 0 {
            self.users.remove(&user);
        }
        self.joined = self.joined + u64::from(is_counted) - u64::from(was_counted);
        self.least.set(self.joined, now);
    }
}

impl Lowest {
    fn set(&mut self, value: u64, now: Instant) {
        while self.values.back().is_some_and(|&(_, last)| value < last) {
            self.values.pop_back();
        }
        // A value that has not changed is as old as it was.
        if self.values.back().is_none_or(|&(_, last)| last != value) {
            self.values.push_back((now, value));
        }
    }

    /// The smallest value from this moment on.
    fn since(&mut self, since: Instant) -> u64 {
        while self.values.get(1).is_some_and(|&(at, _)| at <= since) {
            self.values.pop_front();
        }
        self.values.front().map_or(0, |&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WINDOW: Duration = Duration::from_secs(10);

    /// The limits of the site at this time.
    fn limits(presences: &mut Presences, now: Instant) -> (u64, u64) {
        presences.pass(now);
        let limits = presences.limits();
        (limits.least(Subject::Site), limits.most(Subject::Site))
    }

    /// Goal: an identity is one user however many connections it has, and a number is allowed for as long as the window. Method: two
    /// connections of one identity and one without, step by step.
    #[test]
    fn tabs_are_one_user() {
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut presences = Presences::new(0, WINDOW);
        let identity = Connection { user: User::Identity(7), rooms: &[] };
        let other = Connection { user: User::Connection(7), rooms: &[] };
        for (seconds, step) in [(0, Step::Start), (1, Step::Join)] {
            for connection in [identity, identity, other] {
                presences.record(step, connection, at(seconds));
            }
        }
        assert_eq!(limits(&mut presences, at(2)), (0, 2));
        assert_eq!(limits(&mut presences, at(10)), (0, 2));
        assert_eq!(limits(&mut presences, at(11)), (2, 2));
        let leave = Step::Leave { had_joined: true };
        for step in [leave, Step::End] {
            presences.record(step, identity, at(20));
        }
        assert_eq!(limits(&mut presences, at(20)), (2, 2));
        presences.record(leave, identity, at(30));
        assert_eq!(limits(&mut presences, at(30)), (1, 2));
        assert_eq!(limits(&mut presences, at(49)), (1, 2), "it may be counted: it has not ended");
        presences.record(Step::End, identity, at(50));
        assert_eq!(limits(&mut presences, at(59)), (1, 2));
        assert_eq!(limits(&mut presences, at(60)), (1, 1));
    }

    /// Goal: somebody who has just left may be counted together with the one who comes in his place. Method: one leaves while another
    /// comes, and another one comes later.
    #[test]
    fn who_leaves_and_who_comes_may_meet() {
        let start = Instant::now();
        let mut presences = Presences::new(0, WINDOW);
        let who = |id| Connection { user: User::Connection(id), rooms: &[] };
        presences.record(Step::Start, who(0), start);
        presences.record(Step::End, who(0), start);
        presences.record(Step::Start, who(1), start);
        assert_eq!(limits(&mut presences, start), (0, 2));
        let later = start + 2 * WINDOW;
        presences.record(Step::End, who(1), later);
        presences.record(Step::Start, who(2), later + WINDOW);
        assert_eq!(limits(&mut presences, later + WINDOW), (0, 1));
    }

    /// Goal: each room has limits of its own. Method: one identity in two rooms by different connections, and a room of nobody. Then
    /// somebody leaves one room, and may be counted only there.
    #[test]
    fn rooms_are_apart() {
        let now = Instant::now();
        let mut presences = Presences::new(3, WINDOW);
        for rooms in [&[0, 1][..], &[1], &[1]] {
            presences.record(Step::Start, Connection { user: User::Identity(0), rooms }, now);
        }
        presences.record(Step::Start, Connection { user: User::Connection(0), rooms: &[1] }, now);
        let limits = presences.limits();
        let most = |room| limits.most(Subject::Room(room));
        assert_eq!([most(0), most(1), most(2), limits.most(Subject::Site)], [1, 2, 0, 2]);
        let leaving = Connection { user: User::Connection(0), rooms: &[1] };
        presences.record(Step::Leave { had_joined: false }, leaving, now);
        let later = now + 2 * WINDOW;
        presences.record(Step::Start, Connection { user: User::Connection(1), rooms: &[0] }, later);
        presences.pass(later);
        assert_eq!([most(0), most(1), most(2), limits.most(Subject::Site)], [2, 2, 0, 3]);
    }

    proptest! {
        /// Goal: the lower limit is the smallest number within the window, and the upper one is that of all who were there within it.
        /// Method: random joins and ends, compared with what was before.
        #[test]
        fn limits_are_those_of_the_window(steps in prop::collection::vec((0_u32..4, 0_u32..3, 0_u32..6), 1..60)) {
            let start = Instant::now();
            let mut now = start;
            let mut presences = Presences::new(0, WINDOW);
            let (mut open, mut ended) = ([0_u32; 4], [None; 4]);
            let mut history = vec![(start, 0)];
            for (identity, what, seconds) in steps {
                now += seconds * SECOND;
                let connection = Connection { user: User::Identity(identity), rooms: &[] };
                let who = identity as usize;
                if what > 0 {
                    open[who] += 1;
                    presences.record(Step::Start, connection, now);
                    presences.record(Step::Join, connection, now);
                } else if open[who] > 0 {
                    open[who] -= 1;
                    ended[who] = Some(now);
                    presences.record(Step::Leave { had_joined: true }, connection, now);
                    presences.record(Step::End, connection, now);
                }
                history.push((now, open.iter().filter(|count| **count > 0).count()));
                let since = now.checked_sub(WINDOW).unwrap();
                let standing = history.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
                let least = history[standing..].iter().map(|(_, users)| *users).min().unwrap();
                let was_there = |(open, ended): &(&u32, &Option<Instant>)| {
                    **open > 0 || ended.is_some_and(|at| at > since)
                };
                let most = open.iter().zip(&ended).filter(was_there).count();
                prop_assert_eq!(limits(&mut presences, now), (least as u64, most as u64));
            }
        }
    }
}
