//! Tests of the tokens of one session.

use std::collections::BTreeSet;

use super::*;
use crate::core::room::{IdentityKind, Person, RoomName, UserId};

fn identity(expires_at: Option<SystemTime>) -> Identity {
    let user = UserId::parse("t:margaret").unwrap();
    let person = Person { user, kind: IdentityKind::Token, info: None };
    Identity { person, rooms: None, expires_at }
}

fn credential(token: &str, expires_in: Duration, key: u32) -> Arc<Credential> {
    let identity = identity(Some(SystemTime::now() + expires_in));
    let session = SessionId::new(key);
    Arc::new(Credential::new(TokenDigest::of(token), identity, session, Instant::now()))
}

fn connect(room: &str) -> WaitingConnect {
    let room = Room::Named(RoomName::parse(room).unwrap());
    WaitingConnect { room, wants: Wants::default() }
}

/// Has a CONNECT to this room wait for the key of this token.
fn wait(credentials: &mut Credentials, room: &str, token: &str) -> bool {
    credentials.wait(connect(room), token, TokenDigest::of(token))
}

/// The CONNECTs that wait with this token.
fn taken(credentials: &mut Credentials, token: &str) -> Vec<WaitingConnect> {
    credentials.take_waiting(TokenDigest::of(token))
}

fn awaited(credentials: &Credentials) -> Option<Arc<str>> {
    let (token, digest) = credentials.awaited()?;
    assert_eq!(digest, TokenDigest::of(&token));
    Some(token)
}

/// Goal: a token that is in use, or was verified last, is known again until it expires, and no other text is. Method: a token in the
/// site, one in a room, the latest one, one that was replaced by it, and one whose time is over.
#[test]
fn tokens_are_known_again() {
    let (hour, now) = (Duration::from_hours(1), Instant::now());
    let [in_site, in_room, older, latest] =
        ["site", "room", "older", "latest"].map(|token| credential(token, hour, 1));
    let mut credentials = Credentials { site: Some(in_site), ..Credentials::default() };
    credentials.accept(&older);
    credentials.accept(&latest);
    let over = credential("over", Duration::ZERO, 1);
    let in_use = [in_room, over];
    let is_known = |token: &str| {
        let known = credentials.known(TokenDigest::of(token), in_use.iter(), now);
        matches!(known, Known::Valid(credential) if credential.digest == TokenDigest::of(token))
    };
    assert_eq!(["site", "room", "latest"].map(is_known), [true; 3]);
    assert_eq!(["older", "over", "sit", "site ", ""].map(is_known), [false; 5]);
}

/// Goal: a refused token is known again for a moment, with its refusal. Method: just before the end of that time, and at it.
#[test]
fn refusals_are_known_for_a_moment() {
    let now = Instant::now();
    let mut credentials = Credentials::default();
    credentials.refuse(TokenDigest::of("bad"), JoinRefusal::TokenExpired, now);
    let known = |token, at| credentials.known(TokenDigest::of(token), [].iter(), at);
    let before = now + REFUSAL_KNOWN_FOR - Duration::from_millis(1);
    assert!(matches!(known("bad", before), Known::Refused(JoinRefusal::TokenExpired)));
    assert!(matches!(known("good", before), Known::Nothing));
    assert!(matches!(known("bad", now + REFUSAL_KNOWN_FOR), Known::Nothing));
}

/// Goal: a session ends when the first of the tokens expires by which its client is somewhere, not because of others. Method: tokens of
/// several times in the site, in rooms and nowhere.
#[test]
fn the_first_token_in_use_ends_the_session() {
    let [short, middle, long] =
        [10, 20, 30].map(|minutes| credential("any", Duration::from_mins(minutes), 1));
    let mut credentials = Credentials::default();
    credentials.accept(&short);
    assert_eq!(credentials.end_at([].iter()), None, "the client is nowhere by it");
    assert_eq!(credentials.end_at([Arc::clone(&long)].iter()), long.ends_at);
    credentials.site = Some(Arc::clone(&middle));
    assert_eq!(credentials.end_at([Arc::clone(&long)].iter()), middle.ends_at);
    assert_eq!(credentials.end_at([long, Arc::clone(&short)].iter()), short.ends_at);
}

