//! One session: its id, its place among those that are served and in the count, what waits to be sent, and what carries it.
//!
//! ```text
//!  opened ──40──▶ joined ──41──▶ opened …          from either, by whichever end comes first: ended
//!
//!  carried by polls ──2probe, 5 on a websocket──▶ carried by that websocket
//! ```
//!
//! It changes nothing outside itself: what its changes mean for counts, metrics and other sessions is [`super::Engine`]'s.

use std::{
    net::Shutdown,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit, time::Instant};

use super::{
    outbox::{Generation, Outbox, Told},
    reason::EndReason,
    session_id::SessionId,
    settings::{JOIN_TIMEOUT, POLL_GAP_SUSPECT},
};
use crate::{
    access::rate_limit::Bucket,
    core::tally::Presence,
    protocol::{frame::CountFrame, transport::Transport},
};

/// One session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// The transport it began with.
    began_by: Transport,
    /// When its unanswered ping was sent, in ticks of the ping wheel; 0 if there is none.
    pinged: AtomicU64,
    state: Mutex<State>,
}

/// What changes in a session.
#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox<Arc<TcpStream>>,
    /// The place in the count, while the client is in the namespace.
    pub(super) membership: Option<Presence<Membership>>,
    /// Why it ended. Nothing else changes after that.
    pub(super) ended: Option<EndReason>,
    /// Whether its client said that it ends the session.
    pub(super) closed_by_client: bool,
    /// Binary messages that have to follow as parts of an event.
    pub(super) attachments: u32,
    /// What the client may still send.
    pub(super) budget: Bucket,
    /// One of as many as there may be sessions; given back when the session ends.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) requests: Requests,
    /// A websocket that wants to carry the session.
    pub(super) candidate: Option<Arc<TcpStream>>,
    /// Since when the client has not been in the namespace.
    pub(super) unjoined_since: Option<Instant>,
    /// When the engine looks after this session next, if it is to.
    pub(super) check_at: Option<Instant>,
}

/// The requests of a polling client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one request that may be under way, by itself"
)]
pub(super) struct Requests {
    /// A poll is open.
    pub(super) polls: bool,
    /// A post is under way.
    pub(super) posts: bool,
    /// A websocket is open that wants to carry the session.
    pub(super) upgrades: bool,
    /// That websocket has been probed: polls are answered at once, so that the client can move.
    pub(super) is_probed: bool,
    /// Since when no poll has been open.
    pub(super) unpolled_since: Option<Instant>,
    /// There is a sign that the client has gone away.
    pub(super) is_suspect: bool,
}

/// A client in the namespace, as the local count and the broadcaster know it.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The session.
    pub session: Weak<Session>,
    /// Which membership of it.
    pub generation: Generation,
}

/// What is to be done about a session that was to be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing, until it is due again, if it is.
    Wait(Option<Instant>),
    /// It is over.
    Over(EndReason),
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        began_by: Transport,
        outbox: Outbox<Arc<TcpStream>>,
        budget: Bucket,
        permit: OwnedSemaphorePermit,
        now: Instant,
    ) -> Self {
        let unpolled_since = (began_by == Transport::Polling).then_some(now);
        let state = State {
            outbox,
            membership: None,
            ended: None,
            closed_by_client: false,
            attachments: 0,
            budget,
            permit: Some(permit),
            requests: Requests { unpolled_since, ..Requests::default() },
            candidate: None,
            unjoined_since: Some(now),
            check_at: None,
        };
        Self { id, began_by, pinged: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The transport it began with.
    pub fn began_by(&self) -> Transport {
        self.began_by
    }

    /// Every critical section leaves the state whole.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts may follow what was sent. See [`Outbox::open`].
    pub fn open(&self, generation: Generation) -> Option<bool> {
        self.state().outbox.open(generation)
    }

    /// Tells the client this count, newer than all before. See [`Outbox::tell`].
    pub fn tell(&self, frame: &CountFrame) -> Told {
        self.state().outbox.tell(frame)
    }

    /// Whether the broadcaster has it on its list.
    pub fn is_listed(&self) -> bool {
        self.state().outbox.is_listed()
    }

    /// The broadcaster has it on its list no more.
    pub fn unlist(&self) {
        self.state().outbox.unlist();
    }

    /// Writes what waits, now that the kernel takes more. Returns whether nothing is left to come back for.
    pub(super) fn flush(&self) -> bool {
        self.state().outbox.flush()
    }

    /// The socket of its websocket, if one carries it.
    pub fn stream(&self) -> Option<Arc<TcpStream>> {
        self.state().outbox.sink().cloned()
    }

    /// Why it ended, if it has.
    pub fn ended(&self) -> Option<EndReason> {
        self.state().ended
    }

    /// Begins to wait for the answer to a ping that is sent at this tick. Returns false if one is outstanding.
    pub(super) fn begin_ping(&self, tick: u64) -> bool {
        self.pinged.compare_exchange(0, tick, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The client has answered.
    pub(super) fn end_ping(&self) {
        self.pinged.store(0, Ordering::Relaxed);
    }

    /// When the ping was sent that the client has not answered, in ticks of the ping wheel.
    pub(super) fn unanswered(&self) -> Option<u64> {
        Some(self.pinged.load(Ordering::Relaxed)).filter(|&tick| tick > 0)
    }
}

impl State {
    /// What carries the session; `None` once it has ended.
    pub(super) fn carrier(&self) -> Option<Transport> {
        if self.outbox.is_polled() {
            return Some(Transport::Polling);
        }
        self.outbox.sink().map(|_| Transport::Websocket)
    }

    /// Whether the session has to end because its client did not do in time what it should. `poll_gap` bounds the time
    /// between two polls.
    pub(super) fn check(&self, now: Instant, poll_gap: Duration) -> Check {
        if self.ended.is_some() {
            return Check::Wait(None);
        }
        let unjoined =
            self.unjoined_since.map(|since| (since + JOIN_TIMEOUT, EndReason::NeverJoined));
        let unpolled = self.requests.unpolled_since.filter(|_| !self.requests.upgrades);
        let poll_gap =
            if self.requests.is_suspect { poll_gap.min(POLL_GAP_SUSPECT) } else { poll_gap };
        let unpolled = unpolled.map(|since| (since + poll_gap, EndReason::PingTimeout));
        let first = [unjoined, unpolled].into_iter().flatten().min_by_key(|&(at, _)| at);
        match first {
            Some((at, reason)) if at <= now => Check::Over(reason),
            first => Check::Wait(first.map(|(at, _)| at)),
        }
    }
}

impl Requests {
    /// A poll is open.
    pub(super) fn begin_poll(&mut self) {
        (self.polls, self.unpolled_since, self.is_suspect) = (true, None, false);
    }

    /// A poll has been answered.
    pub(super) fn end_poll(&mut self, now: Instant) {
        (self.polls, self.unpolled_since) = (false, Some(now));
    }
}

/// Ends the connection of a websocket: its task reads the end of the stream. What was written before still goes out.
pub(super) fn shut_down(stream: &TcpStream) {
    // A socket that is dead already is as good.
    let _ = SockRef::from(stream).shutdown(Shutdown::Both);
}

#[cfg(test)]
#[path = "session/tests.rs"]
pub(crate) mod tests;
