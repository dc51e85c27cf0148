//! Judges the histories of a run: whether every displayed count may have been true at that moment.
//!
//! Pure: it reads what was recorded, and knows nothing of Redis or processes. The rules:
//!
//! 1. Every count that a client or an instance showed lies between the smallest and the largest true count
//!    of a window before it. In quiet times the window is the time in which a change must reach all. From the
//!    start of a fault until its bound has passed, the window begins with the fault.
//! 2. Every new client gets a count in time, and the first one includes at least this client.
//! 3. On one stream of an instance revisions never decrease, and one revision never has two exact counts. Nor has it on two
//!    streams, outside the fault. During a fault the store may lose a revision that some instances have shown, and make it
//!    again for others.
//! 4. Nothing arrives that is outside the contract.
//!
//! The same rules hold for each room by itself. A client that only watches a room may be told 0. A person is counted once,
//! except in an estimate: no instance can know who came to another one while the store was away.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use headcount_testkit::record::{Entry, Event};

use crate::{
    history::{Place, Said, Showing, Visit},
    truth::{Knows, Span, Truth},
};

/// How old a displayed count may be in quiet times, without the allowance for the machine. A report gap and an
/// emission interval are 60 ms. The rest is for several such clusters on one machine.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// Time in which a newcomer must get a count: its patience is 250 ms, and the rest is for the machine.
const WELCOME: Duration = PATIENCE.saturating_add(Duration::from_secs(1));
/// How long a newcomer waits for a count that includes it before it is told an estimate.
const PATIENCE: Duration = Duration::from_millis(250);
/// What a busy machine may add to a bound.
pub(crate) const NOISE: Duration = Duration::from_secs(1);

/// What clients may see during a fault.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    /// No effect at all.
    Nothing,
    /// No effect but that numbers may be estimates for moments, as after a report that failed. They are no older than in quiet times.
    Estimates,
    /// Any count that was true since the fault began.
    Truth,
    /// The same, possibly without the users of these places.
    Without(Vec<Place>),
    /// Any number: the fault writes rubbish into the store.
    Anything,
}

/// When a fault happened, and what may be seen because of it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// When all agreed before the fault. No client or instance shows anything older.
    pub(crate) agreed: Instant,
    /// When the fault began.
    pub(crate) began: Instant,
    /// When the bound of the fault had passed.
    pub(crate) over: Instant,
    /// What may be seen from the beginning until then.
    pub(crate) sees: Sees,
}

/// Everything that was recorded in a run.
#[derive(Debug)]
pub(crate) struct Histories {
    /// All visits, and the counts that they got.
    pub(crate) visits: Vec<Visit>,
    /// What each instance showed: one history for every run of an instance.
    pub(crate) streams: Vec<Vec<Showing>>,
    /// The same for some rooms.
    pub(crate) room_streams: Vec<Vec<Showing>>,
    /// When the stage was ready, if the row has built it further. What was told before is not judged by the rules 1 and 2.
    pub(crate) ready: Option<Instant>,
    /// What the machine may have added to the time in which a change reaches all.
    pub(crate) lateness: Duration,
    /// How long a person stays on an instance that he has left.
    pub(crate) grace: Duration,
    /// When the clients were told to leave. What they were told after that is not judged.
    pub(crate) end: Instant,
}

/// The result of judging a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What should not have happened.
    pub(crate) violations: Vec<String>,
    /// The largest difference between a client's count and the counts that may have been true shortly before.
    pub(crate) largest_error: u64,
}

/// Judges what was shown of the site.
pub(crate) fn judge(histories: &Histories, fault: &Fault) -> Verdict {
    let visits: Vec<&Visit> =
        histories.visits.iter().filter(|visit| visit.room.is_none()).collect();
    let mut verdict = Verdict::default();
    let judge = Judge::of(&visits, histories, fault);
    judge.clients(&visits, &mut verdict);
    let mut exact_counts = HashMap::new();
    for showings in &histories.streams {
        judge.stream(showings, &mut exact_counts, &mut verdict.violations);
    }
    verdict
}

/// Judges what was shown of each room.
pub(crate) fn judge_rooms(histories: &Histories, fault: &Fault) -> Verdict {
    let mut rooms = BTreeMap::<&str, Vec<&Visit>>::new();
    for visit in &histories.visits {
        if let Some(room) = &visit.room {
            rooms.entry(room).or_default().push(visit);
        }
    }
    let mut verdict = Verdict::default();
    for (room, visits) in &rooms {
        let judge = Judge::of(visits, histories, fault);
        judge.clients(visits, &mut verdict);
        let mut exact_counts = HashMap::new();
        for showings in &histories.room_streams {
            let of_room = showings.iter().filter(|showing| showing.is_of(room));
            judge.stream(of_room, &mut exact_counts, &mut verdict.violations);
        }
    }
    verdict
}

/// A number that was shown to somebody.
struct Shown {
    users: u64,
    at: Instant,
    /// Whether it may be an estimate for another reason than the fault.
    is_estimate: bool,
    /// Whether it is marked as exact. Only instances say that.
    is_exact: bool,
}

impl Shown {
    fn by_instance(said: &Said, at: Instant) -> Self {
        Self { users: said.count, at, is_estimate: !said.exact, is_exact: said.exact }
    }

    /// What somebody knew of people who showed this during a fault.
    fn in_a_fault(&self) -> Knows {
        if self.is_exact { Knows::People } else { Knows::Instances }
    }
}

struct Judge<'a> {
    truth: Truth,
    ready: Option<Instant>,
    fault: &'a Fault,
    lateness: Duration,
    end: Instant,
}

