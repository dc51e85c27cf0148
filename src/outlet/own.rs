//! Tests of our own writer's frames beside the direct ones: what is sent arrives whole and in order, and no count comes
//! before the acknowledgement of the stay that it is for.

use super::*;

/// A websocket of our own.
fn own() -> (Outlet<Kernel>, Kernel) {
    let kernel = Kernel::default();
    kernel.takes_all();
    let mut outlet = Outlet::new(kernel.clone());
    outlet.begin_frames();
    (outlet, kernel)
}

/// Goal: counts follow the acknowledgement although nothing can be written, and only the newest does. Method: a full
/// kernel from the acknowledgement on, and then one that takes all.
#[test]
fn counts_wait_behind_what_was_sent() {
    let (mut outlet, kernel) = own();
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
    let (mut outlet, kernel) = own();
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
    let (mut outlet, kernel) = own();
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
        let (mut outlet, kernel) = own();
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
