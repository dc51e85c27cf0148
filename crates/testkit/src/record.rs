//! The history of one client: events in order, each with its time, and the questions that tests ask about them.
//!
//! Clients of every kind append to it, and tests read it. It judges only one thing: no count may come before the
//! namespace is joined.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

/// The history of one client. A clone shares it.
#[derive(Clone, Debug)]
pub struct Record {
    name: Arc<str>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// Something that a client saw, and when.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When this process received it.
    pub at: Instant,
    /// What it was.
    pub event: Event,
}

/// What a client can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The namespace was acknowledged.
    Connected,
    /// The session upgraded from polling to a websocket.
    Upgraded,
    /// The event `user count` with this number.
    Count(u64),
    /// The event `users` with this value.
    Users(serde_json::Value),
    /// The namespace was refused with this code.
    Refused(String),
    /// The connection ended for this reason.
    Disconnected(String),
    /// The server sent something outside the contract.
    Violation(String),
}

/// A position in a history, to ask what came after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Record {
    /// An empty history of a client. `name` is used in messages.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), entries: Arc::default() }
    }

    /// The name of the client.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends an event that happened now. A count before the acknowledgement of the namespace is a violation.
    pub fn push(&self, event: Event) {
        self.push_at(event, Instant::now());
    }

    /// The same as [`Record::push`], for an event at this time.
    pub fn push_at(&self, event: Event, at: Instant) {
        let early = matches!(event, Event::Count(_)) && !self.is_connected();
        let mut entries = self.lock();
        if early {
            let event = Event::Violation("a count before the acknowledgement".into());
            entries.push(Entry { at, event });
        }
        entries.push(Entry { at, event });
    }

    /// Everything seen so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The number that the client shows now: the last count of its current connection.
    pub fn shows(&self) -> Option<u64> {
        for entry in self.lock().iter().rev() {
            match entry.event {
                Event::Count(users) => return Some(users),
                Event::Connected | Event::Disconnected(_) => return None,
                Event::Upgraded | Event::Users(_) | Event::Refused(_) | Event::Violation(_) => {}
            }
        }
        None
    }

    /// Whether the client is connected now.
    pub fn is_connected(&self) -> bool {
        let entries = self.lock();
        let last = entries
            .iter()
            .rev()
            .find(|entry| matches!(entry.event, Event::Connected | Event::Disconnected(_)));
        last.is_some_and(|entry| entry.event == Event::Connected)
    }

    /// Since when the client has shown the same count without a break.
    pub fn shows_since(&self) -> Option<Instant> {
        let entries = self.lock();
        let mut counts =
            entries.iter().rev().filter_map(|entry| Some((entry.event.count()?, entry.at)));
        let (shown, mut since) = counts.next()?;
        for (_, at) in counts.take_while(|(users, _)| *users == shown) {
            since = at;
        }
        Some(since)
    }

    /// When the client had no connection: from each loss to the first count after it.
    pub fn absences(&self) -> Vec<(Instant, Instant)> {
        let (mut absences, mut lost) = (Vec::new(), None);
        for entry in self.lock().iter() {
            if entry.event.is_disconnected() {
                lost = lost.or(Some(entry.at));
            } else if let (Some(at), Some(_)) = (lost, entry.event.count()) {
                absences.push((at, entry.at));
                lost = None;
            }
        }
        absences
    }

    /// How many events meet the condition `wanted`.
    pub fn times(&self, wanted: fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(&entry.event)).count()
    }

    /// The current end of the history.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The counts after `mark`.
    pub fn counts_since(&self, mark: Mark) -> Vec<u64> {
        let entries = self.lock();
        entries[mark.0..].iter().filter_map(|entry| entry.event.count()).collect()
    }

    /// The counts after `mark` that differ from the one before. A newcomer may be told the same count twice: first by itself, and a
    /// moment later with all others.
    pub fn changes_since(&self, mark: Mark) -> Vec<u64> {
        let entries = self.lock();
        let (before, after) = entries.split_at(mark.0);
        let mut shown = before.iter().rev().find_map(|entry| entry.event.count());
        let counts = after.iter().filter_map(|entry| entry.event.count());
        counts.filter(|users| shown.replace(*users) != Some(*users)).collect()
    }

    /// All counts.
    pub fn counts(&self) -> Vec<u64> {
        self.counts_since(Mark(0))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().expect("nothing panics while it holds this lock")
    }
}

impl Event {
    /// The number, if this is a `user count`.
    pub fn count(&self) -> Option<u64> {
        if let Self::Count(users) = self { Some(*users) } else { None }
    }

    /// Whether the namespace was acknowledged. A condition for [`Record::times`].
    pub fn is_connected(&self) -> bool {
        *self == Self::Connected
    }

    /// Whether the session upgraded to a websocket. A condition for [`Record::times`].
    pub fn is_upgraded(&self) -> bool {
        *self == Self::Upgraded
    }

    /// Whether the connection ended. A condition for [`Record::times`].
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}
