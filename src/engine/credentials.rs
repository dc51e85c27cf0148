//! The tokens of one session: those by which its client is in namespaces, the latest one, and CONNECTs that wait for the key of
//! their token. It verifies nothing by itself.
//!
//! A token is known again by a digest of its text. The text is kept only while a CONNECT waits.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::session_id::SessionId;
use crate::{
    core::report::Room, identity::token::Identity, protocol::auth::Wants,
    telemetry::labels::JoinRefusal,
};

/// The sessions whose tokens expire at the same moment end over this time, so that their clients do not all come back at once.
const EXPIRY_SPREAD: Duration = Duration::from_secs(5);
/// How long a refused token is known again. One that was not valid yet may be valid after it.
const REFUSAL_KNOWN_FOR: Duration = Duration::from_secs(1);
/// The most CONNECTs of a session that may wait: more than a page has rooms by default.
const WAITING_MAX: usize = 128;
/// The most bytes of different tokens of a session that may wait: those of one large message.
const WAITING_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The tokens of one session. A session without tokens has none of these.
#[derive(Debug, Default)]
pub struct Credentials {
    /// The token by which the client is in the site.
    pub site: Option<Arc<Credential>>,
    /// The token that was verified last.
    latest: Option<Arc<Credential>>,
    /// What few sessions need, and none for long.
    rare: Option<Box<Rare>>,
}

/// A token that was verified, and what it says.
#[derive(Debug)]
pub struct Credential {
    digest: TokenDigest,
    /// What the token says.
    pub identity: Identity,
    /// When a session that uses it ends; `None` if that is too far away to be a time.
    pub ends_at: Option<Instant>,
}

/// Stands for a token's text. Nobody can make another text with the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest([u8; 16]);

/// A CONNECT that waits for the key of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingConnect {
    /// The namespace.
    pub room: Room,
    /// What the client wants there.
    pub wants: Wants,
}

/// What is known of a token that a client shows.
#[derive(Clone, Debug)]
pub enum Known {
    /// It was verified.
    Valid(Arc<Credential>),
    /// It was refused a moment ago.
    Refused(JoinRefusal),
    /// CONNECTs wait for its key.
    Awaited,
    /// Nothing: it must be verified.
    Nothing,
}

#[derive(Debug, Default)]
struct Rare {
    /// The token that was refused last.
    refused: Option<RefusedToken>,
    /// The tokens whose keys are awaited, each with the CONNECTs that wait for it, at most one for each namespace.
    waiting: Vec<Awaited>,
}

struct Awaited {
    token: Arc<str>,
    digest: TokenDigest,
    connects: Vec<WaitingConnect>,
}

#[derive(Debug)]
struct RefusedToken {
    digest: TokenDigest,
    refusal: JoinRefusal,
    until: Instant,
}

impl Credential {
    /// A token that was verified just now, on the session with this id.
    pub fn new(digest: TokenDigest, identity: Identity, session: SessionId, now: Instant) -> Self {
        let time_left = identity.time_left(SystemTime::now());
        let ends_at =
            time_left.and_then(|left| now.checked_add(left.checked_add(spread(session))?));
        Self { digest, identity, ends_at }
    }

    /// Whether the token's time is not over.
    fn is_current(&self) -> bool {
        self.identity.expires_at.is_none_or(|expires_at| SystemTime::now() < expires_at)
    }
}

/// How much later than others a session ends whose token expires at the same moment. Keys of sessions follow each other, and their
/// multiples of the golden ratio are spread evenly (Knuth, The Art of Computer Programming, section 6.4).
fn spread(session: SessionId) -> Duration {
    let part = session.key().wrapping_mul(0x9e37_79b9);
    EXPIRY_SPREAD.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest(&SHA256, token.as_bytes()).as_ref()[..16]);
        Self(half)
    }
}

impl Credentials {
    /// What is known of a token. `in_use` are the tokens by which the client is in rooms.
    pub fn known<'a>(
        &'a self,
        token: TokenDigest,
        in_use: impl Iterator<Item = &'a Arc<Credential>>,
        now: Instant,
    ) -> Known {
        let mut verified = self.site.iter().chain(&self.latest).chain(in_use);
        if let Some(valid) = verified.find(|valid| valid.digest == token && valid.is_current()) {
            return Known::Valid(Arc::clone(valid));
        }
        let Some(rare) = &self.rare else { return Known::Nothing };
        if rare.waiting.iter().any(|awaited| awaited.digest == token) {
            return Known::Awaited;
        }
        match &rare.refused {
            Some(refused) if refused.digest == token && now < refused.until => {
                Known::Refused(refused.refusal)
            }
            _ => Known::Nothing,
        }
    }

    /// Records that a token was verified.
    pub fn accept(&mut self, credential: &Arc<Credential>) {
        self.latest = Some(Arc::clone(credential));
    }

    /// Records that a token was refused.
    pub fn refuse(&mut self, token: TokenDigest, refusal: JoinRefusal, now: Instant) {
        let refused = RefusedToken { digest: token, refusal, until: now + REFUSAL_KNOWN_FOR };
        self.rare.get_or_insert_default().refused = Some(refused);
    }

    /// Lets a CONNECT wait for the key of its token, in place of an earlier one to the same namespace. Returns false if too much
    /// waits already.
    pub fn wait(&mut self, connect: WaitingConnect, token: &str, digest: TokenDigest) -> bool {
        self.forget(&connect.room);
        let waiting = &mut self.rare.get_or_insert_default().waiting;
        let number: usize = waiting.iter().map(|awaited| awaited.connects.len()).sum();
        if number >= WAITING_MAX {
            return false;
        }
        if let Some(awaited) = waiting.iter_mut().find(|awaited| awaited.digest == digest) {
            awaited.connects.push(connect);
            return true;
        }
        let bytes: usize = waiting.iter().map(|awaited| awaited.token.len()).sum();
        let fits = bytes + token.len() <= WAITING_TOKEN_BYTES_MAX;
        if fits {
            waiting.push(Awaited { token: token.into(), digest, connects: vec![connect] });
        }
        fits
    }

    /// Drops the CONNECT to this namespace that waits, if there is one: the client has left it, or says something else.
    pub fn forget(&mut self, room: &Room) {
        if let Some(rare) = &mut self.rare {
            rare.waiting.iter_mut().for_each(|awaited| {
                awaited.connects.retain(|connect| connect.room != *room);
            });
            rare.waiting.retain(|awaited| !awaited.connects.is_empty());
        }
    }

    /// Whether a CONNECT waits.
    pub fn is_waiting(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.waiting.is_empty())
    }

    /// A token whose key is awaited, and its digest.
    pub fn awaited(&self) -> Option<(Arc<str>, TokenDigest)> {
        let first = self.rare.as_ref()?.waiting.first()?;
        Some((Arc::clone(&first.token), first.digest))
    }

    /// Takes out the CONNECTs that wait with the token of this digest.
    pub fn take_waiting(&mut self, token: TokenDigest) -> Vec<WaitingConnect> {
        let waiting = self
            .rare
            .iter_mut()
            .flat_map(|rare| rare.waiting.extract_if(.., |awaited| awaited.digest == token));
        waiting.flat_map(|awaited| awaited.connects).collect()
    }

    /// When the session ends because a token expires. `in_use` are the tokens by which the client is in rooms.
    pub fn end_at<'a>(
        &'a self,
        in_use: impl Iterator<Item = &'a Arc<Credential>>,
    ) -> Option<Instant> {
        self.site.iter().chain(in_use).filter_map(|credential| credential.ends_at).min()
    }
}

/// Does not show the token.
impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").field("connects", &self.connects).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
