//! The library's side of Socket.IO, and who serves whom: how sockets come, are counted, and are sent away. Handlers
//! touch only the tally and their own session's admission.
//!
//! Messages from clients are not listened to; their size is bounded here and their rate in
//! [`crate::connection`].

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, middleware};
use socketioxide::{
    ParserConfig, SocketIo, TransportType, extract::SocketRef, layer::SocketIoLayer,
    service::SocketIoService, socket::DisconnectReason,
};
use tower::Layer;

use crate::{
    admission::Admission,
    broadcaster::YOUNG_EMISSIONS_MAX,
    connection::Control,
    gate::{self, Entrance, Gate},
    handover::{Front, Taker},
    library::Library,
    metrics::Metrics,
    session::{CONNECT_TIMEOUT, PATH, SocketSettings, Transports},
    stay::{FirstValue, Stay, Transport, Visitor},
    tally::Tally,
    websocket::Websockets,
};

/// Why a websocket ends that is sent elsewhere, as the metrics call it.
const SENT_AWAY: &str = "closing";
/// Packets queued per socket. Beside pings, the connect acknowledgement and the first counts nothing ever queues,
/// since later counts have a slot of their own. The queue is allocated 32 packets at a time, so less saves nothing.
const QUEUE_PACKETS: usize = 16;
/// The acknowledgement, a first value and a correction of it, a ping, and one to spare.
const _: () = assert!(QUEUE_PACKETS >= YOUNG_EMISSIONS_MAX as usize + 5);
/// Bytes of read buffer per websocket: clients have nothing to say but pongs.
const READ_BUFFER_BYTES: usize = 512;
/// Binary parts of one event; nobody listens to any, and an event that waits for its parts holds memory.
const BINARY_PARTS_MAX: usize = 1;
/// How long such an event may wait for its parts.
const BINARY_PARTS_TIMEOUT: Duration = Duration::from_secs(1);

/// The sockets of this instance.
#[derive(Clone)]
pub struct Sockets {
    io: SocketIo,
    /// The Socket.IO service as it is, without the gate in front.
    service: SocketIoService<Router>,
    library: Library,
    gate: Arc<Gate>,
    /// Who takes connections that become websockets, if any may.
    taker: Option<Taker>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// Who can be sent away.
#[derive(Clone, Debug)]
pub enum Guest {
    /// A socket of the library's.
    Session(SocketRef),
    /// A websocket of our own.
    Websocket(Arc<Control>),
}

impl Sockets {
    /// Builds the Socket.IO service; every socket of the default namespace is counted in `tally`.
    pub fn new(
        settings: &SocketSettings,
        gate: Arc<Gate>,
        tally: Arc<Tally<Visitor>>,
        metrics: Metrics,
    ) -> Self {
        let (layer, io) = build(settings);
        let service = layer.layer(Router::new());
        let library = Library::new(service.clone());
        let (tallied, counted) = (Arc::clone(&tally), metrics.clone());
        let websockets = Websockets::new(settings, tally, metrics, library.clone());
        let count_in = move |socket: SocketRef| {
            count_in(&socket, &tallied, &counted);
            async {}
        };
        io.ns("/", count_in);
        let taker = match (settings.transports, settings.direct) {
            (Transports::Polling, _) => None,
            (_, true) => Some(Taker::Own(websockets)),
            (_, false) => Some(Taker::Library(service.clone())),
        };
        Self { io, service, library, gate, taker }
    }

    /// The handle for emitting.
    pub fn io(&self) -> &SocketIo {
        &self.io
    }

    /// The gate in front.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Serves [`PATH`], behind the gate.
    pub fn router(&self) -> Router {
        let entrance = Entrance { gate: Arc::clone(&self.gate), taker: self.taker.clone() };
        let gate = middleware::from_fn_with_state(entrance, gate::pass);
        Router::new().route_service(PATH, self.service.clone()).layer(gate)
    }

    /// The websockets of our own, if there are any.
    pub fn websockets(&self) -> Option<&Arc<Websockets>> {
        match &self.taker {
            Some(Taker::Own(websockets)) => Some(websockets),
            _ => None,
        }
    }

    /// Who meets connections before the HTTP server does.
    pub fn front(&self) -> Option<Front> {
        let websockets = Arc::clone(self.websockets()?);
        Some(Front { gate: Arc::clone(&self.gate), websockets })
    }

    /// All who are here now.
    pub fn everybody(&self) -> Vec<Guest> {
        let sessions = self.io.sockets().into_iter().map(Guest::Session);
        let own = self.websockets().map(|websockets| websockets.everybody()).unwrap_or_default();
        sessions.chain(own.into_iter().map(Guest::Websocket)).collect()
    }

