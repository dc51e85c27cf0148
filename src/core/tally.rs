//! The local count: the connections of this instance in the site, and the newcomers among them, which have not been told a count
//! yet. It knows neither sockets nor stores; the caller chooses the type `V` that stands for a connection.
//!
//! Connections without an identity are counted here. Those of users with an identity are counted in the ledger that the tally
//! was given, which also holds the users of rooms.
//!
//! A [`Presence`] is a connection's place in the count. Dropping it counts the connection out. So a connection is counted out
//! exactly once, however it ends.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    room::{Person, UserId},
    site_users::UsersHere,
};

/// How long a newcomer waits for the store to count it before it is told the estimate. A healthy store answers in a few
/// milliseconds, and people begin to notice a delay at about a quarter of a second.
pub const NEWCOMER_PATIENCE: Duration = Duration::from_millis(250);

/// Counts the connections of this instance.
#[derive(Debug)]
pub struct Tally<V> {
    state: Mutex<TallyState<V>>,
    /// The newest local count. Changes between two reads of the reporter merge here.
    local: watch::Sender<Local>,
    /// Counts the users with an identity; `None` if nobody has one.
    users: Option<Arc<dyn SiteLedger>>,
    /// Notified when a newcomer comes who changes no count: a watcher, or another connection of a user.
    newcomer_came: Notify,
}

#[derive(Debug)]
struct TallyState<V> {
    /// Connections that are told the count and not counted.
    watchers: u64,
    /// In the order of joining, so the front has waited longest. At most one entry for each presence.
    newcomers: VecDeque<Newcomer<V>>,
}

/// The local count, and the change that led to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Connections without an identity on this instance.
    pub anonymous: u64,
    /// All counted connections on this instance. A reader is not woken when it is this number alone that changes.
    pub connections: u64,
    /// The newest change.
    pub change: Change,
}

/// Numbers the changes of who is counted on this instance: a connection without an identity joins or leaves, or a user comes or
/// goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change(pub u64);

/// Counts each user of the site once, however many connections he has, and reports him. Implemented by the table of rooms, since
/// users of rooms are reported in the same way.
pub trait SiteLedger: Debug + Send + Sync + 'static {
    /// The local count. The ledger advances its change when a user comes or goes.
    fn local(&self) -> &watch::Sender<Local>;

    /// Adds a connection of a user.
    fn enter_site(&self, person: &Person, now: Instant);

    /// Ends a connection of a user.
    fn leave_site(&self, user: &UserId);

    /// How many users there are, without those who have no identity.
    fn site_users_here(&self) -> UsersHere;

    /// How many users have no connection any more in the site or in a room, and are still counted there.
    fn lingering(&self, now: Instant) -> usize;
}

/// A connection that has not been told a count yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer<V> {
    /// The connection.
    pub member: V,
    /// The change by which it joined, or a later one. A count that covers this change includes the newcomer.
    pub change: Change,
    /// When it joined.
    pub joined_at: Instant,
}

impl<V> Tally<V> {
    /// A tally without connections, which knows no identities.
    pub fn new() -> Arc<Self> {
        Self::publishing_to(watch::Sender::new(Local::default()), None)
    }

    /// A tally without connections, whose users with an identity are counted in a ledger. No other tally may use that.
    pub fn with_users(users: Arc<dyn SiteLedger>) -> Arc<Self> {
        Self::publishing_to(users.local().clone(), Some(users))
    }

