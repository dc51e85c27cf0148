//! Judges whether visitors and servers show the same number at one moment, and which one. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// The counts of visitors and servers at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The last count that each connected visitor received.
    pub(crate) last_counts: Vec<u64>,
    /// How many users the visitors are: connections of one identity are one user.
    pub(crate) users: u64,
    /// The count of each server.
    pub(crate) servers: Vec<ServerSays>,
    /// Whether there are no other visitors.
    pub(crate) alone: bool,
}

/// The answer of one server to `/api/count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSays {
    /// Its address.
    pub url: String,
    /// Users online, or `None` without a valid answer.
    pub count: Option<u64>,
    /// Whether the server marks its count as exact. Otherwise it is an estimate.
    pub exact: Option<bool>,
}

/// The verdict for one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Visitors of this program that were connected.
    pub connections: u64,
    /// How many users they are: connections of one identity are one user.
    pub users: u64,
    /// The number that all should have shown. It is the most common number of the servers, but not less than the
    /// users of this program. Without servers it is that of the visitors. Without other visitors it is the number of users of
    /// this program.
    pub count: u64,
    /// Users in the count that are not users of this program.
    pub others: u64,
    /// Visitors of this program whose last count was a different number.
    pub disagreeing: u64,
    /// The most common wrong numbers, each with the number of visitors that got it.
    pub told_instead: BTreeMap<u64, u64>,
    /// Servers with a different number, or without an answer.
    pub servers_disagreeing: u64,
    /// The answer of each server.
    pub servers: Vec<ServerSays>,
}

/// The largest number of wrong counts that a report lists.
const WRONG_NUMBERS_MAX: usize = 5;

impl Verdict {
    /// Judges one moment.
    pub(crate) fn of(evidence: Evidence) -> Self {
        let Evidence { last_counts, users, servers, alone } = evidence;
        let said = most_common(servers.iter().filter_map(|server| server.count));
        let count = match said.or_else(|| most_common(last_counts.iter().copied())) {
            Some(count) if !alone => count.max(users),
            _ => users,
        };
        let wrong = frequencies(last_counts.iter().copied().filter(|&last| last != count));
        let silent_or_wrong = servers.iter().filter(|server| server.count != Some(count));
        Self {
            connections: last_counts.len() as u64,
            users,
            count,
            others: count - users,
            disagreeing: wrong.values().sum(),
            servers_disagreeing: silent_or_wrong.count() as u64,
            told_instead: few_of(wrong),
            servers,
        }
    }

    /// Whether all agree.
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
        verdict_of(told.len() as u64, told, servers, alone)
    }

    fn verdict_of(users: u64, told: &[u64], servers: &[Option<u64>], alone: bool) -> Verdict {
        let says = |&count: &Option<u64>| ServerSays {
            url: String::new(),
            count,
            exact: count.map(|_| true),
        };
        let servers = servers.iter().map(says).collect();
        Verdict::of(Evidence { last_counts: told.to_vec(), users, servers, alone })
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

    /// Goal: connections of one identity are one user. Method: six connections of two users, with a server that counts users, one that
    /// counts connections, and one that has forgotten a user; alone and beside others.
    #[rstest]
    #[case::right(&[2, 2, 2, 2, 2, 2], Some(2), false, 2, 0, true)]
    #[case::beside_others(&[6, 6, 6, 6, 6, 6], Some(6), false, 6, 4, true)]
    #[case::connections_are_counted(&[6, 6, 6, 6, 6, 6], Some(6), true, 2, 0, false)]
    #[case::one_is_forgotten(&[1, 1, 1, 1, 1, 1], Some(1), false, 2, 0, false)]
    fn users_are_counted_once(
        #[case] told: &[u64],
        #[case] said: Option<u64>,
        #[case] alone: bool,
        #[case] count: u64,
        #[case] others: u64,
        #[case] is_right: bool,
    ) {
        let verdict = verdict_of(2, told, &[said], alone);
        assert_eq!((verdict.connections, verdict.users), (6, 2));
        assert_eq!((verdict.count, verdict.others, verdict.is_right()), (count, others, is_right));
    }

    /// Goal: without other visitors, a count that is too high is wrong even if all agree. Method: the same case with
    /// and without other visitors.
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
