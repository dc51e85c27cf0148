//! The slots of rooms: order, fairness and bounds, over a kernel that takes what it likes, or polls.

use tokio::time::Instant;

use super::*;
use crate::{
    access::rooms::WATCHED_PER_CONNECTION,
    core::room::RoomName,
    engine::{outbox::rooms::REST_BYTES_MAX_WITH_ROOMS, place::Place},
    protocol::{frame::RoomFrame, packet::acknowledgement},
};

fn name(number: usize) -> RoomName {
    RoomName::parse(&format!("/room-{number}")).unwrap()
}

fn enter<S: Sink>(outbox: &mut Outbox<S>, number: usize) -> Place {
    let now = Instant::now();
    let place = outbox.rooms_mut(now).add(name(number));
    outbox.rooms_mut(now).enter(place, name(number), ());
    assert!(outbox.send(&acknowledgement(name(number).as_str(), "s")));
    place
}

fn tell_room<S: Sink>(outbox: &mut Outbox<S>, number: usize, place: Place, users: u64) -> Told {
    outbox.tell_room(place, &RoomFrame::new(name(number).as_str(), users))
}

/// The room and the number of a count of a room.
fn count_of(text: &str) -> Option<(usize, u64)> {
    let (room, count) = text.strip_prefix("42/room-")?.split_once(",[\"user count\",")?;
    Some((room.parse().ok()?, count.strip_suffix(']')?.parse().ok()?))
}

/// Goal: a client that reads slowly is told the newest count of every room, and no room twice before another once. Method:
/// counts of many rooms, again and again, while the kernel takes one frame at a time.
#[test]
fn rooms_take_turns() {
    const ROOMS: usize = 7;
    let (mut outbox, kernel) = websocket();
    let places: Vec<Place> = (0..ROOMS).map(|number| enter(&mut outbox, number)).collect();
    kernel.takes([]);
    for round in 1..=5 * ROOMS as u64 {
        for (number, &place) in places.iter().enumerate() {
            assert_ne!(tell_room(&mut outbox, number, place, round), Told::Gone);
        }
        kernel.takes([usize::MAX]);
        assert!(!outbox.flush(), "more waits");
    }
    let texts = kernel.texts();
    let told: Vec<(usize, u64)> = texts.iter().filter_map(|text| count_of(text)).collect();
    assert_eq!(told.len(), 5 * ROOMS);
    for round in told.chunks(ROOMS) {
        let mut rooms: Vec<usize> = round.iter().map(|&(room, _)| room).collect();
        rooms.sort_unstable();
        assert_eq!(rooms, (0..ROOMS).collect::<Vec<_>>(), "{told:?}");
    }
    assert!(told.is_sorted_by_key(|&(_, count)| count), "each count was the newest: {told:?}");
}

/// Goal: a count that the client knows is not sent again, and one that waits is dropped if the count returns to what the client
/// knows. Method: repeated counts, with and without space in the kernel.
#[test]
fn what_is_known_is_not_sent_again() {
    let (mut outbox, kernel) = websocket();
    let place = enter(&mut outbox, 0);
    for users in [5, 5, 6, 6] {
        assert_eq!(tell_room(&mut outbox, 0, place, users), Told::Taken);
    }
    kernel.takes([]);
    assert_eq!(tell_room(&mut outbox, 0, place, 7), Told::Stuck);
    assert_eq!(tell_room(&mut outbox, 0, place, 6), Told::Taken);
    kernel.takes_all();
    assert!(outbox.flush());
    let counts: Vec<_> = kernel.texts().iter().filter_map(|text| count_of(text)).collect();
    assert_eq!(counts, [(0, 5), (0, 6)]);
}

/// Goal: a poll takes packets, the site's count, and the newest count of every room; after an upgrade the rest follows on the
/// websocket. Method: counts before a poll, before the upgrade, and after it.
#[test]
fn a_poll_takes_the_counts_of_all_rooms() {
    let mut outbox = Outbox::<Kernel>::polled();
    let generation = outbox.join();
    outbox.open(generation);
    let places = [0, 1].map(|number| enter(&mut outbox, number));
    for users in 1..4 {
        tell(&mut outbox, users);
        tell_room(&mut outbox, 0, places[0], users + 10);
        tell_room(&mut outbox, 1, places[1], users + 20);
    }
    let payload = String::from_utf8(outbox.take_payload().unwrap()).unwrap();
    let packets: Vec<&str> = payload.split('\u{1e}').collect();
    let acknowledged = [0, 1].map(|number| acknowledgement(name(number).as_str(), "s"));
    assert_eq!(packets[..2], acknowledged);
    let counts =
        ["42[\"user count\",3]", "42/room-0,[\"user count\",13]", "42/room-1,[\"user count\",23]"];
    assert_eq!(packets[2..], counts);
    assert_eq!(outbox.take_payload(), None);
    tell_room(&mut outbox, 0, places[0], 14);
    tell_room(&mut outbox, 1, places[1], 24);
    outbox.leave_room(places[1]);
    let kernel = Kernel::default();
    kernel.takes_all();
    outbox.upgrade(kernel.clone());
    tell_room(&mut outbox, 0, places[0], 15);
    assert_eq!(tell_room(&mut outbox, 1, places[1], 25), Told::Gone);
    let told = ["42/room-0,[\"user count\",14]", "42/room-0,[\"user count\",15]"];
    assert_eq!(kernel.texts(), told);
}

