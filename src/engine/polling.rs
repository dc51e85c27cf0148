//! Sessions that polls carry: the request that opens a session, the poll that waits for packets, and the post that brings
//! packets of the client.
//!
//! If a client cuts the connection of an open poll or post, its page is gone, and the session ends at once, as in the
//! reference server. So [`Poll`] and [`Post`] are guards: dropping one before it is answered ends the session. A poll that was
//! open when the session moved to a websocket does not: what becomes of its connection does not matter any more.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll as Progress},
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep},
};

use super::{
    lifecycle::{Engine, charge},
    outbox::Outbox,
    reason::{End, EndReason, Refusal},
    session::{PollState, Session, SessionState},
};
use crate::{
    access::rate_limit::CLIENT_BYTES_PER_SECOND,
    protocol::{
        packet::{CLOSE, NOOP},
        payload::{Part, PayloadDecoder},
        transport::Transport,
    },
};

/// Bytes that are charged for a post in addition to its body, since every request is work. This allows a session two posts
/// a second on average. It needs one to join, and one for every ping.
const POST_BYTES: u64 = CLIENT_BYTES_PER_SECOND as u64 / 2;

/// How long a poll that arrives during an upgrade waits before it is answered with an empty packet. A poll that the client
/// sent after the packet that completes the upgrade must be refused, but may be read before that packet.
const MOVE_PATIENCE: Duration = Duration::from_millis(50);

/// An open poll. Its output is the payload of the answer, or [`Refusal::BadRequest`] if the session has moved to a
/// websocket.
#[derive(Debug)]
pub struct Poll {
    engine: Arc<Engine>,
    session: Arc<Session>,
    /// Set for a poll that arrived during an upgrade: see [`MOVE_PATIENCE`].
    patience: Option<Pin<Box<Sleep>>>,
    is_answered: bool,
}

/// A post under way.
#[derive(Debug)]
pub struct Post {
    engine: Arc<Engine>,
    session: Arc<Session>,
    decoder: Option<PayloadDecoder>,
    /// Whether the post was answered or refused. If not, dropping it ends the session.
    is_done: bool,
}

impl Engine {
    /// Begins a session that polls carry. Returns its first packet, which is the answer to the request.
    pub fn open_polling(&self, permit: OwnedSemaphorePermit) -> String {
        let session = self.begin(Transport::Polling, permit, |_| Outbox::polled());
        self.opening(session.id(), Transport::Polling)
    }

    /// Begins a poll.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if a websocket carries the session, or another poll is open, which ends the session;
    /// [`Refusal::UnknownSession`] if the session has ended.
    pub fn poll(self: &Arc<Self>, session: Arc<Session>) -> Result<Poll, Refusal> {
        let mut state = session.state();
        must_poll(&state)?;
        if state.requests.poll == PollState::Open {
            drop(state);
            self.end(&session, EndReason::OverlappingRequests);
            return Err(Refusal::BadRequest);
        }
        state.begin_poll();
        let patience = state.requests.is_probed.then(|| Box::pin(sleep(MOVE_PATIENCE)));
        drop(state);
        Ok(Poll { engine: Arc::clone(self), session, patience, is_answered: false })
    }

    /// Begins a post.
    ///
    /// # Errors
    /// The same as of [`Engine::poll`]; also [`Refusal::Flood`] if the client has posted too much, which ends the session.
    pub fn post(self: &Arc<Self>, session: Arc<Session>) -> Result<Post, Refusal> {
        let mut state = session.state();
        must_poll(&state)?;
        if state.requests.posts {
            drop(state);
            self.end(&session, EndReason::OverlappingRequests);
            return Err(Refusal::BadRequest);
        }
        state.requests.posts = true;
        drop(state);
        let decoder = Some(PayloadDecoder::new(self.settings().payload_bytes_max));
        let mut post = Post { engine: Arc::clone(self), session, decoder, is_done: false };
        match charge(&post.session, POST_BYTES) {
            Ok(()) => Ok(post),
            Err(end) => Err(post.fail(end)),
        }
    }

    /// Records that the connection of the session's last poll has ended. If the client is alive, it polls again within
    /// [`POLL_GAP_SUSPECT`](super::settings::POLL_GAP_SUSPECT).
    pub fn suspect(&self, session: &Session) {
        let mut state = session.state();
        if state.unpolled_since.is_some() && !state.requests.is_suspect {
            state.requests.is_suspect = true;
            self.look_after(session, state, Instant::now());
        }
    }
}

