//! A small Socket.IO v5 client over Engine.IO v4: it connects, answers pings, and writes a [`Record`].
//!
//! It never mends what the server does: anything outside the contract becomes a violation in the record.

mod link;
mod polling;
mod websocket;

use std::{net::SocketAddr, time::Duration};

use link::Link;
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

/// How a client talks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Only a websocket.
    WebSocket,
    /// Only HTTP long-polling.
    Polling,
    /// Polling first, then the same session on a websocket: what browsers do by default.
    Upgrade,
}

impl Transport {
    /// All three, to be taken in turn.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Polling, Self::Upgrade];
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
    let mut link = Link::open(server, transport).await?;
    loop {
        let order = *orders.borrow_and_update();
        let packets = match order {
            Order::Leave => {
                link.leave().await;
                return Ok(());
            }
            Order::Read => tokio::select! {
                packets = link.receive() => packets?,
                _ = orders.changed() => continue,
            },
            Order::StopReading => {
                orders.changed().await.map_err(|_| "the test dropped the client")?;
                continue;
            }
        };
        for packet in packets {
            hear(&mut link, record, &packet).await?;
        }
    }
}

async fn hear(link: &mut Link, record: &Record, packet: &str) -> Result<(), String> {
    match packet {
        "2" => link.send("3").await?,
        "1" => return Err("the server closed the session".into()),
        "6" => {}
        link::UPGRADED => record.push(Event::Upgraded),
        "41" => {
            record.push(Event::Violation("41: a real client would stay away for good".into()));
            return Err("the server disconnected the namespace".into());
        }
        _ if packet.starts_with("40{") => record.push(Event::Connected),
        _ => record.push(count_in(packet)),
    }
    Ok(())
}

/// The wire format, to the letter: `42["user count",5]`.
fn count_in(packet: &str) -> Event {
    packet
        .strip_prefix("42[\"user count\",")
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map_or_else(|| Event::Violation(format!("not in the contract: {packet}")), Event::Count)
}