/// Goal: a page may join all its rooms in one write on a connection that takes nothing, and what waits is still bounded.
/// Method: as many rooms with the longest names as a client may watch; then answers without end.
#[test]
fn all_acknowledgements_of_a_page_may_wait() {
    let longest = |number: usize| format!("/{number:0>127}");
    for is_polled in [false, true] {
        let kernel = Kernel::default();
        kernel.takes([0]);
        let mut outbox: Outbox<Kernel> =
            if is_polled { Outbox::polled() } else { Outbox::on_websocket(kernel, Vec::new()) };
        let now = Instant::now();
        for number in 0..WATCHED_PER_CONNECTION {
            let name = RoomName::parse(&longest(number)).unwrap();
            outbox.rooms_mut(now).add(name);
            assert!(outbox.send(&acknowledgement(&longest(number), "a".repeat(20))), "{number}");
        }
        let more = (0..1000).take_while(|_| outbox.send(&"x".repeat(100))).count();
        assert!((20..140).contains(&more), "{more}");
        let space = outbox.rest.capacity();
        assert!(space <= REST_BYTES_MAX_WITH_ROOMS, "{space} bytes for {}", outbox.rest.len());
    }
}

/// What may happen to a session, besides what happens to the site.
#[derive(Clone, Debug)]
enum RoomEvent {
    Joins(usize),
    Leaves(usize),
    Told(usize),
    SiteTold,
    Room(Vec<usize>),
    Flush,
    Upgrade,
}

const ROOMS: usize = 3;

fn event() -> impl Strategy<Value = RoomEvent> {
    prop_oneof![
        2 => (0..ROOMS).prop_map(RoomEvent::Joins),
        1 => (0..ROOMS).prop_map(RoomEvent::Leaves),
        5 => (0..ROOMS).prop_map(RoomEvent::Told),
        1 => Just(RoomEvent::SiteTold),
        3 => proptest::collection::vec(0usize..60, 0..4).prop_map(RoomEvent::Room),
        2 => Just(RoomEvent::Flush),
        1 => Just(RoomEvent::Upgrade),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Goal: in every room counts only grow, belong to their membership, and the last one arrives even if only the flusher
    /// continues; acknowledgements arrive in order; on a websocket from the start, and after an upgrade. Method: random
    /// events, with a kernel buffer of random size; in the end it takes everything, and a client reads it.
    #[test]
    fn rooms_keep_their_order(
        is_polled: bool,
        events in proptest::collection::vec(event(), 0..120),
    ) {
        let kernel = Kernel::default();
        kernel.takes([]);
        let mut outbox: Outbox<Kernel> =
            if is_polled { Outbox::polled() } else { Outbox::on_websocket(kernel.clone(), Vec::new()) };
        let generation = outbox.join();
        outbox.open(generation);
        let (mut told, mut awaited, mut moves) = (0, false, is_polled);
        let mut places: [Option<(Place, Option<u64>)>; ROOMS] = [None; ROOMS];
        // What was told when each membership began, by room, in order.
        let mut began: Vec<Vec<u64>> = vec![Vec::new(); ROOMS];
        let mut site = None;
        for event in events {
            match event {
                RoomEvent::Joins(room) if places[room].is_none() => {
                    places[room] = Some((enter(&mut outbox, room), None));
                    began[room].push(told);
                }
                RoomEvent::Leaves(room) => {
                    if let Some((place, _)) = places[room].take() {
                        outbox.leave_room(place);
                    }
                }
                RoomEvent::Told(room) => {
                    if let Some((place, last)) = &mut places[room] {
                        told += 1;
                        *last = Some(told);
                        awaited |= tell_room(&mut outbox, room, *place, told) == Told::Stuck;
                    }
                }
                RoomEvent::SiteTold => {
                    told += 1;
                    site = Some(told);
                    awaited |= tell(&mut outbox, told) == Told::Stuck;
                }
                RoomEvent::Room(sizes) => kernel.takes(sizes),
                RoomEvent::Upgrade if moves => {
                    moves = false;
                    outbox.upgrade(kernel.clone());
                }
                RoomEvent::Flush if awaited => awaited = !outbox.flush(),
                RoomEvent::Joins(_) | RoomEvent::Flush | RoomEvent::Upgrade => {}
            }
            awaited |= outbox.becomes_stuck();
        }
        kernel.takes_all();
        if moves {
            outbox.upgrade(kernel.clone());
        } else if awaited {
            prop_assert!(outbox.flush());
        }
        let mut heard: [Option<u64>; ROOMS] = [None; ROOMS];
        let mut joined = [0; ROOMS];
        let texts = kernel.texts();
        for text in &texts {
            if let Some(rest) = text.strip_prefix("40/room-") {
                let room: usize = rest.split_once(',').unwrap().0.parse().unwrap();
                joined[room] += 1;
                heard[room] = None;
            } else if let Some((room, count)) = count_of(text) {
                let earliest = began[room][joined[room] - 1];
                prop_assert!(count > earliest, "{text} is of an earlier membership: {texts:?}");
                prop_assert!(heard[room] < Some(count), "{text} is old: {texts:?}");
                heard[room] = Some(count);
            }
        }
        for room in 0..ROOMS {
            prop_assert_eq!(joined[room], began[room].len());
            if let Some((_, Some(last))) = places[room] {
                prop_assert_eq!(heard[room], Some(last), "{:?}", texts);
            }
        }
        prop_assert_eq!(kernel.counts().last().copied(), site);
    }
}
