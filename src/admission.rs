//! What a session of the library's has from its handshake to its end, beside what the library knows of it: its permit,
//! its stay in the count, the websocket that carries it. And how all that goes over to a websocket of our own, when a
//! client that began with polling asks for one.
//!
//! ```text
//!           Upgrade::begin          commit             poll_stay
//!  settled ────────────────▶ asked ────────▶ committed ──────────▶ over: the websocket has the stay
//!     ▲                        │                 │                   ▲
//!     └──── dropped before ────┘                 └─── dropped ───────┘ ◀── the library's session ends, in any state
//! ```
//!
//! The library keeps the request that began a session for as long as that lasts, and an [`Admission`] is in its
//! extensions: with the one the other ends.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use socketioxide::socket::Sid;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use crate::{connection::Control, library::Library, stay::Stay};

/// How long a poll waits that comes when its client has been told that it may go over: it asks again until it hears that.
const LATE_POLL: Duration = Duration::from_millis(100);

/// The sessions that began with polling.
#[derive(Debug, Default)]
pub struct Admissions {
    sessions: Mutex<HashMap<Sid, Weak<Admitted>>>,
}

/// A session's own handle, which travels with the request that began it.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    admitted: Arc<Admitted>,
    /// Where the session is found by its id, once it has one.
    listed: OnceLock<(Arc<Admissions>, Sid)>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Admitted {
    state: Mutex<State>,
    /// Whether polls are answered at once, because their client waits for that before it goes over.
    released: watch::Sender<bool>,
    /// Whoever wants to take the stay over.
    successor: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    permit: Option<OwnedSemaphorePermit>,
    /// The library's websocket.
    websocket: Option<Arc<Control>>,
    stay: Option<Stay>,
    /// How many stays there were, of which `stay` is the last.
    stays: u64,
    /// Polls that wait in the library.
    polls: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Settled,
    Asked,
    Committed,
    Over,
}

impl Admissions {
    /// The session of this id, if it began with polling and lasts.
    pub fn get(&self, session: Sid) -> Option<Arc<Admitted>> {
        self.sessions().get(&session)?.upgrade()
    }

    /// Every critical section leaves the sessions whole.
    fn sessions(&self) -> MutexGuard<'_, HashMap<Sid, Weak<Admitted>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// A session that has this permit.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        let admitted = Arc::new(Admitted::default());
        admitted.state().permit = Some(permit);
        Self(Arc::new(Owner { admitted, listed: OnceLock::new() }))
    }

    /// From now on the session is found by its id.
    pub fn list(&self, admissions: &Arc<Admissions>, session: Sid) {
        admissions.sessions().insert(session, Arc::downgrade(&self.0.admitted));
        self.0.listed.get_or_init(|| (Arc::clone(admissions), session));
    }

    /// What outlives the session, for those who must hear of its end.
    pub fn admitted(&self) -> Arc<Admitted> {
        Arc::clone(&self.0.admitted)
    }
}

impl Deref for Admission {
    type Target = Admitted;

    fn deref(&self) -> &Admitted {
        &self.0.admitted
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some((admissions, session)) = self.listed.get() {
            admissions.sessions().remove(session);
        }
        self.admitted.end_for("while_connecting");
    }
}

impl Admitted {
    /// A websocket of the library's carries the session. Another one on it is turned away, as long as the first lives.
    pub fn carry_on(&self, websocket: &Arc<Control>) {
        let mut state = self.state();
        if state.websocket.as_ref().is_none_or(|held| !held.is_open()) {
            state.websocket = Some(Arc::clone(websocket));
        }
    }

    /// The library's websocket, if one carries the session.
    pub fn websocket(&self) -> Option<Arc<Control>> {
        self.state().websocket.clone()
    }

    /// A session lives no longer than the websocket that carries it, but what waits for its client to join holds on to
    /// it: the websocket keeps the permit, so that it comes back in time.
    pub fn hand_permit_to(&self, websocket: &Control) {
        let permit = self.state().permit.take();
        if let Some(permit) = permit {
            websocket.keep(permit);
        }
    }

    /// Begins a stay, unless the session is over. Returns its number, to end it with.
    pub fn begin_stay(&self, begin: impl FnOnce() -> Stay) -> Option<u64> {
        let mut state = self.state();
        if state.phase == Phase::Over {
            return None;
        }
        state.stays += 1;
        let number = state.stays;
        let before = state.stay.replace(begin());
        drop(state);
        drop(before);
        self.successor.wake();
        Some(number)
    }

