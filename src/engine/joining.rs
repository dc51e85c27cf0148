//! How clients join and leave namespaces: the site and rooms, counted or as watchers.
//!
//! ```text
//!  40 ──▶ is there such a room? ──▶ who is it? ──▶ may it? ──no, at any step──▶ 44 with a code: nothing else changes
//!                                       │            │ yes
//!                          waits for a key           └──▶ acknowledged, and counted in
//!                                                              └──41, or the end of the session──▶ counted out
//! ```
//!
//! The acknowledgement is in the outbox before the client can be told a count: both happen under the session's lock. The steps
//! are in this order so that a client learns what to change first, and nothing of a room that it may not join: an answer depends
//! on the name of the room, the settings and the token, never on who is there.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    identifying::{Identified, Joiner},
    lifecycle::{Engine, by},
    reason::{End, EndReason},
    session::{JoinedRoom, Membership, RoomMembership, Session, SessionState},
    session_rooms::SessionRooms,
    settings::JOIN_TIMEOUT,
};
use crate::{
    core::{
        report::Room,
        room::{RoomName, SITE},
        rooms::Attendance,
    },
    protocol::{
        auth::{Auth, Wants},
        packet::{acknowledgement, refusal},
        transport::Transport,
    },
    telemetry::labels::{JoinRefusal, MembershipKind},
};

/// The longest name in bytes that a refusal repeats. Addresses of pages are rarely longer, and no room's name is as long.
const REFUSED_BYTES_MAX: usize = 1536;

