//! Everything that is sent to one client: packets of the engine ([`Outbox::send`]) and counts of the broadcaster
//! ([`Outbox::tell`]). The outbox decides what may be written when. It never waits.
//!
//! On a websocket, frames are written at once. By polling, everything waits for the next poll:
//!
//! ```text
//!  websocket:  between frames ──a frame that the kernel took in part──▶ within one: its rest comes before anything else,
//!                    ▲                                                   │  and further packets queue behind it
//!                    └───────────────── all of it is taken ──────────────┘
//!  polling:    everything waits for a poll, which takes what fits into one answer
//! ```
//!
//! There is one slot for the newest count, and one for that of each room ([`super::session_rooms`]). A count that cannot be
//! written at once waits in it until a newer one replaces it:
//!
//! ```text
//!              open(), when the acknowledgement of the join has been sent
//!  silent ────────────────────────────────────────────────────────────────▶ open: tell() writes, or fills the slot
//!    ▲                                                                       │ ▲
//!    └──────────────────────── join(), leave() ──────────────────────────────┤ │ hold(), while the count would leave the client out
//!                                                                            ▼ │
//!                                                                          held: tell() does nothing
//!
//!  closed: writing failed, or the session has ended; from any state, and final
//! ```

mod gate;
mod polls;
pub mod rooms;

use std::{io, mem, task::Waker};

use super::{session_rooms::SessionRooms, sink::Sink};
use crate::protocol::{
    frame::{self, CountFrame},
    packet::PING,
    payload::SEPARATOR,
};
use gate::Gate;
pub use gate::Generation;

/// The most bytes of packets that may wait behind the first frame. A client that reads never has that much outstanding:
/// the kernel's own buffer takes more than is sent between two counts.
pub const REST_BYTES_MAX: usize = 4096;

/// What waits to be sent to one client, and the transport that carries it. `P` is the client's presence in a room.
#[derive(Debug)]
pub struct Outbox<S, P = ()> {
    carrier: Carrier<S>,
    gate: Gate,
    /// What is sent before any count. On a websocket: frames, of which the first may be sent in part. By polling: packets
    /// with separators between them.
    rest: Vec<u8>,
    /// The newest count, while it waits. It is newer than any that was written.
    newest: Option<u64>,
    generation: Generation,
    /// Whether the session is on the broadcaster's list.
    listed: bool,
    /// Whether the flusher will call [`Outbox::flush`] when the kernel takes more.
    awaited: bool,
    /// Whether a ping waits for a poll, so that the client cannot have answered it.
    ping_waits: bool,
    /// The client's rooms. None until it names the first one: most clients name none.
    rooms: Option<Box<SessionRooms<P>>>,
}

/// The transport that carries a session.
#[derive(Debug)]
enum Carrier<S> {
    /// A websocket.
    Websocket(S),
    /// Polls. Holds the waker of the open poll, while it waits.
    Polling(Option<Waker>),
    /// None: the session has ended.
    Gone,
}

/// The result of [`Outbox::tell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The count was written, or it waits and the flusher or a poll will take it, or the client must not be told it.
    Taken,
    /// The count waits for the kernel. The caller must see to it that [`Outbox::flush`] is called when the kernel takes more.
    Stuck,
    /// The client must not be told counts. The caller removes the session from its list.
    Gone,
}

impl<S: Sink, P> Outbox<S, P> {
    /// The outbox of a session on a websocket. `first` waits before everything else, for [`Outbox::write_what_waits`].
    pub fn on_websocket(sink: S, first: Vec<u8>) -> Self {
        Self { rest: first, ..Self::new(Carrier::Websocket(sink)) }
    }

    /// The outbox of a session that polls.
    pub fn polled() -> Self {
        Self::new(Carrier::Polling(None))
    }

    fn new(carrier: Carrier<S>) -> Self {
        Self {
            carrier,
            gate: Gate::default(),
            generation: Generation::default(),
            listed: false,
            rest: Vec::new(),
            newest: None,
            awaited: false,
            ping_waits: false,
            rooms: None,
        }
    }

    /// The socket of the websocket, if one carries the session.
    pub fn sink(&self) -> Option<&S> {
        match &self.carrier {
            Carrier::Websocket(sink) => Some(sink),
            _ => None,
        }
    }

    /// Whether polls carry the session.
    pub fn is_polled(&self) -> bool {
        matches!(self.carrier, Carrier::Polling(_))
    }

