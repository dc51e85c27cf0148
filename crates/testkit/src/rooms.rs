//! A well-behaved client that is in several rooms on one connection, with a [`Record`] for each room.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use headcount_client::{
    Packet, Session,
    packet::{CONNECT, PONG, RoomNews, join, leave, watch},
};
use serde_json::Value;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

use crate::{
    client::Transport,
    record::{Event, Record},
};

/// The pause before a client connects again.
const RECONNECT_GAP: Duration = Duration::from_millis(100);

/// One client. It connects again whenever its connection is lost, and joins its rooms again. When it is dropped, its
/// connection ends without a goodbye.
#[derive(Debug)]
pub struct RoomsClient {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The packet that joins each room that the client wants to be in.
    wanted: BTreeMap<String, String>,
    records: BTreeMap<String, Record>,
    /// What is to be sent on the present connection.
    orders: Vec<String>,
}

impl RoomsClient {
    /// Begins to connect, and joins these rooms.
    pub fn open(server: SocketAddr, transport: Transport, rooms: &[&str]) -> Self {
        let name = format!("{transport:?} client of {server}");
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { name, state, changed: Notify::new() });
        let task = tokio::spawn(live(server, transport, Arc::clone(&shared)));
        let client = Self { shared, task };
        for room in rooms {
            client.join(room);
        }
        client
    }

    /// Joins a room.
    pub fn join(&self, room: &str) {
        self.enter(room, join(room));
    }

    /// Joins a room, and says this about itself. `/` is the site.
    pub fn join_with(&self, room: &str, auth: &Value) {
        self.enter(room, join_with(room, auth));
    }

    /// Will say something else about itself when it joins a room again after its connection was lost.
    pub fn will_say(&self, room: &str, auth: &Value) {
        self.shared.lock().wanted.insert(room.to_owned(), join_with(room, auth));
    }

    /// Watches a room.
    pub fn watch(&self, room: &str) {
        self.enter(room, watch(room));
    }

    /// Leaves a room.
    pub fn leave(&self, room: &str) {
        let mut state = self.shared.lock();
        state.wanted.remove(room);
        state.orders.push(leave(room));
        self.shared.record(&mut state, room).push(Event::Disconnected("it left".into()));
        self.shared.changed.notify_one();
    }

    /// What the client saw of a room.
    pub fn record(&self, room: &str) -> Record {
        self.shared.record(&mut self.shared.lock(), room)
    }

    fn enter(&self, room: &str, packet: String) {
        let mut state = self.shared.lock();
        self.shared.record(&mut state, room);
        state.wanted.insert(room.to_owned(), packet.clone());
        state.orders.push(packet);
        self.shared.changed.notify_one();
    }
}

fn join_with(room: &str, auth: &Value) -> String {
    format!("{CONNECT}{room},{auth}")
}

impl Drop for RoomsClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Records that the connection was lost.
    fn lose(&self, reason: &str) {
        let state = self.lock();
        for room in state.wanted.keys() {
            state.records[room].push(Event::Disconnected(reason.to_owned()));
        }
    }

    /// What is to be sent first on a new connection.
    fn begin(&self) {
        let mut state = self.lock();
        state.orders = state.wanted.values().cloned().collect();
    }

    fn hear(&self, room: &str, news: RoomNews) {
        let mut state = self.lock();
        let record = self.record(&mut state, room);
        // What was under way when it left is not for it.
        if state.wanted.contains_key(room) {
            record.push(match news {
                RoomNews::Joined => Event::Connected,
                RoomNews::Count(users) => Event::Count(users),
                RoomNews::Refused(code) => Event::Refused(code),
            });
        }
    }

    fn record(&self, state: &mut State, room: &str) -> Record {
        let new = || Record::new(format!("{room} of a {}", self.name));
        state.records.entry(room.to_owned()).or_insert_with(new).clone()
    }
}

async fn live(server: SocketAddr, transport: Transport, shared: Arc<Shared>) {
    loop {
        let Err(reason) = session(server, transport, &shared).await;
        shared.lose(&reason);
        sleep(RECONNECT_GAP).await;
    }
}

/// Runs one connection to its end.
async fn session(
    server: SocketAddr,
    transport: Transport,
    shared: &Shared,
) -> Result<std::convert::Infallible, String> {
    let as_text = |error: headcount_client::Error| error.to_string();
    let (mut session, _) = Session::open(&server.to_string(), transport).await.map_err(as_text)?;
    shared.begin();
    loop {
        let orders = std::mem::take(&mut shared.lock().orders);
        for order in orders {
            session.send(&order).await.map_err(as_text)?;
        }
        let event = tokio::select! {
            () = shared.changed.notified() => continue,
            event = session.next() => event.map_err(as_text)?,
        };
        let packet = match event {
            headcount_client::Event::Packet(packet) => packet,
            headcount_client::Event::Upgraded => {
                for record in shared.lock().records.values() {
                    record.push(Event::Upgraded);
                }
                continue;
            }
        };
        match packet {
            Packet::Ping => session.send(PONG).await.map_err(as_text)?,
            Packet::Noop => {}
            Packet::Close => return Err("the server closed the session".into()),
            Packet::Connected => shared.hear("/", RoomNews::Joined),
            Packet::Count(users) => shared.hear("/", RoomNews::Count(users)),
            Packet::Room { room, news } => shared.hear(&room, news),
            other => return Err(format!("out of turn: {other:?}")),
        }
    }
}
