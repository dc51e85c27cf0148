//! Tests of the conditions that go by counters: both sides of each bound, and that the bounds are those of the alerts.

use rstest::rstest;

use super::*;
use crate::ops::console::{
    counters::Counters,
    finding::Level,
    history::{History, Sample},
    screen::tests::World,
};

const SECOND: Duration = Duration::from_secs(1);

/// A world in which these counters have grown so much within the last seconds.
fn after(counted: &[(Counter, u64)]) -> World {
    let mut world = World::new();
    world.now += SECOND;
    let counters = counted
        .iter()
        .fold(Counters::default(), |counters, &(counter, value)| counters.with(counter, value));
    world.counts(counters);
    world
}

fn level(found: Option<Finding>) -> Level {
    found.map_or(Level::Fine, |finding| finding.level)
}

/// Goal: what one instance counts is judged by the bounds of the alerts. Method: each bound and one more.
#[rstest]
#[case::nobody(turned_away, &[], Level::Fine)]
#[case::some(turned_away, &[(Counter::TurnedAway, 10)], Level::Notice)]
#[case::many_at_once(turned_away, &[(Counter::TurnedAway, 11)], Level::Notice)]
#[case::kept(kept, &[], Level::Fine)]
#[case::lost_thrice(kept, &[(Counter::Resends, 3)], Level::Notice)]
#[case::lost_often(kept, &[(Counter::Resends, 4)], Level::Alarm)]
#[case::repaired(kept, &[(Counter::Repairs, 1)], Level::Alarm)]
#[case::subscribed_again(announced, &[(Counter::Resubscribes, 3)], Level::Fine)]
#[case::subscribed_often(announced, &[(Counter::Resubscribes, 4)], Level::Alarm)]
#[case::missed_thrice(announced, &[(Counter::PagesMissed, 3)], Level::Fine)]
#[case::missed_often(announced, &[(Counter::PagesMissed, 4)], Level::Alarm)]
#[case::few_slow(joins, &[(Counter::FirstCounts, 10), (Counter::SlowFirstCounts, 4)], Level::Fine)]
#[case::slow(joins, &[(Counter::FirstCounts, 499), (Counter::SlowFirstCounts, 5)], Level::Notice)]
#[case::few_slow_in_rooms(joins, &[(Counter::FirstRoomCounts, 10), (Counter::SlowFirstRoomCounts, 4)], Level::Fine)]
#[case::slow_in_rooms(joins, &[(Counter::FirstRoomCounts, 499), (Counter::SlowFirstRoomCounts, 5)], Level::Notice)]
#[case::each_for_itself(joins, &[(Counter::FirstCounts, 9), (Counter::SlowFirstCounts, 4), (Counter::FirstRoomCounts, 9), (Counter::SlowFirstRoomCounts, 4)], Level::Fine)]
#[case::one_in_a_hundred(joins, &[(Counter::FirstCounts, 500), (Counter::SlowFirstCounts, 5)], Level::Fine)]
#[case::foreign(foreign_pages, &[(Counter::ForeignPages, 300)], Level::Fine)]
#[case::many_foreign(foreign_pages, &[(Counter::ForeignPages, 301)], Level::Notice)]
fn bounds(
    #[case] judge: fn(&Look<'_>) -> Finding,
    #[case] counted: &[(Counter, u64)],
    #[case] expected: Level,
) {
    assert_eq!(judge(&after(counted).look()).level, expected);
}

/// Goal: joins of rooms that are refused count if the table is full, and not if a client is in too many. Method: both.
#[test]
fn refused_rooms_need_a_full_table() {
    for (rooms, refused, expected) in
        [(98, 99, Level::Fine), (99, 10, Level::Fine), (99, 11, Level::Alarm)]
    {
        let mut world = after(&[(Counter::RoomsRefused, refused)]);
        world.rooms.rooms = rooms;
        assert_eq!(level(refused_rooms(&world.look())), expected, "{rooms} {refused}");
    }
}

