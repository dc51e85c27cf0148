//! Tests of the reporter under a paused clock, against a store that does what each test scripts.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::{collections::BTreeSet, sync::Mutex, time::SystemTime};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::*;
use crate::{
    cluster::observer::Observer,
    core::{
        count::{Count, Revision},
        report::{ENTRIES_MAX, REAPED_MAX, Room, RoomReport, RoomsReply, Roster},
        room::RoomName,
        rooms::{Attendance, RoomPresence, Rooms, RoomsSettings},
        tally::{Presence, Tally},
        view::Shown,
    },
    fixtures::{count, reply},
    store::{Announcements, StoreFuture},
};

#[path = "tests/denials.rs"]
mod denials;
#[path = "tests/people.rs"]
mod people;
#[path = "tests/rooms.rs"]
mod rooms;

const HEARTBEAT: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_secs(2);

/// What the store does with a report; the last rule applies to all that follow.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Answer,
    AnswerAfter(Duration),
    Unannounced,
    Reaped,
    Dead,
    Resend,
    Mismatch,
    Stale { stored: u64 },
    Forgot,
    Refuse,
    WrongType,
    DenyRooms,
    Deny,
}

/// A store of one instance that records what it is sent.
#[derive(Debug)]
struct Scripted {
    rules: Mutex<Vec<Rule>>,
    /// The rooms of each incarnation that are not empty.
    rooms: Mutex<BTreeSet<(Incarnation, RoomName)>>,
    reports: Mutex<Vec<(Duration, Report)>>,
    started: Instant,
}

impl Scripted {
    fn take_rule(&self) -> Rule {
        let mut rules = self.rules.lock().unwrap();
        if rules.len() > 1 { rules.remove(0) } else { rules[0] }
    }

    /// What the store says of rooms after this report.
    fn about_rooms(&self, report: &Report) -> Option<RoomsReply> {
        let mut held = self.rooms.lock().unwrap();
        let mut counts = Vec::new();
        for RoomReport { room, connections, .. } in &report.rooms {
            let Room::Named(name) = room else { panic!("the site is no room") };
            let key = (report.incarnation, name.clone());
            match *connections {
                Some(0) => {
                    held.remove(&key);
                }
                Some(_) => {
                    held.insert(key);
                }
                None => {}
            }
            counts.push(connections.unwrap_or_default());
        }
        let rooms_held = held.iter().filter(|key| key.0 == report.incarnation).count() as u64;
        (!counts.is_empty()).then(|| RoomsReply { rooms_held, counts, ..RoomsReply::default() })
    }

    fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().iter().map(|(_, report)| report.clone()).collect()
    }

    fn millis(&self) -> Vec<u128> {
        self.reports.lock().unwrap().iter().map(|(at, _)| at.as_millis()).collect()
    }
}

impl Store for Scripted {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        self.reports.lock().unwrap().push((self.started.elapsed(), report.clone()));
        let rule = self.take_rule();
        let names_rooms = !report.rooms.is_empty();
        let reply = Reply {
            instances: 1,
            stored_sequence: Sequence(report.sequence.0 - 1),
            rooms: self.about_rooms(&report),
            ..reply(count(report.users, report.sequence.0))
        };
        Box::pin(async move {
            match rule {
                Rule::DenyRooms if names_rooms => Err(StoreError::Denied("no rights".into())),
                Rule::Answer | Rule::DenyRooms => Ok(reply),
                Rule::AnswerAfter(delay) => {
                    sleep(delay).await;
                    Ok(reply)
                }
                Rule::Unannounced => {
                    Ok(Reply { announced: Revision(0), unannounced: true, ..reply })
                }
                Rule::Reaped => Ok(Reply { reaped: REAPED_MAX, ..reply }),
                Rule::Dead => Ok(Reply { dead: 1, ..reply }),
                Rule::Resend => Ok(Reply {
                    outcome: Outcome::Resend,
                    count: Count { users: 0, ..reply.count },
                    rooms: None,
                    ..reply
                }),
                Rule::Mismatch => {
                    let rooms = reply.rooms.clone().map(|it| RoomsReply { users_held: 9, ..it });
                    Ok(Reply { rooms, ..reply })
                }
                Rule::Stale { stored } => Ok(Reply {
                    outcome: Outcome::Stale,
                    stored_sequence: Sequence(stored),
                    ..reply
                }),
                Rule::Forgot => Ok(Reply { stored_sequence: Sequence(0), ..reply }),
                Rule::Refuse => Err(StoreError::Unreachable("refused".into())),
                Rule::Deny => Err(StoreError::Denied("no rights".into())),
                Rule::WrongType => Err(StoreError::WrongType("hash".into())),
            }
        })
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        Box::pin(async { Ok(stream::pending().boxed()) })
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        Box::pin(async { Ok(Roster::default()) })
    }

    fn kind(&self) -> &'static str {
        "scripted"
    }
}

