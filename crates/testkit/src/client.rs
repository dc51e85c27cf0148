//! A well-behaved client: it connects, answers pings, and writes what it sees into a [`Record`].
//!
//! The protocol is that of [`headcount_client`]. Anything the server does outside the contract becomes a violation in the
//! record.

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

/// One client. Dropped, it vanishes without a word, as a browser does whose machine loses its network.
#[derive(Debug)]
pub struct Client {
    record: Record,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// What the test wants of a client; it obeys the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Read,
    StopReading,
    Leave,
}

/// Whether a client opens a new connection when its own was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterLoss {
    Return,
    StayAway,
}

/// Between two attempts to return: no more than a real client's first delay.
const RETURN_GAP: Duration = Duration::from_millis(100);

impl Client {
    /// Begins to connect and returns at once; what happens is in the record.
    pub fn open(server: SocketAddr, transport: Transport) -> Self {
        Self::start(server, transport, AfterLoss::StayAway)
    }

    /// Like [`Client::open`], but it returns by itself whenever its connection is lost.
    pub fn open_faithful(server: SocketAddr, transport: Transport) -> Self {
        Self::start(server, transport, AfterLoss::Return)
    }

    fn start(server: SocketAddr, transport: Transport, after_loss: AfterLoss) -> Self {
        let record = Record::new(format!("{transport:?} client of {server}"));
        let (order, orders) = watch::channel(Order::Read);
        let task = tokio::spawn(live(server, transport, after_loss, record.clone(), orders));
        Self { record, order, task }
    }

    /// What it saw.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Stops reading (and so answering pings), while the connection stays open. For websockets.
    pub fn stop_reading(&self) {
        self.order.send_replace(Order::StopReading);
    }

    /// Reads again.
    pub fn read_again(&self) {
        self.order.send_replace(Order::Read);
    }

    /// Says good-bye as a closed tab does, and ends.
    pub async fn leave(mut self) {
        self.order.send_replace(Order::Leave);
        let end = timeout(PATIENCE, &mut self.task).await;
        end.expect("leaving takes no time").expect("the client's task does not panic");
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
        sleep(RETURN_GAP).await;
    }
}

/// One connection, from the handshake to its end: `Ok` if the client left, else why it was lost.
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
                // Failing is as good: then the session was over already.
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

/// Answers what must be answered, and records what a user would notice. An error ends the session.
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
        Packet::Open(_) | Packet::ProbeAnswer => {
            record.push(Event::Violation(format!("out of turn: {packet:?}")));
        }
    }
    Ok(())
}
