//! The rules of leases and announcements, under a time that only the test moves.

use super::*;
use crate::core::report::RoomReport;

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

    /// Reports these connections of rooms. Returns the reply, and the page if one is announced.
    fn say(
        &mut self,
        incarnation: Incarnation,
        rooms: &[(&str, u64)],
    ) -> (Reply, Option<RoomsPage>) {
        self.sequence = self.sequence.next();
        let rooms = rooms.iter().map(|(name, connections)| RoomReport {
            room: Room::Named(RoomName::parse(name).unwrap()),
            connections: Some(*connections),
            users: Vec::new(),
        });
        let report = Report::new(incarnation, self.sequence, LEASE);
        self.apply(&Report { rooms: rooms.collect(), ..report })
    }

    fn apply(&mut self, report: &Report) -> (Reply, Option<RoomsPage>) {
        let (reply, announcements) = self.state.apply(report, self.now);
        let pages = announcements.into_iter().filter_map(|announcement| match announcement {
            Announcement::Rooms(page) => Some(page),
            _ => None,
        });
        (reply, pages.last())
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

/// Goal: the pace of pages of rooms follows the number of instances, and a room that changed too early is in the next page. Method:
/// eight instances, so 4 ms, checked to the millisecond.
#[test]
fn pages_keep_the_gap() {
    let instances: Vec<_> = (0..8).map(|_| Incarnation::random()).collect();
    let mut stage = Stage::default();
    for &instance in &instances {
        stage.report(instance, 0);
    }
    let first = stage.say(instances[0], &[("/a", 1)]).1.unwrap();
    stage.now += Duration::from_millis(3);
    let (reply, early) = stage.say(instances[0], &[("/a", 2), ("/b", 1)]);
    assert_eq!((early, reply.unannounced, reply.paged), (None, true, first.revision));
    stage.now += Duration::from_millis(1);
    let (reply, page) = stage.say(instances[1], &[]);
    let page = page.unwrap();
    let told: Vec<_> = page.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!((told, page.since), (vec![("/a", 2), ("/b", 1)], first.revision));
    assert_eq!((reply.unannounced, reply.paged), (false, page.revision));
}

/// Goal: a recovery does not end while rooms of the dead are counted. Method: a store that has lost data; an instance in many rooms
/// leaves just before the mark would end.
#[test]
fn a_recovery_waits_for_the_dead() {
    let (a, leaving) = (Incarnation::random(), Incarnation::random());
    let names: Vec<_> = (0..2_000).map(|number| format!("/{number}")).collect();
    let mut stage = Stage::default();
    for names in names.chunks(250) {
        let rooms: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        stage.say(leaving, &rooms);
    }
    let seen = Count { revision: Revision(1_000), ..Count::default() };
    stage.apply(&Report { seen, ..Report::new(a, Sequence(100), LEASE) });
    stage.sequence = Sequence(100);
    for _ in 0..4 {
        stage.now += HEARTBEAT;
        assert!(stage.say(a, &[]).0.count.recovering);
        assert!(stage.say(leaving, &[]).0.count.recovering);
    }
    stage.now += Duration::from_millis(1);
    let farewell = Report::new(leaving, stage.sequence.next(), LEASE);
    let farewell = Report { kind: ReportKind::Farewell, ..farewell };
    let mut reply = stage.apply(&farewell).0;
    stage.sequence = farewell.sequence;
    let mut reports = 0;
    while reply.dead > 0 {
        assert!(reply.count.recovering);
        reply = stage.say(a, &[]).0;
        reports += 1;
    }
    assert!(reports > 1 && !reply.count.recovering, "{reports} reports, {reply:?}");
    assert_eq!(reply.paged, reply.count.revision);
}
