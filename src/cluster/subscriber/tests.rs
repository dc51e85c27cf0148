//! Tests of listening, under a paused clock: gaps are closed by a report, stalls is found out.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::sync::Mutex;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::*;
use crate::{
    core::{
        count::{Count, Sequence, Stamp},
        report::{Reply, Report, RoomsReply, Roster},
        room::RoomName,
        rooms::{Attendance, Rooms, Standing},
        site_users::SiteUsers,
        tally::Local,
        view::SentReport,
    },
    fixtures::{self, reply},
    store::{Announcements, Dataset, StoreError, StoreFuture},
};

/// A store of which only the channel is used. Each subscription is handed out to be fed by the test.
#[derive(Debug, Default)]
struct Channel {
    subscriptions: Mutex<Vec<mpsc::Sender<Announcement>>>,
    broken: Mutex<bool>,
}

impl Store for Channel {
    fn report(&self, _: Report) -> StoreFuture<'_, Reply> {
        unreachable!("listening never reports")
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        let broken = *self.broken.lock().unwrap();
        Box::pin(async move {
            if broken {
                return Err(StoreError::Unreachable("refused".into()));
            }
            let (tx, rx) = mpsc::channel(8);
            self.subscriptions.lock().unwrap().push(tx);
            let messages = stream::unfold(rx, async |mut rx| {
                rx.recv().await.map(|announcement| (Ok(announcement), rx))
            });
            Ok(messages.boxed())
        })
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        unreachable!("listening never asks for the roster")
    }

    fn kind(&self) -> &'static str {
        "channel"
    }
}

struct Stage {
    channel: Arc<Channel>,
    view: Arc<watch::Sender<View>>,
    rooms: Arc<Rooms<()>>,
    resync: Arc<Notify>,
    metrics: Metrics,
    _task: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        let channel = Arc::new(Channel::default());
        let view = Arc::new(watch::Sender::new(View::default()));
        let resync = Arc::new(Notify::new());
        let metrics = Metrics::new("channel").unwrap();
        let store = Arc::clone(&channel) as Arc<dyn Store>;
        let (view_sender, resync_sender) = (Arc::clone(&view), Arc::clone(&resync));
        let rooms = Rooms::<()>::new(10);
        let ledger = Arc::clone(&rooms) as Arc<dyn RoomLedger>;
        let listener = Subscriber::new(store, view_sender, ledger, resync_sender, metrics.clone());
        let task = tokio::task::spawn(listener.run(CancellationToken::new()));
        let stage = Self { channel, view, rooms, resync, metrics, _task: task };
        stage.pass(1).await;
        stage
    }

    async fn pass(&self, millis: u64) {
        sleep(Duration::from_millis(millis)).await;
    }

    fn subscriptions(&self) -> usize {
        self.channel.subscriptions.lock().unwrap().len()
    }

    async fn publish(&self, revision: u64) {
        self.deliver(Announcement::Own(count(revision))).await;
    }

    async fn deliver(&self, announcement: Announcement) {
        let newest = self.channel.subscriptions.lock().unwrap().last().unwrap().clone();
        newest.send(announcement).await.unwrap();
        self.pass(1).await;
    }

    /// A reply says that this revision was published.
    fn reply(&self, announced: u64) {
        let sent = SentReport {
            sequence: Sequence(announced),
            local: Local::default(),
            is_site_told: true,
            at: Instant::now(),
        };
        let reply = reply(count(announced));
        self.view.send_modify(|view| view.fold_reply(sent, &reply, SiteUsers::default(), sent.at));
    }
}

fn count(revision: u64) -> Count {
    fixtures::count(revision, revision)
}

/// Goal: announcements reach the view, and a new subscription asks for a report that closes the gap before it. Method:
/// subscribe, then announce out of order.
#[tokio::test(start_paused = true)]
async fn announcements_reach_the_view() {
    let stage = Stage::new().await;
    let rung = tokio::time::timeout(Duration::from_millis(1), stage.resync.notified()).await;
    assert!(rung.is_ok(), "subscribing rings the reporter");
    stage.publish(3).await;
    stage.publish(2).await;
    assert_eq!(stage.view.borrow().seen(), count(3));
    assert_eq!(stage.metrics.announcements.get(), 2);
}

/// Goal: a lost subscription is replaced soon, and asks for a report again. Method: drop the sending side.
#[tokio::test(start_paused = true)]
async fn a_lost_subscription_is_made_anew() {
    let stage = Stage::new().await;
    stage.resync.notified().await;
    stage.channel.subscriptions.lock().unwrap().clear();
    stage.pass(200).await;
    assert_eq!(stage.subscriptions(), 1);
    stage.resync.notified().await;
    assert_eq!(stage.metrics.resubscribes.get(), 1);
    stage.publish(5).await;
    assert_eq!(stage.view.borrow().seen(), count(5));
}

