//! Fan-out lists: the sessions that are told every count of the site or of a room, one part of the list at a time.

use std::{
    fmt, hint,
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

use crate::{
    core::prune::Prune,
    engine::{
        flusher::Flusher, list_frames::ListFrames, outbox::Told, place::Place, session::Session,
    },
    protocol::frame::{CountFrame, RoomFrame},
};

/// The sessions in one part of an emission. A part takes a few milliseconds.
pub(super) const WRITES_AT_ONCE: usize = 256;
/// The list of a room is pruned above this size. There may be very many rooms, so little that is gone may stay in each.
pub(super) const PRUNED_ABOVE: usize = 8;
/// How many sessions ahead of the written one are read into the cache. With many sessions, reading one misses every cache;
/// reading ahead lets these waits overlap.
pub(super) const READ_AHEAD: usize = 16;

/// Who is told counts: a session, as a client of the site or in a room.
pub(super) trait Listener: fmt::Debug {
    /// What it is told.
    type Frame;

    /// The session.
    fn session(&self) -> &Arc<Session>;

    /// Tells it a count.
    fn tell(&self, frame: &Self::Frame) -> Told;

    /// Whether it may still be told counts.
    fn is_open(&self) -> bool;

    /// Records that it was removed from the list.
    fn unlist(&self) {}
}

/// A client of the site.
#[derive(Debug)]
pub(super) struct SiteListener(pub(super) Arc<Session>);

impl Listener for SiteListener {
    type Frame = CountFrame;

    fn session(&self) -> &Arc<Session> {
        &self.0
    }

    fn tell(&self, frame: &CountFrame) -> Told {
        self.0.tell(frame)
    }

    fn is_open(&self) -> bool {
        self.0.ended().is_none()
    }

    fn unlist(&self) {
        self.0.unlist();
    }
}

/// A client in a room. If it leaves and joins again, it is another listener.
#[derive(Debug)]
pub(super) struct RoomListener {
    pub(super) session: Arc<Session>,
    pub(super) place: Place,
}

impl Listener for RoomListener {
    type Frame = RoomFrame;

    fn session(&self) -> &Arc<Session> {
        &self.session
    }

    fn tell(&self, frame: &RoomFrame) -> Told {
        self.session.tell_room(self.place, frame)
    }

    fn is_open(&self) -> bool {
        self.session.is_in(self.place)
    }
}

/// A client that is told the list of users of a room.
#[derive(Debug)]
pub(super) struct ListListener {
    pub(super) session: Arc<Session>,
    pub(super) place: Place,
}

impl Listener for ListListener {
    type Frame = Arc<ListFrames>;

    fn session(&self) -> &Arc<Session> {
        &self.session
    }

    fn tell(&self, frame: &Arc<ListFrames>) -> Told {
        self.session.tell_list(self.place, frame)
    }

    fn is_open(&self) -> bool {
        self.session.has_list(self.place)
    }
}

/// The list of those whom emissions reach.
#[derive(Debug)]
pub(super) struct FanOut<L> {
    /// First those on the list, then those who are added to it after the present emission. The latter know its count already, a
    /// newer one, or the estimate. Those who are gone are removed by every emission, and when the list has doubled.
    all: Vec<Listed<L>>,
    /// How many of them are on the list.
    listed: u32,
    prune: Prune,
}

impl<L: Listener> FanOut<L> {
    /// An empty list.
    pub(super) fn new(prune: Prune) -> Self {
        Self { all: Vec::new(), listed: 0, prune }
    }

    /// The number of listeners on the list.
    pub(super) fn len(&self) -> usize {
        self.listed as usize
    }

    /// Whether nobody is on the list, or about to be.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Plans to add the listener to the list at the next [`FanOut::enlist_entering`].
    pub(super) fn enter(&mut self, listener: L) {
        // Most rooms have one listener, and a vector would begin with space for four.
        if self.all.capacity() == 0 {
            self.all.reserve_exact(1);
        }
        self.all.push(Listed::new(listener));
    }

    /// Adds a listener to the list at once.
    pub(super) fn enlist(&mut self, listener: L) {
        self.prune();
        self.enter(listener);
        let newest = self.all.len() - 1;
        self.all.swap(self.listed as usize, newest);
        self.listed += 1;
    }

    /// Adds the planned listeners to the list.
    pub(super) fn enlist_entering(&mut self) {
        self.prune();
        self.listed = u32::try_from(self.all.len()).expect("sessions are fewer than descriptors");
    }

    fn prune(&mut self) {
        self.prune.if_due(self.listed as usize, || {
            let (mut index, listed) = (0, self.listed);
            self.all.retain(|it| {
                let is_open = it.listener.is_open();
                self.listed -= u32::from(index < listed && !is_open);
                index += 1;
                is_open
            });
            self.listed as usize
        });
    }

    /// Tells the last part of the first `untold` listeners of the list. Returns how many of them are left. The list is worked
    /// off backwards, so that the one that takes the place of a removed one has been told already. What the kernel does not take
    /// at once is handed to `flusher`.
    pub(super) fn tell_last_of(
        &mut self,
        untold: usize,
        frame: &L::Frame,
        flusher: &Flusher,
    ) -> usize {
        let left = untold.saturating_sub(WRITES_AT_ONCE);
        let mut end = untold;
        while end > left {
            let group = end.saturating_sub(READ_AHEAD).max(left)..end;
            self.all[group.clone()].iter().for_each(Listed::read_ahead);
            for index in group.clone().rev() {
                let listed = &mut self.all[index];
                if tell(&listed.listener, frame, flusher) {
                    listed.look_for_stream();
                } else {
                    self.remove(index).unlist();
                }
            }
            end = group.start;
        }
        left
    }

    /// Removes a listener from the list. The last one of the list takes its place, and one that is not on the list yet the place of
    /// that.
    fn remove(&mut self, index: usize) -> L {
        self.listed -= 1;
        self.all.swap(index, self.listed as usize);
        self.all.swap_remove(self.listed as usize).listener
    }
}

/// Tells one listener, on a list or not. Returns false if it must not be told counts any more.
pub(super) fn tell<L: Listener>(listener: &L, frame: &L::Frame, flusher: &Flusher) -> bool {
    let told = listener.tell(frame);
    if told == Told::Stuck {
        flusher.hand_over(listener.session());
    }
    told != Told::Gone
}

/// A listener on the list. It holds a strong reference to the session, which may outlive the session until the list is
/// pruned. It saves counting references in every emission.
#[derive(Debug)]
struct Listed<L> {
    listener: L,
    /// The socket of its websocket, for reading ahead; none while polls carry the session.
    stream: Weak<TcpStream>,
}

impl<L: Listener> Listed<L> {
    fn new(listener: L) -> Self {
        let mut listed = Self { listener, stream: Weak::new() };
        listed.look_for_stream();
        listed
    }

    /// Looks for the socket again, since the session may have moved to a websocket.
    fn look_for_stream(&mut self) {
        if self.stream.strong_count() == 0
            && let Some(stream) = self.listener.session().stream()
        {
            self.stream = Arc::downgrade(&stream);
        }
    }

    /// Reads the memory that telling this session needs, so that it is in the cache.
    fn read_ahead(&self) {
        let session = Arc::strong_count(self.listener.session());
        hint::black_box((session, self.stream.strong_count()));
    }
}

#[cfg(test)]
#[path = "fan_out/tests.rs"]
mod tests;
