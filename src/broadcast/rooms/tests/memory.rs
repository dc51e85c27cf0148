//! What a room takes: in the table of rooms, in the broadcaster, and in the session of its member.

use allocation_counter::measure;
use tokio::runtime;

use super::*;
use crate::core::room::{IdentityKind, UserId};

/// As many as fit into a hash table of the next power of two. It is as full then as it is with 100,000 rooms, or little more.
const ROOMS: usize = 218 * EACH;
/// Rooms of each session: the most by default.
const EACH: usize = 8;

/// What a room with one member may take without what the store keeps of it, in bytes as they are asked for. The allocator adds a
/// tenth. 100,000 rooms must fit into 60 MB, also with the embedded store, which has a share of its own.
const BYTES_MAX: usize = 464;
/// What it may take more if its member has an identity.
const IDENTIFIED_BYTES_MAX: usize = 224;

/// The bytes of each of many rooms with one member.
fn bytes_of_a_room(person: impl Fn(usize) -> Option<Person>) -> usize {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("it needs nothing");
    let mut stage = runtime.block_on(async { Stage::new() });
    let sessions: Vec<Arc<Session>> =
        runtime.block_on(async { (0..ROOMS / EACH).map(|_| polled()).collect() });
    let mut guests = Vec::with_capacity(ROOMS);
    let taken = measure(|| {
        runtime.block_on(async {
            for number in 0..ROOMS {
                let (session, room) = (&sessions[number / EACH], format!("/blog/post-{number}"));
                let person = person(number);
                guests.push(stage.enters_as(person, session, &room, Attendance::Member));
                if number % 100 == 0 {
                    stage.pass(10).await;
                }
            }
            stage.pass(1000).await;
            assert!(sessions.iter().all(|it| counts(it).len() == EACH), "all were told");
            stage.store = LonelyStore::default();
        });
    });
    usize::try_from(taken.bytes_current).expect("rooms take memory") / ROOMS
}

/// Goal: very many rooms fit into little memory. Method: count the live bytes of many rooms with one member each, once their
/// members were told their counts.
#[test]
fn a_room_is_small() {
    let bytes = bytes_of_a_room(|_| None);
    assert!(bytes <= BYTES_MAX, "{bytes} bytes for a room");
}

/// Goal: the same for rooms whose members have identities. Method: a user in each room.
#[test]
fn a_room_of_a_user_is_small() {
    let bytes = bytes_of_a_room(|number| {
        let user = UserId::parse(&format!("v:visitor-{number:06}")).expect("it is valid");
        Some(Person { user, kind: IdentityKind::Visitor, info: None })
    });
    assert!(bytes <= BYTES_MAX + IDENTIFIED_BYTES_MAX, "{bytes} bytes for a room of a user");
}
