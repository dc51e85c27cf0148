//! Sessions that polls carry: the request that opens one, the poll that waits for what is to be told, and the post that
//! brings what the client says.
//!
//! A poll or a post that its client cuts ends the session at once, as the reference server does: the page is gone. So
//! both are guards: whoever drops one before it is answered has lost the client.

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
    session::{Session, State},
};
use crate::{
    access::rate_limit::CLIENT_BYTES_PER_SECOND,
    protocol::{
        packet::{CLOSE, NOOP},
        payload::{Part, PayloadDecoder},
        transport::Transport,
    },
};

/// Bytes that a post counts for beside its own: a request is work, however short. So a session may post twice a second
/// sustained; it needs one post to connect and one for every ping.
const POST_BYTES: u64 = CLIENT_BYTES_PER_SECOND / 2;

/// How long a poll that comes amid the client's move to a websocket waits before it is answered with nothing. A poll
/// that a client sent behind the packet that moves it is to be refused, although it may be read before that packet.
const MOVE_PATIENCE: Duration = Duration::from_millis(50);

/// An open poll; its output is the payload of the answer, or [`Refusal::BadRequest`] if the client had moved to a
/// websocket.
#[derive(Debug)]
pub struct Poll {
    engine: Arc<Engine>,
    session: Arc<Session>,
    /// Of a poll that came amid a move.
    patience: Option<Pin<Box<Sleep>>>,
    is_answered: bool,
}

/// A post under way.
#[derive(Debug)]
pub struct Post {
    engine: Arc<Engine>,
    session: Arc<Session>,
    decoder: Option<PayloadDecoder>,
    /// Whether the session's end is decided, by an answer or an error.
    is_done: bool,
}

impl Engine {
    /// Begins a session that polls; returns its first packet, which is the answer.
    pub fn open_polling(&self, permit: OwnedSemaphorePermit) -> String {
        let session = self.begin(Transport::Polling, Outbox::polled(), permit);
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
        if state.requests.polls {
            drop(state);
            self.end(&session, EndReason::OverlappingRequests);
            return Err(Refusal::BadRequest);
        }
        state.requests.begin_poll();
        let patience = state.requests.is_probed.then(|| Box::pin(sleep(MOVE_PATIENCE)));
        drop(state);
        Ok(Poll { engine: Arc::clone(self), session, patience, is_answered: false })
    }

    /// Begins a post.
    ///
    /// # Errors
    /// As [`Engine::poll`]; [`Refusal::Flood`] if the client has posted too much, which ends the session.
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

    /// The connection that carried this session's last poll has ended: if its client is there, it polls again soon.
    pub fn suspect(&self, session: &Session) {
        let mut state = session.state();
        if state.requests.unpolled_since.is_some() && !state.requests.is_suspect {
            state.requests.is_suspect = true;
            self.look_after(session, state, Instant::now());
        }
    }
}

/// Polls must carry a session for which a poll or a post comes.
fn must_poll(state: &State) -> Result<(), Refusal> {
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
            // As the reference server: a client that closed the session itself hears nothing of it.
            None if state.closed_by_client => Some(Ok(NOOP.into())),
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
        state.requests.end_poll(now);
        if state.carrier() == Some(Transport::Polling) {
            this.engine.check_by(&this.session, &mut state, now + this.engine.poll_gap());
        }
        Progress::Ready(answer)
    }
}

impl Poll {
    /// The session it belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if !self.is_answered {
            self.engine.end(&self.session, EndReason::TransportClose);
        }
    }
}

impl Post {
    /// Takes in a piece of the body.
    ///
    /// # Errors
    /// How the post is answered instead; the session has ended.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        let (engine, session) = (&self.engine, &self.session);
        let read = charge(session, piece.len() as u64)
            .and_then(|()| decoder.read(piece, |part| engine.receive_part(session, part)));
        self.decoder = Some(decoder);
        self.settle(read)
    }

    /// The body is at its end.
    ///
    /// # Errors
    /// As [`Post::read`].
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

    /// The body did not arrive in time.
    pub fn time_out(mut self) -> Refusal {
        self.is_done = true;
        self.engine.end(&self.session, EndReason::TransportError);
        self.engine.admission().count(Refusal::Slow);
        Refusal::Slow
    }

    fn settle(&mut self, read: Result<(), End>) -> Result<(), Refusal> {
        match read {
            Ok(()) => Ok(()),
            // The rest of the body does not matter, and the post was a good one.
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
