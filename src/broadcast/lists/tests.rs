//! Tests of which list a client is told. Sessions poll, so that what each was told is read without sockets.

use super::*;
use crate::{
    core::{people::People, room::UserId},
    engine::session::{
        Session,
        tests::{enter_room, leave_room, poll, polled, want_list},
    },
};

struct Stage {
    lists: Arc<Lists<RoomMembership>>,
    broadcaster: ListBroadcaster,
    room: RoomName,
}

impl Stage {
    fn new() -> Self {
        let (lists, metrics) = (Lists::new(1), Metrics::new("none").unwrap());
        let interval = Duration::from_millis(50);
        let told = Arc::clone(&lists);
        let broadcaster = ListBroadcaster::new(told, Flusher::default(), metrics, interval);
        Self { lists, broadcaster, room: RoomName::parse("/team/7").unwrap() }
    }

    /// The client of a session joins the room, and wants its list.
    fn wants(&self, session: &Arc<Session>) -> RoomMembership {
        let member = enter_room(session, &self.room);
        let wish = self.lists.want(&self.room, member.clone(), Instant::now()).unwrap();
        want_list(session, &member, wish);
        member
    }

    /// The list is read and computed, with these users on it.
    fn has(&self, ids: &[&str]) {
        let now = Instant::now();
        for read in self.lists.take_reads(now, usize::MAX) {
            self.lists.fold(&read, Some(People::default()), now);
        }
        let here: Vec<_> =
            ids.iter().map(|id| (UserId::parse(&format!("t:{id}")).unwrap(), None)).collect();
        for room in self.lists.take_updates() {
            self.lists.update(&room, &here, true);
        }
    }
}

/// Goal: a client is told the list as it is, also if the list ended and began again before anything was told of that. Method: the only
/// client leaves, and another one wants the list at once; both are the only users on it, and it is computed once each time.
#[tokio::test(start_paused = true)]
async fn a_list_that_begins_again_is_another_one() {
    let mut stage = Stage::new();
    let (ada, bob) = (polled(), polled());
    let member = stage.wants(&ada);
    stage.has(&["ada"]);
    stage.broadcaster.act().await;
    assert!(poll(&ada).expect("her list").contains("\"ada\""));
    leave_room(&ada, member.place);
    stage.wants(&bob);
    stage.has(&["bob"]);
    stage.broadcaster.act().await;
    let told = poll(&bob).expect("his list");
    assert!(told.contains("\"bob\"") && !told.contains("\"ada\""), "{told}");
    tokio::time::advance(Duration::from_secs(1)).await;
    stage.broadcaster.act().await;
    assert_eq!(poll(&bob), None, "he knows it");
}