    /// Begins a membership. A count that an earlier membership was to be told is dropped.
    pub fn join(&mut self) -> Generation {
        self.newest = None;
        self.gate.silence();
        self.generation = self.generation.next();
        self.generation
    }

    /// Whether there was a membership before.
    pub fn has_joined_before(&self) -> bool {
        self.generation != Generation::default()
    }

    /// Ends the membership. A first count that comes too late finds another generation.
    pub fn leave(&mut self) {
        self.join();
    }

    /// Allows counts to be sent, now that the join has been acknowledged. Returns whether the session must be added to the
    /// broadcaster's list, or `None` if this membership is over.
    pub fn open(&mut self, generation: Generation) -> Option<bool> {
        if self.gate == Gate::Closed || generation != self.generation {
            return None;
        }
        self.gate = Gate::Open;
        Some(!mem::replace(&mut self.listed, true))
    }

    /// Keeps counts from the client, or tells it the next ones again. Returns whether that is a change, or `None` if this membership
    /// is over or has not been opened.
    pub fn hold(&mut self, generation: Generation, is_held: bool) -> Option<bool> {
        if generation == self.generation { self.gate.hold(is_held) } else { None }
    }

    /// Whether the session is on the broadcaster's list.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Records that the broadcaster removed the session from its list.
    pub fn unlist(&mut self) {
        self.listed = false;
    }

    /// Sends a packet after everything that was sent before. Returns false, and sends nothing, if the client has left too
    /// much unread.
    pub fn send(&mut self, packet: &str) -> bool {
        if !self.is_polled() {
            return self.send_frames(&frame::text(packet));
        }
        self.ping_waits |= packet == PING;
        let most = self.rest_bytes_max();
        let fits = self.rest.len() + packet.len() < most;
        if fits {
            grow(&mut self.rest, packet.len() + 1, most);
            push(&mut self.rest, packet.as_bytes());
            self.wake();
        }
        fits
    }

    /// Sends complete frames on the websocket. Returns false, and sends nothing, if the client has left too much unread.
    pub fn send_frames(&mut self, frames: &[u8]) -> bool {
        if self.is_clear() {
            self.write_frames(frames);
            return true;
        }
        let most = self.rest_bytes_max();
        let fits = self.rest.len() + frames.len() <= most;
        if fits {
            grow(&mut self.rest, frames.len(), most);
            self.rest.extend_from_slice(frames);
        }
        fits
    }

    /// Whether a ping waits for a poll.
    pub fn ping_waits(&self) -> bool {
        self.ping_waits
    }

    /// Ends the outbox: nothing is sent any more but what the kernel takes now of packets that wait, and an open poll is woken.
    /// Returns the socket of the websocket, if one carried the session.
    pub fn close(&mut self) -> Option<S> {
        self.wake();
        self.flush_rest();
        self.fail();
        match mem::replace(&mut self.carrier, Carrier::Gone) {
            Carrier::Websocket(sink) => Some(sink),
            _ => None,
        }
    }

    fn fail(&mut self) {
        (self.gate, self.newest, self.rest) = (Gate::Closed, None, Vec::new());
    }

    /// Tells the client a count that is newer than all before: writes it, or puts it into the slot.
    pub fn tell(&mut self, frame: &CountFrame) -> Told {
        match self.gate {
            Gate::Silent | Gate::Closed => return Told::Gone,
            Gate::Held => return Told::Taken,
            Gate::Open if self.waits() => self.newest = Some(frame.users()),
            Gate::Open => {
                self.write_count(frame);
                // The usual case, ten thousand times an emission.
                if self.rest.is_empty() && self.newest.is_none() {
                    return Told::Taken;
                }
            }
        }
        self.told()
    }

    /// Whether anything waits.
    fn waits(&self) -> bool {
        let rooms_wait = matches!(&self.rooms, Some(rooms) if rooms.waits());
        self.is_open() && (!self.rest.is_empty() || self.newest.is_some() || rooms_wait)
    }

    /// Whether the next frame may begin.
    fn is_clear(&self) -> bool {
        self.rest.is_empty() && !self.is_within_list()
    }

    fn told(&mut self) -> Told {
        if self.becomes_stuck() { Told::Stuck } else { Told::Taken }
    }

    /// Does [`Outbox::write_what_waits`] for the flusher. Returns false if another call is needed when the kernel takes more.
    pub fn flush(&mut self) -> bool {
        self.awaited = false;
        self.write_what_waits();
        !self.becomes_stuck()
    }

