//! Who may begin a session, and what a request to Socket.IO's endpoint is. It decides; it reads and answers nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Method;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    Engine,
    reason::Refusal,
    session::Session,
    session_id::SessionId,
    settings::{PATH, Transport},
};
use crate::{
    metrics::Metrics,
    origin::{Origins, RefusalLog},
    places::Places,
    protocol::head::{Head, WebsocketHandshake, WebsocketRequest},
};

/// The version of Engine.IO that is spoken here.
const ENGINE_IO: &str = "4";

/// Lets sessions in, up to a limit and until the instance shuts down.
#[derive(Debug)]
pub struct Admission {
    /// One place for every session, from its handshake to its end.
    places: Arc<Places>,
    /// Set at the first signal to stop: no longer ready, still serving.
    leaving: AtomicBool,
    /// Cancelled when clients begin to be sent away: no handshakes any more.
    closing: CancellationToken,
    origins: Origins,
    refusal_log: RefusalLog,
    metrics: Metrics,
}

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

impl Admission {
    /// For at most `sessions_max` sessions at a time, from pages of these origins.
    pub fn new(sessions_max: usize, origins: Origins, metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Places::new(sessions_max)),
            leaving: AtomicBool::new(false),
            closing: CancellationToken::new(),
            origins,
            refusal_log: RefusalLog::default(),
            metrics,
        }
    }

    /// This instance is shutting down: balancers should look elsewhere.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.metrics.draining.set(1);
    }

    /// Whether this instance is shutting down.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// From now on no session begins here; those that are open go on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled by [`Admission::close`]: for whatever else should send its clients elsewhere then.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The places of sessions.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// For whatever else turns foreign pages away: the log tells of one of them.
    pub fn refusal_log(&self) -> RefusalLog {
        self.refusal_log.clone()
    }

    /// Counts a refusal in the metrics, if it is one of those that are counted.
    pub fn count(&self, refusal: Refusal) {
        if let Some(reason) = refusal.label() {
            self.metrics.refused.with_label_values(&[reason]).inc();
        }
    }

    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.closing.is_cancelled() {
            return Err(Refusal::Draining);
        }
        self.places.take().ok_or(Refusal::Full)
    }
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
        self.judge(head).inspect_err(|&refusal| self.admission.count(refusal))
    }

    fn judge<'a>(&self, head: &Head<'a>) -> Result<Admitted<'a>, Refusal> {
        if !self.admission.origins.allow_page(head.origin, head.host, head.fetch_site) {
            self.admission
                .refusal_log
                .refused(head.origin.map(str::as_bytes), head.host.map(str::as_bytes));
            return Err(Refusal::Origin);
        }
        let transport = Transport::ALL.into_iter().find(|transport| {
            let asked = head.parameter("transport");
            asked == Some(transport.label()) && self.settings.transports.have(*transport)
        });
        let transport = transport.ok_or(Refusal::UnknownTransport)?;
        match head.parameter("sid") {
            None => self.judge_handshake(head, transport),
            Some(sid) => {
                let session = SessionId::parse(sid).and_then(|id| self.sessions.get(id));
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
            Transport::Polling => self.admission.permit().map(Admitted::Opening),
            Transport::Websocket => {
                let handshake = websocket(head)?;
                Ok(Admitted::Websocket(self.admission.permit()?, handshake))
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
#[path = "admission/tests.rs"]
mod tests;