    fn publishing_to(local: watch::Sender<Local>, users: Option<Arc<dyn SiteLedger>>) -> Arc<Self> {
        let state = TallyState { watchers: 0, newcomers: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), local, users, newcomer_came: Notify::new() })
    }

    /// Counts a connection without an identity in, until the returned presence is dropped. It is a newcomer until
    /// [`Tally::take_newcomers`] hands it out.
    #[must_use]
    pub fn join(self: &Arc<Self>, member: V, now: Instant) -> Presence<V> {
        let mut state = self.state();
        let change = self.record(1);
        state.newcomers.push_back(Newcomer { member, change, joined_at: now });
        Presence(Place::Anonymous(Arc::clone(self)))
    }

    /// The same for a connection of a person, who is counted once however many connections he has. A tally without a ledger of
    /// users counts the connection as one without an identity.
    #[must_use]
    pub fn join_as(
        self: &Arc<Self>,
        person: Option<Person>,
        member: V,
        now: Instant,
    ) -> Presence<V> {
        let Some((users, person)) = self.users.as_ref().zip(person) else {
            return self.join(member, now);
        };
        users.enter_site(&person, now);
        let mut state = self.state();
        self.add_connections(1);
        self.welcome(&mut state, member, now);
        drop(state);
        self.newcomer_came.notify_one();
        Presence(Place::User(Box::new((Arc::clone(self), person.user))))
    }

    /// Lets a connection watch, until the returned presence is dropped: it is told the count, and not counted. It is a newcomer
    /// like the others, and its count includes all connections that joined before it.
    #[must_use]
    pub fn watch(self: &Arc<Self>, member: V, now: Instant) -> Presence<V> {
        let mut state = self.state();
        state.watchers += 1;
        self.welcome(&mut state, member, now);
        drop(state);
        self.newcomer_came.notify_one();
        Presence(Place::Watcher(Arc::clone(self)))
    }

    /// Adds a newcomer whose count is to include all changes until now.
    fn welcome(&self, state: &mut TallyState<V>, member: V, now: Instant) {
        let change = self.local.borrow().change;
        state.newcomers.push_back(Newcomer { member, change, joined_at: now });
    }

    /// Resolves when a newcomer has come since the last call who may have changed no count. Only one task may wait.
    pub async fn newcomer_came(&self) {
        self.newcomer_came.notified().await;
    }

    /// The number of watchers.
    pub fn watchers(&self) -> u64 {
        self.state().watchers
    }

    /// Takes out the newcomers that can be told a count: those that the store has acknowledged (`covered`), and those that
    /// have waited [`NEWCOMER_PATIENCE`] and are in the estimate, which includes every change up to `estimated`.
    pub fn take_newcomers(
        &self,
        covered: Change,
        estimated: Change,
        now: Instant,
    ) -> Vec<Newcomer<V>> {
        let mut state = self.state();
        let ready = state.newcomers.partition_point(|newcomer| {
            let patience_ended = now.duration_since(newcomer.joined_at) >= NEWCOMER_PATIENCE;
            newcomer.change <= covered || (patience_ended && newcomer.change <= estimated)
        });
        state.newcomers.drain(..ready).collect()
    }

    /// When the newcomer that has waited longest is told the estimate; `None` if there are no newcomers.
    pub fn patience_ends(&self) -> Option<Instant> {
        self.state().newcomers.front().map(|newcomer| newcomer.joined_at + NEWCOMER_PATIENCE)
    }

    /// The number of connections and watchers that are no newcomers any more.
    pub fn told(&self) -> u64 {
        let state = self.state();
        (self.connections() + state.watchers).saturating_sub(state.newcomers.len() as u64)
    }

    /// The number of counted connections.
    pub fn connections(&self) -> u64 {
        self.local.borrow().connections
    }

    /// How many users are here, by how they are known.
    pub fn users_here(&self) -> UsersHere {
        let known = self.users.as_ref().map(|users| users.site_users_here()).unwrap_or_default();
        UsersHere { none: self.local.borrow().anonymous, ..known }
    }

    /// How many users have no connection any more in the site or in a room, and are still counted there.
    pub fn lingering(&self, now: Instant) -> usize {
        self.users.as_ref().map_or(0, |users| users.lingering(now))
    }

    /// The local count as it changes. A slow reader skips to the newest.
    pub fn subscribe(&self) -> watch::Receiver<Local> {
        self.local.subscribe()
    }

    fn leave(&self) {
        self.record(-1);
    }

    fn leave_as(&self, user: &UserId) {
        self.add_connections(-1);
        self.users.as_ref().expect("it has counted the user").leave_site(user);
    }

    fn watch_no_more(&self) {
        self.state().watchers -= 1;
    }

    /// Records a change of the connections without an identity. At a join the state must be locked, so that a task that sees the
    /// change also finds the newcomer.
    fn record(&self, by: i64) -> Change {
        let mut change = Change::default();
        self.local.send_modify(|local| {
            local.anonymous = changed(local.anonymous, by);
            local.connections = changed(local.connections, by);
            local.change.0 += 1;
            change = local.change;
        });
        change
    }

    /// Counts connections that change no count.
    fn add_connections(&self, by: i64) {
        self.local.send_if_modified(|local| {
            local.connections = changed(local.connections, by);
            false
        });
    }

    /// Ignores that the lock is poisoned: every critical section leaves the state consistent.
    fn state(&self) -> MutexGuard<'_, TallyState<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed(number: u64, by: i64) -> u64 {
    number.checked_add_signed(by).expect("a presence leaves once, so no number passes zero")
}

