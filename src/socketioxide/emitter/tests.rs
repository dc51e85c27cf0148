//! Tests of when sockets are told, on instants made by hand, and of what waits for a polling client then: what is in its
//! queue first, and then what is in its slot. The clock stands still, so that no test depends on how busy the machine is.

use axum::Router;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    core::{
        count::{Incarnation, Sequence},
        report::LEASE_MAX,
        tally::{Local, Tally},
    },
    fixtures::{acknowledge, answer_late, count, observe},
    telemetry::metrics::Metrics,
};

const INTERVAL: Duration = Duration::from_millis(50);
const PATH: &str = "/socket.io/?EIO=4&transport=polling";
/// A time in milliseconds at which a socket that joined at 0 is no longer new.
const GROWN_UP: u64 = 5000;

/// An emitter with an application's server.
struct Stage {
    router: Router,
    io: SocketIo,
    roster: Arc<CountedSockets<::socketioxide::adapter::LocalAdapter>>,
    /// Away while it acts beside others.
    emitter: Option<Emitter<::socketioxide::adapter::LocalAdapter>>,
    tally: Arc<Tally<Arc<CountedSocket<::socketioxide::adapter::LocalAdapter>>>>,
    view: watch::Sender<View>,
    metrics: Metrics,
    sequence: Sequence,
    start: Instant,
}

/// A client that polls: the path of its session.
struct Poller(String);

impl Stage {
    fn new() -> Self {
        Self::with_queue(128)
    }

    /// A stage whose sockets have room for this number of packets.
    fn with_queue(packets: usize) -> Self {
        let (layer, io) = SocketIo::builder().max_buffer_size(packets).build_layer();
        let (tally, view) = (Tally::new(), watch::Sender::new(View::default()));
        let metrics = Metrics::new("none").unwrap();
        let roster = Arc::new(CountedSockets::new(
            Arc::clone(&tally),
            metrics.clone(),
            CancellationToken::new(),
        ));
        io.ns("/", async || {});
        let emitter = Emitter::new(io.clone(), Arc::clone(&roster), view.subscribe(), INTERVAL);
        Self {
            router: Router::new().layer(layer),
            io,
            roster,
            emitter: Some(emitter),
            tally,
            view,
            metrics,
            sequence: Sequence::default(),
            start: Instant::now(),
        }
    }

    /// A client connects and is counted.
    async fn joins(&self) -> Poller {
        let opening = self.request(Request::get(PATH).body(String::new())).await;
        let session = opening.split('"').nth(3).expect("the session comes first");
        let poller = Poller(format!("{PATH}&sid={session}"));
        self.posts(&poller, "40").await;
        loop {
            // The connection is completed in another task.
            yield_now().await;
            let found = self.io.sockets().into_iter().find(|socket| socket.id.as_str() == session);
            if let Some(socket) = found.filter(|socket| socket.connected()) {
                self.roster.enter(&socket, None);
                return poller;
            }
        }
    }

    async fn posts(&self, poller: &Poller, packet: &str) {
        self.request(Request::post(&poller.0).body(packet.to_owned())).await;
    }

    /// The counts that wait for a client, after the acknowledgement of its connect if that waits too. Something must.
    async fn polled(&self, poller: &Poller) -> Vec<u64> {
        let payload = self.payload(poller).await;
        // Pings may be anywhere.
        let packets: Vec<&str> = payload.split('\x1e').filter(|packet| *packet != "2").collect();
        let acknowledged = packets.iter().position(|packet| packet.starts_with("40{"));
        assert!(acknowledged.is_none_or(|index| index == 0), "{payload}");
        let counts = packets.iter().filter_map(|packet| {
            packet.strip_prefix("42[\"user count\",")?.strip_suffix(']')?.parse().ok()
        });
        counts.collect()
    }

    async fn payload(&self, poller: &Poller) -> String {
        self.request(Request::get(&poller.0).body(String::new())).await
    }

    async fn request(&self, request: http::Result<Request<String>>) -> String {
        // A task that has done much is made to wait, and the library then answers with what it has read so far.
        yield_now().await;
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
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
        let now = self.start + Duration::from_millis(at_millis);
        let wake = self.emitter.as_mut().expect("it is not away").act(now).await;
        wake.map(|at| at - self.start)
    }

    /// Acts; meanwhile, as soon as it lets others do something, they do.
    async fn act_beside(&mut self, at_millis: u64, meanwhile: impl AsyncFnOnce(&mut Self)) {
        let now = self.start + Duration::from_millis(at_millis);
        let mut emitter = self.emitter.take().expect("it is not away");
        tokio::join!(biased; emitter.act(now), meanwhile(self));
        self.emitter = Some(emitter);
    }

