//! Tests of lists against a simple model, and of their bounds.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::core::people::Listed;

fn user(number: usize) -> UserId {
    UserId::parse(&format!("t:{number:03}")).unwrap()
}

/// A user of the store: number, what is known, and whether others have him.
type Stored = BTreeMap<usize, (u8, bool)>;

/// What is known of a user, by a number; 0 for nothing.
fn info(number: u8) -> Info {
    (number > 0).then(|| format!("{{\"n\":{number}}}").into())
}

/// What the store says of its users, to somebody who lists some already.
fn people(stored: &Stored, list: &UserList) -> People {
    let is_on_it = |number: &usize| list.users.contains_key(&user(*number));
    let (first, rest): (Vec<usize>, Vec<usize>) =
        stored.keys().partition(|number| is_on_it(number));
    let numbers: Vec<usize> = first.into_iter().chain(rest).collect();
    let listed = numbers.iter().take(LISTED_MAX).map(|&number| {
        let (known, is_elsewhere) = stored[&number];
        Listed { user: user(number), info: info(known), is_elsewhere }
    });
    People {
        users: listed.collect(),
        more: numbers.len().saturating_sub(LISTED_MAX) as u64,
        ..People::default()
    }
}

fn here_of(here: &BTreeMap<usize, u8>) -> Vec<(UserId, Info)> {
    here.iter().map(|(&number, &known)| (user(number), info(known))).collect()
}

/// One state of the world: who is stored, who is here, and whether the store answers.
fn state(most: usize) -> impl Strategy<Value = (Stored, BTreeMap<usize, u8>, bool)> {
    let stored = proptest::collection::btree_map(0..most, (0u8..3, any::<bool>()), 0..=most);
    let here = proptest::collection::btree_map(0..most, 0u8..3, 0..=most / 2);
    (stored, here, prop::bool::weighted(0.8))
}

/// A client's own list, which is changed by what it is told.
fn follow(told: &mut BTreeMap<UserId, Info>, difference: &Difference) {
    for user in &difference.left {
        assert!(told.remove(user).is_some(), "{user:?} was not on it");
    }
    for (user, info) in &difference.joined {
        assert_ne!(told.insert(user.clone(), info.clone()).as_ref(), Some(info), "no news");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Goal: a list has exactly those who are there, and a client that is told all differences has the same list. Method: random
    /// states of a small room, one after the other, against the plain union of sets.
    #[test]
    fn small_lists_are_complete(states in vec(state(12), 1..12)) {
        let (mut list, mut told) = (UserList::default(), BTreeMap::new());
        for (stored, here, is_kept) in states {
            let stored_people = people(&stored, &list);
            let sources = ListSources { stored: &stored_people, here: &here_of(&here), is_kept };
            let next = list.next(sources);
            let mut expected: BTreeMap<UserId, Info> = stored.iter()
                .filter(|(_, (_, is_elsewhere))| is_kept || *is_elsewhere)
                .map(|(&number, &(known, _))| (user(number), info(known)))
                .collect();
            for (&number, &known) in &here {
                let entry = expected.entry(user(number)).or_default();
                *entry = entry.take().or(info(known));
            }
            prop_assert_eq!(&next.users, &expected);
            prop_assert_eq!(next.more(), 0);
            follow(&mut told, &next.since(&list));
            prop_assert_eq!(&told, &next.users);
            list = next;
        }
    }

    /// Goal: a full list has only users who are there, says how many it leaves out, and keeps those who stay. Method: random states of
    /// a room with more users than a list may have.
    #[test]
    fn full_lists_stay(states in vec(state(180), 1..5)) {
        let mut list = UserList::default();
        for (stored, here, is_kept) in states {
            let stored_people = people(&stored, &list);
            // Those who are here have been reported, but for the last few.
            let here: BTreeMap<usize, u8> =
                here.into_iter().filter(|(number, _)| stored_people.more == 0 || stored.contains_key(number)).collect();
            let sources = ListSources { stored: &stored_people, here: &here_of(&here), is_kept };
            let next = list.next(sources);
            let all: BTreeSet<usize> = stored.keys().chain(here.keys()).copied().collect();
            prop_assert!(next.users.len() <= LISTED_MAX);
            prop_assert!(next.users.keys().all(|id| all.iter().any(|&number| user(number) == *id)));
            if is_kept {
                prop_assert_eq!(next.users.len() as u64 + next.more(), all.len() as u64);
                let stays = |id: &&UserId| stored_people.users.iter().any(|listed| listed.user == **id);
                let staying: Vec<_> = list.users.keys().filter(stays).collect();
                prop_assert!(staying.iter().all(|id| next.users.contains_key(*id)));
            }
            list = next;
        }
    }
}

/// Goal: lists have a limited size in bytes, and say that they leave some out. Method: users with the longest ids and the longest
/// JSON.
#[test]
fn lists_are_bounded_in_bytes() {
    let long = |number: usize| UserId::parse(&format!("t:{number:0>126}")).unwrap();
    let info: Info = Some(format!("{{\"n\":\"{}\"}}", "x".repeat(500)).into());
    let here: Vec<_> = (0..100).map(|number| (long(number), info.clone())).collect();
    let stored = People::default();
    let list =
        UserList::default().next(ListSources { stored: &stored, here: &here, is_kept: true });
    let listed = list.users().count();
    assert!((40..100).contains(&listed), "{listed}");
    assert_eq!(list.more(), 100 - listed as u64);
}

/// Goal: users with a visitor key are not listed. Method: one who is here.
#[test]
fn visitors_are_not_listed() {
    let here = [(UserId::parse("v:k3J").unwrap(), None), (user(1), None)];
    let stored = People::default();
    let list =
        UserList::default().next(ListSources { stored: &stored, here: &here, is_kept: true });
    assert_eq!(list.users().map(|(user, _)| user.as_str()).collect::<Vec<_>>(), ["t:001"]);
    assert_eq!(list.more(), 0);
}
