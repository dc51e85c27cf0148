//! The sessions that are told every count, a part of them at a time.

use std::{
    hint,
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

use crate::{
    core::prune::Sweep,
    engine::{flusher::Flusher, outbox::Told, session::Session},
    protocol::frame::CountFrame,
};

/// Sessions that are told in one part of an emission, which takes a few milliseconds.
pub(super) const WRITES_AT_ONCE: usize = 256;
/// Sessions that are read ahead of being written to. With many sessions each is far away in memory, and so their waits
/// for memory overlap.
pub(super) const READ_AHEAD: usize = 16;

/// The list of sessions that are told.
#[derive(Debug)]
pub(super) struct FanOut {
    /// Ended ones are pruned now and then, and by every emission.
    list: Vec<Listed>,
    prune: Sweep,
    /// Those that come on the list when what is being done is done: they know the count of the emission under way, a
    /// newer one, or the estimate.
    entering: Vec<Arc<Session>>,
    flusher: Flusher,
}

impl FanOut {
    /// An empty one. What the kernel does not take at once is left to `flusher`.
    pub(super) fn new(flusher: Flusher) -> Self {
        Self { list: Vec::new(), prune: Sweep::default(), entering: Vec::new(), flusher }
    }

    /// Sessions on the list.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The session comes on the list at the next [`FanOut::enlist_entering`].
    pub(super) fn enter(&mut self, session: &Arc<Session>) {
        self.entering.push(Arc::clone(session));
    }

    /// Puts on the list whoever has entered.
    pub(super) fn enlist_entering(&mut self) {
        self.prune.if_due(self.list.len(), || {
            self.list.retain(Listed::is_open);
            self.list.len()
        });
        self.list.extend(self.entering.drain(..).map(Listed::new));
    }

    /// Tells one session, on the list or not. Returns false if it is to be told no counts any more.
    pub(super) fn tell_one(&self, session: &Arc<Session>, frame: &CountFrame) -> bool {
        tell(session, frame, &self.flusher)
    }

    /// Tells the last of the first `untold` on the list; returns how many of them are left. The list is gone through
    /// backwards, so that what takes the place of a session taken off has been told.
    pub(super) fn tell_last_of(&mut self, untold: usize, frame: &CountFrame) -> usize {
        let left = untold.saturating_sub(WRITES_AT_ONCE);
        let mut end = untold;
        while end > left {
            let group = end.saturating_sub(READ_AHEAD).max(left)..end;
            self.list[group.clone()].iter().for_each(Listed::read_ahead);
            for index in group.clone().rev() {
                if tell(&self.list[index].session, frame, &self.flusher) {
                    self.list[index].look_for_stream();
                } else {
                    self.list.swap_remove(index).session.unlist();
                }
            }
            end = group.start;
        }
        left
    }
}

fn tell(session: &Arc<Session>, frame: &CountFrame, flusher: &Flusher) -> bool {
    let told = session.tell(frame);
    if told == Told::Stuck {
        flusher.hand_over(session);
    }
    told != Told::Gone
}

/// A session on the list.
#[derive(Debug)]
struct Listed {
    /// Held beyond the session's end until this is pruned, which saves counting references at every emission.
    session: Arc<Session>,
    /// The socket of its websocket, to be read ahead; none as long as polls carry it.
    stream: Weak<TcpStream>,
}

impl Listed {
    fn new(session: Arc<Session>) -> Self {
        let mut listed = Self { session, stream: Weak::new() };
        listed.look_for_stream();
        listed
    }

    /// The session may have moved to a websocket.
    fn look_for_stream(&mut self) {
        if self.stream.strong_count() == 0
            && let Some(stream) = self.session.stream()
        {
            self.stream = Arc::downgrade(&stream);
        }
    }

    fn is_open(&self) -> bool {
        self.session.ended().is_none()
    }

    /// Brings what telling it needs near.
    fn read_ahead(&self) {
        hint::black_box((Arc::strong_count(&self.session), self.stream.strong_count()));
    }
}
