//! Socket.IO's endpoint behind the HTTP server, for the requests that the fast path does not take.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use futures_util::StreamExt;
use http::{Version, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{answer::Answer, idle::Watched, timeouts::POST_TIMEOUT};
use crate::{
    engine::{
        lifecycle::Engine, polling::Post, reason::Refusal, request::Admitted, session::Session,
        settings::PATH, upgrade::Opening,
    },
    net::connection::Connection,
    protocol::head::{Head, WebsocketHandshake},
};

/// What becomes of a connection after the HTTP server has served it. Request handlers record it here.
#[derive(Clone, Default)]
pub struct Aftermath {
    left: Arc<Mutex<Left>>,
}

#[derive(Default)]
struct Left {
    /// The websocket that the connection becomes.
    websocket: Option<(OnUpgrade, Opening)>,
    /// The session whose last poll the connection carried.
    polled: Option<Arc<Session>>,
}

impl fmt::Debug for Aftermath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Aftermath").finish_non_exhaustive()
    }
}

impl Aftermath {
    /// The connection as a websocket, if it becomes one. Called after the HTTP server has ended.
    pub async fn into_websocket(self) -> Option<(Connection, Opening)> {
        let (upgrade, opening) = self.left().websocket.take()?;
        let parts = upgrade.await.ok()?.downcast::<TokioIo<Watched>>().ok()?;
        let mut connection = parts.io.into_inner().into_connection();
        connection.unread(&parts.read_buf);
        Some((connection, opening))
    }

    /// The session whose last poll the connection carried.
    pub fn polled(&self) -> Option<Arc<Session>> {
        self.left().polled.take()
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of the endpoint. Requests must carry an [`Aftermath`] as an extension.
pub fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route(PATH, any(serve))
        .route(PATH.trim_end_matches('/'), any(serve))
        .with_state(engine)
}

async fn serve(
    State(engine): State<Arc<Engine>>,
    Extension(aftermath): Extension<Aftermath>,
    request: Request,
) -> Response {
    answer(&engine, &aftermath, request).await.unwrap_or_else(Answer::refusal).into()
}

async fn answer(
    engine: &Arc<Engine>,
    aftermath: &Aftermath,
    request: Request,
) -> Result<Answer, Refusal> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let begin = |opening, handshake: &WebsocketHandshake<'_>| {
        let upgrade = upgrade.ok_or(Refusal::BadRequest)?;
        aftermath.left().websocket = Some((upgrade, opening));
        Ok(Answer::websocket(handshake))
    };
    match engine.admit(&Head::of(&parts))? {
        Admitted::Opening(permit) => Ok(Answer::payload(engine.open_polling(permit))),
        Admitted::Websocket(permit, handshake) => begin(Opening::New(permit), &handshake),
        Admitted::Upgrade(session, handshake) => begin(engine.begin_upgrade(session)?, &handshake),
        Admitted::Poll(session) => {
            let payload = engine.poll(Arc::clone(&session))?.await?;
            aftermath.left().polled = Some(session).filter(|_| keeps_connection(&parts));
            Ok(Answer::payload(payload))
        }
        Admitted::Post(session) => {
            read(engine.post(session)?, body).await.map(|()| Answer::posted())
        }
    }
}

/// Whether the connection stays open after the answer.
fn keeps_connection(parts: &Parts) -> bool {
    let close = parts.headers.get(header::CONNECTION).is_some_and(|value| value == "close");
    parts.version >= Version::HTTP_11 && !close
}

/// Reads the body of a post piece by piece.
async fn read(mut post: Post, body: Body) -> Result<(), Refusal> {
    let mut pieces = body.into_data_stream();
    let reading = async {
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return Ok(false) };
            post.read(&piece)?;
        }
        Ok(true)
    };
    match timeout(POST_TIMEOUT, reading).await {
        Err(_) => Err(post.time_out()),
        Ok(Err(refusal)) => Err(refusal),
        // The body was cut or is malformed. Dropping the post ends its session.
        Ok(Ok(false)) => Err(Refusal::BadRequest),
        Ok(Ok(true)) => post.finish(),
    }
}
