//! The truth, as far as an outside observer can know it: the smallest and the largest possible count.
//!
//! A connection is *certainly* counted from its acknowledgement until its client begins to leave or it is
//! seen to break. It is *possibly* counted from the first attempt until it is certainly gone. Pure: it is
//! computed from the visits to the site, or to one room. A client that only watches a room is not counted.
//!
//! A person is counted once, however many connections he has on whatever instances, and stays for the grace on each instance that
//! he has left.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use headcount_testkit::record::Event;

use crate::history::{PersonKey, Place, Visit};

/// The smallest and the largest number of users at each moment.
#[derive(Debug)]
pub(crate) struct Truth {
    /// The connections of nobody in particular, place by place.
    places: Vec<Population>,
    /// The connections of each person, place by place.
    people: Vec<Vec<Population>>,
}

/// The connections at one place.
#[derive(Debug, Default)]
struct Population {
    place: Option<Place>,
    certain: Steps,
    possible: Steps,
}

/// A number that changes at certain moments, in order of time.
#[derive(Debug, Default)]
struct Steps(Vec<(Instant, u64)>);

/// What an observer knows of people who are on several instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knows {
    /// Everything: he counts each person once.
    People,
    /// He may not know that a person of one instance is on another one, too. An estimate is of this kind: no instance can know who
    /// came to another one while the store was away.
    Instances,
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Its beginning.
    pub(crate) from: Instant,
    /// Its end.
    pub(crate) to: Instant,
}

impl Truth {
    /// Computes the truth from these visits. `grace`: how long a person stays on an instance that he has left.
    pub(crate) fn of(visits: &[&Visit], grace: Duration) -> Self {
        let counted = || visits.iter().copied().filter(|visit| visit.is_counted);
        let mut people = BTreeMap::<PersonKey, Vec<&Visit>>::new();
        for visit in counted() {
            if let Some(person) = &visit.person {
                people.entry(PersonKey::clone(person)).or_default().push(visit);
            }
        }
        let unknown: Vec<&Visit> = counted().filter(|visit| visit.person.is_none()).collect();
        Self {
            places: Population::by_place(&unknown, Duration::ZERO),
            people: people.values().map(|visits| Population::by_place(visits, grace)).collect(),
        }
    }

    /// The smallest and the largest count that may be shown by an observer that knows, for each place, what was true at some moment
    /// within `span`. For the places in `absent` it may know nothing.
    ///
    /// Each place is treated separately, because an estimate combines the newest number of one with an old
    /// number of another.
    pub(crate) fn within(&self, span: Span, absent: &[Place], knows: Knows) -> RangeInclusive<u64> {
        let least = |population: &Population| {
            let is_absent = population.place.is_some_and(|place| absent.contains(&place));
            if is_absent { 0 } else { population.certain.over(span).min().unwrap_or(0) }
        };
        let most = |population: &Population| population.possible.over(span).max().unwrap_or(0);
        let sum =
            |number: &dyn Fn(&Population) -> u64| -> u64 { self.places.iter().map(number).sum() };
        let people_least =
            self.people.iter().filter(|places| places.iter().any(|at| least(at) > 0));
        let people_most = self.people.iter().map(|places| {
            let places = places.iter().filter(|at| most(at) > 0).count();
            if knows == Knows::People { places.min(1) } else { places }
        });
        let least = sum(&least) + people_least.count() as u64;
        least..=sum(&most) + people_most.sum::<usize>() as u64
    }
}

impl Population {
    fn by_place(visits: &[&Visit], grace: Duration) -> Vec<Self> {
        let mut places: Vec<Option<Place>> = visits.iter().map(|visit| visit.place).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| Self::of(place, visits, grace)).collect()
    }

    fn of(place: Option<Place>, visits: &[&Visit], grace: Duration) -> Self {
        let here = visits.iter().filter(|visit| visit.place == place);
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for connection in here.flat_map(|visit| connections(visit)) {
            possible.push((connection.attempted, 1));
            possible.extend(connection.gone.map(|at| (at + grace, -1)));
            if let Some(acknowledged) = connection.acknowledged {
                let ended = connection.ending.map(|at| at.max(acknowledged) + grace);
                certain.push((acknowledged, 1));
                certain.extend(ended.map(|at| (at, -1)));
            }
        }
        Self { place, certain: Steps::of(certain), possible: Steps::of(possible) }
    }
}

/// One connection of a visit.
struct Connection {
    attempted: Instant,
    acknowledged: Option<Instant>,
    /// The first moment at which it may have ended.
    ending: Option<Instant>,
    gone: Option<Instant>,
}

/// The connections of a visit, in order. Between two of them, a client that reconnects is possibly counted.
fn connections(visit: &Visit) -> Vec<Connection> {
    let begin = |attempted| Connection { attempted, acknowledged: None, ending: None, gone: None };
    let mut all = vec![begin(visit.opened)];
    for entry in visit.record.entries() {
        let current = all.last_mut().expect("there is always one");
        match entry.event {
            Event::Connected => current.acknowledged = Some(entry.at),
            Event::Disconnected(_) => {
                current.ending = Some(entry.at);
                current.gone = Some(entry.at);
                all.push(begin(entry.at));
            }
            Event::Upgraded
            | Event::Count(_)
            | Event::Users(_)
            | Event::Refused(_)
            | Event::Violation(_) => {}
        }
    }
    let last = all.last_mut().expect("there is always one");
    last.ending = visit.leaving;
    last.gone = visit.gone;
    // A client that does not reconnect after a loss makes no other attempt.
    if visit.place.is_some() && all.len() > 1 {
        all.pop();
    }
    all
}

impl Steps {
    fn of(mut changes: Vec<(Instant, i64)>) -> Self {
        // At the same moment, arrivals are sorted before departures.
        changes.sort_by_key(|&(at, change)| (at, -change));
        let mut number = 0i64;
        let mut steps: Vec<(Instant, u64)> = Vec::new();
        for (at, change) in changes {
            number += change;
            let value = u64::try_from(number).expect("nobody leaves who did not come");
            match steps.last_mut() {
                Some(last) if last.0 == at => last.1 = value,
                _ => steps.push((at, value)),
            }
        }
        Self(steps)
    }

    /// All values within a span: the value at its beginning, and every later one.
    fn over(&self, span: Span) -> impl Iterator<Item = u64> {
        let begin = self.0.partition_point(|&(at, _)| at <= span.from);
        let end = self.0.partition_point(|&(at, _)| at <= span.to);
        let standing = begin.checked_sub(1).map_or(0, |index| self.0[index].1);
        let coming = self.0[begin..end].iter().map(|&(_, value)| value);
        std::iter::once(standing).chain(coming)
    }
}
