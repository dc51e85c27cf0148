//! Visitors on a websocket of our own, which needs neither the library's queue nor its three tasks for each. A session
//! is one small task that reads; whatever is written goes straight to the socket.
//!
//! ```text
//! asked ──2probe──▶ probed ──5──▶ gone over ──its stay comes from the library──┐
//!                                    │ 40, 41                                 ▼
//! opened ────────────────────────────┴──────────────▶ not joined ──40──▶ joined ──41──▶ not joined …
//!
//! from any of them: a close, an error, silence, the kill switch, not joined for too long: ended
//! ```
//!
//! Who begins with a websocket begins with `opened`, who begins with polling, as the library's, comes by the upper way:
//! [`crate::admission`]. It touches the tally and its own connection, never another's.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use socketioxide::socket::Sid;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::Upgrade,
    connection::{Connection, Control},
    frame,
    inlet::{Incoming, Inlet, Mangled},
    library::Library,
    metrics::Metrics,
    packet::{PROBE_ANSWERED, PROBE_ASKED, Packet, UPGRADE},
    pings::{Pings, Place},
    session::{CONNECT_TIMEOUT, SocketSettings},
    stay::{FirstValue, Stay, Transport, Visitor},
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
    /// Where those who begin with polling are until they come here.
    library: Library,
    /// Those in the namespace.
    joined: AtomicUsize,
}

/// How a session comes to a websocket, and what is still to be said to its handshake.
#[derive(Debug)]
pub enum Opening {
    /// It begins here.
    New(Vec<u8>),
    /// It began with polling.
    Upgrade(Box<Upgrade>, Vec<u8>),
}

/// A client's session, from the answer to its handshake to its end.
struct Session {
    hall: Arc<Websockets>,
    control: Arc<Control>,
    id: Sid,
    stay: Option<Stay>,
    /// Where it is pinged, once it speaks Engine.IO here.
    place: Option<Place>,
    /// Until it has come from polling, if it does.
    coming: Option<Coming>,
}

