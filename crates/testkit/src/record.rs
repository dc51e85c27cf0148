//! What one client saw, in order and with its time, and the questions tests ask about it.
//!
//! It judges nothing while it is written: clients of either kind append, tests read.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

/// One client's history; clones show the same one.
#[derive(Clone, Debug)]
pub struct Record {
    name: Arc<str>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// Something a client saw, and when.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When this process took note of it.
    pub at: Instant,
    /// What it was.
    pub event: Event,
}

/// What a client can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The namespace was acknowledged.
    Connected,
    /// The session went on from polling to websocket.
    Upgraded,
    /// A `user count` with this number.
    Count(u64),
    /// The connection ended, and why.
    Disconnected(String),
    /// The server said something the contract does not allow.
    Violation(String),
}

/// A place in a history, to ask what came after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Record {
    /// An empty history; `name` says in messages whose it is.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), entries: Arc::default() }
    }

    /// Whose history this is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends what was just seen. A count before the acknowledgement is a violation of its own.
    pub fn push(&self, event: Event) {
        self.push_at(event, Instant::now());
    }

    /// The same for what was seen at another time.
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

    /// The number this client shows now: the last of its present connection.
    pub fn shows(&self) -> Option<u64> {
        for entry in self.lock().iter().rev() {
            match entry.event {
                Event::Count(users) => return Some(users),
                Event::Connected | Event::Disconnected(_) => return None,
                Event::Upgraded | Event::Violation(_) => {}
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

    /// When the count that it shows was seen first, without another in between.
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

    /// How often this was seen.
    pub fn times(&self, wanted: fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(&entry.event)).count()
    }

    /// The end of the history as it is now.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The counts seen after `mark`.
    pub fn counts_since(&self, mark: Mark) -> Vec<u64> {
        let entries = self.lock();
        entries[mark.0..].iter().filter_map(|entry| entry.event.count()).collect()
    }

    /// All counts seen.
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

    /// For [`Record::times`].
    pub fn is_connected(&self) -> bool {
        *self == Self::Connected
    }

    /// For [`Record::times`].
    pub fn is_upgraded(&self) -> bool {
        *self == Self::Upgraded
    }

    /// For [`Record::times`].
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}