/// A connection's place in the local count. Dropping it counts the connection out. A user stays in the count for the grace after
/// his last connection.
#[derive(Debug)]
pub struct Presence<V>(Place<V>);

/// There is one in every session, so the user's id lies elsewhere.
#[derive(Debug)]
enum Place<V> {
    Watcher(Arc<Tally<V>>),
    Anonymous(Arc<Tally<V>>),
    User(Box<(Arc<Tally<V>>, UserId)>),
}

impl<V> Presence<V> {
    /// Whether the connection is counted. A watcher is not.
    pub fn is_counted(&self) -> bool {
        !matches!(self.0, Place::Watcher(_))
    }

    /// The user whose connection it is; `None` if it has no identity, or watches.
    pub fn user(&self) -> Option<&UserId> {
        match &self.0 {
            Place::User(place) => Some(&place.1),
            Place::Watcher(_) | Place::Anonymous(_) => None,
        }
    }
}

impl<V> Drop for Presence<V> {
    fn drop(&mut self) {
        match &self.0 {
            Place::Watcher(tally) => tally.watch_no_more(),
            Place::Anonymous(tally) => tally.leave(),
            Place::User(place) => place.0.leave_as(&place.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goal: the count is the number of presences, and every join or leave is a new change. Method: random sequences of
    /// joins and drops, compared with a list.
    fn check_counts(steps: &[Option<usize>]) {
        let tally = Tally::new();
        let now = Instant::now();
        let mut held = Vec::new();
        for (step, leaver) in steps.iter().enumerate() {
            match leaver {
                Some(index) if !held.is_empty() => drop(held.swap_remove(index % held.len())),
                _ => held.push(tally.join(step, now)),
            }
            let local = *tally.subscribe().borrow();
            assert_eq!(
                (local.anonymous, local.connections),
                (held.len() as u64, held.len() as u64)
            );
            assert_eq!(local.change, Change(step as u64 + 1));
        }
        drop(held);
        assert_eq!(tally.connections(), 0);
    }

    proptest! {
        #[test]
        fn the_count_is_the_number_of_presences(
            steps in proptest::collection::vec(proptest::option::of(0usize..64), 0..200),
        ) {
            check_counts(&steps);
        }
    }

    /// Goal: a watcher is a newcomer and is not counted, and its coming is noticed. Method: a watcher between two members.
    #[tokio::test]
    async fn watchers_are_told_and_not_counted() {
        let (tally, now) = (Tally::new(), Instant::now());
        let members = [0, 2].map(|id| (id, tally.join(id, now)));
        let watcher = tally.watch(1, now);
        tally.newcomer_came().await;
        let change = tally.subscribe().borrow().change;
        assert_eq!((tally.connections(), tally.watchers(), tally.told()), (2, 1, 0));
        assert!(tally.take_newcomers(Change(0), Change(0), now).is_empty());
        assert_eq!(tally.take_newcomers(change, Change(0), now).len(), 3);
        assert_eq!(tally.told(), 3);
        assert!(!watcher.is_counted() && members.iter().all(|(_, member)| member.is_counted()));
        drop(watcher);
        assert_eq!((tally.connections(), tally.watchers(), tally.told()), (2, 0, 2));
        assert_eq!(tally.subscribe().borrow().change, change, "no count has changed");
        drop(members);
        assert_eq!(tally.connections(), 0);
    }

    /// Goal: newcomers are taken out once each and in order, when they are covered, or are in the estimate and have waited
    /// long enough. Method: three joins at known times, asked for at several moments.
    #[test]
    fn newcomers_wait_until_they_are_counted() {
        let tally = Tally::new();
        let start = Instant::now();
        let ids = [0, 1, 2];
        let _held = ids.map(|id| tally.join(id, start));
        let taken = |covered, estimated, now| -> Vec<u32> {
            let newcomers = tally.take_newcomers(Change(covered), Change(estimated), now);
            newcomers.iter().map(|newcomer| newcomer.member).collect()
        };
        assert_eq!(taken(0, 3, start), [0; 0]);
        assert_eq!(taken(1, 3, start), [ids[0]]);
        assert_eq!(tally.patience_ends(), Some(start + NEWCOMER_PATIENCE));
        assert_eq!(taken(1, 2, start + NEWCOMER_PATIENCE), [ids[1]], "the third is in no estimate");
        assert_eq!(taken(3, 3, start + NEWCOMER_PATIENCE), [ids[2]]);
        assert_eq!(tally.patience_ends(), None);
    }
}
