//! Who is told counts in a history, and the tasks that tell them, as the product's broadcasters do. They check every first value.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use headcount::core::{
    count::Revision,
    rooms::{RoomId, Rooms},
    tally::Tally,
    view::View,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::world::{Shared, World, lock};

/// The least time between two looks at what is due: a broadcaster's pace.
const PACE: Duration = Duration::from_millis(20);

/// A connection.
#[derive(Debug)]
pub(crate) struct Member {
    /// The first value that it is told must not be below this one.
    pub(crate) at_least: u64,
    /// Gone when it has left.
    pub(crate) is_here: Weak<()>,
}

impl Member {
    fn check_first(&self, room: &str, users: u64, world: &mut World) {
        if self.is_here.strong_count() == 0 {
            return;
        }
        world.count("first value");
        let at_least = self.at_least;
        if users < at_least {
            world.note(&format!(
                "a newcomer of {room} is told {users}, and with it there are at least {at_least}"
            ));
        }
    }
}

/// Task: tells the newcomers of the site their first values.
pub(crate) async fn tell_site(
    world: Shared,
    tally: Arc<Tally<Member>>,
    mut view: watch::Receiver<View>,
) {
    loop {
        let now = Instant::now();
        let seen = *view.borrow_and_update();
        for newcomer in tally.take_newcomers(seen.covered(), seen.estimated(), now) {
            let is_included = !seen.included(now).leaves_out(newcomer.change.0);
            let users = if is_included { seen.shown(now).users } else { seen.estimate() };
            newcomer.member.check_first("the site", users, &mut lock(&world));
        }
        let patience = tally.patience_ends().filter(|&at| at > now);
        tokio::select! {
            Ok(()) = view.changed() => {}
            () = tally.newcomer_came() => {}
            () = sleep_until(patience.unwrap_or(now)), if patience.is_some() => {}
        }
    }
}

/// Task: takes what is due in rooms, and checks what is told.
pub(crate) async fn tell_rooms(
    world: Shared,
    rooms: Arc<Rooms<Member>>,
    mut view: watch::Receiver<View>,
    told: Arc<Mutex<BTreeMap<String, u64>>>,
) {
    let mut news = rooms.subscribe();
    let mut revisions: BTreeMap<RoomId, Revision> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let seen = *view.borrow_and_update();
        for due in rooms.take_due(&seen, now) {
            let last = revisions.entry(due.id).or_default();
            if due.shown.revision < *last {
                lock(&world).note(&format!("{due:?} goes back from {last}"));
            }
            *last = due.shown.revision;
            for newcomer in &due.newcomers {
                let users = newcomer.shown.users;
                newcomer.member.check_first(due.name.as_str(), users, &mut lock(&world));
            }
            let mut told = told.lock().unwrap();
            if due.changed || due.newcomers.iter().any(|it| it.shown.users == due.shown.users) {
                told.insert(due.name.to_string(), due.shown.users);
            }
            if due.is_over {
                told.remove(due.name.as_str());
                revisions.remove(&due.id);
            }
        }
        let patience = rooms.patience_ends().filter(|&at| at > now);
        tokio::select! {
            Ok(()) = news.changed() => {}
            Ok(()) = view.changed() => {}
            () = sleep_until(patience.unwrap_or(now)), if patience.is_some() => {}
        }
        sleep(PACE).await;
    }
}
