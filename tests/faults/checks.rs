//! The checker judges hand-made histories: one that is right, and one for every violation that it must
//! find.

use std::time::{Duration, Instant};

use headcount_testkit::record::{Event, Record};

use crate::{
    checker::{Fault, Histories, Sees, judge},
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

/// All checks. Two clients are connected from 1 s to 9 s. All agree at 2 s, and the fault lasts from 2.5 s
/// to 6 s.
pub(crate) const ALL: [Check; 11] = [
    check("what-is-right-passes", || passes(&[(1.1, 1), (1.2, 2)], &[(2.0, 2, 2, true)])),
    check("old-news-in-quiet-times", || objects(&[(1.1, 1), (2.9, 1)], &[])),
    check("old-news-in-a-fault", || passes(&[(1.1, 2), (5.0, 2)], &[(5.0, 2, 9, false)])),
    check("too-many-in-a-fault", || objects(&[(1.1, 2), (5.0, 3)], &[])),
    check("too-few-in-a-fault", || objects(&[(1.1, 2), (5.0, 1)], &[])),
    check("older-than-what-all-agreed-on", || objects(&[(1.1, 2), (2.6, 0)], &[])),
    check("an-instance-shows-too-many", || objects(&[(1.1, 2)], &[(5.0, 3, 9, false)])),
    check("a-newcomer-hears-nothing", || objects(&[], &[])),
    check("a-newcomer-is-left-out", || objects(&[(1.1, 0), (1.2, 2)], &[])),
    check("a-revision-goes-back", || objects(&[(1.1, 2)], &[(2.5, 2, 9, true), (2.6, 2, 8, true)])),
    check("a-revision-has-two-counts", || {
        objects(&[(1.05, 2)], &[(1.1, 1, 9, true), (1.2, 2, 9, true)])
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
    let violations = violations(told, shown);
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n")) }
}

fn objects(told: &[Told], shown: &[Shown]) -> Result<(), String> {
    let violations = violations(told, shown);
    if violations.is_empty() { Err("it passed".into()) } else { Ok(()) }
}

/// The violations that the checker finds for a client with these counts and an instance with these events.
/// Another client connects at the same time, and its counts are right.
fn violations(told: &[Told], shown: &[Shown]) -> Vec<String> {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs_f64(seconds);
    let visit = |told: &[Told]| {
        let record = Record::new("a client");
        record.push_at(Event::Connected, at(1.0));
        for &(when, users) in told {
            record.push_at(Event::Count(users), at(when));
        }
        let (leaving, gone) = (Some(at(9.0)), Some(at(9.1)));
        Visit { leaving, gone, ..Visit::new(Some(0), at(0.9), record) }
    };
    let showing = |&(when, count, revision, exact): &Shown| Showing {
        said: Ok(Said { count, revision, exact }),
        at: at(when),
    };
    let histories = Histories {
        visits: vec![visit(told), visit(&[(1.1, 2)])],
        streams: vec![shown.iter().map(showing).collect()],
        ready: None,
        lateness: Duration::ZERO,
        end: at(10.0),
    };
    let fault = Fault { agreed: at(2.0), began: at(2.5), over: at(6.0), sees: Sees::Truth };
    judge(&histories, &fault).violations
}
