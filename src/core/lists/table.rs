//! The table of lists: which are wanted, which are to be read, and which have something to tell.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::due::{DueList, DueRead, FIRST_LIST_WITHIN, READ_GAP, SWEEP_GAP, TooManyLists};
use crate::core::{
    people::People,
    room::{RoomName, UserId},
    user_list::{Info, ListSources, UserList},
};

#[derive(Debug)]
pub(super) struct Table<V> {
    most: usize,
    /// Numbers the lists.
    lives: u64,
    /// Numbers what was computed, of all rooms: no two lists that differ have the same number, also if one of them has ended.
    numbers: u64,
    lists: HashMap<RoomName, Entry<V>>,
    /// Lists that have something to tell, and some that nobody wants any more.
    due: BTreeSet<RoomName>,
    /// Lists that have to be computed again.
    stirred: BTreeSet<RoomName>,
    /// When each list is to be read, unless it is being read.
    reads: BTreeSet<(Instant, RoomName)>,
    /// The newcomers of all lists in the order of their arrival, also some that were told a list since.
    waiting: VecDeque<(Instant, RoomName)>,
}

/// A list that somebody wants.
#[derive(Debug)]
struct Entry<V> {
    life: u64,
    /// The clients that want it, at least one.
    wishes: usize,
    newcomers: Vec<Newcomer<V>>,
    /// What the store said last.
    stored: Option<People>,
    list: Arc<UserList>,
    /// The number of the list; 0 until it was computed first.
    number: u64,
    reading: Reading,
    /// When the last reading ended.
    read_at: Option<Instant>,
    /// The least time between two readings. It follows from what the last one cost.
    gap: Duration,
}

/// A client that has not been told the list yet.
#[derive(Debug)]
struct Newcomer<V> {
    member: V,
    since: Instant,
    /// Whether the list was computed since. Then it has the client's own user.
    is_included: bool,
}

/// Whether a list is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// It will be, at this time.
    Planned(Instant),
    /// It is. If `again`, the store may have changed since the reading began.
    UnderWay { again: bool },
}