/// Goal: what was counted long ago is no news. Method: events ten minutes ago.
#[test]
fn what_is_over_is_over() {
    let mut world =
        after(&[(Counter::Repairs, 5), (Counter::Reaped, 5), (Counter::TurnedAway, 99)]);
    assert_eq!(level(reaped(&world.look())), Level::Alarm);
    let counters = Counters::default()
        .with(Counter::Repairs, 5)
        .with(Counter::Reaped, 5)
        .with(Counter::TurnedAway, 99);
    for _ in 0..601 {
        world.now += SECOND;
        world.counts(counters);
    }
    let look = world.look();
    let levels = [kept(&look).level, turned_away(&look).level, level(reaped(&look))];
    assert_eq!(levels, [Level::Fine; 3]);
}

/// A world with a sample each second for so long, of which each is changed.
fn history(seconds: u64, change: impl Fn(u64, &mut Sample)) -> World {
    let mut world = World::new();
    world.history = History::default();
    for second in 0..seconds {
        let counters = Counters::default();
        let (at, users, sessions, outside, instances, revision) = (world.now, 3, 3, 0, 2, 7);
        let (is_reachable, drift) = (true, 0);
        let mut sample = Sample {
            at,
            users,
            sessions,
            outside,
            instances,
            revision,
            is_reachable,
            drift,
            are_rooms_exact: true,
            drift_of_rooms: 0,
            counters,
        };
        change(second, &mut sample);
        world.history.add(sample);
        world.now += SECOND;
    }
    world.now -= SECOND;
    world
}

/// Goal: errors of the store are told at once, and are an alarm if they last. Method: failures for a while and for longer.
#[test]
fn failing_reports() {
    let failing = |seconds| {
        let world = history(seconds, |second, sample| {
            sample.counters = Counters::default().with(Counter::FailedReports, second);
        });
        level(failed_reports(&world.look()))
    };
    assert_eq!(
        [failing(1), failing(290), failing(305)],
        [Level::Fine, Level::Notice, Level::Alarm]
    );
}

/// Goal: what alerts wait for during five minutes is an alarm only once it has lasted. Method: slow first counts and foreign pages for
/// four minutes, and for ten.
#[test]
fn what_must_last_is_a_notice_before() {
    for (seconds, expected) in [(240, Level::Notice), (601, Level::Alarm)] {
        let world = history(seconds, |second, sample| {
            sample.counters = Counters::default()
                .with(Counter::FirstCounts, second * 9)
                .with(Counter::SlowFirstCounts, second)
                .with(Counter::ForeignPages, second * 2);
        });
        let look = world.look();
        assert_eq!([joins(&look).level, foreign_pages(&look).level], [expected; 2], "{seconds}");
    }
}

/// Goal: who is turned away is an alarm if there are many, for minutes, and a share of all who come. Method: one in twenty seconds and
/// in thirty, for four minutes, among few and among many who come in; and a crowd that comes at once.
#[test]
fn a_full_instance() {
    let turned_away_of = |refused: fn(u64) -> u64, joins: u64| {
        let world = history(241, |second, sample| {
            sample.counters = Counters::default()
                .with(Counter::TurnedAway, refused(second))
                .with(Counter::SessionStarts, second * joins);
        });
        turned_away(&world.look()).level
    };
    assert_eq!(turned_away_of(|second| second / 20, 4), Level::Alarm);
    assert_eq!(turned_away_of(|second| second / 20, 6), Level::Notice, "they are few of many");
    assert_eq!(turned_away_of(|second| second / 30, 1), Level::Notice, "they are few");
    assert_eq!(turned_away_of(|second| if second < 200 { 0 } else { 99 }, 1), Level::Notice);
}

/// Goal: an instance that hears nothing is told from a quiet one. Method: a count that changes without announcements, with them,
/// and one that does not change.
#[test]
fn deafness() {
    let hearing = |changes: bool, hears: bool| {
        let world = history(100, |second, sample| {
            sample.revision = if changes { second } else { 7 };
            let heard = if hears { second } else { 0 };
            sample.counters = Counters::default().with(Counter::Announcements, heard);
        });
        announced(&world.look()).level
    };
    assert_eq!(hearing(true, false), Level::Alarm);
    assert_eq!([hearing(true, true), hearing(false, false)], [Level::Fine; 2]);
}

