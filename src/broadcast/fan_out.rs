//! The fan-out list: the sessions that are told every count, one part of the list at a time.

use std::{
    hint,
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

use crate::{
    core::prune::Prune,
    engine::{flusher::Flusher, outbox::Told, session::Session},
    protocol::frame::CountFrame,
};

/// The sessions in one part of an emission. A part takes a few milliseconds.
pub(super) const WRITES_AT_ONCE: usize = 256;
/// How many sessions ahead of the written one are read into the cache. With many sessions, reading one misses every cache;
/// reading ahead lets these waits overlap.
pub(super) const READ_AHEAD: usize = 16;

/// The list of sessions that emissions reach.
#[derive(Debug)]
pub(super) struct FanOut {
    /// Ended sessions are removed by every emission, and when the list has doubled.
    list: Vec<Listed>,
    prune: Prune,
    /// Sessions that are added to the list after the present emission. They know its count already, a newer one, or the
    /// estimate.
    entering: Vec<Arc<Session>>,
    flusher: Flusher,
}

impl FanOut {
    /// An empty list. What the kernel does not take at once is handed to `flusher`.
    pub(super) fn new(flusher: Flusher) -> Self {
        Self { list: Vec::new(), prune: Prune::default(), entering: Vec::new(), flusher }
    }

    /// The number of sessions on the list.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Plans to add the session to the list at the next [`FanOut::enlist_entering`].
    pub(super) fn enter(&mut self, session: &Arc<Session>) {
        self.entering.push(Arc::clone(session));
    }

    /// Adds the planned sessions to the list.
    pub(super) fn enlist_entering(&mut self) {
        self.prune.if_due(self.list.len(), || {
            self.list.retain(Listed::is_open);
            self.list.len()
        });
        self.list.extend(self.entering.drain(..).map(Listed::new));
    }

    /// Tells one session, on the list or not. Returns false if it must not be told counts any more.
    pub(super) fn tell_one(&self, session: &Arc<Session>, frame: &CountFrame) -> bool {
        tell(session, frame, &self.flusher)
    }

    /// Tells the last part of the first `untold` sessions of the list. Returns how many of them are left. The list is worked
    /// off backwards, so that the session that takes the place of a removed one has been told already.
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
    /// A strong reference, which may outlive the session until the list is pruned. It saves counting references in every
    /// emission.
    session: Arc<Session>,
    /// The socket of its websocket, for reading ahead; none while polls carry the session.
    stream: Weak<TcpStream>,
}

impl Listed {
    fn new(session: Arc<Session>) -> Self {
        let mut listed = Self { session, stream: Weak::new() };
        listed.look_for_stream();
        listed
    }

    /// Looks for the socket again, since the session may have moved to a websocket.
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

    /// Reads the memory that telling this session needs, so that it is in the cache.
    fn read_ahead(&self) {
        hint::black_box((Arc::strong_count(&self.session), self.stream.strong_count()));
    }
}
