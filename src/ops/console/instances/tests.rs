//! Tests of what is seen of instances, over several looks.

use std::sync::Arc;

use super::*;
use crate::core::{
    about::{About, IdentifiedUsers},
    count::{Count, Revision},
};

const SECOND: Duration = Duration::from_secs(1);

pub(in crate::ops::console) fn entry(host: &str, users: u64, lease_left: Duration) -> RosterEntry {
    let about = About {
        host: host.to_owned(),
        version: "0.2.0".to_owned(),
        started_at: 1_000_000,
        draining: false,
        identified: IdentifiedUsers::default(),
        outside: 0,
    };
    let incarnation = format!("01a2011c-f814-765a-8ed8-{host:0>12}");
    let lease_left = Some(lease_left);
    RosterEntry { incarnation, users, lease_left, about: Some(Arc::new(about)) }
}

pub(in crate::ops::console) fn roster(instances: Vec<RosterEntry>) -> Roster {
    let users = instances.iter().map(|entry| entry.users).sum();
    let count = Count { users, revision: Revision(1), recovering: false, ..Count::default() };
    Roster { users, identified: 0, count, instances }
}

pub(in crate::ops::console) fn draining(entry: RosterEntry) -> RosterEntry {
    let about = entry.about.map(|about| Arc::new(About { draining: true, ..(*about).clone() }));
    RosterEntry { about, ..entry }
}

/// The same with sessions that are not in the site.
pub(in crate::ops::console) fn outside(entry: RosterEntry, outside: u64) -> RosterEntry {
    let about = entry.about.map(|about| Arc::new(About { outside, ..(*about).clone() }));
    RosterEntry { about, ..entry }
}

/// Two looks at two instances, of which the second is gone at the second look.
fn seen(second: RosterEntry, gap: Duration) -> (Instances, Instant) {
    let start = Instant::now();
    let mut instances = Instances::default();
    let first = || entry("web-1", 1, 2 * SECOND);
    instances.see(roster(vec![first(), second]), start);
    instances.see(roster(vec![first()]), start + gap);
    (instances, start + gap)
}

fn departures(instances: &Instances) -> Vec<Departure> {
    instances.gone().iter().map(|gone| gone.how).collect()
}

/// Goal: how an instance went is told right. Method: one with most of its lease left, one with little of it, one that was
/// draining, one behind an outage, and one that went while nobody looked.
#[test]
fn a_crash_is_told_from_a_farewell() {
    let cases = [
        (entry("web-2", 1, 1500 * SECOND / 1000), SECOND, vec![Departure::Left]),
        (entry("web-2", 1, SECOND / 2), SECOND, vec![Departure::Crashed]),
        (entry("web-2", 1, 1300 * SECOND / 1000), SECOND, vec![Departure::Crashed]),
        (draining(entry("web-2", 1, SECOND / 2)), SECOND, vec![Departure::Left]),
        (entry("web-2", 1, 2 * SECOND), 20 * SECOND, vec![Departure::Unseen]),
        (entry("web-2", 1, 2 * SECOND), 61 * SECOND, vec![]),
    ];
    for (second, gap, expected) in cases {
        let (instances, _) = seen(second.clone(), gap);
        assert_eq!(departures(&instances), expected, "{second:?} after {gap:?}");
    }
}

/// Goal: an instance that returns is not listed as missing. Method: the same incarnation, the same name with another one, and a stranger.
#[test]
fn who_comes_back_is_not_missing() {
    let restarted = RosterEntry { incarnation: "x".to_owned(), ..entry("web-2", 0, SECOND) };
    for (newcomer, missing) in
        [(entry("web-2", 0, SECOND), 0), (restarted, 0), (entry("web-3", 0, SECOND), 1)]
    {
        let (mut instances, at) = seen(entry("web-2", 1, SECOND / 2), SECOND);
        assert_eq!(instances.gone().len(), 1);
        instances.see(roster(vec![entry("web-1", 1, SECOND), newcomer]), at + SECOND);
        assert_eq!(instances.gone().len(), missing);
    }
}

/// Goal: a store that lost its data makes nobody missing. Method: a look while the store recovers, between two looks that
/// show all instances.
#[test]
fn a_recovery_makes_nobody_missing() {
    let both = || roster(vec![entry("web-1", 1, SECOND), entry("web-2", 1, SECOND / 2)]);
    let mut recovering = roster(vec![entry("web-1", 1, SECOND)]);
    recovering.count.recovering = true;
    let start = Instant::now();
    let mut instances = Instances::default();
    for (second, seen) in (0..).zip([both(), recovering, both()]) {
        instances.see(seen, start + second * SECOND);
        assert_eq!(departures(&instances), []);
    }
}

/// Goal: departed instances leave the table after their time. Method: a farewell and a crash, on both sides of their times.
#[test]
fn departures_are_forgotten() {
    for (left, kept_for) in [(2 * SECOND, LEFT_FOR), (SECOND / 2, CRASHED_FOR)] {
        let (mut instances, at) = seen(entry("web-2", 1, left), SECOND);
        instances.forget(at + kept_for - SECOND);
        assert_eq!(instances.gone().len(), 1);
        instances.forget(at + kept_for);
        assert_eq!(instances.gone().len(), 0);
    }
}

/// Goal: the table says what is known. Method: instances in every state; one says nothing of itself; a look that is old.
#[test]
fn rows() {
    let mut silent = entry("", 1, SECOND);
    silent.about = None;
    let expired = RosterEntry { lease_left: None, ..entry("web-0", 0, SECOND) };
    let busy = entry("web-9", 2, 1400 * SECOND / 1000);
    let this = busy.incarnation.clone();
    let at = Instant::now();
    let mut instances = Instances::default();
    instances.see(roster(vec![busy, draining(entry("web-8", 1, SECOND)), expired, silent]), at);
    let rows = instances.rows(Some(&this), at, 1_042_000);
    let states: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.state)).collect();
    let expected =
        [("web-0", "expired"), ("web-8", "draining"), ("web-9", "serving"), ("…000000", "serving")];
    assert_eq!(states, expected);
    let busy = Row {
        key: this,
        name: "web-9".to_owned(),
        id: "…0web-9".to_owned(),
        whose: "this one",
        state: "serving",
        state_text: "serving".to_owned(),
        version: "0.2.0".to_owned(),
        up: "42 s".to_owned(),
        sessions: "2".to_owned(),
        users: "2".to_owned(),
        share: "50 %".to_owned(),
        width: "50%".to_owned(),
        lease: "1.4 s".to_owned(),
    };
    assert_eq!(rows[2], busy);
    let later = instances.rows(None, at + LEASE_CURRENT_FOR, 1_042_000);
    assert!(later.iter().all(|row| row.lease == "–" && row.whose.is_empty()));
}

/// Goal: memory and page are bounded, whatever is in the store. Method: more instances than are listed, all of which go.
#[test]
fn lists_are_bounded() {
    let many = || (0..1000).map(|number| entry(&format!("web-{number}"), 1, SECOND / 2));
    let start = Instant::now();
    let mut instances = Instances::default();
    instances.see(roster(many().collect()), start);
    assert_eq!(instances.rows(None, start, 0).len(), LISTED_MAX);
    instances.see(roster(Vec::new()), start + SECOND);
    assert_eq!(instances.rows(None, start, 0).len(), LISTED_MAX);
}