    /// Sends a client elsewhere by ending its transport. Never [`SocketRef::disconnect`]: a client that is
    /// told to leave the namespace stays away for good, one that loses its transport reconnects.
    pub fn send_away(&self, guest: &Guest) {
        let socket = match guest {
            Guest::Websocket(control) => return control.close_for(SENT_AWAY),
            Guest::Session(socket) => socket,
        };
        if let Some(control) = control(socket) {
            control.close_for(SENT_AWAY);
        } else if socket.transport_type() == TransportType::Polling {
            self.library.close(socket.id);
        }
    }

    /// Open sockets by transport.
    pub fn by_transport(&self) -> [(&'static str, usize); 2] {
        let sockets = self.io.sockets();
        let websockets = sockets
            .iter()
            .filter(|socket| socket.transport_type() == TransportType::Websocket)
            .count();
        let own = self.websockets().map_or(0, |websockets| websockets.joined());
        [("websocket", websockets + own), ("polling", sockets.len() - websockets)]
    }
}

fn build(settings: &SocketSettings) -> (SocketIoLayer, SocketIo) {
    let parser = ParserConfig::common()
        .max_incoming_binaries(BINARY_PARTS_MAX)
        .max_incoming_binary_buf_size(settings.payload_bytes_max)
        .packet_completion_timeout(BINARY_PARTS_TIMEOUT);
    let builder = SocketIo::builder()
        .ping_interval(settings.ping_interval)
        .ping_timeout(settings.ping_timeout)
        // Pings rest meanwhile, so a client that vanishes amid an upgrade must be found out by this.
        .upgrade_timeout(CONNECT_TIMEOUT.min(settings.ping_timeout))
        .connect_timeout(CONNECT_TIMEOUT)
        .max_buffer_size(QUEUE_PACKETS)
        .max_payload(settings.payload_bytes_max as u64)
        .ws_max_message_size(settings.payload_bytes_max)
        .ws_max_frame_size(settings.payload_bytes_max)
        .ws_read_buffer_size(READ_BUFFER_BYTES)
        .with_parser(parser);
    let builder = match settings.transports {
        Transports::Both => builder.transports([TransportType::Websocket, TransportType::Polling]),
        Transports::Websocket => builder.transports([TransportType::Websocket]),
        Transports::Polling => builder.transports([TransportType::Polling]),
    };
    builder.build_layer()
}

/// The stay lives with the session's admission, and ends with that at the latest. If the socket is closed before its
/// disconnect handler is set, both go with the socket: no order of events counts anybody for ever.
fn count_in(socket: &SocketRef, tally: &Arc<Tally<Visitor>>, metrics: &Metrics) {
    let Some(admission) = socket.req_parts().extensions.get::<Admission>() else {
        return tracing::error!("a session that came by no gate is not counted");
    };
    let begin = || {
        let visitor = Visitor::Session(socket.id, FirstValue::remembered());
        Stay::begin(tally, metrics, visitor, transport(socket))
    };
    let Some(number) = admission.begin_stay(begin) else { return };
    let admitted = admission.admitted();
    socket.on_disconnect(async move |socket: SocketRef, reason: DisconnectReason| {
        let ended_for = control(&socket).and_then(|control| control.ended_for());
        let label = ended_for.unwrap_or(reason_label(reason));
        match reason {
            DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect => {
                admitted.end_stay(number, label);
            }
            _ => admitted.end_for(label),
        }
    });
}

/// The connection that carries a socket's websocket; `None` for a polling socket.
fn control(socket: &SocketRef) -> Option<Arc<Control>> {
    let is_websocket = socket.transport_type() == TransportType::Websocket;
    let admission = socket.req_parts().extensions.get::<Admission>();
    admission.filter(|_| is_websocket)?.websocket()
}

fn transport(socket: &SocketRef) -> Transport {
    match socket.transport_type() {
        TransportType::Websocket => Transport::Websocket,
        TransportType::Polling => Transport::Polling,
    }
}

fn reason_label(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose => "transport_close",
        DisconnectReason::MultipleHttpPollingError => "multiple_polls",
        DisconnectReason::PacketParsingError => "bad_packet",
        DisconnectReason::TransportError => "transport_error",
        DisconnectReason::HeartbeatTimeout => "ping_timeout",
        DisconnectReason::ClientNSDisconnect => "client_left",
        DisconnectReason::ServerNSDisconnect => "server_left",
        DisconnectReason::ClosingServer => "closing",
    }
}