/// Goal: sessions whose tokens expire at the same moment end evenly over some seconds after it, never before; a token that was
/// accepted although it had expired lets the client stay long enough to notice it; and no time is too large. Method: many sessions
/// with one moment; a token of a moment ago; the latest moment there is.
#[test]
fn ends_are_spread() {
    let minute = Duration::from_mins(1);
    let now = Instant::now();
    let ends: Vec<Duration> =
        (0..1000).map(|key| credential("any", minute, key).ends_at.unwrap() - now).collect();
    let first = minute.checked_sub(Duration::from_secs(1)).unwrap();
    assert!(ends.iter().all(|end| (first..=minute + EXPIRY_SPREAD * 2).contains(end)));
    let tenths: BTreeSet<u128> = ends.iter().map(|end| end.as_millis() / 500).collect();
    assert!(tenths.len() >= 10, "they are spread: {tenths:?}");
    let past = identity(Some(SystemTime::now() - Duration::from_secs(10)));
    let credential = Credential::new(TokenDigest::of("any"), past, SessionId::new(0), now);
    assert!(credential.ends_at.unwrap() >= now + Duration::from_secs(20));
    assert!(!credential.is_current(), "it is verified again the next time");
    let endless = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 62);
    for expires_at in [None, Some(endless)] {
        let credential =
            Credential::new(TokenDigest::of("any"), identity(expires_at), SessionId::new(0), now);
        assert!(credential.ends_at.is_none_or(|at| at > now + Duration::from_hours(1_000_000)));
    }
}

/// Goal: CONNECTs wait by token, the newest of each namespace, until they are taken, and a client that left is forgotten. Method: two
/// tokens and three rooms, in several orders.
#[test]
fn connects_wait_by_token() {
    let mut credentials = Credentials::default();
    assert!(!credentials.is_waiting() && awaited(&credentials).is_none());
    for (room, token) in [("/a", "one"), ("/b", "two"), ("/c", "one"), ("/a", "two")] {
        assert!(wait(&mut credentials, room, token));
    }
    assert_eq!(awaited(&credentials).as_deref(), Some("one"));
    credentials.forget(&connect("/b").room);
    assert_eq!(taken(&mut credentials, "one"), [connect("/c")]);
    assert_eq!(taken(&mut credentials, "one"), []);
    assert_eq!(awaited(&credentials).as_deref(), Some("two"));
    assert!(credentials.is_waiting());
    credentials.forget(&connect("/a").room);
    assert!(!credentials.is_waiting() && awaited(&credentials).is_none());
}

/// Goal: what waits on one session is bounded, by number and by the bytes of tokens. Method: as many CONNECTs with one token as fit,
/// and one more; the same with ever other tokens.
#[test]
fn what_waits_is_bounded() {
    let mut credentials = Credentials::default();
    let rooms: Vec<String> = (0..=WAITING_MAX).map(|number| format!("/{number}")).collect();
    let waits = rooms.iter().filter(|room| wait(&mut credentials, room, "one")).count();
    assert_eq!(waits, WAITING_MAX);
    assert!(wait(&mut credentials, "/0", "one"), "it replaces one");
    assert_eq!(taken(&mut credentials, "one").len(), WAITING_MAX);
    let long = |number: usize| format!("{number:0>4096}");
    let waits = (0..9).filter(|number| wait(&mut credentials, "/a", &long(*number))).count();
    assert_eq!(waits, 9, "each replaces the one before");
    let waits = rooms[..9]
        .iter()
        .enumerate()
        .filter(|(number, room)| wait(&mut credentials, room, &long(*number)));
    assert_eq!(waits.count(), 4, "three more tokens, and a room with the one before");
    assert!(!format!("{credentials:?}").contains("00000"), "no token is shown");
}

/// Goal: an identified session takes little memory beside its session. Method: the sizes of what it holds.
#[test]
fn credentials_are_small() {
    assert!(size_of::<Credentials>() <= 24, "{}", size_of::<Credentials>());
    let shared = size_of::<Credential>() + 2 * size_of::<usize>();
    assert!(shared <= 136, "{shared}");
}
