//! Tests of the paces, on instants made by hand: no clock runs.

use proptest::prelude::*;

use super::*;

const HEARTBEAT: Duration = Duration::from_millis(500);
const QUIET: Feedback = Feedback { instances: 1, unannounced: false, more_to_reap: false };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A pace whose first report went out at the instant returned, and was answered at once.
fn started() -> (ReportPace, Instant) {
    let start = Instant::now();
    let mut pace = ReportPace::new(HEARTBEAT, start);
    assert_eq!(pace.due(Change(0)), Some(start), "the first report is due at once");
    pace.sent(Change(0), start);
    pace.answered(start, QUIET, start);
    (pace, start)
}

/// Goal: a quiet instance reports once every heartbeat, and the first change is reported as soon as the gap is over.
/// Method: ask when the next report is due, for one instance and for a hundred.
#[test]
fn leading_edge_then_gap_then_heartbeat() {
    let (mut pace, start) = started();
    assert_eq!(pace.due(Change(0)), Some(start + HEARTBEAT));
    assert_eq!(pace.due(Change(1)), Some(start + REPORT_GAP_MIN));
    let later = start + ms(300);
    pace.sent(Change(1), later);
    pace.answered(later, Feedback { instances: 100, ..QUIET }, later);
    assert_eq!(pace.due(Change(1)), Some(later + HEARTBEAT));
    assert_eq!(
        pace.due(Change(2)),
        Some(later + ms(50)),
        "100 instances keep 50 ms between reports"
    );
}

/// Goal: all instances together send at most 2,000 reports a second, and few instances report soon. Method: the gaps for several
/// numbers of instances.
#[test]
fn the_gap_grows_with_the_instances() {
    for (instances, gap) in [(1, 5), (3, 5), (10, 5), (11, 6), (20, 10), (100, 50)] {
        let (mut pace, start) = started();
        let later = start + HEARTBEAT;
        pace.sent(Change(0), later);
        pace.answered(later, Feedback { instances, ..QUIET }, later);
        let due = pace.due(Change(1)).unwrap() - later;
        assert!(due > ms(gap - 1) && due <= ms(gap), "{instances} instances: {due:?}");
        assert!(due.as_micros() * 2000 >= u128::from(instances) * 1_000_000);
    }
}

/// Goal: the gap is never longer than a heartbeat, however many instances there are. Method: a reply with 100,000
/// instances.
#[test]
fn a_heartbeat_is_never_late() {
    let (mut pace, start) = started();
    pace.sent(Change(0), start + HEARTBEAT);
    pace.answered(start + HEARTBEAT, Feedback { instances: 100_000, ..QUIET }, start + HEARTBEAT);
    assert_eq!(pace.due(Change(9)), Some(start + 2 * HEARTBEAT));
}

/// Goal: at most two reports are under way, and the second begins only when the first is overdue. Method: leave the first
/// without an answer, answer the second.
#[test]
fn a_second_report_waits_until_the_first_is_overdue() {
    let (mut pace, start) = started();
    let first = start + HEARTBEAT;
    pace.sent(Change(1), first);
    assert_eq!(pace.silence(), Some(first + ANSWER_OVERDUE));
    assert_eq!(pace.due(Change(2)), Some(first + ANSWER_OVERDUE));
    let second = first + ANSWER_OVERDUE;
    pace.sent(Change(2), second);
    assert_eq!(pace.due(Change(3)), None);
    pace.answered(second, QUIET, second + ms(1));
    assert_eq!(pace.silence(), None, "the later one was answered, so the store is there");
    assert_eq!(
        pace.due(Change(3)),
        Some(second + REPORT_GAP_MIN),
        "the hanging one is long overdue already"
    );
    pace.failed(first, second + ms(2));
    assert_eq!(pace.due(Change(2)), Some(second + HEARTBEAT), "nothing is amiss");
}

/// Goal: an unreachable store is tried after 50, 100 and 200 ms, then at every heartbeat; changes do not hasten it; an
/// answer ends it. Method: seven failures, then an answer.
#[test]
fn retries_back_off_up_to_the_heartbeat() {
    let (mut pace, mut now) = started();
    for expected in [50, 100, 200, 400, 500, 500, 500] {
        now = pace.due(Change(0)).unwrap();
        pace.sent(Change(0), now);
        pace.failed(now, now);
        assert_eq!(pace.due(Change(9)), Some(now + ms(expected)));
    }
    pace.sent(Change(0), now + HEARTBEAT);
    pace.answered(now + HEARTBEAT, QUIET, now + HEARTBEAT);
    assert_eq!(pace.due(Change(9)), Some(now + HEARTBEAT + REPORT_GAP_MIN));
}

