//! Serves one connection to its end: by the fast path, by the HTTP server, or as a websocket.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tower::ServiceExt;

use super::{
    endpoint::Aftermath,
    fast_path::{FastPath, Handoff},
    idle::{Activity, Watched},
    timeouts::Timeouts,
};
use crate::{
    engine::{lifecycle::Engine, upgrade::Opening},
    net::{connection::Connection, listener::Serve},
};

/// The most bytes of a request head: generous for cookies, small against memory.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Serves the connections of one address.
#[derive(Clone, Debug)]
pub struct HttpService {
    /// Answers the requests that the fast path does not take.
    pub router: Router,
    /// Serves sessions; `None` for an address that has none.
    pub engine: Option<Arc<Engine>>,
    /// How long connections may wait.
    pub timeouts: Timeouts,
}

impl Serve for HttpService {
    async fn serve(self, connection: Connection) {
        let engine = self.engine.clone();
        // This future is large. Boxed, it is freed before the connection lives on as a websocket.
        let served = Box::pin(self.serve_requests(connection)).await;
        if let (Some(engine), Some((connection, opening, answer))) = (engine, served) {
            engine.serve_websocket(connection, opening, answer).await;
        }
    }
}

impl HttpService {
    /// Serves requests until the connection ends, or becomes a websocket. Then it returns the connection and the answer to
    /// the handshake that has not been sent yet.
    async fn serve_requests(
        self,
        mut connection: Connection,
    ) -> Option<(Connection, Opening, Vec<u8>)> {
        if let Some(engine) = &self.engine {
            let mut fast_path = FastPath::new(engine, &mut connection);
            let outcome = fast_path.run(&self.timeouts).await;
            let polled = fast_path.polled();
            match outcome {
                Ok(Handoff::Http) => {}
                Ok(Handoff::Websocket(opening, answer)) => {
                    return Some((connection, opening, answer));
                }
                Ok(Handoff::Ended) | Err(_) => {
                    polled.inspect(|session| engine.suspect(session));
                    return None;
                }
            }
        }
        let aftermath = Aftermath::default();
        // This future is large, and most connections do not need it.
        Box::pin(self.serve_http(connection, &aftermath)).await;
        if let (Some(engine), Some(session)) = (&self.engine, aftermath.polled()) {
            engine.suspect(&session);
        }
        let (connection, opening) = aftermath.into_websocket().await?;
        Some((connection, opening, Vec::new()))
    }

    async fn serve_http(&self, connection: Connection, aftermath: &Aftermath) {
        let activity = Activity::begin();
        // Only the console asks who sends. Visitors' addresses are the balancer's.
        let asked = self.engine.is_none().then(|| connection.stream());
        let peer = asked.and_then(|stream| stream.peer_addr().ok()).map(ConnectInfo);
        let service = service_fn(|request: http::Request<Incoming>| {
            activity.request();
            let (router, activity) = (self.router.clone(), activity.clone());
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(aftermath.clone());
            peer.map(|peer| request.extensions_mut().insert(peer));
            async move {
                let response = router.oneshot(request).await?;
                Ok::<_, Infallible>(response.map(|body| activity.until_sent(body)))
            }
        });
        let serving = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Watched::new(connection, activity.clone())), service)
            .with_upgrades();
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended with an error");
                }
            }
            () = activity.timed_out(&self.timeouts) => {}
        }
    }
}

#[cfg(test)]
#[path = "serve/tests.rs"]
pub(crate) mod tests;
