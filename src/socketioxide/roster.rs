//! The sockets that are counted, and the place of each in the local count.
//!
//! There are two ways to find out that a socket has left. The first of them counts it out:
//! - its disconnect handler, which is called at that moment. The library has one for each socket, which the application may
//!   replace. It is not called for a socket that was closed before the handler was set;
//! - a search for sockets that are not connected, or not in the namespace any more. Being in the namespace matters because a
//!   socket that is closed during its connect reports itself as connected.

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
    core::{
        room::Person,
        tally::{Presence, Tally},
    },
    protocol::transport::Transport,
    telemetry::{
        labels::label_values,
        metrics::{Metrics, signed},
    },
};

/// The only namespace that is counted: a cluster has one count.
pub(super) const SITE: &str = "/";
/// The event's name, as every client of the lesson knows it.
const USER_COUNT: &str = "user count";
label_values! {
    /// Why a socket left, as `headcount_disconnects_total` and
    /// `headcount_sessions_ended_total` count it.
    pub(super) enum LeaveReason {
        /// Its transport was closed.
        TransportClose = "transport_close",
        /// Its transport broke.
        TransportError = "transport_error",
        /// The client left the namespace.
        ClientLeft = "client_left",
        /// The application counted it out.
        LeftByApplication = "server_left",
        /// It did not answer a ping in time.
        PingTimeout = "ping_timeout",
        /// The client sent a second poll while one was open.
        OverlappingRequests = "multiple_polls",
        /// The client sent an invalid packet.
        BadPacket = "bad_packet",
        /// The server closes.
        Closing = "closing",
        /// It was found to be gone.
        FoundGone = "unknown",
    }
}

/// All sockets that are counted.
pub(super) struct CountedSockets<A: Adapter> {
    tally: Arc<Tally<Arc<CountedSocket<A>>>>,
    /// Entries by socket. They are dropped outside the lock, because dropping a socket drops values of the application, which
    /// may do anything then.
    seats: Mutex<HashMap<Sid, Arc<CountedSocket<A>>>>,
    metrics: Metrics,
    /// Cancelled when nothing is counted any more.
    is_over: CancellationToken,
    /// Notified when a socket without our disconnect handler is counted.
    unwatched: Arc<Notify>,
}

/// A counted socket.
pub(super) struct CountedSocket<A: Adapter> {
    socket: SocketRef<A>,
    /// Its place in the local count. `None` once it has left. It is locked until the socket is counted, so that a task that finds
    /// the entry or the newcomer also finds it counted.
    presence: Mutex<Option<Presence<Arc<Self>>>>,
    /// Whether our disconnect handler is set.
    is_watched: Arc<AtomicBool>,
}

/// The way of a count to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through the queue, after everything that waits already.
    Queue,
    /// Through the slot, which holds only the newest count.
    Slot,
}

/// The result of telling a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The count is on its way.
    Yes,
    /// The queue is full. It may work later.
    Full,
    /// The socket has left.
    Gone,
}

impl<A: Adapter> CountedSockets<A> {
    pub(super) fn new(
        tally: Arc<Tally<Arc<CountedSocket<A>>>>,
        metrics: Metrics,
        is_over: CancellationToken,
    ) -> Self {
        metrics.begin_connects(Transport::ALL.map(Transport::label));
        metrics.begin_disconnects(LeaveReason::ALL.iter().map(|reason| reason.label()));
        Self { tally, seats: Mutex::default(), metrics, is_over, unwatched: Arc::default() }
    }

    pub(super) fn tally(&self) -> &Tally<Arc<CountedSocket<A>>> {
        &self.tally
    }

    /// Resolves when the next search should begin soon.
    pub(super) async fn unwatched(&self) {
        self.unwatched.notified().await;
    }

    /// Counts a socket in, and leaves its disconnect handler to the application.
    pub(super) fn enter(&self, socket: &SocketRef<A>, person: Option<Person>) {
        if self.add(socket, person, Arc::default()) {
            self.unwatched.notify_one();
        }
    }

    /// Counts a socket in and sets its disconnect handler.
    pub(super) fn enter_with_handler(
        self: &Arc<Self>,
        socket: &SocketRef<A>,
        person: Option<Person>,
    ) {
        let is_watched = Arc::new(AtomicBool::new(true));
        if self.add(socket, person, Arc::clone(&is_watched)) {
            let (roster, is_called) = (Arc::clone(self), AtomicBool::new(false));
            socket.on_disconnect(Leaving { roster, is_watched, is_called });
        }
    }

