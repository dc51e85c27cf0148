//! Tests of who is sent away when.

use super::*;
use crate::{
    access::{origin::Origins, rooms::RoomRules},
    core::{
        room::{IdentityKind, Person, UserId},
        rooms::{Rooms, RoomsSettings},
    },
    engine::{
        admission::Admission,
        flusher::Flusher,
        polling::Poll,
        session::tests::{join, polled},
        settings::SessionSettings,
    },
    identity::sign_in::SignIn,
    protocol::transport::Transports,
    telemetry::metrics::Metrics,
};

/// Goal: all clients are sent away in time and evenly, even if batches take too long. Method: simulate drains of
/// several sizes, with normal and slow batches.
#[test]
fn clients_go_evenly_and_in_time() {
    let second = Duration::from_secs(1);
    for (clients, window) in
        [(0, second), (1, second), (7, 10 * second), (10_000, 10 * second), (500, Duration::ZERO)]
    {
        for pace in [BATCH_GAP, 3 * BATCH_GAP] {
            let (mut elapsed, mut gone) = (Duration::ZERO, 0);
            while gone < clients {
                let now = due(clients, elapsed, window);
                let share = clients as u128 * (elapsed + pace).as_millis();
                let in_time = now as u128 * window.as_millis() <= share + window.as_millis();
                assert!(now >= gone && in_time, "{now} of {clients} after {elapsed:?}");
                gone = now;
                elapsed += pace;
            }
            assert!(elapsed <= window + 2 * pace, "{clients} {elapsed:?}");
        }
    }
}

/// An engine with polling clients that nothing serves.
struct Stage {
    engine: Arc<Engine>,
    tally: Arc<Tally<Membership>>,
}

impl Stage {
    fn new() -> Self {
        Self::with_grace(Duration::ZERO)
    }

    fn with_grace(grace: Duration) -> Self {
        let rooms =
            RoomsSettings { rooms_max: 10, grace, lingering_max: 9, ..RoomsSettings::default() };
        let rooms = Rooms::with_settings(rooms);
        let tally = Tally::with_users(Arc::<Rooms<_>>::clone(&rooms));
        let metrics = Metrics::new("none").unwrap();
        let settings = SessionSettings {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            payload_bytes_max: 1000,
            transports: Transports::Both,
            rooms: RoomRules::default(),
            sign_in: SignIn::default(),
            visitors: None,
        };
        let admission = Admission::new(100, Origins::Same, metrics.clone());
        let tallied = Arc::clone(&tally);
        let flusher = Flusher::default();
        let engine = Engine::new(settings, admission, tallied, rooms, metrics, flusher);
        Self { engine, tally }
    }

    /// Opens a session that polls; its client has not joined.
    fn open(&self) -> Arc<Session> {
        let permit = self.engine.admission().permits().take().expect("there is room");
        let known: Vec<_> = self.engine.sessions().all().iter().map(|one| one.id()).collect();
        self.engine.open_polling(permit);
        let opened = self.engine.sessions().all();
        opened.into_iter().find(|one| !known.contains(&one.id())).expect("it is open")
    }

    /// Opens one whose client has joined.
    fn join(&self) -> Arc<Session> {
        let session = self.open();
        self.engine.receive(&session, "40").expect("it may join");
        session
    }

    /// Opens one whose client has joined, and has polled once.
    async fn poll_once(&self) -> Arc<Session> {
        let (session, poll) = self.wait();
        poll.await.expect("a payload");
        session
    }

    /// Opens one whose client has joined and waits with an open poll.
    fn wait(&self) -> (Arc<Session>, Poll) {
        let session = self.join();
        let poll = self.engine.poll(Arc::clone(&session)).expect("it may poll");
        (session, poll)
    }
}

/// Goal: during the delay only the sessions of polling clients without an open poll are ended, and of these only if they have polled
/// before. When the window begins, sessions that are not counted end at once. Method: clients with an open poll, without one, before
/// their first one, and outside the namespace, looked at before and after each bound.
#[tokio::test(start_paused = true)]
async fn those_who_poll_elsewhere_go_first() {
    let stage = Stage::new();
    let waiting: Vec<_> = (0..3).map(|_| stage.wait()).collect();
    let polls_elsewhere = stage.poll_once().await;
    let begins = stage.join();
    let outside = stage.open();
    let [delay, window] = [10, 2].map(Duration::from_secs);
    let drained = drain(&stage.engine, &stage.tally, delay, window);
    tokio::pin!(drained);
    let mut pass = async |millis| {
        tokio::select! {
            () = &mut drained => panic!("it is over"),
            () = sleep(Duration::from_millis(millis)) => {}
        }
    };
    pass(250).await;
    assert_eq!(polls_elsewhere.ended(), None, "its poll may be on its way");
    pass(250).await;
    assert_eq!(polls_elsewhere.ended(), Some(EndReason::Draining));
    assert_eq!(begins.ended(), None, "it has been told nothing yet, not even that it has joined");
    pass(9400).await;
    assert_eq!((stage.tally.connections(), outside.ended()), (4, None), "they are served");
    let late = stage.poll_once().await;
    pass(110).await;
    assert_eq!(outside.ended(), Some(EndReason::Draining));
    assert_eq!(late.ended(), Some(EndReason::Draining), "it has no poll open");
    let gone = waiting.iter().filter(|(session, _)| session.ended().is_some()).count();
    assert_eq!(gone, 0, "those who wait go after it");
    drained.await;
    assert!(waiting.iter().all(|(session, _)| session.ended() == Some(EndReason::Draining)));
}

