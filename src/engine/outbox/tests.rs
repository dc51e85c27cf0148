//! Tests of what goes out of one session: random events over a kernel that takes what it likes, or polls, and a model of
//! a client that reads what came out.

#[path = "tests/lists.rs"]
mod lists;
#[path = "tests/rooms.rs"]
mod rooms;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use proptest::prelude::*;

use super::*;
use crate::{access::rooms::WATCHED_PER_CONNECTION, core::room::ROOM_BYTES_MAX};

/// A kernel buffer. Each write takes the next number of bytes of a list, and fails at the end of the list.
#[derive(Clone, Debug, Default)]
struct Kernel {
    state: Rc<RefCell<SinkState>>,
}

#[derive(Debug, Default)]
struct SinkState {
    takes: VecDeque<usize>,
    taken: Vec<u8>,
    broken: bool,
}

impl Sink for Kernel {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        if state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match state.takes.pop_front() {
            None | Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(most) => {
                let taken = bytes.len().min(most);
                state.taken.extend(&bytes[..taken]);
                Ok(taken)
            }
        }
    }
}

impl Kernel {
    fn takes(&self, sizes: impl IntoIterator<Item = usize>) {
        self.state.borrow_mut().takes = sizes.into_iter().collect();
    }

    fn takes_all(&self) {
        self.takes([usize::MAX; 1000]);
    }

    /// What a client reads in what came out: texts, whole ones only.
    fn texts(&self) -> Vec<String> {
        let state = self.state.borrow();
        let (mut rest, mut texts) = (&state.taken[..], Vec::new());
        while let [0x81, length, after @ ..] = rest {
            let length = usize::from(*length);
            assert!(length < 126 && length <= after.len(), "cut off at {}", texts.len());
            texts.push(String::from_utf8(after[..length].to_vec()).expect("text"));
            rest = &after[length..];
        }
        assert!(rest.is_empty(), "not a frame: {rest:?} after {texts:?}");
        texts
    }

    fn counts(&self) -> Vec<u64> {
        let texts = self.texts();
        let counts = texts.iter().filter_map(|text| text.strip_prefix("42[\"user count\","));
        counts.map(|end| end.trim_end_matches(']').parse().expect("a number")).collect()
    }
}

/// A websocket whose client has not joined.
fn websocket() -> (Outbox<Kernel>, Kernel) {
    let kernel = Kernel::default();
    kernel.takes_all();
    (Outbox::on_websocket(kernel.clone(), Vec::new()), kernel)
}

/// A websocket whose client has joined and been told 1.
fn open() -> (Outbox<Kernel>, Kernel) {
    let (mut outbox, kernel) = websocket();
    let generation = outbox.join();
    assert_eq!(outbox.open(generation), Some(true));
    assert_eq!(tell(&mut outbox, 1), Told::Taken);
    (outbox, kernel)
}

fn tell(outbox: &mut Outbox<Kernel>, users: u64) -> Told {
    outbox.tell(&CountFrame::new(users))
}

/// Goal: a client that reads slowly skips stale counts, and one flush is asked for, which writes the last count. Method: a
/// full kernel buffer, many counts, then room in the buffer.
#[test]
fn the_newest_count_waits() {
    let (mut outbox, kernel) = open();
    kernel.takes([7]);
    let told: Vec<Told> = (2..100).map(|users| tell(&mut outbox, users)).collect();
    assert_eq!(told.iter().filter(|&&told| told == Told::Stuck).count(), 1);
    assert!(!outbox.flush(), "it is still full");
    kernel.takes_all();
    assert!(outbox.flush());
    assert_eq!(kernel.counts(), [1, 2, 99]);
}

/// Goal: nothing is written after a failure or the end of the connection. Method: counts after each.
#[test]
fn nothing_follows_the_end() {
    let (mut broken, kernel) = open();
    kernel.state.borrow_mut().broken = true;
    assert_eq!(tell(&mut broken, 2), Told::Taken);
    assert_eq!(tell(&mut broken, 3), Told::Gone);

    let (mut gone, kernel) = open();
    kernel.takes([]);
    assert_eq!(tell(&mut gone, 2), Told::Stuck);
    assert!(gone.close().is_some(), "its socket is to be shut down");
    assert!(gone.flush(), "nothing is left to wait for");
    assert_eq!(tell(&mut gone, 3), Told::Gone);
}