/// Goal: the next report is due at once if the store has an unpublished count or more expired leases. Method: replies that
/// say so.
#[test]
fn follow_ups_come_before_the_heartbeat() {
    let (mut pace, start) = started();
    let next = start + HEARTBEAT;
    pace.sent(Change(0), next);
    pace.answered(next, Feedback { instances: 200, unannounced: true, more_to_reap: false }, next);
    assert_eq!(pace.due(Change(0)), Some(next + ms(100)), "the report gap is longer here");
    let third = next + ms(100);
    pace.sent(Change(0), third);
    let answered = third + ms(90);
    pace.answered(
        third,
        Feedback { instances: 200, unannounced: true, more_to_reap: false },
        answered,
    );
    assert_eq!(pace.due(Change(0)), Some(answered + ms(50)), "the announcement gap is longer here");
    let fourth = answered + ms(50);
    pace.sent(Change(0), fourth);
    pace.answered(fourth, Feedback { more_to_reap: true, ..QUIET }, fourth);
    assert_eq!(pace.due(Change(0)), Some(fourth + REPORT_GAP_MIN));
}

/// Goal: emissions keep their interval, and slow ones take at most half of the time. Method: a fast emission and a slow
/// one.
#[test]
fn emissions_take_at_most_half_of_the_time() {
    let start = Instant::now();
    let mut pace = EmissionPace::new(ms(50));
    assert_eq!(pace.due(), None);
    pace.emitted(start, start + ms(5));
    assert_eq!(pace.due(), Some(start + ms(50)));
    pace.emitted(start, start + ms(80));
    assert_eq!(pace.due(), Some(start + ms(160)));
}

proptest! {
    /// Goal: in any sequence of events reports keep the gap, at most two are under way, and if none is under way the next
    /// one is due within a heartbeat of the last. Method: random answers, failures and changes; every report is sent when
    /// it is due.
    #[test]
    fn the_pace_keeps_its_promises(
        steps in proptest::collection::vec((0u8..3, 0u64..900, 1u32..400, any::<bool>()), 1..100),
    ) {
        let start = Instant::now();
        let mut pace = ReportPace::new(HEARTBEAT, start);
        let mut now = start;
        let mut under_way: Vec<Instant> = Vec::new();
        let mut last_sent: Option<Instant> = None;
        for (change, (kind, wait, instances, unannounced)) in (1u64..).zip(steps) {
            now += ms(wait);
            if kind < 2 && !under_way.is_empty() {
                let landing = under_way.remove(0);
                if kind == 0 {
                    pace.answered(landing, Feedback { instances, unannounced, more_to_reap: false }, now);
                } else {
                    pace.failed(landing, now);
                }
            }
            let due = pace.due(Change(change));
            prop_assert_eq!(due.is_none(), under_way.len() == 2);
            if let (Some(due), Some(last)) = (due, last_sent) {
                prop_assert!(due >= last + REPORT_GAP_MIN);
                prop_assert!(!under_way.is_empty() || due <= last + HEARTBEAT);
            }
            if let Some(due) = due && due <= now {
                pace.sent(Change(change), now);
                under_way.push(now);
                last_sent = Some(now);
            }
            now += ms(1);
        }
    }
}

/// Goal: work takes at most half of the time in the long run, whatever its pieces, and a little work after a quiet time waits
/// for nothing. Method: pieces of several lengths, one after the other as soon as they may start.
#[test]
fn half_of_the_time_is_left() {
    let start = Instant::now();
    for micros in [10, 300, 2000, 40_000] {
        let (piece, mut half, mut now) =
            (Duration::from_micros(micros), HalfTime::default(), start);
        let mut worked = Duration::ZERO;
        while now - start < Duration::from_secs(1) {
            now = half.due(now).unwrap_or(now);
            half.worked(now, now + piece);
            (now, worked) = (now + piece, worked + piece);
        }
        let share = worked.as_secs_f64() / (now - start).as_secs_f64();
        assert!((0.45..=0.54).contains(&share), "{piece:?}: {share}");
        let later = now + Duration::from_secs(1);
        assert_eq!(half.due(later), None, "it has rested");
        half.worked(later, later + Duration::from_millis(2));
        assert_eq!(half.due(later + Duration::from_millis(2)), None, "that was little");
    }
}
