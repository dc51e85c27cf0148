//! Tests of the rooms that programs ask for, on a table that the test fills.

use std::sync::atomic::Ordering;

use super::*;
use crate::{core::count::Revision, web::scripted_rooms::ScriptedRooms as Scripted};

fn room(name: &str) -> Room {
    Room::Named(RoomName::parse(name).unwrap())
}

/// Rooms of an instance with this many places.
fn site_rooms(most: usize, table: &Arc<Scripted>) -> SiteRooms {
    let counts: Arc<dyn RoomCounts> = Arc::<Scripted>::clone(table);
    SiteRooms::new(RoomRules { most, ..RoomRules::default() }, counts)
}

/// Goal: a stranger who asks for a million rooms gets only his share of the table, and leaves nothing behind. Method: ask for a
/// million different rooms, once more after their minute, and measure what is held. Rooms whose count is known are answered all
/// the time.
#[tokio::test(start_paused = true)]
async fn a_stranger_gets_his_share() {
    let table = Arc::new(Scripted::default());
    table.know("/lively", 5);
    let rooms = site_rooms(50_000, &table);
    let view = View::default();
    let ask = |name: &str| rooms.ask(&[room(name)], &view, Instant::now());
    let held = || {
        let asked = rooms.asked.lock().unwrap();
        assert_eq!(asked.until.len(), asked.ends.len());
        asked.until.len()
    };
    let answered = (0..1_000_000).filter(|n| ask(&format!("/{n}")).is_ok()).count();
    assert_eq!((answered, held(), table.asked.load(Ordering::Relaxed)), (5000, 5000, 5000));
    assert_eq!(ask("/lively"), Ok(()));
    assert_eq!(ask("/new"), Err(Refusal::Full));
    tokio::time::advance(WATCHED_FOR / 2).await;
    assert_eq!(ask("/17"), Ok(()), "a room that is watched is watched longer");
    assert_eq!(ask("/new"), Err(Refusal::Full));
    tokio::time::advance(WATCHED_FOR / 2).await;
    assert_eq!(ask("/new"), Ok(()));
    assert_eq!(held(), 2, "/17 and /new");
    tokio::time::advance(WATCHED_FOR / 2).await;
    assert_eq!(ask("/newer"), Ok(()));
    assert_eq!(held(), 2, "/new and /newer");
}

/// Goal: the share is at least what one request may ask for, and never more than the table holds. Method: tables of all sizes.
#[test]
fn the_share_fits_small_tables() {
    let shares = [1, 50, 100, 500, 100_000].map(|most| {
        let rooms = site_rooms(most, &Arc::default());
        rooms.asked_max
    });
    assert_eq!(shares, [1, 50, 100, 100, 10_000]);
}

/// Goal: a table that is full refuses a room that it does not know, and only that. Method: such a table; then the room is known.
#[tokio::test]
async fn a_full_table_refuses() {
    let table = Arc::new(Scripted::full());
    let rooms = site_rooms(100, &table);
    let ask = || rooms.ask(&[Room::Site, room("/a")], &View::default(), Instant::now());
    assert_eq!(ask(), Err(Refusal::Full));
    table.know("/a", 1);
    assert_eq!(ask(), Ok(()));
    assert_eq!(rooms.ask(&[Room::Site], &View::default(), Instant::now()), Ok(()));
}

/// Goal: the first request for a room waits for the store, no longer than it must, and an answer without the store says that it is
/// an estimate. Method: counts that come one by one while a request waits, other news between, and one that never comes.
#[tokio::test(start_paused = true)]
async fn the_first_request_waits_for_the_store() {
    let table = Arc::new(Scripted::default());
    let rooms = site_rooms(100, &table);
    let (_sender, view) = watch::channel(View::default());
    let both = [room("/a"), room("/b")];
    let start = Instant::now();
    let store = async {
        for (name, at_ms) in [("/b", 20), ("/other", 40), ("/a", 60)] {
            tokio::time::sleep_until(start + Duration::from_millis(at_ms)).await;
            table.know(name, at_ms);
        }
    };
    tokio::join!(rooms.wait_for(&both, &view), store);
    assert_eq!(start.elapsed(), Duration::from_millis(60));
    rooms.wait_for(&both, &view).await;
    assert_eq!(start.elapsed(), Duration::from_millis(60), "what is known needs no waiting");
    rooms.wait_for(&[room("/c")], &view).await;
    let waited = start.elapsed().saturating_sub(Duration::from_millis(60));
    assert!(waited >= FIRST_ANSWER_WITHIN && waited < 2 * FIRST_ANSWER_WITHIN, "{waited:?}");
    let shown =
        |name: &str| rooms.shown(&RoomName::parse(name).unwrap(), &view.borrow(), Instant::now());
    let estimate = Shown { users: 2, revision: Revision::default(), exact: false };
    assert_eq!((shown("/a").users, shown("/c")), (60, estimate));
}
