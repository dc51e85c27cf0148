//! Tests of event streams on a table that the test fills, under a clock that the test moves.

use std::sync::atomic::Ordering;

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    access::{
        origin::{Origins, RefusalLog},
        rooms::RoomRules,
    },
    core::{peaks::ShownPeaks, tally::Local},
    identity::sign_in::SignIn,
    store::embedded::EmbeddedStore,
    telemetry::metrics::Metrics,
    web::{scripted_rooms::ScriptedRooms, site_rooms::SiteRooms, user_pages::UserPages},
};

const PACE: Duration = Duration::from_millis(50);

/// A site with one place for streams, and what moves it.
struct Stage {
    site: Arc<Site>,
    table: Arc<ScriptedRooms>,
    _view: watch::Sender<View>,
    _peaks: watch::Sender<ShownPeaks>,
    local: watch::Sender<Local>,
}

impl Stage {
    fn new(table: ScriptedRooms) -> Self {
        let table = Arc::new(table);
        let (view, local) =
            (watch::Sender::new(View::default()), watch::Sender::new(Local::default()));
        let peaks = watch::Sender::new(ShownPeaks::default());
        let counts = Arc::<ScriptedRooms>::clone(&table);
        let site = Arc::new(Site {
            view: view.subscribe(),
            local: local.subscribe(),
            users: UserPages::new(Arc::new(EmbeddedStore::new())),
            peaks: peaks.subscribe(),
            sign_in: SignIn::default(),
            rooms: SiteRooms::new(RoomRules::default(), counts),
            origins: Origins::Same,
            refusal_log: RefusalLog::default(),
            metrics: Metrics::new("embedded").unwrap(),
            permits: Arc::new(Semaphore::new(1)),
            pace: PACE,
            closing: CancellationToken::new(),
            host: "kitchen".into(),
        });
        Self { site, table, _view: view, _peaks: peaks, local }
    }

    async fn request(&self, query: &str) -> Response {
        let query = RawQuery(Some(query.to_owned()));
        answer(State(Arc::clone(&self.site)), query, HeaderMap::new()).await
    }

    async fn open(&self, query: &str) -> Reader {
        let response = self.request(query).await;
        assert_eq!(response.status(), StatusCode::OK);
        Reader(response.into_body().into_data_stream())
    }
}

/// The client of a stream.
struct Reader(BodyDataStream);

impl Reader {
    /// The event that comes within this time, or `None`.
    async fn event_within(&mut self, time: Duration) -> Option<Value> {
        let event = async {
            loop {
                let bytes = self.0.next().await.expect("the stream goes on").unwrap();
                let text = str::from_utf8(&bytes).unwrap();
                if let Some(json) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
                    return serde_json::from_str(json).unwrap();
                }
            }
        };
        timeout(time, event).await.ok()
    }

    /// All events of this time, as room and count.
    async fn events_within(&mut self, time: Duration) -> Vec<(String, u64)> {
        let end = Instant::now() + time;
        let mut events = Vec::new();
        while let Some(event) = self.event_within(end - Instant::now()).await {
            let room = event["room"].as_str().unwrap().to_owned();
            events.push((room, event["count"].as_u64().unwrap()));
        }
        events
    }
}

fn told(events: &[(&str, u64)]) -> Vec<(String, u64)> {
    events.iter().map(|&(room, users)| (room.to_owned(), users)).collect()
}

/// Goal: a stream tells the state of each of its rooms at once, then each change of theirs, the newest only, and nothing of other
/// rooms. Method: two rooms, one named twice; changes of both within one interval; a change of a third room.
#[tokio::test(start_paused = true)]
async fn a_stream_tells_of_its_rooms() {
    let stage = Stage::new(ScriptedRooms::default());
    stage.table.know("/a", 1);
    stage.table.know("/b", 2);
    let mut reader = stage.open("room=/a&room=/b&room=%2Fa").await;
    assert_eq!(reader.events_within(2 * PACE).await, told(&[("/a", 1), ("/b", 2)]));
    for (room, users) in [("/b", 3), ("/a", 4), ("/b", 5)] {
        stage.table.know(room, users);
    }
    assert_eq!(reader.events_within(2 * PACE).await, told(&[("/a", 4), ("/b", 5)]));
    stage.table.know("/c", 1);
    assert_eq!(reader.events_within(Duration::from_mins(1)).await, told(&[]));
}

