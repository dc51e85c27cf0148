//! Tests of what goes out on one connection: random events over a kernel that takes what it likes, and a model of a
//! client that reads what came out.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use proptest::prelude::*;

use super::*;

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

/// A websocket whose client has not joined.
fn websocket() -> (Outlet<Kernel>, Kernel) {
    let kernel = Kernel::default();
    kernel.takes_all();
    (Outlet::new(kernel.clone()), kernel)
}

/// A websocket whose client has joined and been told 1.
fn open() -> (Outlet<Kernel>, Kernel) {
    let (mut outlet, kernel) = websocket();
    let stay = outlet.begin_stay();
    assert_eq!(outlet.open(stay), Some(true));
    assert_eq!(tell(&mut outlet, 1), Told::Taken);
    (outlet, kernel)
}

fn tell(outlet: &mut Outlet<Kernel>, users: u64) -> Told {
    outlet.tell(&CountFrame::new(users))
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
    kernel.takes_all();
    assert!(outlet.flush());
    assert_eq!(kernel.counts(), [1, 2, 99]);
}

/// Goal: nothing follows a failure or the end of the connection. Method: counts after each.
#[test]
fn nothing_follows_the_end() {
    let (mut broken, kernel) = open();
    kernel.state.borrow_mut().broken = true;
    assert_eq!(tell(&mut broken, 2), Told::Taken);
    assert_eq!(tell(&mut broken, 3), Told::Gone);

    let (mut gone, kernel) = open();
    kernel.takes([]);
    assert_eq!(tell(&mut gone, 2), Told::Stuck);
    assert!(gone.close(), "somebody waits for it");
    assert!(gone.flush(), "nothing is left to wait for");
    assert_eq!(tell(&mut gone, 3), Told::Gone);
}

/// Goal: counts follow the acknowledgement although nothing can be written, and only the newest does. Method: a full
/// kernel from the acknowledgement on, and then one that takes all.
#[test]
fn counts_wait_behind_what_was_sent() {
    let (mut outlet, kernel) = websocket();
    kernel.takes([]);
    let stay = outlet.begin_stay();
    assert!(outlet.send(&text("40{}")));
    assert!(outlet.becomes_stuck(), "somebody must come back");
    assert_eq!(outlet.open(stay), Some(true));
    for users in 1..9 {
        assert_eq!(tell(&mut outlet, users), Told::Taken, "somebody has been asked");
    }
    assert!(outlet.send(&text("2")));
    kernel.takes_all();
    assert!(outlet.flush());
    assert_eq!(kernel.texts(), ["40{}", "2", "42[\"user count\",8]"]);
}

/// Goal: a stay that is over is not let in, nor a connection that is gone; and one that was on the list is not new to it.
/// Method: a stay that ended before it was let in, the next one twice, and the end.
#[test]
fn only_the_present_stay_is_let_in() {
    let (mut outlet, kernel) = websocket();
    let first = outlet.begin_stay();
    let second = outlet.begin_stay();
    assert_eq!(outlet.open(first), None);
    assert_eq!(tell(&mut outlet, 1), Told::Gone);
    assert_eq!(outlet.open(second), Some(true));
    assert_eq!(outlet.open(second), Some(false));
    assert_eq!(tell(&mut outlet, 2), Told::Taken);
    outlet.close();
    assert_eq!(outlet.open(second), None);
    assert_eq!(kernel.counts(), [2]);
}

/// Goal: a client that asks for answers and reads none does not fill the memory. Method: a full kernel and answers
/// without end.
#[test]
fn what_waits_is_bounded() {
    let (mut outlet, kernel) = websocket();
    kernel.takes([5]);
    let answer = text(&"x".repeat(100));
    let sent = (0..1000).take_while(|_| outlet.send(&answer)).count();
    assert!((20..=REST_BYTES_MAX / answer.len() + 1).contains(&sent), "{sent}");
    kernel.takes_all();
    assert!(outlet.flush());
    assert_eq!(kernel.texts().len(), sent, "all that was taken arrives whole");
}

/// What may happen to a connection.
#[derive(Clone, Debug)]
enum Event {
    /// The client joins: a new stay, acknowledged.
    Join,
    /// It leaves.
    Leave,
    /// The broadcaster lets it in, with the next count.
    LetIn,
    /// The broadcaster tells the next count.
    Tell,
    /// The client is pinged.
    Ping,
    /// The kernel takes so many bytes of the next writes.
    Room(Vec<usize>),
    /// Whoever was asked comes back.
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

    /// Goal: all that is sent arrives in order, counts only grow, none that was told in one stay comes in another, and the
    /// last one arrives although nobody but the one who was asked comes back. Method: any order of events over a kernel
    /// that takes what it likes; at the end it takes everything, and a client reads what came out.
    #[test]
    fn stays_and_counts_keep_their_order(events in proptest::collection::vec(event(), 0..120)) {
        let (mut outlet, kernel) = websocket();
        kernel.takes([]);
        let (mut told, mut last, mut stay, mut awaited) = (0, None, None, false);
        let (mut sent, mut told_in) = (Vec::new(), vec![0]);
        for event in events {
            match event {
                Event::Join => {
                    stay = Some(outlet.begin_stay());
                    last = None;
                    told_in.push(told);
                    sent.push(format!("40{}", told_in.len()));
                    prop_assert!(outlet.send(&text(sent.last().expect("just put there"))));
                }
                Event::Leave => {
                    outlet.leave();
                    (stay, last) = (None, None);
                }
                Event::LetIn | Event::Tell => {
                    if let (Event::LetIn, Some(stay)) = (&event, stay) {
                        outlet.open(stay);
                        last = Some(0);
                    }
                    told += 1;
                    let became = tell(&mut outlet, told);
                    awaited |= became == Told::Stuck;
                    prop_assert_eq!(became == Told::Gone, last.is_none());
                    last = last.map(|_| told);
                }
                Event::Ping => {
                    sent.push("2".to_owned());
                    prop_assert!(outlet.send(&text("2")));
                }
                Event::Room(sizes) => kernel.takes(sizes),
                Event::Flush if awaited => awaited = !outlet.flush(),
                Event::Flush => {}
            }
            awaited |= outlet.becomes_stuck();
        }
        kernel.takes_all();
        if awaited {
            prop_assert!(outlet.flush());
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
                prop_assert!(Some(&count) > earliest, "{} was told before this stay", count);
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
