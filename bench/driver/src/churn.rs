//! Joins and leaves by the clock: visitors come at an even rate over several servers, whether or not earlier
//! ones were answered, and as many leave. It never measures.

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
    /// The one who has been there longest, between two joins: the number of visitors stays the same. The time since
    /// the join is different for each, and all are equally frequent.
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
        let (mut joins, mut leaves) = (0_u32, 0_u32);
        while start.elapsed() < self.time {
            let join_due = start + gap * joins;
            if join_due <= Instant::now() && crowd.joining() < ON_THEIR_WAY_MAX {
                crowd.join(servers[usize::try_from(joins)? % servers.len()])?;
                joins += 1;
            }
            let mut due = start + gap * joins;
            if self.leaver == Leaver::Oldest && leaves < joins && !standing.is_empty() {
                let leave_due = start + gap.mul_f64(f64::from(leaves) + phase(leaves));
                if leave_due <= Instant::now()
                    && let Some(oldest) = standing.pop_front()
                {
                    crowd.leave(oldest);
                    leaves += 1;
                }
                due = due.min(leave_due);
            }
            crowd.poll(due.saturating_duration_since(Instant::now()).min(self.time))?;
            for newcomer in crowd.take_arrivals() {
                match self.leaver {
                    Leaver::Oldest => standing.push_back(newcomer),
                    Leaver::Newcomer => crowd.leave(newcomer),
                }
            }
        }
        Ok(u64::from(joins))
    }
}

/// Numbers from 0 to 1, evenly spread however many of them are taken: what multiples of the golden ratio have behind
/// the point.
fn phase(index: u32) -> f64 {
    (f64::from(index) * 0.618_033_988_749_895).fract()
}