impl<V> Table<V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            lives: 0,
            numbers: 0,
            lists: HashMap::new(),
            due: BTreeSet::new(),
            stirred: BTreeSet::new(),
            reads: BTreeSet::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn want(
        &mut self,
        room: &RoomName,
        member: V,
        now: Instant,
    ) -> Result<(), TooManyLists> {
        if !self.lists.contains_key(room) {
            if self.lists.len() >= self.most {
                return Err(TooManyLists);
            }
            self.lives += 1;
            self.lists.insert(room.clone(), Entry::new(self.lives, now));
            self.reads.insert((now, room.clone()));
        }
        let entry = self.lists.get_mut(room).expect("it is there now");
        entry.wishes += 1;
        entry.newcomers.push(Newcomer { member, since: now, is_included: false });
        self.waiting.push_back((now, room.clone()));
        self.stirred.insert(room.clone());
        Ok(())
    }

    /// Ends a wish.
    pub(super) fn end(&mut self, room: &RoomName) {
        let Some(entry) = self.lists.get_mut(room) else { return };
        entry.wishes -= 1;
        if entry.wishes > 0 {
            return;
        }
        if let Reading::Planned(at) = entry.reading {
            self.reads.remove(&(at, room.clone()));
        }
        self.lists.remove(room);
        self.stirred.remove(room);
        self.due.insert(room.clone());
    }

    /// Returns whether the list is wanted.
    pub(super) fn stir(&mut self, room: &RoomName, is_elsewhere: bool) -> bool {
        let Some(entry) = self.lists.get_mut(room) else { return false };
        if is_elsewhere {
            let from = entry.read_at.map(|at| at + entry.gap);
            self.plan_read(room, from);
        } else {
            self.stirred.insert(room.clone());
        }
        true
    }

    pub(super) fn stir_all(&mut self) {
        let rooms: Vec<RoomName> = self.lists.keys().cloned().collect();
        for room in rooms {
            self.stir(&room, true);
            self.stirred.insert(room);
        }
    }

    /// Plans a reading at this time, or as soon as possible, unless one is planned that is not later.
    fn plan_read(&mut self, room: &RoomName, from: Option<Instant>) {
        let entry = self.lists.get_mut(room).expect("only lists of the table are read");
        match &mut entry.reading {
            Reading::UnderWay { again } => *again = true,
            Reading::Planned(at) => {
                // The first reading of a list is planned for the moment of its first wish, which is the earliest.
                let wanted = from.unwrap_or(*at);
                if wanted < *at {
                    self.reads.remove(&(*at, room.clone()));
                    self.reads.insert((wanted, room.clone()));
                    *at = wanted;
                }
            }
        }
    }

    pub(super) fn has_updates(&self) -> bool {
        !self.stirred.is_empty()
    }

    pub(super) fn take_updates(&mut self) -> Vec<RoomName> {
        mem::take(&mut self.stirred).into_iter().collect()
    }

    pub(super) fn update(&mut self, room: &RoomName, here: &[(UserId, Info)], is_kept: bool) {
        let Some(entry) = self.lists.get_mut(room) else { return };
        let nobody = People::default();
        let stored = entry.stored.as_ref().unwrap_or(&nobody);
        let next = entry.list.next(ListSources { stored, here, is_kept });
        if entry.number == 0 || next != *entry.list {
            self.numbers += 1;
            (entry.list, entry.number) = (Arc::new(next), self.numbers);
            self.due.insert(room.clone());
        }
        entry.newcomers.iter_mut().for_each(|newcomer| newcomer.is_included = true);
        if !entry.newcomers.is_empty() {
            self.due.insert(room.clone());
        }
    }

    pub(super) fn take_reads(&mut self, now: Instant, most: usize) -> Vec<DueRead> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some((at, _)) = self.reads.first()
            && *at <= now
        {
            let (_, room) = self.reads.pop_first().expect("it is the first");
            let entry = self.lists.get_mut(&room).expect("only lists of the table are read");
            entry.reading = Reading::UnderWay { again: false };
            let listed = entry.list.users().map(|(user, _)| user.clone()).collect();
            due.push(DueRead { room, listed, life: entry.life });
        }
        due
    }

    pub(super) fn next_read(&self) -> Option<Instant> {
        self.reads.first().map(|(at, _)| *at)
    }

    pub(super) fn fold(&mut self, read: &DueRead, people: Option<People>, now: Instant) {
        let room = &read.room;
        let Some(entry) = self.lists.get_mut(room).filter(|entry| entry.life == read.life) else {
            return;
        };
        let Reading::UnderWay { again } = entry.reading else { return };
        let is_read = people.is_some();
        entry.read_at = Some(now);
        if let Some(people) = people {
            entry.gap = READ_GAP * (1 + people.further_parts);
            entry.stored = Some(people);
            self.stirred.insert(room.clone());
        }
        let next = now + if again || !is_read { entry.gap } else { entry.gap.max(SWEEP_GAP) };
        entry.reading = Reading::Planned(next);
        self.reads.insert((next, room.clone()));
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Vec<DueList<V>> {
        while self.patience_ends().is_some_and(|at| at <= now) {
            let (_, room) = self.waiting.pop_front().expect("the first one is waiting");
            self.due.insert(room);
        }
        let rooms = mem::take(&mut self.due);
        rooms.into_iter().filter_map(|room| self.take_news(room, now)).collect()
    }

    fn take_news(&mut self, room: RoomName, now: Instant) -> Option<DueList<V>> {
        let Some(entry) = self.lists.get_mut(&room) else {
            return Some(DueList { room, list: None, newcomers: Vec::new() });
        };
        if entry.number == 0 {
            return None;
        }
        let is_read = entry.stored.is_some();
        let is_told = |newcomer: &Newcomer<V>| {
            (is_read && newcomer.is_included) || newcomer.since + FIRST_LIST_WITHIN <= now
        };
        let (told, waiting): (Vec<_>, Vec<_>) =
            mem::take(&mut entry.newcomers).into_iter().partition(is_told);
        entry.newcomers = waiting;
        let newcomers = told.into_iter().map(|newcomer| newcomer.member).collect();
        Some(DueList { room, list: Some((entry.number, Arc::clone(&entry.list))), newcomers })
    }

    /// When the newcomer that has waited longest is told what is known.
    pub(super) fn patience_ends(&mut self) -> Option<Instant> {
        while let Some((joined_at, room)) = self.waiting.front() {
            let first = self.lists.get(room).and_then(|entry| entry.newcomers.first());
            if first.is_some_and(|newcomer| newcomer.since <= *joined_at) {
                return Some(*joined_at + FIRST_LIST_WITHIN);
            }
            self.waiting.pop_front();
        }
        None
    }
}

impl<V> Entry<V> {
    fn new(life: u64, now: Instant) -> Self {
        Self {
            life,
            wishes: 0,
            newcomers: Vec::new(),
            stored: None,
            list: Arc::default(),
            number: 0,
            reading: Reading::Planned(now),
            read_at: None,
            gap: READ_GAP,
        }
    }
}
