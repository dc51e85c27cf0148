//! Whether visitors and servers say the same number at one moment, and which. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// What visitors and servers say at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The last count that each connected visitor received.
    pub(crate) last_counts: Vec<u64>,
    /// What each server says.
    pub(crate) servers: Vec<ServerSays>,
    /// Whether nobody else visits.
    pub(crate) alone: bool,
}

/// What one server says on `/api/count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSays {
    /// Its address.
    pub url: String,
    /// Users online; `None` if it did not say.
    pub count: Option<u64>,
    /// Whether the server calls its count exact; otherwise it is an estimate.
    pub exact: Option<bool>,
}

/// The judgement over one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Visitors of this program that were connected.
    pub connections: u64,
    /// What everybody should have said: the most common word of the servers, but not less than the
    /// connections; without servers that of the visitors; the connections if nobody else visits.
    pub count: u64,
    /// Those of the count that are not visitors of this program.
    pub others: u64,
    /// Visitors of this program that were last told another number.
    pub disagreeing: u64,
    /// The wrong numbers, each with how many visitors were told it; only the most common ones.
    pub told_instead: BTreeMap<u64, u64>,
    /// Servers that said another number, or nothing.
    pub servers_disagreeing: u64,
    /// What each server said.
    pub servers: Vec<ServerSays>,
}

/// The most wrong numbers that a report names.
const WRONG_NUMBERS_MAX: usize = 5;

impl Verdict {
    /// Judges one moment.
    pub(crate) fn of(evidence: Evidence) -> Self {
        let Evidence { last_counts, servers, alone } = evidence;
        let connections = last_counts.len() as u64;
        let said = most_common(servers.iter().filter_map(|server| server.count));
        let count = match said.or_else(|| most_common(last_counts.iter().copied())) {
            Some(count) if !alone => count.max(connections),
            _ => connections,
        };
        let wrong = frequencies(last_counts.iter().copied().filter(|&last| last != count));
        let silent_or_wrong = servers.iter().filter(|server| server.count != Some(count));
        Self {
            connections,
            count,
            others: count - connections,
            disagreeing: wrong.values().sum(),
            servers_disagreeing: silent_or_wrong.count() as u64,
            told_instead: few_of(wrong),
            servers,
        }
    }

    /// Whether everybody agrees.
    pub fn is_right(&self) -> bool {
        self.disagreeing == 0 && self.servers_disagreeing == 0
    }
}

/// How often each number occurs.
fn frequencies(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u64> {
    let mut frequencies = BTreeMap::new();
    for number in numbers {
        *frequencies.entry(number).or_default() += 1;
    }
    frequencies
}

fn most_common(numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let frequencies = frequencies(numbers);
    frequencies.into_iter().max_by_key(|&(number, times)| (times, number)).map(|(number, _)| number)
}

fn few_of(wrong: BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut by_times: Vec<(u64, u64)> = wrong.into_iter().collect();
    by_times.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
    by_times.into_iter().take(WRONG_NUMBERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn verdict(told: &[u64], servers: &[Option<u64>], alone: bool) -> Verdict {
        let says = |&count: &Option<u64>| ServerSays {
            url: String::new(),
            count,
            exact: count.map(|_| true),
        };
        let servers = servers.iter().map(says).collect();
        Verdict::of(Evidence { last_counts: told.to_vec(), servers, alone })
    }

    /// Goal: the verdict finds wrong counts. Method: cases in which count, visitors and servers disagree.
    #[rstest]
    #[case::all_agree(&[3, 3, 3], &[Some(3), Some(3)], 3, 0, 0)]
    #[case::others_are_present(&[5, 5, 5], &[Some(5)], 5, 0, 0)]
    #[case::one_is_behind(&[3, 2, 3], &[Some(3)], 3, 1, 0)]
    #[case::all_are_behind(&[2, 2, 2], &[Some(3)], 3, 3, 0)]
    #[case::fewer_than_there_are(&[2, 2, 2], &[Some(2)], 3, 3, 1)]
    #[case::a_server_differs(&[3, 3, 3], &[Some(3), Some(3), Some(4)], 3, 0, 1)]
    #[case::two_halves(&[1, 1], &[Some(1), Some(1)], 2, 2, 2)]
    #[case::a_server_is_silent(&[3, 3, 3], &[Some(3), None], 3, 0, 1)]
    #[case::all_servers_are_silent(&[4, 4, 3], &[None], 4, 1, 1)]
    #[case::nobody(&[], &[Some(0)], 0, 0, 0)]
    fn agreement(
        #[case] told: &[u64],
        #[case] servers: &[Option<u64>],
        #[case] count: u64,
        #[case] disagreeing: u64,
        #[case] servers_disagreeing: u64,
    ) {
        let verdict = verdict(told, servers, false);
        let found = (verdict.count, verdict.disagreeing, verdict.servers_disagreeing);
        assert_eq!(found, (count, disagreeing, servers_disagreeing));
        assert_eq!(verdict.is_right(), disagreeing + servers_disagreeing == 0);
        assert_eq!(verdict.others, count - told.len() as u64);
    }

    /// Goal: without other visitors, a count that is too high is wrong even if all agree. Method: the same case with and
    /// without other visitors allowed.
    #[test]
    fn a_ghost_is_wrong_when_alone() {
        assert!(verdict(&[3, 3], &[Some(3)], false).is_right());
        let alone = verdict(&[3, 3], &[Some(3)], true);
        assert_eq!((alone.count, alone.disagreeing, alone.servers_disagreeing), (2, 2, 1));
    }

    /// Goal: a report stays short even if much is wrong. Method: many wrong numbers, of which the most frequent are shown.
    #[test]
    fn the_most_common_wrong_numbers_are_named() {
        let mut told: Vec<u64> = (100..200).collect();
        told.extend([7, 7, 7]);
        let verdict = verdict(&told, &[Some(500)], false);
        assert_eq!(verdict.disagreeing, 103);
        assert_eq!((verdict.told_instead.len(), verdict.told_instead[&7]), (5, 3));
    }
}