/// Goal: pages of rooms reach the rooms, and raise what the next report has seen. After a new subscription the rooms ask for all
/// counts, since pages may have been missed. Method: a page about a room whose report was answered, then another subscription.
#[tokio::test(start_paused = true)]
async fn rooms_hear_of_pages_and_subscriptions() {
    let stage = Stage::new().await;
    let name = RoomName::parse("/a").unwrap();
    let _here = stage.rooms.join(&name, Attendance::Member, (), Instant::now()).unwrap();
    let sent = stage.rooms.report(Instant::now()).sent;
    let told = RoomsReply { rooms_held: 1, counts: vec![1], ..RoomsReply::default() };
    let answer = Reply { rooms: Some(told), ..reply(count(1)) };
    let view = *stage.view.borrow();
    let standing = stage.rooms.fold_reply(&sent, &answer, &view, Instant::now());
    assert_eq!(standing, Standing::Kept);
    assert!(!stage.rooms.is_waiting(Instant::now()));
    let counts = vec![(name.clone(), 7)];
    let (revision, since) = (Revision(4), Revision::default());
    let page = RoomsPage { revision, since, stamp: Stamp::default(), counts };
    stage.deliver(Announcement::Rooms(page)).await;
    let shown = stage.rooms.shown(&name, &stage.view.borrow(), Instant::now()).unwrap();
    assert_eq!((shown.revision, stage.view.borrow().seen().revision), (revision, revision));
    assert!(!stage.rooms.is_waiting(Instant::now()));
    stage.channel.subscriptions.lock().unwrap().clear();
    stage.pass(200).await;
    assert!(stage.rooms.is_waiting(Instant::now()), "all counts are asked for");
}

/// Goal: while the store refuses subscriptions, it is asked again about once a second, without end. Method: refusals for a
/// minute, then success.
#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_tried_for_ever() {
    let stage = Stage::new().await;
    *stage.channel.broken.lock().unwrap() = true;
    stage.channel.subscriptions.lock().unwrap().clear();
    stage.pass(60_000).await;
    assert_eq!(stage.subscriptions(), 0);
    *stage.channel.broken.lock().unwrap() = false;
    stage.pass(2_100).await;
    assert_eq!(stage.subscriptions(), 1);
}

/// Goal: a subscription is replaced if a published announcement does not arrive within a second, and not otherwise. Method:
/// replies that mention announcements, which arrive in time, late, or never.
#[tokio::test(start_paused = true)]
async fn deafness_is_found_out() {
    let stage = Stage::new().await;
    stage.pass(10).await;
    stage.reply(4);
    stage.pass(5_000).await;
    assert_eq!(stage.subscriptions(), 1, "the first reply may speak of what was before");
    stage.reply(5);
    stage.pass(900).await;
    stage.publish(5).await;
    stage.pass(5_000).await;
    assert_eq!(stage.subscriptions(), 1, "it arrived in time");
    stage.reply(6);
    stage.pass(990).await;
    assert_eq!(stage.subscriptions(), 1);
    stage.pass(200).await;
    assert_eq!(stage.subscriptions(), 2, "it is stalled");
}

/// Goal: messages of another cluster change nothing, and are logged once a minute. Method: its messages, with much higher
/// revisions, between those of this cluster.
#[tokio::test(start_paused = true)]
async fn another_cluster_is_not_believed() {
    let stage = Stage::new().await;
    stage.resync.notified().await;
    stage.publish(3).await;
    let foreign = || Announcement::Foreign(Dataset { key: "other".to_owned(), database: 1 });
    for _ in 0..5 {
        stage.deliver(foreign()).await;
    }
    assert_eq!(stage.view.borrow().seen(), count(3));
    assert_eq!(stage.metrics.foreign_announcements.get(), 5);
    let rung = tokio::time::timeout(Duration::from_millis(1), stage.resync.notified()).await;
    assert!(rung.is_err(), "nobody is asked for what is not ours");
}

/// Goal: a message without a dataset makes the reporter ask the store, whose reply decides; if the store has no count as
/// new, the message counts as foreign. Method: a message that the store confirms, one that it does not, and one that is
/// old.
#[tokio::test(start_paused = true)]
async fn an_unsigned_message_is_a_reason_to_ask() {
    let stage = Stage::new().await;
    stage.resync.notified().await;
    stage.pass(10).await;
    stage.reply(3);
    stage.deliver(Announcement::Unsigned(count(5))).await;
    stage.resync.notified().await;
    assert_eq!(stage.view.borrow().seen(), count(3));
    stage.reply(5);
    stage.pass(1).await;
    assert_eq!(stage.metrics.foreign_announcements.get(), 0);

    stage.deliver(Announcement::Unsigned(count(500))).await;
    stage.resync.notified().await;
    stage.reply(6);
    stage.pass(1).await;
    assert_eq!(stage.view.borrow().seen(), count(6));
    assert_eq!(stage.metrics.foreign_announcements.get(), 1);

    stage.deliver(Announcement::Unsigned(count(4))).await;
    let rung = tokio::time::timeout(Duration::from_millis(1), stage.resync.notified()).await;
    assert!(rung.is_err(), "nobody is asked for what is known");
    assert_eq!(stage.subscriptions(), 1, "it is not stalled either");
}
