//! Tests of the rooms that programs ask for, on a table that the test fills.

use super::*;
use crate::web::scripted_rooms::ScriptedRooms as Scripted;

fn room(name: &str) -> Room {
    Room::Named(RoomName::parse(name).unwrap())
}

/// The rooms of this table.
fn site_rooms(table: &Arc<Scripted>) -> SiteRooms {
    let counts: Arc<dyn RoomCounts> = Arc::<Scripted>::clone(table);
    SiteRooms::new(RoomRules::default(), counts)
}

/// Goal: a table that is full refuses a room, and the site needs no place. Method: such a table.
#[tokio::test]
async fn a_full_table_refuses() {
    let rooms = site_rooms(&Arc::new(Scripted::full()));
    let now = Instant::now();
    assert_eq!(rooms.ask(&[Room::Site, room("/a")], now), Err(Refusal::Full));
    assert_eq!(rooms.ask(&[Room::Site], now), Ok(()));
}

/// Goal: the first request for a room waits for the store, no longer than it must, and an answer without the store says that it is
/// an estimate. Method: counts that come one by one while a request waits, other news between, and one that never comes.
#[tokio::test(start_paused = true)]
async fn the_first_request_waits_for_the_store() {
    let table = Arc::new(Scripted::default());
    let rooms = site_rooms(&table);
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
    // The table has one user there, with two connections.
    let estimate = Shown { users: 1, revision: Revision::default(), exact: false };
    assert_eq!((shown("/a").users, shown("/c")), (60, estimate));
}
