//! One session: its id, its membership, its outbox, and the requests that are open. It changes nothing outside itself;
//! [`super::lifecycle`] decides what its changes mean for counts, metrics and other sessions.
//!
//! ```text
//!  opened ──40──▶ in a namespace ──41, of the last one──▶ opened …          from either state: ended
//!
//!  carried by polls ──2probe, 5 on a websocket──▶ carried by that websocket
//! ```

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
    credentials::{Credential, Credentials, Known, TokenDigest},
    list_frames::ListFrames,
    outbox::{Generation, Outbox, Told},
    place::Place,
    reason::EndReason,
    session_id::SessionId,
    session_rooms::SessionRooms,
    settings::{JOIN_TIMEOUT, POLL_GAP_SUSPECT},
};
use crate::{
    access::rate_limit::TokenBucket,
    core::{report::Room, rooms::RoomPresence, tally::Presence},
    protocol::{
        frame::{CountFrame, RoomFrame},
        transport::Transport,
    },
};

/// One session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// The transport that it began with.
    began_by: Transport,
    /// The tick of the ping wheel at which the unanswered ping was sent; 0 if none is unanswered.
    pinged: AtomicU64,
    state: Mutex<SessionState>,
}

/// The outbox of a session. It also holds the session's rooms.
pub(super) type SessionOutbox = Outbox<Arc<TcpStream>, JoinedRoom>;

/// A room that the client of a session has joined.
#[derive(Debug)]
pub(super) struct JoinedRoom {
    /// Its place in the room. Dropping it takes the client out.
    pub(super) presence: RoomPresence<RoomMembership>,
    /// The token by which it is there.
    pub(super) credential: Option<Arc<Credential>>,
}

/// The part of a session that changes.
#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) outbox: SessionOutbox,
    /// The connection's place in the site's count, while the client is in the default namespace.
    pub(super) membership: Option<Presence<Membership>>,
    /// The client's tokens. None until it shows the first one: most clients have none.
    pub(super) credentials: Option<Box<Credentials>>,
    /// Why the session ended. Nothing changes after that.
    pub(super) ended: Option<EndReason>,
    /// Whether the client ended the session with a close packet.
    pub(super) closed_by_client: bool,
    /// The number of binary messages that must follow as parts of the last event.
    pub(super) attachments: u8,
    /// The bytes that the client may still send.
    pub(super) budget: TokenBucket,
    /// Counts against the limit of sessions. It is given back when the session ends.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) requests: Requests,
    /// Since when no poll has been open; `None` while one is, and for a session that did not begin with polling.
    pub(super) unpolled_since: Option<Instant>,
    /// The websocket to which the session is moving.
    pub(super) candidate: Option<Arc<TcpStream>>,
    /// Since when the client has been in no namespace; `None` while it is in one.
    pub(super) unjoined_since: Option<Instant>,
    /// When the engine checks this session next.
    pub(super) check_at: Option<Instant>,
}

/// The open requests of a polling client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a request that may be open independently of the others"
)]
pub(super) struct Requests {
    /// The poll.
    pub(super) poll: PollState,
    /// A post is open.
    pub(super) posts: bool,
    /// A websocket is open to which the session may move.
    pub(super) upgrades: bool,
    /// The client has probed that websocket. Polls are answered at once, so that it can complete the upgrade.
    pub(super) is_probed: bool,
    /// There is a sign that the client is gone.
    pub(super) is_suspect: bool,
}

/// Whether a client polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PollState {
    /// The first poll has not arrived.
    #[default]
    None,
    /// A poll is open.
    Open,
    /// The last poll has been answered.
    Answered,
}

/// A connection, as the local count and the broadcaster know it.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The session.
    pub session: Weak<Session>,
    /// Which of the session's memberships.
    pub generation: Generation,
}

/// A connection in a room, as the table of rooms and the broadcaster of rooms know it.
#[derive(Clone, Debug)]
pub struct RoomMembership {
    /// The session.
    pub session: Weak<Session>,
    /// Which of the session's memberships.
    pub place: Place,
}