    fn emissions(&self) -> u64 {
        self.metrics.emissions.get()
    }
}

/// Goal: the first change is emitted at once, and later ones merge into one emission an interval later. Method: three
/// changes within an interval.
#[tokio::test(start_paused = true)]
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

/// Goal: no count overtakes the acknowledgement of the connect, however late a newcomer polls, and later it skips stale
/// counts. Method: three emissions in its first moments and two much later, before it polls.
#[tokio::test(start_paused = true)]
async fn at_first_the_queue_is_used_and_then_the_slot() {
    let mut stage = Stage::new();
    let poller = stage.joins().await;
    for (at_millis, users) in [(0, 1), (150, 2), (300, 3), (GROWN_UP, 4), (GROWN_UP + 100, 5)] {
        stage.acknowledged(users);
        stage.act(at_millis).await;
    }
    assert_eq!(stage.polled(&poller).await, [1, 2, 3, 5]);
}

/// Goal: a client that does not poll uses little of its queue, and still gets the last count. Method: forty counts in its
/// first half second.
#[tokio::test(start_paused = true)]
async fn a_rush_leaves_room_in_the_queue() {
    let mut stage = Stage::new();
    let poller = stage.joins().await;
    for users in 1..=40 {
        stage.acknowledged(users);
        stage.act(users * 1000).await;
        stage.emitter.as_mut().unwrap().listeners[0].young_until =
            Some(stage.start + Duration::from_hours(1));
    }
    let heard = stage.polled(&poller).await;
    assert_eq!(heard, [(1..=YOUNG_COUNTS_MAX.into()).collect(), vec![40]].concat());
}

/// Goal: the first value arrives even if the application has filled the queue. Method: a queue full of events; the count
/// arrives once there is room. The library's first ping is polled before, or it would end the session for lack of room.
#[tokio::test(start_paused = true)]
async fn a_full_queue_delays_the_first_value() {
    let mut stage = Stage::with_queue(2);
    let poller = stage.joins().await;
    while !stage.payload(&poller).await.split('\x1e').any(|packet| packet == "2") {}
    while stage.io.emit("news", "all of it").await.is_ok() {}
    stage.acknowledged(1);
    let wake = stage.act(0).await;
    assert!(wake.is_some(), "another attempt is due");
    assert!(stage.polled(&poller).await.is_empty());
    stage.act(200).await;
    assert_eq!(stage.polled(&poller).await, [1]);
    assert_eq!(stage.act(400).await, None);
}

/// Goal: a newcomer that was told a number before the others is told the old number again if the count returns to it.
/// Method: the count goes 5, 6 (with a newcomer), 5 within one interval.
#[tokio::test(start_paused = true)]
async fn a_number_that_returns_is_told_again() {
    let mut stage = Stage::new();
    stage.acknowledged(5);
    stage.act(0).await;
    let newcomer = stage.joins().await;
    stage.acknowledged(6);
    stage.act(10).await;
    stage.acknowledged(5);
    assert!(stage.act(20).await.is_some(), "an emission is due");
    stage.act(200).await;
    assert_eq!(stage.polled(&newcomer).await, [6, 5]);
}

/// Goal: no socket gets a count that does not include it, and one that was told the estimate is told the exact count once
/// the store has counted it. Method: a join that is acknowledged only after the patience has ended, while others join and
/// are told.
#[tokio::test(start_paused = true)]
async fn the_impatient_are_put_right() {
    let mut stage = Stage::new();
    stage.acknowledged(5);
    stage.act(0).await;
    let newcomer = stage.joins().await;
    stage.observed();
    let wake = stage.act(101).await.expect("patience ends");
    assert_eq!(stage.metrics.emitted_packets.get(), 0);
    let over = u64::try_from(wake.as_millis()).unwrap() + 1;
    stage.act(over).await;
    // An announcement of another instance's change, which cannot include the newcomer.
    let count = count(4, stage.sequence.0 + 1);
    stage.view.send_modify(|view| view.fold(count, Instant::now()));
    stage.sequence = stage.sequence.next();
    stage.act(over + 100).await;
    assert_eq!(stage.polled(&newcomer).await, [6], "the estimate");
    stage.acknowledged(4);
    stage.act(over + 200).await;
    assert_eq!(stage.polled(&newcomer).await, [4]);
    assert_eq!(stage.emitter.unwrap().provisional, None);
}

