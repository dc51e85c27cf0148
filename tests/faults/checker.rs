//! Judges the histories of a run: whether everybody was told what may have been true, at each moment.
//!
//! Pure: it reads what was written down, and knows nothing of Redis or processes. The rules:
//!
//! 1. Every count that a client or an instance showed lies between the smallest and the largest truth of a
//!    window before it: as long as news may take in quiet times; during a fault and until its bound has
//!    passed, since the fault began.
//! 2. Whoever connects is told a count in good time, and the first includes at least this one person.
//! 3. On one stream of an instance revisions never go back, and one revision never has two exact counts.
//! 4. Nothing arrives that is outside the contract.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use headcount_testkit::record::{Entry, Event};

use crate::{
    history::{Place, Showing, Visit},
    truth::{Span, Truth},
};

/// How old news may be in quiet times, beside what the machine adds. A report gap and an emission interval are
/// 60 ms; the rest is for several such clusters on one machine.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// Within what time a newcomer must be told a count: its patience is 250 ms, the rest is for the machine.
const WELCOME: Duration = Duration::from_millis(250 + 1000);
/// Why a machine that is busy may stretch a bound.
pub(crate) const NOISE: Duration = Duration::from_secs(1);

/// What may be seen during a fault.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    /// Nothing of it.
    Nothing,
    /// What was true since it began.
    Truth,
    /// The same, possibly without the users of these places.
    Without(Vec<Place>),
    /// Anything: somebody writes rubbish into the store.
    Anything,
}

/// When the fault was, and what it may cost.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// When all agreed before it: nobody holds anything older.
    pub(crate) agreed: Instant,
    /// When it began.
    pub(crate) began: Instant,
    /// When its bound had passed.
    pub(crate) over: Instant,
    /// What may be seen meanwhile.
    pub(crate) sees: Sees,
}

/// Everything that was written down.
#[derive(Debug)]
pub(crate) struct Histories {
    /// Who came and left, and what they were told.
    pub(crate) visits: Vec<Visit>,
    /// What each instance showed, one history for each life of an instance.
    pub(crate) streams: Vec<Vec<Showing>>,
    /// What the machine may have added to the time that news take.
    pub(crate) lateness: Duration,
    /// When watching ended.
    pub(crate) end: Instant,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What should not have happened.
    pub(crate) violations: Vec<String>,
    /// By how much a client's count missed what may have been true shortly before, at most.
    pub(crate) largest_error: u64,
}

/// Judges a run.
pub(crate) fn judge(histories: &Histories, fault: &Fault) -> Verdict {
    let truth = Truth::of(&histories.visits);
    let judge = Judge { truth, fault, lateness: histories.lateness, end: histories.end };
    let mut verdict = Verdict::default();
    for visit in &histories.visits {
        judge.client(visit, &mut verdict);
    }
    let mut exact_counts = HashMap::new();
    for showings in &histories.streams {
        judge.stream(showings, &mut exact_counts, &mut verdict.violations);
    }
    verdict
}

struct Judge<'a> {
    truth: Truth,
    fault: &'a Fault,
    lateness: Duration,
    end: Instant,
}

impl Judge<'_> {
    fn client(&self, visit: &Visit, verdict: &mut Verdict) {
        let name = visit.record.name();
        let entries = visit.record.entries();
        for entry in &entries {
            match &entry.event {
                Event::Violation(what) => verdict.violations.push(format!("{name}: {what}")),
                Event::Count(users) => {
                    let error = distance(*users, &self.truth.within(self.quiet(entry.at), &[]));
                    verdict.largest_error = verdict.largest_error.max(error);
                    self.count(*users, entry.at, name, &mut verdict.violations);
                }
                Event::Connected | Event::Upgraded | Event::Disconnected(_) => {}
            }
        }
        self.welcomes(visit, &entries, &mut verdict.violations);
    }

    /// Rule 1.
    fn count(&self, users: u64, at: Instant, who: &str, violations: &mut Vec<String>) {
        if let Some(allowed) = self.allowed(at)
            && !allowed.contains(&users)
        {
            let after = at.saturating_duration_since(self.fault.began);
            let over = at > self.fault.over;
            violations.push(format!(
                "{who} showed {users}, allowed was {allowed:?}, {after:?} after the fault began{}",
                if over { ", and its bound had passed" } else { "" }
            ));
        }
    }

    /// What may be shown at this moment; `None` for anything.
    fn allowed(&self, at: Instant) -> Option<RangeInclusive<u64>> {
        let quiet = self.quiet(at);
        if at < self.fault.began || at > self.fault.over {
            return Some(self.truth.within(quiet, &[]));
        }
        let from = self.quiet(self.fault.began).from.max(self.fault.agreed);
        let span = Span { from, to: at };
        match &self.fault.sees {
            Sees::Nothing => Some(self.truth.within(quiet, &[])),
            Sees::Truth => Some(self.truth.within(span, &[])),
            Sees::Without(absent) => Some(self.truth.within(span, absent)),
            Sees::Anything => None,
        }
    }

    /// Whatever was true within this span may be shown at its end in quiet times.
    fn quiet(&self, at: Instant) -> Span {
        Span { from: at.checked_sub(QUIET + self.lateness).unwrap_or(at), to: at }
    }

    /// Rule 2.
    fn welcomes(&self, visit: &Visit, entries: &[Entry], violations: &mut Vec<String>) {
        let name = visit.record.name();
        for (index, entry) in entries.iter().enumerate() {
            if entry.event != Event::Connected {
                continue;
            }
            let later = &entries[index + 1..];
            let ended = later.iter().find(|entry| entry.event.is_disconnected());
            let ended = ended.map(|entry| entry.at).or(visit.leaving).unwrap_or(self.end);
            let first = later.iter().find(|entry| entry.event.count().is_some());
            let first = first.filter(|first| first.at <= ended);
            let waited = first.map_or(ended, |first| first.at).duration_since(entry.at);
            if waited > WELCOME + self.lateness {
                violations.push(format!("{name} was told nothing for {waited:?}"));
            }
            if first.and_then(|first| first.event.count()) == Some(0) {
                violations.push(format!("{name} was told 0 first, which leaves itself out"));
            }
        }
    }

    /// Rules 1 and 3, and 4 for streams.
    fn stream(
        &self,
        showings: &[Showing],
        exact_counts: &mut HashMap<u64, u64>,
        violations: &mut Vec<String>,
    ) {
        let mut newest = 0;
        for showing in showings {
            let said = match &showing.said {
                Ok(said) => said,
                Err(what) => {
                    violations.push(format!("a stream said {what}"));
                    continue;
                }
            };
            self.count(said.count, showing.at, "an instance", violations);
            if said.revision < newest {
                violations.push(format!("revision {} came after {newest}", said.revision));
            }
            newest = said.revision;
            if !said.exact {
                continue;
            }
            let other = exact_counts.insert(said.revision, said.count);
            if let Some(other) = other.filter(|&other| other != said.count) {
                violations.push(format!(
                    "revision {newest} was exactly {other} and exactly {}",
                    said.count
                ));
            }
        }
    }
}

fn distance(users: u64, allowed: &RangeInclusive<u64>) -> u64 {
    allowed.start().saturating_sub(users).max(users.saturating_sub(*allowed.end()))
}
