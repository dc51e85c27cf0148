//! Tests of the observer under a paused clock. Only the test sends reports.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Wake, Waker},
};

use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::{
    core::{
        count::{Incarnation, Revision, Sequence},
        rooms::Rooms,
        site_users::SiteUsers,
        tally::{NEWCOMER_PATIENCE, Presence, Tally},
        view::{SentReport, Shown},
    },
    fixtures::{count, reply},
};

const LEASE: Duration = Duration::from_secs(2);
/// For this time nothing happens at all.
const LONG: Duration = Duration::from_hours(1);

struct Stage {
    tally: Arc<Tally<u32>>,
    view: Arc<watch::Sender<View>>,
    reader: watch::Receiver<View>,
    sequence: Sequence,
}

impl Stage {
    fn new() -> Self {
        let tally = Tally::new();
        let view = Arc::new(watch::Sender::new(View::default()));
        view.send_modify(|view| view.begin_incarnation(Incarnation::random(), LEASE));
        let observer = Observer::new(tally.subscribe(), Rooms::<()>::new(0), Arc::clone(&view));
        tokio::task::spawn(observer.run(CancellationToken::new()));
        let reader = view.subscribe();
        Self { tally, view, reader, sequence: Sequence::default() }
    }

    fn join(&self, visitor: u32) -> Presence<u32> {
        self.tally.join(visitor, Instant::now())
    }

    /// A report is answered at once.
    fn report(&mut self, users: u64) {
        let local = *self.tally.subscribe().borrow();
        self.sequence = self.sequence.next();
        let sent =
            SentReport { sequence: self.sequence, local, is_site_told: true, at: Instant::now() };
        let reply = reply(count(users, self.sequence.0));
        self.view.send_modify(|view| {
            view.report_sent(sent.sequence);
            view.report_ended();
            view.fold_reply(sent, &reply, SiteUsers::default(), sent.at);
        });
        self.reader.mark_unchanged();
    }

    /// What a reader shows when it is next woken, and how long that takes.
    async fn next_shown(&mut self) -> (Shown, Duration) {
        let start = Instant::now();
        let woken = timeout(LONG, self.reader.changed()).await.expect("readers are woken");
        woken.expect("the view is there");
        let view = *self.reader.borrow_and_update();
        (view.shown(Instant::now()), start.elapsed())
    }

    async fn nobody_is_woken(&mut self) {
        assert!(timeout(LONG, self.reader.changed()).await.is_err(), "there is no news");
    }
}

/// Goal: readers are woken once when the count becomes an estimate at the end of the lease, and again after the next
/// answer. Method: two answered reports with a long silence after each, and renewals before.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_lease_wakes_the_readers() {
    let mut stage = Stage::new();
    stage.nobody_is_woken().await;
    for round in 1..3 {
        stage.report(3);
        sleep(LEASE / 4).await;
        stage.report(3);
        let (shown, took) = stage.next_shown().await;
        let revision = Revision(2 * round);
        assert_eq!((shown, took), (Shown { users: 3, revision, exact: false }, LEASE));
        stage.nobody_is_woken().await;
    }
}

/// Goal: without any reports, a newcomer is in the estimate at once, and can be told it when its patience ends. Method:
/// joins after the only report, within the lease and after it.
#[tokio::test(start_paused = true)]
async fn a_newcomer_needs_no_reporter() {
    let mut stage = Stage::new();
    stage.report(3);
    let mut present = Vec::new();
    for (visitor, users) in [(1, 4), (2, 5)] {
        present.push(stage.join(visitor));
        stage.next_shown().await;
        let view = *stage.reader.borrow();
        assert_eq!(view.estimate(), users);
        let newcomers =
            |now| stage.tally.take_newcomers(view.covered(), view.estimated(), now).len();
        assert_eq!(newcomers(Instant::now()), 0, "it is not counted yet");
        assert_eq!(newcomers(Instant::now() + NEWCOMER_PATIENCE), 1);
        sleep(LEASE).await;
        stage.reader.mark_unchanged();
    }
}

/// Goal: a rush of joins wakes the readers at a limited pace. Method: one join, then many at once.
#[tokio::test(start_paused = true)]
async fn a_rush_is_looked_at_now_and_then() {
    let mut stage = Stage::new();
    stage.report(0);
    let _first = stage.join(0);
    stage.next_shown().await;
    let _rush: Vec<_> = (1..100).map(|visitor| stage.join(visitor)).collect();
    let (_, took) = stage.next_shown().await;
    assert_eq!(took, REPORT_GAP_MIN);
    assert_eq!(stage.reader.borrow().estimate(), 100);
}

/// Counts how often a task is woken.
#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Goal: the last change of a tally that has ended is read, and the task waits afterwards. Method: end the tally just after a
/// look, and let the time of the next look come. A task that does not wait wakes itself.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_tally_is_no_news() {
    let tally = Tally::<u32>::new();
    let view = Arc::new(watch::Sender::new(View::default()));
    let observer = Observer::new(tally.subscribe(), Rooms::<()>::new(0), Arc::clone(&view));
    let presence = tally.join(1, Instant::now());
    let mut task = pin!(observer.run(CancellationToken::new()));
    let counter = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut poll = || task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    assert!(!poll());
    assert_eq!(view.borrow().estimate(), 1);
    drop((presence, tally));
    assert!(!poll());
    advance(REPORT_GAP_MIN).await;
    let before = counter.0.load(Ordering::Relaxed);
    assert!(!poll());
    assert_eq!(view.borrow().estimate(), 0);
    assert_eq!(counter.0.load(Ordering::Relaxed), before);
}
