//! A well-behaved client: it connects, answers pings, and writes what it sees into a [`Record`].
//!
//! The protocol is that of [`headcount_client`]. Everything that the server sends outside the contract becomes a
//! violation in the record.

use std::{net::SocketAddr, time::Duration};

pub use headcount_client::Transport;
use headcount_client::{
    Error, Packet, Session,
    packet::{CONNECT, PONG},
};
use tokio::{
    sync::watch,
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
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
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
        Self::start(server, transport, AfterLoss::StayAway)
    }

    /// The same as [`Client::open`], but the client reconnects whenever its connection is lost.
    pub fn open_reconnecting(server: SocketAddr, transport: Transport) -> Self {
        Self::start(server, transport, AfterLoss::Reconnect)
    }

    fn start(server: SocketAddr, transport: Transport, after_loss: AfterLoss) -> Self {
        let record = Record::new(format!("{transport:?} client of {server}"));
        let (order, orders) = watch::channel(Order::Read);
        let task = tokio::spawn(live(server, transport, after_loss, record.clone(), orders));
        Self { record, order, task }
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

async fn live(
    server: SocketAddr,
    transport: Transport,
    after_loss: AfterLoss,
    record: Record,
    mut orders: watch::Receiver<Order>,
) {
    loop {
        match session(server, transport, &record, &mut orders).await {
            Ok(()) => return,
            Err(reason) => record.push(Event::Disconnected(reason)),
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
    record: &Record,
    orders: &mut watch::Receiver<Order>,
) -> Result<(), String> {
    let as_text = |error: Error| error.to_string();
    let (mut session, _) = Session::open(&server.to_string(), transport).await.map_err(as_text)?;
    session.send(CONNECT).await.map_err(as_text)?;
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
                _ = orders.changed() => continue,
            },
            Order::StopReading => {
                orders.changed().await.map_err(|_| "the test dropped the client")?;
                continue;
            }
        };
        match event {
            Ok(event) => receive(&mut session, record, event).await?,
            Err(error) => {
                if matches!(error, Error::Unexpected { .. }) {
                    record.push(Event::Violation(format!("{error:?}")));
                }
                return Err(error.to_string());
            }
        }
    }
}

/// Answers what requires an answer, and records what a user would notice. An error ends the session.
async fn receive(
    session: &mut Session,
    record: &Record,
    event: headcount_client::Event,
) -> Result<(), String> {
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
        Packet::Open(_) | Packet::ProbeAnswer | Packet::Room { .. } => {
            record.push(Event::Violation(format!("out of turn: {packet:?}")));
        }
    }
    Ok(())
}
