//! The one way out of a session: packets from the engine, by [`Outbox::send`], and counts from the broadcaster, by
//! [`Outbox::tell`]. It owns what may be written when, and never waits.
//!
//! Where the bytes are depends on what carries the session:
//!
//! ```text
//!  websocket:  between frames ──a frame that the kernel took in part──▶ within one: its rest comes before anything else,
//!                    ▲                                                   │  and further packets queue behind it
//!                    └───────────────── all of it is taken ──────────────┘
//!  polling:    everything waits for a poll, which takes all of it
//! ```
//!
//! Counts have a slot for the newest one. A count that cannot be written at once waits there, and a newer one takes its
//! place:
//!
//! ```text
//!              open(), when the acknowledgement of the join has been sent
//!  silent ────────────────────────────────────────────────────────────────▶ open: tell() writes, or fills the slot
//!    ▲                                                                       │
//!    └──────────────────────── join(), leave() ──────────────────────────────┘
//!
//!  closed: writing failed, or the session has ended; from any state, and final
//! ```

use std::{io, mem, sync::Arc, task::Waker};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::protocol::{
    frame::{self, CountFrame},
    packet::PING,
    payload::SEPARATOR,
};

/// Bytes of packets that may wait, beside the first frame that had to: what a client that reads is ever sent between
/// two counts is less than this and the kernel's own buffer.
pub const REST_BYTES_MAX: usize = 4096;

/// What takes bytes without waiting, as many as it has room for.
pub trait Sink {
    /// Writes what fits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing does; anything else is the end of the sink.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl Sink for Arc<TcpStream> {
    /// The kernel is asked without asking the runtime first whether the socket is ready, which is one memory access
    /// less that misses every cache when there are many sockets. Only if nothing fits the runtime must know.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match SockRef::from(&**self).send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                TcpStream::try_write(self, bytes)
            }
            done => done,
        }
    }
}

/// What waits to be sent to one client, and what carries it there.
#[derive(Debug)]
pub struct Outbox<S> {
    carrier: Carrier<S>,
    counts: Counts,
    /// What comes before any count: on a websocket frames, of which the first may have been taken in part; by polling
    /// packets with separators between.
    rest: Vec<u8>,
    /// The newest count, if it has not been written; newer than any that was.
    newest: Option<u64>,
    generation: Generation,
    /// Whether the broadcaster has this session on its list.
    listed: bool,
    /// Whether the flusher has been asked to come back when the kernel takes more.
    awaited: bool,
    /// Whether a ping waits for a poll, so that its client cannot have answered it.
    ping_waits: bool,
}

/// What carries a session.
#[derive(Debug)]
enum Carrier<S> {
    /// A websocket.
    Websocket(S),
    /// Polls, and the task of the one that is open and waits.
    Polling(Option<Waker>),
    /// Nothing: the session has ended.
    Gone,
}

/// How counts go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Silent,
    Open,
    Closed,
}

/// Numbers the memberships of one session in the namespace, which its client may leave and join again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u32);

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was written or waits, and somebody who will write it knows.
    Taken,
    /// It waits, and nobody will write it unless the caller sees to it that [`Outbox::flush`] is called when
    /// the kernel takes more.
    Stuck,
    /// The client is to be told no counts: the caller takes the session off the list.
    Gone,
}

impl<S: Sink> Outbox<S> {
    /// Of a session on a websocket.
    pub fn on_websocket(sink: S) -> Self {
        Self::new(Carrier::Websocket(sink))
    }

    /// Of a session that polls.
    pub fn polled() -> Self {
        Self::new(Carrier::Polling(None))
    }

