//! How a call to Redis, which lasts one lease at most, divides its time among the steps before the answer.

use std::time::Duration;

/// The time limits of the steps of a call, which as a whole may take one lease.
pub(super) struct Waits {
    /// For TCP, TLS and the greeting. Three quarters of a lease leave a quarter for the report itself. With a lease of 2 s that
    /// is enough for a server that is 200 ms away in each direction.
    pub(super) connect: Duration,
    /// For the check of a pooled connection. With a third of a lease, a call can find two dead connections and still use a
    /// third one.
    pub(super) recycle: Duration,
    /// For the first answer of a sentinel. The rest of the lease is left for the connection to the primary.
    sentinel: Duration,
    /// Time between two checks whether the sentinels name another primary. With a quarter of a lease, all instances move to a
    /// new primary within the time in which all must report to it.
    look: Duration,
}

impl Waits {
    pub(super) fn within(lease: Duration) -> Self {
        Self { connect: lease * 3 / 4, recycle: lease / 3, sentinel: lease / 3, look: lease / 4 }
    }

    /// The limits of the steps if sentinels are asked first.
    pub(super) fn for_sentinels(&self) -> SentinelWaits {
        let connect = self.connect.saturating_sub(self.sentinel);
        SentinelWaits { answer: self.sentinel, connect, look: self.look }
    }
}

/// How long the steps of finding the primary may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentinelWaits {
    /// For the first sentinel to answer.
    pub(super) answer: Duration,
    /// For a connection to be made and for the server to say its role.
    pub(super) connect: Duration,
    /// Time between two checks whether there is another primary.
    pub(super) look: Duration,
}
