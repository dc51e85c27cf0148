//! The slots of lists: a client that reads slowly has the newest list in the end, whatever it missed.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::*;
use crate::{
    access::rooms::WATCHED_PER_CONNECTION,
    core::{
        lists::Lists,
        people::People,
        room::{RoomName, UserId},
        user_list::{Info, ListSources, UserList},
    },
    engine::{list_frames::ListFrames, outbox::polls::PAYLOAD_BYTES, place::Place},
    protocol::frame::RoomFrame,
};

fn name(number: usize) -> RoomName {
    RoomName::parse(&format!("/team/{number}")).unwrap()
}

fn enter(outbox: &mut Outbox<Kernel>, number: usize, lists: &Arc<Lists<()>>) -> Place {
    let now = Instant::now();
    let rooms = outbox.rooms_mut(now);
    let place = rooms.add(name(number));
    rooms.enter(place, name(number), ());
    rooms.want_list(place, lists.want(&name(number), (), now).unwrap());
    place
}

/// The lists of a room, one after the other. Odd numbers of users have long texts, so that frames have headers of both lengths.
struct Editions {
    room: usize,
    number: u64,
    list: Arc<UserList>,
}

impl Editions {
    fn new(room: usize) -> Self {
        Self { room, number: 0, list: Arc::default() }
    }

    /// The list with exactly these users.
    fn next(&mut self, users: &[u8]) -> Arc<ListFrames> {
        let info = |user: &u8| -> Info {
            (user % 2 == 1).then(|| format!("{{\"n\":\"{}\"}}", "x".repeat(60)).into())
        };
        let id = |user: &u8| UserId::parse(&format!("t:{user}")).unwrap();
        let here: Vec<_> = users.iter().map(|user| (id(user), info(user))).collect();
        let stored = People::default();
        let next = self.list.next(ListSources { stored: &stored, here: &here, is_kept: true });
        let (before, former) = (self.number, mem::replace(&mut self.list, Arc::new(next)));
        self.number += 1;
        let before = (before > 0).then_some((before, former));
        Arc::new(ListFrames::new(name(self.room), self.number, Arc::clone(&self.list), before))
    }
}

/// All texts of a client, whole ones only, with headers of any length.
fn texts(bytes: &[u8]) -> Vec<String> {
    let (mut rest, mut texts) = (bytes, Vec::new());
    while let [0x81, length, after @ ..] = rest {
        let (length, after) = match (length, after) {
            (126, [high, low, after @ ..]) => (u16::from_be_bytes([*high, *low]).into(), after),
            _ => (usize::from(*length), after),
        };
        assert!(length <= after.len(), "cut off");
        texts.push(String::from_utf8(after[..length].to_vec()).unwrap());
        rest = &after[length..];
    }
    assert!(rest.is_empty(), "not a frame: {rest:?} after {texts:?}");
    texts
}

/// What a client holds of one room: the users, the last count, and how many events it was told.
#[derive(Debug, Default)]
struct Held {
    users: BTreeMap<String, serde_json::Value>,
    count: u64,
    whole: usize,
    changes: usize,
}

/// Follows all that a client was told of a room.
fn follow(texts: &[String], room: usize) -> Held {
    let mut held = Held::default();
    for text in texts {
        let Some(event) = text.strip_prefix(&format!("42/team/{room},")) else { continue };
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        if event[0] == "user count" {
            held.count = event[1].as_u64().unwrap();
            continue;
        }
        let users = |value: &serde_json::Value| -> Vec<(String, serde_json::Value)> {
            let users = value.as_array().unwrap().iter();
            users
                .map(|user| (user["id"].as_str().unwrap().to_owned(), user["info"].clone()))
                .collect()
        };
        if event[1].get("users").is_some() {
            held.users = users(&event[1]["users"]).into_iter().collect();
            held.whole += 1;
            continue;
        }
        held.changes += 1;
        for left in event[1]["left"].as_array().unwrap() {
            assert!(held.users.remove(left.as_str().unwrap()).is_some(), "{left} was not there");
        }
        held.users.extend(users(&event[1]["joined"]));
    }
    held
}

