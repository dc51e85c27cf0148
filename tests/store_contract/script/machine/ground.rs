//! Where histories are played, one after the other: a server, the channel, and what was seen there.

use deadpool_redis::redis::PubSub;
use headcount::core::count::Count;

use super::super::stage::{Answer, CHANNEL, NO_ARGUMENTS, Outcome, Stage};

/// Precedes the announcements of a history on the channel, and follows those of each report: so it is known when
/// all have come.
const BEGIN: &str = "begin";
pub(super) const END: &str = "end";

/// Where histories are played: they share the server, one after the other.
pub(super) struct Ground<'a> {
    pub(super) stage: Stage<'a>,
    pub(super) channel: PubSub<'a>,
    pub(super) seen: Seen,
}

impl Ground<'_> {
    /// Forgets what histories before have stored and published.
    pub(super) fn clear(&mut self) -> Outcome {
        self.stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        self.stage.redis::<()>("PUBLISH", (CHANNEL, BEGIN))?;
        self.hear_up_to(BEGIN).map(drop)
    }

    pub(super) fn hear_up_to(&mut self, last: &str) -> Result<Vec<Vec<u8>>, String> {
        let mut news = Vec::new();
        loop {
            let message = self.channel.get_message().map_err(|error| error.to_string())?;
            if message.get_payload_bytes() == last.as_bytes() {
                return Ok(news);
            }
            news.push(message.get_payload_bytes().to_vec());
        }
    }
}

/// How often the histories came to what they are there for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) reports: u64,
    pub(super) stale: u64,
    pub(super) reaped: u64,
    pub(super) recovering: u64,
    pub(super) repaired: u64,
    pub(super) renamed: u64,
    pub(super) announcements: u64,
    /// Looks at a view while all had to be right, and while it had to keep between bounds although it had lost
    /// the store.
    pub(super) right: u64,
    pub(super) bounded: u64,
}

impl Seen {
    pub(super) fn count(&mut self, answer: &Answer, news: &[Count]) {
        self.reports += 1;
        self.stale += u64::from(!answer.applied);
        self.recovering += u64::from(answer.recovering);
        self.reaped += answer.crashed;
        self.repaired += answer.repaired;
        self.announcements += news.len() as u64;
    }
}
