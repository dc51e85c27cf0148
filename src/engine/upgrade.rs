//! Moves a session from polls to a websocket. This changes the session's transport and nothing else.
//!
//! ```text
//!  asked ──2probe──▶ probed ──5──▶ the websocket carries the session
//!    │                 │ polls are answered at once, so that the client stops polling
//!    └────────┬────────┘
//!             ▼ closed, wrong, too slow
//!  polls still carry the session; if its client does not poll soon, the session ends
//! ```

use std::sync::{Arc, atomic::Ordering};

use tokio::{net::TcpStream, sync::OwnedSemaphorePermit, time::Instant};

use super::{
    lifecycle::Engine,
    reason::{End, Refusal},
    session::{PollState, Requests, Session},
};
use crate::protocol::transport::Transport;

/// The purpose of a new websocket.
#[derive(Debug)]
pub enum Opening {
    /// A session begins on the websocket.
    New(OwnedSemaphorePermit),
    /// A session is to move to the websocket.
    Upgrade(Upgrade),
    /// None: another websocket carries the session already.
    Unwanted,
}

/// The attempt to move one session to one websocket. If it is dropped before it is complete, it has failed.
#[derive(Debug)]
pub struct Upgrade {
    engine: Arc<Engine>,
    session: Arc<Session>,
    is_complete: bool,
}

impl Engine {
    /// Begins to move a session to a new websocket. If a websocket carries the session already, or another attempt is under
    /// way, the new websocket is opened and closed at once, as the reference server does.
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`] if the session has ended.
    pub fn begin_upgrade(self: &Arc<Self>, session: Arc<Session>) -> Result<Opening, Refusal> {
        let mut state = session.state();
        match state.carrier() {
            None => return Err(Refusal::UnknownSession),
            Some(Transport::Polling) if !state.requests.upgrades => {}
            Some(_) => return Ok(Opening::Unwanted),
        }
        state.requests.upgrades = true;
        drop(state);
        let engine = Arc::clone(self);
        Ok(Opening::Upgrade(Upgrade { engine, session, is_complete: false }))
    }
}

impl Upgrade {
    /// The session that is to move.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the session has moved.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Names the websocket, so that the end of the session shuts it down.
    ///
    /// # Errors
    /// If the session has ended.
    pub(super) fn attach(&self, websocket: &Arc<TcpStream>) -> Result<(), End> {
        let mut state = self.session.state();
        if let Some(reason) = state.ended {
            return Err(reason.into());
        }
        state.candidate = Some(Arc::clone(websocket));
        Ok(())
    }

    /// Records that the websocket works. From now on polls are answered at once.
    pub(super) fn probe(&self) {
        let mut state = self.session.state();
        state.requests.is_probed = true;
        state.outbox.wake();
    }

    /// Makes the websocket carry the session.
    ///
    /// # Errors
    /// If the session has ended.
    pub(super) fn complete(&mut self, websocket: Arc<TcpStream>) -> Result<(), End> {
        let mut state = self.session.state();
        if let Some(reason) = state.ended {
            return Err(reason.into());
        }
        self.is_complete = true;
        state.candidate = None;
        state.outbox.upgrade(websocket);
        self.engine.polling_sessions.fetch_sub(1, Ordering::Relaxed);
        state.requests = Requests { poll: state.requests.poll, ..Requests::default() };
        state.unpolled_since = None;
        if state.is_counted() {
            self.engine.move_joined(Transport::Polling, Transport::Websocket);
        }
        let (engine, session) = (&self.engine, &self.session);
        engine.see_to_the_rest(session, state);
        Ok(())
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        let (now, mut state) = (Instant::now(), self.session.state());
        state.candidate = None;
        (state.requests.upgrades, state.requests.is_probed) = (false, false);
        if state.requests.poll != PollState::Open && state.ended.is_none() {
            (state.unpolled_since, state.requests.is_suspect) = (Some(now), true);
            self.engine.look_after(&self.session, state, now);
        }
    }
}
