//! The sockets that are counted: each one's place in the local count, from its connect until it leaves.
//!
//! That a socket leaves is learned in two ways, and whichever is first counts it out, once:
//! - by its disconnect handler, in the same moment. The library has one for each socket, which the application may replace,
//!   and does not call it for a socket that was closed before it was set;
//! - by looking. A socket is gone that is not connected, or that is no more in its namespace: one that is closed amid its
//!   connect is connected for ever in its own eyes.

use std::{
    collections::HashMap,
    mem, ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ::socketioxide::{
    SendError, SocketError, TransportType,
    adapter::Adapter,
    extract::SocketRef,
    handler::DisconnectHandler,
    operators::BroadcastOperators,
    socket::{DisconnectReason, Sid, Socket},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    core::tally::{Presence, Tally},
    telemetry::metrics::{Metrics, signed},
};

/// The only namespace that is counted: a cluster has one count.
pub(super) const SITE: &str = "/";
/// The event's name, as every client of the lesson knows it.
const USER_COUNT: &str = "user count";
/// Why a socket left that the application counted out, as the metrics call it.
pub(super) const LEFT_BY_APPLICATION: &str = "server_left";
/// Why a socket left that was found to be gone.
const FOUND_GONE: &str = "unknown";
/// All reasons why a socket may have left.
const LABELS: [&str; 9] = [
    "transport_close",
    "transport_error",
    "client_left",
    LEFT_BY_APPLICATION,
    "ping_timeout",
    "multiple_polls",
    "bad_packet",
    "closing",
    FOUND_GONE,
];

/// All sockets that are counted.
pub(super) struct Roster<A: Adapter> {
    tally: Arc<Tally<Arc<Seat<A>>>>,
    /// By socket. Whatever is taken out is dropped without this lock: with a socket go values of the application's, which
    /// may do anything as they are dropped.
    seats: Mutex<HashMap<Sid, Arc<Seat<A>>>>,
    metrics: Metrics,
    /// Nobody is counted from here on.
    is_over: CancellationToken,
    /// Rung when somebody is counted whose leaving only looking will tell.
    unwatched: Arc<Notify>,
}

/// One socket's place in the local count.
pub(super) struct Seat<A: Adapter> {
    socket: SocketRef<A>,
    /// `None` once it left, and for the moment before it is counted.
    presence: Mutex<Option<Presence<Arc<Self>>>>,
    /// Whether its disconnect handler is ours.
    is_watched: Arc<AtomicBool>,
}

/// How a count gets to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Behind everything that waits already.
    Queue,
    /// By a slot that holds the newest alone.
    Slot,
}

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is on its way.
    Yes,
    /// The queue is full; another time may do.
    Full,
    /// The socket left.
    Gone,
}

impl<A: Adapter> Roster<A> {
    pub(super) fn new(
        tally: Arc<Tally<Arc<Seat<A>>>>,
        metrics: Metrics,
        is_over: CancellationToken,
    ) -> Self {
        metrics.begin_reasons(LABELS, []);
        Self { tally, seats: Mutex::default(), metrics, is_over, unwatched: Arc::default() }
    }

    pub(super) fn tally(&self) -> &Tally<Arc<Seat<A>>> {
        &self.tally
    }

    /// Resolves when the next look should come soon.
    pub(super) async fn unwatched(&self) {
        self.unwatched.notified().await;
    }

    /// Counts a socket in whose disconnect handler belongs to the application.
    pub(super) fn enter(&self, socket: &SocketRef<A>) {
        if self.seat(socket, false).is_some() {
            self.unwatched.notify_one();
        }
    }

    /// Counts a socket in and sets its disconnect handler.
    pub(super) fn enter_with_handler(self: &Arc<Self>, socket: &SocketRef<A>) {
        let Some(seat) = self.seat(socket, true) else { return };
        let is_watched = Arc::clone(&seat.is_watched);
        let (roster, is_called) = (Arc::clone(self), AtomicBool::new(false));
        socket.on_disconnect(Leaving { roster, is_watched, is_called });
    }

    /// Gives a socket a seat; `None` if it has one, or nobody is counted any more.
    fn seat(&self, socket: &SocketRef<A>, is_watched: bool) -> Option<Arc<Seat<A>>> {
        if self.is_over.is_cancelled() || !socket.connected() {
            return None;
        }
        let seat = Arc::new(Seat {
            socket: socket.clone(),
            presence: Mutex::default(),
            is_watched: Arc::new(AtomicBool::new(is_watched)),
        });
        let mut seats = self.seats();
        if seats.get(&socket.id).is_some_and(|seat| seat.is_of(socket)) {
            return None;
        }
        // A client that left and joined again on one connection has another socket of the same id.
        let before = seats.insert(socket.id, Arc::clone(&seat));
        drop(seats);
        if let Some(before) = before {
            self.count_out(&before, FOUND_GONE);
        }
        self.metrics.connects.with_label_values(&[transport(socket)]).inc();
        seat.take(&self.tally);
        Some(seat)
    }

