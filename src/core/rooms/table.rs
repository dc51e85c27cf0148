//! The table of rooms: finding, adding and dropping them, who is in them, and which of them have something to tell. The users of
//! the site are in it, too.

use std::{
    hash::{BuildHasher, RandomState},
    mem,
};

use hashbrown::HashTable;
use slab::Slab;
use tokio::{sync::watch, time::Instant};

use super::{
    asked::Asked,
    due::{Attendance, DueRoom, RoomId, RoomNewcomer, TooManyRooms},
    entry::{Entry, ExactFrom, ToldTo, Want},
    ledger::Ledger,
    lingering::Lingering,
    newcomers::{Newcomer, Newcomers},
    round::Round,
    stirs::Stirs,
    tidings::Tidings,
};
use crate::core::{
    count::MaybeCount,
    included::Included,
    report::Room,
    room::{Person, RoomName},
    tally::Local,
    view::{Shown, View},
};

/// How many rooms one look examines after all estimates have become counts, or the other way round. The table is locked
/// meanwhile: 4,096 rooms take less than a millisecond.
const REVIEWED_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Table<V> {
    pub(super) rooms: Slab<Entry>,
    /// Where a room is in `rooms`, by its name. A map would keep all names once more.
    keys: HashTable<u32>,
    hasher: RandomState,
    /// The site's users with an identity; `None` until there was one.
    pub(super) site: Option<Box<Entry>>,
    /// The local count of the site, whose change advances when one of them comes or goes.
    pub(super) local: watch::Sender<Local>,
    pub(super) lingering: Lingering,
    /// Rooms that may have something to tell.
    due: Vec<RoomId>,
    /// Whether one of them may have it before the store answers.
    has_to_tell: bool,
    lives: u32,
    pub(super) newcomers: Newcomers<V>,
    asked: Asked,
    /// What holds for all rooms at the last look, and the round of a look at all of them.
    exact_from: ExactFrom,
    review: Round,
    pub(super) ledger: Ledger,
    pub(super) tidings: Tidings,
    pub(super) stirs: Stirs,
}

impl<V> Table<V> {
    pub(super) fn new(
        entries_max: usize,
        lingering: Lingering,
        local: watch::Sender<Local>,
    ) -> Self {
        Self {
            rooms: Slab::new(),
            keys: HashTable::new(),
            hasher: RandomState::new(),
            site: None,
            local,
            lingering,
            due: Vec::new(),
            has_to_tell: false,
            lives: 0,
            newcomers: Newcomers::new(),
            asked: Asked::default(),
            exact_from: None,
            review: Round::default(),
            ledger: Ledger::new(entries_max),
            tidings: Tidings::default(),
            stirs: Stirs::default(),
        }
    }

    pub(super) fn entry(&mut self, id: RoomId) -> Option<&mut Entry> {
        if id == RoomId::SITE {
            return self.site.as_deref_mut();
        }
        self.rooms.get_mut(id.key as usize).filter(|entry| entry.id == id)
    }

    pub(super) fn named(&self, room: &str) -> Option<&Entry> {
        let is_named = |&key: &u32| self.rooms[key as usize].room.as_str() == room;
        let key = self.keys.find(self.hasher.hash_one(room), is_named)?;
        self.rooms.get(*key as usize)
    }

    /// The name of a room with somebody in it.
    pub(super) fn name(&mut self, id: RoomId) -> RoomName {
        match self.entry(id).map(|entry| &entry.room) {
            Some(Room::Named(name)) => name.clone(),
            _ => unreachable!("a room is in the table while somebody is in it"),
        }
    }

