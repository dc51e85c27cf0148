//! Tests of the two writers of one connection: random interleavings over a kernel that takes what it likes, and a
//! model of a client that reads what came out.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use proptest::prelude::*;

use super::*;

mod own;

/// A kernel's buffer that takes so many bytes of each write, and nothing once the list is at its end.
#[derive(Clone, Debug, Default)]
struct Kernel {
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
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

fn text(payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    [&[0x81, length], payload.as_bytes()].concat()
}

fn count(users: u64) -> Vec<u8> {
    CountFrame::new(users).bytes().to_vec()
}

fn websocket() -> (Outlet<Kernel>, Kernel) {
    let kernel = Kernel::default();
    kernel.takes_all();
    let mut outlet = Outlet::new(kernel.clone());
    outlet.scan.begin_frames();
    (outlet, kernel)
}

/// A websocket whose first count, 1, has been written.
fn open() -> (Outlet<Kernel>, Kernel) {
    let (mut outlet, kernel) = websocket();
    assert!(outlet.expect());
    assert_eq!(outlet.write(&count(1)).unwrap(), count(1).len());
    (outlet, kernel)
}

fn tell(outlet: &mut Outlet<Kernel>, users: u64) -> Told {
    outlet.tell(&CountFrame::new(users))
}

/// Goal: nothing is told before the first value has been written, and then the newest. Method: counts before, while
/// and after the first one passes.
#[test]
fn counts_follow_the_first_one() {
    let (mut outlet, kernel) = websocket();
    assert_eq!(tell(&mut outlet, 4), Told::Gone);
    assert!(outlet.expect());
    assert_eq!(tell(&mut outlet, 6), Told::Taken);
    assert_eq!(outlet.write(&text("40{}")).unwrap(), 6);
    assert_eq!(outlet.write(&count(5)[..9]).unwrap(), 9);
    assert_eq!(tell(&mut outlet, 7), Told::Taken);
    assert_eq!(outlet.write(&count(5)[9..]).unwrap(), count(5).len() - 9);
    assert_eq!(tell(&mut outlet, 8), Told::Taken);
    assert_eq!(kernel.counts(), [5, 7, 8]);
}

/// Goal: an older count that comes late by the ordinary way is not written, and what surrounds it is. Method: one
/// between two pings, in one go and alone.
#[test]
fn late_ordinary_counts_are_swallowed() {
    let (mut outlet, kernel) = open();
    let mut bytes = [text("2"), count(9), text("3")].concat();
    while !bytes.is_empty() {
        let written = outlet.write(&bytes).unwrap();
        bytes.drain(..written);
    }
    assert_eq!(outlet.write(&count(9)).unwrap(), count(9).len());
    assert_eq!(kernel.texts(), ["42[\"user count\",1]", "2", "3"]);
}

/// Goal: a client that reads slowly skips stale counts, and somebody is asked once to write the last. Method: a full
/// kernel, many counts, and then one that takes them.
#[test]
fn the_newest_count_waits() {
    let (mut outlet, kernel) = open();
    kernel.takes([7]);
    let told: Vec<Told> = (2..100).map(|users| tell(&mut outlet, users)).collect();
    assert_eq!(told.iter().filter(|&&told| told == Told::Stuck).count(), 1);
    assert!(!outlet.flush(), "it is still full");
    assert_eq!(outlet.write(&text("2")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    kernel.takes_all();
    assert!(outlet.flush());
    assert_eq!(kernel.counts(), [1, 2, 99]);
}

/// Goal: nothing follows a close frame, a failure or the end of the connection. Method: counts after each.
#[test]
fn nothing_follows_the_end() {
    let (mut closed, kernel) = open();
    closed.write(&[0x88, 2, 3, 0xe8]).unwrap();
    assert_eq!(tell(&mut closed, 2), Told::Gone);
    assert!(!closed.expect());
    assert_eq!(kernel.state.borrow().taken.last(), Some(&0xe8));

    let (mut broken, kernel) = open();
    kernel.state.borrow_mut().broken = true;
    assert_eq!(tell(&mut broken, 2), Told::Taken);
    assert_eq!(tell(&mut broken, 3), Told::Gone);

    let (mut gone, kernel) = open();
    kernel.takes([]);
    assert_eq!(tell(&mut gone, 2), Told::Stuck);
    assert!(gone.close(), "somebody waits for it");
    assert!(gone.flush(), "nothing is left to wait for");
    assert!(gone.write(b"x").is_err());
}

/// Goal: a client that leaves the namespace is told nothing more, one that has joined again is, and is on the list
/// once. Method: two stays, and the end of the first one after the second has begun.
#[test]
fn stays_end_by_themselves_only() {
    let (mut outlet, kernel) = websocket();
    let first = outlet.begin_stay();
    assert!(outlet.expect());
    outlet.write(&count(1)).unwrap();
    let second = outlet.begin_stay();
    assert!(!outlet.expect(), "it is on the list");
    outlet.end_stay(first);
    assert_eq!(tell(&mut outlet, 3), Told::Taken);
    outlet.write(&count(2)).unwrap();
    outlet.end_stay(second);
    assert_eq!(tell(&mut outlet, 4), Told::Gone);
    assert_eq!(kernel.counts(), [1, 2, 3]);
}

/// What may happen to an open connection.
#[derive(Clone, Debug)]
enum Event {
    /// The broadcaster tells the next count.
    Tell,
    /// The ordinary writer has one more frame, and goes on with what it has.
    Frame(u8),
    /// The ordinary writer goes on.
    Write,
    /// An older count comes by the ordinary way.
    Late,
    /// The kernel takes so many bytes of the next writes.
    Room(Vec<usize>),
    /// Whoever was asked comes back.
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Tell),
        2 => any::<u8>().prop_map(Event::Frame),
        2 => Just(Event::Write),
        1 => Just(Event::Late),
        3 => proptest::collection::vec(0usize..40, 0..4).prop_map(Event::Room),
        2 => Just(Event::Flush),
    ]
}

/// The ordinary writer: it holds whole frames and forgets what was taken.
fn write_on(outlet: &mut Outlet<Kernel>, ordinary: &mut Vec<u8>, awaited: &mut bool) {
    while !ordinary.is_empty() {
        let written = outlet.write(ordinary);
        *awaited |= outlet.becomes_stuck();
        match written {
            Ok(written) => drop(ordinary.drain(..written)),
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Goal: frames never interleave, ordinary ones all arrive in order, counts only grow, and the last one arrives
    /// although nobody but the one who was asked comes back. Method: any order of events over a kernel that takes
    /// what it likes; at the end it takes everything, and a client reads what came out.
    #[test]
    fn two_writers_make_one_stream(events in proptest::collection::vec(event(), 0..120)) {
        let (mut outlet, kernel) = open();
        let (mut told, mut ordinary, mut expected, mut awaited) = (1, Vec::new(), Vec::new(), false);
        kernel.takes([]);
        for event in events {
            match event {
                Event::Tell => {
                    told += 1;
                    awaited |= tell(&mut outlet, told) == Told::Stuck;
                }
                Event::Frame(byte) => {
                    let payload = format!("4{byte}").repeat(1 + usize::from(byte) / 16);
                    ordinary.extend(text(&payload));
                    expected.push(payload);
                    write_on(&mut outlet, &mut ordinary, &mut awaited);
                }
                Event::Write => write_on(&mut outlet, &mut ordinary, &mut awaited),
                Event::Late => ordinary.extend(count(0)),
                Event::Room(sizes) => kernel.takes(sizes),
                Event::Flush if awaited => awaited = !outlet.flush(),
                Event::Flush => {}
            }
        }
        kernel.takes_all();
        write_on(&mut outlet, &mut ordinary, &mut awaited);
        if awaited {
            prop_assert!(outlet.flush());
        }
        let counts = kernel.counts();
        prop_assert!(counts.is_sorted_by(|one, next| one < next), "{:?}", counts);
        prop_assert_eq!(counts.last(), Some(&told));
        let others: Vec<String> =
            kernel.texts().into_iter().filter(|text| !text.starts_with("42[")).collect();
        prop_assert_eq!(others, expected);
    }
}
