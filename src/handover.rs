//! How a connection that becomes a websocket gets past the HTTP server, so that neither the server's buffers nor its
//! indirections stay with it: in front of it, if the first thing a client sends is a plain handshake in one piece; or
//! out of it, once it has answered.
//!
//! It takes the handshakes that nearly all clients send, and leaves any other to Socket.IO's own service.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Extensions, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socketioxide::service::SocketIoService;
use tokio::time::timeout;
use tower::Service;
use tungstenite::handshake::derive_accept_key;

use crate::{
    connection::Connection,
    gate::Gate,
    handshake::Handshake,
    listener::HEAD_TIMEOUT,
    websocket::{Opening, Websockets},
};

/// What is kept of the request with each session, since its transport is asked for later. The client's own words
/// would keep the buffer alive that they were read into.
const KEPT: &str = "/socket.io/?EIO=4&transport=websocket";

/// Who serves connections that have become websockets.
#[derive(Clone)]
pub enum Taker {
    /// We do.
    Own(Arc<Websockets>),
    /// Socket.IO's own service does.
    Library(SocketIoService<Router>),
}

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taker").finish_non_exhaustive()
    }
}

/// To whom a connection goes when the HTTP server is done with it.
pub enum Heir {
    /// To our own websockets, as this session.
    Own(Arc<Websockets>, Opening),
    /// To Socket.IO's own service; this is to stay with the session.
    Library(SocketIoService<Router>, Extensions),
}

impl fmt::Debug for Heir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").finish_non_exhaustive()
    }
}

/// Meets connections before the HTTP server does.
#[derive(Clone, Debug)]
pub struct Front {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Serves whom the gate lets in.
    pub websockets: Arc<Websockets>,
}

impl Front {
    /// Reads what a connection begins with. Returns what it is to be if that is a plain handshake and let in; else what was
    /// read is left to the HTTP server.
    ///
    /// # Errors
    /// If the connection ends, or says nothing in time.
    pub async fn meet(&self, connection: &mut Connection) -> io::Result<Option<Opening>> {
        let received = timeout(HEAD_TIMEOUT, connection.receive()).await??;
        if received.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let admitted = Handshake::parse(&received).and_then(|(handshake, rest)| {
            let (control, library) = (connection.control(), self.websockets.library());
            Some((self.gate.admit_plain(&handshake, &control, library)?, rest))
        });
        let (opening, rest) =
            admitted.map_or((None, &*received), |(opening, rest)| (Some(opening), rest));
        connection.unread(rest);
        Ok(opening)
    }
}

/// From the answer to a handshake until the HTTP server is done with its connection: what the connection is for.
#[derive(Clone, Default)]
pub struct Handover {
    agreed: Arc<Mutex<Option<Agreed>>>,
}

struct Agreed {
    upgrade: OnUpgrade,
    heir: Heir,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

impl Handover {
    /// Answers a handshake for a websocket, which the caller has checked. `None` if the request does not ask for one as
    /// it should.
    pub fn agree(&self, asked: &mut Request, heir: Heir) -> Option<Response> {
        let key = asked.headers().get(header::SEC_WEBSOCKET_KEY)?;
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = asked.extensions_mut().remove::<OnUpgrade>()?;
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        *agreed = Some(Agreed { upgrade, heir });
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &*accept),
        ];
        Some((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
    }

    /// Hands the connection over, now that the HTTP server is done: to Socket.IO, or back to the caller, for the
    /// websockets to serve. Nothing happens if it remained HTTP to its end, or became a websocket in another way.
    pub async fn complete(self) -> Option<(Connection, Arc<Websockets>, Opening)> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let parts = agreed.upgrade.await.ok()?.downcast::<TokioIo<Connection>>().ok()?;
        let mut connection = parts.io.into_inner();
        connection.unread(&parts.read_buf);
        let (mut service, kept) = match agreed.heir {
            Heir::Own(websockets, opening) => return Some((connection, websockets, opening)),
            Heir::Library(service, kept) => (service, kept),
        };
        let mut request = http::Request::new(());
        *request.uri_mut() = Uri::from_static(KEPT);
        *request.extensions_mut() = kept;
        if let Err(error) = service.call((connection, request)).await {
            tracing::error!(%error, "failed to hand a websocket over");
        }
        None
    }
}

#[cfg(test)]
#[path = "handover/tests.rs"]
pub(crate) mod tests;
