//! Who a client is: what its CONNECT says about it, against the keys of sign-in.
//!
//! ```text
//!  token ──▶ known on this session? ──▶ verify ──▶ joiner, or a refusal
//!                                         └── its key is not known ──▶ waits, while the session goes on ──▶ verify again
//!  visitor key ──▶ joiner
//! ```
//!
//! A session's tokens are verified once, outside its lock. A refusal costs the client a part of what it may send.

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    credentials::{Credential, Known, TokenDigest, WaitingConnect},
    lifecycle::{Engine, charge},
    reason::End,
    session::Session,
};
use crate::{
    core::{report::Room, room::Person},
    identity::{
        sign_in::SignInMode,
        token::{Identity, TokenError},
    },
    protocol::auth::{Auth, Proof, Wants},
    telemetry::labels::JoinRefusal,
};

/// Bytes that a refused token costs the client in addition to its own, since verifying is work: about fifteen refused tokens in
/// a burst, and one a second.
const REFUSED_TOKEN_BYTES: u64 = 4096;

/// Who joins, and by what right.
#[derive(Clone, Debug, Default)]
pub(super) struct Joiner {
    /// Whom the count counts. `None` for a connection that is a user of its own.
    pub(super) person: Option<Person>,
    /// The token that says so.
    pub(super) credential: Option<Arc<Credential>>,
}

/// What a CONNECT says about its client.
#[derive(Clone, Debug)]
pub(super) enum Identified {
    /// This is who joins.
    As(Joiner),
    /// The client must not join.
    Refused(JoinRefusal),
    /// It is answered later.
    Later,
}

impl Engine {
    /// Says who wants to join a namespace.
    ///
    /// # Errors
    /// How the session must end, if its client shows too many bad tokens.
    pub(super) fn identify(
        &self,
        session: &Arc<Session>,
        room: &Room,
        auth: &Auth<'_>,
    ) -> Result<Identified, End> {
        let mode = self.settings().sign_in.mode();
        if mode != SignInMode::Off {
            match &auth.token {
                // Pages pass on what an address of theirs answers, which often ends with a line break.
                Proof::Text(token) => {
                    return self.identify_by(token.trim_ascii(), session, room, auth.wants());
                }
                Proof::NoText => return Ok(Identified::Refused(JoinRefusal::BadAuth)),
                Proof::Absent => {}
            }
            if mode == SignInMode::Required || self.settings().rooms.is_private(room) {
                return Ok(Identified::Refused(JoinRefusal::TokenMissing));
            }
        }
        Ok(self.identify_visitor(&auth.visitor))
    }

    fn identify_visitor(&self, key: &Proof<'_>) -> Identified {
        let Some(visitors) = &self.settings().visitors else {
            return Identified::As(Joiner::default());
        };
        let person = match key {
            Proof::Absent => return Identified::As(Joiner::default()),
            Proof::NoText => None,
            Proof::Text(key) => visitors.person(key),
        };
        match person {
            Some(_) => Identified::As(Joiner { person, credential: None }),
            None => Identified::Refused(JoinRefusal::BadAuth),
        }
    }

    fn identify_by(
        &self,
        token: &str,
        session: &Arc<Session>,
        room: &Room,
        wants: Wants,
    ) -> Result<Identified, End> {
        let (digest, now) = (TokenDigest::of(token), Instant::now());
        let verified = match known(session, token, digest, room, now) {
            Known::Valid(credential) => return Ok(Identified::As(Joiner::by(credential))),
            Known::Refused(refusal) => return Ok(Identified::Refused(refusal)),
            Known::Awaited => Err(TokenError::UnknownKey),
            Known::Nothing => self.settings().sign_in.verify(token, SystemTime::now()),
        };
        match verified {
            Ok(identity) => Ok(Identified::As(accept(session, digest, identity, now))),
            Err(TokenError::UnknownKey)
                if self.await_key(session, (room, wants), token, digest) =>
            {
                Ok(Identified::Later)
            }
            Err(error) => self.refuse_token(session, digest, error, now).map(Identified::Refused),
        }
    }

