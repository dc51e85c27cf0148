//! A well-behaved client: it connects, answers pings, and writes what it sees into a [`Record`].
//!
//! It is in the default namespace, and may be in rooms on the same connection. It has a record for each room.
//!
//! The protocol is that of [`headcount_client`]. Everything that the server sends outside the contract becomes a
//! violation in the record.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use headcount_client::{
    Error, Packet, Session,
    packet::{self, PONG, RoomNews},
};
pub use headcount_client::{Transport, auth::Auth};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    record::{Event, Record},
    waiting::PATIENCE,
};

/// One client. When it is dropped, its connection ends without a close frame or a `41`, as when a browser is killed.
#[derive(Debug)]
pub struct Client {
    record: Record,
    rooms: Arc<Rooms>,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// A client's place in a room.
#[derive(Clone, Debug)]
pub struct RoomPlace {
    /// The name of the room.
    pub room: Arc<str>,
    /// Whether the client only watches the room, and is not counted there.
    pub watches: bool,
    /// What the client saw of the room.
    pub record: Record,
}

/// The rooms of a client.
#[derive(Debug)]
struct Rooms {
    /// What the client says of itself when it joins.
    auth: Auth,
    places: Mutex<Vec<RoomPlace>>,
    /// Packets that the client has to send on its present connection.
    unsent: Mutex<Vec<String>>,
    changed: Notify,
}

/// What the test wants a client to do. Only the newest order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Read,
    StopReading,
    Leave,
}

/// Whether a client opens a new connection after it has lost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterLoss {
    Reconnect,
    StayAway,
}

/// The pause before a client connects again: no longer than the first delay of socket.io-client.
const RECONNECT_GAP: Duration = Duration::from_millis(100);

impl Client {
    /// Begins to connect and returns at once. All later events are in the record.
    pub fn open(server: SocketAddr, transport: Transport) -> Self {
        Self::open_as(&Auth::default(), server, transport, Vec::new())
    }

    /// The same as [`Client::open`], but the client reconnects whenever its connection is lost.
    pub fn open_reconnecting(server: SocketAddr, transport: Transport) -> Self {
        Self::open_reconnecting_as(&Auth::default(), server, transport, Vec::new())
    }

    /// The same as [`Client::open`], and the client joins these rooms.
    pub fn open_in(server: SocketAddr, transport: Transport, rooms: Vec<RoomPlace>) -> Self {
        Self::open_as(&Auth::default(), server, transport, rooms)
    }

    /// The same as [`Client::open_reconnecting`], and the client joins these rooms on every connection.
    pub fn open_reconnecting_in(
        server: SocketAddr,
        transport: Transport,
        rooms: Vec<RoomPlace>,
    ) -> Self {
        Self::open_reconnecting_as(&Auth::default(), server, transport, rooms)
    }

    /// The same as [`Client::open_in`], and the client says this of itself whenever it joins.
    pub fn open_as(
        auth: &Auth,
        server: SocketAddr,
        transport: Transport,
        rooms: Vec<RoomPlace>,
    ) -> Self {
        Self::start(auth, server, transport, AfterLoss::StayAway, rooms)
    }

    /// The same as [`Client::open_reconnecting_in`], and the client says this of itself whenever it joins.
    pub fn open_reconnecting_as(
        auth: &Auth,
        server: SocketAddr,
        transport: Transport,
        rooms: Vec<RoomPlace>,
    ) -> Self {
        Self::start(auth, server, transport, AfterLoss::Reconnect, rooms)
    }

    fn start(
        auth: &Auth,
        server: SocketAddr,
        transport: Transport,
        after_loss: AfterLoss,
        places: Vec<RoomPlace>,
    ) -> Self {
        let record = Record::new(format!("{transport:?} client of {server}"));
        let (order, orders) = watch::channel(Order::Read);
        let rooms = Arc::new(Rooms {
            auth: auth.clone(),
            places: Mutex::new(places),
            unsent: Mutex::default(),
            changed: Notify::new(),
        });
        let sight = Sight { record: record.clone(), rooms: Arc::clone(&rooms) };
        let task = tokio::spawn(live(server, transport, after_loss, sight, orders));
        Self { record, rooms, order, task }
    }

    /// Joins another room on the same connection.
    pub fn join(&self, place: RoomPlace) {
        let packet = place.packet(&self.rooms.auth);
        self.rooms.places().push(place);
        self.rooms.send(packet);
    }

    /// Leaves a room, and stays connected.
    pub fn leave_room(&self, room: &str) {
        self.rooms.places().retain(|place| &*place.room != room);
        self.rooms.send(packet::leave(room));
    }

    /// What the client saw.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Stops reading, and therefore answering pings, while the connection stays open. For websockets.
    pub fn stop_reading(&self) {
        self.order.send_replace(Order::StopReading);
    }

    /// Continues to read.
    pub fn read_again(&self) {
        self.order.send_replace(Order::Read);
    }

