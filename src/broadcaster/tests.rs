//! Tests of when the broadcaster emits, on instants made by hand. No socket is there to receive anything; what
//! arrives is tested with real clients.

#[path = "tests/meanwhile.rs"]
mod meanwhile;
#[path = "tests/unreported.rs"]
mod unreported;

use axum::Router;
use http::Request;
use http_body_util::BodyExt;
use rstest::rstest;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tower::ServiceExt;

use super::*;
use crate::{
    connection::{Connection, tests::pair},
    count::{Count, Incarnation, Revision, Sequence},
    observer::Observer,
    reporter::{Reporter, ReporterSettings},
    stay::FirstValue,
    store::{LEASE_MAX, Reply, embedded::EmbeddedStore},
    tally::{Local, Presence},
    view::SentReport,
};

const INTERVAL: Duration = Duration::from_millis(50);
/// What was written arrives by then, on the busiest machine.
const SOON: Duration = Duration::from_secs(20);

struct Stage {
    router: Router,
    /// Away while it acts beside others.
    broadcaster: Option<Broadcaster>,
    tally: Arc<Tally<Visitor>>,
    view: watch::Sender<View>,
    metrics: Metrics,
    sequence: Sequence,
    start: Instant,
}

/// A client on a websocket.
struct Guest {
    client: TcpStream,
    connection: Connection,
    presence: Presence<Visitor>,
}

impl Guest {
    /// It is told these counts next, and nothing else until then.
    async fn hears(&mut self, counts: &[u64]) {
        let frames = counts.iter().map(|&users| CountFrame::new(users).bytes().to_vec());
        let expected = frames.collect::<Vec<_>>().concat();
        let mut received = vec![0; expected.len()];
        let reading = self.client.read_exact(&mut received);
        timeout(SOON, reading).await.expect("it is told so much").unwrap();
        let text = String::from_utf8_lossy(&received);
        assert_eq!(received, expected, "{counts:?} expected, told {text}");
    }