    pub(super) fn find_or_add(
        &mut self,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomId, TooManyRooms> {
        if let Some(entry) = self.named(room.as_str()) {
            return Ok(entry.id);
        }
        if self.rooms.len() >= most {
            return Err(TooManyRooms);
        }
        let vacant = self.rooms.vacant_entry();
        self.lives = self.lives.wrapping_add(1);
        let key = u32::try_from(vacant.key()).expect("rooms are limited");
        let id = RoomId { key, life: self.lives };
        vacant.insert(Entry::new(id, Room::Named(room.clone())));
        let (rooms, hasher) = (&self.rooms, &self.hasher);
        let hash_of = |&key: &u32| hasher.hash_one(rooms[key as usize].room.as_str());
        self.keys.insert_unique(hasher.hash_one(room.as_str()), key, hash_of);
        Ok(id)
    }

    /// Puts a connection into a room. Returns the number of its arrival.
    pub(super) fn enter(
        &mut self,
        id: RoomId,
        person: Option<&Person>,
        attendance: Attendance,
        member: V,
        now: Instant,
    ) -> u64 {
        let change = match attendance {
            Attendance::Watcher => None,
            Attendance::Member => Some(self.count_in(id, person)),
        };
        let arrival = self.newcomers.add(id, member, change, now);
        let entry = self.entry(id).expect("it was found or added");
        entry.watchers += u32::from(attendance == Attendance::Watcher);
        let is_reported = change.is_some_and(|change| change > entry.covered());
        if attendance == Attendance::Watcher {
            self.want_if_unknown(id);
        }
        self.make_due_by(id, is_reported);
        arrival
    }

    /// Records that programs ask for a room until then. No other room makes way for one that is refused.
    pub(super) fn ask(
        &mut self,
        room: &RoomName,
        until: Instant,
        most: usize,
    ) -> Result<(), TooManyRooms> {
        let entry = self.named(room.as_str());
        if entry.is_none() && self.rooms.len() >= most {
            return Err(TooManyRooms);
        }
        let is_asked = entry.is_some_and(|entry| entry.is_asked);
        let needs_no_place = entry.is_some_and(|entry| entry.members > 0 || entry.is_known());
        if !is_asked && self.asked.are_full(most) && !self.make_way(until) {
            return if needs_no_place { Ok(()) } else { Err(TooManyRooms) };
        }
        let id = self.find_or_add(room, most)?;
        self.entry(id).expect("it was found or added").is_asked = true;
        self.asked.ask(id, until);
        self.want_if_unknown(id);
        Ok(())
    }

    /// Ends the interest of programs in the room that nobody has asked for for longest, for the sake of another one that is asked for
    /// until then. Returns false if somebody has asked for every room a short time ago.
    fn make_way(&mut self, until: Instant) -> bool {
        let Some(id) = self.asked.take_oldest(until) else { return false };
        self.lose_interest(id);
        true
    }

    /// Records that programs do not ask for a room any more.
    fn lose_interest(&mut self, id: RoomId) {
        if let Some(entry) = self.entry(id) {
            entry.is_asked = false;
            self.make_due(id);
        }
    }

    /// Ends the interest of programs that has run out, and the grace of users. Returns whether users are gone now.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        while let Some(id) = self.asked.take_ended(now) {
            self.lose_interest(id);
        }
        self.look_at_lingering(now)
    }

    /// When the newcomer that has waited longest is told the estimate.
    pub(super) fn patience_ends(&mut self) -> Option<Instant> {
        self.newcomers.patience_ends()
    }

    /// Takes out the rooms that have something to tell.
    pub(super) fn take_due(&mut self, view: &View, now: Instant) -> Vec<DueRoom<V>> {
        if self.ledger.is_folding() {
            self.has_to_tell = true;
            return Vec::new();
        }
        while let Some(id) = self.newcomers.take_overdue(now) {
            self.make_due(id);
        }
        self.review(view, now);
        let exact_from = self.exact_from;
        let is_covering = !view.is_acknowledged_in_recovery();
        let mut told = Vec::new();
        self.has_to_tell = false;
        for id in mem::take(&mut self.due) {
            let entry = self.rooms.get_mut(id.key as usize).filter(|entry| entry.id == id);
            let Some(entry) = entry else { continue };
            entry.is_due = false;
            let newcomers = self.newcomers.take(id);
            let news = entry.take_news(newcomers, exact_from, is_covering, now);
            let Some((due, waiting)) = news else { continue };
            self.newcomers.put_back(id, waiting);
            let is_over = due.is_over;
            if is_over {
                let hash = self.hasher.hash_one(due.name.as_str());
                if let Ok(found) = self.keys.find_entry(hash, |key| *key == id.key) {
                    found.remove();
                }
                self.rooms.remove(id.key as usize);
            }
            if is_over || due.changed || !due.newcomers.is_empty() {
                told.push(due);
            }
        }
        told
    }

    /// Whether [`Table::take_due`] has more to tell already.
    pub(super) fn is_under_review(&self) -> bool {
        self.review.is_under_way()
    }

    /// If counts have become estimates, or estimates counts: makes due a part of the rooms, since each may show another number.
    fn review(&mut self, view: &View, now: Instant) {
        let exact_from = self.tidings.exact_from(view, now);
        let slots = self.rooms.capacity();
        if self.exact_from != exact_from {
            self.exact_from = exact_from;
            self.review.begin(slots);
        }
        for _ in 0..REVIEWED_MAX {
            let Some(slot) = self.review.step(slots) else { return };
            let id = self.rooms.get(slot).map(|entry| entry.id);
            if let Some(id) = id {
                self.make_due(id);
            }
        }
    }

    pub(super) fn shown(&self, room: &str, view: &View, now: Instant) -> Option<Shown> {
        let entry = self.named(room)?;
        // Who is here is the best number only if no better one is about to come.
        let is_telling =
            entry.is_known() || (entry.members > 0 && !self.tidings.expects_counts(view));
        is_telling.then(|| entry.shown(self.tidings.exact_from(view, now)))
    }

    /// The site is never due: its view says what it has to tell.
    pub(super) fn make_due(&mut self, id: RoomId) {
        if id == RoomId::SITE {
            return;
        }
        self.has_to_tell = true;
        self.add_to_due(id);
    }

    /// Makes a room due because somebody is gone.
    pub(super) fn make_due_by_leave(&mut self, id: RoomId) {
        let is_reported = self.entry(id).is_some_and(|entry| !entry.is_settled());
        self.make_due_by(id, is_reported);
    }

    /// Makes a room due because of a change. If the change is reported, and counts are exact, there is nothing to tell until the
    /// store has answered.
    fn make_due_by(&mut self, id: RoomId, is_reported: bool) {
        let exact_from = self.exact_from;
        let entry = self.entry(id).expect("only rooms of the table become due");
        // Programs are shown who is here even if nothing is known.
        let shows_estimate = (entry.is_known() || entry.is_asked) && !entry.shown(exact_from).exact;
        self.has_to_tell |= !is_reported || exact_from.is_none() || shows_estimate;
        self.add_to_due(id);
    }

    fn add_to_due(&mut self, id: RoomId) {
        let entry = self.entry(id).expect("only rooms of the table become due");
        if !mem::replace(&mut entry.is_due, true) {
            self.due.push(id);
        }
    }

    /// Whether rooms have become due that may have something to tell now. It is said once, and again when a reply has been taken over
    /// wholly.
    pub(super) fn take_has_to_tell(&mut self) -> bool {
        let again = self.has_to_tell && self.ledger.is_folding();
        mem::replace(&mut self.has_to_tell, again)
    }

    fn want_if_unknown(&mut self, id: RoomId) {
        let entry = self.entry(id).expect("only rooms of the table are wanted");
        if !entry.is_known() && entry.want == Want::Nothing {
            self.want(id);
        }
    }
}

