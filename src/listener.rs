//! Accepts connections and serves HTTP on them: the one place where sockets enter.
//!
//! An accept loop of our own, because a bound on slow request heads and idle connections, a pause when
//! descriptors run out, and an IO type of our own are not to be had from the ready-made one.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Socket, Type};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer;

use crate::connection::Connection;

/// How long a request head may take to arrive, and how long a connection may stay idle between requests. A
/// browser sends its head at once; balancers keep idle connections for about as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one request head: generous for cookies, small against memory.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to pause when accepting fails for want of descriptors or memory: connections that end meanwhile
/// give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
    /// What answers them; every request carries the connection's [`crate::connection::Control`] as an
    /// extension.
    pub router: Router,
    /// See [`Connection::new`].
    pub unacknowledged_for: Duration,
}

impl Listener {
    /// Accepts until `stop`. Connections that are open then go on; whoever stops the listener ends them.
    pub async fn run(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted.and_then(|(stream, _)| Connection::new(stream, self.unacknowledged_for))
            {
                Ok(connection) => {
                    connections.spawn(serve(connection, self.router.clone()));
                }
                Err(error) if is_shortage(&error) => {
                    tracing::warn!(%error, "failed to accept a connection: pausing");
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => tracing::debug!(%error, "a connection died while it was accepted"),
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(connection: Connection, router: Router) {
    let service = Extension(connection.control()).layer(router);
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
}

/// Whether accepting failed because something ran out, so that trying again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(
        error.raw_os_error(),
        Some(ENFILE | EMFILE | ENOBUFS | ENOMEM)
    )
}