    /// Ends this stay, unless it has been taken over or another one has begun. The session goes on.
    pub fn end_stay(&self, number: u64, reason: &'static str) {
        let mut state = self.state();
        let ended = if state.stays == number { state.stay.take() } else { None };
        drop(state);
        if let Some(stay) = ended {
            stay.end_for(reason);
        }
    }

    /// Lets a poll wait in the library, but no longer than until its client is to go over to a websocket: `None` then.
    /// What waits for the client already, it is still given.
    pub async fn poll<R>(&self, polling: impl Future<Output = R>) -> Option<R> {
        let _polling = Polling::begin(self);
        let mut released = self.released.subscribe();
        let is_late = *released.borrow();
        let end = async {
            if is_late {
                sleep(LATE_POLL).await;
            } else {
                drop(released.wait_for(|&released| released).await);
            }
        };
        tokio::select! {
            biased;
            answer = polling => Some(answer),
            () = end => None,
        }
    }

    /// The session is over, for this reason.
    pub fn end_for(&self, reason: &'static str) {
        let mut state = self.state();
        state.phase = Phase::Over;
        let (stay, permit) = (state.stay.take(), state.permit.take());
        drop(state);
        drop(permit);
        if let Some(stay) = stay {
            stay.end_for(reason);
        }
        self.successor.wake();
    }

    /// Every critical section leaves the state whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poll that waits in the library.
struct Polling<'a>(&'a Admitted);

impl<'a> Polling<'a> {
    fn begin(admitted: &'a Admitted) -> Self {
        admitted.state().polls += 1;
        Self(admitted)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.state().polls -= 1;
        self.0.successor.wake();
    }
}

/// A session on its way to a websocket of our own; there is one at a time. Given up before it is committed, it leaves the
/// session as it was; given up after that, it ends it.
#[derive(Debug)]
pub struct Upgrade {
    session: Sid,
    admitted: Arc<Admitted>,
    library: Library,
    /// Why the session ends, if it is given up then.
    reason: &'static str,
}

impl Upgrade {
    /// A client asks for it. `None` if the session is on its way already. Boxed, so that websockets for which there is none
    /// keep no room for it.
    pub fn begin(session: Sid, admitted: Arc<Admitted>, library: &Library) -> Option<Box<Self>> {
        let mut state = admitted.state();
        if state.phase != Phase::Settled {
            return None;
        }
        state.phase = Phase::Asked;
        drop(state);
        Some(Box::new(Self { session, admitted, library: library.clone(), reason: "closing" }))
    }

    /// The session's id, which it keeps.
    pub fn session(&self) -> Sid {
        self.session
    }

    /// The client has probed the websocket, and waits for the answers to its polls.
    pub fn release_polls(&self) {
        self.admitted.released.send_replace(true);
    }

    /// The client has gone over: it polls no more. Returns false if the session is over.
    pub fn commit(&self, websocket: &Control) -> bool {
        let mut state = self.admitted.state();
        if state.phase == Phase::Over {
            return false;
        }
        state.phase = Phase::Committed;
        drop(state);
        self.admitted.hand_permit_to(websocket);
        true
    }

    /// Takes the stay over once the client has gone over, has joined, and nobody polls in its name. `None` if the session
    /// is over.
    pub fn poll_stay(&self, waker: &Waker) -> Poll<Option<Stay>> {
        self.admitted.successor.register(waker);
        let mut state = self.admitted.state();
        match state.phase {
            Phase::Over => Poll::Ready(None),
            Phase::Committed if state.polls == 0 && state.stay.is_some() => {
                state.phase = Phase::Over;
                Poll::Ready(state.stay.take())
            }
            _ => Poll::Pending,
        }
    }

    /// What the library still has to say to the client, once that has gone over: the acknowledgement of its joining is among
    /// it when the stay has been taken. `None` if the library has the session no more.
    pub fn packets(&self) -> Option<Vec<String>> {
        let state = self.admitted.state();
        let nobody_else = state.phase != Phase::Asked && state.polls == 0;
        drop(state);
        if nobody_else { self.library.packets(self.session) } else { Some(Vec::new()) }
    }

    /// Gives it up. If it was committed, this is why the session ends.
    pub fn give_up(mut self, reason: &'static str) {
        self.reason = reason;
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        let mut state = self.admitted.state();
        if state.phase == Phase::Asked {
            self.admitted.released.send_replace(false);
            state.phase = Phase::Settled;
            return;
        }
        drop(state);
        self.admitted.end_for(self.reason);
        self.library.close(self.session);
    }
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
