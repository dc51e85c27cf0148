//! One instance of a history: the product's reporter, subscriber, observer, tally and table of rooms, and connections that come and
//! go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use headcount::{
    cluster::{reporter::ReporterSettings, tasks::ClusterTasks},
    core::{
        about::About,
        count::Incarnation,
        lists::ListWish,
        room::{IdentityKind, Person, RoomName, SITE, UserId},
        rooms::{Attendance, RoomLedger, RoomPresence, Rooms, RoomsSettings},
        tally::{Presence, Tally},
        view::View,
    },
    store::Store,
    telemetry::metrics::Metrics,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    audience::{Member, tell_rooms, tell_site},
    faulty::{Fault, FaultyLedger, FaultyRoomUsers, FaultyUsers},
    listing::Listing,
    stores::Link,
    world::{HEARTBEAT, LEASE, Shared, Size, lock},
};

/// A connection's place in the site or in a room. It leaves when it is dropped.
#[derive(Debug)]
struct Place {
    _site: Option<Presence<Member>>,
    _room: Option<RoomPresence<Member>>,
    _is_here: Arc<()>,
}

fn settings(world: &Shared, size: Size) -> RoomsSettings {
    let mut world = lock(world);
    let entries_max = match size {
        Size::Full => 256,
        Size::Small => usize::try_from(world.chance.between(2, 4)).unwrap(),
    };
    RoomsSettings { rooms_max: 100, entries_max, grace: world.grace, lingering_max: 1000 }
}

fn person(user: &str) -> Person {
    Person { user: UserId::parse(user).unwrap(), kind: IdentityKind::Token, info: None }
}

pub(crate) struct Instance {
    pub(crate) who: usize,
    pub(crate) rooms: Arc<Rooms<Member>>,
    pub(crate) view: Arc<watch::Sender<View>>,
    tally: Arc<Tally<Member>>,
    /// By room and user; connections without an identity have none.
    present: BTreeMap<(String, Option<String>), Vec<Place>>,
    /// Rooms that somebody watches, and whose list he is told.
    watching: BTreeMap<String, (Place, ListWish)>,
    listing: Listing,
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
        let rooms = Rooms::with_settings(settings(world, size));
        let ledger: Arc<dyn RoomLedger> =
            Arc::new(FaultyLedger { inner: Arc::clone(&rooms), fault, started: Instant::now() });
        let link: Arc<dyn Store> = Arc::new(Link { world: Arc::clone(world), who, fault });
        let users = FaultyUsers::new(Arc::clone(&rooms), fault);
        let tally = Tally::with_users(Arc::new(users));
        let about = Arc::new(About::new(format!("host-{who}"), SystemTime::UNIX_EPOCH));
        let settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: LEASE,
            heartbeat: HEARTBEAT,
            about: watch::Sender::new(about).subscribe(),
        };
        let ClusterTasks { view, reporter, subscriber, observer, .. } =
            ClusterTasks::new(&settings, &link, ledger, tally.subscribe(), metrics);
        let (stop, told) = (CancellationToken::new(), Arc::default());
        let in_rooms = Arc::new(FaultyRoomUsers { inner: Arc::clone(&rooms), fault });
        let (listing, of_lists) =
            Listing::start(Arc::clone(&link), in_rooms, view.subscribe(), stop.clone());
        let reader =
            tell_rooms(Arc::clone(world), Arc::clone(&rooms), view.subscribe(), Arc::clone(&told));
        let greeter = tell_site(Arc::clone(world), Arc::clone(&tally), view.subscribe());
        let mut others = vec![
            tokio::spawn(subscriber.run(stop.clone())),
            tokio::spawn(observer.run(stop.clone())),
            tokio::spawn(reader),
            tokio::spawn(greeter),
        ];
        others.extend(of_lists);
        let reporter = Some(tokio::spawn(reporter.run(stop.clone())));
        Self {
            who,
            rooms,
            view,
            tally,
            present: BTreeMap::new(),
            watching: BTreeMap::new(),
            listing,
            told,
            stop,
            reporter,
            others,
            knows: false,
        }
    }

    /// How many connections the site or a room has here, without an identity or of a user.
    pub(crate) fn set(&mut self, room: &str, user: Option<&str>, connections: usize) {
        self.set_telling(room, user, connections, 1);
    }

    /// The same; those who come must be told a count of at least this.
    pub(crate) fn set_telling(
        &mut self,
        room: &str,
        user: Option<&str>,
        connections: usize,
        at_least: u64,
    ) {
        let key = (room.to_owned(), user.map(str::to_owned));
        let mut present = self.present.remove(&key).unwrap_or_default();
        present.truncate(connections);
        while present.len() < connections {
            present.push(self.join(room, user.map(person), at_least));
        }
        self.present.insert(key, present);
    }

    fn join(&self, room: &str, person: Option<Person>, at_least: u64) -> Place {
        let is_here = Arc::new(());
        let member = Member { at_least, is_here: Arc::downgrade(&is_here) };
        let now = Instant::now();
        if room == SITE {
            let presence = self.tally.join_as(person, member, now);
            return Place { _site: Some(presence), _room: None, _is_here: is_here };
        }
        let name = RoomName::parse(room).unwrap();
        let joined = self.rooms.join_as(person, &name, Attendance::Member, member, now);
        Place { _site: None, _room: Some(joined.unwrap()), _is_here: is_here }
    }

    fn watch(&self, room: &str) -> (Place, ListWish) {
        let is_here = Arc::new(());
        let member = Member { at_least: 0, is_here: Arc::downgrade(&is_here) };
        let name = RoomName::parse(room).unwrap();
        let joined = self.rooms.join(&name, Attendance::Watcher, member, Instant::now()).unwrap();
        self.rooms.keep_list(joined.room());
        (Place { _site: None, _room: Some(joined), _is_here: is_here }, self.listing.want(&name))
    }

    /// How many connections of a user are there.
    pub(crate) fn connections(&self, room: &str, user: &str) -> usize {
        let key = (room.to_owned(), Some(user.to_owned()));
        self.present.get(&key).map_or(0, Vec::len)
    }

    /// How many connections without an identity are there.
    pub(crate) fn anonymous(&self, room: &str) -> usize {
        self.present.get(&(room.to_owned(), None)).map_or(0, Vec::len)
    }

    pub(crate) fn has(&self, room: &str, user: &str) -> bool {
        self.connections(room, user) > 0
    }

    pub(crate) fn toggle_watch(&mut self, room: &str) {
        if self.watching.remove(room).is_none() {
            let place = self.watch(room);
            self.watching.insert(room.to_owned(), place);
        }
    }

    /// All leave.
    pub(crate) fn empty(&mut self) {
        self.present.clear();
        self.watching.clear();
    }

    /// Who is in the site or in a room: connections without an identity, and users.
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

    /// What the store holds of its rooms, and of its users of the site, beyond what is here.
    pub(crate) fn drift(&self) -> i64 {
        self.rooms.state(&self.view.borrow(), Instant::now()).drift
    }

    pub(crate) fn shown_site(&self) -> (u64, bool) {
        let shown = self.view.borrow().shown(Instant::now());
        (shown.users, shown.exact)
    }

    /// Whether somebody is told who is in a room.
    pub(crate) fn lists(&self, room: &str) -> bool {
        self.watching.contains_key(room)
    }

    /// Who is in a room, as somebody was told last.
    pub(crate) fn listed(&self, room: &str) -> Option<BTreeSet<String>> {
        self.listing.told(room)
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