    /// Leaves the namespace and ends the session, as a closed tab does.
    pub async fn leave(mut self) {
        self.order.send_replace(Order::Leave);
        let end = timeout(PATIENCE, &mut self.task).await;
        end.expect("a client leaves in time").expect("the client's task does not panic");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RoomPlace {
    /// The packet that joins the room.
    fn packet(&self, auth: &Auth) -> String {
        Auth { watch: self.watches, ..auth.clone() }.join(&self.room)
    }
}

impl Rooms {
    /// Gives the client a packet to send.
    fn send(&self, packet: String) {
        self.unsent.lock().expect("no holder panics").push(packet);
        self.changed.notify_one();
    }

    /// What is to be sent at the beginning of a connection, and not again.
    fn begin(&self) -> Vec<String> {
        let places = self.places();
        self.unsent.lock().expect("no holder panics").clear();
        places.iter().map(|place| place.packet(&self.auth)).collect()
    }

    fn take_unsent(&self) -> Vec<String> {
        std::mem::take(&mut *self.unsent.lock().expect("no holder panics"))
    }

    fn places(&self) -> MutexGuard<'_, Vec<RoomPlace>> {
        self.places.lock().expect("nothing panics while it holds this lock")
    }
}

/// Where a client's task records what it sees.
#[derive(Debug)]
struct Sight {
    record: Record,
    rooms: Arc<Rooms>,
}

impl Sight {
    /// Records that the connection was lost.
    fn lose(&self, reason: &str) {
        self.record.push(Event::Disconnected(reason.to_owned()));
        for place in self.rooms.places().iter() {
            place.record.push(Event::Disconnected(reason.to_owned()));
        }
    }

    /// Records news of a room. What was under way when the client left the room is ignored.
    fn hear(&self, room: &str, news: RoomNews) {
        let places = self.rooms.places();
        let Some(place) = places.iter().find(|place| &*place.room == room) else { return };
        place.record.push(match news {
            RoomNews::Joined => Event::Connected,
            RoomNews::Count(users) => Event::Count(users),
            RoomNews::Refused(code) => Event::Refused(code),
        });
    }
}

async fn live(
    server: SocketAddr,
    transport: Transport,
    after_loss: AfterLoss,
    sight: Sight,
    mut orders: watch::Receiver<Order>,
) {
    loop {
        match session(server, transport, &sight, &mut orders).await {
            Ok(()) => return,
            Err(reason) => sight.lose(&reason),
        }
        if after_loss == AfterLoss::StayAway || *orders.borrow() == Order::Leave {
            return;
        }
        sleep(RECONNECT_GAP).await;
    }
}

/// Runs one connection from the handshake to its end. Returns `Ok` if the client left. An error says why the connection
/// was lost.
async fn session(
    server: SocketAddr,
    transport: Transport,
    sight: &Sight,
    orders: &mut watch::Receiver<Order>,
) -> Result<(), String> {
    let lost = |error: Error| {
        if matches!(error, Error::Unexpected { .. }) {
            sight.record.push(Event::Violation(format!("{error:?}")));
        }
        error.to_string()
    };
    let (mut session, _) = Session::open(&server.to_string(), transport).await.map_err(lost)?;
    session.send(&sight.rooms.auth.connect()).await.map_err(lost)?;
    for packet in sight.rooms.begin() {
        session.send(&packet).await.map_err(lost)?;
    }
    loop {
        let order = *orders.borrow_and_update();
        let event = match order {
            Order::Leave => {
                // A failure is acceptable: then the session had ended already.
                drop(session.leave().await);
                return Ok(());
            }
            Order::Read => tokio::select! {
                event = session.next() => event,
                () = sight.rooms.changed.notified() => {
                    for packet in sight.rooms.take_unsent() {
                        session.send(&packet).await.map_err(lost)?;
                    }
                    continue;
                }
                _ = orders.changed() => continue,
            },
            Order::StopReading => {
                orders.changed().await.map_err(|_| "the test dropped the client")?;
                continue;
            }
        };
        receive(&mut session, sight, event.map_err(lost)?).await?;
    }
}

/// Answers what requires an answer, and records what a user would notice. An error ends the session.
async fn receive(
    session: &mut Session,
    sight: &Sight,
    event: headcount_client::Event,
) -> Result<(), String> {
    let record = &sight.record;
    let packet = match event {
        headcount_client::Event::Upgraded => {
            record.push(Event::Upgraded);
            return Ok(());
        }
        headcount_client::Event::Packet(packet) => packet,
    };
    match packet {
        Packet::Ping => session.send(PONG).await.map_err(|error| error.to_string())?,
        Packet::Noop => {}
        Packet::Connected => record.push(Event::Connected),
        Packet::Count(users) => record.push(Event::Count(users)),
        Packet::Close => return Err("the server closed the session".into()),
        Packet::Disconnected => {
            record.push(Event::Violation("41: a real client would stay away for good".into()));
            return Err("the server disconnected the namespace".into());
        }
        Packet::Refused(code) => record.push(Event::Refused(code)),
        Packet::Room { room, news } => sight.hear(&room, news),
        Packet::Open(_) | Packet::ProbeAnswer => {
            record.push(Event::Violation(format!("out of turn: {packet:?}")));
        }
    }
    Ok(())
}