/// Goal: drift is allowed for those who are on their way. Method: the same drift with few and with many joins and leaves.
#[test]
fn drift_and_changes() {
    let drifting = |joins: u64, leaves: u64| {
        let world = history(200, |second, sample| {
            sample.drift = 2;
            sample.counters = Counters::default()
                .with(Counter::Joins, second * joins)
                .with(Counter::Leaves, second * leaves);
        });
        level(drift(&world.look()))
    };
    let levels = [drifting(1, 1), drifting(40, 0), drifting(0, 40)];
    assert_eq!(levels, [Level::Alarm, Level::Fine, Level::Fine]);
}

/// Goal: the drift of rooms is told once it has lasted, is an alarm later, and is allowed for those who are on their way. Method: it
/// lasts for less than two minutes, for more, for over seven, and among many who come and go.
#[test]
fn drift_of_rooms_and_changes() {
    let drifting = |seconds: u64, drift: i64, counter: Counter, changes: u64| {
        let world = history(seconds, |second, sample| {
            sample.drift_of_rooms = drift;
            sample.counters = Counters::default().with(counter, second * changes);
        });
        level(drift_of_rooms(&world.look()))
    };
    let calm = |seconds, drift| drifting(seconds, drift, Counter::RoomChanges, 1);
    assert_eq!([calm(100, 1), calm(400, 0)], [Level::Fine; 2]);
    assert_eq!([calm(200, 1), calm(200, -1), calm(419, 1)], [Level::Notice; 3]);
    assert_eq!([calm(422, 1), calm(422, -1)], [Level::Alarm; 2]);
    for counter in [Counter::Joins, Counter::Leaves, Counter::RoomChanges] {
        assert_eq!(drifting(422, 1, counter, 11), Level::Fine, "{counter:?}");
    }
}

/// Goal: half of the users gone is an alarm if they were many and stay away. Method: a history that ends with three users.
#[test]
fn users_who_fell() {
    for (most, seconds, expected) in
        [(49, 140, Level::Fine), (50, 140, Level::Alarm), (50, 9, Level::Notice)]
    {
        let fallen =
            |second, sample: &mut Sample| sample.users = if second == 5 { most } else { 3 };
        let world = history(seconds, fallen);
        assert_eq!(users(&world.look()).level, expected, "{most} {seconds}");
    }
}

/// Goal: the same of sessions where visitors are only in rooms: those of the instance, unless it sends them away itself. Method: what
/// is left of many, in rooms alone or with others in the site, who stay or close their tabs.
#[test]
fn sessions_that_fell() {
    const TABS: fn(u64) -> u64 = |sessions| sessions;
    let left_of = |most: u64, rest: u64, in_site: fn(u64) -> u64, seconds| {
        history(seconds, |second, sample| {
            sample.sessions = if second == 5 { most } else { rest };
            sample.outside = sample.sessions - in_site(sample.sessions);
        })
    };
    for (most, rest, in_site, seconds, expected) in [
        (49, 3, (|_| 0) as fn(u64) -> u64, 140, Level::Fine),
        (50, 3, |_| 0, 140, Level::Alarm),
        (50, 3, |_| 0, 9, Level::Notice),
        (50, 25, |_| 0, 140, Level::Fine),
        (5_000, 100, |_| 60, 140, Level::Alarm),
        // Few were in rooms alone, and most stay.
        (500, 430, |_| 420, 140, Level::Fine),
        (300, 60, TABS, 140, Level::Fine),
    ] {
        let world = left_of(most, rest, in_site, seconds);
        let found = users(&world.look());
        assert_eq!(found.level, expected, "{most} {rest} {seconds}: {}", found.text);
    }
    let world = left_of(1234, 3, |_| 0, 140);
    let text = "More than half of the sessions of this instance have left within 10 minutes: they were 1,234";
    assert_eq!(users(&world.look()).text, text);
    let leaving = Look { is_draining: true, ..world.look() };
    assert_eq!(users(&leaving).level, Level::Fine);
}

/// Goal: keys that are old are an alarm. Method: none, fresh ones, and old ones.
#[test]
fn keys_of_issuers() {
    for (age, expected) in [(0, Level::Fine), (1800, Level::Fine), (1801, Level::Alarm)] {
        let mut world = World::new();
        world.keys_age = age * SECOND;
        assert_eq!(issuers(&world.look()).level, expected, "{age}");
    }
}