/// Goal: counts come after the acknowledgement even if nothing can be written at first, and only the newest is sent.
/// Method: a full kernel buffer from the acknowledgement on, then room in it.
#[test]
fn counts_wait_behind_what_was_sent() {
    let (mut outbox, kernel) = websocket();
    kernel.takes([]);
    let membership = outbox.join();
    assert!(outbox.send("40{}"));
    assert!(outbox.becomes_stuck(), "somebody must come back");
    assert_eq!(outbox.open(membership), Some(true));
    for users in 1..9 {
        assert_eq!(tell(&mut outbox, users), Told::Taken, "somebody has been asked");
    }
    assert!(outbox.send("2"));
    kernel.takes_all();
    assert!(outbox.flush());
    assert_eq!(kernel.texts(), ["40{}", "2", "42[\"user count\",8]"]);
}

/// Goal: a membership cannot be opened after its end or after the end of its connection. A session on the list is not
/// added again. Method: a membership that ended early; the next one, opened twice; and the end of the session.
#[test]
fn only_the_present_membership_is_let_in() {
    let (mut outbox, kernel) = websocket();
    let first = outbox.join();
    let second = outbox.join();
    assert_eq!(outbox.open(first), None);
    assert_eq!(tell(&mut outbox, 1), Told::Gone);
    assert_eq!(outbox.open(second), Some(true));
    assert_eq!(outbox.open(second), Some(false));
    assert_eq!(tell(&mut outbox, 2), Told::Taken);
    outbox.close();
    assert_eq!(outbox.open(second), None);
    assert_eq!(kernel.counts(), [2]);
}

/// Goal: a client that causes answers and reads none does not fill the memory. Method: a full kernel buffer, and answers
/// without end.
#[test]
fn what_waits_is_bounded() {
    let (mut outbox, kernel) = websocket();
    kernel.takes([5]);
    let answer = "x".repeat(100);
    let sent = (0..1000).take_while(|_| outbox.send(&answer)).count();
    assert!((20..=REST_BYTES_MAX / answer.len() + 1).contains(&sent), "{sent}");
    kernel.takes_all();
    assert!(outbox.flush());
    assert_eq!(kernel.texts().len(), sent, "all that was taken arrives whole");
}

/// What may happen to a session.
#[derive(Clone, Debug)]
enum Event {
    /// The client joins: a new membership, acknowledged.
    Join,
    /// It leaves.
    Leave,
    /// The broadcaster lets it in, with the next count.
    LetIn,
    /// The broadcaster tells the next count.
    Tell,
    /// The client is pinged.
    Ping,
    /// The kernel takes these numbers of bytes of the next writes.
    Room(Vec<usize>),
    /// The flusher continues.
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Join),
        1 => Just(Event::Leave),
        2 => Just(Event::LetIn),
        4 => Just(Event::Tell),
        1 => Just(Event::Ping),
        3 => proptest::collection::vec(0usize..40, 0..4).prop_map(Event::Room),
        2 => Just(Event::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Goal: everything arrives in order, counts only grow, no count of one membership is sent in another, and the last one
    /// arrives even if only the flusher continues. Method: random events, with a kernel buffer of random size; in the end
    /// it takes everything, and a client reads it.
    #[test]
    fn memberships_and_counts_keep_their_order(events in proptest::collection::vec(event(), 0..120)) {
        let (mut outbox, kernel) = websocket();
        kernel.takes([]);
        let (mut told, mut last, mut membership, mut awaited) = (0, None, None, false);
        let (mut sent, mut told_in) = (Vec::new(), vec![0]);
        for event in events {
            match event {
                Event::Join => {
                    membership = Some(outbox.join());
                    last = None;
                    told_in.push(told);
                    sent.push(format!("40{}", told_in.len()));
                    prop_assert!(outbox.send(sent.last().expect("just put there")));
                }
                Event::Leave => {
                    outbox.leave();
                    (membership, last) = (None, None);
                }
                Event::LetIn | Event::Tell => {
                    if let (Event::LetIn, Some(membership)) = (&event, membership) {
                        outbox.open(membership);
                        last = Some(0);
                    }
                    told += 1;
                    let became = tell(&mut outbox, told);
                    awaited |= became == Told::Stuck;
                    prop_assert_eq!(became == Told::Gone, last.is_none());
                    last = last.map(|_| told);
                }
                Event::Ping => {
                    sent.push("2".to_owned());
                    prop_assert!(outbox.send("2"));
                }
                Event::Room(sizes) => kernel.takes(sizes),
                Event::Flush if awaited => awaited = !outbox.flush(),
                Event::Flush => {}
            }
            awaited |= outbox.becomes_stuck();
        }
        kernel.takes_all();
        if awaited {
            prop_assert!(outbox.flush());
        }
        let counts = kernel.counts();
        prop_assert!(counts.is_sorted_by(|one, next| one < next), "{:?}", counts);
        prop_assert!(last.is_none() || counts.last().copied() == last, "{:?} not {:?}", counts, last);
        let mut joins = told_in.iter();
        let mut earliest = joins.next();
        let mut others = Vec::new();
        for text in kernel.texts() {
            if let Some(count) = text.strip_prefix("42[\"user count\",") {
                let count: u64 = count.trim_end_matches(']').parse().expect("a number");
                prop_assert!(Some(&count) > earliest, "{} was told before this membership", count);
                continue;
            }
            if text.starts_with("40") {
                earliest = joins.next();
            }
            others.push(text);
        }
        prop_assert_eq!(others, sent);
    }
}

