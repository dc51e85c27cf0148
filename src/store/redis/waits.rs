//! How a call to Redis, which lasts one lease at most, divides its time among the steps before the answer.

use std::time::Duration;

/// The waits inside of a call, which itself lasts one lease at most.
pub(super) struct Waits {
    /// TCP, TLS and the greeting. Three quarters of a lease leave a quarter for the report itself; at 2 s
    /// that is enough for a server 200 ms away in each direction.
    pub(super) connect: Duration,
    /// The check of a pooled connection. A third of a lease, so that one call finds out two dead ones and
    /// still has time for a third.
    pub(super) recycle: Duration,
    /// The first answer of a sentinel. A third of a lease leaves as much and more for the connection itself.
    sentinel: Duration,
    /// Between two looks whether the sentinels name another primary. A quarter of a lease, so that after a
    /// failover all instances move within the time in which all must have reported anew.
    look: Duration,
}

impl Waits {
    pub(super) fn within(lease: Duration) -> Self {
        Self { connect: lease * 3 / 4, recycle: lease / 3, sentinel: lease / 3, look: lease / 4 }
    }

    /// What a connection may take if sentinels are asked first.
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
    /// Between two looks whether the primary is another one by now.
    pub(super) look: Duration,
}
