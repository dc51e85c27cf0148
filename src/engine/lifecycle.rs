//! The engine: begins sessions, acts on what clients send, and ends sessions. It does the same on both transports.

use std::sync::{
    Arc, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    admission::Admission,
    flusher::Flusher,
    key_waits::KeyWaits,
    reason::{End, EndReason},
    registry::Registry,
    session::{Membership, RoomMembership, Session, SessionOutbox, SessionState, shut_down},
    session_id::SessionId,
    settings::{JOIN_TIMEOUT, SessionSettings},
};
use crate::{
    access::rate_limit::{CLIENT_BYTES_PER_SECOND, TokenBucket, client_bytes_burst},
    core::{
        lists::{LISTS_MAX, Lists},
        rooms::Rooms,
        tally::Tally,
    },
    protocol::{
        frame,
        packet::{PING, Packet},
        transport::{Transport, Transports},
    },
    telemetry::metrics::Metrics,
};

/// Serves the sessions of one instance.
#[derive(Debug)]
pub struct Engine {
    settings: SessionSettings,
    admission: Admission,
    pub(super) tally: Arc<Tally<Membership>>,
    pub(super) rooms: Arc<Rooms<RoomMembership>>,
    pub(super) lists: Arc<Lists<RoomMembership>>,
    pub(super) metrics: Metrics,
    flusher: Flusher,
    sessions: Registry,
    /// The sessions with CONNECTs that wait for the key of their token.
    pub(super) key_waits: KeyWaits,
    /// Connections by transport, in the order of [`Transport::ALL`].
    pub(super) joined: [AtomicUsize; 2],
    /// Sessions that polls carry.
    pub(super) polling_sessions: AtomicUsize,
}

impl Engine {
    /// An engine without sessions. Its connections are counted in `tally`, and in the rooms that they join.
    pub fn new(
        settings: SessionSettings,
        admission: Admission,
        tally: Arc<Tally<Membership>>,
        rooms: Arc<Rooms<RoomMembership>>,
        metrics: Metrics,
        flusher: Flusher,
    ) -> Arc<Self> {
        metrics.begin_connects(Transport::ALL.map(Transport::label));
        metrics.begin_disconnects(EndReason::ALL.iter().map(|reason| reason.label()));
        let (sessions, joined) = (Registry::default(), Default::default());
        Arc::new(Self {
            settings,
            admission,
            tally,
            rooms,
            lists: Lists::new(LISTS_MAX),
            metrics,
            flusher,
            sessions,
            key_waits: KeyWaits::default(),
            joined,
            polling_sessions: AtomicUsize::new(0),
        })
    }

    /// The settings that all sessions share.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Decides whether a session may begin.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The open sessions.
    pub fn sessions(&self) -> &Registry {
        &self.sessions
    }

    /// The local count of the site.
    pub fn tally(&self) -> &Tally<Membership> {
        &self.tally
    }

    /// The rooms of this instance.
    pub fn rooms(&self) -> &Rooms<RoomMembership> {
        &self.rooms
    }

    /// The lists of users that clients of this instance want.
    pub fn lists(&self) -> &Arc<Lists<RoomMembership>> {
        &self.lists
    }

    /// The number of connections that this transport carries.
    pub fn joined(&self, transport: Transport) -> usize {
        self.joined[by(transport)].load(Ordering::Relaxed)
    }

    /// The number of sessions that are not counted in the site: only in rooms, watching, or not in anything yet.
    pub fn outside(&self) -> u64 {
        let inside: usize = Transport::ALL.map(|transport| self.joined(transport)).iter().sum();
        self.admission.permits().taken().saturating_sub(inside) as u64
    }

    /// The number of sessions that polls carry.
    pub fn polling_sessions(&self) -> usize {
        self.polling_sessions.load(Ordering::Relaxed)
    }