impl<'a> Judge<'a> {
    fn of(visits: &[&Visit], histories: &Histories, fault: &'a Fault) -> Self {
        let Histories { ready, lateness, grace, end, .. } = *histories;
        Self { truth: Truth::of(visits, grace), ready, fault, lateness, end }
    }

    fn clients(&self, visits: &[&Visit], verdict: &mut Verdict) {
        for visit in visits {
            self.client(visit, verdict);
        }
    }

    fn client(&self, visit: &Visit, verdict: &mut Verdict) {
        let name = visit.record.name();
        let mut entries = visit.record.entries();
        entries.retain(|entry| entry.at <= self.end);
        // A busy machine may show a client its acknowledgement late, and the count right after it.
        let (mut attempted, mut joined) = (visit.opened, None);
        for entry in &entries {
            match &entry.event {
                Event::Violation(what) | Event::Refused(what) => {
                    verdict.violations.push(format!("{name}: {what}"));
                }
                Event::Count(users) => {
                    if !self.is_too_early(entry.at) {
                        let truth = self.truth.within(self.quiet(entry.at), &[], Knows::People);
                        verdict.largest_error = verdict.largest_error.max(distance(*users, &truth));
                    }
                    let waited = joined.take().map(|at| entry.at.duration_since(at));
                    let is_late = waited.is_some_and(|waited| waited >= PATIENCE);
                    let shown = Shown {
                        users: *users,
                        at: entry.at,
                        is_estimate: is_late,
                        is_exact: false,
                    };
                    // Where nothing is known of a room yet, a newcomer is told who is there on its instance, once its
                    // patience has ended.
                    let is_first_of_room = visit.room.is_some() && is_late;
                    let most = self.allowed(&shown).map(|allowed| *allowed.end());
                    if !is_first_of_room || most.is_some_and(|most| *users > most) {
                        self.count(&shown, name, &mut verdict.violations);
                    }
                }
                Event::Connected => joined = Some(attempted),
                Event::Disconnected(_) => attempted = entry.at,
                Event::Upgraded | Event::Users(_) => {}
            }
        }
        self.welcomes(visit, &entries, &mut verdict.violations);
    }

    /// Rule 1.
    fn count(&self, shown: &Shown, who: &str, violations: &mut Vec<String>) {
        let Shown { users, at, .. } = *shown;
        if let Some(allowed) = self.allowed(shown)
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

    /// What may be shown at this moment, or `None` if anything may.
    fn allowed(&self, shown: &Shown) -> Option<RangeInclusive<u64>> {
        let at = shown.at;
        if self.is_too_early(at) {
            return None;
        }
        let quiet = self.quiet(at);
        let knows = if shown.is_estimate { Knows::Instances } else { Knows::People };
        if at < self.fault.began || at > self.fault.over {
            return Some(self.truth.within(quiet, &[], knows));
        }
        // A stage that was built further is ready once all have agreed again.
        let agreed = self.ready.map_or(self.fault.agreed, |ready| ready.max(self.fault.agreed));
        let from = self.quiet(self.fault.began).from.max(agreed);
        let span = Span { from, to: at };
        match &self.fault.sees {
            Sees::Nothing => Some(self.truth.within(quiet, &[], knows)),
            Sees::Estimates => Some(self.truth.within(quiet, &[], shown.in_a_fault())),
            Sees::Truth => Some(self.truth.within(span, &[], shown.in_a_fault())),
            Sees::Without(absent) => Some(self.truth.within(span, absent, shown.in_a_fault())),
            Sees::Anything => None,
        }
    }

    /// Whether the stage was not ready yet.
    fn is_too_early(&self, at: Instant) -> bool {
        self.ready.is_some_and(|ready| at < ready)
    }

    /// In quiet times, any count that was true within this span may be shown at its end.
    fn quiet(&self, at: Instant) -> Span {
        Span { from: at.checked_sub(QUIET + self.lateness).unwrap_or(at), to: at }
    }

    /// Rule 2.
    fn welcomes(&self, visit: &Visit, entries: &[Entry], violations: &mut Vec<String>) {
        let name = visit.record.name();
        for (index, entry) in entries.iter().enumerate() {
            if entry.event != Event::Connected || self.is_too_early(entry.at) {
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
            if visit.is_counted && first.and_then(|first| first.event.count()) == Some(0) {
                let told: Vec<_> =
                    later.iter().take(4).map(|it| (it.at - visit.opened, &it.event)).collect();
                violations
                    .push(format!("{name} was told 0 first, which leaves itself out: {told:?}"));
            }
        }
    }

    /// Rules 1 and 3, and rule 4 for streams.
    fn stream<'b>(
        &self,
        showings: impl IntoIterator<Item = &'b Showing>,
        exact_counts: &mut HashMap<u64, u64>,
        violations: &mut Vec<String>,
    ) {
        let (mut newest, mut is_known) = (0, false);
        let mut of_stream = HashMap::new();
        for showing in showings {
            let said = match &showing.said {
                Ok(said) => said,
                Err(what) => {
                    violations.push(format!("a stream said {what}"));
                    continue;
                }
            };
            // An instance that was asked for a room of which it knows nothing yet may say who is there on it.
            is_known |= said.exact || said.room.is_none();
            if is_known {
                let shown = Shown::by_instance(said, showing.at);
                self.count(&shown, "an instance", violations);
            }
            if said.revision < newest {
                violations.push(format!("revision {} came after {newest}", said.revision));
            }
            newest = said.revision;
            // What somebody edits has no revision.
            let is_edited = matches!(self.fault.sees, Sees::Anything);
            if !said.exact || is_edited {
                continue;
            }
            let mut other = of_stream.insert(said.revision, said.count);
            if !(self.fault.began..=self.fault.over).contains(&showing.at) {
                other = other.or(exact_counts.insert(said.revision, said.count));
            }
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