/// Checks that polls carry the session.
fn must_poll(state: &SessionState) -> Result<(), Refusal> {
    match state.carrier() {
        Some(Transport::Polling) => Ok(()),
        Some(Transport::Websocket) => Err(Refusal::BadRequest),
        None => Err(Refusal::UnknownSession),
    }
}

impl Future for Poll {
    type Output = Result<Vec<u8>, Refusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Progress<Self::Output> {
        let this = self.get_mut();
        let mut state = this.session.state();
        let answer = match state.carrier() {
            Some(Transport::Polling) => state.outbox.take_payload().map(Ok),
            Some(Transport::Websocket) if this.patience.is_some() => Some(Err(Refusal::BadRequest)),
            Some(Transport::Websocket) => Some(Ok(NOOP.into())),
            // As in the reference server, a client that closed the session itself is not told so.
            None if state.closed_by_client => Some(Ok(NOOP.into())),
            None if state.ended.is_some_and(EndReason::sends_away) => {
                Some(Err(Refusal::UnknownSession))
            }
            None => Some(Ok(CLOSE.into())),
        };
        let may_wait = match &mut this.patience {
            Some(patience) => patience.as_mut().poll(context).is_pending(),
            None => !state.requests.is_probed,
        };
        let Some(answer) = answer.or_else(|| (!may_wait).then(|| Ok(NOOP.into()))) else {
            state.outbox.await_payload(context.waker());
            return Progress::Pending;
        };
        this.is_answered = true;
        let now = Instant::now();
        state.end_poll(now);
        if state.carrier() == Some(Transport::Polling) {
            this.engine.check_by(&this.session, &mut state, now + this.engine.poll_gap());
        }
        Progress::Ready(answer)
    }
}

impl Poll {
    /// The session that polls.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if !self.is_answered {
            self.engine.end_polled(&self.session, EndReason::TransportClose);
        }
    }
}

impl Post {
    /// Acts on a piece of the body.
    ///
    /// # Errors
    /// How the post is refused. The session has ended.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        let (engine, session) = (&self.engine, &self.session);
        let read = charge(session, piece.len() as u64)
            .and_then(|()| decoder.read(piece, |part| engine.receive_part(session, part)));
        self.decoder = Some(decoder);
        self.settle(read)
    }

    /// Acts on the end of the body.
    ///
    /// # Errors
    /// The same as of [`Post::read`].
    pub fn finish(mut self) -> Result<(), Refusal> {
        let (engine, session) = (&self.engine, &self.session);
        let finished = match self.decoder.take() {
            Some(decoder) => decoder.finish(|part| engine.receive_part(session, part)),
            None => Ok(()),
        };
        let settled = self.settle(finished);
        self.is_done = true;
        settled
    }

    /// Ends the session because the body did not arrive in time.
    pub fn time_out(mut self) -> Refusal {
        self.is_done = true;
        self.engine.end(&self.session, EndReason::TransportError);
        self.engine.admission().count(Refusal::Slow);
        Refusal::Slow
    }

    fn settle(&mut self, read: Result<(), End>) -> Result<(), Refusal> {
        match read {
            Ok(()) => Ok(()),
            // The client closed its session in order. The rest of the body is ignored.
            Err(End::CLOSED) => {
                self.engine.end(&self.session, End::CLOSED);
                self.decoder = None;
                Ok(())
            }
            Err(end) => Err(self.fail(end)),
        }
    }

    fn fail(&mut self, end: End) -> Refusal {
        self.is_done = true;
        self.engine.end(&self.session, end);
        let refusal = match (end.reason, end.close_code) {
            (EndReason::Flood, _) => Refusal::Flood,
            (_, Some(1009)) => Refusal::TooLong,
            _ => Refusal::BadRequest,
        };
        self.engine.admission().count(refusal);
        refusal
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.session.state().requests.posts = false;
        if !self.is_done {
            self.engine.end(&self.session, EndReason::TransportClose);
        }
    }
}

impl Engine {
    fn receive_part(&self, session: &Arc<Session>, part: Part<'_>) -> Result<(), End> {
        match part {
            Part::Text(packet) => self.receive(session, packet),
            Part::Binary => self.receive_binary(session),
        }
    }
}

#[cfg(test)]
#[path = "polling/tests.rs"]
mod tests;
