//! The registry of all open sessions, and the times at which the engine has to check them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slab::Slab;
use tokio::{sync::Notify, time::Instant};

use super::{session::Session, session_id::SessionId};

/// All open sessions.
#[derive(Debug, Default)]
pub struct Registry {
    /// Keys of ended sessions are reused first. So the greatest key is about the number of sessions, and the keys spread
    /// evenly over the slots of the ping wheel.
    sessions: Mutex<Slab<Arc<Session>>>,
    /// Planned checks by session key, the earliest first. A session has few entries: a further one is added only for an
    /// earlier time.
    checks: Mutex<BinaryHeap<Reverse<(Instant, u32)>>>,
    /// Notified when a new check is the earliest.
    earlier: Notify,
}

impl Registry {
    /// Adds the session that `new` makes for the id it is given.
    pub(super) fn insert(&self, new: impl FnOnce(SessionId) -> Session) -> Arc<Session> {
        let mut sessions = self.sessions();
        let entry = sessions.vacant_entry();
        let key = u32::try_from(entry.key()).expect("sessions are fewer than descriptors");
        Arc::clone(entry.insert(Arc::new(new(SessionId::new(key)))))
    }

    /// Removes a session that has ended.
    pub(super) fn remove(&self, session: &Session) {
        self.sessions().try_remove(session.id().key() as usize);
    }

    /// The open session with this id.
    pub fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.by_key(id.key()).filter(|session| session.id() == id)
    }

    /// The open session with this key.
    pub(super) fn by_key(&self, key: u32) -> Option<Arc<Session>> {
        self.sessions().get(key as usize).cloned()
    }

    /// The number of open sessions.
    pub fn len(&self) -> usize {
        self.sessions().len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.sessions().is_empty()
    }

    /// All open sessions.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().iter().map(|(_, session)| Arc::clone(session)).collect()
    }

    /// Every session whose key leaves the remainder `slot` when divided by `slots`.
    pub(super) fn every(&self, slot: usize, slots: u32) -> Vec<Arc<Session>> {
        let sessions = self.sessions();
        let keys = (slot..sessions.capacity()).step_by(slots as usize);
        keys.filter_map(|key| sessions.get(key).cloned()).collect()
    }

    /// Plans a check of the session with this key at `at`.
    pub(super) fn check_at(&self, at: Instant, key: u32) {
        let mut checks = self.checks();
        let is_earliest = checks.peek().is_none_or(|Reverse((earliest, _))| at < *earliest);
        checks.push(Reverse((at, key)));
        drop(checks);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    /// Takes out the checks that are due, and says when the next one is.
    pub(super) fn due_checks(&self, now: Instant) -> (Vec<(Instant, u32)>, Option<Instant>) {
        let (mut due, mut checks) = (Vec::new(), self.checks());
        while let Some(&Reverse((at, key))) = checks.peek() {
            if at > now {
                return (due, Some(at));
            }
            checks.pop();
            due.push((at, key));
        }
        (due, None)
    }

    /// Resolves when the next check may be earlier than it was.
    pub(super) async fn earlier_check(&self) {
        self.earlier.notified().await;
    }

    fn checks(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Instant, u32)>>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every critical section leaves the sessions whole.
    fn sessions(&self) -> MutexGuard<'_, Slab<Arc<Session>>> {
        #[cfg(test)]
        crate::fixtures::turns::others_first();
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