/// Goal: a room that changes all the time neither exceeds the pace nor holds up another one. Method: one that changes every
/// millisecond beside one that changes once.
#[tokio::test(start_paused = true)]
async fn a_lively_room_holds_up_no_other() {
    let stage = Stage::new(ScriptedRooms::default());
    stage.table.know("/lively", 0);
    stage.table.know("/quiet", 0);
    let mut reader = stage.open("room=/lively&room=/quiet").await;
    let change = async {
        for users in 1..1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            stage.table.know("/lively", users);
            if users == 500 {
                stage.table.know("/quiet", 1);
            }
        }
    };
    let (events, ()) = tokio::join!(reader.events_within(Duration::from_millis(1100)), change);
    let lively = events.iter().filter(|(room, _)| room == "/lively").count();
    assert!((19..=22).contains(&lively), "{lively} events in a second");
    assert_eq!(events.iter().filter(|event| event.0 == "/quiet").count(), 2);
    assert!(events.contains(&("/lively".to_owned(), 999)), "the last value arrives: {events:?}");
}

/// Goal: events have the documented fields, and the site can be one of the rooms. Method: the events of a stream of both, and that
/// of a stream without rooms, which names none.
#[tokio::test(start_paused = true)]
async fn the_site_can_be_one_of_the_rooms() {
    let stage = Stage::new(ScriptedRooms::default());
    stage.table.know("/\u{202e}a", 3);
    stage.local.send_modify(|local| (local.anonymous, local.connections) = (1, 4));
    let mut reader = stage.open("room=/&room=/%E2%80%AEa").await;
    let site = reader.event_within(PACE).await.unwrap();
    let expected = json!({"room": "/", "count": 0, "revision": 0, "exact": false, "connections": 4, "users_here": {"token": 1, "visitor": 2, "none": 1},
        "age_ms": 0, "instance": null, "host": "kitchen", "instances": 0, "peak_today": null,
        "peak_ever": null});
    assert_eq!(site, expected);
    let room = reader.event_within(PACE).await.unwrap();
    let expected = json!({"room": "/\u{202e}a", "count": 3, "revision": 7, "exact": true,
        "connections": 2, "age_ms": 0, "instance": null, "host": "kitchen", "instances": 0});
    assert_eq!(room, expected);
    drop(reader);
    let mut reader = stage.open("").await;
    assert_eq!(reader.event_within(PACE).await.unwrap().get("room"), None);
}

/// Goal: the rooms of an open stream are watched without a gap, and no longer than a minute after its end. Method: count how often
/// they are asked for in ten minutes.
#[tokio::test(start_paused = true)]
async fn rooms_of_a_stream_stay_watched() {
    let stage = Stage::new(ScriptedRooms::default());
    stage.table.know("/a", 1);
    let mut reader = stage.open("room=/a").await;
    for minute in 1..=10 {
        reader.events_within(Duration::from_mins(1)).await;
        let asked = stage.table.asked.load(Ordering::Relaxed);
        assert_eq!(asked, 1 + 12 * minute, "in minute {minute}");
    }
    drop(reader);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(stage.table.asked.load(Ordering::Relaxed), 121);
}

/// Goal: a refused stream takes no place. Method: refuse streams for each reason that the query can have, then open one.
#[tokio::test(start_paused = true)]
async fn refused_streams_take_no_place() {
    let stage = Stage::new(ScriptedRooms::full());
    for (query, status) in [
        ("room=/%FF", StatusCode::BAD_REQUEST),
        ("room=a", StatusCode::NOT_FOUND),
        ("room=/new", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(stage.request(query).await.status(), status, "{query}");
        assert_eq!(stage.site.metrics.streams.get(), 0);
    }
    let refused = stage.site.metrics.refused(RefusedReason::Rooms).get();
    assert_eq!(refused, 1);
    stage.open("room=/").await;
}

/// Goal: programs may ask who is here while somebody joins. Method: somebody joins between the two things that the answer is made
/// of. If the first of them were still borrowed, the join would wait for ever, and the answer for the join.
#[test]
fn joining_does_not_wait_for_an_answer() {
    let stage = Stage::new(ScriptedRooms::default());
    *stage.table.joined.lock().unwrap() = Some(stage.local.clone());
    let (answered, answer) = std::sync::mpsc::channel();
    let site = Arc::clone(&stage.site);
    std::thread::spawn(move || answered.send(site.users_here()));
    let here = answer.recv_timeout(Duration::from_secs(10)).expect("it is answered");
    assert_eq!((here.token, here.visitor, here.none), (1, 2, 0));
    assert_eq!(stage.local.borrow().connections, 1);
}
