//! One instance of a history: the product's reporter, subscriber, observer and table of rooms, and connections that come and go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use headcount::{
    cluster::{
        observer::Observer,
        reporter::{Reporter, ReporterSettings},
        subscriber::Subscriber,
    },
    core::{
        about::About,
        count::{Incarnation, Revision},
        room::{IdentityKind, Person, RoomName, UserId},
        rooms::{Attendance, RoomId, RoomLedger, RoomPresence, Rooms, RoomsSettings},
        tally::{Presence, Tally},
        view::View,
    },
    store::Store,
    telemetry::metrics::Metrics,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    faulty::{Fault, FaultyLedger},
    stores::Link,
    world::{HEARTBEAT, LEASE, Shared, Size, lock},
};

/// The least time between two looks at what is due: a broadcaster's pace.
const PACE: Duration = Duration::from_millis(20);

fn person(user: &str) -> Person {
    Person { user: UserId::parse(user).unwrap(), kind: IdentityKind::Token, info: None }
}

pub(crate) struct Instance {
    pub(crate) who: usize,
    pub(crate) rooms: Arc<Rooms<bool>>,
    pub(crate) view: Arc<watch::Sender<View>>,
    tally: Arc<Tally<()>>,
    site: Vec<Presence<()>>,
    /// By room and user; connections without an identity have none.
    present: BTreeMap<(String, Option<String>), Vec<RoomPresence<bool>>>,
    watching: BTreeMap<String, RoomPresence<bool>>,
    told: Arc<Mutex<BTreeMap<String, u64>>>,
    stop: CancellationToken,
    reporter: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// Whether it was there when all was last right, so that its numbers must not dip.
    pub(crate) knows: bool,
}

impl Instance {
    pub(crate) fn start(
        world: &Shared,
        who: usize,
        size: Size,
        metrics: &Metrics,
        fault: Fault,
    ) -> Self {
        let entries = match size {
            Size::Full => 256,
            Size::Small => usize::try_from(lock(world).chance.between(2, 4)).unwrap(),
        };
        let rooms = Rooms::with_settings(RoomsSettings {
            rooms_max: 100,
            entries_max: entries,
            ..RoomsSettings::default()
        });
        let ledger: Arc<dyn RoomLedger> =
            Arc::new(FaultyLedger { inner: Arc::clone(&rooms), fault, started: Instant::now() });
        let link: Arc<dyn Store> = Arc::new(Link { world: Arc::clone(world), who, fault });
        let tally = Tally::with_users(Arc::<Rooms<bool>>::clone(&rooms));
        let view = Arc::new(watch::Sender::new(View::default()));
        let resync = Arc::new(Notify::new());
        let about = Arc::new(About::new(format!("host-{who}"), SystemTime::UNIX_EPOCH));
        let settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: LEASE,
            heartbeat: HEARTBEAT,
            about: watch::Sender::new(about).subscribe(),
        };
        let reporter = Reporter::new(
            &settings,
            Arc::clone(&link),
            tally.subscribe(),
            Arc::clone(&view),
            Arc::clone(&ledger),
            Arc::clone(&resync),
            metrics.clone(),
        );
        let observer = Observer::new(tally.subscribe(), Arc::clone(&ledger), Arc::clone(&view));
        let subscriber = Subscriber::new(link, Arc::clone(&view), ledger, resync, metrics.clone());
        let (stop, told) = (CancellationToken::new(), Arc::default());
        let reader =
            tell(Arc::clone(world), Arc::clone(&rooms), view.subscribe(), Arc::clone(&told));
        let others = vec![
            tokio::spawn(subscriber.run(stop.clone())),
            tokio::spawn(observer.run(stop.clone())),
            tokio::spawn(reader),
        ];
        let reporter = Some(tokio::spawn(reporter.run(stop.clone())));
        Self {
            who,
            rooms,
            view,
            tally,
            site: Vec::new(),
            present: BTreeMap::new(),
            watching: BTreeMap::new(),
            told,
            stop,
            reporter,
            others,
            knows: false,
        }
    }

    /// How many connections the site has here.
    pub(crate) fn set_site(&mut self, connections: u64) {
        while self.site.len() as u64 > connections {
            self.site.pop();
        }
        while (self.site.len() as u64) < connections {
            self.site.push(self.tally.join((), Instant::now()));
        }
    }

    /// How many connections a room has here, without an identity or of a user.
    pub(crate) fn set(&mut self, room: &str, user: Option<&str>, connections: usize) {
        let key = (room.to_owned(), user.map(str::to_owned));
        let present = self.present.entry(key).or_default();
        present.truncate(connections);
        let name = RoomName::parse(room).unwrap();
        while present.len() < connections {
            let joined = self.rooms.join_as(
                user.map(person),
                &name,
                Attendance::Member,
                true,
                Instant::now(),
            );
            present.push(joined.unwrap());
        }
    }

    pub(crate) fn has(&self, room: &str, user: &str) -> bool {
        let key = (room.to_owned(), Some(user.to_owned()));
        self.present.get(&key).is_some_and(|present| !present.is_empty())
    }

    pub(crate) fn toggle_watch(&mut self, room: &str) {
        if self.watching.remove(room).is_none() {
            let name = RoomName::parse(room).unwrap();
            let presence =
                self.rooms.join(&name, Attendance::Watcher, false, Instant::now()).unwrap();
            self.watching.insert(room.to_owned(), presence);
        }
    }

    /// All leave.
    pub(crate) fn empty(&mut self) {
        self.site.clear();
        self.present.clear();
        self.watching.clear();
    }

    pub(crate) fn site(&self) -> u64 {
        self.site.len() as u64
    }

    /// Who is in a room: connections without an identity, and users.
    pub(crate) fn here<'a>(
        &'a self,
        room: &'a str,
    ) -> impl Iterator<Item = (Option<&'a str>, u64)> {
        let inside = self.present.iter().filter(move |((name, _), _)| name == room);
        inside.map(|((_, user), present)| (user.as_deref(), present.len() as u64))
    }

    /// Whether it is told the room's count.
    pub(crate) fn cares_for(&self, room: &str) -> bool {
        self.watching.contains_key(room) || self.here(room).any(|(_, connections)| connections > 0)
    }

    /// The count that a room shows, and whether it is exact.
    pub(crate) fn shown(&self, room: &str) -> Option<(u64, bool)> {
        let name = RoomName::parse(room).unwrap();
        let shown = self.rooms.shown(&name, &self.view.borrow(), Instant::now())?;
        Some((shown.users, shown.exact))
    }

    pub(crate) fn shown_site(&self) -> (u64, bool) {
        let shown = self.view.borrow().shown(Instant::now());
        (shown.users, shown.exact)
    }

    /// What the connections of a room were told last.
    pub(crate) fn told(&self, room: &str) -> Option<u64> {
        self.told.lock().unwrap().get(room).copied()
    }

    /// It crashes.
    pub(crate) fn die(self) {
        drop(self);
    }

    /// It says farewell.
    pub(crate) async fn leave(mut self) {
        self.empty();
        self.stop.cancel();
        self.reporter.take().unwrap().await.unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.others.iter().chain(&self.reporter).for_each(JoinHandle::abort);
    }
}

/// Task: takes what is due, as a broadcaster does, and checks what is told.
async fn tell(
    world: Shared,
    rooms: Arc<Rooms<bool>>,
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
            let tells_none = due.newcomers.iter().any(|it| it.member && it.shown.users == 0);
            if tells_none && rooms.connections(&due.name) > 0 {
                lock(&world).note(&format!("a member is told 0: {due:?}"));
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