/// The rooms of a session.
type Rooms = SessionRooms<JoinedRoom>;

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
        let Some(room) = room(namespace) else {
            return self.refuse_at_once(session, namespace, JoinRefusal::RoomNotAllowed);
        };
        if !may_ask(session, &room)? {
            return Ok(());
        }
        let refused = match Auth::parse(auth) {
            _ if !self.exists(&room) => JoinRefusal::RoomNotAllowed,
            None => JoinRefusal::BadAuth,
            Some(auth) => {
                let identified = self.identify(session, &room, &auth)?;
                let mut state = session.state();
                if let Some(reason) = state.ended {
                    return Err(reason.into());
                }
                let sent = self.answer(session, &mut state, &room, auth.wants(), identified);
                return self.finish_sending(session, state, sent);
            }
        };
        self.refuse_at_once(session, namespace, refused)
    }

    /// Lets the client leave a namespace, if it is in it. It may join again on the same session.
    ///
    /// # Errors
    /// [`EndReason::Flood`] if it joins and leaves too often.
    pub(super) fn disconnect(&self, session: &Session, namespace: &str) -> Result<(), End> {
        let Some(room) = room(namespace) else { return Ok(()) };
        let (now, mut state) = (Instant::now(), session.state());
        if let Some(credentials) = &mut state.credentials {
            credentials.forget(&room);
        }
        let place = rooms_to_change(&mut state, now)?.place_in(namespace);
        let user = match room {
            Room::Site if state.membership.is_none() => return Ok(()),
            Room::Site => {
                let user = state.membership.as_ref().and_then(|presence| presence.user().cloned());
                state.outbox.leave();
                self.count_out(&mut state, EndReason::ClientLeft);
                user
            }
            Room::Named(_) => {
                let Some(place) = place else { return Ok(()) };
                let joined = state.outbox.leave_room(place);
                joined.and_then(|joined| {
                    self.record_leave(&joined);
                    joined.presence.user().cloned()
                })
            }
        };
        if let Some(user) = user
            && let Some((room, user)) = state.outbox.rooms_mut(now).has_left(room, user)
        {
            self.rooms.end_grace(&room, &user);
        }
        if state.is_outside() {
            state.unjoined_since = Some(now);
            self.check_by(session, &mut state, now + JOIN_TIMEOUT);
        }
        Ok(())
    }

    /// Whether a room may exist here. The site always exists.
    fn exists(&self, room: &Room) -> bool {
        match room {
            Room::Site => true,
            Room::Named(name) => self.settings().rooms.allowed.allow(name),
        }
    }

    /// Answers a CONNECT: lets the client join, or refuses it. Returns false if the client has left too much unread.
    pub(super) fn answer(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        room: &Room,
        wants: Wants,
        identified: Identified,
    ) -> bool {
        if state.has_joined(room) {
            return true;
        }
        let joined = match identified {
            Identified::As(joiner) => self.join(session, state, room, wants, joiner),
            Identified::Refused(refused) => Err(refused),
            Identified::Later => return true,
        };
        match joined {
            Ok(()) => {
                state.unjoined_since = None;
                if let Some(at) = state.token_ends() {
                    self.plan_check(session, state, at, Instant::now());
                }
                state.outbox.send(&acknowledgement(room.as_str(), session.id()))
            }
            Err(refused) => self.refuse(state, room.as_str(), refused),
        }
    }

    fn join(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        room: &Room,
        wants: Wants,
        joiner: Joiner,
    ) -> Result<(), JoinRefusal> {
        let identity = joiner.credential.as_ref().map(|credential| &credential.identity);
        if identity.is_some_and(|identity| !identity.may_join(room)) {
            return Err(JoinRefusal::RoomForbidden);
        }
        if !wants.watch {
            // A connection is one user, whoever it says that it is by and by.
            let user = joiner.person.as_ref().map(|person| &person.user);
            for (room, user) in state.outbox.take_departures_of_others(user) {
                self.rooms.end_grace(&room, &user);
            }
        }
        match room {
            Room::Site => self.join_site(session, state, wants, joiner),
            Room::Named(name) => self.join_room(session, state, name, wants, joiner)?,
        }
        Ok(())
    }

    fn join_site(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        wants: Wants,
        joiner: Joiner,
    ) {
        let generation = state.outbox.join();
        let member = Membership { session: Arc::downgrade(session), generation };
        let now = Instant::now();
        if wants.watch {
            self.metrics.site_watchers.inc();
            state.membership = Some(self.tally.watch(member, now));
        } else {
            self.metrics.connects.with_label_values(&[session.began_by().label()]).inc();
            if let Some(transport) = state.carrier() {
                self.joined[by(transport)].fetch_add(1, Ordering::Relaxed);
            }
            state.membership = Some(self.tally.join_as(joiner.person, member, now));
        }
        if joiner.credential.is_some() {
            state.credentials.get_or_insert_default().site = joiner.credential;
        }
    }

    /// Takes the client out of the site's count, if it is in it.
    pub(super) fn count_out(&self, state: &mut SessionState, reason: EndReason) {
        let Some(presence) = state.membership.take() else { return };
        if let Some(credentials) = &mut state.credentials {
            credentials.site = None;
        }
        if !presence.is_counted() {
            self.metrics.site_watchers.dec();
            return;
        }
        self.metrics.disconnects.with_label_values(&[reason.label()]).inc();
        if let Some(transport) = state.carrier() {
            self.joined[by(transport)].fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn join_room(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        room: &RoomName,
        wants: Wants,
        joiner: Joiner,
    ) -> Result<(), JoinRefusal> {
        let (rules, now) = (&self.settings().rooms, Instant::now());
        let (attendance, most) = if wants.watch {
            (Attendance::Watcher, rules.watched_per_connection)
        } else {
            (Attendance::Member, rules.per_connection)
        };
        let rooms = state.outbox.rooms_mut(now);
        if wants.list {
            self.may_list(room, rooms, joiner.credential.is_some())?;
        }
        let alike = rooms.presences().filter(|other| other.presence.attendance() == attendance);
        if alike.count() >= most {
            return Err(JoinRefusal::TooManyRooms);
        }
        let place = rooms.add(room.clone());
        let member = RoomMembership { session: Arc::downgrade(session), place };
        let presence = self.rooms.join_as(joiner.person, room, attendance, member.clone(), now);
        let presence = presence
            .ok()
            .filter(|presence| !wants.list || self.want_list(rooms, member, presence, now));
        let Some(presence) = presence else {
            rooms.remove(place);
            return Err(JoinRefusal::TooManyRooms);
        };
        let credential = joiner.credential;
        rooms.enter(place, presence.name(), JoinedRoom { presence, credential });
        let kind = kind(attendance).label();
        self.metrics.memberships.with_label_values(&[kind]).inc();
        self.metrics.room_joins.with_label_values(&[kind]).inc();
        Ok(())
    }

    /// Takes the client out of all its rooms. Dropping the result ends its presences.
    pub(super) fn take_out_of_rooms(&self, state: &mut SessionState) -> Option<Box<Rooms>> {
        let rooms = state.outbox.take_rooms()?;
        rooms.presences().for_each(|joined| self.record_leave(joined));
        Some(rooms)
    }

    fn record_leave(&self, joined: &JoinedRoom) {
        let kind = kind(joined.presence.attendance()).label();
        self.metrics.memberships.with_label_values(&[kind]).dec();
        self.metrics.room_leaves.with_label_values(&[kind]).inc();
    }

    fn refuse_at_once(
        &self,
        session: &Arc<Session>,
        namespace: &str,
        refused: JoinRefusal,
    ) -> Result<(), End> {
        let mut state = session.state();
        let sent = self.refuse(&mut state, namespace, refused);
        self.finish_sending(session, state, sent)
    }

    /// Tells the client that it may not join. The connection and its other namespaces go on. The answer repeats the name, so a very
    /// long one gets none.
    fn refuse(&self, state: &mut SessionState, namespace: &str, refused: JoinRefusal) -> bool {
        self.metrics.joins_refused.with_label_values(&[refused.label()]).inc();
        if namespace.len() > REFUSED_BYTES_MAX {
            return true;
        }
        let code = refused.label();
        let with = |message| refusal(namespace, message, code);
        state.outbox.refuse(&with(message(refused)), &with(code))
    }
}

/// The room with this name; `None` if no room can have it.
fn room(namespace: &str) -> Option<Room> {
    if namespace == SITE {
        return Some(Room::Site);
    }
    RoomName::parse(namespace).ok().map(Room::Named)
}

/// Whether a CONNECT to this room is to be answered: not if the client is in it. A CONNECT that waits is replaced by it.
///
/// # Errors
/// If the session has ended, or its client asks too often.
fn may_ask(session: &Session, room: &Room) -> Result<bool, End> {
    let mut state = session.state();
    if *room == Room::Site && !state.outbox.has_joined_before() {
        // Nearly all clients join the site once, and need no record of changes.
        if let Some(reason) = state.ended {
            return Err(reason.into());
        }
    } else {
        rooms_to_change(&mut state, Instant::now())?;
    }
    if let Some(credentials) = &mut state.credentials {
        credentials.forget(room);
    }
    Ok(!state.has_joined(room))
}

/// The rooms of the session, whose client asks to join or leave one, or the site.
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
        JoinRefusal::TokenMissing => "A token is needed here: pass it as auth.token",
        JoinRefusal::TokenInvalid => {
            "The token is not valid here: the server's metrics and debug log say why"
        }
        JoinRefusal::TokenExpired => "The token has expired: connect again with a fresh one",
        JoinRefusal::RoomForbidden => "The token does not allow this room",
        JoinRefusal::ListNotAllowed => "The users of this room are not listed",
    }
}

fn kind(attendance: Attendance) -> MembershipKind {
    match attendance {
        Attendance::Member => MembershipKind::Member,
        Attendance::Watcher => MembershipKind::Watcher,
    }
}