    /// Adds an entry for a socket. Returns false if it has one, or nothing is counted any more.
    fn add(
        &self,
        socket: &SocketRef<A>,
        person: Option<Person>,
        is_watched: Arc<AtomicBool>,
    ) -> bool {
        if self.is_over.is_cancelled() || !socket.connected() {
            return false;
        }
        let seat = Arc::new(CountedSocket {
            socket: socket.clone(),
            presence: Mutex::default(),
            is_watched,
        });
        // Whoever finds the entry waits until the socket is counted, and can count it out.
        let mut presence = seat.presence();
        let mut seats = self.seats();
        if seats.get(&socket.id).is_some_and(|seat| seat.is_of(socket)) {
            return false;
        }
        // A client that left and joined again on the same connection has a new socket with the same id.
        let before = seats.insert(socket.id, Arc::clone(&seat));
        drop(seats);
        if let Some(before) = &before {
            self.count_out(before, LeaveReason::FoundGone);
        }
        // A counted socket is all that is known here of a session.
        let transport = [transport(socket).label()];
        self.metrics.sessions.started.with_label_values(&transport).inc();
        self.metrics.connects.with_label_values(&transport).inc();
        *presence = Some(self.tally.join_as(person, Arc::clone(&seat), Instant::now()));
        drop(presence);
        true
    }

    /// Counts out a socket that was found to be gone, unless its entry was replaced meanwhile.
    pub(super) fn found_gone(&self, seat: &Arc<CountedSocket<A>>) {
        self.remove(seat.socket.id, LeaveReason::FoundGone, |present| Arc::ptr_eq(present, seat));
    }

    /// Counts a socket out, if it is counted.
    pub(super) fn leave(&self, socket: &Socket<A>, reason: LeaveReason) {
        self.remove(socket.id, reason, |present| present.is_of(socket));
    }

    fn remove(
        &self,
        id: Sid,
        reason: LeaveReason,
        is_meant: impl Fn(&Arc<CountedSocket<A>>) -> bool,
    ) {
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

    /// Searches for sockets that are gone, counts them out, and returns the number of remaining sockets without our disconnect
    /// handler.
    pub(super) fn look(&self, namespace: Option<&BroadcastOperators<A>>) -> usize {
        let seats: Vec<Arc<CountedSocket<A>>> = self.seats().values().cloned().collect();
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
        for (transport, open) in [(Transport::Websocket, websockets), (Transport::Polling, polling)]
        {
            self.metrics.connections.with_label_values(&[transport.label()]).set(signed(open));
        }
        self.metrics.sessions.open.set(signed(websockets + polling));
        self.metrics.sessions.polling.set(signed(polling));
        unwatched
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn count_out(&self, seat: &CountedSocket<A>, reason: LeaveReason) {
        if seat.give_up() {
            self.metrics.disconnects.with_label_values(&[reason.label()]).inc();
            self.metrics.sessions.ended.with_label_values(&[reason.label()]).inc();
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Sid, Arc<CountedSocket<A>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Adapter> CountedSocket<A> {
    /// Sends the count.
    pub(super) fn tell(&self, current_users: u64, way: Way) -> Delivery {
        if !self.is_taken() {
            return Delivery::Gone;
        }
        let emitted = match way {
            Way::Queue => self.socket.emit(USER_COUNT, &current_users),
            Way::Slot => self.socket.volatile().emit(USER_COUNT, &current_users),
        };
        match emitted {
            Ok(()) => Delivery::Yes,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Delivery::Full,
            Err(error) => {
                tracing::debug!(%error, "failed to emit the count to a socket that is closing");
                Delivery::Gone
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

    /// Whether the socket is counted.
    pub(super) fn is_taken(&self) -> bool {
        self.presence().is_some()
    }

    /// Counts the socket out. Returns whether it was counted.
    fn give_up(&self) -> bool {
        let presence = mem::take(&mut *self.presence());
        presence.is_some()
    }

    fn presence(&self) -> MutexGuard<'_, Option<Presence<Arc<Self>>>> {
        #[cfg(test)]
        crate::fixtures::turns::others_first();
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disconnect handler of a counted socket.
struct Leaving<A: Adapter> {
    roster: Arc<CountedSockets<A>>,
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
        self.roster.leave(&socket, reason.into());
        defer(socket);
    }
}

/// Dropped without a call, it was replaced by a handler of the application. This runs under a lock of the socket, so it takes
/// no lock.
impl<A: Adapter> Drop for Leaving<A> {
    fn drop(&mut self) {
        if *self.is_called.get_mut() {
            return;
        }
        self.is_watched.store(false, Ordering::Relaxed);
        self.roster.unwatched.notify_one();
    }
}

fn transport<A: Adapter>(socket: &Socket<A>) -> Transport {
    match socket.transport_type() {
        TransportType::Websocket => Transport::Websocket,
        TransportType::Polling => Transport::Polling,
    }
}

impl From<DisconnectReason> for LeaveReason {
    fn from(reason: DisconnectReason) -> Self {
        match reason {
            DisconnectReason::TransportClose => Self::TransportClose,
            DisconnectReason::MultipleHttpPollingError => Self::OverlappingRequests,
            DisconnectReason::PacketParsingError => Self::BadPacket,
            DisconnectReason::TransportError => Self::TransportError,
            DisconnectReason::HeartbeatTimeout => Self::PingTimeout,
            DisconnectReason::ClientNSDisconnect => Self::ClientLeft,
            DisconnectReason::ServerNSDisconnect => Self::LeftByApplication,
            DisconnectReason::ClosingServer => Self::Closing,
        }
    }
}
