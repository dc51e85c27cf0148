//! Visitors on a websocket of our own: those who begin with one, which needs neither the library's queue nor its
//! three tasks for each. A session is one small task that reads; whatever is written goes straight to the socket.
//!
//! ```text
//! opened ──40──▶ joined ──41──▶ left ──40──▶ joined …      not joined for too long: ended
//!    └──────────────┴────────────┴── a close, an error, silence, the kill switch: ended
//! ```
//!
//! It touches the tally and its own connection, never another's. Polling, and websockets that begin with it, are the
//! library's.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use socketioxide::socket::Sid;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::{Connection, Control},
    frame,
    inlet::{Incoming, Inlet, Mangled},
    metrics::Metrics,
    packet::Packet,
    pings::{Pings, Place},
    session::{CONNECT_TIMEOUT, SocketSettings},
    stay::{Stay, Transport, Visitor},
    tally::Tally,
};

/// Bytes read at once, on the stack: clients have nothing to say but pongs.
const READ_BYTES: usize = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Websockets {
    settings: SocketSettings,
    tally: Arc<Tally<Visitor>>,
    metrics: Metrics,
    pings: Arc<Pings>,
    /// Those in the namespace.
    joined: AtomicUsize,
}

/// A client's session, from the answer to its handshake to its end.
struct Session {
    hall: Arc<Websockets>,
    control: Arc<Control>,
    id: Sid,
    stay: Option<Stay>,
    place: Option<Place>,
}

/// Why a session ended, as the metrics call it, and the status code that the client is told, if any.
#[derive(Clone, Copy, Debug)]
struct Ended {
    reason: &'static str,
    code: Option<u16>,
}

impl Websockets {
    /// Counts in `tally` who joins.
    pub fn new(
        settings: &SocketSettings,
        tally: Arc<Tally<Visitor>>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let pings = Pings::new(settings.ping_interval, settings.ping_timeout);
        let settings = settings.clone();
        Arc::new(Self { settings, tally, metrics, pings, joined: AtomicUsize::new(0) })
    }

    /// Those in the namespace.
    pub fn joined(&self) -> usize {
        self.joined.load(Ordering::Relaxed)
    }

    /// All open sessions.
    pub fn everybody(&self) -> Vec<Arc<Control>> {
        self.pings.everybody()
    }

    /// Pings all sessions until `stop`.
    pub async fn ping(self: Arc<Self>, stop: CancellationToken) {
        Arc::clone(&self.pings).run(stop).await;
    }

    /// Serves a session to its end. `answer` is what is still to be said to the handshake; what the client has said
    /// behind that is in the connection.
    pub async fn serve(self: Arc<Self>, mut connection: Connection, answer: Vec<u8>) {
        let reason = Session::open(self, connection.control(), answer).run(&mut connection).await;
        tracing::debug!(reason, "a websocket ended");
    }

    /// The first packet of a session.
    fn opening(&self, id: Sid) -> String {
        let SocketSettings { ping_interval, ping_timeout, payload_bytes_max, .. } = &self.settings;
        format!(
            "0{{\"sid\":\"{id}\",\"upgrades\":[],\"pingInterval\":{},\"pingTimeout\":{},\
             \"maxPayload\":{payload_bytes_max}}}",
            ping_interval.as_millis(),
            ping_timeout.as_millis()
        )
    }
}

impl Session {
    fn open(hall: Arc<Websockets>, control: Arc<Control>, mut answer: Vec<u8>) -> Self {
        let id = Sid::new();
        answer.extend(frame::text(&hall.opening(id)));
        control.begin_frames();
        control.send(&answer);
        let place = hall.pings.enter(&control);
        Self { hall, control, id, stay: None, place: Some(place) }
    }

