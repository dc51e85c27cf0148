//! Accepts connections: the one place where sockets enter.
//!
//! The ready-made accept loop has no pause when descriptors run out, and no bound on connections; this one has both. What
//! a connection is for is up to [`Serve`].

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

/// How long to pause when accepting fails for want of descriptors or memory: connections that end meanwhile
/// give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two lines in the log that say so.
const SHORTAGE_LOG_GAP: Duration = Duration::from_secs(10);
/// Connections the kernel holds ready for us; a rush of a few thousand must not see resets.
const BACKLOG: i32 = 4096;

/// Serves connections.
pub trait Serve: Clone + Send + 'static {
    /// Serves one to its end.
    fn serve(self, connection: Connection) -> impl Future<Output = ()> + Send + 'static;
}

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

/// Accepts the connections of one address.
#[derive(Debug)]
pub struct Listener<S> {
    /// Where connections come in.
    pub listener: TcpListener,
    /// What serves them.
    pub serve: S,
    /// See [`Connection::new`].
    pub unacknowledged_for: Duration,
    /// Connections at a time. Beyond it they are closed unserved, so that descriptors remain for the store
    /// and the admin pages.
    pub permits: Arc<Semaphore>,
    /// Counts connections closed unserved.
    pub unserved: IntCounter,
}

impl<S: Serve> Listener<S> {
    /// Accepts until `stop`. Connections that are open then go on; whoever stops the listener ends them.
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

/// Says that connections cannot be accepted, and not again for a while: a shortage may last, and is tried
/// many times a second.
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

/// Whether accepting failed because something ran out, so that trying again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}
