//! Joins and leaves by the clock: visitors come at an even rate over several servers, whether or not earlier
//! ones were answered, and for each that comes one leaves. It never measures.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::crowd::{Crowd, VisitorId};

/// Who leaves when somebody has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaver {
    /// The one who has been there longest: the number of visitors stays the same.
    Oldest,
    /// The newcomer, as soon as it was told a count: nobody stays.
    Newcomer,
}

/// Joins at this rate for this time.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Joins a second, and as many leaves.
    pub joins_per_second: u64,
    /// How long.
    pub time: Duration,
    /// Who leaves.
    pub leaver: Leaver,
}

/// More visitors than this on their way mean that the servers are far behind, and that the machine's
/// descriptors would run out.
const ON_THEIR_WAY_MAX: usize = 5000;

impl Churn {
    /// Carries it out; how many joins there were.
    ///
    /// # Errors
    /// If no socket is to be had.
    pub fn run(
        &self,
        crowd: &mut Crowd,
        servers: &[SocketAddr],
        standing: &mut VecDeque<VisitorId>,
    ) -> Result<u64> {
        let start = Instant::now();
        let gap = Duration::from_secs(1) / u32::try_from(self.joins_per_second)?;
        let mut joins = 0;
        while start.elapsed() < self.time {
            let due = start + gap * u32::try_from(joins)?;
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() && crowd.joining() < ON_THEIR_WAY_MAX {
                crowd.join(servers[usize::try_from(joins)? % servers.len()])?;
                joins += 1;
                if self.leaver == Leaver::Oldest
                    && let Some(oldest) = standing.pop_front()
                {
                    crowd.leave(oldest);
                }
            }
            crowd.poll(wait.min(self.time))?;
            for newcomer in crowd.take_arrivals() {
                match self.leaver {
                    Leaver::Oldest => standing.push_back(newcomer),
                    Leaver::Newcomer => crowd.leave(newcomer),
                }
            }
        }
        Ok(joins)
    }
}