    pub(super) fn begin(
        &self,
        transport: Transport,
        permit: OwnedSemaphorePermit,
        outbox: impl FnOnce(SessionId) -> SessionOutbox,
    ) -> Arc<Session> {
        let now = Instant::now();
        let burst = client_bytes_burst(self.settings.payload_bytes_max);
        let budget = TokenBucket::new(burst, CLIENT_BYTES_PER_SECOND, now);
        // As soon as it is in the registry, another task may end it.
        if transport == Transport::Polling {
            self.polling_sessions.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.sessions.started.with_label_values(&[transport.label()]).inc();
        let session =
            self.sessions.insert(|id| Session::new(id, transport, outbox(id), budget, permit, now));
        self.check_by(&session, &mut session.state(), now + JOIN_TIMEOUT.min(self.poll_gap()));
        session
    }

    /// The first packet of a session: its id and settings, as JSON.
    pub(super) fn opening(&self, id: SessionId, transport: Transport) -> String {
        let SessionSettings { ping_interval, ping_timeout, payload_bytes_max, transports, .. } =
            &self.settings;
        let upgrades = match (transport, transports) {
            (Transport::Polling, Transports::Both) => "[\"websocket\"]",
            _ => "[]",
        };
        format!(
            "0{{\"sid\":\"{id}\",\"upgrades\":{upgrades},\"pingInterval\":{},\"pingTimeout\":{},\
             \"maxPayload\":{payload_bytes_max}}}",
            ping_interval.as_millis(),
            ping_timeout.as_millis()
        )
    }

    /// Acts on a text message of the client.
    ///
    /// # Errors
    /// How the session must end because of this message.
    pub fn receive(&self, session: &Arc<Session>, message: &str) -> Result<(), End> {
        let packet = Packet::parse(message).ok_or(End::BAD_PACKET)?;
        let mut state = session.state();
        if let Some(reason) = state.ended {
            return Err(reason.into());
        }
        match packet {
            Packet::Pong => {
                // A client cannot answer a ping that still waits for its poll.
                if !state.outbox.ping_waits() {
                    session.end_ping();
                }
                return Ok(());
            }
            Packet::Close => {
                state.closed_by_client = true;
                return Err(End::CLOSED);
            }
            // An event's binary parts must come right after it.
            _ if state.attachments > 0 => return Err(End::BAD_PACKET),
            Packet::Event(attachments) => {
                state.attachments = attachments;
                return Ok(());
            }
            Packet::Connect { .. } | Packet::Disconnect(_) => drop(state),
        }
        match packet {
            Packet::Connect { namespace, auth } => self.connect(session, namespace, auth),
            Packet::Disconnect(namespace) => self.disconnect(session, namespace),
            _ => Ok(()),
        }
    }

    /// Acts on a binary message of the client. It must be a part of the event that was sent before.
    ///
    /// # Errors
    /// How the session must end because of this message.
    pub fn receive_binary(&self, session: &Session) -> Result<(), End> {
        let mut state = session.state();
        state.attachments = state.attachments.checked_sub(1).ok_or(End::BAD_PACKET)?;
        Ok(())
    }

    /// Sends complete websocket frames, or queues what the kernel does not take.
    pub(super) fn send_frames(&self, session: &Arc<Session>, frames: &[u8]) -> Result<(), End> {
        let mut state = session.state();
        let sent = state.outbox.send_frames(frames);
        self.finish_sending(session, state, sent)
    }

    /// Does [`Engine::see_to_the_rest`]. `sent` is false if the outbox was full. Then the session ends at once: if it was the
    /// acknowledgement of a join that was not sent, no count may follow.
    ///
    /// # Errors
    /// [`EndReason::Flood`] if the outbox was full: the client leaves too much unread.
    pub(super) fn finish_sending(
        &self,
        session: &Arc<Session>,
        state: MutexGuard<'_, SessionState>,
        sent: bool,
    ) -> Result<(), End> {
        if !sent {
            self.end_locked(session, state, EndReason::Flood.into());
            return Err(EndReason::Flood.into());
        }
        self.see_to_the_rest(session, state);
        Ok(())
    }

    /// Hands the session to the flusher if bytes wait for the kernel.
    pub(super) fn see_to_the_rest(
        &self,
        session: &Arc<Session>,
        mut state: MutexGuard<'_, SessionState>,
    ) {
        let stuck = state.outbox.becomes_stuck();
        drop(state);
        if stuck {
            self.flusher.hand_over(session);
        }
    }

    /// Pings the client at this tick of the ping wheel, unless an earlier ping is unanswered. Also plans the end of the session,
    /// if a token expires soon.
    pub(super) fn ping(&self, session: &Arc<Session>, tick: u64) {
        let is_begun = session.begin_ping(tick);
        let mut state = session.state();
        if let Some(at) = state.token_ends() {
            self.plan_check(session, &mut state, at, Instant::now());
        }
        if is_begun {
            let sent = state.outbox.send(PING);
            // An error means that the session has ended.
            let _ = self.finish_sending(session, state, sent);
        }
    }

    /// Ends the session, unless it has ended already. When this returns, the client is out of all counts and its websocket
    /// is shut down. A polling client learns it from its open poll, or from the answer to its next request.
    pub fn end(&self, session: &Session, end: impl Into<End>) {
        self.end_locked(session, session.state(), end.into());
    }

    /// The same for a session that polls carry; one that a websocket carries goes on.
    pub fn end_polled(&self, session: &Session, reason: EndReason) {
        let state = session.state();
        if state.outbox.is_polled() {
            self.end_locked(session, state, reason.into());
        }
    }

    /// Does what [`Engine::end`] does. Before the client can know of the end, nothing is left of its session: it is in no room, and
    /// its place is free. It may come back at once.
    pub(super) fn end_locked(
        &self,
        session: &Session,
        mut state: MutexGuard<'_, SessionState>,
        end: End,
    ) {
        let End { reason, close_code } = end;
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(reason);
        self.metrics.sessions.ended.with_label_values(&[reason.label()]).inc();
        self.count_out(&mut state, reason);
        drop(self.take_out_of_rooms(&mut state));
        state.credentials = None;
        self.sessions.remove(session);
        drop(state.permit.take());
        if state.outbox.is_polled() {
            self.polling_sessions.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(code) = close_code.filter(|_| !state.outbox.is_polled()) {
            state.outbox.send_frames(&frame::close(code));
        }
        let streams = [state.outbox.close(), state.candidate.take()];
        drop(state);
        streams.iter().flatten().for_each(|stream| shut_down(stream));
        tracing::debug!(session = ?session.id(), reason = reason.label(), "a session ended");
    }
}

/// Takes the bytes that a client has sent from its budget.
///
/// # Errors
/// [`EndReason::Flood`] if the budget does not cover them.
pub(super) fn charge(session: &Session, bytes: u64) -> Result<(), End> {
    let within = session.state().budget.spend(bytes, Instant::now());
    if within { Ok(()) } else { Err(EndReason::Flood.into()) }
}

/// The index of a transport in [`Transport::ALL`].
pub(super) fn by(transport: Transport) -> usize {
    match transport {
        Transport::Websocket => 0,
        Transport::Polling => 1,
    }
}

#[cfg(test)]
#[path = "lifecycle/tests.rs"]
mod tests;
