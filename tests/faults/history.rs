//! What the harness itself knows and sees: when each visit begins and ends, and what each instance
//! shows.
//!
//! A client visits the site, and each room that it is in: all on one connection, and each with a record.
//!
//! It only records; the checker judges.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use headcount_testkit::{
    client::{Auth, Client, RoomPlace, Transport},
    event_stream::{self, EventStream},
    record::Record,
};
use serde::Deserialize;
use tokio::task::JoinHandle;

/// The place of an instance in the cluster. An instance that replaces another has the same number.
pub(crate) type Place = usize;

/// The name of a room.
pub(crate) type RoomName = Arc<str>;

/// The visitor key of a person, which all his clients share.
pub(crate) type PersonKey = Arc<str>;

/// The visit of one client to the site or to a room.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The room, or `None` for the site.
    pub(crate) room: Option<RoomName>,
    /// Whether the client is counted there. One that only watches a room is not.
    pub(crate) is_counted: bool,
    /// Whose client it is; `None` if it does not say so.
    pub(crate) person: Option<PersonKey>,
    /// The place of its instance, or `None` if a balancer chooses.
    pub(crate) place: Option<Place>,
    /// What the client saw.
    pub(crate) record: Record,
    /// What the same client saw of the site, on the same connection.
    pub(crate) carrier: Record,
    /// When it began to connect.
    pub(crate) opened: Instant,
    /// When it began to leave.
    pub(crate) leaving: Option<Instant>,
    /// When it had left, as far as it is concerned.
    pub(crate) gone: Option<Instant>,
}

/// All visits. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visits(Arc<Mutex<Vec<Visit>>>);

/// A room, and whether a client is counted in it.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    room: RoomName,
    is_counted: bool,
}

/// A client whose visits are recorded.
#[derive(Debug)]
pub(crate) struct Guest {
    client: Client,
    visits: Visits,
    person: Option<PersonKey>,
    place: Option<Place>,
    /// Its visit to the site, and those to the rooms that it is in.
    indexes: Mutex<Vec<usize>>,
}

/// Who decides which instance a client is connected to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// The client connects once, to the instance at this place.
    To(Place),
    /// A balancer. The client reconnects through it whenever it loses the connection.
    Balanced,
}

/// The client is counted in this room.
pub(crate) fn member(room: impl Into<RoomName>) -> Membership {
    Membership { room: room.into(), is_counted: true }
}

/// The client only watches this room.
pub(crate) fn watcher(room: impl Into<RoomName>) -> Membership {
    Membership { room: room.into(), is_counted: false }
}

impl Visits {
    /// A client connects to this address, and joins the site and these rooms. It is that of this person, if of any.
    pub(crate) fn open(
        &self,
        way: Way,
        server: SocketAddr,
        transport: Transport,
        person: Option<&PersonKey>,
        rooms: &[Membership],
    ) -> Guest {
        let opened = Instant::now();
        let who = format!("{transport:?} client of {server}");
        let places: Vec<_> = rooms.iter().map(|membership| membership.place(&who)).collect();
        let auth = Auth { visitor: person.cloned(), ..Auth::default() };
        let (place, client) = match way {
            Way::To(place) => {
                (Some(place), Client::open_as(&auth, server, transport, places.clone()))
            }
            Way::Balanced => {
                (None, Client::open_reconnecting_as(&auth, server, transport, places.clone()))
            }
        };
        let record = client.record().clone();
        let site = Visit { person: person.cloned(), ..Visit::new(place, opened, record) };
        let rooms: Vec<_> = places.into_iter().map(|seat| site.of_room(seat, opened)).collect();
        let mut all = self.lock();
        let first = all.len();
        all.extend(std::iter::once(site).chain(rooms));
        let indexes = Mutex::new((first..all.len()).collect());
        Guest { client, visits: self.clone(), person: person.cloned(), place, indexes }
    }

    /// All visits so far.
    pub(crate) fn all(&self) -> Vec<Visit> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Visit>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

impl Membership {
    fn place(&self, who: &str) -> RoomPlace {
        let record = Record::new(format!("{} of a {who}", self.room));
        RoomPlace { room: Arc::clone(&self.room), watches: !self.is_counted, record }
    }
}

impl Visit {
    /// A visit to the site that begins now.
    pub(crate) fn new(place: Option<Place>, opened: Instant, record: Record) -> Self {
        let carrier = record.clone();
        let (room, person, leaving, gone) = (None, None, None, None);
        Self { room, is_counted: true, person, place, record, carrier, opened, leaving, gone }
    }

    /// The visit of the same client to a room.
    fn of_room(&self, seat: RoomPlace, opened: Instant) -> Self {
        let RoomPlace { room, watches, record } = seat;
        let (person, carrier) = (self.person.clone(), self.carrier.clone());
        let visit = Self::new(self.place, opened, record);
        Self { room: Some(room), is_counted: !watches, person, carrier, ..visit }
    }

