//! Decides what a request to Socket.IO's endpoint is: a new session, a poll, a post, or an upgrade. It neither reads bodies
//! nor answers.

use std::sync::Arc;

use http::Method;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    lifecycle::Engine, reason::Refusal, session::Session, session_id::SessionId, settings::PATH,
};
use crate::protocol::{
    head::{Head, WebsocketHandshake, WebsocketRequest},
    transport::Transport,
};

/// The version of the Engine.IO protocol that is served.
const ENGINE_IO: &str = "4";

/// A request to the endpoint that may be served.
#[derive(Debug)]
pub enum Admitted<'a> {
    /// The request begins a session, which polls will carry.
    Opening(OwnedSemaphorePermit),
    /// The request begins a session on a websocket.
    Websocket(OwnedSemaphorePermit, WebsocketHandshake<'a>),
    /// The request opens a websocket to which this session is to move.
    Upgrade(Arc<Session>, WebsocketHandshake<'a>),
    /// The request is a poll of this session.
    Poll(Arc<Session>),
    /// The request posts packets of this session's client.
    Post(Arc<Session>),
}

/// Whether a path is that of the endpoint, with or without the slash at its end.
pub fn is_endpoint(path: &str) -> bool {
    path == PATH || Some(path) == PATH.strip_suffix('/')
}

impl Engine {
    /// Says what a request to the endpoint is. The page's origin is checked first, so a page that may not connect learns
    /// nothing about sessions.
    ///
    /// # Errors
    /// Why the request is not served. The metrics have counted it.
    pub fn admit<'a>(&self, head: &Head<'a>) -> Result<Admitted<'a>, Refusal> {
        self.judge(head).inspect_err(|&refusal| self.admission().count(refusal))
    }

    fn judge<'a>(&self, head: &Head<'a>) -> Result<Admitted<'a>, Refusal> {
        self.admission().allow_page(head)?;
        let transport = Transport::ALL.into_iter().find(|transport| {
            let asked = head.parameter("transport");
            asked == Some(transport.label()) && self.settings().transports.have(*transport)
        });
        let transport = transport.ok_or(Refusal::UnknownTransport)?;
        match head.parameter("sid") {
            None => self.judge_handshake(head, transport),
            Some(sid) => {
                let session = SessionId::parse(sid).and_then(|id| self.sessions().get(id));
                let session = session.ok_or(Refusal::UnknownSession)?;
                judge_request(head, transport, session)
            }
        }
    }

    fn judge_handshake<'a>(
        &self,
        head: &Head<'a>,
        transport: Transport,
    ) -> Result<Admitted<'a>, Refusal> {
        if head.method != Method::GET {
            return Err(Refusal::BadHandshakeMethod);
        }
        if head.parameter("EIO") != Some(ENGINE_IO) {
            return Err(Refusal::UnsupportedProtocol);
        }
        match transport {
            Transport::Polling => self.admission().permit().map(Admitted::Opening),
            Transport::Websocket => {
                let handshake = websocket(head)?;
                Ok(Admitted::Websocket(self.admission().permit()?, handshake))
            }
        }
    }
}

fn judge_request<'a>(
    head: &Head<'a>,
    transport: Transport,
    session: Arc<Session>,
) -> Result<Admitted<'a>, Refusal> {
    match (transport, &head.method) {
        (Transport::Websocket, _) => Ok(Admitted::Upgrade(session, websocket(head)?)),
        (Transport::Polling, &Method::GET) => Ok(Admitted::Poll(session)),
        (Transport::Polling, &Method::POST) => Ok(Admitted::Post(session)),
        (Transport::Polling, _) => Err(Refusal::BadHandshakeMethod),
    }
}

fn websocket<'a>(head: &Head<'a>) -> Result<WebsocketHandshake<'a>, Refusal> {
    match head.websocket {
        WebsocketRequest::Yes(handshake) => Ok(handshake),
        WebsocketRequest::OtherVersion => Err(Refusal::WebsocketVersion),
        WebsocketRequest::No => Err(Refusal::BadRequest),
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
