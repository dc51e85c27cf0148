//! Makes the part of a report that is about rooms and users: first the keys in doubt, then what has changed in the site, then what
//! has changed in rooms, then some unchanged entries, then the rooms whose counts are asked for.

use std::{collections::HashMap, mem, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use super::{
    due::RoomId,
    entry::{Entry, Want},
    key::Pending,
    ledger::{KeyId, RoomsToReport, SentRoom, SentRooms},
    newcomers::QUEUE_KEPT,
    round::Round,
    table::Table,
    users::User,
};
use crate::core::{
    report::{RoomReport, UserPresence, UserReport},
    room::UserId,
};

/// How many unchanged entries are sent again at a time. They heal what was edited or evicted in the store, and the replies tell which
/// users have come to other instances, which the estimate needs to know.
const SWEPT: RangeInclusive<usize> = 16..=128;
/// In how many sweeps every entry is to be sent again, unless there are too many: within two seconds.
const SWEEPS_OF_ROUND: u64 = 5;
/// The least time between two such repetitions: one heartbeat with the default settings.
const SWEEP_GAP: Duration = Duration::from_millis(400);
/// How many slots of the table are examined for one report. The table is locked meanwhile.
const SLOTS_MAX: usize = 1024;

/// A report in the making.
struct Draft {
    number: u64,
    entries_left: usize,
    places: HashMap<RoomId, usize>,
    rooms: Vec<RoomReport>,
    sent: Vec<SentRoom>,
}

impl Draft {
    /// The entries that this key takes.
    fn cost(&self, id: RoomId, user: Option<&UserId>) -> usize {
        usize::from(!self.places.contains_key(&id)) + usize::from(user.is_some())
    }

    /// Names the room, which asks for its count. Returns its place.
    fn name(&mut self, entry: &mut Entry) -> usize {
        if let Some(&place) = self.places.get(&entry.id) {
            return place;
        }
        self.entries_left -= 1;
        let place = self.rooms.len();
        self.places.insert(entry.id, place);
        let room = entry.room.clone();
        self.rooms.push(RoomReport { room, connections: None, users: Vec::new() });
        self.sent.push(SentRoom { id: entry.id, change: 0, connections: None, users: Vec::new() });
        if entry.want != Want::Nothing {
            entry.want = Want::asked_by(self.number);
        }
        place
    }

    /// Adds the value of a key that has changed.
    fn carry(&mut self, entry: &mut Entry, user: Option<&UserId>) {
        let Some(user) = user else { return self.carry_connections(entry) };
        let presence = entry.users.get(user).map_or(UserPresence::Gone, User::presence);
        self.carry_user(entry, user, presence);
    }

    /// Adds the value of a key that the store has acknowledged.
    fn carry_again(&mut self, entry: &mut Entry, user: Option<&UserId>) {
        let Some(user) = user else { return self.carry_connections(entry) };
        let presence = entry.users.get(user).map_or(UserPresence::Gone, User::presence_again);
        self.carry_user(entry, user, presence);
    }

    fn carry_connections(&mut self, entry: &mut Entry) {
        let place = self.name(entry);
        self.rooms[place].connections = Some(entry.anonymous.into());
        self.sent[place].connections = Some(entry.anonymous);
    }

    fn carry_user(&mut self, entry: &mut Entry, user: &UserId, presence: UserPresence) {
        let place = self.name(entry);
        self.entries_left -= 1;
        self.sent[place].users.push((user.clone(), presence.clone()));
        self.rooms[place].users.push(UserReport { user: user.clone(), presence });
    }

    fn carries(&self, (id, user): &KeyId) -> bool {
        let Some(sent) = self.places.get(id).map(|&place| &self.sent[place]) else {
            return false;
        };
        match user {
            None => sent.connections.is_some(),
            Some(user) => sent.users.iter().any(|(other, _)| other == user),
        }
    }
}

impl<V> Table<V> {
    /// What the next report says of rooms.
    pub(super) fn report(&mut self, now: Instant) -> RoomsToReport {
        self.expire(now);
        if self.tidings.denied_until.is_some_and(|until| now < until) {
            // A report without a number acknowledges nothing.
            let is_site_told = self.site.as_ref().is_none_or(|site| site.is_settled());
            return RoomsToReport { is_site_told, ..RoomsToReport::default() };
        }
        self.miss_page(now);
        self.ledger.newest += 1;
        let number = self.ledger.newest;
        let pages_missed = mem::take(&mut self.tidings.pages_missed);
        if self.rooms.is_empty() {
            // Whatever was asked for is over. Otherwise this instance would report again and again to ask for it.
            self.ledger.wants.clear();
            self.ledger.reread = Round::default();
        }
        let has_users = self.site.as_ref().is_some_and(|site| !site.users.is_empty());
        if self.rooms.is_empty() && !has_users && !self.ledger.has_news() {
            let sent = SentRooms { number, rooms: Vec::new() };
            let is_site_told = true;
            return RoomsToReport { pages_missed, is_site_told, sent, ..RoomsToReport::default() };
        }
        let mut draft = Draft {
            number,
            entries_left: self.ledger.entries_max,
            places: HashMap::new(),
            rooms: Vec::new(),
            sent: Vec::new(),
        };
        self.carry_doubt(&mut draft);
        self.carry_news(&mut draft);
        let resending = self.ledger.is_resending && self.ledger.has_news();
        if !self.ledger.is_resending {
            self.sweep(&mut draft, now);
        }
        if !self.tidings.is_recovering() {
            self.ask_for_counts(&mut draft);
        }
        for sent in &mut draft.sent {
            let entry = self.entry(sent.id).expect("it was named");
            sent.change = if entry.unsent == 0 { entry.change } else { 0 };
        }
        let is_site_told = self.is_site_told();
        let Draft { rooms, sent, .. } = draft;
        let sent = SentRooms { number, rooms: sent };
        RoomsToReport { rooms, resending, pages_missed, is_site_told, sent }
    }

    fn carry_doubt(&mut self, draft: &mut Draft) {
        let doubt = mem::take(&mut self.ledger.doubt);
        for (id, user) in &doubt {
            let entry = self.entry(*id).expect("a room stays while a key is in doubt");
            draft.carry(entry, user.as_ref());
        }
        self.ledger.doubt = doubt;
    }

    fn carry_news(&mut self, draft: &mut Draft) {
        // After a rush, the memory of the queue is given back.
        if self.ledger.news.keys.is_empty() {
            self.ledger.news.keys.shrink_to(QUEUE_KEPT);
        }
        while let Some((id, user)) = self.ledger.first_news().cloned() {
            if self.pending(&(id, user.clone())) != Pending::News {
                self.ledger.news_of(id).keys.pop_front();
                continue;
            }
            if draft.cost(id, user.as_ref()) > draft.entries_left {
                return;
            }
            self.ledger.news_of(id).keys.pop_front();
            let entry = self.entry(id).expect("it has news");
            entry.change_key(user.as_ref(), |key| key.pending = Pending::InDoubt);
            draft.carry(entry, user.as_ref());
            self.ledger.doubt.push((id, user));
        }
    }

    /// Adds unchanged entries: of the site and of rooms, in the order of the table and of the users' ids.
    fn sweep(&mut self, draft: &mut Draft, now: Instant) {
        if self.ledger.swept_at.is_some_and(|at| now < at + SWEEP_GAP) {
            return;
        }
        self.ledger.swept_at = Some(now);
        let slots = 1 + self.rooms.capacity();
        let due = (self.ledger.rooms_held + self.ledger.users_held).div_ceil(SWEEPS_OF_ROUND);
        let mut left =
            usize::try_from(due).unwrap_or(usize::MAX).clamp(*SWEPT.start(), *SWEPT.end());
        let (mut slot, mut user) = mem::take(&mut self.ledger.sweep);
        for _ in 0..slots.min(SLOTS_MAX) {
            slot = if slot < slots { slot } else { 0 };
            while let Some(entry) = self.swept(slot) {
                let key = (entry.id, entry.users.after(user.as_ref()).cloned());
                let cost = draft.cost(key.0, key.1.as_ref());
                if left == 0 || cost > draft.entries_left {
                    self.ledger.sweep = (slot, user);
                    return;
                }
                let held = match &key.1 {
                    None => entry.own,
                    Some(user) => entry.users.get(user).expect("it is there").key,
                };
                if held.pending == Pending::Settled && held.stored > 0 && !draft.carries(&key) {
                    draft.carry_again(entry, key.1.as_ref());
                    left -= 1;
                }
                if key.1.is_none() {
                    break;
                }
                user = key.1;
            }
            (slot, user) = (slot + 1, None);
        }
        self.ledger.sweep = (slot, user);
    }

    /// What is in a slot of the sweep. The first one is the site's.
    fn swept(&mut self, slot: usize) -> Option<&mut Entry> {
        match slot.checked_sub(1) {
            None => self.site.as_deref_mut(),
            Some(slot) => self.rooms.get_mut(slot),
        }
    }

    fn ask_for_counts(&mut self, draft: &mut Draft) {
        while draft.entries_left > 0 {
            let Some(id) = self.ledger.wants.pop_front() else { break };
            if let Some(entry) = self.entry(id).filter(|entry| entry.want == Want::Queued) {
                draft.name(entry);
            }
        }
        let slots = self.rooms.capacity();
        for _ in 0..SLOTS_MAX {
            if draft.entries_left == 0 {
                return;
            }
            let Some(slot) = self.ledger.reread.step(slots) else { return };
            if let Some(entry) = self.rooms.get_mut(slot).filter(|entry| entry.is_of_interest()) {
                entry.want = Want::asked_by(draft.number);
                draft.name(entry);
            }
        }
    }
}