/// Goal: a client that reads in time is told one list and then changes; one that missed some is told the whole list; a packet in between
/// is not torn apart. Method: three lists, of which the kernel takes all, a part, and nothing; a ping; then all.
#[test]
fn a_missed_change_becomes_a_list() {
    let lists = Lists::new(9);
    let (mut outbox, kernel) = websocket();
    let place = enter(&mut outbox, 7, &lists);
    let mut editions = Editions::new(7);
    assert_eq!(outbox.tell_list(place, &editions.next(&[1])), Told::Taken);
    assert_eq!(outbox.tell_list(place, &editions.next(&[1, 2])), Told::Taken);
    kernel.takes([5]);
    assert_eq!(outbox.tell_list(place, &editions.next(&[2])), Told::Stuck);
    assert!(outbox.send("2"), "a ping waits behind it");
    assert_eq!(outbox.tell_list(place, &editions.next(&[2, 3])), Told::Taken);
    let last = editions.next(&[2, 3, 4]);
    assert_eq!(outbox.tell_list(place, &last), Told::Taken);
    kernel.takes_all();
    assert!(outbox.flush());
    let told = texts(&kernel.state.borrow().taken);
    assert_eq!(told[3], "2");
    let held = follow(&told, 7);
    assert_eq!((held.whole, held.changes), (2, 2), "{told:?}");
    assert_eq!(held.users.keys().collect::<Vec<_>>(), ["2", "3", "4"]);
    assert_eq!(outbox.tell_list(place, &last), Told::Taken);
    assert_eq!(texts(&kernel.state.borrow().taken).len(), told.len(), "it is not sent again");
    outbox.leave_room(place);
    assert_eq!(outbox.tell_list(place, &editions.next(&[])), Told::Gone);
    assert!(lists.is_empty(), "the wish ended with the room");
}

/// Goal: a large list that the kernel takes in small pieces does not count against what may wait, and a client that takes nothing holds
/// no copy of it. Method: the largest list, behind which a page joins rooms.
#[test]
fn a_large_list_leaves_room_for_packets() {
    let lists = Lists::new(9);
    let (mut outbox, kernel) = websocket();
    let place = enter(&mut outbox, 7, &lists);
    kernel.takes([10]);
    let users: Vec<u8> = (0..100).collect();
    assert_eq!(outbox.tell_list(place, &Editions::new(7).next(&users)), Told::Stuck);
    let answer = "x".repeat(100);
    assert!((0..100).all(|_| outbox.send(&answer)));
    kernel.takes([1000; 100]);
    outbox.flush();
    let texts = texts(&kernel.state.borrow().taken);
    assert_eq!(texts.len(), 101);
    assert_eq!(follow(&texts, 7).users.len(), 100);
}

/// Goal: by polling, a list waits for a poll, and the next poll has what has changed. Method: two lists before a poll, and one after
/// it.
#[test]
fn a_poll_takes_lists() {
    let lists = Lists::new(9);
    let mut outbox = Outbox::<Kernel>::polled();
    let place = enter(&mut outbox, 7, &lists);
    let mut editions = Editions::new(7);
    for users in [&[2][..], &[2, 4]] {
        assert_eq!(outbox.tell_list(place, &editions.next(users)), Told::Taken);
    }
    let poll = |outbox: &mut Outbox<Kernel>| {
        outbox.take_payload().map(|payload| String::from_utf8(payload).unwrap())
    };
    let whole = r#"42/team/7,["users",{"users":[{"id":"2"},{"id":"4"}],"more":0}]"#;
    assert_eq!(poll(&mut outbox).as_deref(), Some(whole));
    assert_eq!(poll(&mut outbox), None);
    outbox.tell_list(place, &editions.next(&[4]));
    let change = r#"42/team/7,["users",{"joined":[],"left":["2"],"more":0}]"#;
    assert_eq!(poll(&mut outbox).as_deref(), Some(change));
}

