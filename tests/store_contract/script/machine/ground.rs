//! The server and the channel on which histories are played one after the other, and what they covered.

use deadpool_redis::redis::PubSub;
use headcount::core::count::Count;

use super::super::stage::{Answer, CHANNEL, NO_ARGUMENTS, Outcome, Stage};

/// Published before the announcements of a history, and after those of every report. It shows that all of them
/// have arrived.
const BEGIN: &str = "begin";
pub(super) const END: &str = "end";

/// The server and the channel, which the histories share one after the other.
pub(super) struct Ground<'a> {
    pub(super) stage: Stage<'a>,
    pub(super) channel: PubSub<'a>,
    pub(super) seen: Seen,
}

impl Ground<'_> {
    /// Removes everything that earlier histories have stored and published.
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

/// How often the histories reached each situation that they must cover.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) reports: u64,
    pub(super) stale: u64,
    pub(super) reaped: u64,
    pub(super) recovering: u64,
    pub(super) repaired: u64,
    pub(super) renamed: u64,
    pub(super) announcements: u64,
    /// Checks of a view while all had to be right, and while it had to stay within bounds although the store had
    /// lost data.
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
