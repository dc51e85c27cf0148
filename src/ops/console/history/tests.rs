//! Tests of what is kept of the last minutes.

use super::*;

fn sample(at: Instant) -> Sample {
    let counters = Counters::default();
    let (users, sessions, outside) = (1, 1, 0);
    Sample {
        at,
        users,
        sessions,
        outside,
        instances: 1,
        revision: 1,
        is_reachable: true,
        drift: 0,
        are_rooms_exact: true,
        drift_of_rooms: 0,
        counters,
    }
}

/// A history of samples that differ from each other as `change` says, one each second.
fn changing(seconds: u64, change: impl Fn(u64, &mut Sample)) -> History {
    let start = Instant::now();
    let mut history = History::default();
    for second in 0..seconds {
        let mut sample = sample(start + Duration::from_secs(second));
        change(second, &mut sample);
        history.add(sample);
    }
    history
}

fn history(users: &[u64]) -> History {
    let start = Instant::now();
    let mut history = History::default();
    for (second, &users) in (0..).zip(users) {
        let counters = Counters::default()
            .with(Counter::SessionStarts, second * 3)
            .with(Counter::SessionEnds, second)
            .with(Counter::TurnedAway, second);
        let at = start + Duration::from_secs(second);
        history.add(Sample { at, users, counters, ..sample(at) });
    }
    history
}

/// Goal: rates are those of the last seconds. Method: three sessions that begin and one that ends each second, and too few samples.
#[test]
fn rates_are_means() {
    assert_eq!(history(&[1]).rates(), None);
    assert_eq!(history(&[1, 2]).rates(), Some(Rates { begun: 3.0, ended: 1.0 }));
    assert_eq!(history(&[7; 100]).rates(), Some(Rates { begun: 3.0, ended: 1.0 }));
    let recent = Duration::from_mins(5);
    assert_eq!(history(&[7; 400]).grown(Counter::TurnedAway, recent), 300);
    assert_eq!(History::default().grown(Counter::TurnedAway, recent), 0);
    let most = |history: &History, seconds| {
        history.most(|sample| sample.users, Duration::from_secs(seconds))
    };
    assert_eq!((most(&history(&[3, 9, 4]), 60), most(&history(&[3, 9, 4, 5]), 1)), (9, 5));
    assert_eq!(most(&History::default(), 60), 0);
}

/// Goal: memory is bounded, and so is what is sent. Method: an hour of samples.
#[test]
fn an_hour_is_cut_to_ten_minutes() {
    let history = history(&vec![7; 3600]);
    assert_eq!(history.samples.len(), 601);
    assert!(history.points().count() <= POINTS_MAX + 1);
    assert_eq!(history.points().last().unwrap().at, history.samples.back().unwrap().at);
    assert!(history.line().trace.len() < 4096, "{}", history.line().trace.len());
}

/// Goal: the line rises with the number and stays in its box. Method: a rise, no change, and nothing at all.
#[test]
fn lines() {
    let line = history(&[0, 0, 10]).line();
    assert_eq!(line.trace, "M0,90.0H300.0V90.0H600.0V10.0H600");
    assert_eq!(line.area, "M0,90.0H300.0V90.0H600.0V10.0H600V100H0Z");
    assert_eq!(line.caption, "the last 2 s: lowest 0, highest 10");
    assert_eq!(history(&[5]).line().trace, "M0,50.0H600");
    assert_eq!(History::default().line(), Line::default());
}

/// Goal: a fault that goes on is told from one that is over, and from one that comes back. Method: failures without a pause, with
/// short pauses, with a long one, and none.
#[test]
fn what_goes_on() {
    let pause = Duration::from_mins(1);
    let lasting = |seconds, fails: fn(u64) -> bool| {
        let count = |second| (1..=second).filter(|&at| fails(at)).count() as u64;
        let history = changing(seconds, |second, sample| {
            sample.counters = Counters::default().with(Counter::FailedReports, count(second));
        });
        history.keeps_growing(Counter::FailedReports, pause).map(|time| time.as_secs())
    };
    assert_eq!(lasting(200, |_| false), None);
    assert_eq!(lasting(200, |second| second == 100), None, "it is over");
    assert_eq!(lasting(130, |second| second == 100), Some(29));
    assert_eq!(lasting(200, |second| second >= 50), Some(149));
    assert_eq!(lasting(200, |second| second % 50 == 0), Some(149));
    assert_eq!(lasting(200, |second| second == 50 || second >= 150), Some(49));
    assert_eq!(History::default().keeps_growing(Counter::FailedReports, pause), None);
}

/// Goal: drift is one if it lasts and is there while the store answers. Method: one that lasts, one that is new, one that has
/// ended, and one through an outage.
#[test]
fn drift_is_a_mean() {
    let span = Duration::from_mins(2);
    let drifting = |from: u64| {
        changing(200, move |second, sample| sample.drift = if second >= from { 4 } else { 0 })
    };
    assert_eq!(drifting(0).drift(span), Some(4.0));
    assert!(drifting(190).drift(span).unwrap() < 0.5);
    assert_eq!(drifting(500).drift(span), None);
    let outage = changing(200, |second, sample| {
        (sample.drift, sample.is_reachable) = (4, second != 150);
    });
    assert_eq!(outage.drift(span), None);
    assert_eq!(changing(100, |_, sample| sample.drift = 4).drift(span), None, "it is too early");
}

/// Goal: the drift of rooms is one if it has been there all the time while their counts are exact, and then the least of it.
/// Method: one that lasts on either side, one that comes and goes, one that is new, one of estimates, and one that is too young.
#[test]
fn drift_of_rooms_lasts() {
    let span = Duration::from_mins(2);
    let drifting = |seconds, drift: fn(u64) -> i64| {
        changing(seconds, |second, sample| sample.drift_of_rooms = drift(second))
            .lasting_drift_of_rooms(span)
    };
    assert_eq!(drifting(200, |second| if second % 2 == 0 { 4 } else { 3 }), Some(3));
    assert_eq!(drifting(200, |second| if second % 2 == 0 { -4 } else { -3 }), Some(-3));
    assert_eq!(drifting(200, |second| if second % 2 == 0 { 4 } else { -3 }), Some(0));
    assert_eq!(drifting(200, |second| if second % 2 == 0 { 4 } else { 0 }), Some(0));
    assert_eq!(drifting(200, |second| if second > 90 { 4 } else { 0 }), Some(0));
    assert_eq!(drifting(100, |_| 4), None, "it is too early");
    let estimates = changing(200, |second, sample| {
        (sample.drift_of_rooms, sample.are_rooms_exact) = (4, second != 150);
    });
    assert_eq!(estimates.lasting_drift_of_rooms(span), None);
}

/// Goal: changes of the count are counted. Method: one every ten seconds.
#[test]
fn revisions_are_counted() {
    let history = changing(400, |second, sample| sample.revision = second / 10);
    assert_eq!(history.revisions(Duration::from_mins(5)), 30);
    assert_eq!(History::default().revisions(Duration::from_mins(5)), 0);
}
