//! Subscribers that are too slow.

use super::*;
use crate::core::{
    count::{Incarnation, Sequence},
    report::{Room, RoomReport},
};

const LEASE: Duration = Duration::from_secs(2);

/// Goal: a slow subscriber is told the last count of the site, also if many pages of rooms came after it, and no older count after
/// a newer one. Method: more announcements than are held, while nothing is read; the site changes in the middle.
#[tokio::test]
async fn the_last_count_of_the_site_is_not_missed() {
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let clock = Arc::clone(&now);
    let store = EmbeddedStore::with_clock(move || *lock(&clock));
    let mut announcements = store.subscribe().await.unwrap();
    let incarnation = Incarnation::random();
    let mut last = Reply::default();
    for number in 1..=4 * ANNOUNCEMENTS_HELD as u64 {
        *lock(&now) += Duration::from_millis(10);
        let users = number.min(2 * ANNOUNCEMENTS_HELD as u64);
        let room = Room::Named(RoomName::parse("/a").unwrap());
        let rooms = vec![RoomReport { room, connections: Some(number), users: Vec::new() }];
        let report = Report { users, rooms, ..Report::new(incarnation, Sequence(number), LEASE) };
        last = store.report(report).await.unwrap();
    }
    let (mut told, mut page) = (Count::default(), None);
    while page != Some(last.paged) {
        match announcements.next().await.unwrap().unwrap() {
            Announcement::Own(count) => {
                assert!(count.supersedes(&told), "{count:?} after {told:?}");
                told = count;
            }
            Announcement::Rooms(rooms) => page = Some(rooms.revision),
            other => panic!("somebody else's: {other:?}"),
        }
    }
    assert_eq!(told.users, last.count.users);
}
