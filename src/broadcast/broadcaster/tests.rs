//! Tests of when the broadcaster emits, on instants made by hand. No socket is there to receive anything; what
//! arrives is tested with real clients.

#[path = "tests/meanwhile.rs"]
mod meanwhile;
#[path = "tests/unreported.rs"]
mod unreported;

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::*;
use crate::{
    cluster::observer::Observer,
    core::{
        count::{Incarnation, Sequence},
        report::LEASE_MAX,
        tally::{Local, Presence},
    },
    engine::session::{
        Session,
        tests::{join, leave, move_to, on_websocket, poll, polled},
    },
    fixtures::{acknowledge, count, observe},
    net::connection::{Connection, tests::pair},
};

const INTERVAL: Duration = Duration::from_millis(50);
/// What was written arrives by then, on the busiest machine.
const SOON: Duration = Duration::from_secs(20);

struct Stage {
    /// Away while it acts beside others.
    broadcaster: Option<Broadcaster>,
    tally: Arc<Tally<Membership>>,
    view: watch::Sender<View>,
    metrics: Metrics,
    sequence: Sequence,
    start: Instant,
}

/// A client on a websocket.
struct Guest {
    client: TcpStream,
    _connection: Connection,
    session: Arc<Session>,
    presence: Presence<Membership>,
}

impl Guest {
    /// Asserts that the client gets these counts next, and nothing between them.
    async fn hears(&mut self, counts: &[u64]) {
        let frames = counts.iter().map(|&users| CountFrame::new(users).bytes().to_vec());
        let expected = frames.collect::<Vec<_>>().concat();
        let mut received = vec![0; expected.len()];
        let reading = self.client.read_exact(&mut received);
        timeout(SOON, reading).await.expect("it is told so much").unwrap();
        let text = String::from_utf8_lossy(&received);
        assert_eq!(received, expected, "{counts:?} expected, told {text}");
    }

    /// All counts that the client gets, up to this one.
    async fn told_until(&mut self, last: u64) -> Vec<u64> {
        let mut received = Vec::new();
        let end = CountFrame::new(last);
        let reading = async {
            while !received.ends_with(end.bytes()) {
                assert!(self.client.read_buf(&mut received).await.unwrap() > 0, "it was cut off");
            }
        };
        let in_time = timeout(SOON, reading).await;
        let text = String::from_utf8_lossy(&received);
        assert!(in_time.is_ok(), "it is never told {last}: {text}");
        text.split(']').filter_map(|frame| frame.rsplit_once(',')?.1.parse().ok()).collect()
    }
}

impl Stage {
    fn new() -> Self {
        let (tally, view) = (Tally::new(), watch::Sender::new(View::default()));
        view.send_modify(|view| view.begin_incarnation(Incarnation::random(), LEASE_MAX));
        let metrics = Metrics::new("none").unwrap();
        let (tallied, flusher) = (Arc::clone(&tally), Flusher::default());
        let broadcaster =
            Broadcaster::new(tallied, view.subscribe(), flusher, metrics.clone(), INTERVAL);
        let (sequence, start) = (Sequence::default(), Instant::now());
        Self { broadcaster: Some(broadcaster), tally, view, metrics, sequence, start }
    }

    /// A stage with this number of clients on websockets, all of which have got the count.
    async fn with_crowd(size: u64) -> (Self, Vec<Guest>) {
        let mut stage = Self::new();
        let mut crowd = Vec::new();
        for _ in 0..size {
            crowd.push(stage.websocket_joins(0).await);
        }
        stage.acknowledged(size);
        stage.act(0).await;
        (stage, crowd)
    }

    /// A client on a websocket that has been acknowledged: both ends, and its place in the count.
    async fn websocket_joins(&self, at_millis: u64) -> Guest {
        let (connection, client) = pair().await;
        self.enters(connection, client, at_millis)
    }

    fn enters(&self, connection: Connection, client: TcpStream, at_millis: u64) -> Guest {
        let session = on_websocket(&connection);
        let presence = self.joins(&session, at_millis);
        Guest { client, _connection: connection, session, presence }
    }

    /// It leaves the namespace and joins again, on the same connection.
    fn rejoins(&self, guest: &mut Guest, at_millis: u64) {
        leave(&guest.session);
        guest.presence = self.joins(&guest.session, at_millis);
    }

