//! Sessions for the tests of the code that sends them counts.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::Semaphore;

use super::*;
use crate::{
    access::rate_limit::CLIENT_BYTES_PER_SECOND,
    core::{
        lists::ListWish,
        room::{IdentityKind, Person, RoomName, UserId},
    },
    identity::token::Identity,
    net::connection::{Connection, tests::pair},
};

/// A session on this connection that nothing serves.
pub(crate) fn on_websocket(connection: &Connection) -> Arc<Session> {
    carried_by(Transport::Websocket, Outbox::on_websocket(connection.stream(), Vec::new()))
}

/// A session that polls and that nothing serves.
pub(crate) fn polled() -> Arc<Session> {
    carried_by(Transport::Polling, Outbox::polled())
}

fn carried_by(transport: Transport, outbox: SessionOutbox) -> Arc<Session> {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("there is one");
    let budget = TokenBucket::new(1, CLIENT_BYTES_PER_SECOND, Instant::now());
    let id = SessionId::new(0);
    Arc::new(Session::new(id, transport, outbox, budget, permit, Instant::now()))
}

/// The client of a session joins the namespace.
pub(crate) fn join(session: &Arc<Session>) -> Membership {
    let generation = session.state().outbox.join();
    Membership { session: Arc::downgrade(session), generation }
}

/// It leaves.
pub(crate) fn leave(session: &Session) {
    session.state().outbox.leave();
}

/// Its client joins a room; the caller puts it into the table of rooms.
pub(crate) fn enter_room(session: &Arc<Session>, room: &RoomName) -> RoomMembership {
    let place = session.state().outbox.rooms_mut(Instant::now()).add(room.clone());
    RoomMembership { session: Arc::downgrade(session), place }
}

/// It wants the list of the room that it has joined last.
pub(crate) fn want_list(session: &Session, member: &RoomMembership, wish: ListWish) {
    session.state().outbox.rooms_mut(Instant::now()).want_list(member.place, wish);
}

/// It leaves the room.
pub(crate) fn leave_room(session: &Session, place: Place) {
    session.state().outbox.leave_room(place);
}

/// It moves to a websocket.
pub(crate) fn move_to(session: &Session, connection: &Connection) {
    session.state().outbox.upgrade(connection.stream());
}

/// What a poll would take.
pub(crate) fn poll(session: &Session) -> Option<String> {
    let payload = session.state().outbox.take_payload()?;
    Some(String::from_utf8(payload).expect("text"))
}

/// Goal: a session ends if its client does not join or poll in time, and not before. Method: check each case just before
/// its time and at it.
#[test]
fn checks_have_their_times() {
    let (start, gap) = (Instant::now(), Duration::from_secs(8));
    let session = polled();
    let check = |at: Duration| session.state().check(start + at, gap);
    let moment = Duration::from_millis(200);
    let before = |at: Duration| at.checked_sub(moment).expect("it is longer");
    assert!(matches!(check(before(gap)), Check::Wait(Some(_))));
    assert_eq!(check(gap + moment), Check::Over(EndReason::PingTimeout), "it never polled");
    session.state().begin_poll();
    assert!(matches!(check(before(JOIN_TIMEOUT)), Check::Wait(Some(_))));
    assert_eq!(check(JOIN_TIMEOUT + moment), Check::Over(EndReason::NeverJoined));
    session.state().unjoined_since = None;
    assert_eq!(check(JOIN_TIMEOUT + moment), Check::Wait(None), "it polls");
    session.state().end_poll(start);
    session.state().requests.is_suspect = true;
    assert!(matches!(check(before(POLL_GAP_SUSPECT)), Check::Wait(Some(_))));
    assert_eq!(check(POLL_GAP_SUSPECT), Check::Over(EndReason::PingTimeout), "it is gone");
    session.state().requests.upgrades = true;
    assert_eq!(check(gap), Check::Wait(None), "it is about to move");
}

/// Goal: a session that has moved to a websocket needs no polls, also if its last poll was answered after that. Method: end a poll after
/// the move, and check the session when the next poll would be overdue.
#[tokio::test]
async fn a_session_that_has_moved_needs_no_polls() {
    let (start, gap) = (Instant::now(), Duration::from_secs(8));
    let (connection, _peer) = pair().await;
    let session = polled();
    session.state().unjoined_since = None;
    session.state().begin_poll();
    move_to(&session, &connection);
    session.state().end_poll(start);
    assert_eq!(session.state().check(start + 2 * gap, gap), Check::Wait(None));
}

/// Goal: a session ends when a token expires by which its client is in a namespace. Method: a token of the site; check the session just
/// before its end and at it, and after the client has left.
#[test]
fn a_session_ends_with_its_token() {
    let (start, gap) = (Instant::now(), Duration::from_secs(8));
    let session = polled();
    let mut state = session.state();
    state.unjoined_since = None;
    state.begin_poll();
    let user = UserId::parse("t:margaret").expect("an id");
    let person = Person { user, kind: IdentityKind::Token, info: None };
    let expires_at = Some(SystemTime::now() + Duration::from_mins(1));
    let identity = Identity { person, rooms: None, expires_at };
    let credential = Credential::new(TokenDigest::of("a"), identity, session.id(), start);
    let ends_at = credential.ends_at.expect("a time");
    state.credentials.get_or_insert_default().site = Some(Arc::new(credential));
    let before = ends_at.checked_sub(Duration::from_millis(1)).expect("it is later");
    assert_eq!(state.check(before, gap), Check::Wait(Some(ends_at)));
    assert_eq!(state.check(ends_at, gap), Check::Over(EndReason::TokenExpired));
    state.credentials.get_or_insert_default().site = None;
    assert_eq!(state.check(ends_at, gap), Check::Wait(None));
}

/// Goal: a session in the site alone takes no more memory than before there were rooms. Method: its size, with the two counters
/// of its reference count, which the allocator rounds up to the same 272 bytes.
#[test]
fn a_session_is_small() {
    let bytes = size_of::<Session>() + 2 * size_of::<usize>();
    assert!(bytes <= 264, "{bytes}");
}