/// Goal: a socket that was told an estimate before the store's first answer is not told an exact count that leaves it out. Method: it
/// joins while a report is under way, which is answered after its patience.
#[tokio::test(start_paused = true)]
async fn the_first_answer_leaves_nobody_out() {
    let mut stage = Stage::new();
    stage.view.send_modify(|view| view.begin_incarnation(Incarnation::random(), LEASE_MAX));
    let reported = stage.observed();
    let newcomer = stage.joins().await;
    stage.observed();
    stage.act(GROWN_UP).await;
    stage.sequence = stage.sequence.next();
    let at = Instant::now();
    let without = count(0, stage.sequence.0);
    answer_late(reported, &stage.view, without, at);
    stage.act(GROWN_UP + 100).await;
    assert!(stage.view.borrow().shown(at).exact);
    stage.acknowledged(3);
    stage.act(GROWN_UP + 200).await;
    assert_eq!(stage.polled(&newcomer).await, [1, 3]);
}

/// Goal: a newcomer gets its first value once, although an emission of the same number is made at the same time, and gets
/// the next count too. Method: one socket that is connected already, and one that joins.
#[tokio::test(start_paused = true)]
async fn a_newcomer_is_told_once() {
    let mut stage = Stage::new();
    let first = stage.joins().await;
    stage.acknowledged(1);
    stage.act(0).await;
    let second = stage.joins().await;
    stage.acknowledged(2);
    stage.act(10).await;
    stage.act(100).await;
    stage.acknowledged(3);
    stage.act(200).await;
    assert_eq!(stage.polled(&first).await, [1, 2, 3]);
    assert_eq!(stage.polled(&second).await, [2, 3]);
    assert_eq!(stage.metrics.join_to_emit_seconds.get_sample_count(), 2);
}

/// Goal: a socket that leaves gets nothing more, and one that joins during an emission gets the newest count and no older
/// one after it. Method: more sockets than one part of an emission; after the first part, one leaves and another joins.
#[tokio::test(start_paused = true)]
async fn coming_and_going_during_an_emission() {
    const CROWD: u64 = EMITS_AT_ONCE as u64 + 10;
    let mut stage = Stage::new();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(stage.joins().await);
    }
    stage.acknowledged(CROWD);
    stage.act(0).await;
    stage.acknowledged(CROWD + 1);
    let leaver = crowd.remove(0);
    let mut newcomer = None;
    stage
        .act_beside(10_000, async |stage| {
            let told = stage.metrics.emitted_packets.get();
            assert_eq!(told, CROWD + EMITS_AT_ONCE as u64, "the emission is not over");
            let socket = stage.socket_of(&leaver);
            stage
                .roster
                .leave(&socket, crate::socketioxide::roster::LeaveReason::LeftByApplication);
            newcomer = Some(stage.joins().await);
            stage.acknowledged(CROWD + 2);
        })
        .await;
    stage.act(20_000).await;
    stage.act(30_000).await;
    let newcomer = newcomer.expect("it came");
    assert_eq!(stage.polled(&newcomer).await, [CROWD + 2]);
    assert_eq!(stage.polled(&leaver).await, [CROWD]);
    for poller in &crowd {
        assert_eq!(stage.polled(poller).await, [CROWD, CROWD + 2]);
    }
}

impl Stage {
    fn socket_of(&self, poller: &Poller) -> ::socketioxide::extract::SocketRef {
        let sockets = self.io.sockets().into_iter();
        let of_session = |id: &str| poller.0.ends_with(id);
        sockets.into_iter().find(|socket| of_session(socket.id.as_str())).expect("it is here")
    }
}

/// Goal: a socket that the application counts out and in again is counted and gets further counts. Method: both calls,
/// while the emitter still knows the socket.
#[tokio::test(start_paused = true)]
async fn who_is_counted_again_stays() {
    let mut stage = Stage::new();
    let poller = stage.joins().await;
    stage.acknowledged(1);
    stage.act(0).await;
    let socket = stage.socket_of(&poller);
    stage.roster.leave(&socket, crate::socketioxide::roster::LeaveReason::LeftByApplication);
    stage.roster.enter(&socket, None);
    stage.acknowledged(2);
    stage.act(1000).await;
    assert_eq!(stage.tally.connections(), 1);
    assert_eq!(stage.polled(&poller).await, [1, 2]);
}

/// Goal: sockets that left take no memory, even if the count never changes. Method: one leaves and another joins between
/// two searches, many times.
#[tokio::test(start_paused = true)]
async fn who_left_is_forgotten_although_the_count_stays() {
    let mut stage = Stage::new();
    for round in 0..20 {
        let poller = stage.joins().await;
        stage.acknowledged(1);
        stage.act(round * 1000).await;
        let socket = stage.socket_of(&poller);
        stage.roster.leave(&socket, crate::socketioxide::roster::LeaveReason::LeftByApplication);
    }
    assert_eq!(stage.tally.connections(), 0);
    let now = Instant::now();
    let emitter = stage.emitter.as_mut().unwrap();
    emitter.look(now);
    assert_eq!(emitter.listeners.len(), 0);
}
