//! How clients join and leave namespaces: the site and rooms, counted or as watchers.
//!
//! ```text
//!  40 ──▶ may it? ──no──▶ 44 with a code: nothing else changes
//!           │ yes
//!           └──▶ acknowledged, and counted in ──41, or the end of the session──▶ counted out
//! ```
//!
//! The acknowledgement is in the outbox before the client can be told a count: both happen under the session's lock.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    lifecycle::{Engine, by},
    reason::{End, EndReason},
    session::{Membership, RoomMembership, Session, SessionState},
    session_rooms::SessionRooms,
    settings::JOIN_TIMEOUT,
};
use crate::{
    core::{
        room::{RoomName, SITE},
        rooms::{Attendance, RoomPresence},
    },
    protocol::{
        auth::Auth,
        packet::{acknowledgement, refusal},
        transport::Transport,
    },
    telemetry::labels::{JoinRefusal, MembershipKind},
};

/// The rooms of a session.
type Rooms = SessionRooms<RoomPresence<RoomMembership>>;

impl Engine {
    /// Records that a connection has changed its transport.
    pub(super) fn move_joined(&self, from: Transport, to: Transport) {
        self.joined[by(from)].fetch_sub(1, Ordering::Relaxed);
        self.joined[by(to)].fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the client join a namespace, unless it has joined it already. `auth` is what the client says about itself.
    ///
    /// # Errors
    /// How the session must end because of this.
    pub(super) fn connect(
        &self,
        session: &Arc<Session>,
        namespace: &str,
        auth: &str,
    ) -> Result<(), End> {
        let auth = Auth::parse(auth);
        if namespace == SITE {
            return match auth {
                Some(auth) => self.join_site(session, auth),
                None => self.refuse(session, namespace, JoinRefusal::BadAuth),
            };
        }
        match RoomName::parse(namespace) {
            Ok(room) => self.ask_for_room(session, &room, auth),
            Err(_) => self.refuse(session, namespace, JoinRefusal::RoomNotAllowed),
        }
    }

    /// Lets the client leave a namespace, if it is in it. It may join again on the same session.
    ///
    /// # Errors
    /// [`EndReason::Flood`] if it joins and leaves too often.
    pub(super) fn disconnect(&self, session: &Session, namespace: &str) -> Result<(), End> {
        let (now, mut state) = (Instant::now(), session.state());
        if namespace == SITE {
            if state.membership.is_none() {
                return Ok(());
            }
            state.outbox.leave();
            self.count_out(&mut state, EndReason::ClientLeft);
        } else {
            if RoomName::parse(namespace).is_err() {
                return Ok(());
            }
            let Some(place) = rooms_to_change(&mut state, now)?.place_in(namespace) else {
                return Ok(());
            };
            if let Some(presence) = state.outbox.leave_room(place) {
                self.record_leave(&presence);
            }
        }
        if state.is_outside() {
            state.unjoined_since = Some(now);
            self.check_by(session, &mut state, now + JOIN_TIMEOUT);
        }
        Ok(())
    }

    fn join_site(&self, session: &Arc<Session>, auth: Auth) -> Result<(), End> {
        let mut state = session.state();
        if let Some(reason) = state.ended {
            return Err(reason.into());
        }
        if state.membership.is_some() {
            return Ok(());
        }
        let generation = state.outbox.join();
        let sent = state.outbox.send(&acknowledgement(SITE, session.id()));
        let member = Membership { session: Arc::downgrade(session), generation };
        let now = Instant::now();
        if auth.watch {
            self.metrics.site_watchers.inc();
            state.membership = Some(self.tally.watch(member, now));
        } else {
            self.metrics.connects.with_label_values(&[session.began_by().label()]).inc();
            if let Some(transport) = state.carrier() {
                self.joined[by(transport)].fetch_add(1, Ordering::Relaxed);
            }
            state.membership = Some(self.tally.join(member, now));
        }
        state.unjoined_since = None;
        self.finish_sending(session, state, sent)
    }

    /// Takes the client out of the site's count, if it is in it.
    pub(super) fn count_out(&self, state: &mut SessionState, reason: EndReason) {
        let Some(presence) = state.membership.take() else { return };
        if !presence.is_counted() {
            self.metrics.site_watchers.dec();
            return;
        }
        self.metrics.disconnects.with_label_values(&[reason.label()]).inc();
        if let Some(transport) = state.carrier() {
            self.joined[by(transport)].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Lets the client join a room, or refuses it.
    fn ask_for_room(
        &self,
        session: &Arc<Session>,
        room: &RoomName,
        auth: Option<Auth>,
    ) -> Result<(), End> {
        let (now, mut state) = (Instant::now(), session.state());
        let rooms = rooms_to_change(&mut state, now)?;
        if rooms.place_in(room.as_str()).is_some() {
            return Ok(());
        }
        if let Err(refused) = self.join_room(session, rooms, room, auth, now) {
            drop(state);
            return self.refuse(session, room.as_str(), refused);
        }
        let sent = state.outbox.send(&acknowledgement(room.as_str(), session.id()));
        state.unjoined_since = None;
        self.finish_sending(session, state, sent)
    }

    fn join_room(
        &self,
        session: &Arc<Session>,
        rooms: &mut Rooms,
        room: &RoomName,
        auth: Option<Auth>,
        now: Instant,
    ) -> Result<(), JoinRefusal> {
        let auth = auth.ok_or(JoinRefusal::BadAuth)?;
        let rules = &self.settings().rooms;
        if !rules.allowed.allow(room) {
            return Err(JoinRefusal::RoomNotAllowed);
        }
        let (attendance, most) = if auth.watch {
            (Attendance::Watcher, rules.watched_per_connection)
        } else {
            (Attendance::Member, rules.per_connection)
        };
        let alike = rooms.presences().filter(|presence| presence.attendance() == attendance);
        if alike.count() >= most {
            return Err(JoinRefusal::TooManyRooms);
        }
        let place = rooms.add(room.clone());
        let member = RoomMembership { session: Arc::downgrade(session), place };
        let Ok(presence) = self.rooms.join(room, attendance, member, now) else {
            rooms.remove(place);
            return Err(JoinRefusal::TooManyRooms);
        };
        rooms.enter(place, presence);
        let kind = kind(attendance).label();
        self.metrics.memberships.with_label_values(&[kind]).inc();
        self.metrics.room_joins.with_label_values(&[kind]).inc();
        Ok(())
    }

    /// Takes the client out of all its rooms. Dropping the result ends its presences.
    pub(super) fn take_out_of_rooms(&self, state: &mut SessionState) -> Option<Box<Rooms>> {
        let rooms = state.outbox.take_rooms()?;
        rooms.presences().for_each(|presence| self.record_leave(presence));
        Some(rooms)
    }

    fn record_leave(&self, presence: &RoomPresence<RoomMembership>) {
        let kind = kind(presence.attendance()).label();
        self.metrics.memberships.with_label_values(&[kind]).dec();
        self.metrics.room_leaves.with_label_values(&[kind]).inc();
    }

    /// Tells the client that it may not join. The connection and its other namespaces go on.
    fn refuse(
        &self,
        session: &Arc<Session>,
        namespace: &str,
        refused: JoinRefusal,
    ) -> Result<(), End> {
        self.metrics.joins_refused.with_label_values(&[refused.label()]).inc();
        self.send(session, &refusal(namespace, message(refused), refused.label()))
    }
}

/// The rooms of the session, which its client asks to change.
///
/// # Errors
/// If the session has ended, or its client asks too often.
fn rooms_to_change(state: &mut SessionState, now: Instant) -> Result<&mut Rooms, End> {
    if let Some(reason) = state.ended {
        return Err(reason.into());
    }
    let rooms = state.outbox.rooms_mut(now);
    if rooms.may_change(now) { Ok(rooms) } else { Err(EndReason::Flood.into()) }
}

/// What the developer of a page reads.
fn message(refused: JoinRefusal) -> &'static str {
    match refused {
        JoinRefusal::RoomNotAllowed => "This room is not allowed here",
        JoinRefusal::TooManyRooms => "Too many rooms",
        JoinRefusal::BadAuth => "The auth object is wrong",
    }
}

fn kind(attendance: Attendance) -> MembershipKind {
    match attendance {
        Attendance::Member => MembershipKind::Member,
        Attendance::Watcher => MembershipKind::Watcher,
    }
}
