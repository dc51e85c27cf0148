//! The checker judges hand-made histories: one that is right, and one for every violation that it must
//! find.

mod people;

use std::time::{Duration, Instant};

use headcount_testkit::record::{Event, Record};

use crate::{
    checker::{Fault, Histories, Sees, judge, judge_rooms},
    history::{Said, Showing, Visit},
};

/// One history, and whether the checker judged it correctly.
#[derive(Debug)]
pub(crate) struct Check {
    /// What the history contains.
    pub(crate) name: &'static str,
    /// Runs the check. The error says how the history was judged instead.
    pub(crate) run: fn() -> Result<(), String>,
}

/// All checks.
pub(crate) fn all() -> impl Iterator<Item = Check> {
    OF_CLIENTS.into_iter().chain(people::ALL)
}

/// Checks with clients of nobody in particular. Two clients are connected from 1 s to 9 s. All agree at 2 s, and the fault lasts from 2.5 s
/// to 6 s. Recording ends at 10 s.
const OF_CLIENTS: [Check; 23] = [
    check("what-is-right-passes", || passes(&[(1.1, 1), (1.2, 2)], &[(2.0, 2, 2, true)])),
    check("old-news-in-quiet-times", || objects(&[(1.1, 1), (2.9, 1)], &[])),
    check("old-news-in-a-fault", || passes(&[(1.1, 2), (5.0, 2)], &[(5.0, 2, 9, false)])),
    check("too-many-in-a-fault", || objects(&[(1.1, 2), (5.0, 3)], &[])),
    check("too-few-in-a-fault", || objects(&[(1.1, 2), (5.0, 1)], &[])),
    check("older-than-what-all-agreed-on", || objects(&[(1.1, 2), (2.6, 0)], &[])),
    check("an-instance-shows-too-many", || objects(&[(1.1, 2)], &[(5.0, 3, 9, false)])),
    check("a-newcomer-hears-nothing", || objects(&[], &[])),
    check("a-newcomer-is-left-out", || objects(&[(1.1, 0), (1.2, 2)], &[])),
    check("a-count-after-the-end", || passes(&[(1.1, 2), (10.1, 7)], &[])),
    check("a-count-before-the-end", || objects(&[(1.1, 2), (9.9, 7)], &[])),
    check("a-revision-goes-back", || objects(&[(1.1, 2)], &[(2.5, 2, 9, true), (2.6, 2, 8, true)])),
    check("a-revision-has-two-counts", || {
        objects(&[(1.05, 2)], &[(1.1, 1, 9, true), (1.2, 2, 9, true)])
    }),
    check("a-revision-has-two-counts-in-a-fault", || {
        something(&violations_of_instances(&[&[(2.6, 1, 9, true), (2.7, 2, 9, true)]]))
    }),
    check("a-revision-is-made-again-in-a-fault", || {
        nothing(&violations_of_instances(&[&[(2.6, 1, 9, true)], &[(2.7, 2, 9, true)]]))
    }),
    check("instances-disagree-on-a-revision", || {
        something(&violations_of_instances(&[&[(1.1, 1, 9, true)], &[(1.2, 2, 9, true)]]))
    }),
    check("rooms-that-are-right-pass", || rooms_pass(&[(1.1, 1), (1.2, 2)], &[(1.1, 2)], &[])),
    check("old-news-of-a-room", || rooms_object(&[(1.1, 1), (2.9, 1)], &[(1.1, 2)], &[])),
    check("a-watcher-hears-too-many", || rooms_object(&[(1.1, 2)], &[(1.1, 3)], &[])),
    check("an-instance-asks-first", || {
        rooms_pass(&[(1.1, 2)], &[(1.1, 2)], &[(2.5, 0, 0, false), (2.6, 2, 9, true)])
    }),
    check("a-watcher-is-told-0-in-time", || rooms_pass(&[(1.1, 2)], &[(1.1, 0), (1.2, 2)], &[])),
    check("an-instance-shows-too-many-in-a-room", || {
        rooms_object(&[(1.1, 2)], &[(1.1, 2)], &[(1.5, 2, 8, true), (5.0, 3, 9, false)])
    }),
    check("a-revision-of-a-room-goes-back", || {
        rooms_object(&[(1.1, 2)], &[(1.1, 2)], &[(2.5, 2, 9, true), (2.6, 2, 8, true)])
    }),
];