    fn joins(&self, session: &Arc<Session>, at_millis: u64) -> Presence<Membership> {
        self.tally.join(join(session), self.at(at_millis))
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn observed(&self) -> Local {
        observe(&self.tally, &self.view)
    }

    /// The store acknowledges the current local count.
    fn acknowledged(&mut self, users: u64) {
        self.sequence = self.sequence.next();
        acknowledge(&self.tally, &self.view, count(users, self.sequence.0), self.start);
    }

    async fn act(&mut self, at_millis: u64) -> Option<Duration> {
        let now = self.at(at_millis);
        let wake = self.broadcaster.as_mut().expect("it is not away").act(now).await;
        wake.map(|at| at - self.start)
    }

    /// Acts; meanwhile, as soon as it lets others do something, they do.
    async fn act_beside(&mut self, at_millis: u64, meanwhile: impl AsyncFnOnce(&mut Self)) {
        let now = self.at(at_millis);
        let mut broadcaster = self.broadcaster.take().expect("it is not away");
        tokio::join!(biased; broadcaster.act(now), meanwhile(self));
        self.broadcaster = Some(broadcaster);
    }

    fn broadcaster(&self) -> &Broadcaster {
        self.broadcaster.as_ref().expect("it is not away")
    }

    fn emissions(&self) -> u64 {
        self.metrics.emissions.get()
    }
}

/// Goal: the first change is emitted at once, and later ones merge into one emission an interval later. Method: three
/// changes within an interval.
#[tokio::test]
async fn changes_merge_within_the_interval() {
    let mut stage = Stage::new();
    stage.acknowledged(5);
    assert_eq!(stage.act(0).await, None);
    for users in [6, 7] {
        stage.acknowledged(users);
        assert!(stage.act(10).await.is_some_and(|wake| wake >= INTERVAL));
    }
    assert_eq!(stage.emissions(), 1);
    stage.act(200).await;
    assert_eq!(stage.emissions(), 2);
    stage.act(400).await;
    assert_eq!(stage.emissions(), 2, "nothing has changed");
}

/// Goal: a polling client gets the newest count when it polls, and every count after its upgrade. Method: counts before a
/// poll, after it, during the upgrade, and later.
#[tokio::test]
async fn a_poller_is_told_the_newest_count() {
    let mut stage = Stage::new();
    let session = polled();
    let _presence = stage.joins(&session, 0);
    stage.acknowledged(1);
    stage.act(0).await;
    assert_eq!(poll(&session).as_deref(), Some("42[\"user count\",1]"));
    assert_eq!(poll(&session), None);
    for (at_millis, users) in [(100, 2), (200, 3)] {
        stage.acknowledged(users);
        stage.act(at_millis).await;
    }
    assert_eq!(poll(&session).as_deref(), Some("42[\"user count\",3]"), "the newest alone");
    stage.acknowledged(4);
    stage.act(300).await;
    let (connection, client) = pair().await;
    move_to(&session, &connection);
    stage.acknowledged(5);
    stage.act(400).await;
    let presence = stage.joins(&polled(), 400);
    let mut guest = Guest { client, _connection: connection, session, presence };
    guest.hears(&[4, 5]).await;
}

/// Goal: a newcomer that was told a number before the others is told the old number again if the count returns to it.
/// Method: the count goes 5, 6 (with a newcomer), 5 within one interval.
#[tokio::test]
async fn a_number_that_returns_is_told_again() {
    let mut stage = Stage::new();
    stage.acknowledged(5);
    stage.act(0).await;
    let newcomer = stage.websocket_joins(10).await;
    stage.acknowledged(6);
    stage.act(10).await;
    drop(newcomer);
    stage.acknowledged(5);
    assert!(stage.act(20).await.is_some(), "an emission is due");
    stage.act(200).await;
    assert_eq!(stage.emissions(), 2);
}

/// Goal: a newcomer that was told the estimate is told the exact count once the store has counted it. Method: a join that
/// is acknowledged only after the patience has ended, while no other number changes.
#[tokio::test]
async fn the_impatient_are_put_right() {
    let mut stage = Stage::new();
    stage.acknowledged(5);
    stage.act(0).await;
    let _newcomer = stage.websocket_joins(100).await;
    stage.observed();
    assert_eq!(stage.act(101).await, Some(Duration::from_millis(350)));
    stage.act(350).await;
    assert_eq!(stage.broadcaster().provisional.len(), 1);
    stage.acknowledged(5);
    stage.act(360).await;
    assert!(stage.broadcaster().provisional.is_empty());
}

/// Goal: a newcomer gets its first value once, although an emission of the same number is made at the same time, and gets
/// the next count too. Method: one client that is connected already, and one that joins.
#[tokio::test]
async fn a_newcomer_is_told_once() {
    let mut stage = Stage::new();
    let mut first = stage.websocket_joins(0).await;
    stage.acknowledged(1);
    stage.act(0).await;
    let mut second = stage.websocket_joins(100).await;
    stage.acknowledged(2);
    stage.act(100).await;
    stage.acknowledged(3);
    stage.act(200).await;
    first.hears(&[1, 2, 3]).await;
    second.hears(&[2, 3]).await;
    assert_eq!(stage.emissions(), 3);
}

/// Goal: a watcher of the site is told the count at once, although no count changes, and later counts like all others; it is in
/// none of them. Method: the task itself, a member, and a watcher that comes later.
#[tokio::test]
async fn a_watcher_is_told() {
    let mut stage = Stage::new();
    let mut member = stage.websocket_joins(0).await;
    stage.acknowledged(1);
    let stop = CancellationToken::new();
    let running = stage.broadcaster.take().expect("it is not away").run(stop.clone());
    let told = async {
        member.hears(&[1]).await;
        let (connection, client) = pair().await;
        let session = on_websocket(&connection);
        let presence = stage.tally.watch(join(&session), Instant::now());
        let mut watcher = Guest { client, _connection: connection, session, presence };
        watcher.hears(&[1]).await;
        stage.acknowledged(2);
        watcher.hears(&[2]).await;
        member.hears(&[2]).await;
        stop.cancel();
    };
    tokio::join!(running, told);
    assert_eq!(stage.tally.connections(), 1);
}