    /// Whether the client is there now.
    pub(crate) fn is_here(&self) -> bool {
        self.leaving.is_none() && self.record.is_connected()
    }

    /// Whether the client is connected, and its join is not acknowledged yet.
    pub(crate) fn is_joining(&self) -> bool {
        self.leaving.is_none() && self.carrier.is_connected() && !self.record.is_connected()
    }
}

impl Guest {
    /// What this client saw of the site.
    pub(crate) fn record(&self) -> &Record {
        self.client.record()
    }

    /// Joins another room.
    pub(crate) fn join(&self, membership: &Membership) {
        let opened = Instant::now();
        let seat = membership.place(self.record().name());
        let site = Visit::new(self.place, opened, self.record().clone());
        let site = Visit { person: self.person.clone(), ..site };
        let mut all = self.visits.lock();
        self.client.join(seat.clone());
        self.indexes().push(all.len());
        all.push(site.of_room(seat, opened));
    }

    /// Leaves a room, and stays connected.
    pub(crate) fn leave_room(&self, room: &str) {
        let mut all = self.visits.lock();
        let is_of_room = |visit: &Visit| visit.room.as_deref() == Some(room);
        let (left, kept) = std::mem::take(&mut *self.indexes())
            .into_iter()
            .partition(|&index| is_of_room(&all[index]));
        *self.indexes() = kept;
        let left: Vec<usize> = left;
        let now = Instant::now();
        for index in left {
            all[index].leaving = Some(now);
            // Nothing is answered to it. The server has it as soon as the machine allows.
            all[index].gone = Some(now);
        }
        self.client.leave_room(room);
    }

    /// Disconnects in order.
    pub(crate) async fn leave(self) {
        self.change(|visit| visit.leaving = Some(Instant::now()));
        let (visits, indexes) = (self.visits.clone(), std::mem::take(&mut *self.indexes()));
        self.client.leave().await;
        let now = Instant::now();
        let mut all = visits.lock();
        for index in indexes {
            all[index].gone = Some(now);
        }
    }

    /// Stops reading and answering, while the connection stays open.
    pub(crate) fn vanish(&self) {
        let now = Instant::now();
        self.client.stop_reading();
        self.change(|visit| {
            visit.leaving = Some(now);
            visit.gone = Some(now);
        });
    }

    fn change(&self, change: impl Fn(&mut Visit)) {
        let mut all = self.visits.lock();
        for &index in self.indexes().iter() {
            change(&mut all[index]);
        }
    }

    fn indexes(&self) -> MutexGuard<'_, Vec<usize>> {
        self.indexes.lock().expect("nothing panics while it holds this lock")
    }
}

/// What one instance showed on one stream of its public API, in order. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Showings(Arc<Mutex<Vec<Showing>>>);

/// One event of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Showing {
    /// The content of the event, or the text of anything else that arrived.
    pub(crate) said: Result<Said, String>,
    /// When this process received it.
    pub(crate) at: Instant,
}

impl Showing {
    /// Whether it says something of this room, or is something that no stream should contain.
    pub(crate) fn is_of(&self, room: &str) -> bool {
        self.said.as_ref().map_or(true, |said| said.room.as_deref() == Some(room))
    }
}

/// The content of an event of the stream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    /// The room; absent on a stream of the site.
    #[serde(default)]
    pub(crate) room: Option<String>,
    /// Users in the cluster.
    pub(crate) count: u64,
    /// The revision, which grows with every change.
    pub(crate) revision: u64,
    /// Whether the count is exact, not an estimate.
    pub(crate) exact: bool,
}

/// Reads the stream of one instance until the stream ends.
#[derive(Debug)]
pub(crate) struct Watcher {
    showings: Showings,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts to read a stream of the instance at this address: that of these rooms, or that of the site if there are none.
    /// The names of rooms need no escapes.
    pub(crate) fn start(server: SocketAddr, rooms: &[String]) -> Self {
        let mut path = String::from(event_stream::PATH);
        for (index, room) in rooms.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            path.extend([&format!("{separator}room="), room.as_str()]);
        }
        let showings = Showings::default();
        let task = tokio::spawn({
            let showings = showings.clone();
            // The stream ends with the instance. Nothing is left to record then.
            async move { drop(watch(server, &path, &showings).await) }
        });
        Self { showings, task }
    }

    /// All events so far.
    pub(crate) fn showings(&self) -> Vec<Showing> {
        self.showings.lock().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Showings {
    fn lock(&self) -> MutexGuard<'_, Vec<Showing>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

async fn watch(server: SocketAddr, path: &str, showings: &Showings) -> std::io::Result<()> {
    let mut stream = EventStream::open_at(server, path, "").await?;
    if stream.status != 200 {
        let said = Err(format!("status {} to {path}", stream.status));
        showings.lock().push(Showing { said, at: Instant::now() });
    }
    while let Some(json) = stream.next().await {
        let said = serde_json::from_str(&json).map_err(|error| format!("{error} in {json}"));
        showings.lock().push(Showing { said, at: Instant::now() });
    }
    Ok(())
}
