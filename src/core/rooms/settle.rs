//! Moves keys between the states of the ledger: when a value changes, when a report has ended, and when a new incarnation begins.

use std::{collections::HashSet, mem, time::Duration};

use tokio::time::Instant;

use super::{
    due::RoomId,
    entry::Want,
    key::Pending,
    ledger::{KeyId, SentRooms},
    table::Table,
};
use crate::core::{
    report::{Room, UserPresence},
    room::UserId,
};

/// How long nothing is said of rooms to a store that has denied them. An operator who corrects the rights sees the effect soon,
/// and the attempts cost little.
const DENIED_PAUSE: Duration = Duration::from_secs(10);

impl<V> Table<V> {
    /// Records that other users may be in a room than before: here, or, if `is_elsewhere`, in the store.
    pub(super) fn stir(&mut self, id: RoomId, is_elsewhere: bool) {
        let Some(entry) = self.entry(id).filter(|entry| entry.is_listed) else { return };
        if let Room::Named(name) = entry.room.clone() {
            self.stirs.stir(name, is_elsewhere);
        }
    }

    /// Whether something is to be reported as soon as the gap between reports allows.
    pub(super) fn has_to_report(&self) -> bool {
        if self.tidings.is_denied() {
            return false;
        }
        let asks = !self.ledger.wants.is_empty() || self.ledger.reread.is_under_way();
        self.ledger.has_news() || (asks && !self.tidings.is_recovering())
    }