/// Goal: the answer to a poll is bounded, however much waits, and counts and lists take turns over the answers. Method: a client in as
/// many rooms as there may be, with the longest names and large lists, which polls until nothing waits.
#[test]
fn answers_to_polls_are_bounded() {
    const LISTS: usize = 8;
    const LIST_BYTES_MAX: usize = 8 * 1024;
    let lists = Lists::new(LISTS);
    let mut outbox = Outbox::<Kernel>::polled();
    let users: Vec<u8> = (0..100).collect();
    for room in 0..LISTS {
        let place = enter(&mut outbox, room, &lists);
        outbox.tell_list(place, &Editions::new(room).next(&users));
    }
    for number in 0..WATCHED_PER_CONNECTION {
        let name = RoomName::parse(&format!("/{number:0>127}")).unwrap();
        let place = outbox.rooms_mut(Instant::now()).add(name.clone());
        outbox.tell_room(place, &RoomFrame::new(name.as_str(), u64::MAX >> 12));
    }
    let payloads: Vec<Vec<u8>> = std::iter::from_fn(|| outbox.take_payload()).collect();
    assert!(payloads.iter().all(|it| it.len() <= PAYLOAD_BYTES + LIST_BYTES_MAX), "bounded");
    let told = |payload: &[u8], event: &str| {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        payload.split('\u{1e}').filter(|packet| packet.contains(event)).count()
    };
    let [counts, listed] = ["[\"user count\"", "[\"users\""]
        .map(|event| payloads.iter().map(|payload| told(payload, event)).collect::<Vec<_>>());
    assert!(counts[0] > 0 && listed[0] > 0, "both take turns: {counts:?} {listed:?}");
    assert_eq!(counts.iter().sum::<usize>(), WATCHED_PER_CONNECTION);
    assert_eq!(listed.iter().sum::<usize>(), LISTS);
}

/// What may happen to the lists of a session.
#[derive(Clone, Debug)]
enum Step {
    /// A room has these users.
    List(usize, Vec<u8>),
    /// A room has this count.
    Count(usize, u64),
    Ping,
    /// The kernel takes these numbers of bytes of the next writes.
    Space(Vec<usize>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..3, proptest::collection::btree_set(0u8..9, 0..6))
            .prop_map(|(room, users)| Step::List(room, users.into_iter().collect())),
        2 => (0usize..3, 0u64..9).prop_map(|(room, count)| Step::Count(room, count)),
        1 => Just(Step::Ping),
        3 => proptest::collection::vec(0usize..90, 0..5).prop_map(Step::Space),
        2 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Goal: whatever a client misses, what it was told adds up to the newest list and count of every room, and frames stay whole. Method:
    /// random lists, counts and pings over a kernel that takes what it likes; in the end it takes everything.
    #[test]
    fn clients_end_with_the_newest_list(steps in proptest::collection::vec(step(), 0..80)) {
        let lists = Lists::new(9);
        let (mut outbox, kernel) = websocket();
        let places = [0, 1, 2].map(|room| enter(&mut outbox, room, &lists));
        kernel.takes([]);
        let mut editions = [0, 1, 2].map(Editions::new);
        let (mut last, mut counts) = ([const { Vec::new() }; 3], [0; 3]);
        let mut awaited = false;
        for step in steps {
            let became = match step {
                Step::List(room, users) => {
                    let list = editions[room].next(&users);
                    last[room] = users;
                    Some(outbox.tell_list(places[room], &list))
                }
                Step::Count(room, count) => {
                    counts[room] = count;
                    Some(outbox.tell_room(places[room], &RoomFrame::new(name(room).as_str(), count)))
                }
                Step::Ping => {
                    outbox.send("2");
                    outbox.becomes_stuck().then_some(Told::Stuck)
                }
                Step::Space(sizes) => {
                    kernel.takes(sizes);
                    None
                }
                Step::Flush => {
                    if awaited {
                        awaited = !outbox.flush();
                    }
                    None
                }
            };
            prop_assert_ne!(became, Some(Told::Gone));
            awaited |= became == Some(Told::Stuck);
        }
        kernel.takes_all();
        if awaited {
            prop_assert!(outbox.flush(), "the kernel took everything");
        }
        let texts = texts(&kernel.state.borrow().taken);
        for room in 0..3 {
            let held = follow(&texts, room);
            let expected: Vec<String> = last[room].iter().map(u8::to_string).collect();
            prop_assert_eq!(held.users.into_keys().collect::<Vec<_>>(), expected);
            prop_assert_eq!(held.count, counts[room]);
        }
    }
}