struct Stage {
    store: Arc<Scripted>,
    tally: Arc<Tally<()>>,
    rooms: Arc<Rooms<()>>,
    view: Arc<watch::Sender<View>>,
    resync: Arc<Notify>,
    about: watch::Sender<Arc<About>>,
    metrics: Metrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn new(rules: &[Rule]) -> Self {
        Self::in_portions(rules, ENTRIES_MAX)
    }

    /// A stage whose reports have at most this many entries.
    fn in_portions(rules: &[Rule], entries_max: usize) -> Self {
        let store = Arc::new(Scripted {
            rules: Mutex::new(rules.to_vec()),
            rooms: Mutex::default(),
            reports: Mutex::default(),
            started: Instant::now(),
        });
        let rooms = Rooms::with_settings(RoomsSettings {
            rooms_max: 10,
            entries_max,
            ..RoomsSettings::default()
        });
        let tally = Tally::with_users(Arc::<Rooms<()>>::clone(&rooms));
        let view = Arc::new(watch::Sender::new(View::default()));
        let resync = Arc::new(Notify::new());
        let metrics = Metrics::new("scripted").unwrap();
        let about = About::new("kitchen-2".to_owned(), SystemTime::UNIX_EPOCH);
        let about = watch::Sender::new(Arc::new(about));
        let settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: LEASE,
            heartbeat: HEARTBEAT,
            about: about.subscribe(),
        };
        let reporter = Reporter::new(
            &settings,
            Arc::clone(&store) as Arc<dyn Store>,
            tally.subscribe(),
            Arc::clone(&view),
            Arc::clone(&rooms) as Arc<dyn RoomLedger>,
            Arc::clone(&resync),
            metrics.clone(),
        );
        let stop = CancellationToken::new();
        let observer =
            Observer::new(tally.subscribe(), Arc::<Rooms<()>>::clone(&rooms), Arc::clone(&view));
        tokio::task::spawn(observer.run(stop.clone()));
        let task = tokio::task::spawn(reporter.run(stop.clone()));
        Self { store, tally, rooms, view, resync, about, metrics, stop, task }
    }

    fn join(&self) -> Presence<()> {
        self.tally.join((), Instant::now())
    }

    fn join_room(&self, name: &str) -> RoomPresence<()> {
        let name = RoomName::parse(name).unwrap();
        self.rooms.join(&name, Attendance::Member, (), Instant::now()).unwrap()
    }

    fn shown(&self) -> Shown {
        self.view.borrow().shown(Instant::now())
    }

    async fn pass(&self, millis: u64) {
        sleep(Duration::from_millis(millis)).await;
    }

    async fn finish(self) -> Vec<Report> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.store.reports()
    }
}

/// Goal: a quiet instance renews its lease once every heartbeat, with a new sequence number each time. Method: 1.6 s
/// without a join.
#[tokio::test(start_paused = true)]
async fn a_quiet_instance_sends_heartbeats() {
    let stage = Stage::new(&[Rule::Answer]);
    stage.pass(1600).await;
    assert_eq!(stage.store.millis(), [0, 500, 1000, 1500]);
    let sequences: Vec<u64> =
        stage.store.reports().iter().map(|report| report.sequence.0).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

/// Goal: the store is told who this instance is until it has taken it, again every two leases, and at once when it changes; all
/// other reports are short. Method: a store that refuses the first report, does not know of the instance at the eighth, and
/// answers all others; then the instance drains.
#[tokio::test(start_paused = true)]
async fn the_store_is_told_who_this_is() {
    let mut rules = vec![Rule::Answer; 8];
    (rules[0], rules[6]) = (Rule::Refuse, Rule::Forgot);
    let stage = Stage::new(&rules);
    let told = |stage: &Stage| {
        let reports = stage.store.reports();
        reports.iter().map(|report| report.about.clone()).collect::<Vec<_>>()
    };
    stage.pass(8400).await;
    let millis = stage.store.millis();
    let times: Vec<_> =
        millis.iter().zip(told(&stage)).filter(|(_, about)| about.is_some()).collect();
    let times: Vec<_> = times.into_iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 50, 3050, 7050], "of {millis:?}");
    stage.about.send_modify(|about| Arc::make_mut(about).draining = true);
    stage.pass(1).await;
    assert!(told(&stage).last().unwrap().as_ref().is_some_and(|about| about.draining));
    stage.pass(500).await;
    assert_eq!(told(&stage).last().unwrap().as_deref(), None);
}