    /// Writes what waits, as far as the kernel takes it: packets first, then the site's count, then counts and lists of rooms.
    pub fn write_what_waits(&mut self) {
        self.flush_rest();
        if self.is_clear()
            && let Some(users) = self.newest
        {
            self.write_count(&CountFrame::new(users));
        }
        while self.is_clear() && self.newest.is_none() && self.write_next() {}
    }

    /// Returns whether something waits for the kernel that nobody has promised to write. The caller promises it by calling.
    pub fn becomes_stuck(&mut self) -> bool {
        let stuck = self.waits() && !self.awaited && !self.is_polled();
        self.awaited |= stuck;
        stuck
    }

    /// Wakes the open poll.
    pub fn wake(&mut self) {
        if let Carrier::Polling(waiting) = &mut self.carrier
            && let Some(waker) = waiting.take()
        {
            waker.wake();
        }
    }

    /// Changes the transport to a websocket, and sends there what waited for a poll. [`Outbox::becomes_stuck`] tells whether the
    /// kernel has taken all of it.
    pub fn upgrade(&mut self, sink: S) {
        self.wake();
        self.carrier = Carrier::Websocket(sink);
        self.ping_waits = false;
        let packets = mem::take(&mut self.rest);
        let packets = packets.split(|&byte| byte == SEPARATOR).filter(|packet| !packet.is_empty());
        let frames: Vec<u8> = packets.flat_map(frame::text_bytes).collect();
        if !frames.is_empty() {
            self.write_frames(&frames);
        }
        self.write_what_waits();
    }

    fn write_count(&mut self, frame: &CountFrame) {
        self.newest = None;
        if !self.begin_count(frame.bytes()) && self.is_open() {
            self.newest = Some(frame.users());
        }
    }

    /// Writes the frame of a count when nothing waits before it, and keeps what the kernel does not take. Returns whether the
    /// kernel has taken something.
    fn begin_count(&mut self, bytes: &[u8]) -> bool {
        let Some(written) = self.begin(bytes) else { return false };
        if written < bytes.len() {
            self.rest = bytes[written..].to_vec();
        }
        true
    }

    /// Begins to write a frame when nothing waits before it. Returns how many bytes the kernel has taken; `None` if none.
    fn begin(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.try_write(bytes) {
            Ok(0) | Err(None) => {
                self.wake();
                None
            }
            Ok(written) => Some(written),
            Err(Some(_)) => {
                self.fail();
                None
            }
        }
    }

    fn is_open(&self) -> bool {
        self.gate != Gate::Closed
    }

    /// Writes bytes when nothing waits before them, and keeps what the kernel does not take.
    fn write_frames(&mut self, bytes: &[u8]) {
        match self.try_write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(written) => self.rest = bytes[written..].to_vec(),
            Err(None) => self.rest = bytes.to_vec(),
            Err(Some(_)) => self.fail(),
        }
    }

    fn flush_rest(&mut self) {
        if !self.flush_list() {
            return;
        }
        while !self.rest.is_empty() {
            match self.try_write(&self.rest) {
                Ok(0) | Err(None) => return,
                Ok(written) if written == self.rest.len() => self.rest = Vec::new(),
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Some(_)) => self.fail(),
            }
        }
    }

    /// Does what [`Sink::try_write`] does. The error is `None` if nothing fits now, which is always so while polls carry the
    /// session.
    fn try_write(&self, bytes: &[u8]) -> Result<usize, Option<io::Error>> {
        let sink = match &self.carrier {
            Carrier::Websocket(sink) => sink,
            Carrier::Polling(_) => return Err(None),
            Carrier::Gone => return Err(Some(io::ErrorKind::NotConnected.into())),
        };
        sink.try_write(bytes).map_err(|error| {
            let full = error.kind() == io::ErrorKind::WouldBlock;
            (!full).then_some(error)
        })
    }
}

/// Makes space for so many more bytes. There is never more space than `most`, which a vector would double at the end.
fn grow(rest: &mut Vec<u8>, more: usize, most: usize) {
    let length = rest.len() + more;
    if length > rest.capacity() {
        rest.reserve_exact((2 * length).min(most.max(length)) - rest.len());
    }
}

/// Adds a packet to a payload.
fn push(payload: &mut Vec<u8>, packet: &[u8]) {
    if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
    payload.extend_from_slice(packet);
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
