//! What may reach Socket.IO: the layer in front of `/socket.io/`. It admits handshakes up to the limit and
//! none while draining, turns foreign pages away, and bounds how much and how slowly a polling session may
//! post.
//!
//! It looks at requests, never at what flows inside them, but for the name of a session in the answer that begins it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, HttpBody, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Extensions, Method, StatusCode, header};
use serde::Deserialize;
use socketioxide::socket::Sid;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Admission, Admissions, Upgrade},
    connection::Control,
    handover::{Handover, Heir, Taker},
    handshake::Handshake,
    library::Library,
    listener::HEAD_TIMEOUT,
    metrics::Metrics,
    origin::{Origins, RefusalLog},
    packet,
    places::Places,
    rate::{CLIENT_BYTES_PER_SECOND, Rates},
    session::PATH,
    websocket::{Opening, Websockets},
};

/// Bytes that a post of a polling session counts for beside its own: a request is work, however short. So a
/// session may post twice a second sustained; it needs one post to connect and one per ping.
const POST_BYTES: u64 = CLIENT_BYTES_PER_SECOND / 2;
/// How long a post may take to arrive, as long as the head of a request may.
const POST_TIMEOUT: Duration = HEAD_TIMEOUT;

/// The answer to a polling handshake, of which more is not read, is far shorter.
const OPENING_BYTES_MAX: usize = 4096;

/// What refused clients are asked to wait, in seconds: longer than a balancer takes to notice that this
/// instance is leaving.
const RETRY_AFTER_SECONDS: &str = "5";

/// See the module's documentation.
#[derive(Debug)]
pub struct Gate {
    /// One permit per session, from its handshake to its end.
    pub places: Arc<Places>,
    /// Set at the first signal to stop: no longer ready, still serving.
    leaving: AtomicBool,
    /// Cancelled when clients begin to be sent away: no handshakes any more.
    closing: CancellationToken,
    origins: Origins,
    refusal_log: RefusalLog,
    admissions: Arc<Admissions>,
    /// How much each polling session posted lately.
    posts: Mutex<Rates<Sid>>,
    metrics: Metrics,
}

/// What a request to `/socket.io/` is, going by its query.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Begins a session.
    Handshake,
    /// Moves a polling session to a websocket.
    Upgrade(Sid),
    /// Waits for what a polling client is to be told.
    Poll(Sid),
    /// Brings what a polling client has to say.
    Post(Sid),
    /// Anything else, which needs no decision here.
    Other,
}

impl Gate {
    /// A gate for at most `connections_max` sessions at a time, from pages of these origins. A polling client
    /// may send `burst_bytes` in one go.
    pub fn new(
        connections_max: usize,
        burst_bytes: u64,
        origins: Origins,
        metrics: Metrics,
    ) -> Self {
        Self {
            places: Arc::new(Places::new(connections_max)),
            leaving: AtomicBool::new(false),
            closing: CancellationToken::new(),
            origins,
            refusal_log: RefusalLog::default(),
            admissions: Arc::default(),
            posts: Mutex::new(Rates::new(burst_bytes, CLIENT_BYTES_PER_SECOND)),
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

    /// Cancelled by [`Gate::close`]: for whatever else should send its clients elsewhere then.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// For whatever else turns foreign pages away: the log tells of one of them.
    pub fn refusal_log(&self) -> RefusalLog {
        self.refusal_log.clone()
    }

    /// Lets a plain handshake in, without the HTTP server. `None` for whatever else that should look at: what is refused is
    /// refused there.
    pub fn admit_plain(
        &self,
        handshake: &Handshake<'_>,
        control: &Control,
        library: &Library,
    ) -> Option<Opening> {
        let (PATH, query) = handshake.target.split_once('?')? else { return None };
        if !is_plain(query) || !self.origins.allow(handshake.origin, handshake.host) {
            return None;
        }
        match Kind::of(&Method::GET, query) {
            Kind::Handshake => {
                control.keep(self.permit().ok()?);
                Some(Opening::New(handshake.answer()))
            }
            Kind::Upgrade(session) => {
                let upgrade = Upgrade::begin(session, self.admissions.get(session)?, library)?;
                Some(Opening::Upgrade(upgrade, handshake.answer()))
            }
            _ => None,
        }
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, &'static str> {
        if self.closing.is_cancelled() {
            return Err("draining");
        }
        self.places.take().ok_or("full")
    }

    fn is_foreign(&self, request: &Request) -> bool {
        !self.origins.allow_headers(request.headers())
    }

    fn may_post(&self, session: Sid, request: &Request) -> bool {
        // A body of unknown length is bounded by the payload limit, which a burst is at least four times.
        let length = request.body().size_hint().upper().unwrap_or_default();
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.allow(session, POST_BYTES.saturating_add(length), Instant::now())
    }

    async fn pass_handshake(
        &self,
        taker: Option<&Taker>,
        control: &Arc<Control>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let admission = match self.permit() {
            Ok(permit) => Admission::new(permit),
            Err(reason) => return self.refuse(reason),
        };
        let agreed = taker.and_then(|taker| hand_over(taker, &mut request, &admission));
        let response = if let Some(response) = agreed {
            response
        } else {
            request.extensions_mut().insert(admission.clone());
            next.run(request).await
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            control.begin_websocket();
            admission.carry_on(control);
            admission.hand_permit_to(control);
            return response;
        }
        self.read_opening(&admission, response).await
    }

    /// The answer that begins a polling session says how it is called.
    async fn read_opening(&self, admission: &Admission, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, OPENING_BYTES_MAX).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        if let Some(session) = opened(&body) {
            admission.list(&self.admissions, session);
        }
        Response::from_parts(parts, body.into())
    }

    /// A poll waits in the library, unless its client is on its way to a websocket.
    async fn pass_poll(&self, session: Sid, request: Request, next: Next) -> Response {
        let Some(admitted) = self.admissions.get(session) else { return next.run(request).await };
        let answer = admitted.poll(next.run(request)).await;
        answer.unwrap_or_else(|| {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
            (headers, packet::NOOP).into_response()
        })
    }

    /// A polling session moves to a websocket of our own.
    fn pass_upgrade(
        &self,
        websockets: &Arc<Websockets>,
        session: Sid,
        mut request: Request,
    ) -> Response {
        let Some(admitted) = self.admissions.get(session) else { return wrong(UNKNOWN_SESSION) };
        if !is_plain(request.uri().query().unwrap_or_default()) {
            return wrong(BAD_REQUEST);
        }
        let agreed = || {
            let handover = request.extensions().get::<Handover>()?.clone();
            let upgrade = Upgrade::begin(session, admitted, websockets.library())?;
            let opening = Opening::Upgrade(upgrade, Vec::new());
            let heir = Heir::Own(Arc::clone(websockets), opening);
            handover.agree(&mut request, heir)
        };
        agreed().unwrap_or_else(|| wrong(BAD_REQUEST))
    }

    /// A polling session moves to a websocket of the library's.
    async fn pass_library_upgrade(
        &self,
        control: &Arc<Control>,
        session: Sid,
        request: Request,
        next: Next,
    ) -> Response {
        let response = next.run(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            control.begin_websocket();
            if let Some(admitted) = self.admissions.get(session) {
                admitted.carry_on(control);
            }
        }
        response
    }

    async fn pass_post(&self, session: Sid, request: Request, next: Next) -> Response {
        if !self.may_post(session, &request) {
            // What the client said is replaced by a close packet, which ends the session.
            next.run(request.map(|_| Body::from("1"))).await;
            return self.refuse("flood");
        }
        match timeout(POST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => self.refuse("slow"),
        }
    }

    fn refuse(&self, reason: &'static str) -> Response {
        self.metrics.refused.with_label_values(&[reason]).inc();
        let (status, why) = match reason {
            "origin" => (StatusCode::FORBIDDEN, "pages of this origin may not connect\n"),
            "flood" => (StatusCode::TOO_MANY_REQUESTS, "too many messages\n"),
            "slow" => (StatusCode::REQUEST_TIMEOUT, "the message did not arrive in time\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "no more connections here: try again later\n"),
        };
        let headers = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS), (header::CONNECTION, "close")];
        (status, headers, why).into_response()
    }
}