/// Goal: the first join is reported at once, and a rush after it in one report. Method: 1 join, then 100.
#[tokio::test(start_paused = true)]
async fn a_rush_is_one_report() {
    let stage = Stage::new(&[Rule::Answer]);
    stage.pass(100).await;
    let first = stage.join();
    stage.pass(1).await;
    let rush: Vec<Presence<()>> = (0..100).map(|_| stage.join()).collect();
    stage.pass(99).await;
    assert_eq!(stage.store.millis(), [0, 100, 105]);
    assert_eq!(stage.store.reports()[2].users, 101);
    drop((first, rush));
    stage.pass(50).await;
    assert_eq!(stage.store.reports()[3].users, 0);
}

/// Goal: a store that hangs is noticed after 750 ms; a second report is sent, but never a third; a late reply still counts.
/// Method: answers that take 1.9 s.
#[tokio::test(start_paused = true)]
async fn a_hanging_store_is_noticed_and_its_late_reply_folded() {
    let slow = Rule::AnswerAfter(Duration::from_millis(1900));
    let stage = Stage::new(&[Rule::Answer, slow, slow, Rule::Answer]);
    stage.pass(1200).await;
    assert!(stage.view.borrow().answers());
    let _joined = stage.join();
    stage.pass(100).await;
    assert!(!stage.view.borrow().answers(), "750 ms after the report at 500 ms");
    assert_eq!(stage.shown().users, 1, "the estimate includes the newcomer");
    stage.pass(1050).await;
    assert_eq!(stage.store.millis(), [0, 500, 1250]);
    stage.pass(100).await;
    assert_eq!(stage.store.millis(), [0, 500, 1250, 2400], "when the late reply has made room");
    assert!(stage.shown().exact, "the last was answered at once");
    stage.pass(700).await;
    assert!(stage.shown().exact, "the one that hangs does not matter");
    assert_eq!(stage.shown().users, 1);
}

/// Goal: an unreachable store is tried again soon, then at least once every heartbeat, with new sequence numbers. Method: 2
/// s of refusals.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_tried_each_heartbeat() {
    let stage = Stage::new(&[Rule::Refuse]);
    stage.pass(2000).await;
    assert_eq!(stage.store.millis(), [0, 50, 150, 350, 750, 1250, 1750]);
    assert_eq!(stage.store.reports()[6].sequence, Sequence(7));
    assert_eq!(stage.view.borrow().answered(), None);
}

/// Goal: an error about a wrong type leads to one audit. Method: one such error, then answers.
#[tokio::test(start_paused = true)]
async fn a_wrong_type_asks_for_an_audit() {
    let stage = Stage::new(&[Rule::Answer, Rule::WrongType, Rule::Answer]);
    stage.pass(1100).await;
    let kinds: Vec<ReportKind> = stage.store.reports().iter().map(|report| report.kind).collect();
    assert_eq!(
        kinds[..4],
        [ReportKind::Plain, ReportKind::Plain, ReportKind::Audit, ReportKind::Plain]
    );
}

/// Goal: an incarnation that another process uses too is given up, whether that process is ahead or level; a report that
/// our own later report overtook is not mistaken for one of another process. Method: several answers to a report with
/// sequence number 2.
#[tokio::test(start_paused = true)]
async fn an_id_that_is_taken_is_given_up() {
    for (stored, given_up) in [(9, true), (2, true), (1, false)] {
        let stage = Stage::new(&[Rule::Answer, Rule::Stale { stored }, Rule::Answer]);
        stage.pass(1100).await;
        let reports = stage.finish().await;
        let renamed = reports[2].incarnation != reports[0].incarnation;
        assert_eq!(renamed, given_up, "stored sequence {stored}");
        assert_eq!(reports[2].sequence, Sequence(if given_up { 1 } else { 3 }));
    }
}

/// Goal: the reporter reports again at once if the store has an unpublished count or more expired leases, or if the
/// subscriber asks for it. Method: replies that say so, and a notification.
#[tokio::test(start_paused = true)]
async fn follow_ups_come_soon() {
    let stage = Stage::new(&[Rule::Unannounced, Rule::Reaped, Rule::Answer]);
    stage.pass(100).await;
    assert_eq!(stage.store.millis(), [0, 5, 10]);
    stage.resync.notify_one();
    stage.pass(1).await;
    assert_eq!(stage.store.millis(), [0, 5, 10, 100]);
}