impl Entry {
    /// What the room has to tell, and which of these newcomers wait on; `None` for the site.
    fn take_news<V>(
        &mut self,
        newcomers: Vec<Newcomer<V>>,
        exact_from: ExactFrom,
        is_covering: bool,
        now: Instant,
    ) -> Option<(DueRoom<V>, Vec<Newcomer<V>>)> {
        let Room::Named(name) = self.room.clone() else { return None };
        let shown = self.shown(exact_from);
        let estimate = Shown { users: self.estimate(), exact: false, ..shown };
        let is_known = self.is_known();
        let covered = self.covered();
        // A count from before a loss may still arrive.
        let counted = if is_covering { covered } else { 0 };
        let included = Included { is_exact: shown.exact, counted };
        let had_uncounted = self.told_to == ToldTo::Uncounted;
        if included.counts(self.change) {
            self.told_to = ToldTo::Counted;
        }
        // While the store answers, an unknown count will be known soon.
        let is_telling = is_known || (self.members > 0 && exact_from.is_none());
        // Those whom the last count left out may have been told another one: this one does not leave them out.
        let reaches_more = had_uncounted && (self.told_to == ToldTo::Counted || !shown.exact);
        let changed = is_telling && (reaches_more || self.told != shown.users.into());
        if is_telling {
            self.told = shown.users.into();
        }
        let (mut told, mut waiting) = (Vec::with_capacity(newcomers.len()), Vec::new());
        for mut newcomer in newcomers {
            let Some(member) = newcomer.member.take() else { continue };
            let is_covered = newcomer.change.map_or(is_known, |change| change <= covered);
            if !is_covered && !newcomer.is_overdue(now) {
                waiting.push(Newcomer { member: Some(member), ..newcomer });
                continue;
            }
            let uncounted = newcomer.change.filter(|&change| !included.counts(change));
            if uncounted.is_some() {
                self.told_to = ToldTo::Uncounted;
            }
            let shown = if shown.exact && uncounted.is_some() { estimate } else { shown };
            if self.told != shown.users.into() {
                self.told = MaybeCount::NONE;
            }
            told.push(RoomNewcomer { member, joined_at: newcomer.joined_at, shown, uncounted });
        }
        let (id, is_over) = (self.id, self.is_over());
        Some((DueRoom { id, name, shown, included, changed, newcomers: told, is_over }, waiting))
    }
}