    /// Counts a socket out that was found to be gone, unless it left this seat before and has another.
    pub(super) fn found_gone(&self, seat: &Arc<Seat<A>>) {
        self.remove(seat.socket.id, FOUND_GONE, |present| Arc::ptr_eq(present, seat));
    }

    /// Counts a socket out, if it is counted.
    pub(super) fn leave(&self, socket: &Socket<A>, reason: &'static str) {
        self.remove(socket.id, reason, |present| present.is_of(socket));
    }

    fn remove(&self, id: Sid, reason: &'static str, is_meant: impl Fn(&Arc<Seat<A>>) -> bool) {
        let mut seats = self.seats();
        if !seats.get(&id).is_some_and(is_meant) {
            return;
        }
        let seat = seats.remove(&id);
        drop(seats);
        if let Some(seat) = seat {
            self.count_out(&seat, reason);
        }
    }

    /// Looks for sockets that are gone from their namespace, counts them out, and says how many are left whose leaving
    /// only looking will tell.
    pub(super) fn look(&self, namespace: Option<&BroadcastOperators<A>>) -> usize {
        let seats: Vec<Arc<Seat<A>>> = self.seats().values().cloned().collect();
        let (mut unwatched, mut websockets, mut polling) = (0, 0, 0);
        for seat in seats {
            if !seat.is_in(namespace) {
                self.found_gone(&seat);
                continue;
            }
            unwatched += usize::from(!seat.is_watched.load(Ordering::Relaxed));
            match seat.socket.transport_type() {
                TransportType::Websocket => websockets += 1,
                TransportType::Polling => polling += 1,
            }
        }
        for (transport, open) in [("websocket", websockets), ("polling", polling)] {
            self.metrics.connections.with_label_values(&[transport]).set(signed(open));
        }
        unwatched
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn count_out(&self, seat: &Seat<A>, reason: &'static str) {
        if seat.give_up() {
            self.metrics.disconnects.with_label_values(&[reason]).inc();
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Sid, Arc<Seat<A>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Adapter> Seat<A> {
    /// Sends the count.
    pub(super) fn tell(&self, current_users: u64, way: Way) -> Told {
        if !self.is_taken() {
            return Told::Gone;
        }
        let emitted = match way {
            Way::Queue => self.socket.emit(USER_COUNT, &current_users),
            Way::Slot => self.socket.volatile().emit(USER_COUNT, &current_users),
        };
        match emitted {
            Ok(()) => Told::Yes,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Told::Full,
            Err(error) => {
                tracing::debug!(%error, "failed to emit the count to a socket that is closing");
                Told::Gone
            }
        }
    }

    fn is_of(&self, socket: &Socket<A>) -> bool {
        ptr::eq(&raw const *self.socket, socket)
    }

    fn is_in(&self, namespace: Option<&BroadcastOperators<A>>) -> bool {
        let present = || namespace?.get_socket(self.socket.id);
        self.socket.connected() && present().is_some_and(|socket| self.is_of(&socket))
    }

    /// Whether it is counted.
    pub(super) fn is_taken(&self) -> bool {
        self.presence().is_some()
    }

    /// Under the lock, so that whoever finds the newcomer waiting finds its seat taken.
    fn take(self: &Arc<Self>, tally: &Arc<Tally<Arc<Self>>>) {
        let mut presence = self.presence();
        *presence = Some(tally.join(Arc::clone(self), Instant::now()));
    }

    /// Returns whether it was taken.
    fn give_up(&self) -> bool {
        let presence = mem::take(&mut *self.presence());
        presence.is_some()
    }

    fn presence(&self) -> MutexGuard<'_, Option<Presence<Arc<Self>>>> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disconnect handler of a socket that is counted.
struct Leaving<A: Adapter> {
    roster: Arc<Roster<A>>,
    is_watched: Arc<AtomicBool>,
    is_called: AtomicBool,
}

impl<A: Adapter> DisconnectHandler<A, ()> for Leaving<A> {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<A>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<A>>),
    ) {
        self.is_called.store(true, Ordering::Relaxed);
        self.roster.leave(&socket, label(reason));
        defer(socket);
    }
}

/// Uncalled, it was replaced by a handler of the application's. This runs under a lock of the socket's, so it takes none.
impl<A: Adapter> Drop for Leaving<A> {
    fn drop(&mut self) {
        if *self.is_called.get_mut() {
            return;
        }
        self.is_watched.store(false, Ordering::Relaxed);
        self.roster.unwatched.notify_one();
    }
}

fn transport<A: Adapter>(socket: &Socket<A>) -> &'static str {
    match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    }
}

/// Why a socket left, as the metrics call it.
fn label(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose => "transport_close",
        DisconnectReason::MultipleHttpPollingError => "multiple_polls",
        DisconnectReason::PacketParsingError => "bad_packet",
        DisconnectReason::TransportError => "transport_error",
        DisconnectReason::HeartbeatTimeout => "ping_timeout",
        DisconnectReason::ClientNSDisconnect => "client_left",
        DisconnectReason::ServerNSDisconnect => LEFT_BY_APPLICATION,
        DisconnectReason::ClosingServer => "closing",
    }
}