    /// The same, or whether an announcement is missed at `now`.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        let is_page_missed = self.tidings.page_overdue().is_some_and(|at| at <= now);
        self.has_to_report() || (is_page_missed && !self.tidings.is_recovering())
    }

    /// Records that the value of a key may have changed.
    pub(super) fn value_changed(&mut self, id: RoomId, user: Option<&UserId>) {
        let entry = self.entry(id).expect("only rooms of the table change");
        let value = entry.value(user);
        if user.is_some() {
            self.stir(id, false);
        }
        let entry = self.entry(id).expect("it is in the table");
        let mut becomes_news = false;
        entry.change_key(user, |key| {
            let is_outdated = key.is_outdated && value > 0;
            let is_stored = key.stored == value && !key.is_lost && !is_outdated;
            let pending = match key.pending {
                Pending::InDoubt => Pending::InDoubt,
                _ if is_stored => Pending::Settled,
                _ => Pending::News,
            };
            becomes_news = pending == Pending::News && key.pending != Pending::News;
            key.pending = pending;
        });
        if becomes_news {
            self.queue_news((id, user.cloned()));
        }
    }

    /// Queues a key. While the store is away, what has settled by itself is removed each time the queue has doubled.
    pub(super) fn queue_news(&mut self, key: KeyId) {
        let mut news = mem::take(self.ledger.news_of(key.0));
        news.prune.if_due(news.keys.len(), || {
            let mut kept = HashSet::new();
            news.keys.retain(|key| self.pending(key) == Pending::News && kept.insert(key.clone()));
            kept.len()
        });
        let id = key.0;
        news.keys.push_back(key);
        *self.ledger.news_of(id) = news;
    }

    /// Queues a room whose count is to be asked for.
    pub(super) fn want(&mut self, id: RoomId) {
        let entry = self.entry(id).expect("only rooms of the table are wanted");
        if mem::replace(&mut entry.want, Want::Queued) == Want::Queued {
            return;
        }
        let mut prune = mem::take(&mut self.ledger.wants_prune);
        prune.if_due(self.ledger.wants.len(), || {
            let mut kept = HashSet::new();
            let mut wants = mem::take(&mut self.ledger.wants);
            wants.retain(|&id| self.is_want_queued(id) && kept.insert(id));
            self.ledger.wants = wants;
            kept.len()
        });
        self.ledger.wants_prune = prune;
        self.ledger.wants.push_back(id);
    }

    pub(super) fn is_want_queued(&mut self, id: RoomId) -> bool {
        self.entry(id).is_some_and(|entry| entry.want == Want::Queued)
    }

    pub(super) fn pending(&mut self, (id, user): &KeyId) -> Pending {
        let Some(entry) = self.entry(*id) else { return Pending::Settled };
        match user {
            None => entry.own.pending,
            Some(user) => entry.users.get(user).map_or(Pending::Settled, |user| user.key.pending),
        }
    }

    /// Begins to ask for the counts of all rooms.
    pub(super) fn reread_all(&mut self) {
        let slots = self.rooms.capacity();
        self.ledger.reread.begin(slots);
        self.stirs.stir_all();
    }

    /// Records that the store acknowledged what a report said. Returns whether it was the newest report so far that did.
    pub(super) fn acknowledge(&mut self, sent: &SentRooms) -> bool {
        if sent.number <= self.ledger.acknowledged {
            return false;
        }
        self.ledger.acknowledged = sent.number;
        let settles = sent.number == self.ledger.newest;
        for room in &sent.rooms {
            let id = room.id;
            if let Some(connections) = room.connections {
                self.acknowledge_key((id, None), connections, settles);
            }
            for (user, presence) in &room.users {
                self.acknowledge_user(id, user, presence, settles);
            }
            if let Some(entry) = self.entry(id) {
                entry.acknowledged = entry.acknowledged.max(room.change);
                self.make_due(id);
            }
        }
        if settles {
            self.ledger.doubt.clear();
        }
        self.ledger.is_resending &= !settles || self.ledger.has_news();
        true
    }

    fn acknowledge_user(
        &mut self,
        id: RoomId,
        user: &UserId,
        presence: &UserPresence,
        settles: bool,
    ) {
        if let Some(entry) = self.entry(id) {
            entry.users.told(user, presence);
        }
        if !presence.is_here() {
            // Who has left is elsewhere now, or nowhere. A count that is the same as before is not announced.
            self.stir(id, true);
        }
        self.acknowledge_key((id, Some(user.clone())), u32::from(presence.is_here()), settles);
    }

    /// The store holds this value of a key. If `settles`, no later report carried another one.
    fn acknowledge_key(&mut self, key: KeyId, sent: u32, settles: bool) {
        let (id, user) = (key.0, key.1.as_ref());
        let Some(entry) = self.entry(id) else { return };
        let value = entry.value(user);
        let (mut held_before, mut becomes_news) = (0, false);
        entry.change_key(user, |key| {
            held_before = key.stored;
            key.stored = sent;
            key.is_lost = false;
            if settles && key.pending == Pending::InDoubt {
                becomes_news = value != sent || (value > 0 && key.is_outdated);
                key.pending = if becomes_news { Pending::News } else { Pending::Settled };
            }
        });
        let ledger = &mut self.ledger;
        let held = match user {
            None => {
                ledger.connections_held += u64::from(sent);
                ledger.connections_held -= u64::from(held_before);
                &mut ledger.rooms_held
            }
            Some(_) => &mut ledger.users_held,
        };
        *held += u64::from(sent > 0);
        *held -= u64::from(held_before > 0);
        if becomes_news {
            self.queue_news(key);
        }
    }

    /// Records that a report has ended without being applied: what it asked for is asked for again.
    pub(super) fn abandon(&mut self, sent: &SentRooms) {
        for room in &sent.rooms {
            let is_open = |want: Want| want == Want::asked_by(sent.number);
            if self.entry(room.id).is_some_and(|entry| is_open(entry.want)) {
                self.want(room.id);
            }
        }
    }

    /// Records that the store denied a report because of its rooms.
    pub(super) fn deny(&mut self, sent: &SentRooms, now: Instant) {
        self.abandon(sent);
        self.tidings.denied_until = Some(now + DENIED_PAUSE);
    }

    /// Records that the store has taken a report with rooms. Whatever was announced meanwhile may have been missed.
    pub(super) fn admit(&mut self) {
        if self.tidings.denied_until.take().is_some() {
            self.reread_all();
        }
    }

    /// Begins a new incarnation, for which the store holds nothing: everything is to be sent.
    pub(super) fn begin_incarnation(&mut self) {
        let ledger = &mut self.ledger;
        ledger.doubt.clear();
        ledger.news.keys.clear();
        ledger.site_news.keys.clear();
        (ledger.rooms_held, ledger.users_held, ledger.connections_held) = (0, 0, 0);
        // Reports of the former incarnation say nothing about this one.
        (ledger.acknowledged, ledger.folded) = (ledger.newest, ledger.newest);
        let site = self.site.as_ref().map(|site| site.id);
        let ids: Vec<RoomId> =
            site.into_iter().chain(self.rooms.iter().map(|(_, entry)| entry.id)).collect();
        for id in ids {
            let entry = self.entry(id).expect("it is in the table");
            let users = entry.users.ids().into_iter().map(Some);
            let keys: Vec<_> = users.chain([None]).collect();
            for user in keys {
                self.forget_key(id, user);
            }
            self.make_due(id);
        }
        self.ledger.is_resending = self.ledger.has_news();
    }

    fn forget_key(&mut self, id: RoomId, user: Option<UserId>) {
        let entry = self.entry(id).expect("it is in the table");
        let value = entry.value(user.as_ref());
        entry.change_key(user.as_ref(), |key| {
            let was_held = key.stored > 0 || key.is_lost;
            key.is_lost = was_held && value > 0;
            key.stored = 0;
            key.pending = if value > 0 { Pending::News } else { Pending::Settled };
        });
        if value > 0 {
            self.ledger.news_of(id).keys.push_back((id, user));
        }
    }
}