struct Coming {
    upgrade: Box<Upgrade>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Asked,
    Probed,
    GoneOver,
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
        library: Library,
    ) -> Arc<Self> {
        let pings = Pings::new(settings.ping_interval, settings.ping_timeout);
        let settings = settings.clone();
        Arc::new(Self { settings, tally, metrics, pings, library, joined: AtomicUsize::new(0) })
    }

    /// Where those who begin with polling are until they come here.
    pub fn library(&self) -> &Library {
        &self.library
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

    /// Serves a session to its end. What the client has said behind its handshake is in the connection.
    pub async fn serve(self: Arc<Self>, mut connection: Connection, opening: Opening) {
        let reason = Session::open(self, connection.control(), opening).run(&mut connection).await;
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
    fn open(hall: Arc<Websockets>, control: Arc<Control>, opening: Opening) -> Self {
        control.begin_websocket();
        let (id, place, coming) = match opening {
            Opening::New(mut answer) => {
                let id = Sid::new();
                answer.extend(frame::text(&hall.opening(id)));
                control.send(&answer);
                (id, Some(hall.pings.enter(&control)), None)
            }
            Opening::Upgrade(upgrade, answer) => {
                control.send(&answer);
                (upgrade.session(), None, Some(Coming { upgrade, step: Step::Asked }))
            }
        };
        Self { hall, control, id, stay: None, place, coming }
    }

    /// Returns why it ended.
    async fn run(&mut self, connection: &mut Connection) -> &'static str {
        let mut inlet = Inlet::new(self.hall.settings.payload_bytes_max);
        let ended = loop {
            let joining = poll_fn(|context| self.poll(context, connection, &mut inlet));
            match timeout(CONNECT_TIMEOUT, joining).await {
                Err(_) => {
                    self.expire();
                    break Ended::by("while_connecting");
                }
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
            self.arrive(context.waker())?;
            if self.stay.is_some() != was_joined {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *connection).poll_read(context, &mut buffer));
            read.map_err(|_| Ended::by("transport_error"))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(Ended::by("transport_error")));
            }
            let more = buffer.remaining() == 0;
            inlet.read(buffer.filled_mut(), |incoming| self.hear(incoming))?;
            if more && self.stay.is_some() == was_joined {
                // Whoever has much to say waits for others in between.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn hear(&mut self, incoming: Incoming<'_>) -> Result<(), Ended> {
        match incoming {
            Incoming::Text(message) => self.hear_text(message),
            Incoming::Ping(payload) => {
                self.control.send(&frame::pong(payload));
                Ok(())
            }
            Incoming::Binary | Incoming::Pong => Ok(()),
            Incoming::Close => Err(Ended::CLOSED),
        }
    }

    fn hear_text(&mut self, message: &str) -> Result<(), Ended> {
        let Some(coming) = self.coming.as_mut().filter(|coming| coming.step != Step::GoneOver)
        else {
            return self.receive(Packet::parse(message).ok_or(Ended::BAD_PACKET)?);
        };
        match (coming.step, message) {
            (Step::Asked, PROBE_ASKED) => {
                coming.step = Step::Probed;
                self.control.send(&frame::text(PROBE_ANSWERED));
                coming.upgrade.release_polls();
                Ok(())
            }
            (Step::Probed, UPGRADE) if coming.upgrade.commit(&self.control) => {
                coming.step = Step::GoneOver;
                // Clients wait for the next ping from the last one on, which came by polling.
                self.control.send(frame::PING);
                self.place = Some(self.hall.pings.enter(&self.control));
                self.arrive(Waker::noop())
            }
            _ => Err(Ended::BAD_PACKET),
        }
    }

    /// Takes the client's stay over from the library, as soon as that can be.
    fn arrive(&mut self, waker: &Waker) -> Result<(), Ended> {
        let Some(coming) = &self.coming else { return Ok(()) };
        let stay = match coming.upgrade.poll_stay(waker) {
            Poll::Pending => None,
            Poll::Ready(None) => return Err(Ended::WITH_ITS_SESSION),
            Poll::Ready(stay) => stay,
        };
        if let Err(ended) = self.forward(&coming.upgrade) {
            stay.inspect(|stay| stay.end_for(ended.reason));
            return Err(ended);
        }
        if let Some(stay) = stay {
            stay.move_to(&self.control, self.control.begin_stay());
            self.hall.joined.fetch_add(1, Ordering::Relaxed);
            (self.stay, self.coming) = (Some(stay), None);
        }
        Ok(())
    }

    /// Says what the library still has to say.
    fn forward(&self, upgrade: &Upgrade) -> Result<(), Ended> {
        for packet in upgrade.packets().ok_or(Ended::WITH_ITS_SESSION)? {
            self.control.send(&frame::text(&packet));
        }
        Ok(())
    }

    /// The client has taken too long to go over. If it may have done so without our hearing it, its session must end:
    /// nobody would poll it any more.
    fn expire(&self) {
        if let Some(Coming { upgrade, step: Step::Probed }) = &self.coming {
            upgrade.commit(&self.control);
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
        if let Some(coming) = self.coming.take() {
            coming.upgrade.give_up("while_connecting");
        }
        let stay = self.control.begin_stay();
        self.control.send(&frame::text(&format!("40{{\"sid\":\"{}\"}}", self.id)));
        let control = Arc::downgrade(&self.control);
        let visitor = Visitor::Websocket(control, stay, FirstValue::default());
        self.hall.joined.fetch_add(1, Ordering::Relaxed);
        let Websockets { tally, metrics, .. } = &*self.hall;
        self.stay = Some(Stay::begin(tally, metrics, visitor, Transport::Websocket));
    }

    fn leave(&mut self, reason: &'static str) {
        if let Some(coming) = self.coming.take() {
            coming.upgrade.give_up(reason);
        }
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
    /// The library ended the session that was to come here.
    const WITH_ITS_SESSION: Self = Self { reason: "transport_close", code: None };

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
pub(crate) mod tests;