    /// Returns why it ended.
    async fn run(&mut self, connection: &mut Connection) -> &'static str {
        let mut inlet = Inlet::new(self.hall.settings.payload_bytes_max);
        let ended = loop {
            let joining = poll_fn(|context| self.poll(context, connection, &mut inlet));
            match timeout(CONNECT_TIMEOUT, joining).await {
                Err(_) => break Ended::by("while_connecting"),
                Ok(Err(ended)) => break ended,
                Ok(Ok(())) => {}
            }
            let leaving = poll_fn(|context| self.poll(context, connection, &mut inlet));
            if let Err(ended) = leaving.await {
                break ended;
            }
        };
        // Neither pings nor counts follow the last frame.
        self.place = None;
        let reason = self.control.ended_for().unwrap_or(ended.reason);
        self.leave(reason);
        if let Some(code) = ended.code {
            self.control.send(&frame::close(code));
        }
        reason
    }

    /// Reads until the client joins or leaves, or the session ends.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection,
        inlet: &mut Inlet,
    ) -> Poll<Result<(), Ended>> {
        let was_joined = self.stay.is_some();
        let mut bytes = [0; READ_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *connection).poll_read(context, &mut buffer));
            read.map_err(|_| Ended::by("transport_error"))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(Ended::by("transport_error")));
            }
            let more = buffer.remaining() == 0;
            inlet.read(buffer.filled_mut(), |incoming| self.hear(incoming))?;
            if self.stay.is_some() != was_joined {
                return Poll::Ready(Ok(()));
            }
            if more {
                // Whoever has much to say waits for others in between.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn hear(&mut self, incoming: Incoming<'_>) -> Result<(), Ended> {
        match incoming {
            Incoming::Text(message) => {
                let packet = Packet::parse(message).ok_or(Ended::BAD_PACKET)?;
                self.receive(packet)
            }
            Incoming::Ping(payload) => {
                self.control.send(&frame::pong(payload));
                Ok(())
            }
            Incoming::Binary | Incoming::Pong => Ok(()),
            Incoming::Close => Err(Ended::CLOSED),
        }
    }

    fn receive(&mut self, packet: Packet<'_>) -> Result<(), Ended> {
        match packet {
            Packet::Pong => self.control.pong(),
            Packet::Close => return Err(Ended::CLOSED),
            Packet::Connect => self.join(),
            Packet::ConnectElsewhere(namespace) => {
                let refusal = format!("44{namespace},{{\"message\":\"Invalid namespace\"}}");
                self.control.send(&frame::text(&refusal));
            }
            Packet::Disconnect => self.leave("client_left"),
            Packet::Ignored => {}
        }
        Ok(())
    }

    /// Nothing happens if the client has joined already. The acknowledgement is on its way before anybody can tell it a
    /// count.
    fn join(&mut self) {
        if self.stay.is_some() {
            return;
        }
        let stay = self.control.begin_stay();
        self.control.send(&frame::text(&format!("40{{\"sid\":\"{}\"}}", self.id)));
        let visitor = Visitor::Websocket(Arc::downgrade(&self.control), stay);
        self.hall.joined.fetch_add(1, Ordering::Relaxed);
        let Websockets { tally, metrics, .. } = &*self.hall;
        self.stay = Some(Stay::begin(tally, metrics, visitor, Transport::Websocket));
    }

    fn leave(&mut self, reason: &'static str) {
        if let Some(stay) = self.stay.take() {
            self.control.leave();
            self.hall.joined.fetch_sub(1, Ordering::Relaxed);
            stay.end_for(reason);
        }
    }
}

/// However the session's task ends.
impl Drop for Session {
    fn drop(&mut self) {
        self.leave("closing");
    }
}

impl Ended {
    /// By its client, in order.
    const CLOSED: Self = Self { reason: "transport_close", code: Some(1000) };
    const BAD_PACKET: Self = Self { reason: "bad_packet", code: Some(1002) };

    fn by(reason: &'static str) -> Self {
        Self { reason, code: None }
    }
}

impl From<Mangled> for Ended {
    fn from(Mangled(code): Mangled) -> Self {
        Self { reason: "transport_error", code: Some(code) }
    }
}

#[cfg(test)]
#[path = "websocket/tests.rs"]
mod tests;
