//! Accepts connections and serves HTTP on them: the one place where sockets enter.
//!
//! An accept loop of our own, because a bound on slow request heads and idle connections, a pause when
//! descriptors run out, and an IO type of our own are not to be had from the ready-made one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::IntCounter;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer;

use crate::{
    connection::Connection,
    handover::{Front, Handover},
    stragglers::Stragglers,
    websocket::{Opening, Websockets},
};

/// How long a request head may take to arrive, and how long a connection may stay idle between requests. A
/// browser sends its head at once; balancers keep idle connections for about as long.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one request head: generous for cookies, small against memory.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to pause when accepting fails for want of descriptors or memory: connections that end meanwhile
/// give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two lines in the log that say so.
const COMPLAINT_GAP: Duration = Duration::from_secs(10);
/// Connections the kernel holds ready for us; a rush of a few thousand must not see resets.
const BACKLOG: i32 = 4096;

/// Binds a listening socket.
///
/// # Errors
/// If the address is taken, not ours, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` on every connection of one listener.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come in.
    pub listener: TcpListener,
    /// What answers them; every request carries the connection's [`crate::connection::Control`] and its
    /// [`Handover`] as extensions.
    pub router: Router,
    /// Who meets connections first, if anybody does.
    pub front: Option<Front>,
    /// See [`Connection::new`].
    pub unacknowledged_for: Duration,
    /// See [`Connection::new`].
    pub burst_bytes: u64,
    /// Connections at a time. Beyond it they are closed unserved, so that descriptors remain for the store
    /// and the admin pages.
    pub places: Arc<Semaphore>,
    /// See [`Connection::new`].
    pub stragglers: Stragglers,
    /// Counts connections closed unserved.
    pub unserved: IntCounter,
}

impl Listener {
    /// Accepts until `stop`. Connections that are open then go on; whoever stops the listener ends them.
    pub async fn run(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let mut complaint = Complaint::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted.and_then(|(stream, _)| self.admit(stream)) {
                Ok(Some(connection)) => {
                    connections.spawn(serve(connection, self.front.clone(), self.router.clone()));
                }
                Ok(None) => self.unserved.inc(),
                Err(error) if is_shortage(&error) => {
                    complaint.make(&error, Instant::now());
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => tracing::debug!(%error, "a connection died while it was accepted"),
            }
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Option<Connection>> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Ok(None) };
        let stragglers = self.stragglers.clone();
        Connection::new(stream, self.unacknowledged_for, self.burst_bytes, place, stragglers)
            .map(Some)
    }
}

/// Serves one connection to its end. What serves HTTP is large, and is gone once it is a websocket.
async fn serve(mut connection: Connection, front: Option<Front>, router: Router) {
    if let Some(front) = front {
        match front.meet(&mut connection).await {
            Err(error) => return tracing::debug!(%error, "a connection ended before it began"),
            Ok(Some(opening)) => {
                drop(router);
                return front.websockets.serve(connection, opening).await;
            }
            Ok(None) => {}
        }
    }
    if let Some((connection, websockets, opening)) = Box::pin(serve_http(connection, router)).await
    {
        websockets.serve(connection, opening).await;
    }
}

/// Serves HTTP, until the connection ends or leaves as a websocket of our own.
async fn serve_http(
    connection: Connection,
    router: Router,
) -> Option<(Connection, Arc<Websockets>, Opening)> {
    let handover = Handover::default();
    let extensions = (Extension(connection.control()), Extension(handover.clone()));
    let service = extensions.layer(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended with an error");
    }
    handover.complete().await
}

/// Says that connections cannot be accepted, and not again for a while: a shortage may last, and is tried
/// many times a second.
#[derive(Debug, Default)]
struct Complaint {
    made_at: Option<Instant>,
}

impl Complaint {
    fn make(&mut self, error: &io::Error, now: Instant) {
        if self.made_at.is_none_or(|at| now.duration_since(at) >= COMPLAINT_GAP) {
            self.made_at = Some(now);
            tracing::warn!(%error, "failed to accept connections: trying again every {ACCEPT_PAUSE:?}");
        }
    }
}

/// Whether accepting failed because something ran out, so that trying again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}
