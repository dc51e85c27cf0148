//! Joins and leaves on schedule: visitors join several servers at an even rate, whether or not earlier ones
//! were answered, and as many leave. This module never measures.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::crowd::{Crowd, VisitorId};

/// Which visitor leaves when another one has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaver {
    /// The visitor connected longest, between two joins, so that the number of visitors stays the same. The
    /// time since the join differs from leave to leave, and all times are equally frequent.
    Oldest,
    /// The new visitor, as soon as it was told a count: no visitor stays.
    Newcomer,
}

/// Joins at this rate for this time.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Joins a second, and as many leaves.
    pub joins_per_second: u64,
    /// The duration.
    pub time: Duration,
    /// Which visitors leave.
    pub leaver: Leaver,
}

/// The most visitors that may be joining at a time. More would mean that the servers are far behind, and would
/// use up the machine's descriptors.
const ON_THEIR_WAY_MAX: usize = 5000;

impl Churn {
    /// Carries it out; returns the number of joins.
    ///
    /// # Errors
    /// If a socket cannot be opened.
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

/// Numbers from 0 to 1 that are evenly spread however many are taken: the fractional parts of the multiples of
/// the golden ratio.
fn phase(index: u32) -> f64 {
    (f64::from(index) * 0.618_033_988_749_895).fract()
}
