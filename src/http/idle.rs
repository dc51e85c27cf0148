//! How long a connection of the HTTP server may wait for a request, and a request for the rest of its head. The HTTP
//! server has one limit for both, and a balancer keeps connections idle for longer than a head may take.
//!
//! ```text
//!  idle ──a byte arrives──▶ head ──it is whole──▶ request ──its answer has been sent──▶ idle …
//! ```

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::timeouts::Timeouts;
use crate::net::connection::Connection;

/// Where a connection is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for a request.
    Idle(Instant),
    /// A part of a head has arrived.
    Head(Instant),
    /// A request is served.
    Request,
}

/// What a connection does, as its reader and its service see it.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    phase: Mutex<Phase>,
    /// A deadline may be earlier than it was.
    changed: Notify,
}

impl Activity {
    /// Of a connection whose first request is waited for.
    pub(super) fn begin() -> Self {
        let phase = Mutex::new(Phase::Head(Instant::now()));
        Self { shared: Arc::new(Shared { phase, changed: Notify::new() }) }
    }

    fn set(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.shared.changed.notify_one();
    }

    fn phase(&self) -> Phase {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has arrived.
    pub(super) fn request(&self) {
        self.set(Phase::Request);
    }

    /// The body of an answer, at whose end the connection is idle.
    pub(super) fn until_sent(&self, body: Body) -> Body {
        Body::new(AnswerBody { body, activity: self.clone() })
    }

    /// Resolves when the connection has waited for too long.
    pub(super) async fn timed_out(&self, timeouts: &Timeouts) {
        loop {
            let deadline = match self.phase() {
                Phase::Idle(since) => Some(since + timeouts.keep_alive),
                Phase::Head(since) => Some(since + timeouts.head),
                Phase::Request => None,
            };
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }
}

/// A connection that says when a head begins.
#[derive(Debug)]
pub(super) struct Watched {
    connection: Connection,
    activity: Activity,
}

impl Watched {
    pub(super) fn new(connection: Connection, activity: Activity) -> Self {
        Self { connection, activity }
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        if buffer.filled().len() > before && matches!(self.activity.phase(), Phase::Idle(_)) {
            self.activity.set(Phase::Head(Instant::now()));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

/// The body of an answer.
struct AnswerBody {
    body: Body,
    activity: Activity,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.activity.set(Phase::Idle(Instant::now()));
    }
}
