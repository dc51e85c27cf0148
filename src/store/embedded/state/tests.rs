//! The rules of leases and announcements, under a time that only the test moves.

use super::*;

const LEASE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A state, a time that only the test moves, and the sequences handed out.
#[derive(Default)]
struct Stage {
    state: State,
    now: Duration,
    sequence: Sequence,
}

impl Stage {
    fn report(&mut self, incarnation: Incarnation, users: u64) -> (Reply, Option<Count>) {
        self.sequence = self.sequence.next();
        let report = Report { users, ..Report::new(incarnation, self.sequence, LEASE) };
        let (reply, announcements) = self.state.apply(&report, self.now);
        let announced = announcements.into_iter().map(|announcement| match announcement {
            Announcement::Own(count) => count,
            other => panic!("no report named a room: {other:?}"),
        });
        (reply, announced.last())
    }
}

/// Goal: a long silence expires no lease. Method: a minute without reports, then one instance returns.
#[test]
fn a_silence_is_nobodys_death() {
    let (a, b) = (Incarnation::random(), Incarnation::random());
    let mut stage = Stage::default();
    stage.report(a, 5);
    stage.report(b, 3);
    stage.now += Duration::from_mins(1);
    assert_eq!(stage.report(a, 5).0.count.users, 8);
}

/// Goal: a lease expires while other instances report. Method: heartbeats of one instance, past the lease of the other.
#[test]
fn a_lease_ends_under_heartbeats() {
    let (a, dead) = (Incarnation::random(), Incarnation::random());
    let mut stage = Stage::default();
    stage.report(dead, 3);
    for _ in 0..4 {
        stage.now += HEARTBEAT;
        assert_eq!(stage.report(a, 5).0.count.users, 8);
    }
    stage.now += HEARTBEAT;
    let (reply, announced) = stage.report(a, 5);
    assert_eq!((reply.count.users, reply.reaped), (5, 1));
    assert_eq!(announced, Some(reply.count));
}

/// Goal: a crash loop leaves few unexpired leases. Method: forty lives of one report each, three seconds apart.
#[test]
fn ghosts_age_in_silence_too() {
    let mut stage = Stage::default();
    for _ in 0..40 {
        stage.report(Incarnation::random(), 10);
        stage.now += Duration::from_secs(3);
    }
    assert!(stage.state.leases.len() <= 10, "{} ghosts", stage.state.leases.len());
}

/// Goal: the pace of announcements follows the number of instances. Method: eight instances, so 2 ms, checked to the
/// millisecond.
#[test]
fn announcements_keep_the_gap() {
    let instances: Vec<_> = (0..8).map(|_| Incarnation::random()).collect();
    let mut stage = Stage::default();
    for &instance in &instances {
        stage.report(instance, 0);
    }
    stage.now += HEARTBEAT;
    assert!(stage.report(instances[0], 1).1.is_some());
    stage.now += Duration::from_millis(1);
    assert_eq!(stage.report(instances[0], 2).1, None);
    stage.now += Duration::from_millis(1);
    let (reply, announced) = stage.report(instances[1], 0);
    assert_eq!(announced.map(|count| count.users), Some(2));
    assert_eq!(reply.announced, reply.count.revision);
}