/// A plain handshake for a websocket is answered here; the connection leaves the HTTP server.
fn hand_over(taker: &Taker, request: &mut Request, admission: &Admission) -> Option<Response> {
    let plain = is_plain(request.uri().query().unwrap_or_default());
    let handover = request.extensions().get::<Handover>().filter(|_| plain).cloned()?;
    let heir = match taker {
        Taker::Own(websockets) => Heir::Own(Arc::clone(websockets), Opening::New(Vec::new())),
        Taker::Library(service) => {
            let mut kept = Extensions::new();
            kept.insert(admission.clone());
            Heir::Library(service.clone(), kept)
        }
    };
    handover.agree(request, heir)
}

/// The id in the answer to a polling handshake.
fn opened(answer: &[u8]) -> Option<Sid> {
    #[derive(Deserialize)]
    struct Open {
        sid: Sid,
    }
    let open: Open = serde_json::from_slice(answer.strip_prefix(b"0")?).ok()?;
    Some(open.sid)
}

/// What the protocol has for requests that cannot be served.
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

fn wrong(why: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CONNECTION, "close")];
    (StatusCode::BAD_REQUEST, headers, why).into_response()
}

/// Whether a handshake asks for a websocket in the way that all clients do.
fn is_plain(query: &str) -> bool {
    value(query, "EIO") == Some("4") && value(query, "transport") == Some("websocket")
}

/// What the layer needs.
#[derive(Clone)]
pub struct Entrance {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Takes websockets, unless they are not served.
    pub taker: Option<Taker>,
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// The layer: see [`Gate`].
pub async fn pass(
    State(Entrance { gate, taker }): State<Entrance>,
    Extension(control): Extension<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    if gate.is_foreign(&request) {
        gate.refusal_log.refused(request.headers());
        return gate.refuse("origin");
    }
    let kind = Kind::of(request.method(), request.uri().query().unwrap_or_default());
    match kind {
        Kind::Handshake => gate.pass_handshake(taker.as_ref(), &control, request, next).await,
        Kind::Post(session) => gate.pass_post(session, request, next).await,
        Kind::Poll(session) => gate.pass_poll(session, request, next).await,
        Kind::Upgrade(session) => match &taker {
            Some(Taker::Own(websockets)) => gate.pass_upgrade(websockets, session, request),
            _ => gate.pass_library_upgrade(&control, session, request, next).await,
        },
        Kind::Other => next.run(request).await,
    }
}

impl Kind {
    fn of(method: &Method, query: &str) -> Self {
        match (method, value(query, "sid"), transport(query)) {
            (&Method::GET, None, _) => Self::Handshake,
            (&Method::GET, Some(session), Some("websocket")) => {
                session.parse().map_or(Self::Other, Self::Upgrade)
            }
            (&Method::GET, Some(session), _) => session.parse().map_or(Self::Other, Self::Poll),
            (&Method::POST, Some(session), _) => session.parse().map_or(Self::Other, Self::Post),
            _ => Self::Other,
        }
    }
}

/// The query is read as the Engine.IO service reads it: first of a name counts, no decoding.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// A transport ends at a second `=`: what the service takes for a websocket must be one here.
fn transport(query: &str) -> Option<&str> {
    value(query, "transport").and_then(|value| value.split('=').next())
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