/// The result of checking a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The session continues. The time of its next check, if it needs one.
    Wait(Option<Instant>),
    /// The session must end.
    Over(EndReason),
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        began_by: Transport,
        outbox: SessionOutbox,
        budget: TokenBucket,
        permit: OwnedSemaphorePermit,
        now: Instant,
    ) -> Self {
        let unpolled_since = (began_by == Transport::Polling).then_some(now);
        let state = SessionState {
            outbox,
            membership: None,
            credentials: None,
            ended: None,
            closed_by_client: false,
            attachments: 0,
            budget,
            permit: Some(permit),
            requests: Requests::default(),
            unpolled_since,
            candidate: None,
            unjoined_since: Some(now),
            check_at: None,
        };
        Self { id, began_by, pinged: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// The id of the session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The transport that the session began with.
    pub fn began_by(&self) -> Transport {
        self.began_by
    }

    /// Every critical section leaves the state whole.
    pub(super) fn state(&self) -> MutexGuard<'_, SessionState> {
        #[cfg(test)]
        crate::fixtures::turns::others_first();
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows counts to be sent from now on. See [`Outbox::open`].
    pub fn open(&self, generation: Generation) -> Option<bool> {
        self.state().outbox.open(generation)
    }

    /// Keeps counts of the site from the client, or does so no more. See [`Outbox::hold`].
    pub fn hold(&self, generation: Generation, is_held: bool) -> Option<bool> {
        self.state().outbox.hold(generation, is_held)
    }

    /// The same for counts of the room in this place. See [`Outbox::hold_room`].
    pub fn hold_room(&self, place: Place, is_held: bool) -> Option<bool> {
        self.state().outbox.hold_room(place, is_held)
    }

    /// Tells the client a count that is newer than all before. See [`Outbox::tell`].
    pub fn tell(&self, frame: &CountFrame) -> Told {
        self.state().outbox.tell(frame)
    }

    /// Tells the client a count of the room in this place that is newer than all before. See [`Outbox::tell_room`].
    pub fn tell_room(&self, place: Place, frame: &RoomFrame) -> Told {
        self.state().outbox.tell_room(place, frame)
    }

    /// Tells the client the list of the room in this place, which is newer than all before. See [`Outbox::tell_list`].
    pub fn tell_list(&self, place: Place, list: &Arc<ListFrames>) -> Told {
        self.state().outbox.tell_list(place, list)
    }

    /// Whether the client is told the list of the room in this place.
    pub fn has_list(&self, place: Place) -> bool {
        self.state().outbox.rooms().is_some_and(|rooms| rooms.has_list(place))
    }

    /// Whether the client is in a room in this place.
    pub fn is_in(&self, place: Place) -> bool {
        self.state().outbox.rooms().is_some_and(|rooms| rooms.has(place))
    }

    /// Whether the session is on the broadcaster's list.
    pub fn is_listed(&self) -> bool {
        self.state().outbox.is_listed()
    }

    /// Records that the session is not on the broadcaster's list any more.
    pub fn unlist(&self) {
        self.state().outbox.unlist();
    }

    /// Writes what waits for the kernel. Returns true if nothing waits any more.
    pub(super) fn flush(&self) -> bool {
        self.state().outbox.flush()
    }

    /// The socket of the websocket that carries the session, if one does.
    pub fn stream(&self) -> Option<Arc<TcpStream>> {
        self.state().outbox.sink().cloned()
    }

    /// Whether the client is in no namespace.
    pub fn is_outside(&self) -> bool {
        self.state().is_outside()
    }

    /// For how long the client has been in no namespace; `None` while it is in one.
    pub fn outside_for(&self, now: Instant) -> Option<Duration> {
        self.state().unjoined_since.map(|since| now.saturating_duration_since(since))
    }

    /// For how long no poll has been open, if polls carry the session and it is not about to move to a websocket. `None` until its
    /// first poll: a client may take long to begin, and its polls have not come anywhere yet.
    pub fn unpolled_for(&self, now: Instant) -> Option<Duration> {
        let state = self.state();
        let polls = state.carrier() == Some(Transport::Polling) && !state.requests.upgrades;
        let polls = polls && state.requests.poll != PollState::None;
        let since = state.unpolled_since.filter(|_| polls)?;
        Some(now.saturating_duration_since(since))
    }

    /// A token for whose key CONNECTs of the client wait.
    pub(super) fn awaited_token(&self) -> Option<(Arc<str>, TokenDigest)> {
        self.state().credentials.as_ref()?.awaited()
    }

    /// Why the session ended, if it has.
    pub fn ended(&self) -> Option<EndReason> {
        self.state().ended
    }

    /// Records a ping that is sent at this tick. Returns false if an earlier one is unanswered.
    pub(super) fn begin_ping(&self, tick: u64) -> bool {
        self.pinged.compare_exchange(0, tick, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Records that the client has answered its ping.
    pub(super) fn end_ping(&self) {
        self.pinged.store(0, Ordering::Relaxed);
    }

    /// The tick of the ping wheel at which the unanswered ping was sent, if one is unanswered.
    pub(super) fn unanswered(&self) -> Option<u64> {
        Some(self.pinged.load(Ordering::Relaxed)).filter(|&tick| tick > 0)
    }
}

impl SessionState {
    /// Whether the client is in no namespace.
    pub(super) fn is_outside(&self) -> bool {
        self.membership.is_none() && self.outbox.rooms().is_none_or(SessionRooms::is_empty)
    }

    /// Whether the client is in this namespace.
    pub(super) fn has_joined(&self, room: &Room) -> bool {
        match room {
            Room::Site => self.membership.is_some(),
            Room::Named(name) => {
                self.outbox.rooms().is_some_and(|rooms| rooms.place_in(name.as_str()).is_some())
            }
        }
    }

    /// Whether the client is counted in the site.
    pub(super) fn is_counted(&self) -> bool {
        self.membership.as_ref().is_some_and(Presence::is_counted)
    }

    /// What is known of a token that the client shows.
    pub(super) fn known(&self, token: TokenDigest, now: Instant) -> Known {
        let Some(credentials) = &self.credentials else { return Known::Nothing };
        credentials.known(token, self.credentials_in_rooms(), now)
    }

    /// When the session ends because a token expires by which the client is in a namespace.
    pub(super) fn token_ends(&self) -> Option<Instant> {
        self.credentials.as_ref()?.end_at(self.credentials_in_rooms())
    }

    fn credentials_in_rooms(&self) -> impl Iterator<Item = &Arc<Credential>> {
        let rooms = self.outbox.rooms().into_iter().flat_map(SessionRooms::presences);
        rooms.filter_map(|joined| joined.credential.as_ref())
    }

    /// The transport that carries the session; `None` once it has ended.
    pub(super) fn carrier(&self) -> Option<Transport> {
        if self.outbox.is_polled() {
            return Some(Transport::Polling);
        }
        self.outbox.sink().map(|_| Transport::Websocket)
    }

    /// Records that a poll is open.
    pub(super) fn begin_poll(&mut self) {
        self.requests.poll = PollState::Open;
        (self.requests.is_suspect, self.unpolled_since) = (false, None);
    }

    /// Records that the poll has been answered.
    pub(super) fn end_poll(&mut self, now: Instant) {
        (self.requests.poll, self.unpolled_since) = (PollState::Answered, Some(now));
    }

    /// Checks whether the client joined and polled in time, and whether its tokens are still valid. `poll_gap` is the longest time
    /// between two polls.
    pub(super) fn check(&self, now: Instant, poll_gap: Duration) -> Check {
        if self.ended.is_some() {
            return Check::Wait(None);
        }
        let unjoined =
            self.unjoined_since.map(|since| (since + JOIN_TIMEOUT, EndReason::NeverJoined));
        // A poll may be answered after the session has moved to a websocket.
        let must_poll = self.outbox.is_polled() && !self.requests.upgrades;
        let unpolled = self.unpolled_since.filter(|_| must_poll);
        let poll_gap =
            if self.requests.is_suspect { poll_gap.min(POLL_GAP_SUSPECT) } else { poll_gap };
        let unpolled = unpolled.map(|since| (since + poll_gap, EndReason::PingTimeout));
        let expired = self.token_ends().map(|at| (at, EndReason::TokenExpired));
        let first = [unjoined, unpolled, expired].into_iter().flatten().min_by_key(|&(at, _)| at);
        match first {
            Some((at, reason)) if at <= now => Check::Over(reason),
            first => Check::Wait(first.map(|(at, _)| at)),
        }
    }
}

/// Ends the connection of a websocket. Its task then reads the end of the stream. What was written before is still sent.
pub(super) fn shut_down(stream: &TcpStream) {
    // An error means that the socket is dead already.
    let _ = SockRef::from(stream).shutdown(Shutdown::Both);
}

#[cfg(test)]
#[path = "session/tests.rs"]
pub(crate) mod tests;
