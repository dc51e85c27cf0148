//! The handle to a connection: everything that others may do to it.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::task::AtomicWaker;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use crate::{
    frame::{self, CountFrame},
    outlet::{Outlet, StayNumber, Told},
    stragglers::Stragglers,
};

/// Bytes the kernel may hold that have not been sent yet, before it begins no further segment. So at most about 40 kB
/// that are stale wait here for a client that reads nothing, where it would be 4 MB (both measured on the loopback).
pub(super) const UNSENT_BYTES_MAX: u32 = 4096;

/// The handle by which other parts reach a [`Connection`](super::Connection).
#[derive(Debug, Default)]
pub struct Control {
    pub(super) closed: AtomicBool,
    /// Set once the connection carries a websocket. Before, it may be a proxy's connection that many clients
    /// share, which a budget would punish together.
    pub(super) websocket: AtomicBool,
    /// Why it was ended from here, if there is a reason that the metrics know.
    ended_for: OnceLock<&'static str>,
    /// When its unanswered ping was sent, as [`crate::pings`] counts time; 0 if there is none.
    pinged: AtomicU64,
    pub(super) reader: AtomicWaker,
    outlet: Mutex<Outlet<Arc<TcpStream>>>,
    /// Who comes back when the kernel takes more.
    pub(super) stragglers: Stragglers,
    /// Given back when the connection closes, although others may hold this handle for longer.
    pub(super) permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Control {
    pub(super) fn new(stream: &Arc<TcpStream>, stragglers: Stragglers) -> Arc<Self> {
        let outlet = Mutex::new(Outlet::new(Arc::clone(stream)));
        Arc::new(Self { outlet, stragglers, ..Self::default() })
    }

    /// Ends the connection: the next read finds the end of the stream.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Ends the connection, and says why.
    pub fn close_for(&self, reason: &'static str) {
        self.ended_for.get_or_init(|| reason);
        self.close();
    }

    /// From now on the connection carries a websocket, whose client has a budget.
    pub fn begin_websocket(&self) {
        self.websocket.store(true, Ordering::Relaxed);
        #[cfg(target_os = "linux")]
        if let Some(stream) = self.outlet().sink() {
            // A dead socket shows when it is read.
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        }
    }

    /// The client joined the namespace.
    pub fn begin_stay(&self) -> StayNumber {
        self.outlet().begin_stay()
    }

    /// The client is told nothing more, until it joins again.
    pub fn leave(&self) {
        self.outlet().leave();
    }

    /// The first count may follow what was sent. See [`Outlet::open`].
    pub fn open(&self, stay: StayNumber) -> Option<bool> {
        self.outlet().open(stay)
    }

    /// Sends whole frames of our own, now or when the kernel takes them; a client that leaves too much unread is
    /// cut off.
    pub fn send(self: &Arc<Self>, frames: &[u8]) {
        let mut outlet = self.outlet();
        let sent = outlet.send(frames);
        let stuck = outlet.becomes_stuck();
        drop(outlet);
        if stuck {
            self.stragglers.report(self);
        }
        if !sent {
            self.close_for("flood");
        }
    }

    /// Pings the client, at this time, unless it owes an answer already.
    pub fn ping(self: &Arc<Self>, now: u64) {
        if self.pinged.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.send(frame::PING);
        }
    }

    /// The client has answered.
    pub fn pong(&self) {
        self.pinged.store(0, Ordering::Relaxed);
    }

    /// When the ping was sent that the client has not answered.
    pub fn unanswered(&self) -> Option<u64> {
        Some(self.pinged.load(Ordering::Relaxed)).filter(|&pinged| pinged > 0)
    }

    /// Tells the client this count, newer than all before, as soon as it can be written; unless a still newer one
    /// comes before that. Returns false if the client is to be told no counts any more.
    pub fn tell(self: &Arc<Self>, frame: &CountFrame) -> bool {
        let told = self.outlet().tell(frame);
        if told == Told::Stuck {
            self.stragglers.report(self);
        }
        told != Told::Gone
    }

    /// Whether this is on the broadcaster's list.
    pub fn is_listed(&self) -> bool {
        self.outlet().is_listed()
    }

    /// This is on the broadcaster's list no more.
    pub fn unlist(&self) {
        self.outlet().unlist();
    }

    /// Writes what waits, now that the kernel takes more. Returns whether nothing is left to come back for.
    pub fn flush(&self) -> bool {
        self.outlet().flush()
    }

    /// The connection is gone. Returns whether somebody waits for it.
    pub(super) fn end(&self) -> bool {
        self.outlet().close()
    }

    /// The socket, to wait for; `None` if it is closed.
    pub fn stream(&self) -> Option<Arc<TcpStream>> {
        self.outlet().sink().cloned()
    }

    /// Every critical section leaves the outlet whole.
    fn outlet(&self) -> MutexGuard<'_, Outlet<Arc<TcpStream>>> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps this permit for as long as the connection is open.
    pub fn keep(&self, permit: OwnedSemaphorePermit) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// Why it was ended from here, if it was and there is a reason.
    pub fn ended_for(&self) -> Option<&'static str> {
        self.ended_for.get().copied()
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        self.outlet().sink().is_some()
    }
}
