//! Accepts connections. What a connection is for is up to [`Serve`].
//!
//! The accept loop of axum has no limit of connections, and does not pause when descriptors run out. This one has both.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus::IntCounter;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::connection::Connection;

/// How long to pause when descriptors or memory run out. Connections that end meanwhile give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Least time between two log lines about it.
const SHORTAGE_LOG_GAP: Duration = Duration::from_secs(10);
/// The most connections that wait in the kernel to be accepted. A rush of a few thousand must not see resets.
const BACKLOG: i32 = 4096;

/// A service for accepted connections.
pub trait Serve: Clone + Send + 'static {
    /// Serves one connection to its end.
    fn serve(self, connection: Connection) -> impl Future<Output = ()> + Send + 'static;
}

/// Binds a listening socket.
///
/// # Errors
/// If the address is in use, is not one of this machine, or needs rights that the process does not have.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts the connections of one address.
#[derive(Debug)]
pub struct Listener<S> {
    /// The listening socket.
    pub listener: TcpListener,
    /// What serves the connections.
    pub serve: S,
    /// See [`Connection::new`].
    pub unacknowledged_for: Duration,
    /// Limits the connections at a time. Connections beyond the limit are closed at once, so that descriptors remain for the
    /// store and the admin listener.
    pub permits: Arc<Semaphore>,
    /// Counts the connections that were closed at once.
    pub unserved: IntCounter,
}

impl<S: Serve> Listener<S> {
    /// Task: accepts connections until `stop`. Connections that are open then are not ended.
    pub async fn run(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let mut shortage_log = ShortageLog::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted.and_then(|(stream, _)| self.admit(stream)) {
                Ok(Some(connection)) => {
                    connections.spawn(self.serve.clone().serve(connection));
                }
                Ok(None) => self.unserved.inc(),
                Err(error) if is_shortage(&error) => {
                    shortage_log.make(&error, Instant::now());
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => tracing::debug!(%error, "a connection died while it was accepted"),
            }
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Option<Connection>> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Ok(None) };
        Connection::new(stream, self.unacknowledged_for, permit).map(Some)
    }
}

/// Logs that connections cannot be accepted, at most once every [`SHORTAGE_LOG_GAP`]: a shortage may last long, and
/// accepting is tried many times a second.
#[derive(Debug, Default)]
struct ShortageLog {
    made_at: Option<Instant>,
}

impl ShortageLog {
    fn make(&mut self, error: &io::Error, now: Instant) {
        if self.made_at.is_none_or(|at| now.duration_since(at) >= SHORTAGE_LOG_GAP) {
            self.made_at = Some(now);
            tracing::warn!(%error, "failed to accept connections: trying again every {ACCEPT_PAUSE:?}");
        }
    }
}

/// Whether accepting failed because descriptors or memory ran out. Trying again at once would fail again.
fn is_shortage(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}
