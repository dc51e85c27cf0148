//! The one way out of a websocket of our own: whole frames from its session, by [`Outlet::send`], and counts from the
//! broadcaster, by [`Outlet::tell`]. It owns what may be written when, and never waits.
//!
//! Where the bytes are, and who may write next:
//!
//! ```text
//!                   a frame, taken in part by the kernel
//!  between frames ───────────────────────────────────────▶ within one: the rest comes before anything else,
//!        ▲                                                 │   and whole frames of the session queue behind it
//!        └─────────────── all of it is taken ──────────────┘
//! ```
//!
//! What becomes of counts; a count that cannot be written at once waits in a slot for the newest one, and goes
//! out when the kernel takes it:
//!
//! ```text
//!              open(), when the acknowledgement has been sent
//!  silent ────────────────────────────────────────────────────▶ open: tell() writes, or fills the slot
//!    ▲                                                           │
//!    └──────────────── begin_stay(), leave() ────────────────────┘
//!
//!  closed: writing failed, or the connection is gone; from any state, for good
//! ```

use std::{io, sync::Arc};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::frame::CountFrame;

/// Bytes of the session that may wait for the kernel, beside the first frame that had to: what a client that reads is
/// ever sent between two counts is less than this and the kernel's own buffer.
const REST_BYTES_MAX: usize = 4096;

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

/// See the module's documentation.
#[derive(Debug)]
pub struct Outlet<S> {
    /// `None` once the connection is gone.
    sink: Option<S>,
    counts: Counts,
    /// What comes before anything else: a frame of which the kernel took only a part, and frames of the session.
    rest: Vec<u8>,
    /// The newest count, if it has not been written; newer than any that was.
    newest: Option<u64>,
    stay: StayNumber,
    /// Whether the broadcaster has this connection on its list.
    listed: bool,
    /// Whether somebody has been asked to come back when the kernel takes more.
    awaited: bool,
}

/// How counts go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Silent,
    Open,
    Closed,
}

/// Numbers the stays of one connection's client in the namespace, which it may leave and join again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StayNumber(u32);

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was written or waits, and somebody who will write it knows.
    Taken,
    /// It waits, and nobody will write it unless the caller sees to it that [`Outlet::flush`] is called when
    /// the kernel takes more.
    Stuck,
    /// Nobody is to be told counts here: the caller takes the connection off the list.
    Gone,
}

impl<S: Sink> Outlet<S> {
    /// The way out to this sink.
    pub fn new(sink: S) -> Self {
        Self { sink: Some(sink), ..Self::default() }
    }

    /// The sink, while the connection is there.
    pub fn sink(&self) -> Option<&S> {
        self.sink.as_ref()
    }

    /// A client joined the namespace; whatever an earlier stay was still to be told is not for this one.
    pub fn begin_stay(&mut self) -> StayNumber {
        self.silence();
        self.stay.0 = self.stay.0.wrapping_add(1);
        self.stay
    }

    /// The client left the namespace, whichever stay it was: who comes too late to let it in finds another number.
    pub fn leave(&mut self) {
        self.begin_stay();
    }

    /// The client's acknowledgement has been sent, so counts may go out from now on. Returns whether this connection is
    /// new to the broadcaster's list, or `None` if this stay is over.
    pub fn open(&mut self, stay: StayNumber) -> Option<bool> {
        if self.counts == Counts::Closed || stay != self.stay {
            return None;
        }
        self.counts = Counts::Open;
        Some(!std::mem::replace(&mut self.listed, true))
    }

    /// The session's way: these whole frames go out after all that was sent before. Returns false if the client
    /// has left too much unread; nothing of this is sent then.
    pub fn send(&mut self, frames: &[u8]) -> bool {
        if self.rest.is_empty() {
            self.write_whole(frames);
            return true;
        }
        let fits = self.rest.len() + frames.len() <= REST_BYTES_MAX;
        if fits {
            self.rest.extend_from_slice(frames);
        }
        fits
    }

    /// Whether the broadcaster has this connection on its list.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// The broadcaster took this connection off its list.
    pub fn unlist(&mut self) {
        self.listed = false;
    }

    fn silence(&mut self) {
        self.newest = None;
        if self.counts != Counts::Closed {
            self.counts = Counts::Silent;
        }
    }

    /// The connection is gone. Returns whether somebody waits for it.
    pub fn close(&mut self) -> bool {
        self.end();
        self.sink = None;
        self.awaited
    }

    fn end(&mut self) {
        (self.counts, self.newest, self.rest) = (Counts::Closed, None, Vec::new());
    }

    /// The broadcaster's way: tells the client this count, which is newer than any before.
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

    /// Writes what waits, as far as the kernel takes it. Returns whether nothing is left that only a further call
    /// could write.
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

    /// Whether something waits that nobody will write: from now on the caller will.
    pub fn becomes_stuck(&mut self) -> bool {
        let waits = !self.rest.is_empty() || self.newest.is_some();
        let stuck = waits && !self.awaited;
        self.awaited |= stuck;
        stuck
    }

    fn write_count(&mut self, frame: &CountFrame) {
        let (users, bytes) = (frame.users(), frame.bytes());
        self.newest = None;
        match self.try_write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(0) | Err(None) => self.newest = Some(users),
            Ok(written) => self.rest = bytes[written..].to_vec(),
            Err(Some(_)) => self.end(),
        }
    }

    /// Writes bytes that come before anything else, and keeps what the kernel does not take.
    fn write_whole(&mut self, bytes: &[u8]) {
        match self.try_write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(written) => self.rest = bytes[written..].to_vec(),
            Err(None) => self.rest = bytes.to_vec(),
            Err(Some(_)) => self.end(),
        }
    }

    fn flush_rest(&mut self) {
        while !self.rest.is_empty() {
            match self.try_write(&self.rest) {
                Ok(0) | Err(None) => return,
                Ok(written) if written == self.rest.len() => self.rest = Vec::new(),
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Some(_)) => self.end(),
            }
        }
    }

    /// As [`Sink::try_write`], with `None` for an error that is none: nothing fits now.
    fn try_write(&self, bytes: &[u8]) -> Result<usize, Option<io::Error>> {
        let Some(sink) = &self.sink else { return Err(Some(io::ErrorKind::NotConnected.into())) };
        sink.try_write(bytes).map_err(|error| {
            let full = error.kind() == io::ErrorKind::WouldBlock;
            (!full).then_some(error)
        })
    }
}

impl<S> Default for Outlet<S> {
    fn default() -> Self {
        Self {
            sink: None,
            counts: Counts::Silent,
            rest: Vec::new(),
            newest: None,
            stay: StayNumber::default(),
            listed: false,
            awaited: false,
        }
    }
}

#[cfg(test)]
#[path = "outlet/tests.rs"]
mod tests;
