//! Limits how long a connection may be idle between two requests, and how long a request's head may take to arrive. The HTTP
//! server has one limit for both. Two are needed, since a balancer keeps connections idle for longer than a head may take.
//!
//! ```text
//!  idle ──a byte arrives──▶ head ──it is complete──▶ request ──its answer has been sent──▶ idle …
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

/// The state of a connection, and since when it has been in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The connection waits for a request.
    Idle(Instant),
    /// Part of a head has arrived.
    Head(Instant),
    /// A request is being served.
    Request,
}

/// The state of a connection, shared by its reader and its service.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    shared: Arc<ActivityState>,
}

#[derive(Debug)]
struct ActivityState {
    phase: Mutex<Phase>,
    /// Notified when the deadline may be earlier than before.
    changed: Notify,
}

impl Activity {
    /// The state of a new connection, which waits for its first request.
    pub(super) fn begin() -> Self {
        let phase = Mutex::new(Phase::Head(Instant::now()));
        Self { shared: Arc::new(ActivityState { phase, changed: Notify::new() }) }
    }

    fn set(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.shared.changed.notify_one();
    }

    fn phase(&self) -> Phase {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request has arrived.
    pub(super) fn request(&self) {
        self.set(Phase::Request);
    }

    /// Wraps the body of an answer. The connection is idle when the body has been sent.
    pub(super) fn until_sent(&self, body: Body) -> Body {
        Body::new(AnswerBody { body, activity: self.clone() })
    }

    /// Resolves when a limit has passed.
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

/// A connection that records when a head begins to arrive.
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
