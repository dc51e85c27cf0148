//! The truth, as far as anybody outside can know it: between which numbers the count lay.
//!
//! A connection is *certainly* there from its acknowledgement until its person begins to leave or it is seen
//! to break, and *possibly* there from the first attempt until that. Pure: it is computed from the visits.

use std::{ops::RangeInclusive, time::Instant};

use headcount_testkit::record::Event;

use crate::history::{Place, Visit};

/// How many users each place had at each moment, at least and at most.
#[derive(Debug)]
pub(crate) struct Truth {
    places: Vec<Population>,
}

/// The users of one place.
#[derive(Debug, Default)]
struct Population {
    place: Option<Place>,
    certain: Steps,
    possible: Steps,
}

/// A number that changes at certain moments, in order.
#[derive(Debug, Default)]
struct Steps(Vec<(Instant, u64)>);

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Its beginning.
    pub(crate) from: Instant,
    /// Its end.
    pub(crate) to: Instant,
}

impl Truth {
    /// Of these visits.
    pub(crate) fn of(visits: &[Visit]) -> Self {
        let mut places: Vec<Option<Place>> = visits.iter().map(|visit| visit.place).collect();
        places.sort_unstable();
        places.dedup();
        let population = |place| Population::of(place, visits);
        Self { places: places.into_iter().map(population).collect() }
    }

    /// The smallest and the largest count that somebody may hold who knows of each place something that was
    /// true within `span`, and of those in `absent` possibly nothing.
    ///
    /// Each place by itself: an estimate puts the newest number of one beside an old one of another.
    pub(crate) fn within(&self, span: Span, absent: &[Place]) -> RangeInclusive<u64> {
        let least = |population: &Population| {
            let is_absent = population.place.is_some_and(|place| absent.contains(&place));
            if is_absent { 0 } else { population.certain.over(span).min().unwrap_or(0) }
        };
        let most = |population: &Population| population.possible.over(span).max().unwrap_or(0);
        self.places.iter().map(least).sum()..=self.places.iter().map(most).sum()
    }
}

impl Population {
    fn of(place: Option<Place>, visits: &[Visit]) -> Self {
        let here = visits.iter().filter(|visit| visit.place == place);
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for connection in here.flat_map(connections) {
            possible.push((connection.attempted, 1));
            possible.extend(connection.gone.map(|at| (at, -1)));
            if let Some(acknowledged) = connection.acknowledged {
                let ended = connection.ending.map(|at| at.max(acknowledged));
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
    /// The first moment at which it may be over.
    ending: Option<Instant>,
    gone: Option<Instant>,
}

/// The connections of a visit, in order. A client that returns is between two of them possibly there.
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
            Event::Upgraded | Event::Count(_) | Event::Violation(_) => {}
        }
    }
    let last = all.last_mut().expect("there is always one");
    last.ending = visit.leaving;
    last.gone = visit.gone;
    // A client that stays away after a loss makes no other attempt.
    if visit.place.is_some() && all.len() > 1 {
        all.pop();
    }
    all
}

impl Steps {
    fn of(mut changes: Vec<(Instant, i64)>) -> Self {
        // Of what happens at one moment, arrivals come first.
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

    /// All values within a span: the one that stood when it began, and those that came in it.
    fn over(&self, span: Span) -> impl Iterator<Item = u64> {
        let begin = self.0.partition_point(|&(at, _)| at <= span.from);
        let end = self.0.partition_point(|&(at, _)| at <= span.to);
        let standing = begin.checked_sub(1).map_or(0, |index| self.0[index].1);
        let coming = self.0[begin..end].iter().map(|&(_, value)| value);
        std::iter::once(standing).chain(coming)
    }
}