    /// Lets a CONNECT wait until the key of its token has been looked for. Returns false if too much waits already.
    fn await_key(
        &self,
        session: &Session,
        (room, wants): (&Room, Wants),
        token: &str,
        digest: TokenDigest,
    ) -> bool {
        let connect = WaitingConnect { room: room.clone(), wants };
        let mut state = session.state();
        let credentials = state.credentials.get_or_insert_default();
        let was_waiting = credentials.is_waiting();
        let has_place = credentials.wait(connect, token, digest);
        drop(state);
        if has_place && !was_waiting {
            self.key_waits.add(session.id().key());
        }
        has_place
    }

    /// Task: answers CONNECTs that wait for the key of their token, once it has been looked for, until `stop`.
    pub async fn run_key_waits(self: Arc<Self>, stop: CancellationToken) {
        let looked_for = async || {
            self.key_waits.came().await;
            self.settings().sign_in.refreshed().await;
        };
        while stop.run_until_cancelled(looked_for()).await.is_some() {
            for key in self.key_waits.take() {
                if let Some(session) = self.sessions().by_key(key)
                    && let Err(end) = self.answer_waiting(&session)
                {
                    self.end(&session, end);
                }
            }
        }
    }

    fn answer_waiting(&self, session: &Arc<Session>) -> Result<(), End> {
        while let Some((token, digest)) = session.awaited_token() {
            let now = Instant::now();
            let identified = match self.settings().sign_in.verify(&token, SystemTime::now()) {
                Ok(identity) => Identified::As(accept(session, digest, identity, now)),
                Err(error) => Identified::Refused(self.refuse_token(session, digest, error, now)?),
            };
            let mut state = session.state();
            if let Some(reason) = state.ended {
                return Err(reason.into());
            }
            let waiting = state.credentials.get_or_insert_default().take_waiting(digest);
            let answer = |sent, WaitingConnect { room, wants }: WaitingConnect| {
                self.answer(session, &mut state, &room, wants, identified.clone()) && sent
            };
            let sent = waiting.into_iter().fold(true, answer);
            self.finish_sending(session, state, sent)?;
        }
        Ok(())
    }

    /// Records that a token was refused, and charges its client for it.
    fn refuse_token(
        &self,
        session: &Session,
        digest: TokenDigest,
        error: TokenError,
        now: Instant,
    ) -> Result<JoinRefusal, End> {
        self.metrics.tokens.refused.with_label_values(&[error.label()]).inc();
        tracing::debug!(session = ?session.id(), reason = error.label(), "refused a token");
        charge(session, REFUSED_TOKEN_BYTES)?;
        let refusal = match error {
            TokenError::Expired => JoinRefusal::TokenExpired,
            TokenError::Invalid(_) | TokenError::UnknownKey => JoinRefusal::TokenInvalid,
        };
        session.state().credentials.get_or_insert_default().refuse(digest, refusal, now);
        Ok(refusal)
    }
}

impl Joiner {
    fn by(credential: Arc<Credential>) -> Self {
        Self { person: Some(credential.identity.person.clone()), credential: Some(credential) }
    }
}

/// What is known of a token on this session. If anything is, its bytes cost the client nothing with a room: a page names its token
/// with each of its rooms, and how many rooms it may name has a limit of its own.
fn known(session: &Session, token: &str, digest: TokenDigest, room: &Room, now: Instant) -> Known {
    let mut state = session.state();
    let known = state.known(digest, now);
    if !matches!(known, Known::Nothing) && *room != Room::Site {
        state.budget.give_back(token.len() as u64, now);
    }
    known
}

/// Records that a token was verified.
fn accept(session: &Session, digest: TokenDigest, identity: Identity, now: Instant) -> Joiner {
    let credential = Arc::new(Credential::new(digest, identity, session.id(), now));
    session.state().credentials.get_or_insert_default().accept(&credential);
    Joiner::by(credential)
}
