//! Tests of the peaks as data.

use proptest::prelude::*;

use super::*;

fn peak(day: u64, users: u64) -> Peak {
    Peak { users, at: day * DAY_MS + 1000 }
}

/// Goal: what is no peak is never taken over. Method: nobody, and numbers beyond both bounds, beside numbers at the bounds.
#[test]
fn impossible_peaks_are_ignored() {
    let mut peaks = Peaks::default();
    let too_many = Peak { users: PEAK_USERS_MAX + 1, at: 5 };
    let too_late = Peak { users: 5, at: PEAK_TIME_MAX + 1 };
    for odd in [Peak { users: 0, at: 5 }, too_many, too_late] {
        peaks.add(odd);
        peaks.add_ever(odd);
    }
    assert_eq!(peaks, Peaks::default());
    let greatest = Peak { users: PEAK_USERS_MAX, at: PEAK_TIME_MAX };
    peaks.add(greatest);
    assert_eq!((peaks.ever(), peaks.on(greatest.day())), (Some(greatest), Some(greatest)));
}

/// Goal: what is known stands against equals. Method: two equal peaks in both orders, added and merged.
#[test]
fn the_first_of_equals_stands() {
    let [early, late] = [5, 9].map(|at| Peak { users: 3, at });
    for [first, second] in [[early, late], [late, early]] {
        let mut peaks = Peaks::default();
        peaks.add(first);
        peaks.add(second);
        let mut others = Peaks::default();
        others.add(second);
        peaks.merge(&others);
        assert_eq!((peaks.ever(), peaks.on(0)), (Some(first), Some(first)));
    }
}

/// Goal: the oldest days are forgotten, but neither the current one nor the peak ever. Method: more days than are kept, once
/// with the newest as the current one, and once with a clock that was far in the future and is right again.
#[test]
fn old_days_are_forgotten() {
    let mut peaks = Peaks::default();
    (100..100 + DAYS_MAX as u64 + 2).for_each(|day| peaks.add(peak(day, 200 - day)));
    peaks.prune(109);
    assert_eq!(
        peaks.days().map(|peak| peak.day()).collect::<Vec<_>>(),
        [102, 103, 104, 105, 106, 107, 108, 109]
    );
    assert_eq!(peaks.ever(), Some(peak(100, 100)));
    let mut back = Peaks::default();
    back.add(peak(100, 7));
    (9000..9000 + DAYS_MAX as u64).for_each(|day| back.add(peak(day, 3)));
    back.prune(100);
    assert_eq!(back.on(100), Some(peak(100, 7)));
    assert_eq!(back.days().count(), DAYS_MAX);
}

proptest! {
    /// Goal: whoever tells whom in whatever order, all end with the highest of each day and of all. Method: random peaks, each
    /// known by one of three parties, which tell each other in a random order until everybody was heard.
    #[test]
    fn merging_ends_at_the_highest(
        known in proptest::collection::vec((0_usize..3, 1_u64..5, 1_u64..9, 0_u64..4), 0..30),
        order in Just([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]).prop_shuffle(),
    ) {
        let mut parties = [Peaks::default(), Peaks::default(), Peaks::default()];
        let mut all = Vec::new();
        for (party, day, users, at) in known {
            let peak = Peak { users, at: day * DAY_MS + at };
            parties[party].add(peak);
            all.push(peak);
        }
        for (from, to) in order.into_iter().chain(order) {
            let told = parties[from].clone();
            parties[to].merge(&told);
        }
        for party in &parties {
            let users = |peak: Option<Peak>| peak.map(|peak| peak.users);
            prop_assert_eq!(users(party.ever()), all.iter().map(|peak| peak.users).max());
            for day in 1..5 {
                let of_day = all.iter().filter(|peak| peak.day() == day);
                prop_assert_eq!(users(party.on(day)), of_day.map(|peak| peak.users).max());
                prop_assert!(party.on(day).is_none_or(|peak| all.contains(&peak)));
            }
        }
    }
}
