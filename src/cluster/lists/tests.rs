//! Tests of the task that keeps lists: how often it computes them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{sync::Notify, time::sleep};

use super::*;
use crate::{
    core::{
        room::{RoomName, UserId},
        user_list::Info,
    },
    store::embedded::EmbeddedStore,
};

/// Users of rooms of whom there are none. It counts how often it is asked.
#[derive(Debug, Default)]
struct Nobody {
    asked: AtomicUsize,
    stirs: Notify,
}

impl RoomUsers for Nobody {
    fn take_stirred(&self) -> Stirred {
        Stirred::default()
    }

    fn stirs(&self) -> &Notify {
        &self.stirs
    }

    fn users_here(&self, _: &RoomName, _: usize) -> Vec<(UserId, Info)> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    }
}

/// Goal: a change is looked at at once, and a rush of changes a bounded number of times, the last one included. Method: one change; then
/// one in every millisecond of a second; then quiet.
#[tokio::test(start_paused = true)]
async fn a_rush_is_looked_at_now_and_then() {
    let users = Arc::new(Nobody::default());
    let lists = Lists::<u32>::new(1);
    let room = RoomName::parse("/team/7").unwrap();
    let _wish = lists.want(&room, 1, Instant::now()).unwrap();
    let (_view, view) = watch::channel(View::default());
    let store = Arc::new(EmbeddedStore::new());
    let here = Arc::clone(&users);
    let keeper = ListKeeper::new(store, here, Arc::clone(&lists), view);
    let asked = || users.asked.load(Ordering::Relaxed);
    let rush = async {
        sleep(Duration::from_millis(1)).await;
        assert_eq!(asked(), 1, "at once");
        sleep(UPDATE_GAP).await;
        for _ in 0..1000 {
            lists.stir(&room, false);
            sleep(Duration::from_millis(1)).await;
        }
        let most = 2 + 1000 / UPDATE_GAP.as_millis();
        assert!((50..=most).contains(&(asked() as u128)), "{} of 1000", asked());
        sleep(2 * UPDATE_GAP).await;
        assert!(!lists.has_updates(), "the last change is in the list");
        let before = asked();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(asked(), before, "nothing changes");
    };
    tokio::select! {
        () = keeper.run(CancellationToken::new()) => panic!("it goes on"),
        () = rush => {}
    }
}
