//! Lists of users in a history: the product's task that keeps them, and one that takes in what clients would be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use headcount::{
    cluster::lists::ListKeeper,
    core::{
        lists::{ListWish, Lists},
        room::RoomName,
        rooms::RoomUsers,
        view::View,
    },
    store::Store,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The least time between two looks at what is due: a broadcaster's pace.
const PACE: Duration = Duration::from_millis(20);

/// The ids of the users of each room, as its clients were told last.
type Told = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// The lists of one instance. There is at most one client for each.
#[derive(Debug)]
pub(crate) struct Listing {
    lists: Arc<Lists<()>>,
    told: Told,
}

impl Listing {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        users: Arc<dyn RoomUsers>,
        view: watch::Receiver<View>,
        stop: CancellationToken,
    ) -> (Self, [JoinHandle<()>; 2]) {
        let (lists, told) = (Lists::new(100), Told::default());
        let keeper = ListKeeper::new(store, users, Arc::clone(&lists), view);
        let reader = take_in(Arc::clone(&lists), Arc::clone(&told));
        let tasks = [tokio::spawn(keeper.run(stop)), tokio::spawn(reader)];
        (Self { lists, told }, tasks)
    }

    pub(crate) fn want(&self, room: &RoomName) -> ListWish {
        self.lists.want(room, (), Instant::now()).unwrap()
    }

    /// Who is on the list of a room; `None` if nobody was told it.
    pub(crate) fn told(&self, room: &str) -> Option<BTreeSet<String>> {
        self.told.lock().unwrap().get(room).cloned()
    }
}

/// Task: takes in what is told.
async fn take_in(lists: Arc<Lists<()>>, told: Told) {
    let mut news = lists.subscribe();
    loop {
        for due in lists.take_due(Instant::now()) {
            let (mut told, room) = (told.lock().unwrap(), due.room.to_string());
            let Some((_, list)) = due.list else {
                told.remove(&room);
                continue;
            };
            if !due.newcomers.is_empty() || told.contains_key(&room) {
                let ids = list.users().map(|(user, _)| user.as_str().to_owned());
                told.insert(room, ids.collect());
            }
        }
        let patience = lists.patience_ends();
        tokio::select! {
            Ok(()) = news.changed() => {}
            () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {}
        }
        sleep(PACE).await;
    }
}
