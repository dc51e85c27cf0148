//! The local count: the number of connections of this instance, and the newcomers among them, which have not been told a
//! count yet. It knows neither sockets nor stores; the caller chooses the type `V` that stands for a connection.
//!
//! A [`Presence`] is a connection's place in the count. Dropping it counts the connection out. So a connection is counted out
//! exactly once, however it ends.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
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
    /// Notified when a watcher comes, who changes no count.
    watcher_came: Notify,
}

#[derive(Debug)]
struct TallyState<V> {
    local: Local,
    /// Connections that are told the count and not counted.
    watchers: u64,
    /// In the order of joining, so the front has waited longest. At most one entry for each presence.
    newcomers: VecDeque<Newcomer<V>>,
}

/// The local count, and the change that led to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Connections on this instance.
    pub users: u64,
    /// The change that led to this number.
    pub change: Change,
}

/// Numbers the joins and leaves of this instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change(pub u64);

/// A connection that has not been told a count yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer<V> {
    /// The connection.
    pub member: V,
    /// The change by which it joined. A count that covers this change includes the newcomer.
    pub change: Change,
    /// When it joined.
    pub joined_at: Instant,
}

impl<V> Tally<V> {
    /// A tally without connections.
    pub fn new() -> Arc<Self> {
        Self::publishing_to(watch::Sender::new(Local::default()))
    }

    /// A tally without connections, which publishes its count on an existing channel. No other tally may publish there.
    pub(crate) fn publishing_to(local: watch::Sender<Local>) -> Arc<Self> {
        let state = TallyState { local: Local::default(), watchers: 0, newcomers: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), local, watcher_came: Notify::new() })
    }

    /// Counts a connection in, until the returned presence is dropped. It is a newcomer until
    /// [`Tally::take_newcomers`] hands it out.
    #[must_use]
    pub fn join(self: &Arc<Self>, member: V, now: Instant) -> Presence<V> {
        let mut state = self.state();
        let change = self.record(&mut state, 1);
        state.newcomers.push_back(Newcomer { member, change, joined_at: now });
        Presence { tally: Arc::clone(self), is_counted: true }
    }

    /// Lets a connection watch, until the returned presence is dropped: it is told the count, and not counted. It is a newcomer
    /// like the others, and its count includes all connections that joined before it.
    #[must_use]
    pub fn watch(self: &Arc<Self>, member: V, now: Instant) -> Presence<V> {
        let mut state = self.state();
        state.watchers += 1;
        let change = state.local.change;
        state.newcomers.push_back(Newcomer { member, change, joined_at: now });
        drop(state);
        self.watcher_came.notify_one();
        Presence { tally: Arc::clone(self), is_counted: false }
    }

    /// Resolves when a watcher has come since the last call. Only one task may wait.
    pub async fn watcher_came(&self) {
        self.watcher_came.notified().await;
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
        (state.local.users + state.watchers).saturating_sub(state.newcomers.len() as u64)
    }

    /// The number of connections.
    pub fn users(&self) -> u64 {
        self.state().local.users
    }

    /// The local count as it changes. A slow reader skips to the newest.
    pub fn subscribe(&self) -> watch::Receiver<Local> {
        self.local.subscribe()
    }

    fn leave(&self) {
        let mut state = self.state();
        self.record(&mut state, -1);
    }

    fn watch_no_more(&self) {
        self.state().watchers -= 1;
    }

    /// Records a change and publishes it under the lock, so that the published counts are in order, and a task that sees a
    /// change also finds its newcomer.
    fn record(&self, state: &mut TallyState<V>, by: i64) -> Change {
        let users = state.local.users.checked_add_signed(by);
        state.local.users = users.expect("a presence leaves once, so the count cannot pass zero");
        state.local.change.0 += 1;
        self.local.send_replace(state.local);
        state.local.change
    }

    /// Ignores that the lock is poisoned: every critical section leaves the state consistent.
    fn state(&self) -> MutexGuard<'_, TallyState<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the local count. Dropping it counts the connection out.
#[derive(Debug)]
pub struct Presence<V> {
    tally: Arc<Tally<V>>,
    /// Whether the connection is counted. A watcher is not.
    is_counted: bool,
}

impl<V> Presence<V> {
    /// Whether the connection is counted. A watcher is not.
    pub fn is_counted(&self) -> bool {
        self.is_counted
    }
}

impl<V> Drop for Presence<V> {
    fn drop(&mut self) {
        if self.is_counted {
            self.tally.leave();
        } else {
            self.tally.watch_no_more();
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
            assert_eq!(local.users, held.len() as u64);
            assert_eq!(local.change, Change(step as u64 + 1));
        }
        drop(held);
        assert_eq!(tally.users(), 0);
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
        tally.watcher_came().await;
        let change = tally.subscribe().borrow().change;
        assert_eq!((tally.users(), tally.watchers(), tally.told()), (2, 1, 0));
        assert!(tally.take_newcomers(Change(0), Change(0), now).is_empty());
        assert_eq!(tally.take_newcomers(change, Change(0), now).len(), 3);
        assert_eq!(tally.told(), 3);
        assert!(!watcher.is_counted() && members.iter().all(|(_, member)| member.is_counted()));
        drop(watcher);
        assert_eq!((tally.users(), tally.watchers(), tally.told()), (2, 0, 2));
        assert_eq!(tally.subscribe().borrow().change, change, "no count has changed");
        drop(members);
        assert_eq!(tally.users(), 0);
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