const fn check(name: &'static str, run: fn() -> Result<(), String>) -> Check {
    Check { name, run }
}

/// The time in seconds at which a client got a count, and the count.
type Told = (f64, u64);
/// The time in seconds at which an instance showed a count, the count, its revision, and whether it was
/// exact.
type Shown = (f64, u64, u64, bool);

fn passes(told: &[Told], shown: &[Shown]) -> Result<(), String> {
    nothing(&violations(told, shown))
}

fn objects(told: &[Told], shown: &[Shown]) -> Result<(), String> {
    something(&violations(told, shown))
}

fn rooms_pass(told: &[Told], watched: &[Told], shown: &[Shown]) -> Result<(), String> {
    nothing(&violations_in_a_room(told, watched, shown))
}

fn rooms_object(told: &[Told], watched: &[Told], shown: &[Shown]) -> Result<(), String> {
    something(&violations_in_a_room(told, watched, shown))
}

fn nothing(violations: &[String]) -> Result<(), String> {
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n")) }
}

fn something(violations: &[String]) -> Result<(), String> {
    if violations.is_empty() { Err("it passed".into()) } else { Ok(()) }
}

/// The violations that the checker finds for a client with these counts and an instance with these events.
/// Another client connects at the same time, and its counts are right.
fn violations(told: &[Told], shown: &[Shown]) -> Vec<String> {
    violations_of(told, &[shown], Sees::Truth)
}

/// The same for several instances, during a fault that may hide all users.
fn violations_of_instances(shown: &[&[Shown]]) -> Vec<String> {
    violations_of(&[(1.1, 2)], shown, Sees::Without(vec![0]))
}

fn violations_of(told: &[Told], shown: &[&[Shown]], sees: Sees) -> Vec<String> {
    let start = Instant::now();
    let visits = vec![visit(start, told), visit(start, &[(1.1, 2)])];
    let stream = |shown: &&[Shown]| shown.iter().map(|shown| showing(start, shown)).collect();
    let streams = shown.iter().map(stream).collect();
    let histories = Histories { visits, streams, ..nothing_happened(start) };
    judge(&histories, &Fault { sees, ..fault(start) }).violations
}

/// The same for a room. A third client only watches it. Somebody else is in another room, and shows its count.
fn violations_in_a_room(told: &[Told], watched: &[Told], shown: &[Shown]) -> Vec<String> {
    let start = Instant::now();
    let in_room = |room: &str, visit| Visit { room: Some(room.into()), ..visit };
    let visits = vec![
        in_room("/a", visit(start, told)),
        in_room("/a", visit(start, &[(1.1, 2)])),
        in_room("/a", Visit { is_counted: false, ..visit(start, watched) }),
        in_room("/b", visit(start, &[(1.1, 1)])),
    ];
    let of_room = |shown| {
        let Showing { said, at } = showing(start, shown);
        Showing { said: said.map(|said| Said { room: Some("/a".into()), ..said }), at }
    };
    let room_streams = vec![shown.iter().map(of_room).collect()];
    let histories = Histories { visits, room_streams, ..nothing_happened(start) };
    judge_rooms(&histories, &fault(start)).violations
}

fn visit(start: Instant, told: &[Told]) -> Visit {
    let at = |seconds| start + Duration::from_secs_f64(seconds);
    let record = Record::new("a client");
    record.push_at(Event::Connected, at(1.0));
    for &(when, users) in told {
        record.push_at(Event::Count(users), at(when));
    }
    let (leaving, gone) = (Some(at(9.0)), Some(at(9.1)));
    Visit { leaving, gone, ..Visit::new(Some(0), at(0.9), record) }
}

fn showing(start: Instant, &(when, count, revision, exact): &Shown) -> Showing {
    let said = Ok(Said { room: None, count, revision, exact });
    Showing { said, at: start + Duration::from_secs_f64(when) }
}

fn nothing_happened(start: Instant) -> Histories {
    Histories {
        visits: Vec::new(),
        streams: Vec::new(),
        room_streams: Vec::new(),
        ready: None,
        lateness: Duration::ZERO,
        grace: Duration::from_millis(1500),
        end: start + Duration::from_secs(10),
    }
}

fn fault(start: Instant) -> Fault {
    let at = |seconds| start + Duration::from_secs_f64(seconds);
    Fault { agreed: at(2.0), began: at(2.5), over: at(6.0), sees: Sees::Truth }
}