/// Goal: a poll takes everything that waits, in order and once, with the newest count last; what was not polled is sent on
/// the websocket after an upgrade. Method: packets and counts before a poll, between two polls, and before the upgrade.
#[test]
fn polls_take_what_waits() {
    let mut outbox = Outbox::<Kernel>::polled();
    let take = |outbox: &mut Outbox<Kernel>| {
        outbox.take_payload().map(|payload| String::from_utf8(payload).expect("text"))
    };
    assert_eq!(take(&mut outbox), None);
    let generation = outbox.join();
    assert!(outbox.send("40{}") && outbox.send("2"));
    assert!(outbox.ping_waits());
    assert_eq!(outbox.open(generation), Some(true));
    assert_eq!((tell(&mut outbox, 1), tell(&mut outbox, 2)), (Told::Taken, Told::Taken));
    assert!(!outbox.becomes_stuck(), "no kernel is to be waited for");
    assert_eq!(take(&mut outbox).as_deref(), Some("40{}\u{1e}2\u{1e}42[\"user count\",2]"));
    assert!(!outbox.ping_waits());
    assert_eq!(take(&mut outbox), None);
    tell(&mut outbox, 3);
    outbox.leave();
    assert_eq!(take(&mut outbox), None, "no count follows the end of a membership");
    let generation = outbox.join();
    assert!(outbox.send("40{}") && outbox.send("2"));
    outbox.open(generation);
    tell(&mut outbox, 4);
    let kernel = Kernel::default();
    kernel.takes_all();
    outbox.upgrade(kernel.clone());
    tell(&mut outbox, 5);
    let counts = ["42[\"user count\",4]", "42[\"user count\",5]"];
    assert_eq!(kernel.texts(), [&["40{}", "2"][..], &counts].concat());
}

/// Goal: a client that sends much and never polls does not fill the memory. Method: answers without end.
#[test]
fn what_waits_for_a_poll_is_bounded() {
    let mut outbox = Outbox::<Kernel>::polled();
    let answer = "x".repeat(100);
    let sent = (0..1000).take_while(|_| outbox.send(&answer)).count();
    assert!((20..=REST_BYTES_MAX / answer.len()).contains(&sent), "{sent}");
    assert!(outbox.take_payload().is_some_and(|payload| payload.len() <= REST_BYTES_MAX));
}

/// Goal: a post that asks for many rooms is not the end of a session that polls: refusals are short if many wait, those without
/// space are left out, and the acknowledgements of as many rooms as there may be have space after them. Method: more refusals than
/// fit, then acknowledgements of the longest names.
#[test]
fn refusals_leave_space_for_acknowledgements() {
    let mut outbox = Outbox::<Kernel>::polled();
    outbox.rooms_mut(tokio::time::Instant::now());
    let (long, short) = ("x".repeat(200), "z".repeat(70));
    assert!((0..1000).all(|_| outbox.refuse(&long, &short)));
    let acknowledgement = "y".repeat(ROOM_BYTES_MAX + 40);
    assert!((0..WATCHED_PER_CONNECTION).all(|_| outbox.send(&acknowledgement)));
    let payload = outbox.take_payload().expect("it waits");
    let payload = String::from_utf8(payload).expect("they are texts");
    assert_eq!(payload.matches(&long).count(), 5);
    let refused = 5 + payload.matches(&short).count();
    assert!(refused > WATCHED_PER_CONNECTION, "{refused} of all that a page may name");
    let mut websocket = Outbox::<Kernel>::on_websocket(Kernel::default(), Vec::new());
    let sent = (0..1000).take_while(|_| websocket.refuse(&long, &short)).count();
    assert!(sent < 100, "{sent} wait for a client that does not read");
    assert!(payload.len() <= super::rooms::REST_BYTES_MAX_WITH_ROOMS);
}
