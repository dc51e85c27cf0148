//! What may reach Socket.IO: the layer in front of `/socket.io/`. It admits handshakes up to the limit and
//! none while draining, turns foreign pages away, and bounds how much and how slowly a polling session may
//! post. It remembers which connection carries a session that was upgraded.
//!
//! It looks at requests, never at what flows inside them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Extensions, Method, StatusCode, header};
use socketioxide::{TransportType, extract::SocketRef, socket::Sid};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Control,
    handover::{Handover, Taker},
    handshake::Handshake,
    listener::HEAD_TIMEOUT,
    metrics::Metrics,
    origin::Origins,
    rate::{CLIENT_BYTES_PER_SECOND, Rates},
    session::PATH,
    sweep::Sweep,
};

/// Bytes that a post of a polling session counts for beside its own: a request is work, however short. So a
/// session may post twice a second sustained; it needs one post to connect and one per ping.
const POST_BYTES: u64 = CLIENT_BYTES_PER_SECOND / 2;
/// How long a post may take to arrive, as long as the head of a request may.
const POST_TIMEOUT: Duration = HEAD_TIMEOUT;

/// What refused clients are asked to wait, in seconds: longer than a balancer takes to notice that this
/// instance is leaving.
const RETRY_AFTER_SECONDS: &str = "5";

/// See the module's documentation.
#[derive(Debug)]
pub struct Gate {
    /// One permit per session, from its handshake to its end.
    permits: Arc<Semaphore>,
    /// Set at the first signal to stop: no longer ready, still serving.
    leaving: AtomicBool,
    /// Cancelled when clients begin to be sent away: no handshakes any more.
    closing: CancellationToken,
    origins: Origins,
    upgraded: Mutex<Upgraded>,
    /// How much each polling session posted lately.
    posts: Mutex<Rates<Sid>>,
    metrics: Metrics,
}

/// What a session holds from its handshake to its end; it travels in the extensions of the request that
/// began it.
#[derive(Clone, Debug)]
struct Admission {
    /// The connection the handshake came on; for a websocket, the session's own.
    control: Arc<Control>,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

/// Which connection carries a session that began with polling and went on as a websocket. The request kept
/// with a session is its first, so this cannot be found there.
#[derive(Debug, Default)]
struct Upgraded {
    controls: HashMap<Sid, Arc<Control>>,
    /// Those that the last sweep found ended: why is asked for when the socket ends, a moment later.
    ended: HashMap<Sid, Arc<Control>>,
    sweep: Sweep,
}

/// What a request to `/socket.io/` is, going by its query.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Begins a session.
    Handshake,
    /// Moves a polling session to a websocket.
    Upgrade(Sid),
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
            permits: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            leaving: AtomicBool::new(false),
            closing: CancellationToken::new(),
            origins,
            upgraded: Mutex::default(),
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

    /// The connection that carries this socket's websocket; `None` for a polling socket.
    pub fn control(&self, socket: &SocketRef) -> Option<Arc<Control>> {
        if socket.transport_type() != TransportType::Websocket {
            return None;
        }
        let upgraded = self.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(control) = upgraded.get(socket.id) {
            return Some(Arc::clone(control));
        }
        drop(upgraded);
        let first_request = socket.req_parts();
        // A session that began with polling came on a connection that may be a proxy's, shared by many.
        if transport(first_request.uri.query().unwrap_or_default()) != Some("websocket") {
            return None;
        }
        first_request.extensions.get::<Admission>().map(|held| Arc::clone(&held.control))
    }

    /// Lets a plain handshake in, without the HTTP server. Returns false for whatever else that should look at: what is
    /// refused is refused there.
    pub fn admit_plain(&self, handshake: &Handshake<'_>, control: &Arc<Control>) -> bool {
        let Some((PATH, query)) = handshake.target.split_once('?') else { return false };
        let plain = is_plain(query) && Kind::of(&Method::GET, query) == Kind::Handshake;
        if !plain || !self.origins.allow(handshake.origin, handshake.host) {
            return false;
        }
        self.permit().map(|permit| control.keep(permit)).is_ok()
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, &'static str> {
        if self.closing.is_cancelled() {
            return Err("draining");
        }
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| "full")
    }

    fn admit(&self, control: &Arc<Control>) -> Result<Admission, &'static str> {
        let permit = self.permit()?;
        let permit = Arc::new(Mutex::new(Some(permit)));
        Ok(Admission { control: Arc::clone(control), permit })
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
        let admission = match self.admit(control) {
            Ok(admission) => admission,
            Err(reason) => return self.refuse(reason),
        };
        let mut kept = Extensions::new();
        kept.insert(admission.clone());
        let agreed = taker.and_then(|taker| hand_over(taker, &mut request, kept));
        let response = if let Some(response) = agreed {
            response
        } else {
            request.extensions_mut().insert(admission.clone());
            next.run(request).await
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            control.begin_websocket();
            admission.hand_permit_to_connection();
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

impl Admission {
    /// A session lives no longer than the websocket that carries it, but what waits for its client to join
    /// holds on to it: the websocket keeps the permit, so that it comes back in time.
    fn hand_permit_to_connection(&self) {
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(permit) = permit {
            self.control.keep(permit);
        }
    }
}

impl Upgraded {
    fn get(&self, session: Sid) -> Option<&Arc<Control>> {
        self.controls.get(&session).or_else(|| self.ended.get(&session))
    }

    fn insert(&mut self, session: Sid, control: &Arc<Control>) {
        // A second websocket on a session is turned away, as long as the first one lives.
        if self.controls.get(&session).is_some_and(|held| held.is_open()) {
            return;
        }
        self.sweep.if_due(self.controls.len(), || {
            self.ended = self.controls.extract_if(|_, held| !held.is_open()).collect();
            self.controls.len()
        });
        self.controls.insert(session, Arc::clone(control));
    }
}

/// A plain handshake for a websocket is answered here; the connection leaves the HTTP server.
fn hand_over(taker: &Taker, request: &mut Request, kept: Extensions) -> Option<Response> {
    let plain = is_plain(request.uri().query().unwrap_or_default());
    let handover = request.extensions().get::<Handover>().filter(|_| plain).cloned()?;
    handover.agree(taker, request, kept)
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
        return gate.refuse("origin");
    }
    let kind = Kind::of(request.method(), request.uri().query().unwrap_or_default());
    if let Kind::Post(session) = kind {
        return gate.pass_post(session, request, next).await;
    }
    if kind == Kind::Handshake {
        return gate.pass_handshake(taker.as_ref(), &control, request, next).await;
    }
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        control.begin_websocket();
        if let Kind::Upgrade(session) = kind {
            let mut upgraded = gate.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
            upgraded.insert(session, &control);
        }
    }
    response
}

impl Kind {
    fn of(method: &Method, query: &str) -> Self {
        match (method, value(query, "sid"), transport(query)) {
            (&Method::GET, None, _) => Self::Handshake,
            (&Method::GET, Some(session), Some("websocket")) => {
                session.parse().map_or(Self::Other, Self::Upgrade)
            }
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
