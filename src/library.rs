//! What we ask of Socket.IO's own service in the name of a client of its: what waits to be polled, and the end of its
//! session. It answers both at once, since neither waits for anybody.

use std::{fmt, task::Poll};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use socketioxide::{service::SocketIoService, socket::Sid};
use tokio::task::unconstrained;
use tower::ServiceExt;

use crate::{packet::SEPARATOR, session::PATH};

/// See the module's documentation.
#[derive(Clone)]
pub struct Library {
    service: SocketIoService<Router>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

impl Library {
    /// Asks this service.
    pub fn new(service: SocketIoService<Router>) -> Self {
        Self { service }
    }

    /// The packets that wait for the client of a polling session, in order; `None` if the session is over. Nobody else may
    /// be polling it.
    pub fn packets(&self, session: Sid) -> Option<Vec<String>> {
        let Poll::Ready(answer) = self.ask(Method::GET, session, "") else {
            return Some(Vec::new());
        };
        let payload = answer?;
        let packets = str::from_utf8(&payload).ok()?.split(SEPARATOR);
        Some(packets.filter(|packet| !packet.is_empty()).map(str::to_owned).collect())
    }

    /// Ends a polling session the way its client would: by posting a close packet.
    pub fn close(&self, session: Sid) {
        if !matches!(self.ask(Method::POST, session, "1"), Poll::Ready(Some(_))) {
            tracing::debug!("a polling session ended before it was closed");
        }
    }

    /// The answer to a request of this session's client, if it comes at once; `None` if it is an error.
    fn ask(&self, method: Method, session: Sid, body: &'static str) -> Poll<Option<Bytes>> {
        let uri = format!("{PATH}?EIO=4&transport=polling&sid={session}");
        let request = Request::builder().method(method).uri(uri).body(Body::from(body));
        let request = request.expect("a session id is valid in a query");
        let asking = async {
            let Ok(response) = self.service.clone().oneshot(request).await;
            let success = response.status().is_success();
            let body = response.into_body().collect().await.ok()?;
            success.then(|| body.to_bytes())
        };
        // Unconstrained, since what is there must be found however much this task has done lately.
        unconstrained(asking).now_or_never().map_or(Poll::Pending, Poll::Ready)
    }
}
