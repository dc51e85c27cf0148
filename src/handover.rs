//! Taking a connection out of the HTTP server once it carries a websocket, so that Socket.IO gets the socket itself
//! and neither the server's buffers nor its indirections stay with it.
//!
//! It answers the handshakes that nearly all clients send, and leaves any other to Socket.IO's own service.

use std::{
    fmt,
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
use tower::Service;
use tungstenite::handshake::derive_accept_key;

use crate::connection::Connection;

/// What is kept of the request with each session, since its transport is asked for later. The client's own words
/// would keep the buffer alive that they were read into.
const KEPT: &str = "/socket.io/?EIO=4&transport=websocket";

/// From the answer to a handshake until the HTTP server is done with its connection: what the connection is for.
#[derive(Clone, Default)]
pub struct Handover {
    agreed: Arc<Mutex<Option<Agreed>>>,
}

struct Agreed {
    upgrade: OnUpgrade,
    request: http::Request<()>,
    service: SocketIoService<Router>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

impl Handover {
    /// Answers a handshake that begins a session on a websocket, which the caller has checked, and keeps what is to
    /// stay with the session. `None` if the request does not ask for a websocket as it should.
    pub fn agree(
        &self,
        service: &SocketIoService<Router>,
        asked: &mut Request,
        kept: Extensions,
    ) -> Option<Response> {
        let key = asked.headers().get(header::SEC_WEBSOCKET_KEY)?;
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = asked.extensions_mut().remove::<OnUpgrade>()?;
        let mut request = http::Request::new(());
        *request.uri_mut() = Uri::from_static(KEPT);
        *request.extensions_mut() = kept;
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        *agreed = Some(Agreed { upgrade, request, service: service.clone() });
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &*accept),
        ];
        Some((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
    }

    /// Hands the connection to Socket.IO, now that the HTTP server is done. Nothing happens if it remained HTTP to its
    /// end, or became a websocket in another way.
    pub async fn complete(self) {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut agreed) = agreed else { return };
        let Ok(upgraded) = agreed.upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else { return };
        let mut connection = parts.io.into_inner();
        connection.unread(&parts.read_buf);
        if let Err(error) = agreed.service.call((connection, agreed.request)).await {
            tracing::error!(%error, "failed to hand a websocket over");
        }
    }
}

#[cfg(test)]
#[path = "handover/tests.rs"]
mod tests;
