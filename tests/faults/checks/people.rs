//! Checks with people: each is counted once, on whatever instances, and stays for the grace. That is 1.5 s here, which is longer
//! than the second for which old numbers are news.

use std::time::{Duration, Instant};

use headcount_testkit::record::{Event, Record};

use super::{Check, Shown, Told, check, fault, nothing, nothing_happened, showing, something};
use crate::{
    checker::{Fault, Histories, Sees, judge, judge_rooms},
    history::{Place, Visit},
};

/// The checks. A bystander, who is nobody in particular, is connected from 1 s to 9.5 s at place 0. The fault lasts from 2.5 s to
/// 6 s unless a check says otherwise.
pub(super) const ALL: [Check; 19] = [
    check("two-tabs-are-one", || passes(TABS, &[(3.0, 2)], &[(3.0, 2, 9, true)])),
    check("two-tabs-are-two", || objects(TABS, &[(3.0, 3)], &[])),
    check("two-tabs-on-two-instances-are-one", || {
        passes(TWO_INSTANCES, &[(7.5, 2)], &[(7.5, 2, 9, true)])
    }),
    check("two-tabs-on-two-instances-are-two", || objects(TWO_INSTANCES, &[(7.5, 3)], &[])),
    check("an-estimate-may-count-twice", || {
        passes(TWO_INSTANCES, &[(5.0, 3)], &[(5.0, 3, 9, false)])
    }),
    check("what-is-exact-may-not-count-twice", || {
        objects(TWO_INSTANCES, &[], &[(5.0, 3, 9, true)])
    }),
    check("a-lost-reply-may-make-an-estimate", || {
        nothing(&violations_if(Sees::Estimates, TWO_INSTANCES, &[(5.0, 3)], &[]))
    }),
    check("a-lost-reply-makes-nobody-new", || {
        something(&violations_if(Sees::Estimates, TWO_INSTANCES, &[(5.0, 4)], &[]))
    }),
    check("a-lost-reply-shows-nothing-old", || {
        something(&violations_if(Sees::Estimates, COMES_LATE, &[(3.2, 1)], &[]))
    }),
    check("more-than-twice-on-two-instances", || objects(TWO_INSTANCES, &[(5.0, 4)], &[])),
    check("a-person-is-forgotten", || objects(TWO_INSTANCES, &[(7.5, 1)], &[])),
    check("a-person-is-forgotten-in-a-fault", || objects(TWO_INSTANCES, &[(5.0, 1)], &[])),
    check("all-agreed-on-who-came-before-the-fault", || objects(COMES_LATE, &[(3.0, 1)], &[])),
    check("one-tab-of-two-ends", || objects(ONE_ENDS, &[(7.5, 1)], &[])),
    check("a-move-is-not-seen", || passes(MOVES, &[(3.2, 2), (4.0, 2), (5.1, 2)], &[])),
    check("a-move-is-seen", || objects(MOVES, &[(4.2, 1)], &[])),
    check("the-grace-ends", || passes(LEAVES, &[(4.9, 2), (5.6, 2), (5.7, 1), (7.0, 1)], &[])),
    check("a-person-stays-for-longer", || objects(LEAVES, &[(6.7, 2)], &[])),
    check("in-rooms-people-are-one", || in_a_room(TWO_INSTANCES, &[(3.0, 2)], &[(7.5, 3)])),
];

/// A client of a person: its place, and the seconds at which it is connected and leaves.
type Client = (Place, f64, f64);

const TABS: &[Client] = &[(0, 1.0, 9.5), (0, 1.0, 9.5)];
const TWO_INSTANCES: &[Client] = &[(0, 1.0, 9.5), (1, 1.0, 9.5)];
const ONE_ENDS: &[Client] = &[(0, 1.0, 5.0), (1, 1.0, 9.5)];
/// He comes after all agreed, and all agree again at 2.4 s.
const COMES_LATE: &[Client] = &[(0, 2.1, 9.5)];
/// He is on no instance for 200 ms.
const MOVES: &[Client] = &[(0, 1.0, 4.0), (1, 4.2, 9.5)];
const LEAVES: &[Client] = &[(0, 1.0, 4.0)];

fn passes(clients: &[Client], told: &[Told], shown: &[Shown]) -> Result<(), String> {
    nothing(&violations(clients, told, shown))
}

fn objects(clients: &[Client], told: &[Told], shown: &[Shown]) -> Result<(), String> {
    something(&violations(clients, told, shown))
}

/// The violations that the checker finds if the bystander is told these counts, and an instance shows these.
fn violations(clients: &[Client], told: &[Told], shown: &[Shown]) -> Vec<String> {
    violations_if(seen_by(clients), clients, told, shown)
}

fn violations_if(sees: Sees, clients: &[Client], told: &[Told], shown: &[Shown]) -> Vec<String> {
    let start = Instant::now();
    let streams = vec![shown.iter().map(|shown| showing(start, shown)).collect()];
    let ready = (clients == COMES_LATE).then(|| start + Duration::from_millis(2400));
    let visits = visits(start, clients, told);
    let histories = Histories { visits, streams, ready, ..nothing_happened(start) };
    judge(&histories, &Fault { sees, ..fault(start) }).violations
}

/// The same in a room: the first counts pass, and the others do not.
fn in_a_room(clients: &[Client], right: &[Told], wrong: &[Told]) -> Result<(), String> {
    let judged = |told| {
        let start = Instant::now();
        let visits = visits(start, clients, told).into_iter();
        let visits = visits.map(|visit| Visit { room: Some("/a".into()), ..visit }).collect();
        let histories = Histories { visits, ..nothing_happened(start) };
        judge_rooms(&histories, &Fault { sees: seen_by(clients), ..fault(start) }).violations
    };
    nothing(&judged(right))?;
    something(&judged(wrong))
}

/// Where somebody comes or goes, nothing else happens.
fn seen_by(clients: &[Client]) -> Sees {
    if clients == MOVES || clients == LEAVES { Sees::Nothing } else { Sees::Truth }
}

/// The bystander, and the clients of a person. All of them are told the right counts at first.
fn visits(start: Instant, clients: &[Client], told: &[Told]) -> Vec<Visit> {
    let at = |seconds| start + Duration::from_secs_f64(seconds);
    let visit = |place, from, to, person: Option<&str>, told: &[Told]| {
        let record = Record::new("a client");
        record.push_at(Event::Connected, at(from));
        record.push_at(Event::Count(2), at(from + 0.1));
        for &(when, users) in told {
            record.push_at(Event::Count(users), at(when));
        }
        Visit {
            person: person.map(Into::into),
            leaving: Some(at(to)),
            gone: Some(at(to + 0.1)),
            ..Visit::new(Some(place), at(from - 0.1), record)
        }
    };
    let mut visits = vec![visit(0, 1.0, 9.5, None, told)];
    visits.extend(clients.iter().map(|&(place, from, to)| visit(place, from, to, Some("x"), &[])));
    visits
}
