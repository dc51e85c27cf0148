//! What a request to Socket.IO's endpoint is. It decides; it reads and answers nothing.

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

/// The version of Engine.IO that is spoken here.
const ENGINE_IO: &str = "4";

/// What a request to the endpoint is, once it may be served.
#[derive(Debug)]
pub enum Admitted<'a> {
    /// It begins a session that polls.
    Opening(OwnedSemaphorePermit),
    /// It begins a session on a websocket.
    Websocket(OwnedSemaphorePermit, WebsocketHandshake<'a>),
    /// A websocket that wants to carry this session.
    Upgrade(Arc<Session>, WebsocketHandshake<'a>),
    /// It waits for what the client is to be told.
    Poll(Arc<Session>),
    /// It brings what the client says.
    Post(Arc<Session>),
}

/// Whether a path is that of the endpoint.
pub fn is_endpoint(path: &str) -> bool {
    path == PATH || Some(path) == PATH.strip_suffix('/')
}

impl Engine {
    /// Says what a request to the endpoint is. A request of a page that may not connect is told nothing else.
    ///
    /// # Errors
    /// Why it is not served; it has been counted.
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