    fn new(carrier: Carrier<S>) -> Self {
        Self {
            carrier,
            counts: Counts::Silent,
            rest: Vec::new(),
            newest: None,
            generation: Generation::default(),
            listed: false,
            awaited: false,
            ping_waits: false,
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

    /// The client joined the namespace; what an earlier membership was still to be told is not for this one.
    pub fn join(&mut self) -> Generation {
        self.newest = None;
        if self.counts != Counts::Closed {
            self.counts = Counts::Silent;
        }
        self.generation.0 = self.generation.0.wrapping_add(1);
        self.generation
    }

    /// The client left the namespace: a first count that comes too late finds another generation.
    pub fn leave(&mut self) {
        self.join();
    }

    /// The client's acknowledgement has been sent, so counts may go out from now on. Returns whether this session is
    /// new to the broadcaster's list, or `None` if this membership is over.
    pub fn open(&mut self, generation: Generation) -> Option<bool> {
        if self.counts == Counts::Closed || generation != self.generation {
            return None;
        }
        self.counts = Counts::Open;
        Some(!mem::replace(&mut self.listed, true))
    }

    /// Sends a packet after all that was sent before. Returns false if the client has left too much unread; the packet
    /// is not sent then.
    pub fn send(&mut self, packet: &str) -> bool {
        if !self.is_polled() {
            return self.send_frames(&frame::text(packet));
        }
        self.ping_waits |= packet == PING;
        let fits = self.rest.len() + packet.len() < REST_BYTES_MAX;
        if fits {
            push(&mut self.rest, packet.as_bytes());
            self.wake();
        }
        fits
    }

    /// Sends whole frames on the websocket. Returns false as [`Outbox::send`] does.
    pub fn send_frames(&mut self, frames: &[u8]) -> bool {
        if self.rest.is_empty() {
            self.write_frames(frames);
            return true;
        }
        let fits = self.rest.len() + frames.len() <= REST_BYTES_MAX;
        if fits {
            self.rest.extend_from_slice(frames);
        }
        fits
    }

    /// Whether a ping waits for a poll.
    pub fn ping_waits(&self) -> bool {
        self.ping_waits
    }

    /// Whether the broadcaster has this session on its list.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// The broadcaster took this session off its list.
    pub fn unlist(&mut self) {
        self.listed = false;
    }

    /// The session has ended: nothing is sent any more. A poll that waits is woken up. Returns the socket of the
    /// websocket, if one carried it.
    pub fn close(&mut self) -> Option<S> {
        self.wake();
        self.fail();
        match mem::replace(&mut self.carrier, Carrier::Gone) {
            Carrier::Websocket(sink) => Some(sink),
            _ => None,
        }
    }

    fn fail(&mut self) {
        (self.counts, self.newest, self.rest) = (Counts::Closed, None, Vec::new());
    }

    /// Tells the client this count, which is newer than any before.
    pub fn tell(&mut self, frame: &CountFrame) -> Told {
        match self.counts {
            Counts::Silent | Counts::Closed => return Told::Gone,
            Counts::Open if self.rest.is_empty() && self.newest.is_none() => {
                self.write_count(frame);
            }
            Counts::Open => self.newest = Some(frame.users()),
        }
        if self.becomes_stuck() { Told::Stuck } else { Told::Taken }
    }

    /// Writes what waits for the kernel, as far as that takes it. Returns whether nothing is left that only a further
    /// call could write.
    pub fn flush(&mut self) -> bool {
        self.awaited = false;
        self.flush_rest();
        if self.rest.is_empty()
            && let Some(users) = self.newest
        {
            self.write_count(&CountFrame::new(users));
        }
        !self.becomes_stuck()
    }

    /// Whether something waits for the kernel and nobody will write it: from now on the caller will.
    pub fn becomes_stuck(&mut self) -> bool {
        let waits = !self.rest.is_empty() || self.newest.is_some();
        let stuck = waits && !self.awaited && !self.is_polled();
        self.awaited |= stuck;
        stuck
    }

    /// All that waits for a poll, as its answer; `None` if there is nothing.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        let mut payload = mem::take(&mut self.rest);
        self.ping_waits = false;
        if let Some(users) = self.newest.take() {
            push(&mut payload, CountFrame::new(users).packet());
        }
        (!payload.is_empty()).then_some(payload)
    }

    /// The task of a poll waits for something to be sent.
    pub fn await_payload(&mut self, waker: &Waker) {
        if let Carrier::Polling(waiting) = &mut self.carrier {
            *waiting = Some(waker.clone());
        }
    }

    /// The poll that waits has another look.
    pub fn wake(&mut self) {
        if let Carrier::Polling(waiting) = &mut self.carrier
            && let Some(waker) = waiting.take()
        {
            waker.wake();
        }
    }

    /// From now on a websocket carries the session: what waited for a poll goes out there.
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
        self.flush();
    }

    fn write_count(&mut self, frame: &CountFrame) {
        let (users, bytes) = (frame.users(), frame.bytes());
        self.newest = None;
        match self.try_write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(0) | Err(None) => {
                self.newest = Some(users);
                self.wake();
            }
            Ok(written) => self.rest = bytes[written..].to_vec(),
            Err(Some(_)) => self.fail(),
        }
    }

    /// Writes bytes that come before anything else, and keeps what the kernel does not take.
    fn write_frames(&mut self, bytes: &[u8]) {
        match self.try_write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(written) => self.rest = bytes[written..].to_vec(),
            Err(None) => self.rest = bytes.to_vec(),
            Err(Some(_)) => self.fail(),
        }
    }

    fn flush_rest(&mut self) {
        while !self.rest.is_empty() {
            match self.try_write(&self.rest) {
                Ok(0) | Err(None) => return,
                Ok(written) if written == self.rest.len() => self.rest = Vec::new(),
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Some(_)) => self.fail(),
            }
        }
    }

    /// As [`Sink::try_write`], with `None` for an error that is none: nothing fits now. Nothing ever fits where polls
    /// carry the session, since they take what they want.
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