    /// All counts that it is told up to this one.
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
        let (layer, io) = SocketIo::new_layer();
        io.ns("/", async || {});
        let (tally, view) = (Tally::new(), watch::Sender::new(View::default()));
        view.send_modify(|view| view.begin_incarnation(Incarnation::random(), LEASE_MAX));
        let metrics = Metrics::new("none").unwrap();
        let tallied = Arc::clone(&tally);
        let broadcaster =
            Broadcaster::new(io, tallied, view.subscribe(), metrics.clone(), INTERVAL);
        let (sequence, start) = (Sequence::default(), Instant::now());
        Self {
            router: Router::new().layer(layer),
            broadcaster: Some(broadcaster),
            tally,
            view,
            metrics,
            sequence,
            start,
        }
    }

    /// So many on websockets of our own, who have been told how many they are.
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

    /// A client on a websocket of our own that has been acknowledged: both ends, and its place in the count.
    async fn websocket_joins(&self, at_millis: u64) -> Guest {
        let (connection, client) = pair().await;
        self.enters(connection, client, at_millis)
    }

    fn enters(&self, connection: Connection, client: TcpStream, at_millis: u64) -> Guest {
        connection.control().begin_websocket();
        let presence = self.stays(&connection, at_millis);
        Guest { client, connection, presence }
    }

    /// It leaves the namespace and joins again, on the same connection.
    fn rejoins(&self, guest: &mut Guest, at_millis: u64) {
        guest.connection.control().leave();
        guest.presence = self.stays(&guest.connection, at_millis);
    }

    fn stays(&self, connection: &Connection, at_millis: u64) -> Presence<Visitor> {
        let control = connection.control();
        let first = FirstValue::default();
        let visitor = Visitor::Websocket(Arc::downgrade(&control), control.begin_stay(), first);
        self.tally.join(visitor, self.at(at_millis))
    }

    /// A client that connects by polling: its path, its place in the count, and whether it has been told anything.
    async fn poller_joins(&self, at_millis: u64) -> (String, Presence<Visitor>, FirstValue) {
        const PATH: &str = "/socket.io/?EIO=4&transport=polling";
        let opening = self.request(Request::get(PATH).body(String::new())).await;
        let session = opening.split('"').nth(3).expect("the session comes first");
        let path = format!("{PATH}&sid={session}");
        self.request(Request::post(&path).body(String::from("40"))).await;
        loop {
            // Connecting goes on in a task of its own.
            yield_now().await;
            if let Some(socket) = self.broadcaster().io.sockets().pop() {
                let first = FirstValue::remembered();
                let visitor = Visitor::Session(socket.id, first.clone());
                return (path, self.tally.join(visitor, self.at(at_millis)), first);
            }
        }
    }

    async fn request(&self, request: http::Result<Request<String>>) -> String {
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn observed(&self) -> Local {
        let local = *self.tally.subscribe().borrow();
        self.view.send_modify(|view| view.observe(local));
        local
    }

    /// The store acknowledges the local count of now.
    fn acknowledged(&mut self, users: u64) {
        let local = self.observed();
        self.sequence = self.sequence.next();
        let sent = SentReport { sequence: self.sequence, local, at: self.start };
        let count = Count { users, revision: Revision(self.sequence.0), recovering: false };
        let reply = Reply {
            applied: true,
            count,
            announced: count.revision,
            instances: 2,
            stored_sequence: Sequence::default(),
            reaped: 0,
            repaired: 0,
        };
        self.view.send_modify(|view| view.fold_reply(sent, &reply, sent.at));
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

/// Goal: the leading edge is at once, what follows merges into one emission an interval later. Method: three
/// changes within the interval.
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

/// Goal: what a newcomer on polling is told at first cannot come before the acknowledgement, however its poll is
/// held up: it goes through the same queue. Method: three emissions in its first moments and two much later,
/// before it polls; the three are there one by one, of the later only the newest.
#[tokio::test]
async fn at_first_a_poller_is_told_through_its_queue() {
    let mut stage = Stage::new();
    let (path, _presence, _) = stage.poller_joins(0).await;
    for (at_millis, users) in [(0, 1), (150, 2), (300, 3), (5000, 4), (5100, 5)] {
        stage.acknowledged(users);
        stage.act(at_millis).await;
    }
    let told = stage.request(Request::get(&path).body(String::new())).await;
    let packets: Vec<&str> = told.split('\x1e').collect();
    assert!(packets[0].starts_with("40{"), "{told}");
    let counts = [1, 2, 3, 5].map(|users| format!("42[\"user count\",{users}]"));
    assert_eq!(packets[1..], counts);
}

/// When a client goes from polling to a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moves {
    Early,
    Meanwhile,
    Late,
}

/// Goal: who goes from polling to a websocket is told the newest count there and then all others, whether or not it was
/// told one before, and its joining is observed once. Method: one who goes before it is told anything, one whose session
/// is gone when its turn comes, and one who has been told.
#[rstest]
#[tokio::test]
async fn who_moves_is_told_on_its_new_way(
    #[values(Moves::Early, Moves::Meanwhile, Moves::Late)] moves: Moves,
) {
    let mut stage = Stage::new();
    let (path, presence, first) = stage.poller_joins(0).await;
    stage.acknowledged(1);
    if moves == Moves::Meanwhile {
        stage.request(Request::post(&path).body(String::from("1"))).await;
        while stage.broadcaster().io.sockets().pop().is_some() {
            yield_now().await;
        }
    }
    if moves != Moves::Early {
        stage.act(0).await;
    }
    let (connection, client) = pair().await;
    let control = connection.control();
    control.begin_websocket();
    let websocket = Visitor::Websocket(Arc::downgrade(&control), control.begin_stay(), first);
    presence.move_to(websocket);
    stage.act(10).await;
    stage.acknowledged(2);
    stage.act(200).await;
    let mut guest = Guest { client, connection, presence };
    guest.hears(&[1, 2]).await;
    assert_eq!(stage.metrics.join_to_emit_seconds.get_sample_count(), 1);
}

/// Goal: who moves is told although nobody comes or goes, and nobody reports. Method: the real reporter over a store of
/// its own, with a heartbeat that does not come, and one visitor who goes over when all has been said.
#[tokio::test]
async fn a_move_is_noticed_when_all_is_quiet() {
    let mut stage = Stage::new();
    let settings = ReporterSettings {
        incarnation: Incarnation::random(),
        lease: Duration::from_hours(2),
        heartbeat: Duration::from_hours(1),
    };
    let (view, stop) = (Arc::new(stage.view.clone()), CancellationToken::new());
    let (tally, store) = (stage.tally.subscribe(), Arc::new(EmbeddedStore::new()));
    let metrics = stage.metrics.clone();
    let observer = Observer::new(tally.clone(), Arc::clone(&view));
    let reporter = Reporter::new(&settings, store, tally, view, Arc::default(), metrics);
    let broadcaster = stage.broadcaster.take().expect("it is not away");
    let mut guest = stage.websocket_joins(0).await;
    let told = async {
        guest.hears(&[1]).await;
        (guest.connection, guest.client) = pair().await;
        let control = guest.connection.control();
        control.begin_websocket();
        let number = control.begin_stay();
        let websocket = Visitor::Websocket(Arc::downgrade(&control), number, FirstValue::default());
        guest.presence.move_to(websocket);
        guest.hears(&[1]).await;
        stop.cancel();
    };
    let (reporter, observer) = (reporter.run(stop.clone()), observer.run(stop.clone()));
    tokio::join!(reporter, observer, broadcaster.run(stop.clone()), told);
}

/// Goal: a newcomer who was told a number while the emission of it was held back does not keep it when the old
/// number returns. Method: 5, then 6 with a newcomer, then 5 again, all within the interval.
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

/// Goal: whoever loses patience is put right once the store counts them. Method: a join that is observed and
/// not acknowledged for longer than the patience, then its acknowledgement, with nobody else's number changed.
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

/// Goal: a newcomer on a websocket is told its first value once, although an emission of the same number is made at the
/// same time, and hears the next one. Method: one who is there already and one who comes.
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