/// Goal: a client whose poll was answered a moment ago is not taken for one that polls elsewhere. Method: one that polls again
/// 200 ms after each answer, and one whose poll stays open.
#[tokio::test(start_paused = true)]
async fn a_quick_client_stays() {
    let stage = Stage::new();
    let (session, mut poll) = stage.wait();
    let looks = end_those_who_poll_elsewhere(&stage.engine);
    tokio::pin!(looks);
    for _ in 0..20 {
        let told = poll.await.expect("a payload");
        assert!(!told.is_empty());
        tokio::select! {
            () = &mut looks => unreachable!("it looks on"),
            () = sleep(Duration::from_millis(200)) => {}
        }
        assert_eq!(session.ended(), None);
        poll = stage.engine.poll(Arc::clone(&session)).expect("it may poll");
        stage.engine.receive(&session, "41").expect("it may leave");
        stage.engine.receive(&session, "40").expect("it may join again");
    }
    let (waiting, _poll) = stage.wait();
    drop(poll.await);
    tokio::select! {
        () = &mut looks => unreachable!("it looks on"),
        () = sleep(Duration::from_millis(500)) => {}
    }
    assert_eq!(waiting.ended(), None, "its poll is open");
    assert_eq!(session.ended(), Some(EndReason::Draining), "it does not poll again");
}

/// Goal: an instance that stops waits for the grace of users who have left, but not for longer than its last clients may take, and
/// not at all if nobody lingers. Method: drains of an instance whose only user has left, with a short grace, a long one, and none.
#[tokio::test(start_paused = true)]
async fn the_farewell_waits_for_the_grace() {
    for (grace, waits) in [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_secs(1), Duration::from_secs(1)),
        (Duration::from_mins(1), LAST_ONES),
    ] {
        let stage = Stage::with_grace(grace);
        let user = UserId::parse("t:ada").unwrap();
        let person = Person { user, kind: IdentityKind::Token, info: None };
        let session = polled();
        drop(stage.tally.join_as(Some(person), join(&session), Instant::now()));
        let started = Instant::now();
        drain(&stage.engine, &stage.tally, Duration::ZERO, Duration::ZERO).await;
        let took = started.elapsed();
        assert!(took >= waits && took <= waits + 2 * BATCH_GAP, "{grace:?}: {took:?}");
    }
}

/// Goal: a session that was admitted just before is sent away like the others, although it begins only after all others have gone.
/// Method: a drain while a permit is out; then its session begins.
#[tokio::test(start_paused = true)]
async fn who_is_about_to_come_in_is_waited_for() {
    let stage = Stage::new();
    let permit = stage.engine.admission().permits().take().expect("there is room");
    let drained = drain(&stage.engine, &stage.tally, Duration::ZERO, Duration::ZERO);
    tokio::pin!(drained);
    tokio::select! {
        () = &mut drained => panic!("it is over"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    stage.engine.open_polling(permit);
    let session = stage.engine.sessions().all().pop().expect("it is open");
    drained.await;
    assert_eq!(session.ended(), Some(EndReason::Draining));
}

/// Goal: who was let in just before the window is not refused: he may join, and then goes like the others; who does not join goes as
/// well. Method: two clients whose sessions begin shortly before it, of whom one joins shortly after it.
#[tokio::test(start_paused = true)]
async fn who_has_just_come_in_may_join() {
    for window in [Duration::ZERO, Duration::from_secs(2)] {
        let stage = Stage::new();
        let [joins, stays_outside] = [stage.open(), stage.open()];
        sleep(JOINS_WITHIN / 3).await;
        let drained = drain(&stage.engine, &stage.tally, Duration::ZERO, window);
        tokio::pin!(drained);
        tokio::select! {
            () = &mut drained => panic!("it is over"),
            () = sleep(JOINS_WITHIN / 3) => {}
        }
        assert_eq!([&joins, &stays_outside].map(|session| session.ended()), [None, None]);
        stage.engine.receive(&joins, "40").expect("it may join");
        let begun = Instant::now();
        drained.await;
        assert!(begun.elapsed() <= window + JOINS_WITHIN, "{:?}", begun.elapsed());
        for session in [joins, stays_outside] {
            assert_eq!(session.ended(), Some(EndReason::Draining));
        }
    }
}
