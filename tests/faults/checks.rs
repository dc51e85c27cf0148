//! The checker is shown histories made by hand: a right one, and one for each thing it must object to.

use std::time::{Duration, Instant};

use headcount_testkit::record::{Event, Record};

use crate::{
    checker::{Fault, Histories, Sees, judge},
    history::{Said, Showing, Visit},
};

/// One history, and whether it was judged as it should be.
#[derive(Debug)]
pub(crate) struct Check {
    /// What is in it.
    pub(crate) name: &'static str,
    /// The error says how it was judged instead.
    pub(crate) run: fn() -> Result<(), String>,
}

/// All of them. Two people are there from 1 s to 9 s; all agree at 2 s; the fault is between 2.5 s and 6 s.
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

/// When a client was told what.
type Told = (f64, u64);
/// When an instance said what, of which revision, and whether it vouched for it.
type Shown = (f64, u64, u64, bool);

fn passes(told: &[Told], shown: &[Shown]) -> Result<(), String> {
    let violations = violations(told, shown);
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n")) }
}

fn objects(told: &[Told], shown: &[Shown]) -> Result<(), String> {
    let violations = violations(told, shown);
    if violations.is_empty() { Err("it passed".into()) } else { Ok(()) }
}

/// What the checker says of one client that was told this and an instance that showed that, beside another
/// client, which came with it and was told nothing wrong.
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
        Visit { place: Some(0), record, opened: at(0.9), leaving, gone }
    };
    let showing = |&(when, count, revision, exact): &Shown| Showing {
        said: Ok(Said { count, revision, exact }),
        at: at(when),
    };
    let histories = Histories {
        visits: vec![visit(told), visit(&[(1.1, 2)])],
        streams: vec![shown.iter().map(showing).collect()],
        lateness: Duration::ZERO,
        end: at(10.0),
    };
    let fault = Fault { agreed: at(2.0), began: at(2.5), over: at(6.0), sees: Sees::Truth };
    judge(&histories, &fault).violations
}
